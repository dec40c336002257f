# SPDX-License-Identifier: Apache-2.0
"""The door asks a file system for what the kernel would ask it for, and gives back every reference it took."""

from __future__ import annotations

import errno
import os

import pytest

from instar.fs.memfs import MemFS
from instar.testing import Door


class Failing(MemFS):
    """Fails where it is told to, and keeps what it was told at the end of a file."""

    def __init__(self):
        super().__init__()
        self.errors = {}
        self.owners = []
        self.released = 0

    def _trip(self, name):
        if name in self.errors:
            raise OSError(self.errors[name], os.strerror(self.errors[name]))

    def lookup(self, ctx, parent, name):
        self._trip(f"lookup {name}")
        return super().lookup(ctx, parent, name)

    def open(self, ctx, ino, flags):
        self._trip("open")
        return super().open(ctx, ino, flags)

    def setattr(self, ctx, ino, *args, **kwargs):
        self._trip("setattr")
        return super().setattr(ctx, ino, *args, **kwargs)

    def flush(self, ctx, ino, fh, lock_owner):
        self.owners.append(lock_owner)
        self._trip("flush")

    def release(self, ctx, ino, fh, *args, **kwargs):
        self.released += 1
        super().release(ctx, ino, fh, *args, **kwargs)
        self._trip("release")


@pytest.fixture
def fs():
    return Failing()


@pytest.fixture
def door(fs):
    with Door(fs) as opened:
        yield opened


def failure(call, *args):
    with pytest.raises(OSError) as raised:
        call(*args)
    return raised.value.errno


def test_a_walk_that_fails_with_eio_leaves_nothing_known(fs, door):
    door.mkdir("/a")
    door.write_text("/a/b", "x")
    fs.errors["lookup b"] = errno.EIO
    assert failure(door.open, "/a/b") == errno.EIO
    assert door.channel.session.known == {}


def test_a_walk_through_a_file_leaves_nothing_known(fs, door):
    door.write_text("/file", "x")
    assert failure(door.open, "/file/below") == errno.ENOTDIR
    assert door.channel.session.known == {}


def test_an_open_that_the_file_system_refuses_leaves_nothing_known(fs, door):
    door.write_text("/file", "x")
    fs.errors["open"] = errno.EACCES
    assert failure(door.open, "/file") == errno.EACCES
    assert door.channel.session.known == {}


def test_a_truncation_that_is_refused_closes_the_file(fs, door):
    door.write_text("/file", "x")
    fs.errors["setattr"] = errno.EFBIG
    before = fs.released
    assert failure(door.open, "/file", os.O_WRONLY | os.O_TRUNC) == errno.EFBIG
    assert fs.released == before + 1
    assert door.channel.session.known == {}


def test_opening_with_o_trunc_cuts_the_file(door):
    door.write_text("/file", "long content")
    door.write_text("/file", "short")
    assert door.read_text("/file") == "short"


@pytest.mark.parametrize("target", ["target", "/dir/target", "../dir/./target", "second"])
def test_creating_through_a_dangling_link_makes_the_target(fs, door, target):
    door.mkdir("/dir")
    door.symlink("target", "/dir/second")
    door.symlink(target, "/dir/link")
    door.write_text("/dir/link", "content")
    assert door.read_text("/dir/target") == "content"
    assert door.readlink("/dir/link") == target
    assert door.channel.session.known == {}


def test_a_dangling_link_is_not_followed_for_o_excl_nor_o_nofollow(fs, door):
    door.symlink("target", "/link")
    assert failure(door.open, "/link", os.O_WRONLY | os.O_CREAT | os.O_EXCL) == errno.EEXIST
    assert failure(door.open, "/link", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW) == errno.ELOOP
    assert not door.exists("/target")
    assert door.channel.session.known == {}


def test_creating_in_a_missing_directory_is_enoent(fs, door):
    assert failure(door.open, "/none/file", os.O_WRONLY | os.O_CREAT) == errno.ENOENT
    assert door.channel.session.known == {}


def test_a_link_to_itself_is_eloop(fs, door):
    door.symlink("link", "/link")
    assert failure(door.open, "/link", os.O_WRONLY | os.O_CREAT) == errno.ELOOP
    assert door.channel.session.known == {}


def test_close_raises_what_flush_says_and_still_releases_and_forgets(fs, door):
    file = door.open("/file", os.O_WRONLY | os.O_CREAT)
    fs.errors["flush"] = errno.EDQUOT
    assert failure(file.close) == errno.EDQUOT
    assert fs.released == 1
    assert door.channel.session.known == {}


def test_close_does_not_raise_what_release_says(fs, door):
    file = door.open("/file", os.O_WRONLY | os.O_CREAT)
    fs.errors["release"] = errno.EIO
    file.close()
    file.close()
    assert fs.released == 1
    assert door.channel.session.known == {}


def test_every_file_of_a_door_has_the_same_lock_owner(fs, door):
    for name in ("/a", "/b"):
        door.open(name, os.O_WRONLY | os.O_CREAT).close()
    assert fs.owners == [door.lock_owner, door.lock_owner]

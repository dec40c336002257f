# SPDX-License-Identifier: Apache-2.0
"""What a mirror of an ext4 does with set-ID bits and with the flags of chattr(1)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time

import pytest

from instar.edge.file_ioctl import FileIoctl
from instar.testing import mounted
from tests.support.ext4 import ext4_image, why_not

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(90),
    pytest.mark.skipif(bool(why_not()), reason=why_not() or ""),
]

_APPEND = 0x20  # FS_APPEND_FL, linux/fs.h
_NODUMP = 0x40  # FS_NODUMP_FL
_USER = 12345


@pytest.fixture(scope="module")
def mount():
    """A mirror of a fresh ext4."""
    with ext4_image(64) as backing, mounted(f"mirror:{backing}", options="suid") as path:
        yield path


def _flags(path):
    with open(path, "rb") as file:
        return struct.unpack("l", fcntl.ioctl(file, FileIoctl.GETFLAGS, bytes(8)))[0]


def _set_flags(path, flags):
    with open(path, "rb") as file:
        fcntl.ioctl(file, FileIoctl.SETFLAGS, struct.pack("l", flags))


@contextlib.contextmanager
def _append_only(path):
    before = _flags(path)
    _set_flags(path, before | _APPEND)
    try:
        yield
    finally:
        _set_flags(path, before)


def _as_user(change, file):
    """Make a change as a user without rights, in the group of that number, from within the directory."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(OSError):
            os.chdir(file.parent)
            os.setgroups([])
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)
            change(file.name)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


_CHANGES = {
    "truncate": lambda name: os.truncate(name, 1),
    "ftruncate": lambda name: os.ftruncate(os.open(name, os.O_WRONLY), 1),
    "write": lambda name: os.write(os.open(name, os.O_WRONLY), b"x"),
    "open": lambda name: os.open(name, os.O_WRONLY | os.O_TRUNC),
}


@pytest.mark.parametrize("change", sorted(_CHANGES))
@pytest.mark.parametrize(
    ("before", "after"),
    [(0o6644, 0o2644), (0o2744, 0o2744), (0o6654, 0o654), (0o6755, 0o755), (0o4644, 0o644)],
)
def test_only_a_group_that_may_execute_loses_its_set_id_bit_to_a_change_by_the_owner(
    mount, change, before, after
):
    file = mount / f"{change}-{before:o}"
    file.write_bytes(b"content")
    os.chown(file, _USER, _USER)
    file.chmod(before)
    _as_user(_CHANGES[change], file)
    assert oct(file.stat().st_mode & 0o7777) == oct(after)


def test_an_append_only_file_opens_for_appending_and_for_nothing_else(mount):
    file = mount / "log"
    file.write_bytes(b"one ")
    with _append_only(file):
        for mode in (os.O_WRONLY, os.O_RDWR):
            fd = os.open(file, mode | os.O_APPEND)
            os.write(fd, b"more ")
            os.close(fd)
            with pytest.raises(OSError) as caught:
                os.open(file, mode)
            assert caught.value.errno == errno.EPERM
            with pytest.raises(OSError) as caught:
                os.open(file, mode | os.O_APPEND | os.O_TRUNC)
            assert caught.value.errno == errno.EPERM
        assert file.read_bytes() == b"one more more "


@pytest.mark.parametrize("make", ["touch", "mkdir"])
def test_setting_a_flag_shows_in_the_time_of_change_at_once(mount, make):
    node = mount / f"flagged-{make}"
    getattr(node, make)()
    before = os.stat(node).st_ctime_ns  # the kernel may keep these attributes for a second
    while time.time_ns() - before < 20_000_000:  # the clock of file times has steps of up to 10 ms
        time.sleep(0.005)
    fd = os.open(node, os.O_RDONLY)
    try:
        flags = struct.unpack("l", fcntl.ioctl(fd, FileIoctl.GETFLAGS, bytes(8)))[0]
        assert os.fstat(fd).st_ctime_ns == before
        fcntl.ioctl(fd, FileIoctl.SETFLAGS, struct.pack("l", flags | _NODUMP))
        assert os.fstat(fd).st_ctime_ns > before
    finally:
        os.close(fd)

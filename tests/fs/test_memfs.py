# SPDX-License-Identifier: Apache-2.0
"""MemFS through the door: sizes and limits, holes, what unlinked files keep, names, attributes."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from instar.fs import FallocateFlags, RenameFlags, XattrFlags
from instar.fs.memfs import MemFS
from instar.testing import Door


@pytest.fixture
def fs():
    made = MemFS(size=1 << 20)
    yield made
    made.assert_invariants()


@pytest.fixture
def door(fs):
    with Door(fs) as opened:
        yield opened


def failure(call, *args):
    with pytest.raises(OSError) as raised:
        call(*args)
    return raised.value.errno


def free(door):
    found = door.statfs()
    return found.bfree * found.frsize


def test_a_billion_bytes_of_hole_cost_one_page(door):
    before = free(door)
    with door.open("/sparse", os.O_RDWR | os.O_CREAT) as file:
        file.pwrite(b"x", 10**9)
        assert file.fstat().size == 10**9 + 1
        assert file.pread(3, 5 * 10**8) == bytes(3)
        assert file.seek(0, os.SEEK_DATA) <= 10**9
        assert file.seek(0, os.SEEK_HOLE) == 0
        assert before - free(door) <= 1 << 16
    assert door.stat("/sparse").blocks * 512 <= 1 << 16


def test_beyond_the_limit_it_is_enospc_and_freed_space_is_usable_again(door):
    with door.open("/big", os.O_RDWR | os.O_CREAT) as file:
        with pytest.raises(OSError) as raised:
            for place in range(2):
                file.pwrite(bytes(1 << 20), place << 20)
        assert raised.value.errno == errno.ENOSPC
        assert free(door) == 0
        file.truncate(0)
    assert free(door) == 1 << 20
    assert door.write_bytes("/other", b"x" * 1000) == 1000


def test_the_number_of_nodes_is_limited_where_it_was_asked_for():
    with Door(MemFS(inodes=3)) as door:
        door.mkdir("/a")
        door.mkdir("/b")
        assert failure(door.mkdir, "/c") == errno.ENOSPC
        door.rmdir("/a")
        door.mkdir("/c")


def test_an_unlinked_file_keeps_its_bytes_until_it_is_closed(door):
    before = free(door)
    with door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        file.write(b"x" * 100_000)
        door.unlink("/file")
        assert not door.exists("/file")
        assert file.pread(5, 99_990) == b"xxxxx"
        assert file.fstat().nlink == 0
        assert free(door) < before
    assert free(door) == before


def test_a_punched_hole_reads_as_zeros_and_gives_its_space_back(door):
    with door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        file.write(b"x" * 100_000)
        before = free(door)
        file.fallocate(FallocateFlags.PUNCH_HOLE | FallocateFlags.KEEP_SIZE, 4096, 65536)
        assert file.pread(65538, 4095) == b"x" + bytes(65536) + b"x"
        assert free(door) >= before + 65536
        assert file.fstat().size == 100_000


def test_what_was_cut_off_is_zero_when_the_file_grows_again(door):
    door.write_bytes("/file", b"abcdef")
    door.truncate("/file", 2)
    door.truncate("/file", 6)
    assert door.read_bytes("/file") == b"ab\0\0\0\0"


def test_hard_links_are_one_file(door):
    door.write_text("/a", "one")
    door.link("/a", "/b")
    door.write_text("/b", "two")
    assert door.read_text("/a") == "two"
    assert door.stat("/a").nlink == 2
    assert door.stat("/a").ino == door.stat("/b").ino
    door.unlink("/a")
    assert door.stat("/b").nlink == 1


def test_renaming_replaces_exchanges_and_refuses_as_asked(door):
    door.write_text("/a", "a")
    door.write_text("/b", "b")
    assert failure(door.rename, "/a", "/b", RenameFlags.NOREPLACE) == errno.EEXIST
    door.rename("/a", "/b", RenameFlags.EXCHANGE)
    assert (door.read_text("/a"), door.read_text("/b")) == ("b", "a")
    door.rename("/a", "/b")
    assert (door.listdir(), door.read_text("/b")) == (["b"], "b")


def test_a_directory_is_never_moved_below_itself_nor_removed_while_full(door):
    door.mkdir("/a")
    door.mkdir("/a/b")
    assert failure(door.rename, "/a", "/a/b/c") == errno.EINVAL
    assert failure(door.rmdir, "/a") == errno.ENOTEMPTY
    assert failure(door.unlink, "/a/b") in (errno.EISDIR, errno.EPERM)
    assert door.stat("/a").nlink == 3


def test_a_listing_goes_on_where_it_was_while_names_come_and_go(door, fs):
    for number in range(2000):
        door.mknod(f"/{number}", stat.S_IFREG | 0o600)
    names = door.listdir()
    assert sorted(names, key=int) == [str(number) for number in range(2000)]
    cookies = {entry.name: entry.off for entry in door.scandir()}
    for number in range(0, 2000, 2):
        door.unlink(f"/{number}")
    assert all(cookies[entry.name] == entry.off for entry in door.scandir())


def test_numbers_of_removed_files_are_not_used_again(door):
    seen = set()
    for _ in range(10):
        door.write_text("/file", "x")
        seen.add(door.stat("/file").ino)
        door.unlink("/file")
    assert len(seen) == 10


def test_attributes_keep_nanoseconds_and_modes(door):
    door.write_text("/file", "x")
    door.utime("/file", (1_000_000_001, 2_000_000_002))
    door.chmod("/file", stat.S_IFREG | 0o4751)
    found = door.stat("/file")
    assert (found.atime, found.mtime, stat.S_IMODE(found.mode)) == (1_000_000_001, 2_000_000_002, 0o4751)


def test_extended_attributes_are_made_replaced_listed_and_removed(door):
    door.write_text("/file", "x")
    door.setxattr("/file", "user.a", b"1", XattrFlags.CREATE)
    assert failure(door.setxattr, "/file", "user.a", b"2", XattrFlags.CREATE) == errno.EEXIST
    assert failure(door.setxattr, "/file", "user.b", b"2", XattrFlags.REPLACE) == errno.ENODATA
    assert (door.listxattr("/file"), door.getxattr("/file", "user.a")) == (["user.a"], b"1")
    door.removexattr("/file", "user.a")
    assert failure(door.getxattr, "/file", "user.a") == errno.ENODATA


def test_the_root_directory_is_as_it_was_ordered():
    with Door(MemFS(mode=0o1777, uid=5, gid=6)) as door:
        root = door.stat("/")
        assert (root.mode, root.uid, root.gid) == (stat.S_IFDIR | 0o1777, 5, 6)


@pytest.mark.parametrize("limits", [{"inodes": -1}, {"inodes": 0}, {"size": -1}, {"size": 1 << 80}])
def test_limits_that_nothing_can_have_are_refused_when_it_is_made(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        MemFS(**limits)

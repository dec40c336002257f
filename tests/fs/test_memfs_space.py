# SPDX-License-Identifier: Apache-2.0
"""What a MemFS may hold: content, nodes, links, symbolic links and extended attributes against its two limits."""

from __future__ import annotations

import os
import stat

import pytest

from instar.fs import ROOT_INO, Context, FallocateFlags, RenameFlags, WriteFlags, XattrFlags
from instar.fs.memfs import MemFS
from instar.testing import Door

pytestmark = pytest.mark.timeout(60)

_ME = Context()
_ACL = bytes.fromhex("02000000") + b"".join(
    bytes.fromhex(line)
    for line in (
        "01000700ffffffff",
        "02000700e8030000",
        "04000500ffffffff",
        "10000700ffffffff",
        "20000500ffffffff",
    )
)


@pytest.fixture
def fs():
    made = MemFS(size=1 << 20, inodes=64)
    yield made
    made.assert_invariants()


@pytest.fixture
def door(fs):
    with Door(fs) as opened:
        yield opened


def counts(door):
    found = door.statfs()
    return found.bfree, found.ffree


def fill(call, most=10_000):
    """Call with 0, 1, 2... until ENOSPC; how many went well."""
    done = 0
    with pytest.raises(OSError, match="No space"):
        for number in range(most):
            call(number)
            done += 1
    return done


def test_the_defaults_are_those_of_tmpfs():
    """tmpfs(5): half of the memory, and half as many nodes as the memory has pages."""
    with Door(MemFS()) as door:
        found = door.statfs()
    pages = os.sysconf("SC_PHYS_PAGES")
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    assert (found.blocks, found.files) == (memory // 2 // 4096, pages // 2)
    assert found.ffree == found.files - 1


def test_extended_attributes_are_enospc_beyond_the_limit_and_what_is_removed_comes_back(door):
    door.write_bytes("/file", b"")
    before = counts(door)
    fitted = fill(lambda number: door.setxattr("/file", f"user.{number}", bytes(4000), XattrFlags.NONE))
    assert 8 <= fitted <= 64 * 1024 // 4000
    assert len(door.listxattr("/file")) == fitted
    assert counts(door)[1] < 5
    door.setxattr("/file", "user.0", bytes(4000), XattrFlags.REPLACE)  # of the same size: always fits
    for number in range(fitted):
        door.removexattr("/file", f"user.{number}")
    assert counts(door) == before


def test_an_attribute_that_does_not_fit_leaves_the_old_one(door):
    door.write_bytes("/file", b"")
    door.setxattr("/file", "user.a", b"old", XattrFlags.NONE)
    with pytest.raises(OSError, match="No space"):
        door.setxattr("/file", "user.a", bytes(65536), XattrFlags.NONE)
    assert door.getxattr("/file", "user.a") == b"old"


def test_removing_a_file_gives_back_its_attributes(door):
    before = counts(door)
    for _ in range(20):
        door.write_bytes("/file", b"")
        door.setxattr("/file", "user.a", bytes(40_000), XattrFlags.NONE)
        door.unlink("/file")
    assert counts(door) == before


def test_attributes_of_an_unlinked_file_stay_while_it_is_open(door):
    before = counts(door)
    with door.open("/file", os.O_RDWR | os.O_CREAT):
        door.setxattr("/file", "user.a", bytes(40_000), XattrFlags.NONE)
        held = counts(door)
        door.unlink("/file")
        assert counts(door) == held
    assert counts(door) == before


def test_inherited_lists_are_counted(door):
    door.mkdir("/plain")
    plain = door.statfs().ffree
    door.rmdir("/plain")
    door.setxattr("/", "system.posix_acl_default", _ACL, XattrFlags.NONE)
    with_list = fill(lambda number: door.mkdir(f"/{number}"))
    assert with_list < plain
    for number in range(with_list):
        door.rmdir(f"/{number}")


def test_long_targets_of_symbolic_links_come_out_of_the_size(door):
    before = counts(door)
    door.symlink("x" * 100, "/short")
    assert counts(door) == (before[0], before[1] - 1)
    door.symlink("x" * 4000, "/long")
    assert counts(door) == (before[0] - 1, before[1] - 2)
    assert (door.lstat("/short").blocks, door.lstat("/long").blocks) == (0, 8)
    assert (door.readlink("/long"), door.lstat("/long").size) == ("x" * 4000, 4000)
    door.unlink("/short")
    door.unlink("/long")
    assert counts(door) == before


def test_a_symbolic_link_that_does_not_fit_leaves_nothing():
    with Door(MemFS(size=4096)) as door:
        door.symlink("x" * 200, "/a")
        before = counts(door)
        with pytest.raises(OSError, match="No space"):
            door.symlink("x" * 200, "/b")
        assert counts(door) == before
        assert door.listdir() == ["a"]


def test_a_target_keeps_bytes_that_are_not_utf_8(door):
    target = os.fsdecode(b"\xff\xfe" * 200)
    door.symlink(target, "/link")
    assert (door.readlink("/link"), door.lstat("/link").size) == (target, 400)


def test_empty_files_are_enospc_beyond_the_limit(door):
    assert fill(lambda number: door.mknod(f"/{number}", stat.S_IFREG | 0o600)) == 63
    assert counts(door)[1] == 0
    door.unlink("/0")
    door.write_bytes("/again", b"x")


def test_hard_links_count_as_nodes(door):
    """A name keeps memory as well: tmpfs counts each further link."""
    door.write_bytes("/file", b"")
    assert fill(lambda number: door.link("/file", f"/{number}")) == 62
    assert door.stat("/file").nlink == 63
    door.unlink("/file")
    for number in range(62):
        door.unlink(f"/{number}")
    assert counts(door)[1] == 63


def test_a_replaced_name_gives_back_what_it_held(door):
    before = counts(door)
    for _ in range(100):
        door.write_bytes("/a", b"x")
        door.setxattr("/a", "user.a", bytes(4000), XattrFlags.NONE)
        door.link("/a", "/b") if not door.exists("/b") else None
        door.rename("/a", "/c", RenameFlags.NONE)
        door.unlink("/c")
    door.unlink("/b")
    assert counts(door) == before


def test_what_a_node_held_only_by_o_path_has_is_taken_when_it_is_needed(fs):
    """A node that is gone keeps its content, target and attributes, but not against somebody who needs the room."""
    link = fs.symlink(_ME, ROOT_INO, "link", "x" * 300).ino
    fs.setxattr(_ME, link, "security.a", bytes(30_000), XattrFlags.NONE)
    free = fs.statfs(_ME, ROOT_INO)
    fs.unlink(_ME, ROOT_INO, "link")
    assert fs.readlink(_ME, link) == "x" * 300
    assert len(fs.getxattr(_ME, link, "security.a")) == 30_000
    assert fs.statfs(_ME, ROOT_INO).bfree == free.bfree + 1
    assert fs.statfs(_ME, ROOT_INO).ffree > free.ffree + 29
    entry, opened = fs.create(_ME, ROOT_INO, "file", 0o600, os.O_RDWR)
    fs.setxattr(_ME, entry.ino, "user.a", bytes(50_000), XattrFlags.NONE)
    fs.write(_ME, entry.ino, opened.fh, 0, memoryview(bytes(1 << 20)), WriteFlags.NONE)
    assert fs.listxattr(_ME, link) == ()
    with pytest.raises(OSError, match="Stale"):
        fs.readlink(_ME, link)
    fs.assert_invariants()
    fs.forget(link)
    fs.assert_invariants()


def test_a_node_that_is_gone_can_be_given_attributes_at_the_limit(fs):
    entry = fs.mknod(_ME, ROOT_INO, "file", stat.S_IFREG | 0o600, 0)
    fs.setxattr(_ME, entry.ino, "user.a", bytes(30_000), XattrFlags.NONE)
    fs.setxattr(_ME, entry.ino, "user.b", bytes(25_000), XattrFlags.NONE)
    fs.unlink(_ME, ROOT_INO, "file")
    fs.setxattr(_ME, entry.ino, "user.a", bytes(60_000), XattrFlags.NONE)
    assert len(fs.getxattr(_ME, entry.ino, "user.a")) == 60_000
    fs.assert_invariants()
    fs.forget(entry.ino)


def test_a_reservation_beyond_the_size_is_refused_and_takes_nothing(door):
    before = counts(door)
    with door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        for mode in (FallocateFlags.ALLOCATE, FallocateFlags.KEEP_SIZE, FallocateFlags.ZERO_RANGE):
            with pytest.raises(OSError, match="No space"):
                file.fallocate(mode, 0, 1 << 40)
        assert file.fstat().size == 0
    assert counts(door) == (before[0], before[1] - 1)


def test_attributes_of_a_node_that_is_gone_which_are_refused_take_no_space():
    fs = MemFS(size=1 << 20, inodes=3)
    gone = fs.mknod(_ME, ROOT_INO, "gone", stat.S_IFREG | 0o600, 0)
    fs.setxattr(_ME, gone.ino, "user.a", bytes(400), XattrFlags.NONE)
    fs.unlink(_ME, ROOT_INO, "gone")
    other = fs.mknod(_ME, ROOT_INO, "other", stat.S_IFREG | 0o600, 0)
    fs.setxattr(_ME, other.ino, "user.b", bytes(300), XattrFlags.NONE)
    with pytest.raises(OSError, match="No space"):
        fs.setxattr(_ME, gone.ino, "user.a", bytes(900), XattrFlags.NONE)
    fs.assert_invariants()

# SPDX-License-Identifier: Apache-2.0
"""unlink(2), unlinkat(2): POSIX.1-2017 unlink(); files that live on while they are open."""

from __future__ import annotations

import errno
import os
import time

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import KINDS, NOT_DIRECTORIES, A, shared_directory, sync_here

__all__: list[str] = []

_LINKABLE = each(*(kind for kind in KINDS if kind != "dir"))


def _unlinkat(directory: str, name: str) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        os.unlink(name, dir_fd=fd)
    finally:
        os.close(fd)


@case(_LINKABLE, short=True)
def _removes_the_name(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.me(os.unlink, "f")
    t.exists("f", False)
    t.equal(t.me(os.listdir, "."), [], "content of the directory")
    t.me.fails(errno.ENOENT, os.unlink, "f")
    t.make("dir", "d", 0o755)
    t.make(kind, "d/f")
    t.me(_unlinkat, "d", "f")
    t.exists("d/f", False)


@case(_LINKABLE)
def _other_names_stay_and_ctime_moves_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.me(os.link, "f", "g", follow_symlinks=False)
    t.me(os.link, "f", "h", follow_symlinks=False)
    t.has("g", nlink=3)
    with t.times({"g": "c", ".": "mc?"}):
        t.me(os.unlink, "f")
    t.has("g", nlink=2, kind=kind)
    with t.times({"h": "c"}):
        t.me(os.unlink, "g")
    t.has("h", nlink=1, kind=kind)


@case(_LINKABLE)
def _parents_times_move_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    with t.times({".": "mc?"}):
        t.me(os.unlink, "f")


@case(_LINKABLE)
def _refused_call_changes_nothing(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "d/f", 0o777, A)
    with t.times({"d": "", "d/f": ""}):
        t.user_a.fails(errno.EACCES, os.unlink, "d/f")
    t.has("d/f", nlink=1, kind=kind)


@case()
def _directory_is_refused(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    # POSIX says EPERM, Linux EISDIR.
    t.me.fails((errno.EISDIR, errno.EPERM), os.unlink, "d")
    t.me.fails((errno.EISDIR, errno.EPERM), os.unlink, "d/")
    t.me.fails((errno.EISDIR, errno.EPERM, errno.EINVAL), os.unlink, ".")
    shared_directory(t, "e")
    t.user_a(os.mkdir, "e/mine", 0o755)
    t.user_a.fails((errno.EISDIR, errno.EPERM), os.unlink, "e/mine")
    t.exists("d")


@case()
def _link_is_removed_and_not_its_target(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.symlink, "f", "link")
    t.me(os.symlink, "nowhere", "dangling")
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "d", "to-dir")
    for name in ("link", "dangling", "to-dir"):
        t.me(os.unlink, name)
        t.exists(name, False)
    t.exists("f")
    t.exists("d")


@case()
def _right_to_write_the_file_is_not_needed(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o000, (0, 0))
    t.user_a(os.unlink, "d/f")
    t.exists("d/f", False)


# -------------------------------------------------------------------------------- open and unlinked


@case(short=True)
def _open_file_lives_on_without_a_name(t: Arena) -> None:
    t.me(_do.write, "f", b"hello")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.exists("f", False)
    t.equal(t.me(os.fstat, fd).st_nlink, 0, "nlink of an open file without a name")
    t.equal(t.me(os.pread, fd, 10, 0), b"hello", "content")
    t.equal(t.me(os.pwrite, fd, b"world", 5), 5, "bytes written")
    t.equal(t.me(os.fstat, fd).st_size, 10, "size")
    t.me(os.ftruncate, fd, 3)
    t.equal(t.me(os.pread, fd, 10, 0), b"hel", "content after ftruncate")
    t.me(os.fchmod, fd, 0o600)
    t.me(os.fsync, fd)
    t.me(syscalls.futimens, fd, (1, 2), (3, 4))
    t.equal(t.me(os.fstat, fd).st_mtime_ns, 3_000_000_004, "mtime")
    t.me(os.close, fd)


@case()
def _name_is_free_while_the_old_file_is_open(t: Arena) -> None:
    t.me(_do.write, "f", b"old")
    old = t.me(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.me(_do.write, "f", b"new file")
    new = t.me(os.open, "f", os.O_RDWR)
    t.true(t.me(os.fstat, old).st_ino != t.me(os.fstat, new).st_ino, "two inodes")
    t.equal(t.me(os.pread, old, 10, 0), b"old", "content of the old file")
    t.equal(t.me(os.pread, new, 10, 0), b"new file", "content of the new file")
    t.me(os.pwrite, old, b"OLD", 0)
    t.equal(t.me(_do.read, "f"), b"new file", "the new file after a write to the old")
    t.me(os.unlink, "f")
    t.equal(t.me(os.pread, new, 10, 0), b"new file", "content of the second file")
    t.equal(t.me(os.pread, old, 10, 0), b"OLD", "content of the first file")


@case()
def _two_processes_share_an_unlinked_file(t: Arena) -> None:
    other = t.another(t.me)
    t.me(_do.write, "f", b"")
    mine = t.me(os.open, "f", os.O_RDWR)
    theirs = other(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.me(os.pwrite, mine, b"shared", 0)
    t.equal(other(os.pread, theirs, 10, 0), b"shared", "what the other process reads")
    t.me(os.close, mine)
    t.equal(other(os.pread, theirs, 10, 0), b"shared", "after one of two closed it")
    other(os.pwrite, theirs, b"SHARED", 0)
    again = other(os.open, f"/proc/self/fd/{theirs}", os.O_RDONLY)
    t.equal(other(os.read, again, 10), b"SHARED", "by /proc/self/fd")


@case()
def _file_with_another_name_is_the_same_file_after_unlink(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    t.me(os.link, "f", "g")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.equal(t.me(os.fstat, fd).st_nlink, 1, "nlink")
    t.me(os.pwrite, fd, b"y", 0)
    t.equal(t.me(_do.read, "g"), b"y", "content by the other name")
    t.me(os.unlink, "g")
    t.equal(t.me(os.fstat, fd).st_nlink, 0, "nlink without names")


@case()
def _file_that_rename_replaced_lives_on(t: Arena) -> None:
    t.me(_do.write, "f", b"old")
    t.me(_do.write, "g", b"new")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.rename, "g", "f")
    t.equal(t.me(os.fstat, fd).st_nlink, 0, "nlink of the replaced file")
    t.equal(t.me(os.pread, fd, 10, 0), b"old", "content of the replaced file")
    t.me(os.pwrite, fd, b"more", 3)
    t.equal(t.me(_do.read, "f"), b"new", "content of the name")


@case()
def _open_file_follows_its_renames(t: Arena) -> None:
    t.me(os.makedirs, "d/e")
    t.me(_do.write, "f", b"x")
    fd = t.me(os.open, "f", os.O_RDWR)
    for old, new in (("f", "g"), ("g", "d/g"), ("d/g", "d/e/g"), ("d", "z")):
        t.me(os.rename, old, new)
    t.me(os.pwrite, fd, b"moved", 0)
    t.equal(t.me(_do.read, "z/e/g"), b"moved", "content by the last name")
    t.equal(t.me(os.fstat, fd).st_ino, t.stat("z/e/g").st_ino, "inode")


@case()
def _space_of_an_unlinked_file_comes_back_when_it_is_closed(t: Arena) -> None:
    t.make("file", "f")
    fd = t.me(os.open, "f", os.O_RDWR)
    size = 8 << 20
    for offset in range(0, size, 1 << 20):
        t.me(os.pwrite, fd, b"\xa5" * (1 << 20), offset)
    t.me(os.fsync, fd)
    full = t.me(os.statvfs, ".")
    if full.f_blocks == 0:
        t.skip("statfs counts no blocks here")
    t.me(os.unlink, "f")
    held = t.me(os.statvfs, ".")
    t.me(os.close, fd)
    t.me(os.sync)
    freed = t.me(os.statvfs, ".")
    t.true(
        held.f_bfree * held.f_frsize <= full.f_bfree * full.f_frsize + size // 2,
        "an open file keeps its space",
    )
    t.true(
        freed.f_bfree * freed.f_frsize >= held.f_bfree * held.f_frsize + size // 2,
        "a closed one gives it back",
    )


def _wait_for_space(wanted: int) -> bool:
    """Whether so many bytes become free; some file systems free them a moment later, in the background."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        sync_here()
        free = os.statvfs(".")
        if free.f_bfree * free.f_frsize >= wanted:
            return True
        time.sleep(0.05)
    return False


@case(NOT_DIRECTORIES)
def _attributes_are_there_by_a_path_descriptor_after_unlink(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    fd = t.me(os.open, "f", os.O_PATH)
    inode = t.stat("f").st_ino
    t.me(os.unlink, "f")
    status = t.me(os.fstat, fd)
    t.equal((status.st_ino, status.st_nlink, _do.kind_of(status.st_mode)), (inode, 0, kind), "attributes")


@case(each(10, 300))
def _many_names_of_one_directory_go_one_by_one(t: Arena, count: int) -> None:
    names = [f"n{number:04}" for number in range(count)]
    t.me(_make_many, names)
    t.equal(len(t.me(os.listdir, ".")), count, "entries")
    for name in names[: count // 2]:
        t.me(os.unlink, name)
    t.equal(sorted(t.me(os.listdir, ".")), names[count // 2 :], "what is left")


def _make_many(names: list[str]) -> None:
    for name in names:
        _do.create(name)

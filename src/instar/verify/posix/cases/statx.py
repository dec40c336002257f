# SPDX-License-Identifier: Apache-2.0
"""statx(2) with the birth time, stat(2), fstatat(2), statvfs(3)."""

from __future__ import annotations

import errno
import os
import stat

from instar.edge.file_status import Statx, StatxMask, statx
from instar.edge.syscalls import AtFlags
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import KINDS, NAME_MAX

__all__: list[str] = []


def _birth(t: Arena, path: str) -> int:
    """The birth time in ns; the case ends if the file system keeps none."""
    status = t.me(statx, path)
    if not status.mask & StatxMask.BTIME:
        t.unsupported("no birth times in statx")
    return status.btime_ns


@case(KINDS, short=True)
def _statx_and_stat_agree(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    if kind == "file":
        t.me(_do.write, "f", b"x" * 5000)
    a, b = t.me(statx, "f"), t.stat("f")
    t.equal(a.mask & StatxMask.BASIC_STATS, StatxMask.BASIC_STATS, "mask")
    pairs = (
        ("mode", a.mode, b.st_mode),
        ("ino", a.ino, b.st_ino),
        ("nlink", a.nlink, b.st_nlink),
        ("uid", a.uid, b.st_uid),
        ("gid", a.gid, b.st_gid),
        ("size", a.size, b.st_size),
        ("blocks", a.blocks, b.st_blocks),
        ("mtime", a.mtime_ns, b.st_mtime_ns),
        ("ctime", a.ctime_ns, b.st_ctime_ns),
        ("atime", a.atime_ns, b.st_atime_ns),
        ("dev", a.dev, b.st_dev),
        ("rdev", a.rdev, b.st_rdev),
    )
    for name, one, two in pairs:
        t.equal(one, two, f"{name} by statx and by stat")


@case(KINDS)
def _birth_time_is_set_once(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    born = _birth(t, "f")
    t.true(born <= t.stat("f").st_ctime_ns, "the birth is not after the last change")
    t.true(abs(born - t.stat(".").st_mtime_ns) < 10**10, "the birth is when the name was made")
    t.tick()
    if kind != "symlink":
        t.me(os.chmod, "f", 0o600)
    t.me(os.utime, "f", ns=(0, 0), follow_symlinks=False)
    t.root(os.lchown, "f", 1, 1)
    t.me(os.rename, "f", "g")
    if kind == "file":
        t.me(_do.write, "g", b"text")
    t.equal(_birth(t, "g"), born, "birth time after changes")
    t.me(os.rmdir if kind == "dir" else os.unlink, "g")
    t.tick()
    t.make(kind, "g", 0o640)
    t.true(_birth(t, "g") > born, "a new file is born later")


@case()
def _empty_path_is_the_descriptor(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.me(os.open, "f", os.O_RDONLY)
    status = t.me(statx, "", StatxMask.BASIC_STATS, AtFlags.EMPTY_PATH, dir_fd=fd)
    t.equal((status.ino, status.size), (t.stat("f").st_ino, 4), "inode and size")
    t.me(os.unlink, "f")
    status = t.me(statx, "", StatxMask.BASIC_STATS, AtFlags.EMPTY_PATH, dir_fd=fd)
    t.equal((status.nlink, status.size), (0, 4), "nlink and size after unlink")
    t.me.fails(errno.ENOENT, statx, "", StatxMask.BASIC_STATS, AtFlags.NONE, dir_fd=fd)


@case({"force": AtFlags.STATX_FORCE_SYNC, "dont": AtFlags.STATX_DONT_SYNC})
def _sync_flags_are_accepted(t: Arena, flag: AtFlags) -> None:
    t.me(_do.write, "f", b"text")
    t.equal(t.me(_size_by_statx, "f", flag), 4, "size")


def _size_by_statx(path: str, flag: int) -> int:
    status: Statx = statx(path, StatxMask.SIZE, flag)
    return status.size


@case()
def _wrong_arguments_are_refused(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.EINVAL, statx, "f", StatxMask.BASIC_STATS, 1)
    both = AtFlags.STATX_FORCE_SYNC | AtFlags.STATX_DONT_SYNC
    t.me.fails(errno.EINVAL, statx, "f", StatxMask.BASIC_STATS, both)
    t.me.fails(errno.EINVAL, statx, "f", 0x80000000)
    t.me.fails(errno.EBADF, statx, "f", StatxMask.BASIC_STATS, AtFlags.NONE, dir_fd=9999)


@case()
def _links_are_followed_unless_told_otherwise(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.symlink, "f", "link")
    t.true(stat.S_ISLNK(t.me(statx, "link").mode), "the link itself")
    t.true(stat.S_ISREG(t.me(statx, "link", StatxMask.BASIC_STATS, AtFlags.NONE).mode), "what it points to")


# -------------------------------------------------------------------------------------------- statvfs


@case(short=True)
def _statvfs_numbers_make_sense(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    numbers = t.me(os.statvfs, "f")
    t.true(numbers.f_bsize >= 512, "f_bsize")
    t.true(numbers.f_frsize >= 512, "f_frsize")
    t.true(0 <= numbers.f_bfree <= numbers.f_blocks, "free blocks are at most all")
    t.true(0 <= numbers.f_bavail <= numbers.f_bfree, "available blocks are at most the free ones")
    t.true(0 <= numbers.f_ffree <= numbers.f_files, "free inodes are at most all")
    t.equal(numbers.f_namemax, NAME_MAX, "longest name")
    t.true(not numbers.f_flag & os.ST_RDONLY, "the mount is writable")


@case(each("directory", "descriptor", "link", "fifo"))
def _statvfs_is_about_the_file_system(t: Arena, which: str) -> None:
    t.make("file", "f")
    t.make("dir", "d", 0o755)
    t.make("fifo", "p")
    t.me(os.symlink, "f", "link")
    fd = t.me(os.open, "f", os.O_RDONLY)
    base = t.me(os.statvfs, ".")
    if which == "descriptor":
        other = t.me(os.fstatvfs, fd)
    else:
        other = t.me(os.statvfs, {"directory": "d", "link": "link", "fifo": "p"}[which])
    for name in ("f_bsize", "f_frsize", "f_blocks", "f_namemax", "f_fsid"):
        t.equal(getattr(other, name), getattr(base, name), name)


@case()
def _pathconf_tells_the_limits(t: Arena) -> None:
    t.make("file", "f")
    t.equal(t.me(os.pathconf, ".", "PC_NAME_MAX"), NAME_MAX, "PC_NAME_MAX")
    t.true(t.me(os.pathconf, ".", "PC_PATH_MAX") >= 255, "PC_PATH_MAX")
    t.true(t.me(os.pathconf, ".", "PC_LINK_MAX") >= 8, "PC_LINK_MAX")
    t.equal(t.me(os.pathconf, ".", "PC_NO_TRUNC"), 1, "PC_NO_TRUNC")


# ------------------------------------------------------------------------------------------- access(2)


def _access_as(real: int, effective: int, path: str) -> tuple[bool, bool, bool, bool]:
    """access(2) by the real and by the effective uid: (real reads, real writes, effective reads, effective writes)."""
    os.setresuid(real, effective, 0)
    try:
        return (
            os.access(path, os.R_OK),
            os.access(path, os.W_OK),
            os.access(path, os.R_OK, effective_ids=True),
            os.access(path, os.W_OK, effective_ids=True),
        )
    finally:
        os.setresuid(0, 0, 0)


@case()
def _access_asks_for_the_real_user(t: Arena) -> None:
    t.make("file", "f", 0o600, (30001, 30001))
    process = t.another(t.root)
    t.equal(
        process(_access_as, 30001, 30002, "f"), (True, True, False, False), "real owner, effective stranger"
    )
    t.equal(
        process(_access_as, 30002, 30001, "f"), (False, False, True, True), "real stranger, effective owner"
    )
    t.root(os.chmod, "f", 0o400)
    t.equal(
        process(_access_as, 30001, 30001, "f"), (True, False, True, False), "the owner of a file of mode 0400"
    )
    t.equal(process(_access_as, 0, 30002, "f"), (True, True, False, False), "real root, effective stranger")

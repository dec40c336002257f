# SPDX-License-Identifier: Apache-2.0
"""mknod(2), mknodat(2), mkfifo(3): POSIX.1-2017 mknod(), mkfifo()."""

from __future__ import annotations

import errno
import os
import stat

from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, open_and_close, shared_directory

__all__: list[str] = []

_NODES = {
    "file": stat.S_IFREG,
    "zero": 0,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "block": stat.S_IFBLK,
    "char": stat.S_IFCHR,
}
_UNPRIVILEGED = {name: name for name in ("file", "zero", "fifo", "socket")}
_MODES = {f"{mode:04o}": mode for mode in (0o0, 0o111, 0o444, 0o644, 0o777, 0o1777, 0o4755, 0o2755)}
_DEVICES = {
    "null": (1, 3),
    "zero": (0, 0),
    "sda": (8, 0),
    "large-major": (4095, 1),
    "large-minor": (1, 1048575),
    "largest": (4095, 1048575),
    "beyond-16-bits": (300, 70000),
}


def _mknod(name: str, path: str, mode: int) -> None:
    if name in {"block", "char"} and os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "device nodes need root")
    os.mknod(path, _NODES[name] | mode, _do.NODES[name][1] if name in {"block", "char"} else 0)


def _maker(t: Arena, name: str) -> Actor:
    return t.root if name in {"block", "char"} else t.me


def _under_umask(umask: int, name: str, path: str, mode: int) -> None:
    old = os.umask(umask)
    try:
        _mknod(name, path, mode)
    finally:
        os.umask(old)


@case(grid({name: name for name in _NODES}, _MODES), short=True)
def _makes_a_node_of_that_type_and_mode(t: Arena, name: str, mode: int) -> None:
    _maker(t, name)(_mknod, name, "f", mode)
    t.has("f", kind="file" if name == "zero" else name, mode=mode, nlink=1, size=0)


@case(grid({name: name for name in _NODES}, {f"{umask:03o}": umask for umask in (0o022, 0o077, 0o777)}))
def _umask_applies(t: Arena, name: str, umask: int) -> None:
    _maker(t, name)(_under_umask, umask, name, "f", 0o777)
    t.has("f", mode=0o777 & ~umask)


@case(grid(each("block", "char"), _DEVICES))
def _device_number_is_kept(t: Arena, kind: str, major: int, minor: int) -> None:
    t.root(os.mknod, "f", _NODES[kind] | 0o600, os.makedev(major, minor))
    status = t.stat("f")
    t.equal((os.major(status.st_rdev), os.minor(status.st_rdev)), (major, minor), "device number")
    t.has("f", kind=kind)
    t.root(os.chmod, "f", 0o666)
    t.root(os.rename, "f", "g")
    t.equal(t.stat("g").st_rdev, os.makedev(major, minor), "device number after chmod and rename")


@case(_UNPRIVILEGED)
def _everybody_may_make_files_fifos_and_sockets(t: Arena, name: str) -> None:
    shared_directory(t, "d")
    t.user_a(_mknod, name, "d/f", 0o640)
    t.has("d/f", uid=A[0], gid=A[1], mode=0o640)
    t.who(B[0], 9, 10)(_mknod, name, "d/g", 0o640)
    t.has("d/g", uid=B[0], gid=9)


@case(each("block", "char"))
def _device_nodes_need_root(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.user_a.fails(errno.EPERM, os.mknod, "d/f", _NODES[kind] | 0o600, os.makedev(1, 3))
    t.exists("d/f", False)


@case()
def _whiteout_device_may_be_made_by_everybody(t: Arena) -> None:
    shared_directory(t, "d")
    # A character device 0:0 opens nothing, so it needs no right (commit a3c751a50fe6, Linux 5.8).
    t.user_a(os.mknod, "d/f", stat.S_IFCHR | 0o000, os.makedev(0, 0))
    t.has("d/f", kind="char", uid=A[0])
    t.user_a.fails((errno.ENXIO, errno.EACCES), os.open, "d/f", os.O_RDONLY)


@case(each("dir", "symlink", "nonsense"))
def _types_that_mknod_does_not_make_are_refused(t: Arena, which: str) -> None:
    format_ = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "nonsense": 0o170000}[which]
    expected = errno.EPERM if which == "dir" else errno.EINVAL
    t.me.fails(expected, os.mknod, "f", format_ | 0o644)
    t.exists("f", False)


@case(grid({name: name for name in _NODES}, KINDS))
def _existing_name_is_eexist(t: Arena, name: str, kind: str) -> None:
    t.make(kind, "f")
    inode = t.stat("f").st_ino
    with t.times({".": ""}):
        _maker(t, name).fails(errno.EEXIST, _mknod, name, "f", 0o644)
    t.has("f", kind=kind, ino=inode)


@case({name: name for name in _NODES})
def _parents_mtime_and_ctime_move_on(t: Arena, name: str) -> None:
    with t.times({".": "mc?"}):
        _maker(t, name)(_mknod, name, "f", 0o644)
    with t.times({".": ""}):
        _maker(t, name).fails(errno.EEXIST, _mknod, "fifo", "f", 0o644)


@case()
def _relative_to_a_directory_descriptor(t: Arena) -> None:
    t.make("dir", "d")
    t.me(_at, "d")
    t.has("d/fifo", kind="fifo", mode=0o600)
    t.has("d/file", kind="file", mode=0o600)


def _at(directory: str) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    os.mkfifo("fifo", 0o600, dir_fd=fd)
    os.mknod("file", stat.S_IFREG | 0o600, dir_fd=fd)
    os.close(fd)


@case()
def _character_device_works(t: Arena) -> None:
    t.root(os.mknod, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    t.root(os.mknod, "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    number = t.root.attempt(open_and_close, "null", os.O_RDWR)
    if number == errno.EACCES:
        t.skip("the mount has nodev")
    t.equal(t.root(_do.write, "null", b"gone", os.O_WRONLY), 4, "bytes that /dev/null takes")
    t.equal(t.root(_do.read, "null"), b"", "content of /dev/null")
    t.equal(t.root(_read_some, "zero", 7), bytes(7), "bytes of /dev/zero")
    t.has("null", kind="char", size=0)


def _read_some(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


@case()
def _device_without_a_driver_is_enxio(t: Arena) -> None:
    t.root(os.mknod, "f", stat.S_IFCHR | 0o666, os.makedev(120, 77))
    t.root.fails((errno.ENXIO, errno.ENODEV, errno.EACCES), os.open, "f", os.O_RDONLY)


@case()
def _socket_node_cannot_be_opened(t: Arena) -> None:
    t.make("socket", "s")
    t.me.fails(errno.ENXIO, os.open, "s", os.O_RDONLY)
    t.me.fails(errno.ENXIO, os.open, "s", os.O_RDWR)
    t.me(open_and_close, "s", os.O_PATH)

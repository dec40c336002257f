# SPDX-License-Identifier: Apache-2.0
"""Values and system calls that several modules of cases use. The functions run in an actor's process."""

from __future__ import annotations

import fcntl
import os

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import each

__all__ = [
    "ALL_MODES",
    "CREATORS",
    "KINDS",
    "NAME_MAX",
    "NODES",
    "NOT_DIRECTORIES",
    "PATH_MAX",
    "A",
    "B",
    "create_kind",
    "deep_path",
    "open_and_close",
    "open_creating",
    "reopen_data",
    "seek_tell",
    "set_flags",
    "shared_directory",
    "sync_here",
    "touch_times",
]

NAME_MAX = 255
"""Bytes in a name on every Linux file system that programs meet (linux/limits.h)."""
PATH_MAX = 4096
"""Bytes in a path, its ending NUL among them (linux/limits.h)."""

A = (30001, 30001)
"""uid and gid of ``arena.user_a``."""
B = (30002, 30002)
"""uid and gid of ``arena.user_b``."""

KINDS = each(*_do.KINDS)
NODES = each(*(kind for kind in _do.KINDS if kind not in {"symlink", "dir", "file"}))
NOT_DIRECTORIES = each(*(kind for kind in _do.KINDS if kind not in {"symlink", "dir"}))
ALL_MODES = range(0o1000)


def create_kind(kind: str, path: str, mode: int = 0o644) -> None:
    """Make a file with the call of its kind and nothing else, so that the umask and the default ACL apply."""
    if kind == "file":
        _do.create(path, mode)
    elif kind == "dir":
        os.mkdir(path, mode)
    elif kind == "symlink":
        os.symlink("target", path)
    else:
        format_, device = _do.NODES[kind]
        os.mknod(path, format_ | mode, device)


CREATORS = {kind: kind for kind in _do.KINDS}


def open_and_close(path: str, flags: int = os.O_RDONLY, mode: int = 0o644) -> None:
    """Open and close at once."""
    os.close(os.open(path, flags, mode))


def open_creating(path: str) -> None:
    """Open with O_CREAT, without O_EXCL."""
    open_and_close(path, os.O_CREAT | os.O_RDWR)


def touch_times(path: str) -> None:
    """A utimensat(2) that sets both times and follows links."""
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))


def deep_path(length: int, leaf: str = "") -> str:
    """A path of exactly ``length`` bytes that names the working directory, or ``leaf`` in it: ``././././x``."""
    head = length - len(leaf)
    return "./" * (head // 2) + ("/" if head % 2 else "") + leaf


def set_flags(fd: int, flags: int) -> None:
    """F_SETFL."""
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def seek_tell(fd: int, offset: int, whence: int = os.SEEK_SET) -> int:
    """Seek; where that is."""
    return os.lseek(fd, offset, whence)


def reopen_data(path: str, offset: int, size: int) -> bytes:
    """What a new descriptor reads there."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def sync_here() -> None:
    """Write out the file system of the working directory, and no other."""
    fd = os.open(".", os.O_RDONLY)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)


def shared_directory(t: Arena, path: str, mode: int = 0o777, owner: tuple[int, int] | None = None) -> None:
    """A directory that other users may write to."""
    t.me(_do.make, "dir", path, mode)
    if owner is not None:
        t.root(os.chown, path, *owner)
        t.root(os.chmod, path, mode)

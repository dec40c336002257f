# SPDX-License-Identifier: Apache-2.0
"""What actors are often asked to do, besides single system calls. These functions run in the actor's process."""

from __future__ import annotations

import os
import stat

__all__ = [
    "KINDS",
    "NODES",
    "append",
    "close_all",
    "create",
    "exists",
    "kind_of",
    "make",
    "read",
    "rights",
    "write",
]

KINDS = ("file", "dir", "fifo", "socket", "symlink", "block", "char")
"""Every type of file that a Linux file system holds."""

_FORMATS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFLNK: "symlink",
    stat.S_IFBLK: "block",
    stat.S_IFCHR: "char",
}
NODES = {
    "fifo": (stat.S_IFIFO, 0),
    "socket": (stat.S_IFSOCK, 0),
    "block": (stat.S_IFBLK, os.makedev(7, 250)),
    "char": (stat.S_IFCHR, os.makedev(1, 3)),
}
"""Format bits and device number of what mknod(2) makes."""


def kind_of(mode: int) -> str:
    """The name in :data:`KINDS` of a mode's file type."""
    return _FORMATS.get(stat.S_IFMT(mode), f"unknown type {stat.S_IFMT(mode):o}")


def make(kind: str, path: str, mode: int = 0o644) -> None:
    """Make a file of that kind with exactly that mode (a symbolic link points to ``target`` and has no mode)."""
    if kind == "file":
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    elif kind == "dir":
        os.mkdir(path, 0o700)
    elif kind == "symlink":
        os.symlink("target", path)
        return
    else:
        format_, device = NODES[kind]
        os.mknod(path, format_ | 0o600, device)
    os.chmod(path, mode)


def exists(path: str) -> bool:
    """Whether the name is there; a link is not followed."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def create(path: str, mode: int = 0o644, flags: int = os.O_CREAT | os.O_EXCL | os.O_WRONLY) -> None:
    """open(2) with O_CREAT and O_EXCL, and close; the umask applies."""
    os.close(os.open(path, flags, mode))


def write(path: str, data: bytes, flags: int = os.O_CREAT | os.O_WRONLY | os.O_TRUNC) -> int:
    """Put ``data`` into a file in one system call; the number of bytes that it took."""
    fd = os.open(path, flags, 0o644)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def append(path: str, data: bytes) -> int:
    """As :func:`write`, with O_APPEND."""
    return write(path, data, os.O_WRONLY | os.O_APPEND)


def read(path: str, flags: int = os.O_RDONLY) -> bytes:
    """The whole content."""
    fd = os.open(path, flags)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def close_all(*fds: int) -> None:
    """Close several descriptors."""
    for fd in fds:
        os.close(fd)


def rights(path: str) -> str:
    """What access(2) with the effective ids allows: a string like ``rw-``."""
    return "".join(
        letter if os.access(path, bit, effective_ids=True) else "-"
        for letter, bit in (("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK))
    )

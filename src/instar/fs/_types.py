# SPDX-License-Identifier: Apache-2.0
"""The typed values that a file system takes and returns.

They are small ``msgspec.Struct`` classes: cheap to make (one request makes one or two of them), typed, and
without a reference to the transport that carries them. Times are integers in nanoseconds since the epoch, sizes
are in bytes, names are ``str`` in which bytes that are not UTF-8 stand as surrogate escapes (PEP 383).

Sources: ``stat(2)``, ``statx(2)``, ``statvfs(3)``, ``fcntl(2)``, ``flock(2)``, ``rename(2)``, ``fallocate(2)``.
"""

from __future__ import annotations

import enum
import stat
import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ROOT_INO",
    "Attr",
    "Context",
    "DirEntry",
    "Entry",
    "FallocateFlags",
    "FileLock",
    "Ioctl",
    "IoctlFlags",
    "LockType",
    "Open",
    "PollHandle",
    "RenameFlags",
    "SetAttr",
    "StatFs",
    "WriteFlags",
    "XattrFlags",
    "now_ns",
]

#: The node number of the root directory (``FUSE_ROOT_ID`` in ``linux/fuse.h``).
ROOT_INO = 1

now_ns = time.time_ns


class RenameFlags(enum.IntFlag):
    """``flags`` of :meth:`FileSystem.rename` (``rename(2)``, ``linux/fs.h``)."""

    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


class FallocateFlags(enum.IntFlag):
    """``mode`` of :meth:`FileSystem.fallocate` (``fallocate(2)``, ``linux/falloc.h``)."""

    ALLOCATE = 0
    KEEP_SIZE = 0x01
    PUNCH_HOLE = 0x02
    NO_HIDE_STALE = 0x04
    COLLAPSE_RANGE = 0x08
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40


class XattrFlags(enum.IntFlag):
    """``flags`` of :meth:`FileSystem.setxattr` (``setxattr(2)``, ``linux/xattr.h``)."""

    NONE = 0
    CREATE = 1
    REPLACE = 2


class WriteFlags(enum.IntFlag):
    """``flags`` of :meth:`FileSystem.write` (``FUSE_WRITE_*`` in ``linux/fuse.h``)."""

    NONE = 0
    CACHE = 1
    LOCKOWNER = 2
    KILL_SUIDGID = 4


class IoctlFlags(enum.IntFlag):
    """``flags`` of :meth:`FileSystem.ioctl` (``FUSE_IOCTL_*`` in ``linux/fuse.h``)."""

    NONE = 0
    COMPAT = 1
    UNRESTRICTED = 2
    RETRY = 4
    IOCTL_32BIT = 8
    DIR = 16
    COMPAT_X32 = 32


class LockType(enum.IntEnum):
    """``l_type`` of ``struct flock`` (``fcntl(2)``)."""

    RDLCK = 0
    WRLCK = 1
    UNLCK = 2


class Context(msgspec.Struct, frozen=True, gc=False):
    """Who asks. Handed to every operation that a program caused.

    ``uid``, ``gid`` and ``pid`` are those of the calling thread, as seen in the mount's user and pid namespaces;
    ``pid`` is 0 for a caller outside them and for write-back. ``umask`` is set in operations that create a node and
    is 0 elsewhere; the mode they are given has not been masked. ``groups`` holds a supplementary group of the
    caller where the kernel sent one (it does where that group owns the parent directory).
    """

    uid: int = 0
    gid: int = 0
    pid: int = 0
    umask: int = 0
    groups: tuple[int, ...] = ()


class Attr(msgspec.Struct, gc=False):
    """The attributes of a node, as ``stat(2)`` shows them.

    ``mode`` holds the file type and the permission bits. ``blocks`` counts 512-byte units; ``None`` means that it
    follows from ``size``. ``blksize`` is the preferred size of I/O in bytes. The four times are in nanoseconds.
    """

    ino: int
    mode: int
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    blocks: int | None = None
    blksize: int = 4096
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int = 0

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)


class Entry(msgspec.Struct, gc=False):
    """A name that was found or made: its node and how long the kernel may remember it.

    ``ino`` is the node number that later operations carry; with ``generation`` it must be unique for the life of
    the mount. The timeouts are in seconds; ``None`` means the file system's own ``entry_timeout`` and
    ``attr_timeout``.
    """

    ino: int
    attr: Attr
    generation: int = 0
    entry_timeout: float | None = None
    attr_timeout: float | None = None


class DirEntry(msgspec.Struct, gc=False):
    """One line of a directory.

    ``cookie`` is the place *after* this entry: a listing that is resumed with it goes on with the next one. It is
    positive, below 2**63 - 2, and belongs to the entry for as long as the entry exists, whatever comes and goes around
    it. ``mode`` needs only the file type. ``entry`` is what :meth:`FileSystem.readdirplus` adds.
    """

    name: str
    ino: int
    mode: int
    cookie: int
    entry: Entry | None = None


class Open(msgspec.Struct, gc=False):
    """What :meth:`FileSystem.open`, ``create``, ``tmpfile`` and ``opendir`` return.

    ``fh`` is any number from 0 to 2**64 - 1; the operations on the open file get it back. The options are the
    ``FOPEN_*`` flags of ``linux/fuse.h``: ``direct_io`` bypasses the page cache, ``keep_cache`` keeps what the page
    cache holds from earlier opens, ``cache_dir`` lets the kernel remember a directory's listing, ``nonseekable`` and
    ``stream`` declare a pipe-like file, ``parallel_direct_writes`` allows concurrent direct writes, and with ``noflush``
    :meth:`FileSystem.flush` is not called for this file.
    """

    fh: int = 0
    direct_io: bool = False
    keep_cache: bool = False
    nonseekable: bool = False
    stream: bool = False
    cache_dir: bool = False
    parallel_direct_writes: bool = False
    noflush: bool = False


class SetAttr(msgspec.Struct, gc=False):
    """What :meth:`FileSystem.setattr` shall change: a field that is ``None`` stays as it is.

    Times are in nanoseconds; a time that the caller set to "now" has been filled in, and ``atime_now`` or
    ``mtime_now`` says so. ``kill_suidgid`` asks to clear the set-user-ID bit, and the set-group-ID bit of a
    group-executable file, along with the change (``FATTR_KILL_SUIDGID``).
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime: int | None = None
    mtime: int | None = None
    ctime: int | None = None
    atime_now: bool = False
    mtime_now: bool = False
    kill_suidgid: bool = False


class StatFs(msgspec.Struct, gc=False):
    """What ``statvfs(3)`` shows: sizes in blocks of ``frsize`` bytes, counts of nodes, the longest name in bytes."""

    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = 4096
    frsize: int = 4096
    namelen: int = 255


class FileLock(msgspec.Struct, frozen=True, gc=False):
    """A byte-range lock (``struct flock``): bytes ``start`` to ``end``, both included; ``end`` 2**63 - 1 is "to the end"."""

    type: LockType
    start: int = 0
    end: int = 0x7FFF_FFFF_FFFF_FFFF
    pid: int = 0


class Ioctl(msgspec.Struct, gc=False):
    """What :meth:`FileSystem.ioctl` returns: the call's result and the bytes that go back to the caller."""

    result: int = 0
    data: bytes = b""


class PollHandle:
    """A caller that waits in ``poll(2)``. :meth:`wake` makes it ask again; it may be called more than once."""

    __slots__ = ("_kh", "_wake")

    def __init__(self, kh: int, wake: Callable[[int], None]) -> None:
        self._kh = kh
        self._wake = wake

    @property
    def kh(self) -> int:
        """The kernel's number for the waiting caller."""
        return self._kh

    def wake(self) -> None:
        """Tell the kernel that the file's readiness may have changed (``FUSE_NOTIFY_POLL``)."""
        self._wake(self._kh)

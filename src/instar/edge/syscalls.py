# SPDX-License-Identifier: Apache-2.0
"""System calls on files that Python's :mod:`os` lacks, or gives without the argument that matters. One function each.

Paths are ``str``, ``bytes`` or path-like and become bytes as :func:`os.fsencode` makes them. A failed call raises
:class:`OSError` with its errno and the path. ``dir_fd`` is the directory that a relative path starts from; None is the
working directory, as in :mod:`os`.

Specification: the man page in section 2 that has the function's name; linux/fs.h, linux/falloc.h,
linux/openat2.h, sys/inotify.h for the constants.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import mmap
import os
import struct
from typing import Final

from instar.edge._errno import Path, call_error

__all__ = [
    "UTIME_NOW",
    "UTIME_OMIT",
    "AtFlags",
    "CloneFlags",
    "FallocateMode",
    "InotifyEvent",
    "InotifyMask",
    "RenameFlags",
    "ResolveFlags",
    "faccessat",
    "fallocate",
    "fchmodat2",
    "futimens",
    "getxattr_into",
    "inotify_add_watch",
    "inotify_init1",
    "inotify_read",
    "linkat",
    "listxattr_into",
    "openat2",
    "page_aligned",
    "readlink_into",
    "renameat2",
    "syncfs",
    "unshare",
    "utimensat",
]

_AT_FDCWD: Final = -100  # fcntl.h
_SYS_OPENAT2: Final = 437  # one number on every architecture of asm-generic/unistd.h
_SYS_FCHMODAT2: Final = 452  # the same

UTIME_NOW: Final = (1 << 30) - 1
"""For :func:`utimensat`: the time of the call (bits/stat.h)."""
UTIME_OMIT: Final = (1 << 30) - 2
"""For :func:`utimensat`: leave this time as it is (bits/stat.h)."""

# SAFETY: every call of this library is declared below with the types of its header, on Linux where off_t is 64 bits for
# the names that end in 64, so no argument is cut or read with another width than the C library uses.
_libc = ctypes.CDLL(None, use_errno=True)


class AtFlags(enum.IntFlag):
    """``AT_*`` of fcntl.h and linux/fcntl.h."""

    NONE = 0
    SYMLINK_NOFOLLOW = 0x100
    EACCESS = 0x200
    SYMLINK_FOLLOW = 0x400
    NO_AUTOMOUNT = 0x800
    EMPTY_PATH = 0x1000
    STATX_FORCE_SYNC = 0x2000
    STATX_DONT_SYNC = 0x4000


class RenameFlags(enum.IntFlag):
    """``RENAME_*`` of linux/fs.h."""

    NONE = 0
    NOREPLACE = 1
    EXCHANGE = 2
    WHITEOUT = 4


class FallocateMode(enum.IntFlag):
    """``FALLOC_FL_*`` of linux/falloc.h."""

    NONE = 0
    KEEP_SIZE = 0x01
    PUNCH_HOLE = 0x02
    COLLAPSE_RANGE = 0x08
    ZERO_RANGE = 0x10
    INSERT_RANGE = 0x20
    UNSHARE_RANGE = 0x40


class ResolveFlags(enum.IntFlag):
    """``RESOLVE_*`` of linux/openat2.h."""

    NONE = 0
    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10
    CACHED = 0x20


class CloneFlags(enum.IntFlag):
    """``CLONE_*`` of sched.h, those that :func:`unshare` is called with."""

    FS = 0x00000200
    NEWNS = 0x00020000
    NEWUSER = 0x10000000


class InotifyMask(enum.IntFlag):
    """``IN_*`` of sys/inotify.h."""

    ACCESS = 0x0001
    MODIFY = 0x0002
    ATTRIB = 0x0004
    CLOSE_WRITE = 0x0008
    CLOSE_NOWRITE = 0x0010
    OPEN = 0x0020
    MOVED_FROM = 0x0040
    MOVED_TO = 0x0080
    CREATE = 0x0100
    DELETE = 0x0200
    DELETE_SELF = 0x0400
    MOVE_SELF = 0x0800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x01000000
    ISDIR = 0x40000000


@dataclasses.dataclass(frozen=True)
class InotifyEvent:
    """``struct inotify_event``: which watch, what happened, the cookie that joins the halves of a rename, the name."""

    watch: int
    mask: InotifyMask
    cookie: int
    name: str


_OPEN_HOW: Final = struct.Struct("=QQQ")
_INOTIFY_EVENT: Final = struct.Struct("=iIII")

_libc.renameat2.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
]
_libc.fallocate64.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.utimensat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
_libc.futimens.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.faccessat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
_libc.linkat.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
_libc.syncfs.argtypes = [ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.inotify_init1.argtypes = [ctypes.c_int]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
for _call in (_libc.getxattr, _libc.lgetxattr):
    _call.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    _call.restype = ctypes.c_ssize_t
_libc.llistxattr.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_libc.llistxattr.restype = ctypes.c_ssize_t
_libc.readlink.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_libc.readlink.restype = ctypes.c_ssize_t
_libc.syscall.restype = ctypes.c_long


def _at(dir_fd: int | None) -> int:
    return _AT_FDCWD if dir_fd is None else dir_fd


def renameat2(
    source: Path,
    target: Path,
    flags: int = RenameFlags.NONE,
    *,
    source_dir_fd: int | None = None,
    target_dir_fd: int | None = None,
) -> None:
    """Rename with ``RENAME_*`` flags."""
    # SAFETY: both paths are NUL-terminated bytes that live until the call returns; the kernel only reads them.
    result = _libc.renameat2(
        _at(source_dir_fd), os.fsencode(source), _at(target_dir_fd), os.fsencode(target), flags
    )
    if result != 0:
        raise call_error(source, target)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """Reserve, punch or zero ``length`` bytes from ``offset`` on, as ``mode`` says. EOPNOTSUPP where the file system lacks the mode."""
    # SAFETY: four integers; no memory is handed over.
    if _libc.fallocate64(fd, mode, offset, length) != 0:
        raise call_error()


def _timespecs(atime: tuple[int, int] | None, mtime: tuple[int, int] | None) -> bytes | None:
    if (atime is None) != (mtime is None):
        raise ValueError("give both times or none; UTIME_OMIT leaves one alone")
    return None if atime is None or mtime is None else struct.pack("@llll", *atime, *mtime)


def utimensat(
    path: Path,
    atime: tuple[int, int] | None,
    mtime: tuple[int, int] | None,
    flags: int = AtFlags.NONE,
    *,
    dir_fd: int | None = None,
) -> None:
    """Set atime and mtime. They are (seconds, nanoseconds); nanoseconds may be :data:`UTIME_NOW` or :data:`UTIME_OMIT`.

    Both None is a null ``times`` argument: now. Raises ValueError if only one is None.
    """
    times = _timespecs(atime, mtime)
    # SAFETY: times is null or two struct timespec (two longs each), the path NUL-terminated; both are only read.
    if _libc.utimensat(_at(dir_fd), os.fsencode(path), times, flags) != 0:
        raise call_error(path)


def futimens(fd: int, atime: tuple[int, int] | None, mtime: tuple[int, int] | None) -> None:
    """As :func:`utimensat` for an open file."""
    times = _timespecs(atime, mtime)
    # SAFETY: times is null or two struct timespec (two longs each) that are only read.
    if _libc.futimens(fd, times) != 0:
        raise call_error()


def linkat(
    source: Path,
    target: Path,
    flags: int = AtFlags.NONE,
    *,
    source_dir_fd: int | None = None,
    target_dir_fd: int | None = None,
) -> None:
    """Make a hard link with flags: ``EMPTY_PATH`` links ``source_dir_fd`` itself, ``SYMLINK_FOLLOW`` what ``source`` names."""
    # SAFETY: both paths are NUL-terminated bytes that live until the call returns; the kernel only reads them.
    result = _libc.linkat(
        _at(source_dir_fd), os.fsencode(source), _at(target_dir_fd), os.fsencode(target), flags
    )
    if result != 0:
        raise call_error(source, target)


def openat2(
    path: Path,
    flags: int,
    mode: int = 0,
    resolve: int = ResolveFlags.NONE,
    *,
    dir_fd: int | None = None,
) -> int:
    """Open with ``RESOLVE_*`` limits; flags that the kernel does not know are EINVAL, unlike in open(2)."""
    how = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve)
    # SAFETY: struct open_how is three 64-bit words; its size goes with it, and the kernel only reads it and the path.
    fd = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(_at(dir_fd)),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_char_p(how),
        ctypes.c_size_t(len(how)),
    )
    if fd < 0:
        raise call_error(path)
    return int(fd)


def fchmodat2(path: Path, mode: int, flags: int = AtFlags.NONE, *, dir_fd: int | None = None) -> None:
    """A chmod (Linux 6.6) that knows ``AT_SYMLINK_NOFOLLOW`` and ``AT_EMPTY_PATH``; ENOSYS on older kernels."""
    # SAFETY: integers and one NUL-terminated path that the kernel only reads.
    result = _libc.syscall(
        ctypes.c_long(_SYS_FCHMODAT2),
        ctypes.c_int(_at(dir_fd)),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_uint(mode),
        ctypes.c_int(flags),
    )
    if result != 0:
        raise call_error(path)


def faccessat(path: Path, mode: int, flags: int = AtFlags.NONE, *, dir_fd: int | None = None) -> None:
    """Ask for rights (``os.R_OK``...); the errno tells why not, where :func:`os.access` says False."""
    # SAFETY: integers and one NUL-terminated path that the kernel only reads.
    if _libc.faccessat(_at(dir_fd), os.fsencode(path), mode, flags) != 0:
        raise call_error(path)


def readlink_into(path: Path, size: int) -> bytes:
    """The target of a link by a buffer of ``size`` bytes: cut there without an error. :func:`os.readlink` hides the size."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    # SAFETY: the buffer holds at least size bytes, and the kernel writes no more than that.
    count = _libc.readlink(os.fsencode(path), buffer, size)
    if count < 0:
        raise call_error(path)
    return buffer.raw[:count]


def getxattr_into(
    path: Path, name: str | bytes, size: int, *, follow_symlinks: bool = True
) -> tuple[int, bytes]:
    """An attribute by a buffer of ``size`` bytes: (what it returned, what it wrote). 0 asks for the length alone.

    :func:`os.getxattr` grows the buffer by itself, so it never shows ERANGE.
    """
    buffer = ctypes.create_string_buffer(max(size, 1))
    call = _libc.getxattr if follow_symlinks else _libc.lgetxattr
    # SAFETY: the buffer holds at least size bytes, and the kernel writes no more than that.
    count = call(os.fsencode(path), os.fsencode(name), buffer, size)
    if count < 0:
        raise call_error(path)
    return int(count), buffer.raw[: min(count, size)]


def listxattr_into(path: Path, size: int) -> tuple[int, bytes]:
    """The attributes' names by a buffer of ``size`` bytes: (what it returned, the NUL-terminated names). 0 asks for the length."""
    buffer = ctypes.create_string_buffer(max(size, 1))
    # SAFETY: the buffer holds at least size bytes, and the kernel writes no more than that.
    count = _libc.llistxattr(os.fsencode(path), buffer, size)
    if count < 0:
        raise call_error(path)
    return int(count), buffer.raw[: min(count, size)]


def syncfs(fd: int) -> None:
    """Write out the file system that ``fd`` is on."""
    # SAFETY: one integer goes in, nothing is pointed to.
    if _libc.syncfs(fd) != 0:
        raise call_error()


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces; NEWUSER is EINVAL in a process with more than one.

    With FS it gets a umask, a working directory and a root of its own, which threads that it starts later share.
    """
    # SAFETY: one integer; with CloneFlags only namespaces and what FS names change, memory and descriptors stay shared.
    if _libc.unshare(flags) != 0:
        raise call_error()


def page_aligned(size: int) -> memoryview:
    """A zeroed buffer that starts at a page, as O_DIRECT wants it; it lives as long as somebody holds it."""
    # SAFETY: an anonymous mapping of its own, which the view keeps alive; no file and no other memory is involved.
    return memoryview(mmap.mmap(-1, size))


def inotify_init1(flags: int = 0) -> int:
    """A new inotify instance, close-on-exec; ``flags`` may hold :data:`os.O_NONBLOCK`."""
    # SAFETY: one integer goes in, nothing is pointed to.
    fd = _libc.inotify_init1(flags | os.O_CLOEXEC)
    if fd < 0:
        raise call_error()
    return int(fd)


def inotify_add_watch(fd: int, path: Path, mask: int) -> int:
    """Watch ``path`` for the events of ``mask``; the number of the watch."""
    # SAFETY: the path is NUL-terminated and only read.
    watch = _libc.inotify_add_watch(fd, os.fsencode(path), mask)
    if watch < 0:
        raise call_error(path)
    return int(watch)


def inotify_read(fd: int) -> list[InotifyEvent]:
    """The events that are there, at least one; waits unless the instance is O_NONBLOCK (then BlockingIOError)."""
    data = os.read(fd, 65536)
    events = []
    place = 0
    while place < len(data):
        watch, mask, cookie, length = _INOTIFY_EVENT.unpack_from(data, place)
        place += _INOTIFY_EVENT.size
        name = os.fsdecode(data[place : place + length].rstrip(b"\0"))
        events.append(InotifyEvent(watch, InotifyMask(mask), cookie, name))
        place += length
    return events

# SPDX-License-Identifier: Apache-2.0
"""statx(2): the attributes of a file, with its birth time and its mount, as a record or as plain numbers.

:func:`os.stat` gives neither of the two, and makes an object with twenty attributes where a file system needs a dozen
numbers. :func:`statx` gives everything by name; :class:`StatusReader` reads what a file system needs into a buffer that is used again.

Specification: statx(2), ``struct statx`` of linux/stat.h.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import os
import struct
from typing import Final, TypeAlias

from instar.edge._errno import Path, call_error
from instar.edge.syscalls import AtFlags

__all__ = ["RawStatus", "StatusReader", "Statx", "StatxMask", "statx"]

_AT_FDCWD: Final = -100  # fcntl.h
_AT_EMPTY_PATH: Final = AtFlags.EMPTY_PATH.value


class StatxMask(enum.IntFlag):
    """``STATX_*`` of linux/stat.h."""

    TYPE = 0x0001
    MODE = 0x0002
    NLINK = 0x0004
    UID = 0x0008
    GID = 0x0010
    ATIME = 0x0020
    MTIME = 0x0040
    CTIME = 0x0080
    INO = 0x0100
    SIZE = 0x0200
    BLOCKS = 0x0400
    BASIC_STATS = 0x07FF
    BTIME = 0x0800
    MNT_ID = 0x1000


@dataclasses.dataclass(frozen=True)
class Statx:
    """``struct statx``; times are nanoseconds since the epoch. A field that ``mask`` lacks holds what the kernel put."""

    mask: StatxMask
    blksize: int
    attributes: int
    attributes_mask: int
    nlink: int
    uid: int
    gid: int
    mode: int
    ino: int
    size: int
    blocks: int
    atime_ns: int
    btime_ns: int
    ctime_ns: int
    mtime_ns: int
    rdev: int
    dev: int
    mnt_id: int


#: ``(mask, blksize, nlink, uid, gid, mode, ino, size, blocks, atime_s, atime_ns, btime_s, btime_ns, ctime_s, ctime_ns,
#: mtime_s, mtime_ns, rdev_major, rdev_minor, dev_major, dev_minor, mnt_id)``
RawStatus: TypeAlias = tuple[int, ...]

_ASKED: Final = int(StatxMask.BASIC_STATS | StatxMask.BTIME | StatxMask.MNT_ID)
_SIZE: Final = 256  # bytes of struct statx
# Both in the byte order of the machine and without padding of their own: the kernel's fields have fixed widths.
_ALL: Final = struct.Struct("=IIQIIIH2xQQQQ qI4x qI4x qI4x qI4x IIII Q")
_UNPACK: Final = struct.Struct("=II8xIIIH2xQQQ8xqI4xqI4xqI4xqI4xIIIIQ").unpack_from

# SAFETY: the prototype is that of sys/stat.h, so no argument is cut or read with another width than the C library uses.
_statx = ctypes.CDLL(None, use_errno=True).statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p]
_statx.restype = ctypes.c_int


class StatusReader:
    """Reads attributes. Owns one buffer, so it serves one thread at a time.

    >>> reader = StatusReader()
    >>> root = os.open("/", os.O_PATH)
    >>> reader.at(root)[3]  # the owner
    0
    >>> os.close(root)
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_SIZE)

    def at(self, dirfd: int, name: bytes = b"", flags: int = _AT_EMPTY_PATH) -> RawStatus:
        """The attributes of ``name`` in ``dirfd``, or of ``dirfd`` itself.

        Raises :class:`OSError` with the errno of statx(2).
        """
        # SAFETY: the kernel writes one struct statx, 256 bytes, into a buffer of that size that this object keeps alive.
        if _statx(dirfd, name, flags, _ASKED, self._buffer) != 0:
            raise call_error()
        return _UNPACK(self._buffer)


def statx(
    path: Path,
    mask: int = StatxMask.BASIC_STATS | StatxMask.BTIME,
    flags: int = AtFlags.SYMLINK_NOFOLLOW,
    *,
    dir_fd: int | None = None,
) -> Statx:
    """Attributes by name. ``path`` may be empty with ``AtFlags.EMPTY_PATH`` to ask about ``dir_fd`` itself.

    Raises :class:`OSError` with the errno of statx(2) and the path.
    """
    buffer = ctypes.create_string_buffer(_SIZE)
    # SAFETY: the kernel writes one struct statx, 256 bytes for ever (linux/stat.h), into a buffer of that size.
    if _statx(_AT_FDCWD if dir_fd is None else dir_fd, os.fsencode(path), flags, mask, buffer) != 0:
        raise call_error(path)
    got, blksize, attributes, *numbers = _ALL.unpack_from(buffer.raw)
    nlink, uid, gid, mode, ino, size, blocks, attributes_mask, *rest = numbers
    atime, atime_ns, btime, btime_ns, ctime, ctime_ns, mtime, mtime_ns, *rest = rest
    rdev_major, rdev_minor, dev_major, dev_minor, mnt_id = rest
    return Statx(
        mask=StatxMask(got & _ASKED),
        blksize=blksize,
        attributes=attributes,
        attributes_mask=attributes_mask,
        nlink=nlink,
        uid=uid,
        gid=gid,
        mode=mode,
        ino=ino,
        size=size,
        blocks=blocks,
        atime_ns=atime * 10**9 + atime_ns,
        btime_ns=btime * 10**9 + btime_ns,
        ctime_ns=ctime * 10**9 + ctime_ns,
        mtime_ns=mtime * 10**9 + mtime_ns,
        rdev=os.makedev(rdev_major, rdev_minor),
        dev=os.makedev(dev_major, dev_minor),
        mnt_id=mnt_id,
    )

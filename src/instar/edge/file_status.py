# SPDX-License-Identifier: Apache-2.0
"""statx(2) into a buffer that is used again: the attributes of a file, with its birth time and its mount.

:func:`os.stat` gives neither of the two, and makes an object with twenty attributes where a file system needs a dozen numbers.

Specification: statx(2), ``struct statx`` of linux/stat.h.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
from typing import Final, TypeAlias

__all__ = [
    "AT_EMPTY_PATH",
    "AT_STATX_DONT_SYNC",
    "AT_SYMLINK_NOFOLLOW",
    "RawStatus",
    "StatusReader",
    "StatxMask",
]

AT_SYMLINK_NOFOLLOW: Final = 0x100  # fcntl.h
AT_EMPTY_PATH: Final = 0x1000  # fcntl.h
AT_STATX_DONT_SYNC: Final = 0x4000  # linux/fcntl.h


class StatxMask(enum.IntFlag):
    """``STATX_*`` of linux/stat.h: what to ask for, and in the answer what is there."""

    BASIC_STATS = 0x07FF
    BTIME = 0x0800
    MNT_ID = 0x1000


#: ``(mask, blksize, nlink, uid, gid, mode, ino, size, blocks, atime_s, atime_ns, btime_s, btime_ns, ctime_s, ctime_ns,
#: mtime_s, mtime_ns, rdev_major, rdev_minor, dev_major, dev_minor, mnt_id)``
RawStatus: TypeAlias = tuple[int, ...]

_ASKED: Final = int(StatxMask.BASIC_STATS | StatxMask.BTIME | StatxMask.MNT_ID)
_SIZE: Final = 256  # bytes of struct statx
_UNPACK: Final = struct.Struct("<II8xIIIH2xQQQ8xqI4xqI4xqI4xqI4xIIIIQ").unpack_from

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

    def at(self, dirfd: int, name: bytes = b"", flags: int = AT_EMPTY_PATH) -> RawStatus:
        """The attributes of ``name`` in ``dirfd``, or of ``dirfd`` itself.

        Raises :class:`OSError` with the errno of statx(2).
        """
        # SAFETY: the kernel writes one struct statx, 256 bytes, into a buffer of that size that this object keeps alive.
        if _statx(dirfd, name, flags, _ASKED, self._buffer) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return _UNPACK(self._buffer)

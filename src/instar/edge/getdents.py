# SPDX-License-Identifier: Apache-2.0
"""getdents64(2): a directory in batches of bounded size, with the cookies (``d_off``) that a listing is resumed by.

:func:`os.scandir` hides the cookies and cannot be resumed.

Specification: getdents64(2), ``struct linux_dirent64`` of linux/dirent.h, seekdir(3).
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from instar.edge._errno import call_error

__all__ = ["DirectoryReader"]

# d_ino, d_off, d_reclen, d_type in the machine's byte order; the name follows, ended by NUL.
_HEAD: Final = struct.Struct("=QqHB")
_HEAD_SIZE: Final = 19  # struct.Struct.size; the name starts without padding

# SAFETY: getdents64(2) as dirent.h declares it (glibc 2.30, musl 1.1).
_getdents64 = ctypes.CDLL(None, use_errno=True).getdents64
_getdents64.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
_getdents64.restype = ctypes.c_ssize_t


class DirectoryReader:
    """Reads directories. Owns one buffer of ``size`` bytes, so it serves one thread at a time."""

    __slots__ = ("_buffer", "_size", "_view")

    def __init__(self, size: int = 32768) -> None:
        self._size = size
        self._buffer = ctypes.create_string_buffer(size)
        self._view = memoryview(self._buffer).cast("B")

    def batch(self, fd: int) -> list[tuple[int, int, int, bytes]]:
        """The next entries as ``(d_ino, d_off, d_type, name)``; none at the end.

        ``d_off`` is signed, as lseek(2) takes it back. Raises :class:`OSError` with the errno of getdents64(2).
        """
        # SAFETY: the kernel writes at most _size bytes into this object's buffer of that size.
        count = _getdents64(fd, self._buffer, self._size)
        if count < 0:
            raise call_error()
        if count == 0:
            return []
        data = bytes(self._view[:count])
        entries: list[tuple[int, int, int, bytes]] = []
        append, unpack, end = entries.append, _HEAD.unpack_from, data.index
        place = 0
        while place < count:
            ino, offset, length, kind = unpack(data, place)
            start = place + _HEAD_SIZE
            append((ino, offset, kind, data[start : end(0, start)]))
            place += length
        return entries

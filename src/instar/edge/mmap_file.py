# SPDX-License-Identifier: Apache-2.0
"""A file mapped into memory, for programs that check file systems: bad accesses raise instead of killing.

The :mod:`mmap` module refuses to map past the end of a file, duplicates the descriptor, and lets an access to a page
past the end kill the process with SIGBUS. A checker needs all three the other way round. :class:`FileMapping` maps with
mmap(2) itself and never touches the mapped memory from user space: bytes move between the mapping and a memfd
through pread(2) and pwrite(2), so the kernel takes the page fault, and a fault that it cannot serve is EFAULT, not a signal.

Specification: mmap(2), msync(2), memfd_create(2).
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
from typing import Final, Self

from instar.edge._errno import call_error

__all__ = ["PAGE_SIZE", "FileMapping", "MapFlags", "Protection"]

PAGE_SIZE: Final = os.sysconf("SC_PAGE_SIZE")
"""Bytes in a page."""

_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_MS_SYNC: Final = 4  # bits/mman-linux.h


class Protection(enum.IntFlag):
    """``PROT_*`` of bits/mman-linux.h."""

    READ = 1
    WRITE = 2


class MapFlags(enum.IntFlag):
    """``MAP_*`` of bits/mman-linux.h, those of a mapped file."""

    SHARED = 1
    PRIVATE = 2


# SAFETY: the prototypes are those of mman.h and unistd.h on Linux with a 64-bit off_t (libc's *64 names), so no argument
# is cut or read with another width than the C library uses. ssize_t is c_ssize_t, off_t is c_int64.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap64.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]
_libc.mmap64.restype = ctypes.c_void_p
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.munmap.restype = ctypes.c_int
_libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.msync.restype = ctypes.c_int
for _call in (_libc.pread64, _libc.pwrite64):
    _call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
    _call.restype = ctypes.c_ssize_t


class FileMapping:
    """``length`` bytes of a file from ``offset`` on, mapped; may reach past the end of the file.

    The mapping does not keep ``fd``: the caller may close it. Use as a context manager, or call :meth:`close`.

    Args:
        fd: an open regular file.
        length: bytes, more than zero.
        protection: what the pages may be used for.
        flags: SHARED or PRIVATE.
        offset: bytes, a multiple of :data:`PAGE_SIZE`.

    Raises:
        OSError: what mmap(2) says: EACCES (not opened for that), EINVAL, ENODEV (cannot be mapped), EBADF.
    """

    def __init__(
        self,
        fd: int,
        length: int,
        protection: Protection = Protection.READ,
        flags: MapFlags = MapFlags.SHARED,
        offset: int = 0,
    ) -> None:
        self._address: int | None = None
        if length <= 0 or offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._length = length
        self._bounce = os.memfd_create("instar-mapping", os.MFD_CLOEXEC)
        # SAFETY: the address is left to the kernel (no MAP_FIXED), so no memory that is in use is replaced. The range
        # [address, address + length) belongs to this object alone until close() unmaps it.
        address = _libc.mmap64(None, length, int(protection), int(flags), fd, offset)
        if address == _MAP_FAILED or address is None:
            error = call_error()
            os.close(self._bounce)
            raise error
        self._address = int(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    @classmethod
    def anonymous(cls, length: int) -> Self:
        """``length`` bytes of zeros that belong to no file, aligned to a page: a buffer for O_DIRECT.

        Raises:
            OSError: ENOMEM, or EINVAL for a length of zero.
        """
        fd = os.memfd_create("instar-buffer", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, max(length, 0))
            return cls(fd, length, Protection.READ | Protection.WRITE)
        finally:
            os.close(fd)

    def pread_into(self, fd: int, offset: int) -> int:
        """Fill the mapping from a file with one pread(2); the bytes read. Raises OSError with its errno."""
        address = self._range(0, self._length)
        # SAFETY: the kernel writes at most the mapping's whole length, which this object owns.
        return self._count(_libc.pread64(fd, address, self._length, offset))

    def pwrite_from(self, fd: int, offset: int) -> int:
        """Write the mapping to a file with one pwrite(2); the bytes written. Raises OSError with its errno."""
        address = self._range(0, self._length)
        # SAFETY: the kernel reads at most the mapping's whole length, which this object owns.
        return self._count(_libc.pwrite64(fd, address, self._length, offset))

    @staticmethod
    def _count(count: int) -> int:
        if count < 0:
            raise call_error()
        return count

    def _range(self, offset: int, size: int) -> int:
        if self._address is None:
            raise ValueError("the mapping is closed")
        if offset < 0 or size < 0 or offset + size > self._length:
            raise ValueError(f"[{offset}, {offset + size}) is not inside the mapping's {self._length} bytes")
        return self._address + offset

    def load(self, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset`` of the mapping.

        Raises:
            OSError: EFAULT where a program would get SIGBUS (a page past the end of the file, or a failed read).
            ValueError: the range is not inside the mapping.
        """
        address = self._range(offset, size)
        # SAFETY: _range() checked that [address, address + size) is inside the live mapping. The kernel reads it; if a page
        # cannot be had the call is short or says EFAULT, and no signal is raised.
        self._all(_libc.pwrite64, address, size)
        return os.pread(self._bounce, size, 0)

    def store(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset`` of the mapping.

        Raises:
            OSError: EFAULT where a program would get SIGBUS or SIGSEGV (past the end of the file, not writable).
            ValueError: the range is not inside the mapping.
        """
        address = self._range(offset, len(data))
        os.pwrite(self._bounce, data, 0)
        # SAFETY: as in load(); the kernel writes only into [address, address + len(data)), which this object owns. A page
        # that is not writable gives EFAULT.
        self._all(_libc.pread64, address, len(data))

    def _all(self, call: ctypes._NamedFuncPointer, address: int, size: int) -> None:
        done = 0
        while done < size:
            # SAFETY: load() and store() say why the range is sound; here it only gets shorter.
            count = call(self._bounce, address + done, size - done, done)
            if count <= 0:
                raise call_error() if count < 0 else OSError(errno.EFAULT, os.strerror(errno.EFAULT))
            done += count

    def sync(self) -> None:
        """msync(2) with MS_SYNC on the whole mapping; raises OSError with its errno."""
        address = self._range(0, self._length)
        # SAFETY: the range is the whole live mapping, page-aligned as mmap(2) returned it.
        if _libc.msync(address, self._length, _MS_SYNC) != 0:
            raise call_error()

    def close(self) -> None:
        """Unmap. Closing twice is harmless."""
        address, self._address = self._address, None
        if address is not None:
            # SAFETY: exactly the range that mmap(2) returned, unmapped once because the address is forgotten first;
            # load() and store() keep no pointer into it.
            _libc.munmap(address, self._length)
            os.close(self._bounce)

    def __del__(self) -> None:
        if getattr(self, "_address", None) is not None:
            self.close()

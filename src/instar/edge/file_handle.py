# SPDX-License-Identifier: Apache-2.0
"""File handles: bytes that name a file of a mounted file system for as long as the file exists, whatever it is called.

A handle holds the inode number and its generation, so it never names another file that came later. It costs no
descriptor, and another process can use it. Opening by handle needs ``CAP_DAC_READ_SEARCH``.

Specification: name_to_handle_at(2), open_by_handle_at(2), ``struct file_handle`` of linux/fs.h.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Final

from instar.edge._errno import call_error
from instar.edge.syscalls import AtFlags

__all__ = ["HandleReader", "open_handle"]

_AT_EMPTY_PATH: Final = AtFlags.EMPTY_PATH.value
_MAX_HANDLE_SZ: Final = 128  # linux/exportfs.h
_HEAD: Final = struct.Struct("=Ii")  # the machine's byte order; handle_bytes, handle_type; f_handle follows
_LENGTH: Final = struct.Struct("=I")
_ROOM: Final = _LENGTH.pack(_MAX_HANDLE_SZ)

# SAFETY: the prototypes are those of fcntl.h. Both structures are passed as pointers to bytes, which the callers own.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.name_to_handle_at.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
]
_libc.name_to_handle_at.restype = ctypes.c_int
_libc.open_by_handle_at.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
_libc.open_by_handle_at.restype = ctypes.c_int


class HandleReader:
    """Reads handles. Owns one buffer, so it serves one thread at a time."""

    __slots__ = ("_buffer", "_mount", "_mount_ref", "_view")

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_HEAD.size + _MAX_HANDLE_SZ)
        self._view = memoryview(self._buffer).cast("B")
        self._mount = ctypes.c_int()
        self._mount_ref = ctypes.byref(self._mount)

    def at(self, dirfd: int, name: bytes = b"", flags: int = _AT_EMPTY_PATH) -> tuple[bytes, int]:
        """The handle of ``name`` in ``dirfd`` (symbolic links are not followed), or of ``dirfd`` itself, and its mount.

        The mount is the number in the first column of ``/proc/self/mountinfo``.

        Raises :class:`OSError`: ``EOPNOTSUPP`` where the file system has no handles, ``EOVERFLOW`` where they are too
        long, or what a lookup of the name raises.
        """
        view = self._view
        view[:4] = _ROOM
        # SAFETY: the kernel writes at most handle_bytes (128, set above) after the head into a buffer with that room, and
        # one int; both belong to this object.
        if _libc.name_to_handle_at(dirfd, name, self._buffer, self._mount_ref, flags) != 0:
            raise call_error()
        return bytes(view[: _HEAD.size + _LENGTH.unpack_from(view)[0]]), self._mount.value


def open_handle(mount_fd: int, handle: bytes, flags: int) -> int:
    """Open what ``handle`` names on the mount that ``mount_fd`` (not ``O_PATH``) lies on.

    Raises :class:`OSError`: ``ESTALE`` when the file is gone, ``EPERM`` without the capability, or what open(2) raises.
    """
    if len(handle) < _HEAD.size or len(handle) < _HEAD.size + _HEAD.unpack_from(handle)[0]:
        raise ValueError("the handle is cut short")
    # SAFETY: the kernel reads the head and then handle_bytes bytes, which the check above has found to be there; it
    # writes nothing. The bytes object lives until the call returns.
    fd = _libc.open_by_handle_at(mount_fd, handle, flags)
    if fd < 0:
        raise call_error()
    return int(fd)

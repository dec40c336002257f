# SPDX-License-Identifier: Apache-2.0
"""ioctl(2) on files, for the commands whose argument is one structure of known size.

Specification: ioctl_fs(2), FS_IOC_GETFLAGS(2const), linux/fs.h, asm-generic/ioctl.h.
"""

from __future__ import annotations

import enum
import fcntl

__all__ = ["FileIoctl", "file_ioctl", "ioctl_size"]


class FileIoctl(enum.IntEnum):
    """Commands of linux/fs.h that read or write one structure, on a 64-bit machine and as a 32-bit program gives them."""

    GETFLAGS = 0x80086601
    SETFLAGS = 0x40086602
    GETVERSION = 0x80087601
    SETVERSION = 0x40087602
    GETFLAGS32 = 0x80046601
    SETFLAGS32 = 0x40046602
    FSGETXATTR = 0x801C581F
    FSSETXATTR = 0x401C5820
    GETFSLABEL = 0x81009431
    GETFSUUID = 0x80111500
    GETFSSYSFSPATH = 0x80811501


def ioctl_size(command: int) -> int:
    """The size of the structure in bytes, as the command's number encodes it (``_IOC_SIZE``)."""
    return command >> 16 & 0x3FFF


def file_ioctl(fd: int, command: FileIoctl, data: bytes) -> tuple[int, bytes]:
    """Issue ``command`` with ``data`` as its structure; return the result and the structure afterwards.

    Shorter data is filled up with zeros. Raises :class:`OSError` with the errno of ioctl(2), ``ENOTTY`` among them.
    """
    size = ioctl_size(command)
    buffer = bytearray(max(size, 8))
    buffer[: len(data)] = data[: len(buffer)]
    # SAFETY: every member of FileIoctl is a command that moves no more than the size in its number to or from the
    # argument and follows no pointer in it; the buffer is at least that large and lives until the call returns.
    result = fcntl.ioctl(fd, command, buffer, True)
    return result, bytes(buffer[:size])

# SPDX-License-Identifier: Apache-2.0
"""`DoorFile`: an open file of a `Door`."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, Self

from instar.fs import FallocateFlags
from instar.wire import fuse as wire
from instar.wire.fuse import FattrFlags, Opcode

if TYPE_CHECKING:
    from types import TracebackType

    from instar.testing._door import Door

__all__ = ["DoorFile"]

_CHUNK: Final = 131072  # bytes: what one READ or WRITE carries at most


class DoorFile:
    """An open file with a position, as a descriptor has one."""

    def __init__(self, door: Door, ino: int, fh: int, flags: int, known: list[int]) -> None:
        self._door = door
        self._flags = flags
        self._known = known
        self._open = True
        self.ino = ino
        self.fh = fh
        self.position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pread(self, size: int, offset: int) -> bytes:
        """``pread(2)``."""
        parts: list[bytes] = []
        while size > 0:
            message = wire.Read(self.fh, offset, min(size, _CHUNK), 0, 0, self._flags)
            reply = self._door.call(wire.DataReply, Opcode.FUSE_READ, message, self.ino)
            parts.append(reply.data)
            offset += len(reply.data)
            size -= len(reply.data)
            if len(reply.data) < message.size:
                break
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        """``read(2)`` from the position; without a size, everything to the end."""
        parts: list[bytes] = []
        while size:
            data = self.pread(_CHUNK if size < 0 else size, self.position)
            self.position += len(data)
            parts.append(data)
            if size > 0 or not data:
                break
        return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> int:
        """``pwrite(2)``: returns how much was written, less than all only where the file system says so."""
        done = 0
        while done < len(data):
            piece = data[done : done + _CHUNK]
            message = wire.Write(self.fh, offset + done, piece, 0, 0, self._flags)
            reply = self._door.call(wire.WriteReply, Opcode.FUSE_WRITE, message, self.ino)
            done += reply.size
            if reply.size < len(piece):
                break
        return done

    def write(self, data: bytes) -> int:
        """``write(2)`` at the position, or at the end with ``O_APPEND``."""
        if self._flags & os.O_APPEND:
            self.position = self.fstat().size
        written = self.pwrite(data, self.position)
        self.position += written
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """``lseek(2)``, data and holes included."""
        if whence == os.SEEK_CUR:
            offset += self.position
        elif whence == os.SEEK_END:
            offset += self.fstat().size
        elif whence != os.SEEK_SET:
            reply = self._door.call(
                wire.LseekReply, Opcode.FUSE_LSEEK, wire.Lseek(self.fh, offset, whence), self.ino
            )
            offset = reply.offset
        self.position = offset
        return offset

    def fstat(self) -> wire.Attributes:
        """``fstat(2)``."""
        reply = self._door.call(wire.AttrReply, Opcode.FUSE_GETATTR, wire.Getattr(self.fh), self.ino)
        return reply.attr

    def truncate(self, size: int) -> None:
        """``ftruncate(2)``."""
        valid = FattrFlags.FATTR_SIZE | FattrFlags.FATTR_FH
        message = wire.Setattr(int(valid), fh=self.fh, size=size)
        self._door.call(wire.AttrReply, Opcode.FUSE_SETATTR, message, self.ino)

    def fallocate(self, mode: FallocateFlags, offset: int, length: int) -> None:
        """``fallocate(2)``."""
        message = wire.Fallocate(self.fh, offset, length, int(mode))
        self._door.call(wire.EmptyReply, Opcode.FUSE_FALLOCATE, message, self.ino)

    def fsync(self, *, datasync: bool = False) -> None:
        """``fsync(2)`` or ``fdatasync(2)``."""
        message = wire.Fsync(self.fh, int(datasync))
        self._door.call(wire.EmptyReply, Opcode.FUSE_FSYNC, message, self.ino)

    def ioctl(self, cmd: int, data: bytes = b"", out_size: int = 0) -> tuple[int, bytes]:
        """``ioctl(2)``: returns the result and what came back."""
        reply = self._door.call(
            wire.IoctlReply, Opcode.FUSE_IOCTL, wire.Ioctl(self.fh, 0, cmd, 0, data, out_size), self.ino
        )
        return reply.result, reply.data

    def poll(self, events: int) -> int:
        """``poll(2)`` without waiting: which of ``events`` are ready."""
        reply = self._door.call(wire.PollReply, Opcode.FUSE_POLL, wire.Poll(self.fh, 1, 0, events), self.ino)
        return reply.revents

    def close(self) -> None:
        """``close(2)``: FLUSH, whose errno is raised, and RELEASE, whose errno nobody ever sees."""
        if not self._open:
            return
        self._open = False
        try:
            message = wire.Flush(self.fh, self._door.lock_owner)
            self._door.call(wire.EmptyReply, Opcode.FUSE_FLUSH, message, self.ino)
        finally:
            with contextlib.suppress(OSError):
                self._door.call(
                    wire.EmptyReply, Opcode.FUSE_RELEASE, wire.Release(self.fh, self._flags), self.ino
                )
            for ino in self._known:
                self._door.forget(ino)

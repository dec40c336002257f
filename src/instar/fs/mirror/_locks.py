# SPDX-License-Identifier: Apache-2.0
"""Locks that reach the backing files, so that they hold against programs that use the tree without the mount.

A byte-range lock belongs to a lock owner (a process, or an open file description), so each owner gets an open file
description of the backing file to hang its locks on (``F_OFD_SETLK``); its last close drops them. A ``flock(2)`` hangs
on the descriptor of the open file itself. A table of the mount's own locks answers who it is that holds one.

A request that must wait is tried again when a lock is dropped through the mount, and every 50 ms at most for the sake
of those outside, so that it can be cancelled at any moment. The kernel finds no deadlocks (``EDEADLK``) among such locks.

Specification: fcntl(2) "Open file description locks", flock(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Awaitable, Callable
from typing import Final

from instar.fs._types import Context, FileLock, LockType
from instar.fs.locks import LockTable
from instar.fs.mirror._data import Data
from instar.fs.mirror._nodes import fail

__all__ = ["Locks"]

_FLOCK: Final = struct.Struct("@hhqqi4x")  # struct flock: type, whence, start, len, pid
_TO_THE_END: Final = 0x7FFF_FFFF_FFFF_FFFF
_TYPES: Final = {LockType.RDLCK: fcntl.F_RDLCK, LockType.WRLCK: fcntl.F_WRLCK, LockType.UNLCK: fcntl.F_UNLCK}
_FLOCKS: Final = {
    LockType.RDLCK: fcntl.LOCK_SH | fcntl.LOCK_NB,
    LockType.WRLCK: fcntl.LOCK_EX | fcntl.LOCK_NB,
    LockType.UNLCK: fcntl.LOCK_UN,
}
_FROM_KERNEL: Final = {number: kind for kind, number in _TYPES.items()}
_FIRST_PAUSE: Final = 0.001  # seconds
_LONGEST_PAUSE: Final = 0.05  # seconds
_BUSY: Final = frozenset({errno.EAGAIN, errno.EACCES})


def _pack(lock: FileLock) -> bytes:
    length = 0 if lock.end >= _TO_THE_END else lock.end - lock.start + 1
    return _FLOCK.pack(_TYPES[lock.type], os.SEEK_SET, lock.start, length, 0)


class Locks(Data):
    """The operations on locks."""

    def __init__(
        self, source: str | os.PathLike[str], *, read_only: bool = False, use_handles: bool = True
    ) -> None:
        super().__init__(source, read_only=read_only, use_handles=use_handles)
        self._table = LockTable()
        self._owners: dict[int, dict[int, int]] = {}  # node number: lock owner: descriptor
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}  # by node number

    def getlk(self, ctx: Context, ino: int, fh: int, owner: int, lock: FileLock) -> FileLock | None:
        """Return a lock in the way: one of this mount with its process, or one of the backing file."""
        found = self._table.test(ino, owner, lock)
        if found is not None:
            return found
        fd, shared = self._owner_fd(ino, owner)
        try:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _pack(lock))
        finally:
            if not shared:
                os.close(fd)
        kind, _, start, length, pid = _FLOCK.unpack(answer)
        if kind == fcntl.F_UNLCK:
            return None
        end = _TO_THE_END if length == 0 else start + length - 1
        return FileLock(_FROM_KERNEL[kind], start, end, max(pid, 0))

    def setlk(
        self, ctx: Context, ino: int, fh: int, owner: int, lock: FileLock, *, wait: bool, flock: bool
    ) -> Awaitable[None] | None:
        """Take, change or drop a lock of the backing file."""
        if flock:

            def attempt() -> bool:
                return self._try_flock(fh, lock.type)
        else:

            def attempt() -> bool:
                return self._try_range(ino, owner, lock)

        if attempt():
            if lock.type is not LockType.WRLCK:
                self._wake(ino)
            return None
        if not wait:
            fail(errno.EAGAIN)
        return self._wait(ino, attempt)

    async def _wait(self, ino: int, attempt: Callable[[], bool]) -> None:
        pause = _FIRST_PAUSE
        waiting = self._waiting.setdefault(ino, set())
        while True:
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.add(woken)
            try:
                await asyncio.wait((woken,), timeout=pause)
            finally:
                waiting.discard(woken)
                if not waiting:
                    self._waiting.pop(ino, None)
            if attempt():
                return
            waiting = self._waiting.setdefault(ino, set())
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _wake(self, ino: int) -> None:
        for woken in self._waiting.get(ino, ()):
            if not woken.done():
                woken.set_result(None)

    def _try_flock(self, fh: int, kind: LockType) -> bool:
        file = self.files.get(fh)
        try:
            fcntl.flock(self.files.unpark(file), _FLOCKS[kind])
        except BlockingIOError:
            return False
        file.held = kind is not LockType.UNLCK
        return True

    def _try_range(self, ino: int, owner: int, lock: FileLock) -> bool:
        if lock.type is LockType.UNLCK:
            if owner not in self._owners.get(ino, ()):
                return True
        elif self._table.test(ino, owner, lock) is not None:
            return False
        fd, shared = self._owner_fd(ino, owner)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _pack(lock))
        except OSError as error:
            if not shared:
                os.close(fd)
            if error.errno in _BUSY:
                return False
            raise
        self._owners.setdefault(ino, {})[owner] = fd
        return self._table.try_lock(ino, owner, lock, flock=False)

    def _owner_fd(self, ino: int, owner: int) -> tuple[int, bool]:
        """The descriptor that holds an owner's locks on a node, and whether it is in the table; else it is the caller's."""
        fd = self._owners.get(ino, {}).get(owner)
        if fd is not None:
            return fd, True
        node = self.nodes.node(ino)
        common = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return self.nodes.open_node(node, os.O_RDWR | common), False
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY}:
                raise
        return self.nodes.open_node(node, os.O_RDONLY | common), False

    def flush(self, ctx: Context, ino: int, fh: int, lock_owner: int) -> None:
        """Drop the owner's byte-range locks, as each close of a process does, and flush the file."""
        self._drop(ino, lock_owner)
        super().flush(ctx, ino, fh, lock_owner)

    def _drop(self, ino: int, owner: int) -> None:
        owners = self._owners.get(ino)
        fd = owners.pop(owner, None) if owners else None
        if fd is None:
            return
        if not owners:
            del self._owners[ino]
        os.close(fd)
        self._table.drop_owner(ino, owner, flock=False)
        self._wake(ino)

    def release(self, ctx: Context, ino: int, fh: int, flags: int) -> None:
        """Close the file, and drop its ``flock``."""
        super().release(ctx, ino, fh, flags)
        self._wake(ino)

    def forget(self, ino: int) -> None:
        """Drop the node and what locks are left on it."""
        for owner in list(self._owners.get(ino, ())):
            self._drop(ino, owner)
        super().forget(ino)

    def destroy(self) -> None:
        """Drop all locks and close everything."""
        for owners in self._owners.values():
            for fd in owners.values():
                with contextlib.suppress(OSError):  # NFS may tell an error here that nobody waits for
                    os.close(fd)
        self._owners.clear()
        super().destroy()

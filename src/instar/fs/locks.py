# SPDX-License-Identifier: Apache-2.0
"""`LockTable`: the rules of advisory locks, for file systems that keep locks themselves.

Most need not: without ``getlk`` and ``setlk`` the kernel keeps the locks of its mount. A file system that several
machines use, or that must know its locks, calls a table from those two methods.

Two kinds exist and do not see each other (``flock(2)``): byte-range locks of ``fcntl(2)``, which belong to an owner
and are split and merged as ranges are locked and unlocked, and whole-file locks of ``flock(2)``. Requests that
cannot be granted wait in the order in which they came; one that is granted lets those behind it try.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Final, TypeVar

import msgspec

from instar.fs._types import FileLock, LockType

__all__ = ["LockTable"]

_K = TypeVar("_K")
_V = TypeVar("_V")
_END: Final = 0x7FFF_FFFF_FFFF_FFFF


class _Held(msgspec.Struct, gc=False):
    owner: int
    type: LockType
    start: int
    end: int
    pid: int

    def conflicts(self, owner: int, lock: FileLock) -> bool:
        """Whether this lock keeps ``owner`` from having ``lock``."""
        overlaps = self.start <= lock.end and lock.start <= self.end
        exclusive = LockType.WRLCK in (self.type, lock.type)
        return overlaps and exclusive and self.owner != owner


class LockTable:
    """The locks of one file system, by node number.

    >>> table = LockTable()
    >>> table.try_lock(5, owner=1, lock=FileLock(LockType.WRLCK, 0, 9), flock=False)
    True
    >>> table.test(5, owner=2, lock=FileLock(LockType.RDLCK, 5, 20)).end
    9
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, bool], list[_Held]] = {}
        self._waiting: dict[tuple[int, bool], list[asyncio.Future[None]]] = {}
        #: What each owner waits for, byte-range locks only.
        self._wanted: dict[int, list[tuple[int, FileLock]]] = {}

    def test(self, ino: int, owner: int, lock: FileLock) -> FileLock | None:
        """The first byte-range lock that stands in the way of ``lock``, or ``None`` (``F_GETLK``)."""
        for held in self._held.get((ino, False), ()):
            if held.conflicts(owner, lock):
                return FileLock(held.type, held.start, held.end, held.pid)
        return None

    def try_lock(self, ino: int, owner: int, lock: FileLock, *, flock: bool) -> bool:
        """Take, change or drop a lock; False when another owner's stands in the way, and nothing has changed."""
        key = (ino, flock)
        locks = self._held.get(key, [])
        if lock.type is not LockType.UNLCK and any(held.conflicts(owner, lock) for held in locks):
            return False
        locks = self._without(locks, owner, lock.start, lock.end)
        if lock.type is not LockType.UNLCK:
            locks.append(_Held(owner, lock.type, lock.start, lock.end, lock.pid))
            locks = _merged(locks)
        if locks:
            self._held[key] = locks
        else:
            self._held.pop(key, None)
        self._wake(key)
        return True

    async def lock(self, ino: int, owner: int, lock: FileLock, *, wait: bool, flock: bool) -> None:
        """As ``F_SETLK`` (``wait`` false: raises ``EAGAIN``) and ``F_SETLKW`` (waits; cancelling gives up).

        Raises ``EDEADLK`` where owners of byte ranges would wait for each other in a circle. A lock of ``flock(2)`` that is
        converted is dropped first and so lost if the new one cannot be had, as that page says.
        """
        if self.try_lock(ino, owner, lock, flock=flock):
            return
        if flock:
            self.drop_owner(ino, owner, flock=True)
        if not wait:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        while not self.try_lock(ino, owner, lock, flock=flock):
            if not flock and self._is_circle(ino, owner, lock):
                raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))
            await self._turn(ino, owner, lock, flock=flock)

    async def _turn(self, ino: int, owner: int, lock: FileLock, *, flock: bool) -> None:
        """Wait until something has changed."""
        key = (ino, flock)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wish = (ino, lock)
        self._waiting.setdefault(key, []).append(turn)
        if not flock:
            self._wanted.setdefault(owner, []).append(wish)
        try:
            await turn
        finally:
            _take_out(self._waiting, key, turn)
            _take_out(self._wanted, owner, wish)

    def _is_circle(self, ino: int, owner: int, lock: FileLock) -> bool:
        """Whether those who are in the way of a lock wait, at the end of the chain, for its owner."""
        seen: set[int] = set()
        todo = self._in_the_way(ino, owner, lock)
        while todo:
            other = todo.pop()
            if other == owner:
                return True
            if other not in seen:
                seen.add(other)
                for wish in self._wanted.get(other, ()):
                    todo |= self._in_the_way(wish[0], other, wish[1])
        return False

    def _in_the_way(self, ino: int, owner: int, lock: FileLock) -> set[int]:
        return {held.owner for held in self._held.get((ino, False), ()) if held.conflicts(owner, lock)}

    def drop_owner(self, ino: int, owner: int, *, flock: bool) -> None:
        """Drop everything that ``owner`` holds on a node, as its last close does."""
        self.try_lock(ino, owner, FileLock(LockType.UNLCK, 0, _END), flock=flock)

    def _wake(self, key: tuple[int, bool]) -> None:
        for turn in self._waiting.pop(key, []):
            if not turn.done():
                turn.set_result(None)

    @staticmethod
    def _without(locks: list[_Held], owner: int, start: int, end: int) -> list[_Held]:
        """The locks with ``owner``'s taken out of a range; one that reaches over the range is cut, or cut in two."""
        kept = []
        for held in locks:
            if held.owner != owner or held.end < start or end < held.start:
                kept.append(held)
                continue
            if held.start < start:
                kept.append(_Held(owner, held.type, held.start, start - 1, held.pid))
            if held.end > end:
                kept.append(_Held(owner, held.type, end + 1, held.end, held.pid))
        return kept


def _take_out(lists: dict[_K, list[_V]], key: _K, value: _V) -> None:
    """Remove a value from the list under a key, if it is there, and a list that is empty."""
    values = lists.get(key, [])
    if value in values:
        values.remove(value)
    if not values:
        lists.pop(key, None)


def _merged(locks: list[_Held]) -> list[_Held]:
    """Join an owner's neighbouring ranges of the same type, in the order of their starts."""
    result: list[_Held] = []
    for held in sorted(locks, key=lambda each: (each.owner, each.start)):
        last = result[-1] if result else None
        if last and last.owner == held.owner and last.type == held.type and last.end + 1 >= held.start:
            last.end = max(last.end, held.end)
        else:
            result.append(held)
    return result

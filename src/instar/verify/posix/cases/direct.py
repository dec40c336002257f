# SPDX-License-Identifier: Apache-2.0
"""O_DIRECT, O_SYNC: open(2), NOTES."""

from __future__ import annotations

import errno
import os

from instar.edge.syscalls import page_aligned
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case

__all__: list[str] = []

_BLOCK = 4096


def _pattern(size: int) -> bytes:
    return (bytes(range(1, 252)) * (size // 251 + 1))[:size]


def _direct_write(path: str, offset: int, data: bytes, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    fd = os.open(path, flags | os.O_DIRECT, 0o644)
    buffer = page_aligned(len(data))
    buffer[:] = data
    try:
        return os.pwritev(fd, [buffer], offset)
    finally:
        os.close(fd)


def _direct_read(path: str, offset: int, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    buffer = page_aligned(size)
    try:
        count = os.preadv(fd, [buffer], offset)
        return bytes(buffer[:count])
    finally:
        os.close(fd)


def _require(t: Arena) -> None:
    t.me(_do.write, "probe", b"x")
    if t.me.attempt(_direct_read, "probe", 0, _BLOCK) == errno.EINVAL:
        t.unsupported("O_DIRECT (EINVAL)")


@case({str(blocks): blocks for blocks in (1, 2, 32, 33, 256)}, short=True)
def _direct_writes_are_seen_by_all_reads(t: Arena, blocks: int) -> None:
    _require(t)
    data = _pattern(blocks * _BLOCK)
    t.equal(t.me(_direct_write, "f", 0, data), len(data), "bytes written")
    t.equal(t.me(_do.read, "f") == data, True, "content by a buffered read")
    t.equal(t.me(_direct_read, "f", 0, len(data)) == data, True, "content by a direct read")
    t.me(_direct_write, "f", _BLOCK * (blocks // 2), b"Z" * _BLOCK)
    middle = _BLOCK * (blocks // 2)
    expected = data[:middle] + b"Z" * _BLOCK + data[middle + _BLOCK :]
    t.equal(t.me(_do.read, "f") == expected, True, "content by a buffered read after a second write")


@case()
def _buffered_writes_are_seen_by_direct_reads(t: Arena) -> None:
    _require(t)
    fd = t.me(os.open, "f", os.O_CREAT | os.O_RDWR, 0o644)
    for turn in range(8):
        t.me(os.pwrite, fd, b"%04096d" % turn, turn % 3 * _BLOCK)
        t.equal(
            t.me(_direct_read, "f", turn % 3 * _BLOCK, _BLOCK) == b"%04096d" % turn,
            True,
            f"content after write {turn}",
        )


@case()
def _direct_read_stops_at_the_end(t: Arena) -> None:
    _require(t)
    t.me(_do.write, "f", b"x" * 5000)
    t.equal(t.me(_direct_read, "f", 0, 2 * _BLOCK), b"x" * 5000, "content")
    t.equal(t.me(_direct_read, "f", _BLOCK, _BLOCK), b"x" * (5000 - _BLOCK), "content of the last block")
    t.equal(t.me(_direct_read, "f", 2 * _BLOCK, _BLOCK), b"", "content behind the end")
    t.me(os.truncate, "f", 100 * _BLOCK)
    t.equal(t.me(_direct_read, "f", 50 * _BLOCK, _BLOCK), bytes(_BLOCK), "content of a hole")


@case()
def _direct_append_goes_to_the_end(t: Arena) -> None:
    _require(t)
    t.me(_direct_write, "f", 0, b"a" * _BLOCK)
    t.me(_direct_write, "f", 0, b"b" * _BLOCK, os.O_WRONLY | os.O_APPEND)
    t.equal(t.me(_do.read, "f"), b"a" * _BLOCK + b"b" * _BLOCK, "content")


@case()
def _direct_write_moves_times_and_size(t: Arena) -> None:
    _require(t)
    t.me(_direct_write, "f", 0, b"a" * _BLOCK)
    with t.times({"f": "mc?"}):
        t.me(_direct_write, "f", 4 * _BLOCK, b"b" * _BLOCK)
    t.has("f", size=5 * _BLOCK)
    t.equal(t.me(_do.read, "f")[_BLOCK : 4 * _BLOCK], bytes(3 * _BLOCK), "content of the hole between")


@case({"sync": os.O_SYNC, "dsync": os.O_DSYNC, "direct-sync": os.O_DIRECT | os.O_SYNC})
def _synchronous_writes_are_there(t: Arena, flags: int) -> None:
    if flags & os.O_DIRECT:
        _require(t)
    data = _pattern(4 * _BLOCK)
    fd = t.me(os.open, "f", os.O_CREAT | os.O_RDWR | flags, 0o644)
    t.me(os.close, fd)
    t.equal(t.me(_sync_write, "f", flags, data), len(data), "bytes written")
    t.equal(t.me(_do.read, "f") == data, True, "content")


def _sync_write(path: str, flags: int, data: bytes) -> int:
    fd = os.open(path, os.O_RDWR | flags)
    buffer = page_aligned(len(data))
    buffer[:] = data
    try:
        return os.writev(fd, [buffer])
    finally:
        os.close(fd)

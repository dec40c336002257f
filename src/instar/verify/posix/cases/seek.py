# SPDX-License-Identifier: Apache-2.0
"""Holes: lseek(2) with SEEK_DATA and SEEK_HOLE, posix_fallocate(3), fallocate(2) with its modes.

A file system may report no holes at all, so the cases accept data where a hole could be, and never a hole where data is.
"""

from __future__ import annotations

import errno
import os

from instar.edge.syscalls import FallocateMode, fallocate
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, shared_directory, sync_here

__all__: list[str] = []

_MIB = 1 << 20
KEEP, PUNCH, ZERO = FallocateMode.KEEP_SIZE, FallocateMode.PUNCH_HOLE, FallocateMode.ZERO_RANGE
COLLAPSE, INSERT = FallocateMode.COLLAPSE_RANGE, FallocateMode.INSERT_RANGE


def _write_at(path: str, *parts: tuple[int, bytes], size: int = -1) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for offset, data in parts:
        os.pwrite(fd, data, offset)
    if size >= 0:
        os.ftruncate(fd, size)
    os.close(fd)


def _map(path: str) -> list[tuple[int, int]]:
    """The ranges that SEEK_DATA and SEEK_HOLE report as data, (start, end)."""
    fd = os.open(path, os.O_RDONLY)
    ranges: list[tuple[int, int]] = []
    place = 0
    try:
        while True:
            try:
                start = os.lseek(fd, place, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return ranges
            place = os.lseek(fd, start, os.SEEK_HOLE)
            ranges.append((start, place))
    finally:
        os.close(fd)


def _check_map(t: Arena, path: str, data: list[tuple[int, int]], size: int) -> None:
    """All of ``data`` is reported, the ranges are in order and end at the size."""
    ranges = t.me(_map, path)
    for start, end in data:
        t.true(
            any(low <= start and end <= high for low, high in ranges), f"[{start}, {end}) is data in {ranges}"
        )
    flat = [place for one in ranges for place in one]
    t.equal(flat, sorted(set(flat)), "order of the ranges")
    t.true(not flat or flat[-1] <= size, f"{ranges} ends at the size {size}")


@case(
    {
        "all-data": ([(0, 100_000)], 100_000),
        "hole-first": ([(_MIB, 4096)], _MIB + 4096),
        "hole-last": ([(0, 4096)], _MIB),
        "hole-between": ([(0, 4096), (2 * _MIB, 4096)], 2 * _MIB + 4096),
        "only-a-hole": ([], _MIB),
        "empty": ([], 0),
        "many": ([(number * _MIB, 4096) for number in range(8)], 8 * _MIB),
        "odd": ([(1000, 10), (_MIB + 77, 5)], _MIB + 500),
    },
    short=True,
)
def _data_is_found_and_holes_read_as_zeros(t: Arena, parts: list[tuple[int, int]], size: int) -> None:
    t.me(_write_at, "f", *((offset, b"d" * length) for offset, length in parts), size=size)
    t.has("f", size=size)
    _check_map(t, "f", [(offset, offset + length) for offset, length in parts], size)
    expected = bytearray(size)
    for offset, length in parts:
        expected[offset : offset + length] = b"d" * length
    t.equal(t.me(_do.read, "f") == expected, True, "content")
    t.me(sync_here)
    _check_map(t, "f", [(offset, offset + length) for offset, length in parts], size)


@case()
def _position_and_errors_of_seek_data_and_hole(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x" * 8192))
    fd = t.me(os.open, "f", os.O_RDONLY)
    t.equal(t.me(os.lseek, fd, 100, os.SEEK_DATA), 100, "data in the middle of data")
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 100, "position after SEEK_DATA")
    t.equal(t.me(os.lseek, fd, 100, os.SEEK_HOLE), 8192, "the hole at the end")
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 8192, "position after SEEK_HOLE")
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        t.me.fails(errno.ENXIO, os.lseek, fd, 8192, whence)
        t.me.fails(errno.ENXIO, os.lseek, fd, 10**9, whence)
        t.me.fails((errno.ENXIO, errno.EINVAL), os.lseek, fd, -1, whence)
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 8192, "position after failed seeks")


# ------------------------------------------------------------------------------------------ fallocate


def _posix_fallocate(path: str, offset: int, length: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(fd, offset, length)
    finally:
        os.close(fd)


def _fallocate(path: str, mode: int, offset: int, length: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        fallocate(fd, mode, offset, length)
    finally:
        os.close(fd)


_RANGES = {
    "whole": (0, 100_000),
    "grow": (50_000, 100_000),
    "behind": (200_000, 5000),
    "inside": (10, 20),
    "one": (100_000, 1),
    "aligned": (4096, 8192),
}


@case(_RANGES, short=True)
def _posix_fallocate_grows_and_keeps_content(t: Arena, offset: int, length: int) -> None:
    data = bytes(range(250)) * 400
    t.me(_write_at, "f", (0, data))
    t.me(_posix_fallocate, "f", offset, length)
    size = max(len(data), offset + length)
    t.has("f", size=size)
    t.equal(t.me(_do.read, "f") == data + bytes(size - len(data)), True, "content")
    t.true(t.stat("f").st_blocks * 512 >= length, "space is reserved")


@case()
def _posix_fallocate_moves_ctime_when_it_grows(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x"))
    before = t.stat("f")
    t.tick()
    t.me(_posix_fallocate, "f", 0, 1000)
    t.true(t.stat("f").st_ctime_ns > before.st_ctime_ns, "ctime moved on")


@case()
def _posix_fallocate_errors(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x"))
    fd = t.me(os.open, "f", os.O_RDWR)
    read_only = t.me(os.open, "f", os.O_RDONLY)
    t.me.fails(errno.EINVAL, os.posix_fallocate, fd, 0, 0)
    t.me.fails(errno.EINVAL, os.posix_fallocate, fd, 0, -1)
    t.me.fails(errno.EINVAL, os.posix_fallocate, fd, -1, 10)
    t.me.fails(errno.EBADF, os.posix_fallocate, read_only, 0, 10)
    t.me.fails(errno.EBADF, os.posix_fallocate, 9999, 0, 10)
    t.me.fails(errno.EFBIG, os.posix_fallocate, fd, 2**63 - 10, 100)
    t.make("dir", "d", 0o755)
    directory = t.me(os.open, "d", os.O_RDONLY)
    t.me.fails((errno.EBADF, errno.ENODEV, errno.EISDIR), os.posix_fallocate, directory, 0, 10)
    t.make("fifo", "p")
    pipe = t.me(os.open, "p", os.O_RDWR)
    t.me.fails(errno.ESPIPE, os.posix_fallocate, pipe, 0, 10)
    t.has("f", size=1)


@case()
def _posix_fallocate_obeys_the_file_size_limit(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x"))
    limited = t.another(t.me)
    limited(_limit, 10_000)
    limited.fails(errno.EFBIG, _posix_fallocate, "f", 0, 20_000)
    t.has("f", size=1)
    limited(_posix_fallocate, "f", 0, 10_000)
    t.has("f", size=10_000)


def _limit(size: int) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@case(_RANGES, optional="fallocate KEEP_SIZE")
def _keep_size_reserves_and_keeps_the_size(t: Arena, offset: int, length: int) -> None:
    data = bytes(range(250)) * 400
    t.me(_write_at, "f", (0, data))
    t.me(_fallocate, "f", KEEP, offset, length)
    t.has("f", size=len(data))
    t.equal(t.me(_do.read, "f") == data, True, "content")
    t.me(_write_at, "f", (150_000, b"end"))
    t.equal(
        t.me(_do.read, "f") == data + bytes(50_000) + b"end", True, "content after a write behind the end"
    )


@case(_RANGES, optional="fallocate PUNCH_HOLE")
def _punch_hole_makes_zeros_and_keeps_the_size(t: Arena, offset: int, length: int) -> None:
    data = bytes(range(1, 251)) * 400
    t.me(_write_at, "f", (0, data))
    with t.times({"f": "mc"}):
        t.me(_fallocate, "f", PUNCH | KEEP, offset, length)
    expected = bytearray(data)
    end = min(len(data), offset + length)
    if offset < end:
        expected[offset:end] = bytes(end - offset)
    t.has("f", size=len(data))
    t.equal(t.me(_do.read, "f") == expected, True, "content")


@case(optional="fallocate PUNCH_HOLE")
def _punch_hole_gives_space_back(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x" * (4 * _MIB)))
    t.me(sync_here)
    before = t.stat("f").st_blocks
    t.me(_fallocate, "f", PUNCH | KEEP, _MIB, 2 * _MIB)
    t.me(sync_here)
    t.true(t.stat("f").st_blocks <= before - (2 * _MIB) // 512 + 256, "blocks are freed")
    _check_map(t, "f", [(0, _MIB), (3 * _MIB, 4 * _MIB)], 4 * _MIB)
    t.equal(t.me(_first_hole, "f"), _MIB, "start of the hole")


def _first_hole(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE)
    finally:
        os.close(fd)


@case(optional="fallocate PUNCH_HOLE")
def _punch_hole_without_keep_size_is_eopnotsupp(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x" * 10000))
    t.me(_fallocate, "f", PUNCH | KEEP, 0, 4096)
    fd = t.me(os.open, "f", os.O_RDWR)
    t.equal(t.me.attempt(fallocate, fd, PUNCH, 0, 4096), errno.EOPNOTSUPP, "errno without KEEP_SIZE")
    t.equal(
        t.me.attempt(fallocate, fd, PUNCH | ZERO | KEEP, 0, 4096), errno.EOPNOTSUPP, "errno with ZERO_RANGE"
    )
    t.has("f", size=10000)


@case(grid(_RANGES, {"keep": True, "grow": False}), optional="fallocate ZERO_RANGE")
def _zero_range_makes_zeros(t: Arena, offset: int, length: int, keep: bool) -> None:
    data = bytes(range(1, 251)) * 400
    t.me(_write_at, "f", (0, data))
    t.me(_fallocate, "f", ZERO | (KEEP if keep else FallocateMode.NONE), offset, length)
    size = len(data) if keep else max(len(data), offset + length)
    expected = bytearray(data + bytes(size - len(data)))
    end = min(size, offset + length)
    if offset < end:
        expected[offset:end] = bytes(end - offset)
    t.has("f", size=size)
    t.equal(t.me(_do.read, "f") == expected, True, "content")


@case(optional="fallocate COLLAPSE_RANGE")
def _collapse_range_takes_bytes_out(t: Arena) -> None:
    blocks = [bytes([number]) * 65536 for number in range(1, 6)]
    t.me(_write_at, "f", (0, b"".join(blocks)))
    t.me(_fallocate, "f", COLLAPSE, 65536, 131072)
    t.has("f", size=3 * 65536)
    t.equal(t.me(_do.read, "f") == blocks[0] + blocks[3] + blocks[4], True, "content")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, fallocate, fd, COLLAPSE, 0, 3 * 65536)
    t.me.fails(errno.EINVAL, fallocate, fd, COLLAPSE, 1, 65536)
    t.me.fails((errno.EINVAL, errno.EOPNOTSUPP), fallocate, fd, COLLAPSE | KEEP, 0, 65536)


@case(optional="fallocate INSERT_RANGE")
def _insert_range_makes_room(t: Arena) -> None:
    blocks = [bytes([number]) * 65536 for number in range(1, 4)]
    t.me(_write_at, "f", (0, b"".join(blocks)))
    t.me(_fallocate, "f", INSERT, 65536, 65536)
    t.has("f", size=4 * 65536)
    t.equal(t.me(_do.read, "f") == blocks[0] + bytes(65536) + blocks[1] + blocks[2], True, "content")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, fallocate, fd, INSERT, 4 * 65536, 65536)


@case(
    {"none": 0, "keep": KEEP, "punch": PUNCH | KEEP, "zero": ZERO, "unknown": 0x8000},
    optional="fallocate",
)
def _wrong_ranges_and_descriptors_are_refused(t: Arena, mode: int) -> None:
    t.me(_write_at, "f", (0, b"x" * 5000))
    fd = t.me(os.open, "f", os.O_RDWR)
    if mode == 0x8000:
        t.equal(t.me.attempt(fallocate, fd, mode, 0, 10), errno.EOPNOTSUPP, "errno of an unknown mode")
        return
    t.me(fallocate, fd, mode, 0, 10)
    read_only = t.me(os.open, "f", os.O_RDONLY)
    t.me.fails(errno.EINVAL, fallocate, fd, mode, -1, 10)
    t.me.fails(errno.EINVAL, fallocate, fd, mode, 0, 0)
    t.me.fails(errno.EINVAL, fallocate, fd, mode, 0, -5)
    t.me.fails(errno.EBADF, fallocate, read_only, mode, 0, 10)
    t.me.fails(errno.EFBIG, fallocate, fd, mode, 2**63 - 10, 100)
    t.has("f", size=5000)


@case()
def _allocated_space_belongs_to_an_unlinked_file_too(t: Arena) -> None:
    t.me(_write_at, "f", (0, b"x"))
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.me(os.posix_fallocate, fd, 0, 50_000)
    t.equal(t.me(os.fstat, fd).st_size, 50_000, "size")


@case(each("posix_fallocate", "zero", "punch"), optional="fallocate")
def _setuid_and_setgid_are_cleared_for_a_user(t: Arena, how: str) -> None:
    shared_directory(t, "d")
    t.me(_write_at, "d/f", (0, b"x" * 5000))
    t.root(os.chown, "d/f", *A)
    t.root(os.chmod, "d/f", 0o6777)
    mode = {"posix_fallocate": 0, "zero": ZERO, "punch": PUNCH | KEEP}[how]
    t.user_b(_fallocate, "d/f", mode, 0, 9000)
    t.has("d/f", mode=0o777)

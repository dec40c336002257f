# SPDX-License-Identifier: Apache-2.0
"""read(2), write(2) and their relatives, lseek(2): POSIX.1-2017 read(), write(), pread(), pwrite(), readv(), lseek()."""

from __future__ import annotations

import errno
import os
import random

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import sync_here

__all__: list[str] = []

_OFFSETS = {str(offset): offset for offset in (0, 1, 100, 4095, 4096, 4097, 65535, 131072, 1_000_003)}
_SIZES = {str(size): size for size in (1, 2, 511, 512, 4095, 4096, 4097, 10_000, 131_073, 1_000_000)}


def _pattern(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def _write_at(path: str, offset: int, data: bytes) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)
        return done
    finally:
        os.close(fd)


@case(grid(_OFFSETS, _SIZES), short=True)
def _what_is_written_is_read(t: Arena, offset: int, size: int) -> None:
    data = _pattern(size, offset)
    t.equal(t.me(_write_at, "f", offset, data), size, "bytes written")
    t.has("f", size=offset + size)
    t.equal(t.me(_do.read, "f") == bytes(offset) + data, True, "content")
    # Over the middle of it, too.
    t.me(_write_at, "f", offset + size // 2, b"XYZ")
    expected = bytearray(bytes(offset) + data)
    expected[offset + size // 2 : offset + size // 2 + 3] = b"XYZ"
    t.equal(t.me(_do.read, "f") == bytes(expected), True, "content after a second write")


@case(each(1, 2, 3, 4, 5, 6))
def _random_writes_agree_with_a_model(t: Arena, seed: int) -> None:
    t.equal(t.me(_random_io, "f", seed, 150), "", "first difference")


def _random_io(path: str, seed: int, steps: int) -> str:
    """Writes, cuts and reads of one file against a bytearray; the first difference, or nothing."""
    generator = random.Random(seed)
    model = bytearray()
    fds = [os.open(path, os.O_RDWR | os.O_CREAT, 0o644), os.open(path, os.O_RDWR)]
    for step in range(steps):
        fd = generator.choice(fds)
        offset = generator.choice((0, 4096, len(model), generator.randrange(300_000)))
        match generator.randrange(6):
            case 0 | 1:
                data = generator.randbytes(generator.choice((1, 100, 4096, 5000, 70_000)))
                if len(model) < offset:
                    model.extend(bytes(offset - len(model)))
                done = os.pwrite(fd, data, offset)
                if done != len(data):
                    return f"step {step}: short write"
                model[offset : offset + done] = data
            case 2:
                size = generator.randrange(0, 200_000)
                os.ftruncate(fd, size)
                del model[size:]
                model.extend(bytes(size - len(model)))
            case 3:
                size = generator.choice((1, 4096, 100_000))
                if os.pread(fd, size, offset) != model[offset : offset + size]:
                    return f"step {step}: {size} bytes at {offset} differ"
            case 4:
                if os.fstat(fd).st_size != len(model):
                    return f"step {step}: size {os.fstat(fd).st_size}, should be {len(model)}"
            case _:
                os.fsync(fd)
    for fd in fds:
        os.close(fd)
    return "" if _do.read(path) == model else "content at the end"


@case()
def _reading_behind_the_end_gives_nothing(t: Arena) -> None:
    t.me(_do.write, "f", b"0123456789")
    fd = t.me(os.open, "f", os.O_RDONLY)
    for offset, size, expected in (
        (8, 10, b"89"),
        (9, 1, b"9"),
        (10, 1, b""),
        (11, 5, b""),
        (10**12, 1, b""),
        (0, 0, b""),
    ):
        t.equal(t.me(os.pread, fd, size, offset), expected, f"{size} bytes at {offset}")


@case()
def _empty_write_changes_nothing(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.me(os.open, "f", os.O_RDWR)
    with t.times({"f": ""}):
        t.equal(t.me(os.write, fd, b""), 0, "bytes written")
        t.equal(t.me(os.pwrite, fd, b"", 1000), 0, "bytes written behind the end")
    t.has("f", size=4)


@case()
def _position_moves_with_read_and_write(t: Arena) -> None:
    fd = t.me(os.open, "f", os.O_CREAT | os.O_RDWR, 0o644)
    for part in (b"abc", b"def", b"g"):
        t.me(os.write, fd, part)
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 7, "position")
    t.equal(t.me(os.lseek, fd, -3, os.SEEK_END), 4, "position from the end")
    t.equal(t.me(os.read, fd, 2), b"ef", "content")
    t.equal(t.me(os.lseek, fd, -5, os.SEEK_CUR), 1, "position from here")
    t.equal(t.me(os.read, fd, 100), b"bcdefg", "content")
    t.equal(t.me(os.lseek, fd, 100, os.SEEK_SET), 100, "position behind the end")
    t.has("f", size=7)
    t.me(os.write, fd, b"z")
    t.has("f", size=101)
    t.equal(t.me(_do.read, "f"), b"abcdefg" + bytes(93) + b"z", "content with a hole")


@case()
def _wrong_seeks_are_refused(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
    t.me.fails(errno.EINVAL, os.lseek, fd, -5, os.SEEK_END)
    t.me.fails(errno.EINVAL, os.lseek, fd, 0, 99)
    t.me.fails((errno.EINVAL, errno.EOVERFLOW), os.lseek, fd, 2**63 - 1, os.SEEK_END)
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 0, "position after failed seeks")
    t.me.fails(errno.EINVAL, os.pread, fd, 1, -1)
    t.me.fails(errno.EINVAL, os.pwrite, fd, b"x", -1)
    t.make("fifo", "p")
    pipe = t.me(os.open, "p", os.O_RDWR)
    t.me.fails(errno.ESPIPE, os.lseek, pipe, 0, os.SEEK_SET)
    t.me.fails(errno.ESPIPE, os.pread, pipe, 1, 0)


@case({"2g": 2**31 - 5, "4g": 2**32 - 5, "1t": 2**40 - 5})
def _large_offsets_work(t: Arena, offset: int) -> None:
    t.me(_write_at, "f", offset, b"0123456789")
    t.has("f", size=offset + 10)
    fd = t.me(os.open, "f", os.O_RDONLY)
    t.equal(t.me(os.pread, fd, 20, offset - 2), b"\0\x000123456789", "content")
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_END), offset + 10, "position at the end")
    t.equal(t.me(os.pread, fd, 5, 100), bytes(5), "content of the hole")
    t.true(t.stat("f").st_blocks * 512 < 4 << 20, "the hole takes no space")


def _vectors(path: str) -> list[object]:
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    results: list[object] = [os.writev(fd, [b"abc", b"", b"defgh", b"i"])]
    results.append(os.pwritev(fd, [b"XY", b"Z"], 2))
    buffers = [bytearray(4), bytearray(3), bytearray(10)]
    os.lseek(fd, 0, os.SEEK_SET)
    results.append(os.readv(fd, buffers))
    results.append(b"".join(buffers))
    small = [bytearray(2), bytearray(2)]
    results.append(os.preadv(fd, small, 6))
    results.append(b"".join(small))
    os.close(fd)
    return results


@case()
def _vectors_are_gathered_and_scattered(t: Arena) -> None:
    expected = [9, 3, 9, b"abXYZfghi" + bytes(8), 3, b"ghi\0"]
    t.equal(t.me(_vectors, "f"), expected, "results of writev, pwritev, readv, preadv")


@case(each("write", "pwrite", "append", "at-end"))
def _write_moves_mtime_and_ctime(t: Arena, how: str) -> None:
    t.me(_do.write, "f", b"x" * 100)
    fd = t.me(os.open, "f", os.O_RDWR | (os.O_APPEND if how == "append" else 0))
    with t.times({"f": "mc", ".": ""}):
        if how == "pwrite":
            t.me(os.pwrite, fd, b"y", 50)
        elif how == "at-end":
            t.me(os.pwrite, fd, b"y", 100)
        else:
            t.me(os.write, fd, b"y")
    before = t.me(os.fstat, fd)
    t.me(os.close, fd)
    after = t.stat("f")
    t.equal(
        (after.st_mtime_ns, after.st_size), (before.st_mtime_ns, before.st_size), "times and size after close"
    )


@case(each("read", "pread", "readdir", "readlink"))
def _read_moves_no_mtime_and_no_ctime(t: Arena, how: str) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "f", "link")
    with t.times({"f": "?", "d": "?", "link": "?"}):
        if how == "readdir":
            t.me(os.listdir, "d")
        elif how == "readlink":
            t.me(os.readlink, "link")
        else:
            t.me(_do.read, "f")


@case()
def _others_see_a_write_at_once(t: Arena) -> None:
    t.me(_do.write, "f", b"")
    other = t.another(t.me)
    mine = t.me(os.open, "f", os.O_RDWR)
    theirs = other(os.open, "f", os.O_RDWR)
    for turn in range(30):
        t.me(os.write, mine, b"%03d" % turn)
        t.equal(other(os.pread, theirs, 3, turn * 3), b"%03d" % turn, "what another process reads")
        t.equal(other(os.stat, "f").st_size, turn * 3 + 3, "size that another process sees")
        other(os.pwrite, theirs, b"X", turn * 3)
        t.equal(t.me(os.pread, mine, 1, turn * 3), b"X", "what the other process wrote")


@case()
def _bad_descriptor_is_ebadf(t: Arena) -> None:
    t.me.fails(errno.EBADF, os.read, 9999, 1)
    t.me.fails(errno.EBADF, os.write, 9999, b"x")
    t.me.fails(errno.EBADF, os.lseek, 9999, 0, 0)
    t.me.fails(errno.EBADF, os.fsync, 9999)
    t.me.fails(errno.EBADF, os.fstat, 9999)


@case(each("fsync", "fdatasync", "sync"))
def _synced_data_is_there_after_all_closed_it(t: Arena, how: str) -> None:
    fd = t.me(os.open, "f", os.O_CREAT | os.O_RDWR, 0o644)
    data = _pattern(100_000)
    t.me(os.write, fd, data)
    if how == "sync":
        t.me(sync_here)
    else:
        t.me(os.fsync if how == "fsync" else os.fdatasync, fd)
    t.me(os.close, fd)
    t.equal(t.me(_do.read, "f") == data, True, "content")
    if how != "sync":
        read_only = t.me(os.open, "f", os.O_RDONLY)
        t.me(os.fsync, read_only)


@case()
def _blocks_grow_with_data(t: Arena) -> None:
    t.make("file", "f")
    t.true(t.stat("f").st_blocks * 512 <= 65536, "an empty file takes next to nothing")
    t.me(_write_at, "f", 0, b"x" * (1 << 20))
    fd = t.me(os.open, "f", os.O_RDONLY)
    t.me(os.fsync, fd)
    status = t.stat("f")
    t.true(1 << 20 <= status.st_blocks * 512 <= (1 << 20) + 131072, f"blocks of 1 MiB: {status.st_blocks}")
    t.true(status.st_blksize >= 512, "preferred size of I/O")


@case({"16": 16, "1024": 1024, "4096": 4096})
def _readers_of_a_growing_file_see_whole_records(t: Arena, size: int) -> None:
    t.make("file", "f")
    other = t.another(t.me)
    writing = other.start(_grow, "f", size, 100)
    t.equal(t.me(_follow, "f", size, 100), "", "first wrong record")
    writing.result()


def _grow(path: str, size: int, count: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for number in range(count):
        os.write(fd, (b"%08d" % number) * (size // 8))
    os.close(fd)


def _follow(path: str, size: int, count: int) -> str:
    """Read records as they come; the first that is wrong, or nothing.

    The size may be ahead of what read(2) gives for a moment: FUSE shows the size that the server tells while a write is
    still under way. A record that is there must be right.
    """
    fd = os.open(path, os.O_RDONLY)
    number = 0
    while number < count:
        if os.fstat(fd).st_size < (number + 1) * size:
            continue
        record = os.pread(fd, size, number * size)
        expected = (b"%08d" % number) * (size // 8)
        if not expected.startswith(record):
            return f"record {number}"
        number += len(record) == size
    os.close(fd)
    return ""

# SPDX-License-Identifier: Apache-2.0
"""Copying without user space: copy_file_range(2), sendfile(2), splice(2)."""

from __future__ import annotations

import errno
import os
import socket

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A

__all__: list[str] = []

_SIZES = {str(size): size for size in (0, 1, 4095, 4096, 10_000, 131_072, 1_000_001)}


def _pattern(size: int) -> bytes:
    return (bytes(range(1, 252)) * (size // 251 + 1))[:size]


def _copy_range(
    source: str, target: str, count: int, source_offset: int | None = None, target_offset: int | None = None
) -> tuple[int, int, int]:
    """Copy until nothing comes; (bytes copied, position of the source, of the target) at the end."""
    one = os.open(source, os.O_RDONLY)
    two = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
    done = 0
    try:
        while done < count:
            some = os.copy_file_range(
                one,
                two,
                count - done,
                None if source_offset is None else source_offset + done,
                None if target_offset is None else target_offset + done,
            )
            if some == 0:
                break
            done += some
        return done, os.lseek(one, 0, os.SEEK_CUR), os.lseek(two, 0, os.SEEK_CUR)
    finally:
        _do.close_all(one, two)


@case(_SIZES, short=True)
def _range_of_a_file_is_copied_and_positions_move(t: Arena, size: int) -> None:
    data = _pattern(size)
    t.me(_do.write, "f", data)
    t.equal(t.me(_copy_range, "f", "g", size + 100), (size, size, size), "bytes copied and positions")
    t.equal(t.me(_do.read, "g") == data, True, "content of the copy")
    t.equal(t.me(_do.read, "f") == data, True, "content of the source")


@case(
    grid(
        {str(place): place for place in (0, 1, 4096, 5000)},
        {str(place): place for place in (0, 1, 4096, 70_000)},
    )
)
def _given_offsets_are_used_and_positions_stay(t: Arena, source: int, target: int) -> None:
    data = _pattern(20_000)
    t.me(_do.write, "f", data)
    t.me(_do.write, "g", b"z" * 9000)
    t.equal(t.me(_copy_range, "f", "g", 6000, source, target), (6000, 0, 0), "bytes copied and positions")
    expected = bytearray(b"z" * 9000)
    if target > 9000:
        expected.extend(bytes(target - 9000))
    expected[target : target + 6000] = data[source : source + 6000]
    t.equal(t.me(_do.read, "g") == expected, True, "content")


@case()
def _copy_moves_the_targets_times(t: Arena) -> None:
    t.me(_do.write, "f", _pattern(5000))
    t.me(_do.write, "g", b"x")
    with t.times({"g": "mc?", "f": "?"}):
        t.me(_copy_range, "f", "g", 5000, 0, 0)


@case()
def _copy_within_one_file(t: Arena) -> None:
    data = _pattern(20_000)
    t.me(_do.write, "f", data)
    t.equal(t.me(_copy_range, "f", "f", 5000, 0, 10_000)[0], 5000, "bytes copied")
    t.equal(t.me(_do.read, "f") == data[:10_000] + data[:5000] + data[15_000:], True, "content")
    t.me.fails(errno.EINVAL, _copy_range, "f", "f", 5000, 0, 4000)


@case()
def _copy_behind_the_end_gives_nothing(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.equal(t.me(_copy_range, "f", "g", 100, 4, 0)[0], 0, "bytes copied from the end")
    t.equal(t.me(_copy_range, "f", "g", 100, 1000, 0)[0], 0, "bytes copied from behind the end")
    t.has("g", size=0)


@case()
def _copy_errors(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(_do.write, "g", b"")
    read, write = t.me(os.open, "f", os.O_RDONLY), t.me(os.open, "g", os.O_WRONLY)
    append = t.me(os.open, "g", os.O_WRONLY | os.O_APPEND)
    t.make("dir", "d", 0o755)
    directory = t.me(os.open, "d", os.O_RDONLY)
    t.make("fifo", "p")
    pipe = t.me(os.open, "p", os.O_RDWR)
    t.me.fails(errno.EBADF, os.copy_file_range, write, write, 4)
    t.me.fails(errno.EBADF, os.copy_file_range, read, read, 4)
    t.me.fails(errno.EBADF, os.copy_file_range, read, append, 4)
    t.me.fails(errno.EISDIR, os.copy_file_range, directory, write, 4)
    t.me.fails(errno.EINVAL, os.copy_file_range, pipe, write, 4)
    t.me.fails(errno.EBADF, os.copy_file_range, 9999, write, 4)
    t.has("g", size=0)


@case()
def _copy_clears_setuid_for_a_user(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(_do.write, "g", b"")
    t.root(os.chown, "g", *A)
    t.root(os.chmod, "g", 0o6777)
    t.user_b(_copy_range, "f", "g", 4)
    t.has("g", mode=0o777, size=4)


def _sendfile(source: str, target: str, offset: int | None, count: int) -> int:
    one = os.open(source, os.O_RDONLY)
    two = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
    done = 0
    try:
        while done < count:
            place = None if offset is None else offset + done
            some = os.sendfile(two, one, place, count - done)
            if some == 0:
                break
            done += some
        return done
    finally:
        _do.close_all(one, two)


@case(_SIZES)
def _sendfile_copies_to_a_file(t: Arena, size: int) -> None:
    data = _pattern(size)
    t.me(_do.write, "f", data)
    t.equal(t.me(_sendfile, "f", "g", None, size), size, "bytes")
    t.equal(t.me(_do.read, "g") == data, True, "content")
    t.equal(t.me(_sendfile, "f", "h", size // 2, size), size - size // 2, "bytes from the middle")
    t.equal(t.me(_do.read, "h") == data[size // 2 :], True, "content from the middle")


def _sendfile_to_socket(path: str, size: int) -> bytes:
    ours, theirs = socket.socketpair()
    fd = os.open(path, os.O_RDONLY)
    got = b""
    with ours, theirs:
        offset = 0
        while offset < size:
            offset += os.sendfile(ours.fileno(), fd, offset, min(16384, size - offset))
            while len(got) < offset:
                got += theirs.recv(65536)
    os.close(fd)
    return got


@case()
def _sendfile_feeds_a_socket(t: Arena) -> None:
    data = _pattern(200_000)
    t.me(_do.write, "f", data)
    t.equal(t.me(_sendfile_to_socket, "f", len(data)) == data, True, "what the socket got")


def _splice(source: str, target: str, count: int) -> int:
    """File to pipe to file."""
    one = os.open(source, os.O_RDONLY)
    two = os.open(target, os.O_RDWR | os.O_CREAT, 0o644)
    out, into = os.pipe()
    done = 0
    try:
        while done < count:
            some = os.splice(one, into, min(65536, count - done))
            if some == 0:
                break
            left = some
            while left:
                left -= os.splice(out, two, left)
            done += some
        return done
    finally:
        _do.close_all(one, two, out, into)


@case(_SIZES)
def _splice_moves_through_a_pipe(t: Arena, size: int) -> None:
    data = _pattern(size)
    t.me(_do.write, "f", data)
    t.equal(t.me(_splice, "f", "g", size + 10), size, "bytes")
    t.equal(t.me(_do.read, "g") == data, True, "content")


@case(each("copy_file_range", "sendfile"))
def _copy_is_the_source_as_it_was(t: Arena, how: str) -> None:
    data = _pattern(300_000)
    t.me(_do.write, "f", data)
    if how == "copy_file_range":
        t.me(_copy_range, "f", "g", len(data))
    else:
        t.me(_sendfile, "f", "g", None, len(data))
    t.me(_overwrite, "f", 1000, b"changed")
    t.equal(t.me(_do.read, "g") == data, True, "the copy after the source changed")
    t.me(_overwrite, "g", 2000, b"CHANGED")
    t.equal(
        t.me(_do.read, "f") == data[:1000] + b"changed" + data[1007:],
        True,
        "the source after the copy changed",
    )


def _overwrite(path: str, offset: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, offset)
    os.close(fd)

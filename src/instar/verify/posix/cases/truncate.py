# SPDX-License-Identifier: Apache-2.0
"""truncate(2), ftruncate(2): POSIX.1-2017 truncate(), ftruncate()."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, shared_directory

__all__: list[str] = []


def _ftruncate(path: str, size: int) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _truncate(path: str, size: int) -> None:
    os.truncate(path, size)


_HOW: dict[str, Callable[[str, int], None]] = {"truncate": _truncate, "ftruncate": _ftruncate}
_SIZES = (0, 1, 511, 512, 4095, 4096, 4097, 8192, 65536, 100_001)


def _pattern(size: int) -> bytes:
    return (bytes(range(1, 252)) * (size // 251 + 1))[:size]


@case(grid(_HOW, {f"{old}": old for old in _SIZES}), short=True)
def _cuts_or_extends_with_zeros(t: Arena, call: Callable[[str, int], None], old: int) -> None:
    data = _pattern(old)
    for new in _SIZES:
        t.me(_do.write, "f", data)
        t.me(call, "f", new)
        t.has("f", size=new)
        t.equal(
            t.me(_do.read, "f") == data[:new] + bytes(max(0, new - old)),
            True,
            f"content after {old} -> {new}",
        )


@case(_HOW)
def _cut_bytes_do_not_come_back(t: Arena, call: Callable[[str, int], None]) -> None:
    for middle in (0, 1, 100, 4000, 4096, 5000):
        t.me(_do.write, "f", _pattern(9000))
        t.me(call, "f", middle)
        t.me(call, "f", 9000)
        t.equal(
            t.me(_do.read, "f") == _pattern(middle) + bytes(9000 - middle), True, f"zeros behind {middle}"
        )


@case(_HOW)
def _size_may_be_far_beyond_the_data(t: Arena, call: Callable[[str, int], None]) -> None:
    t.make("file", "f")
    for size in (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 10**12):
        t.me(call, "f", size)
        t.has("f", size=size)
    t.true(t.stat("f").st_blocks * 512 < 1 << 20, "holes take no space")
    t.equal(t.me(_end_of, "f"), bytes(10), "last bytes")
    t.me(call, "f", 0)
    t.has("f", size=0)


def _end_of(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, 20, os.fstat(fd).st_size - 10)
    finally:
        os.close(fd)


@case(_HOW)
def _times_move_on_also_when_the_size_stays(t: Arena, call: Callable[[str, int], None]) -> None:
    t.me(_do.write, "f", b"0123456789")
    for size in (5, 20, 0):
        with t.times({"f": "mc", ".": ""}):
            t.me(call, "f", size)
    if call is _ftruncate:
        # POSIX: ftruncate() marks the times for update upon success; truncate() may only if the size changes.
        with t.times({"f": "mc"}):
            t.me(call, "f", 0)


@case()
def _needs_write_permission_on_the_file(t: Arena) -> None:
    shared_directory(t, "d")
    t.me(_do.write, "d/f", b"text")
    t.me(os.chmod, "d/f", 0o644)
    with t.times({"d/f": ""}):
        t.user_a.fails(errno.EACCES, os.truncate, "d/f", 0)
        t.user_a.fails(errno.EACCES, os.truncate, "d/f", 4)
        t.user_a.fails(errno.EACCES, os.truncate, "d/f", 100)
    t.has("d/f", size=4)
    t.me(os.chmod, "d/f", 0o602)
    t.user_a(os.truncate, "d/f", 1)
    t.has("d/f", size=1)
    t.root(os.chown, "d/f", *A)
    t.root(os.chmod, "d/f", 0o466)
    t.user_a.fails(errno.EACCES, os.truncate, "d/f", 0)
    t.root(os.truncate, "d/f", 0)


@case(each("dir", "fifo", "socket", "block", "char"))
def _other_types_are_refused(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o666)
    expected = errno.EISDIR if kind == "dir" else errno.EINVAL
    t.me.fails(expected, os.truncate, "f", 0)
    t.me.fails(expected, os.truncate, "f", 10)
    t.has("f", kind=kind)


@case(_HOW)
def _negative_size_is_einval(t: Arena, call: Callable[[str, int], None]) -> None:
    t.me(_do.write, "f", b"text")
    t.me.fails(errno.EINVAL, call, "f", -1)
    t.me.fails(errno.EINVAL, call, "f", -(2**63))
    t.has("f", size=4)


@case()
def _largest_size_is_efbig_or_accepted(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    number = t.me.attempt(os.truncate, "f", 2**63 - 1)
    t.true(number in {0, errno.EFBIG, errno.EINVAL}, f"errno {number} for the largest off_t")
    if number:
        t.has("f", size=4)
    else:
        t.has("f", size=2**63 - 1)
        t.me(os.truncate, "f", 4)


@case()
def _file_size_limit_is_efbig_with_a_signal(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    limited = t.another(t.me)
    limited(_limit_file_size, 4096)
    limited(os.truncate, "f", 4096)
    limited.fails(errno.EFBIG, os.truncate, "f", 4097)
    t.has("f", size=4096)
    fd = limited(os.open, "f", os.O_RDWR)
    limited.fails(errno.EFBIG, os.ftruncate, fd, 10000)
    t.equal(limited(os.pwrite, fd, b"x" * 100, 4050), 46, "bytes of a write across the limit")
    limited.fails(errno.EFBIG, os.pwrite, fd, b"x", 4096)
    t.equal(limited(_signals), 3, "SIGXFSZ")


_seen: list[int] = []


def _limit_file_size(size: int) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, lambda number, _frame: _seen.append(number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _signals() -> int:
    return len(_seen)


@case()
def _ftruncate_needs_a_descriptor_open_for_writing(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.me(os.open, "f", os.O_RDONLY)
    t.me.fails((errno.EINVAL, errno.EBADF), os.ftruncate, fd, 0)
    t.me.fails(errno.EBADF, os.ftruncate, 9999, 0)
    t.has("f", size=4)
    fd = t.me(os.open, "f", os.O_WRONLY)
    t.me(os.chmod, "f", 0o000)
    t.me(os.ftruncate, fd, 2)
    t.has("f", size=2)


@case()
def _position_stays(t: Arena) -> None:
    t.me(_do.write, "f", b"0123456789")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.lseek, fd, 8, os.SEEK_SET)
    t.me(os.ftruncate, fd, 4)
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 8, "position")
    t.equal(t.me(os.read, fd, 10), b"", "content behind the end")
    t.me(os.write, fd, b"X")
    t.equal(t.me(_do.read, "f"), b"0123" + bytes(4) + b"X", "content")


@case()
def _link_is_followed(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(os.symlink, "f", "link")
    t.me(os.truncate, "link", 1)
    t.has("f", size=1)


@case()
def _running_program_is_etxtbsy(t: Arena) -> None:
    t.me(_copy_program, "/bin/sleep", "prog")
    runner = t.another(t.me)
    pid = runner(_spawn, "prog", "30")
    try:
        t.me.fails(errno.ETXTBSY, os.truncate, "prog", 0)
        t.me.fails(errno.ETXTBSY, os.open, "prog", os.O_WRONLY)
        t.me.fails(errno.ETXTBSY, os.open, "prog", os.O_RDWR | os.O_TRUNC)
    finally:
        runner(_stop, pid)
    t.me(os.truncate, "prog", 0)


def _copy_program(source: str, target: str) -> None:
    with open(source, "rb") as program:
        _do.write(target, program.read())
    os.chmod(target, 0o755)


def _spawn(program: str, *arguments: str) -> int:
    return os.posix_spawn(program, [program, *arguments], {})


def _stop(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)

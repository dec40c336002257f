# SPDX-License-Identifier: Apache-2.0
"""utimensat(2), futimens(3): POSIX.1-2017 futimens(); the granularity of timestamps."""

from __future__ import annotations

import errno
import os
import time

from instar.edge import syscalls
from instar.edge.syscalls import UTIME_NOW, UTIME_OMIT, AtFlags, utimensat
from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, shared_directory, sync_here

__all__: list[str] = []

_NOFOLLOW = AtFlags.SYMLINK_NOFOLLOW
_OLD = (1_000_000_000, 0)
_VALUES = {
    "epoch": (0, 0),
    "one-ns": (0, 1),
    "last-ns": (1, 999_999_999),
    "now-ish": (1_700_000_000, 123_456_789),
    "2038-1": (2**31 - 1, 999_999_999),
    "2038": (2**31, 0),
    "2106": (2**32, 1),
    "2200": (7_258_118_400, 5),
    "before-1970": (-1, 500_000_000),
    "1901": (-(2**31), 0),
}


def _futimens(path: str, atime: tuple[int, int] | None, mtime: tuple[int, int] | None) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        syscalls.futimens(fd, atime, mtime)
    finally:
        os.close(fd)


def _ns(pair: tuple[int, int]) -> int:
    return pair[0] * 10**9 + pair[1]


def _set_old(t: Arena, path: str) -> None:
    t.me(utimensat, path, _OLD, _OLD, _NOFOLLOW)


@case(grid(KINDS, {label: (value,) for label, value in _VALUES.items()}), short=True)
def _times_are_kept_to_the_nanosecond(t: Arena, kind: str, value: tuple[int, int]) -> None:
    t.make(kind, "f")
    other = (value[0] + 10, (value[1] + 1) % 10**9)
    t.me(utimensat, "f", value, other, _NOFOLLOW)
    status = t.stat("f")
    unit = t.granularity
    if status.st_atime_ns != _ns(value) and not 0 <= value[0] < 2**31:
        t.unsupported("times before 1970 or after 2038 (POSIX asks for neither)")
    t.equal(status.st_atime_ns, _ns(value) // unit * unit, "atime")
    t.equal(status.st_mtime_ns, _ns(other) // unit * unit, "mtime")


@case(each("file", "dir"))
def _futimens_does_the_same(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o755)
    for value in _VALUES.values():
        if value[0] < 0 or value[0] >= 2**31:
            continue
        t.me(_futimens, "f", value, (5, 6))
        status = t.stat("f")
        t.equal((status.st_atime_ns, status.st_mtime_ns), (_ns(value), 5_000_000_006), "times")


@case(KINDS)
def _omit_leaves_a_time_and_ctime_moves_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    _set_old(t, "f")
    with t.times({"f": "mc", ".": ""}):
        t.me(utimensat, "f", (0, UTIME_OMIT), (1_500_000_000, 7), _NOFOLLOW)
    t.equal(t.stat("f").st_mtime_ns, 1_500_000_000_000_000_007, "mtime")
    with t.times({"f": "ac"}):
        t.me(utimensat, "f", (1_600_000_000, 8), (0, UTIME_OMIT), _NOFOLLOW)
    t.equal(t.stat("f").st_atime_ns, 1_600_000_000_000_000_008, "atime")
    # Both omitted: nothing at all, not even ctime (POSIX).
    with t.times({"f": ""}):
        t.me(utimensat, "f", (0, UTIME_OMIT), (0, UTIME_OMIT), _NOFOLLOW)


@case(grid(KINDS, each("both", "null", "atime", "mtime")))
def _now_is_the_time_of_the_call(t: Arena, kind: str, which: str) -> None:
    t.make(kind, "f")
    _set_old(t, "f")
    # A file's own clock may be up to a tick behind.
    before = time.time_ns() - 20_000_000
    now, omit = (0, UTIME_NOW), (0, UTIME_OMIT)
    atime, mtime = {"both": (now, now), "null": (None, None), "atime": (now, omit), "mtime": (omit, now)}[
        which
    ]
    t.me(utimensat, "f", atime, mtime, _NOFOLLOW)
    after = time.time_ns() + 1
    status = t.stat("f")
    for name, value, changed in (
        ("atime", status.st_atime_ns, which != "mtime"),
        ("mtime", status.st_mtime_ns, which != "atime"),
    ):
        if changed:
            t.true(before // t.granularity * t.granularity <= value <= after, f"{name} is now")
        else:
            t.equal(value, _ns(_OLD), name)
    if which in {"both", "null"}:
        t.equal(status.st_atime_ns, status.st_mtime_ns, "atime and mtime of one call")
    t.true(status.st_ctime_ns >= before // t.granularity * t.granularity, "ctime is now")


@case(KINDS)
def _ctime_cannot_be_set_and_moves_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    now = t.stat("f").st_ctime_ns
    with t.times({".": ""}):
        t.me(utimensat, "f", (10, 0), (20, 0), _NOFOLLOW)
    status = t.stat("f")
    t.true(status.st_ctime_ns > now, "ctime moved on")
    t.equal((status.st_atime_ns, status.st_mtime_ns), (10 * 10**9, 20 * 10**9), "times")


@case({"nofollow": True, "follow": False})
def _link_is_followed_unless_told_otherwise(t: Arena, nofollow: bool) -> None:
    t.make("file", "target")
    t.make("symlink", "link")
    _set_old(t, "target")
    _set_old(t, "link")
    t.me(utimensat, "link", (30, 1), (40, 2), _NOFOLLOW if nofollow else AtFlags.NONE)
    changed, same = ("link", "target") if nofollow else ("target", "link")
    t.equal(t.stat(changed).st_mtime_ns, 40_000_000_002, f"mtime of the {changed}")
    t.equal(t.stat(same).st_mtime_ns, _ns(_OLD), f"mtime of the {same}")


def _rights_table(t: Arena) -> tuple[tuple[str, Actor, int, bool, bool], ...]:
    """(who, actor, mode of the file, may set to now, may set to anything)."""
    return (
        ("owner", t.user_a, 0o644, True, True),
        ("owner without write permission", t.user_a, 0o444, True, True),
        ("root", t.root, 0o000, True, True),
        ("other who may write", t.user_b, 0o666, True, False),
        ("other who may read", t.user_b, 0o644, False, False),
        ("group that may write", t.who(30008, A[1]), 0o660, True, False),
        ("supplementary group that may write", t.who(30008, 30008, A[1]), 0o660, True, False),
        ("other without rights", t.user_b, 0o600, False, False),
    )


@case(each("file", "dir", "fifo"), short=True)
def _who_may_set_times(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.make(kind, "d/f", 0o600, A)
    for who, actor, mode, may_now, may_any in _rights_table(t):
        t.root(os.chmod, "d/f", mode)
        _set_old(t, "d/f")
        for atime, mtime in ((None, None), ((0, UTIME_NOW), (0, UTIME_NOW))):
            if may_now:
                actor(utimensat, "d/f", atime, mtime)
            else:
                actor.fails(errno.EACCES, utimensat, "d/f", atime, mtime)
        for atime, mtime in (
            ((5, 0), (6, 0)),
            ((0, UTIME_NOW), (0, UTIME_OMIT)),
            ((0, UTIME_OMIT), (0, UTIME_NOW)),
            ((0, UTIME_NOW), (6, 0)),
        ):
            if may_any:
                actor(utimensat, "d/f", atime, mtime)
            else:
                actor.fails(errno.EPERM, utimensat, "d/f", atime, mtime)
        # Nothing to change needs no right.
        actor(utimensat, "d/f", (0, UTIME_OMIT), (0, UTIME_OMIT))
        if not may_now:
            t.equal(t.stat("d/f").st_mtime_ns, _ns(_OLD), f"mtime after {who} tried")


@case(each(-1, 1_000_000_000, (1 << 30) - 3, (1 << 30) + 1))
def _wrong_nanoseconds_are_einval(t: Arena, nanoseconds: int) -> None:
    t.make("file", "f")
    _set_old(t, "f")
    with t.times({"f": ""}):
        t.me.fails(errno.EINVAL, utimensat, "f", (1, nanoseconds), (1, 0))
        t.me.fails(errno.EINVAL, utimensat, "f", (1, 0), (1, nanoseconds))


@case()
def _seconds_do_not_matter_with_now_and_omit(t: Arena) -> None:
    t.make("file", "f")
    _set_old(t, "f")
    t.me(utimensat, "f", (-77, UTIME_OMIT), (2**40, UTIME_OMIT))
    t.equal(t.stat("f").st_mtime_ns, _ns(_OLD), "mtime")
    t.me(utimensat, "f", (-77, UTIME_NOW), (2**40, UTIME_NOW))
    t.true(abs(t.stat("f").st_mtime_ns - time.time_ns()) < 10 * 10**9, "mtime is now")


@case()
def _unknown_flags_are_einval(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.EINVAL, utimensat, "f", (1, 0), (1, 0), 1)
    t.me.fails(errno.EBADF, syscalls.futimens, 9999, (1, 0), (1, 0))


@case()
def _open_file_shows_the_times_that_were_set(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(utimensat, "f", (50, 1), (60, 2))
    t.equal(t.me(os.fstat, fd).st_mtime_ns, 60_000_000_002, "mtime by the descriptor")
    t.me(os.write, fd, b"y")
    t.true(t.me(os.fstat, fd).st_mtime_ns > 60_000_000_002, "a write moves mtime again")
    t.me(syscalls.futimens, fd, (70, 3), (80, 4))
    t.me(os.close, fd)
    t.equal(t.stat("f").st_mtime_ns, 80_000_000_004, "mtime after close")
    t.me(sync_here)
    t.equal(t.stat("f").st_mtime_ns, 80_000_000_004, "mtime after sync")


@case()
def _times_survive_what_does_not_touch_them(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_do.write, "f", b"x")
    t.me(utimensat, "f", (50, 1), (60, 2))
    t.me(os.chmod, "f", 0o600)
    t.me(os.rename, "f", "d/g")
    t.me(os.link, "d/g", "h")
    t.me(os.unlink, "d/g")
    status = t.stat("h")
    t.equal((status.st_atime_ns, status.st_mtime_ns), (50_000_000_001, 60_000_000_002), "times")


@case()
def _timestamps_of_events_in_order_are_in_order(t: Arena) -> None:
    stamps = []
    for number in range(20):
        t.me(_do.create, f"f{number}")
        stamps.append(t.stat(f"f{number}").st_mtime_ns)
    t.equal(stamps, sorted(stamps), "mtimes of files made one after the other")
    t.true(abs(stamps[-1] - time.time_ns()) < 5 * 10**9, "the file system's clock is the system's")

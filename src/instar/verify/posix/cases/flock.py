# SPDX-License-Identifier: Apache-2.0
"""flock(2)."""

from __future__ import annotations

import errno
import fcntl
import os

from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid

__all__: list[str] = []

SHARED, EXCLUSIVE, UNLOCK, NB = fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN, fcntl.LOCK_NB
_TYPES = {"shared": SHARED, "exclusive": EXCLUSIVE}
_ACCESS = {"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR}


def _pair(t: Arena, access: int = os.O_RDWR) -> tuple[Actor, int, Actor, int]:
    t.me(_do.write, "f", b"x")
    one, two = t.me, t.another(t.me)
    return one, one(os.open, "f", access), two, two(os.open, "f", access)


@case(grid(_TYPES, _TYPES, _ACCESS), short=True)
def _exclusive_locks_exclude_all_and_shared_locks_share(
    t: Arena, held: int, wanted: int, access: int
) -> None:
    one, mine, two, theirs = _pair(t, access)
    one(fcntl.flock, mine, held | NB)
    if held == SHARED and wanted == SHARED:
        two(fcntl.flock, theirs, wanted | NB)
    else:
        two.fails(errno.EWOULDBLOCK, fcntl.flock, theirs, wanted | NB)
    one(fcntl.flock, mine, UNLOCK)
    two(fcntl.flock, theirs, wanted | NB)


@case(each("file", "dir"))
def _files_and_directories_can_be_locked(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o755)
    other = t.another(t.me)
    mine, theirs = t.me(os.open, "f", os.O_RDONLY), other(os.open, "f", os.O_RDONLY)
    t.me(fcntl.flock, mine, EXCLUSIVE)
    other.fails(errno.EWOULDBLOCK, fcntl.flock, theirs, SHARED | NB)
    t.me(os.close, mine)
    other(fcntl.flock, theirs, EXCLUSIVE | NB)


@case()
def _two_opens_of_one_process_exclude_each_other(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    one, two = t.me(os.open, "f", os.O_RDWR), t.me(os.open, "f", os.O_RDWR)
    copy = t.me(os.dup, one)
    t.me(fcntl.flock, one, EXCLUSIVE | NB)
    t.me(fcntl.flock, copy, EXCLUSIVE | NB)
    t.me.fails(errno.EWOULDBLOCK, fcntl.flock, two, SHARED | NB)
    # A duplicate is the same open file: unlocking by it unlocks, closing one of them does not.
    t.me(os.close, one)
    t.me.fails(errno.EWOULDBLOCK, fcntl.flock, two, SHARED | NB)
    t.me(fcntl.flock, copy, UNLOCK)
    t.me(fcntl.flock, two, SHARED | NB)


@case(each("unlock", "close", "exit", "downgrade"), short=True)
def _waiting_ends_by(t: Arena, how: str) -> None:
    _, _, two, theirs = _pair(t)
    owner = t.another(t.me)
    fd = owner(os.open, "f", os.O_RDWR)
    owner(fcntl.flock, fd, EXCLUSIVE)
    waiting = two.start(fcntl.flock, theirs, SHARED)
    t.true(waiting.waits(), "the second process waits")
    if how == "unlock":
        owner(fcntl.flock, fd, UNLOCK)
    elif how == "close":
        owner(os.close, fd)
    elif how == "exit":
        owner.kill()
    else:
        owner(fcntl.flock, fd, SHARED)
    waiting.result()


@case()
def _waiting_is_interrupted_by_a_signal(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(fcntl.flock, mine, EXCLUSIVE)
    waiting = two.start(fcntl.flock, theirs, EXCLUSIVE)
    t.true(waiting.waits(), "the second process waits")
    two.interrupt()
    waiting.fails(errno.EINTR)
    one(fcntl.flock, mine, UNLOCK)
    three = t.another(t.me)
    fd = three(os.open, "f", os.O_RDWR)
    three(fcntl.flock, fd, EXCLUSIVE | NB)


@case()
def _waiter_that_is_killed_gets_nothing(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    waiter = t.another(t.me)
    fd = waiter(os.open, "f", os.O_RDWR)
    one(fcntl.flock, mine, EXCLUSIVE)
    waiting = waiter.start(fcntl.flock, fd, EXCLUSIVE)
    t.true(waiting.waits(), "the process waits")
    waiter.kill()
    one(fcntl.flock, mine, UNLOCK)
    two(fcntl.flock, theirs, EXCLUSIVE | NB)


@case()
def _lock_can_be_converted(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(fcntl.flock, mine, SHARED | NB)
    one(fcntl.flock, mine, EXCLUSIVE | NB)
    two.fails(errno.EWOULDBLOCK, fcntl.flock, theirs, SHARED | NB)
    one(fcntl.flock, mine, SHARED | NB)
    two(fcntl.flock, theirs, SHARED | NB)
    one.fails(errno.EWOULDBLOCK, fcntl.flock, mine, EXCLUSIVE | NB)


@case()
def _child_shares_the_lock_of_an_inherited_descriptor(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    t.equal(t.me(_fork_with_lock, "f"), (errno.EWOULDBLOCK, 0), "errnos while the child has it, and after")


def _fork_with_lock(path: str) -> tuple[int, int]:
    fd, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    fcntl.flock(fd, EXCLUSIVE)
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(out, 1)
        os._exit(0)
    os.close(fd)

    def attempt() -> int:
        try:
            fcntl.flock(other, EXCLUSIVE | NB)
        except OSError as error:
            return error.errno or -1
        return 0

    held = attempt()
    os.write(into, b"x")
    os.waitpid(pid, 0)
    freed = attempt()
    _do.close_all(other, out, into)
    return held, freed


@case()
def _independent_of_record_locks(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(fcntl.flock, mine, EXCLUSIVE)
    two(fcntl.lockf, theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    two.fails(errno.EWOULDBLOCK, fcntl.flock, theirs, EXCLUSIVE | NB)


@case(each("unlink", "rename"))
def _lock_belongs_to_the_file_and_not_to_its_name(t: Arena, how: str) -> None:
    one, mine, two, theirs = _pair(t)
    one(fcntl.flock, mine, EXCLUSIVE)
    if how == "unlink":
        t.me(os.unlink, "f")
    else:
        t.me(os.rename, "f", "g")
    t.me(_do.write, "f", b"new")
    two.fails(errno.EWOULDBLOCK, fcntl.flock, theirs, SHARED | NB)
    fresh = two(os.open, "f", os.O_RDWR)
    two(fcntl.flock, fresh, EXCLUSIVE | NB)


@case()
def _wrong_arguments_are_refused(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, fcntl.flock, fd, 0)
    t.me.fails(errno.EBADF, fcntl.flock, 9999, EXCLUSIVE)
    path = t.me(os.open, "f", os.O_PATH)
    t.me.fails(errno.EBADF, fcntl.flock, path, SHARED)
    t.me(fcntl.flock, fd, UNLOCK)


def _count_up(path: str, turns: int) -> None:
    fd = os.open(path, os.O_RDWR)
    for _ in range(turns):
        fcntl.flock(fd, EXCLUSIVE)
        number = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, b"%d" % (number + 1), 0)
        fcntl.flock(fd, UNLOCK)
    os.close(fd)


@case()
def _locked_counter_loses_no_step(t: Arena) -> None:
    t.me(_do.write, "f", b"0")
    actors = [t.another(t.me) for _ in range(3)]
    pending = [actor.start(_count_up, "f", 50) for actor in actors]
    for one in pending:
        one.result()
    t.equal(t.me(_do.read, "f"), b"150", "the counter")

# SPDX-License-Identifier: Apache-2.0
"""Record locks: POSIX.1-2017 fcntl() with F_SETLK, F_SETLKW, F_GETLK; fcntl_locking(2) for open file description locks."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import struct

from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid

__all__: list[str] = []

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock with 64-bit offsets: type, whence, start, length, pid
READ, WRITE, NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
_NAMES = {READ: "read", WRITE: "write", NONE: "none"}
_TYPES = {"read": READ, "write": WRITE}
_COMMANDS = {
    "posix": (fcntl.F_SETLK, fcntl.F_SETLKW, fcntl.F_GETLK),
    "ofd": (fcntl.F_OFD_SETLK, fcntl.F_OFD_SETLKW, fcntl.F_OFD_GETLK),
}
_STYLES = each("posix", "ofd")
_CONFLICT = (errno.EAGAIN, errno.EACCES)


def _lock(
    fd: int, kind: int, start: int = 0, length: int = 0, style: str = "posix", whence: int = os.SEEK_SET
) -> None:
    fcntl.fcntl(fd, _COMMANDS[style][0], _FLOCK.pack(kind, whence, start, length, 0))


def _lock_wait(fd: int, kind: int, start: int = 0, length: int = 0, style: str = "posix") -> None:
    fcntl.fcntl(fd, _COMMANDS[style][1], _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _test(
    fd: int, kind: int, start: int = 0, length: int = 0, style: str = "posix"
) -> tuple[int, int, int, int]:
    """What F_GETLK tells of a lock that is in the way: type, start, length, pid; type F_UNLCK if there is none."""
    answer = fcntl.fcntl(fd, _COMMANDS[style][2], _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    type_, whence, begin, size, pid = _FLOCK.unpack(answer)
    assert whence == os.SEEK_SET or type_ == NONE
    return type_, begin, size, pid


def _map(fd: int, size: int) -> str:
    """How others' locks look, a letter for each byte: ``.`` free, ``r`` read, ``w`` write."""
    letters = []
    for place in range(size):
        if _test(fd, WRITE, place, 1)[0] == NONE:
            letters.append(".")
        else:
            letters.append("w" if _test(fd, READ, place, 1)[0] == WRITE else "r")
    return "".join(letters)


def _pair(t: Arena) -> tuple[Actor, int, Actor, int]:
    """Two processes that have one file open."""
    t.me(_do.write, "f", b"x" * 100)
    one, two = t.me, t.another(t.me)
    return one, one(os.open, "f", os.O_RDWR), two, two(os.open, "f", os.O_RDWR)


@case(grid(_STYLES, _TYPES, _TYPES), short=True)
def _write_locks_exclude_all_and_read_locks_share(t: Arena, style: str, held: int, wanted: int) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, held, 10, 20, style)
    compatible = held == READ and wanted == READ
    if compatible:
        two(_lock, theirs, wanted, 10, 20, style)
        two(_lock, theirs, NONE, 10, 20, style)
    else:
        for start, length in ((10, 20), (0, 0), (29, 1), (10, 1), (0, 11), (29, 1000), (15, 2)):
            two.fails(_CONFLICT, _lock, theirs, wanted, start, length, style)
    for start, length in ((0, 10), (30, 0), (9, 1), (30, 1)):
        two(_lock, theirs, wanted, start, length, style)
        two(_lock, theirs, NONE, start, length, style)
    one(_lock, mine, NONE, 10, 20, style)
    two(_lock, theirs, wanted, 0, 0, style)


@case(grid(each("posix", "ofd"), each("posix", "ofd")))
def _both_styles_exclude_each_other(t: Arena, first: str, second: str) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, 0, 10, first)
    two.fails(_CONFLICT, _lock, theirs, READ, 5, 1, second)
    type_, start, length, pid = two(_test, theirs, READ, 0, 0, second)
    t.equal((type_, start, length), (WRITE, 0, 10), "the lock in the way")
    t.equal(pid, one.pid if first == "posix" else -1, "pid of its owner")
    one(_lock, mine, NONE, 0, 10, first)
    two(_lock, theirs, READ, 5, 1, second)


@case(_TYPES)
def _getlk_tells_the_lock_in_the_way(t: Arena, held: int) -> None:
    one, mine, two, theirs = _pair(t)
    t.equal(two(_test, theirs, WRITE)[0], NONE, "type without any lock")
    one(_lock, mine, held, 10, 20)
    t.equal(two(_test, theirs, WRITE, 0, 0), (held, 10, 20, one.pid), "lock in the way of the whole file")
    t.equal(two(_test, theirs, WRITE, 15, 1), (held, 10, 20, one.pid), "lock in the way of one byte")
    t.equal(two(_test, theirs, WRITE, 30, 0)[0], NONE, "type behind the lock")
    t.equal(two(_test, theirs, WRITE, 0, 10)[0], NONE, "type before the lock")
    t.equal(two(_test, theirs, READ, 10, 1)[0], NONE if held == READ else WRITE, "type for a reader")
    t.equal(one(_test, mine, WRITE, 0, 0)[0], NONE, "type for the owner itself")
    one(_lock, mine, held, 50, 0)
    t.equal(two(_test, theirs, WRITE, 60, 5), (held, 50, 0, one.pid), "lock to the end of the file")


@case(
    {
        "unlock-middle": ([(WRITE, 0, 20), (NONE, 5, 5)], "wwwww.....wwwwwwwwww"),
        "unlock-start": ([(WRITE, 5, 10), (NONE, 0, 8)], "........wwwwwww....."),
        "unlock-end": ([(WRITE, 5, 10), (NONE, 10, 0)], ".....wwwww.........."),
        "unlock-all": ([(WRITE, 0, 5), (READ, 10, 5), (NONE, 0, 0)], "...................."),
        "downgrade-middle": ([(WRITE, 0, 20), (READ, 5, 5)], "wwwwwrrrrrwwwwwwwwww"),
        "upgrade-middle": ([(READ, 0, 20), (WRITE, 5, 5)], "rrrrrwwwwwrrrrrrrrrr"),
        "join": ([(WRITE, 0, 5), (WRITE, 5, 5), (WRITE, 10, 5)], "wwwwwwwwwwwwwww....."),
        "overlap": ([(READ, 0, 10), (WRITE, 5, 10)], "rrrrrwwwwwwwwww....."),
        "cover": ([(READ, 5, 2), (READ, 10, 2), (WRITE, 0, 15)], "wwwwwwwwwwwwwww....."),
        "to-end": ([(READ, 3, 0), (NONE, 10, 2)], "...rrrrrrr..rrrrrrrr"),
        "single-bytes": ([(WRITE, place, 1) for place in range(0, 20, 2)], "w.w.w.w.w.w.w.w.w.w."),
        "fill-gap": ([(WRITE, 0, 5), (WRITE, 10, 5), (WRITE, 5, 5), (NONE, 7, 1)], "wwwwwww.wwwwwww....."),
    },
    short=True,
)
def _ranges_split_join_and_change_their_type(
    t: Arena, steps: list[tuple[int, int, int]], expected: str
) -> None:
    one, mine, two, theirs = _pair(t)
    for step in steps:
        one(_lock, mine, *step)
    t.equal(two(_map, theirs, 20), expected, "locks that another process sees")


@case(each(1, 2, 3, 4))
def _random_locks_agree_with_a_model(t: Arena, seed: int) -> None:
    one, mine, two, theirs = _pair(t)
    generator = random.Random(seed)
    size = 16
    owners = [[NONE] * size, [NONE] * size]
    for _ in range(60):
        who = generator.randrange(2)
        actor, fd = ((one, mine), (two, theirs))[who]
        start = generator.randrange(size)
        length = generator.randrange(1, size - start + 1)
        kind = generator.choice((READ, WRITE, NONE))
        others = owners[1 - who][start : start + length]
        free = kind == NONE or all(other == NONE or (other == READ and kind == READ) for other in others)
        if free:
            actor(_lock, fd, kind, start, length)
            owners[who][start : start + length] = [kind] * length
        else:
            actor.fails(_CONFLICT, _lock, fd, kind, start, length)
    letters = {NONE: ".", READ: "r", WRITE: "w"}
    t.equal(
        two(_map, theirs, size), "".join(letters[kind] for kind in owners[0]), "locks of the first process"
    )
    t.equal(
        one(_map, mine, size), "".join(letters[kind] for kind in owners[1]), "locks of the second process"
    )


@case({"current": os.SEEK_CUR, "end": os.SEEK_END})
def _start_may_count_from_the_position_or_the_end(t: Arena, whence: int) -> None:
    one, mine, two, theirs = _pair(t)
    one(os.lseek, mine, 40, os.SEEK_SET)
    base = 40 if whence == os.SEEK_CUR else 100
    one(_lock, mine, WRITE, 5, 10, "posix", whence)
    t.equal(two(_test, theirs, WRITE)[1:3], (base + 5, 10), "start and length")
    one(_lock, mine, NONE)
    one(_lock, mine, WRITE, -10, 5, "posix", whence)
    t.equal(two(_test, theirs, WRITE)[1:3], (base - 10, 5), "start and length")


@case()
def _negative_length_reaches_backwards(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, 20, -5)
    t.equal(two(_test, theirs, WRITE)[1:3], (15, 5), "start and length")
    one.fails(errno.EINVAL, _lock, mine, WRITE, 3, -5)


@case(_STYLES)
def _wrong_arguments_are_refused(t: Arena, style: str) -> None:
    t.me(_do.write, "f", b"x")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, _lock, fd, WRITE, -1, 5, style)
    t.me.fails(errno.EINVAL, _lock, fd, 77, 0, 5, style)
    t.me.fails(errno.EINVAL, _lock, fd, WRITE, 0, 5, style, 77)
    t.me.fails(errno.EOVERFLOW, _lock, fd, WRITE, 2**63 - 10, 100, style)
    t.me.fails(errno.EBADF, _lock, 9999, WRITE, 0, 5, style)
    read_only, write_only = t.me(os.open, "f", os.O_RDONLY), t.me(os.open, "f", os.O_WRONLY)
    t.me.fails(errno.EBADF, _lock, read_only, WRITE, 0, 5, style)
    t.me.fails(errno.EBADF, _lock, write_only, READ, 0, 5, style)
    t.me(_lock, read_only, READ, 0, 5, style)
    t.me(_lock, read_only, NONE, 0, 5, style)
    t.me(_lock, write_only, WRITE, 0, 5, style)
    path = t.me(os.open, "f", os.O_PATH)
    t.me.fails(errno.EBADF, _lock, path, READ, 0, 5, style)


@case({"start": 2**62, "4g": 2**32 + 5})
def _large_offsets_are_kept(t: Arena, start: int) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, start, 100)
    t.equal(two(_test, theirs, READ), (WRITE, start, 100, one.pid), "the lock in the way")
    two.fails(_CONFLICT, _lock, theirs, READ, start + 99, 1)
    two(_lock, theirs, READ, start + 100, 1)
    one(_lock, mine, WRITE, 2**63 - 1, 1)
    two.fails(_CONFLICT, _lock, theirs, READ, 2**63 - 1, 1)


# -------------------------------------------------------------------------------- how posix locks end


@case(each("close", "close-other", "close-dup", "exit"), short=True)
def _process_loses_its_locks(t: Arena, how: str) -> None:
    _, _, two, theirs = _pair(t)
    owner = t.another(t.me)
    fd = owner(os.open, "f", os.O_RDWR)
    second = owner(os.open, "f", os.O_RDONLY)
    copy = owner(os.dup, fd)
    owner(_lock, fd, WRITE, 0, 50)
    two.fails(_CONFLICT, _lock, theirs, READ, 0, 1)
    if how == "exit":
        owner.kill()
    else:
        # Closing any descriptor of the file drops all locks of the process on it (POSIX).
        owner(os.close, {"close": fd, "close-other": second, "close-dup": copy}[how])
    t.true(two(_lock_soon, theirs), "the lock is free soon")


def _lock_soon(fd: int) -> bool:
    """Take the whole file, waiting for it (whoever held it may be dying)."""
    _lock_wait(fd, WRITE)
    return True


@case()
def _other_locks_of_the_process_stay_when_another_file_is_closed(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    t.me(_do.write, "g", b"x")
    other = one(os.open, "g", os.O_RDWR)
    one(_lock, mine, WRITE, 0, 10)
    one(_lock, other, WRITE, 0, 10)
    one(os.close, other)
    two.fails(_CONFLICT, _lock, theirs, READ, 0, 1)


@case()
def _child_does_not_inherit_locks(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    t.equal(t.me(_fork_and_lock, "f"), errno.EAGAIN, "errno of the child's lock")


def _fork_and_lock(path: str) -> int:
    fd = os.open(path, os.O_RDWR)
    _lock(fd, WRITE)
    pid = os.fork()
    if pid == 0:
        try:
            _lock(fd, WRITE)
        except OSError as error:
            os._exit(errno.EAGAIN if error.errno in _CONFLICT else 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@case(each("unlink", "rename", "replace"))
def _locks_belong_to_the_file_and_not_to_its_name(t: Arena, how: str) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE)
    if how == "unlink":
        t.me(os.unlink, "f")
        t.me(_do.write, "f", b"new")
    elif how == "rename":
        t.me(os.rename, "f", "g")
        t.me(_do.write, "f", b"new")
    else:
        t.me(_do.write, "new", b"new")
        t.me(os.rename, "new", "f")
    two.fails(_CONFLICT, _lock, theirs, READ)
    fresh = two(os.open, "f", os.O_RDWR)
    two(_lock, fresh, WRITE)


@case()
def _all_names_share_the_locks(t: Arena) -> None:
    one, mine, two, _ = _pair(t)
    t.me(os.link, "f", "g")
    by_link = two(os.open, "g", os.O_RDWR)
    one(_lock, mine, WRITE)
    two.fails(_CONFLICT, _lock, by_link, READ)


@case()
def _locks_are_advisory(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE)
    t.equal(two(os.pwrite, theirs, b"y", 0), 1, "bytes written in spite of the lock")
    t.equal(two(os.pread, theirs, 1, 0), b"y", "content")
    two(os.ftruncate, theirs, 0)


# ------------------------------------------------------------------------------------------- waiting


@case(grid(_STYLES, _TYPES), short=True)
def _waiting_ends_when_the_lock_is_free(t: Arena, style: str, wanted: int) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, 0, 10, style)
    waiting = two.start(_lock_wait, theirs, wanted, 5, 10, style)
    t.true(waiting.waits(), "the second process waits")
    one(_lock, mine, NONE, 0, 5, style)
    t.true(waiting.waits(), "it waits on while part of the range is held")
    one(_lock, mine, NONE, 5, 5, style)
    waiting.result()
    t.equal(one(_test, mine, WRITE, 0, 0, style)[:3], (wanted, 5, 10), "the lock that it got")


@case(each("close", "exit", "downgrade"))
def _waiting_ends_by(t: Arena, how: str) -> None:
    _, _, two, theirs = _pair(t)
    owner = t.another(t.me)
    fd = owner(os.open, "f", os.O_RDWR)
    owner(_lock, fd, WRITE)
    waiting = two.start(_lock_wait, theirs, READ)
    t.true(waiting.waits(), "the second process waits")
    if how == "close":
        owner(os.close, fd)
    elif how == "exit":
        owner.kill()
    else:
        owner(_lock, fd, READ)
    waiting.result()


@case(_STYLES)
def _waiting_is_interrupted_by_a_signal(t: Arena, style: str) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, 0, 0, style)
    waiting = two.start(_lock_wait, theirs, WRITE, 0, 0, style)
    t.true(waiting.waits(), "the second process waits")
    two.interrupt()
    waiting.fails(errno.EINTR)
    one(_lock, mine, NONE, 0, 0, style)
    # The interrupted call must not have got the lock behind the scenes.
    t.equal(one(_test, mine, WRITE, 0, 0, style)[0], NONE, "a lock in the way")
    two(_lock, theirs, WRITE, 0, 0, style)


@case(_STYLES)
def _waiter_that_is_killed_gets_nothing(t: Arena, style: str) -> None:
    one, mine, two, theirs = _pair(t)
    waiter = t.another(t.me)
    fd = waiter(os.open, "f", os.O_RDWR)
    one(_lock, mine, WRITE, 0, 0, style)
    waiting = waiter.start(_lock_wait, fd, WRITE, 0, 0, style)
    t.true(waiting.waits(), "the process waits")
    waiter.kill()
    one(_lock, mine, NONE, 0, 0, style)
    two(_lock, theirs, WRITE, 0, 0, style)


@case()
def _several_readers_wait_for_one_writer(t: Arena) -> None:
    one, mine, _, _ = _pair(t)
    one(_lock, mine, WRITE)
    readers = [t.another(t.me) for _ in range(3)]
    waiting = []
    for reader in readers:
        fd = reader(os.open, "f", os.O_RDWR)
        waiting.append(reader.start(_lock_wait, fd, READ))
    t.true(all(one_waiting.waits() for one_waiting in waiting), "all wait")
    one(_lock, mine, NONE)
    for one_waiting in waiting:
        one_waiting.result()


@case()
def _deadlock_is_edeadlk(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(_lock, mine, WRITE, 0, 1)
    two(_lock, theirs, WRITE, 1, 1)
    waiting = one.start(_lock_wait, mine, WRITE, 1, 1)
    t.true(waiting.waits(), "the first process waits")
    two.fails(errno.EDEADLK, _lock_wait, theirs, WRITE, 0, 1)
    two(_lock, theirs, NONE, 1, 1)
    waiting.result()


@case()
def _deadlock_of_three_is_edeadlk(t: Arena) -> None:
    t.me(_do.write, "f", b"x" * 100)
    actors = [t.another(t.me) for _ in range(3)]
    fds = [actor(os.open, "f", os.O_RDWR) for actor in actors]
    for number, actor in enumerate(actors):
        actor(_lock, fds[number], WRITE, number, 1)
    first = actors[0].start(_lock_wait, fds[0], WRITE, 1, 1)
    t.true(first.waits(), "the first process waits")
    second = actors[1].start(_lock_wait, fds[1], WRITE, 2, 1)
    t.true(second.waits(), "the second process waits")
    actors[2].fails(errno.EDEADLK, _lock_wait, fds[2], WRITE, 0, 1)
    actors[2](_lock, fds[2], NONE, 2, 1)
    second.result()
    actors[1](_lock, fds[1], NONE)
    first.result()


def _count_up(path: str, turns: int, style: str) -> None:
    """Add one to a number in a file, under a lock."""
    fd = os.open(path, os.O_RDWR)
    for _ in range(turns):
        _lock_wait(fd, WRITE, 0, 0, style)
        number = int(os.pread(fd, 20, 0) or b"0")
        os.pwrite(fd, b"%d" % (number + 1), 0)
        _lock(fd, NONE, 0, 0, style)
    os.close(fd)


@case(_STYLES)
def _locked_counter_loses_no_step(t: Arena, style: str) -> None:
    t.me(_do.write, "f", b"0")
    actors = [t.another(t.me) for _ in range(3)]
    pending = [actor.start(_count_up, "f", 50, style) for actor in actors]
    for one in pending:
        one.result()
    t.equal(t.me(_do.read, "f"), b"150", "the counter")


# ------------------------------------------------------------------------- open file description locks


@case()
def _two_opens_of_one_process_exclude_each_other_by_ofd_locks(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    one, two = t.me(os.open, "f", os.O_RDWR), t.me(os.open, "f", os.O_RDWR)
    t.me(_lock, one, WRITE, 0, 0, "ofd")
    t.me.fails(_CONFLICT, _lock, two, READ, 0, 0, "ofd")
    t.equal(t.me(_test, two, READ, 0, 0, "ofd"), (WRITE, 0, 0, -1), "the lock in the way")
    # By POSIX locks the same process never conflicts with itself.
    t.me(_lock, one, NONE, 0, 0, "ofd")
    t.me(_lock, one, WRITE)
    t.me(_lock, two, WRITE)


@case()
def _duplicate_descriptors_share_ofd_locks(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    copy = one(os.dup, mine)
    one(_lock, mine, WRITE, 0, 10, "ofd")
    one(_lock, copy, WRITE, 0, 10, "ofd")
    one(os.close, mine)
    two.fails(_CONFLICT, _lock, theirs, READ, 0, 1, "ofd")
    one(_lock, copy, NONE, 0, 10, "ofd")
    two(_lock, theirs, READ, 0, 1, "ofd")


@case()
def _closing_another_descriptor_keeps_ofd_locks(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    second = one(os.open, "f", os.O_RDWR)
    one(_lock, mine, WRITE, 0, 10, "ofd")
    one(os.close, second)
    two.fails(_CONFLICT, _lock, theirs, READ, 0, 1, "ofd")


@case(each("close", "exit"))
def _last_close_drops_ofd_locks(t: Arena, how: str) -> None:
    _, _, two, theirs = _pair(t)
    owner = t.another(t.me)
    fd = owner(os.open, "f", os.O_RDWR)
    owner(_lock, fd, WRITE, 0, 10, "ofd")
    two.fails(_CONFLICT, _lock, theirs, READ, 0, 1, "ofd")
    if how == "close":
        owner(os.close, fd)
    else:
        owner.kill()
    waiting = two.start(_lock_wait, theirs, WRITE, 0, 0, "ofd")
    t.true(not waiting.waits(5), "the lock is free soon")
    if how == "close" and waiting.waits(0):
        two.interrupt()
    waiting.result()


@case()
def _pid_in_an_ofd_request_is_einval(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me.fails(errno.EINVAL, _lock_with_pid, fd)


def _lock_with_pid(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(WRITE, os.SEEK_SET, 0, 0, 5))


@case()
def _child_shares_ofd_locks_of_an_inherited_descriptor(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    t.equal(
        t.me(_fork_with_ofd, "f"),
        (0, errno.EAGAIN, 0),
        "errnos: the child, others after the parent closed, after the child ended",
    )


def _fork_with_ofd(path: str) -> tuple[int, int, int]:
    fd = os.open(path, os.O_RDWR)
    other = os.open(path, os.O_RDWR)
    _lock(fd, WRITE, 0, 0, "ofd")
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _lock(fd, WRITE, 0, 0, "ofd")
        except OSError:
            os._exit(1)
        os.read(out, 1)
        os._exit(0)
    os.close(fd)

    def attempt() -> int:
        try:
            _lock(other, WRITE, 0, 0, "ofd")
        except OSError as error:
            return errno.EAGAIN if error.errno in _CONFLICT else (error.errno or -1)
        return 0

    held = attempt()
    os.write(into, b"x")
    child = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    freed = attempt()
    _do.close_all(other, out, into)
    return child, held, freed


# ------------------------------------------------------------------------------------------- lockf


@case()
def _lockf_is_the_same_lock(t: Arena) -> None:
    one, mine, two, theirs = _pair(t)
    one(fcntl.lockf, mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    two.fails(_CONFLICT, fcntl.lockf, theirs, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    two.fails(_CONFLICT, _lock, theirs, READ, 5, 1)
    one(fcntl.lockf, mine, fcntl.LOCK_UN)
    two(fcntl.lockf, theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)

# SPDX-License-Identifier: Apache-2.0
"""`LockTable` by itself, against the kernel's own locks, and behind a mount with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.fs import FileLock, LockType
from instar.fs.locks import LockTable
from instar.fs.memfs import MemFS
from instar.testing import mounted

READ, WRITE, UNLOCK = LockType.RDLCK, LockType.WRLCK, LockType.UNLCK
LAST = (1 << 63) - 1


def lock(kind, start=0, end=LAST, pid=0):
    return FileLock(kind, start, end, pid)


# ------------------------------------------------------------------------------------- by itself


def test_readers_share_and_a_writer_keeps_everybody_else_out():
    table = LockTable()
    assert table.try_lock(1, 10, lock(READ), flock=False)
    assert table.try_lock(1, 11, lock(READ), flock=False)
    assert not table.try_lock(1, 12, lock(WRITE), flock=False)
    assert table.try_lock(1, 12, lock(WRITE, 0, 9), flock=False) is False
    table.drop_owner(1, 10, flock=False)
    table.drop_owner(1, 11, flock=False)
    assert table.try_lock(1, 12, lock(WRITE), flock=False)
    assert not table.try_lock(1, 10, lock(READ), flock=False)
    assert table.try_lock(2, 10, lock(WRITE), flock=False)  # another file


def test_test_shows_the_first_lock_in_the_way_and_its_process():
    table = LockTable()
    table.try_lock(1, 10, lock(WRITE, 100, 199, pid=77), flock=False)
    assert table.test(1, 11, lock(READ, 0, 99)) is None
    assert table.test(1, 10, lock(WRITE)) is None
    assert table.test(1, 11, lock(READ, 150, 150)) == FileLock(WRITE, 100, 199, 77)


def test_posix_locks_and_flock_locks_do_not_see_each_other():
    table = LockTable()
    assert table.try_lock(1, 10, lock(WRITE), flock=False)
    assert table.try_lock(1, 11, lock(WRITE), flock=True)
    assert not table.try_lock(1, 10, lock(READ), flock=True)
    assert table.test(1, 12, lock(READ)) is not None
    table.drop_owner(1, 10, flock=False)
    assert table.test(1, 12, lock(READ)) is None


def test_a_lock_is_cut_in_two_and_neighbours_of_one_kind_join():
    table = LockTable()
    table.try_lock(1, 10, lock(WRITE, 0, 99), flock=False)
    table.try_lock(1, 10, lock(UNLOCK, 40, 59), flock=False)
    assert table.test(1, 11, lock(READ, 40, 59)) is None
    assert table.test(1, 11, lock(READ, 39, 40)) == FileLock(WRITE, 0, 39, 0)
    assert table.test(1, 11, lock(READ, 59, 60)) == FileLock(WRITE, 60, 99, 0)
    table.try_lock(1, 10, lock(WRITE, 40, 59), flock=False)
    assert table.test(1, 11, lock(READ, 50, 50)) == FileLock(WRITE, 0, 99, 0)
    table.try_lock(1, 10, lock(READ, 50, 50), flock=False)
    assert table.test(1, 11, lock(WRITE, 50, 50)) == FileLock(READ, 50, 50, 0)


def test_dropping_everything_leaves_an_empty_table():
    table = LockTable()
    for owner in range(5):
        table.try_lock(1, owner, lock(READ, owner, owner + 5), flock=False)
        table.try_lock(1, owner, lock(READ), flock=True)
    for owner in range(5):
        table.drop_owner(1, owner, flock=False)
        table.drop_owner(1, owner, flock=True)
    assert table._held == {}
    assert table._waiting == {}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([READ, WRITE, UNLOCK]), st.integers(0, 12), st.integers(0, 6)
        ),
        max_size=30,
    )
)
def test_the_table_holds_what_a_map_of_single_bytes_holds(steps):
    """The model: for each byte, who holds it and how."""
    table, held = LockTable(), [{} for _ in range(20)]
    for owner, kind, start, more in steps:
        span = range(start, start + more + 1)
        free = all(
            other == owner or WRITE not in (kind, how) for byte in span for other, how in held[byte].items()
        )
        granted = table.try_lock(7, owner, lock(kind, start, start + more), flock=False)
        assert granted == (kind is UNLOCK or free)
        if granted:
            for byte in span:
                held[byte].pop(owner, None)
                if kind is not UNLOCK:
                    held[byte][owner] = kind
        for byte in range(20):
            for asker in range(3):
                writers = [how for other, how in held[byte].items() if other != asker]
                assert (table.test(7, asker, lock(WRITE, byte, byte)) is not None) == bool(writers)
    ranges = [(each.owner, each.type, each.start, each.end) for each in table._held.get((7, False), [])]
    for one in ranges:  # joined as far as can be
        assert not any(
            other[:2] == one[:2] and other is not one and other[2] <= one[3] + 1 and one[2] <= other[3] + 1
            for other in ranges
        )


def test_waiting_requests_are_granted_in_the_order_in_which_they_came():
    async def run():
        table, granted = LockTable(), []
        await table.lock(1, 0, lock(WRITE), wait=False, flock=False)

        async def want(owner):
            await table.lock(1, owner, lock(WRITE), wait=True, flock=False)
            granted.append(owner)
            await asyncio.sleep(0)
            table.drop_owner(1, owner, flock=False)

        tasks = [asyncio.create_task(want(owner)) for owner in (3, 1, 2)]
        await asyncio.sleep(0)
        assert granted == []
        table.drop_owner(1, 0, flock=False)
        await asyncio.gather(*tasks)
        assert granted == [3, 1, 2]
        assert (table._held, table._waiting) == ({}, {})

    asyncio.run(run())


def test_who_does_not_wait_gets_eagain():
    async def run():
        table = LockTable()
        await table.lock(1, 0, lock(WRITE), wait=False, flock=True)
        with pytest.raises(BlockingIOError):
            await table.lock(1, 1, lock(READ), wait=False, flock=True)

    asyncio.run(run())


def test_who_is_cancelled_stops_waiting_and_the_next_gets_the_lock():
    async def run():
        table = LockTable()
        await table.lock(1, 0, lock(WRITE), wait=False, flock=False)
        first = asyncio.create_task(table.lock(1, 1, lock(WRITE), wait=True, flock=False))
        second = asyncio.create_task(table.lock(1, 2, lock(WRITE), wait=True, flock=False))
        await asyncio.sleep(0)
        first.cancel()
        table.drop_owner(1, 0, flock=False)
        await second
        assert first.cancelled() or first.cancelling()
        assert table.test(1, 9, lock(READ)) == FileLock(WRITE, 0, LAST, 0)
        assert table._waiting == {}

    asyncio.run(run())


def test_two_readers_who_both_want_to_write_do_not_wait_for_each_other_for_ever():
    """flock(2): converting a lock drops the old one first, so one of the two gets through."""

    async def run():
        table = LockTable()
        for owner in (1, 2):
            await table.lock(1, owner, lock(READ), wait=False, flock=True)
        one = asyncio.create_task(table.lock(1, 1, lock(WRITE), wait=True, flock=True))
        await asyncio.sleep(0)
        two = asyncio.create_task(table.lock(1, 2, lock(WRITE), wait=True, flock=True))
        done, _ = await asyncio.wait({one, two}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        table.drop_owner(1, 1 if one in done else 2, flock=True)
        await asyncio.wait_for(asyncio.gather(one, two), 5)

    asyncio.run(run())


def test_a_circle_of_waiting_owners_is_refused_with_edeadlk():
    async def run():
        table = LockTable()
        for owner in (1, 2, 3):
            await table.lock(1, owner, lock(WRITE, owner, owner), wait=False, flock=False)
        one = asyncio.create_task(table.lock(1, 1, lock(WRITE, 2, 2), wait=True, flock=False))
        two = asyncio.create_task(table.lock(1, 2, lock(WRITE, 3, 3), wait=True, flock=False))
        await asyncio.sleep(0)
        with pytest.raises(OSError) as caught:
            await table.lock(1, 3, lock(WRITE, 1, 1), wait=True, flock=False)
        assert caught.value.errno == errno.EDEADLK
        table.drop_owner(1, 3, flock=False)
        await asyncio.wait_for(two, 5)
        table.drop_owner(1, 2, flock=False)
        await asyncio.wait_for(one, 5)

    asyncio.run(run())


# ------------------------------------------------------------------------------- behind a mount

_mount = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


class Locking(MemFS):
    """A MemFS that keeps its locks itself."""

    def __init__(self):
        super().__init__()
        self.table = LockTable()

    def getlk(self, ctx, ino, fh, owner, lock):
        return self.table.test(ino, owner, lock)

    async def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
        await self.table.lock(ino, owner, lock, wait=wait, flock=flock)

    def getxattr(self, ctx, ino, name):
        if name == "user.locks":
            return f"{sum(map(len, self.table._held.values()))} {sum(map(len, self.table._waiting.values()))}".encode()
        return super().getxattr(ctx, ino, name)


@pytest.fixture(params=["kernel", "table"])
def file(request):
    """A file whose locks the kernel keeps, which is how it has to be, and one whose locks a table keeps."""
    with mounted(Locking if request.param == "table" else "memfs") as top:
        path = top / "file"
        path.write_bytes(b"content")
        yield path


def _counts(path):
    return tuple(map(int, os.getxattr(path, "user.locks").split()))


_HOLDER = """
import fcntl, os, signal, sys
how, mode, path, start, length = sys.argv[1:]
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(44))
fd = os.open(path, os.O_RDWR)
operation = {"read": fcntl.LOCK_SH, "write": fcntl.LOCK_EX}[mode]
try:
    if how == "flock":
        fcntl.flock(fd, operation)
    else:
        fcntl.lockf(fd, operation, int(length), int(start))
except OSError as error:
    print("error", error.errno, flush=True)
    sys.exit(1)
print("locked", flush=True)
for line in sys.stdin:
    if line == "close\\n":
        os.close(os.open(path, os.O_RDONLY)) if how == "posix" else os.close(fd)
        print("closed", flush=True)
    elif line == "exit\\n":
        os._exit(0)
"""


class Holder:
    """A process that takes a lock and keeps it."""

    def __init__(self, how, mode, path, start=0, length=0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, how, mode, str(path), str(start), str(length)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def hear(self, seconds=10):
        reader = threading.Timer(seconds, self.process.kill)
        reader.start()
        try:
            return self.process.stdout.readline().strip()
        finally:
            reader.cancel()

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def waits(self, seconds=0.3):
        """Whether it has said nothing for a while."""
        return not select.select([self.process.stdout], [], [], seconds)[0]


@pytest.mark.parametrize("how", ["posix", "flock"])
class TestProcesses:
    pytestmark = _mount

    def test_who_waits_for_a_lock_gets_it_when_it_is_dropped(self, how, file):
        for end in ("close", "exit", "kill"):
            with Holder(how, "write", file) as first:
                assert first.hear() == "locked"
                with Holder(how, "write", file) as second:
                    assert second.waits()
                    if end == "kill":
                        first.process.kill()
                    else:
                        first.say(end)
                    assert second.hear() == "locked", end

    def test_readers_share_and_a_writer_waits_for_all_of_them(self, how, file):
        with Holder(how, "read", file) as one, Holder(how, "read", file) as two:
            assert (one.hear(), two.hear()) == ("locked", "locked")
            with Holder(how, "write", file) as writer:
                one.say("exit")
                assert writer.waits()
                two.say("exit")
                assert writer.hear() == "locked"

    def test_a_signal_ends_the_wait_and_the_lock_is_not_taken_later(self, how, file):
        with Holder(how, "write", file) as first:
            assert first.hear() == "locked"
            with Holder(how, "write", file) as second:
                assert second.waits()
                second.process.send_signal(signal.SIGUSR1)
                assert second.process.wait(10) == 44
            first.say("exit")
            first.process.wait(10)
        fd = os.open(file, os.O_RDWR)
        try:
            if how == "flock":
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)

    def test_a_waiter_that_is_killed_leaves_the_queue(self, how, file):
        with Holder(how, "write", file) as first:
            assert first.hear() == "locked"
            waiters = [Holder(how, "write", file) for _ in range(3)]
            with contextlib.ExitStack() as stack:
                for waiter in waiters:
                    stack.enter_context(waiter)
                assert all(waiter.waits() for waiter in waiters)
                waiters[0].process.kill()
                waiters[1].process.kill()
                assert waiters[0].process.wait(10) == waiters[1].process.wait(10) == -9
                first.say("exit")
                assert waiters[2].hear() == "locked"

    def test_who_does_not_wait_is_told_at_once(self, how, file):
        with Holder(how, "write", file) as first:
            assert first.hear() == "locked"
            with open(file, "rb+") as other, pytest.raises(BlockingIOError):
                operation = fcntl.LOCK_EX | fcntl.LOCK_NB
                fcntl.flock(other, operation) if how == "flock" else fcntl.lockf(other, operation)


@pytest.mark.mount
@pytest.mark.root
def test_the_two_kinds_of_locks_do_not_meet_behind_a_mount(file):
    with Holder("flock", "write", file) as one, Holder("posix", "write", file) as two:
        assert (one.hear(), two.hear()) == ("locked", "locked")


@pytest.mark.mount
@pytest.mark.root
def test_getlk_names_the_process_and_the_range(file):
    with Holder("posix", "write", file, 100, 50) as holder:
        assert holder.hear() == "locked"
        with open(file, "rb+") as other:
            ask = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            kind, whence, start, length, pid = struct.unpack(
                "hhqqi4x", fcntl.fcntl(other, fcntl.F_GETLK, ask)
            )
        assert (kind, whence, start, length, pid) == (fcntl.F_WRLCK, 0, 100, 50, holder.process.pid)


@pytest.mark.mount
@pytest.mark.root
def test_any_close_of_the_file_drops_the_posix_locks_of_the_process(file):
    with open(file, "rb+") as one, Holder("posix", "read", file) as other:
        assert other.hear() == "locked"
        with pytest.raises(BlockingIOError):
            fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.say("close")
        assert other.hear() == "closed"
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.mount
@pytest.mark.root
def test_a_duplicate_keeps_a_flock_lock_until_its_own_close(file):
    with open(file, "rb+") as one, open(file, "rb+") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        copy = os.dup(one.fileno())
        one.close()
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(copy)
        for _ in range(500):  # the last close is not waited for
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
        else:
            raise AssertionError("the lock was never dropped")


@pytest.mark.mount
@pytest.mark.root
def test_two_processes_that_wait_in_a_circle_are_told(file):
    with Holder("posix", "write", file, 0, 1) as one, open(file, "rb+") as here:
        assert one.hear() == "locked"
        fcntl.lockf(here, fcntl.LOCK_EX, 1, 1)
        code = (
            "import fcntl,os,sys\nfd=os.open(sys.argv[1],os.O_RDWR)\nfcntl.lockf(fd,fcntl.LOCK_EX,1,2)\n"
            "print('locked',flush=True)\nfcntl.lockf(fd,fcntl.LOCK_EX,1,1)\n"
        )
        with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE) as two:
            two.stdout.readline()
            time.sleep(0.2)  # nothing shows that it waits
            with pytest.raises(OSError) as caught:
                fcntl.lockf(here, fcntl.LOCK_EX, 1, 2)
            assert caught.value.errno == errno.EDEADLK
            fcntl.lockf(here, fcntl.LOCK_UN, 1, 1)
            assert two.wait(10) == 0


_CONTENDER = """
import fcntl, os, random, sys, time
path, seed, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng = random.Random(seed)
fd = os.open(path, os.O_RDWR)
for _ in range(100):
    slot = 0 if how == "flock" else rng.randrange(4)
    take = (lambda op: fcntl.flock(fd, op)) if how == "flock" else (lambda op: fcntl.lockf(fd, op, 8, slot * 8))
    take(fcntl.LOCK_EX)
    value = int.from_bytes(os.pread(fd, 8, slot * 8), "little")
    if rng.random() < 0.1:
        time.sleep(0.001)
    os.pwrite(fd, (value + 1).to_bytes(8, "little"), slot * 8)
    take(fcntl.LOCK_UN)
"""


@pytest.mark.mount
@pytest.mark.root
@pytest.mark.parametrize("how", ["posix", "flock"])
def test_six_processes_that_count_under_locks_lose_no_count(how, file):
    file.write_bytes(bytes(32))
    contenders = [
        subprocess.Popen([sys.executable, "-c", _CONTENDER, str(file), str(seed), how]) for seed in range(6)
    ]
    try:
        assert [each.wait(50) for each in contenders] == [0] * 6
    finally:
        for each in contenders:
            each.kill()
            each.wait()
    data = file.read_bytes()
    assert sum(int.from_bytes(data[at : at + 8], "little") for at in range(0, 32, 8)) == 600


@pytest.mark.mount
@pytest.mark.root
def test_after_many_random_locks_and_exits_the_table_is_empty():
    code = """
import fcntl, os, random, sys
rng = random.Random(int(sys.argv[2]))
fds = [os.open(sys.argv[1], os.O_RDWR) for _ in range(3)]
for _ in range(200):
    fd, kind = rng.choice(fds), rng.choice([fcntl.LOCK_SH, fcntl.LOCK_EX])
    try:
        if rng.random() < 0.3:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        else:
            fcntl.lockf(fd, kind | fcntl.LOCK_NB, rng.randrange(1, 50), rng.randrange(100))
    except BlockingIOError:
        pass
os._exit(0)
"""
    with mounted(Locking) as top:
        path = top / "file"
        path.touch()
        processes = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(4)]
        assert [process.wait(40) for process in processes] == [0] * 4
        for _ in range(500):  # a last close is not waited for
            if _counts(path) == (0, 0):
                break
            time.sleep(0.01)
        assert _counts(path) == (0, 0)


def test_random_conversions_of_flock_locks_end():
    rng = random.Random(5)

    async def run():
        table = LockTable()

        async def client(owner):
            for _ in range(30):
                await table.lock(1, owner, lock(rng.choice([READ, WRITE])), wait=True, flock=True)
                await asyncio.sleep(0)
                if rng.random() < 0.5:
                    table.drop_owner(1, owner, flock=True)
            table.drop_owner(1, owner, flock=True)

        await asyncio.wait_for(asyncio.gather(*(client(owner) for owner in range(6))), 20)
        assert table._held == {}

    asyncio.run(run())

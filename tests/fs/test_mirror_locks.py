# SPDX-License-Identifier: Apache-2.0
"""Locks of a mirror that forwards them: they hold against the mount's other users, and against programs outside it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct

import pytest

from instar.fs import ROOT_INO, FileLock, LockType
from instar.fs.mirror import MirrorFS
from tests.support.mirrors import ROOT, mirrored

pytestmark = pytest.mark.root

READ, WRITE, NONE = LockType.RDLCK, LockType.WRLCK, LockType.UNLCK
FLOCK = struct.Struct("@hhqqi4x")


@pytest.fixture
def locked():
    with mirrored(locks=True) as (fs, below):
        entry, opened = fs.create(ROOT, ROOT_INO, "file", 0o644, os.O_RDWR)
        yield fs, below / "file", entry.ino, opened.fh


def take(fs, ino, fh, owner, kind, start=0, end=99, *, flock=False, pid=0):
    return fs.setlk(ROOT, ino, fh, owner, FileLock(kind, start, end, pid), wait=False, flock=flock)


def busy(*args, **options):
    with pytest.raises(OSError) as caught:
        take(*args, **options)
    return caught.value.errno == errno.EAGAIN


def outside(file, kind, start=0, length=100):
    """What a program beside the mount gets for a lock of its own."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return False
    return True


def test_only_a_mirror_that_was_asked_to_has_locks_of_its_own(tmp_path):
    for locks in (False, True):
        fs = MirrorFS(tmp_path, locks=locks)
        assert fs.implements("setlk") is fs.implements("getlk") is locks
        assert isinstance(fs, MirrorFS)
        fs.destroy()


def test_ranges_conflict_between_owners_and_not_within_one(locked):
    fs, _, ino, fh = locked
    take(fs, ino, fh, 1, WRITE, 0, 9, pid=77)
    take(fs, ino, fh, 1, READ, 5, 20)
    assert busy(fs, ino, fh, 2, READ, 0, 0)
    assert busy(fs, ino, fh, 2, WRITE, 20, 20)
    take(fs, ino, fh, 2, READ, 5, 20)
    take(fs, ino, fh, 2, WRITE, 21, 30)
    found = fs.getlk(ROOT, ino, fh, 2, FileLock(WRITE, 0, 4))
    assert found == FileLock(WRITE, 0, 4, 77)
    assert fs.getlk(ROOT, ino, fh, 1, FileLock(WRITE, 31, 40)) is None
    take(fs, ino, fh, 1, NONE, 0, 4)
    take(fs, ino, fh, 2, WRITE, 0, 4)


def test_a_lock_is_seen_outside_the_mount_and_one_from_outside_is_seen_here(locked):
    fs, path, ino, fh = locked
    with open(path, "r+b") as file:
        take(fs, ino, fh, 1, WRITE, 0, 9)
        assert not outside(file, fcntl.F_RDLCK, 9, 1)
        assert outside(file, fcntl.F_WRLCK, 10, 10)
        assert busy(fs, ino, fh, 1, READ, 15, 15)
        found = fs.getlk(ROOT, ino, fh, 1, FileLock(WRITE, 5, 500))
        assert (found.type, found.start, found.end) == (WRITE, 10, 19)
    assert fs.getlk(ROOT, ino, fh, 1, FileLock(WRITE, 0, 2**63 - 1)) is None


def test_a_close_drops_the_locks_of_its_owner_alone(locked):
    fs, path, ino, fh = locked
    take(fs, ino, fh, 1, WRITE, 0, 9)
    take(fs, ino, fh, 2, WRITE, 10, 19)
    fs.flush(ROOT, ino, fh, 1)
    with open(path, "r+b") as file:
        assert outside(file, fcntl.F_WRLCK, 0, 10)
        assert not outside(file, fcntl.F_WRLCK, 10, 10)
    fs.flush(ROOT, ino, fh, 3)


def test_whole_file_locks_belong_to_the_open_file_and_leave_ranges_alone(locked):
    fs, path, ino, fh = locked
    other = fs.open(ROOT, ino, os.O_RDONLY).fh
    take(fs, ino, fh, 1, WRITE, flock=True)
    assert busy(fs, ino, other, 1, READ, flock=True)
    take(fs, ino, other, 2, WRITE, 0, 9)
    with open(path) as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        take(fs, ino, fh, 1, READ, flock=True)
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fs.release(ROOT, ino, fh, 0)
    take(fs, ino, other, 1, WRITE, flock=True)


@pytest.mark.parametrize("flock", [False, True], ids=["range", "flock"])
def test_a_request_that_waits_is_granted_when_the_lock_is_dropped_here_or_outside(locked, flock):
    fs, path, ino, fh = locked
    other = fs.open(ROOT, ino, os.O_RDWR).fh

    async def work(file):
        take(fs, ino, fh, 1, WRITE, flock=flock)
        lock = FileLock(WRITE, 0, 99)
        waiting = asyncio.ensure_future(fs.setlk(ROOT, ino, other, 2, lock, wait=True, flock=flock))
        await asyncio.sleep(0)
        assert not waiting.done()
        take(fs, ino, fh, 1, NONE, flock=flock)
        await waiting
        assert busy(fs, ino, fh, 1, READ, flock=flock)
        take(fs, ino, other, 2, NONE, flock=flock)
        if flock:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            assert outside(file, fcntl.F_WRLCK)
        waiting = asyncio.ensure_future(fs.setlk(ROOT, ino, other, 2, lock, wait=True, flock=flock))
        await asyncio.sleep(0)
        assert not waiting.done()
        file.close()
        await waiting

    with open(path, "r+b") as file:
        asyncio.run(work(file))


def test_a_request_that_is_cancelled_takes_nothing_later(locked):
    fs, _, ino, fh = locked

    async def work():
        take(fs, ino, fh, 1, WRITE)
        waiting = asyncio.ensure_future(
            fs.setlk(ROOT, ino, fh, 2, FileLock(WRITE, 0, 99), wait=True, flock=False)
        )
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        take(fs, ino, fh, 1, NONE)
        await asyncio.sleep(0)
        take(fs, ino, fh, 3, WRITE)

    asyncio.run(work())


def test_a_forgotten_node_holds_no_locks_and_no_descriptors(locked):
    fs, path, ino, fh = locked
    before = len(os.listdir("/proc/self/fd"))
    take(fs, ino, fh, 1, WRITE)
    fs.getlk(ROOT, ino, fh, 9, FileLock(READ, 0, 5))
    assert busy(fs, ino, fh, 2, WRITE)
    fs.release(ROOT, ino, fh, 0)
    fs.forget(ino)
    assert len(os.listdir("/proc/self/fd")) <= before - 1
    with open(path, "r+b") as file:
        assert outside(file, fcntl.F_WRLCK)

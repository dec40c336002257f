# SPDX-License-Identifier: Apache-2.0
"""A MemFS gives memory back after much was removed, when it has come to rest."""

from __future__ import annotations

import os
import threading
import time

import pytest

from instar.fs import ROOT_INO, Context, WriteFlags
from instar.fs.memfs import MemFS
from instar.fs.memfs._trimmer import Trimmer
from instar.testing import Door, mounted
from tests.support.servers import resident, server_of

pytestmark = pytest.mark.timeout(60)

_FILES = 30_000
_ME = Context()


def test_little_is_not_worth_a_thread():
    before = set(threading.enumerate())  # other tests' file systems may be at it
    trimmer = Trimmer(trim=lambda: pytest.fail("trimmed"), rest=0.0)
    for _ in range(1000):
        trimmer.freed(60_000)
    assert set(threading.enumerate()) <= before


def test_it_waits_until_removing_has_ended_and_does_it_once_for_each_time():
    done = threading.Semaphore(0)
    trimmer = Trimmer(trim=done.release, rest=0.3)
    for _ in range(2):
        trimmer.freed(64 << 20)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            trimmer.freed(2 << 20)
            assert not done.acquire(timeout=0.05)
        assert done.acquire(timeout=10)
        assert not done.acquire(timeout=0.5)


def test_removing_that_goes_on_and_on_puts_it_off_for_thirty_rests_at_most():
    done = threading.Semaphore(0)
    trimmer = Trimmer(trim=done.release, rest=0.01)
    trimmer.freed(64 << 20)
    begin = time.monotonic()
    while not done.acquire(blocking=False):
        trimmer.freed(2 << 20)
        assert time.monotonic() - begin < 20
        time.sleep(0.0005)  # the pace of the removing, several times in each rest
    trimmer.stop()


def test_a_file_system_that_is_served_again_gives_memory_back_again(monkeypatch):
    fs = MemFS()
    for _ in range(2):
        done = threading.Event()
        monkeypatch.setattr(fs._space.trimmer, "_trim", done.set)
        monkeypatch.setattr(fs._space.trimmer, "_rest", 0.01)
        with Door(fs) as door, door.open("/file", os.O_RDWR | os.O_CREAT) as file:
            for place in range(100):
                file.pwrite(bytes(1 << 20), place << 20)
            file.truncate(0)
            assert done.wait(20)


def test_stopping_does_not_wait_for_rest():
    trimmer = Trimmer(trim=lambda: pytest.fail("trimmed"), rest=1000.0)
    trimmer.freed(1 << 30)
    trimmer.stop()
    trimmer.freed(1 << 30)
    assert "instar-memfs-trim" not in [thread.name for thread in threading.enumerate()]


def test_the_thread_ends_with_the_file_system():
    fs = MemFS()
    with Door(fs) as door, door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        for place in range(100):
            file.pwrite(bytes(1 << 20), place << 20)
        file.truncate(0)
        assert "instar-memfs-trim" in [thread.name for thread in threading.enumerate()]
    fs.destroy()
    assert "instar-memfs-trim" not in [thread.name for thread in threading.enumerate()]


def _populated():
    fs = MemFS()
    parent = fs.mkdir(_ME, ROOT_INO, "d", 0o755).ino
    for number in range(_FILES):
        entry, opened = fs.create(_ME, parent, str(number), 0o644, os.O_RDWR)
        fs.write(_ME, entry.ino, opened.fh, 0, memoryview(b"%8d" % number * 375), WriteFlags.NONE)
        fs.release(_ME, entry.ino, opened.fh, os.O_RDWR)
    return fs


@pytest.mark.mount
def test_memory_of_removed_files_goes_back_to_the_system():
    with mounted(_populated) as top:
        server = server_of(top)
        before = resident(server)
        for number in range(_FILES):
            os.unlink(top / "d" / str(number))
        deadline = time.monotonic() + 20
        while before - resident(server) < _FILES * 3000 * 0.8:
            assert time.monotonic() < deadline, f"{before >> 20} MiB before, {resident(server) >> 20} MiB now"
            time.sleep(0.05)

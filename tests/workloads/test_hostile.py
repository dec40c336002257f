# SPDX-License-Identifier: Apache-2.0
"""The mount neither hangs nor dies: callers killed while they wait, floods, unmounting under load."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import time

import pytest

from instar.fs import ROOT_INO, Attr, Entry, FileSystem, Open
from instar.testing import mounted
from tests.support.leaks import descendants
from tests.support.tools import run

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

_FILES = {"now": 2, "never": 3, "slow": 4, "deaf": 5, "error": 6}


class Waiting(FileSystem):
    """``now`` reads at once; ``never`` never; ``slow`` blocks the server for half a second; ``deaf`` ignores cancellation."""

    def _entry(self, name):
        if name not in _FILES:
            raise FileNotFoundError(errno.ENOENT, name)
        ino = _FILES[name]
        return Entry(ino=ino, attr=self.getattr(None, ino))

    def getattr(self, ctx, ino, fh=None):
        if ino == ROOT_INO:
            return Attr(ino=ino, mode=0o040755, nlink=2)
        return Attr(ino=ino, mode=0o100644, size=4096)

    def lookup(self, ctx, parent, name):
        return self._entry(name)

    def open(self, ctx, ino, flags):
        return Open(fh=ino, direct_io=True)

    async def read(self, ctx, ino, fh, offset, size):
        if ino == _FILES["never"]:
            await asyncio.Event().wait()
        if ino == _FILES["slow"]:
            time.sleep(0.5)  # noqa: ASYNC251 - a handler that blocks the loop is what the test is about
        if ino == _FILES["deaf"]:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)
        if ino == _FILES["error"]:
            await asyncio.sleep(0)
            raise RuntimeError("a defect")
        return b"answer"[offset : offset + size]


@contextlib.contextmanager
def _started(commands):
    """Processes that have each written their first line; killed at the end. What they write after it is theirs."""
    processes = []
    try:
        for command in commands:
            words = [sys.executable, "-c", *map(str, command)]
            processes += [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)]
        for process in processes:
            first = process.stdout.readline()
            assert first, process.communicate()[1].decode()
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate(timeout=30)


_READ = "import os, sys; f = os.open(sys.argv[1], os.O_RDONLY); print('go', flush=True); os.read(f, 10)"


def _waits_in_fuse(pid):
    """Wait until the process waits for an answer of the server."""
    for _ in range(2000):
        with open(f"/proc/{pid}/stack") as file:
            if "fuse" in file.read():
                return
        time.sleep(0.005)
    raise AssertionError(f"process {pid} does not wait for the file system")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("name", ["never", "slow", "deaf"])
def test_a_caller_killed_while_it_waits_goes_away_and_the_mount_serves_on(name, how):
    with mounted(Waiting) as top, _started([(_READ, top / name)] * 5) as readers:
        if name != "slow":  # there some have their answer by now
            for reader in readers:
                _waits_in_fuse(reader.pid)
        for reader in readers:
            reader.send_signal(how)
        for reader in readers:
            reader.wait(timeout=20)
        assert (top / "now").read_bytes() == b"answer"


def test_a_caller_that_catches_the_signal_is_interrupted():
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))\n"
        "f = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print('go', flush=True)\n"
        "try:\n    os.read(f, 10)\nexcept KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
    )
    with mounted(Waiting) as top, _started([(code, top / "never")]) as (process,):
        _waits_in_fuse(process.pid)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"interrupted\n"
        assert process.wait(timeout=20) == 0
        assert (top / "now").read_bytes() == b"answer"


def test_an_exception_in_a_handler_is_eio_and_logged_and_the_mount_serves_on():
    with mounted(Waiting, allow_errors=True) as top:
        for _ in range(20):
            with pytest.raises(OSError) as raised:
                (top / "error").read_bytes()
            assert raised.value.errno == errno.EIO
        assert (top / "now").read_bytes() == b"answer"


def test_unmounting_by_force_with_callers_waiting_ends_them_and_the_server():
    with mounted(Waiting) as top, _started([(_READ, top / "never")] * 4) as readers:
        for reader in readers:
            _waits_in_fuse(reader.pid)
        assert "busy" in run("umount", top, check=False)
        run("umount", "--force", top, check=False)
        for reader in readers:
            reader.wait(timeout=20)
        run("umount", "--lazy", top, check=False)


_LOAD = """
import os, random, sys
os.chdir(sys.argv[1])
rng = random.Random(int(sys.argv[2]))
mine = sys.argv[2]
print("begun", flush=True)
while True:
    name = f"{mine}-{rng.randrange(50)}"
    choice = rng.randrange(6)
    try:
        if choice < 2:
            with open(name, "wb") as file:
                file.write(rng.randbytes(rng.randrange(20000)))
        elif choice == 2:
            os.rename(name, f"{mine}-{rng.randrange(50)}")
        elif choice == 3:
            os.unlink(name)
        elif choice == 4:
            os.listdir(".")
        else:
            with open(name, "rb") as file:
                file.read()
    except FileNotFoundError:
        pass
"""


def _load(top, count):
    return _started([(_LOAD, top, number) for number in range(count)])


def _let_work(workers, seconds):
    """Give them time, and see that none of them ends by itself."""
    pidfds = {os.pidfd_open(worker.pid): worker for worker in workers}
    try:
        ended = [pidfds[fd] for fd in select.select(list(pidfds), [], [], seconds)[0]]
        assert not ended, ended[0].communicate()[1].decode()
    finally:
        for fd in pidfds:
            os.close(fd)


def test_an_unmount_under_load_is_refused_as_busy_and_nothing_is_disturbed(top):
    with _load(top, 4) as workers:
        for _ in range(10):
            assert "busy" in run("umount", top, check=False)
        _let_work(workers, 0.5)
        assert os.path.ismount(top)


def test_a_lazy_unmount_under_load_lets_the_users_finish(top):
    with _load(top, 4) as workers:
        run("umount", "--lazy", top)
        assert not os.path.ismount(top)
        assert os.listdir(top) == []
        _let_work(workers, 0.5)


def test_a_forced_unmount_under_load_gives_every_caller_an_error(top):
    with _load(top, 4) as workers:
        run("umount", "--force", top, check=False)
        for worker in workers:
            _, errors = worker.communicate(timeout=30)
            words = (b"not connected", b"aborted", b"Input/output error", b"connection abort")
            assert any(word in errors for word in words), errors[-500:]
        run("umount", "--lazy", top, check=False)
        assert not os.path.ismount(top)


_FLOOD = """
import os, sys
top, mine, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.mkdir(f"{top}/{mine}")
shared = os.open(f"{top}/shared", os.O_WRONLY | os.O_APPEND)
for number in range(rounds):
    path = f"{top}/{mine}/{number}"
    with open(path, "wb") as file:
        file.write(f"{mine} {number} ".encode() * 50)
    os.rename(path, path + ".new")
    os.link(path + ".new", path)
    os.setxattr(path, "user.number", str(number).encode())
    os.stat(path)
    os.write(shared, f"{mine:>5} {number:>10}\\n".encode())
    if number % 10 == 0:
        os.listdir(f"{top}/{mine}")
    if number % 3 == 0:
        os.unlink(path)
"""


def test_a_flood_of_eight_processes_loses_nothing(top):
    rounds, count = 400, 8
    (top / "shared").touch()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _FLOOD, top, str(number), str(rounds)], stderr=subprocess.PIPE
        )
        for number in range(count)
    ]
    try:
        failures = [text for worker in workers if (text := worker.communicate(timeout=100)[1])]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert failures == []
    for number in range(count):
        below = top / str(number)
        assert len(os.listdir(below)) == rounds + rounds - len(range(0, rounds, 3))
        for turn in range(rounds):
            path = below / f"{turn}.new"
            assert path.read_bytes() == f"{number} {turn} ".encode() * 50
            assert path.stat().st_nlink == (1 if turn % 3 == 0 else 2)
            assert os.getxattr(path, "user.number") == str(turn).encode()
    lines = (top / "shared").read_text().splitlines()
    expected = [f"{number:>5} {turn:>10}" for number in range(count) for turn in range(rounds)]
    assert sorted(lines) == sorted(expected)


def test_short_lived_callers_killed_at_random_leave_the_mount_alive(top):
    for number in range(25):
        with _load(top, 2) as workers:
            _let_work(workers, 0.01 * (number % 4))
    (top / "after").write_text("alive")
    assert (top / "after").read_text() == "alive"
    assert "D" not in descendants(os.getpid()).values()

# SPDX-License-Identifier: Apache-2.0
"""Everything at once: handlers that fail, lie, wait and refuse to be cancelled, under programs that are killed.

The mount answers everybody, ends nobody's wait wrongly, and when the storm is over it works and holds nothing.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from instar.fs import Attr, Entry, Open
from instar.fs.memfs import MemFS
from instar.testing import mounted
from instar.transport import FuseDevice
from tests.transport.services import drop_caches, until

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(120)]

_OPERATIONS = (
    "lookup", "getattr", "setattr", "mknod", "mkdir", "symlink", "readlink", "link", "unlink", "rmdir", "rename", "open",
    "create", "tmpfile", "read", "write", "flush", "release", "fsync", "lseek", "fallocate", "copy_file_range", "opendir",
    "readdir", "readdirplus", "releasedir", "fsyncdir", "getxattr", "setxattr", "listxattr", "removexattr", "statfs",
)  # fmt: skip
_LISTS = ("readdir", "readdirplus")
_ODD = (
    None, 5, "text", b"bytes", [], Entry(0, None), Entry(5, Attr(5, 0)), Open(-1), Attr(1, 0o644), object(), 1 << 70,
)  # fmt: skip
_ERRORS = (
    OSError(errno.EIO, ""), OSError(errno.EAGAIN, ""), OSError(errno.ESTALE, ""), OSError("x", "y"), ValueError(),
    SystemExit(), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), MemoryError(), StopIteration(),
)  # fmt: skip


class Chaos(MemFS):
    """A MemFS in a storm. ``user.calm`` ends it, ``user.held`` says what the session holds."""

    def __init__(self, seed, timeout):
        super().__init__()
        self.entry_timeout = self.attr_timeout = self.negative_timeout = timeout
        self.rng = random.Random(seed)
        self.calm = False
        self.device = None

    def init(self):
        self.device = next(
            each for each in gc.get_objects() if isinstance(each, FuseDevice) and each.session.fs is self
        )

    def setxattr(self, ctx, ino, name, value, flags):
        self.calm = self.calm or name == "user.calm"
        if name != "user.calm":
            super().setxattr(ctx, ino, name, value, flags)

    def getxattr(self, ctx, ino, name):
        if name != "user.held":
            return super().getxattr(ctx, ino, name)
        session = self.device.session
        held = (sum(session.known.values()), len(session._directories), len(session.tasks))
        return " ".join(map(str, (*held, session.requests, session.exceptions))).encode()


def _stormy(operation, base):
    async def later(self, chance, args, more):
        await asyncio.sleep(self.rng.choice((0, 0, 0.001, 0.02)))
        if chance < 0.03:
            raise self.rng.choice(_ERRORS)
        if chance < 0.06:
            return self.rng.choice(_ODD)
        if chance < 0.10:  # will not be cancelled at once
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
        return base(self, *args, **more)

    def method(self, *args, **more):
        chance = self.rng.random()
        if self.calm or chance > 0.35 or "user.calm" in args or "user.held" in args:
            return base(self, *args, **more)
        if chance < 0.05:
            raise self.rng.choice(_ERRORS)
        if chance < 0.10:
            return self.rng.choice(_ODD)
        if chance < 0.12:
            result = base(self, *args, **more)
            if operation in _LISTS:
                return result
            raise self.rng.choice(_ERRORS)  # done, and then failed
        if operation in _LISTS:
            return _listing(self, base(self, *args, **more), chance)
        return later(self, self.rng.random(), args, more)

    return method


def _listing(self, lines, chance):
    async def slowly():
        for line in lines:
            if self.rng.random() < 0.1:
                await asyncio.sleep(0)
            if self.rng.random() < 0.02:
                raise self.rng.choice(_ERRORS)
            yield line

    def breaking():
        for line in lines:
            if self.rng.random() < 0.05:
                raise self.rng.choice(_ERRORS)
            yield "no entry" if self.rng.random() < 0.02 else line

    return slowly() if chance < 0.25 else breaking()


Storm = type("Storm", (Chaos,), {name: _stormy(name, getattr(Chaos, name)) for name in _OPERATIONS})


def _calm(top):
    try:
        os.setxattr(top, "user.calm", b"")
    except OSError:  # the storm goes on until it is told to end
        return False
    return True


_CLIENT = """
import mmap, os, random, signal, sys
top, rng = sys.argv[1], random.Random(int(sys.argv[2]))
signal.signal(signal.SIGUSR1, lambda *_: None)
names = [os.path.join(top, *("abc"[rng.randrange(3)] for _ in range(rng.randrange(1, 4)))) for _ in range(30)]
fds = []
def keep(fd):
    fds.append(fd)
    if len(fds) > 8: os.close(fds.pop(0))
def name(): return rng.choice(names)
def fd(): return rng.choice(fds)
def look(path):
    with os.scandir(path) as lines:
        for line in lines: line.stat()
calls = [
    lambda: os.stat(name()), lambda: os.mkdir(name()), lambda: os.rmdir(name()), lambda: os.unlink(name()),
    lambda: os.rename(name(), name()), lambda: os.link(name(), name()), lambda: os.symlink(name(), name()),
    lambda: os.readlink(name()), lambda: os.mkfifo(name()) if rng.random() < 0.1 else None,
    lambda: keep(os.open(name(), os.O_RDWR | os.O_CREAT | os.O_NONBLOCK)), lambda: keep(os.open(top, os.O_TMPFILE | os.O_RDWR)),
    lambda: keep(os.open(name(), os.O_RDONLY | os.O_NONBLOCK)), lambda: os.pread(fd(), 5000, rng.randrange(9000)),
    lambda: os.pwrite(fd(), b"x" * rng.randrange(9000), rng.randrange(9000)), lambda: os.fsync(fd()), lambda: os.ftruncate(fd(), 100),
    lambda: os.lseek(fd(), 0, os.SEEK_DATA), lambda: os.posix_fallocate(fd(), 0, 5000), lambda: look(rng.choice([top, name()])),
    lambda: os.setxattr(name(), "user.a", b"1"), lambda: os.listxattr(name()), lambda: os.statvfs(top), lambda: os.chmod(name(), 0o700),
    lambda: os.copy_file_range(fd(), fd(), 100), lambda: os.truncate(name(), 50),
]
while True:
    try: rng.choice(calls)()
    except (OSError, IndexError, ValueError): pass
"""


@pytest.mark.parametrize(("seed", "timeout"), [(1, 0.0), (2, 0.1), (3, 3600.0)])
def test_after_a_storm_of_failing_handlers_and_killed_callers_the_mount_works_and_holds_nothing(
    seed, timeout
):
    rng = random.Random(seed)
    with mounted(lambda: Storm(seed, timeout), allow_errors=True) as top:
        clients = []
        end = time.monotonic() + 3
        try:
            while time.monotonic() < end:
                while len(clients) < 5:
                    words = [sys.executable, "-c", _CLIENT, str(top), str(rng.randrange(1 << 30))]
                    clients.append(subprocess.Popen(words))
                time.sleep(0.05)
                client = rng.choice(clients)
                client.send_signal(rng.choice((signal.SIGUSR1, signal.SIGUSR1, signal.SIGKILL)))
                clients = [each for each in clients if each.poll() is None]
        finally:
            for client in clients:
                client.kill()
            for client in clients:
                assert client.wait(timeout=20) == -signal.SIGKILL  # nobody is stuck in the kernel
        until(lambda: _calm(top))
        (top / "works").write_bytes(b"works")
        assert (top / "works").read_bytes() == b"works"
        os.listdir(top)

        def held():
            drop_caches()
            return list(map(int, os.getxattr(top, "user.held").split()))

        until(lambda: held()[:3] == [0, 0, 0], seconds=20)
        _, _, _, requests, exceptions = held()
        print(f"seed {seed}: {requests} requests, {exceptions} failures of handlers")
        assert exceptions > 50

# SPDX-License-Identifier: Apache-2.0
"""Callers that are interrupted or killed while they wait: the handler is cancelled, and nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from instar.testing import ServerFailedError, mounted
from tests.transport.services import Line, OneFile

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]

_libc = ctypes.CDLL(None, use_errno=True)


class Waiting(OneFile):
    """Its reads wait for ever, or (``stubborn``) until ``release`` can be read from the pipe whatever happens."""

    def __init__(self, line, gate=None):
        super().__init__()
        self.line, self.gate = line, gate

    async def read(self, ctx, ino, fh, offset, size):
        self.line.say("reading", ctx.pid)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.line.say("cancelled")
            raise

    async def lookup(self, ctx, parent, name):
        if name == "wait":
            return await self.read(ctx, parent, 0, 0, 0)
        return super().lookup(ctx, parent, name)

    async def mkdir(self, ctx, parent, name, mode):
        return await self.read(ctx, parent, 0, 0, 0)

    async def open(self, ctx, ino, flags):
        if flags & os.O_ACCMODE == os.O_WRONLY:
            await self.read(ctx, ino, 0, 0, 0)
        return super().open(ctx, ino, flags)


class Sleeping(OneFile):
    """Its reads keep the whole server until the test says ``go``."""

    def __init__(self, line, gate):
        super().__init__()
        self.line, self.gate = line, gate

    def read(self, ctx, ino, fh, offset, size):
        self.line.say("reading", ctx.pid)
        os.read(self.gate, 1)
        return super().read(ctx, ino, fh, offset, size)


@contextlib.contextmanager
def _interrupted(line, number=signal.SIGUSR1):
    """In the body this thread gets a signal, which it handles, as soon as the server says that it waits."""

    def interrupt():
        line.hear()
        signal.pthread_kill(main, number)

    main = threading.get_ident()
    before = signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, True)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(number, before)


def _call(function, *args):
    """A system call that Python does not repeat after a signal; its errno."""
    result = getattr(_libc, function)(*args)
    return ctypes.get_errno() if result < 0 else 0


def test_a_signal_cancels_an_async_handler_and_the_call_fails_with_eintr():
    with Line() as line, mounted(lambda: Waiting(line)) as top:
        path = os.fsencode(top / "file")
        fd = os.open(path, os.O_RDONLY)
        for function, args in {
            "read": (fd, ctypes.create_string_buffer(10), ctypes.c_size_t(10)),
            "mkdir": (os.fsencode(top / "new"), 0o755),
            "access": (os.fsencode(top / "wait"), 0),
            "open": (path, os.O_WRONLY),
        }.items():
            with _interrupted(line):
                assert _call(function, *args) == errno.EINTR, function
            assert line.hear() == "cancelled"
        os.close(fd)
        assert os.stat(path).st_size == 8


def test_a_signal_that_is_ignored_interrupts_nothing():
    with Line() as line, mounted(lambda: Waiting(line)) as top:
        code = "import os,signal,sys\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\nopen(sys.argv[1],'rb').read()"
        with subprocess.Popen(
            [sys.executable, "-c", code, top / "file"], stderr=subprocess.DEVNULL
        ) as reader:
            line.hear()
            reader.send_signal(signal.SIGUSR1)
            time.sleep(0.2)
            assert line.pending() == []
            assert reader.poll() is None
            reader.kill()
            assert line.hear() == "cancelled"


def test_a_caller_killed_while_an_async_handler_runs_dies_and_the_handler_is_cancelled():
    with Line() as line, mounted(lambda: Waiting(line)) as top:
        for _ in range(5):
            with subprocess.Popen(["cat", top / "file"]) as reader:
                said = line.hear()
                assert said == f"reading {reader.pid}"
                reader.kill()
                assert reader.wait(timeout=10) == -signal.SIGKILL
                assert line.hear() == "cancelled"
        assert os.stat(top / "file").st_size == 8


def test_a_caller_killed_while_a_plain_handler_runs_dies_when_the_handler_is_done():
    gate, go = os.pipe()
    try:
        with Line() as line, mounted(lambda: Sleeping(line, gate)) as top:
            with subprocess.Popen(["cat", top / "file"]) as reader:
                line.hear()
                reader.kill()
                with pytest.raises(subprocess.TimeoutExpired):
                    reader.wait(timeout=0.3)  # the kernel waits for an answer to what the server has read
                os.write(go, b"1")
                assert reader.wait(timeout=10) == -signal.SIGKILL
            os.write(go, b"1" * 100)
            assert (top / "file").read_bytes() == b"content\n"
    finally:
        os.close(gate)
        os.close(go)


def test_many_callers_killed_at_once_are_all_let_go():
    with Line() as line, mounted(lambda: Waiting(line)) as top:
        readers = [subprocess.Popen(["cat", top / "file"]) for _ in range(20)]
        for _ in readers:
            line.hear()
        for reader in readers:
            reader.kill()
        assert [reader.wait(timeout=20) for reader in readers] == [-signal.SIGKILL] * 20
        assert [line.hear() for _ in readers] == ["cancelled"] * 20
        assert os.stat(top / "file").st_size == 8


def test_a_server_killed_while_callers_wait_lets_them_go_with_an_error(tmp_path):
    class Telling(Waiting):
        def statfs(self, ctx, ino):
            self.line.say(os.getpid())
            return super().statfs(ctx, ino)

    with (
        Line() as line,
        pytest.raises(ServerFailedError, match="status -9"),
        mounted(lambda: Telling(line), mountpoint=tmp_path) as top,
    ):
        os.statvfs(top)
        server = int(line.hear())
        readers = [
            subprocess.Popen(["cat", top / "file"], stderr=subprocess.PIPE, text=True) for _ in range(3)
        ]
        for _ in readers:
            line.hear()
        os.kill(server, signal.SIGKILL)
        for reader in readers:
            _, errors = reader.communicate(timeout=10)
            assert reader.returncode == 1
            assert "abort" in errors or "not connected" in errors
    assert not os.path.ismount(tmp_path)

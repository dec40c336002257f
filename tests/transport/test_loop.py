# SPDX-License-Identifier: Apache-2.0
"""The loop: plain and asynchronous handlers side by side, and tasks of the service's own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from instar.edge import mount as edge
from instar.fs import Open
from instar.fs.memfs import MemFS
from instar.testing import ServerFailedError, mounted
from instar.transport._event_loop import EventLoop
from tests.transport.services import Line, OneFile

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


# ------------------------------------------------------------------------------------------- life


class Living(OneFile):
    """Says what happens to it. A release ends when the test says something on `go`."""

    def __init__(self, line, go=None):
        super().__init__()
        self.line, self.go = line, go

    async def init(self):
        await asyncio.sleep(0)
        self.line.say("init")

    async def read(self, ctx, ino, fh, offset, size):
        await asyncio.sleep(0)
        self.line.say("read")
        return super().read(ctx, ino, fh, offset, size)

    async def release(self, ctx, ino, fh, flags):
        self.line.say("releasing")
        if self.go:
            await asyncio.to_thread(self.go.hear)
        self.line.say("released")

    async def destroy(self):
        await asyncio.sleep(0)
        self.line.say("destroy")


def test_init_comes_before_the_first_request_and_destroy_after_the_last_and_both_may_be_async():
    with Line() as line:
        with mounted(lambda: Living(line)) as top:
            assert (top / "file").read_bytes() == b"content\n"
        heard = line.pending()
    assert heard[0] == "init"
    assert heard[-1] == "destroy"
    assert heard.count("init") == heard.count("destroy") == 1


def test_a_release_under_way_at_the_unmount_is_finished_before_destroy():
    with Line() as line, Line() as go:
        with mounted(lambda: Living(line, go)) as top:
            (top / "file").read_bytes()
            line.hear_until("releasing")
            edge.unmount(str(top))
            assert line.pending() == []
            go.say("go")
        heard = line.pending()
    assert heard == ["released", "destroy"]


def test_what_init_raises_ends_the_server_and_nothing_stays_mounted(tmp_path):
    class Failing(OneFile):
        def init(self):
            raise RuntimeError("the disk is missing")

    class FailingLater(OneFile):
        async def init(self):
            await asyncio.sleep(0)
            raise SystemExit("the disk is missing")

    for kind in (Failing, FailingLater):
        with (
            pytest.raises(ServerFailedError, match="the disk is missing"),
            mounted(kind, mountpoint=tmp_path),
        ):
            pass
        assert not os.path.ismount(tmp_path)


def test_what_destroy_raises_is_told_and_the_mount_is_gone(tmp_path):
    class Failing(OneFile):
        def destroy(self):
            raise RuntimeError("could not write the index")

    with (
        pytest.raises(ServerFailedError, match="could not write the index"),
        mounted(Failing, mountpoint=tmp_path) as top,
    ):
        assert (top / "file").read_bytes() == b"content\n"
    assert not os.path.ismount(tmp_path)


class Stubborn(OneFile):
    """Ignores its cancellation, and waits for what never comes."""

    def __init__(self, line):
        super().__init__()
        self.line = line

    async def read(self, ctx, ino, fh, offset, size):
        self.line.say("reading")
        never = asyncio.Event()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await never.wait()


def test_a_handler_that_ignores_its_cancellation_is_left_behind_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr("instar.transport.fuse_dev._LAST_SECONDS", 0.5)
    with Line() as line, mounted(lambda: Stubborn(line), mountpoint=tmp_path, allow_errors=True) as top:
        with subprocess.Popen(["cat", top / "file"], stderr=subprocess.DEVNULL) as reader:
            assert line.hear() == "reading"
            edge.unmount(str(top), force=True, lazy=True)  # aborts the connection: the caller goes at once
            assert reader.wait(timeout=10) == 1
        started = time.monotonic()
    assert time.monotonic() - started < 10


# ------------------------------------------------------------------------------------- background


class Ticking(OneFile):
    """Has something to do that no request asks for."""

    def __init__(self, line, how):
        super().__init__()
        self.line, self.how = line, how

    async def init(self):
        loop = asyncio.get_running_loop()
        if self.how == "task":
            self.task = asyncio.create_task(self.tick())
        elif self.how == "timer":
            loop.call_later(0.01, self.on_timer, loop, 1)
        elif self.how == "thread":
            threading.Thread(target=self.in_thread, args=(loop,), daemon=True).start()
        elif self.how == "socket":
            self.server = await asyncio.start_unix_server(self.on_connection, self.line.path)

    async def tick(self):
        for number in range(1, 1000):
            await asyncio.sleep(0.01)
            self.line.say("tick", number)

    def on_timer(self, loop, number):
        self.line.say("tick", number)
        loop.call_later(0.01, self.on_timer, loop, number + 1)

    def in_thread(self, loop):
        for number in range(1, 1000):
            time.sleep(0.01)
            with contextlib.suppress(RuntimeError):
                asyncio.run_coroutine_threadsafe(self.called(number), loop).result()

    async def called(self, number):
        self.line.say("tick", number)

    async def on_connection(self, reader, writer):
        while data := await reader.readline():
            writer.write(data.upper())
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("how", ["task", "timer", "thread"])
def test_what_a_service_started_goes_on_while_nobody_asks_and_while_many_do(how):
    with Line() as line, mounted(lambda: Ticking(line, how)) as top:
        line.hear_until("tick 10")
        numbers: list[int] = []
        while len(numbers) < 10:  # plain requests, which alone would leave the event loop
            os.stat(top / "file")
            numbers += [int(each.split()[1]) for each in line.pending()]
        line.hear_until(f"tick {numbers[-1] + 10}")


def test_a_server_socket_of_a_service_answers_while_the_mount_idles_and_while_it_is_busy(tmp_path):
    with Line() as line:
        line.path = str(tmp_path / "socket")
        with mounted(lambda: Ticking(line, "socket")) as top:
            for turn in range(3):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(line.path)
                    for _ in range(5):
                        if turn:
                            for _ in range(100):
                                os.stat(top / "file")
                        client.sendall(b"hello\n")
                        assert client.recv(100) == b"HELLO\n"


def test_tasks_that_a_service_leaves_are_cancelled_after_destroy():
    class Leaving(OneFile):
        async def init(self):
            self.task = asyncio.create_task(self.work())

        async def work(self):
            try:
                await asyncio.Event().wait()
            finally:
                line.say("work ends")

        def destroy(self):
            line.say("destroy")

    with Line() as line:
        with mounted(Leaving) as top:
            os.stat(top / "file")
        assert line.pending() == ["destroy", "work ends"]


def test_the_event_loop_is_left_when_nothing_waits_in_it():
    class Modes(OneFile):
        def statfs(self, ctx, ino):
            try:
                asyncio.get_running_loop()
                line.say("async")
            except RuntimeError:
                line.say("plain")
            return super().statfs(ctx, ino)

        async def read(self, ctx, ino, fh, offset, size):
            await asyncio.sleep(0)
            return super().read(ctx, ino, fh, offset, size)

    with Line() as line, mounted(Modes) as top:
        os.statvfs(top)
        assert line.hear() == "plain"
        for _ in range(3):
            (top / "file").read_bytes()
            os.statvfs(top)
            assert line.hear() == "async"
            for _ in range(300):
                os.stat(top / "file")
            os.statvfs(top)
            assert line.hear() == "plain"


def test_an_event_loop_is_busy_with_tasks_and_timers_and_with_nothing_else():
    import selectors

    with selectors.EpollSelector() as selector:
        loop = EventLoop(selector, lambda: None)
        assert not loop.busy()
        timer = loop.call_later(60, print)
        assert loop.busy()
        timer.cancel()
        assert not loop.busy()
        task = loop.create_task(asyncio.sleep(0))
        assert loop.busy()
        loop.run_until_complete(task)
        assert not loop.busy()
        for _ in range(10_000):
            loop.call_later(60, print).cancel()
        assert len(loop._due) < 1000  # what is cancelled is not kept
        loop.close()


# ---------------------------------------------------------------------------------------- mixture


class Mixed(MemFS):
    """Some of its handlers are async, and which of the requests wait changes from one to the next."""

    entry_timeout = attr_timeout = negative_timeout = 0.0

    def __init__(self):
        super().__init__()
        self.turn = 0

    async def _rest(self):
        self.turn += 1
        if self.turn % 3:
            await asyncio.sleep(0.001 if self.turn % 7 == 0 else 0)

    def open(self, ctx, ino, flags):
        super().open(ctx, ino, flags)
        return Open(direct_io=ino % 2 == 0)

    async def read(self, ctx, ino, fh, offset, size):
        await self._rest()
        return super().read(ctx, ino, fh, offset, size)

    async def write(self, ctx, ino, fh, offset, data, flags):
        await self._rest()
        return super().write(ctx, ino, fh, offset, data, flags)

    async def mkdir(self, ctx, parent, name, mode):
        await self._rest()
        return super().mkdir(ctx, parent, name, mode)

    def unlink(self, ctx, parent, name):
        self.turn += 1
        if self.turn % 2:
            return super().unlink(ctx, parent, name)
        return self._unlink_later(ctx, parent, name)

    async def _unlink_later(self, ctx, parent, name):
        await self._rest()
        super().unlink(ctx, parent, name)


_CLIENT = """
import hashlib, os, random, sys
top, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(number)
here = os.path.join(top, f"client{number}")
os.mkdir(here)
for turn in range(rounds):
    path = os.path.join(here, f"file{turn % 7}")
    sizes = [0, 10, 4096, 70_000, 1_300_000] if turn % 10 == 0 else [0, 10, 4096, 9000]
    data = rng.randbytes(rng.choice(sizes))
    with open(path, "wb", buffering=rng.choice([0, 4096])) as file:
        file.write(data)
    assert os.stat(path).st_size == len(data), path
    with open(path, "rb") as file:
        found = file.read()
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest(), path
    if turn % 3 == 0:
        os.rename(path, path + ".moved")
        os.unlink(path + ".moved")
        assert not os.path.exists(path)
    assert len(os.listdir(here)) <= 8
"""


@pytest.mark.timeout(120)
def test_eight_clients_of_plain_and_async_handlers_read_what_they_wrote():
    with mounted(Mixed) as top:
        clients = [
            subprocess.Popen([sys.executable, "-c", _CLIENT, str(top), str(number), "60"])
            for number in range(8)
        ]
        try:
            assert [client.wait(timeout=100) for client in clients] == [0] * 8
        finally:
            for client in clients:
                client.kill()
                client.wait()
        assert sorted(os.listdir(top)) == [f"client{number}" for number in range(8)]


def test_a_write_that_waits_keeps_its_data_while_others_come():
    class Holding(MemFS):
        """Holds each write until eight have come, which is fewer than the kernel sends at a time."""

        async def init(self):
            self.gate, self.writes = asyncio.Event(), 0

        async def write(self, ctx, ino, fh, offset, data, flags):
            before = hashlib.sha256(data).hexdigest()
            self.writes += 1
            if self.writes == 8:
                self.gate.set()
            await self.gate.wait()
            await asyncio.sleep(0)
            assert hashlib.sha256(data).hexdigest() == before
            return super().write(ctx, ino, fh, offset, data, flags)

    with mounted(Holding) as top:
        contents = {number: os.urandom(size) for number, size in enumerate([1, 5000, 100_000, 900_000] * 5)}
        threads = [
            threading.Thread(target=(top / f"f{number}").write_bytes, args=(data,))
            for number, data in contents.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, data in contents.items():
            assert (top / f"f{number}").read_bytes() == data


def test_a_thousand_waiting_requests_do_not_take_a_buffer_each():
    class Memory(OneFile):
        async def getxattr(self, ctx, ino, name):
            if name == "user.memory":
                return str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss).encode()
            if name == "user.go":
                self.gate.set()
                return b""
            line.say("waits")
            await self.gate.wait()
            return b""

        async def init(self):
            self.gate = asyncio.Event()

    with Line() as line, mounted(Memory) as top:
        before = int(os.getxattr(top / "file", "user.memory"))
        threads = [
            threading.Thread(target=os.getxattr, args=(top / "file", f"user.{number}"))
            for number in range(300)
        ]
        for thread in threads:
            thread.start()
        assert [line.hear() for _ in threads] == ["waits"] * len(threads)
        os.getxattr(top / "file", "user.go")
        for thread in threads:
            thread.join()
        after = int(os.getxattr(top / "file", "user.memory"))
    assert after - before < 50_000  # KiB; a buffer is more than 1 MiB

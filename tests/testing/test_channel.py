# SPDX-License-Identifier: Apache-2.0
"""A channel ends what it started: its loop, its tasks, whatever the file system raises."""

from __future__ import annotations

import asyncio
import errno
import gc

import pytest

from instar.fs import FileSystem
from instar.testing import Door
from instar.testing._channel import Channel
from instar.wire import fuse as wire
from instar.wire.fuse import Opcode


class Failing(FileSystem):
    def __init__(self, where):
        self.where = where
        self.loop = None

    async def init(self):
        self.loop = asyncio.get_running_loop()
        if self.where == "init":
            raise RuntimeError("no init")

    async def destroy(self):
        if self.where == "destroy":
            raise RuntimeError("no destroy")


def test_an_init_that_raises_closes_the_loop():
    fs = Failing("init")
    with pytest.raises(RuntimeError, match="no init"):
        Channel(fs)
    assert fs.loop.is_closed()
    gc.collect()  # an open loop would be a ResourceWarning, which fails the test


def test_a_destroy_that_raises_closes_the_loop():
    fs = Failing("destroy")
    channel = Channel(fs)
    with pytest.raises(RuntimeError, match="no destroy"):
        channel.close()
    assert fs.loop.is_closed()
    channel.close()


class Slow(FileSystem):
    """Its statfs waits for ever and takes several turns of the loop to give up."""

    def __init__(self):
        self.events = []

    async def statfs(self, ctx, ino):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.events.append("cancelled")

    def destroy(self):
        self.events.append("destroyed")


def test_cancelled_tasks_have_ended_before_destroy_is_called():
    fs = Slow()
    channel = Channel(fs)
    _, task = channel.post(Opcode.FUSE_STATFS, wire.Statfs(), 1)
    channel.loop.run_until_complete(asyncio.sleep(0))
    channel.close()
    assert task.done()
    assert fs.events == ["cancelled", "destroyed"]


class Forgetting(FileSystem):
    def __init__(self):
        self.forgotten = 0

    async def forget(self, ino, nlookup):
        self.forgotten += nlookup


def test_background_tasks_that_have_ended_are_not_kept():
    fs = Forgetting()
    channel = Channel(fs)
    try:
        channel.session.remember(5)
        for _ in range(3):
            channel.session.remember(5)
            channel.post(Opcode.FUSE_FORGET, wire.Forget(1), 5)
        channel.session.background(asyncio.sleep(0))
        assert channel._tasks
        for _ in range(3):
            channel.loop.run_until_complete(asyncio.sleep(0))
        assert not channel._tasks
    finally:
        channel.close()


def test_an_interrupt_reaches_the_handler_that_waits():
    fs = Slow()
    channel = Channel(fs)
    try:
        unique, task = channel.post(Opcode.FUSE_STATFS, wire.Statfs(), 1)
        channel.loop.run_until_complete(asyncio.sleep(0))
        channel.interrupt(unique)
        channel.loop.run_until_complete(task)
        with pytest.raises(OSError) as raised:
            channel.take(wire.StatfsReply, Opcode.FUSE_STATFS, unique)
        assert raised.value.errno == errno.EINTR
    finally:
        channel.close()


def test_an_operation_that_a_file_system_does_not_have_is_its_documented_errno():
    with Door(FileSystem()) as door:
        with pytest.raises(OSError) as raised:
            door.mkdir("/x")
        assert raised.value.errno == errno.EPERM

# SPDX-License-Identifier: Apache-2.0
"""What the notifier says in the log when the kernel refuses a notification."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import threading

import pytest

from instar.transport._notifier import DeviceNotifier

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def invalid():
    """A descriptor on which every write fails with EINVAL, as the kernel answers a notification that it cannot read."""
    with select.epoll() as poll:
        with pytest.raises(OSError) as caught:
            os.write(poll.fileno(), b"x")
        assert caught.value.errno == errno.EINVAL
        yield poll.fileno()


def _drain(notifier):
    notifier._queue.put(None)  # close() would drop what is queued
    assert notifier.join(10)


def test_a_notification_that_the_kernel_calls_invalid_is_logged_once_for_each_kind(invalid, caplog):
    notifier = DeviceNotifier(invalid)
    with caplog.at_level(logging.WARNING, "instar.fuse"):
        for ino in range(2, 5):
            notifier.inval_inode(ino)
            notifier.store(ino, 0, b"data")
        _drain(notifier)
    first, second = (record.getMessage() for record in caplog.records)
    assert "FUSE_NOTIFY_INVAL_INODE" in first
    assert "Invalid argument" in first
    assert "FUSE_NOTIFY_STORE" in second


def test_a_notification_on_what_the_kernel_does_not_know_is_not_logged(caplog, monkeypatch):
    def unknown(fd, data):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr("instar.transport._notifier.os.write", unknown)
    notifier = DeviceNotifier(-1)
    with caplog.at_level(logging.DEBUG, "instar.fuse"):
        notifier.inval_entry(2, "name")
        _drain(notifier)
    assert not caplog.records


def test_who_waits_for_a_write_back_at_the_end_waits_no_longer(invalid):
    notifier = DeviceNotifier(invalid)

    async def last():
        notifier.close()
        await asyncio.wait_for(notifier.write_back(2), 5)  # as a destroy() may

    asyncio.run(last())


def test_a_write_back_that_was_queued_and_dropped_is_over(invalid, monkeypatch):
    writing, closed = threading.Event(), threading.Event()

    def slow(fd, data):
        writing.set()
        assert closed.wait(10)

    monkeypatch.setattr("instar.transport._notifier.os.write", slow)
    notifier = DeviceNotifier(invalid)

    async def wait():
        notifier.inval_inode(2)
        assert writing.wait(10)
        waiting = asyncio.ensure_future(notifier.write_back(2))
        await asyncio.sleep(0)
        notifier.close()
        closed.set()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(wait())
    assert notifier.join(10)


def test_a_write_back_that_is_asked_for_while_another_thread_closes_is_over(invalid):
    notifier = DeviceNotifier(invalid)
    queued = notifier._queue

    class ClosedMeanwhile:
        """Lets another thread close before what is sent gets into the queue, if that thread can."""

        get = queued.get

        def put(self, item):
            if item is not None:
                closer = threading.Thread(target=notifier.close)
                closer.start()
                closer.join(0.2)
            queued.put(item)

    notifier._queue = ClosedMeanwhile()

    async def last():
        await asyncio.wait_for(notifier.write_back(2), 5)

    asyncio.run(last())
    assert notifier.join(10)

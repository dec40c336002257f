# SPDX-License-Identifier: Apache-2.0
"""poll(2) and ioctl(2) on a mounted file."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import threading

import pytest

from instar.fs import Ioctl, Open
from instar.testing import mounted
from tests.transport.services import Line, OneFile, fails

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


# -------------------------------------------------------------------------------------------------- poll


class Pipe(OneFile):
    """A file that has something to read after somebody has written to it."""

    def __init__(self, line):
        super().__init__(b"")
        self.line = line
        self.waiting = {}

    def open(self, ctx, ino, flags):
        return Open(fh=ctx.pid, direct_io=True, nonseekable=True)

    def poll(self, ctx, ino, fh, events, handle):
        if handle is not None:
            self.waiting[fh] = handle
            self.line.say("waits")
        ready = select.POLLOUT | (select.POLLIN if self.content else 0)
        return events & ready

    def write(self, ctx, ino, fh, offset, data, flags):
        self.content = bytes(data)
        for handle in self.waiting.values():
            handle.wake()
        return len(data)

    def setattr(self, ctx, ino, changes, fh=None):
        return self.getattr(ctx, ino)


def test_a_reader_that_waits_in_poll_is_woken_by_a_writer():
    with Line() as line, mounted(lambda: Pipe(line)) as top:
        for kind in ("poll", "epoll", "select"):
            fd = os.open(top / "file", os.O_RDWR)
            started = threading.Event()

            def write(started=started):
                started.wait()
                line.hear_until("waits")
                with open(top / "file", "wb", buffering=0) as file:
                    file.write(b"news")

            thread = threading.Thread(target=write)
            thread.start()
            started.set()
            if kind == "poll":
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                assert poller.poll(10_000) == [(fd, select.POLLIN)]
            elif kind == "epoll":
                with select.epoll() as poller:
                    poller.register(fd, select.EPOLLIN)
                    assert poller.poll(10) == [(fd, select.EPOLLIN)]
            else:
                assert select.select([fd], [], [], 10)[0] == [fd]
            thread.join()
            assert os.read(fd, 100) == b"news"
            with open(top / "file", "wb", buffering=0) as file:
                file.write(b"")
            os.close(fd)
            line.pending()


def test_a_poll_that_nobody_wakes_ends_with_its_time():
    with Line() as line, mounted(lambda: Pipe(line)) as top:
        fd = os.open(top / "file", os.O_RDWR)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        assert poller.poll(100) == []
        poller.modify(fd, select.POLLIN | select.POLLOUT)
        assert poller.poll(10_000) == [(fd, select.POLLOUT)]
        os.close(fd)


# -------------------------------------------------------------------------------------------------- ioctl

_NONE, _WRITE, _READ = 0, 1, 2


def _ioc(direction, number, size):
    return direction << 30 | size << 16 | ord("i") << 8 | number


class Commands(OneFile):
    """Answers ioctls."""

    def write(self, ctx, ino, fh, offset, data, flags):  # so that it is not mounted read-only
        return len(data)

    def ioctl(self, ctx, ino, fh, cmd, arg, data, out_size, flags):
        match cmd & 0xFF:
            case 1:
                return Ioctl(0, struct.pack("<Q", 0x1122334455667788))
            case 2:
                self.content = data
                return Ioctl(len(data))
            case 3:
                return Ioctl(7, data[::-1])
            case 4:
                return Ioctl(arg)
            case 5:
                return Ioctl(0, b"too long for the caller" * 1000)
            case 6:
                return Ioctl(-errno.EDOM)
            case 7:
                return Ioctl(0, data[:1])
        raise OSError(errno.ENOTTY, "")


def test_ioctls_carry_data_in_out_and_both_ways():
    with mounted(Commands, allow_errors=True) as top:
        fd = os.open(top / "file", os.O_RDWR)
        buffer = bytearray(8)
        assert fcntl.ioctl(fd, _ioc(_READ, 1, 8), buffer) == 0
        assert struct.unpack("<Q", buffer)[0] == 0x1122334455667788
        assert fcntl.ioctl(fd, _ioc(_WRITE, 2, 5), bytearray(b"hello")) == 5
        assert os.pread(fd, 100, 0) == b"hello"
        buffer = bytearray(b"0123456789")
        assert fcntl.ioctl(fd, _ioc(_READ | _WRITE, 3, 10), buffer) == 7
        assert buffer == b"9876543210"
        assert fcntl.ioctl(fd, _ioc(_NONE, 4, 0), 1234) == 1234
        big = bytearray(range(256)) * 32
        assert fcntl.ioctl(fd, _ioc(_READ | _WRITE, 3, 8192), big) == 7
        assert big == bytearray(range(255, -1, -1)) * 32
        buffer = bytearray(b"abcd")
        assert fcntl.ioctl(fd, _ioc(_READ | _WRITE, 7, 4), buffer) == 0
        assert buffer[:1] == b"a"
        with fails(errno.EIO):
            fcntl.ioctl(fd, _ioc(_READ, 5, 8), bytearray(8))
        with fails(errno.EDOM):
            fcntl.ioctl(fd, _ioc(_NONE, 6, 0), 0)
        with fails(errno.ENOTTY):
            fcntl.ioctl(fd, _ioc(_NONE, 99, 0), 0)
        os.close(fd)

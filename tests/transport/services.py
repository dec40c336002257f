# SPDX-License-Identifier: Apache-2.0
"""File systems that misbehave on demand, and the line on which a server tells a test what happened in it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import stat
import time

import pytest

from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem, Ioctl, Open
from instar.fs.memfs import MemFS

__all__ = ["Faulty", "Line", "OneFile", "drop_caches", "fails", "until"]


class Line:
    """A pipe from a server, a forked process, to the test that made it."""

    def __init__(self):
        self._reader, self._writer = os.pipe()
        self._rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self._reader)
        os.close(self._writer)

    def say(self, *words):
        """In the server: tell something."""
        os.write(self._writer, " ".join(map(str, words)).encode() + b"\n")

    def hear(self, seconds=10.0):
        """In the test: what was told next. Fails when nothing is."""
        while b"\n" not in self._rest:
            poller = select.poll()
            poller.register(self._reader, select.POLLIN)
            assert poller.poll(seconds * 1000), f"the server said nothing for {seconds} s"
            self._rest += os.read(self._reader, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def hear_until(self, line, seconds=10.0):
        """What was told up to ``line``, and it."""
        heard = []
        while not heard or heard[-1] != line:
            heard.append(self.hear(seconds))
        return heard

    def pending(self):
        """Everything that has been told and not heard."""
        poller = select.poll()
        poller.register(self._reader, select.POLLIN)
        while poller.poll(0):
            self._rest += os.read(self._reader, 65536)
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


@contextlib.contextmanager
def fails(*codes):
    """The body raises OSError with one of these errnos."""
    with pytest.raises(OSError) as caught:
        yield
    names = [errno.errorcode[code] for code in codes]
    assert errno.errorcode.get(caught.value.errno) in names, caught.value


def drop_caches():
    """Have the kernel forget all names and nodes that nobody uses."""
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2\n")


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.01)


class OneFile(FileSystem):
    """A root with one file, ``file`` (node 2), whose content bypasses the page cache. Nothing is cached by the kernel."""

    entry_timeout = attr_timeout = 0.0

    def __init__(self, content=b"content\n"):
        self.content = content

    def getattr(self, ctx, ino, fh=None):
        if ino == ROOT_INO:
            return Attr(ino, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | 0o666, size=len(self.content))

    def lookup(self, ctx, parent, name):
        if name != "file":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return Entry(2, OneFile.getattr(self, ctx, 2))

    def readdir(self, ctx, ino, fh, cookie):
        if cookie < 1:
            yield DirEntry("file", 2, stat.S_IFREG, 1)

    def open(self, ctx, ino, flags):
        return Open(direct_io=True)

    def read(self, ctx, ino, fh, offset, size):
        return self.content[offset : offset + size]


#: The name of the extended attribute that tells a `Faulty` what to do: "operation fault", or "" for nothing.
CONTROL = "user.fault"

_OPERATIONS = (
    "lookup", "getattr", "setattr", "access", "statfs", "mknod", "mkdir", "symlink", "readlink", "link", "unlink",
    "rmdir", "rename", "open", "create", "tmpfile", "read", "write", "flush", "release", "fsync", "lseek", "fallocate",
    "copy_file_range", "ioctl", "poll", "getlk", "setlk", "opendir", "readdir", "readdirplus", "releasedir", "fsyncdir",
    "getxattr", "setxattr", "listxattr", "removexattr",
)  # fmt: skip


class _Base(MemFS):
    """A MemFS that has every operation."""

    entry_timeout = attr_timeout = negative_timeout = 0.0

    def ioctl(self, ctx, ino, fh, cmd, arg, data, out_size, flags):
        return Ioctl(0, data[:out_size].ljust(out_size, b"\0"))

    def getlk(self, ctx, ino, fh, owner, lock):
        return None

    def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
        return None

    def access(self, ctx, ino, mask):
        return None

    def opendir(self, ctx, ino, flags):
        self._directory(ino)
        return Open()


class Faulty(_Base):
    """A MemFS of which any one operation does what ``faults`` says instead: functions by name. ``log`` is a file for the log.

    With ``later`` every operation is an ``async def`` that gives way once before it does anything.
    """

    def __init__(self, faults, log):
        super().__init__()
        handler = logging.FileHandler(log)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logging.getLogger("instar").addHandler(handler)
        self.faults = faults
        self.fault = ("", None)

    def setxattr(self, ctx, ino, name, value, flags):
        if name == CONTROL:
            operation, _, fault = value.decode().partition(" ")
            self.fault = (operation, self.faults.get(fault))
            return None
        return super().setxattr(ctx, ino, name, value, flags)


def _wrap(operation, base, later):
    if later and operation not in ("readdir", "readdirplus"):

        async def method(self, *args, **more):
            await asyncio.sleep(0)
            wanted, fault = self.fault
            if wanted == operation and CONTROL not in args:
                return fault()
            return base(self, *args, **more)

    else:

        def method(self, *args, **more):
            wanted, fault = self.fault
            if wanted == operation and CONTROL not in args:
                return fault()
            return base(self, *args, **more)

    method.__name__ = operation
    return method


FaultyNow = type(
    "FaultyNow", (Faulty,), {name: _wrap(name, getattr(Faulty, name), False) for name in _OPERATIONS}
)
FaultyLater = type(
    "FaultyLater", (Faulty,), {name: _wrap(name, getattr(Faulty, name), True) for name in _OPERATIONS}
)

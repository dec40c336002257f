# SPDX-License-Identifier: Apache-2.0
"""A file system called in process, operation by operation, without a kernel and whatever is `async`."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
from collections.abc import Mapping

import pytest

from instar.fs import (
    ROOT_INO,
    Context,
    WriteFlags,
)

CTX = Context()


def now(value):
    """The result of an operation, whichever way it comes."""
    if inspect.isawaitable(value):

        async def result():
            return await value

        return asyncio.run(result())
    return value


def find(tree, path):
    """What a path walk of the kernel finds: the last Entry."""
    ino = ROOT_INO
    entry = None
    for name in path.split("/"):
        entry = now(tree.lookup(CTX, ino, name))
        ino = entry.ino
    return entry


def listing(tree, ino=ROOT_INO, cookie=0, plus=False):
    lines = (tree.readdirplus if plus else tree.readdir)(CTX, ino, 0, cookie)
    if isinstance(lines, Mapping) or hasattr(lines, "__iter__"):
        return list(lines)

    async def collect():
        return [line async for line in lines]

    return asyncio.run(collect())


def names(tree, ino=ROOT_INO):
    return [line.name for line in listing(tree, ino)]


class Opened:
    """A file opened in a tree."""

    def __init__(self, tree, path, flags=os.O_RDONLY):
        self.tree = tree
        self.ino = find(tree, path).ino
        self.open = now(tree.open(CTX, self.ino, flags))

    def read(self, offset=0, size=1 << 16):
        return now(self.tree.read(CTX, self.ino, self.open.fh, offset, size))

    def write(self, data, offset=0):
        return now(self.tree.write(CTX, self.ino, self.open.fh, offset, memoryview(data), WriteFlags.NONE))

    def poll(self, events, handle=None):
        return self.tree.poll(CTX, self.ino, self.open.fh, events, handle)

    def lseek(self, offset, whence):
        return now(self.tree.lseek(CTX, self.ino, self.open.fh, offset, whence))

    def close(self):
        now(self.tree.release(CTX, self.ino, self.open.fh, 0))


def cat(tree, path):
    opened = Opened(tree, path)
    text = b""
    while part := opened.read(len(text), 4096):
        text += bytes(part)
    opened.close()
    return text


def refused(code, call, *args):
    with pytest.raises(OSError) as caught:
        now(call(*args))
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]

# SPDX-License-Identifier: Apache-2.0
"""The operations of a `MemFS` on the content of files."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from instar.fs._types import (
    Context,
    Entry,
    FallocateFlags,
    Open,
    WriteFlags,
    now_ns,
)
from instar.fs.memfs._inode import Inode
from instar.fs.memfs._pages import PAGE_SIZE
from instar.fs.memfs._store import MAX_SIZE, Store, fail

__all__ = ["Data"]


_HANDLE: Final = os.O_NOATIME | os.O_ACCMODE  # the flags that a handle is
_DAY_NS: Final = 86_400_000_000_000
_KEEP_SIZE: Final = FallocateFlags.KEEP_SIZE
_SUPPORTED_FALLOCATE: Final = frozenset(
    {
        FallocateFlags.ALLOCATE,
        _KEEP_SIZE,
        _KEEP_SIZE | FallocateFlags.PUNCH_HOLE,
        FallocateFlags.ZERO_RANGE,
        FallocateFlags.ZERO_RANGE | _KEEP_SIZE,
    }
)


class Data(Store):
    """Everything that an open file is asked."""

    def open(self, ctx: Context, ino: int, flags: int) -> Open:
        node, _ = self._file(ino)
        if flags & os.O_TRUNC:
            self._resize(ino, 0)
            node.mtime = node.ctime = now_ns()
        self._opened(node, flags)
        self._space.came_back(node)
        return Open(flags & _HANDLE, keep_cache=not flags & os.O_TRUNC)

    def create(self, ctx: Context, parent: int, name: str, mode: int, flags: int) -> tuple[Entry, Open]:
        node = self._make(ctx, parent, name, stat.S_IFREG | stat.S_IMODE(mode))
        self._opened(node, flags)
        return Entry(node.ino, node), Open(flags & _HANDLE, keep_cache=True)

    def tmpfile(self, ctx: Context, parent: int, mode: int, flags: int) -> tuple[Entry, Open]:
        self._directory(parent)
        node = self._new_inode(ctx, self._node(parent), stat.S_IFREG | stat.S_IMODE(mode))
        self._opened(node, flags)
        return Entry(node.ino, node), Open(flags & _HANDLE, keep_cache=True)

    @staticmethod
    def _opened(node: Inode, flags: int) -> None:
        node.opens += 1
        if flags & os.O_ACCMODE:
            node.writers += 1

    def release(self, ctx: Context, ino: int, fh: int, flags: int) -> None:
        node = self._nodes.get(ino)
        if node is not None:
            node.opens -= 1
            if fh & os.O_ACCMODE:
                node.writers -= 1
            self._free_unused(node)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
        node, data = self._file(ino)
        atime = node.atime
        if fh & os.O_NOATIME:  # the handle is some of the flags
            pass
        elif atime <= node.mtime or atime <= node.ctime:  # relatime, as every local file system is mounted
            node.atime = now_ns()
        else:
            now = now_ns()
            if now - atime > _DAY_NS:
                node.atime = now
        return data.read(offset, min(size, node.size - offset))

    def write(self, ctx: Context, ino: int, fh: int, offset: int, data: memoryview, flags: WriteFlags) -> int:
        node, pages = self._file(ino)
        size = len(data)
        end = offset + size
        if end > MAX_SIZE:
            fail(errno.EFBIG)
        pages.write(offset, data)
        node.size = max(node.size, end)
        node.blocks = len(pages) * (PAGE_SIZE // 512)
        node.mtime = node.ctime = now_ns()
        if flags & WriteFlags.KILL_SUIDGID:
            self._kill_suidgid(ctx, node)
        return size

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> int:
        node, data = self._file(ino)
        return data.seek(offset, node.size, whence)

    def fallocate(
        self, ctx: Context, ino: int, fh: int, mode: FallocateFlags, offset: int, length: int
    ) -> None:
        node, data = self._file(ino)
        if mode not in _SUPPORTED_FALLOCATE:
            fail(errno.EOPNOTSUPP)
        end = offset + length
        if end > MAX_SIZE:
            fail(errno.EFBIG)
        if mode & FallocateFlags.PUNCH_HOLE:
            data.punch(offset, length)
        elif mode & FallocateFlags.ZERO_RANGE:
            data.zero(offset, length)
        else:
            data.reserve(offset, length)
        if not mode & _KEEP_SIZE and end > node.size:
            node.size = end
        node.blocks = len(data) * (PAGE_SIZE // 512)
        node.mtime = node.ctime = now_ns()

    def copy_file_range(
        self, ctx: Context, ino: int, fh: int, offset: int, newino: int, newfh: int, newoffset: int, length: int,
        flags: int,
    ) -> int:  # fmt: skip
        source, pages = self._file(ino)
        length = min(length, source.size - offset)
        if length <= 0:
            return 0
        length = min(length, 1 << 20)  # a short copy is allowed, and keeps other callers waiting no longer
        return self.write(
            ctx, newino, newfh, newoffset, memoryview(pages.read(offset, length)), WriteFlags.NONE
        )

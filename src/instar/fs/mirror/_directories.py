# SPDX-License-Identifier: Apache-2.0
"""Listings: getdents64(2) in bounded batches, with the backing file system's own cookies.

A cookie of the backing file system (``d_off``) is any 64-bit number; ``FileSystem`` wants them positive and below 2**63 - 2, and a
transport has cookies of its own besides. The few that lie outside are given numbers from a range at the top; which stands
for which is kept with the open directory. On ext4, for one, that is the end of the directory, 2**63 - 1.

Specification: getdents64(2), seekdir(3).
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from instar.edge.getdents import DirectoryReader
from instar.fs._types import Context, DirEntry, Entry, Open, now_ns
from instar.fs.mirror._base import MirrorBase
from instar.fs.mirror._nodes import Node, fail
from instar.fs.mirror._threads import to_the_end

__all__ = ["Directories", "OpenDirectory"]

_TICK_NS: Final = 20_000_000  # twice the coarsest clock of a kernel (HZ=100)
_SECOND_NS: Final = 1_000_000_000
_COARSE_NS: Final = 2 * _SECOND_NS + _TICK_NS  # vfat counts in two seconds, ext3 in one
_OPEN_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAPPED: Final = (1 << 63) - (1 << 32)  # cookies from here on are of our making
_MAPPED_END: Final = (1 << 63) - 16
#: The end of a directory on ext4, and its cookie: the same in each open directory, because the kernel keeps listings for all of them.
_LAST: Final = (1 << 63) - 1
_LAST_COOKIE: Final = _MAPPED_END
_DOTS: Final = frozenset({b".", b".."})
_DT_DIR: Final = stat.S_IFDIR >> 12


class OpenDirectory:
    """An open directory. ``position`` is the ``d_off`` at which ``fd`` stands, or None when that is not known."""

    __slots__ = ("fd", "mapped", "node", "position", "tag", "unmapped")

    def __init__(self, fd: int, node: Node, tag: int) -> None:
        self.fd = fd
        self.node = node
        self.tag = tag
        self.position: int | None = 0
        self.mapped: dict[int, int] = {}
        self.unmapped: dict[int, int] = {}

    def cookie(self, offset: int) -> int:
        """The cookie that stands for a ``d_off`` outside the range of plain ones."""
        if offset == _LAST:
            return _LAST_COOKIE
        cookie = self.mapped.get(offset)
        if cookie is None:
            cookie = _MAPPED + len(self.mapped)
            if cookie >= _MAPPED_END:
                fail(errno.EOVERFLOW)
            self.mapped[offset] = cookie
            self.unmapped[cookie] = offset
        return cookie

    def offset(self, cookie: int) -> int:
        """The ``d_off`` that a cookie stands for. Raises ``EINVAL`` for one that was never given."""
        if 0 <= cookie < _MAPPED:
            return cookie
        if cookie == _LAST_COOKIE:
            return _LAST
        try:
            return self.unmapped[cookie]
        except KeyError:
            fail(errno.EINVAL)


class Directories(MirrorBase):
    """The operations on open directories."""

    def __init__(
        self, source: str | os.PathLike[str], *, read_only: bool = False, use_handles: bool = True
    ) -> None:
        super().__init__(source, read_only=read_only, use_handles=use_handles)
        self._reader = DirectoryReader()
        self._next_directory = 1

    def opendir(self, ctx: Context, ino: int, flags: int) -> Open:
        """Open a directory for listing."""
        node = self.nodes.node(ino)
        if not node.is_dir:
            fail(errno.ENOTDIR)
        try:
            fd = self.nodes.open_node(node, _OPEN_FLAGS | flags & os.O_NOATIME)
        except PermissionError:
            if not flags & os.O_NOATIME:
                raise
            fd = self.nodes.open_node(node, _OPEN_FLAGS)  # only an owner may ask for it
        fh = self._next_directory
        self._next_directory = fh + 1
        self.directories[fh] = OpenDirectory(fd, node, node.tag)
        # The kernel keeps a listing until the directory's mtime changes. A change within the same tick of the clock
        # leaves the mtime as it is, so a directory that has only just changed is not to be kept yet, unless each change
        # that follows a look at the mtime gets one of its own. An mtime of whole seconds may be all that the file system
        # keeps (ext4 with inodes of 128 bytes, ext3), whatever the kernel's clock could tell.
        # File systems whose listings change without it (proc) or elsewhere (nfs) are never kept.
        volume = node.volume
        mtime = os.fstat(fd).st_mtime_ns
        tick = _TICK_NS if mtime % _SECOND_NS else _COARSE_NS
        settled = (volume.has_fine_times and tick == _TICK_NS) or (
            volume.is_local and now_ns() - mtime > tick
        )
        return Open(fh, cache_dir=settled, keep_cache=settled)

    def _directory(self, fh: int) -> OpenDirectory:
        try:
            return self.directories[fh]
        except KeyError:
            fail(errno.EBADF)

    def readdir(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        """List from ``cookie`` on."""
        directory = self._directory(fh)
        return self._entries(directory, directory.offset(cookie))

    def _entries(self, directory: OpenDirectory, offset: int) -> Iterator[DirEntry]:
        tag = directory.tag
        mapped = directory.cookie
        while batch := self._batch(directory, offset):
            for ino, after, kind, name in batch:
                if kind == _DT_DIR and name in _DOTS:
                    continue
                yield DirEntry(
                    name.decode("utf-8", "surrogateescape"),
                    ino ^ tag,
                    kind << 12,
                    after if 0 < after < _MAPPED else mapped(after),
                )
            offset = batch[-1][1]

    def _batch(self, directory: OpenDirectory, offset: int) -> list[tuple[int, int, int, bytes]]:
        """The entries after ``offset``. Other listings of the same open directory may have moved it meanwhile."""
        if directory.position != offset:
            directory.position = None
            os.lseek(directory.fd, offset, os.SEEK_SET)
        batch = self._reader.batch(directory.fd)
        directory.position = batch[-1][1] if batch else offset
        return batch

    def readdirplus(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        """List with attributes. An entry that cannot be looked up is listed without.

        Where the kernel may not keep attributes for any time, there is no use in finding them.
        """
        directory = self._directory(fh)
        if self.entry_timeout <= 0 and self.attr_timeout <= 0:
            return self._entries(directory, directory.offset(cookie))
        return self._entries_plus(directory, directory.offset(cookie))

    def _entries_plus(self, directory: OpenDirectory, offset: int) -> Iterator[DirEntry]:
        find = self.nodes.find
        for line in self._entries(directory, offset):
            try:
                node, attr = find(directory.fd, line.name.encode("utf-8", "surrogateescape"))
            except FileNotFoundError:
                continue  # removed since the batch was read
            except OSError:
                yield line
                continue
            line.entry = Entry(node.number, attr)
            yield line

    def releasedir(self, ctx: Context, ino: int, fh: int, flags: int) -> None:
        """Close the directory."""
        os.close(self._directory(fh).fd)
        del self.directories[fh]

    async def fsyncdir(self, ctx: Context, ino: int, fh: int, datasync: bool) -> None:
        """Make the directory's entries durable."""
        fd = os.dup(self._directory(fh).fd)  # the directory may be closed before the thread is done
        work = asyncio.get_running_loop().run_in_executor(None, os.fsync, fd)
        work.add_done_callback(lambda _: os.close(fd))
        await to_the_end(work)

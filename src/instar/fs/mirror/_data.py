# SPDX-License-Identifier: Apache-2.0
"""Open files: their data, their durability, their holes.

Reads and writes go straight to the backing file. What may take long (making things durable, copying much) runs in a thread, so
that the other requests go on meanwhile; the descriptor stays open until the thread is done with it.

Specification: pread(2), pwrite(2), fsync(2), lseek(2), fallocate(2), copy_file_range(2).
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from instar.edge import syscalls
from instar.fs._types import Context, FallocateFlags, Open, WriteFlags
from instar.fs.mirror._base import MirrorBase
from instar.fs.mirror._files import OpenFile, backing_flags
from instar.fs.mirror._nodes import Node, fail
from instar.fs.mirror._threads import to_the_end

__all__ = ["Data"]

_T = TypeVar("_T")

_KILL_SUIDGID: Final = WriteFlags.KILL_SUIDGID.value
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FIRST_PAUSE: Final = 0.001  # seconds
_LONGEST_PAUSE: Final = 0.1  # seconds
_INLINE_COPY: Final = 1 << 20  # bytes; copying more than that takes a thread
_LARGEST_COPY: Final = 64 << 20  # bytes for one request; the caller asks again for the rest
_NOT_A_FILE: Final = {stat.S_IFDIR: errno.EISDIR, stat.S_IFLNK: errno.ELOOP}


class Data(MirrorBase):
    """The operations on open files."""

    def open(self, ctx: Context, ino: int, flags: int) -> Open:
        """Open a regular file; anything else is the kernel's business and never opened here."""
        node = self.nodes.node(ino)
        if not self._is_regular(node):
            fail(_NOT_A_FILE.get(node.kind, errno.ENXIO))
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            self._check_writable()
        # Cutting a file clears its set-ID bits, unless the caller may keep them; of callers only root is known to.
        if flags & os.O_TRUNC and ctx.uid != 0:
            fd, opened = self._clearing_set_ids(self._path(ino), lambda: self._open_backing(node, flags))
        else:
            fd, opened = self._open_backing(node, flags)
        number = self.files.add(fd, node, opened)
        # Closing a file of a local file system has no errors of its own to tell; NFS does (close(2)).
        return Open(number, direct_io=node.volume.is_generated, noflush=node.volume.is_local)

    def _open_backing(self, node: Node, flags: int) -> tuple[int, int]:
        """Open; returns the descriptor and the flags that it has."""
        opened = backing_flags(flags)
        try:
            return self.nodes.open_node(node, opened), opened
        except PermissionError:
            if not flags & (os.O_NOATIME | os.O_APPEND):
                raise
        if opened & os.O_NOATIME:
            opened &= ~os.O_NOATIME  # only an owner may ask for it
            try:
                return self.nodes.open_node(node, opened), opened
            except PermissionError:
                if not flags & os.O_APPEND:
                    raise
        opened |= flags & os.O_APPEND  # for a file that may only grow, `chattr +a`
        return self.nodes.open_node(node, opened), opened

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
        """Read; shorter only at the end of the file."""
        try:
            return os.pread(self.files.fd(fh), size, offset)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        return os.pread(self.files.reader(fh), size, offset)

    def write(
        self, ctx: Context, ino: int, fh: int, offset: int, data: memoryview, flags: WriteFlags
    ) -> int | Awaitable[int]:
        """Write, straight from the request's buffer."""
        try:
            return self._write(fh, offset, data, flags)
        except OSError as error:
            if error.errno not in _NO_SPACE or not self.nodes.awaits_forget():
                raise
        return self._with_space(lambda: self._write(fh, offset, data, flags))

    def _write(self, fh: int, offset: int, data: memoryview, flags: WriteFlags) -> int:
        fd = self.files.fd(fh)
        if int.__and__(flags, _KILL_SUIDGID):  # not IntFlag's own operator, which makes an object
            return self._clearing_set_ids(fd, lambda: os.pwrite(fd, data, offset))
        return os.pwrite(fd, data, offset)

    async def _with_space(self, call: Callable[[], _T]) -> _T:
        """Make ``call`` once more when files without a name have gone.

        A file that was removed gives its space back when the kernel forgets its node, and the kernel may say so a few
        requests after the removal.
        """
        pause = _FIRST_PAUSE
        while self.nodes.awaits_forget() and pause < _LONGEST_PAUSE:
            try:
                await asyncio.sleep(pause)
            except asyncio.CancelledError:
                break
            pause *= 2
            try:
                return call()
            except OSError as error:
                if error.errno not in _NO_SPACE:
                    raise
        return call()

    def flush(self, ctx: Context, ino: int, fh: int, lock_owner: int) -> None:
        """Do on the backing file what a close does, so that its errors reach the caller."""
        file = self.files.get(fh)
        if file.fd >= 0:
            try:
                copy = os.dup(file.fd)
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                return  # nothing to learn without a spare descriptor; fsync tells errors in any case
            os.close(copy)

    def release(self, ctx: Context, ino: int, fh: int, flags: int) -> None:
        """Close the backing file."""
        self.files.remove(fh)

    async def fsync(self, ctx: Context, ino: int, fh: int, datasync: bool) -> None:
        """Make the file durable."""
        await self._in_thread(self.files.get(fh), os.fdatasync if datasync else os.fsync)

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> int:
        """Find data and holes, where the backing file system knows them."""
        return os.lseek(self.files.fd(fh), offset, whence)

    def fallocate(
        self, ctx: Context, ino: int, fh: int, mode: FallocateFlags, offset: int, length: int
    ) -> Awaitable[None] | None:
        """Allocate, punch, zero, collapse or insert, as the backing file system can."""

        def call() -> None:
            syscalls.fallocate(self.files.fd(fh), int(mode), offset, length)

        try:
            call()
        except OSError as error:
            if error.errno not in _NO_SPACE or not self.nodes.awaits_forget():
                raise
            return self._with_space(call)
        return None

    def copy_file_range(
        self, ctx: Context, ino: int, fh: int, offset: int, newino: int, newfh: int, newoffset: int, length: int,
        flags: int,
    ) -> int | Awaitable[int]:  # fmt: skip
        """Let the backing file system copy; at most 64 MiB at a time."""
        if flags:
            fail(errno.EINVAL)
        length = min(length, _LARGEST_COPY)
        if length <= _INLINE_COPY:
            # Getting the second descriptor may park the first, so the first is looked up again if it was.
            source, target = self.files.get(fh), self.files.get(newfh)
            with_fds = self._both(source, target)
            try:
                return os.copy_file_range(*with_fds, length, offset, newoffset)
            finally:
                self.files.done(source)
                self.files.done(target)
        return self._copy(self.files.get(fh), offset, self.files.get(newfh), newoffset, length)

    async def _copy(
        self, source: OpenFile, offset: int, target: OpenFile, newoffset: int, length: int
    ) -> int:
        source_fd, target_fd = self._both(source, target)
        work = asyncio.get_running_loop().run_in_executor(
            None, os.copy_file_range, source_fd, target_fd, length, offset, newoffset
        )

        def done(_: object) -> None:
            self.files.done(source)
            self.files.done(target)

        work.add_done_callback(done)
        return await to_the_end(work)

    def _both(self, source: OpenFile, target: OpenFile) -> tuple[int, int]:
        source_fd = self.files.use(source)
        try:
            return source_fd, self.files.use(target)
        except OSError:
            self.files.done(source)
            raise

    async def _in_thread(self, file: OpenFile, call: Callable[[int], None]) -> None:
        """Run ``call`` on the file's descriptor in a thread."""
        work = asyncio.get_running_loop().run_in_executor(None, call, self.files.use(file))
        work.add_done_callback(lambda _: self.files.done(file))
        await to_the_end(work)

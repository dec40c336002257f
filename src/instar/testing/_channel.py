# SPDX-License-Identifier: Apache-2.0
"""`Channel`: the far end of a connection without a kernel: requests go in as bytes, replies come out as bytes.

It stands where ``/dev/fuse`` stands for a mounted file system, in front of the same session and the same protocol core.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from instar.transport import MountOptions, Session
from instar.wire import fuse as wire
from instar.wire.fuse import Opcode

if TYPE_CHECKING:
    from instar.fs import FileSystem

__all__ = ["Channel"]

_R = TypeVar("_R", bound=wire.Reply)
_KERNEL_OFFERS = sum(wire.InitFlags) & ~(
    wire.InitFlags.FUSE_OVER_IO_URING
    | wire.InitFlags.FUSE_INIT_RESERVED
    | wire.InitFlags.FUSE_WRITEBACK_CACHE
)


class _Notifier:
    """Keeps notifications instead of sending them, for tests to look at."""

    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []

    def inval_inode(self, ino: int, offset: int = 0, length: int = 0) -> None:
        self.sent.append(("inval_inode", ino, offset, length))

    def inval_entry(self, parent: int, name: str, *, expire_only: bool = False) -> None:
        self.sent.append(("inval_entry", parent, name, expire_only))

    def delete(self, parent: int, ino: int, name: str) -> None:
        self.sent.append(("delete", parent, ino, name))

    def store(self, ino: int, offset: int, data: bytes) -> None:
        self.sent.append(("store", ino, offset, data))

    async def write_back(self, ino: int) -> None:
        self.sent.append(("write_back", ino))

    def poll(self, kh: int) -> None:
        self.sent.append(("poll", kh))


class Channel:
    """A connection to ``fs``. Synchronous for its user; ``async`` handlers run in an event loop of its own."""

    def __init__(self, fs: FileSystem, options: MountOptions | None = None) -> None:
        self.fs = fs
        self.loop = asyncio.new_event_loop()
        self.notifier = _Notifier()
        self.replies: dict[int, bytes] = {}
        self._unique = 0
        self._tasks: set[asyncio.Task[Any]] = set()  # an event loop keeps no hold of its tasks
        try:
            self.session = Session(fs, options or MountOptions(), self, self.notifier)
            self.session.spawn = self._spawn
            fs.notify = self.notifier
            self._run(fs.init())
            offer = wire.Init(
                wire.FUSE_KERNEL_VERSION, wire.FUSE_KERNEL_MINOR_VERSION, 1 << 17, _KERNEL_OFFERS
            )
            self.agreed = self.call(wire.InitOut, Opcode.FUSE_INIT, offer)
        except BaseException:
            self._end_loop()
            raise

    def _spawn(self, awaitable: Awaitable[Any]) -> None:
        task = self.loop.create_task(_wait(awaitable))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self, result: object) -> None:
        if isinstance(result, Awaitable):
            self.loop.run_until_complete(_wait(result))

    # -------------------------------------------------------------- the session's replies

    def send(self, unique: int, body: bytes | bytearray | memoryview) -> bool:
        """Keep a success."""
        self.replies[unique] = wire.out_header(len(memoryview(body).cast("B")), unique) + bytes(body)
        return True

    def send_error(self, unique: int, code: int) -> bool:
        """Keep an errno."""
        self.replies[unique] = wire.encode_error(unique, code)
        return True

    # ------------------------------------------------------------------------- requests

    def post(
        self, opcode: Opcode, message: wire.Request, nodeid: int = 0, uid: int = 0, gid: int = 0
    ) -> tuple[int, asyncio.Task[None] | None]:
        """Hand a request in. Returns its number, and the task that serves it unless it has been answered already."""
        self._unique += 2  # the kernel's are even; the odd ones are INTERRUPTs
        unique = self._unique
        raw = wire.encode_request(wire.Header(opcode, unique, nodeid, uid, gid, os.getpid()), message)
        pending = self.session.handle(memoryview(bytearray(raw)), len(raw))
        return unique, None if pending is None else self.loop.create_task(_wait(pending))

    def take(self, kind: type[_R], opcode: Opcode, unique: int, *, size_only: bool = False) -> _R:
        """The reply to a request. Raises :class:`OSError` with its errno where it is one."""
        _, reply = wire.decode_reply(opcode, self.replies.pop(unique), size_only=size_only)
        if isinstance(reply, wire.ErrorReply):
            raise OSError(reply.errno, os.strerror(reply.errno))
        assert isinstance(reply, kind), reply
        return reply

    def call(
        self, kind: type[_R], opcode: Opcode, message: wire.Request, nodeid: int = 0, uid: int = 0, gid: int = 0,
        *, size_only: bool = False,
    ) -> _R:  # fmt: skip
        """Hand a request in, run what it needs, and return the reply. Raises :class:`OSError`."""
        unique, task = self.post(opcode, message, nodeid, uid, gid)
        if task is not None:
            self.loop.run_until_complete(task)
        return self.take(kind, opcode, unique, size_only=size_only)

    def interrupt(self, unique: int) -> None:
        """Tell that the caller of a request was interrupted."""
        self.post(Opcode.FUSE_INTERRUPT, wire.Interrupt(unique))

    def close(self) -> None:
        """End the connection: cancel what waits, call ``destroy``. Raises what that raises; a second call does nothing."""
        if self.loop.is_closed():
            return
        try:
            self._cancel_all()
            self._run(self.fs.destroy())
        finally:
            self._end_loop()

    def _cancel_all(self) -> None:
        """Cancel every task and wait until each has ended, however long its ``finally`` takes."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks))

    def _end_loop(self) -> None:
        try:
            self._cancel_all()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


async def _wait(awaitable: Awaitable[Any]) -> Any:  # Any: whatever it returns
    return await awaitable

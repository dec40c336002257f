# SPDX-License-Identifier: Apache-2.0
"""The loop over ``/dev/fuse``: reads requests, has the session serve them, writes replies.

One thread does it all, so a file system's handlers never run at the same time. While every handler is a plain function
the loop is three system calls and a method call for each request. When a handler is ``async`` and has to wait, the loop
goes on inside an asyncio event loop, where requests and waiting handlers take turns; when nothing waits any more it
goes back.

The device is read without blocking, and ``poll(2)`` waits for it together with the stop event, so that the loop can be
stopped at any time without a signal. Under load it reads again for a few microseconds before it waits: most
callers send their next request at once, and a wake-up costs more than the request.

Sources: ``fs/fuse/dev.c``; ``Documentation/filesystems/fuse/fuse.rst``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from instar.edge.pm_qos import CpuLatency
from instar.transport._notifier import DeviceNotifier
from instar.transport._options import MountOptions
from instar.transport._session import Session
from instar.wire import fuse as wire

if TYPE_CHECKING:
    from instar.fs import FileSystem

__all__ = ["FuseDevice"]

_log = logging.getLogger("instar.fuse")

_OUT_HEADER: Final = wire.OUT_HEADER
_OUT_HEADER_SIZE: Final = _OUT_HEADER.size
_JOIN_BELOW: Final = 4096  # bytes: a copy of less than this is cheaper than a second iovec
_RETRY: Final = frozenset({errno.EINTR, errno.ENOENT})
_GONE: Final = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.EBADF})
#: The kernel no longer waits for the request, or the mount is gone.
_MOOT: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.EBADF})

# When the loop calls itself busy, and what it does then; measured in benchmarks/metadata.py.
_BUSY_AFTER: Final = 32  # requests that each came within _BUSY_GAP_NS of the one before
_BUSY_GAP_NS: Final = 2_000_000
_SPIN_NS: Final = 50_000
_IDLE_MS: Final = 20  # a busy loop that waits this long is not busy any more
_PLAIN_AGAIN: Final = 64  # plain requests in a row after which the event loop is left


class FuseDevice:
    """Serves ``fs`` over the open connection ``fd`` until the mount is gone or :meth:`stop` is called.

    The object owns ``fd`` and closes it at the end of :meth:`serve`.
    """

    def __init__(self, fd: int, fs: FileSystem, options: MountOptions | None = None) -> None:
        options = options or MountOptions()
        self._fd = fd
        os.set_blocking(fd, False)
        self._notifier = DeviceNotifier(fd)
        self.session = Session(fs, options, self, self._notifier)
        self.session.spawn = self._spawn
        self._size = options.max_write + 4096 + wire.IN_HEADER_SIZE
        self._buffers: list[memoryview] = []
        self._buffer = self._new_buffer()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._done = False
        self._latency = CpuLatency()
        self._latency.available &= options.latency == "auto"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: Awaitable[None] | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        fs.notify = self._notifier

    # --------------------------------------------------------------------- life

    def serve(self) -> None:
        """Serve until the mount is gone. Raises what ``fs.init`` raises, before any request is read."""
        fs = self.session.fs
        try:
            self._run_now(fs.init())
            try:
                while not self._done:
                    self._serve_plain()
                    if not self._done:
                        self._event_loop().run_until_complete(self._serve_async())
            finally:
                self._latency.release()
                self._run_now(fs.destroy())
        finally:
            self._close()

    def stop(self) -> None:
        """End :meth:`serve` soon, from any thread or signal handler. Callers that wait get errors; unmount first."""
        os.eventfd_write(self._stop, 1)

    def _close(self) -> None:
        self._notifier.close()
        if self._loop is not None:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                self._loop.run_until_complete(asyncio.wait(self._tasks))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        os.close(self._fd)
        os.close(self._stop)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop

    def _run_now(self, result: object) -> None:
        if isinstance(result, Awaitable):
            self._event_loop().run_until_complete(_as_coroutine(result))

    # -------------------------------------------------------------------- reply

    def send(self, unique: int, body: bytes | bytearray | memoryview) -> bool:
        """Write a success; False when the kernel has dropped the request."""
        size = len(body) if body.__class__ is not memoryview else memoryview(body).nbytes
        header = _OUT_HEADER.pack(_OUT_HEADER_SIZE + size, 0, unique)
        try:
            if size < _JOIN_BELOW:
                os.write(self._fd, header + body)
            else:
                os.writev(self._fd, (header, body))
        except OSError as error:
            if error.errno not in _MOOT:
                # The kernel has answered the caller with EIO; a reply in the wrong form is a mistake of this program.
                _log.error("the kernel refused a reply of %d bytes: %s", size, error)
            return False
        return True

    def send_error(self, unique: int, code: int) -> bool:
        """Write an errno; False when the kernel has dropped the request."""
        try:
            os.write(self._fd, _OUT_HEADER.pack(_OUT_HEADER_SIZE, -code, unique))
        except OSError as error:
            if error.errno not in _MOOT:
                _log.error("the kernel refused the errno %d: %s", code, error)
            return False
        return True

    # --------------------------------------------------------------- plain loop

    def _new_buffer(self) -> memoryview:
        return memoryview(bytearray(self._size))

    def _read(self) -> int:
        """Read one request into the current buffer. Returns its length, 0 when there is none, -1 at the end."""
        try:
            return os.readv(self._fd, (self._buffer,))
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _RETRY:
                return 0
            self._done = True
            if error.errno not in _GONE:
                raise
            if error.errno == errno.ECONNABORTED:
                _log.warning("the connection was aborted")
            return -1

    def _serve_plain(self) -> None:
        """Serve until the end, or until a handler has to be awaited (left in ``_pending``)."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        read, handle, now = self._read, self.session.handle, time.monotonic_ns
        streak, last = 0, 0
        while True:
            length = read()
            if length > 0:
                pending = handle(self._buffer, length)
                if pending is not None:
                    self._pending = pending
                    return
                continue
            if length < 0 or self.session.ended:
                self._done = True
                return
            # Nothing there. A busy loop looks again for a moment; an idle one waits without using the processor.
            started = now()
            streak = streak + 1 if started - last < _BUSY_GAP_NS else 0
            last = started
            if streak >= _BUSY_AFTER:
                self._latency.hold()
                if self._spin(started + _SPIN_NS):
                    if self._pending is not None:
                        return
                    continue
                ready = poller.poll(_IDLE_MS)
                if not ready:
                    streak = 0
                    self._latency.release()
                    ready = poller.poll()
            else:
                ready = poller.poll()
            last = max(last, started)
            if any(fd == self._stop for fd, _ in ready):
                self._done = True
                return

    def _spin(self, deadline: int) -> bool:
        """Read until there is a request or the deadline has passed; serves what it finds and says whether it did."""
        read, now = self._read, time.monotonic_ns
        while now() < deadline:
            length = read()
            if length > 0:
                self._pending = self.session.handle(self._buffer, length)
                return True
            if length < 0:
                return True
        return False

    # --------------------------------------------------------------- async loop

    def _spawn(self, awaitable: Awaitable[Any]) -> None:
        """Run an awaitable in the event loop."""
        task = self._event_loop().create_task(_as_coroutine(awaitable))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _start(self, awaitable: Awaitable[None]) -> None:
        """Run a handler in the event loop; it keeps the buffer that it was given until it is done."""
        buffer = self._buffer
        self._buffer = self._buffers.pop() if self._buffers else self._new_buffer()
        task = self._event_loop().create_task(_as_coroutine(awaitable))
        self._tasks.add(task)

        def finished(done: asyncio.Future[None]) -> None:
            self._tasks.discard(done)
            self._buffers.append(buffer)
            if not done.cancelled() and done.exception() is not None:
                _log.error("a reply could not be sent", exc_info=done.exception())

        task.add_done_callback(finished)

    async def _serve_async(self) -> None:
        """Serve until the end, or until nothing waits any more and plain requests come in a row."""
        loop = asyncio.get_running_loop()
        wake = asyncio.Event()
        loop.add_reader(self._fd, wake.set)
        loop.add_reader(self._stop, wake.set)
        plain = 0
        try:
            while not self._done:
                if self._pending is not None:
                    self._start(self._pending)
                    self._pending = None
                    plain = 0
                    await asyncio.sleep(0)
                length = self._read()
                if length > 0:
                    plain += 1
                    self._pending = self.session.handle(self._buffer, length)
                    if plain > _PLAIN_AGAIN and self._pending is None and len(asyncio.all_tasks(loop)) == 1:
                        return
                    if plain % 16 == 0:
                        await asyncio.sleep(
                            0
                        )  # waiting handlers get their turn under a flood of plain requests
                    continue
                if length < 0 or self.session.ended:
                    self._done = True
                    break
                wake.clear()
                await wake.wait()
                if _readable(self._stop):
                    self._done = True
        finally:
            loop.remove_reader(self._fd)
            loop.remove_reader(self._stop)


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:  # Any: whatever it returns
    return await awaitable

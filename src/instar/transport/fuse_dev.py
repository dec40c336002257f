# SPDX-License-Identifier: Apache-2.0
"""The loop over ``/dev/fuse``: reads requests, has the session serve them, writes replies.

One thread does it all, so a file system's handlers never run at the same time. While every handler is a plain function
the loop is three system calls and a method call for each request. When a handler is ``async`` and has to wait, the loop
goes on inside an asyncio event loop, where requests and waiting handlers take turns; when nothing waits any more (no
handler, no task or timer of the service's own) it goes back. The plain loop keeps an eye on the event loop's
descriptors, so a service's sockets and what other threads call into the event loop are served in either.

The device is read without blocking, and ``poll(2)`` waits for it together with the stop event, so that the loop can be
stopped at any time without a signal. Under load it reads again for a few microseconds before it waits: most
callers send their next request at once, and a wake-up costs more than the request.

Sources: ``fs/fuse/dev.c``; ``Documentation/filesystems/fuse/fuse.rst``.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import select
import selectors
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from instar.edge.pm_qos import CpuLatency
from instar.transport._event_loop import EventLoop
from instar.transport._notifier import DeviceNotifier
from instar.transport._options import MountOptions
from instar.transport._session import WITHOUT_REPLY, Session
from instar.wire import fuse as wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from instar.fs import FileSystem

__all__ = ["FuseDevice"]

_log = logging.getLogger("instar.fuse")

_OUT_HEADER: Final = wire.OUT_HEADER
_OUT_HEADER_SIZE: Final = _OUT_HEADER.size
_JOIN_BELOW: Final = 4096  # bytes: a copy of less than this is cheaper than a second iovec
_RETRY: Final = frozenset({errno.EINTR, errno.ENOENT})
#: The kernel has answered the caller already; what comes next may be read.
_REQUEST_LOST: Final = frozenset({errno.EIO, errno.ENOMEM, errno.EFAULT})
_GONE: Final = frozenset({errno.ENODEV, errno.ECONNABORTED, errno.EBADF})
#: The kernel no longer waits for the request, or the mount is gone.
_MOOT: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ECONNABORTED, errno.EBADF})

# When the loop calls itself busy, and what it does then; measured in benchmarks/metadata.py.
_BUSY_AFTER: Final = 32  # requests that each came within _BUSY_GAP_NS of the one before
_BUSY_GAP_NS: Final = 2_000_000
_SPIN_NS: Final = 50_000
_IDLE_MS: Final = 20  # a busy loop that waits this long is not busy any more
_PLAIN_AGAIN: Final = 64  # plain requests in a row after which the event loop is left
_LOOK_EVERY: Final = (
    1024  # requests after which a plain loop that never pauses looks at the event loop; a power of two
)

_COPY_BELOW: Final = (
    65536  # bytes: an async handler keeps its request, and a copy of that is smaller than a buffer
)
_SPARE_BUFFERS: Final = 4
_LAST_SECONDS: Final = 10.0  # that closing files and the service's own tasks get when the mount is gone
#: Handlers that nobody waits for, and that have something to finish.
_CLOSING: Final = frozenset({"release", "releasedir"})


class FuseDevice:
    """Serves ``fs`` over the open connection ``fd`` until the mount is gone or :meth:`stop` is called.

    The object owns ``fd`` and closes it at the end of :meth:`serve`.
    """

    def __init__(self, fd: int, fs: FileSystem, options: MountOptions | None = None) -> None:
        options = options or MountOptions()
        self._fd = fd
        os.set_blocking(fd, False)
        # FileIO.readinto reads into the buffer and says None, rather than raising, when there is nothing.
        self._file = io.FileIO(fd, "r", closefd=False)
        self._notifier = DeviceNotifier(fd)
        self.session = Session(fs, options, self, self._notifier)
        self.session.spawn = self._spawn
        self.session.forgets = []
        self._size = options.max_write + 4096 + wire.IN_HEADER_SIZE
        self._buffers: list[memoryview] = []
        self._buffer = self._new_buffer()
        # All descriptors that will ever be needed, now: later there may be none left.
        self._selector = selectors.EpollSelector()
        self._leave = (
            False  # the plain loop shall return: there is something for the event loop, or the end has come
        )
        self._loop = EventLoop(self._selector, self._leave_plain)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop_lock = threading.RLock()
        self._done = False
        #: Whether :meth:`serve` ended because the mount is gone.
        self.unmounted = False
        self._latency = CpuLatency()
        self._latency.available &= options.latency == "auto"
        self._pending: Awaitable[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        fs.notify = self._notifier

    # --------------------------------------------------------------------- life

    def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until the mount is gone. ``ready`` is called after ``fs.init``, before any request is read.

        Raises what ``fs.init``, ``ready`` or ``fs.destroy`` raise.
        """
        try:
            self._run_now(self.session.fs.init())
            try:
                if ready is not None:
                    ready()
                self._serve()
            finally:
                self._latency.release()
                self._end_handlers()
                self._close_device()
                self._run_now(self.session.fs.destroy())
        finally:
            self._close()

    def stop(self) -> None:
        """End :meth:`serve` soon, from any thread or signal handler. Callers that wait get errors; unmount first."""
        with self._stop_lock:
            self._done = self._leave = True
            if self._stop >= 0:
                os.eventfd_write(self._stop, 1)

    def _serve(self) -> None:
        while True:
            self._leave = False  # before the look at _done, which stop() sets first
            if self._done:
                return
            if not self._loop.busy():
                self._serve_plain()
            if not self._done:
                self._loop.run_until_complete(self._serve_async())

    def _leave_plain(self) -> None:
        """Have the plain loop return: the event loop has something to do."""
        self._leave = True

    def _end_handlers(self) -> None:
        """Cancel the handlers that still wait: their callers are gone. Those that close a file may finish.

        Then the file system hears of the nodes that the kernel has dropped, before its end.
        """
        for task in self._tasks:
            if task.get_name() not in _CLOSING:
                task.cancel()
        self._wait_for(self._tasks, "handlers")
        self.session.settle()

    def _close_device(self) -> None:
        """Close the connection; a mount that is still there is dead from then on."""
        if self._fd < 0:
            return
        self._notifier.close()
        deadline = time.monotonic() + _LAST_SECONDS
        while not self._notifier.join(0.02) and time.monotonic() < deadline:
            self._turn_away()
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _turn_away(self) -> None:
        """Answer every request with an error: a notification may wait for a lock that one of the callers holds."""
        while self._read() > 0:
            _, opcode, unique, *_ = wire.IN_HEADER.unpack_from(self._buffer)
            if opcode not in WITHOUT_REPLY:
                self.send_error(unique, errno.ECONNABORTED)

    def _close(self) -> None:
        self._close_device()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._wait_for(tasks, "tasks of the file system")
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._loop.shutdown_asyncgens(), _LAST_SECONDS))
        except TimeoutError:
            _log.error("asynchronous generators of the file system did not end and were left")
        self._loop.close()
        with self._stop_lock:
            stop, self._stop = self._stop, -1
        os.close(stop)

    def _wait_for(self, tasks: set[asyncio.Task[Any]], what: str) -> None:
        if tasks:
            _, left = self._loop.run_until_complete(asyncio.wait(tasks.copy(), timeout=_LAST_SECONDS))
            if left:
                _log.error(
                    "%d %s did not end within %g seconds and were left", len(left), what, _LAST_SECONDS
                )

    def _run_now(self, result: object) -> None:
        if isinstance(result, Awaitable):
            self._loop.run_until_complete(_as_coroutine(result))

    # -------------------------------------------------------------------- reply

    def send(self, unique: int, body: bytes | bytearray | memoryview) -> bool:
        """Write a success; False when the kernel has dropped the request."""
        size = len(body) if body.__class__ is not memoryview else memoryview(body).nbytes
        try:
            header = _OUT_HEADER.pack(_OUT_HEADER_SIZE + size, 0, unique)
            if size < _JOIN_BELOW:
                os.write(self._fd, header + body)
            else:
                os.writev(self._fd, (header, body))
        except (OSError, struct.error) as error:
            if isinstance(error, OSError) and error.errno in _MOOT:
                return False
            _log.error("the kernel refused a reply of %d bytes, the caller gets EIO: %s", size, error)
            # Most often the kernel has answered the caller itself, and this finds nobody; never leave one waiting.
            self.send_error(unique, errno.EIO)
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
            return self._file.readinto(self._buffer) or 0
        except OSError as error:
            if error.errno in _RETRY:
                return 0
            if error.errno in _REQUEST_LOST:
                _log.error("a request could not be read: %s", error)
                return 0
            self._done = True
            if error.errno not in _GONE:
                raise
            if error.errno == errno.ECONNABORTED:
                _log.warning("the connection was aborted")
            self.unmounted = error.errno == errno.ENODEV
            return -1

    def _serve_plain(self) -> None:
        """Serve until the end, or until the event loop is needed (for a handler left in ``_pending``, or a task)."""
        poller = select.poll()
        for fd in (self._fd, self._stop, self._selector.fileno()):
            poller.register(fd, select.POLLIN)
        read, session, now = self._read, self.session, time.monotonic_ns
        handle = session.handle
        streak, last = 0, 0
        while not self._leave:
            length = read()
            if length > 0:
                pending = handle(self._buffer, length)
                if pending is not None:
                    self._pending = pending
                    return
                if not session.requests % _LOOK_EVERY and self._selector.select(0):
                    return
                continue
            if length < 0 or session.ended:
                self._done = True
                return
            if session.forgets:
                session.settle()
                continue
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
            if any(fd != self._fd for fd, _ in ready):  # stopped, or something for the event loop
                return

    def _spin(self, deadline: int) -> bool:
        """Read until there is a request or the deadline has passed; serves what it finds and says whether it did."""
        read, now, let_others_run = self._read, time.monotonic_ns, os.sched_yield
        while now() < deadline:
            let_others_run()  # the caller may be waiting for this very processor
            length = read()
            if length > 0:
                self._pending = self.session.handle(self._buffer, length)
                return True
            if length < 0:
                return True
        return False

    # --------------------------------------------------------------- async loop

    def _spawn(self, awaitable: Awaitable[Any]) -> None:
        """Run an awaitable that nobody waits for in the event loop."""
        task = self._loop.create_task(_as_coroutine(awaitable), name="release")
        self._leave = True
        self._tasks.add(task)

        def finished(done: asyncio.Future[Any]) -> None:
            self._tasks.discard(done)
            if not done.cancelled() and (error := done.exception()) is not None:
                _log.error("what nobody waited for failed", exc_info=error)

        task.add_done_callback(finished)

    def _start(self, awaitable: Awaitable[None], buffer: memoryview) -> None:
        """Run a handler in the event loop; it keeps the buffer that it was given until it is done."""
        shared = buffer is self._buffer
        if shared:
            self._buffer = self._buffers.pop() if self._buffers else self._new_buffer()
        task = self._loop.create_task(_as_coroutine(awaitable))
        self._tasks.add(task)

        def finished(done: asyncio.Future[None]) -> None:
            self._tasks.discard(done)
            if shared and len(self._buffers) < _SPARE_BUFFERS:
                self._buffers.append(buffer)
            if not done.cancelled() and done.exception() is not None:
                _log.error("a reply could not be sent", exc_info=done.exception())

        task.add_done_callback(finished)

    async def _serve_async(self) -> None:
        """Serve until the end, or until nothing waits any more and plain requests come in a row."""
        loop, session = self._loop, self.session
        self._latency.release()
        wake = asyncio.Event()
        loop.add_reader(self._fd, wake.set)
        loop.add_reader(self._stop, wake.set)
        plain = 0
        try:
            if self._pending is not None:
                pending, self._pending = self._pending, None
                self._start(pending, self._buffer)
            await asyncio.sleep(0)
            while not self._done:
                length = self._read()
                if length > 0:
                    plain += 1
                    buffer = self._buffer
                    if length < _COPY_BELOW:
                        buffer = memoryview(bytearray(buffer[:length]))
                    awaitable = session.handle(buffer, length)
                    if awaitable is not None:
                        plain = 0
                        self._start(awaitable, buffer)
                    if plain % 16 == 0:
                        await asyncio.sleep(0)  # others get their turn under a flood of plain requests
                    if plain >= _PLAIN_AGAIN and plain % _PLAIN_AGAIN == 0 and not loop.busy():
                        return
                    continue
                if length < 0 or session.ended:
                    self._done = True
                    break
                session.settle()
                wake.clear()
                await wake.wait()
        finally:
            loop.remove_reader(self._fd)
            loop.remove_reader(self._stop)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:  # Any: whatever it returns
    return await awaitable

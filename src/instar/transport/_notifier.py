# SPDX-License-Identifier: Apache-2.0
"""Notifications to the kernel, sent from a thread of their own.

Writing INVAL_ENTRY takes the parent directory's lock in the kernel. A caller in the middle of, say, ``mkdir`` holds that
lock and waits for the very loop that would be writing: a deadlock (seen in the field with other servers). So the
loop only queues, and this thread writes and may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING, Final

from instar.wire import fuse as wire

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DeviceNotifier"]

_log = logging.getLogger("instar.fuse")
#: The kernel does not know the node, the name or the caller (any more), or the mount is going: nothing is left to do.
#: Not EINVAL, which the kernel says to a message that it cannot read, and not EBUSY: a deleted name on which something
#: is mounted stays (``fuse_reverse_inval_entry`` in ``fs/fuse/dir.c``).
_MOOT: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENOTDIR, errno.ENOTCONN, errno.ENOTEMPTY})


class DeviceNotifier:
    """Sends notifications over the connection ``fd``; see :class:`instar.fs.Notifier` for the methods."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: queue.SimpleQueue[tuple[bytes, Callable[[], object] | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        #: What is queued behind the end would never be looked at. Reentrant: a signal handler may notify, too.
        self._ending = threading.RLock()
        self._closed = False
        self._reported: set[tuple[str, int | None]] = set()

    def inval_inode(self, ino: int, offset: int = 0, length: int = 0) -> None:
        """See :meth:`instar.fs.Notifier.inval_inode`."""
        self._send(wire.notify_inval_inode(ino, offset, length))

    def inval_entry(self, parent: int, name: str, *, expire_only: bool = False) -> None:
        """See :meth:`instar.fs.Notifier.inval_entry`."""
        flags = wire.InvalEntryFlags.FUSE_EXPIRE_ONLY if expire_only else 0
        self._send(wire.notify_inval_entry(parent, name, flags))

    def delete(self, parent: int, ino: int, name: str) -> None:
        """See :meth:`instar.fs.Notifier.delete`."""
        self._send(wire.notify_delete(parent, ino, name))

    def store(self, ino: int, offset: int, data: bytes) -> None:
        """See :meth:`instar.fs.Notifier.store`."""
        self._send(wire.notify_store(ino, offset, data))

    async def write_back(self, ino: int) -> None:
        """See :meth:`instar.fs.Notifier.write_back`."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        if self._send(wire.notify_inval_inode(ino, 0, 0), lambda: loop.call_soon_threadsafe(finish)):
            await done

    def poll(self, kh: int) -> None:
        """See :meth:`instar.fs.Notifier.poll`."""
        self._send(wire.notify_poll(kh))

    def close(self) -> None:
        """Drop what is queued, and what comes. Does not wait: a notification may be stuck until the mount is gone."""
        with self._ending:
            self._closed = True
            self._queue.put(None)

    def join(self, seconds: float) -> bool:
        """Wait until the last notification is written; whether it is. Only then may the descriptor be closed."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _send(self, message: bytes, then: Callable[[], object] | None = None) -> bool:
        """Queue a message; ``then`` is called when it is written, or dropped. False when all is over already."""
        with self._ending:  # any thread may send
            if self._closed:
                return False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="instar-notify", daemon=True)
                thread.start()
                self._thread = thread
            self._queue.put((message, then))
        return True

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            message, then = item
            try:
                if not self._closed:
                    os.write(self._fd, message)
            except OSError as error:
                if error.errno not in _MOOT:
                    self._report(message, error)
            if then is not None:
                with contextlib.suppress(RuntimeError):  # the event loop has ended, and nobody waits
                    then()

    def _report(self, message: bytes, error: OSError) -> None:
        """Log a refused notification, once for each kind and error: the same mistake may come with every request."""
        _, code, _ = wire.OUT_HEADER.unpack_from(message)
        name = wire.NotifyCode(code).name
        if (name, error.errno) not in self._reported:
            self._reported.add((name, error.errno))
            _log.warning("the kernel refused a %s (said once for each kind and error): %s", name, error)

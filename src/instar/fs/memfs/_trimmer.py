# SPDX-License-Identifier: Apache-2.0
"""`Trimmer`: memory goes back to the system after much was removed.

The C library keeps the pages of removed files for the next ones, because live objects lie between them: of 100,000 files
of 3,000 bytes that are removed, 80 percent of the memory stays. Giving it back takes some milliseconds, and taking it
again costs as much, so it waits until a second has passed in which little was removed, or for half a minute where none such
comes. A thread waits for that, once for
each time that much was freed, so that an idle file system has none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from instar.edge import malloc

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Trimmer"]

_MUCH: Final = 64 << 20  # bytes that make it worth while
_LITTLE: Final = 1 << 20  # bytes in a second that pass for rest
_REST: Final = 1.0  # seconds
_RESTS: Final = 30  # after which it is done while removing goes on


class Trimmer:
    """Counts what is freed, and calls ``trim`` when it was much and removing has ended, or goes on and on."""

    def __init__(self, trim: Callable[[], object] = malloc.trim, rest: float = _REST) -> None:
        self._trim = trim
        self._rest = rest
        self._freed = 0
        self._next = _MUCH
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def freed(self, size: int) -> None:
        """Count so many bytes."""
        self._freed += size
        if self._freed >= self._next and self._thread is None and not self._stopping.is_set():
            thread = threading.Thread(target=self._wait, name="instar-memfs-trim", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads for this process: later, then
                self._thread = None
                self._next = self._freed + _MUCH

    def start(self) -> None:
        """Begin threads again after :meth:`stop`; at first it may."""
        self._stopping.clear()

    def stop(self) -> None:
        """End the thread, if there is one, and begin no other until :meth:`start`."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        self._thread = None

    def _wait(self) -> None:
        for _ in range(_RESTS):
            seen = self._freed
            if self._stopping.wait(self._rest):
                return
            if self._freed - seen < _LITTLE:
                break
        self._next = self._freed + _MUCH
        self._trim()
        self._thread = None

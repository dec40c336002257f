# SPDX-License-Identifier: Apache-2.0
"""The asyncio event loop of a connection: an ordinary one that can say whether it is needed at all.

A service may start tasks and timers of its own. While there are any, the requests must be served from inside the event loop;
otherwise the plain loop does it faster (see `instar.transport.fuse_dev`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable
    from contextvars import Context
    from typing import TypeVarTuple, Unpack

    _Ts = TypeVarTuple("_Ts")

__all__ = ["EventLoop"]

_FEW = 64


class EventLoop(asyncio.SelectorEventLoop):
    """An event loop over ``selector`` that remembers its timers.

    ``on_work`` is called when something is given to it while it is not running, by a handler that the plain loop runs.

    Invariants: every timer that is still to run is in ``_due``.
    """

    def __init__(self, selector: selectors.BaseSelector, on_work: Callable[[], None]) -> None:
        self._on_work = on_work
        self._due: list[asyncio.TimerHandle] = []
        self._many = _FEW
        super().__init__(selector)

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See :meth:`asyncio.loop.call_soon`; ``create_task`` comes here too."""
        if not self.is_running():
            self._on_work()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See :meth:`asyncio.loop.call_at`; ``call_later`` and ``asyncio.sleep`` come here too."""
        if not self.is_running():
            self._on_work()
        timer = super().call_at(when, callback, *args, context=context)
        self._due.append(timer)
        if len(self._due) > self._many:
            self._forget_old(self.time())
            self._many = max(_FEW, 2 * len(self._due))
        return timer

    def busy(self) -> bool:
        """Whether a task besides the running one, or a timer, waits for its turn in this loop."""
        if len(asyncio.all_tasks(self)) > self.is_running():
            return True
        self._forget_old(self.time())
        return bool(self._due)

    def _forget_old(self, now: float) -> None:
        # One that is past by less than a second may not have had its turn yet.
        self._due = [timer for timer in self._due if not timer.cancelled() and timer.when() > now - 1]

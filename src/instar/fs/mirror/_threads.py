# SPDX-License-Identifier: Apache-2.0
"""Waiting for a system call in a thread as the kernel waits for a disk: a signal does not end it.

fsync(2) on a local file system never fails with ``EINTR``, and programs do not expect it. So a handler that is cancelled,
because its caller got a signal, waits on; the thread could not be stopped in any case.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

__all__ = ["to_the_end"]

_T = TypeVar("_T")


async def to_the_end(work: asyncio.Future[_T]) -> _T:
    """The result of ``work``, which runs in a thread; cancelling does not cut the wait short."""
    task = asyncio.current_task()
    assert task is not None
    while True:
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():
                raise  # the loop itself ends
            task.uncancel()

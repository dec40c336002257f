# SPDX-License-Identifier: Apache-2.0
"""One step after another where either may be plain or ``async``: what a service's method gives decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from instar.fs._filesystem import MaybeAwaitable

__all__ = ["then"]

_A = TypeVar("_A")
_B = TypeVar("_B")


def then(
    value: MaybeAwaitable[_A],
    use: Callable[[_A], MaybeAwaitable[_B]],
    undo: Callable[[_A], object] | None = None,
) -> MaybeAwaitable[_B]:
    """Apply ``use`` to a value, now or when it is there. If that fails or is cancelled, ``undo`` gets the value first.

    >>> then(20, lambda number: number + 1)
    21
    """
    if isinstance(value, Awaitable):
        return _later(value, use, undo)
    try:
        result = use(value)
    except BaseException:
        if undo is not None:
            undo(value)
        raise
    return _finish(value, result, undo) if undo is not None and isinstance(result, Awaitable) else result


async def _later(
    value: Awaitable[_A], use: Callable[[_A], MaybeAwaitable[_B]], undo: Callable[[_A], object] | None
) -> _B:
    now = await value
    result = then(now, use, undo)
    return await result if isinstance(result, Awaitable) else result


async def _finish(value: _A, result: Awaitable[_B], undo: Callable[[_A], object]) -> _B:
    try:
        return await result
    except BaseException:
        undo(value)
        raise

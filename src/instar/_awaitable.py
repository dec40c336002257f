# SPDX-License-Identifier: Apache-2.0
"""One step after another where either may be plain or ``async``: what a service's method gives decides."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

__all__ = ["then"]

_log = logging.getLogger("instar.fs")

_A = TypeVar("_A")
_B = TypeVar("_B")
_Maybe: TypeAlias = _A | Awaitable[_A]


def then(
    value: _Maybe[_A],
    use: Callable[[_A], _Maybe[_B]],
    undo: Callable[[_A], object] | None = None,
) -> _Maybe[_B]:
    """Apply ``use`` to a value, now or when it is there. If that fails or is cancelled, ``undo`` gets the value first.

    What ``use`` raised is raised, even where ``undo`` fails as well, which is logged.

    >>> then(20, lambda number: number + 1)
    21
    """
    if isinstance(value, Awaitable):
        return _later(value, use, undo)
    try:
        result = use(value)
    except BaseException:
        if undo is not None:
            _take_back(value, undo)
        raise
    return _finish(value, result, undo) if undo is not None and isinstance(result, Awaitable) else result


async def _later(
    value: Awaitable[_A], use: Callable[[_A], _Maybe[_B]], undo: Callable[[_A], object] | None
) -> _B:
    now = await value
    result = then(now, use, undo)
    return await result if isinstance(result, Awaitable) else result


async def _finish(value: _A, result: Awaitable[_B], undo: Callable[[_A], object]) -> _B:
    try:
        return await result
    except BaseException:
        _take_back(value, undo)
        raise


def _take_back(value: _A, undo: Callable[[_A], object]) -> None:
    try:
        undo(value)
    except Exception as error:  # noqa: BLE001 - it calls the file system; the caller is told what went wrong first
        _log.error("what a step had established could not be taken back", exc_info=error)

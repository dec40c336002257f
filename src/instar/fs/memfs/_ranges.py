# SPDX-License-Identifier: Apache-2.0
"""`Ranges`: a set of whole numbers that come in runs, such as the pages that ``fallocate(2)`` reserved.

The runs are two sorted lists, of their first numbers and of the numbers after their last; they never touch. A run of
any length takes two entries, and every operation is a binary search and at most one cut of each list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

__all__ = ["Ranges"]


class Ranges:
    """A set of non-negative numbers.

    Invariants: ``_firsts[i] < _stops[i] < _firsts[i + 1]``.

    >>> numbers = Ranges()
    >>> numbers.add(3, 10)
    >>> numbers.remove(5, 6)
    >>> 4 in numbers, 5 in numbers, numbers.count(0, 100)
    (True, False, 6)
    """

    __slots__ = ("_firsts", "_stops")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._stops: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number)
        return place > 0 and number < self._stops[place - 1]

    def count(self, first: int, stop: int | None) -> int:
        """How many numbers are in ``first`` <= number < ``stop`` (``None``: no end)."""
        low, high = self._touched(first, stop)
        return sum(
            (run_stop if stop is None else min(run_stop, stop)) - max(run_first, first)
            for run_first, run_stop in zip(self._firsts[low:high], self._stops[low:high], strict=True)
        )

    def add(self, first: int, stop: int) -> None:
        """Put all of ``first`` <= number < ``stop`` in."""
        if first >= stop:
            return
        low, high = bisect_left(self._stops, first), bisect_right(self._firsts, stop)
        if low < high:  # runs that overlap or touch become one
            first, stop = min(first, self._firsts[low]), max(stop, self._stops[high - 1])
        self._firsts[low:high] = [first]
        self._stops[low:high] = [stop]

    def remove(self, first: int, stop: int | None) -> None:
        """Take all of ``first`` <= number < ``stop`` (``None``: no end) out."""
        low, high = self._touched(first, stop)
        if low >= high or (stop is not None and first >= stop):
            return
        firsts, stops = [], []
        if self._firsts[low] < first:
            firsts.append(self._firsts[low])
            stops.append(first)
        if stop is not None and stop < self._stops[high - 1]:
            firsts.append(stop)
            stops.append(self._stops[high - 1])
        self._firsts[low:high] = firsts
        self._stops[low:high] = stops

    def assert_invariants(self) -> None:
        """Raise :class:`AssertionError` if the class invariants do not hold."""
        line = [number for run in zip(self._firsts, self._stops, strict=True) for number in run]
        assert line == sorted(set(line)), line
        assert not line or line[0] >= 0, line

    def _touched(self, first: int, stop: int | None) -> tuple[int, int]:
        """The places of the runs that have numbers in a range: from, and before which."""
        high = len(self._firsts) if stop is None else bisect_left(self._firsts, stop)
        return bisect_right(self._stops, first), high

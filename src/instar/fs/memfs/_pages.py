# SPDX-License-Identifier: Apache-2.0
"""`Pages`: the bytes of a sparse file, kept page by page.

A page that was never written does not exist and reads as zeros, so a file of a billion bytes with nothing in it costs
one empty dictionary. A page is an immutable ``bytes`` object of at most `PAGE_SIZE` bytes; what it lacks at its end is
zeros, so a small file takes its own size. An empty page is one that ``fallocate`` reserved: it counts as allocated and
is, as in ext4's unwritten extents, a hole to ``SEEK_DATA``.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PAGE_SIZE", "Pages"]

PAGE_SIZE: Final = 4096
_SHIFT: Final = 12
_MASK: Final = PAGE_SIZE - 1
_ZEROS: Final = bytes(PAGE_SIZE)
_RESERVED: Final = b""


class Pages:
    """The content of one file, without its size: reads past the end are the caller's to cut.

    ``charge`` is called with the number of pages that an operation is about to add (negative: has freed); it raises
    ``ENOSPC`` before anything has changed.

    Invariants: every key is non-negative; every page is at most `PAGE_SIZE` bytes.
    """

    __slots__ = ("_charge", "_pages")

    def __init__(self, charge: Callable[[int], None]) -> None:
        self._pages: dict[int, bytes] = {}
        self._charge = charge

    def __len__(self) -> int:
        """How many pages are allocated."""
        return len(self._pages)

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``; what was never written is zeros."""
        if size <= 0:
            return b""
        pages = self._pages
        first, skip = offset >> _SHIFT, offset & _MASK
        last = (offset + size - 1) >> _SHIFT
        if first == last:
            page = pages.get(first, _RESERVED)[skip : skip + size]
            return page if len(page) == size else page.ljust(size, b"\0")
        get = pages.get
        parts = []
        for index in range(first, last + 1):
            page = get(index, _ZEROS)
            parts.append(page if len(page) == PAGE_SIZE else page.ljust(PAGE_SIZE, b"\0"))
        whole = b"".join(parts)
        return whole if not skip and len(whole) == size else whole[skip : skip + size]

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Store ``data`` at ``offset``. Raises ``ENOSPC`` from ``charge`` before anything has changed."""
        size = len(data)
        if not size:
            return
        pages = self._pages
        first, last = offset >> _SHIFT, (offset + size - 1) >> _SHIFT
        fresh = sum(index not in pages for index in range(first, last + 1))
        if fresh:
            self._charge(fresh)
        at = 0
        skip = offset & _MASK
        for index in range(first, last + 1):
            piece = bytes(data[at : at + PAGE_SIZE - skip])
            at += len(piece)
            if len(piece) < PAGE_SIZE:
                old = pages.get(index, _RESERVED)
                if skip or len(old) > len(piece):
                    piece = old[:skip].ljust(skip, b"\0") + piece + old[skip + len(piece) :]
            pages[index] = piece
            skip = 0

    def reserve(self, offset: int, length: int) -> None:
        """Allocate what is missing in a range, as zeros. Raises ``ENOSPC`` before anything has changed."""
        pages = self._pages
        first, last = offset >> _SHIFT, (offset + length - 1) >> _SHIFT
        # Charge before the pages are listed: a range that can never fit must not take memory first.
        count = last - first + 1
        if count <= len(pages) * 2 or count < 1024:
            missing = [index for index in range(first, last + 1) if index not in pages]
            self._charge(len(missing))
        else:
            present = sum(first <= index <= last for index in pages)
            self._charge(count - present)
            missing = [index for index in range(first, last + 1) if index not in pages]
        pages.update(dict.fromkeys(missing, _RESERVED))

    def punch(self, offset: int, length: int) -> None:
        """Free the whole pages of a range and zero the parts of pages at its ends."""
        if length <= 0:
            return
        end = offset + length
        first_whole, last_whole = (offset + _MASK) >> _SHIFT, end >> _SHIFT
        if first_whole > last_whole:  # within one page
            self._zero(offset >> _SHIFT, offset & _MASK, end & _MASK)
            return
        if offset & _MASK:
            self._zero(offset >> _SHIFT, offset & _MASK, PAGE_SIZE)
        if end & _MASK:
            self._zero(last_whole, 0, end & _MASK)
        self._drop(first_whole, last_whole)

    def truncate(self, size: int) -> None:
        """Forget everything from ``size`` on."""
        if size & _MASK:
            page = self._pages.get(size >> _SHIFT)
            if page is not None and len(page) > size & _MASK:
                self._pages[size >> _SHIFT] = page[: size & _MASK]
        self._drop((size + _MASK) >> _SHIFT, None)

    def zero(self, offset: int, length: int) -> None:
        """Make a range read as zeros and stay allocated (``FALLOC_FL_ZERO_RANGE``)."""
        self.reserve(offset, length)
        end = offset + length
        for index in range(offset >> _SHIFT, ((end - 1) >> _SHIFT) + 1):
            start = max(offset - (index << _SHIFT), 0)
            stop = min(end - (index << _SHIFT), PAGE_SIZE)
            if start == 0 and stop == PAGE_SIZE:
                self._pages[index] = _RESERVED
            else:
                self._zero(index, start, stop)

    def seek(self, offset: int, size: int, whence: int) -> int:
        """Answer ``SEEK_DATA`` or ``SEEK_HOLE`` in a file of ``size`` bytes. Raises ``ENXIO``, as ``lseek(2)`` says."""
        if not 0 <= offset < size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        pages, index = self._pages, offset >> _SHIFT
        if whence == os.SEEK_HOLE:
            while pages.get(index):
                index += 1
            return min(max(index << _SHIFT, offset), size)
        if not pages.get(index):
            later = [key for key, page in pages.items() if key > index and page]
            index = min(later, default=size)
        if index << _SHIFT >= size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return max(index << _SHIFT, offset)

    def clear(self) -> None:
        """Free everything."""
        self._drop(0, None)

    def assert_invariants(self) -> None:
        """Raise :class:`AssertionError` if the class invariants do not hold."""
        for index, page in self._pages.items():
            assert index >= 0, index
            assert len(page) <= PAGE_SIZE, (index, len(page))

    def _zero(self, index: int, start: int, stop: int) -> None:
        page = self._pages.get(index)
        if page and len(page) > start:
            self._pages[index] = page[:start] + bytes(min(stop, len(page)) - start) + page[stop:]

    def _drop(self, first: int, stop: int | None) -> None:
        pages = self._pages
        if not pages:
            return
        if stop is not None and stop - first < len(pages):
            doomed = [index for index in range(first, stop) if index in pages]
        else:
            doomed = [index for index in pages if index >= first and (stop is None or index < stop)]
        for index in doomed:
            del pages[index]
        if doomed:
            self._charge(-len(doomed))

# SPDX-License-Identifier: Apache-2.0
"""`Pages`: the bytes of a sparse file, kept page by page.

A page that was never written does not exist and reads as zeros, so a file of a billion bytes with nothing in it costs
one empty dictionary. A page is an immutable ``bytes`` object of at most `PAGE_SIZE` bytes; what it lacks at its end is
zeros, so a small file takes its own size. What ``fallocate`` reserved is kept as ranges, whatever their length: it counts
as allocated and is, as in ext4's unwritten extents, a hole to ``SEEK_DATA``. Nothing here takes longer than the pages that
exist and are concerned.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from instar.fs.memfs._ranges import Ranges
from instar.fs.memfs._tables import tighten

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PAGE_SIZE", "Pages"]

PAGE_SIZE: Final = 4096
_SHIFT: Final = 12
_MASK: Final = PAGE_SIZE - 1
_ZEROS: Final = bytes(PAGE_SIZE)
_NOTHING: Final = b""
_NEAR: Final = 4096  # pages


class Pages:
    """The content of one file, without its size: reads past the end are the caller's to cut.

    ``charge`` is called with the number of pages that an operation is about to add (negative: has freed); it raises
    ``ENOSPC`` before anything has changed.

    Invariants: every key is non-negative; every page is at most `PAGE_SIZE` bytes; ``_allocated`` is the number of
    different pages that are in ``_pages``, in ``_reserved``, or in both.
    """

    __slots__ = ("_allocated", "_charge", "_pages", "_reserved")

    def __init__(self, charge: Callable[[int], None]) -> None:
        self._pages: dict[int, bytes] = {}
        self._reserved: Ranges | None = None
        self._allocated = 0
        self._charge = charge

    def __len__(self) -> int:
        """How many pages are allocated."""
        return self._allocated

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes from ``offset``; what was never written is zeros."""
        if size <= 0:
            return b""
        pages = self._pages
        first, skip = offset >> _SHIFT, offset & _MASK
        last = (offset + size - 1) >> _SHIFT
        if first == last:
            page = pages.get(first, _NOTHING)[skip : skip + size]
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
        reserved = self._reserved
        if reserved is None:
            fresh = sum(index not in pages for index in range(first, last + 1))
        else:
            fresh = sum(index not in pages and index not in reserved for index in range(first, last + 1))
        if fresh:
            self._charge(fresh)
            self._allocated += fresh
        at = 0
        skip = offset & _MASK
        for index in range(first, last + 1):
            piece = bytes(data[at : at + PAGE_SIZE - skip])
            at += len(piece)
            if len(piece) < PAGE_SIZE:
                old = pages.get(index, _NOTHING)
                if skip or len(old) > len(piece):
                    piece = old[:skip].ljust(skip, b"\0") + piece + old[skip + len(piece) :]
            pages[index] = piece
            skip = 0

    def reserve(self, offset: int, length: int) -> None:
        """Allocate what is missing in a range, as zeros. Raises ``ENOSPC`` before anything has changed."""
        first, stop = offset >> _SHIFT, (offset + length + _MASK) >> _SHIFT
        reserved = Ranges() if self._reserved is None else self._reserved
        fresh = stop - first - reserved.count(first, stop)
        fresh -= sum(index not in reserved for index in self._present(first, stop))
        self._charge(fresh)
        self._allocated += fresh
        reserved.add(first, stop)
        self._reserved = reserved

    def punch(self, offset: int, length: int) -> None:
        """Free the whole pages of a range and zero the parts of pages at its ends."""
        first, stop = self._zero_ends(offset, length)
        self._drop(first, stop)

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
        first, stop = self._zero_ends(offset, length)
        for index in self._present(first, stop):
            del self._pages[index]  # and it stays allocated, because it is reserved
        tighten(self._pages)

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
            index = self._next_data(index, size)
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

        if self._reserved is not None:
            self._reserved.assert_invariants()
        reserved = self._reserved or Ranges()
        only_here = sum(index not in reserved for index in self._pages)
        assert self._allocated == reserved.count(0, None) + only_here

    def _present(self, first: int, stop: int | None) -> list[int]:
        """The pages of a range that hold something, in no order that counts."""
        pages = self._pages
        if stop is not None and stop - first < len(pages):
            return [index for index in range(first, stop) if index in pages]
        return [index for index in pages if index >= first and (stop is None or index < stop)]

    def _next_data(self, index: int, size: int) -> int:
        """The next page from ``index`` on that holds something, or ``size``, which is beyond every page."""
        pages = self._pages
        near = index + min(len(pages), _NEAR)  # most holes are short, and programs walk from hole to hole
        for here in range(index, near):
            if here in pages:
                return here
        return min((key for key in pages if key >= near), default=size)

    def _zero_ends(self, offset: int, length: int) -> tuple[int, int]:
        """Zero the parts of pages at the ends of a range, and return the range of whole pages between them."""
        end = offset + length
        first, stop = (offset + _MASK) >> _SHIFT, end >> _SHIFT
        if length <= 0:
            return first, first
        if first > stop:  # within one page
            self._zero(stop, offset & _MASK, end & _MASK)
            return first, first
        if offset & _MASK:
            self._zero(first - 1, offset & _MASK, PAGE_SIZE)
        if end & _MASK:
            self._zero(stop, 0, end & _MASK)
        return first, stop

    def _zero(self, index: int, start: int, stop: int) -> None:
        page = self._pages.get(index)
        if page and len(page) > start:
            self._pages[index] = page[:start] + bytes(min(stop, len(page)) - start) + page[stop:]

    def _drop(self, first: int, stop: int | None) -> None:
        if not self._allocated:
            return
        pages, reserved = self._pages, self._reserved
        doomed = self._present(first, stop)
        freed = len(doomed)
        if reserved is not None:
            freed = reserved.count(first, stop) + sum(index not in reserved for index in doomed)
            reserved.remove(first, stop)
            if not reserved:
                self._reserved = None
        if len(doomed) == len(pages):
            pages.clear()
        else:
            for index in doomed:
                del pages[index]
            tighten(pages)
        if freed:
            self._allocated -= freed
            self._charge(-freed)

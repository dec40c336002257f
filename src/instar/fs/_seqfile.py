# SPDX-License-Identifier: Apache-2.0
"""`SeqFile`: a virtual file made from an iterator of printable records.

It is to Python what ``seq_file`` is to the kernel (``Documentation/filesystems/seq_file.rst``, ``fs/seq_file.c``) and
what an iterator of printable items is to a Rust module: the author writes a loop over records, and never sees an
offset, a buffer or a short read.

How it works: a :class:`SeqFile` says where the records come from; each open makes a :class:`SeqReader` with an
iteration of its own. The reader holds the text that was produced and not yet read, which is one request and one record
at most, and the place in the file where that text begins. A read that goes on from there takes from it and
asks the iterator for more. A read further on produces the text in between and drops it. A read further back starts the
iteration again, as ``seq_read`` does when the position is not the one that it left.

What is not known until it is produced has no size: such a file says that it has 0 bytes, as those in ``/proc`` do,
and is opened with ``direct_io``, so that the kernel reads on until it gets nothing.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeAlias

from instar.fs._filesystem import MaybeAwaitable

__all__ = ["RecordSource", "Records", "SeqFile", "SeqReader"]

Records: TypeAlias = Iterable[object] | AsyncIterable[object]
#: Where records come from: a function that is called for each iteration, or something that can be iterated anew.
RecordSource: TypeAlias = Callable[[], Records | Awaitable[Records]] | Records

#: An ``async`` iterator that has to wait: how long (seconds) a read that has something in hand hopes for more.
_LINGER = 0.01
#: How many bytes are produced at a time on the way to a place further on.
_SKIP = 1 << 16


class SeqFile:
    r"""A file whose text is one record after another.

    ``records`` is a function without arguments, called for each iteration; a generator function is the usual one. It
    may return any iterable or ``async`` iterable, and it may be ``async def``. A list, a ``range`` or another object
    that can be iterated again and again may stand for it; an iterator may not, since it has only one life.

    ``format`` turns a record into text: a function, or a string for :meth:`str.format`. Without it a ``str``
    stands for itself, encoded in UTF-8, ``bytes`` too, and anything else is what :class:`str` makes of it. A record
    for which the function returns ``None`` is left out (``SEQ_SKIP``). ``end`` follows each record; ``header`` is a
    first record that is not formatted.

    >>> reader = SeqFile(range(3), format="{:>4}", header="# n").open()
    >>> reader.read(0, 4096)
    b'# n\n   0\n   1\n   2\n'
    >>> reader.read(19, 4096)
    b''
    """

    __slots__ = ("_end", "_format", "_header", "_source")

    def __init__(
        self,
        records: RecordSource,
        *,
        format: str | Callable[[Any], object] | None = None,  # noqa: A002 - the word for it; any record may come
        header: object = None,
        end: str | bytes = "\n",
    ) -> None:
        """See the class.

        Raises:
            TypeError: ``records`` is neither a function nor something that can be iterated anew.
        """
        if callable(records):
            self._source: Callable[[], Records | Awaitable[Records]] = records
        elif not _is_collection(records):
            raise TypeError(
                f"SeqFile needs a function that returns an iterable, or a collection, not {type(records).__name__}: "
                "each open, and each seek back, begins a new iteration"
            )
        else:
            self._source = lambda: records
        self._format = format.format if isinstance(format, str) else format
        self._end = to_bytes(end)
        self._header = None if header is None else to_bytes(header) + self._end

    def open(self) -> SeqReader:
        """Begin an iteration. Nothing is called before the first read, and each reader has its own."""
        return SeqReader(self._source, self.text_of, self._header)

    def text_of(self, record: object) -> bytes | None:
        """The text of one record as it stands in the file, or ``None`` when it is left out."""
        if self._format is not None:
            record = self._format(record)
            if record is None:
                return None
        return to_bytes(record) + self._end


def _is_collection(value: object) -> bool:
    """Whether it can be iterated again and again; the letters of a text are no records."""
    if isinstance(value, (str, bytes, Iterator, AsyncIterator)):
        return False
    return isinstance(value, (Iterable, AsyncIterable))


class SeqReader:
    """One open of a :class:`SeqFile` (``struct seq_file``): an iteration and the text that waits to be read.

    Use one for each open file: keep it under the handle, pass :meth:`read` through, and :meth:`close` it in
    ``release``. What its methods return is the value, or an awaitable where the records are ``async``.

    * A read of a sync iteration is short only at the end, or where an error comes next. A read of an ``async`` one is
      also short where the iterator has to wait, so that ``cat`` shows a record when it comes; ``b""`` always means
      the end.
    * When the iterator or ``format`` raises, the text before it is read first. The read that comes to that place
      raises what was raised, and so does each later one there, until a seek back starts anew.
    * The end is the end until a seek back starts anew.
    * When a waiting reader is interrupted, the iteration goes on and loses nothing.
    """

    __slots__ = (
        "_anext", "_failure", "_fill", "_first", "_header", "_iterator", "_lock", "_news", "_next", "_opening", "_over",
        "_position", "_ready", "_size", "_source", "_text_of", "_traceback",
    )  # fmt: skip

    def __init__(
        self,
        source: Callable[[], Records | Awaitable[Records]],
        text_of: Callable[[object], bytes | None],
        header: bytes | None,
    ) -> None:
        """Made by :meth:`SeqFile.open`."""
        self._source = source
        self._text_of = text_of
        self._header = header
        # The place in the file of the first byte that waits, and the waiting text: whole records, of which the first
        # `_first` bytes were read before.
        self._position = 0
        self._ready: deque[bytes] = deque()
        self._first = 0
        self._size = 0
        # The iteration: one of _next and _anext is set when it has begun, and _over when no more text will come.
        self._iterator: object = None
        self._next: Iterator[object] | None = None
        self._anext: AsyncIterator[object] | None = None
        self._over = False
        self._failure: Exception | None = None
        self._traceback: TracebackType | None = None
        # What only an async iteration needs: reads that come side by side take turns, as under seq_file's mutex.
        self._lock: asyncio.Lock | None = None
        self._opening: Awaitable[Records] | None = None
        self._news: asyncio.Event | None = None
        self._fill: asyncio.Task[None] | None = None

    # -------------------------------------------------------------- what is called

    def read(self, offset: int, size: int) -> MaybeAwaitable[bytes]:
        """Return up to ``size`` bytes from ``offset``; ``b""`` is the end.

        Raises what the iterator raised, once all that it produced before has been read.
        """
        if self._lock is None:
            if offset < self._position:
                self._stop()
            self._begin()
            if self._opening is None and self._anext is None:
                return self._read_sync(offset, size)
            self._lock = asyncio.Lock()
        return self._read_async(offset, size, self._lock)

    def lseek(self, offset: int, whence: int) -> int:
        """Return the place that ``lseek(2)`` comes to: any offset with ``SEEK_SET``.

        Raises ``EINVAL`` for a negative offset and for ``SEEK_END``, ``SEEK_DATA`` and ``SEEK_HOLE``, as ``seq_lseek``
        does: a file that is produced as it is read has no known end, and a program that hears of no data at all
        (``ENXIO``) would copy nothing. ``SEEK_CUR`` needs a position, which the kernel has and a reader has not.
        """
        if whence != os.SEEK_SET or offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return offset

    def close(self) -> MaybeAwaitable[None]:
        """End the iteration: a generator's ``finally`` blocks run. Raises what they raise."""
        if self._lock is not None:
            return self._stop_async()
        self._stop()
        return None

    # ----------------------------------------------------------- an iteration begins and ends

    def _begin(self) -> None:
        """Call the source, unless that was done. What it wants awaited first is left in ``_opening``."""
        if self._iterator is not None or self._opening is not None or self._over:
            return
        with self._keeping_errors():
            records = self._source()
            if inspect.isawaitable(records):
                self._opening = records
            else:
                self._iterate(records)

    def _iterate(self, records: Records) -> None:
        if isinstance(records, AsyncIterable):
            self._iterator = self._anext = aiter(records)
        else:
            self._iterator = self._next = iter(records)
        self._push(self._header)

    @contextmanager
    def _keeping_errors(self, task: asyncio.Task[None] | None = None) -> Iterator[None]:
        """Keep what the author's code raises for the read that comes to this place."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again by the read that comes to this place
            if self._fill is task:  # else this iteration is not in use any more
                self._failure = error
                self._traceback = error.__traceback__
                self._over = True

    def _forget(self) -> object:
        """Be as new, and return the iterator that was in use."""
        iterator = self._iterator
        self._iterator = self._next = self._anext = self._opening = self._failure = self._traceback = None
        self._over = False
        self._position = self._first = self._size = 0
        self._ready.clear()
        return iterator

    def _stop(self) -> None:
        close = getattr(self._forget(), "close", None)
        if close is not None:
            close()

    async def _stop_async(self) -> None:
        # All that this reader knows is put away before the first await: whatever ends that, the next read starts anew.
        fill, self._fill = self._fill, None
        opening = self._opening
        iterator = self._forget()
        if fill is not None:
            fill.cancel()
            await asyncio.wait({fill})
        if inspect.iscoroutine(opening):
            opening.close()
        close = getattr(iterator, "aclose", None) or getattr(iterator, "close", None)
        if close is not None:
            waiting = close()
            if inspect.isawaitable(waiting):
                await waiting

    # --------------------------------------------------------------- the text that waits

    def _read_sync(self, offset: int, size: int) -> bytes:
        self._drop(offset)
        if self._next is not None and not self._over and self._position + self._size < offset + size:
            with self._keeping_errors():
                for record in self._next:
                    self._push(self._text_of(record))
                    self._drop(offset)
                    if self._position + self._size >= offset + size:
                        break
                else:
                    self._over = True
        return self._take(offset, size)

    def _push(self, text: bytes | None) -> None:
        if text:
            self._ready.append(text)
            self._size += len(text)

    def _drop(self, offset: int) -> None:
        """Let go of the text before ``offset``."""
        while self._ready and self._position < offset:
            self._consume(min(offset - self._position, len(self._ready[0]) - self._first))

    def _consume(self, count: int) -> None:
        """Move on by ``count`` bytes within the first record that waits."""
        self._position += count
        self._size -= count
        self._first += count
        if self._first == len(self._ready[0]):
            self._ready.popleft()
            self._first = 0

    def _take(self, offset: int, size: int) -> bytes:
        """Return what waits at ``offset``, up to ``size`` bytes; raise where nothing comes but an error."""
        parts: list[bytes] = []
        while size > 0 and self._ready and self._position == offset:
            part = self._ready[0][self._first : self._first + size]
            parts.append(part)
            size -= len(part)
            offset += len(part)
            self._consume(len(part))
        if not parts and self._failure is not None and size > 0:
            # The iterator's own traceback, which would grow with each read that raises the same error.
            raise self._failure.with_traceback(self._traceback)
        return b"".join(parts)

    # ------------------------------------------------------------------ async iterations

    async def _read_async(self, offset: int, size: int, turn: asyncio.Lock) -> bytes:
        async with turn:
            if offset < self._position:
                await self._stop_async()
            self._begin()
            if self._opening is not None:
                opening, self._opening = self._opening, None
                with self._keeping_errors():
                    self._iterate(await opening)
            if self._anext is None:
                return self._read_sync(offset, size)
            await self._wait_for_text(offset, size)
            return self._take(offset, size)

    async def _wait_for_text(self, offset: int, size: int) -> None:
        """Wait until ``size`` bytes are there, or the end, or some bytes and an iterator that has to wait.

        The iterator runs in a task of its own: when the reader is cancelled, it is not, for a generator that has been
        cancelled is over. A task that has been woken runs until it has to wait, and only then does the reader go on.
        """
        if self._news is None:
            self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            self._drop(offset)
            here = self._size if self._position == offset else 0
            if self._over or here >= size:
                return
            if self._fill is None:
                self._fill = loop.create_task(self._fill_up(size if self._position == offset else _SKIP))
            if here and deadline is None:
                deadline = loop.time() + _LINGER
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _fill_up(self, size: int) -> None:
        """Produce until ``size`` bytes wait, or the end."""
        me = asyncio.current_task()
        assert self._anext is not None
        assert self._news is not None
        try:
            with self._keeping_errors(me):
                async for record in self._anext:
                    if self._fill is not me:
                        return
                    self._push(self._text_of(record))
                    self._news.set()
                    if self._size >= size:
                        return
                self._over = True
        except asyncio.CancelledError:
            if self._fill is me:  # not by _stop_async: the iterator is lost, but the file does not end here
                with self._keeping_errors(me):
                    raise OSError(errno.EIO, "the iterator was cancelled") from None
            raise
        finally:
            if self._fill is me:
                self._fill = None
            self._news.set()


def to_bytes(value: object) -> bytes:
    """The text of a record: ``bytes`` as they are, anything else as ``str``, in UTF-8 (surrogate escapes are bytes)."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return str(value).encode("utf-8", "surrogateescape")

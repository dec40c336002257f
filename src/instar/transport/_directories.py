# SPDX-License-Identifier: Apache-2.0
"""Listings of open directories: what joins the iterators of a file system and the kernel's READDIR requests.

The kernel asks for as many bytes of entries as its buffer holds, from a cookie on; a file system yields entries until
it has no more. A `DirectoryStream` keeps the iterator between two requests, holds back the entry that did not fit, and
starts a new iterator when the reader has moved (``seekdir``, ``rewinddir``) or switches between plain listings
and those with attributes.

Cookies on the wire: 0 is the start, 1 and 2 stand behind ``.`` and ``..``, which every directory has, and
the file system's own cookies follow, moved up by two.
"""

from __future__ import annotations

import asyncio
import itertools
import stat
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from instar.fs import Attr, Context, DirEntry, Entry
from instar.transport._checks import check_attr
from instar.wire.fuse import DirentBuffer

if TYPE_CHECKING:
    from instar.transport._session import Session

__all__ = ["DirectoryStream", "Listing"]

_DOTS: Final = 2
_DOT_NAMES: Final = frozenset({".", ".."})
_COOKIE_MAX: Final = (1 << 63) - 1 - _DOTS
_NO_ATTR = Attr(0, 0)
_SURELY_SHORT: Final = 63  # characters: at most four bytes each
#: Names that one request leaves out because their lookup finds nothing. More are listed without attributes: an iterator
#: that goes on and on with such names would keep everybody waiting.
_GONE_MAX: Final = 4096


class Listing:
    """A reply to READDIR or READDIRPLUS in the making, and the nodes that it makes known to the kernel."""

    __slots__ = ("buffer", "known")

    def __init__(self, size: int) -> None:
        self.buffer = DirentBuffer(size)
        self.known: list[int] = []


class DirectoryStream:
    """One open directory. ``fh`` is the handle that the file system gave it."""

    __slots__ = ("_at", "_error", "_held", "_iterator", "_plus", "fh")

    def __init__(self, fh: int) -> None:
        self.fh = fh
        self._iterator: Iterator[DirEntry] | AsyncIterator[DirEntry] | None = None
        self._held: DirEntry | None = None
        self._error: BaseException | None = None
        self._at = -1  # the wire cookie at which the iterator stands
        self._plus = False

    def fill(self, session: Session, ctx: Context, ino: int, offset: int, size: int, *, plus: bool) -> object:
        """Return a `Listing` of up to ``size`` bytes from the wire cookie ``offset``, or an awaitable of one."""
        listing = Listing(size)
        if offset < _DOTS and not self._dots(session, ino, offset, listing.buffer, plus=plus):
            return listing
        start = max(offset, _DOTS)
        if self._iterator is None or start != self._at or (plus != self._plus and session.own_readdirplus):
            self._restart(session, ctx, ino, start, plus=plus)
        iterator = self._iterator
        if isinstance(iterator, AsyncIterator) or (
            plus and session.async_lookup and not session.own_readdirplus
        ):
            return self._fill_async(session, ctx, ino, listing, plus=plus)
        assert iterator is not None
        try:
            self._raise_kept()
            if plus:
                self._fill_plus(session, ctx, ino, listing, iterator)
            else:
                self._fill_plain(session, listing, iterator)
        except BaseException as error:  # noqa: BLE001 - kept for the request that comes to where it was raised
            self._fail(listing, error)
        return listing

    def _fill_plain(self, session: Session, listing: Listing, iterator: Iterator[DirEntry]) -> None:
        """Pack names until no more fit."""
        if self._held is not None:
            iterator = itertools.chain((self._held,), iterator)
            self._held = None
        buffer = listing.buffer
        buffer.cookie = start = self._at - _DOTS
        try:
            self._held = buffer.extend(iterator, _DOTS, _check_line)
        finally:
            if buffer.cookie != start:
                self._at = buffer.cookie + _DOTS
            if len(buffer.longest) > _SURELY_SHORT:
                session.check_listed(buffer.longest)

    def _fill_plus(
        self, session: Session, ctx: Context, ino: int, listing: Listing, iterator: Iterator[DirEntry]
    ) -> None:
        """Pack names with attributes until no more fit, looking up those that come without."""
        lookup = None if session.own_readdirplus else session.fs.lookup
        if self._held is not None:
            iterator = itertools.chain((self._held,), iterator)
            self._held = None
        gone = 0
        for line in iterator:
            wire_cookie = _wire_cookie(line, self._at)
            if lookup is not None and line.entry is None:
                _check_name(line.name)
                line.entry = _lookup_sync(lookup, ctx, ino, line.name)
                if line.entry is None:
                    gone += 1
                    if gone <= _GONE_MAX:
                        continue
            if not self._pack(session, listing, line, wire_cookie, plus=True):
                return

    async def _fill_async(
        self, session: Session, ctx: Context, ino: int, listing: Listing, *, plus: bool
    ) -> Listing:
        iterator = self._iterator
        assert iterator is not None
        gone = 0
        try:
            self._raise_kept()
            while True:
                line = self._held
                self._held = None
                if line is None:
                    try:
                        line = (
                            await anext(iterator) if isinstance(iterator, AsyncIterator) else next(iterator)
                        )
                    except (StopIteration, StopAsyncIteration):
                        break
                wire_cookie = _wire_cookie(line, self._at)
                if plus and not session.own_readdirplus and line.entry is None:
                    _check_name(line.name)
                    try:
                        found = session.fs.lookup(ctx, ino, line.name)
                        line.entry = found if isinstance(found, Entry) else await found
                    except FileNotFoundError:
                        gone += 1
                        if gone <= _GONE_MAX:
                            continue
                if not self._pack(session, listing, line, wire_cookie, plus=plus):
                    break
        except asyncio.CancelledError:
            # Nothing of this listing reaches the caller, and the iterator may have ended with the cancellation.
            self._iterator = self._held = None
            for known in listing.known:
                session.forget(known, 1)
            raise
        except BaseException as error:  # noqa: BLE001 - kept for the request that comes to where it was raised
            self._fail(listing, error)
        return listing

    def drop_held(self, session: Session) -> None:
        """Let the entry go that did not fit and is not wanted any more, and the node that it would have made known."""
        held, self._held = self._held, None
        if held is not None and held.entry is not None:
            session.never_told(held.entry.ino)

    def _restart(self, session: Session, ctx: Context, ino: int, start: int, *, plus: bool) -> None:
        self.drop_held(session)
        self._error = None
        self._plus = plus
        self._at = start
        self._iterator = None  # what follows may raise
        own = session.fs.readdirplus if plus and session.own_readdirplus else session.fs.readdir
        lines: object = own(ctx, ino, self.fh, start - _DOTS)
        if hasattr(lines, "__aiter__"):
            self._iterator = aiter(lines)
        elif isinstance(lines, Iterable):
            self._iterator = iter(lines)
        elif isinstance(lines, Awaitable):
            self._iterator = aiter(_awaited(lines))
        else:
            raise TypeError(f"readdir returned {lines!r}, which is not an iterable of DirEntry")

    def _pack(
        self, session: Session, listing: Listing, line: DirEntry, wire_cookie: int, *, plus: bool
    ) -> bool:
        """Add one entry; hold it back and return False when it does not fit."""
        buffer = listing.buffer
        if plus:
            entry = line.entry
            if entry is None:
                fits = buffer.add_plus(
                    0, 0, 0.0, 0.0, _NO_ATTR, line.ino, wire_cookie, line.mode >> 12, line.name
                )
            else:
                check_attr(entry.attr)
                entry_timeout, attr_timeout = session.timeouts(entry)
                fits = buffer.add_plus(
                    entry.ino, entry.generation, entry_timeout, attr_timeout, entry.attr,
                    line.ino, wire_cookie, line.mode >> 12, line.name,
                )  # fmt: skip
                if fits:
                    self._at = wire_cookie
                    session.remember(entry.ino)
                    listing.known.append(entry.ino)
        else:
            fits = buffer.add(line.ino, wire_cookie, line.mode >> 12, line.name)
        if fits:
            self._at = wire_cookie
            if len(line.name) > _SURELY_SHORT:
                session.check_listed(line.name)
        else:
            self._held = line
        return fits

    def _fail(self, listing: Listing, error: BaseException) -> None:
        """What was listed before an error is delivered; the error is the answer to the next request."""
        if not len(listing.buffer):
            self._iterator = self._held = None
            raise error
        self._error = error

    def _raise_kept(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    @staticmethod
    def _dots(session: Session, ino: int, offset: int, buffer: DirentBuffer, *, plus: bool) -> bool:
        """Add ``.`` and ``..`` from ``offset`` on; False when they did not fit. The kernel counts no lookup for them."""
        kind = stat.S_IFDIR >> 12
        own, above = session.fs.dots(ino)
        for cookie, name, number in ((1, ".", own), (2, "..", above)):
            if offset >= cookie:
                continue
            if plus:
                fits = buffer.add_plus(0, 0, 0.0, 0.0, _NO_ATTR, number, cookie, kind, name)
            else:
                fits = buffer.add(number, cookie, kind, name)
            if not fits:
                return False
        return True


async def _awaited(lines: Awaitable[Any]) -> AsyncIterator[DirEntry]:
    """What an ``async def`` readdir without a ``yield`` returns, as an iterator."""
    found = await lines
    if hasattr(found, "__aiter__"):
        async for line in found:
            yield line
    else:
        for line in found:
            yield line


def _wire_cookie(line: DirEntry, at: int) -> int:
    """The cookie of a line as the kernel gets it, where the line is one that may follow the wire cookie ``at``."""
    _check_line(line, at - _DOTS)
    return line.cookie + _DOTS


def _check_line(line: DirEntry, last: int) -> None:
    """Raise what is wrong with a line that follows one with the cookie ``last``."""
    if not isinstance(line, DirEntry):
        raise TypeError(f"readdir gave {line!r}, which is not a DirEntry")
    cookie = line.cookie
    if not 0 < cookie < _COOKIE_MAX:
        raise ValueError(f"readdir gave {line.name!r} the cookie {cookie}; it must be from 1 to 2**63 - 4")
    if cookie == last:
        raise ValueError(
            f"readdir gave {line.name!r} the cookie {cookie}, which is that of the entry before: each entry has its "
            f"own, and a listing that is resumed with one goes on behind it"
        )
    if line.name in _DOT_NAMES:
        raise ValueError(f"readdir gave {line.name!r}: leave it out, every directory gets it by itself")


def _check_name(name: str) -> None:
    """Raise :class:`ValueError` for what is no name, before it is looked up."""
    if not name or "/" in name or "\0" in name:
        raise ValueError(f"readdir gave {name!r}, which is no name of a directory entry")


def _lookup_sync(lookup: object, ctx: Context, ino: int, name: str) -> Entry | None:
    """Look a listed name up; ``None`` when it has gone meanwhile."""
    assert callable(lookup)
    try:
        entry = lookup(ctx, ino, name)
    except FileNotFoundError:
        return None
    if not isinstance(entry, Entry):
        raise TypeError(f"lookup returned {entry!r}, which is not an Entry")
    return entry

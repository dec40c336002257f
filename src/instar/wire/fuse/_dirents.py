# SPDX-License-Identifier: Apache-2.0
"""Directory listings: what READDIR and READDIRPLUS are answered with.

A listing is a run of records, each a multiple of 8 bytes long, no longer in total than the kernel asked for. An entry
that does not fit is left for the next request; the cookie of the last one that did says where to go on.

Source: ``struct fuse_dirent`` and ``struct fuse_direntplus`` in ``linux/fuse.h``; ``fs/fuse/readdir.c`` of Linux 6.18 for what the
kernel refuses: one bad name there fails the whole listing, so names are checked here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from instar.wire.fuse._errors import EncodeError
from instar.wire.fuse._names import ENCODING, ERRORS
from instar.wire.fuse._replies import AttrLike
from instar.wire.fuse._reply_encode import encode_entry
from instar.wire.fuse._structs_out import FuseDirent, FuseEntryOut

__all__ = ["FUSE_NAME_MAX", "NAME_OFFSET", "NAME_OFFSET_PLUS", "DirentBuffer", "DirentLike"]

#: The longest name in bytes that kernels before 6.15 take in a listing.
FUSE_NAME_MAX: Final = 1024
#: Where the name starts in ``struct fuse_dirent``, ...
NAME_OFFSET: Final = FuseDirent.SIZE
#: ... and in ``struct fuse_direntplus``.
NAME_OFFSET_PLUS: Final = FuseEntryOut.SIZE + FuseDirent.SIZE

_COOKIE_MAX: Final = (1 << 63) - 1
_DOT: Final = ord(".")
_dirent = FuseDirent.CODEC
_ZEROS: Final = tuple(bytes(count) for count in range(8))


#: Packs a whole line, by the length of its name in units of eight bytes: one call for the head, the name and the padding.
_PACK: Final = tuple(
    struct.Struct(f"{FuseDirent.FORMAT}{units * 8}s").pack for units in range((FUSE_NAME_MAX + 7) // 8 + 1)
)


class DirentLike(Protocol):
    """A line of a listing, as :meth:`DirentBuffer.extend` takes it. ``mode`` needs only the file type."""

    @property
    def name(self) -> str: ...
    @property
    def ino(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def cookie(self) -> int: ...


L = TypeVar("L", bound=DirentLike)


class DirentBuffer:
    """A listing in the making, of at most ``size`` bytes.

    >>> listing = DirentBuffer(4096)
    >>> listing.add(ino=2, cookie=1, type=8, name="hello")
    True
    >>> len(listing)
    32
    """

    __slots__ = ("_data", "_room", "cookie", "longest")

    def __init__(self, size: int) -> None:
        self._data = bytearray()
        self._room = size
        #: What stands behind the last line that :meth:`extend` added, before the shift; 0 at first.
        self.cookie = 0
        #: The longest name in bytes that :meth:`extend` added, the first of several; empty at first.
        self.longest = ""

    def add(self, ino: int, cookie: int, type: int, name: str) -> bool:  # noqa: A002 - the header's name
        """Add a line: node, the cookie that stands *behind* it, the DT_* number of its type, and its name.

        Returns False, and changes nothing, where the line no longer fits.

        Raises:
            EncodeError: the name is none that the kernel takes, or a number is out of range.
        """
        try:
            raw = name.encode(ENCODING, ERRORS)
            length = len(raw)
            if (
                not 0 < length <= FUSE_NAME_MAX
                or "/" in name
                or "\0" in name
                or not 0 <= cookie <= _COOKIE_MAX
            ):
                raise _bad_line(name, cookie)
            pad = -length & 7
            room = self._room - NAME_OFFSET - length - pad
            if room < 0:
                return False
            self._data += _PACK[length + 7 >> 3](ino, cookie, length, type, raw)
        except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
            raise EncodeError(f"readdir: {(ino, cookie, type, name)!r} does not fit: {error}") from error
        self._room = room
        return True

    def extend(self, lines: Iterable[L], shift: int, check: Callable[[L, int], object]) -> L | None:
        """Add a line for each of ``lines`` until one does not fit: what large directories spend their time in.

        Cookies go out raised by ``shift``. ``check(line, cookie)`` is called for each line that is not plain, with the
        cookie of the line before it: a name that begins with a dot, a cookie that is not above the one before, anything that
        cannot be packed. It raises what is wrong with the line, if something is.

        Returns the line that did not fit, or None at the end of ``lines``. Whatever is raised, the lines before it stand.

        Raises:
            EncodeError: as :meth:`add`, where ``check`` let the line pass. What ``lines`` and ``check`` raise is passed on.
        """
        room, last = self._room, self.cookie
        limit = _COOKIE_MAX - shift
        records: list[bytes] = []
        append = records.append
        packers = _PACK
        longest, most = self.longest, len(self.longest.encode(ENCODING, ERRORS))
        try:
            for line in lines:
                try:
                    name = line.name
                    cookie = line.cookie
                    raw = name.encode(ENCODING, ERRORS)
                    if not last < cookie <= limit or raw[0] == _DOT or "/" in name or "\0" in name:
                        check(line, last)
                        if "/" in name or "\0" in name or not 0 <= cookie <= limit:
                            raise _bad_line(name, cookie if cookie < 0 else cookie + shift)
                    length = len(raw)
                    units = length + 7 >> 3
                    left = room - NAME_OFFSET - (units << 3)
                    if left < 0 and length <= FUSE_NAME_MAX:
                        return line
                    append(packers[units](line.ino, cookie + shift, length, line.mode >> 12, raw))
                except (struct.error, TypeError, AttributeError, UnicodeEncodeError, IndexError) as error:
                    check(line, last)
                    if isinstance(error, IndexError):
                        raise _bad_line(line.name, line.cookie + shift) from None
                    raise EncodeError(f"readdir: {line!r} does not fit: {error}") from error
                room = left
                last = cookie
                if length > most:
                    longest, most = name, length
            return None
        finally:
            self._data += b"".join(records)
            self._room, self.cookie, self.longest = room, last, longest

    def add_plus(
        self,
        nodeid: int,
        generation: int,
        entry_timeout: float,
        attr_timeout: float,
        attr: AttrLike,
        ino: int,
        cookie: int,
        type: int,  # noqa: A002 - the header's name
        name: str,
    ) -> bool:
        """Add a line of READDIRPLUS: what :func:`encode_entry` takes, then what :meth:`add` takes.

        With ``nodeid`` 0 the line has no attributes and counts as no lookup; every other one, except "." and "..",
        raises the kernel's count of lookups.

        Returns False, and changes nothing, where the line no longer fits.

        Raises:
            EncodeError: as :func:`encode_entry` and :meth:`add`.
        """
        try:
            raw = name.encode(ENCODING, ERRORS)
            length = len(raw)
            if (
                not 0 < length <= FUSE_NAME_MAX
                or "/" in name
                or "\0" in name
                or not 0 <= cookie <= _COOKIE_MAX
            ):
                raise _bad_line(name, cookie)
            pad = -length & 7
            room = self._room - NAME_OFFSET_PLUS - length - pad
            if room < 0:
                return False
            self._data += (
                encode_entry(nodeid, generation, entry_timeout, attr_timeout, attr)
                + _dirent.pack(ino, cookie, length, type)
                + raw
                + _ZEROS[pad]
            )
        except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
            raise EncodeError(f"readdirplus: {(ino, cookie, type, name)!r} does not fit: {error}") from error
        self._room = room
        return True

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    @property
    def room(self) -> int:
        """How many bytes are left."""
        return self._room

    @property
    def data(self) -> bytearray:
        """The listing so far, without a copy; add nothing while it is in use."""
        return self._data


def _bad_line(name: str, cookie: int) -> EncodeError:
    if not 0 <= cookie <= _COOKIE_MAX:
        return EncodeError(f"readdir: the cookie {cookie} of {name!r} is not from 0 to 2**63 - 1")
    return EncodeError(f"readdir: {name!r} is no name of a directory entry of 1 to {FUSE_NAME_MAX} bytes")

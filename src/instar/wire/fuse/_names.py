# SPDX-License-Identifier: Apache-2.0
"""Names and other NUL-terminated text in requests, and their checks.

The kernel never sends a name that is empty or holds a slash, and "." and ".." only in LOOKUP. Bytes that do are refused
here, so that no service joins such a name to a path. Text is in the encoding of the file system, as ``os.fsdecode`` has it, so that names can go
into ``os`` functions and come back unchanged.
"""

from __future__ import annotations

import sys

from instar.wire.fuse._errors import EncodeError, ProtocolError

__all__ = ["ENCODING", "ERRORS", "decode_name", "decode_text", "encode_name", "encode_text", "find_nul"]

ENCODING = sys.getfilesystemencoding()
ERRORS = sys.getfilesystemencodeerrors()

_DOTS = frozenset({".", ".."})


def decode_text(what: str, buf: memoryview, start: int, end: int) -> str:
    """The text that fills ``buf[start:end]`` with the NUL at its end.

    Raises:
        ProtocolError: there is no NUL at the end, or one before it.
    """
    if end <= start or buf[end - 1]:
        raise ProtocolError(f"{what}: a name does not end with a NUL")
    text = str(buf[start : end - 1], ENCODING, ERRORS)
    if "\0" in text:
        raise ProtocolError(f"{what}: bytes follow the NUL of the last name")
    return text


def decode_name(what: str, buf: memoryview, start: int, end: int) -> str:
    """As :func:`decode_text`, for the name of an entry that is made, moved or removed.

    Raises:
        ProtocolError: also for a name that is empty, "." or "..", or holds a slash.
    """
    name = decode_text(what, buf, start, end)
    if not name or "/" in name or name in _DOTS:
        raise ProtocolError(f"{what}: {name!r} is no name of a directory entry")
    return name


def find_nul(what: str, buf: memoryview, start: int, end: int) -> int:
    """Where the text that starts at ``start`` ends: the place after its NUL.

    Raises:
        ProtocolError: there is no NUL before ``end``.
    """
    place = bytes(buf[start:end]).find(0)
    if place < 0:
        raise ProtocolError(f"{what}: a name does not end with a NUL")
    return start + place + 1


def encode_text(what: str, text: str) -> bytes:
    """The bytes of ``text`` and a NUL.

    Raises:
        EncodeError: the text holds a NUL, or cannot be encoded.
    """
    try:
        raw = text.encode(ENCODING, ERRORS)
    except UnicodeEncodeError as error:
        raise EncodeError(f"{what}: {text!r} cannot be encoded as a name: {error.reason}") from error
    if "\0" in text:
        raise EncodeError(f"{what}: {text!r} holds a NUL")
    return raw + b"\0"


def encode_name(what: str, name: str) -> bytes:
    """As :func:`encode_text`, for the name of a directory entry.

    Raises:
        EncodeError: also for a name that is empty or holds a slash.
    """
    raw = encode_text(what, name)
    if len(raw) == 1 or "/" in name:
        raise EncodeError(f"{what}: {name!r} is no name of a directory entry")
    return raw

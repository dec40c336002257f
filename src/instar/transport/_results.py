# SPDX-License-Identifier: Apache-2.0
"""The second half of each operation: the body of a reply from what the method returned, and how to take it back.

A function for each kind of reply encodes a result, after a look at whether it is one; what makes no sense raises, and the session
answers ``EIO`` and says in the log what was expected; `abandon` lets go of what such a result holds. ``undo_*`` takes
back what a result established (a node that the kernel would have known, an open file) when the kernel no longer wants the reply.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from instar.fs import ROOT_INO, Context, Entry, Open
from instar.transport._checks import check_attr, check_entry
from instar.wire import fuse as wire
from instar.wire.fuse import OpenFlags

if TYPE_CHECKING:
    from instar.transport._session import Session

__all__ = [
    "abandon",
    "attr",
    "created",
    "data",
    "entry",
    "found",
    "made",
    "made_directory",
    "made_symlink",
    "nothing",
    "open_flags",
    "opened",
    "path",
    "statx",
    "undo_created",
    "undo_entry",
    "undo_open",
    "written",
    "xattr",
    "xattr_names",
]

# A message or a result: its type depends on the opcode, and the table of operations is what pairs them.
Message = Any
Result = Any

_DOTS: Final = frozenset({".", ".."})
_OPENING: Final = frozenset({"open", "opendir"})
_CREATING: Final = frozenset({"create", "tmpfile"})
_PATH_MAX: Final = 4096  # linux/limits.h


def nothing(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    if result is not None:
        raise TypeError(f"expected None, got {result!r}")
    return b""


def abandon(session: Session, name: str, ctx: Context, nodeid: int, message: Message, result: Result) -> None:
    """Let go of what the operation ``name`` gave and the encoder refused: its node is forgotten, its file released.

    As far as it can be told what they are; nothing of the result has reached the kernel or the session's tables.
    """
    if name in _OPENING:
        if isinstance(result, Open):
            close = session.fs.release if name == "open" else session.fs.releasedir
            session.background(close(ctx, nodeid, result.fh, message.flags))
        return
    file = None
    if name in _CREATING and isinstance(result, tuple) and len(result) == 2:
        result, file = result
    if not isinstance(result, Entry) or not isinstance(result.ino, int):
        return
    try:
        if isinstance(file, Open):
            session.background(session.fs.release(ctx, result.ino, file.fh, message.flags))
    finally:
        session.never_told(result.ino)


def entry(session: Session, nodeid: int, message: Message, result: Entry, kind: int | None = None) -> bytes:
    """A node under a name. Never the root: two names for one directory would be a loop in the kernel's tree."""
    if result.ino == ROOT_INO:
        raise ValueError(f"the root, node {ROOT_INO}, has no name: give each node a number of its own")
    return _entry(session, result, kind)


def _entry(session: Session, result: Entry, kind: int | None) -> bytes:
    check_entry(result, kind)
    ino = result.ino
    entry_timeout = result.entry_timeout
    attr_timeout = result.attr_timeout
    body = wire.encode_entry(
        ino,
        result.generation,
        session.entry_timeout if entry_timeout is None else entry_timeout,
        session.attr_timeout if attr_timeout is None else attr_timeout,
        result.attr,
    )
    session.remember(ino)
    return body


def found(session: Session, nodeid: int, message: Message, result: Entry) -> bytes:
    if message.name in _DOTS:
        return _entry(session, result, None)
    return entry(session, nodeid, message, result)


def made(session: Session, nodeid: int, message: Message, result: Entry) -> bytes:
    return entry(session, nodeid, message, result, stat.S_IFMT(message.mode) or stat.S_IFREG)


def made_directory(session: Session, nodeid: int, message: Message, result: Entry) -> bytes:
    return entry(session, nodeid, message, result, stat.S_IFDIR)


def made_symlink(session: Session, nodeid: int, message: Message, result: Entry) -> bytes:
    return entry(session, nodeid, message, result, stat.S_IFLNK)


def undo_entry(session: Session, ctx: Context, nodeid: int, message: Message, result: Entry) -> None:
    session.forget(result.ino, 1)


def attr(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    check_attr(result)
    return wire.encode_attr(session.attr_timeout, result)


def statx(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    check_attr(result)
    return wire.encode_statx(session.attr_timeout, result)


def open_flags(session: Session, opened: Open) -> int:
    flags = 0
    if opened.direct_io:
        flags |= OpenFlags.FOPEN_DIRECT_IO.value
    if opened.keep_cache:
        flags |= OpenFlags.FOPEN_KEEP_CACHE.value
    if opened.nonseekable:
        flags |= OpenFlags.FOPEN_NONSEEKABLE.value
    if opened.stream:
        flags |= OpenFlags.FOPEN_STREAM.value
    if opened.cache_dir:
        flags |= OpenFlags.FOPEN_CACHE_DIR.value
    if opened.parallel_direct_writes:
        flags |= OpenFlags.FOPEN_PARALLEL_DIRECT_WRITES.value
    if opened.noflush and not session.own_locks:  # a close drops locks, which FLUSH tells
        flags |= OpenFlags.FOPEN_NOFLUSH.value
    return flags | session.extra_open_flags


def opened(session: Session, nodeid: int, message: Message, result: Open) -> bytes:
    body = wire.encode_open(result.fh, open_flags(session, result), 0)
    session.opened(nodeid, message.flags)
    return body


def undo_open(session: Session, ctx: Context, nodeid: int, message: Message, result: Open) -> None:
    session.closed(nodeid, message.flags)
    session.background(session.fs.release(ctx, nodeid, result.fh, message.flags))


def created(session: Session, nodeid: int, message: Message, result: tuple[Entry, Open]) -> bytes:
    entry, file = result
    if entry.ino == ROOT_INO:
        raise ValueError(f"the root, node {ROOT_INO}, is no regular file: give each node a number of its own")
    check_entry(entry, stat.S_IFREG)
    entry_timeout, attr_timeout = session.timeouts(entry)
    body = wire.encode_create(
        entry.ino,
        entry.generation,
        entry_timeout,
        attr_timeout,
        entry.attr,
        file.fh,
        open_flags(session, file),
        0,
    )
    session.remember(entry.ino)
    session.opened(entry.ino, message.flags)
    return body


def undo_created(
    session: Session, ctx: Context, nodeid: int, message: Message, result: tuple[Entry, Open]
) -> None:
    session.closed(result[0].ino, message.flags)
    session.background(session.fs.release(ctx, result[0].ino, result[1].fh, message.flags))
    session.forget(result[0].ino, 1)


def data(session: Session, nodeid: int, message: Message, result: Result) -> bytes | memoryview | bytearray:
    if not isinstance(result, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes, got {type(result).__name__}")
    size = result.nbytes if isinstance(result, memoryview) else len(result)
    if size > message.size:
        raise ValueError(f"asked for {message.size} bytes, got {size}")
    if isinstance(result, memoryview) and not result.c_contiguous:
        return bytes(result)
    return result


def path(session: Session, nodeid: int, message: Message, result: str) -> bytes:
    target = wire.encode_readlink(result)
    if not 0 < len(target) < _PATH_MAX:
        raise ValueError(f"the target of a symbolic link has 1 to {_PATH_MAX - 1} bytes, got {len(target)}")
    return target


def xattr(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    """The value, or its size where the caller asked for that (``size`` 0), or ``ERANGE`` (``getxattr(2)``)."""
    if not isinstance(result, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes, got {type(result).__name__}")
    value = bytes(result) if not isinstance(result, bytes) else result
    if message.size == 0:
        return wire.encode_xattr_size(len(value))
    if len(value) > message.size:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return value


def xattr_names(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    if isinstance(result, str | bytes):
        raise TypeError(f"expected names, got one {type(result).__name__}")
    return xattr(session, nodeid, message, b"".join(_xattr_name(name) for name in result))


def _xattr_name(name: str) -> bytes:
    raw = os.fsencode(name)
    if not raw or 0 in raw:
        raise ValueError(f"{name!r} is no name of an extended attribute")
    return raw + b"\0"


def written(session: Session, nodeid: int, message: Message, result: int) -> bytes:
    if not 0 <= result <= len(message.data):
        raise ValueError(f"was given {len(message.data)} bytes, claims to have written {result}")
    return wire.encode_write(result)

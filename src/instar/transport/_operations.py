# SPDX-License-Identifier: Apache-2.0
"""The table that joins opcodes and methods: how each request becomes a call, and each result a reply.

An `Operation` has two halves. ``call`` takes the decoded message and calls the file system; what it returns is the
result or, where the method is ``async``, an awaitable of it. ``encode`` makes the body of the reply from the result.
Both are plain functions, so that synchronous and asynchronous methods share them.

A result of the wrong kind fails in ``encode``; the session logs it and the caller gets ``EIO``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from instar.fs import (
    Context,
    Entry,
    FallocateFlags,
    FileLock,
    IoctlFlags,
    LockType,
    Open,
    PollHandle,
    RenameFlags,
    SetAttr,
    WriteFlags,
    XattrFlags,
    now_ns,
)
from instar.transport._directories import DirectoryStream, Listing
from instar.wire import fuse as wire
from instar.wire.fuse import FattrFlags, Opcode, OpenFlags

if TYPE_CHECKING:
    from instar.transport._session import Session

__all__ = ["OPERATIONS", "Call", "Encode", "Operation"]

# A message or a result: its type depends on the opcode, and the table below is what pairs them.
Message = Any
Result = Any
Call = Callable[["Session", Context, int, Message], Result]
Encode = Callable[["Session", int, Message, Result], "bytes | memoryview | bytearray"]
Undo = Callable[["Session", Context, int, Message, Result], None]

_WRITE_FLAGS: Final = tuple(WriteFlags(value) for value in range(8))
_NO_CHANGE: Final = (FattrFlags.FATTR_FH | FattrFlags.FATTR_LOCKOWNER).value
_DOTS: Final = frozenset({".", ".."})
_SURELY_SHORT: Final = 63  # characters: at most four bytes each
_LOCK_TYPES: Final = {0: LockType.RDLCK, 1: LockType.WRLCK, 2: LockType.UNLCK}


class Operation(msgspec.Struct, frozen=True):
    """One row. ``undo`` takes back what a result established when the kernel no longer wants the reply."""

    name: str
    call: Call
    encode: Encode
    undo: Undo | None = None
    keeps_buffer: bool = False


def _fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


# ------------------------------------------------------------------- replies


def _nothing(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    if result is not None:
        raise TypeError(f"expected None, got {result!r}")
    return b""


def _entry(session: Session, nodeid: int, message: Message, result: Entry) -> bytes:
    ino = result.ino
    if ino <= 0:
        raise ValueError(f"node numbers are positive, got {result!r}")
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


def _undo_entry(session: Session, ctx: Context, nodeid: int, message: Message, result: Entry) -> None:
    session.forget(result.ino, 1)


def _attr(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    return wire.encode_attr(session.attr_timeout, result)


def _open_flags(session: Session, opened: Open) -> int:
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
    return flags | session.extra_open_flags


def _open(session: Session, nodeid: int, message: Message, result: Open) -> bytes:
    body = wire.encode_open(result.fh, _open_flags(session, result), 0)
    session.opened(nodeid, message.flags)
    return body


def _undo_open(session: Session, ctx: Context, nodeid: int, message: Message, result: Open) -> None:
    session.closed(nodeid, message.flags)
    session.background(session.fs.release(ctx, nodeid, result.fh, message.flags))


def _created(session: Session, nodeid: int, message: Message, result: tuple[Entry, Open]) -> bytes:
    entry, opened = result
    entry_timeout, attr_timeout = session.timeouts(entry)
    if entry.ino <= 0:
        raise ValueError(f"node numbers are positive, got {entry!r}")
    body = wire.encode_create(
        entry.ino,
        entry.generation,
        entry_timeout,
        attr_timeout,
        entry.attr,
        opened.fh,
        _open_flags(session, opened),
        0,
    )
    session.remember(entry.ino)
    session.opened(entry.ino, message.flags)
    return body


def _undo_created(
    session: Session, ctx: Context, nodeid: int, message: Message, result: tuple[Entry, Open]
) -> None:
    session.closed(result[0].ino, message.flags)
    session.background(session.fs.release(ctx, result[0].ino, result[1].fh, message.flags))
    session.forget(result[0].ino, 1)


def _data(session: Session, nodeid: int, message: Message, result: Result) -> bytes | memoryview | bytearray:
    if not isinstance(result, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes, got {type(result).__name__}")
    size = result.nbytes if isinstance(result, memoryview) else len(result)
    if size > message.size:
        raise ValueError(f"asked for {message.size} bytes, got {size}")
    return result


def _path(session: Session, nodeid: int, message: Message, result: str) -> bytes:
    return os.fsencode(result)


def _xattr(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    """The value, or its size where the caller asked for that (``size`` 0), or ``ERANGE`` (``getxattr(2)``)."""
    value = bytes(result) if not isinstance(result, bytes) else result
    if message.size == 0:
        return wire.encode_xattr_size(len(value))
    if len(value) > message.size:
        raise _fail(errno.ERANGE)
    return value


def _xattr_names(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    return _xattr(session, nodeid, message, b"".join(os.fsencode(name) + b"\0" for name in result))


def _written(session: Session, nodeid: int, message: Message, result: int) -> bytes:
    if not 0 <= result <= len(message.data):
        raise ValueError(f"was given {len(message.data)} bytes, claims to have written {result}")
    return wire.encode_write(result)


# --------------------------------------------------------------------- calls


def _then(result: Result, use: Callable[[Result], Result]) -> Result:
    """Apply ``use`` to a result, now or when it is there."""
    if not hasattr(result, "__await__"):
        return use(result)

    async def later() -> Result:
        value = use(await result)
        return await value if isinstance(value, Awaitable) else value

    return later()


def _creator(session: Session, ctx: Context, umask: int) -> Context:
    return Context(ctx.uid, ctx.gid, ctx.pid, umask, ctx.groups)


def _lookup(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """Look up. The kernel looks a name up before it makes it, so this is the one place that has to know its limit."""
    name: str = message.name
    if len(name) > _SURELY_SHORT and len(os.fsencode(name)) > session.fs.name_max:
        raise _fail(errno.ENAMETOOLONG)
    if name in _DOTS:  # the kernel reconnects a file handle (NFS, open_by_handle_at)
        ino = nodeid if name == "." else session.fs.parent(nodeid)
        return _then(session.fs.getattr(ctx, ino), lambda attr: Entry(ino, attr))
    return session.fs.lookup(ctx, nodeid, name)


def _getattr(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.getattr(ctx, nodeid, message.fh)


_SETATTR_PLAIN: Final = (
    (FattrFlags.FATTR_MODE.value, "mode"),
    (FattrFlags.FATTR_UID.value, "uid"),
    (FattrFlags.FATTR_GID.value, "gid"),
    (FattrFlags.FATTR_SIZE.value, "size"),
    (FattrFlags.FATTR_ATIME.value, "atime"),
    (FattrFlags.FATTR_MTIME.value, "mtime"),
    (FattrFlags.FATTR_CTIME.value, "ctime"),
)


def _setattr(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    valid = message.valid
    changes = SetAttr()
    for bit, field in _SETATTR_PLAIN:
        if valid & bit:
            setattr(changes, field, getattr(message, field))
    if valid & FattrFlags.FATTR_ATIME_NOW.value:
        changes.atime_now = True
        changes.atime = now_ns()
    if valid & FattrFlags.FATTR_MTIME_NOW.value:
        changes.mtime_now = True
        changes.mtime = now_ns() if changes.atime is None or not changes.atime_now else changes.atime
    # With HANDLE_KILLPRIV_V2 a request that names no change (chown(-1, -1), a write path of the kernel's own) is there
    # for the set-ID bits alone.
    names_nothing = not valid & ~_NO_CHANGE
    changes.kill_suidgid = bool(valid & FattrFlags.FATTR_KILL_SUIDGID.value) or names_nothing
    return session.fs.setattr(ctx, nodeid, changes, message.fh if valid & FattrFlags.FATTR_FH.value else None)


def _open_call(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """Open; where the kernel asks to clear the set-ID bits of a file that the open cuts, that is a change of its own."""
    fs = session.fs
    if not message.open_flags & wire.OpenInFlags.FUSE_OPEN_KILL_SUIDGID.value or not fs.implements("setattr"):
        return fs.open(ctx, nodeid, message.flags)

    def kill(opened: Open) -> Result:
        return _then(fs.setattr(ctx, nodeid, SetAttr(kill_suidgid=True), opened.fh), lambda _: opened)

    return _then(fs.open(ctx, nodeid, message.flags), kill)


def _create(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    fs = session.fs
    ctx = _creator(session, ctx, message.umask)
    if session.own_create:
        return fs.create(ctx, nodeid, message.name, message.mode, message.flags)

    def opened(entry: Entry) -> Result:
        return _then(fs.open(ctx, entry.ino, message.flags), lambda result: (entry, result))

    return _then(fs.mknod(ctx, nodeid, message.name, message.mode, 0), opened)


def _read(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.read(ctx, nodeid, message.fh, message.offset, message.size)


def _write(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.write(
        ctx, nodeid, message.fh, message.offset, message.data, _WRITE_FLAGS[message.write_flags & 7]
    )


def _rename(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.rename(
        ctx, nodeid, message.name, message.newdir, message.newname, RenameFlags(message.flags)
    )


def _opendir(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.opendir(ctx, nodeid, message.flags)


def _opened_dir(session: Session, nodeid: int, message: Message, result: Open) -> bytes:
    return wire.encode_open(session.add_directory(result.fh), _open_flags(session, result), 0)


def _undo_opendir(session: Session, ctx: Context, nodeid: int, message: Message, result: Open) -> None:
    session.drop_newest_directory()
    session.background(session.fs.releasedir(ctx, nodeid, result.fh, message.flags))


def _readdir(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.directory(message.fh).fill(session, ctx, nodeid, message.offset, message.size, plus=False)


def _readdirplus(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.directory(message.fh).fill(session, ctx, nodeid, message.offset, message.size, plus=True)


def _listing(session: Session, nodeid: int, message: Message, result: Listing) -> bytearray:
    return result.buffer.data


def _undo_readdirplus(session: Session, ctx: Context, nodeid: int, message: Message, result: Listing) -> None:
    for ino in result.known:
        session.forget(ino, 1)


def _releasedir(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    stream: DirectoryStream = session.drop_directory(message.fh)
    return session.fs.releasedir(ctx, nodeid, stream.fh, message.flags)


def _lock(message: Message) -> FileLock:
    kind = _LOCK_TYPES.get(message.type)
    if kind is None:
        raise _fail(errno.EINVAL)
    return FileLock(kind, message.start, message.end, message.pid)


def _getlk(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.getlk(ctx, nodeid, message.fh, message.owner, _lock(message))


def _locked(session: Session, nodeid: int, message: Message, result: FileLock | None) -> bytes:
    if result is None:
        result = FileLock(LockType.UNLCK, message.start, message.end, 0)
    return wire.encode_lk(result.start, result.end, result.type, result.pid)


def _setlk(session: Session, ctx: Context, nodeid: int, message: Message, *, wait: bool) -> Result:
    flock = bool(message.lk_flags & wire.LkFlags.FUSE_LK_FLOCK.value)
    return session.fs.setlk(ctx, nodeid, message.fh, message.owner, _lock(message), wait=wait, flock=flock)


def _listxattr(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """List names; those of ``trusted.`` are for the superuser alone, which the kernel leaves to the file system (xattr(7))."""
    result = session.fs.listxattr(ctx, nodeid)
    if ctx.uid == 0:
        return result
    return _then(result, lambda names: [name for name in names if not name.startswith("trusted.")])


def _unlock(session: Session, ctx: Context, nodeid: int, fh: int, owner: int, *, flock: bool) -> Result:
    """Drop what a closing owner holds. The kernel leaves that to the server, and the server's author should not have to."""
    return session.fs.setlk(ctx, nodeid, fh, owner, FileLock(LockType.UNLCK), wait=False, flock=flock)


def _flush(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    result = session.fs.flush(ctx, nodeid, message.fh, message.lock_owner)
    if not session.own_locks:
        return result
    return _then(result, lambda _: _unlock(session, ctx, nodeid, message.fh, message.lock_owner, flock=False))


def _release(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    session.closed(nodeid, message.flags)

    def release(_: object = None) -> Result:
        return session.fs.release(ctx, nodeid, message.fh, message.flags)

    if not session.own_locks or not message.release_flags & wire.ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK.value:
        return release()
    return _then(_unlock(session, ctx, nodeid, message.fh, message.lock_owner, flock=True), release)


def _lseek(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """Find data or a hole.

    The kernel asks without writing dirty pages of memory maps first, so the file system would call a hole what a program
    has filled, and a copying program would lose it. Where such a map may exist the pages are fetched first.
    """
    fs = session.fs
    if nodeid not in session.mappable or not fs.implements("lseek"):
        return fs.lseek(ctx, nodeid, message.fh, message.offset, message.whence)

    async def with_dirty_pages() -> int:
        await session.notifier.write_back(nodeid)
        result = fs.lseek(ctx, nodeid, message.fh, message.offset, message.whence)
        return result if isinstance(result, int) else await result

    return with_dirty_pages()


def _ioctl(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    flags = IoctlFlags(message.flags & 0x3F)
    if flags & IoctlFlags.UNRESTRICTED:  # only CUSE may ask for it
        raise _fail(errno.ENOTTY)
    return session.fs.ioctl(
        ctx, nodeid, message.fh, message.cmd, message.arg, bytes(message.data), message.out_size, flags
    )


def _ioctl_done(session: Session, nodeid: int, message: Message, result: Result) -> bytes:
    if len(result.data) > message.out_size:
        raise ValueError(
            f"ioctl {message.cmd:#x} has room for {message.out_size} bytes, got {len(result.data)}"
        )
    return wire.encode_ioctl(result.result, bytes(result.data))


def _poll(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    wants_wake = message.flags & wire.PollFlags.FUSE_POLL_SCHEDULE_NOTIFY.value
    handle = PollHandle(message.kh, session.notifier.poll) if wants_wake else None
    return session.fs.poll(ctx, nodeid, message.fh, message.events, handle)


def _copied(session: Session, nodeid: int, message: Message, result: int) -> bytes:
    if not 0 <= result <= message.length:
        raise ValueError(f"asked to copy {message.length} bytes, claims to have copied {result}")
    return wire.encode_write(result)


def _copied_64(session: Session, nodeid: int, message: Message, result: int) -> bytes:
    if not 0 <= result <= message.length:
        raise ValueError(f"asked to copy {message.length} bytes, claims to have copied {result}")
    return wire.encode_copy64(result)


def _copy(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.copy_file_range(
        ctx, nodeid, message.fh_in, message.off_in, message.nodeid_out, message.fh_out, message.off_out, message.length,
        message.flags,
    )  # fmt: skip


def _unserved(code: int) -> Call:
    def refuse(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
        raise _fail(code)

    return refuse


_OP = Opcode

#: Every opcode that gets a reply. INIT, DESTROY, FORGET, BATCH_FORGET, INTERRUPT and NOTIFY_REPLY are the session's own.
OPERATIONS: Final[dict[int, Operation]] = {
    _OP.FUSE_LOOKUP: Operation("lookup", _lookup, _entry, _undo_entry),
    _OP.FUSE_GETATTR: Operation("getattr", _getattr, _attr),
    _OP.FUSE_STATX: Operation("getattr", _getattr, lambda s, n, m, r: wire.encode_statx(s.attr_timeout, r)),
    _OP.FUSE_SETATTR: Operation("setattr", _setattr, _attr),
    _OP.FUSE_READLINK: Operation("readlink", lambda s, c, n, m: s.fs.readlink(c, n), _path),
    _OP.FUSE_SYMLINK: Operation(
        "symlink", lambda s, c, n, m: s.fs.symlink(c, n, m.name, m.target), _entry, _undo_entry
    ),
    _OP.FUSE_MKNOD: Operation(
        "mknod",
        lambda s, c, n, m: s.fs.mknod(_creator(s, c, m.umask), n, m.name, m.mode, m.rdev),
        _entry,
        _undo_entry,
    ),
    _OP.FUSE_MKDIR: Operation(
        "mkdir",
        lambda s, c, n, m: s.fs.mkdir(_creator(s, c, m.umask), n, m.name, m.mode),
        _entry,
        _undo_entry,
    ),
    _OP.FUSE_UNLINK: Operation("unlink", lambda s, c, n, m: s.fs.unlink(c, n, m.name), _nothing),
    _OP.FUSE_RMDIR: Operation("rmdir", lambda s, c, n, m: s.fs.rmdir(c, n, m.name), _nothing),
    _OP.FUSE_RENAME: Operation("rename", _rename, _nothing),
    _OP.FUSE_RENAME2: Operation("rename", _rename, _nothing),
    _OP.FUSE_LINK: Operation(
        "link", lambda s, c, n, m: s.fs.link(c, m.oldnodeid, n, m.newname), _entry, _undo_entry
    ),
    _OP.FUSE_OPEN: Operation("open", _open_call, _open, _undo_open),
    _OP.FUSE_CREATE: Operation("create", _create, _created, _undo_created),
    _OP.FUSE_TMPFILE: Operation(
        "tmpfile",
        lambda s, c, n, m: s.fs.tmpfile(_creator(s, c, m.umask), n, m.mode, m.flags),
        _created,
        _undo_created,
    ),
    _OP.FUSE_READ: Operation("read", _read, _data),
    _OP.FUSE_WRITE: Operation("write", _write, _written, keeps_buffer=True),
    _OP.FUSE_STATFS: Operation(
        "statfs", lambda s, c, n, m: s.fs.statfs(c, n), lambda s, n, m, r: wire.encode_statfs(r)
    ),
    _OP.FUSE_RELEASE: Operation("release", _release, _nothing),
    _OP.FUSE_FLUSH: Operation("flush", _flush, _nothing),
    _OP.FUSE_FSYNC: Operation(
        "fsync", lambda s, c, n, m: s.fs.fsync(c, n, m.fh, bool(m.fsync_flags & 1)), _nothing
    ),
    _OP.FUSE_SETXATTR: Operation(
        "setxattr",
        lambda s, c, n, m: s.fs.setxattr(c, n, m.name, bytes(m.value), XattrFlags(m.flags & 3)),
        _nothing,
    ),
    _OP.FUSE_GETXATTR: Operation("getxattr", lambda s, c, n, m: s.fs.getxattr(c, n, m.name), _xattr),
    _OP.FUSE_LISTXATTR: Operation("listxattr", _listxattr, _xattr_names),
    _OP.FUSE_REMOVEXATTR: Operation(
        "removexattr", lambda s, c, n, m: s.fs.removexattr(c, n, m.name), _nothing
    ),
    _OP.FUSE_OPENDIR: Operation("opendir", _opendir, _opened_dir, _undo_opendir),
    _OP.FUSE_READDIR: Operation("readdir", _readdir, _listing),
    _OP.FUSE_READDIRPLUS: Operation("readdirplus", _readdirplus, _listing, _undo_readdirplus),
    _OP.FUSE_RELEASEDIR: Operation("releasedir", _releasedir, _nothing),
    _OP.FUSE_FSYNCDIR: Operation(
        "fsyncdir",
        lambda s, c, n, m: s.fs.fsyncdir(c, n, s.directory(m.fh).fh, bool(m.fsync_flags & 1)),
        _nothing,
    ),
    _OP.FUSE_GETLK: Operation("getlk", _getlk, _locked),
    _OP.FUSE_SETLK: Operation("setlk", lambda s, c, n, m: _setlk(s, c, n, m, wait=False), _nothing),
    _OP.FUSE_SETLKW: Operation("setlk", lambda s, c, n, m: _setlk(s, c, n, m, wait=True), _nothing),
    _OP.FUSE_ACCESS: Operation("access", lambda s, c, n, m: s.fs.access(c, n, m.mask), _nothing),
    _OP.FUSE_BMAP: Operation(
        "bmap",
        lambda s, c, n, m: s.fs.bmap(c, n, m.block, m.blocksize),
        lambda s, n, m, r: wire.encode_bmap(r),
    ),
    _OP.FUSE_IOCTL: Operation("ioctl", _ioctl, _ioctl_done, keeps_buffer=True),
    _OP.FUSE_POLL: Operation("poll", _poll, lambda s, n, m, r: wire.encode_poll(r)),
    _OP.FUSE_FALLOCATE: Operation(
        "fallocate",
        lambda s, c, n, m: s.fs.fallocate(c, n, m.fh, FallocateFlags(m.mode), m.offset, m.length),
        _nothing,
    ),
    _OP.FUSE_LSEEK: Operation(
        "lseek",
        _lseek,
        lambda s, n, m, r: wire.encode_lseek(r),
    ),
    _OP.FUSE_COPY_FILE_RANGE: Operation("copy_file_range", _copy, _copied),
    _OP.FUSE_COPY_FILE_RANGE_64: Operation("copy_file_range", _copy, _copied_64),
    _OP.FUSE_SYNCFS: Operation("syncfs", lambda s, c, n, m: s.fs.syncfs(c, n), _nothing),
    _OP.FUSE_SETUPMAPPING: Operation("setupmapping", _unserved(errno.EOPNOTSUPP), _nothing),
    _OP.FUSE_REMOVEMAPPING: Operation("removemapping", _unserved(errno.EOPNOTSUPP), _nothing),
}

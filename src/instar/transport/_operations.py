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
import stat
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from instar._awaitable import then
from instar.fs import (
    Attr,
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
    posix_acl,
)
from instar.transport import _results as results
from instar.transport._directories import DirectoryStream, Listing
from instar.wire import fuse as wire
from instar.wire.fuse import FattrFlags, Opcode

if TYPE_CHECKING:
    from instar.transport._session import Session

__all__ = ["OPERATIONS", "Call", "Encode", "Operation"]

# A message or a result: its type depends on the opcode, and the table below is what pairs them.
Message = Any
Result = Any
Call = Callable[["Session", Context, int, Message], Result]
Encode = Callable[["Session", int, Message, Result], "bytes | memoryview | bytearray"]
Undo = Callable[["Session", Context, int, Message, Result], None]

_WRITE_CACHE: Final = WriteFlags.CACHE.value
_WRITE_FLAGS: Final = tuple(WriteFlags(value) for value in range(8))
_OPEN_FLAGS: Final = ~(os.O_CREAT | os.O_EXCL | os.O_NOCTTY)
_NO_CHANGE: Final = (FattrFlags.FATTR_FH | FattrFlags.FATTR_LOCKOWNER).value
_DOTS: Final = frozenset({".", ".."})
_SURELY_SHORT: Final = 63  # characters: at most four bytes each
_LOCK_TYPES: Final = {0: LockType.RDLCK, 1: LockType.WRLCK, 2: LockType.UNLCK}


class Operation(msgspec.Struct, frozen=True):
    """One row. ``gives`` says in words what the method has to return; ``undo`` takes back what a result established when
    the kernel no longer wants the reply.
    """

    name: str
    call: Call
    encode: Encode
    gives: str = "None"
    undo: Undo | None = None


def _fail(code: int) -> OSError:
    return OSError(code, os.strerror(code))


# --------------------------------------------------------------------- calls


def _finally(session: Session, first: Callable[[], Result], second: Callable[[], Result]) -> Result:
    """Do one and then the other, which happens even if the first raises. The result is None where both returned that."""
    try:
        result = first()
    except BaseException:
        session.background(second())
        raise
    if not isinstance(result, Awaitable):
        value = second()
        if result is None:
            return value
        session.background(value)
        return result

    async def later() -> Result:
        try:
            result_now = await result
        except BaseException:
            session.background(second())
            raise
        value = second()
        if isinstance(value, Awaitable):
            value = await value
        return value if result_now is None else result_now

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
        return then(session.fs.getattr(ctx, ino), lambda attr: Entry(ino, attr))
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
        return fs.open(ctx, nodeid, message.flags | session.added_flags)

    def kill(opened: Open) -> Result:
        return then(fs.setattr(ctx, nodeid, SetAttr(kill_suidgid=True), opened.fh), lambda _: opened)

    return then(
        fs.open(ctx, nodeid, message.flags | session.added_flags),
        kill,
        lambda opened: results.abandon(session, "open", ctx, nodeid, message, opened),
    )


def _create(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    fs = session.fs
    ctx = _creator(session, ctx, message.umask)
    flags = message.flags | session.added_flags
    if session.own_create:
        return fs.create(ctx, nodeid, message.name, message.mode, flags)

    def opened(entry: Entry) -> Result:
        return then(fs.open(ctx, entry.ino, flags & _OPEN_FLAGS), lambda result: (entry, result))

    return then(
        fs.mknod(ctx, nodeid, message.name, message.mode, 0),
        opened,
        lambda entry: results.abandon(session, "mknod", ctx, nodeid, message, entry),
    )


def _read(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.read(ctx, nodeid, message.fh, message.offset, message.size)


def _write(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    flags = _WRITE_FLAGS[message.write_flags & 7]
    result = session.fs.write(ctx, nodeid, message.fh, message.offset, message.data, flags)
    if (
        message.write_flags & _WRITE_CACHE
        and result != len(message.data)
        and isinstance(result, int | Awaitable)
    ):
        # From the page cache: the kernel takes a short count for success, and what is left would be lost.
        return _write_rest(session, ctx, nodeid, message, flags, result)
    return result


def _write_rest(
    session: Session, ctx: Context, nodeid: int, message: Message, flags: WriteFlags, first: Result
) -> Result:
    """Go on behind a short write until all is written. Raises what the file system raises; ``EIO`` where it writes nothing."""
    size = len(message.data)
    done = 0

    def write() -> Result:
        rest = memoryview(message.data)[done:]
        return session.fs.write(ctx, nodeid, message.fh, message.offset + done, rest, flags)

    def count(taken: int) -> bool:
        """Count what was taken; False when there is nothing to go on with."""
        nonlocal done
        if taken == 0:
            raise OSError(errno.EIO, "nothing was written")
        done += taken
        return taken > 0 and done < size  # more than there was is nonsense, which the reply refuses

    async def go_on(result: Result) -> int:
        while count(await result if isinstance(result, Awaitable) else result):
            result = write()
        return done

    result = first
    while isinstance(result, int):
        if not count(result):
            return done
        result = write()
    return go_on(result)


def _rename(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.rename(
        ctx, nodeid, message.name, message.newdir, message.newname, RenameFlags(message.flags)
    )


def _opendir(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    return session.fs.opendir(ctx, nodeid, message.flags | session.added_flags)


def _opened_dir(session: Session, nodeid: int, message: Message, result: Open) -> bytes:
    flags = results.open_flags(session, result)
    wire.encode_open(
        result.fh, flags
    )  # the kernel gets a number of ours, and the file system's is to be one as well
    return wire.encode_open(session.add_directory(result.fh), flags)


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


def _setxattr(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """Set an attribute; where the kernel asks for it (an ACL set by a stranger to the group), clear the set-group-ID bit.

    It asks for default ACLs too, which say nothing about the directory itself and leave its mode alone on local file systems.
    """
    fs = session.fs
    result = fs.setxattr(ctx, nodeid, message.name, bytes(message.value), XattrFlags(message.flags & 3))
    kills = message.setxattr_flags & wire.SetxattrFlags.FUSE_SETXATTR_ACL_KILL_SGID.value
    if not kills or message.name != posix_acl.XATTR_ACCESS:
        return result

    def kill(attr: Attr) -> Result:
        if not attr.mode & stat.S_ISGID:
            return None
        changes = SetAttr(mode=attr.mode & ~stat.S_ISGID & 0o7777)
        return then(fs.setattr(ctx, nodeid, changes), lambda _: None)

    return then(result, lambda _: then(fs.getattr(ctx, nodeid), kill))


def _listxattr(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    """List names; those of ``trusted.`` are for the superuser alone, which the kernel leaves to the file system (xattr(7))."""
    result = session.fs.listxattr(ctx, nodeid)
    if ctx.uid == 0:
        return result
    return then(result, _without_trusted)


def _without_trusted(names: Result) -> Result:
    if isinstance(names, str | bytes):  # nonsense, which is refused further on
        return names
    return [name for name in names if not name.startswith("trusted.")]


def _unlock(session: Session, ctx: Context, nodeid: int, fh: int, owner: int, *, flock: bool) -> Result:
    """Drop what a closing owner holds. The kernel leaves that to the server, and the server's author should not have to."""
    return session.fs.setlk(ctx, nodeid, fh, owner, FileLock(LockType.UNLCK), wait=False, flock=flock)


def _flush(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    def flush() -> Result:
        return session.fs.flush(ctx, nodeid, message.fh, message.lock_owner)

    if not session.own_locks:
        return flush()
    return _finally(
        session, flush, lambda: _unlock(session, ctx, nodeid, message.fh, message.lock_owner, flock=False)
    )


def _release(session: Session, ctx: Context, nodeid: int, message: Message) -> Result:
    session.closed(nodeid, message.flags)

    def release() -> Result:
        return session.fs.release(ctx, nodeid, message.fh, message.flags)

    if not session.own_locks or not message.release_flags & wire.ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK.value:
        return release()
    return _finally(
        session, lambda: _unlock(session, ctx, nodeid, message.fh, message.lock_owner, flock=True), release
    )


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
    fh = session.directory(message.fh).fh if flags & IoctlFlags.DIR else message.fh
    return session.fs.ioctl(
        ctx, nodeid, fh, message.cmd, message.arg, bytes(message.data), message.out_size, flags
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
    _OP.FUSE_LOOKUP: Operation("lookup", _lookup, results.found, "an Entry", results.undo_entry),
    _OP.FUSE_GETATTR: Operation("getattr", _getattr, results.attr, "an Attr"),
    _OP.FUSE_STATX: Operation("getattr", _getattr, results.statx, "an Attr"),
    _OP.FUSE_SETATTR: Operation("setattr", _setattr, results.attr, "an Attr"),
    _OP.FUSE_READLINK: Operation("readlink", lambda s, c, n, m: s.fs.readlink(c, n), results.path, "a str"),
    _OP.FUSE_SYMLINK: Operation(
        "symlink",
        lambda s, c, n, m: s.fs.symlink(c, n, m.name, m.target),
        results.made_symlink,
        "an Entry",
        results.undo_entry,
    ),
    _OP.FUSE_MKNOD: Operation(
        "mknod",
        lambda s, c, n, m: s.fs.mknod(_creator(s, c, m.umask), n, m.name, m.mode, m.rdev),
        results.made,
        "an Entry",
        results.undo_entry,
    ),
    _OP.FUSE_MKDIR: Operation(
        "mkdir",
        lambda s, c, n, m: s.fs.mkdir(_creator(s, c, m.umask), n, m.name, m.mode),
        results.made_directory,
        "an Entry",
        results.undo_entry,
    ),
    _OP.FUSE_UNLINK: Operation("unlink", lambda s, c, n, m: s.fs.unlink(c, n, m.name), results.nothing),
    _OP.FUSE_RMDIR: Operation("rmdir", lambda s, c, n, m: s.fs.rmdir(c, n, m.name), results.nothing),
    _OP.FUSE_RENAME: Operation("rename", _rename, results.nothing),
    _OP.FUSE_RENAME2: Operation("rename", _rename, results.nothing),
    _OP.FUSE_LINK: Operation(
        "link",
        lambda s, c, n, m: s.fs.link(c, m.oldnodeid, n, m.newname),
        results.entry,
        "an Entry",
        results.undo_entry,
    ),
    _OP.FUSE_OPEN: Operation("open", _open_call, results.opened, "an Open", results.undo_open),
    _OP.FUSE_CREATE: Operation(
        "create", _create, results.created, "an Entry and an Open", results.undo_created
    ),
    _OP.FUSE_TMPFILE: Operation(
        "tmpfile",
        lambda s, c, n, m: s.fs.tmpfile(_creator(s, c, m.umask), n, m.mode, m.flags | s.added_flags),
        results.created,
        "an Entry and an Open",
        results.undo_created,
    ),
    _OP.FUSE_READ: Operation("read", _read, results.data, "bytes"),
    _OP.FUSE_WRITE: Operation("write", _write, results.written, "an int"),
    _OP.FUSE_STATFS: Operation(
        "statfs", lambda s, c, n, m: s.fs.statfs(c, n), lambda s, n, m, r: wire.encode_statfs(r), "a StatFs"
    ),
    _OP.FUSE_RELEASE: Operation("release", _release, results.nothing),
    _OP.FUSE_FLUSH: Operation("flush", _flush, results.nothing),
    _OP.FUSE_FSYNC: Operation(
        "fsync", lambda s, c, n, m: s.fs.fsync(c, n, m.fh, bool(m.fsync_flags & 1)), results.nothing
    ),
    _OP.FUSE_SETXATTR: Operation(
        "setxattr",
        _setxattr,
        results.nothing,
    ),
    _OP.FUSE_GETXATTR: Operation(
        "getxattr", lambda s, c, n, m: s.fs.getxattr(c, n, m.name), results.xattr, "bytes"
    ),
    _OP.FUSE_LISTXATTR: Operation("listxattr", _listxattr, results.xattr_names, "names"),
    _OP.FUSE_REMOVEXATTR: Operation(
        "removexattr", lambda s, c, n, m: s.fs.removexattr(c, n, m.name), results.nothing
    ),
    _OP.FUSE_OPENDIR: Operation("opendir", _opendir, _opened_dir, "an Open", _undo_opendir),
    _OP.FUSE_READDIR: Operation("readdir", _readdir, _listing, "DirEntry values"),
    _OP.FUSE_READDIRPLUS: Operation(
        "readdirplus", _readdirplus, _listing, "DirEntry values", _undo_readdirplus
    ),
    _OP.FUSE_RELEASEDIR: Operation("releasedir", _releasedir, results.nothing),
    _OP.FUSE_FSYNCDIR: Operation(
        "fsyncdir",
        lambda s, c, n, m: s.fs.fsyncdir(c, n, s.directory(m.fh).fh, bool(m.fsync_flags & 1)),
        results.nothing,
    ),
    _OP.FUSE_GETLK: Operation("getlk", _getlk, _locked, "a FileLock or None"),
    _OP.FUSE_SETLK: Operation("setlk", lambda s, c, n, m: _setlk(s, c, n, m, wait=False), results.nothing),
    _OP.FUSE_SETLKW: Operation("setlk", lambda s, c, n, m: _setlk(s, c, n, m, wait=True), results.nothing),
    _OP.FUSE_ACCESS: Operation("access", lambda s, c, n, m: s.fs.access(c, n, m.mask), results.nothing),
    _OP.FUSE_BMAP: Operation(
        "bmap",
        lambda s, c, n, m: s.fs.bmap(c, n, m.block, m.blocksize),
        lambda s, n, m, r: wire.encode_bmap(r),
        "an int",
    ),
    _OP.FUSE_IOCTL: Operation("ioctl", _ioctl, _ioctl_done, "an Ioctl"),
    _OP.FUSE_POLL: Operation("poll", _poll, lambda s, n, m, r: wire.encode_poll(r), "an int"),
    _OP.FUSE_FALLOCATE: Operation(
        "fallocate",
        lambda s, c, n, m: s.fs.fallocate(c, n, m.fh, FallocateFlags(m.mode), m.offset, m.length),
        results.nothing,
    ),
    _OP.FUSE_LSEEK: Operation("lseek", _lseek, lambda s, n, m, r: wire.encode_lseek(r), "an int"),
    _OP.FUSE_COPY_FILE_RANGE: Operation("copy_file_range", _copy, _copied, "an int"),
    _OP.FUSE_COPY_FILE_RANGE_64: Operation("copy_file_range", _copy, _copied_64, "an int"),
    _OP.FUSE_SYNCFS: Operation("syncfs", lambda s, c, n, m: s.fs.syncfs(c, n), results.nothing),
    _OP.FUSE_SETUPMAPPING: Operation("setupmapping", _unserved(errno.EOPNOTSUPP), results.nothing),
    _OP.FUSE_REMOVEMAPPING: Operation("removemapping", _unserved(errno.EOPNOTSUPP), results.nothing),
}

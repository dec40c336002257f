# SPDX-License-Identifier: Apache-2.0
"""`Session`: one connection's protocol state, and the way of a request through it. No file descriptor is touched here.

A transport hands in each request as it came from the kernel and gets the reply back through the ``send`` that it gave:
``send(unique, body)`` with a body, ``send_error(unique, errno)`` without one. Both return False when the kernel no
longer waits for the request; what the reply had established is then undone.

The session keeps what the protocol makes a server keep: what INIT agreed on, how often the kernel knows each node, the
open directories, and the asynchronous handlers in flight.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import os
import reprlib
import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from instar.edge.mount import MountFlags
from instar.fs import ROOT_INO, Context, Entry, FileSystem, Notifier
from instar.transport._directories import DirectoryStream
from instar.transport._operations import OPERATIONS, Call, Encode, Operation
from instar.transport._results import abandon
from instar.wire import fuse as wire
from instar.wire.fuse import InitFlags, Opcode, OpenFlags

if TYPE_CHECKING:
    from instar.transport._options import MountOptions

__all__ = ["Reply", "Session"]

_log = logging.getLogger("instar.fuse")

#: The kernel accepts errors from -511 to -1; with another value it drops the reply and the caller waits for ever.
_ERRNO_MAX: Final = 511
_unpack_header: Final = wire.IN_HEADER.unpack_from
#: Requests that nobody waits for.
WITHOUT_REPLY: Final = frozenset(
    {Opcode.FUSE_FORGET, Opcode.FUSE_BATCH_FORGET, Opcode.FUSE_INTERRUPT, Opcode.FUSE_NOTIFY_REPLY}
)
_NOT_CALLED: Final = object()
_HEADER: Final = wire.IN_HEADER_SIZE
_FORGET: Final = int(Opcode.FUSE_FORGET)
_unpack_forget: Final = wire.FuseForgetIn.CODEC.unpack_from
_FORGET_SIZE: Final = wire.IN_HEADER_SIZE + wire.FuseForgetIn.SIZE
_FORGETS_MAX: Final = 64
_RESEND: Final = wire.FUSE_UNIQUE_RESEND

#: Asked for on the first day, because INIT happens once in the life of a mount. Not FUSE_ATOMIC_O_TRUNC: with it the
#: kernel lets dirty pages of memory maps be written while an open cuts the file, and what was cut off comes back. Without it
#: the kernel opens first and then sends a SETATTR, around which it holds writes back.
WANTED: Final = (
    InitFlags.FUSE_ASYNC_READ
    | InitFlags.FUSE_EXPORT_SUPPORT
    | InitFlags.FUSE_BIG_WRITES
    | InitFlags.FUSE_DONT_MASK
    | InitFlags.FUSE_HAS_IOCTL_DIR
    | InitFlags.FUSE_AUTO_INVAL_DATA
    | InitFlags.FUSE_DO_READDIRPLUS
    | InitFlags.FUSE_READDIRPLUS_AUTO
    | InitFlags.FUSE_ASYNC_DIO
    | InitFlags.FUSE_PARALLEL_DIROPS
    | InitFlags.FUSE_HANDLE_KILLPRIV_V2
    | InitFlags.FUSE_MAX_PAGES
    | InitFlags.FUSE_CACHE_SYMLINKS
    | InitFlags.FUSE_ABORT_ERROR
    | InitFlags.FUSE_SETXATTR_EXT
    | InitFlags.FUSE_INIT_EXT
    | InitFlags.FUSE_CREATE_SUPP_GROUP
    | InitFlags.FUSE_HAS_EXPIRE_ONLY
    | InitFlags.FUSE_DIRECT_IO_ALLOW_MMAP
    | InitFlags.FUSE_HAS_RESEND
)


class Reply(Protocol):
    """Where replies go. Each returns False when the kernel has dropped the request (``ENOENT``)."""

    def send(self, unique: int, body: bytes | bytearray | memoryview) -> bool:
        """Send a success with ``body`` behind the header."""

    def send_error(self, unique: int, code: int) -> bool:
        """Send the errno ``code``, from 1 to 511."""


class Session:
    """One connection between a kernel and a :class:`FileSystem`.

    Invariants: every count in ``known`` is positive; every task in ``tasks`` belongs to a request not yet answered.
    """

    def __init__(self, fs: FileSystem, options: MountOptions, reply: Reply, notifier: Notifier) -> None:
        self.fs: FileSystem = fs
        self.options = options
        self.notifier = notifier
        self.entry_timeout: float = fs.entry_timeout
        self.attr_timeout: float = fs.attr_timeout
        self.negative_timeout = fs.negative_timeout
        self.own_readdirplus = fs.implements("readdirplus")
        self.own_create = fs.implements("create") or not fs.implements("mknod")
        self.async_lookup = inspect.iscoroutinefunction(fs.lookup)
        self.own_locks = fs.implements("getlk") and fs.implements("setlk")
        asks_flush = self.own_locks or fs.implements("flush")
        self.extra_open_flags = 0 if asks_flush else OpenFlags.FOPEN_NOFLUSH.value
        #: Added to the flags of every open. Times of access are the file system's to keep, and the kernel does not tell it
        #: of the mount option: ``noatime`` of a mount is ``O_NOATIME`` of its files (mount(8), open(2)).
        self.added_flags: int = os.O_NOATIME if options.flags & MountFlags.NOATIME else 0
        self.agreed: wire.InitOut | None = None
        #: How often the kernel knows each node besides the root (``nlookup`` in the kernel).
        self.known: dict[int, int] = {}
        #: How many open files could have a writable shared memory map, by node.
        self.mappable: dict[int, int] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        #: References that the kernel has dropped, as (node, count), for :meth:`settle`; None where they are dropped at once.
        #: A transport that calls that when it has nothing else to do keeps no caller waiting for them.
        self.forgets: list[tuple[int, int]] | None = None
        self.requests = 0
        self.errors = 0
        self.exceptions = 0
        self.ended = False
        self._reply = reply
        self._directories: dict[int, DirectoryStream] = {}
        self._next_directory = 1
        self._context = Context()
        self._reported: set[tuple[str, str]] = set()
        self._long_name_listed = False
        self._decoders = wire.DECODERS
        self._table = _table(self._decoders)
        self._plain_types: set[type] = {type(None)}

    # ---------------------------------------------------------------- requests

    def handle(self, buffer: memoryview, length: int) -> Awaitable[None] | None:
        """Serve one request of ``length`` bytes. Returns an awaitable that finishes it where the handler is ``async``.

        While the awaitable is not done, ``buffer`` must stay as it is.
        """
        self.requests += 1
        length_field, opcode, unique, nodeid, uid, gid, pid, extensions, _ = _unpack_header(buffer)
        row = self._table.get(opcode)
        if row is None:
            # One for each file that is removed, so without a message made of it: benchmarks/metadata.py, unlink.
            if opcode == _FORGET and self.forgets is not None and length == length_field == _FORGET_SIZE:
                self.forgets.append((nodeid, _unpack_forget(buffer, _HEADER)[0]))
                if len(self.forgets) >= _FORGETS_MAX:
                    self.settle()
                return None
            self._handle_special(opcode, unique, buffer, length)
            return None
        decode, call, encode, operation = row
        ctx = self._context
        message: Any = None
        result: Any = _NOT_CALLED
        try:
            if length_field != length:
                raise _wrong_length(length, length_field)
            end = length
            if extensions:
                end -= extensions * 8
                ctx = Context(uid, gid, pid, 0, wire.decode_extensions(buffer, end, length).groups)
            elif uid != ctx.uid or pid != ctx.pid or gid != ctx.gid:
                ctx = self._context = Context(uid, gid, pid)
            message = decode(buffer, _HEADER, end)
            result = call(self, ctx, nodeid, message)
            # Seen before: asking the type costs less than asking the object.
            if type(result) not in self._plain_types:
                if hasattr(result, "__await__"):
                    return self._finish_later(operation, ctx, unique, nodeid, message, result)
                self._plain_types.add(type(result))
            body = encode(self, nodeid, message, result)
        except BaseException as error:  # noqa: BLE001 - the one place where a plain handler's exception becomes an errno
            self._refuse(operation, unique, error, result)
            if result is not _NOT_CALLED:
                self._undo(operation, ctx, nodeid, message, result, refused=True)
            return None
        if not self._reply.send(unique, body) and operation.undo is not None:
            self._undo(operation, ctx, nodeid, message, result)
        return None

    async def _finish_later(
        self,
        operation: Operation,
        ctx: Context,
        unique: int,
        nodeid: int,
        message: Any,
        awaitable: Awaitable[Any],
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(operation.name)
        self.tasks[unique & ~_RESEND] = task
        result: Any = _NOT_CALLED
        try:
            result = await awaitable
            body = operation.encode(self, nodeid, message, result)
        except BaseException as error:  # noqa: BLE001 - and the one for asynchronous handlers
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                self._fail(unique, errno.EINTR)
            else:
                self._refuse(operation, unique, error, result)
                if result is not _NOT_CALLED:
                    self._undo(operation, ctx, nodeid, message, result, refused=True)
            return
        finally:
            del self.tasks[unique & ~_RESEND]
        if not self._reply.send(unique, body) and operation.undo is not None:
            self._undo(operation, ctx, nodeid, message, result)

    def _undo(
        self,
        operation: Operation,
        ctx: Context,
        nodeid: int,
        message: Any,
        result: Any,
        *,
        refused: bool = False,
    ) -> None:
        """Take back what a result established: the kernel did not take the reply, or the result makes no sense."""
        try:
            if refused:
                abandon(self, operation.name, ctx, nodeid, message, result)
            elif operation.undo is not None:
                operation.undo(self, ctx, nodeid, message, result)
        except BaseException as error:  # noqa: BLE001 - it calls the file system, and no caller is left to tell
            self._report(operation.name, error, "failed")

    def _handle_special(self, opcode: int, unique: int, buffer: memoryview, length: int) -> None:
        """The requests that are about the connection itself, and those that this version does not know."""
        length_field = _unpack_header(buffer)[0]
        try:
            if length_field != length:
                raise _wrong_length(length, length_field)
            decode = self._decoders.get(opcode)
            message = None if decode is None else decode(buffer, _HEADER, length)
        except wire.ProtocolError as error:
            _log.error("%s: %s", _opcode_name(opcode), error)
            if opcode not in WITHOUT_REPLY:
                self._fail(unique, errno.EPROTO)
            return
        match message:
            case wire.Forget():
                self.forget(wire.IN_HEADER.unpack_from(buffer)[3], message.nlookup)
            case wire.BatchForget():
                for nodeid, nlookup in message.items:
                    self.forget(nodeid, nlookup)
            case wire.Interrupt():
                self._interrupt(message.unique)
            case wire.Init():
                self._init(unique, message)
            case wire.Destroy():
                self.ended = True
                self._reply.send(unique, b"")
            case wire.NotifyReply():
                pass
            case _:
                # Not ENOSYS: the kernel would remember it for the life of the mount, and a later version may serve it.
                self._fail(unique, errno.EOPNOTSUPP)

    def _init(self, unique: int, message: wire.Init) -> None:
        wanted = WANTED
        fs = self.fs
        if self.own_locks:
            wanted |= InitFlags.FUSE_POSIX_LOCKS | InitFlags.FUSE_FLOCK_LOCKS
        if self.options.default_permissions and fs.implements("getxattr"):
            wanted |= InitFlags.FUSE_POSIX_ACL
        if not self.entry_timeout and not self.attr_timeout:
            # Attributes beside the names are for the kernel to keep; where it may not, they are work for nothing.
            wanted &= ~(InitFlags.FUSE_DO_READDIRPLUS | InitFlags.FUSE_READDIRPLUS_AUTO)
        if not self.options.exportable:
            wanted &= ~InitFlags.FUSE_EXPORT_SUPPORT
        self.agreed = wire.negotiate(message, wanted, max_write=self.options.max_write)
        self._decoders = wire.decoders(self.agreed)
        self._table = _table(self._decoders)
        self._reply.send(unique, wire.encode_init(self.agreed))

    def _interrupt(self, unique: int) -> None:
        task = self.tasks.get(unique & ~_RESEND)
        if task is not None:
            task.cancel()

    # ----------------------------------------------------------------- failures

    def _fail(self, unique: int, code: int) -> None:
        self.errors += 1
        self._reply.send_error(unique, code)

    def _refuse(
        self, operation: Operation, unique: int, error: BaseException, result: object = _NOT_CALLED
    ) -> None:
        """Answer with an exception's errno; ``result`` is what the handler returned, where that is what raised it.

        ENOENT of a lookup becomes a cached negative entry where that is wanted.
        """
        code = error.errno if isinstance(error, OSError) else None
        if isinstance(code, int) and 0 < code <= _ERRNO_MAX:
            if code == errno.ENOENT and self.negative_timeout > 0 and operation.name == "lookup":
                self._reply.send(unique, wire.encode_negative_entry(self.negative_timeout))
                return
            if code == errno.ENOSYS:  # would be remembered for the life of the mount
                code = errno.EOPNOTSUPP
            self._fail(unique, code)
            return
        # The caller first: whatever goes wrong in telling, nobody waits for it.
        self._fail(unique, errno.ENOMEM if isinstance(error, MemoryError) else errno.EIO)
        what = "failed"
        if result is not _NOT_CALLED:
            what = f"returned {reprlib.repr(result)}, expected {operation.gives}"
        self._report(operation.name, error, what)
        if isinstance(error, KeyboardInterrupt) and _ctrl_c_ends_this_process():
            raise error

    def _report(self, name: str, error: BaseException, what: str) -> None:
        """Log an exception with its traceback, once for each place that it comes from."""
        self.exceptions += 1
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        key = (name, f"{type(error).__name__} {where}")
        if key not in self._reported:
            self._reported.add(key)
            shown = traceback.format_exception_only(error)[-1].strip()  # str(error) may raise itself
            caller = "ENOMEM" if isinstance(error, MemoryError) else "EIO"
            _log.error(
                "%s.%s %s; the caller gets %s (said once for each place): %s",
                type(self.fs).__name__, name, what, caller, shown, exc_info=error,
            )  # fmt: skip

    # -------------------------------------------------------------- the kernel's knowledge

    def timeouts(self, entry: Entry) -> tuple[float, float]:
        """An entry's own timeouts, or else the file system's, in seconds."""
        return (
            self.entry_timeout if entry.entry_timeout is None else entry.entry_timeout,
            self.attr_timeout if entry.attr_timeout is None else entry.attr_timeout,
        )

    def remember(self, ino: int) -> None:
        """The kernel is told of ``ino`` once more."""
        known = self.known
        known[ino] = known.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> None:
        """The kernel drops ``count`` of its references; with the last, the file system is told."""
        known = self.known.get(ino)
        if known is None:
            return
        if known > count:
            self.known[ino] = known - count
            return
        del self.known[ino]
        self._evict(ino)

    def settle(self) -> None:
        """Do what the kernel does not wait for and was put off."""
        if self.forgets:
            forgets, self.forgets = self.forgets, []
            for ino, count in forgets:
                self.forget(ino, count)

    def never_told(self, ino: int) -> None:
        """An entry for ``ino`` was made and did not reach the kernel: unless it knows the node, nobody will forget it."""
        if ino not in self.known:
            self._evict(ino)

    def _evict(self, ino: int) -> None:
        if ino == ROOT_INO:
            return
        try:
            self.fs.forget(ino)
        except BaseException as error:  # noqa: BLE001 - forget has no reply; a broken one must not end the mount
            self._report("forget", error, "failed")

    # -------------------------------------------------------------- open files

    def opened(self, ino: int, flags: int) -> None:
        """A file was opened; only those that can be read and written can be mapped for writing (``mmap(2)``)."""
        if flags & os.O_ACCMODE == os.O_RDWR:
            self.mappable[ino] = self.mappable.get(ino, 0) + 1

    def closed(self, ino: int, flags: int) -> None:
        """It was closed for the last time, memory maps included."""
        if flags & os.O_ACCMODE == os.O_RDWR:
            left = self.mappable.get(ino, 0) - 1
            if left > 0:
                self.mappable[ino] = left
            else:
                self.mappable.pop(ino, None)

    # ------------------------------------------------------------- directories

    def add_directory(self, fh: int) -> int:
        """Register an open directory; returns the handle that the kernel gets."""
        number = self._next_directory
        self._next_directory = number + 1
        self._directories[number] = DirectoryStream(fh)
        return number

    def directory(self, number: int) -> DirectoryStream:
        """The open directory under the kernel's handle ``number``. Raises ``EBADF``."""
        stream = self._directories.get(number)
        if stream is None:
            raise OSError(errno.EBADF, "not an open directory")
        return stream

    def drop_directory(self, number: int) -> DirectoryStream:
        """Close it."""
        stream = self.directory(number)
        del self._directories[number]
        stream.drop_held(self)
        return stream

    def check_listed(self, name: str) -> None:
        """Say once that a listed name is longer than the file system's names may be, so that no lookup of it is served."""
        size, limit = len(os.fsencode(name)), self.fs.name_max
        if size > limit and not self._long_name_listed:
            self._long_name_listed = True
            _log.error(
                "%s.readdir gave %s, a name of %d bytes, and name_max is %d: programs see it and get ENAMETOOLONG (said once)",
                type(self.fs).__name__, reprlib.repr(name), size, limit,
            )  # fmt: skip

    def drop_newest_directory(self) -> None:
        """Take back the last :meth:`add_directory`."""
        del self._directories[self._next_directory - 1]

    # -------------------------------------------------------------- background

    #: Set by the transport: runs an awaitable that no caller waits for.
    spawn: Callable[[Awaitable[Any]], None] | None = None

    def background(self, result: object) -> None:
        """Let what a handler returned finish on its own, if it is an awaitable."""
        if result is not None and isinstance(result, Awaitable) and self.spawn is not None:
            self.spawn(result)


_Row = tuple[wire.Decoder, Call, Encode, Operation]


def _table(decoders: Mapping[int, wire.Decoder]) -> dict[int, _Row]:
    """Everything that a request needs, under the plain number of its opcode: one look-up instead of five."""
    return {
        int(opcode): (decoders[opcode], operation.call, operation.encode, operation)
        for opcode, operation in OPERATIONS.items()
    }


def _ctrl_c_ends_this_process() -> bool:
    """Whether a KeyboardInterrupt may come from the keyboard: who handles SIGINT otherwise never sees one."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _wrong_length(length: int, said: int) -> wire.ProtocolError:
    return wire.ProtocolError(f"a request of {length} bytes says that it has {said}")


def _opcode_name(opcode: int) -> str:
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"opcode {opcode}"

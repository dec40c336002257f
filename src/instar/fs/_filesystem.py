# SPDX-License-Identifier: Apache-2.0
"""`FileSystem`: the class that a file system is a subclass of.

Each operation is a method; each is optional. A method may be a plain function or ``async def``, mixed freely in one
class: the transport runs plain ones at once and one after another, and the ``async`` ones side by side on one event
loop in the same thread, so two handlers never run at the same moment and need no locks between awaits.

A handler reports failure by raising :class:`OSError` with an errno. Any other exception is logged with its traceback
and the caller gets ``EIO``; the mount lives on. When the caller of an ``async`` handler is interrupted, the handler is
cancelled and the caller gets ``EINTR``.

Nodes are numbers. The root is :data:`ROOT_INO`; every other number is the file system's choice, made when it returns
an :class:`Entry`. The transport counts what the kernel remembers of each node and calls :meth:`FileSystem.forget` once,
when the last reference is gone.

The operations follow ``linux/fuse.h`` and the kernel's ``inode_operations`` and ``file_operations``
(``Documentation/filesystems/vfs.rst``).
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterable, Awaitable, Iterable
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeAlias, TypeVar

from instar.fs._types import (
    ROOT_INO,
    Attr,
    Context,
    DirEntry,
    Entry,
    FallocateFlags,
    FileLock,
    Ioctl,
    IoctlFlags,
    Open,
    PollHandle,
    RenameFlags,
    SetAttr,
    StatFs,
    WriteFlags,
    XattrFlags,
)

if TYPE_CHECKING:
    from instar.fs._notify import Notifier

__all__ = ["FileSystem", "MaybeAwaitable", "ReadBuffer"]

_T = TypeVar("_T")
#: What a handler returns: the value, or (``async def``) an awaitable of it.
MaybeAwaitable: TypeAlias = _T | Awaitable[_T]
#: What a read may return: anything with the buffer protocol; it is sent without a copy.
ReadBuffer: TypeAlias = bytes | bytearray | memoryview


def _refuse(code: int) -> NoReturn:
    raise OSError(code, os.strerror(code))


class FileSystem:
    """A file system. Subclass it and write the operations that it has.

    Class attributes (each can be set on the instance as well, and by a mount option of the same name):

    * ``entry_timeout``, ``attr_timeout``: how long, in seconds, the kernel may use names and attributes without
      asking again. Raise them when nothing changes behind the kernel's back.
    * ``negative_timeout``: how long the kernel may remember that a name does not exist; 0 means not at all.
    * ``fsname``: the source column of ``/proc/mounts``; ``None`` means the class's name in lower case.

    >>> class Hello(FileSystem):
    ...     def getattr(self, ctx, ino, fh=None):
    ...         return Attr(ino=ino, mode=0o040755, nlink=2)
    >>> Hello().getattr(Context(), ROOT_INO).is_dir
    True
    """

    entry_timeout: float = 1.0
    attr_timeout: float = 1.0
    negative_timeout: float = 0.0
    fsname: str | None = None
    #: The longest name in bytes; a longer one is refused with ``ENAMETOOLONG`` before the file system is asked.
    name_max: int = 255

    #: Set by the transport before :meth:`init`: sends invalidations to the kernel.
    notify: Notifier | None = None

    #: Names of the operations that change something. A class that has none of them is mounted read-only.
    MODIFYING: ClassVar[frozenset[str]] = frozenset(
        {
            "setattr", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "create", "tmpfile", "write",
            "setxattr", "removexattr", "fallocate", "copy_file_range",
        }
    )  # fmt: skip

    @classmethod
    def implements(cls, operation: str) -> bool:
        """Whether this class has its own version of ``operation`` (a method of :class:`FileSystem`).

        >>> FileSystem.implements("read")
        False
        """
        return getattr(cls, operation) is not getattr(FileSystem, operation)

    @property
    def read_only(self) -> bool:
        """Whether no operation changes anything; such a file system is mounted read-only."""
        return not any(self.implements(name) for name in self.MODIFYING)

    # ------------------------------------------------------------------ life

    def init(self) -> MaybeAwaitable[None]:
        """Called once before the first request, in the process that serves. Raising here ends the mount."""

    def destroy(self) -> MaybeAwaitable[None]:
        """Called once after the last request, if :meth:`init` has returned; not when the process is killed.

        The connection is closed by then: it was unmounted or aborted, or the server was told to stop or could not go on. Handlers
        that still waited have been cancelled and had ten seconds to end. Files may still be open, and nodes are not
        forgotten one by one before. What this raises, the server ends with.
        """

    # ----------------------------------------------------------------- names

    def lookup(self, ctx: Context, parent: int, name: str) -> MaybeAwaitable[Entry]:
        """Find ``name`` in the directory ``parent``. Never ``.`` or ``..``: :meth:`parent` and :meth:`getattr` answer those.

        Raises ``ENOENT`` when there is no such name (the kernel remembers it for ``negative_timeout`` seconds), and
        ``ESTALE`` when ``parent`` is not known any more.
        """
        _refuse(errno.ENOENT)

    def parent(self, ino: int) -> int:
        """The node number of the directory that holds the directory ``ino``; for the root, the root."""
        return ROOT_INO

    def dots(self, ino: int) -> tuple[int, int]:
        """The inode numbers that a listing of the directory ``ino`` shows beside ``.`` and ``..``.

        The default takes node numbers for inode numbers: ``ino`` and :meth:`parent` of it. Must not raise.
        """
        return ino, self.parent(ino)

    def forget(self, ino: int) -> None:
        """The kernel holds no reference to ``ino`` any more: neither a name, nor an open file, nor a cache.

        Called once for each time that a node became known. A node without links can be freed now. Must not raise.
        """

    # ------------------------------------------------------------ attributes

    def getattr(self, ctx: Context, ino: int, fh: int | None = None) -> MaybeAwaitable[Attr]:
        """Return the attributes of ``ino``; ``fh`` is given when the caller used an open file (``fstat``).

        Raises ``ESTALE`` when the node is not known.
        """
        _refuse(errno.ENOENT if ino == ROOT_INO else errno.ESTALE)

    def setattr(
        self, ctx: Context, ino: int, changes: SetAttr, fh: int | None = None
    ) -> MaybeAwaitable[Attr]:
        """Change what ``changes`` names, all of it or nothing, and return the attributes after the change.

        Covers ``chmod``, ``chown``, ``truncate``, ``utimensat``. Raises ``EPERM`` for a change that is not allowed,
        ``EFBIG`` for a size that is too large, ``ENOSPC``, ``EROFS``. ``ctime`` moves with every change.
        """
        _refuse(errno.EROFS)

    def access(self, ctx: Context, ino: int, mask: int) -> MaybeAwaitable[None]:
        """Raise ``EACCES`` unless ``access(2)`` with ``mask`` (``R_OK | W_OK | X_OK``) is allowed.

        Asked only where the mount does not have ``default_permissions`` (the kernel checks modes then).
        """

    def statfs(self, ctx: Context, ino: int) -> MaybeAwaitable[StatFs]:
        """Return the figures of ``statvfs(3)`` for the file system that holds ``ino``."""
        return StatFs()

    # --------------------------------------------------------- make and break

    def mknod(self, ctx: Context, parent: int, name: str, mode: int, rdev: int) -> MaybeAwaitable[Entry]:
        """Make a file, a device node, a fifo or a socket; ``mode`` holds the type. Raises ``EEXIST``, ``ENOSPC``, ``EPERM``.

        The new node belongs to ``ctx.uid`` and ``ctx.gid`` (to the parent's group if that has the set-group-ID bit).
        ``ctx.umask`` applies unless the parent has a default ACL.
        """
        _refuse(errno.EPERM)

    def mkdir(self, ctx: Context, parent: int, name: str, mode: int) -> MaybeAwaitable[Entry]:
        """Make a directory. Raises ``EEXIST``, ``ENOSPC``, ``EMLINK``, ``EPERM``."""
        _refuse(errno.EPERM)

    def symlink(self, ctx: Context, parent: int, name: str, target: str) -> MaybeAwaitable[Entry]:
        """Make a symbolic link that points at ``target``. Raises ``EEXIST``, ``ENOSPC``, ``EPERM``."""
        _refuse(errno.EPERM)

    def readlink(self, ctx: Context, ino: int) -> MaybeAwaitable[str]:
        """Return what the symbolic link ``ino`` points at. Raises ``EINVAL`` when it is not a symbolic link."""
        _refuse(errno.EINVAL)

    def link(self, ctx: Context, ino: int, newparent: int, newname: str) -> MaybeAwaitable[Entry]:
        """Give ``ino`` another name. Raises ``EEXIST``, ``EMLINK``, ``EPERM`` (a directory), ``ENOENT`` (no link left)."""
        _refuse(errno.EPERM)

    def unlink(self, ctx: Context, parent: int, name: str) -> MaybeAwaitable[None]:
        """Remove a name that is not a directory's. Open files go on working until their last close.

        Raises ``ENOENT``, ``EISDIR``, ``EPERM``.
        """
        _refuse(errno.EPERM)

    def rmdir(self, ctx: Context, parent: int, name: str) -> MaybeAwaitable[None]:
        """Remove an empty directory. Raises ``ENOENT``, ``ENOTDIR``, ``ENOTEMPTY``, ``EPERM``."""
        _refuse(errno.EPERM)

    def rename(
        self, ctx: Context, parent: int, name: str, newparent: int, newname: str, flags: RenameFlags
    ) -> MaybeAwaitable[None]:
        """Move a name in one step; an existing ``newname`` is replaced in the same step.

        ``NOREPLACE`` raises ``EEXIST`` instead; ``EXCHANGE`` swaps the two; ``WHITEOUT`` leaves a character device
        0:0 behind. Raises ``ENOENT``, ``ENOTEMPTY``, ``EISDIR``, ``ENOTDIR``, ``EINVAL`` (a directory into itself, or
        flags that the file system does not have).
        """
        _refuse(errno.EPERM)

    # ------------------------------------------------------------ open files

    def open(self, ctx: Context, ino: int, flags: int) -> MaybeAwaitable[Open]:
        """Open a file; ``flags`` are those of ``open(2)`` without ``O_CREAT``, ``O_EXCL``, ``O_NOCTTY``.

        With ``O_TRUNC`` the file is cut to nothing as part of the open. The default needs no state: handle 0; it cuts
        the file by :meth:`setattr`.
        """
        if flags & os.O_TRUNC and self.implements("setattr"):
            result = self.setattr(ctx, ino, SetAttr(size=0))
            if isinstance(result, Awaitable):
                return _opened_after(result)
        return Open()

    def create(
        self, ctx: Context, parent: int, name: str, mode: int, flags: int
    ) -> MaybeAwaitable[tuple[Entry, Open]]:
        """Make a regular file and open it, in one step. Raises as :meth:`mknod` does.

        The default calls :meth:`mknod` and then :meth:`open`.
        """
        _refuse(errno.EPERM)

    def tmpfile(self, ctx: Context, parent: int, mode: int, flags: int) -> MaybeAwaitable[tuple[Entry, Open]]:
        """Make and open a regular file without a name (``O_TMPFILE``); :meth:`link` may give it one unless ``O_EXCL``."""
        _refuse(errno.EOPNOTSUPP)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> MaybeAwaitable[ReadBuffer]:
        """Return up to ``size`` bytes from ``offset``. Fewer mean that the file ends there; ``b""`` is the end."""
        _refuse(errno.EIO)

    def write(
        self, ctx: Context, ino: int, fh: int, offset: int, data: memoryview, flags: WriteFlags
    ) -> MaybeAwaitable[int]:
        """Write ``data`` at ``offset`` and return how many bytes were taken.

        ``data`` is valid until the handler is done; copy what you keep. With ``O_APPEND`` the kernel has set
        ``offset`` to the size that it knows. With ``CACHE`` in ``flags`` the data comes from the page cache and nobody looks
        at the count: where it is short, the transport calls again with the rest. Raises ``ENOSPC``, ``EFBIG``, ``EDQUOT``, ``EIO``.
        """
        _refuse(errno.EROFS)

    def flush(self, ctx: Context, ino: int, fh: int, lock_owner: int) -> MaybeAwaitable[None]:
        """A descriptor of the open file is closed; what is raised here is what ``close(2)`` returns.

        Called once for each ``close`` of a duplicate too. The kernel does not ask when the class has no own version.
        """

    def release(self, ctx: Context, ino: int, fh: int, flags: int) -> MaybeAwaitable[None]:
        """The open file is closed for the last time. No caller waits, so an error goes nowhere."""

    def fsync(self, ctx: Context, ino: int, fh: int, datasync: bool) -> MaybeAwaitable[None]:
        """Make the file durable; with ``datasync`` only what is needed to read its data back."""

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> MaybeAwaitable[int]:
        """Return the next data (``SEEK_DATA``) or the next hole (``SEEK_HOLE``) at or after ``offset``.

        Raises ``ENXIO`` when ``offset`` is at or past the end. The default knows no holes.
        """
        result = self.getattr(ctx, ino, fh)
        if isinstance(result, Attr):
            return _seek_without_holes(result.size, offset, whence)
        return _seek_without_holes_async(result, offset, whence)

    def fallocate(
        self, ctx: Context, ino: int, fh: int, mode: FallocateFlags, offset: int, length: int
    ) -> MaybeAwaitable[None]:
        """Allocate, punch or zero a range. Raises ``EOPNOTSUPP`` for a mode it does not have, ``ENOSPC``, ``EFBIG``."""
        _refuse(errno.EOPNOTSUPP)

    def copy_file_range(
        self, ctx: Context, ino: int, fh: int, offset: int, newino: int, newfh: int, newoffset: int, length: int,
        flags: int,
    ) -> MaybeAwaitable[int]:  # fmt: skip
        """Copy ``length`` bytes between two open files and return how many. ``EOPNOTSUPP``: the kernel copies itself."""
        _refuse(errno.EOPNOTSUPP)

    def ioctl(
        self,
        ctx: Context,
        ino: int,
        fh: int,
        cmd: int,
        arg: int,
        data: bytes,
        out_size: int,
        flags: IoctlFlags,
    ) -> MaybeAwaitable[Ioctl]:
        """Answer ``ioctl(2)``: ``data`` is what the command's encoding says is read, ``out_size`` what is written.

        Raises ``ENOTTY`` for a command that it does not know.
        """
        _refuse(errno.ENOTTY)

    def poll(
        self, ctx: Context, ino: int, fh: int, events: int, handle: PollHandle | None
    ) -> MaybeAwaitable[int]:
        """Return which of ``events`` (``POLLIN`` ...) are ready. ``handle`` is to be woken when that changes."""
        return events & 0x145  # POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM: a file that never blocks

    def bmap(self, ctx: Context, ino: int, block: int, blocksize: int) -> MaybeAwaitable[int]:
        """Return the device block of a file's block (``FIBMAP``; block devices only)."""
        _refuse(errno.EINVAL)

    # ----------------------------------------------------------------- locks

    def getlk(
        self, ctx: Context, ino: int, fh: int, owner: int, lock: FileLock
    ) -> MaybeAwaitable[FileLock | None]:
        """Return a lock that stands in the way of ``lock``, or ``None``.

        Without own versions of ``getlk`` and ``setlk`` the kernel keeps the locks itself, which is right wherever
        all users of the files come through this mount.
        """
        _refuse(errno.ENOLCK)

    def setlk(
        self, ctx: Context, ino: int, fh: int, owner: int, lock: FileLock, *, wait: bool, flock: bool
    ) -> MaybeAwaitable[None]:
        """Take, change or drop (``LockType.UNLCK``) a lock; ``flock`` marks a whole-file lock of ``flock(2)``.

        Raises ``EAGAIN`` when it is held and ``wait`` is false. With ``wait`` an ``async`` handler waits; it is
        cancelled when the caller is interrupted.
        """
        _refuse(errno.ENOLCK)

    # ----------------------------------------------------------- directories

    def opendir(self, ctx: Context, ino: int, flags: int) -> MaybeAwaitable[Open]:
        """Open a directory. The default needs no state: handle 0."""
        return Open()

    def readdir(
        self, ctx: Context, ino: int, fh: int, cookie: int
    ) -> Iterable[DirEntry] | AsyncIterable[DirEntry]:
        """Yield the entries after ``cookie`` (0: from the start), without ``.`` and ``..``; the transport adds those.

        Yield all that there is: the transport takes what fits into a reply and asks the same iterator for more, or
        calls again with the cookie of the last entry taken. An entry that exists all the while is listed exactly once;
        one that comes or goes meanwhile may be listed or not.
        """
        _refuse(errno.ENOTDIR)

    def readdirplus(
        self, ctx: Context, ino: int, fh: int, cookie: int
    ) -> Iterable[DirEntry] | AsyncIterable[DirEntry]:
        """As :meth:`readdir`, with ``entry`` filled in, so that the kernel need not look each name up.

        The default is made of :meth:`readdir` and :meth:`lookup`.
        """
        _refuse(errno.EOPNOTSUPP)

    def releasedir(self, ctx: Context, ino: int, fh: int, flags: int) -> MaybeAwaitable[None]:
        """The directory is closed for the last time."""

    def fsyncdir(self, ctx: Context, ino: int, fh: int, datasync: bool) -> MaybeAwaitable[None]:
        """Make the directory's entries durable."""

    def syncfs(self, ctx: Context, ino: int) -> MaybeAwaitable[None]:
        """Make everything durable (``syncfs(2)``; the kernel asks virtiofs and fuseblk mounts only)."""

    # --------------------------------------------------- extended attributes

    def getxattr(self, ctx: Context, ino: int, name: str) -> MaybeAwaitable[bytes]:
        """Return the value of the extended attribute ``name``. Raises ``ENODATA``, ``EOPNOTSUPP``."""
        _refuse(errno.EOPNOTSUPP)

    def setxattr(
        self, ctx: Context, ino: int, name: str, value: bytes, flags: XattrFlags
    ) -> MaybeAwaitable[None]:
        """Set it. ``CREATE`` raises ``EEXIST`` where it exists, ``REPLACE`` raises ``ENODATA`` where it does not."""
        _refuse(errno.EOPNOTSUPP)

    def listxattr(self, ctx: Context, ino: int) -> MaybeAwaitable[Iterable[str]]:
        """Return the names of the extended attributes."""
        return ()

    def removexattr(self, ctx: Context, ino: int, name: str) -> MaybeAwaitable[None]:
        """Remove it. Raises ``ENODATA``."""
        _refuse(errno.EOPNOTSUPP)


async def _opened_after(change: Awaitable[object]) -> Open:
    await change
    return Open()


def _seek_without_holes(size: int, offset: int, whence: int) -> int:
    """A file without holes is one piece of data with a hole at its end (``lseek(2)``)."""
    if not 0 <= offset < size:
        _refuse(errno.ENXIO)
    if whence == os.SEEK_DATA:
        return offset
    if whence == os.SEEK_HOLE:
        return size
    _refuse(errno.EINVAL)


async def _seek_without_holes_async(attr: Awaitable[Attr], offset: int, whence: int) -> int:
    return _seek_without_holes((await attr).size, offset, whence)

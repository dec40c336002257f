# SPDX-License-Identifier: Apache-2.0
"""`Door`: a file system in process, used as a program would use its mount, with neither a kernel nor root.

Each method is the system call of its name. The door does what the kernel does in front of a file system: it walks paths
with LOOKUP, follows symbolic links, keeps count of what it knows and sends FORGET, and it encodes every request and decodes every
reply with the core that a mount uses. What it does not do is cache, and check permissions: those are the kernel's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self, TypeVar

from instar.fs import ROOT_INO, RenameFlags, StatFs, XattrFlags
from instar.testing._channel import Channel
from instar.testing._door_file import DoorFile
from instar.wire import fuse as wire
from instar.wire.fuse import FattrFlags, Opcode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from instar.fs import FileSystem
    from instar.transport import MountOptions

__all__ = ["Door"]

_R = TypeVar("_R", bound=wire.Reply)
_MAX_LINKS: Final = 40  # MAXSYMLINKS, linux/namei.h
_LISTING: Final = 32768  # bytes of entries in one request, as the C library asks for
_XATTR_MAX: Final = 65536
_OWN_FLAGS: Final = os.O_CREAT | os.O_EXCL | os.O_NOCTTY  # the kernel acts on these itself


def _fail(code: int, path: str = "") -> OSError:
    return OSError(code, os.strerror(code), path)


class Door:
    r"""A file system, opened for use.

    >>> from instar.fs.memfs import MemFS
    >>> with Door(MemFS()) as door:
    ...     door.mkdir("/music")
    ...     door.write_text("/music/list", "one\n")
    ...     door.listdir("/music"), door.read_text("/music/list")
    (['list'], 'one\n')
    """

    def __init__(self, fs: FileSystem, options: MountOptions | None = None) -> None:
        self.channel = Channel(fs, options)
        self.umask = 0o022
        #: Whose the locks are that this door's user takes: one number for a process, as the kernel sends it.
        self.lock_owner = os.getpid()
        self._uid = os.geteuid()
        self._gid = os.getegid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, as an unmount does."""
        self.channel.close()

    @contextlib.contextmanager
    def as_user(self, uid: int, gid: int) -> Iterator[None]:
        """Make the calls in the body as another user."""
        before = self._uid, self._gid
        self._uid, self._gid = uid, gid
        try:
            yield
        finally:
            self._uid, self._gid = before

    # ---------------------------------------------------------------- walking

    def call(self, kind: type[_R], opcode: Opcode, message: wire.Request, nodeid: int) -> _R:
        """One request in the name of the current user, for what has no method here. Raises :class:`OSError`."""
        return self.channel.call(kind, opcode, message, nodeid, self._uid, self._gid)

    @contextlib.contextmanager
    def node(self, path: str, *, follow: bool = True) -> Iterator[int]:
        """The node number at ``path``, known to the file system for the length of the body. Raises :class:`OSError`."""
        with self._known() as known:
            yield self._walk(path, known, follow=follow)

    @contextlib.contextmanager
    def _known(self) -> Iterator[list[int]]:
        """A list for the nodes that a walk gets to know; those still in it at the end are forgotten."""
        known: list[int] = []
        try:
            yield known
        finally:
            for ino in known:
                self.forget(ino)

    def forget(self, ino: int) -> None:
        """Give back one reference to a node."""
        if ino != ROOT_INO:
            self.channel.post(Opcode.FUSE_FORGET, wire.Forget(1), ino)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        directory, name = os.path.split(path.rstrip("/"))
        if not name:
            raise _fail(errno.EBUSY, path)
        with self.node(directory) as ino:
            yield ino, name

    def _lookup(self, parent: int, name: str, known: list[int]) -> wire.Attributes | None:
        try:
            reply = self.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup(name), parent)
        except FileNotFoundError:
            return None
        if reply.nodeid == 0:  # "there is none", for the kernel to remember
            return None
        known.append(reply.nodeid)
        return reply.attr

    def _walk(self, path: str, known: list[int], *, follow: bool) -> int:
        ino, missing, _ = self._resolve(path, known, follow=follow)
        if missing:
            raise _fail(errno.ENOENT, path)
        return ino

    def _resolve(self, path: str, known: list[int], *, follow: bool) -> tuple[int, str, int]:
        """Walk ``path``: the node's number, ``""`` and its mode; where only the last name is missing, the number of the
        directory in which it would be, the name, and 0.
        """
        mode = stat.S_IFDIR
        todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
        trail, links = [ROOT_INO], 0
        while todo:
            name = todo.pop()
            if name == "..":
                del trail[max(1, len(trail) - 1) :]
                mode = stat.S_IFDIR
                continue
            attr = self._lookup(trail[-1], name, known)
            if attr is None:
                if todo:
                    raise _fail(errno.ENOENT, path)
                return trail[-1], name, 0
            mode = attr.mode
            if stat.S_ISLNK(attr.mode) and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise _fail(errno.ELOOP, path)
                target = self.call(
                    wire.ReadlinkReply, Opcode.FUSE_READLINK, wire.Readlink(), known[-1]
                ).target
                mode = stat.S_IFDIR  # that of where the link leads from, until the next name
                if target.startswith("/"):
                    del trail[1:]
                todo += [part for part in target.split("/") if part not in ("", ".")][::-1]
                continue
            if todo and not stat.S_ISDIR(attr.mode):
                raise _fail(errno.ENOTDIR, path)
            trail.append(known[-1])
        return trail[-1], "", mode

    # -------------------------------------------------------------- attributes

    def stat(self, path: str, *, follow: bool = True) -> wire.Attributes:
        """``stat(2)``, with the time of birth as ``statx(2)`` has it; times in nanoseconds."""
        with self.node(path, follow=follow) as ino:
            mask = int(wire.StatxMask.STATX_BASIC_STATS | wire.StatxMask.STATX_BTIME)
            reply = self.call(wire.StatxReply, Opcode.FUSE_STATX, wire.Statx(None, 0, mask), ino)
            return reply.attr

    def lstat(self, path: str) -> wire.Attributes:
        """``lstat(2)``."""
        return self.stat(path, follow=False)

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def chmod(self, path: str, mode: int) -> None:
        """``chmod(2)``."""
        self._setattr(path, wire.Setattr(FattrFlags.FATTR_MODE, mode=mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        """``chown(2)``; -1 leaves one as it is."""
        valid = (FattrFlags.FATTR_UID if uid >= 0 else 0) | (FattrFlags.FATTR_GID if gid >= 0 else 0)
        self._setattr(path, wire.Setattr(int(valid), uid=max(uid, 0), gid=max(gid, 0)))

    def truncate(self, path: str, size: int) -> None:
        """``truncate(2)``."""
        self._setattr(path, wire.Setattr(FattrFlags.FATTR_SIZE, size=size))

    def utime(self, path: str, ns: tuple[int, int]) -> None:
        """``utimensat(2)`` with access and modification time in nanoseconds."""
        valid = FattrFlags.FATTR_ATIME | FattrFlags.FATTR_MTIME
        self._setattr(path, wire.Setattr(int(valid), atime=ns[0], mtime=ns[1]))

    def _setattr(self, path: str, message: wire.Setattr) -> None:
        with self.node(path) as ino:
            self.call(wire.AttrReply, Opcode.FUSE_SETATTR, message, ino)

    def statfs(self, path: str = "/") -> StatFs:
        """``statvfs(3)``."""
        with self.node(path) as ino:
            reply = self.call(wire.StatfsReply, Opcode.FUSE_STATFS, wire.Statfs(), ino)
        return StatFs(
            reply.blocks,
            reply.bfree,
            reply.bavail,
            reply.files,
            reply.ffree,
            reply.bsize,
            reply.frsize,
            reply.namelen,
        )

    # ------------------------------------------------------------------- names

    def listdir(self, path: str = "/") -> list[str]:
        """The names in a directory, without ``.`` and ``..``, in the file system's order."""
        return [entry.name for entry in self.scandir(path)]

    def scandir(self, path: str = "/") -> list[wire.Dirent]:
        """The entries of a directory, read as a program reads them: in several requests, resumed by cookie."""
        with self.node(path) as ino:
            opened = self.call(
                wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY | os.O_DIRECTORY), ino
            )
            entries: list[wire.Dirent] = []
            try:
                while True:
                    offset = entries[-1].off if entries else 0
                    reply = self.call(
                        wire.ReaddirReply, Opcode.FUSE_READDIR, wire.Readdir(opened.fh, offset, _LISTING), ino
                    )
                    if not reply.entries:
                        break
                    entries += reply.entries
            finally:
                self.call(wire.EmptyReply, Opcode.FUSE_RELEASEDIR, wire.Releasedir(opened.fh, 0), ino)
        return [entry for entry in entries if entry.name not in (".", "..")]

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        """``mkdir(2)``."""
        with self._parent(path) as (parent, name):
            self._made(Opcode.FUSE_MKDIR, wire.Mkdir(name, mode, self.umask), parent)

    def mknod(self, path: str, mode: int, rdev: int = 0) -> None:
        """``mknod(2)``."""
        with self._parent(path) as (parent, name):
            self._made(Opcode.FUSE_MKNOD, wire.Mknod(name, mode, rdev, self.umask), parent)

    def symlink(self, target: str, path: str) -> None:
        """``symlink(2)``."""
        with self._parent(path) as (parent, name):
            self._made(Opcode.FUSE_SYMLINK, wire.Symlink(name, target), parent)

    def link(self, source: str, path: str) -> None:
        """``link(2)``."""
        with self.node(source, follow=False) as ino, self._parent(path) as (parent, name):
            self._made(Opcode.FUSE_LINK, wire.Link(ino, name), parent)

    def _made(self, opcode: Opcode, message: wire.Request, parent: int) -> None:
        reply = self.call(wire.EntryReply, opcode, message, parent)
        self.forget(reply.nodeid)

    def readlink(self, path: str) -> str:
        """``readlink(2)``."""
        with self.node(path, follow=False) as ino:
            reply = self.call(wire.ReadlinkReply, Opcode.FUSE_READLINK, wire.Readlink(), ino)
            return reply.target

    def unlink(self, path: str) -> None:
        """``unlink(2)``."""
        with self._parent(path) as (parent, name):
            self.call(wire.EmptyReply, Opcode.FUSE_UNLINK, wire.Unlink(name), parent)

    def rmdir(self, path: str) -> None:
        """``rmdir(2)``."""
        with self._parent(path) as (parent, name):
            self.call(wire.EmptyReply, Opcode.FUSE_RMDIR, wire.Rmdir(name), parent)

    def rename(self, source: str, path: str, flags: RenameFlags = RenameFlags.NONE) -> None:
        """``renameat2(2)``."""
        with self._parent(source) as (parent, name), self._parent(path) as (newparent, newname):
            message = wire.Rename(newparent, name, newname, int(flags))
            self.call(wire.EmptyReply, Opcode.FUSE_RENAME2, message, parent)

    # ------------------------------------------------------------------- files

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> DoorFile:
        """``open(2)``. Use the result as a context manager, or close it."""
        exclusive = bool(flags & os.O_CREAT and flags & os.O_EXCL)
        with self._known() as known:
            follow = not (exclusive or flags & os.O_NOFOLLOW)
            ino, missing, found = self._resolve(path, known, follow=follow)
            if missing:
                if not flags & os.O_CREAT:
                    raise _fail(errno.ENOENT, path)
                return self._create(ino, missing, flags, mode)
            if exclusive:
                raise _fail(errno.EEXIST, path)
            if stat.S_ISLNK(found):
                raise _fail(errno.ELOOP, path)
            # As the kernel: what it was not allowed to leave to OPEN it asks for in a request of its own.
            atomic = self.channel.agreed.flags & wire.InitFlags.FUSE_ATOMIC_O_TRUNC
            own = _OWN_FLAGS if atomic else _OWN_FLAGS | os.O_TRUNC
            opened = self.call(wire.OpenReply, Opcode.FUSE_OPEN, wire.Open(flags & ~own), ino)
            kept, known[:] = known[:], []
        file = DoorFile(self, ino, opened.fh, flags, kept)
        if flags & os.O_TRUNC and not atomic and stat.S_ISREG(found):
            try:
                self.call(wire.AttrReply, Opcode.FUSE_SETATTR, wire.Setattr(FattrFlags.FATTR_SIZE), ino)
            except OSError:
                file.close()
                raise
        return file

    def _create(self, parent: int, name: str, flags: int, mode: int) -> DoorFile:
        message = wire.Create(name, flags, stat.S_IFREG | mode, self.umask)
        made = self.call(wire.CreateReply, Opcode.FUSE_CREATE, message, parent)
        return DoorFile(self, made.entry.nodeid, made.open.fh, flags, [made.entry.nodeid])

    def read_bytes(self, path: str) -> bytes:
        """All of a file."""
        with self.open(path) as file:
            return file.read()

    def read_text(self, path: str) -> str:
        """All of a file, as UTF-8."""
        return self.read_bytes(path).decode()

    def write_bytes(self, path: str, data: bytes) -> int:
        """Make or replace a file; returns how many bytes were written."""
        with self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            return file.write(data)

    def write_text(self, path: str, text: str) -> None:
        """Make or replace a file with UTF-8 text."""
        self.write_bytes(path, text.encode())

    # ------------------------------------------------------ extended attributes

    def getxattr(self, path: str, name: str) -> bytes:
        """``getxattr(2)``."""
        with self.node(path) as ino:
            message = wire.Getxattr(name, _XATTR_MAX)
            reply = self.call(wire.DataReply, Opcode.FUSE_GETXATTR, message, ino)
            return reply.data

    def setxattr(self, path: str, name: str, value: bytes, flags: XattrFlags = XattrFlags.NONE) -> None:
        """``setxattr(2)``."""
        with self.node(path) as ino:
            self.call(wire.EmptyReply, Opcode.FUSE_SETXATTR, wire.Setxattr(name, value, int(flags)), ino)

    def listxattr(self, path: str) -> list[str]:
        """``listxattr(2)``."""
        with self.node(path) as ino:
            message = wire.Listxattr(_XATTR_MAX)
            reply = self.call(wire.DataReply, Opcode.FUSE_LISTXATTR, message, ino)
        return [os.fsdecode(name) for name in reply.data.split(b"\0") if name]

    def removexattr(self, path: str, name: str) -> None:
        """``removexattr(2)``."""
        with self.node(path) as ino:
            self.call(wire.EmptyReply, Opcode.FUSE_REMOVEXATTR, wire.Removexattr(name), ino)

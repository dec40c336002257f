# SPDX-License-Identifier: Apache-2.0
"""Attributes, extended attributes, the figures of the file system, and ioctls on files.

System calls that take a path only are given ``/proc/self/fd/N`` of the node's own descriptor: that is the very file, also
where it is a symbolic link or has no name any more.

Specification: chmod(2), chown(2), truncate(2), utimensat(2), xattr(7), statvfs(3), ioctl_fs(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from instar.edge import syscalls
from instar.edge.file_ioctl import FileIoctl, file_ioctl
from instar.fs._types import Attr, Context, Ioctl, IoctlFlags, SetAttr, StatFs, XattrFlags
from instar.fs.mirror._base import MirrorBase
from instar.fs.mirror._nodes import fail

if TYPE_CHECKING:
    from instar.fs._notify import Notifier

__all__ = ["Attributes"]

_SECOND: Final = 1_000_000_000  # ns
_IOCTLS: Final = {int(command): command for command in FileIoctl}
_CHANGING: Final = frozenset(
    {FileIoctl.SETFLAGS, FileIoctl.SETFLAGS32, FileIoctl.FSSETXATTR, FileIoctl.SETVERSION}
)
_OPENABLE: Final = frozenset({stat.S_IFREG, stat.S_IFDIR})


class Attributes(MirrorBase):
    """The operations on attributes."""

    def getattr(self, ctx: Context, ino: int, fh: int | None = None) -> Attr:
        """Return the attributes."""
        return self.nodes.attr(ino)

    def setattr(self, ctx: Context, ino: int, changes: SetAttr, fh: int | None = None) -> Attr:
        """Change owner, mode, size and times, in this order, which is that of what each clears in the others.

        If a later step fails the earlier ones are taken back.
        """
        self._check_writable()
        path = self._path(ino)
        uid, gid, mode, size = changes.uid, changes.gid, changes.mode, changes.size
        owns = uid is not None or gid is not None
        times = changes.atime is not None or changes.mtime is not None
        before = self.nodes.attr(ino) if owns + (mode is not None) + (size is not None) + times > 1 else None
        try:
            if owns:
                os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
            if mode is not None:
                os.chmod(path, mode & 0o7777)
            if size is not None:
                self._truncate(path, size, fh, kill=changes.kill_suidgid)
            elif not owns and (changes.kill_suidgid or not (times or mode is not None)):
                os.chown(path, -1, -1)  # clears set-ID bits as a change of owner does, and moves ctime
            if times:
                self._set_times(ino, changes)
        except OSError:
            if before is not None:
                with contextlib.suppress(OSError):  # the error that is on its way says more
                    os.chown(path, before.uid, before.gid)
                    os.chmod(path, before.mode & 0o7777)
            raise
        return self.nodes.attr(ino)

    def _set_times(self, ino: int, changes: SetAttr) -> None:
        syscalls.utimensat(
            b"",
            _timespec(changes.atime, now=changes.atime_now),
            _timespec(changes.mtime, now=changes.mtime_now),
            syscalls.AtFlags.EMPTY_PATH,
            dir_fd=self.nodes.fd(ino),
        )

    def _truncate(self, path: bytes, size: int, fh: int | None, *, kill: bool) -> None:
        target: int | bytes = path
        if fh is not None:
            file = self.files.get(fh)
            if file.flags & os.O_ACCMODE:
                target = self.files.unpark(file)
        if kill:
            self._clearing_set_ids(target, lambda: os.truncate(target, size))
        else:
            os.truncate(target, size)

    def readlink(self, ctx: Context, ino: int) -> str:
        """Return where a symbolic link points; it is not followed here."""
        if self.nodes.node(ino).kind != stat.S_IFLNK:
            fail(errno.EINVAL)
        return os.readlink(b"", dir_fd=self.nodes.fd(ino)).decode("utf-8", "surrogateescape")

    def statfs(self, ctx: Context, ino: int) -> StatFs:
        """Return the figures of the backing file system that holds the node."""
        found = os.fstatvfs(self.nodes.fd(ino))
        return StatFs(
            found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
            found.f_bsize, found.f_frsize, found.f_namemax,
        )  # fmt: skip

    def syncfs(self, ctx: Context, ino: int) -> None:
        """Make the backing file system durable."""
        fd = self.nodes.open_node(self.nodes.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.syncfs(fd)
        finally:
            os.close(fd)

    # ------------------------------------------------------------ extended attributes

    def getxattr(self, ctx: Context, ino: int, name: str) -> bytes:
        """Return a value, of any namespace."""
        return os.getxattr(self._path(ino), name)

    def setxattr(self, ctx: Context, ino: int, name: str, value: bytes, flags: XattrFlags) -> None:
        """Set a value. POSIX ACLs are values too (``system.posix_acl_access``); the backing file system obeys them."""
        self._check_writable()
        os.setxattr(self._path(ino), name, value, int(flags))

    def listxattr(self, ctx: Context, ino: int) -> list[str]:
        """Return the names. Those in ``trusted.``, which are for root (xattr(7)), the transport keeps from others."""
        return os.listxattr(self._path(ino))

    def removexattr(self, ctx: Context, ino: int, name: str) -> None:
        """Remove one."""
        self._check_writable()
        os.removexattr(self._path(ino), name)

    # ------------------------------------------------------------ ioctl

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
    ) -> Ioctl | Awaitable[Ioctl]:
        """Forward the commands of :class:`FileIoctl` to files and directories.

        Raises ``EPERM`` where one changes a file that is neither the caller's nor is the caller root.
        """
        command = _IOCTLS.get(cmd)
        node = self.nodes.node(ino)
        if command is None or node.kind not in _OPENABLE:
            fail(errno.ENOTTY)
        if command in _CHANGING:
            self._check_writable()
            # The kernel checks the owner for those that it knows (vfs_fileattr_set) and hands the others on; the backing
            # file system would ask for the rights of this process, and those of root do for any file.
            if ctx.uid not in (0, self.nodes.attr(ino).uid):
                fail(errno.EPERM)
        # By number, not by fh: a directory's handle is in another table, and a file may be open in a mode that does not do.
        fd = self.nodes.open_node(node, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            result, answer = file_ioctl(fd, command, data)
        finally:
            os.close(fd)
        done = Ioctl(result, answer[:out_size])
        if command in _CHANGING and self.notify is not None:
            return self._with_fresh_attributes(self.notify, ino, done)
        return done

    @staticmethod
    async def _with_fresh_attributes(notify: Notifier, ino: int, done: Ioctl) -> Ioctl:
        """These commands move ctime, and the kernel goes on showing what it knew before (``fuse_priv_ioctl``)."""
        await notify.write_back(ino)  # drops the attributes too, and says when
        return done


def _timespec(time: int | None, *, now: bool) -> tuple[int, int]:
    if time is None:
        return 0, syscalls.UTIME_OMIT
    if now:
        return 0, syscalls.UTIME_NOW
    return divmod(time, _SECOND)

# SPDX-License-Identifier: Apache-2.0
"""A mirror of a directory on pyfuse3, for comparison with Instar's MirrorFS.

Usage: pyfuse3_mirror.py MOUNTPOINT SOURCE [--asyncio] [--entry-timeout S] [--attr-timeout S] [--writeback]

What pyfuse3's documentation shows as the way to write one (a path for each inode, lstat for each lookup), with the
attributes filled by hand and with rename. System calls run in the event loop: a thread for each would cost more than the
call on a local disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, InodeT, ReaddirToken, RequestContext, SetattrFields
from pyfuse3_memfs import parser, serve


def refuse(error: OSError) -> FUSEError:
    """The errno of a system call that failed, as pyfuse3 wants it."""
    return FUSEError(error.errno or errno.EIO)


class Mirror(pyfuse3.Operations):
    """Shows a directory. Inode numbers are the ones below."""

    supports_dot_lookup = True

    def __init__(self, source: str, entry_timeout: float, attr_timeout: float, writeback: bool) -> None:
        super().__init__()
        self.enable_writeback_cache = writeback
        self._entry_timeout = entry_timeout
        self._attr_timeout = attr_timeout
        self._paths: dict[int, bytes] = {pyfuse3.ROOT_INODE: os.fsencode(source)}
        self._lookups: dict[int, int] = {}
        self._listings: dict[int, list[tuple[bytes, bytes]]] = {}
        self._next_listing = 1

    def _attributes(self, st: os.stat_result) -> EntryAttributes:
        attr = EntryAttributes()
        attr.st_ino = st.st_ino
        attr.st_mode = st.st_mode
        attr.st_nlink = st.st_nlink
        attr.st_uid = st.st_uid
        attr.st_gid = st.st_gid
        attr.st_rdev = st.st_rdev
        attr.st_size = st.st_size
        attr.st_blocks = st.st_blocks
        attr.st_blksize = st.st_blksize
        attr.st_atime_ns = st.st_atime_ns
        attr.st_mtime_ns = st.st_mtime_ns
        attr.st_ctime_ns = st.st_ctime_ns
        attr.entry_timeout = self._entry_timeout
        attr.attr_timeout = self._attr_timeout
        return attr

    def _enter(self, path: bytes) -> EntryAttributes:
        """Attributes of a name that the kernel is told about, counted as a lookup."""
        try:
            attr = self._attributes(os.lstat(path))
        except OSError as error:
            raise refuse(error) from None
        self._paths[attr.st_ino] = path
        self._lookups[attr.st_ino] = self._lookups.get(attr.st_ino, 0) + 1
        return attr

    async def lookup(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._enter(self._paths[parent_inode] + b"/" + name)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            left = self._lookups.get(inode, 0) - count
            if left > 0:
                self._lookups[inode] = left
            else:
                self._lookups.pop(inode, None)
                self._paths.pop(inode, None)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        try:
            attr = self._attributes(os.lstat(self._paths[inode]))
        except OSError as error:
            raise refuse(error) from None
        return attr

    async def setattr(
        self, inode: InodeT, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        path = self._paths[inode]
        where: bytes | int = path if fh is None else fh
        try:
            if fields.update_size:
                os.truncate(where, attr.st_size)
            if fields.update_mode:
                os.chmod(where, stat.S_IMODE(attr.st_mode))
            if fields.update_uid or fields.update_gid:
                os.chown(
                    path,
                    attr.st_uid if fields.update_uid else -1,
                    attr.st_gid if fields.update_gid else -1,
                    follow_symlinks=False,
                )
            if fields.update_atime or fields.update_mtime:
                st = os.lstat(path)
                times = (
                    attr.st_atime_ns if fields.update_atime else st.st_atime_ns,
                    attr.st_mtime_ns if fields.update_mtime else st.st_mtime_ns,
                )
                os.utime(path, None, ns=times, follow_symlinks=False)
            return self._attributes(os.lstat(path))
        except OSError as error:
            raise refuse(error) from None

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> bytes:
        try:
            return os.readlink(self._paths[inode])
        except OSError as error:
            raise refuse(error) from None

    def _own(self, path: bytes, ctx: RequestContext) -> None:
        if ctx.uid or ctx.gid:
            os.chown(path, ctx.uid, ctx.gid, follow_symlinks=False)

    async def mknod(
        self, parent_inode: InodeT, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        path = self._paths[parent_inode] + b"/" + name
        try:
            os.mknod(path, mode & ~ctx.umask, rdev)
            self._own(path, ctx)
        except OSError as error:
            raise refuse(error) from None
        return self._enter(path)

    async def mkdir(
        self, parent_inode: InodeT, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        path = self._paths[parent_inode] + b"/" + name
        try:
            os.mkdir(path, mode & ~ctx.umask)
            self._own(path, ctx)
        except OSError as error:
            raise refuse(error) from None
        return self._enter(path)

    async def symlink(
        self, parent_inode: InodeT, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        path = self._paths[parent_inode] + b"/" + name
        try:
            os.symlink(target, path)
            self._own(path, ctx)
        except OSError as error:
            raise refuse(error) from None
        return self._enter(path)

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        path = self._paths[new_parent_inode] + b"/" + new_name
        try:
            os.link(self._paths[inode], path, follow_symlinks=False)
        except OSError as error:
            raise refuse(error) from None
        return self._enter(path)

    async def unlink(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        try:
            os.unlink(self._paths[parent_inode] + b"/" + name)
        except OSError as error:
            raise refuse(error) from None

    async def rmdir(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        try:
            os.rmdir(self._paths[parent_inode] + b"/" + name)
        except OSError as error:
            raise refuse(error) from None

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: bytes,
        parent_inode_new: InodeT,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        if flags:
            raise FUSEError(errno.EINVAL)
        old = self._paths[parent_inode_old] + b"/" + name_old
        new = self._paths[parent_inode_new] + b"/" + name_new
        try:
            os.rename(old, new)
            number = os.lstat(new).st_ino
        except OSError as error:
            raise refuse(error) from None
        if number in self._paths:
            self._paths[number] = new

    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        # Pages come from pyfuse3's own unaligned memory, so O_DIRECT stops at the mount (bindfs does the same).
        try:
            return FileInfo(fh=os.open(self._paths[inode], flags & ~(os.O_CREAT | os.O_DIRECT)))
        except OSError as error:
            raise refuse(error) from None

    async def create(
        self, parent_inode: InodeT, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        path = self._paths[parent_inode] + b"/" + name
        try:
            fd = os.open(path, (flags | os.O_CREAT) & ~os.O_DIRECT, mode & ~ctx.umask)
            self._own(path, ctx)
        except OSError as error:
            raise refuse(error) from None
        return FileInfo(fh=fd), self._enter(path)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        try:
            return os.pread(fh, size, off)
        except OSError as error:
            raise refuse(error) from None

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        try:
            return os.pwrite(fh, buf, off)
        except OSError as error:
            raise refuse(error) from None

    async def flush(self, fh: int) -> None:
        return None

    async def release(self, fh: int) -> None:
        os.close(fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        try:
            os.fdatasync(fh) if datasync else os.fsync(fh)
        except OSError as error:
            raise refuse(error) from None

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> int:
        path = self._paths[inode]
        try:
            listing = [(entry.name, entry.path) for entry in os.scandir(path)]
        except OSError as error:
            raise refuse(error) from None
        handle = self._next_listing
        self._next_listing += 1
        self._listings[handle] = listing
        return handle

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        listing = self._listings[fh]
        for place in range(start_id, len(listing)):
            name, path = listing[place]
            try:
                attr = self._attributes(os.lstat(path))
            except FileNotFoundError:
                continue
            if not pyfuse3.readdir_reply(token, name, attr, place + 1):
                return
            self._paths[attr.st_ino] = path
            self._lookups[attr.st_ino] = self._lookups.get(attr.st_ino, 0) + 1

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        below = os.statvfs(self._paths[pyfuse3.ROOT_INODE])
        out = pyfuse3.StatvfsData()
        for field in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax"):
            setattr(out, f"f_{field}", getattr(below, f"f_{field}"))
        return out


if __name__ == "__main__":
    options = parser()
    options.add_argument("source")
    arguments = options.parse_args()
    # Numbers of inodes are the ones below; the root of the mount is 1, which ext4 gives to no file.
    serve(
        Mirror(arguments.source, arguments.entry_timeout, arguments.attr_timeout, arguments.writeback),
        arguments.mountpoint,
        "pyfuse3_mirror",
        arguments.asyncio,
    )

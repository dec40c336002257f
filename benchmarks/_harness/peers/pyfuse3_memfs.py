# SPDX-License-Identifier: Apache-2.0
"""An in-memory file system on pyfuse3, for comparison with Instar's MemFS.

Usage: pyfuse3_memfs.py MOUNTPOINT [--asyncio] [--entry-timeout S] [--attr-timeout S] [--writeback]

Written as a careful user of pyfuse3 would: inode level, one prepared EntryAttributes for each inode (so that a
reply costs no copying), bytearray contents, forget counted, the default number of worker tasks.
The API: https://pyfuse3.readthedocs.io/en/latest/
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import time
from collections.abc import Sequence

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, InodeT, ReaddirToken, RequestContext, SetattrFields


class Inode:
    """One file: its attributes, and its bytes, children or link target."""

    __slots__ = ("attr", "children", "data", "lookups", "parent", "target", "xattrs")

    def __init__(self, attr: EntryAttributes, parent: int) -> None:
        self.attr = attr
        self.data = bytearray()
        self.children: dict[bytes, int] | None = {} if stat.S_ISDIR(attr.st_mode) else None
        self.target = b""
        self.lookups = 0
        self.parent = parent
        self.xattrs: dict[bytes, bytes] = {}


class MemFS(pyfuse3.Operations):
    """All of a small tree: files, directories, links, xattrs, rename."""

    supports_dot_lookup = True

    def __init__(self, entry_timeout: float, attr_timeout: float, writeback: bool) -> None:
        super().__init__()
        self.enable_writeback_cache = writeback
        self._entry_timeout = entry_timeout
        self._attr_timeout = attr_timeout
        self._inodes: dict[int, Inode] = {}
        self._next = pyfuse3.ROOT_INODE
        self._listings: dict[int, list[tuple[bytes, int]]] = {}
        self._next_listing = 1
        self._new(pyfuse3.ROOT_INODE, stat.S_IFDIR | 0o755, os.getuid(), os.getgid())

    def _new(self, parent: int, mode: int, uid: int, gid: int, rdev: int = 0) -> Inode:
        attr = EntryAttributes()
        now = time.time_ns()
        attr.st_ino = self._next
        attr.st_mode = mode
        attr.st_nlink = 2 if stat.S_ISDIR(mode) else 1
        attr.st_uid, attr.st_gid, attr.st_rdev = uid, gid, rdev
        attr.st_atime_ns = attr.st_mtime_ns = attr.st_ctime_ns = now
        attr.st_blksize = 4096
        attr.entry_timeout, attr.attr_timeout = self._entry_timeout, self._attr_timeout
        inode = self._inodes[self._next] = Inode(attr, parent)
        self._next += 1
        return inode

    def _dir(self, inode: int) -> dict[bytes, int]:
        children = self._inodes[inode].children
        if children is None:
            raise FUSEError(errno.ENOTDIR)
        return children

    def _touch(self, inode: Inode) -> None:
        inode.attr.st_mtime_ns = inode.attr.st_ctime_ns = time.time_ns()

    def _resize(self, inode: Inode, size: int) -> None:
        data = inode.data
        if size < len(data):
            del data[size:]
        else:
            data.extend(bytes(size - len(data)))
        inode.attr.st_size = size
        inode.attr.st_blocks = (size + 511) >> 9

    def _drop(self, number: int) -> None:
        inode = self._inodes[number]
        if inode.attr.st_nlink == 0 and inode.lookups <= 0:
            del self._inodes[number]

    def _add(self, parent: int, name: bytes, mode: int, ctx: RequestContext, rdev: int = 0) -> Inode:
        children = self._dir(parent)
        if name in children:
            raise FUSEError(errno.EEXIST)
        inode = self._new(parent, mode, ctx.uid, ctx.gid, rdev)
        inode.lookups = 1
        children[name] = inode.attr.st_ino
        up = self._inodes[parent]
        if stat.S_ISDIR(mode):
            up.attr.st_nlink += 1
        self._touch(up)
        return inode

    async def lookup(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if name == b".":
            number = parent_inode
        elif name == b"..":
            number = self._inodes[parent_inode].parent
        else:
            found = self._dir(parent_inode).get(name)
            if found is None:
                raise FUSEError(errno.ENOENT)
            number = found
        inode = self._inodes[number]
        inode.lookups += 1
        return inode.attr

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for number, count in inode_list:
            self._inodes[number].lookups -= count
            self._drop(number)

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self._inodes[inode].attr

    async def setattr(
        self, inode: InodeT, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._inodes[inode]
        mine = node.attr
        if fields.update_size:
            self._resize(node, attr.st_size)
            mine.st_mtime_ns = time.time_ns()
        if fields.update_mode:
            mine.st_mode = stat.S_IFMT(mine.st_mode) | stat.S_IMODE(attr.st_mode)
        if fields.update_uid:
            mine.st_uid = attr.st_uid
        if fields.update_gid:
            mine.st_gid = attr.st_gid
        if fields.update_atime:
            mine.st_atime_ns = attr.st_atime_ns
        if fields.update_mtime:
            mine.st_mtime_ns = attr.st_mtime_ns
        mine.st_ctime_ns = time.time_ns()
        return mine

    async def readlink(self, inode: InodeT, ctx: RequestContext) -> bytes:
        return self._inodes[inode].target

    async def mknod(
        self, parent_inode: InodeT, name: bytes, mode: int, rdev: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._add(parent_inode, name, mode & ~ctx.umask, ctx, rdev).attr

    async def mkdir(
        self, parent_inode: InodeT, name: bytes, mode: int, ctx: RequestContext
    ) -> EntryAttributes:
        return self._add(parent_inode, name, stat.S_IFDIR | (mode & ~ctx.umask), ctx).attr

    async def symlink(
        self, parent_inode: InodeT, name: bytes, target: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        inode = self._add(parent_inode, name, stat.S_IFLNK | 0o777, ctx)
        inode.target = target
        inode.attr.st_size = len(target)
        return inode.attr

    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: bytes, ctx: RequestContext
    ) -> EntryAttributes:
        children = self._dir(new_parent_inode)
        if new_name in children:
            raise FUSEError(errno.EEXIST)
        node = self._inodes[inode]
        children[new_name] = inode
        node.attr.st_nlink += 1
        node.lookups += 1
        self._touch(self._inodes[new_parent_inode])
        return node.attr

    async def unlink(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        number = self._dir(parent_inode).pop(name, None)
        if number is None:
            raise FUSEError(errno.ENOENT)
        inode = self._inodes[number]
        inode.attr.st_nlink -= 1
        inode.attr.st_ctime_ns = time.time_ns()
        self._touch(self._inodes[parent_inode])
        self._drop(number)

    async def rmdir(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> None:
        children = self._dir(parent_inode)
        number = children.get(name)
        if number is None:
            raise FUSEError(errno.ENOENT)
        if self._dir(number):
            raise FUSEError(errno.ENOTEMPTY)
        del children[name]
        self._inodes[number].attr.st_nlink = 0
        up = self._inodes[parent_inode]
        up.attr.st_nlink -= 1
        self._touch(up)
        self._drop(number)

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: bytes,
        parent_inode_new: InodeT,
        name_new: bytes,
        flags: int,
        ctx: RequestContext,
    ) -> None:
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise FUSEError(errno.EINVAL)
        old, new = self._dir(parent_inode_old), self._dir(parent_inode_new)
        number = old.get(name_old)
        if number is None:
            raise FUSEError(errno.ENOENT)
        moved = self._inodes[number]
        is_dir = moved.children is not None
        victim_number = new.get(name_new)
        if victim_number is not None:
            if flags & pyfuse3.RENAME_NOREPLACE:
                raise FUSEError(errno.EEXIST)
            victim = self._inodes[victim_number]
            if victim.children:
                raise FUSEError(errno.ENOTEMPTY)
            victim.attr.st_nlink = 0 if victim.children is not None else victim.attr.st_nlink - 1
            if victim.children is not None:
                self._inodes[parent_inode_new].attr.st_nlink -= 1
        del old[name_old]
        new[name_new] = number
        if is_dir and parent_inode_old != parent_inode_new:
            self._inodes[parent_inode_old].attr.st_nlink -= 1
            self._inodes[parent_inode_new].attr.st_nlink += 1
            moved.parent = parent_inode_new
        moved.attr.st_ctime_ns = time.time_ns()
        self._touch(self._inodes[parent_inode_old])
        self._touch(self._inodes[parent_inode_new])
        if victim_number is not None:
            self._drop(victim_number)

    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=inode)

    async def create(
        self, parent_inode: InodeT, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        inode = self._add(parent_inode, name, stat.S_IFREG | (mode & ~ctx.umask), ctx)
        return FileInfo(fh=inode.attr.st_ino), inode.attr

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(memoryview(self._inodes[fh].data)[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        inode = self._inodes[fh]
        data, length = inode.data, len(buf)
        if off > len(data):
            data.extend(bytes(off - len(data)))
        data[off : off + length] = buf
        if len(data) != inode.attr.st_size:
            inode.attr.st_size = len(data)
            inode.attr.st_blocks = (len(data) + 511) >> 9
        self._touch(inode)
        return length

    async def flush(self, fh: int) -> None:
        return None

    async def release(self, fh: int) -> None:
        return None

    async def fsync(self, fh: int, datasync: bool) -> None:
        return None

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> int:
        # One listing for each open: the cookie is a place in it, and nobody searches for it again.
        handle = self._next_listing
        self._next_listing += 1
        self._listings[handle] = list(self._dir(inode).items())
        return handle

    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        listing = self._listings[fh]
        inodes = self._inodes
        for place in range(start_id, len(listing)):
            name, number = listing[place]
            inode = inodes.get(number)
            if inode is None:
                continue
            if not pyfuse3.readdir_reply(token, name, inode.attr, place + 1):
                return
            inode.lookups += 1

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        return None

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        out = pyfuse3.StatvfsData()
        out.f_bsize = out.f_frsize = 4096
        out.f_blocks = out.f_bfree = out.f_bavail = 1 << 24
        out.f_files = out.f_ffree = out.f_favail = 1 << 24
        out.f_namemax = 255
        return out

    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        value = self._inodes[inode].xattrs.get(name)
        if value is None:
            raise FUSEError(pyfuse3.ENOATTR)
        return value

    async def setxattr(self, inode: InodeT, name: bytes, value: bytes, ctx: RequestContext) -> None:
        self._inodes[inode].xattrs[name] = bytes(value)

    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[bytes]:
        return list(self._inodes[inode].xattrs)


def serve(operations: pyfuse3.Operations, mountpoint: str, fsname: str, use_asyncio: bool) -> None:
    """Mount, and serve until the mount goes away."""
    options = set(pyfuse3.default_options)
    options.discard("default_permissions")
    options |= {f"fsname={fsname}", "default_permissions", "allow_other"}
    pyfuse3.init(operations, mountpoint, options)
    try:
        if use_asyncio:
            import asyncio

            from pyfuse3 import asyncio as pyfuse3_asyncio

            pyfuse3_asyncio.enable()
            asyncio.run(pyfuse3.main())
        else:
            import trio

            trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


def parser() -> argparse.ArgumentParser:
    """The options that all of the pyfuse3 peers share."""
    options = argparse.ArgumentParser()
    options.add_argument("mountpoint")
    options.add_argument("--asyncio", action="store_true")
    options.add_argument("--entry-timeout", type=float, default=300.0)
    options.add_argument("--attr-timeout", type=float, default=300.0)
    options.add_argument("--writeback", action="store_true")
    return options


if __name__ == "__main__":
    arguments = parser().parse_args()
    serve(
        MemFS(arguments.entry_timeout, arguments.attr_timeout, arguments.writeback),
        arguments.mountpoint,
        "pyfuse3_memfs",
        arguments.asyncio,
    )

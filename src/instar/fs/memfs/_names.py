# SPDX-License-Identifier: Apache-2.0
"""The operations of a `MemFS` on names: they look up, make, move, remove and list."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from instar.fs._types import (
    ROOT_INO,
    Context,
    DirEntry,
    Entry,
    Open,
    RenameFlags,
    now_ns,
)
from instar.fs.memfs._inode import Inode
from instar.fs.memfs._space import NODE_SPACE
from instar.fs.memfs._store import NAME_MAX, Store, fail
from instar.fs.memfs._tables import tighten

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Names"]


class Names(Store):
    """Everything that a directory is asked."""

    def lookup(self, ctx: Context, parent: int, name: str) -> Entry:
        node = self._child(parent, name)
        return Entry(node.ino, node)

    def parent(self, ino: int) -> int:
        return self._node(ino).parent

    def forget(self, ino: int) -> None:
        node = self._nodes.get(ino)
        if node is not None and node.nlink == 0:
            del self._nodes[ino]
            self._space.forget(node)
            tighten(self._nodes)

    def mknod(self, ctx: Context, parent: int, name: str, mode: int, rdev: int) -> Entry:
        node = self._make(ctx, parent, name, mode, rdev)
        return Entry(node.ino, node)

    def mkdir(self, ctx: Context, parent: int, name: str, mode: int) -> Entry:
        node = self._make(ctx, parent, name, stat.S_IFDIR | mode)
        return Entry(node.ino, node)

    def symlink(self, ctx: Context, parent: int, name: str, target: str) -> Entry:
        node = self._make(ctx, parent, name, stat.S_IFLNK | 0o777, target=os.fsencode(target))
        return Entry(node.ino, node)

    def readlink(self, ctx: Context, ino: int) -> str:
        node = self._node(ino)
        target = node.target
        if target is None:
            fail(errno.EINVAL)
        if not target and node.nlink == 0:  # gone, and its space was needed
            fail(errno.ESTALE)
        return os.fsdecode(target)

    def link(self, ctx: Context, ino: int, newparent: int, newname: str) -> Entry:
        node, directory = self._node(ino), self._node(newparent)
        if node.children is not None:
            fail(errno.EPERM)
        if newname in self._directory(newparent):
            fail(errno.EEXIST)
        if len(os.fsencode(newname)) > NAME_MAX:
            fail(errno.ENAMETOOLONG)
        if directory.nlink == 0 or (node.nlink == 0 and node.opens == 0):
            fail(errno.ENOENT)
        if node.nlink:  # each further name counts as a node: it keeps as much in memory
            self._space.charge_nodes(NODE_SPACE)
        self._enter(directory, newname, node)
        node.nlink += 1
        directory.mtime = directory.ctime = node.ctime = now_ns()
        return Entry(node.ino, node)

    def unlink(self, ctx: Context, parent: int, name: str) -> None:
        node = self._child(parent, name)
        if node.children is not None:
            fail(errno.EISDIR)
        self._remove(parent, name, node)

    def rmdir(self, ctx: Context, parent: int, name: str) -> None:
        node = self._child(parent, name)
        if node.children is None:
            fail(errno.ENOTDIR)
        if node.children:
            fail(errno.ENOTEMPTY)
        self._remove(parent, name, node)

    def _remove(self, parent: int, name: str, node: Inode) -> None:
        directory = self._node(parent)
        children = self._directory(parent)
        del children[name]
        tighten(children)
        self._leave(directory, node)
        self._drop_link(node)
        directory.mtime = directory.ctime = node.ctime = now_ns()

    def rename(
        self, ctx: Context, parent: int, name: str, newparent: int, newname: str, flags: RenameFlags
    ) -> None:
        node = self._child(parent, name)
        existing = self._directory(newparent).get(newname)
        target = self._nodes[existing[1]] if existing is not None else None
        source_dir, target_dir = self._node(parent), self._node(newparent)
        if flags & RenameFlags.EXCHANGE:
            if flags != RenameFlags.EXCHANGE:
                fail(errno.EINVAL)
            if target is None:
                fail(errno.ENOENT)
            self._check_not_below(target, source_dir)
        elif target is not None and flags & RenameFlags.NOREPLACE:
            fail(errno.EEXIST)
        if len(os.fsencode(newname)) > NAME_MAX:
            fail(errno.ENAMETOOLONG)
        if target_dir.nlink == 0:
            fail(errno.ENOENT)
        self._check_not_below(node, target_dir)
        if target is node:
            return  # rename(2): two names of the same file, nothing is done
        exchange = bool(flags & RenameFlags.EXCHANGE)
        if target is not None and not exchange:
            self._check_replaceable(node, target)
        whiteout: Inode | None = None
        if flags & RenameFlags.WHITEOUT:  # first, because it may fail
            whiteout = self._new_inode(ctx, source_dir, stat.S_IFCHR)
            whiteout.nlink = 1
        now = now_ns()
        self._leave(source_dir, node)
        if target is not None:
            self._leave(target_dir, target)
            target.ctime = now
        self._enter(target_dir, newname, node)
        if exchange and target is not None:
            self._enter(source_dir, name, target)
        else:
            if target is not None:
                self._drop_link(target)
            if whiteout is not None:
                self._enter(source_dir, name, whiteout)
            else:
                children = self._directory(parent)
                del children[name]
                tighten(children)
        node.ctime = now
        for directory in (source_dir, target_dir):
            directory.mtime = directory.ctime = now

    def _check_not_below(self, node: Inode, directory: Inode) -> None:
        """Raise ``EINVAL`` if ``directory`` is ``node`` or lies below it: it would be moved into itself."""
        if node.children is None:
            return
        here = directory
        while True:
            if here is node:
                fail(errno.EINVAL)
            if here.ino == ROOT_INO or here.parent not in self._nodes:
                return
            here = self._nodes[here.parent]

    @staticmethod
    def _check_replaceable(node: Inode, target: Inode) -> None:
        if target.children is None:
            if node.children is not None:
                fail(errno.ENOTDIR)
        elif node.children is None:
            fail(errno.EISDIR)
        elif target.children:
            fail(errno.ENOTEMPTY)

    def opendir(self, ctx: Context, ino: int, flags: int) -> Open:
        self._directory(ino)
        return Open(flags & os.O_NOATIME, cache_dir=True, keep_cache=True)

    def readdir(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        children = self._directory(ino)
        node = self._node(ino)
        if not fh & os.O_NOATIME and node.atime <= node.mtime:
            node.atime = now_ns()
        nodes = self._nodes
        # A copy, because names may come and go between two replies; those that went are left out.
        # A name that was given to another node meanwhile has kept its place, and is listed with the new one.
        for name, line in list(children.items()):
            place = line[0]
            if place > cookie and (now := children.get(name)) is not None and now[0] == place:
                number = now[1]
                yield DirEntry(name, number, nodes[number].mode, place)

    def readdirplus(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        nodes = self._nodes
        for line in self.readdir(ctx, ino, fh, cookie):
            line.entry = Entry(line.ino, nodes[line.ino])
            yield line

# SPDX-License-Identifier: Apache-2.0
"""`Store`: the nodes of a `MemFS`, how they are made and counted, and what must hold of them."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NoReturn

from instar.fs import posix_acl
from instar.fs._filesystem import FileSystem
from instar.fs._types import (
    ROOT_INO,
    Context,
    now_ns,
)
from instar.fs.memfs._caller import rights_of
from instar.fs.memfs._inode import Inode
from instar.fs.memfs._pages import PAGE_SIZE, Pages
from instar.fs.memfs._space import LONG_TARGET, NODE_SPACE, Space, default_nodes, default_size, xattr_space

__all__ = ["MAX_SIZE", "NAME_MAX", "Store", "fail"]


_FOREVER: Final = 365 * 86400.0  # seconds: nothing changes behind the kernel's back
NAME_MAX: Final = 255  # bytes
MAX_SIZE: Final = (1 << 63) - PAGE_SIZE  # MAX_LFS_FILESIZE, to a whole page
_CAPABILITY: Final = "security.capability"


def fail(code: int) -> NoReturn:
    """Raise :class:`OSError` with an errno and its text."""
    raise OSError(code, os.strerror(code))


class Store(FileSystem):
    """Nodes by number, what they hold against the limits, directory entries against link counts."""

    entry_timeout = _FOREVER
    attr_timeout = _FOREVER
    negative_timeout = _FOREVER

    def __init__(
        self,
        *,
        size: int | None = None,
        inodes: int | None = None,
        mode: int = 0o755,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative, got {size}")
        if inodes is not None and inodes < 1:
            raise ValueError(f"inodes must be 1 (the root) or more, got {inodes}")
        if size is not None and size > MAX_SIZE:
            raise ValueError(f"size must be at most {MAX_SIZE} bytes, got {size}")
        self._space = Space(
            default_size() if size is None else size, default_nodes() if inodes is None else inodes
        )
        self._charge = self._space.charge_pages  # one bound method for all files
        self._next_ino = ROOT_INO
        self._nodes: dict[int, Inode] = {}
        context = Context(uid=os.geteuid() if uid is None else uid, gid=os.getegid() if gid is None else gid)
        root = self._new_inode(context, None, stat.S_IFDIR | (mode & 0o7777))
        root.parent = ROOT_INO
        root.nlink = 2

    def init(self) -> None:
        self._space.trimmer.start()  # the object may have been served before

    def destroy(self) -> None:
        self._space.trimmer.stop()

    def _node(self, ino: int) -> Inode:
        node = self._nodes.get(ino)
        if node is None:
            fail(errno.ESTALE)
        return node

    def _directory(self, ino: int) -> dict[str, tuple[int, int]]:
        children = self._node(ino).children
        if children is None:
            fail(errno.ENOTDIR)
        return children

    def _child(self, parent: int, name: str) -> Inode:
        child = self._directory(parent).get(name)
        if child is None:
            fail(errno.ENOENT)
        return self._nodes[child[1]]

    def _file(self, ino: int) -> tuple[Inode, Pages]:
        node = self._node(ino)
        if node.data is None:
            fail(errno.EISDIR if node.children is not None else errno.EINVAL)
        return node, node.data

    def _new_inode(
        self, ctx: Context, parent: Inode | None, mode: int, rdev: int = 0, target: bytes | None = None
    ) -> Inode:
        """Make a node that has no name yet: owner, group, mode and lists as ``open(2)`` and ``acl(5)`` say."""
        gid = ctx.gid
        xattrs: dict[str, bytes] | None = None
        is_dir = stat.S_ISDIR(mode)
        if parent is not None:
            if parent.mode & stat.S_ISGID:
                gid = parent.gid
                if is_dir:
                    mode |= stat.S_ISGID
            default = None if parent.xattrs is None else parent.xattrs.get(posix_acl.XATTR_DEFAULT)
            if stat.S_ISLNK(mode):
                pass
            elif default is None:
                mode &= ~ctx.umask
            else:
                mode, acl = posix_acl.inherit(posix_acl.decode(default), mode)
                xattrs = {posix_acl.XATTR_ACCESS: posix_acl.encode(acl)} if acl is not None else {}
                if is_dir:
                    xattrs[posix_acl.XATTR_DEFAULT] = default
        self._space.charge_node(xattrs, target)
        ino = self._next_ino
        self._next_ino = ino + 1
        now = now_ns()
        node = Inode(
            ino, mode, 0, ctx.uid, gid, rdev, atime=now, mtime=now, ctime=now, btime=now,
            data=Pages(self._charge) if stat.S_ISREG(mode) else None,
            target=target,
            children={} if is_dir else None,
            xattrs=xattrs or None,
        )  # fmt: skip
        node.blocks = 0
        if target is not None:
            node.size = len(target)
            node.blocks = PAGE_SIZE // 512 if len(target) >= LONG_TARGET else 0
        self._nodes[ino] = node
        return node

    @staticmethod
    def _enter(parent: Inode, name: str, node: Inode) -> None:
        """Put a name into a directory. A name that is there already keeps its cookie, so that a listing under way
        shows it once.
        """
        assert parent.children is not None
        old = parent.children.get(name)
        if old is None:
            parent.children[name] = (parent.next_cookie, node.ino)
            parent.next_cookie += 1
        else:
            parent.children[name] = (old[0], node.ino)
        if node.children is not None:
            node.parent = parent.ino
            parent.nlink += 1

    @staticmethod
    def _leave(parent: Inode, node: Inode) -> None:
        """Undo what :meth:`_enter` counted for a directory; the name itself is the caller's to remove or replace."""
        if node.children is not None:
            parent.nlink -= 1

    def _drop_link(self, node: Inode) -> None:
        """One name less. A node without names goes with the kernel's last reference, see :meth:`forget`."""
        if node.children is not None:
            node.nlink = 0
        else:
            node.nlink -= 1
            if node.nlink:
                self._space.charge_nodes(-NODE_SPACE)
        self._free_unused(node)

    def _free_unused(self, node: Inode) -> None:
        """Note that a node has neither a name nor an open file any more, if so."""
        if node.nlink == 0 and node.opens == 0:
            self._space.went(node)

    def _make(
        self, ctx: Context, parent: int, name: str, mode: int, rdev: int = 0, target: bytes | None = None
    ) -> Inode:
        directory = self._node(parent)
        children = directory.children
        if children is None:
            fail(errno.ENOTDIR)
        if name in children:
            fail(errno.EEXIST)
        if len(name) > NAME_MAX or (not name.isascii() and len(os.fsencode(name)) > NAME_MAX):
            fail(errno.ENAMETOOLONG)
        if directory.nlink == 0:
            fail(errno.ENOENT)
        node = self._new_inode(ctx, directory, mode, rdev, target)
        node.nlink = 1 if node.children is None else 2
        self._enter(directory, name, node)
        directory.mtime = directory.ctime = node.ctime
        return node

    def _resize(self, ino: int, size: int) -> None:
        node, data = self._file(ino)
        if size > MAX_SIZE:
            fail(errno.EFBIG)
        if size < node.size:
            data.truncate(size)
        node.size = size
        node.blocks = len(data) * (PAGE_SIZE // 512)

    @staticmethod
    def _doomed_set_ids(ctx: Context, node: Inode) -> int:
        """The set-ID bits that a caller may not leave on a file that it changes (``chown(2)``, ``write(2)``).

        The set-group-ID bit of a file that its group may not execute stays for the file's group and with ``CAP_FSETID``
        (kernel commit "attr: add in_group_or_capable()", 6.2). The protocol says of neither; where it cannot be known the
        bit stays, as ``FUSE_HANDLE_KILLPRIV_V2`` in ``linux/fuse.h`` has it.
        """
        mode = node.mode & (stat.S_ISUID | stat.S_ISGID)
        if not mode & stat.S_ISGID or node.mode & stat.S_IXGRP:
            return mode
        if ctx.gid != node.gid:
            rights = rights_of(ctx)
            if rights is not None and not rights.may_keep_sgid(node.gid):
                return mode
        return mode & ~stat.S_ISGID

    def _kill_suidgid(self, ctx: Context, node: Inode) -> None:
        """Clear what would let another user run the file with its owner's rights (``chown(2)``, ``write(2)``)."""
        if node.mode & (stat.S_ISUID | stat.S_ISGID):
            node.mode &= ~self._doomed_set_ids(ctx, node)
        self._drop_xattr(node, _CAPABILITY)

    def _drop_xattr(self, node: Inode, name: str) -> None:
        """Remove an extended attribute if it is there, and give its space back."""
        xattrs = node.xattrs
        if xattrs is not None and (value := xattrs.pop(name, None)) is not None:
            self._space.charge_nodes(-xattr_space(name, value))
            node.xattrs = xattrs or None

    def _put_xattr(self, node: Inode, name: str, value: bytes) -> None:
        """Set an extended attribute. Raises ``ENOSPC`` before anything has changed."""
        before = node.xattrs
        old = None if before is None else before.get(name)
        self._space.charge_nodes(len(value) - len(old) if old is not None else xattr_space(name, value))
        if before is not None and node.xattrs is None and old is not None:
            # The node is gone itself, and its own attributes had to make room.
            try:
                self._space.charge_nodes(xattr_space(name, old))
            except OSError:
                self._space.charge_nodes(len(old) - len(value))
                raise
        node.xattrs = node.xattrs or {}
        node.xattrs[name] = value

    def assert_invariants(self) -> None:
        """Raise :class:`AssertionError` if the tree, the link counts or the counts of space are not consistent."""
        names: dict[int, int] = {}
        subdirectories: dict[int, int] = {}
        for node in self._nodes.values():
            node.assert_invariants()
            for _, number in (node.children or {}).values():
                assert number in self._nodes, (node.ino, number)
                names[number] = names.get(number, 0) + 1
                if self._nodes[number].children is not None:
                    subdirectories[node.ino] = subdirectories.get(node.ino, 0) + 1
                    assert self._nodes[number].parent == node.ino, number
        for node in self._nodes.values():
            if node.children is None:
                assert node.nlink == names.get(node.ino, 0), node.ino
            elif node.nlink:
                assert node.nlink == 2 + subdirectories.get(node.ino, 0), node.ino
        self._space.assert_invariants(self._nodes)

# SPDX-License-Identifier: Apache-2.0
"""The operations of a `MemFS` on attributes, extended ones and ACLs included."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from instar.fs import posix_acl
from instar.fs._types import (
    Attr,
    Context,
    SetAttr,
    StatFs,
    XattrFlags,
    now_ns,
)
from instar.fs.memfs._caller import Capability, rights_of
from instar.fs.memfs._inode import Inode
from instar.fs.memfs._pages import PAGE_SIZE
from instar.fs.memfs._space import NODE_SPACE
from instar.fs.memfs._store import NAME_MAX, Store, fail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Attributes"]


_XATTR_SIZE_MAX: Final = 65536  # XATTR_SIZE_MAX and XATTR_LIST_MAX, linux/limits.h
_XATTR_NAMESPACES: Final = ("user.", "trusted.", "security.")


class Attributes(Store):
    """Everything that a node is asked about itself."""

    def getattr(self, ctx: Context, ino: int, fh: int | None = None) -> Attr:
        return self._node(ino)

    def setattr(self, ctx: Context, ino: int, changes: SetAttr, fh: int | None = None) -> Attr:
        node = self._node(ino)
        if changes.kill_suidgid and fh is None and not node.writers and ctx.uid != node.uid:
            self._check_kill(ctx, node, changes)
        now = now_ns()
        if changes.size is not None:
            self._resize(ino, changes.size)
            node.mtime = now
        if changes.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | (changes.mode & 0o7777)
            self._update_acl_mode(node)
        if changes.uid is not None or changes.gid is not None:
            if changes.mode is None and node.children is None:
                self._kill_suidgid(ctx, node)  # before the group changes: it is the old one that counts
            node.uid = node.uid if changes.uid is None else changes.uid
            node.gid = node.gid if changes.gid is None else changes.gid
        elif changes.kill_suidgid and node.children is None:
            self._kill_suidgid(ctx, node)
        if changes.atime is not None:
            node.atime = changes.atime
        if changes.mtime is not None:
            node.mtime = changes.mtime
        node.ctime = now if changes.ctime is None else changes.ctime
        return node

    def _check_kill(self, ctx: Context, node: Inode, changes: SetAttr) -> None:
        """Raise ``EPERM`` for ``chown(path, -1, -1)`` by a stranger on a file that would lose a set-ID bit by it.

        The kernel sends the same request for a write, where a stranger who may write may also clear the bits. But without a
        file that is open for writing there is no write.
        """
        if any(
            value is not None
            for value in (changes.mode, changes.uid, changes.gid, changes.size, changes.atime, changes.mtime)
        ):
            return
        if node.children is None and self._doomed_set_ids(ctx, node):
            rights = rights_of(ctx)
            if not (rights.capabilities & Capability.FOWNER if rights is not None else ctx.uid == 0):
                fail(errno.EPERM)

    @staticmethod
    def _update_acl_mode(node: Inode) -> None:
        if node.xattrs is not None and posix_acl.XATTR_ACCESS in node.xattrs:
            entries = posix_acl.chmod(posix_acl.decode(node.xattrs[posix_acl.XATTR_ACCESS]), node.mode)
            node.xattrs[posix_acl.XATTR_ACCESS] = posix_acl.encode(entries)

    def statfs(self, ctx: Context, ino: int) -> StatFs:
        space = self._space
        free = space.free_pages()
        return StatFs(
            blocks=space.page_limit,
            bfree=free,
            bavail=free,
            files=space.node_limit // NODE_SPACE,
            ffree=space.free_nodes(),
            bsize=PAGE_SIZE,
            frsize=PAGE_SIZE,
            namelen=NAME_MAX,
        )

    def getxattr(self, ctx: Context, ino: int, name: str) -> bytes:
        xattrs = self._node(ino).xattrs
        if xattrs is None or name not in xattrs:
            self._check_xattr_name(name)
            fail(errno.ENODATA)
        return xattrs[name]

    def setxattr(self, ctx: Context, ino: int, name: str, value: bytes, flags: XattrFlags) -> None:
        node = self._node(ino)
        self._check_xattr_name(name)
        xattrs: Mapping[str, bytes] = node.xattrs or {}
        if flags & XattrFlags.CREATE and name in xattrs:
            fail(errno.EEXIST)
        if flags & XattrFlags.REPLACE and name not in xattrs:
            fail(errno.ENODATA)
        if len(value) > _XATTR_SIZE_MAX:
            fail(errno.E2BIG)
        if (
            sum(len(os.fsencode(key)) + 1 for key in xattrs if key != name) + len(os.fsencode(name))
            >= _XATTR_SIZE_MAX
        ):
            fail(errno.ENOSPC)
        if name == posix_acl.XATTR_ACCESS:
            bits, minimal = posix_acl.mode_of(posix_acl.decode(value))
            if minimal:
                self._drop_xattr(node, name)
            else:
                self._put_xattr(node, name, value)
            node.mode = (node.mode & ~0o777) | bits
        elif name == posix_acl.XATTR_DEFAULT:
            if node.children is None:
                fail(errno.EACCES)
            if posix_acl.decode(value):
                self._put_xattr(node, name, value)
            else:
                self._drop_xattr(node, name)
        else:
            self._put_xattr(node, name, value)
        node.ctime = now_ns()

    def listxattr(self, ctx: Context, ino: int) -> Iterable[str]:
        return tuple(self._node(ino).xattrs or ())

    def removexattr(self, ctx: Context, ino: int, name: str) -> None:
        node = self._node(ino)
        self._check_xattr_name(name)
        if node.xattrs is None or name not in node.xattrs:
            if name in (posix_acl.XATTR_ACCESS, posix_acl.XATTR_DEFAULT):
                return
            fail(errno.ENODATA)
        self._drop_xattr(node, name)
        node.ctime = now_ns()

    @staticmethod
    def _check_xattr_name(name: str) -> None:
        if name in _XATTR_NAMESPACES:  # a namespace and nothing in it
            fail(errno.EINVAL)
        if not name.startswith(_XATTR_NAMESPACES) and name not in (
            posix_acl.XATTR_ACCESS,
            posix_acl.XATTR_DEFAULT,
        ):
            fail(errno.EOPNOTSUPP)

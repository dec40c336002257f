# SPDX-License-Identifier: Apache-2.0
"""`MemFS`: a complete file system in memory.

Nodes live in one dictionary by number; numbers are never used twice. A directory maps names to node numbers. A node
goes when it has no name left and the kernel has forgotten it, which covers files that are open after ``unlink``.
Everything changes through the mount alone, so the kernel may cache names, attributes and listings without end.

Permissions are the kernel's to check (the mount has ``default_permissions``); what a file system must do itself
under that option is here: ownership of new nodes, set-ID bits, ACL inheritance, the sticky semantics of names.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NoReturn

from instar.fs import posix_acl
from instar.fs._filesystem import FileSystem
from instar.fs._types import (
    ROOT_INO,
    Attr,
    Context,
    DirEntry,
    Entry,
    FallocateFlags,
    Open,
    RenameFlags,
    SetAttr,
    StatFs,
    WriteFlags,
    XattrFlags,
    now_ns,
)
from instar.fs.memfs._inode import Inode
from instar.fs.memfs._pages import PAGE_SIZE, Pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MemFS"]

_FOREVER: Final = 365 * 86400.0  # seconds: nothing changes behind the kernel's back
_NAME_MAX: Final = 255  # bytes
_XATTR_SIZE_MAX: Final = 65536  # XATTR_SIZE_MAX and XATTR_LIST_MAX, linux/limits.h
_MAX_SIZE: Final = (1 << 63) - PAGE_SIZE  # MAX_LFS_FILESIZE, to a whole page
_DAY_NS: Final = 86_400_000_000_000
_XATTR_NAMESPACES: Final = ("user.", "trusted.", "security.")
_CAPABILITY: Final = "security.capability"
_KEEP_SIZE: Final = FallocateFlags.KEEP_SIZE
_SUPPORTED_FALLOCATE: Final = frozenset(
    {
        FallocateFlags.ALLOCATE,
        _KEEP_SIZE,
        _KEEP_SIZE | FallocateFlags.PUNCH_HOLE,
        FallocateFlags.ZERO_RANGE,
        FallocateFlags.ZERO_RANGE | _KEEP_SIZE,
        FallocateFlags.COLLAPSE_RANGE,
        FallocateFlags.INSERT_RANGE,
    }
)


def _fail(code: int) -> NoReturn:
    raise OSError(code, os.strerror(code))


def _half_of_memory() -> int:
    """The default size limit in bytes, that of tmpfs: half of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


class MemFS(FileSystem):
    """A file system in memory.

    ``size`` limits the content of its files in bytes (default: half of the machine's memory), ``inodes`` the number of
    nodes (default: no limit); beyond them operations raise ``ENOSPC``. ``mode``, ``uid`` and ``gid`` are the root
    directory's.

    >>> fs = MemFS(size=1 << 20)
    >>> entry, opened = fs.create(Context(), ROOT_INO, "hello", 0o644, os.O_RDWR)
    >>> fs.write(Context(), entry.ino, opened.fh, 0, memoryview(b"world"), WriteFlags.NONE)
    5
    >>> fs.read(Context(), entry.ino, opened.fh, 0, 100)
    b'world'
    """

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
        self._page_limit = (_half_of_memory() if size is None else size) // PAGE_SIZE
        self._pages_used = 0
        self._inode_limit = inodes
        self._next_ino = ROOT_INO
        self._nodes: dict[int, Inode] = {}
        context = Context(uid=os.geteuid() if uid is None else uid, gid=os.getegid() if gid is None else gid)
        root = self._new_inode(context, None, stat.S_IFDIR | (mode & 0o7777))
        root.parent = ROOT_INO
        root.nlink = 2

    # ----------------------------------------------------------------- nodes

    def _charge(self, pages: int) -> None:
        used = self._pages_used + pages
        if pages > 0 and used > self._page_limit:
            _fail(errno.ENOSPC)
        self._pages_used = used

    def _node(self, ino: int) -> Inode:
        node = self._nodes.get(ino)
        if node is None:
            _fail(errno.ESTALE)
        return node

    def _directory(self, ino: int) -> dict[str, tuple[int, int]]:
        children = self._node(ino).children
        if children is None:
            _fail(errno.ENOTDIR)
        return children

    def _child(self, parent: int, name: str) -> Inode:
        child = self._directory(parent).get(name)
        if child is None:
            _fail(errno.ENOENT)
        return self._nodes[child[1]]

    def _file(self, ino: int) -> tuple[Inode, Pages]:
        node = self._node(ino)
        if node.data is None:
            _fail(errno.EISDIR if node.children is not None else errno.EINVAL)
        return node, node.data

    def _new_inode(self, ctx: Context, parent: Inode | None, mode: int, rdev: int = 0) -> Inode:
        """Make a node that has no name yet: owner, group, mode and lists as ``open(2)`` and ``acl(5)`` say."""
        if self._inode_limit is not None and len(self._nodes) >= self._inode_limit:
            _fail(errno.ENOSPC)
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
        ino = self._next_ino
        self._next_ino = ino + 1
        now = now_ns()
        node = Inode(
            ino, mode, 0, ctx.uid, gid, rdev, atime=now, mtime=now, ctime=now, btime=now,
            data=Pages(self._charge) if stat.S_ISREG(mode) else None,
            children={} if is_dir else None,
            xattrs=xattrs or None,
        )  # fmt: skip
        node.blocks = 0
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

    @staticmethod
    def _drop_link(node: Inode) -> None:
        """One name less. A node without names goes with the kernel's last reference, see :meth:`forget`."""
        node.nlink = 0 if node.children is not None else node.nlink - 1

    def _make(self, ctx: Context, parent: int, name: str, mode: int, rdev: int = 0) -> Inode:
        directory = self._node(parent)
        children = directory.children
        if children is None:
            _fail(errno.ENOTDIR)
        if name in children:
            _fail(errno.EEXIST)
        if len(name) > _NAME_MAX or (not name.isascii() and len(os.fsencode(name)) > _NAME_MAX):
            _fail(errno.ENAMETOOLONG)
        if directory.nlink == 0:
            _fail(errno.ENOENT)
        node = self._new_inode(ctx, directory, mode, rdev)
        node.nlink = 1 if node.children is None else 2
        self._enter(directory, name, node)
        directory.mtime = directory.ctime = node.ctime
        return node

    # ----------------------------------------------------------------- names

    def lookup(self, ctx: Context, parent: int, name: str) -> Entry:
        node = self._child(parent, name)
        return Entry(node.ino, node)

    def parent(self, ino: int) -> int:
        return self._node(ino).parent

    def forget(self, ino: int) -> None:
        node = self._nodes.get(ino)
        if node is not None and node.nlink == 0:
            del self._nodes[ino]
            if node.data is not None:
                node.data.clear()

    def mknod(self, ctx: Context, parent: int, name: str, mode: int, rdev: int) -> Entry:
        node = self._make(ctx, parent, name, mode, rdev)
        return Entry(node.ino, node)

    def mkdir(self, ctx: Context, parent: int, name: str, mode: int) -> Entry:
        node = self._make(ctx, parent, name, stat.S_IFDIR | mode)
        return Entry(node.ino, node)

    def symlink(self, ctx: Context, parent: int, name: str, target: str) -> Entry:
        node = self._make(ctx, parent, name, stat.S_IFLNK | 0o777)
        node.target = target
        node.size = len(os.fsencode(target))
        return Entry(node.ino, node)

    def readlink(self, ctx: Context, ino: int) -> str:
        target = self._node(ino).target
        if target is None:
            _fail(errno.EINVAL)
        return target

    def link(self, ctx: Context, ino: int, newparent: int, newname: str) -> Entry:
        node, directory = self._node(ino), self._node(newparent)
        if node.children is not None:
            _fail(errno.EPERM)
        if newname in self._directory(newparent):
            _fail(errno.EEXIST)
        if len(os.fsencode(newname)) > _NAME_MAX:
            _fail(errno.ENAMETOOLONG)
        if directory.nlink == 0:
            _fail(errno.ENOENT)
        self._enter(directory, newname, node)
        node.nlink += 1
        directory.mtime = directory.ctime = node.ctime = now_ns()
        return Entry(node.ino, node)

    def unlink(self, ctx: Context, parent: int, name: str) -> None:
        node = self._child(parent, name)
        if node.children is not None:
            _fail(errno.EISDIR)
        self._remove(parent, name, node)

    def rmdir(self, ctx: Context, parent: int, name: str) -> None:
        node = self._child(parent, name)
        if node.children is None:
            _fail(errno.ENOTDIR)
        if node.children:
            _fail(errno.ENOTEMPTY)
        self._remove(parent, name, node)

    def _remove(self, parent: int, name: str, node: Inode) -> None:
        directory = self._node(parent)
        del self._directory(parent)[name]
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
                _fail(errno.EINVAL)
            if target is None:
                _fail(errno.ENOENT)
            self._check_not_below(target, source_dir)
        elif target is not None and flags & RenameFlags.NOREPLACE:
            _fail(errno.EEXIST)
        if len(os.fsencode(newname)) > _NAME_MAX:
            _fail(errno.ENAMETOOLONG)
        if target_dir.nlink == 0:
            _fail(errno.ENOENT)
        self._check_not_below(node, target_dir)
        if target is node:
            return  # rename(2): two names of the same file, nothing is done
        exchange = bool(flags & RenameFlags.EXCHANGE)
        if target is not None and not exchange:
            self._check_replaceable(node, target)
        whiteout: Inode | None = None
        if flags & RenameFlags.WHITEOUT:  # first, because it may fail
            whiteout = self._new_inode(Context(), None, stat.S_IFCHR)
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
                del self._directory(parent)[name]
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
                _fail(errno.EINVAL)
            if here.ino == ROOT_INO or here.parent not in self._nodes:
                return
            here = self._nodes[here.parent]

    @staticmethod
    def _check_replaceable(node: Inode, target: Inode) -> None:
        if target.children is None:
            if node.children is not None:
                _fail(errno.ENOTDIR)
        elif node.children is None:
            _fail(errno.EISDIR)
        elif target.children:
            _fail(errno.ENOTEMPTY)

    # ------------------------------------------------------------ attributes

    def getattr(self, ctx: Context, ino: int, fh: int | None = None) -> Attr:
        return self._node(ino)

    def setattr(self, ctx: Context, ino: int, changes: SetAttr, fh: int | None = None) -> Attr:
        node = self._node(ino)
        now = now_ns()
        if changes.size is not None:
            self._resize(ino, changes.size)
            node.mtime = now
        if changes.mode is not None:
            node.mode = stat.S_IFMT(node.mode) | (changes.mode & 0o7777)
            self._update_acl_mode(node)
        if changes.uid is not None or changes.gid is not None:
            node.uid = node.uid if changes.uid is None else changes.uid
            node.gid = node.gid if changes.gid is None else changes.gid
            if changes.mode is None and node.children is None:
                self._kill_suidgid(node)
        elif changes.kill_suidgid:
            self._kill_suidgid(node)
        if changes.atime is not None:
            node.atime = changes.atime
        if changes.mtime is not None:
            node.mtime = changes.mtime
        node.ctime = now if changes.ctime is None else changes.ctime
        return node

    def _resize(self, ino: int, size: int) -> None:
        node, data = self._file(ino)
        if size > _MAX_SIZE:
            _fail(errno.EFBIG)
        if size < node.size:
            data.truncate(size)
        node.size = size
        node.blocks = len(data) * (PAGE_SIZE // 512)

    @staticmethod
    def _kill_suidgid(node: Inode) -> None:
        """Clear what would let another user run the file with its owner's rights (``chown(2)``, ``write(2)``)."""
        node.mode &= ~stat.S_ISUID
        if node.mode & stat.S_IXGRP:
            node.mode &= ~stat.S_ISGID
        if node.xattrs is not None:
            node.xattrs.pop(_CAPABILITY, None)

    @staticmethod
    def _update_acl_mode(node: Inode) -> None:
        if node.xattrs is not None and posix_acl.XATTR_ACCESS in node.xattrs:
            entries = posix_acl.chmod(posix_acl.decode(node.xattrs[posix_acl.XATTR_ACCESS]), node.mode)
            node.xattrs[posix_acl.XATTR_ACCESS] = posix_acl.encode(entries)

    def statfs(self, ctx: Context, ino: int) -> StatFs:
        free = self._page_limit - self._pages_used
        limit = self._inode_limit if self._inode_limit is not None else (1 << 32) - 1
        return StatFs(
            blocks=self._page_limit,
            bfree=free,
            bavail=free,
            files=limit,
            ffree=limit - len(self._nodes),
            bsize=PAGE_SIZE,
            frsize=PAGE_SIZE,
            namelen=_NAME_MAX,
        )

    # ------------------------------------------------------------ open files

    def open(self, ctx: Context, ino: int, flags: int) -> Open:
        node, _ = self._file(ino)
        if flags & os.O_TRUNC:
            self._resize(ino, 0)
            node.mtime = node.ctime = now_ns()
        return Open(keep_cache=not flags & os.O_TRUNC)

    def create(self, ctx: Context, parent: int, name: str, mode: int, flags: int) -> tuple[Entry, Open]:
        node = self._make(ctx, parent, name, stat.S_IFREG | stat.S_IMODE(mode))
        return Entry(node.ino, node), Open(keep_cache=True)

    def tmpfile(self, ctx: Context, parent: int, mode: int, flags: int) -> tuple[Entry, Open]:
        self._directory(parent)
        node = self._new_inode(ctx, self._node(parent), stat.S_IFREG | stat.S_IMODE(mode))
        return Entry(node.ino, node), Open(keep_cache=True)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> bytes:
        node, data = self._file(ino)
        atime = node.atime
        if atime <= node.mtime or atime <= node.ctime:  # relatime, as every local file system is mounted
            node.atime = now_ns()
        else:
            now = now_ns()
            if now - atime > _DAY_NS:
                node.atime = now
        return data.read(offset, min(size, node.size - offset))

    def write(self, ctx: Context, ino: int, fh: int, offset: int, data: memoryview, flags: WriteFlags) -> int:
        node, pages = self._file(ino)
        size = len(data)
        end = offset + size
        if end > _MAX_SIZE:
            _fail(errno.EFBIG)
        pages.write(offset, data)
        node.size = max(node.size, end)
        node.blocks = len(pages) * (PAGE_SIZE // 512)
        node.mtime = node.ctime = now_ns()
        if flags & WriteFlags.KILL_SUIDGID:
            self._kill_suidgid(node)
        return size

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> int:
        node, data = self._file(ino)
        return data.seek(offset, node.size, whence)

    def fallocate(
        self, ctx: Context, ino: int, fh: int, mode: FallocateFlags, offset: int, length: int
    ) -> None:
        node, data = self._file(ino)
        if mode not in _SUPPORTED_FALLOCATE:
            _fail(errno.EOPNOTSUPP)
        end = offset + length
        if end > _MAX_SIZE:
            _fail(errno.EFBIG)
        if mode & FallocateFlags.PUNCH_HOLE:
            data.punch(offset, length)
        elif mode & FallocateFlags.ZERO_RANGE:
            data.zero(offset, length)
        elif mode & (FallocateFlags.COLLAPSE_RANGE | FallocateFlags.INSERT_RANGE):
            self._shift(node, data, mode, offset, length)
        else:
            data.reserve(offset, length)
        shifts = mode & (FallocateFlags.COLLAPSE_RANGE | FallocateFlags.INSERT_RANGE)
        if not shifts and not mode & _KEEP_SIZE and end > node.size:
            node.size = end
        node.blocks = len(data) * (PAGE_SIZE // 512)
        node.mtime = node.ctime = now_ns()

    @staticmethod
    def _shift(node: Inode, data: Pages, mode: FallocateFlags, offset: int, length: int) -> None:
        """``FALLOC_FL_COLLAPSE_RANGE`` and ``FALLOC_FL_INSERT_RANGE``: whole pages, within the file."""
        if offset % PAGE_SIZE or length % PAGE_SIZE:
            _fail(errno.EINVAL)
        if mode & FallocateFlags.COLLAPSE_RANGE:
            if offset + length >= node.size:
                _fail(errno.EINVAL)
            data.collapse(offset, length)
            node.size -= length
        else:
            if offset >= node.size:
                _fail(errno.EINVAL)
            if node.size + length > _MAX_SIZE:
                _fail(errno.EFBIG)
            data.insert(offset, length)
            node.size += length

    def copy_file_range(
        self, ctx: Context, ino: int, fh: int, offset: int, newino: int, newfh: int, newoffset: int, length: int,
        flags: int,
    ) -> int:  # fmt: skip
        source, pages = self._file(ino)
        length = min(length, source.size - offset)
        if length <= 0:
            return 0
        length = min(length, 1 << 20)  # a short copy is allowed, and keeps other callers waiting no longer
        return self.write(ctx, newino, newfh, newoffset, memoryview(pages.read(offset, length)), WriteFlags.NONE)

    # ----------------------------------------------------------- directories

    def opendir(self, ctx: Context, ino: int, flags: int) -> Open:
        self._directory(ino)
        return Open(cache_dir=True, keep_cache=True)

    def readdir(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        children = self._directory(ino)
        node = self._node(ino)
        if node.atime <= node.mtime:
            node.atime = now_ns()
        nodes = self._nodes
        # A copy, because names may come and go between two replies; those that went are left out.
        for name, (place, number) in list(children.items()):
            if place <= cookie or children.get(name) != (place, number):
                continue
            yield DirEntry(name, number, nodes[number].mode, place)

    def readdirplus(self, ctx: Context, ino: int, fh: int, cookie: int) -> Iterator[DirEntry]:
        nodes = self._nodes
        for line in self.readdir(ctx, ino, fh, cookie):
            line.entry = Entry(line.ino, nodes[line.ino])
            yield line

    # --------------------------------------------------- extended attributes

    def getxattr(self, ctx: Context, ino: int, name: str) -> bytes:
        xattrs = self._node(ino).xattrs
        if xattrs is None or name not in xattrs:
            self._check_xattr_name(name)
            _fail(errno.ENODATA)
        return xattrs[name]

    def setxattr(self, ctx: Context, ino: int, name: str, value: bytes, flags: XattrFlags) -> None:
        node = self._node(ino)
        self._check_xattr_name(name)
        xattrs = node.xattrs if node.xattrs is not None else {}
        if flags & XattrFlags.CREATE and name in xattrs:
            _fail(errno.EEXIST)
        if flags & XattrFlags.REPLACE and name not in xattrs:
            _fail(errno.ENODATA)
        if len(value) > _XATTR_SIZE_MAX:
            _fail(errno.E2BIG)
        if sum(len(os.fsencode(key)) + 1 for key in xattrs if key != name) + len(os.fsencode(name)) >= _XATTR_SIZE_MAX:
            _fail(errno.ENOSPC)
        if name == posix_acl.XATTR_ACCESS:
            bits, minimal = posix_acl.mode_of(posix_acl.decode(value))
            node.mode = (node.mode & ~0o777) | bits
            if minimal:
                xattrs.pop(name, None)
            else:
                xattrs[name] = value
        elif name == posix_acl.XATTR_DEFAULT:
            if node.children is None:
                _fail(errno.EACCES)
            if posix_acl.decode(value):
                xattrs[name] = value
            else:
                xattrs.pop(name, None)
        else:
            xattrs[name] = value
        node.xattrs = xattrs or None
        node.ctime = now_ns()

    def listxattr(self, ctx: Context, ino: int) -> Iterable[str]:
        return tuple(self._node(ino).xattrs or ())

    def removexattr(self, ctx: Context, ino: int, name: str) -> None:
        node = self._node(ino)
        self._check_xattr_name(name)
        if node.xattrs is None or name not in node.xattrs:
            if name in (posix_acl.XATTR_ACCESS, posix_acl.XATTR_DEFAULT):
                return
            _fail(errno.ENODATA)
        del node.xattrs[name]
        node.xattrs = node.xattrs or None
        node.ctime = now_ns()

    @staticmethod
    def _check_xattr_name(name: str) -> None:
        if not name.startswith(_XATTR_NAMESPACES) and name not in (posix_acl.XATTR_ACCESS, posix_acl.XATTR_DEFAULT):
            _fail(errno.EOPNOTSUPP)

    # ------------------------------------------------------------ invariants

    def assert_invariants(self) -> None:
        """Raise :class:`AssertionError` if the tree, the link counts or the page count are not consistent."""
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
        assert self._pages_used == sum(len(node.data) for node in self._nodes.values() if node.data is not None)

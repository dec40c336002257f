# SPDX-License-Identifier: Apache-2.0
"""`Tree`: a file system made of Python values, for synthetic file systems in a dozen lines.

How it works: the tree is not copied. A lookup asks the mapping that stands for the directory, and what it finds there is
what the caller gets, so a change of a ``dict`` is a change of the file system. What the tree remembers of a name, while
somebody knows it, is a `_Node`: its place, the value that was last found there and when that changed.

Numbers come from names: a node's number is a digest of its parent's number and its name. So the same path has the same
number in every run and every process, a listing can give it before anybody looked the name up, and nothing has to be
kept for names that nobody uses. When a name comes to stand for another type of file, or a link for another target,
its generation differs: to the kernel that is another node.

Nothing is cached by default (``entry_timeout`` and ``attr_timeout`` are 0), since nobody tells of a change of a ``dict``;
the content of plain ``bytes`` is, since its time of change tells.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

from instar._awaitable import then
from instar.fs._entries import (
    Dir,
    Entries,
    File,
    Symlink,
    TreeValue,  # the name stands in Entries, where the command line resolves it to convert mount options
    as_entry,
    check_entries,
    check_name,
    content_bytes,
)
from instar.fs._filesystem import FileSystem, MaybeAwaitable, ReadBuffer
from instar.fs._openfile import OpenBytes, OpenCall, OpenFile, OpenSeq
from instar.fs._seqfile import SeqFile
from instar.fs._types import (
    ROOT_INO,
    Attr,
    Context,
    DirEntry,
    Entry,
    Open,
    PollHandle,
    SetAttr,
    WriteFlags,
    now_ns,
)

__all__ = ["Tree"]

_Found: TypeAlias = File | Dir | Symlink
_MISSING: Any = object()  # Any: it stands where a value is looked for, and is told by its identity
_NUMBER_BITS = 52


class _Node:
    """A name that somebody knows: the kernel, or an open file."""

    __slots__ = ("changed", "cookies", "found", "ino", "last_cookie", "name", "parent", "value")

    def __init__(self, ino: int, parent: _Node | None, name: str, value: object, changed: int) -> None:
        self.ino = ino
        self.parent = parent
        self.name = name
        self.changed = changed
        self.value = value
        self.found: _Found = as_entry(value, self.path)
        # A listing's places: each name keeps its own for as long as it exists.
        self.cookies: dict[str, int] = {}
        self.last_cookie = 0

    @property
    def path(self) -> str:
        """The path in the tree, for messages."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    def update(self, value: object) -> None:
        """The name stands for ``value`` now."""
        if value is self.value:
            return
        found = as_entry(value, self.path)
        if type(found) is not type(self.found) or _content(found) != _content(self.found):
            self.changed = now_ns()
        self.value = value
        self.found = found


def _content(found: _Found) -> object:
    """What of an entry can be told apart: a function is as good as another."""
    if isinstance(found, File):
        return found.data
    return found.target if isinstance(found, Symlink) else None


class Tree(FileSystem):
    """A file system of nested mappings, bytes, functions, and :class:`File`, :class:`Dir` and :class:`Symlink`.

    ``entries`` is the root directory: a mapping, or a :class:`Dir` that gives it a mode. It stays the caller's, who may
    change it at any time. A subclass may set ``entries`` as a class attribute instead.

    ``uid`` and ``gid`` own what has no owner of its own; they are those of the process where they are not given. With
    ``read_only`` the tree is mounted read-only; where it is not given, it is when nothing in it can be written to at the
    start and all of its directories are ``dict``. Raise ``entry_timeout`` and ``attr_timeout`` (seconds) for a tree that
    does not change, and the kernel asks less.

    Files that cannot be written to refuse it with ``EACCES``, and nobody can add, remove or rename a name, or change a
    mode or an owner, from outside (``EPERM``; ``EROFS`` where the tree is mounted read-only).

    Raises ``TypeError`` or ``ValueError`` with a sentence that names the path when a name or a value cannot be used. One
    that comes later is an ``EIO`` to who finds it, and the same sentence in the log.

    >>> tree = Tree({"motd": "hello", "sub": {"n": lambda: "42"}})
    >>> tree.lookup(Context(), ROOT_INO, "motd").attr.size
    5
    """

    entry_timeout = 0.0
    attr_timeout = 0.0
    #: The root directory, where the class is made for one tree.
    entries: Entries | Dir

    def __init__(
        self,
        entries: Entries | Dir | None = None,
        *,
        uid: int | None = None,
        gid: int | None = None,
        read_only: bool | None = None,
        entry_timeout: float | None = None,
        attr_timeout: float | None = None,
        fsname: str | None = None,
    ) -> None:
        """See the class."""
        if entries is None:
            entries = getattr(self, "entries", None)
        if not isinstance(entries, (Mapping, Dir)):
            raise TypeError(
                "Tree needs the entries of its root directory: a mapping or a Dir, not "
                f"{type(entries).__name__}"
            )
        writable = check_entries(entries)
        self.entries = entries
        self._uid = os.geteuid() if uid is None else uid
        self._gid = os.getegid() if gid is None else gid
        self._read_only = not writable if read_only is None else read_only
        if entry_timeout is not None:
            self.entry_timeout = entry_timeout
        if attr_timeout is not None:
            self.attr_timeout = attr_timeout
        if fsname is not None:
            self.fsname = fsname
        self._born = now_ns()
        self._nodes: dict[int, _Node] = {ROOT_INO: _Node(ROOT_INO, None, "", entries, self._born)}
        self._open: dict[int, OpenFile] = {}
        self._last_handle = 0

    @property
    def read_only(self) -> bool:
        """Whether nothing in it can be written to."""
        return self._read_only

    async def destroy(self) -> None:
        """Close what is open still."""
        while self._open:
            closing = self._open.popitem()[1].close()
            if closing is not None:
                await closing

    # ----------------------------------------------------------------- names

    def lookup(self, ctx: Context, parent: int, name: str) -> MaybeAwaitable[Entry]:
        """Ask the mapping of the directory. ``.`` and ``..`` never come here: the transport answers them."""
        directory = self._node(parent)
        return then(_entries(directory), lambda entries: self._find(directory, entries, name))

    def _find(self, directory: _Node, entries: Entries, name: str) -> Entry:
        value = entries.get(name, _MISSING)
        if value is _MISSING:
            _refuse(errno.ENOENT)
        return self._entry(self._know(directory, name, value))

    def parent(self, ino: int) -> int:
        """The number of the directory above."""
        node = self._nodes.get(ino)
        return ROOT_INO if node is None or node.parent is None else node.parent.ino

    def forget(self, ino: int) -> None:
        """Remember nothing of a name that nobody knows. What is open keeps its own node."""
        self._nodes.pop(ino, None)

    def readlink(self, ctx: Context, ino: int) -> str:
        """The target of a :class:`Symlink`."""
        found = self._node(ino).found
        if not isinstance(found, Symlink):
            _refuse(errno.EINVAL)
        return found.target

    # ------------------------------------------------------------ attributes

    def getattr(self, ctx: Context, ino: int, fh: int | None = None) -> Attr:
        """The attributes of what the name stands for now."""
        return self._attr(self._node(ino))

    def setattr(self, ctx: Context, ino: int, changes: SetAttr, fh: int | None = None) -> Attr:
        """A file that can be written to takes a new size or time and makes nothing of it; all else is ``EPERM``."""
        node = self._node(ino)
        if self._read_only:
            _refuse(errno.EROFS)
        if changes.mode is not None or changes.uid is not None or changes.gid is not None:
            _refuse(errno.EPERM)
        if not isinstance(node.found, File) or node.found.write is None:
            _refuse(errno.EACCES if changes.size is not None else errno.EPERM)
        return self._attr(node)

    def _attr(self, node: _Node) -> Attr:
        found = node.found
        size = 0
        if isinstance(found, Dir):
            mode = stat.S_IFDIR | (0o555 if found.mode is None else found.mode)
        elif isinstance(found, Symlink):
            mode = stat.S_IFLNK | 0o777
            size = len(content_bytes(found.target))
        else:
            usual = 0o444 if found.write is None else 0o644 if found.readable else 0o200
            mode = stat.S_IFREG | (usual if found.mode is None else found.mode)
            if found.sized and found.data is not None:
                size = len(found.data)
        return Attr(
            node.ino,
            mode,
            nlink=1,  # of a directory too: it says that nobody counted those below (find(1) takes it so)
            uid=self._uid if found.uid is None else found.uid,
            gid=self._gid if found.gid is None else found.gid,
            size=size,
            atime=node.changed,
            mtime=node.changed,
            ctime=node.changed,
            btime=self._born,
        )

    def _entry(self, node: _Node) -> Entry:
        attr = self._attr(node)
        generation = stat.S_IFMT(attr.mode) >> 12
        if isinstance(node.found, Symlink):
            # The kernel keeps the target of a link for as long as it knows the node.
            generation = zlib.crc32(content_bytes(node.found.target)) >> 1
        return Entry(node.ino, attr, generation)

    # ------------------------------------------------------------ open files

    def open(self, ctx: Context, ino: int, flags: int) -> MaybeAwaitable[Open]:
        """Open a file; a function that makes its content is called now."""
        node = self._node(ino)
        file = node.found
        if not isinstance(file, File):
            _refuse(errno.EISDIR if isinstance(file, Dir) else errno.ELOOP)
        access = flags & os.O_ACCMODE
        if access != os.O_RDONLY and (file.write is None or self._read_only):
            _refuse(errno.EROFS if self._read_only else errno.EACCES)
        if access == os.O_WRONLY:
            return self._opened(OpenFile(file, node.path))
        if not file.readable:
            _refuse(errno.EACCES)
        if file.sized:
            return self._opened(
                OpenBytes(file, node.path, lambda: self._refresh(node).found), keep_cache=True
            )
        if isinstance(file.read, SeqFile):
            return self._opened(OpenSeq(file, node.path, file.read.open()))
        opened = OpenCall(file, node.path)
        return then(opened.fetch(), lambda _: self._opened(opened))

    def _opened(self, opened: OpenFile, *, keep_cache: bool = False) -> Open:
        self._last_handle += 1
        self._open[self._last_handle] = opened
        # Without direct_io the kernel would read up to the size that it knows, 0, and gather what is written.
        return Open(self._last_handle, direct_io=not keep_cache, keep_cache=keep_cache)

    def read(self, ctx: Context, ino: int, fh: int, offset: int, size: int) -> MaybeAwaitable[ReadBuffer]:
        """What the file has there."""
        return self._handle(fh).read(offset, size)

    def write(
        self, ctx: Context, ino: int, fh: int, offset: int, data: memoryview, flags: WriteFlags
    ) -> MaybeAwaitable[int]:
        """Call what the :class:`File` has for it, once for each write."""
        return self._handle(fh).write(data)

    def lseek(self, ctx: Context, ino: int, fh: int, offset: int, whence: int) -> MaybeAwaitable[int]:
        """Data and holes are known where the size is; elsewhere ``EINVAL``, as in ``/proc``."""
        if not isinstance(self._handle(fh), OpenBytes):
            _refuse(errno.EINVAL)
        return super().lseek(ctx, ino, fh, offset, whence)

    def poll(self, ctx: Context, ino: int, fh: int, events: int, handle: PollHandle | None) -> int:
        """Always ready; with urgent news (``POLLPRI``) after :meth:`File.notify`."""
        return self._handle(fh).poller.poll(events, handle)

    def release(self, ctx: Context, ino: int, fh: int, flags: int) -> MaybeAwaitable[None]:
        """End the reader's iteration."""
        opened = self._open.pop(fh, None)
        return None if opened is None else opened.close()

    def _handle(self, fh: int) -> OpenFile:
        opened = self._open.get(fh)
        if opened is None:
            _refuse(errno.EBADF)
        return opened

    # ----------------------------------------------------------- directories

    def readdir(
        self, ctx: Context, ino: int, fh: int, cookie: int
    ) -> Iterable[DirEntry] | AsyncIterable[DirEntry]:
        """List the names of the mapping."""
        return self._list(self._node(ino), cookie, plus=False)

    def readdirplus(
        self, ctx: Context, ino: int, fh: int, cookie: int
    ) -> Iterable[DirEntry] | AsyncIterable[DirEntry]:
        """List them with their attributes, without asking the mapping a second time."""
        return self._list(self._node(ino), cookie, plus=True)

    def _list(self, node: _Node, cookie: int, *, plus: bool) -> Iterable[DirEntry] | AsyncIterable[DirEntry]:
        entries = _entries(node)
        if isinstance(entries, Mapping):
            return self._lines(node, entries, cookie, plus=plus)
        return self._lines_later(node, entries, cookie, plus=plus)

    async def _lines_later(
        self, node: _Node, entries: Awaitable[Entries], cookie: int, *, plus: bool
    ) -> AsyncIterator[DirEntry]:
        for line in self._lines(node, await entries, cookie, plus=plus):
            yield line

    def _lines(self, node: _Node, entries: Entries, cookie: int, *, plus: bool) -> Iterator[DirEntry]:
        names = list(entries)
        before = node.cookies
        node.cookies = {name: before[name] for name in names if name in before}
        for name in names:
            if name not in node.cookies:
                check_name(name, node.path)
                node.last_cookie += 1
                node.cookies[name] = node.last_cookie
        for name, place in sorted(node.cookies.items(), key=lambda item: item[1]):
            if place <= cookie:
                continue
            value = entries.get(name, _MISSING)
            if value is _MISSING:
                continue
            if plus:
                child = self._know(node, name, value)
                yield DirEntry(name, child.ino, self._attr(child).mode, place, self._entry(child))
            else:
                found = as_entry(value, f"{node.path.rstrip('/')}/{name}")
                yield DirEntry(name, self._number(node, name), _TYPES[type(found)], place)

    # ------------------------------------------------------------- nodes

    def _node(self, ino: int) -> _Node:
        node = self._nodes.get(ino)
        if node is None:
            _refuse(errno.ESTALE)
        return self._refresh(node)

    def _refresh(self, node: _Node) -> _Node:
        """Look again at what the name stands for, where a mapping can be asked. A name that has gone stays as it was."""
        if node.parent is not None:
            above = self._refresh(node.parent).found
            if isinstance(above, Dir) and isinstance(above.entries, Mapping):
                value = above.entries.get(node.name, _MISSING)
                if value is not _MISSING:
                    node.update(value)
        return node

    def _know(self, parent: _Node, name: str, value: TreeValue) -> _Node:
        """The node of a name that was found."""
        ino = self._number(parent, name)
        node = self._nodes.get(ino)
        if node is None:
            node = self._nodes[ino] = _Node(ino, parent, name, value, self._born)
        else:
            node.parent = parent
            node.update(value)
        return node

    def _number(self, parent: _Node, name: str) -> int:
        """The number of a path: the same in every run. Two that fall together are told apart while both are known."""
        digest = hashlib.blake2b(
            os.fsencode(name), digest_size=8, key=parent.ino.to_bytes(8, "little")
        ).digest()
        number = int.from_bytes(digest, "little") >> (64 - _NUMBER_BITS)
        while True:
            node = self._nodes.get(number)
            if number > ROOT_INO and (
                node is None
                or (node.parent is not None and node.parent.ino == parent.ino and node.name == name)
            ):
                return number
            number += 1


_TYPES = {Dir: stat.S_IFDIR, File: stat.S_IFREG, Symlink: stat.S_IFLNK}


def _refuse(code: int) -> NoReturn:
    raise OSError(code, os.strerror(code))


def _entries(node: _Node) -> MaybeAwaitable[Entries]:
    """The mapping of a directory. Raises ``ENOTDIR``, and ``TypeError`` when its function returns something else."""
    found = node.found
    if not isinstance(found, Dir):
        _refuse(errno.ENOTDIR)
    if isinstance(found.entries, Mapping):
        return found.entries

    def checked(entries: object) -> Entries:
        if not isinstance(entries, Mapping):
            raise TypeError(
                f"{node.path}: the directory's function returned {type(entries).__name__}, not a mapping"
            )
        return entries

    return then(found.entries(), checked)

# SPDX-License-Identifier: Apache-2.0
"""The nodes of a mirror: which file of the backing tree each node number stands for.

A node is identified by the mount that it was found on and its *file handle* there: the bytes that name_to_handle_at(2)
gives, which hold the inode number and its generation. Whatever a file is renamed to, and by whomever, its handle
stays; once it is gone, no later file has the same one. With ``CAP_DAC_READ_SEARCH`` a node needs no open descriptor: it is
opened by its handle when it is used, and the descriptors used last stay open (``O_PATH``) in a bounded cache.
Where there are no handles (other file systems, other rights) each node holds its ``O_PATH`` descriptor
from the first lookup until it is forgotten, and is identified by device and inode number, which cannot be used
again as long as the descriptor is open.

The only way from a name to a node is :meth:`NodeTable.find`: one component, opened with ``O_PATH | O_NOFOLLOW`` below the
descriptor of a directory, and asked for everything else through that descriptor. So no symbolic link is ever
followed, and a rename at the same moment decides only which of two files is found.

Specification: open(2) ``O_PATH``, name_to_handle_at(2), openat(2), path_resolution(7).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from instar.edge.file_handle import HandleReader, open_handle
from instar.edge.file_status import RawStatus, StatusReader
from instar.edge.syscalls import AtFlags
from instar.fs._types import ROOT_INO, Attr
from instar.fs.mirror._mounts import MountKind, mount_kind

if TYPE_CHECKING:
    from instar.fs.mirror._files import OpenFile

__all__ = ["PATH_FLAGS", "Node", "NodeTable", "Volume", "encode_name", "fail"]

PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Without a word to the file system: it might be the one that this process serves (:mod:`instar.fs.mirror._mounts`).
_NAME_QUIETLY: Final = (AtFlags.SYMLINK_NOFOLLOW | AtFlags.STATX_DONT_SYNC).value
_FD_QUIETLY: Final = (AtFlags.EMPTY_PATH | AtFlags.STATX_DONT_SYNC).value
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})
_SECOND: Final = 1_000_000_000  # ns
_INO_BITS: Final = 48  # of an inode number that stay as they are on a device other than the root's
_DOTS: Final = frozenset({b"", b".", b".."})
_S_IFMT: Final = 0o170000  # sys/stat.h
_NO_SUCH_NAME: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
#: Why a file system may refuse handles or this process may not use them (name_to_handle_at(2), open_by_handle_at(2)).
_NO_HANDLES: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL}
)


def fail(code: int) -> NoReturn:
    """Raise :class:`OSError` with this errno and its text."""
    raise OSError(code, os.strerror(code))


def encode_name(name: str) -> bytes:
    """A single component of a path, as the system calls take it.

    Raises :class:`OSError` with ``EINVAL`` for anything that is not the name of one entry: a path, ``..``, an empty name.
    """
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        fail(errno.EINVAL)
    if raw.isalnum():  # most names, and never one of those below
        return raw
    if "/" in name or "\0" in name or raw in _DOTS:
        fail(errno.EINVAL)
    return raw


def _attr(status: RawStatus, tag: int) -> Attr:
    (_, blksize, nlink, uid, gid, mode, ino, size, blocks, atime, atime_ns, btime, btime_ns, ctime, ctime_ns, mtime,
     mtime_ns, rdev_major, rdev_minor, _, _, _) = status  # fmt: skip
    return Attr(
        ino ^ tag,
        mode,
        nlink,
        uid,
        gid,
        os.makedev(rdev_major, rdev_minor) if rdev_major or rdev_minor else 0,
        size,
        blocks,
        blksize,
        atime * _SECOND + atime_ns,
        mtime * _SECOND + mtime_ns,
        ctime * _SECOND + ctime_ns,
        btime * _SECOND + btime_ns,
    )


class Volume:
    """A mount in the backing tree, and its nodes.

    ``fd`` is an open directory on it, which open_by_handle_at(2) needs, or -1 where nodes are not opened by handle. On one that
    is not ``is_local`` attributes are asked for anew each time, as what is in memory may be out of date. Where it
    ``has_fine_times``, a change that follows a look at the times always changes them.
    """

    __slots__ = ("fd", "has_fine_times", "is_generated", "is_local", "mount_id", "nodes")

    def __init__(self, mount_id: int, kind: MountKind) -> None:
        self.mount_id = mount_id
        self.is_local = kind.is_local
        self.is_generated = kind.is_generated
        self.has_fine_times = kind.has_fine_times
        self.fd = -1
        self.nodes: dict[bytes | tuple[int, int], Node] = {}


class Node:
    """A file of the backing tree that the kernel knows.

    ``number`` is the node number, ``handle`` the file's on ``volume`` (empty where there are none), ``key`` the handle or else device and
    inode number, ``kind`` the ``S_IFMT`` bits. ``fd`` is an ``O_PATH`` descriptor or -1; it is ``pinned`` when it must stay open until the
    node is forgotten. ``files`` are the open files. ``tag`` holds the bits that set its inode number apart from those of other devices.

    Invariants: a node without a handle is pinned; one that is not pinned is in the table's cache if and only if it has an ``fd``;
    ``live`` is its key in the table's ``_live``, and None without ``fd``.
    """

    __slots__ = ("fd", "files", "handle", "key", "kind", "live", "number", "pinned", "tag", "volume")

    def __init__(
        self, number: int, volume: Volume, key: bytes | tuple[int, int], kind: int, tag: int
    ) -> None:
        self.number = number
        self.volume = volume
        self.key = key
        self.handle = key if isinstance(key, bytes) else b""
        self.kind = kind
        self.tag = tag
        self.live: tuple[int, int, int, int] | None = None
        self.fd = -1
        self.pinned = False
        self.files: list[OpenFile] | tuple[()] = ()

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == stat.S_IFDIR


class NodeTable:
    """All nodes. ``root_fd`` (an open directory) becomes the table's; ``capacity`` bounds the cache of descriptors.

    ``spare`` is called when the process has no descriptor left and the cache is empty; it returns how many it closed.
    """

    def __init__(self, root_fd: int, capacity: int = 1024, use_handles: bool = True) -> None:
        self.capacity = capacity
        self.use_handles = use_handles
        self.spare: Callable[[], int] = lambda: 0
        self._status = StatusReader()
        self._handles = HandleReader()
        self._nodes: dict[int, Node] = {}
        self._cache: OrderedDict[Node, None] = OrderedDict()
        #: Nodes that :meth:`pin` keeps: their files have no name, and go with them.
        self.kept: set[Node] = set()
        #: Nodes by inode, device and mount, while their descriptor keeps the number from being used again.
        self._live: dict[tuple[int, int, int, int], Node] = {}
        self._volumes: dict[int, Volume] = {}
        self._next = ROOT_INO + 1
        status = self._status.at(root_fd)
        #: Which bits are mixed into the inode numbers of each device, so that two devices do not show the same number.
        self._tags: dict[tuple[int, int], int] = {(status[19], status[20]): 0}
        volume = self._volume(status[21], root_fd)
        self.root = Node(ROOT_INO, volume, self._key(volume, root_fd, status), stat.S_IFDIR, 0)
        self.root.fd = root_fd
        self.root.pinned = True
        volume.nodes[self.root.key] = self.root
        self._nodes[ROOT_INO] = self.root

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def cached(self) -> int:
        """How many descriptors the cache holds."""
        return len(self._cache)

    # ---------------------------------------------------------- from numbers to descriptors

    def node(self, number: int) -> Node:
        """The node with this number. Raises ``ESTALE`` when there is none."""
        try:
            return self._nodes[number]
        except KeyError:
            fail(errno.ESTALE)

    def fd(self, number: int) -> int:
        """A descriptor of the node with this number, to be used at once: later calls may close it.

        It may be ``O_PATH``, or that of an open file. Raises ``ESTALE`` when there is no such node or its file is gone.
        """
        try:
            node = self._nodes[number]
        except KeyError:
            fail(errno.ESTALE)
        fd = node.fd
        if fd < 0:
            return self._reopen(node)
        if not node.pinned:
            self._cache.move_to_end(node)
        return fd

    def node_fd(self, node: Node) -> int:
        """As :meth:`fd`, of a node."""
        if node.fd < 0:
            return self._reopen(node)
        if not node.pinned:
            self._cache.move_to_end(node)
        return node.fd

    def _reopen(self, node: Node) -> int:
        fd = self.open_node(node, PATH_FLAGS)
        self._keep(node, fd)
        return fd

    def open_node(self, node: Node, flags: int) -> int:
        """Open the node anew with ``flags`` and return the descriptor, which is the caller's.

        Raises what open(2) raises, and ``ESTALE`` when the file is gone.
        """
        fd = node.fd
        if fd < 0:
            try:
                return self._open_handle(node.volume.fd, node.handle, flags)
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
                # Without a name, and yet alive if it is open.
                fd = next((file.fd for file in node.files if file.fd >= 0), -1)
                if fd < 0:
                    raise
        return self.open_at(b"/proc/self/fd/%d" % fd, flags & ~os.O_NOFOLLOW)

    def _open_handle(self, mount_fd: int, handle: bytes, flags: int) -> int:
        try:
            return open_handle(mount_fd, handle, flags)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
        self.make_room()
        return open_handle(mount_fd, handle, flags)

    def open_at(self, name: bytes, flags: int, mode: int = 0, dirfd: int | None = None) -> int:
        """open(2), once more with descriptors made free when there were none."""
        try:
            return os.open(name, flags, mode, dir_fd=dirfd)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
        self.make_room()
        return os.open(name, flags, mode, dir_fd=dirfd)

    # ---------------------------------------------------------- from names to nodes

    def find(self, dirfd: int, name: bytes) -> tuple[Node, Attr]:
        """The node that one name in a directory stands for, and its attributes. Raises ``ENOENT``.

        What is returned belongs together, whatever happens to the name meanwhile. An inode number that a descriptor of ours
        keeps in use says which node it is, and came with the attributes. Any other name is opened, and the descriptor asked for
        everything. (`benchmarks/metadata.py` shows what the short ways are for.)
        """
        status = self._status.at(dirfd, name, _NAME_QUIETLY)
        node = self._live.get((status[6], status[20], status[19], status[21]))
        if node is not None and node.volume.is_local:
            if not node.pinned:
                self._cache.move_to_end(node)
            return node, _attr(status, node.tag)
        return self.meet(dirfd, name)

    def meet(self, dirfd: int, name: bytes) -> tuple[Node, Attr]:
        """As :meth:`find`, the shorter way for a name that most likely was never seen before."""
        return self.adopt(self.open_at(name, PATH_FLAGS, 0, dirfd))

    def adopt(self, fd: int, *, keep: bool = True) -> tuple[Node, Attr]:
        """The node of an open descriptor, a new one if it is not known, and its attributes.

        With ``keep`` the descriptor (``O_PATH``) becomes the table's, also when this raises.
        """
        try:
            status = self._status.at(fd, b"", _FD_QUIETLY)
            volume = self._volumes.get(status[21]) or self._volume(status[21], fd)
            try:
                if not volume.is_local:
                    status = self._status.at(fd)
                key = self._key(volume, fd, status)
                node = volume.nodes.get(key)
                own = -1
                if node is None and not keep and not isinstance(key, bytes):
                    own = self.open_at(b"/proc/self/fd/%d" % fd, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                self._drop_if_empty(volume)
                raise
        except OSError:
            if keep:
                os.close(fd)
            raise
        if node is None:
            node = self._new(volume, key, status)
            if keep:
                self._keep(node, fd)
                self._enliven(node, status)
            elif own >= 0:
                self._keep(node, own)
        elif keep:
            if node.fd < 0:
                self._keep(node, fd)
            else:
                os.close(fd)
        return node, _attr(status, node.tag)

    def _new(self, volume: Volume, key: bytes | tuple[int, int], status: RawStatus) -> Node:
        tag = self._tags.setdefault((status[19], status[20]), len(self._tags) << _INO_BITS)
        node = Node(self._next, volume, key, status[5] & _S_IFMT, tag)
        self._next += 1
        self._nodes[node.number] = volume.nodes[key] = node
        return node

    def known(self, dirfd: int, name: bytes) -> tuple[Node | None, int]:
        """The node of a name, if it is in the table already; ``None`` when it is not or there is no such name.

        Then how many names the file has, where that came with the answer, else 0.
        """
        try:
            status = self._status.at(dirfd, name, _NAME_QUIETLY)
        except OSError as error:
            if error.errno in _NO_SUCH_NAME:
                return None, 0  # what is wrong with it, the call that follows says
            raise
        node = self._live.get((status[6], status[20], status[19], status[21]))
        if node is not None and node.volume.is_local:
            return node, status[2]
        if self.use_handles:
            try:
                handle, mount_id = self._handles.at(dirfd, name, 0)
            except FileNotFoundError:
                return None, 0
            except OSError as error:
                if error.errno not in _NO_HANDLES:
                    raise
            else:
                volume = self._volumes.get(mount_id)
                node = volume.nodes.get(handle) if volume is not None else None
                if node is not None:
                    return node, 0
        try:
            fd = self.open_at(name, PATH_FLAGS, 0, dirfd)
        except OSError as error:
            if error.errno in _NO_SUCH_NAME:
                return None, 0
            raise
        return self._known(fd), 0

    def _known(self, fd: int) -> Node | None:
        """The node of an ``O_PATH`` descriptor if it is in the table; the descriptor becomes the table's."""
        node = None
        try:
            status = self._status.at(fd, b"", _FD_QUIETLY)
            volume = self._volumes.get(status[21])
            if volume is not None:
                node = volume.nodes.get(self._key(volume, fd, status))
            if node is not None and node.fd < 0:
                self._keep(node, fd)
                fd = -1
        finally:
            if fd >= 0:
                os.close(fd)
        return node

    def parent(self, node: Node) -> Node | None:
        """The node of the directory that holds the directory ``node``, if it is known. The root is its own."""
        if node is self.root or not node.is_dir:
            return self.root
        return self._known(self.open_at(b"..", PATH_FLAGS | os.O_DIRECTORY, 0, self.node_fd(node)))

    # ---------------------------------------------------------- attributes

    def attr(self, number: int) -> Attr:
        """The attributes of the node with this number. Raises ``ESTALE``."""
        node = self._nodes.get(number)
        if node is None:
            fail(errno.ESTALE)
        return self._attr_of(node)

    def _attr_of(self, node: Node) -> Attr:
        fd = node.fd
        if fd < 0:
            # An open file is as good, and saves opening the node.
            fd = next((file.fd for file in node.files if file.fd >= 0), -1)
            if fd < 0:
                fd = self._reopen(node)
        elif not node.pinned:
            self._cache.move_to_end(node)
        status = self._status.at(fd)
        if node.live is None and node.fd >= 0:
            self._enliven(node, status)
        return _attr(status, node.tag)

    def _enliven(self, node: Node, status: RawStatus) -> None:
        node.live = (status[6], status[20], status[19], status[21])
        self._live[node.live] = node

    def _close_fd(self, node: Node) -> None:
        os.close(node.fd)
        node.fd = -1
        if node.live is not None:
            del self._live[node.live]
            node.live = None

    # ---------------------------------------------------------- life of nodes

    def pin(self, node: Node) -> int:
        """Keep a descriptor of the node open until it is forgotten: its last name goes away, and its handle with it."""
        if not node.pinned:
            if node.fd < 0:
                node.fd = self.open_node(node, PATH_FLAGS)
            else:
                del self._cache[node]
            node.pinned = True
            self.kept.add(node)
        return node.fd

    def unpin(self, node: Node) -> None:
        """The node has a name after all: its descriptor goes back to the cache."""
        if node.pinned and node.handle and node is not self.root:
            self.kept.discard(node)
            self._keep(node, node.fd)

    def awaits_forget(self) -> bool:
        """Whether a file without a name, and not open, takes space only until its node is forgotten."""
        return any(not node.files for node in self.kept)

    def forget(self, number: int) -> None:
        """Drop a node. Unknown numbers and the root's are ignored."""
        node = self._nodes.get(number)
        if node is None or node is self.root:
            return
        del self._nodes[number]
        volume = node.volume
        del volume.nodes[node.key]
        self._cache.pop(node, None)
        self.kept.discard(node)
        if node.fd >= 0:
            self._close_fd(node)
        self._drop_if_empty(volume)

    def _drop_if_empty(self, volume: Volume) -> None:
        """Let a mount go of which no node is known: it could not be unmounted for the descriptor that is open on it."""
        if not volume.nodes:
            del self._volumes[volume.mount_id]
            if volume.fd >= 0:
                os.close(volume.fd)

    def make_room(self) -> None:
        """Close half of the descriptors in the cache, those that were used longest ago; if it is empty, ask ``spare``.

        Raises ``EMFILE`` when none could be closed.
        """
        closed = self.shrink(len(self._cache) // 2)
        if closed == 0 and self.spare() == 0:
            fail(errno.EMFILE)

    def shrink(self, size: int) -> int:
        """Close descriptors in the cache until it holds ``size``, but keep the few that a running call may use."""
        closed = 0
        while len(self._cache) > max(size, 4):
            node, _ = self._cache.popitem(last=False)
            self._close_fd(node)
            closed += 1
        return closed

    def close(self) -> None:
        """Close everything. The table is empty afterwards."""
        for node in self._nodes.values():
            if node.fd >= 0:
                self._close_fd(node)
        for volume in self._volumes.values():
            if volume.fd >= 0:
                os.close(volume.fd)
        self._nodes.clear()
        self.kept.clear()
        self._cache.clear()
        self._volumes.clear()

    def _keep(self, node: Node, fd: int) -> None:
        node.fd = fd
        if not node.handle:
            node.pinned = True
            return
        node.pinned = False
        self._cache[node] = None
        if len(self._cache) > self.capacity:
            self.shrink(self.capacity)

    # ---------------------------------------------------------- identity

    def _key(self, volume: Volume, fd: int, status: RawStatus) -> bytes | tuple[int, int]:
        if volume.fd >= 0:
            try:
                return self._handles.at(fd)[0]
            except OSError as error:
                if error.errno not in _NO_HANDLES:
                    raise
        return (status[19] << 32 | status[20], status[6])

    def _volume(self, mount_id: int, fd: int) -> Volume:
        """A mount seen for the first time, in the shape of the file at ``fd``: find out whether handles work on it.

        Raises ``EDEADLK`` for a mount that this process serves.
        """
        kind = mount_kind(mount_id)
        if kind.is_own:
            fail(errno.EDEADLK)
        volume = Volume(mount_id, kind)
        if self.use_handles and kind.has_lasting_handles:
            volume.fd = self._handle_directory(fd)
        self._volumes[mount_id] = volume
        return volume

    def _handle_directory(self, fd: int) -> int:
        """An open directory on the mount of ``fd`` through which ``fd``'s own handle can be opened, or -1."""
        try:
            directory = self.open_at(b"/proc/self/fd/%d" % fd, _DIRECTORY_FLAGS)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.EACCES, errno.ENXIO, errno.ELOOP):
                return -1  # a mount of a single file, or a directory that may not be read
            raise
        try:
            opened = self._open_handle(directory, self._handles.at(fd)[0], PATH_FLAGS)
        except OSError as error:
            os.close(directory)
            if error.errno in _NO_HANDLES or error.errno == errno.ESTALE:
                return -1
            raise
        os.close(opened)
        return directory

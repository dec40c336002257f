# SPDX-License-Identifier: Apache-2.0
"""What all operations of a mirror share: its tables, its rights, and the identity under which it makes files."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from instar._errors import InstarError
from instar.edge.fs_credentials import Capability, FsCredentials
from instar.edge.syscalls import CloneFlags, unshare
from instar.fs._filesystem import FileSystem
from instar.fs._types import Attr, Context, Entry
from instar.fs.mirror._files import FileTable
from instar.fs.mirror._nodes import Node, NodeTable, fail

if TYPE_CHECKING:
    from instar.fs.mirror._directories import OpenDirectory

__all__ = ["MirrorBase", "MirrorError"]

_T = TypeVar("_T")

_SET_IDS: Final = stat.S_ISUID | stat.S_ISGID
_CACHE: Final = 8192  # descriptors, where the limit of the process allows it

#: What unshare(2) says where it is not allowed; sandboxes choose which.
_NO_UNSHARE: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL})


class MirrorError(InstarError):
    """The directory to mirror cannot be used."""


#: Held while a mirror sets a umask that its thread shares with others.
_SHARED_UMASK: Final = threading.Lock()


class InTheNameOf:
    """What is made in the body of a ``with`` belongs to the caller, and the caller's umask applies.

    The umask is given to the kernel as well: it leaves it out where the directory has a default ACL. It belongs to the
    process, except in a thread that has unshared it (:meth:`MirrorBase.init`); ``lock`` is None there.

    Raises :class:`OSError` on entry, with everything as it was, where the caller's identity cannot be assumed.
    """

    __slots__ = ("_credentials", "_ctx", "_lock", "_umask")

    def __init__(self, ctx: Context, credentials: FsCredentials, lock: threading.Lock | None) -> None:
        self._ctx = ctx
        self._credentials = credentials
        self._lock = lock

    def __enter__(self) -> None:
        if self._lock is not None:
            self._lock.acquire()
        ctx = self._ctx
        self._umask = os.umask(ctx.umask)
        if self._credentials.can_assume:
            try:
                self._credentials.assume(ctx.uid, ctx.gid)
            except OSError:
                self._reset()
                raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._credentials.can_assume:
                self._credentials.restore(self._ctx.uid, self._ctx.gid)
        finally:
            self._reset()

    def _reset(self) -> None:
        os.umask(self._umask)
        if self._lock is not None:
            self._lock.release()


class MirrorBase(FileSystem):
    """The state of a mirror."""

    def __init__(
        self, source: str | os.PathLike[str], *, read_only: bool = False, use_handles: bool = True
    ) -> None:
        self.source = os.path.abspath(source)
        self.fsname = self.source
        self._read_only = read_only
        self._credentials = FsCredentials()
        self._umask_lock: threading.Lock | None = _SHARED_UMASK
        root = self._open_source()
        try:
            self.name_max = max(FileSystem.name_max, os.fstatvfs(root).f_namemax)
            handles = use_handles and self._credentials.has(Capability.DAC_READ_SEARCH)
            self.nodes = NodeTable(root, self._cache_size(), use_handles=handles)
        except OSError:
            os.close(root)
            raise
        self.files = FileTable(self.nodes)
        self.nodes.spare = self.files.park
        self.directories: dict[int, OpenDirectory] = {}

    def _open_source(self) -> int:
        try:
            return os.open(self.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MirrorError(f"{self.source} does not exist: give a directory that is there.") from None
        except NotADirectoryError:
            raise MirrorError(f"{self.source} is not a directory: a mirror shows a directory.") from None
        except OSError as error:
            raise MirrorError(f"{self.source} cannot be opened: {error.strerror}.") from None

    @staticmethod
    def _cache_size() -> int:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _CACHE if soft == resource.RLIM_INFINITY else max(16, min(_CACHE, soft // 4))

    @property
    def read_only(self) -> bool:
        """Whether the mirror refuses every change with ``EROFS``."""
        return self._read_only

    def init(self) -> None:
        """Raise the limit of open descriptors as far as it goes: each open file needs one. Take a umask for this thread alone.

        The mirror sets it to that of each caller, which no other thread of the process may feel. Where a container forbids
        unshare(2), mirrors take turns instead, and other threads that make files meanwhile do feel it. With the umask this thread gets a
        working directory and a root of its own: later chdir(2) and chroot(2) of other threads do not reach it (unshare(2), CLONE_FS).
        """
        if not os.path.isdir("/proc/self/fd"):
            raise MirrorError(
                "/proc is not mounted here, and a mirror opens files through /proc/self/fd: mount it."
            )
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.nodes.capacity = self._cache_size()
        self._credentials = FsCredentials()
        try:
            unshare(CloneFlags.FS)
        except OSError as error:
            if error.errno not in _NO_UNSHARE:
                raise
            self._umask_lock = _SHARED_UMASK
        else:
            self._umask_lock = None

    def destroy(self) -> None:
        """Close every descriptor that the mirror holds."""
        for directory in self.directories.values():
            os.close(directory.fd)
        self.directories.clear()
        self.files.close()
        self.nodes.close()

    def forget(self, ino: int) -> None:
        """Drop the node."""
        self.nodes.forget(ino)

    # ------------------------------------------------------------ shared steps

    def _check_writable(self) -> None:
        if self._read_only:
            fail(errno.EROFS)

    def _as(self, ctx: Context) -> InTheNameOf:
        """A context in which what is made belongs to the caller."""
        return InTheNameOf(ctx, self._credentials, self._umask_lock)

    def _clearing_set_ids(self, target: int | bytes, change: Callable[[], _T]) -> _T:
        """Make ``change`` to the content of ``target``, a descriptor or a path, and clear set-ID bits with it.

        The protocol (``FUSE_HANDLE_KILLPRIV_V2`` in linux/fuse.h) clears the set-group-ID bit only where the group may execute
        the file. The backing file system clears it as well from a writer outside the file's group, and that is what it takes
        this server for, whoever the caller is; so the bit is put back.
        """
        mode = os.stat(target).st_mode
        if not mode & _SET_IDS:
            return change()
        self._credentials.drop_fsetid()
        try:
            result = change()
        finally:
            self._credentials.regain_fsetid()
        if mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID:
            os.chmod(target, stat.S_IMODE(mode) & ~stat.S_ISUID)
        return result

    def _entry(self, found: tuple[Node, Attr]) -> Entry:
        node, attr = found
        return Entry(node.number, attr)

    def _path(self, ino: int) -> bytes:
        """A path that stands for exactly this node, whatever happens to its name, for system calls that want one."""
        return b"/proc/self/fd/%d" % self.nodes.fd(ino)

    @staticmethod
    def _is_regular(node: Node) -> bool:
        return node.kind == stat.S_IFREG

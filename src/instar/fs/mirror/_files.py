# SPDX-License-Identifier: Apache-2.0
"""The open files of a mirror: which descriptor of the backing tree stands behind each handle.

A handle is a number from a counter, looked up in a table at each use, so a wrong one is ``EBADF`` and never a
descriptor that belongs to something else.

Nothing about a backing file depends on its descriptor: offsets come with each call and ``O_APPEND`` is the kernel's business.
So when the process runs out of descriptors, those of idle files are closed and opened again at the next use
(:meth:`FileTable.park`), as long as the
file can be opened again by its handle, which takes a name.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from instar.fs.mirror._nodes import Node, NodeTable, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileTable", "OpenFile", "backing_flags"]

#: What of a caller's flags reaches the backing file. ``O_APPEND`` does not: the kernel gives offsets, and pwrite(2) would ignore
#: them. ``O_DIRECT`` does not: it asks for aligned memory, and the mount's own page cache is bypassed already.
_KEPT: Final = os.O_ACCMODE | os.O_TRUNC | os.O_SYNC | os.O_DSYNC | os.O_NOATIME
#: A file that became a fifo or a lease in the way must not block the server.
_ADDED: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def backing_flags(flags: int) -> int:
    """The flags for open(2) on the backing file."""
    return flags & _KEPT | _ADDED


class OpenFile:
    """An open file. ``fd`` is -1 while it is parked; ``users`` counts threads that use ``fd`` at this moment.

    Invariant: the object is in ``node.files`` until it is released.
    """

    __slots__ = ("fd", "flags", "held", "node", "reader", "released", "users")

    def __init__(self, fd: int, node: Node, flags: int) -> None:
        self.fd = fd
        self.node = node
        self.flags = flags & ~os.O_TRUNC
        self.reader = -1
        self.users = 0
        self.held = False  # a lock hangs on the descriptor
        self.released = False


class FileTable:
    """All open files of one mirror."""

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes
        self._files: dict[int, OpenFile] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(self._files.values())

    def add(self, fd: int, node: Node, flags: int) -> int:
        """Register an open descriptor, which becomes the table's; return the handle."""
        file = OpenFile(fd, node, flags)
        if node.files:
            node.files.append(file)
        else:
            node.files = [file]
        fh = self._next
        self._next = fh + 1
        self._files[fh] = file
        return fh

    def get(self, fh: int) -> OpenFile:
        """The open file under a handle. Raises ``EBADF``."""
        try:
            return self._files[fh]
        except KeyError:
            fail(errno.EBADF)

    def fd(self, fh: int) -> int:
        """The descriptor of an open file, to be used at once. Raises ``EBADF``; ``ESTALE`` if it cannot be opened again."""
        try:
            file = self._files[fh]
        except KeyError:
            fail(errno.EBADF)
        fd = file.fd
        return fd if fd >= 0 else self.unpark(file)

    def unpark(self, file: OpenFile) -> int:
        """The descriptor of a file that may be parked, open again."""
        if file.fd < 0:
            file.fd = self._nodes.open_node(file.node, file.flags)
        return file.fd

    def reader(self, fh: int) -> int:
        """A descriptor to read from, for a file that was opened for writing only: the kernel fills pages before it writes."""
        file = self.get(fh)
        if file.reader < 0:
            if file.flags & os.O_ACCMODE != os.O_WRONLY:
                fail(errno.EBADF)
            file.reader = self._nodes.open_node(file.node, file.flags & ~os.O_ACCMODE)
        return file.reader

    def remove(self, fh: int) -> OpenFile:
        """Forget a handle; the descriptor is closed as soon as no thread uses it. Raises ``EBADF``."""
        file = self.get(fh)
        del self._files[fh]
        files = file.node.files
        assert isinstance(files, list)
        files.remove(file)
        file.released = True
        self._close(file)
        return file

    def use(self, file: OpenFile) -> int:
        """The descriptor, which stays open until :meth:`done` even if the file is released meanwhile."""
        file.users += 1
        try:
            return self.unpark(file)
        except OSError:
            file.users -= 1
            raise

    def done(self, file: OpenFile) -> None:
        """The end of a :meth:`use`."""
        file.users -= 1
        if file.released:
            self._close(file)

    @staticmethod
    def _close(file: OpenFile) -> None:
        if file.users == 0:
            for fd in (file.fd, file.reader):
                if fd >= 0:
                    os.close(fd)
            file.fd = file.reader = -1

    def park(self) -> int:
        """Close the descriptors of up to half of the open files, oldest first; return how many were closed."""
        wanted = sum(file.fd >= 0 for file in self._files.values()) // 2
        closed = 0
        for file in self._files.values():
            if closed >= wanted:
                break
            if file.fd < 0 or file.users or file.held or not self._can_reopen(file):
                continue
            self._close(file)
            closed += 1
        return closed

    @staticmethod
    def _can_reopen(file: OpenFile) -> bool:
        # What is open stays usable: not even the lack of descriptors may make a read fail. So only files of nodes that need
        # none themselves, and that have a name, are parked.
        return not file.node.pinned and os.fstat(file.fd).st_nlink > 0

    def close(self) -> None:
        """Close everything; the table is empty afterwards."""
        for fh in list(self._files):
            self.remove(fh)

# SPDX-License-Identifier: Apache-2.0
"""One directory in which operations run, with the files they hold open.

Two worlds that get the same operations should give the same outcomes: that is the whole test. Paths are relative to the
world's directory, which is the working directory while an operation runs (so that permissions on the way to it do
not matter); open files and mappings have numbers that the operations choose.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Final, Self

from instar.edge.mmap_file import FileMapping
from instar.verify.model._operation import Operation, Outcome

__all__ = ["Attributes", "Mapped", "Times", "World", "attributes"]

_UMASK: Final = 0o022

Attributes = tuple[int | None, ...]
"""(mode with type, links, uid, gid, size, device): what two file systems must agree on. Size is None for a directory."""

Times = tuple[int, int]
"""(mtime, ctime) in ns."""


def attributes(found: os.stat_result) -> Attributes:
    """The part of a stat that two file systems must agree on."""
    size = None if stat.S_ISDIR(found.st_mode) else found.st_size
    device = found.st_rdev if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode) else 0
    return (found.st_mode, found.st_nlink, found.st_uid, found.st_gid, size, device)


def _observed(found: os.stat_result) -> tuple[Attributes, Times, int]:
    return attributes(found), (found.st_mtime_ns, found.st_ctime_ns), found.st_ino


class Mapped:
    """A mapping and where its file ends.

    Args:
        memory: the mapping; closed with this object.
        fd: the file; may be closed by its owner afterwards, for only its inode is kept, not the open file.
        start: where in the file the mapping begins, bytes.
    """

    def __init__(self, memory: FileMapping, fd: int, start: int) -> None:
        self.memory = memory
        self._start = start
        self._inode = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)

    def end_of_file(self) -> int:
        """Bytes from the start of the mapping to the end of the file; less than zero if it ends before."""
        return os.fstat(self._inode).st_size - self._start

    def close(self) -> None:
        """Unmap."""
        self.memory.close()
        os.close(self._inode)


class World:
    """A directory under test. Use as a context manager, or call :meth:`close`: it holds descriptors there.

    Args:
        root: an existing directory, empty unless a test means otherwise.
        label: what messages call it.

    Raises:
        OSError: the directory cannot be opened.
    """

    def __init__(self, root: str | os.PathLike[str], label: str = "") -> None:
        self.root = os.path.abspath(root)
        self.label = label or self.root
        self.handles: dict[int, int] = {}
        self.mappings: dict[int, Mapped] = {}
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file and mapping, and the directory itself."""
        self.close_files()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def close_files(self) -> None:
        """Close every open file and mapping."""
        for mapping in self.mappings.values():
            mapping.close()
        self.mappings.clear()
        for fd in self.handles.values():
            # What close reports (a failed flush) is an outcome only when an operation asks for it.
            with contextlib.suppress(OSError):
                os.close(fd)
        self.handles.clear()

    # What operations use

    def fd(self, slot: int) -> int:
        """The descriptor of an open file; raises EBADF if there is none."""
        try:
            return self.handles[slot]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    def keep(self, slot: int, fd: int) -> None:
        """Remember an open file. A slot that was in use is closed first, as dup2 does."""
        old = self.handles.pop(slot, None)
        if old is not None:
            os.close(old)
        self.handles[slot] = fd

    def forget(self, slot: int) -> int:
        """The descriptor of an open file, no longer kept; raises EBADF if there is none."""
        fd = self.fd(slot)
        del self.handles[slot]
        return fd

    def map(self, number: int, mapped: Mapped) -> None:
        """Remember a mapping, in the place of one that has the number."""
        old = self.mappings.pop(number, None)
        if old is not None:
            old.close()
        self.mappings[number] = mapped

    def unmap(self, number: int) -> None:
        """Remove a mapping; raises EBADF if there is none."""
        self.mapping(number).close()
        del self.mappings[number]

    def mapping(self, number: int) -> Mapped:
        """A mapping; raises EBADF if there is none."""
        try:
            return self.mappings[number]
        except KeyError:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None

    # What the comparer uses

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Make the directory the working directory, with a known umask, for the body."""
        before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        umask = os.umask(_UMASK)
        try:
            os.fchdir(self._root_fd)
            yield
        finally:
            os.fchdir(before)
            os.umask(umask)
            os.close(before)

    def run(self, operation: Operation) -> Outcome:
        """Run one operation and give its outcome. Only OSError is an outcome; anything else is a defect."""
        with self.inside():
            return self.perform(operation)

    def perform(self, operation: Operation) -> Outcome:
        """As :meth:`run`, for a caller that is :meth:`inside` already. What mutants in tests override."""
        try:
            return Outcome(operation.run(self))
        except OSError as error:
            return Outcome(error=error.errno or errno.EIO)

    def observe(self, operation: Operation) -> dict[str, tuple[Attributes, Times, int]]:
        """Attributes, times and inode number of what the operation names and of the directories it lies in."""
        found: dict[str, tuple[Attributes, Times, int]] = {}
        for path in operation.paths():
            parent = os.path.dirname(path.rstrip("/")) or "."
            for name in (path, parent):
                if name not in found:
                    with contextlib.suppress(OSError):
                        status = os.lstat(name)
                        found[name] = _observed(status)
        for slot in operation.slots():
            if slot in self.handles:
                status = os.fstat(self.handles[slot])
                found[f"open file {slot}"] = _observed(status)
        return found

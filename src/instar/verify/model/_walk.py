# SPDX-License-Identifier: Apache-2.0
"""A random walk through the language: seeded, and aware of what is open, so that most operations hit something.

Names come from a small pool, so that they collide; sizes and offsets sit around the edges of pages and blocks.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import random
import stat
from collections.abc import Callable, Iterator
from typing import Final

from instar.edge.mmap_file import PAGE_SIZE
from instar.verify.model import _files as f
from instar.verify.model import _mappings as m
from instar.verify.model import _names as n
from instar.verify.model._operation import Operation, Outcome

__all__ = ["PATHS", "Walk"]

_FILES: Final = ("a", "b", "c", "f")
_PARENTS: Final = ("", "", "d0/", "d1/", "d0/e/")
_DIRECTORIES: Final = ("d0", "d1", "d0/e", "d1/e", "d2")
PATHS: Final = tuple(sorted({parent + leaf for parent in _PARENTS for leaf in _FILES} | {*_DIRECTORIES}))
"""The names that a walk uses most."""

_ODD_PATHS: Final = (
    ".",
    "a/",
    "d0/",
    "d0/.",
    "d0/..",
    "d1/../a",
    "missing/a",
    "a/b",
    "x" * 255,
    "x" * 256,
    "name with spaces",
    "new\nline",
    "\udcff\udcfe",
    "d0/ü",
)
_TARGETS: Final = ("a", "b", "c", "d0", "d1", "d0/e", "d0/a", "missing", "e", "x" * 200)
_XATTRS: Final = ("user.a", "user.b", "user.long-name-of-an-attribute", "trusted.t", "user.ü")
_ACLS: Final = (
    "u::7 g::5 o::0",
    "u::7 u:1000:7 g::5 m::7 o::0",
    "u::6 u:1000:0 g::4 m::4 o::4",
    "u::7 u:1001:5 g::0 g:1000:7 m::5 o::5",
    "u::7 g::7 m::5 o::1",
    "u::7 u:1000:7 g::5 o::0",  # no mask: invalid
    "",
)
_MODES: Final = (
    0o644,
    0o600,
    0o755,
    0o700,
    0o777,
    0o444,
    0o000,
    0o4755,
    0o2755,
    0o2770,
    0o1777,
    0o6711,
    0o2644,
    0o6666,
)
_IDS: Final = (0, 1000, 1001, -1)
_SLOTS: Final = 8
_MAPPINGS: Final = 3
_EDGES: Final = (0, 1, 511, 512, 1000, 4095, 4096, 4097, 8191, 8192, 12288, 20000, 65536, 131072, 200001)
_LENGTHS: Final = (0, 1, 2, 10, 100, 511, 512, 1000, 4095, 4096, 4097, 10000, 33000)
_ACCESS: Final = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR)
_FALLOCATE: Final = (
    f.FallocateMode.NONE,
    f.FallocateMode.KEEP_SIZE,
    f.FallocateMode.PUNCH_HOLE | f.FallocateMode.KEEP_SIZE,
    f.FallocateMode.PUNCH_HOLE | f.FallocateMode.KEEP_SIZE,
    f.FallocateMode.ZERO_RANGE,
    f.FallocateMode.ZERO_RANGE | f.FallocateMode.KEEP_SIZE,
    f.FallocateMode.PUNCH_HOLE,
)


class Walk(Iterator[Operation]):
    """An endless stream of operations. Tell it what came of each with :meth:`note`.

    Args:
        seed: two walks with one seed, told the same outcomes, are the same.
        users: whether some operations are done as other users (needs root).
        leave_out: classes of operations that are not wanted.
    """

    def __init__(
        self, seed: int, *, users: bool = False, leave_out: tuple[type[Operation], ...] = ()
    ) -> None:
        self._random = random.Random(seed)
        self._users = users
        self._open: set[int] = set()
        self._mapped: set[int] = set()
        self._first = True
        makers = [(weight, make) for weight, kind, make in self._table() if kind not in leave_out]
        self._weights = [weight for weight, _ in makers]
        self._makers = [make for _, make in makers]

    def __next__(self) -> Operation:
        """The next operation."""
        if self._first:  # so that the other users can do something
            self._first = False
            return n.Chmod(".", 0o1777)
        operation = self._random.choices(self._makers, self._weights)[0]()
        if self._users and self._random.random() < 0.12 and operation.paths():
            operation = n.As(self._random.choice((1000, 1001)), self._random.choice((1000, 1001)), operation)
        return operation

    def note(self, operation: Operation, outcome: Outcome) -> None:
        """Learn what is open now."""
        inner = operation.operation if isinstance(operation, n.As) else operation
        if isinstance(inner, f.Close) and outcome.error != errno.EBADF:
            self._open.discard(inner.slot)
        elif isinstance(inner, m.Unmap):
            self._mapped.discard(inner.mapping)
        elif not outcome.error:
            if isinstance(inner, f.Open | f.TmpFile):
                self._open.add(inner.slot)
            elif isinstance(inner, f.Dup):
                self._open.add(inner.new_slot)
            elif isinstance(inner, m.Map):
                self._mapped.add(inner.mapping)

    # What operations are made of

    def _path(self) -> str:
        chance = self._random.random()
        if chance < 0.03:
            return self._random.choice(_ODD_PATHS)
        if chance < 0.15:
            return self._random.choice(_DIRECTORIES)
        return self._random.choice(_PARENTS) + self._random.choice(_FILES)

    def _directory(self) -> str:
        chance = self._random.random()
        if chance < 0.1:
            return self._path()
        return "." if chance < 0.25 else self._random.choice(_DIRECTORIES)

    def _two(self) -> tuple[str, str]:
        """Two paths for rename or link: mostly both of files or both of directories."""
        if self._random.random() < 0.25:
            return self._directory(), self._directory()
        return self._path(), self._path()

    def _slot(self) -> int:
        if self._open and self._random.random() < 0.97:
            return self._random.choice(sorted(self._open))
        return self._random.randrange(_SLOTS)

    def _mapping(self) -> int:
        if self._mapped and self._random.random() < 0.97:
            return self._random.choice(sorted(self._mapped))
        return self._random.randrange(_MAPPINGS)

    def _offset(self) -> int:
        return self._random.choice(_EDGES) if self._random.random() < 0.5 else self._random.randrange(40000)

    def _length(self) -> int:
        return (
            self._random.choice(_LENGTHS) if self._random.random() < 0.5 else self._random.randrange(1, 9000)
        )

    def _data(self) -> bytes:
        return bytes((self._random.randrange(97, 123),)) * self._length()

    def _mode(self) -> int:
        return self._random.choice(_MODES)

    def _time(self) -> int:
        return self._random.choice((0, 1, 10**9, 1_600_000_000_123_456_789, 1_700_000_000 * 10**9))

    def _open_flags(self) -> int:
        flags = self._random.choice(_ACCESS)
        for flag, chance in (
            (os.O_CREAT, 0.5),
            (os.O_EXCL, 0.1),
            (os.O_TRUNC, 0.15),
            (os.O_APPEND, 0.25),
            (os.O_NOFOLLOW, 0.1),
            (os.O_DSYNC, 0.03),
        ):
            if self._random.random() < chance:
                flags |= flag
        # O_EXCL without O_CREAT has no meaning that two systems must share.
        return flags if flags & os.O_CREAT else flags & ~os.O_EXCL

    def _copy(self) -> Operation:
        return f.CopyRange(self._slot(), self._offset(), self._slot(), self._offset(), self._length())

    def _table(self) -> list[tuple[float, type[Operation], Callable[[], Operation]]]:
        pick = self._random.choice
        path, slot, mode, offset, length, data = (
            self._path,
            self._slot,
            self._mode,
            self._offset,
            self._length,
            self._data,
        )

        def flip() -> bool:
            return self._random.random() < 0.5

        def new_slot() -> int:
            return self._random.randrange(_SLOTS)

        def rename_flags() -> n.RenameFlags:
            return pick((n.RenameFlags.NONE,) * 4 + (n.RenameFlags.NOREPLACE, n.RenameFlags.EXCHANGE))

        def kind() -> int:
            return pick((stat.S_IFREG, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK))

        def xattr_flags() -> int:
            return pick((0, 0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))

        def value() -> bytes:
            return self._random.randbytes(self._random.choice((0, 1, 5, 40)))

        def lock() -> tuple[int, int, int]:
            return (
                pick((fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK)),
                self._random.randrange(20),
                self._random.randrange(12),
            )

        def test() -> tuple[int, int, int]:
            return (
                pick((fcntl.F_RDLCK, fcntl.F_WRLCK)),
                self._random.randrange(20),
                self._random.randrange(12),
            )

        return [
            (4, n.WriteFile, lambda: n.WriteFile(path(), data(), mode() | 0o200)),
            (2, n.ReadFile, lambda: n.ReadFile(path())),
            (4, n.Mkdir, lambda: n.Mkdir(self._directory(), mode() | 0o700)),
            (3, n.Rmdir, lambda: n.Rmdir(self._directory())),
            (1.5, n.Mknod, lambda: n.Mknod(path(), kind() | mode())),
            (7, n.Unlink, lambda: n.Unlink(path())),
            (6, n.Rename, lambda: n.Rename(*self._two(), rename_flags())),
            (5, n.Link, lambda: n.Link(*self._two(), flip())),
            (3, n.Symlink, lambda: n.Symlink(pick(_TARGETS), path())),
            (1, n.ReadLink, lambda: n.ReadLink(path())),
            (2, n.Truncate, lambda: n.Truncate(path(), offset())),
            (2, n.Chmod, lambda: n.Chmod(path(), mode())),
            (2, n.Chown, lambda: n.Chown(path(), pick(_IDS), pick(_IDS), flip())),
            (1, n.Utimens, lambda: n.Utimens(path(), self._time(), self._time(), flip())),
            (2, n.SetXattr, lambda: n.SetXattr(path(), pick(_XATTRS), value(), xattr_flags(), flip())),
            (1, n.GetXattr, lambda: n.GetXattr(path(), pick(_XATTRS), flip())),
            (1, n.ListXattr, lambda: n.ListXattr(path(), flip())),
            (1, n.RemoveXattr, lambda: n.RemoveXattr(path(), pick(_XATTRS), flip())),
            (2, n.SetAcl, lambda: n.SetAcl(self._directory() if flip() else path(), pick(_ACLS), flip())),
            (0.5, n.BirthTime, lambda: n.BirthTime(path())),
            (1, n.Access, lambda: n.Access(path(), self._random.randrange(8))),
            (2, n.Stat, lambda: n.Stat(path(), flip())),
            (2, n.ReadDir, lambda: n.ReadDir(self._directory())),
            (9, f.Open, lambda: f.Open(new_slot(), path(), self._open_flags(), mode() | 0o600)),
            (
                1,
                f.Open,
                lambda: f.Open(new_slot(), self._directory(), os.O_RDONLY | os.O_DIRECTORY),
            ),
            (
                1.5,
                f.TmpFile,
                lambda: f.TmpFile(new_slot(), self._directory(), os.O_RDWR | pick((0, 0, os.O_EXCL))),
            ),
            (1.5, f.LinkFile, lambda: f.LinkFile(slot(), path())),
            (3, f.Close, lambda: f.Close(slot())),
            (1, f.Dup, lambda: f.Dup(slot(), new_slot())),
            (3, f.Read, lambda: f.Read(slot(), length())),
            (5, f.Write, lambda: f.Write(slot(), data())),
            (3, f.PRead, lambda: f.PRead(slot(), offset(), length())),
            (4, f.PWrite, lambda: f.PWrite(slot(), offset(), data())),
            (
                1,
                f.Seek,
                lambda: f.Seek(
                    slot(), pick((0, 1, 100, 5000)), pick((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END))
                ),
            ),
            (2, f.SeekData, lambda: f.SeekData(slot(), offset())),
            (2, f.SeekHole, lambda: f.SeekHole(slot(), offset())),
            (3, f.FTruncate, lambda: f.FTruncate(slot(), offset())),
            (4, f.FAllocate, lambda: f.FAllocate(slot(), pick(_FALLOCATE), offset(), length())),
            (3, f.CopyRange, self._copy),
            (1, f.SendFile, lambda: f.SendFile(slot(), offset(), slot(), length())),
            (2, f.FStat, lambda: f.FStat(slot())),
            (1, f.FSync, lambda: f.FSync(slot(), flip())),
            (1, f.FChmod, lambda: f.FChmod(slot(), mode())),
            (1, f.FChown, lambda: f.FChown(slot(), pick(_IDS), pick(_IDS))),
            (0.5, f.FUtimens, lambda: f.FUtimens(slot(), self._time(), self._time())),
            (1, f.FSetXattr, lambda: f.FSetXattr(slot(), pick(_XATTRS), value(), xattr_flags())),
            (0.5, f.FGetXattr, lambda: f.FGetXattr(slot(), pick(_XATTRS))),
            (0.5, f.FListXattr, lambda: f.FListXattr(slot())),
            (1, f.FReadDir, lambda: f.FReadDir(slot())),
            (1, f.SetAppend, lambda: f.SetAppend(slot(), flip())),
            (1.5, f.Flock, lambda: f.Flock(slot(), pick((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN)))),
            (1.5, f.OfdLock, lambda: f.OfdLock(slot(), *lock())),
            (1, f.OfdTest, lambda: f.OfdTest(slot(), *test())),
            (
                4,
                m.Map,
                lambda: m.Map(
                    self._random.randrange(_MAPPINGS),
                    slot(),
                    pick((0, 0, 1, 2)),
                    pick((1, 2, 4, 10)),
                    self._random.random() < 0.25,
                    self._random.random() < 0.8,
                ),
            ),
            (4, m.MapLoad, lambda: m.MapLoad(self._mapping(), self._page_offset(), length())),
            (4, m.MapStore, lambda: m.MapStore(self._mapping(), self._page_offset(), data())),
            (1, m.MapSync, lambda: m.MapSync(self._mapping())),
            (1, m.Unmap, lambda: m.Unmap(self._mapping())),
        ]

    def _page_offset(self) -> int:
        return self._random.choice((0, 1, 100, PAGE_SIZE - 1, PAGE_SIZE, 2 * PAGE_SIZE + 5, 3 * PAGE_SIZE))


def operation_names() -> tuple[str, ...]:
    """The names of every class of operation."""
    modules = (n, f, m)
    return tuple(
        name
        for module in modules
        for name in module.__all__
        if isinstance(getattr(module, name), type) and dataclasses.is_dataclass(getattr(module, name))
    )

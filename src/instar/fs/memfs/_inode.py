# SPDX-License-Identifier: Apache-2.0
"""`Inode`: a node of a `MemFS`. It is its own :class:`~instar.fs.Attr`, so that ``getattr`` makes nothing.

A node is one object with a fixed set of slots, outside the garbage collector's view (``gc=False``): it refers to
other nodes by number only, so no reference cycle can run through it, and a million of them do not make a
collection slower. `benchmarks/memory.py` measures its size.
"""

from __future__ import annotations

import stat

from instar.fs._types import Attr
from instar.fs.memfs._pages import Pages

__all__ = ["Inode"]


class Inode(Attr, gc=False, dict=False, eq=False):
    """A node.

    ``data`` is a regular file's content, ``target`` a symbolic link's in bytes, ``children`` a directory's: name to (cookie, node
    number), in the order of their cookies. ``parent`` is the directory that holds a directory, ``opens`` how often a file is
    open, ``writers`` how often for writing.

    Invariants: exactly one of ``data``, ``target``, ``children`` is set for those three types, none for the others;
    cookies in ``children`` rise and are below ``next_cookie``.
    """

    data: Pages | None = None
    target: bytes | None = None
    children: dict[str, tuple[int, int]] | None = None
    xattrs: dict[str, bytes] | None = None
    parent: int = 0
    opens: int = 0
    writers: int = 0
    next_cookie: int = 1

    def assert_invariants(self) -> None:
        """Raise :class:`AssertionError` if the class invariants do not hold."""
        kinds = [self.data is not None, self.target is not None, self.children is not None]
        expected = [stat.S_ISREG(self.mode), stat.S_ISLNK(self.mode), stat.S_ISDIR(self.mode)]
        assert kinds == expected, (self.ino, oct(self.mode), kinds)
        if self.children is not None:
            cookies = [cookie for cookie, _ in self.children.values()]
            assert cookies == sorted(set(cookies)), self.ino
            assert not cookies or cookies[-1] < self.next_cookie, self.ino
        if self.data is not None:
            self.data.assert_invariants()

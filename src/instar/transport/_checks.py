# SPDX-License-Identifier: Apache-2.0
"""What the kernel would refuse without a word: attributes that no file can have.

The kernel answers the caller with ``EIO`` for these, and some mark the node as bad for as long as it is cached
(``fuse_invalid_attr`` and ``fuse_make_bad`` in ``fs/fuse/dir.c``). Refused here, the author of the file system learns why.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from instar.fs import Attr, Entry

__all__ = ["check_attr", "check_entry"]

_SIZE_MAX: Final = (1 << 63) - 1
_IFMT_SHIFT: Final = 12
_TYPES: Final = frozenset(
    kind >> _IFMT_SHIFT
    for kind in (
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFCHR,
        stat.S_IFBLK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
    )
)


def check_attr(attr: Attr) -> None:
    """Raise :class:`ValueError` for attributes with which the kernel would call a node broken."""
    if attr.mode >> _IFMT_SHIFT not in _TYPES:
        raise ValueError(f"the mode {attr.mode:#o} has no file type: add stat.S_IFREG, stat.S_IFDIR ...")
    if attr.size > _SIZE_MAX:
        raise ValueError(f"the size {attr.size} is larger than a file can be")


def check_entry(entry: Entry, kind: int | None = None) -> None:
    """Raise :class:`ValueError` for an entry that the kernel would refuse; ``kind`` is the file type that it asked for."""
    if entry.ino <= 0:
        raise ValueError(f"node numbers are positive, got {entry.ino}")
    check_attr(entry.attr)
    if kind is not None and stat.S_IFMT(entry.attr.mode) != kind:
        raise ValueError(f"asked to make the file type {kind:#o}, got the mode {entry.attr.mode:#o}")

# SPDX-License-Identifier: Apache-2.0
"""POSIX access control lists: what a file system has to do with them itself.

The kernel checks permissions (with ``default_permissions``), but three things are the file system's: a new node
inherits its parent's default list, ``chmod`` rewrites the list's class entries, and setting a list rewrites the mode.
The lists travel as the values of two extended attributes. Sources: ``acl(5)``, POSIX.1e draft 17 section 23,
``linux/posix_acl_xattr.h``.
"""

from __future__ import annotations

import enum
import errno
import os
import struct
from typing import Final, NamedTuple

__all__ = [
    "XATTR_ACCESS",
    "XATTR_DEFAULT",
    "AclEntry",
    "AclTag",
    "chmod",
    "decode",
    "encode",
    "inherit",
    "mode_of",
]

XATTR_ACCESS: Final = "system.posix_acl_access"
XATTR_DEFAULT: Final = "system.posix_acl_default"

_VERSION: Final = 2  # POSIX_ACL_XATTR_VERSION
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_NO_ID: Final = 0xFFFF_FFFF


class AclTag(enum.IntEnum):
    """``e_tag`` (``linux/posix_acl.h``)."""

    USER_OBJ = 0x01
    USER = 0x02
    GROUP_OBJ = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


class AclEntry(NamedTuple):
    """One line of a list: ``perm`` is a sum of 4 (read), 2 (write), 1 (execute); ``id`` a uid or a gid."""

    tag: AclTag
    perm: int
    id: int = _NO_ID


def decode(value: bytes) -> list[AclEntry]:
    """Read an extended attribute's value. Raises ``EINVAL`` for anything that is not a complete, ordered list.

    >>> decode(encode([AclEntry(AclTag.USER_OBJ, 6), AclEntry(AclTag.GROUP_OBJ, 4), AclEntry(AclTag.OTHER, 0)]))[0].perm
    6
    """
    if len(value) < _HEADER.size or (len(value) - _HEADER.size) % _ENTRY.size:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if _HEADER.unpack_from(value)[0] != _VERSION:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    try:
        entries = [
            AclEntry(AclTag(tag), perm, id_) for tag, perm, id_ in _ENTRY.iter_unpack(value[_HEADER.size :])
        ]
    except ValueError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if entries and not _valid(entries):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return entries


def encode(entries: list[AclEntry]) -> bytes:
    """The extended attribute's value for a list."""
    return _HEADER.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)


def mode_of(entries: list[AclEntry]) -> tuple[int, bool]:
    """Return the nine permission bits that a list shows, and whether the list says nothing more than they do."""
    bits, minimal = 0, True
    mask: int | None = None
    group = 0
    for tag, perm, _ in entries:
        if tag is AclTag.USER_OBJ:
            bits |= perm << 6
        elif tag is AclTag.GROUP_OBJ:
            group = perm
        elif tag is AclTag.OTHER:
            bits |= perm
        else:
            minimal = False
            if tag is AclTag.MASK:
                mask = perm
    return bits | (group if mask is None else mask) << 3, minimal


def chmod(entries: list[AclEntry], mode: int) -> list[AclEntry]:
    """The list after ``chmod(2)``: the owner, the mask (else the owning group) and the others follow the mode."""
    has_mask = any(entry.tag is AclTag.MASK for entry in entries)
    group_class = AclTag.MASK if has_mask else AclTag.GROUP_OBJ
    shifts = {AclTag.USER_OBJ: 6, group_class: 3, AclTag.OTHER: 0}
    return [
        entry._replace(perm=(mode >> shifts[entry.tag]) & 7) if entry.tag in shifts else entry
        for entry in entries
    ]


def inherit(default: list[AclEntry], mode: int) -> tuple[int, list[AclEntry] | None]:
    """What a new node gets from its parent's default list: its mode, and its access list unless the mode says it all.

    The permissions asked for in ``mode`` can only take away from the list, and the umask plays no part.
    """
    bits, minimal = mode_of(default)
    bits &= mode
    mode = (mode & ~0o777) | bits
    return mode, None if minimal else chmod(default, bits)


def _valid(entries: list[AclEntry]) -> bool:
    """Whether each required entry is there once, the named ones are ordered, and a mask stands where one must."""
    tags = [entry.tag for entry in entries]
    once = all(tags.count(tag) == 1 for tag in (AclTag.USER_OBJ, AclTag.GROUP_OBJ, AclTag.OTHER))
    named = AclTag.USER in tags or AclTag.GROUP in tags
    masks = tags.count(AclTag.MASK)
    ordered = tags == sorted(tags) and all(entry.perm <= 7 for entry in entries)
    return once and ordered and masks <= 1 and (masks == 1 or not named)

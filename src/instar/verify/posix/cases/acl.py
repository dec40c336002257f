# SPDX-License-Identifier: Apache-2.0
"""POSIX ACLs (POSIX.1e draft 17, acl(5)) by their attributes system.posix_acl_access and system.posix_acl_default.

The attribute's form: a 32-bit version 2, then entries of tag, permissions and id (linux/posix_acl_xattr.h), little endian.
"""

from __future__ import annotations

import dataclasses
import enum
import errno
import os
import struct

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, B, create_kind, open_and_close, shared_directory

__all__: list[str] = []

_OPTIONAL = "POSIX ACLs"
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_VERSION = 2
_NO_ID = 0xFFFFFFFF
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")


class _Tag(enum.IntEnum):
    """``ACL_*`` of linux/posix_acl.h."""

    USER_OBJ = 0x01
    USER = 0x02
    GROUP_OBJ = 0x04
    GROUP = 0x08
    MASK = 0x10
    OTHER = 0x20


_LETTERS = {"u": _Tag.USER_OBJ, "g": _Tag.GROUP_OBJ, "m": _Tag.MASK, "o": _Tag.OTHER}


@dataclasses.dataclass(frozen=True, order=True)
class _Entry:
    """One entry of a list."""

    tag: _Tag
    id: int
    permissions: int


def _parse(text: str) -> list[_Entry]:
    """``u:rw- u1000:r-- g:r-- g5:rwx m:rw- o:---`` as setfacl(1) would write it."""
    entries = []
    for item in text.split():
        who, _, letters = item.partition(":")
        permissions = sum(bit for letter, bit in (("r", 4), ("w", 2), ("x", 1)) if letter in letters)
        if len(who) > 1:
            entries.append(_Entry(_Tag.USER if who[0] == "u" else _Tag.GROUP, int(who[1:]), permissions))
        else:
            entries.append(_Entry(_LETTERS[who], _NO_ID, permissions))
    return entries


def _encode(text: str) -> bytes:
    return _HEAD.pack(_VERSION) + b"".join(
        _ENTRY.pack(one.tag, one.permissions, one.id) for one in _parse(text)
    )


def _decode(value: bytes) -> list[_Entry]:
    entries = [_ENTRY.unpack_from(value, place) for place in range(_HEAD.size, len(value), _ENTRY.size)]
    return sorted(_Entry(_Tag(tag), id_, permissions) for tag, permissions, id_ in entries)


def _set(path: str, text: str, name: str = ACCESS) -> None:
    os.setxattr(path, name, _encode(text))


def _get(t: Arena, path: str, name: str = ACCESS) -> list[_Entry] | None:
    """The list, or None if there is no more than the mode."""
    if t.me.attempt(os.getxattr, path, name) == errno.ENODATA:
        return None
    return _decode(t.me(os.getxattr, path, name))


def _is(t: Arena, path: str, text: str | None, name: str = ACCESS) -> None:
    expected = None if text is None else sorted(_parse(text))
    t.equal(_get(t, path, name), expected, f"{name} of {path!r}")


_FULL = f"u:rw- u{A[0]}:rw- u{B[0]}:r-- g:r-- g777:rw- m:rw- o:---"


@case(each("file", "dir", "fifo"), optional=_OPTIONAL, short=True)
def _list_is_kept_and_shown_in_the_mode(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    _is(t, "f", None)
    t.me(_set, "f", _FULL)
    _is(t, "f", _FULL)
    # The group bits of the mode are the mask now.
    t.has("f", mode=0o660)
    t.true(ACCESS in t.me(os.listxattr, "f"), "the attribute is listed")
    t.me(os.removexattr, "f", ACCESS)
    _is(t, "f", None)
    t.has("f", mode=0o640 if t.stat("f").st_mode & 0o777 == 0o640 else 0o660)


@case(optional=_OPTIONAL)
def _list_of_three_entries_is_just_the_mode(t: Arena) -> None:
    t.make("file", "f", 0o600)
    t.me(_set, "f", "u:rwx g:r-x o:r--")
    t.has("f", mode=0o754)
    _is(t, "f", None)
    t.true(ACCESS not in t.me(os.listxattr, "f"), "the attribute is not listed")


@case(optional=_OPTIONAL)
def _setuid_and_sticky_bits_stay(t: Arena) -> None:
    t.make("file", "f", 0o6755)
    t.me(_set, "f", _FULL)
    t.has("f", mode=0o6660)
    t.make("dir", "d", 0o3755)
    t.me(_set, "d", f"u:rwx u{A[0]}:rwx g:r-x m:rwx o:---")
    t.has("d", mode=0o3770)


_SUBJECTS = {
    # who asks: (uid, gid, groups)
    "owner": (500, 500),
    "named-user": (A[0], A[1]),
    "named-user-2": (B[0], B[1]),
    "owning-group": (600, 510),
    "named-group": (601, 777),
    "supplementary-named": (602, 602, 777),
    "supplementary-owning": (603, 603, 510),
    "two-groups": (604, 510, 777, 778),
    "other": (605, 605),
}
# (the list, what each subject may do), for a file of 500:510.
_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "plain": (
        f"u:rw- u{A[0]}:rwx u{B[0]}:--- g:r-- g777:-w- g778:--x m:rwx o:--x",
        {
            "owner": "rw-",
            "named-user": "rwx",
            "named-user-2": "---",
            "owning-group": "r--",
            "named-group": "-w-",
            "supplementary-named": "-w-",
            "supplementary-owning": "r--",
            "two-groups": "rwx",
            "other": "--x",
        },
    ),
    "masked": (
        f"u:rwx u{A[0]}:rwx u{B[0]}:-w- g:rwx g777:rw- m:r-x o:rwx",
        {
            "owner": "rwx",
            "named-user": "r-x",
            "named-user-2": "---",
            "owning-group": "r-x",
            "named-group": "r--",
            "supplementary-named": "r--",
            "supplementary-owning": "r-x",
            "two-groups": "r-x",
            "other": "rwx",
        },
    ),
    "closed": (
        f"u:--- u{A[0]}:rw- g:--- g777:r-- m:rw- o:rwx",
        {
            "owner": "---",
            "named-user": "rw-",
            "named-user-2": "rwx",
            "owning-group": "---",
            "named-group": "r--",
            "supplementary-named": "r--",
            "supplementary-owning": "---",
            "two-groups": "r--",
            "other": "rwx",
        },
    ),
    "empty-mask": (
        # Linux looks at no list when the mask is empty, and at the rights of others instead (acl_permission_check()); so
        # others have none here.
        f"u:rw- u{A[0]}:rwx g:rwx g777:rwx m:--- o:---",
        {
            "owner": "rw-",
            "named-user": "---",
            "named-user-2": "---",
            "owning-group": "---",
            "named-group": "---",
            "supplementary-named": "---",
            "supplementary-owning": "---",
            "two-groups": "---",
            "other": "---",
        },
    ),
}


@case(grid({name: name for name in _TABLES}, each("file", "dir")), optional=_OPTIONAL, short=True)
def _list_decides_who_may_do_what(t: Arena, table: str, kind: str) -> None:
    text, expected = _TABLES[table]
    t.make(kind, "f", 0o600, (500, 510))
    t.root(_set, "f", text)
    for who, ids in _SUBJECTS.items():
        actor = t.who(*ids)
        rights = expected[who]
        # access(2) asks for each bit alone: several group entries count each for itself.
        t.equal(actor(_do.rights, "f"), rights, f"rights of {who}")
        for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY)):
            if kind == "dir" and letter == "w":
                continue
            if letter in rights:
                actor(open_and_close, "f", flags)
            else:
                actor.fails(errno.EACCES, open_and_close, "f", flags)


@case(optional=_OPTIONAL)
def _no_single_group_entry_grants_both_then_both_are_refused(t: Arena) -> None:
    t.make("file", "f", 0o600, (500, 510))
    t.root(_set, "f", "u:rw- g:r-- g777:-w- m:rw- o:rw-")
    member = t.who(606, 510, 777)
    member(open_and_close, "f", os.O_RDONLY)
    member(open_and_close, "f", os.O_WRONLY)
    # acl(5): one entry must hold all that is asked for.
    member.fails(errno.EACCES, open_and_close, "f", os.O_RDWR)


@case(optional=_OPTIONAL)
def _chmod_changes_owner_mask_and_other(t: Arena) -> None:
    t.make("file", "f", 0o640, (500, 510))
    t.root(_set, "f", _FULL)
    t.root(os.chmod, "f", 0o604)
    t.has("f", mode=0o604)
    _is(t, "f", f"u:rw- u{A[0]}:rw- u{B[0]}:r-- g:r-- g777:rw- m:--- o:r--")
    t.root(os.chmod, "f", 0o600)
    t.user_a.fails(errno.EACCES, open_and_close, "f", os.O_RDONLY)
    t.root(os.chmod, "f", 0o440)
    _is(t, "f", f"u:r-- u{A[0]}:rw- u{B[0]}:r-- g:r-- g777:rw- m:r-- o:---")
    t.user_a(open_and_close, "f", os.O_RDONLY)
    t.user_a.fails(errno.EACCES, open_and_close, "f", os.O_RDWR)
    t.root(os.chmod, "f", 0o670)
    t.user_a(open_and_close, "f", os.O_RDWR)


@case(optional=_OPTIONAL)
def _setting_moves_ctime_and_needs_the_owner(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o666, A)
    with t.times({"d/f": "c", "d": ""}):
        t.user_a(_set, "d/f", _FULL)
    t.user_b.fails(errno.EPERM, _set, "d/f", "u:rwx g:rwx o:rwx")
    t.user_b.fails(errno.EPERM, os.removexattr, "d/f", ACCESS)
    _is(t, "d/f", _FULL)
    t.equal(
        _decode(t.user_b(os.getxattr, "d/f", ACCESS)), sorted(_parse(_FULL)), "everybody may read the list"
    )
    t.root(_set, "d/f", "u:rw- g:r-- o:r--")
    t.has("d/f", mode=0o644)


@case(
    {
        "no-owner": "g:r-- o:r--",
        "no-group": "u:rw- o:r--",
        "no-other": "u:rw- g:r--",
        "no-mask": "u:rw- u5:rw- g:r-- o:r--",
        "two-owners": "u:rw- u:r-- g:r-- o:r--",
        "two-of-a-user": "u:rw- u5:rw- u5:r-- g:r-- m:rw- o:r--",
        "wrong-order": "o:r-- g:r-- u:rw-",
    },
    optional=_OPTIONAL,
)
def _invalid_list_is_einval(t: Arena, text: str) -> None:
    t.make("file", "f", 0o640)
    t.me(_set, "f", "u:rw- g:r-- o:---")
    if text.startswith("u:rw- u5:rw- u5"):
        # Which of two entries of one user counts is undefined; Linux takes them.
        t.me.attempt(_set, "f", text)
        return
    t.me.fails(errno.EINVAL, _set, "f", text)
    t.has("f", mode=0o640)
    _is(t, "f", None)


@case(
    {
        "short": b"\2\0\0",
        "version": _HEAD.pack(3) + _encode("u:rw- g:r-- o:r--")[4:],
        "cut": _encode("u:rw- g:r-- o:r--")[:-3],
        "tag": _HEAD.pack(2) + _ENTRY.pack(0x40, 7, _NO_ID),
        "permissions": _HEAD.pack(2)
        + _ENTRY.pack(_Tag.USER_OBJ, 0xFF, _NO_ID)
        + _ENTRY.pack(_Tag.GROUP_OBJ, 4, _NO_ID)
        + _ENTRY.pack(_Tag.OTHER, 4, _NO_ID),
    },
    optional=_OPTIONAL,
)
def _malformed_value_is_refused(t: Arena, value: bytes) -> None:
    t.make("file", "f", 0o640)
    t.me(_set, "f", "u:rw- g:r-- o:---")
    number = t.me.attempt(os.setxattr, "f", ACCESS, value)
    t.true(number in {errno.EINVAL, errno.EOPNOTSUPP}, f"errno {number}")
    t.has("f", mode=0o640)
    _is(t, "f", None)


# ------------------------------------------------------------------------------------- default lists


@case(each("file", "fifo", "socket"), optional=_OPTIONAL)
def _only_directories_have_a_default_list(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    t.make("dir", "d", 0o755)
    t.me(_set, "d", "u:rwx g:r-x o:---", DEFAULT)
    t.me.fails(errno.EACCES, _set, "f", "u:rwx g:r-x o:---", DEFAULT)
    t.me.fails(errno.ENODATA, os.getxattr, "f", DEFAULT)


@case(optional=_OPTIONAL)
def _default_list_is_kept_and_does_not_touch_the_directory(t: Arena) -> None:
    t.make("dir", "d", 0o700)
    text = f"u:rwx u{A[0]}:rwx g:r-x m:rwx o:r--"
    t.me(_set, "d", text, DEFAULT)
    _is(t, "d", text, DEFAULT)
    _is(t, "d", None)
    t.has("d", mode=0o700)
    t.user_a.fails(errno.EACCES, os.listdir, "d")
    t.me(os.removexattr, "d", DEFAULT)
    _is(t, "d", None, DEFAULT)
    t.me(_set, "d", "u:rwx g:--- o:---", DEFAULT)
    _is(t, "d", "u:rwx g:--- o:---", DEFAULT)


_DEFAULT = f"u:rwx u{A[0]}:rwx u{B[0]}:r-- g:r-x g777:rwx m:rwx o:r-x"


@case(
    grid(
        each("file", "dir", "fifo", "socket"),
        {f"{mode:03o}": mode for mode in (0o777, 0o666, 0o640, 0o700, 0o000)},
    ),
    optional=_OPTIONAL,
    short=True,
)
def _new_file_inherits_the_default_list_cut_by_the_mode(t: Arena, kind: str, mode: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", _DEFAULT, DEFAULT)
    # The umask has no say where there is a default list.
    t.me(_create_under_umask, 0o077, kind, "d/f", mode)
    owner, mask, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    _is(
        t,
        "d/f",
        f"u:{_letters(7 & owner)} u{A[0]}:rwx u{B[0]}:r-- g:r-x g777:rwx m:{_letters(7 & mask)} o:{_letters(5 & other)}",
    )
    t.has("d/f", mode=(7 & owner) << 6 | (7 & mask) << 3 | (5 & other), kind=kind)
    if kind == "dir":
        _is(t, "d/f", _DEFAULT, DEFAULT)
    else:
        _is(t, "d/f", None, DEFAULT)


def _letters(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _create_under_umask(umask: int, kind: str, path: str, mode: int) -> None:
    old = os.umask(umask)
    try:
        create_kind(kind, path, mode)
    finally:
        os.umask(old)


@case({f"{umask:03o}": umask for umask in (0, 0o022, 0o077, 0o777)}, optional=_OPTIONAL)
def _umask_counts_where_there_is_no_default_list(t: Arena, umask: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", f"u:rwx u{A[0]}:rwx g:r-x m:rwx o:r-x")
    for kind in ("file", "dir", "fifo"):
        t.me(_create_under_umask, umask, kind, f"d/{kind}", 0o777)
        t.has(f"d/{kind}", mode=0o777 & ~umask)
        _is(t, f"d/{kind}", None)


@case({f"{umask:03o}": umask for umask in (0, 0o022, 0o077)}, optional=_OPTIONAL)
def _minimal_default_list_gives_a_plain_mode(t: Arena, umask: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", "u:rwx g:rw- o:r--", DEFAULT)
    t.me(_create_under_umask, umask, "file", "d/f", 0o666)
    t.has("d/f", mode=0o664)
    _is(t, "d/f", None)
    t.me(_create_under_umask, umask, "dir", "d/e", 0o777)
    t.has("d/e", mode=0o764)
    _is(t, "d/e", "u:rwx g:rw- o:r--", DEFAULT)


@case(optional=_OPTIONAL)
def _inheritance_goes_down_the_tree(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", _DEFAULT, DEFAULT)
    t.me(os.makedirs, "d/a/b/c")
    for path in ("d/a", "d/a/b", "d/a/b/c"):
        _is(t, path, _DEFAULT, DEFAULT)
    t.me(_do.create, "d/a/b/c/f", 0o666)
    t.equal(t.user_a(_do.rights, "d/a/b/c/f"), "rw-", "rights of the named user far down")
    t.me(os.removexattr, "d/a", DEFAULT)
    t.me(os.mkdir, "d/a/plain", 0o755)
    _is(t, "d/a/plain", None, DEFAULT)


@case(optional=_OPTIONAL)
def _links_and_moved_files_inherit_nothing(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", _DEFAULT, DEFAULT)
    t.make("file", "f", 0o640)
    t.me(os.rename, "f", "d/f")
    _is(t, "d/f", None)
    t.has("d/f", mode=0o640)
    t.me(os.symlink, "f", "d/link")
    t.has("d/link", kind="symlink", mode=0o777)
    t.equal(t.me(os.listxattr, "d/link", follow_symlinks=False), [], "attributes of the link")
    t.make("file", "g", 0o600)
    t.me(_set, "g", _FULL)
    t.me(os.rename, "g", "d/g")
    t.me(os.link, "d/g", "h")
    _is(t, "h", _FULL)


@case(optional=_OPTIONAL)
def _tmpfile_inherits_too(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_set, "d", _DEFAULT, DEFAULT)
    number = t.me.attempt(_tmpfile, "d", "probe")
    if number:
        t.unsupported("O_TMPFILE: the file system has no files without a name")
    t.me(_tmpfile, "d", "d/f")
    _is(t, "d/f", f"u:rw- u{A[0]}:rwx u{B[0]}:r-- g:r-x g777:rwx m:r-- o:---")


def _tmpfile(directory: str, path: str) -> None:
    from instar.edge.syscalls import AtFlags, linkat

    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o640)
    linkat(f"/proc/self/fd/{fd}", path, AtFlags.SYMLINK_FOLLOW)
    os.close(fd)


@case(optional=_OPTIONAL)
def _directory_rights_by_a_list(t: Arena) -> None:
    t.make("dir", "d", 0o700)
    t.make("file", "d/f", 0o666)
    t.me(_set, "d", f"u:rwx u{A[0]}:rwx u{B[0]}:--x g:--- m:rwx o:---")
    t.user_a(os.listdir, "d")
    t.user_a(_do.create, "d/new")
    t.user_a(os.unlink, "d/new")
    t.user_b.fails(errno.EACCES, os.listdir, "d")
    t.user_b(_do.read, "d/f")
    t.user_b.fails(errno.EACCES, _do.create, "d/new")
    t.who(607, 607).fails(errno.EACCES, os.stat, "d/f")
    t.me(os.chmod, "d", 0o700)  # an empty mask
    t.user_a.fails(errno.EACCES, os.listdir, "d")


@case(optional=_OPTIONAL)
def _setgid_is_cleared_when_a_stranger_to_the_group_sets_a_list(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o2755, (A[0], 777))
    t.user_a(_set, "d/f", f"u:rwx u{B[0]}:r-- g:r-x m:r-x o:r-x")
    t.has("d/f", mode=0o755)
    t.make("file", "d/g", 0o2755, A)
    t.user_a(_set, "d/g", f"u:rwx u{B[0]}:r-- g:r-x m:r-x o:r-x")
    t.has("d/g", mode=0o2755)


@case(optional=_OPTIONAL)
def _change_is_seen_by_others_at_once(t: Arena) -> None:
    t.make("file", "f", 0o600)
    for _ in range(5):
        t.me(_set, "f", f"u:rw- u{A[0]}:rw- g:--- m:rw- o:---")
        t.user_a(open_and_close, "f", os.O_RDWR)
        t.me(_set, "f", f"u:rw- u{A[0]}:--- g:--- m:rw- o:---")
        t.user_a.fails(errno.EACCES, open_and_close, "f", os.O_RDONLY)
        t.me(os.removexattr, "f", ACCESS)
        t.me(os.chmod, "f", 0o604)
        t.user_a(open_and_close, "f", os.O_RDONLY)

# SPDX-License-Identifier: Apache-2.0
"""Extended attributes: xattr(7), setxattr(2), getxattr(2), listxattr(2), removexattr(2)."""

from __future__ import annotations

import errno
import os

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, shared_directory

__all__: list[str] = []

_OPTIONAL = "extended attributes"
_CREATE, _REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
_VALUES = {
    "empty": b"",
    "one": b"x",
    "nul": b"\0",
    "binary": bytes(range(256)),
    "100": b"v" * 100,
    "1000": b"v" * 1000,
    "3000": b"v" * 3000,
}


def _names(t: Arena, path: str, prefix: str = "user.") -> list[str]:
    """Attribute names with that prefix; a system may add others (security.*)."""
    return sorted(name for name in t.me(os.listxattr, path, follow_symlinks=False) if name.startswith(prefix))


@case(grid(each("file", "dir"), _VALUES), optional=_OPTIONAL, short=True)
def _value_is_kept(t: Arena, kind: str, value: bytes) -> None:
    t.make(kind, "f", 0o755)
    t.me(os.setxattr, "f", "user.a", value)
    t.equal(t.me(os.getxattr, "f", "user.a"), value, "value")
    t.equal(_names(t, "f"), ["user.a"], "names")
    t.me(os.setxattr, "f", "user.a", b"other")
    t.equal(t.me(os.getxattr, "f", "user.a"), b"other", "value after it was set again")
    t.me(os.setxattr, "f", "user.b", value)
    t.equal(_names(t, "f"), ["user.a", "user.b"], "names")
    t.me(os.removexattr, "f", "user.a")
    t.equal(_names(t, "f"), ["user.b"], "names after one is removed")
    t.me.fails(errno.ENODATA, os.getxattr, "f", "user.a")
    t.equal(t.me(os.getxattr, "f", "user.b"), value, "value of the other")


@case(optional=_OPTIONAL)
def _flags_create_and_replace(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.ENODATA, os.setxattr, "f", "user.a", b"1", _REPLACE)
    t.equal(_names(t, "f"), [], "names")
    t.me(os.setxattr, "f", "user.a", b"1", _CREATE)
    t.me.fails(errno.EEXIST, os.setxattr, "f", "user.a", b"2", _CREATE)
    t.equal(t.me(os.getxattr, "f", "user.a"), b"1", "value")
    t.me(os.setxattr, "f", "user.a", b"3", _REPLACE)
    t.equal(t.me(os.getxattr, "f", "user.a"), b"3", "value")
    t.me.fails(errno.EINVAL, os.setxattr, "f", "user.a", b"4", 4)


@case(optional=_OPTIONAL)
def _missing_attribute_is_enodata(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.ENODATA, os.getxattr, "f", "user.none")
    t.me.fails(errno.ENODATA, os.removexattr, "f", "user.none")
    t.me(os.setxattr, "f", "user.a", b"1")
    t.me(os.removexattr, "f", "user.a")
    t.me.fails(errno.ENODATA, os.removexattr, "f", "user.a")


@case(optional=_OPTIONAL)
def _buffer_that_is_too_small_is_erange(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.setxattr, "f", "user.a", b"0123456789")
    t.equal(t.me(syscalls.getxattr_into, "f", "user.a", 0), (10, b""), "length asked with no buffer")
    t.equal(
        t.me(syscalls.getxattr_into, "f", "user.a", 10), (10, b"0123456789"), "value in a buffer that fits"
    )
    t.equal(t.me(syscalls.getxattr_into, "f", "user.a", 100), (10, b"0123456789"), "value in a large buffer")
    for size in (1, 5, 9):
        t.me.fails(errno.ERANGE, syscalls.getxattr_into, "f", "user.a", size)
    length, _ = t.me(syscalls.listxattr_into, "f", 0)
    t.true(length >= len(b"user.a\0"), "length of the list")
    t.equal(t.me(syscalls.listxattr_into, "f", length)[0], length, "list in a buffer that fits")
    t.true(
        b"user.a\0" in t.me(syscalls.listxattr_into, "f", length)[1], "the name is in the list, with its NUL"
    )
    t.me.fails(errno.ERANGE, syscalls.listxattr_into, "f", 3)


@case(optional=_OPTIONAL)
def _value_beyond_64_kib_is_e2big(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.E2BIG, os.setxattr, "f", "user.a", b"x" * 65537)
    t.equal(_names(t, "f"), [], "names")
    # Up to there it is the file system's own limit.
    number = t.me.attempt(os.setxattr, "f", "user.a", b"x" * 65536)
    t.true(number in {0, errno.ENOSPC, errno.E2BIG, errno.ERANGE}, f"errno {number} for 64 KiB")
    if number == 0:
        t.equal(t.me(os.getxattr, "f", "user.a") == b"x" * 65536, True, "a value of 64 KiB")
    else:
        t.equal(_names(t, "f"), [], "names after the failed call")


@case({"256": "user." + "n" * 251, "1000": "user." + "n" * 995}, optional=_OPTIONAL)
def _name_beyond_255_bytes_is_erange(t: Arena, name: str) -> None:
    t.make("file", "f")
    for function in (os.getxattr, os.removexattr):
        t.me.fails(errno.ERANGE, function, "f", name)
    t.me.fails(errno.ERANGE, os.setxattr, "f", name, b"1")
    t.me(os.setxattr, "f", "user." + "n" * 250, b"long")
    t.equal(t.me(os.getxattr, "f", "user." + "n" * 250), b"long", "value of a name of 255 bytes")


@case(
    {"no-prefix": "name", "unknown": "unknown.name", "empty-user": "user.", "system": "system.unknown"},
    optional=_OPTIONAL,
)
def _name_without_a_known_prefix_is_refused(t: Arena, name: str) -> None:
    t.make("file", "f")
    t.me(os.setxattr, "f", "user.a", b"1")
    number = t.root.attempt(os.setxattr, "f", name, b"1")
    t.true(number in {errno.EOPNOTSUPP, errno.EINVAL}, f"errno {number} for the name {name!r}")
    number = t.root.attempt(os.setxattr, "f", "", b"1")
    t.true(number in {errno.ERANGE, errno.EINVAL}, f"errno {number} for an empty name")
    t.equal(_names(t, "f", ""), sorted({*_names(t, "f", "security."), "user.a"}), "names")


@case(
    {
        "plain": "a",
        "upper": "UPPER",
        "space": "with space",
        "utf8": "\u00e9\u4e2d",
        "dots": "dots.and.dots",
        "200-bytes": "x" * 200,
        "newline": "new\nline",
        "invalid-utf8": "\udcff\udcfe",
    },
    optional=_OPTIONAL,
)
def _name_is_any_bytes(t: Arena, suffix: str) -> None:
    t.make("file", "f")
    name = f"user.{suffix}"
    t.me(os.setxattr, "f", name, b"1")
    t.equal(_names(t, "f"), [name], "names")
    t.equal(t.me(os.getxattr, "f", name), b"1", "value")
    t.me(os.removexattr, "f", name)
    t.equal(_names(t, "f"), [], "names after removal")


@case(each(5, 40), optional=_OPTIONAL)
def _many_attributes_of_one_file(t: Arena, count: int) -> None:
    t.make("file", "f")
    for number in range(count):
        t.me(os.setxattr, "f", f"user.n{number:02}", b"%d" % number)
    t.equal(_names(t, "f"), [f"user.n{number:02}" for number in range(count)], "names")
    for number in range(0, count, 2):
        t.me(os.removexattr, "f", f"user.n{number:02}")
    t.equal(_names(t, "f"), [f"user.n{number:02}" for number in range(1, count, 2)], "names that are left")
    for number in range(1, count, 2):
        t.equal(t.me(os.getxattr, "f", f"user.n{number:02}"), b"%d" % number, "value")


@case(each("set", "replace", "remove"), optional=_OPTIONAL)
def _ctime_alone_moves_on(t: Arena, how: str) -> None:
    for kind in ("file", "dir"):
        t.make(kind, kind, 0o755)
        if how != "set":
            t.me(os.setxattr, kind, "user.a", b"1")
        with t.times({kind: "c", ".": ""}):
            if how == "remove":
                t.me(os.removexattr, kind, "user.a")
            else:
                t.me(os.setxattr, kind, "user.a", b"2")
        with t.times({kind: ""}):
            t.me(os.listxattr, kind)
            t.me.fails(errno.ENODATA, os.getxattr, kind, "user.none")


@case({kind: kind for kind in KINDS if kind not in {"file", "dir"}}, optional=_OPTIONAL)
def _user_attributes_of_special_files_are_eperm(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o777)
    t.make("file", "plain")
    t.me(os.setxattr, "plain", "user.a", b"1")
    t.root.fails(errno.EPERM, os.setxattr, "f", "user.a", b"1", follow_symlinks=False)
    t.root.fails(errno.ENODATA, os.getxattr, "f", "user.a", follow_symlinks=False)
    t.equal(_names(t, "f"), [], "names")
    t.root.fails((errno.EPERM, errno.ENODATA), os.removexattr, "f", "user.a", follow_symlinks=False)


@case({kind: kind for kind in KINDS}, optional="trusted attributes")
def _trusted_attributes_are_for_root(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o777, A)
    t.root(os.setxattr, "f", "trusted.a", b"secret", follow_symlinks=False)
    t.equal(t.root(os.getxattr, "f", "trusted.a", follow_symlinks=False), b"secret", "value")
    t.true("trusted.a" in t.root(os.listxattr, "f", follow_symlinks=False), "root sees the name")
    t.user_a.fails(errno.EPERM, os.setxattr, "f", "trusted.a", b"x", follow_symlinks=False)
    t.user_a.fails(errno.ENODATA, os.getxattr, "f", "trusted.a", follow_symlinks=False)
    t.user_a.fails(errno.EPERM, os.removexattr, "f", "trusted.a", follow_symlinks=False)
    t.root(os.removexattr, "f", "trusted.a", follow_symlinks=False)
    t.root.fails(errno.ENODATA, os.getxattr, "f", "trusted.a", follow_symlinks=False)


@case(optional=_OPTIONAL)
def _rights_are_those_of_the_content(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o600, A)
    t.user_a(os.setxattr, "d/f", "user.a", b"1")
    t.user_b.fails(errno.EACCES, os.getxattr, "d/f", "user.a")
    t.user_b.fails(errno.EACCES, os.setxattr, "d/f", "user.a", b"2")
    t.user_b.fails(errno.EACCES, os.removexattr, "d/f", "user.a")
    t.equal(t.user_b(os.listxattr, "d/f").count("user.a"), 1, "listing needs no right on the file")
    t.root(os.chmod, "d/f", 0o644)
    t.equal(t.user_b(os.getxattr, "d/f", "user.a"), b"1", "value for a reader")
    t.user_b.fails(errno.EACCES, os.setxattr, "d/f", "user.a", b"2")
    t.root(os.chmod, "d/f", 0o602)
    t.user_b.fails(errno.EACCES, os.getxattr, "d/f", "user.a")
    t.user_b(os.setxattr, "d/f", "user.a", b"3")
    t.user_b(os.removexattr, "d/f", "user.a")
    # The owner is bound by the mode as well.
    t.root(os.chmod, "d/f", 0o000)
    t.user_a.fails(errno.EACCES, os.setxattr, "d/f", "user.a", b"4")
    t.root(os.setxattr, "d/f", "user.a", b"5")


@case(optional=_OPTIONAL)
def _sticky_directory_lets_only_its_owner_set_user_attributes(t: Arena) -> None:
    shared_directory(t, "d", 0o1777, A)
    t.user_a(os.setxattr, "d", "user.a", b"1")
    t.user_b.fails(errno.EPERM, os.setxattr, "d", "user.a", b"2")
    t.root(os.setxattr, "d", "user.a", b"3")
    t.root(os.chmod, "d", 0o777)
    t.user_b(os.setxattr, "d", "user.a", b"4")


@case(optional=_OPTIONAL)
def _links_are_followed_unless_told_otherwise(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.symlink, "f", "link")
    t.me(os.setxattr, "link", "user.a", b"1")
    t.equal(t.me(os.getxattr, "f", "user.a"), b"1", "value")
    t.equal(_names(t, "link"), [], "names of the link itself")
    t.me(os.symlink, "nowhere", "dangling")
    t.me.fails(errno.ENOENT, os.setxattr, "dangling", "user.a", b"1")
    t.me.fails(errno.ENOENT, os.listxattr, "dangling")


@case(optional=_OPTIONAL)
def _attributes_go_with_the_file(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.make("file", "f")
    t.me(os.setxattr, "f", "user.a", b"1")
    t.me(os.link, "f", "g")
    t.me(os.rename, "f", "d/h")
    t.equal(t.me(os.getxattr, "g", "user.a"), b"1", "value by another name")
    t.me(os.setxattr, "d/h", "user.a", b"2")
    t.equal(t.me(os.getxattr, "g", "user.a"), b"2", "value by another name")
    t.me(_do.write, "g", b"content")
    t.me(os.chmod, "g", 0o600)
    t.root(os.chown, "g", *B)
    t.equal(t.me(os.getxattr, "g", "user.a"), b"2", "value after write, chmod and chown")
    t.make("file", "new")
    t.me(os.rename, "new", "g")
    t.me.fails(errno.ENODATA, os.getxattr, "g", "user.a")
    fd = t.me(os.open, "d/h", os.O_RDWR)
    t.me(os.unlink, "d/h")
    t.equal(t.me(os.getxattr, fd, "user.a"), b"2", "value of an unlinked file")
    t.me(os.setxattr, fd, "user.b", b"3")
    t.equal(
        sorted(name for name in t.me(os.listxattr, fd) if name.startswith("user.")),
        ["user.a", "user.b"],
        "names",
    )
    t.make("file", "d/h")
    t.equal(_names(t, "d/h"), [], "names of a new file with an old name")


@case(optional=_OPTIONAL)
def _others_see_a_change_at_once(t: Arena) -> None:
    t.make("file", "f")
    other = t.another(t.me)
    for turn in range(20):
        t.me(os.setxattr, "f", "user.a", b"%d" % turn)
        t.equal(other(os.getxattr, "f", "user.a"), b"%d" % turn, "value that another process sees")
        other(os.removexattr, "f", "user.a")
        t.me.fails(errno.ENODATA, os.getxattr, "f", "user.a")


@case(optional=_OPTIONAL)
def _path_descriptor_is_ebadf(t: Arena) -> None:
    t.make("file", "f")
    fd = t.me(os.open, "f", os.O_PATH)
    t.me.fails(errno.EBADF, os.getxattr, fd, "user.a")
    t.me.fails(errno.EBADF, os.setxattr, fd, "user.a", b"1")
    t.me.fails(errno.EBADF, os.listxattr, fd)

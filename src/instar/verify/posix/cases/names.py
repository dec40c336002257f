# SPDX-License-Identifier: Apache-2.0
"""Names are bytes: everything but ``/`` and NUL, up to 255 of them, compared byte by byte."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import NAME_MAX

__all__: list[str] = []

_ODD = {
    "space": " ",
    "spaces": "  a  ",
    "newline": "a\nb",
    "only-newline": "\n",
    "tab": "a\tb",
    "return": "a\r",
    "bell": "\a",
    "escape": "\x1b[31m",
    "delete": "\x7f",
    "backslash": "a\\b",
    "quotes": "a'b\"c",
    "star": "*?[a]",
    "dash": "-rf",
    "tilde": "~",
    "three-dots": "...",
    "dot-name": ".hidden",
    "trailing-dot": "a.",
    "trailing-space": "a ",
    "colon": "a:b",
    "percent": "%s%n",
    "utf8": "\u00e9\u4e2d\U0001f600",
    "combining": "e\u0301",
    "rtl": "\u05d0\u202e",
    "latin1": "\udce9",
    "invalid-utf8": "\udcff\udcfe\udcc0\udc80",
    "cut-utf8": "a\udce4\udcb8",
    "surrogate-bytes": "\udced\udca0\udc80",
    "255-bytes": "n" * NAME_MAX,
    "255-bytes-utf8": "\u00e9" * 127 + "x",
    "device-name": "con",
    "number": "0",
}


@case(_ODD, short=True)
def _odd_name_works_everywhere(t: Arena, name: str) -> None:
    t.me(_do.write, name, b"content")
    t.equal(t.me(os.listdir, "."), [name], "names")
    t.equal(t.me(_do.read, name), b"content", "content")
    t.has(name, kind="file", size=7)
    t.me(os.rename, name, "plain")
    t.me(os.rename, "plain", name)
    t.me(os.link, name, "second")
    t.has(name, nlink=2)
    t.me(os.symlink, name, "link")
    t.equal(t.me(os.readlink, "link"), name, "target of a link to it")
    t.equal(t.me(_do.read, "link"), b"content", "content by a link to it")
    t.me(os.chmod, name, 0o600)
    t.me(os.unlink, name)
    t.me(os.mkdir, name, 0o755)
    t.me(_do.create, f"{name}/f")
    t.equal(t.me(os.listdir, name), ["f"], "content of a directory of that name")
    t.me.fails((errno.ENOTEMPTY, errno.EEXIST), os.rmdir, name)
    t.me(os.unlink, f"{name}/f")
    t.me(os.rmdir, name)
    t.me(os.mkfifo, name, 0o600)
    t.has(name, kind="fifo")
    t.me(os.unlink, name)
    t.exists(name, False)


@case({f"{first:02x}-{first + 31:02x}": first for first in range(0, 256, 32)})
def _every_byte_may_be_in_a_name(t: Arena, first: int) -> None:
    patterns = (b"%c", b"a%c", b"%ca", b"a%ca")
    used = [byte for byte in range(first, first + 32) if byte not in {0, ord("/")}]
    raw = {pattern % byte for pattern in patterns for byte in used} - {b".", b".."}
    names = sorted(os.fsdecode(name) for name in raw)
    for name in names:
        t.me(_do.create, name)
    t.equal(sorted(t.me(os.listdir, ".")) == names, True, "names")
    for name in names:
        t.me(os.unlink, name)
    t.equal(t.me(os.listdir, "."), [], "names after all are removed")


@case(
    {
        "case": ("a", "A"),
        "long-case": ("README", "readme"),
        "composed": ("\u00e9", "e\u0301"),
        "sharp-s": ("\u00df", "ss"),
        "dotless-i": ("i", "\u0131"),
        "trailing-dot": ("a", "a."),
        "trailing-space": ("a", "a "),
        "width": ("a", "\uff41"),
        "prefix": ("n" * 254, "n" * 255),
    }
)
def _names_that_differ_by_a_byte_are_different(t: Arena, one: str, two: str) -> None:
    t.me(_do.write, one, b"one")
    t.me.fails(errno.ENOENT, os.stat, two)
    t.me(_do.write, two, b"two")
    t.equal((t.me(_do.read, one), t.me(_do.read, two)), (b"one", b"two"), "content")
    t.equal(sorted(t.me(os.listdir, ".")), sorted((one, two)), "names")
    t.me(os.unlink, one)
    t.equal(t.me(_do.read, two), b"two", "content after the other was removed")
    t.me(os.rename, two, one)
    t.equal(t.me(os.listdir, "."), [one], "names after renaming one to the other")


@case(each(1, 2, 100, 254, 255))
def _length_is_kept(t: Arena, length: int) -> None:
    for letter in ("x", "\u00e9", "\u4e2d"):
        size = len(letter.encode())
        name = letter * (length // size)
        if not name:
            continue
        t.me(_do.create, name)
        t.equal(t.me(os.listdir, "."), [name], "names")
        t.me(os.unlink, name)


@case(each(16, 60))
def _deep_tree_beyond_path_max_can_be_walked_step_by_step(t: Arena, depth: int) -> None:
    t.equal(t.me(_dig, "n" * 200, depth), depth, "levels made, seen and removed")


def _dig(name: str, depth: int) -> int:
    """Make, fill, check and remove a chain of directories by chdir and descriptors alone."""
    start = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name)
        os.chdir(name)
    _do.write("f", b"bottom")
    good = 0
    assert _do.read("f") == b"bottom"
    os.unlink("f")
    for _ in range(depth):
        os.chdir("..")
        os.rmdir(name)
        good += 1
    assert os.fstat(start).st_ino == os.stat(".").st_ino
    os.close(start)
    return good

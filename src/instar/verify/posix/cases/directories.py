# SPDX-License-Identifier: Apache-2.0
"""Directories as a tree: link counts of directories, sizes, removal of what is in use, many levels and many children.

POSIX does not say how a directory counts its links. Linux programs (find -noleaf and others) know two ways: 2 plus the
number of subdirectories, or always 1. The cases accept the second.
"""

from __future__ import annotations

import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import KINDS

__all__: list[str] = []


def _check(t: Arena, path: str, children: int) -> None:
    links = t.stat(path).st_nlink
    t.true(links in {1, children + 2}, f"nlink of {path!r} with {children} subdirectories is {links}")


@case(short=True)
def _subdirectories_are_counted(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    _check(t, "d", 0)
    for number in range(5):
        t.me(os.mkdir, f"d/{number}", 0o755)
        _check(t, "d", number + 1)
        _check(t, f"d/{number}", 0)
    for number in range(5):
        t.me(os.rmdir, f"d/{number}")
        _check(t, "d", 4 - number)


@case({kind: kind for kind in KINDS if kind != "dir"})
def _other_files_are_not_counted(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "d/f")
    _check(t, "d", 0)
    t.me(os.unlink, "d/f")
    _check(t, "d", 0)


@case(each("same", "across", "replace", "failed"))
def _rename_moves_the_count(t: Arena, how: str) -> None:
    for name in ("a", "b", "a/x"):
        t.make("dir", name, 0o755)
    if how == "same":
        t.me(os.rename, "a/x", "a/y")
        counts = (1, 0)
    elif how == "across":
        t.me(os.rename, "a/x", "b/x")
        counts = (0, 1)
    elif how == "replace":
        t.make("dir", "b/y", 0o755)
        t.me(os.rename, "a/x", "b/y")
        counts = (0, 1)
    else:
        t.me(os.makedirs, "b/y/z")
        t.me.fails((39, 17), os.rename, "a/x", "b/y")
        counts = (1, 1)
    _check(t, "a", counts[0])
    _check(t, "b", counts[1])


@case(
    each(
        300,
    )
)
def _many_subdirectories(t: Arena, count: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_make_many, "d", count)
    _check(t, "d", count)
    t.equal(len(t.me(os.listdir, "d")), count, "entries")


def _make_many(path: str, count: int) -> None:
    for number in range(count):
        os.mkdir(f"{path}/{number}")


@case()
def _attributes_of_a_directory_make_sense(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    empty = t.stat("d")
    t.true(empty.st_size >= 0, "size")
    t.equal(empty.st_dev, t.stat(".").st_dev, "device")
    t.true(empty.st_ino != t.stat(".").st_ino, "inode of its own")
    t.make("file", "d/f")
    t.equal(t.stat("d/f").st_dev, empty.st_dev, "device of a file in it")
    t.equal(t.stat("d").st_ino, empty.st_ino, "inode after a change")


@case(
    each(
        200,
    )
)
def _inode_numbers_are_different(t: Arena, count: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_make_mixed, "d", count)
    inodes = t.me(_inodes, "d")
    t.equal(len(inodes), len(set(inodes)), "different inodes")
    t.equal(t.me(_inodes, "d"), inodes, "inodes when asked again")
    t.true(0 not in inodes, "no inode is 0")


def _make_mixed(path: str, count: int) -> None:
    for number in range(count):
        if number % 3 == 0:
            os.mkdir(f"{path}/{number}")
        elif number % 3 == 1:
            _do.create(f"{path}/{number}")
        else:
            os.symlink("x", f"{path}/{number}")


def _inodes(path: str) -> list[int]:
    return [os.lstat(f"{path}/{name}").st_ino for name in sorted(os.listdir(path))]

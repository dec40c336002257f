# SPDX-License-Identifier: Apache-2.0
"""The whole of a directory tree as a value: two trees are equal when the values are.

Contents count as digests, hard links as groups of names, modes, owners, link counts, sizes, devices, symlink targets and
extended attributes as they are. Inode numbers, blocks and times do not count; modification times can be asked for.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass

from instar.verify.model._names import xattr_names

__all__ = ["Node", "read_tree", "tree_differences"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Node:
    """One name in a tree, and all that must agree about it."""

    mode: int
    links: int
    uid: int
    gid: int
    size: int | None
    device: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    same_as: str
    mtime: int | None


def _content(name: str, mode: int, directory: int) -> str:
    if stat.S_ISLNK(mode):
        return os.readlink(name, dir_fd=directory)
    if not stat.S_ISREG(mode):
        return ""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        digest = hashlib.sha256()
        while block := os.read(fd, _BLOCK):
            digest.update(block)
        return digest.hexdigest()
    finally:
        os.close(fd)


def _xattrs(path: str) -> tuple[tuple[str, bytes], ...]:
    try:
        names = xattr_names(path, follow_symlinks=False)
    except OSError:  # a file system without them has none
        return ()
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def read_tree(root: str | os.PathLike[str], *, mtimes: bool = False) -> dict[str, Node]:
    """Every name under ``root``, and ``root`` itself as ``"."``.

    Args:
        root: a directory; what is mounted below it is read too.
        mtimes: whether modification times of files and symlinks count.

    Raises:
        OSError: something could not be read; as root that is a defect of the file system.
    """
    top = os.fspath(root)
    seen: dict[tuple[int, int], str] = {}
    nodes: dict[str, Node] = {}

    def add(path: str, name: str, directory: int) -> os.stat_result:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        mode = found.st_mode
        is_dir = stat.S_ISDIR(mode)
        nodes[path] = Node(
            mode=mode,
            links=found.st_nlink,
            uid=found.st_uid,
            gid=found.st_gid,
            size=None if is_dir else found.st_size,
            device=found.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0,
            content=_content(name, mode, directory),
            xattrs=_xattrs(os.path.join(top, path)),
            # Names are walked in order, so both trees name a group after the same member.
            same_as=seen.setdefault((found.st_dev, found.st_ino), path),
            mtime=found.st_mtime_ns if mtimes and not is_dir else None,
        )
        return found

    def walk(path: str, directory: int) -> None:
        for name in sorted(os.listdir(directory)):
            below = name if path == "." else f"{path}/{name}"
            found = add(below, name, directory)
            if stat.S_ISDIR(found.st_mode):
                fd = os.open(
                    name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
                )
                try:
                    walk(below, fd)
                finally:
                    os.close(fd)

    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        add(".", ".", fd)
        walk(".", fd)
    finally:
        os.close(fd)
    return nodes


def tree_differences(left: dict[str, Node], right: dict[str, Node]) -> list[str]:
    """One line for each name that only one tree has and for each field that differs; none if the trees are equal."""
    lines = []
    for path in sorted(left.keys() | right.keys()):
        if path not in right:
            lines.append(f"{path!r}: only in the first")
        elif path not in left:
            lines.append(f"{path!r}: only in the second")
        else:
            one, two = left[path], right[path]
            for field in Node.__dataclass_fields__:
                ours, theirs = getattr(one, field), getattr(two, field)
                if ours != theirs:
                    show = oct if field == "mode" else repr
                    lines.append(
                        f"{path!r}: {field} is {show(ours)} in the first, {show(theirs)} in the second"
                    )
    return lines

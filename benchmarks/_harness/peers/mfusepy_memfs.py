# SPDX-License-Identifier: Apache-2.0
"""An in-memory file system on mfusepy, for comparison with Instar's MemFS.

Usage: mfusepy_memfs.py MOUNTPOINT [--timeout S]

Written as a careful user of mfusepy would: the path interface of libfuse, ``use_ns``, one attribute dict for each file, a
node found by walking no further than one dict (all paths in one table), libfuse's thread pool (mfusepy's default).
"""

from __future__ import annotations

import argparse
import errno
import os
import stat
import threading
import time
from collections.abc import Iterable
from typing import Any

import mfusepy
from mfusepy import FuseOSError


class Node:
    """One file: attributes as mfusepy wants them, and its bytes, names or link target."""

    __slots__ = ("attr", "data", "names", "target", "xattrs")

    def __init__(self, mode: int, uid: int, gid: int, rdev: int = 0) -> None:
        now = time.time_ns()
        self.attr: dict[str, Any] = {
            "st_mode": mode,
            "st_nlink": 2 if stat.S_ISDIR(mode) else 1,
            "st_uid": uid,
            "st_gid": gid,
            "st_rdev": rdev,
            "st_size": 0,
            "st_blocks": 0,
            "st_blksize": 4096,
            "st_atime": now,
            "st_mtime": now,
            "st_ctime": now,
        }
        self.data = bytearray()
        self.names: dict[str, Node] | None = {} if stat.S_ISDIR(mode) else None
        self.target = ""
        self.xattrs: dict[str, bytes] = {}


class MemFS(mfusepy.Operations):
    """All of a small tree: files, directories, links, xattrs, rename."""

    use_ns = True

    def __init__(self) -> None:
        root = Node(stat.S_IFDIR | 0o755, os.getuid(), os.getgid())
        self._nodes: dict[str, Node] = {"/": root}
        self._open: dict[int, Node] = {}
        self._next = 1
        self._lock = threading.Lock()

    def _node(self, path: str) -> Node:
        node = self._nodes.get(path)
        if node is None:
            raise FuseOSError(errno.ENOENT)
        return node

    def _parent(self, path: str) -> tuple[Node, dict[str, Node], str]:
        head, _, name = path.rpartition("/")
        node = self._node(head or "/")
        if node.names is None:
            raise FuseOSError(errno.ENOTDIR)
        return node, node.names, name

    def _touch(self, node: Node) -> None:
        node.attr["st_mtime"] = node.attr["st_ctime"] = time.time_ns()

    def _add(self, path: str, mode: int, rdev: int = 0) -> Node:
        parent, names, name = self._parent(path)
        if name in names:
            raise FuseOSError(errno.EEXIST)
        uid, gid, _ = mfusepy.fuse_get_context()
        node = self._nodes[path] = names[name] = Node(mode, uid, gid, rdev)
        if node.names is not None:
            parent.attr["st_nlink"] += 1
        self._touch(parent)
        return node

    def _handle(self, node: Node) -> int:
        with self._lock:
            handle = self._next
            self._next += 1
        self._open[handle] = node
        return handle

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._nodes.get(path)
        if node is None:
            node = self._open.get(fh) if fh else None
        if node is None:
            raise FuseOSError(errno.ENOENT)
        return node.attr

    def chmod(self, path: str, mode: int) -> int:
        attr = self._node(path).attr
        attr["st_mode"] = stat.S_IFMT(attr["st_mode"]) | stat.S_IMODE(mode)
        attr["st_ctime"] = time.time_ns()
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        attr = self._node(path).attr
        if uid not in {-1, 0xFFFFFFFF}:
            attr["st_uid"] = uid
        if gid not in {-1, 0xFFFFFFFF}:
            attr["st_gid"] = gid
        attr["st_ctime"] = time.time_ns()
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        attr = self._node(path).attr
        attr["st_atime"], attr["st_mtime"] = times or (time.time_ns(),) * 2
        attr["st_ctime"] = time.time_ns()
        return 0

    def mknod(self, path: str, mode: int, dev: int) -> int:
        self._add(path, mode, dev)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, stat.S_IFDIR | mode)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return self._handle(self._add(path, stat.S_IFREG | stat.S_IMODE(mode)))

    def symlink(self, target: str, source: str) -> int:
        node = self._add(target, stat.S_IFLNK | 0o777)
        node.target = source
        node.attr["st_size"] = len(os.fsencode(source))
        return 0

    def readlink(self, path: str) -> str:
        return self._node(path).target

    def link(self, target: str, source: str) -> int:
        node = self._node(source)
        parent, names, name = self._parent(target)
        if name in names:
            raise FuseOSError(errno.EEXIST)
        self._nodes[target] = names[name] = node
        node.attr["st_nlink"] += 1
        self._touch(parent)
        return 0

    def unlink(self, path: str) -> int:
        node = self._node(path)
        parent, names, name = self._parent(path)
        del names[name], self._nodes[path]
        node.attr["st_nlink"] -= 1
        node.attr["st_ctime"] = time.time_ns()
        self._touch(parent)
        return 0

    def rmdir(self, path: str) -> int:
        if self._node(path).names:
            raise FuseOSError(errno.ENOTEMPTY)
        parent, names, name = self._parent(path)
        del names[name], self._nodes[path]
        parent.attr["st_nlink"] -= 1
        self._touch(parent)
        return 0

    def rename(self, old: str, new: str) -> int:
        node = self._node(old)
        victim = self._nodes.get(new)
        if victim is not None and victim.names:
            raise FuseOSError(errno.ENOTEMPTY)
        old_parent, old_names, old_name = self._parent(old)
        new_parent, new_names, new_name = self._parent(new)
        del old_names[old_name], self._nodes[old]
        self._nodes[new] = new_names[new_name] = node
        if victim is not None:
            victim.attr["st_nlink"] -= 1
        if node.names is not None:
            old_parent.attr["st_nlink"] -= 1
            new_parent.attr["st_nlink"] += victim is None
            start = old + "/"
            for path in [path for path in self._nodes if path.startswith(start)]:
                self._nodes[f"{new}/{path[len(start) :]}"] = self._nodes.pop(path)
        node.attr["st_ctime"] = time.time_ns()
        self._touch(old_parent)
        self._touch(new_parent)
        return 0

    def open(self, path: str, flags: int) -> int:
        return self._handle(self._node(path))

    def release(self, path: str, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(memoryview(self._open[fh].data)[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        node = self._open[fh]
        held, length = node.data, len(data)
        if offset > len(held):
            held.extend(bytes(offset - len(held)))
        held[offset : offset + length] = data
        node.attr["st_size"] = len(held)
        node.attr["st_blocks"] = (len(held) + 511) >> 9
        self._touch(node)
        return length

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        node = self._open[fh] if fh else self._node(path)
        if length < len(node.data):
            del node.data[length:]
        else:
            node.data.extend(bytes(length - len(node.data)))
        node.attr["st_size"] = length
        node.attr["st_blocks"] = (length + 511) >> 9
        self._touch(node)
        return 0

    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, Any], int]]:
        node = self._node(path)
        yield ".", node.attr, 0
        yield "..", node.attr, 0
        for name, child in list((node.names or {}).items()):
            yield name, child.attr, 0

    def statfs(self, path: str) -> dict[str, int]:
        blocks = 1 << 24
        return {
            "f_bsize": 4096,
            "f_frsize": 4096,
            "f_blocks": blocks,
            "f_bfree": blocks,
            "f_bavail": blocks,
            "f_files": blocks,
            "f_ffree": blocks,
            "f_favail": blocks,
            "f_namemax": 255,
        }

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        value = self._node(path).xattrs.get(name)
        if value is None:
            raise FuseOSError(errno.ENODATA)
        return value

    def setxattr(self, path: str, name: str, value: bytes, options: int, position: int = 0) -> int:
        self._node(path).xattrs[name] = value
        return 0

    def listxattr(self, path: str) -> Iterable[str]:
        return list(self._node(path).xattrs)


def parser() -> argparse.ArgumentParser:
    """The options that all of the mfusepy peers share."""
    options = argparse.ArgumentParser()
    options.add_argument("mountpoint")
    options.add_argument("--timeout", type=float, default=None)
    return options


def serve(operations: mfusepy.Operations, mountpoint: str, fsname: str, timeout: float | None) -> None:
    """Mount, and serve until the mount goes away; ``timeout`` in seconds, or None for libfuse's own."""
    timeouts = {} if timeout is None else {"entry_timeout": timeout, "attr_timeout": timeout}
    mfusepy.FUSE(
        operations,
        mountpoint,
        foreground=True,
        allow_other=True,
        default_permissions=True,
        fsname=fsname,
        **timeouts,
    )


if __name__ == "__main__":
    arguments = parser().parse_args()
    serve(MemFS(), arguments.mountpoint, "mfusepy_memfs", arguments.timeout)

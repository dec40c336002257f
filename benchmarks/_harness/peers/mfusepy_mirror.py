# SPDX-License-Identifier: Apache-2.0
"""A mirror of a directory on mfusepy, for comparison with Instar's MirrorFS.

Usage: mfusepy_mirror.py MOUNTPOINT SOURCE [--timeout S]

The loopback of mfusepy's documentation, with nanoseconds, pread and pwrite (no lock), and all of the operations that the
benchmarks use.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any

import mfusepy
from mfusepy import FuseOSError
from mfusepy_memfs import parser, serve


class Mirror(mfusepy.Operations):
    """Shows a directory."""

    use_ns = True

    def __init__(self, source: str) -> None:
        self._source = source

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        st = os.lstat(self._source + path)
        return {
            "st_mode": st.st_mode,
            "st_ino": st.st_ino,
            "st_nlink": st.st_nlink,
            "st_uid": st.st_uid,
            "st_gid": st.st_gid,
            "st_rdev": st.st_rdev,
            "st_size": st.st_size,
            "st_blocks": st.st_blocks,
            "st_blksize": st.st_blksize,
            "st_atime": st.st_atime_ns,
            "st_mtime": st.st_mtime_ns,
            "st_ctime": st.st_ctime_ns,
        }

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._source + path, mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._source + path, uid, gid, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        if times is None:
            os.utime(self._source + path, follow_symlinks=False)
        else:
            os.utime(self._source + path, ns=times, follow_symlinks=False)
        return 0

    def _own(self, path: str) -> None:
        uid, gid, _ = mfusepy.fuse_get_context()
        if uid or gid:
            os.chown(path, uid, gid, follow_symlinks=False)

    def mknod(self, path: str, mode: int, dev: int) -> int:
        os.mknod(self._source + path, mode, dev)
        self._own(self._source + path)
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._source + path, mode)
        self._own(self._source + path)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        fd = os.open(self._source + path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        self._own(self._source + path)
        return fd

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._source + target)
        self._own(self._source + target)
        return 0

    def readlink(self, path: str) -> str:
        return os.readlink(self._source + path)

    def link(self, target: str, source: str) -> int:
        os.link(self._source + source, self._source + target, follow_symlinks=False)
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._source + path)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._source + path)
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._source + old, self._source + new)
        return 0

    def open(self, path: str, flags: int) -> int:
        # Pages come from libfuse's memory at any address, so O_DIRECT stops at the mount (bindfs does the same).
        return os.open(self._source + path, flags & ~os.O_DIRECT)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        os.fdatasync(fh) if datasync else os.fsync(fh)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(fh or self._source + path, length)
        return 0

    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, Any], int]]:
        kind_dir, kind_file, kind_link = 0o040000, 0o100000, 0o120000
        yield ".", {"st_mode": kind_dir}, 0
        yield "..", {"st_mode": kind_dir}, 0
        with os.scandir(self._source + path) as entries:
            for entry in entries:
                is_link, is_dir = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
                mode = kind_link if is_link else kind_dir if is_dir else kind_file
                yield entry.name, {"st_ino": entry.inode(), "st_mode": mode}, 0

    def statfs(self, path: str) -> dict[str, int]:
        below = os.statvfs(self._source + path)
        fields = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax")
        return {f"f_{field}": getattr(below, f"f_{field}") for field in fields}

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        try:
            return os.getxattr(self._source + path, name, follow_symlinks=False)
        except OSError as error:
            raise FuseOSError(error.errno or errno.EIO) from None


if __name__ == "__main__":
    options = parser()
    options.add_argument("source")
    arguments = options.parse_args()
    serve(Mirror(arguments.source), arguments.mountpoint, "mfusepy_mirror", arguments.timeout)

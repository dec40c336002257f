# SPDX-License-Identifier: Apache-2.0
"""Mirrors of empty directories, driven by their methods, without a mount."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile

from instar.fs import Context
from instar.fs.mirror import MirrorFS

__all__ = ["ROOT", "USER", "mirrored", "names"]

ROOT = Context(uid=0, gid=0, pid=1, umask=0o022)
USER = Context(uid=12345, gid=12346, pid=2, umask=0o022)


@contextlib.contextmanager
def mirrored(where=None, **options):
    """Yield a mirror of a new directory below ``where`` (default: the disk's /tmp), and the directory's path."""
    with tempfile.TemporaryDirectory(prefix="backing-", dir=where) as below:
        os.chmod(below, 0o755)
        fs = MirrorFS(below, **options)
        try:
            yield fs, pathlib.Path(below)
        finally:
            fs.destroy()


def names(fs, ino, cookie=0):
    """The names in a directory, in the order in which they are listed."""
    fh = fs.opendir(ROOT, ino, os.O_RDONLY).fh
    try:
        return [line.name for line in fs.readdir(ROOT, ino, fh, cookie)]
    finally:
        fs.releasedir(ROOT, ino, fh, 0)

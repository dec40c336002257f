# SPDX-License-Identifier: Apache-2.0
"""``instar new``: a skeleton to start from."""

from __future__ import annotations

import re
from pathlib import Path

from instar._errors import InstarError

__all__ = ["write_skeleton"]

_SKELETON = '''\
"""{title}: a file system.

  mkdir -p mnt
  instar mount {file} mnt
  cat mnt/hello
  instar umount mnt
"""

import errno
import os
import stat

from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem

# What is in it: name -> (node number, content). The root directory has the number ROOT_INO.
FILES = {{
    "hello": (2, b"Hello from {title}!\\n"),
}}


class {title}(FileSystem):
    """One directory of read-only files. Every operation is optional; `instar.fs.FileSystem` lists them all."""

    # How long, in seconds, the kernel may answer from its caches without asking again.
    entry_timeout = attr_timeout = 1.0

    def lookup(self, ctx, parent, name):
        """Find a name. Failure is an OSError; the program that asked gets its errno."""
        if parent != ROOT_INO or name not in FILES:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        ino, _ = FILES[name]
        return Entry(ino, self.getattr(ctx, ino))

    def getattr(self, ctx, ino, fh=None):
        """What `stat` shows."""
        if ino == ROOT_INO:
            return Attr(ino, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | 0o444, size=len(self._content(ino)))

    def readdir(self, ctx, ino, fh, cookie):
        """List the entries after `cookie`; each has a cookie of its own, which never changes."""
        for name, (number, _) in FILES.items():
            if number > cookie:
                yield DirEntry(name, number, stat.S_IFREG, cookie=number)

    def read(self, ctx, ino, fh, offset, size):
        """Return up to `size` bytes from `offset`; fewer mean the end of the file."""
        return self._content(ino)[offset : offset + size]

    # To let programs write, add: create, write, setattr, unlink ... Handlers may be `async def`.

    def _content(self, ino):
        return next(content for number, content in FILES.values() if number == ino)
'''


def write_skeleton(name: str) -> Path:
    """Write ``NAME.py`` into the current directory and return its path.

    Raises :class:`InstarError` when the name is not one for a Python module, or when the file exists.
    """
    stem = name.removesuffix(".py")
    words = re.findall(r"[A-Za-z0-9]+", stem)
    title = "".join(word[:1].upper() + word[1:] for word in words)
    if not re.fullmatch(r"[A-Za-z_][\w-]*", stem) or not title.isidentifier():
        raise InstarError(f"{name!r} is not a name for a Python file: use letters, digits and underscores.")
    path = Path(f"{stem}.py")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_SKELETON.format(title=title, file=path))
    except FileExistsError:
        raise InstarError(f"{path} exists already; choose another name, or remove it.") from None
    return path

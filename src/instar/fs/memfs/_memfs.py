# SPDX-License-Identifier: Apache-2.0
"""`MemFS`: a complete file system in memory.

Nodes live in one dictionary by number; numbers are never used twice. A directory maps names to node numbers. A node
goes when it has no name left and the kernel has forgotten it, which covers files that are open after ``unlink``.
Everything changes through the mount alone, so the kernel may cache names, attributes and listings without end.

Permissions are the kernel's to check (the mount has ``default_permissions``); what a file system must do itself
under that option is here: ownership of new nodes, set-ID bits, ACL inheritance, the sticky semantics of names.
"""

from __future__ import annotations

from instar.fs.memfs._attributes import Attributes
from instar.fs.memfs._data import Data
from instar.fs.memfs._names import Names

__all__ = ["MemFS"]


class MemFS(Names, Attributes, Data):
    """A file system in memory.

    ``size`` limits the content of its files in bytes (default: half of the machine's memory), ``inodes`` the number of
    nodes (default: half as many as that memory has pages); beyond them operations raise ``ENOSPC``. As on tmpfs, a further
    hard link counts as a node, extended attributes come out of 1 KiB for each of ``inodes``, and the target of a symbolic
    link of 128 bytes or more takes a page of ``size``. ``mode``, ``uid`` and ``gid`` are the root directory's.

    >>> import os
    >>> from instar.fs import ROOT_INO, Context, WriteFlags
    >>> fs = MemFS(size=1 << 20)
    >>> entry, opened = fs.create(Context(), ROOT_INO, "hello", 0o644, os.O_RDWR)
    >>> fs.write(Context(), entry.ino, opened.fh, 0, memoryview(b"world"), WriteFlags.NONE)
    5
    >>> fs.read(Context(), entry.ino, opened.fh, 0, 100)
    b'world'
    """

# SPDX-License-Identifier: Apache-2.0
"""File systems: the class to subclass, its typed values, and the services that ship with Instar."""

from __future__ import annotations

from instar.fs._entries import Dir, File, Symlink, TreeValue
from instar.fs._filesystem import FileSystem, MaybeAwaitable, ReadBuffer
from instar.fs._notify import Notifier
from instar.fs._seqfile import SeqFile, SeqReader
from instar.fs._tree import Tree
from instar.fs._types import (
    ROOT_INO,
    Attr,
    Context,
    DirEntry,
    Entry,
    FallocateFlags,
    FileLock,
    Ioctl,
    IoctlFlags,
    LockType,
    Open,
    PollHandle,
    RenameFlags,
    SetAttr,
    StatFs,
    WriteFlags,
    XattrFlags,
    now_ns,
)

__all__ = [
    "ROOT_INO",
    "Attr",
    "Context",
    "Dir",
    "DirEntry",
    "Entry",
    "FallocateFlags",
    "File",
    "FileLock",
    "FileSystem",
    "Ioctl",
    "IoctlFlags",
    "LockType",
    "MaybeAwaitable",
    "Notifier",
    "Open",
    "PollHandle",
    "ReadBuffer",
    "RenameFlags",
    "SeqFile",
    "SeqReader",
    "SetAttr",
    "StatFs",
    "Symlink",
    "Tree",
    "TreeValue",
    "WriteFlags",
    "XattrFlags",
    "now_ns",
]

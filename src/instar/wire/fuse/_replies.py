# SPDX-License-Identifier: Apache-2.0
"""Replies as typed messages, and what an encoder takes attributes from.

A server encodes replies from plain values (:mod:`instar.wire.fuse._reply_encode`) and never makes these. They are for the other
side: a test, a trace or the door without a kernel reads replies with :func:`decode_reply` and gets these, and
:func:`encode_reply` takes them.

Source: ``include/uapi/linux/fuse.h``.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

__all__ = [
    "AttrLike",
    "AttrReply",
    "Attributes",
    "BmapReply",
    "Copy64Reply",
    "CreateReply",
    "CuseInitReply",
    "DataReply",
    "Dirent",
    "DirentPlus",
    "EmptyReply",
    "EntryReply",
    "ErrorReply",
    "InitOut",
    "IoctlReply",
    "LkReply",
    "LseekReply",
    "OpenReply",
    "PollReply",
    "ReaddirReply",
    "ReaddirplusReply",
    "ReadlinkReply",
    "Reply",
    "SizeReply",
    "StatFsLike",
    "StatfsReply",
    "StatxReply",
    "WriteReply",
]


class AttrLike(Protocol):
    """Attributes of a node, as ``instar.fs.Attr`` has them. Times are in nanoseconds; ``blocks`` None follows from ``size``."""

    @property
    def ino(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def nlink(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def rdev(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def blocks(self) -> int | None: ...
    @property
    def blksize(self) -> int: ...
    @property
    def atime(self) -> int: ...
    @property
    def mtime(self) -> int: ...
    @property
    def ctime(self) -> int: ...
    @property
    def btime(self) -> int: ...


class StatFsLike(Protocol):
    """What statvfs(3) shows, as ``instar.fs.StatFs`` has it."""

    @property
    def blocks(self) -> int: ...
    @property
    def bfree(self) -> int: ...
    @property
    def bavail(self) -> int: ...
    @property
    def files(self) -> int: ...
    @property
    def ffree(self) -> int: ...
    @property
    def bsize(self) -> int: ...
    @property
    def frsize(self) -> int: ...
    @property
    def namelen(self) -> int: ...


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """The attributes in a reply (``struct fuse_attr``, or ``struct fuse_statx`` with ``btime``). An :class:`AttrLike`."""

    ino: int
    mode: int
    nlink: int = 1
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    blocks: int = 0
    blksize: int = 4096
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    btime: int = 0


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What all replies are."""


class ErrorReply(Reply, frozen=True, gc=False):
    """The request failed with this errno, a positive number."""

    errno: int


class EmptyReply(Reply, frozen=True, gc=False):
    """It is done, and there is nothing to tell."""


class InitOut(Reply, frozen=True, gc=False):
    """The reply to INIT: what the connection agreed on. :func:`negotiate` makes it.

    ``flags`` holds ``flags2`` in its upper half. A server that takes over a mount needs this from its
    predecessor, for INIT comes once in the life of a mount.
    """

    major: int
    minor: int
    max_readahead: int = 0
    flags: int = 0
    max_background: int = 0
    congestion_threshold: int = 0
    max_write: int = 0
    time_gran: int = 0
    max_pages: int = 0
    map_alignment: int = 0
    max_stack_depth: int = 0
    request_timeout: int = 0


class CuseInitReply(Reply, frozen=True, gc=False):
    """The reply to CUSE_INIT; ``info`` are ``KEY=value`` pairs, DEVNAME among them."""

    major: int
    minor: int
    flags: int
    max_read: int
    max_write: int
    dev_major: int
    dev_minor: int
    info: tuple[str, ...]


class EntryReply(Reply, frozen=True, gc=False):
    """A node that a name leads to; ``nodeid`` 0 says that there is none, for ``entry_timeout`` seconds."""

    nodeid: int
    generation: int
    entry_timeout: float
    attr_timeout: float
    attr: Attributes


class AttrReply(Reply, frozen=True, gc=False):
    """Attributes, valid for ``attr_timeout`` seconds."""

    attr_timeout: float
    attr: Attributes


class StatxReply(Reply, frozen=True, gc=False):
    """Attributes with the time of birth; ``mask`` is a :class:`StatxMask`."""

    attr_timeout: float
    attr: Attributes
    mask: int
    attributes: int = 0
    attributes_mask: int = 0


class OpenReply(Reply, frozen=True, gc=False):
    """An open file. ``open_flags`` is a :class:`OpenFlags`; ``backing_id`` counts with FOPEN_PASSTHROUGH."""

    fh: int
    open_flags: int = 0
    backing_id: int = 0


class CreateReply(Reply, frozen=True, gc=False):
    """A node that was made and opened."""

    entry: EntryReply
    open: OpenReply


class ReadlinkReply(Reply, frozen=True, gc=False):
    """Where the link leads."""

    target: str


class DataReply(Reply, frozen=True, gc=False):
    """Data of a file, the value of an attribute, or the names of all attributes with a NUL behind each."""

    data: bytes


class WriteReply(Reply, frozen=True, gc=False):
    """How many bytes were written or copied."""

    size: int


class Copy64Reply(Reply, frozen=True, gc=False):
    """How many bytes were copied, by COPY_FILE_RANGE_64."""

    bytes_copied: int


class StatfsReply(Reply, frozen=True, gc=False):
    """The size of the file system and what is left of it. A :class:`StatFsLike`."""

    blocks: int = 0
    bfree: int = 0
    bavail: int = 0
    files: int = 0
    ffree: int = 0
    bsize: int = 0
    frsize: int = 0
    namelen: int = 0


class SizeReply(Reply, frozen=True, gc=False):
    """How many bytes an attribute, or the list of them, has."""

    size: int


class LkReply(Reply, frozen=True, gc=False):
    """The lock that is in the way, or F_UNLCK as ``type``."""

    start: int
    end: int
    type: int
    pid: int


class IoctlReply(Reply, frozen=True, gc=False):
    """What ioctl(2) returns and the bytes for the caller; or, with FUSE_IOCTL_RETRY in ``flags``, the ranges that the
    kernel shall read and write before it asks again: pairs of address and length.
    """

    result: int
    data: bytes = b""
    flags: int = 0
    in_iovs: tuple[tuple[int, int], ...] = ()
    out_iovs: tuple[tuple[int, int], ...] = ()


class PollReply(Reply, frozen=True, gc=False):
    """The events that are ready."""

    revents: int


class LseekReply(Reply, frozen=True, gc=False):
    """The place that was found."""

    offset: int


class BmapReply(Reply, frozen=True, gc=False):
    """The block on the device."""

    block: int


class Dirent(msgspec.Struct, frozen=True, gc=False):
    """A line of a directory. ``type`` is a DT_* number; ``off`` is the cookie to go on with."""

    ino: int
    off: int
    type: int
    name: str


class DirentPlus(msgspec.Struct, frozen=True, gc=False):
    """A line with what a lookup of its name gives; ``entry.nodeid`` 0 says that nothing was looked up."""

    dirent: Dirent
    entry: EntryReply


class ReaddirReply(Reply, frozen=True, gc=False):
    """A part of a directory; nothing means its end."""

    entries: tuple[Dirent, ...]


class ReaddirplusReply(Reply, frozen=True, gc=False):
    """A part of a directory with lookups."""

    entries: tuple[DirentPlus, ...]

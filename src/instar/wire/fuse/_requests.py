# SPDX-License-Identifier: Apache-2.0
"""Requests as typed messages: one class for each thing that the kernel asks.

Fields carry the header's names. Flags are plain ``int`` (see :mod:`instar.wire.fuse._constants` for their bits), sizes and
offsets are bytes, times are nanoseconds since the epoch and may be negative. Names are ``str`` in the encoding of the file
system (``os.fsdecode``): bytes that are not text stand as surrogate escapes. The node that a request is about is in its
:class:`Header`, not in the message.

Where a message carries data (:class:`Write`, :class:`Ioctl`, :class:`NotifyReply`), it is a view of the buffer that was decoded,
not a copy: take what must outlive the buffer with ``bytes(message.data)``.

Source: ``include/uapi/linux/fuse.h``; ``fs/fuse/dir.c`` and ``file.c`` of Linux 6.18 for what the kernel puts in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from instar.wire.fuse._constants import FUSE_UNIQUE_RESEND
from instar.wire.fuse._extensions import NO_EXTENSIONS, Extensions

__all__ = [
    "Access",
    "BatchForget",
    "Bmap",
    "Buffer",
    "CopyFileRange",
    "Create",
    "CuseInit",
    "Decoder",
    "Destroy",
    "Fallocate",
    "Flush",
    "Forget",
    "Fsync",
    "Fsyncdir",
    "Getattr",
    "Getlk",
    "Getxattr",
    "Header",
    "Init",
    "Interrupt",
    "Ioctl",
    "Link",
    "Listxattr",
    "Lookup",
    "Lseek",
    "Mkdir",
    "Mknod",
    "NotifyReply",
    "Open",
    "Opendir",
    "Poll",
    "Read",
    "Readdir",
    "Readdirplus",
    "Readlink",
    "Release",
    "Releasedir",
    "RemoveMapping",
    "Removexattr",
    "Rename",
    "Request",
    "Rmdir",
    "Setattr",
    "Setlk",
    "Setlkw",
    "SetupMapping",
    "Setxattr",
    "Statfs",
    "Statx",
    "Symlink",
    "Syncfs",
    "Tmpfile",
    "Unlink",
    "Write",
]

#: What a message may hold data in. Decoding makes a ``memoryview``.
Buffer: TypeAlias = "bytes | bytearray | memoryview"


class Header(msgspec.Struct, frozen=True, gc=False):
    """Who asks what, and about which node (``struct fuse_in_header`` without its lengths).

    ``unique`` names the request: its reply carries the same number. ``uid``, ``gid`` and ``pid`` are the caller's.
    """

    opcode: int
    unique: int
    nodeid: int
    uid: int = 0
    gid: int = 0
    pid: int = 0
    extensions: Extensions = NO_EXTENSIONS

    @property
    def is_resend(self) -> bool:
        """Whether the kernel sends this request again after FUSE_NOTIFY_RESEND: it may have been carried out before."""
        return bool(self.unique & FUSE_UNIQUE_RESEND)


class Request(msgspec.Struct, frozen=True, gc=False):
    """What all requests are."""


#: Reads the body ``buf[start:end]`` of a request.
Decoder: TypeAlias = Callable[[memoryview, int, int], Request]


# ------------------------------------------------------------------------------------------ the connection


class Init(Request, frozen=True, gc=False):
    """The first request: what the kernel speaks and offers. Answer it with :func:`negotiate`.

    ``flags`` holds ``flags2`` in its upper half, and only bits that count (see :class:`InitFlags`).
    """

    major: int
    minor: int
    max_readahead: int
    flags: int


class Destroy(Request, frozen=True, gc=False):
    """The file system is unmounted. Sent on ``fuseblk`` and virtiofs mounts."""


class Interrupt(Request, frozen=True, gc=False):
    """The caller of request ``unique`` got a signal: answer it with EINTR if that can be done.

    No reply is needed. EAGAIN asks to send it again later, ENOSYS never to send one again.
    """

    unique: int


class NotifyReply(Request, frozen=True, gc=False):
    """What the kernel's cache holds of the node at ``offset``, the answer to :func:`notify_retrieve`. No reply."""

    offset: int
    data: Buffer


class CuseInit(Request, frozen=True, gc=False):
    """The first request of a character device in user space."""

    major: int
    minor: int
    flags: int


# --------------------------------------------------------------------------------------- nodes and names


class Lookup(Request, frozen=True, gc=False):
    """Find ``name`` in the directory. "." and ".." come only where FUSE_EXPORT_SUPPORT was agreed."""

    name: str


class Forget(Request, frozen=True, gc=False):
    """Take ``nlookup`` from the node's count of lookups; at 0 the kernel no longer knows it. No reply."""

    nlookup: int


class BatchForget(Request, frozen=True, gc=False):
    """Many of :class:`Forget`: pairs of node id and ``nlookup``. No reply."""

    items: tuple[tuple[int, int], ...]


class Getattr(Request, frozen=True, gc=False):
    """Attributes of the node; ``fh`` is an open file of it, or None."""

    fh: int | None


class Setattr(Request, frozen=True, gc=False):
    """Change attributes. ``valid`` (:class:`FattrFlags`) says which fields count."""

    valid: int
    fh: int = 0
    size: int = 0
    lock_owner: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0


class Statx(Request, frozen=True, gc=False):
    """Attributes with the time of birth. ``sx_mask`` is a :class:`StatxMask`, ``sx_flags`` the AT_STATX_* of statx(2)."""

    fh: int | None
    sx_flags: int
    sx_mask: int


class Readlink(Request, frozen=True, gc=False):
    """Where the symbolic link leads."""


class Symlink(Request, frozen=True, gc=False):
    """Make a symbolic link ``name`` that leads to ``target``."""

    name: str
    target: str


class Mknod(Request, frozen=True, gc=False):
    """Make a node that is no directory. ``rdev`` is as os.makedev makes it."""

    name: str
    mode: int
    rdev: int
    umask: int


class Mkdir(Request, frozen=True, gc=False):
    """Make a directory."""

    name: str
    mode: int
    umask: int


class Unlink(Request, frozen=True, gc=False):
    """Remove a name that is no directory."""

    name: str


class Rmdir(Request, frozen=True, gc=False):
    """Remove an empty directory."""

    name: str


class Rename(Request, frozen=True, gc=False):
    """Move ``name`` to ``newname`` in directory ``newdir``: RENAME, and RENAME2 where ``flags`` (rename(2)) are set."""

    newdir: int
    name: str
    newname: str
    flags: int = 0


class Link(Request, frozen=True, gc=False):
    """Give node ``oldnodeid`` the name ``newname`` in the directory of the header."""

    oldnodeid: int
    newname: str


class Create(Request, frozen=True, gc=False):
    """Make a file and open it. ``flags`` are those of open(2), ``open_flags`` a :class:`OpenInFlags`."""

    name: str
    flags: int
    mode: int
    umask: int
    open_flags: int = 0


class Tmpfile(Request, frozen=True, gc=False):
    """Make and open a file without a name (O_TMPFILE)."""

    flags: int
    mode: int
    umask: int
    open_flags: int = 0


class Access(Request, frozen=True, gc=False):
    """access(2) with ``mask``. Not sent where ``default_permissions`` holds."""

    mask: int


class Statfs(Request, frozen=True, gc=False):
    """statfs(2)."""


class Syncfs(Request, frozen=True, gc=False):
    """syncfs(2). Linux sends it on ``fuseblk`` and virtiofs mounts only."""


# -------------------------------------------------------------------------------------------- open files


class Open(Request, frozen=True, gc=False):
    """Open a file. ``flags`` are those of open(2), ``open_flags`` a :class:`OpenInFlags`."""

    flags: int
    open_flags: int = 0


class Opendir(Open, frozen=True, gc=False):
    """Open a directory."""


class Read(Request, frozen=True, gc=False):
    """Read at most ``size`` bytes. ``lock_owner`` counts where ``read_flags`` has FUSE_READ_LOCKOWNER."""

    fh: int
    offset: int
    size: int
    read_flags: int = 0
    lock_owner: int = 0
    flags: int = 0


class Readdir(Read, frozen=True, gc=False):
    """At most ``size`` bytes of a directory, after the cookie ``offset`` (0 at the start)."""


class Readdirplus(Readdir, frozen=True, gc=False):
    """As :class:`Readdir`, with a lookup of each name."""


class Write(Request, frozen=True, gc=False):
    """Write ``data``. ``write_flags`` is a :class:`WriteFlags`, ``flags`` those of the open file."""

    fh: int
    offset: int
    data: Buffer
    write_flags: int = 0
    lock_owner: int = 0
    flags: int = 0


class Flush(Request, frozen=True, gc=False):
    """A descriptor of the file was closed; ``lock_owner`` loses its POSIX locks."""

    fh: int
    lock_owner: int


class Release(Request, frozen=True, gc=False):
    """The last descriptor of the open file is gone: forget ``fh``."""

    fh: int
    flags: int
    release_flags: int = 0
    lock_owner: int = 0


class Releasedir(Release, frozen=True, gc=False):
    """The same for a directory."""


class Fsync(Request, frozen=True, gc=False):
    """fsync(2), or fdatasync(2) where ``fsync_flags`` says so."""

    fh: int
    fsync_flags: int = 0


class Fsyncdir(Fsync, frozen=True, gc=False):
    """The same for a directory."""


class Lseek(Request, frozen=True, gc=False):
    """lseek(2) with SEEK_DATA or SEEK_HOLE; ``offset`` is signed."""

    fh: int
    offset: int
    whence: int


class Fallocate(Request, frozen=True, gc=False):
    """fallocate(2)."""

    fh: int
    offset: int
    length: int
    mode: int


class CopyFileRange(Request, frozen=True, gc=False):
    """copy_file_range(2), from the node of the header to ``nodeid_out``: COPY_FILE_RANGE and COPY_FILE_RANGE_64.

    The two are answered differently: :func:`encode_write` and :func:`encode_copy64`.
    """

    fh_in: int
    off_in: int
    nodeid_out: int
    fh_out: int
    off_out: int
    length: int
    flags: int = 0


class Bmap(Request, frozen=True, gc=False):
    """Where block ``block`` of the file lies on the device (``fuseblk`` only)."""

    block: int
    blocksize: int


class Ioctl(Request, frozen=True, gc=False):
    """ioctl(2): ``cmd`` with argument ``arg``. ``data`` is what the kernel read from the caller, ``out_size`` the room there."""

    fh: int
    flags: int
    cmd: int
    arg: int
    data: Buffer
    out_size: int

    @property
    def in_size(self) -> int:
        """How many bytes the caller passes."""
        return len(self.data)


class Poll(Request, frozen=True, gc=False):
    """poll(2). With FUSE_POLL_SCHEDULE_NOTIFY in ``flags``, :func:`notify_poll` with ``kh`` wakes the caller later."""

    fh: int
    kh: int
    flags: int
    events: int


class SetupMapping(Request, frozen=True, gc=False):
    """Map ``length`` bytes of the file at ``foffset`` into the DAX window at ``moffset`` (virtiofs)."""

    fh: int
    foffset: int
    length: int
    flags: int
    moffset: int


class RemoveMapping(Request, frozen=True, gc=False):
    """Unmap ranges of the DAX window: pairs of ``moffset`` and length (virtiofs)."""

    items: tuple[tuple[int, int], ...]


# -------------------------------------------------------------------------------- extended attributes, locks


class Setxattr(Request, frozen=True, gc=False):
    """Set an extended attribute. ``flags`` are those of setxattr(2), ``setxattr_flags`` a :class:`SetxattrFlags`."""

    name: str
    value: bytes
    flags: int = 0
    setxattr_flags: int = 0


class Getxattr(Request, frozen=True, gc=False):
    """The value of an extended attribute, of at most ``size`` bytes; 0 asks for its size."""

    name: str
    size: int


class Listxattr(Request, frozen=True, gc=False):
    """The names of all extended attributes, each with a NUL, in at most ``size`` bytes; 0 asks for the size."""

    size: int


class Removexattr(Request, frozen=True, gc=False):
    """Remove an extended attribute."""

    name: str


class Getlk(Request, frozen=True, gc=False):
    """Which lock is in the way of this one. ``type`` is F_RDLCK, F_WRLCK or F_UNLCK; ``end`` is included."""

    fh: int
    owner: int
    start: int
    end: int
    type: int
    pid: int
    lk_flags: int = 0


class Setlk(Getlk, frozen=True, gc=False):
    """Take or drop a lock, or fail with EAGAIN."""


class Setlkw(Getlk, frozen=True, gc=False):
    """Take a lock, waiting for it; an :class:`Interrupt` may end the wait."""

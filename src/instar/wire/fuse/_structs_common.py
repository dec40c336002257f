# SPDX-License-Identifier: Apache-2.0
"""The structures of ``linux/fuse.h`` that requests and replies share, and those of headers, extensions and
io_uring.

Each class has the C name as its ``ctype`` and the members of the header under the header's names (two leading
underscores are one here, since Python would mangle them). ``CODEC`` packs and unpacks the whole flat; the
modules beside this one turn the result into messages.

Source: ``include/uapi/linux/fuse.h`` of Linux 6.18, protocol 7.45.
"""

from __future__ import annotations

from instar.layout import Struct, array, char, s32, s64, trailing, u8, u16, u32, u64
from instar.wire.fuse._constants import FUSE_URING_IN_OUT_HEADER_SZ, FUSE_URING_OP_IN_OUT_SZ

__all__ = [
    "FuseAttr",
    "FuseBackingMap",
    "FuseExtHeader",
    "FuseFileLock",
    "FuseInHeader",
    "FuseIoctlIovec",
    "FuseKstatfs",
    "FuseOutHeader",
    "FuseSecctx",
    "FuseSecctxHeader",
    "FuseStatx",
    "FuseSuppGroups",
    "FuseSxTime",
    "FuseUringCmdReq",
    "FuseUringEntInOut",
    "FuseUringReqHeader",
]


class FuseAttr(Struct, ctype="struct fuse_attr"):
    """Attributes of a node. Seconds are 64-bit two's complement: times before 1970 are legal."""

    ino: u64
    size: u64
    blocks: u64
    atime: u64
    mtime: u64
    ctime: u64
    atimensec: u32
    mtimensec: u32
    ctimensec: u32
    mode: u32
    nlink: u32
    uid: u32
    gid: u32
    rdev: u32
    blksize: u32
    flags: u32


class FuseSxTime(Struct, ctype="struct fuse_sx_time"):
    """A time in ``struct fuse_statx``."""

    tv_sec: s64
    tv_nsec: u32
    _reserved: s32


class FuseStatx(Struct, ctype="struct fuse_statx"):
    """Attributes in the form of statx(2), bit for bit."""

    mask: u32
    blksize: u32
    attributes: u64
    nlink: u32
    uid: u32
    gid: u32
    mode: u16
    _spare0: list[int] = array(u16, 1)
    ino: u64
    size: u64
    blocks: u64
    attributes_mask: u64
    atime: FuseSxTime
    btime: FuseSxTime
    ctime: FuseSxTime
    mtime: FuseSxTime
    rdev_major: u32
    rdev_minor: u32
    dev_major: u32
    dev_minor: u32
    _spare2: list[int] = array(u64, 14)


class FuseKstatfs(Struct, ctype="struct fuse_kstatfs"):
    """What statfs(2) shows."""

    blocks: u64
    bfree: u64
    bavail: u64
    files: u64
    ffree: u64
    bsize: u32
    namelen: u32
    frsize: u32
    padding: u32
    spare: list[int] = array(u32, 6)


class FuseFileLock(Struct, ctype="struct fuse_file_lock"):
    """A byte range, both ends included, with F_RDLCK, F_WRLCK or F_UNLCK as ``type``."""

    start: u64
    end: u64
    type: u32
    pid: u32


class FuseIoctlIovec(Struct, ctype="struct fuse_ioctl_iovec"):
    """A range of the caller that the kernel shall read or write when it retries an ioctl."""

    base: u64
    len: u64


class FuseInHeader(Struct, ctype="struct fuse_in_header"):
    """The head of every request. ``total_extlen`` counts 8 bytes; kernels below 7.38 send 0."""

    len: u32
    opcode: u32
    unique: u64
    nodeid: u64
    uid: u32
    gid: u32
    pid: u32
    total_extlen: u16
    padding: u16


class FuseOutHeader(Struct, ctype="struct fuse_out_header"):
    """The head of every reply (``error`` is 0 or a negative errno) and notification (``error`` is its code,
    ``unique`` 0).
    """

    len: u32
    error: s32
    unique: u64


class FuseBackingMap(Struct, ctype="struct fuse_backing_map"):
    """The argument of the ioctl FUSE_DEV_IOC_BACKING_OPEN."""

    fd: s32
    flags: u32
    padding: u64


class FuseSecctx(Struct, ctype="struct fuse_secctx"):
    """A security context: the name of its xattr and a NUL follow, then ``size`` bytes of value, filled up to
    8.
    """

    size: u32
    padding: u32


class FuseSecctxHeader(Struct, ctype="struct fuse_secctx_header"):
    """The extension with security contexts; ``nr_secctx`` of them follow. ``size`` counts all of it."""

    size: u32
    nr_secctx: u32


class FuseExtHeader(Struct, ctype="struct fuse_ext_header"):
    """The head of every extension."""

    size: u32
    type: u32


class FuseSuppGroups(Struct, ctype="struct fuse_supp_groups"):
    """The body of the extension FUSE_EXT_GROUPS."""

    nr_groups: u32
    groups: list[int] = trailing(u32)


class FuseUringEntInOut(Struct, ctype="struct fuse_uring_ent_in_out"):
    """The third part of the header block of an io_uring entry."""

    flags: u64
    commit_id: u64
    payload_sz: u32
    padding: u32
    reserved: u64


class FuseUringReqHeader(Struct, ctype="struct fuse_uring_req_header"):
    """The header block of an io_uring entry."""

    in_out: bytes = array(char, FUSE_URING_IN_OUT_HEADER_SZ)
    op_in: bytes = array(char, FUSE_URING_OP_IN_OUT_SZ)
    ring_ent_in_out: FuseUringEntInOut


class FuseUringCmdReq(Struct, ctype="struct fuse_uring_cmd_req"):
    """The command area of a submission queue entry."""

    flags: u64
    commit_id: u64
    qid: u16
    padding: list[int] = array(u8, 6)

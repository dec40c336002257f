# SPDX-License-Identifier: Apache-2.0
"""From plain values to the bytes of replies.

Each ``encode_*`` returns the body of a reply without its header: a transport writes header and body in one go, and knows
the length of both. ``OUT_HEADER.pack(16 + len(body), 0, unique)`` is the header, :func:`encode_error` a whole reply.

What a service returned goes through here, so each function refuses values that the protocol has no room for with
:class:`EncodeError`, and never sends half a truth.

Benchmark: ``benchmarks/wire.py``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Final

from instar.wire.fuse import _structs_out as so
from instar.wire.fuse._codecs import ATTR_OUT, ENTRY_OUT, NS, STATX_OUT, split_timeout
from instar.wire.fuse._constants import (
    CUSE_INIT_INFO_MAX,
    FUSE_COMPAT_22_INIT_OUT_SIZE,
    FUSE_COMPAT_INIT_OUT_SIZE,
    FUSE_IOCTL_MAX_IOV,
    IoctlFlags,
    StatxMask,
)
from instar.wire.fuse._errors import EncodeError
from instar.wire.fuse._names import encode_text
from instar.wire.fuse._replies import AttrLike, CuseInitReply, InitOut, StatFsLike
from instar.wire.fuse._structs_common import FuseIoctlIovec, FuseOutHeader

__all__ = [
    "MAX_ERRNO",
    "OUT_HEADER",
    "OUT_HEADER_SIZE",
    "encode_attr",
    "encode_bmap",
    "encode_copy64",
    "encode_create",
    "encode_cuse_init",
    "encode_entry",
    "encode_error",
    "encode_init",
    "encode_ioctl",
    "encode_ioctl_retry",
    "encode_lk",
    "encode_lseek",
    "encode_negative_entry",
    "encode_open",
    "encode_poll",
    "encode_readlink",
    "encode_statfs",
    "encode_statx",
    "encode_write",
    "encode_xattr_size",
    "out_header",
]

#: ``OUT_HEADER.pack(length, error, unique)``
OUT_HEADER: Final[struct.Struct] = FuseOutHeader.CODEC
OUT_HEADER_SIZE: Final = FuseOutHeader.SIZE

#: The kernel refuses a reply with a larger errno, and the caller waits for ever.
MAX_ERRNO: Final = 511

_STATX_MASK: Final = int(StatxMask.STATX_BASIC_STATS | StatxMask.STATX_BTIME)
_RETRY: Final = int(IoctlFlags.FUSE_IOCTL_RETRY)

#: What goes wrong when a value is no number, a number is out of range, or an object is no AttrLike.
_BAD: Final = (struct.error, TypeError, AttributeError, OverflowError, ValueError)


def _refused(what: str, value: object, error: Exception) -> EncodeError:
    if isinstance(error, EncodeError):
        return error
    return EncodeError(f"{what}: {value!r} does not fit: {error}")


def out_header(body_length: int, unique: int) -> bytes:
    """The header of a successful reply with a body of ``body_length`` bytes."""
    return OUT_HEADER.pack(OUT_HEADER_SIZE + body_length, 0, unique)


def encode_error(unique: int, errno: int) -> bytes:
    """A whole reply that says that request ``unique`` failed.

    Raises:
        EncodeError: ``errno`` is not from 1 to 511.
    """
    if not 0 < errno <= MAX_ERRNO:
        raise EncodeError(f"an errno in a reply is from 1 to {MAX_ERRNO}, not {errno}")
    return OUT_HEADER.pack(OUT_HEADER_SIZE, -errno, unique)


# ---------------------------------------------------------------------------------------- nodes and names


def encode_entry(
    nodeid: int, generation: int, entry_timeout: float, attr_timeout: float, attr: AttrLike
) -> bytes:
    """The reply to LOOKUP, MKNOD, MKDIR, SYMLINK and LINK: 128 bytes. Timeouts are in seconds.

    Raises:
        EncodeError: a number is out of range or none at all.
    """
    try:
        entry_valid, entry_nsec = split_timeout(entry_timeout)
        attr_valid, attr_nsec = split_timeout(attr_timeout)
        atime, atimensec = divmod(attr.atime, NS)
        mtime, mtimensec = divmod(attr.mtime, NS)
        ctime, ctimensec = divmod(attr.ctime, NS)
        size = attr.size
        blocks = attr.blocks
        return ENTRY_OUT.pack(
            nodeid, generation, entry_valid, attr_valid, entry_nsec, attr_nsec,
            attr.ino, size, (size + 511) >> 9 if blocks is None else blocks,
            atime, mtime, ctime, atimensec, mtimensec, ctimensec,
            attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.blksize, 0,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("entry", (nodeid, generation, entry_timeout, attr_timeout, attr), error) from error


_NO_ATTR: Final = bytes(88)
_ENTRY_HEAD: Final = struct.Struct("=QQQQII")


def encode_negative_entry(entry_timeout: float) -> bytes:
    """The reply to LOOKUP that says: no such name, and remember that for so many seconds.

    Raises:
        EncodeError: the timeout is no number of seconds.
    """
    try:
        seconds, nanoseconds = split_timeout(entry_timeout)
    except _BAD as error:
        raise _refused("negative entry", entry_timeout, error) from error
    return _ENTRY_HEAD.pack(0, 0, seconds, 0, nanoseconds, 0) + _NO_ATTR


def encode_attr(attr_timeout: float, attr: AttrLike) -> bytes:
    """The reply to GETATTR and SETATTR: 104 bytes.

    Raises:
        EncodeError: a number is out of range or none at all.
    """
    try:
        seconds, nanoseconds = split_timeout(attr_timeout)
        atime, atimensec = divmod(attr.atime, NS)
        mtime, mtimensec = divmod(attr.mtime, NS)
        ctime, ctimensec = divmod(attr.ctime, NS)
        size = attr.size
        blocks = attr.blocks
        return ATTR_OUT.pack(
            seconds, nanoseconds, 0,
            attr.ino, size, (size + 511) >> 9 if blocks is None else blocks,
            atime, mtime, ctime, atimensec, mtimensec, ctimensec,
            attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.blksize, 0,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("attributes", (attr_timeout, attr), error) from error


def encode_statx(
    attr_timeout: float,
    attr: AttrLike,
    mask: int = _STATX_MASK,
    attributes: int = 0,
    attributes_mask: int = 0,
) -> bytes:
    """The reply to STATX: 288 bytes. ``mask`` says which fields hold something; the kernel fills in the device.

    Raises:
        EncodeError: a number is out of range or none at all.
    """
    try:
        seconds, nanoseconds = split_timeout(attr_timeout)
        size = attr.size
        blocks = attr.blocks
        rdev = attr.rdev
        return STATX_OUT.pack(
            seconds, nanoseconds, 0,
            mask, attr.blksize, attributes, attr.nlink, attr.uid, attr.gid, attr.mode,
            attr.ino, size, (size + 511) >> 9 if blocks is None else blocks, attributes_mask,
            *divmod(attr.atime, NS), 0, *divmod(attr.btime, NS), 0,
            *divmod(attr.ctime, NS), 0, *divmod(attr.mtime, NS), 0,
            os.major(rdev), os.minor(rdev), 0, 0,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("statx", (attr_timeout, attr, mask, attributes, attributes_mask), error) from error


def encode_readlink(target: str) -> bytes:
    """The reply to READLINK: the target without a NUL.

    Raises:
        EncodeError: the target holds a NUL.
    """
    return encode_text("READLINK", target)[:-1]


_statfs_out = so.FuseStatfsOut.CODEC


def encode_statfs(st: StatFsLike) -> bytes:
    """The reply to STATFS: 80 bytes.

    Raises:
        EncodeError: a number is out of range or none at all.
    """
    try:
        return _statfs_out.pack(
            st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.bsize, st.namelen, st.frsize,
            0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("statfs", st, error) from error


# --------------------------------------------------------------------------------------------- open files

_open_out = so.FuseOpenOut.CODEC


def encode_open(fh: int, open_flags: int = 0, backing_id: int = 0) -> bytes:
    """The reply to OPEN and OPENDIR: 16 bytes. ``open_flags`` is a :class:`OpenFlags`.

    Raises:
        EncodeError: a number is out of range.
    """
    try:
        return _open_out.pack(fh, open_flags, backing_id)
    except struct.error as error:
        raise _refused("open file", (fh, open_flags, backing_id), error) from error


def encode_create(
    nodeid: int,
    generation: int,
    entry_timeout: float,
    attr_timeout: float,
    attr: AttrLike,
    fh: int,
    open_flags: int = 0,
    backing_id: int = 0,
) -> bytes:
    """The reply to CREATE and TMPFILE: that of LOOKUP and that of OPEN, one behind the other.

    Raises:
        EncodeError: a number is out of range or none at all.
    """
    entry = encode_entry(nodeid, generation, entry_timeout, attr_timeout, attr)
    return entry + encode_open(fh, open_flags, backing_id)


_write_out = so.FuseWriteOut.CODEC
_copy_out = so.FuseCopyFileRangeOut.CODEC


def encode_write(size: int) -> bytes:
    """The reply to WRITE and COPY_FILE_RANGE: how many bytes were written.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _write_out.pack(size, 0)
    except struct.error as error:
        raise _refused("size", size, error) from error


def encode_copy64(size: int) -> bytes:
    """The reply to COPY_FILE_RANGE_64: how many bytes were copied.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _copy_out.pack(size)
    except struct.error as error:
        raise _refused("size", size, error) from error


_lseek_out = so.FuseLseekOut.CODEC


def encode_lseek(offset: int) -> bytes:
    """The reply to LSEEK.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _lseek_out.pack(offset)
    except struct.error as error:
        raise _refused("offset", offset, error) from error


_bmap_out = so.FuseBmapOut.CODEC


def encode_bmap(block: int) -> bytes:
    """The reply to BMAP.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _bmap_out.pack(block)
    except struct.error as error:
        raise _refused("block", block, error) from error


_poll_out = so.FusePollOut.CODEC


def encode_poll(revents: int) -> bytes:
    """The reply to POLL.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _poll_out.pack(revents, 0)
    except struct.error as error:
        raise _refused("events", revents, error) from error


_lk_out = so.FuseLkOut.CODEC


def encode_lk(start: int, end: int, type: int, pid: int) -> bytes:  # noqa: A002 - the header's name
    """The reply to GETLK: the lock that is in the way, or F_UNLCK as ``type``.

    Raises:
        EncodeError: a number is out of range.
    """
    try:
        return _lk_out.pack(start, end, type, pid)
    except struct.error as error:
        raise _refused("lock", (start, end, type, pid), error) from error


_ioctl_out = so.FuseIoctlOut.CODEC
_iovec = FuseIoctlIovec.CODEC


def encode_ioctl(result: int, data: bytes | bytearray | memoryview = b"", flags: int = 0) -> bytes:
    """The reply to IOCTL: what ioctl(2) returns, and the bytes that go to the caller.

    Raises:
        EncodeError: the result is no C int, or FUSE_IOCTL_RETRY stands in ``flags``.
    """
    if flags & _RETRY:
        raise EncodeError("an ioctl is retried with encode_ioctl_retry")
    try:
        return _ioctl_out.pack(result, flags, 0, 0) + data
    except _BAD as error:
        raise _refused("ioctl", (result, flags), error) from error


def encode_ioctl_retry(
    in_iovs: Sequence[tuple[int, int]], out_iovs: Sequence[tuple[int, int]], result: int = 0, flags: int = 0
) -> bytes:
    """The reply to an unrestricted IOCTL that asks the kernel to read and make room for these ranges of the caller.

    Each range is an address and a length. The kernel takes this on CUSE devices only.

    Raises:
        EncodeError: more than FUSE_IOCTL_MAX_IOV ranges, or a number out of range.
    """
    if len(in_iovs) + len(out_iovs) > FUSE_IOCTL_MAX_IOV:
        raise EncodeError(f"an ioctl is retried with at most {FUSE_IOCTL_MAX_IOV} ranges")
    try:
        head = _ioctl_out.pack(result, flags | _RETRY, len(in_iovs), len(out_iovs))
        return head + b"".join(_iovec.pack(base, length) for base, length in (*in_iovs, *out_iovs))
    except _BAD as error:
        raise _refused("ioctl", (in_iovs, out_iovs), error) from error


_getxattr_out = so.FuseGetxattrOut.CODEC


def encode_xattr_size(size: int) -> bytes:
    """The reply to GETXATTR and LISTXATTR where ``size`` was 0: how many bytes there are.

    Raises:
        EncodeError: the number is out of range.
    """
    try:
        return _getxattr_out.pack(size, 0)
    except struct.error as error:
        raise _refused("size", size, error) from error


# ------------------------------------------------------------------------------------------ the connection

_init_out = so.FuseInitOut.CODEC
_U32: Final = 0xFFFF_FFFF


def encode_init(reply: InitOut) -> bytes:
    """The reply to INIT: 8 bytes below minor version 5, 24 below 23, 64 from there on.

    Raises:
        EncodeError: a number is out of range.
    """
    try:
        body = _init_out.pack(
            reply.major, reply.minor, reply.max_readahead, reply.flags & _U32,
            reply.max_background, reply.congestion_threshold, reply.max_write, reply.time_gran,
            reply.max_pages, reply.map_alignment, reply.flags >> 32, reply.max_stack_depth,
            reply.request_timeout, *(0,) * 11,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("INIT", reply, error) from error
    if reply.minor < 5:
        return body[:FUSE_COMPAT_INIT_OUT_SIZE]
    if reply.minor < 23:
        return body[:FUSE_COMPAT_22_INIT_OUT_SIZE]
    return body


_cuse_init_out = so.CuseInitOut.CODEC


def encode_cuse_init(reply: CuseInitReply) -> bytes:
    """The reply to CUSE_INIT: 72 bytes and the text.

    Raises:
        EncodeError: a number is out of range, or the text is longer than CUSE_INIT_INFO_MAX.
    """
    info = b"".join(encode_text("CUSE_INIT", line) for line in reply.info)
    if len(info) > CUSE_INIT_INFO_MAX:
        raise EncodeError(f"CUSE_INIT: the text has {len(info)} bytes, more than {CUSE_INIT_INFO_MAX}")
    try:
        head = _cuse_init_out.pack(
            reply.major, reply.minor, 0, reply.flags, reply.max_read, reply.max_write,
            reply.dev_major, reply.dev_minor, *(0,) * 10,
        )  # fmt: skip
    except _BAD as error:
        raise _refused("CUSE_INIT", reply, error) from error
    return head + info

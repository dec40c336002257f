# SPDX-License-Identifier: Apache-2.0
"""Replies in both directions as messages: what the kernel does with the bytes, for those who stand in its place.

:func:`decode_reply` is as strict as the kernel: a body that it would refuse raises :class:`ProtocolError`.

Source: ``include/uapi/linux/fuse.h``; ``fuse_dev_do_write`` in ``fs/fuse/dev.c`` and ``parse_dirfile`` in ``readdir.c`` of Linux 6.18.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from instar.wire.fuse import _replies as rep
from instar.wire.fuse import _reply_encode as enc
from instar.wire.fuse import _structs_out as so
from instar.wire.fuse._codecs import ATTR_OUT, ENTRY_OUT, NS, STATX_OUT, join_timeout
from instar.wire.fuse._constants import (
    FUSE_KERNEL_VERSION,
    InitFlags,
    IoctlFlags,
    Opcode,
)
from instar.wire.fuse._dirents import NAME_OFFSET, NAME_OFFSET_PLUS, DirentBuffer
from instar.wire.fuse._errors import EncodeError, ProtocolError
from instar.wire.fuse._names import ENCODING, ERRORS
from instar.wire.fuse._opcodes import OPCODES, opcode_name
from instar.wire.fuse._structs_common import FuseIoctlIovec

__all__ = ["decode_reply", "encode_reply"]

_Decoder: TypeAlias = Callable[[str, memoryview], rep.Reply]

_DIRENT: Final = so.FuseDirent.CODEC
_CUSE_INIT_OUT: Final = so.CuseInitOut.CODEC
_INIT_OUT: Final = so.FuseInitOut.CODEC
_INIT_22: Final = struct.Struct("=IIIIHHI")
_INIT_MAJOR_MINOR: Final = struct.Struct("=II")
_IOCTL_OUT: Final = so.FuseIoctlOut.CODEC
_IOVEC: Final = FuseIoctlIovec.CODEC
_RETRY: Final = int(IoctlFlags.FUSE_IOCTL_RETRY)
_INIT_EXT: Final = int(InitFlags.FUSE_INIT_EXT)
#: For a listing of any length.
_NO_LIMIT: Final = 1 << 62


def _exact(what: str, body: memoryview, codec: struct.Struct) -> tuple[Any, ...]:
    """The values of a body that is one structure. Any: struct gives what the format says."""
    if len(body) != codec.size:
        raise ProtocolError(f"the reply to {what} has a body of {len(body)} bytes, not {codec.size}")
    return codec.unpack(body)


def _attributes(what: str, values: tuple[Any, ...]) -> rep.Attributes:
    (
        ino, size, blocks, atime, mtime, ctime, atimensec, mtimensec, ctimensec,
        mode, nlink, uid, gid, rdev, blksize, _flags,
    ) = values  # fmt: skip
    if atimensec >= NS or mtimensec >= NS or ctimensec >= NS:
        raise ProtocolError(f"the reply to {what} has a time with a second or more of nanoseconds")
    return rep.Attributes(
        ino, mode, nlink, uid, gid, rdev, size, blocks, blksize,
        atime * NS + atimensec, mtime * NS + mtimensec, ctime * NS + ctimensec,
    )  # fmt: skip


def _timeout(what: str, seconds: int, nanoseconds: int) -> float:
    if nanoseconds >= NS:
        raise ProtocolError(f"the reply to {what} has a timeout with a second or more of nanoseconds")
    return join_timeout(seconds, nanoseconds)


def _entry(what: str, body: memoryview) -> rep.EntryReply:
    nodeid, generation, entry, attr, entry_nsec, attr_nsec, *values = _exact(what, body, ENTRY_OUT)
    return rep.EntryReply(
        nodeid,
        generation,
        _timeout(what, entry, entry_nsec),
        _timeout(what, attr, attr_nsec),
        _attributes(what, tuple(values)),
    )


def _attr(what: str, body: memoryview) -> rep.Reply:
    seconds, nanoseconds, _, *values = _exact(what, body, ATTR_OUT)
    return rep.AttrReply(_timeout(what, seconds, nanoseconds), _attributes(what, tuple(values)))


def _makedev(major: int, minor: int) -> int:
    """As os.makedev, which refuses numbers of 32 bits before CPython 3.13 (``gnu_dev_makedev`` in glibc)."""
    return (major & 0xFFF) << 8 | (major & ~0xFFF) << 32 | (minor & 0xFF) | (minor & ~0xFF) << 12


def _statx(what: str, body: memoryview) -> rep.Reply:
    (
        seconds, nanoseconds, _, mask, blksize, attributes, nlink, uid, gid, mode, ino, size, blocks, attributes_mask,
        asec, ansec, _, bsec, bnsec, _, csec, cnsec, _, msec, mnsec, _, major, minor, _, _,
    ) = _exact(what, body, STATX_OUT)  # fmt: skip
    if max(ansec, bnsec, cnsec, mnsec) >= NS:
        raise ProtocolError(f"the reply to {what} has a time with a second or more of nanoseconds")
    attr = rep.Attributes(
        ino, mode, nlink, uid, gid, _makedev(major, minor), size, blocks, blksize,
        asec * NS + ansec, msec * NS + mnsec, csec * NS + cnsec, bsec * NS + bnsec,
    )  # fmt: skip
    return rep.StatxReply(_timeout(what, seconds, nanoseconds), attr, mask, attributes, attributes_mask)


def _open(what: str, body: memoryview) -> rep.OpenReply:
    return rep.OpenReply(*_exact(what, body, so.FuseOpenOut.CODEC))


def _create(what: str, body: memoryview) -> rep.Reply:
    size = ENTRY_OUT.size
    return rep.CreateReply(_entry(what, body[:size]), _open(what, body[size:]))


def _empty(what: str, body: memoryview) -> rep.Reply:
    if body:
        raise ProtocolError(f"the reply to {what} has a body of {len(body)} bytes, not 0")
    return rep.EmptyReply()


def _data(what: str, body: memoryview) -> rep.Reply:
    return rep.DataReply(bytes(body))


def _readlink(what: str, body: memoryview) -> rep.Reply:
    target = str(body, ENCODING, ERRORS)
    if "\0" in target:
        raise ProtocolError(f"the reply to {what} holds a NUL")
    return rep.ReadlinkReply(target)


def _size(what: str, body: memoryview) -> rep.Reply:
    return rep.SizeReply(_exact(what, body, so.FuseGetxattrOut.CODEC)[0])


def _statfs(what: str, body: memoryview) -> rep.Reply:
    blocks, bfree, bavail, files, ffree, bsize, namelen, frsize, *_ = _exact(
        what, body, so.FuseStatfsOut.CODEC
    )
    return rep.StatfsReply(blocks, bfree, bavail, files, ffree, bsize, frsize, namelen)


def _write(what: str, body: memoryview) -> rep.Reply:
    return rep.WriteReply(_exact(what, body, so.FuseWriteOut.CODEC)[0])


def _copy64(what: str, body: memoryview) -> rep.Reply:
    return rep.Copy64Reply(*_exact(what, body, so.FuseCopyFileRangeOut.CODEC))


def _lk(what: str, body: memoryview) -> rep.Reply:
    return rep.LkReply(*_exact(what, body, so.FuseLkOut.CODEC))


def _poll(what: str, body: memoryview) -> rep.Reply:
    return rep.PollReply(_exact(what, body, so.FusePollOut.CODEC)[0])


def _lseek(what: str, body: memoryview) -> rep.Reply:
    return rep.LseekReply(*_exact(what, body, so.FuseLseekOut.CODEC))


def _bmap(what: str, body: memoryview) -> rep.Reply:
    return rep.BmapReply(*_exact(what, body, so.FuseBmapOut.CODEC))


def _ioctl(what: str, body: memoryview) -> rep.Reply:
    if len(body) < _IOCTL_OUT.size:
        raise ProtocolError(
            f"the reply to {what} has a body of {len(body)} bytes, its structure alone {_IOCTL_OUT.size}"
        )
    result, flags, in_count, out_count = _IOCTL_OUT.unpack_from(body)
    rest = body[_IOCTL_OUT.size :]
    if not flags & _RETRY:
        if in_count or out_count:
            raise ProtocolError(f"the reply to {what} has ranges without FUSE_IOCTL_RETRY")
        return rep.IoctlReply(result, bytes(rest), flags)
    if len(rest) != _IOVEC.size * (in_count + out_count):
        raise ProtocolError(
            f"the reply to {what} announces {in_count + out_count} ranges and has {len(rest)} bytes of them"
        )
    ranges = tuple(_IOVEC.iter_unpack(rest))
    return rep.IoctlReply(result, b"", flags, ranges[:in_count], ranges[in_count:])


def _dirent(what: str, body: memoryview, start: int) -> tuple[rep.Dirent, int]:
    """The line at ``start`` and where the next one is."""
    if len(body) - start < NAME_OFFSET:
        raise ProtocolError(f"the reply to {what} ends in the middle of a line")
    ino, off, length, kind = _DIRENT.unpack_from(body, start)
    start += NAME_OFFSET
    after = start + length + (-length & 7)
    if not length or after > len(body):
        raise ProtocolError(f"the reply to {what} has a name of {length} bytes, {len(body) - start} are left")
    raw = bytes(body[start : start + length])
    if ord("/") in raw or 0 in raw:
        raise ProtocolError(f"the reply to {what} has a line with the name {raw!r}")
    return rep.Dirent(ino, off, kind, raw.decode(ENCODING, ERRORS)), after


def _readdir(what: str, body: memoryview) -> rep.Reply:
    found, start = [], 0
    while start < len(body):
        line, start = _dirent(what, body, start)
        found.append(line)
    return rep.ReaddirReply(tuple(found))


def _readdirplus(what: str, body: memoryview) -> rep.Reply:
    found, start = [], 0
    while start < len(body):
        if len(body) - start < NAME_OFFSET_PLUS:
            raise ProtocolError(f"the reply to {what} ends in the middle of a line")
        entry = _entry(what, body[start : start + ENTRY_OUT.size])
        line, start = _dirent(what, body, start + ENTRY_OUT.size)
        found.append(rep.DirentPlus(line, entry))
    return rep.ReaddirplusReply(tuple(found))


def _init(what: str, body: memoryview) -> rep.Reply:
    """Of any of the three sizes, which must be that of the minor version in it."""
    if len(body) < _INIT_MAJOR_MINOR.size:
        raise ProtocolError(f"the reply to {what} has a body of {len(body)} bytes, at least 8 are needed")
    major, minor = _INIT_MAJOR_MINOR.unpack_from(body)
    if major == FUSE_KERNEL_VERSION and minor < 5:
        _exact(what, body, _INIT_MAJOR_MINOR)
        return rep.InitOut(major, minor)
    if major == FUSE_KERNEL_VERSION and minor < 23:
        return rep.InitOut(*_exact(what, body, _INIT_22))
    (
        _, _, readahead, flags, background, threshold, max_write, time_gran, max_pages, map_alignment,
        flags2, max_stack_depth, request_timeout, *_,
    ) = _exact(what, body, _INIT_OUT)  # fmt: skip
    if flags & _INIT_EXT:
        flags |= flags2 << 32
    return rep.InitOut(
        major, minor, readahead, flags, background, threshold, max_write, time_gran, max_pages, map_alignment,
        max_stack_depth, request_timeout,
    )  # fmt: skip


def _cuse_init(what: str, body: memoryview) -> rep.Reply:
    size = _CUSE_INIT_OUT.size
    if len(body) < size:
        raise ProtocolError(
            f"the reply to {what} has a body of {len(body)} bytes, its structure alone {size}"
        )
    major, minor, _, flags, max_read, max_write, dev_major, dev_minor, *_ = _CUSE_INIT_OUT.unpack_from(body)
    text = bytes(body[size:])
    if text and text[-1]:
        raise ProtocolError(f"the text in the reply to {what} does not end with a NUL")
    info = tuple(line.decode(ENCODING, ERRORS) for line in text[:-1].split(b"\0")) if text else ()
    return rep.CuseInitReply(major, minor, flags, max_read, max_write, dev_major, dev_minor, info)


_DECODERS: Final[dict[type[rep.Reply], _Decoder]] = {
    rep.AttrReply: _attr,
    rep.BmapReply: _bmap,
    rep.Copy64Reply: _copy64,
    rep.CreateReply: _create,
    rep.CuseInitReply: _cuse_init,
    rep.DataReply: _data,
    rep.EmptyReply: _empty,
    rep.EntryReply: _entry,
    rep.InitOut: _init,
    rep.IoctlReply: _ioctl,
    rep.LkReply: _lk,
    rep.LseekReply: _lseek,
    rep.OpenReply: _open,
    rep.PollReply: _poll,
    rep.ReaddirReply: _readdir,
    rep.ReaddirplusReply: _readdirplus,
    rep.ReadlinkReply: _readlink,
    rep.SizeReply: _size,
    rep.StatfsReply: _statfs,
    rep.StatxReply: _statx,
    rep.WriteReply: _write,
}


def decode_reply(
    opcode: int, buf: memoryview | bytes | bytearray, *, size_only: bool = False
) -> tuple[int, rep.Reply]:
    """Read a whole reply to a request with ``opcode``: its ``unique`` and what it says.

    Args:
        opcode: of the request.
        buf: header and body.
        size_only: the request was a GETXATTR or LISTXATTR with ``size`` 0.

    Returns:
        ``unique``, and an :class:`ErrorReply` or the opcode's reply (:data:`OPCODES`).

    Raises:
        ProtocolError: the kernel would refuse these bytes.
    """
    view = memoryview(buf).cast("B")
    if len(view) < enc.OUT_HEADER_SIZE:
        raise ProtocolError(f"a reply of {len(view)} bytes has no room for its header")
    length, error, unique = enc.OUT_HEADER.unpack_from(view)
    what = opcode_name(opcode)
    if length != len(view):
        raise ProtocolError(f"the reply to {what} says that it has {length} bytes, {len(view)} are there")
    body = view[enc.OUT_HEADER_SIZE :]
    if error:
        if not -enc.MAX_ERRNO <= error < 0:
            raise ProtocolError(
                f"the reply to {what} has the errno {-error}, which is not from 1 to {enc.MAX_ERRNO}"
            )
        if body:
            raise ProtocolError(f"the reply to {what} has an errno and a body")
        return unique, rep.ErrorReply(-error)
    try:
        replies = OPCODES[Opcode(opcode)].replies
    except (KeyError, ValueError) as unknown:
        raise ProtocolError(f"opcode {opcode} is not known") from unknown
    if not replies:
        raise ProtocolError(f"{what} has no reply")
    return unique, _DECODERS[replies[-1] if size_only else replies[0]](what, body)


# -------------------------------------------------------------------------------------------- and back


def _encode_entry(reply: rep.EntryReply) -> bytes:
    return enc.encode_entry(
        reply.nodeid, reply.generation, reply.entry_timeout, reply.attr_timeout, reply.attr
    )


def _encode_readdir(reply: rep.ReaddirReply) -> bytes:
    listing = DirentBuffer(_NO_LIMIT)
    for line in reply.entries:
        listing.add(line.ino, line.off, line.type, line.name)
    return bytes(listing)


def _encode_readdirplus(reply: rep.ReaddirplusReply) -> bytes:
    listing = DirentBuffer(_NO_LIMIT)
    for item in reply.entries:
        line, entry = item.dirent, item.entry
        listing.add_plus(
            entry.nodeid, entry.generation, entry.entry_timeout, entry.attr_timeout, entry.attr,
            line.ino, line.off, line.type, line.name,
        )  # fmt: skip
    return bytes(listing)


def _encode_ioctl(reply: rep.IoctlReply) -> bytes:
    if reply.flags & _RETRY:
        return enc.encode_ioctl_retry(reply.in_iovs, reply.out_iovs, reply.result, reply.flags)
    return enc.encode_ioctl(reply.result, reply.data, reply.flags)


# Any: the encoder goes with the class that it stands under.
_ENCODERS: Final[dict[type[rep.Reply], Callable[[Any], bytes]]] = {
    rep.AttrReply: lambda r: enc.encode_attr(r.attr_timeout, r.attr),
    rep.BmapReply: lambda r: enc.encode_bmap(r.block),
    rep.Copy64Reply: lambda r: enc.encode_copy64(r.bytes_copied),
    rep.CreateReply: lambda r: (
        _encode_entry(r.entry) + enc.encode_open(r.open.fh, r.open.open_flags, r.open.backing_id)
    ),
    rep.CuseInitReply: enc.encode_cuse_init,
    rep.DataReply: lambda r: bytes(r.data),
    rep.EmptyReply: lambda r: b"",
    rep.EntryReply: _encode_entry,
    rep.InitOut: enc.encode_init,
    rep.IoctlReply: _encode_ioctl,
    rep.LkReply: lambda r: enc.encode_lk(r.start, r.end, r.type, r.pid),
    rep.LseekReply: lambda r: enc.encode_lseek(r.offset),
    rep.OpenReply: lambda r: enc.encode_open(r.fh, r.open_flags, r.backing_id),
    rep.PollReply: lambda r: enc.encode_poll(r.revents),
    rep.ReaddirReply: _encode_readdir,
    rep.ReaddirplusReply: _encode_readdirplus,
    rep.ReadlinkReply: lambda r: enc.encode_readlink(r.target),
    rep.SizeReply: lambda r: enc.encode_xattr_size(r.size),
    rep.StatfsReply: enc.encode_statfs,
    rep.StatxReply: lambda r: enc.encode_statx(
        r.attr_timeout, r.attr, r.mask, r.attributes, r.attributes_mask
    ),
    rep.WriteReply: lambda r: enc.encode_write(r.size),
}


def encode_reply(unique: int, reply: rep.Reply) -> bytes:
    """The whole reply to request ``unique``.

    Raises:
        EncodeError: the message is no reply, or a value in it has no room.
    """
    if isinstance(reply, rep.ErrorReply):
        return enc.encode_error(unique, reply.errno)
    encoder = _ENCODERS.get(type(reply))
    if encoder is None:
        raise EncodeError(f"{type(reply).__name__} is no reply")
    body = encoder(reply)
    return enc.out_header(len(body), unique) + body

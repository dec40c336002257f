# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests about open files, locks and the connection. :mod:`instar.wire.fuse._decode` has the table."""

from __future__ import annotations

from typing import Final

from instar.wire.fuse import _requests as req
from instar.wire.fuse import _structs_in as si
from instar.wire.fuse._codecs import INIT_COMPAT_IN, LSEEK_IN
from instar.wire.fuse._constants import InitFlags
from instar.wire.fuse._errors import ProtocolError, too_short, wrong_size
from instar.wire.fuse._requests import Decoder

__all__ = [
    "decode_bmap",
    "decode_copy_file_range",
    "decode_cuse_init",
    "decode_fallocate",
    "decode_flush",
    "decode_init",
    "decode_interrupt",
    "decode_ioctl",
    "decode_lseek",
    "decode_notify_reply",
    "decode_open",
    "decode_opendir",
    "decode_poll",
    "decode_removemapping",
    "decode_setupmapping",
    "decode_write",
    "fsyncing",
    "locking",
    "reading",
    "releasing",
]

_INIT_EXT: Final = int(InitFlags.FUSE_INIT_EXT)


_open_in = si.FuseOpenIn.CODEC


def decode_open(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("OPEN", start, end, 8)
    flags, open_flags = _open_in.unpack_from(buf, start)
    return req.Open(flags, open_flags)


def decode_opendir(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("OPENDIR", start, end, 8)
    flags, open_flags = _open_in.unpack_from(buf, start)
    return req.Opendir(flags, open_flags)


_read_in = si.FuseReadIn.CODEC


def reading(what: str, message: type[req.Read]) -> Decoder:
    """The decoder of READ and its kin."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 40:
            raise wrong_size(what, start, end, 40)
        fh, offset, size, read_flags, owner, flags, _ = _read_in.unpack_from(buf, start)
        return message(fh, offset, size, read_flags, owner, flags)

    return decode


_write_in = si.FuseWriteIn.CODEC


def decode_write(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 40:
        raise too_short("WRITE", start, end, 40)
    fh, offset, size, write_flags, owner, flags, _ = _write_in.unpack_from(buf, start)
    start += 40
    if end - start != size:
        raise ProtocolError(f"WRITE: {size} bytes are announced, {end - start} are there")
    return req.Write(fh, offset, buf[start:end], write_flags, owner, flags)


_flush_in = si.FuseFlushIn.CODEC


def decode_flush(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise wrong_size("FLUSH", start, end, 24)
    fh, _, _, owner = _flush_in.unpack_from(buf, start)
    return req.Flush(fh, owner)


_release_in = si.FuseReleaseIn.CODEC


def releasing(what: str, message: type[req.Release]) -> Decoder:
    """The decoder of RELEASE and RELEASEDIR."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 24:
            raise wrong_size(what, start, end, 24)
        return message(*_release_in.unpack_from(buf, start))

    return decode


_fsync_in = si.FuseFsyncIn.CODEC


def fsyncing(what: str, message: type[req.Fsync]) -> Decoder:
    """The decoder of FSYNC and FSYNCDIR."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 16:
            raise wrong_size(what, start, end, 16)
        fh, flags, _ = _fsync_in.unpack_from(buf, start)
        return message(fh, flags)

    return decode


def decode_lseek(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise wrong_size("LSEEK", start, end, 24)
    fh, offset, whence, _ = LSEEK_IN.unpack_from(buf, start)
    return req.Lseek(fh, offset, whence)


_fallocate_in = si.FuseFallocateIn.CODEC


def decode_fallocate(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 32:
        raise wrong_size("FALLOCATE", start, end, 32)
    fh, offset, length, mode, _ = _fallocate_in.unpack_from(buf, start)
    return req.Fallocate(fh, offset, length, mode)


_copy_file_range_in = si.FuseCopyFileRangeIn.CODEC


def decode_copy_file_range(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 56:
        raise wrong_size("COPY_FILE_RANGE", start, end, 56)
    return req.CopyFileRange(*_copy_file_range_in.unpack_from(buf, start))


_bmap_in = si.FuseBmapIn.CODEC


def decode_bmap(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise wrong_size("BMAP", start, end, 16)
    block, blocksize, _ = _bmap_in.unpack_from(buf, start)
    return req.Bmap(block, blocksize)


_ioctl_in = si.FuseIoctlIn.CODEC


def decode_ioctl(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 32:
        raise too_short("IOCTL", start, end, 32)
    fh, flags, cmd, arg, in_size, out_size = _ioctl_in.unpack_from(buf, start)
    start += 32
    if end - start != in_size:
        raise ProtocolError(f"IOCTL: {in_size} bytes are announced, {end - start} are there")
    return req.Ioctl(fh, flags, cmd, arg, buf[start:end], out_size)


_poll_in = si.FusePollIn.CODEC


def decode_poll(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise wrong_size("POLL", start, end, 24)
    return req.Poll(*_poll_in.unpack_from(buf, start))


_setupmapping_in = si.FuseSetupmappingIn.CODEC


def decode_setupmapping(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 40:
        raise wrong_size("SETUPMAPPING", start, end, 40)
    return req.SetupMapping(*_setupmapping_in.unpack_from(buf, start))


_removemapping_in = si.FuseRemovemappingIn.CODEC
_removemapping_one = si.FuseRemovemappingOne.CODEC


def decode_removemapping(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 4:
        raise too_short("REMOVEMAPPING", start, end, 4)
    (count,) = _removemapping_in.unpack_from(buf, start)
    if end - start != 4 + 16 * count:
        raise ProtocolError(
            f"REMOVEMAPPING: {count} items are announced, {end - start - 4} bytes are left for them"
        )
    return req.RemoveMapping(tuple(_removemapping_one.iter_unpack(buf[start + 4 : end])))


_lk_in = si.FuseLkIn.CODEC


def locking(what: str, message: type[req.Getlk]) -> Decoder:
    """The decoder of GETLK, SETLK and SETLKW."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 48:
            raise wrong_size(what, start, end, 48)
        fh, owner, first, last, kind, pid, lk_flags, _ = _lk_in.unpack_from(buf, start)
        return message(fh, owner, first, last, kind, pid, lk_flags)

    return decode


_init_in = si.FuseInitIn.CODEC


def decode_init(buf: memoryview, start: int, end: int) -> req.Request:
    size = end - start
    # A kernel from before 7.36 sends the first four numbers; a later one may add to the end.
    if size != INIT_COMPAT_IN.size and size < _init_in.size:
        raise ProtocolError(f"INIT: the body has {size} bytes, neither 16 nor at least 64")
    major, minor, max_readahead, flags = INIT_COMPAT_IN.unpack_from(buf, start)
    if size >= _init_in.size and flags & _INIT_EXT:
        flags |= _init_in.unpack_from(buf, start)[4] << 32
    return req.Init(major, minor, max_readahead, flags)


_interrupt_in = si.FuseInterruptIn.CODEC


def decode_interrupt(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("INTERRUPT", start, end, 8)
    return req.Interrupt(_interrupt_in.unpack_from(buf, start)[0])


_retrieve_in = si.FuseNotifyRetrieveIn.CODEC


def decode_notify_reply(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 40:
        raise too_short("NOTIFY_REPLY", start, end, 40)
    _, offset, size, *_ = _retrieve_in.unpack_from(buf, start)
    start += 40
    if end - start != size:
        raise ProtocolError(f"NOTIFY_REPLY: {size} bytes are announced, {end - start} are there")
    return req.NotifyReply(offset, buf[start:end])


_cuse_init_in = si.CuseInitIn.CODEC


def decode_cuse_init(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise wrong_size("CUSE_INIT", start, end, 16)
    major, minor, _, flags = _cuse_init_in.unpack_from(buf, start)
    return req.CuseInit(major, minor, flags)

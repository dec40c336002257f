# SPDX-License-Identifier: Apache-2.0
"""From bytes to requests.

:data:`DECODERS` maps an opcode to the function that reads its body: ``decoder(buf, start, end)``, where the body is
``buf[start:end]`` without header and extensions, and ``0 <= start <= end <= len(buf)``. A transport that has the header already calls it
directly; :func:`decode_request` does the whole. Either raises :class:`ProtocolError` and nothing else.

A body has exactly the size of its structure: the kernel sends what the agreed minor version has, and nothing more.

Benchmark: ``benchmarks/wire.py``; the repeated code is what makes a LOOKUP cost less than a microsecond.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from instar.wire.fuse import _requests as req
from instar.wire.fuse import _structs_in as si
from instar.wire.fuse._codecs import INIT_COMPAT_IN, LSEEK_IN, NS, SETATTR_IN, SETXATTR_COMPAT_IN
from instar.wire.fuse._constants import (
    FUSE_COMPAT_SETXATTR_IN_SIZE,
    GetattrFlags,
    InitFlags,
    Opcode,
)
from instar.wire.fuse._errors import ProtocolError
from instar.wire.fuse._extensions import NO_EXTENSIONS, decode_extensions
from instar.wire.fuse._names import ENCODING, ERRORS, decode_name, decode_text, find_nul
from instar.wire.fuse._replies import InitOut
from instar.wire.fuse._structs_common import FuseInHeader

__all__ = ["DECODERS", "IN_HEADER", "IN_HEADER_SIZE", "Decoder", "decode_request", "decoders"]

Decoder: TypeAlias = Callable[[memoryview, int, int], req.Request]

#: ``IN_HEADER.unpack_from(buf)`` gives (len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding).
IN_HEADER: Final[struct.Struct] = FuseInHeader.CODEC
IN_HEADER_SIZE: Final = FuseInHeader.SIZE

_EXTLEN_UNIT: Final = 8
_GETATTR_FH: Final = int(GetattrFlags.FUSE_GETATTR_FH)
_INIT_EXT: Final = int(InitFlags.FUSE_INIT_EXT)
_SETXATTR_EXT: Final = int(InitFlags.FUSE_SETXATTR_EXT)


def _wrong_size(what: str, start: int, end: int, size: int) -> ProtocolError:
    return ProtocolError(f"{what}: the body has {end - start} bytes, not {size}")


def _too_short(what: str, start: int, end: int, size: int) -> ProtocolError:
    return ProtocolError(f"{what}: the body has {end - start} bytes, its structure alone {size}")


# ---------------------------------------------------------------------------------------- nodes and names


def _lookup(buf: memoryview, start: int, end: int) -> req.Request:
    # decode_name unrolled: this is the request that comes most often
    if end - start < 2 or buf[end - 1]:
        raise ProtocolError("LOOKUP: the name is empty or does not end with a NUL")
    name = str(buf[start : end - 1], ENCODING, ERRORS)
    if "/" in name or "\0" in name:
        raise ProtocolError(f"LOOKUP: {name!r} is no name of a directory entry")
    return req.Lookup(name)


_forget_in = si.FuseForgetIn.CODEC


def _forget(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("FORGET", start, end, 8)
    return req.Forget(_forget_in.unpack_from(buf, start)[0])


_batch_forget_in = si.FuseBatchForgetIn.CODEC
_forget_one = si.FuseForgetOne.CODEC


def _batch_forget(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise _too_short("BATCH_FORGET", start, end, 8)
    count = _batch_forget_in.unpack_from(buf, start)[0]
    if end - start != 8 + 16 * count:
        raise ProtocolError(
            f"BATCH_FORGET: {count} items are announced, {end - start - 8} bytes are left for them"
        )
    return req.BatchForget(tuple(_forget_one.iter_unpack(buf[start + 8 : end])))


_getattr_in = si.FuseGetattrIn.CODEC


def _getattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise _wrong_size("GETATTR", start, end, 16)
    flags, _, fh = _getattr_in.unpack_from(buf, start)
    return req.Getattr(fh if flags & _GETATTR_FH else None)


def _setattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 88:
        raise _wrong_size("SETATTR", start, end, 88)
    (
        valid, _, fh, size, owner, asec, msec, csec, ansec, mnsec, cnsec, mode, _, uid, gid, _,
    ) = SETATTR_IN.unpack_from(buf, start)  # fmt: skip
    if ansec >= NS or mnsec >= NS or cnsec >= NS:
        raise ProtocolError("SETATTR: a time has a second or more of nanoseconds")
    return req.Setattr(
        valid, fh, size, owner, asec * NS + ansec, msec * NS + mnsec, csec * NS + cnsec, mode, uid, gid
    )


_statx_in = si.FuseStatxIn.CODEC


def _statx(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise _wrong_size("STATX", start, end, 24)
    flags, _, fh, sx_flags, sx_mask = _statx_in.unpack_from(buf, start)
    return req.Statx(fh if flags & _GETATTR_FH else None, sx_flags, sx_mask)


def _symlink(buf: memoryview, start: int, end: int) -> req.Request:
    middle = find_nul("SYMLINK", buf, start, end)
    return req.Symlink(decode_name("SYMLINK", buf, start, middle), decode_text("SYMLINK", buf, middle, end))


_mknod_in = si.FuseMknodIn.CODEC


def _mknod(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise _too_short("MKNOD", start, end, 16)
    mode, rdev, umask, _ = _mknod_in.unpack_from(buf, start)
    return req.Mknod(decode_name("MKNOD", buf, start + 16, end), mode, rdev, umask)


_mkdir_in = si.FuseMkdirIn.CODEC


def _mkdir(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise _too_short("MKDIR", start, end, 8)
    mode, umask = _mkdir_in.unpack_from(buf, start)
    return req.Mkdir(decode_name("MKDIR", buf, start + 8, end), mode, umask)


def _unlink(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Unlink(decode_name("UNLINK", buf, start, end))


def _rmdir(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Rmdir(decode_name("RMDIR", buf, start, end))


_rename_in = si.FuseRenameIn.CODEC
_rename2_in = si.FuseRename2In.CODEC


def _rename(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise _too_short("RENAME", start, end, 8)
    (newdir,) = _rename_in.unpack_from(buf, start)
    middle = find_nul("RENAME", buf, start + 8, end)
    return req.Rename(
        newdir, decode_name("RENAME", buf, start + 8, middle), decode_name("RENAME", buf, middle, end)
    )


def _rename2(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise _too_short("RENAME2", start, end, 16)
    newdir, flags, _ = _rename2_in.unpack_from(buf, start)
    middle = find_nul("RENAME2", buf, start + 16, end)
    return req.Rename(
        newdir,
        decode_name("RENAME2", buf, start + 16, middle),
        decode_name("RENAME2", buf, middle, end),
        flags,
    )


_link_in = si.FuseLinkIn.CODEC


def _link(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise _too_short("LINK", start, end, 8)
    return req.Link(_link_in.unpack_from(buf, start)[0], decode_name("LINK", buf, start + 8, end))


_create_in = si.FuseCreateIn.CODEC


def _create(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise _too_short("CREATE", start, end, 16)
    flags, mode, umask, open_flags = _create_in.unpack_from(buf, start)
    return req.Create(decode_name("CREATE", buf, start + 16, end), flags, mode, umask, open_flags)


def _tmpfile(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise _too_short("TMPFILE", start, end, 16)
    flags, mode, umask, open_flags = _create_in.unpack_from(buf, start)
    decode_text("TMPFILE", buf, start + 16, end)  # the kernel sends "/"; it stands for nothing
    return req.Tmpfile(flags, mode, umask, open_flags)


_access_in = si.FuseAccessIn.CODEC


def _access(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("ACCESS", start, end, 8)
    return req.Access(_access_in.unpack_from(buf, start)[0])


def _syncfs(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("SYNCFS", start, end, 8)
    return req.Syncfs()


def _empty(what: str, message: req.Request) -> Decoder:
    """A decoder for a request without a body; there is one message for all."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if start != end:
            raise _wrong_size(what, start, end, 0)
        return message

    return decode


# --------------------------------------------------------------------------------------------- open files

_open_in = si.FuseOpenIn.CODEC


def _open(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("OPEN", start, end, 8)
    flags, open_flags = _open_in.unpack_from(buf, start)
    return req.Open(flags, open_flags)


def _opendir(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("OPENDIR", start, end, 8)
    flags, open_flags = _open_in.unpack_from(buf, start)
    return req.Opendir(flags, open_flags)


_read_in = si.FuseReadIn.CODEC


def _reading(what: str, message: type[req.Read]) -> Decoder:
    """The decoder of READ and its kin."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 40:
            raise _wrong_size(what, start, end, 40)
        fh, offset, size, read_flags, owner, flags, _ = _read_in.unpack_from(buf, start)
        return message(fh, offset, size, read_flags, owner, flags)

    return decode


_write_in = si.FuseWriteIn.CODEC


def _write(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 40:
        raise _too_short("WRITE", start, end, 40)
    fh, offset, size, write_flags, owner, flags, _ = _write_in.unpack_from(buf, start)
    start += 40
    if end - start != size:
        raise ProtocolError(f"WRITE: {size} bytes are announced, {end - start} are there")
    return req.Write(fh, offset, buf[start:end], write_flags, owner, flags)


_flush_in = si.FuseFlushIn.CODEC


def _flush(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise _wrong_size("FLUSH", start, end, 24)
    fh, _, _, owner = _flush_in.unpack_from(buf, start)
    return req.Flush(fh, owner)


_release_in = si.FuseReleaseIn.CODEC


def _releasing(what: str, message: type[req.Release]) -> Decoder:
    """The decoder of RELEASE and RELEASEDIR."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 24:
            raise _wrong_size(what, start, end, 24)
        return message(*_release_in.unpack_from(buf, start))

    return decode


_fsync_in = si.FuseFsyncIn.CODEC


def _fsyncing(what: str, message: type[req.Fsync]) -> Decoder:
    """The decoder of FSYNC and FSYNCDIR."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 16:
            raise _wrong_size(what, start, end, 16)
        fh, flags, _ = _fsync_in.unpack_from(buf, start)
        return message(fh, flags)

    return decode


def _lseek(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise _wrong_size("LSEEK", start, end, 24)
    fh, offset, whence, _ = LSEEK_IN.unpack_from(buf, start)
    return req.Lseek(fh, offset, whence)


_fallocate_in = si.FuseFallocateIn.CODEC


def _fallocate(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 32:
        raise _wrong_size("FALLOCATE", start, end, 32)
    fh, offset, length, mode, _ = _fallocate_in.unpack_from(buf, start)
    return req.Fallocate(fh, offset, length, mode)


_copy_file_range_in = si.FuseCopyFileRangeIn.CODEC


def _copy_file_range(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 56:
        raise _wrong_size("COPY_FILE_RANGE", start, end, 56)
    return req.CopyFileRange(*_copy_file_range_in.unpack_from(buf, start))


_bmap_in = si.FuseBmapIn.CODEC


def _bmap(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise _wrong_size("BMAP", start, end, 16)
    block, blocksize, _ = _bmap_in.unpack_from(buf, start)
    return req.Bmap(block, blocksize)


_ioctl_in = si.FuseIoctlIn.CODEC


def _ioctl(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 32:
        raise _too_short("IOCTL", start, end, 32)
    fh, flags, cmd, arg, in_size, out_size = _ioctl_in.unpack_from(buf, start)
    start += 32
    if end - start != in_size:
        raise ProtocolError(f"IOCTL: {in_size} bytes are announced, {end - start} are there")
    return req.Ioctl(fh, flags, cmd, arg, buf[start:end], out_size)


_poll_in = si.FusePollIn.CODEC


def _poll(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise _wrong_size("POLL", start, end, 24)
    return req.Poll(*_poll_in.unpack_from(buf, start))


_setupmapping_in = si.FuseSetupmappingIn.CODEC


def _setupmapping(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 40:
        raise _wrong_size("SETUPMAPPING", start, end, 40)
    return req.SetupMapping(*_setupmapping_in.unpack_from(buf, start))


_removemapping_in = si.FuseRemovemappingIn.CODEC
_removemapping_one = si.FuseRemovemappingOne.CODEC


def _removemapping(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 4:
        raise _too_short("REMOVEMAPPING", start, end, 4)
    (count,) = _removemapping_in.unpack_from(buf, start)
    if end - start != 4 + 16 * count:
        raise ProtocolError(
            f"REMOVEMAPPING: {count} items are announced, {end - start - 4} bytes are left for them"
        )
    return req.RemoveMapping(tuple(_removemapping_one.iter_unpack(buf[start + 4 : end])))


# ------------------------------------------------------------------------------ extended attributes, locks

_setxattr_in = si.FuseSetxattrIn.CODEC


def _setxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise _too_short("SETXATTR", start, end, 16)
    size, flags, setxattr_flags, _ = _setxattr_in.unpack_from(buf, start)
    return _setxattr_tail(buf, start + 16, end, size, flags, setxattr_flags)


def _setxattr_8(buf: memoryview, start: int, end: int) -> req.Request:
    head = FUSE_COMPAT_SETXATTR_IN_SIZE
    if end - start < head:
        raise _too_short("SETXATTR", start, end, head)
    size, flags = SETXATTR_COMPAT_IN.unpack_from(buf, start)
    return _setxattr_tail(buf, start + head, end, size, flags, 0)


def _setxattr_tail(
    buf: memoryview, start: int, end: int, size: int, flags: int, setxattr_flags: int
) -> req.Request:
    middle = find_nul("SETXATTR", buf, start, end)
    if end - middle != size:
        raise ProtocolError(f"SETXATTR: a value of {size} bytes is announced, {end - middle} are there")
    name = _xattr_name("SETXATTR", buf, start, middle)
    return req.Setxattr(name, bytes(buf[middle:end]), flags, setxattr_flags)


def _xattr_name(what: str, buf: memoryview, start: int, end: int) -> str:
    name = decode_text(what, buf, start, end)
    if not name:
        raise ProtocolError(f"{what}: the name of the attribute is empty")
    return name


_getxattr_in = si.FuseGetxattrIn.CODEC


def _getxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise _too_short("GETXATTR", start, end, 8)
    size = _getxattr_in.unpack_from(buf, start)[0]
    return req.Getxattr(_xattr_name("GETXATTR", buf, start + 8, end), size)


def _listxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("LISTXATTR", start, end, 8)
    return req.Listxattr(_getxattr_in.unpack_from(buf, start)[0])


def _removexattr(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Removexattr(_xattr_name("REMOVEXATTR", buf, start, end))


_lk_in = si.FuseLkIn.CODEC


def _locking(what: str, message: type[req.Getlk]) -> Decoder:
    """The decoder of GETLK, SETLK and SETLKW."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if end - start != 48:
            raise _wrong_size(what, start, end, 48)
        fh, owner, first, last, kind, pid, lk_flags, _ = _lk_in.unpack_from(buf, start)
        return message(fh, owner, first, last, kind, pid, lk_flags)

    return decode


# --------------------------------------------------------------------------------------- the connection

_init_in = si.FuseInitIn.CODEC


def _init(buf: memoryview, start: int, end: int) -> req.Request:
    size = end - start
    # A kernel from before 7.36 sends the first four numbers; a later one may add to the end.
    if size != INIT_COMPAT_IN.size and size < _init_in.size:
        raise ProtocolError(f"INIT: the body has {size} bytes, neither 16 nor at least 64")
    major, minor, max_readahead, flags = INIT_COMPAT_IN.unpack_from(buf, start)
    if size >= _init_in.size and flags & _INIT_EXT:
        flags |= _init_in.unpack_from(buf, start)[4] << 32
    return req.Init(major, minor, max_readahead, flags)


_interrupt_in = si.FuseInterruptIn.CODEC


def _interrupt(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise _wrong_size("INTERRUPT", start, end, 8)
    return req.Interrupt(_interrupt_in.unpack_from(buf, start)[0])


_retrieve_in = si.FuseNotifyRetrieveIn.CODEC


def _notify_reply(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 40:
        raise _too_short("NOTIFY_REPLY", start, end, 40)
    _, offset, size, *_ = _retrieve_in.unpack_from(buf, start)
    start += 40
    if end - start != size:
        raise ProtocolError(f"NOTIFY_REPLY: {size} bytes are announced, {end - start} are there")
    return req.NotifyReply(offset, buf[start:end])


_cuse_init_in = si.CuseInitIn.CODEC


def _cuse_init(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise _wrong_size("CUSE_INIT", start, end, 16)
    major, minor, _, flags = _cuse_init_in.unpack_from(buf, start)
    return req.CuseInit(major, minor, flags)


#: The decoder of every opcode, for a connection that agreed on FUSE_SETXATTR_EXT.
DECODERS: Final[Mapping[int, Decoder]] = {
    int(opcode): decoder
    for opcode, decoder in (
        (Opcode.FUSE_LOOKUP, _lookup),
        (Opcode.FUSE_FORGET, _forget),
        (Opcode.FUSE_GETATTR, _getattr),
        (Opcode.FUSE_SETATTR, _setattr),
        (Opcode.FUSE_READLINK, _empty("READLINK", req.Readlink())),
        (Opcode.FUSE_SYMLINK, _symlink),
        (Opcode.FUSE_MKNOD, _mknod),
        (Opcode.FUSE_MKDIR, _mkdir),
        (Opcode.FUSE_UNLINK, _unlink),
        (Opcode.FUSE_RMDIR, _rmdir),
        (Opcode.FUSE_RENAME, _rename),
        (Opcode.FUSE_LINK, _link),
        (Opcode.FUSE_OPEN, _open),
        (Opcode.FUSE_READ, _reading("READ", req.Read)),
        (Opcode.FUSE_WRITE, _write),
        (Opcode.FUSE_STATFS, _empty("STATFS", req.Statfs())),
        (Opcode.FUSE_RELEASE, _releasing("RELEASE", req.Release)),
        (Opcode.FUSE_FSYNC, _fsyncing("FSYNC", req.Fsync)),
        (Opcode.FUSE_SETXATTR, _setxattr),
        (Opcode.FUSE_GETXATTR, _getxattr),
        (Opcode.FUSE_LISTXATTR, _listxattr),
        (Opcode.FUSE_REMOVEXATTR, _removexattr),
        (Opcode.FUSE_FLUSH, _flush),
        (Opcode.FUSE_INIT, _init),
        (Opcode.FUSE_OPENDIR, _opendir),
        (Opcode.FUSE_READDIR, _reading("READDIR", req.Readdir)),
        (Opcode.FUSE_RELEASEDIR, _releasing("RELEASEDIR", req.Releasedir)),
        (Opcode.FUSE_FSYNCDIR, _fsyncing("FSYNCDIR", req.Fsyncdir)),
        (Opcode.FUSE_GETLK, _locking("GETLK", req.Getlk)),
        (Opcode.FUSE_SETLK, _locking("SETLK", req.Setlk)),
        (Opcode.FUSE_SETLKW, _locking("SETLKW", req.Setlkw)),
        (Opcode.FUSE_ACCESS, _access),
        (Opcode.FUSE_CREATE, _create),
        (Opcode.FUSE_INTERRUPT, _interrupt),
        (Opcode.FUSE_BMAP, _bmap),
        (Opcode.FUSE_DESTROY, _empty("DESTROY", req.Destroy())),
        (Opcode.FUSE_IOCTL, _ioctl),
        (Opcode.FUSE_POLL, _poll),
        (Opcode.FUSE_NOTIFY_REPLY, _notify_reply),
        (Opcode.FUSE_BATCH_FORGET, _batch_forget),
        (Opcode.FUSE_FALLOCATE, _fallocate),
        (Opcode.FUSE_READDIRPLUS, _reading("READDIRPLUS", req.Readdirplus)),
        (Opcode.FUSE_RENAME2, _rename2),
        (Opcode.FUSE_LSEEK, _lseek),
        (Opcode.FUSE_COPY_FILE_RANGE, _copy_file_range),
        (Opcode.FUSE_SETUPMAPPING, _setupmapping),
        (Opcode.FUSE_REMOVEMAPPING, _removemapping),
        (Opcode.FUSE_SYNCFS, _syncfs),
        (Opcode.FUSE_TMPFILE, _tmpfile),
        (Opcode.FUSE_STATX, _statx),
        (Opcode.FUSE_COPY_FILE_RANGE_64, _copy_file_range),
        (Opcode.CUSE_INIT, _cuse_init),
    )
}

_WITHOUT_SETXATTR_EXT: Final[Mapping[int, Decoder]] = {**DECODERS, int(Opcode.FUSE_SETXATTR): _setxattr_8}


def decoders(agreed: InitOut) -> Mapping[int, Decoder]:
    """The decoders for a connection that agreed on this.

    All requests but one look alike in every version from 7.31 to 7.45: SETXATTR has a longer head with FUSE_SETXATTR_EXT.
    """
    return DECODERS if agreed.flags & _SETXATTR_EXT else _WITHOUT_SETXATTR_EXT


def decode_request(
    buf: memoryview | bytes | bytearray, length: int | None = None, *, flags: int = _SETXATTR_EXT
) -> tuple[req.Header, req.Request]:
    """Read the request in the first ``length`` bytes of ``buf`` (all of it by default), header and extensions included.

    Args:
        buf: what was read from the device.
        length: how many bytes that read returned.
        flags: what the connection agreed on (:class:`InitFlags`).

    Raises:
        ProtocolError: the bytes are no request: lengths contradict each other, the opcode is unknown, the body has not the
            size of its structure, a name is no name.
    """
    if not isinstance(buf, memoryview) or buf.format != "B" or buf.ndim != 1:
        buf = memoryview(buf).cast("B")
    end = len(buf) if length is None else length
    if not IN_HEADER_SIZE <= end <= len(buf):
        raise ProtocolError(f"a request of {end} bytes in a buffer of {len(buf)} has no room for its header")
    size, opcode, unique, nodeid, uid, gid, pid, extlen, _ = IN_HEADER.unpack_from(buf, 0)
    if size != end:
        raise ProtocolError(f"a request says that it has {size} bytes, {end} are there")
    decoder = (DECODERS if flags & _SETXATTR_EXT else _WITHOUT_SETXATTR_EXT).get(opcode)
    if decoder is None:
        raise ProtocolError(f"opcode {opcode} is not known")
    extensions = NO_EXTENSIONS
    if extlen:
        extlen *= _EXTLEN_UNIT
        if extlen > end - IN_HEADER_SIZE:
            raise ProtocolError(f"a request of {end} bytes says that {extlen} of them are extensions")
        extensions = decode_extensions(buf, end - extlen, end)
        end -= extlen
    return req.Header(opcode, unique, nodeid, uid, gid, pid, extensions), decoder(buf, IN_HEADER_SIZE, end)

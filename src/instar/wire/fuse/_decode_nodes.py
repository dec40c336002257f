# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests about nodes, names and extended attributes. :mod:`instar.wire.fuse._decode` has the table."""

from __future__ import annotations

from typing import Final

from instar.wire.fuse import _requests as req
from instar.wire.fuse import _structs_in as si
from instar.wire.fuse._codecs import NS, SETATTR_IN, SETXATTR_COMPAT_IN
from instar.wire.fuse._constants import FUSE_COMPAT_SETXATTR_IN_SIZE, GetattrFlags
from instar.wire.fuse._errors import ProtocolError, too_short, wrong_size
from instar.wire.fuse._names import ENCODING, ERRORS, decode_name, decode_text, find_nul
from instar.wire.fuse._requests import Decoder

__all__ = [
    "decode_access",
    "decode_batch_forget",
    "decode_create",
    "decode_forget",
    "decode_getattr",
    "decode_getxattr",
    "decode_link",
    "decode_listxattr",
    "decode_lookup",
    "decode_mkdir",
    "decode_mknod",
    "decode_removexattr",
    "decode_rename",
    "decode_rename2",
    "decode_rmdir",
    "decode_setattr",
    "decode_setxattr",
    "decode_setxattr_8",
    "decode_statx",
    "decode_symlink",
    "decode_syncfs",
    "decode_tmpfile",
    "decode_unlink",
    "empty",
]

_GETATTR_FH: Final = int(GetattrFlags.FUSE_GETATTR_FH)


def decode_lookup(buf: memoryview, start: int, end: int) -> req.Request:
    # decode_name unrolled: this is the request that comes most often
    if end - start < 2 or buf[end - 1]:
        raise ProtocolError("LOOKUP: the name is empty or does not end with a NUL")
    name = str(buf[start : end - 1], ENCODING, ERRORS)
    if "/" in name or "\0" in name:
        raise ProtocolError(f"LOOKUP: {name!r} is no name of a directory entry")
    return req.Lookup(name)


_forget_in = si.FuseForgetIn.CODEC


def decode_forget(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("FORGET", start, end, 8)
    return req.Forget(_forget_in.unpack_from(buf, start)[0])


_batch_forget_in = si.FuseBatchForgetIn.CODEC
_forget_one = si.FuseForgetOne.CODEC


def decode_batch_forget(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise too_short("BATCH_FORGET", start, end, 8)
    count = _batch_forget_in.unpack_from(buf, start)[0]
    if end - start != 8 + 16 * count:
        raise ProtocolError(
            f"BATCH_FORGET: {count} items are announced, {end - start - 8} bytes are left for them"
        )
    return req.BatchForget(tuple(_forget_one.iter_unpack(buf[start + 8 : end])))


_getattr_in = si.FuseGetattrIn.CODEC


def decode_getattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 16:
        raise wrong_size("GETATTR", start, end, 16)
    flags, _, fh = _getattr_in.unpack_from(buf, start)
    return req.Getattr(fh if flags & _GETATTR_FH else None)


def decode_setattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 88:
        raise wrong_size("SETATTR", start, end, 88)
    (
        valid, _, fh, size, owner, asec, msec, csec, ansec, mnsec, cnsec, mode, _, uid, gid, _,
    ) = SETATTR_IN.unpack_from(buf, start)  # fmt: skip
    if ansec >= NS or mnsec >= NS or cnsec >= NS:
        raise ProtocolError("SETATTR: a time has a second or more of nanoseconds")
    return req.Setattr(
        valid, fh, size, owner, asec * NS + ansec, msec * NS + mnsec, csec * NS + cnsec, mode, uid, gid
    )


_statx_in = si.FuseStatxIn.CODEC


def decode_statx(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 24:
        raise wrong_size("STATX", start, end, 24)
    flags, _, fh, sx_flags, sx_mask = _statx_in.unpack_from(buf, start)
    return req.Statx(fh if flags & _GETATTR_FH else None, sx_flags, sx_mask)


def decode_symlink(buf: memoryview, start: int, end: int) -> req.Request:
    middle = find_nul("SYMLINK", buf, start, end)
    return req.Symlink(decode_name("SYMLINK", buf, start, middle), decode_text("SYMLINK", buf, middle, end))


_mknod_in = si.FuseMknodIn.CODEC


def decode_mknod(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise too_short("MKNOD", start, end, 16)
    mode, rdev, umask, _ = _mknod_in.unpack_from(buf, start)
    return req.Mknod(decode_name("MKNOD", buf, start + 16, end), mode, rdev, umask)


_mkdir_in = si.FuseMkdirIn.CODEC


def decode_mkdir(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise too_short("MKDIR", start, end, 8)
    mode, umask = _mkdir_in.unpack_from(buf, start)
    return req.Mkdir(decode_name("MKDIR", buf, start + 8, end), mode, umask)


def decode_unlink(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Unlink(decode_name("UNLINK", buf, start, end))


def decode_rmdir(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Rmdir(decode_name("RMDIR", buf, start, end))


_rename_in = si.FuseRenameIn.CODEC
_rename2_in = si.FuseRename2In.CODEC


def decode_rename(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise too_short("RENAME", start, end, 8)
    (newdir,) = _rename_in.unpack_from(buf, start)
    middle = find_nul("RENAME", buf, start + 8, end)
    return req.Rename(
        newdir, decode_name("RENAME", buf, start + 8, middle), decode_name("RENAME", buf, middle, end)
    )


def decode_rename2(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise too_short("RENAME2", start, end, 16)
    newdir, flags, _ = _rename2_in.unpack_from(buf, start)
    middle = find_nul("RENAME2", buf, start + 16, end)
    return req.Rename(
        newdir,
        decode_name("RENAME2", buf, start + 16, middle),
        decode_name("RENAME2", buf, middle, end),
        flags,
    )


_link_in = si.FuseLinkIn.CODEC


def decode_link(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise too_short("LINK", start, end, 8)
    return req.Link(_link_in.unpack_from(buf, start)[0], decode_name("LINK", buf, start + 8, end))


_create_in = si.FuseCreateIn.CODEC


def decode_create(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise too_short("CREATE", start, end, 16)
    flags, mode, umask, open_flags = _create_in.unpack_from(buf, start)
    return req.Create(decode_name("CREATE", buf, start + 16, end), flags, mode, umask, open_flags)


def decode_tmpfile(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise too_short("TMPFILE", start, end, 16)
    flags, mode, umask, open_flags = _create_in.unpack_from(buf, start)
    decode_text("TMPFILE", buf, start + 16, end)  # the kernel sends "/"; it stands for nothing
    return req.Tmpfile(flags, mode, umask, open_flags)


_access_in = si.FuseAccessIn.CODEC


def decode_access(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("ACCESS", start, end, 8)
    return req.Access(_access_in.unpack_from(buf, start)[0])


def decode_syncfs(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("SYNCFS", start, end, 8)
    return req.Syncfs()


def empty(what: str, message: req.Request) -> Decoder:
    """A decoder for a request without a body; there is one message for all."""

    def decode(buf: memoryview, start: int, end: int) -> req.Request:
        if start != end:
            raise wrong_size(what, start, end, 0)
        return message

    return decode


_setxattr_in = si.FuseSetxattrIn.CODEC


def decode_setxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 16:
        raise too_short("SETXATTR", start, end, 16)
    size, flags, setxattr_flags, _ = _setxattr_in.unpack_from(buf, start)
    return _setxattr_tail(buf, start + 16, end, size, flags, setxattr_flags)


def decode_setxattr_8(buf: memoryview, start: int, end: int) -> req.Request:
    head = FUSE_COMPAT_SETXATTR_IN_SIZE
    if end - start < head:
        raise too_short("SETXATTR", start, end, head)
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


def decode_getxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start < 8:
        raise too_short("GETXATTR", start, end, 8)
    size = _getxattr_in.unpack_from(buf, start)[0]
    return req.Getxattr(_xattr_name("GETXATTR", buf, start + 8, end), size)


def decode_listxattr(buf: memoryview, start: int, end: int) -> req.Request:
    if end - start != 8:
        raise wrong_size("LISTXATTR", start, end, 8)
    return req.Listxattr(_getxattr_in.unpack_from(buf, start)[0])


def decode_removexattr(buf: memoryview, start: int, end: int) -> req.Request:
    return req.Removexattr(_xattr_name("REMOVEXATTR", buf, start, end))

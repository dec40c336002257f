# SPDX-License-Identifier: Apache-2.0
"""From requests to bytes, laid out as the kernel lays them out.

A server never needs this. The door without a kernel, tests and traces do: what :func:`decode_request` reads from these bytes is the message
that went in.

Source: ``fs/fuse/dir.c``, ``file.c``, ``xattr.c`` and ``inode.c`` of Linux 6.18, where requests are put together.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from instar.wire.fuse import _requests as req
from instar.wire.fuse import _structs_in as si
from instar.wire.fuse._codecs import INIT_COMPAT_IN, LSEEK_IN, NS, SETATTR_IN, SETXATTR_COMPAT_IN
from instar.wire.fuse._constants import GetattrFlags, InitFlags, Opcode
from instar.wire.fuse._decode import IN_HEADER, IN_HEADER_SIZE
from instar.wire.fuse._errors import EncodeError
from instar.wire.fuse._extensions import NO_EXTENSIONS, encode_extensions
from instar.wire.fuse._names import encode_name, encode_text
from instar.wire.fuse._opcodes import OPCODES

__all__ = ["encode_request"]

# Any: the message's class goes with the opcode, which encode_request has checked.
_Encoder: TypeAlias = Callable[[Any], bytes]

_EXTLEN_UNIT: Final = 8
_LOW: Final = 0xFFFF_FFFF
_INIT_EXT: Final = int(InitFlags.FUSE_INIT_EXT)
_INIT_EXT_MINOR: Final = 36
_SETXATTR_EXT: Final = int(InitFlags.FUSE_SETXATTR_EXT)
_GETATTR_FH: Final = int(GetattrFlags.FUSE_GETATTR_FH)
#: The name that the kernel gives a TMPFILE.
_TMPFILE_NAME: Final = b"/\0"


def _pairs(codec: struct.Struct, items: tuple[tuple[int, int], ...]) -> bytes:
    return b"".join(codec.pack(*item) for item in items)


def _setattr(m: req.Setattr) -> bytes:
    atime, atimensec = divmod(m.atime, NS)
    mtime, mtimensec = divmod(m.mtime, NS)
    ctime, ctimensec = divmod(m.ctime, NS)
    return SETATTR_IN.pack(
        m.valid, 0, m.fh, m.size, m.lock_owner, atime, mtime, ctime, atimensec, mtimensec, ctimensec,
        m.mode, 0, m.uid, m.gid, 0,
    )  # fmt: skip


def _getattr(m: req.Getattr) -> bytes:
    return si.FuseGetattrIn.CODEC.pack(0 if m.fh is None else _GETATTR_FH, 0, m.fh or 0)


def _statx(m: req.Statx) -> bytes:
    return si.FuseStatxIn.CODEC.pack(0 if m.fh is None else _GETATTR_FH, 0, m.fh or 0, m.sx_flags, m.sx_mask)


def _rename(m: req.Rename) -> bytes:
    if m.flags:
        raise EncodeError("RENAME has no flags: RENAME2 has")
    return (
        si.FuseRenameIn.CODEC.pack(m.newdir)
        + encode_name("RENAME", m.name)
        + encode_name("RENAME", m.newname)
    )


def _rename2(m: req.Rename) -> bytes:
    head = si.FuseRename2In.CODEC.pack(m.newdir, m.flags, 0)
    return head + encode_name("RENAME2", m.name) + encode_name("RENAME2", m.newname)


def _xattr_name(what: str, name: str) -> bytes:
    raw = encode_text(what, name)
    if len(raw) == 1:
        raise EncodeError(f"{what}: the name of an attribute is not empty")
    return raw


def _setxattr(m: req.Setxattr) -> bytes:
    head = si.FuseSetxattrIn.CODEC.pack(len(m.value), m.flags, m.setxattr_flags, 0)
    return head + _xattr_name("SETXATTR", m.name) + m.value


def _setxattr_8(m: req.Setxattr) -> bytes:
    if m.setxattr_flags:
        raise EncodeError("SETXATTR: setxattr_flags need FUSE_SETXATTR_EXT")
    return SETXATTR_COMPAT_IN.pack(len(m.value), m.flags) + _xattr_name("SETXATTR", m.name) + m.value


def _reading(m: req.Read) -> bytes:
    return si.FuseReadIn.CODEC.pack(m.fh, m.offset, m.size, m.read_flags, m.lock_owner, m.flags, 0)


def _write(m: req.Write) -> bytes:
    data = bytes(m.data)
    return (
        si.FuseWriteIn.CODEC.pack(m.fh, m.offset, len(data), m.write_flags, m.lock_owner, m.flags, 0) + data
    )


def _ioctl(m: req.Ioctl) -> bytes:
    data = bytes(m.data)
    return si.FuseIoctlIn.CODEC.pack(m.fh, m.flags, m.cmd, m.arg, len(data), m.out_size) + data


def _notify_reply(m: req.NotifyReply) -> bytes:
    data = bytes(m.data)
    return si.FuseNotifyRetrieveIn.CODEC.pack(0, m.offset, len(data), 0, 0, 0) + data


def _init(m: req.Init) -> bytes:
    """As a kernel of that minor version sends it: 16 bytes below 7.36, 64 from there on."""
    flags2 = m.flags >> 32
    if flags2 and not m.flags & _INIT_EXT:
        raise EncodeError("INIT: flags above bit 31 need FUSE_INIT_EXT")
    if m.minor < _INIT_EXT_MINOR and not flags2:
        return INIT_COMPAT_IN.pack(m.major, m.minor, m.max_readahead, m.flags)
    return si.FuseInitIn.CODEC.pack(m.major, m.minor, m.max_readahead, m.flags & _LOW, flags2, *(0,) * 11)


def _locking(m: req.Getlk) -> bytes:
    return si.FuseLkIn.CODEC.pack(m.fh, m.owner, m.start, m.end, m.type, m.pid, m.lk_flags, 0)


def _open(m: req.Open) -> bytes:
    return si.FuseOpenIn.CODEC.pack(m.flags, m.open_flags)


def _release(m: req.Release) -> bytes:
    return si.FuseReleaseIn.CODEC.pack(m.fh, m.flags, m.release_flags, m.lock_owner)


def _fsync(m: req.Fsync) -> bytes:
    return si.FuseFsyncIn.CODEC.pack(m.fh, m.fsync_flags, 0)


def _copy_file_range(m: req.CopyFileRange) -> bytes:
    return si.FuseCopyFileRangeIn.CODEC.pack(
        m.fh_in, m.off_in, m.nodeid_out, m.fh_out, m.off_out, m.length, m.flags
    )


def _nothing(m: req.Request) -> bytes:
    return b""


_ENCODERS: Final[dict[Opcode, _Encoder]] = {
    Opcode.FUSE_LOOKUP: lambda m: encode_name("LOOKUP", m.name),
    Opcode.FUSE_FORGET: lambda m: si.FuseForgetIn.CODEC.pack(m.nlookup),
    Opcode.FUSE_GETATTR: _getattr,
    Opcode.FUSE_SETATTR: _setattr,
    Opcode.FUSE_READLINK: _nothing,
    Opcode.FUSE_SYMLINK: lambda m: encode_name("SYMLINK", m.name) + encode_text("SYMLINK", m.target),
    Opcode.FUSE_MKNOD: lambda m: (
        si.FuseMknodIn.CODEC.pack(m.mode, m.rdev, m.umask, 0) + encode_name("MKNOD", m.name)
    ),
    Opcode.FUSE_MKDIR: lambda m: si.FuseMkdirIn.CODEC.pack(m.mode, m.umask) + encode_name("MKDIR", m.name),
    Opcode.FUSE_UNLINK: lambda m: encode_name("UNLINK", m.name),
    Opcode.FUSE_RMDIR: lambda m: encode_name("RMDIR", m.name),
    Opcode.FUSE_RENAME: _rename,
    Opcode.FUSE_LINK: lambda m: si.FuseLinkIn.CODEC.pack(m.oldnodeid) + encode_name("LINK", m.newname),
    Opcode.FUSE_OPEN: _open,
    Opcode.FUSE_READ: _reading,
    Opcode.FUSE_WRITE: _write,
    Opcode.FUSE_STATFS: _nothing,
    Opcode.FUSE_RELEASE: _release,
    Opcode.FUSE_FSYNC: _fsync,
    Opcode.FUSE_SETXATTR: _setxattr,
    Opcode.FUSE_GETXATTR: lambda m: si.FuseGetxattrIn.CODEC.pack(m.size, 0) + _xattr_name("GETXATTR", m.name),
    Opcode.FUSE_LISTXATTR: lambda m: si.FuseGetxattrIn.CODEC.pack(m.size, 0),
    Opcode.FUSE_REMOVEXATTR: lambda m: _xattr_name("REMOVEXATTR", m.name),
    Opcode.FUSE_FLUSH: lambda m: si.FuseFlushIn.CODEC.pack(m.fh, 0, 0, m.lock_owner),
    Opcode.FUSE_INIT: _init,
    Opcode.FUSE_OPENDIR: _open,
    Opcode.FUSE_READDIR: _reading,
    Opcode.FUSE_RELEASEDIR: _release,
    Opcode.FUSE_FSYNCDIR: _fsync,
    Opcode.FUSE_GETLK: _locking,
    Opcode.FUSE_SETLK: _locking,
    Opcode.FUSE_SETLKW: _locking,
    Opcode.FUSE_ACCESS: lambda m: si.FuseAccessIn.CODEC.pack(m.mask, 0),
    Opcode.FUSE_CREATE: lambda m: (
        si.FuseCreateIn.CODEC.pack(m.flags, m.mode, m.umask, m.open_flags) + encode_name("CREATE", m.name)
    ),
    Opcode.FUSE_INTERRUPT: lambda m: si.FuseInterruptIn.CODEC.pack(m.unique),
    Opcode.FUSE_BMAP: lambda m: si.FuseBmapIn.CODEC.pack(m.block, m.blocksize, 0),
    Opcode.FUSE_DESTROY: _nothing,
    Opcode.FUSE_IOCTL: _ioctl,
    Opcode.FUSE_POLL: lambda m: si.FusePollIn.CODEC.pack(m.fh, m.kh, m.flags, m.events),
    Opcode.FUSE_NOTIFY_REPLY: _notify_reply,
    Opcode.FUSE_BATCH_FORGET: lambda m: (
        si.FuseBatchForgetIn.CODEC.pack(len(m.items), 0) + _pairs(si.FuseForgetOne.CODEC, m.items)
    ),
    Opcode.FUSE_FALLOCATE: lambda m: si.FuseFallocateIn.CODEC.pack(m.fh, m.offset, m.length, m.mode, 0),
    Opcode.FUSE_READDIRPLUS: _reading,
    Opcode.FUSE_RENAME2: _rename2,
    Opcode.FUSE_LSEEK: lambda m: LSEEK_IN.pack(m.fh, m.offset, m.whence, 0),
    Opcode.FUSE_COPY_FILE_RANGE: _copy_file_range,
    Opcode.FUSE_SETUPMAPPING: lambda m: si.FuseSetupmappingIn.CODEC.pack(
        m.fh, m.foffset, m.length, m.flags, m.moffset
    ),
    Opcode.FUSE_REMOVEMAPPING: lambda m: (
        si.FuseRemovemappingIn.CODEC.pack(len(m.items)) + _pairs(si.FuseRemovemappingOne.CODEC, m.items)
    ),
    Opcode.FUSE_SYNCFS: lambda m: si.FuseSyncfsIn.CODEC.pack(0),
    Opcode.FUSE_TMPFILE: lambda m: (
        si.FuseCreateIn.CODEC.pack(m.flags, m.mode, m.umask, m.open_flags) + _TMPFILE_NAME
    ),
    Opcode.FUSE_STATX: _statx,
    Opcode.FUSE_COPY_FILE_RANGE_64: _copy_file_range,
    Opcode.CUSE_INIT: lambda m: si.CuseInitIn.CODEC.pack(m.major, m.minor, 0, m.flags),
}


def encode_request(header: req.Header, message: req.Request, *, flags: int = _SETXATTR_EXT) -> bytes:
    """The whole request, header and extensions included.

    Args:
        header: its opcode must be one that ``message`` belongs to (:data:`OPCODES`).
        message: the body.
        flags: what the connection agreed on (:class:`InitFlags`).

    Raises:
        EncodeError: the opcode is unknown or another message's, a number is out of range, a name is no name.
    """
    try:
        info = OPCODES[Opcode(header.opcode)]
    except (KeyError, ValueError) as error:
        raise EncodeError(f"opcode {header.opcode} is no request") from error
    if type(message) is not info.request:
        raise EncodeError(f"{info.name} takes a {info.request.__name__}, not a {type(message).__name__}")
    encoder = _ENCODERS[Opcode(header.opcode)]
    if header.opcode == Opcode.FUSE_SETXATTR and not flags & _SETXATTR_EXT:
        encoder = _setxattr_8
    tail = b"" if header.extensions is NO_EXTENSIONS else encode_extensions(header.extensions)
    try:
        body = encoder(message)
        head = IN_HEADER.pack(
            IN_HEADER_SIZE + len(body) + len(tail), header.opcode, header.unique, header.nodeid,
            header.uid, header.gid, header.pid, len(tail) // _EXTLEN_UNIT, 0,
        )  # fmt: skip
    except (struct.error, TypeError) as error:
        raise EncodeError(f"{info.name}: {header!r}, {message!r} does not fit: {error}") from error
    return head + body + tail

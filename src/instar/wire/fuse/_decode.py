# SPDX-License-Identifier: Apache-2.0
"""From bytes to requests.

:data:`DECODERS` maps an opcode to the function that reads its body: ``decoder(buf, start, end)``, where the body is
``buf[start:end]`` without header and extensions, and ``end <= len(buf)``. A transport that has the header already calls it directly;
:func:`decode_request` does the whole. Either raises :class:`ProtocolError` and nothing else.

A body has exactly the size of its structure: the kernel sends what the agreed minor version has, and nothing more.

Benchmark: ``benchmarks/wire.py``; the repeated code in the decoders is what makes a LOOKUP cost less than a microsecond.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from instar.wire.fuse import _decode_files as files
from instar.wire.fuse import _decode_nodes as nodes
from instar.wire.fuse import _requests as req
from instar.wire.fuse._constants import InitFlags, Opcode
from instar.wire.fuse._errors import ProtocolError
from instar.wire.fuse._extensions import NO_EXTENSIONS, decode_extensions
from instar.wire.fuse._replies import InitOut
from instar.wire.fuse._requests import Decoder
from instar.wire.fuse._structs_common import FuseInHeader

__all__ = ["DECODERS", "IN_HEADER", "IN_HEADER_SIZE", "decode_request", "decoders"]

#: ``IN_HEADER.unpack_from(buf)`` gives (len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding).
IN_HEADER: Final[struct.Struct] = FuseInHeader.CODEC
IN_HEADER_SIZE: Final = FuseInHeader.SIZE

_EXTLEN_UNIT: Final = 8
_SETXATTR_EXT: Final = int(InitFlags.FUSE_SETXATTR_EXT)


#: The decoder of every opcode, for a connection that agreed on FUSE_SETXATTR_EXT.
DECODERS: Final[Mapping[int, Decoder]] = {
    int(opcode): decoder
    for opcode, decoder in (
        (Opcode.FUSE_LOOKUP, nodes.decode_lookup),
        (Opcode.FUSE_FORGET, nodes.decode_forget),
        (Opcode.FUSE_GETATTR, nodes.decode_getattr),
        (Opcode.FUSE_SETATTR, nodes.decode_setattr),
        (Opcode.FUSE_READLINK, nodes.empty("READLINK", req.Readlink())),
        (Opcode.FUSE_SYMLINK, nodes.decode_symlink),
        (Opcode.FUSE_MKNOD, nodes.decode_mknod),
        (Opcode.FUSE_MKDIR, nodes.decode_mkdir),
        (Opcode.FUSE_UNLINK, nodes.decode_unlink),
        (Opcode.FUSE_RMDIR, nodes.decode_rmdir),
        (Opcode.FUSE_RENAME, nodes.decode_rename),
        (Opcode.FUSE_LINK, nodes.decode_link),
        (Opcode.FUSE_OPEN, files.decode_open),
        (Opcode.FUSE_READ, files.reading("READ", req.Read)),
        (Opcode.FUSE_WRITE, files.decode_write),
        (Opcode.FUSE_STATFS, nodes.empty("STATFS", req.Statfs())),
        (Opcode.FUSE_RELEASE, files.releasing("RELEASE", req.Release)),
        (Opcode.FUSE_FSYNC, files.fsyncing("FSYNC", req.Fsync)),
        (Opcode.FUSE_SETXATTR, nodes.decode_setxattr),
        (Opcode.FUSE_GETXATTR, nodes.decode_getxattr),
        (Opcode.FUSE_LISTXATTR, nodes.decode_listxattr),
        (Opcode.FUSE_REMOVEXATTR, nodes.decode_removexattr),
        (Opcode.FUSE_FLUSH, files.decode_flush),
        (Opcode.FUSE_INIT, files.decode_init),
        (Opcode.FUSE_OPENDIR, files.decode_opendir),
        (Opcode.FUSE_READDIR, files.reading("READDIR", req.Readdir)),
        (Opcode.FUSE_RELEASEDIR, files.releasing("RELEASEDIR", req.Releasedir)),
        (Opcode.FUSE_FSYNCDIR, files.fsyncing("FSYNCDIR", req.Fsyncdir)),
        (Opcode.FUSE_GETLK, files.locking("GETLK", req.Getlk)),
        (Opcode.FUSE_SETLK, files.locking("SETLK", req.Setlk)),
        (Opcode.FUSE_SETLKW, files.locking("SETLKW", req.Setlkw)),
        (Opcode.FUSE_ACCESS, nodes.decode_access),
        (Opcode.FUSE_CREATE, nodes.decode_create),
        (Opcode.FUSE_INTERRUPT, files.decode_interrupt),
        (Opcode.FUSE_BMAP, files.decode_bmap),
        (Opcode.FUSE_DESTROY, nodes.empty("DESTROY", req.Destroy())),
        (Opcode.FUSE_IOCTL, files.decode_ioctl),
        (Opcode.FUSE_POLL, files.decode_poll),
        (Opcode.FUSE_NOTIFY_REPLY, files.decode_notify_reply),
        (Opcode.FUSE_BATCH_FORGET, nodes.decode_batch_forget),
        (Opcode.FUSE_FALLOCATE, files.decode_fallocate),
        (Opcode.FUSE_READDIRPLUS, files.reading("READDIRPLUS", req.Readdirplus)),
        (Opcode.FUSE_RENAME2, nodes.decode_rename2),
        (Opcode.FUSE_LSEEK, files.decode_lseek),
        (Opcode.FUSE_COPY_FILE_RANGE, files.decode_copy_file_range),
        (Opcode.FUSE_SETUPMAPPING, files.decode_setupmapping),
        (Opcode.FUSE_REMOVEMAPPING, files.decode_removemapping),
        (Opcode.FUSE_SYNCFS, nodes.decode_syncfs),
        (Opcode.FUSE_TMPFILE, nodes.decode_tmpfile),
        (Opcode.FUSE_STATX, nodes.decode_statx),
        (Opcode.FUSE_COPY_FILE_RANGE_64, files.decode_copy_file_range),
        (Opcode.CUSE_INIT, files.decode_cuse_init),
    )
}

_WITHOUT_SETXATTR_EXT: Final[Mapping[int, Decoder]] = {
    **DECODERS,
    int(Opcode.FUSE_SETXATTR): nodes.decode_setxattr_8,
}


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

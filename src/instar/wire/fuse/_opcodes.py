# SPDX-License-Identifier: Apache-2.0
"""The table of opcodes: which message asks, which one answers, and since when.

Documentation and tests are derived from it: an opcode of the header that is not here fails a test.

Source: the change log at the head of ``include/uapi/linux/fuse.h``. What is older than that log counts as 7.1.
"""

from __future__ import annotations

from typing import Final

import msgspec

from instar.wire.fuse import _replies as rep
from instar.wire.fuse import _requests as req
from instar.wire.fuse._constants import Opcode

__all__ = ["OPCODES", "OpcodeInfo", "opcode_name"]


class OpcodeInfo(msgspec.Struct, frozen=True):
    """One opcode.

    Attributes:
        name: as in the header, without ``FUSE_``.
        request: the message that :func:`decode_request` gives.
        replies: the messages that :func:`decode_reply` gives besides :class:`ErrorReply`; the second one where the request
            asked for a size. Empty where the kernel waits for no reply.
        since: the minor version that brought it.
    """

    name: str
    request: type[req.Request]
    replies: tuple[type[rep.Reply], ...]
    since: int

    @property
    def has_reply(self) -> bool:
        """Whether the kernel waits for a reply."""
        return bool(self.replies)

    @property
    def reply(self) -> type[rep.Reply] | None:
        """The usual reply."""
        return self.replies[0] if self.replies else None


def _row(
    opcode: Opcode, since: int, request: type[req.Request], *replies: type[rep.Reply]
) -> tuple[Opcode, OpcodeInfo]:
    return opcode, OpcodeInfo(opcode.name.removeprefix("FUSE_"), request, replies, since)


#: Every opcode that is a request. (The two reserved numbers are none.)
OPCODES: Final[dict[Opcode, OpcodeInfo]] = dict(
    [
        _row(Opcode.FUSE_LOOKUP, 1, req.Lookup, rep.EntryReply),
        _row(Opcode.FUSE_FORGET, 1, req.Forget),
        _row(Opcode.FUSE_GETATTR, 1, req.Getattr, rep.AttrReply),
        _row(Opcode.FUSE_SETATTR, 1, req.Setattr, rep.AttrReply),
        _row(Opcode.FUSE_READLINK, 1, req.Readlink, rep.ReadlinkReply),
        _row(Opcode.FUSE_SYMLINK, 1, req.Symlink, rep.EntryReply),
        _row(Opcode.FUSE_MKNOD, 1, req.Mknod, rep.EntryReply),
        _row(Opcode.FUSE_MKDIR, 1, req.Mkdir, rep.EntryReply),
        _row(Opcode.FUSE_UNLINK, 1, req.Unlink, rep.EmptyReply),
        _row(Opcode.FUSE_RMDIR, 1, req.Rmdir, rep.EmptyReply),
        _row(Opcode.FUSE_RENAME, 1, req.Rename, rep.EmptyReply),
        _row(Opcode.FUSE_LINK, 1, req.Link, rep.EntryReply),
        _row(Opcode.FUSE_OPEN, 1, req.Open, rep.OpenReply),
        _row(Opcode.FUSE_READ, 1, req.Read, rep.DataReply),
        _row(Opcode.FUSE_WRITE, 1, req.Write, rep.WriteReply),
        _row(Opcode.FUSE_STATFS, 1, req.Statfs, rep.StatfsReply),
        _row(Opcode.FUSE_RELEASE, 1, req.Release, rep.EmptyReply),
        _row(Opcode.FUSE_FSYNC, 1, req.Fsync, rep.EmptyReply),
        _row(Opcode.FUSE_SETXATTR, 1, req.Setxattr, rep.EmptyReply),
        _row(Opcode.FUSE_GETXATTR, 1, req.Getxattr, rep.DataReply, rep.SizeReply),
        _row(Opcode.FUSE_LISTXATTR, 1, req.Listxattr, rep.DataReply, rep.SizeReply),
        _row(Opcode.FUSE_REMOVEXATTR, 1, req.Removexattr, rep.EmptyReply),
        _row(Opcode.FUSE_FLUSH, 1, req.Flush, rep.EmptyReply),
        _row(Opcode.FUSE_INIT, 1, req.Init, rep.InitOut),
        _row(Opcode.FUSE_OPENDIR, 1, req.Opendir, rep.OpenReply),
        _row(Opcode.FUSE_READDIR, 1, req.Readdir, rep.ReaddirReply),
        _row(Opcode.FUSE_RELEASEDIR, 1, req.Releasedir, rep.EmptyReply),
        _row(Opcode.FUSE_FSYNCDIR, 2, req.Fsyncdir, rep.EmptyReply),
        _row(Opcode.FUSE_GETLK, 7, req.Getlk, rep.LkReply),
        _row(Opcode.FUSE_SETLK, 7, req.Setlk, rep.EmptyReply),
        _row(Opcode.FUSE_SETLKW, 7, req.Setlkw, rep.EmptyReply),
        _row(Opcode.FUSE_ACCESS, 3, req.Access, rep.EmptyReply),
        _row(Opcode.FUSE_CREATE, 3, req.Create, rep.CreateReply),
        _row(Opcode.FUSE_INTERRUPT, 7, req.Interrupt),
        _row(Opcode.FUSE_BMAP, 8, req.Bmap, rep.BmapReply),
        _row(Opcode.FUSE_DESTROY, 8, req.Destroy, rep.EmptyReply),
        _row(Opcode.FUSE_IOCTL, 11, req.Ioctl, rep.IoctlReply),
        _row(Opcode.FUSE_POLL, 11, req.Poll, rep.PollReply),
        _row(Opcode.FUSE_NOTIFY_REPLY, 15, req.NotifyReply),
        _row(Opcode.FUSE_BATCH_FORGET, 16, req.BatchForget),
        _row(Opcode.FUSE_FALLOCATE, 19, req.Fallocate, rep.EmptyReply),
        _row(Opcode.FUSE_READDIRPLUS, 21, req.Readdirplus, rep.ReaddirplusReply),
        _row(Opcode.FUSE_RENAME2, 23, req.Rename, rep.EmptyReply),
        _row(Opcode.FUSE_LSEEK, 24, req.Lseek, rep.LseekReply),
        _row(Opcode.FUSE_COPY_FILE_RANGE, 28, req.CopyFileRange, rep.WriteReply),
        _row(Opcode.FUSE_SETUPMAPPING, 31, req.SetupMapping, rep.EmptyReply),
        _row(Opcode.FUSE_REMOVEMAPPING, 31, req.RemoveMapping, rep.EmptyReply),
        _row(Opcode.FUSE_SYNCFS, 34, req.Syncfs, rep.EmptyReply),
        _row(Opcode.FUSE_TMPFILE, 37, req.Tmpfile, rep.CreateReply),
        _row(Opcode.FUSE_STATX, 39, req.Statx, rep.StatxReply),
        _row(Opcode.FUSE_COPY_FILE_RANGE_64, 45, req.CopyFileRange, rep.Copy64Reply),
        _row(Opcode.CUSE_INIT, 12, req.CuseInit, rep.CuseInitReply),
    ]
)

_NAMES: Final = {int(opcode): info.name for opcode, info in OPCODES.items()}


def opcode_name(opcode: int) -> str:
    """The name of an opcode without ``FUSE_``, for messages; an unknown one has a name too."""
    return _NAMES.get(opcode) or f"opcode {opcode}"

# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for every message of the FUSE protocol."""

from __future__ import annotations

import os

from hypothesis import strategies as st

from instar.wire import fuse as w
from instar.wire.fuse import Opcode

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
S32 = st.integers(-(2**31), 2**31 - 1)
S64 = st.integers(-(2**63), 2**63 - 1)
NSEC = 1_000_000_000
#: Every time that has a place: seconds of 64 bits, with a sign, and nanoseconds.
TIMES = st.one_of(
    st.integers(-(2**63) * NSEC, (2**63 - 1) * NSEC + NSEC - 1),
    st.integers(-(10**12), 10**12),
    st.sampled_from([0, -1, 1, -NSEC, NSEC - 1, 1_763_000_000 * NSEC + 5]),
)
#: Exact in seconds and nanoseconds, and in a float.
TIMEOUTS = st.one_of(st.integers(0, 2**32 - 1).map(float), st.integers(0, 2**20).map(lambda n: n / 2**9))
DATA = st.binary(max_size=200)


def _text(forbidden, *, min_size=0):
    """Text as the file system has it: any bytes but these, decoded."""
    byte = st.integers(0, 255).filter(lambda value: value not in forbidden)
    plain = st.binary(min_size=min_size, max_size=60).filter(lambda raw: not set(raw) & set(forbidden))
    mixed = st.lists(byte, min_size=min_size, max_size=40).map(bytes)
    common = st.sampled_from([b"a", b"hello.txt", "\u00e9\u4e2d\U0001f600".encode(), b"\xff\xfe", b"x" * 255])
    return st.one_of(plain, mixed, common).map(os.fsdecode)


NAMES = _text(b"\0/", min_size=1).filter(lambda name: name not in {".", ".."})
TEXTS = _text(b"\0")
XATTR_NAMES = _text(b"\0", min_size=1)
PAIRS = st.lists(st.tuples(U64, U64), max_size=8).map(tuple)
FH = st.none() | U64

SECCTX = st.builds(w.SecurityContext, TEXTS, DATA)
EXTENSIONS = st.builds(
    w.Extensions,
    st.none() | st.lists(SECCTX, max_size=4).map(tuple),
    st.lists(U32, max_size=6).map(tuple),
)


def headers(opcode):
    return st.builds(
        w.Header, st.just(int(opcode)), U64, U64, U32, U32, U32, st.just(w.NO_EXTENSIONS) | EXTENSIONS
    )


def _read(cls):
    return st.builds(cls, U64, U64, U32, U32, U64, U32)


def _lk(cls):
    return st.builds(cls, U64, U64, U64, U64, U32, U32, U32)


_INIT = st.one_of(
    st.builds(w.Init, U32, U32, U32, U32),
    st.builds(
        w.Init, st.just(7), st.integers(0, 60), U32, U64.map(lambda n: n | w.InitFlags.FUSE_INIT_EXT.value)
    ),
)
_COPY = st.builds(w.CopyFileRange, U64, U64, U64, U64, U64, U64, U64)

#: A strategy for the message of each opcode.
REQUESTS = {
    Opcode.FUSE_LOOKUP: st.builds(w.Lookup, NAMES | st.sampled_from([".", ".."])),
    Opcode.FUSE_FORGET: st.builds(w.Forget, U64),
    Opcode.FUSE_GETATTR: st.builds(w.Getattr, FH),
    Opcode.FUSE_SETATTR: st.builds(w.Setattr, U32, U64, U64, U64, TIMES, TIMES, TIMES, U32, U32, U32),
    Opcode.FUSE_READLINK: st.just(w.Readlink()),
    Opcode.FUSE_SYMLINK: st.builds(w.Symlink, NAMES, TEXTS),
    Opcode.FUSE_MKNOD: st.builds(w.Mknod, NAMES, U32, U32, U32),
    Opcode.FUSE_MKDIR: st.builds(w.Mkdir, NAMES, U32, U32),
    Opcode.FUSE_UNLINK: st.builds(w.Unlink, NAMES),
    Opcode.FUSE_RMDIR: st.builds(w.Rmdir, NAMES),
    Opcode.FUSE_RENAME: st.builds(w.Rename, U64, NAMES, NAMES),
    Opcode.FUSE_LINK: st.builds(w.Link, U64, NAMES),
    Opcode.FUSE_OPEN: st.builds(w.Open, U32, U32),
    Opcode.FUSE_READ: _read(w.Read),
    Opcode.FUSE_WRITE: st.builds(w.Write, U64, U64, DATA, U32, U64, U32),
    Opcode.FUSE_STATFS: st.just(w.Statfs()),
    Opcode.FUSE_RELEASE: st.builds(w.Release, U64, U32, U32, U64),
    Opcode.FUSE_FSYNC: st.builds(w.Fsync, U64, U32),
    Opcode.FUSE_SETXATTR: st.builds(w.Setxattr, XATTR_NAMES, DATA, U32, U32),
    Opcode.FUSE_GETXATTR: st.builds(w.Getxattr, XATTR_NAMES, U32),
    Opcode.FUSE_LISTXATTR: st.builds(w.Listxattr, U32),
    Opcode.FUSE_REMOVEXATTR: st.builds(w.Removexattr, XATTR_NAMES),
    Opcode.FUSE_FLUSH: st.builds(w.Flush, U64, U64),
    Opcode.FUSE_INIT: _INIT,
    Opcode.FUSE_OPENDIR: st.builds(w.Opendir, U32, U32),
    Opcode.FUSE_READDIR: _read(w.Readdir),
    Opcode.FUSE_RELEASEDIR: st.builds(w.Releasedir, U64, U32, U32, U64),
    Opcode.FUSE_FSYNCDIR: st.builds(w.Fsyncdir, U64, U32),
    Opcode.FUSE_GETLK: _lk(w.Getlk),
    Opcode.FUSE_SETLK: _lk(w.Setlk),
    Opcode.FUSE_SETLKW: _lk(w.Setlkw),
    Opcode.FUSE_ACCESS: st.builds(w.Access, U32),
    Opcode.FUSE_CREATE: st.builds(w.Create, NAMES, U32, U32, U32, U32),
    Opcode.FUSE_INTERRUPT: st.builds(w.Interrupt, U64),
    Opcode.FUSE_BMAP: st.builds(w.Bmap, U64, U32),
    Opcode.FUSE_DESTROY: st.just(w.Destroy()),
    Opcode.FUSE_IOCTL: st.builds(w.Ioctl, U64, U32, U32, U64, DATA, U32),
    Opcode.FUSE_POLL: st.builds(w.Poll, U64, U64, U32, U32),
    Opcode.FUSE_NOTIFY_REPLY: st.builds(w.NotifyReply, U64, DATA),
    Opcode.FUSE_BATCH_FORGET: st.builds(w.BatchForget, PAIRS),
    Opcode.FUSE_FALLOCATE: st.builds(w.Fallocate, U64, U64, U64, U32),
    Opcode.FUSE_READDIRPLUS: _read(w.Readdirplus),
    Opcode.FUSE_RENAME2: st.builds(w.Rename, U64, NAMES, NAMES, U32),
    Opcode.FUSE_LSEEK: st.builds(w.Lseek, U64, S64, U32),
    Opcode.FUSE_COPY_FILE_RANGE: _COPY,
    Opcode.FUSE_SETUPMAPPING: st.builds(w.SetupMapping, U64, U64, U64, U64, U64),
    Opcode.FUSE_REMOVEMAPPING: st.builds(w.RemoveMapping, PAIRS),
    Opcode.FUSE_SYNCFS: st.just(w.Syncfs()),
    Opcode.FUSE_TMPFILE: st.builds(w.Tmpfile, U32, U32, U32, U32),
    Opcode.FUSE_STATX: st.builds(w.Statx, FH, U32, U32),
    Opcode.FUSE_COPY_FILE_RANGE_64: _COPY,
    Opcode.CUSE_INIT: st.builds(w.CuseInit, U32, U32, U32),
}

#: A whole request: header and message.
ANY_REQUEST = st.sampled_from(sorted(REQUESTS)).flatmap(
    lambda opcode: st.tuples(headers(opcode), REQUESTS[opcode])
)


NO_TIME = st.just(0)


def attributes(*, rdev=U32, mode=U32, btime=NO_TIME):
    return st.builds(w.Attributes, U64, mode, U32, U32, U32, rdev, U64, U64, U32, TIMES, TIMES, TIMES, btime)


_DEVICES = U64  # a device number has 32 bits of major and 32 of minor, interleaved
_ENTRY = st.builds(w.EntryReply, U64, U64, TIMEOUTS, TIMEOUTS, attributes())
_OPEN = st.builds(w.OpenReply, U64, U32, S32)
_DIRENT = st.builds(w.Dirent, U64, st.integers(0, 2**63 - 1), U32, NAMES | st.sampled_from([".", ".."]))
_INIT_FLAGS = st.one_of(U32, U64.map(lambda n: n | w.InitFlags.FUSE_INIT_EXT.value))
_IOVECS = st.lists(st.tuples(U64, U64), max_size=5).map(tuple)
_RETRY = w.IoctlFlags.FUSE_IOCTL_RETRY.value

#: A strategy for each reply message.
REPLIES = {
    w.AttrReply: st.builds(w.AttrReply, TIMEOUTS, attributes()),
    w.BmapReply: st.builds(w.BmapReply, U64),
    w.Copy64Reply: st.builds(w.Copy64Reply, U64),
    w.CreateReply: st.builds(w.CreateReply, _ENTRY, _OPEN),
    w.CuseInitReply: st.builds(
        w.CuseInitReply, U32, U32, U32, U32, U32, U32, U32, st.lists(TEXTS, max_size=4).map(tuple)
    ),
    w.DataReply: st.builds(w.DataReply, DATA),
    w.EmptyReply: st.just(w.EmptyReply()),
    w.EntryReply: _ENTRY,
    w.InitOut: st.one_of(
        st.builds(w.InitOut, st.just(7), st.integers(0, 4)),
        st.builds(w.InitOut, st.just(7), st.integers(5, 22), U32, U32, U16, U16, U32),
        st.builds(
            w.InitOut,
            st.just(7),
            st.integers(23, 99),
            U32,
            _INIT_FLAGS,
            U16,
            U16,
            U32,
            U32,
            U16,
            U16,
            U32,
            U16,
        ),
    ),
    w.IoctlReply: st.one_of(
        st.builds(w.IoctlReply, S32, DATA, U32.map(lambda n: n & ~_RETRY)),
        st.builds(w.IoctlReply, S32, st.just(b""), U32.map(lambda n: n | _RETRY), _IOVECS, _IOVECS),
    ),
    w.LkReply: st.builds(w.LkReply, U64, U64, U32, U32),
    w.LseekReply: st.builds(w.LseekReply, U64),
    w.OpenReply: _OPEN,
    w.PollReply: st.builds(w.PollReply, U32),
    w.ReaddirReply: st.builds(w.ReaddirReply, st.lists(_DIRENT, max_size=6).map(tuple)),
    w.ReaddirplusReply: st.builds(
        w.ReaddirplusReply, st.lists(st.builds(w.DirentPlus, _DIRENT, _ENTRY), max_size=4).map(tuple)
    ),
    w.ReadlinkReply: st.builds(w.ReadlinkReply, TEXTS),
    w.SizeReply: st.builds(w.SizeReply, U32),
    w.StatfsReply: st.builds(w.StatfsReply, U64, U64, U64, U64, U64, U32, U32, U32),
    w.StatxReply: st.builds(
        w.StatxReply, TIMEOUTS, attributes(rdev=_DEVICES, mode=U16, btime=TIMES), U32, U64, U64
    ),
    w.WriteReply: st.builds(w.WriteReply, U32),
}

#: A strategy for each notification.
NOTIFICATIONS = {
    w.NotifyPoll: st.builds(w.NotifyPoll, U64),
    w.NotifyInvalInode: st.builds(w.NotifyInvalInode, U64, S64, S64),
    w.NotifyInvalEntry: st.builds(w.NotifyInvalEntry, U64, NAMES, U32),
    w.NotifyDelete: st.builds(w.NotifyDelete, U64, U64, NAMES),
    w.NotifyStore: st.builds(w.NotifyStore, U64, U64, DATA),
    w.NotifyRetrieve: st.builds(w.NotifyRetrieve, U64, U64, U64, U32),
    w.NotifyResend: st.just(w.NotifyResend()),
    w.NotifyIncEpoch: st.just(w.NotifyIncEpoch()),
    w.NotifyPrune: st.builds(w.NotifyPrune, st.lists(U64, max_size=9).map(tuple)),
}

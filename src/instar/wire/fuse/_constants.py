# SPDX-License-Identifier: Apache-2.0
"""The numbers of the FUSE protocol, version 7.45, under the names of ``linux/fuse.h``.

Opcodes and notification codes are ``IntEnum``, sets of bits are ``IntFlag``. Messages carry flags as plain ``int``:
a kernel newer than this table may set bits that have no name here, and making an ``IntFlag`` costs more than decoding
the message. Test them with ``message.flags & FattrFlags.FATTR_SIZE``.

Source: ``include/uapi/linux/fuse.h`` of Linux 6.18 (its change log says which minor version brought what).
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = [
    "CUSE_INIT_INFO_MAX",
    "FUSE_COMPAT_22_INIT_OUT_SIZE",
    "FUSE_COMPAT_INIT_OUT_SIZE",
    "FUSE_COMPAT_SETXATTR_IN_SIZE",
    "FUSE_INVALID_UIDGID",
    "FUSE_IOCTL_MAX_IOV",
    "FUSE_KERNEL_MINOR_VERSION",
    "FUSE_KERNEL_VERSION",
    "FUSE_MIN_READ_BUFFER",
    "FUSE_ROOT_ID",
    "FUSE_UNIQUE_RESEND",
    "FUSE_URING_IN_OUT_HEADER_SZ",
    "FUSE_URING_OP_IN_OUT_SZ",
    "AttrFlags",
    "CuseInitFlags",
    "ExtType",
    "FattrFlags",
    "FsyncFlags",
    "GetattrFlags",
    "InitFlags",
    "InvalEntryFlags",
    "IoctlFlags",
    "LkFlags",
    "NotifyCode",
    "Opcode",
    "OpenFlags",
    "OpenInFlags",
    "PollFlags",
    "ReadFlags",
    "ReleaseFlags",
    "SetupMappingFlags",
    "SetxattrFlags",
    "StatxMask",
    "UringCmd",
    "WriteFlags",
]

FUSE_KERNEL_VERSION: Final = 7
FUSE_KERNEL_MINOR_VERSION: Final = 45

#: The node id of the root directory.
FUSE_ROOT_ID: Final = 1

#: A buffer that requests are read into has at least this many bytes.
FUSE_MIN_READ_BUFFER: Final = 8192

#: Set in ``unique`` of a request that the kernel sends again after ``FUSE_NOTIFY_RESEND``; the reply must carry it too.
FUSE_UNIQUE_RESEND: Final = 1 << 63

#: ``uid`` and ``gid`` in requests that make nothing, on a mount with ``FUSE_ALLOW_IDMAP``.
FUSE_INVALID_UIDGID: Final = 0xFFFF_FFFF

#: The kernel refuses an ``IOCTL`` retry with more than this many ranges.
FUSE_IOCTL_MAX_IOV: Final = 256

#: The reply to INIT has this size for minor versions below 5, ...
FUSE_COMPAT_INIT_OUT_SIZE: Final = 8
#: ... this size below 23, and ``sizeof(struct fuse_init_out)`` from there on.
FUSE_COMPAT_22_INIT_OUT_SIZE: Final = 24

#: ``struct fuse_setxattr_in`` ends after ``flags`` unless ``FUSE_SETXATTR_EXT`` was agreed.
FUSE_COMPAT_SETXATTR_IN_SIZE: Final = 8

#: The text in the reply to ``CUSE_INIT`` has at most this many bytes.
CUSE_INIT_INFO_MAX: Final = 4096

FUSE_URING_IN_OUT_HEADER_SZ: Final = 128
FUSE_URING_OP_IN_OUT_SZ: Final = 128


class Opcode(enum.IntEnum):
    """What a request asks for (``enum fuse_opcode``); 7 and 19 were never used."""

    FUSE_LOOKUP = 1
    FUSE_FORGET = 2
    FUSE_GETATTR = 3
    FUSE_SETATTR = 4
    FUSE_READLINK = 5
    FUSE_SYMLINK = 6
    FUSE_MKNOD = 8
    FUSE_MKDIR = 9
    FUSE_UNLINK = 10
    FUSE_RMDIR = 11
    FUSE_RENAME = 12
    FUSE_LINK = 13
    FUSE_OPEN = 14
    FUSE_READ = 15
    FUSE_WRITE = 16
    FUSE_STATFS = 17
    FUSE_RELEASE = 18
    FUSE_FSYNC = 20
    FUSE_SETXATTR = 21
    FUSE_GETXATTR = 22
    FUSE_LISTXATTR = 23
    FUSE_REMOVEXATTR = 24
    FUSE_FLUSH = 25
    FUSE_INIT = 26
    FUSE_OPENDIR = 27
    FUSE_READDIR = 28
    FUSE_RELEASEDIR = 29
    FUSE_FSYNCDIR = 30
    FUSE_GETLK = 31
    FUSE_SETLK = 32
    FUSE_SETLKW = 33
    FUSE_ACCESS = 34
    FUSE_CREATE = 35
    FUSE_INTERRUPT = 36
    FUSE_BMAP = 37
    FUSE_DESTROY = 38
    FUSE_IOCTL = 39
    FUSE_POLL = 40
    FUSE_NOTIFY_REPLY = 41
    FUSE_BATCH_FORGET = 42
    FUSE_FALLOCATE = 43
    FUSE_READDIRPLUS = 44
    FUSE_RENAME2 = 45
    FUSE_LSEEK = 46
    FUSE_COPY_FILE_RANGE = 47
    FUSE_SETUPMAPPING = 48
    FUSE_REMOVEMAPPING = 49
    FUSE_SYNCFS = 50
    FUSE_TMPFILE = 51
    FUSE_STATX = 52
    FUSE_COPY_FILE_RANGE_64 = 53
    #: Character devices in user space.
    CUSE_INIT = 4096
    #: INIT of a peer with the other byte order looks like these; nothing else may be sent under them.
    CUSE_INIT_BSWAP_RESERVED = 1048576
    FUSE_INIT_BSWAP_RESERVED = 436207616


class NotifyCode(enum.IntEnum):
    """What the server tells the kernel unasked (``enum fuse_notify_code``), in the ``error`` field of the header."""

    FUSE_NOTIFY_POLL = 1
    FUSE_NOTIFY_INVAL_INODE = 2
    FUSE_NOTIFY_INVAL_ENTRY = 3
    FUSE_NOTIFY_STORE = 4
    FUSE_NOTIFY_RETRIEVE = 5
    FUSE_NOTIFY_DELETE = 6
    FUSE_NOTIFY_RESEND = 7
    FUSE_NOTIFY_INC_EPOCH = 8
    FUSE_NOTIFY_PRUNE = 9


class InitFlags(enum.IntFlag):
    """What the kernel offers in INIT and the server accepts in its reply.

    Bits 32 and up travel in ``flags2``, and only where both sides set ``FUSE_INIT_EXT``; here they are one number.
    """

    #: Reads of one file may be in flight side by side.
    FUSE_ASYNC_READ = 1 << 0
    #: fcntl(2) locks are the server's (GETLK, SETLK, SETLKW).
    FUSE_POSIX_LOCKS = 1 << 1
    #: Obsolete.
    FUSE_FILE_OPS = 1 << 2
    #: OPEN and CREATE carry O_TRUNC instead of a SETATTR after them.
    FUSE_ATOMIC_O_TRUNC = 1 << 3
    #: LOOKUP of "." and ".." is served (for NFS).
    FUSE_EXPORT_SUPPORT = 1 << 4
    #: WRITE may carry more than a page.
    FUSE_BIG_WRITES = 1 << 5
    #: The server applies the umask that creating requests carry.
    FUSE_DONT_MASK = 1 << 6
    FUSE_SPLICE_WRITE = 1 << 7
    FUSE_SPLICE_MOVE = 1 << 8
    FUSE_SPLICE_READ = 1 << 9
    #: flock(2) locks are the server's.
    FUSE_FLOCK_LOCKS = 1 << 10
    #: IOCTL may come for directories.
    FUSE_HAS_IOCTL_DIR = 1 << 11
    #: The kernel drops cached pages when mtime or size change.
    FUSE_AUTO_INVAL_DATA = 1 << 12
    #: READDIRPLUS instead of READDIR ...
    FUSE_DO_READDIRPLUS = 1 << 13
    #: ... but only where the entries were looked up before.
    FUSE_READDIRPLUS_AUTO = 1 << 14
    #: O_DIRECT requests may be in flight side by side.
    FUSE_ASYNC_DIO = 1 << 15
    #: Writes gather in the page cache; the kernel owns size, mtime and ctime.
    FUSE_WRITEBACK_CACHE = 1 << 16
    #: OPEN may be answered with ENOSYS, once and for all.
    FUSE_NO_OPEN_SUPPORT = 1 << 17
    #: LOOKUP and READDIR of one directory may be in flight side by side.
    FUSE_PARALLEL_DIROPS = 1 << 18
    #: The server clears set-user-ID, set-group-ID and capabilities on write, truncate and chown.
    FUSE_HANDLE_KILLPRIV = 1 << 19
    #: The kernel evaluates POSIX ACLs.
    FUSE_POSIX_ACL = 1 << 20
    #: Reads of the device fail with ECONNABORTED, not ENODEV, after an abort.
    FUSE_ABORT_ERROR = 1 << 21
    #: ``max_pages`` of the reply counts; without it a request has at most 32 pages of data.
    FUSE_MAX_PAGES = 1 << 22
    #: READLINK replies are cached.
    FUSE_CACHE_SYMLINKS = 1 << 23
    #: OPENDIR may be answered with ENOSYS, once and for all.
    FUSE_NO_OPENDIR_SUPPORT = 1 << 24
    #: Cached pages go only when the server says so; excludes FUSE_AUTO_INVAL_DATA.
    FUSE_EXPLICIT_INVAL_DATA = 1 << 25
    #: ``map_alignment`` of the reply counts (virtiofs DAX).
    FUSE_MAP_ALIGNMENT = 1 << 26
    #: FUSE_ATTR_SUBMOUNT is understood (virtiofs).
    FUSE_SUBMOUNTS = 1 << 27
    #: As FUSE_HANDLE_KILLPRIV, but on write and truncate only where the request says so.
    FUSE_HANDLE_KILLPRIV_V2 = 1 << 28
    #: SETXATTR has its 16-byte header.
    FUSE_SETXATTR_EXT = 1 << 29
    #: ``flags2`` counts.
    FUSE_INIT_EXT = 1 << 30
    #: Never set.
    FUSE_INIT_RESERVED = 1 << 31
    #: Creating requests carry the security context of the new node.
    FUSE_SECURITY_CTX = 1 << 32
    #: DAX for each file apart (virtiofs).
    FUSE_HAS_INODE_DAX = 1 << 33
    #: Creating requests carry the supplementary group that owns the parent.
    FUSE_CREATE_SUPP_GROUP = 1 << 34
    #: INVAL_ENTRY knows FUSE_EXPIRE_ONLY.
    FUSE_HAS_EXPIRE_ONLY = 1 << 35
    #: mmap(MAP_SHARED) works on files opened with FOPEN_DIRECT_IO.
    FUSE_DIRECT_IO_ALLOW_MMAP = 1 << 36
    #: The older name of the one above.
    FUSE_DIRECT_IO_RELAX = FUSE_DIRECT_IO_ALLOW_MMAP
    #: OPEN may hand I/O to another file; excludes FUSE_WRITEBACK_CACHE.
    FUSE_PASSTHROUGH = 1 << 37
    #: There are no handles for NFS; file handles are for fanotify only.
    FUSE_NO_EXPORT_SUPPORT = 1 << 38
    #: FUSE_NOTIFY_RESEND is known, and re-sent requests are marked with FUSE_UNIQUE_RESEND.
    FUSE_HAS_RESEND = 1 << 39
    #: The mount may be id-mapped.
    FUSE_ALLOW_IDMAP = 1 << 40
    #: Requests go through io_uring. Accept it only where rings are registered at once: no request moves before.
    FUSE_OVER_IO_URING = 1 << 41
    #: ``request_timeout`` of the reply counts.
    FUSE_REQUEST_TIMEOUT = 1 << 42


class FattrFlags(enum.IntFlag):
    """``valid`` of SETATTR: what shall change."""

    FATTR_MODE = 1 << 0
    FATTR_UID = 1 << 1
    FATTR_GID = 1 << 2
    FATTR_SIZE = 1 << 3
    FATTR_ATIME = 1 << 4
    FATTR_MTIME = 1 << 5
    FATTR_FH = 1 << 6
    FATTR_ATIME_NOW = 1 << 7
    FATTR_MTIME_NOW = 1 << 8
    FATTR_LOCKOWNER = 1 << 9
    FATTR_CTIME = 1 << 10
    FATTR_KILL_SUIDGID = 1 << 11


class OpenFlags(enum.IntFlag):
    """``open_flags`` of the replies to OPEN, OPENDIR, CREATE and TMPFILE."""

    FOPEN_DIRECT_IO = 1 << 0
    FOPEN_KEEP_CACHE = 1 << 1
    FOPEN_NONSEEKABLE = 1 << 2
    FOPEN_CACHE_DIR = 1 << 3
    FOPEN_STREAM = 1 << 4
    FOPEN_NOFLUSH = 1 << 5
    FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
    FOPEN_PASSTHROUGH = 1 << 7


class OpenInFlags(enum.IntFlag):
    """``open_flags`` of the requests OPEN and CREATE."""

    FUSE_OPEN_KILL_SUIDGID = 1 << 0


class GetattrFlags(enum.IntFlag):
    """``getattr_flags`` of GETATTR and STATX."""

    FUSE_GETATTR_FH = 1 << 0


class ReadFlags(enum.IntFlag):
    """``read_flags`` of READ."""

    FUSE_READ_LOCKOWNER = 1 << 1


class WriteFlags(enum.IntFlag):
    """``write_flags`` of WRITE."""

    #: From the page cache: the file handle is a guess, and the caller is not who wrote the data.
    FUSE_WRITE_CACHE = 1 << 0
    FUSE_WRITE_LOCKOWNER = 1 << 1
    FUSE_WRITE_KILL_SUIDGID = 1 << 2
    #: The older name of the one above.
    FUSE_WRITE_KILL_PRIV = FUSE_WRITE_KILL_SUIDGID


class ReleaseFlags(enum.IntFlag):
    """``release_flags`` of RELEASE."""

    FUSE_RELEASE_FLUSH = 1 << 0
    FUSE_RELEASE_FLOCK_UNLOCK = 1 << 1


class FsyncFlags(enum.IntFlag):
    """``fsync_flags`` of FSYNC and FSYNCDIR."""

    FUSE_FSYNC_FDATASYNC = 1 << 0


class LkFlags(enum.IntFlag):
    """``lk_flags`` of GETLK, SETLK and SETLKW."""

    FUSE_LK_FLOCK = 1 << 0


class IoctlFlags(enum.IntFlag):
    """``flags`` of IOCTL and of its reply."""

    FUSE_IOCTL_COMPAT = 1 << 0
    FUSE_IOCTL_UNRESTRICTED = 1 << 1
    FUSE_IOCTL_RETRY = 1 << 2
    FUSE_IOCTL_32BIT = 1 << 3
    FUSE_IOCTL_DIR = 1 << 4
    FUSE_IOCTL_COMPAT_X32 = 1 << 5


class PollFlags(enum.IntFlag):
    """``flags`` of POLL."""

    FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0


class AttrFlags(enum.IntFlag):
    """``flags`` of ``struct fuse_attr``."""

    FUSE_ATTR_SUBMOUNT = 1 << 0
    FUSE_ATTR_DAX = 1 << 1


class SetxattrFlags(enum.IntFlag):
    """``setxattr_flags`` of SETXATTR."""

    FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0


class InvalEntryFlags(enum.IntFlag):
    """``flags`` of the notification INVAL_ENTRY."""

    #: Ask again at the next use, instead of dropping the entry. Kernels without FUSE_HAS_EXPIRE_ONLY drop it all the same.
    FUSE_EXPIRE_ONLY = 1 << 0


class SetupMappingFlags(enum.IntFlag):
    """``flags`` of SETUPMAPPING."""

    FUSE_SETUPMAPPING_FLAG_WRITE = 1 << 0
    FUSE_SETUPMAPPING_FLAG_READ = 1 << 1


class CuseInitFlags(enum.IntFlag):
    """``flags`` of CUSE_INIT and of its reply."""

    CUSE_UNRESTRICTED_IOCTL = 1 << 0


class ExtType(enum.IntEnum):
    """``type`` of an extension (``enum fuse_ext_type``).

    Up to ``FUSE_MAX_NR_SECCTX`` the number is not a type: it counts the security contexts of a
    ``struct fuse_secctx_header``, which has the same form.
    """

    FUSE_MAX_NR_SECCTX = 31
    FUSE_EXT_GROUPS = 32


class UringCmd(enum.IntEnum):
    """``cmd_op`` of an io_uring command on the device (``enum fuse_uring_cmd``)."""

    FUSE_IO_URING_CMD_INVALID = 0
    FUSE_IO_URING_CMD_REGISTER = 1
    FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2


class StatxMask(enum.IntFlag):
    """``mask`` of ``struct fuse_statx``: which fields hold something (``linux/stat.h``)."""

    STATX_TYPE = 0x001
    STATX_MODE = 0x002
    STATX_NLINK = 0x004
    STATX_UID = 0x008
    STATX_GID = 0x010
    STATX_ATIME = 0x020
    STATX_MTIME = 0x040
    STATX_CTIME = 0x080
    STATX_INO = 0x100
    STATX_SIZE = 0x200
    STATX_BLOCKS = 0x400
    STATX_BASIC_STATS = 0x7FF
    STATX_BTIME = 0x800

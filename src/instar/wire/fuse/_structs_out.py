# SPDX-License-Identifier: Apache-2.0
"""The structures of ``linux/fuse.h`` that replies and notifications start with (``struct fuse_*_out``).

Each class has the C name as its ``ctype`` and the members of the header under the header's names (two leading
underscores are one here, since Python would mangle them). ``CODEC`` packs and unpacks the whole flat; the
modules beside this one turn the result into messages.

Source: ``include/uapi/linux/fuse.h`` of Linux 6.18, protocol 7.45.
"""

from __future__ import annotations

from instar.layout import Struct, array, char, s32, s64, trailing, u16, u32, u64
from instar.wire.fuse._structs_common import FuseAttr, FuseFileLock, FuseKstatfs, FuseStatx

__all__ = [
    "CuseInitOut",
    "FuseAttrOut",
    "FuseBmapOut",
    "FuseCopyFileRangeOut",
    "FuseDirent",
    "FuseDirentplus",
    "FuseEntryOut",
    "FuseGetxattrOut",
    "FuseInitOut",
    "FuseIoctlOut",
    "FuseLkOut",
    "FuseLseekOut",
    "FuseNotifyDeleteOut",
    "FuseNotifyInvalEntryOut",
    "FuseNotifyInvalInodeOut",
    "FuseNotifyPollWakeupOut",
    "FuseNotifyPruneOut",
    "FuseNotifyRetrieveOut",
    "FuseNotifyStoreOut",
    "FuseOpenOut",
    "FusePollOut",
    "FuseStatfsOut",
    "FuseStatxOut",
    "FuseWriteOut",
]


class FuseEntryOut(Struct, ctype="struct fuse_entry_out"):
    """Replies that name a node: LOOKUP, MKNOD, MKDIR, SYMLINK, LINK, and the first part of CREATE and
    TMPFILE.
    """

    nodeid: u64
    generation: u64
    entry_valid: u64
    attr_valid: u64
    entry_valid_nsec: u32
    attr_valid_nsec: u32
    attr: FuseAttr


class FuseAttrOut(Struct, ctype="struct fuse_attr_out"):
    """The reply to GETATTR and SETATTR."""

    attr_valid: u64
    attr_valid_nsec: u32
    dummy: u32
    attr: FuseAttr


class FuseStatxOut(Struct, ctype="struct fuse_statx_out"):
    """The reply to STATX."""

    attr_valid: u64
    attr_valid_nsec: u32
    flags: u32
    spare: list[int] = array(u64, 2)
    stat: FuseStatx


class FuseOpenOut(Struct, ctype="struct fuse_open_out"):
    """The reply to OPEN and OPENDIR, and the second part of CREATE and TMPFILE."""

    fh: u64
    open_flags: u32
    backing_id: s32


class FuseWriteOut(Struct, ctype="struct fuse_write_out"):
    """The reply to WRITE and COPY_FILE_RANGE."""

    size: u32
    padding: u32


class FuseStatfsOut(Struct, ctype="struct fuse_statfs_out"):
    """The reply to STATFS."""

    st: FuseKstatfs


class FuseGetxattrOut(Struct, ctype="struct fuse_getxattr_out"):
    """The reply to GETXATTR and LISTXATTR that were asked for a size."""

    size: u32
    padding: u32


class FuseLkOut(Struct, ctype="struct fuse_lk_out"):
    """The reply to GETLK."""

    lk: FuseFileLock


class FuseInitOut(Struct, ctype="struct fuse_init_out"):
    """The reply to INIT."""

    major: u32
    minor: u32
    max_readahead: u32
    flags: u32
    max_background: u16
    congestion_threshold: u16
    max_write: u32
    time_gran: u32
    max_pages: u16
    map_alignment: u16
    flags2: u32
    max_stack_depth: u32
    request_timeout: u16
    unused: list[int] = array(u16, 11)


class CuseInitOut(Struct, ctype="struct cuse_init_out"):
    """The reply to CUSE_INIT; NUL-terminated ``KEY=value`` lines follow."""

    major: u32
    minor: u32
    unused: u32
    flags: u32
    max_read: u32
    max_write: u32
    dev_major: u32
    dev_minor: u32
    spare: list[int] = array(u32, 10)


class FuseBmapOut(Struct, ctype="struct fuse_bmap_out"):
    """The reply to BMAP."""

    block: u64


class FuseIoctlOut(Struct, ctype="struct fuse_ioctl_out"):
    """The reply to IOCTL; bytes or ranges follow."""

    result: s32
    flags: u32
    in_iovs: u32
    out_iovs: u32


class FusePollOut(Struct, ctype="struct fuse_poll_out"):
    """The reply to POLL."""

    revents: u32
    padding: u32


class FuseNotifyPollWakeupOut(Struct, ctype="struct fuse_notify_poll_wakeup_out"):
    """The notification POLL."""

    kh: u64


class FuseDirent(Struct, ctype="struct fuse_dirent"):
    """A line of READDIR. ``off`` is the cookie of the next one; lines start at multiples of 8."""

    ino: u64
    off: u64
    namelen: u32
    type: u32
    name: bytes = trailing(char)


class FuseDirentplus(Struct, ctype="struct fuse_direntplus"):
    """A line of READDIRPLUS."""

    entry_out: FuseEntryOut
    dirent: FuseDirent


class FuseNotifyInvalInodeOut(Struct, ctype="struct fuse_notify_inval_inode_out"):
    """The notification INVAL_INODE; ``off`` below 0 means attributes only."""

    ino: u64
    off: s64
    len: s64


class FuseNotifyInvalEntryOut(Struct, ctype="struct fuse_notify_inval_entry_out"):
    """The notification INVAL_ENTRY; the name and a NUL follow, which ``namelen`` does not count."""

    parent: u64
    namelen: u32
    flags: u32


class FuseNotifyDeleteOut(Struct, ctype="struct fuse_notify_delete_out"):
    """The notification DELETE; the name and a NUL follow, which ``namelen`` does not count."""

    parent: u64
    child: u64
    namelen: u32
    padding: u32


class FuseNotifyStoreOut(Struct, ctype="struct fuse_notify_store_out"):
    """The notification STORE; ``size`` bytes follow."""

    nodeid: u64
    offset: u64
    size: u32
    padding: u32


class FuseNotifyRetrieveOut(Struct, ctype="struct fuse_notify_retrieve_out"):
    """The notification RETRIEVE."""

    notify_unique: u64
    nodeid: u64
    offset: u64
    size: u32
    padding: u32


class FuseNotifyPruneOut(Struct, ctype="struct fuse_notify_prune_out"):
    """The notification PRUNE; ``count`` node ids of 8 bytes follow."""

    count: u32
    padding: u32
    spare: u64


class FuseLseekOut(Struct, ctype="struct fuse_lseek_out"):
    """The reply to LSEEK."""

    offset: u64


class FuseCopyFileRangeOut(Struct, ctype="struct fuse_copy_file_range_out"):
    """The reply to COPY_FILE_RANGE_64."""

    bytes_copied: u64

# SPDX-License-Identifier: Apache-2.0
"""The structures of ``linux/fuse.h`` that requests start with (``struct fuse_*_in``).

Each class has the C name as its ``ctype`` and the members of the header under the header's names (two leading
underscores are one here, since Python would mangle them). ``CODEC`` packs and unpacks the whole flat; the
modules beside this one turn the result into messages.

Source: ``include/uapi/linux/fuse.h`` of Linux 6.18, protocol 7.45.
"""

from __future__ import annotations

from instar.layout import Struct, array, u32, u64
from instar.wire.fuse._structs_common import FuseFileLock

__all__ = [
    "CuseInitIn",
    "FuseAccessIn",
    "FuseBatchForgetIn",
    "FuseBmapIn",
    "FuseCopyFileRangeIn",
    "FuseCreateIn",
    "FuseFallocateIn",
    "FuseFlushIn",
    "FuseForgetIn",
    "FuseForgetOne",
    "FuseFsyncIn",
    "FuseGetattrIn",
    "FuseGetxattrIn",
    "FuseInitIn",
    "FuseInterruptIn",
    "FuseIoctlIn",
    "FuseLinkIn",
    "FuseLkIn",
    "FuseLseekIn",
    "FuseMkdirIn",
    "FuseMknodIn",
    "FuseNotifyRetrieveIn",
    "FuseOpenIn",
    "FusePollIn",
    "FuseReadIn",
    "FuseReleaseIn",
    "FuseRemovemappingIn",
    "FuseRemovemappingOne",
    "FuseRename2In",
    "FuseRenameIn",
    "FuseSetattrIn",
    "FuseSetupmappingIn",
    "FuseSetxattrIn",
    "FuseStatxIn",
    "FuseSyncfsIn",
    "FuseWriteIn",
]


class FuseForgetIn(Struct, ctype="struct fuse_forget_in"):
    """FORGET."""

    nlookup: u64


class FuseForgetOne(Struct, ctype="struct fuse_forget_one"):
    """One line of BATCH_FORGET, and of the notification PRUNE only its node."""

    nodeid: u64
    nlookup: u64


class FuseBatchForgetIn(Struct, ctype="struct fuse_batch_forget_in"):
    """BATCH_FORGET; ``count`` times ``struct fuse_forget_one`` follow."""

    count: u32
    dummy: u32


class FuseGetattrIn(Struct, ctype="struct fuse_getattr_in"):
    """GETATTR."""

    getattr_flags: u32
    dummy: u32
    fh: u64


class FuseStatxIn(Struct, ctype="struct fuse_statx_in"):
    """STATX."""

    getattr_flags: u32
    reserved: u32
    fh: u64
    sx_flags: u32
    sx_mask: u32


class FuseMknodIn(Struct, ctype="struct fuse_mknod_in"):
    """MKNOD; the name follows."""

    mode: u32
    rdev: u32
    umask: u32
    padding: u32


class FuseMkdirIn(Struct, ctype="struct fuse_mkdir_in"):
    """MKDIR; the name follows."""

    mode: u32
    umask: u32


class FuseRenameIn(Struct, ctype="struct fuse_rename_in"):
    """RENAME; two names follow."""

    newdir: u64


class FuseRename2In(Struct, ctype="struct fuse_rename2_in"):
    """RENAME2; two names follow."""

    newdir: u64
    flags: u32
    padding: u32


class FuseLinkIn(Struct, ctype="struct fuse_link_in"):
    """LINK; the name follows."""

    oldnodeid: u64


class FuseSetattrIn(Struct, ctype="struct fuse_setattr_in"):
    """SETATTR."""

    valid: u32
    padding: u32
    fh: u64
    size: u64
    lock_owner: u64
    atime: u64
    mtime: u64
    ctime: u64
    atimensec: u32
    mtimensec: u32
    ctimensec: u32
    mode: u32
    unused4: u32
    uid: u32
    gid: u32
    unused5: u32


class FuseOpenIn(Struct, ctype="struct fuse_open_in"):
    """OPEN and OPENDIR."""

    flags: u32
    open_flags: u32


class FuseCreateIn(Struct, ctype="struct fuse_create_in"):
    """CREATE and TMPFILE; the name follows."""

    flags: u32
    mode: u32
    umask: u32
    open_flags: u32


class FuseReleaseIn(Struct, ctype="struct fuse_release_in"):
    """RELEASE and RELEASEDIR."""

    fh: u64
    flags: u32
    release_flags: u32
    lock_owner: u64


class FuseFlushIn(Struct, ctype="struct fuse_flush_in"):
    """FLUSH."""

    fh: u64
    unused: u32
    padding: u32
    lock_owner: u64


class FuseReadIn(Struct, ctype="struct fuse_read_in"):
    """READ, READDIR and READDIRPLUS."""

    fh: u64
    offset: u64
    size: u32
    read_flags: u32
    lock_owner: u64
    flags: u32
    padding: u32


class FuseWriteIn(Struct, ctype="struct fuse_write_in"):
    """WRITE; ``size`` bytes of data follow."""

    fh: u64
    offset: u64
    size: u32
    write_flags: u32
    lock_owner: u64
    flags: u32
    padding: u32


class FuseFsyncIn(Struct, ctype="struct fuse_fsync_in"):
    """FSYNC and FSYNCDIR."""

    fh: u64
    fsync_flags: u32
    padding: u32


class FuseSetxattrIn(Struct, ctype="struct fuse_setxattr_in"):
    """SETXATTR; the name and ``size`` bytes follow. Without FUSE_SETXATTR_EXT the first 8 bytes are all."""

    size: u32
    flags: u32
    setxattr_flags: u32
    padding: u32


class FuseGetxattrIn(Struct, ctype="struct fuse_getxattr_in"):
    """GETXATTR, where the name follows, and LISTXATTR."""

    size: u32
    padding: u32


class FuseLkIn(Struct, ctype="struct fuse_lk_in"):
    """GETLK, SETLK and SETLKW."""

    fh: u64
    owner: u64
    lk: FuseFileLock
    lk_flags: u32
    padding: u32


class FuseAccessIn(Struct, ctype="struct fuse_access_in"):
    """ACCESS."""

    mask: u32
    padding: u32


class FuseInitIn(Struct, ctype="struct fuse_init_in"):
    """INIT. Kernels below 7.36 end after ``flags``."""

    major: u32
    minor: u32
    max_readahead: u32
    flags: u32
    flags2: u32
    unused: list[int] = array(u32, 11)


class CuseInitIn(Struct, ctype="struct cuse_init_in"):
    """CUSE_INIT."""

    major: u32
    minor: u32
    unused: u32
    flags: u32


class FuseInterruptIn(Struct, ctype="struct fuse_interrupt_in"):
    """INTERRUPT."""

    unique: u64


class FuseBmapIn(Struct, ctype="struct fuse_bmap_in"):
    """BMAP."""

    block: u64
    blocksize: u32
    padding: u32


class FuseIoctlIn(Struct, ctype="struct fuse_ioctl_in"):
    """IOCTL; ``in_size`` bytes follow."""

    fh: u64
    flags: u32
    cmd: u32
    arg: u64
    in_size: u32
    out_size: u32


class FusePollIn(Struct, ctype="struct fuse_poll_in"):
    """POLL."""

    fh: u64
    kh: u64
    flags: u32
    events: u32


class FuseFallocateIn(Struct, ctype="struct fuse_fallocate_in"):
    """FALLOCATE."""

    fh: u64
    offset: u64
    length: u64
    mode: u32
    padding: u32


class FuseNotifyRetrieveIn(Struct, ctype="struct fuse_notify_retrieve_in"):
    """NOTIFY_REPLY; ``size`` bytes follow."""

    dummy1: u64
    offset: u64
    size: u32
    dummy2: u32
    dummy3: u64
    dummy4: u64


class FuseLseekIn(Struct, ctype="struct fuse_lseek_in"):
    """LSEEK."""

    fh: u64
    offset: u64
    whence: u32
    padding: u32


class FuseCopyFileRangeIn(Struct, ctype="struct fuse_copy_file_range_in"):
    """COPY_FILE_RANGE and COPY_FILE_RANGE_64."""

    fh_in: u64
    off_in: u64
    nodeid_out: u64
    fh_out: u64
    off_out: u64
    len: u64
    flags: u64


class FuseSetupmappingIn(Struct, ctype="struct fuse_setupmapping_in"):
    """SETUPMAPPING (virtiofs DAX)."""

    fh: u64
    foffset: u64
    len: u64
    flags: u64
    moffset: u64


class FuseRemovemappingIn(Struct, ctype="struct fuse_removemapping_in"):
    """REMOVEMAPPING; ``count`` times ``struct fuse_removemapping_one`` follow, at once."""

    count: u32


class FuseRemovemappingOne(Struct, ctype="struct fuse_removemapping_one"):
    """One line of REMOVEMAPPING."""

    moffset: u64
    len: u64


class FuseSyncfsIn(Struct, ctype="struct fuse_syncfs_in"):
    """SYNCFS."""

    padding: u64

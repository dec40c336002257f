# SPDX-License-Identifier: Apache-2.0
"""What kind of mount a file lies on, learned without asking the file system that is mounted there.

A mirror may come upon its own mount point inside the tree that it shows. Any request there would wait for the server,
which is the one who asks. So a mount is looked at in ``/proc`` before it is entered.

Specification: proc_pid_mountinfo(5), proc_pid_fdinfo(5); the line ``fuse_connection`` there is of Linux's fs/fuse/dev.c.
"""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from instar.edge.mountinfo import mount_table

__all__ = ["MountKind", "mount_kind", "served_here"]

#: File systems whose attributes are always those that this machine has in memory: there is nobody else to ask.
_LOCAL: Final = frozenset(
    {
        "bcachefs", "btrfs", "cramfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hugetlbfs", "iso9660",
        "jfs", "minix", "ntfs3", "overlay", "ramfs", "reiserfs", "squashfs", "sysfs", "tmpfs", "udf", "vfat", "xfs", "zfs",
    }
)  # fmt: skip


#: Those of them whose file handles are good for as long as the file exists. Others find only what is in memory anyway (vfat).
_LASTING_HANDLES: Final = frozenset(
    {
        "bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "squashfs", "tmpfs", "udf", "xfs", "zfs",
    }
)  # fmt: skip
#: Those that have multigrain timestamps, from Linux 6.13 on (Documentation/filesystems/multigrain-ts.rst): a change that follows
#: a stat(2) gets a time of its own. (tmpfs has them as well, but not for each change of a directory.)
_MULTIGRAIN: Final = frozenset({"btrfs", "ext4", "xfs"})
_MULTIGRAIN_SINCE: Final = (6, 13)
#: File systems whose files are made as they are read and say that they are empty, or a page long.
_GENERATED: Final = frozenset(
    {"cgroup", "cgroup2", "debugfs", "fusectl", "proc", "securityfs", "sysfs", "tracefs"}
)


class MountKind(NamedTuple):
    """A mount: the type of its file system, and the device number, which is the connection's for FUSE."""

    fstype: str
    major: int
    minor: int

    @property
    def is_local(self) -> bool:
        """Whether attributes come without asking somebody else."""
        return self.fstype in _LOCAL

    @property
    def has_fine_times(self) -> bool:
        """Whether a change always changes the times that were read before it."""
        return self.fstype in _MULTIGRAIN and _kernel() >= _MULTIGRAIN_SINCE

    @property
    def has_lasting_handles(self) -> bool:
        """Whether a file handle opens its file at any time."""
        return self.fstype in _LASTING_HANDLES

    @property
    def is_generated(self) -> bool:
        """Whether the sizes of files say nothing about what there is to read."""
        return self.fstype in _GENERATED

    @property
    def is_own(self) -> bool:
        """Whether this process serves it."""
        return self.fstype.startswith("fuse") and self.minor in served_here()


def _kernel() -> tuple[int, ...]:
    """The numbers of the running kernel's release."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


_UNKNOWN: Final = MountKind("", 0, 0)


def mount_kind(mount_id: int) -> MountKind:
    """The mount with this number; an unknown one with an empty type if it is not among this process's mounts."""
    for entry in mount_table():
        if entry.ident == mount_id:
            major, minor = entry.device.split(":")
            return MountKind(entry.fstype, int(major), int(minor))
    return _UNKNOWN


def served_here() -> frozenset[int]:
    """The connections of FUSE (minor numbers of their devices) that this process has a descriptor of."""
    found: set[int] = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{name}").endswith("/fuse"):
                continue
            with open(f"/proc/self/fdinfo/{name}", encoding="ascii") as info:
                found.update(int(line.split()[1]) for line in info if line.startswith("fuse_connection:"))
        except FileNotFoundError:
            continue  # the listing's own descriptor
    return frozenset(found)

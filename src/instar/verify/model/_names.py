# SPDX-License-Identifier: Apache-2.0
"""Operations on names: make, remove, rename, and change or read what a path leads to.

Specification: the man page (section 2) of the system call that each class is named after.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import struct
from typing import ClassVar, Final

from instar.edge.file_status import StatxMask, statx
from instar.edge.syscalls import RenameFlags, renameat2
from instar.verify.model._operation import Operation, Style, Value, styled
from instar.verify.model._world import World, attributes

__all__ = [
    "Access",
    "As",
    "BirthTime",
    "Chmod",
    "Chown",
    "GetXattr",
    "Link",
    "ListXattr",
    "Mkdir",
    "Mknod",
    "ReadDir",
    "ReadFile",
    "ReadLink",
    "RemoveXattr",
    "Rename",
    "RenameFlags",
    "Rmdir",
    "SetAcl",
    "SetXattr",
    "Stat",
    "Symlink",
    "Truncate",
    "Unlink",
    "Utimens",
    "WriteFile",
]

# Names of extended attributes that the systems add by themselves, and that need not agree.
_FOREIGN_XATTRS = ("security.selinux", "security.apparmor", "system.nfs4", "btrfs.")


def xattr_names(path: str | int, *, follow_symlinks: bool = True) -> tuple[str, ...]:
    """The names of the extended attributes, sorted, without those that security modules add."""
    names = (
        os.listxattr(path, follow_symlinks=follow_symlinks) if isinstance(path, str) else os.listxattr(path)
    )
    return tuple(sorted(name for name in names if not name.startswith(_FOREIGN_XATTRS)))


@dataclasses.dataclass(frozen=True)
class Mkdir(Operation):
    """mkdir(2)."""

    path: str
    mode: int = styled(Style.OCTAL, default=0o755)

    def run(self, world: World) -> Value:
        """Make it."""
        os.mkdir(self.path, self.mode)


@dataclasses.dataclass(frozen=True)
class Rmdir(Operation):
    """rmdir(2)."""

    path: str

    def run(self, world: World) -> Value:
        """Remove it."""
        os.rmdir(self.path)


@dataclasses.dataclass(frozen=True)
class Mknod(Operation):
    """mknod(2): a regular file, a FIFO, a socket or a device, as ``mode`` says."""

    path: str
    mode: int = styled(Style.OCTAL)
    device: int = 0

    def run(self, world: World) -> Value:
        """Make it."""
        os.mknod(self.path, self.mode, self.device)


@dataclasses.dataclass(frozen=True)
class Unlink(Operation):
    """unlink(2)."""

    path: str

    def run(self, world: World) -> Value:
        """Remove it."""
        os.unlink(self.path)


@dataclasses.dataclass(frozen=True)
class Rename(Operation):
    """renameat2(2); without flags rename(2)."""

    path: str
    new_path: str
    flags: RenameFlags = RenameFlags.NONE

    def run(self, world: World) -> Value:
        """Rename."""
        if self.flags:
            renameat2(self.path, self.new_path, self.flags)
        else:
            os.rename(self.path, self.new_path)


@dataclasses.dataclass(frozen=True)
class Link(Operation):
    """linkat(2), following a symlink at ``path`` or not."""

    path: str
    new_path: str
    follow: bool = False

    def run(self, world: World) -> Value:
        """Link."""
        # Without a directory descriptor Python calls link(2), which never follows.
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:
            os.link(self.path, self.new_path, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=self.follow)
        finally:
            os.close(here)


@dataclasses.dataclass(frozen=True)
class Symlink(Operation):
    """symlink(2)."""

    target: str
    path: str

    def run(self, world: World) -> Value:
        """Make it."""
        os.symlink(self.target, self.path)


@dataclasses.dataclass(frozen=True)
class ReadLink(Operation):
    """readlink(2)."""

    path: str

    def run(self, world: World) -> Value:
        """The target."""
        return os.readlink(self.path)


@dataclasses.dataclass(frozen=True)
class Truncate(Operation):
    """truncate(2)."""

    path: str
    size: int

    def run(self, world: World) -> Value:
        """Set the size."""
        os.truncate(self.path, self.size)


@dataclasses.dataclass(frozen=True)
class Chmod(Operation):
    """chmod(2)."""

    path: str
    mode: int = styled(Style.OCTAL)

    def run(self, world: World) -> Value:
        """Set the mode."""
        os.chmod(self.path, self.mode)


@dataclasses.dataclass(frozen=True)
class Chown(Operation):
    """chown(2), or lchown(2) without ``follow``; -1 leaves an id as it is."""

    path: str
    uid: int
    gid: int
    follow: bool = True

    def run(self, world: World) -> Value:
        """Set the owner."""
        os.chown(self.path, self.uid, self.gid, follow_symlinks=self.follow)


@dataclasses.dataclass(frozen=True)
class Utimens(Operation):
    """utimensat(2) with both times given, in ns; gives back the times that a stat shows then."""

    path: str
    atime: int
    mtime: int
    follow: bool = True

    def run(self, world: World) -> Value:
        """Set both, and read them again."""
        os.utime(self.path, ns=(self.atime, self.mtime), follow_symlinks=self.follow)
        found = os.stat(self.path, follow_symlinks=self.follow)
        return (found.st_atime_ns, found.st_mtime_ns)


@dataclasses.dataclass(frozen=True)
class SetXattr(Operation):
    """setxattr(2), or lsetxattr(2) without ``follow``; ``flags`` are XATTR_CREATE and XATTR_REPLACE."""

    may_keep_times: ClassVar[bool] = True  # ext4 does nothing when the value is the one that is there

    path: str
    name: str
    value: bytes
    flags: int = 0
    follow: bool = True

    def run(self, world: World) -> Value:
        """Set it."""
        os.setxattr(self.path, self.name, self.value, self.flags, follow_symlinks=self.follow)


_ACL_TAGS: Final = {"u": 0x01, "u+": 0x02, "g": 0x04, "g+": 0x08, "m": 0x10, "o": 0x20}  # linux/posix_acl.h
_ACL_VERSION: Final = 2  # POSIX_ACL_XATTR_VERSION of linux/posix_acl_xattr.h
_NO_ID: Final = 0xFFFFFFFF


def encode_acl(text: str) -> bytes:
    """The value of an ACL attribute, from text such as ``"u::7 u:1000:5 g::5 m::7 o::0"``, sorted or not.

    Raises:
        ValueError: an entry is not ``tag:id:permissions`` with a tag out of u, g, m, o.
    """
    value = struct.pack("<I", _ACL_VERSION)
    for entry in text.split():
        tag, name, permissions = entry.split(":")
        key = f"{tag}+" if name else tag
        if key not in _ACL_TAGS:
            raise ValueError(f"{entry!r} is not an entry of an ACL")
        value += struct.pack("<HHI", _ACL_TAGS[key], int(permissions, 8), int(name) if name else _NO_ID)
    return value


@dataclasses.dataclass(frozen=True)
class SetAcl(Operation):
    """setxattr(2) of an access ACL, or of the default ACL of a directory; an empty text removes it."""

    may_keep_times: ClassVar[bool] = True  # as SetXattr

    path: str
    text: str
    default: bool = False

    def run(self, world: World) -> Value:
        """Set or remove it."""
        name = f"system.posix_acl_{'default' if self.default else 'access'}"
        if self.text:
            os.setxattr(self.path, name, encode_acl(self.text))
        else:
            os.removexattr(self.path, name)


@dataclasses.dataclass(frozen=True)
class GetXattr(Operation):
    """getxattr(2), or lgetxattr(2) without ``follow``."""

    path: str
    name: str
    follow: bool = True

    def run(self, world: World) -> Value:
        """Its value."""
        return os.getxattr(self.path, self.name, follow_symlinks=self.follow)


@dataclasses.dataclass(frozen=True)
class ListXattr(Operation):
    """listxattr(2), or llistxattr(2) without ``follow``; order does not matter."""

    path: str
    follow: bool = True

    def run(self, world: World) -> Value:
        """The names, sorted."""
        return xattr_names(self.path, follow_symlinks=self.follow)


@dataclasses.dataclass(frozen=True)
class RemoveXattr(Operation):
    """removexattr(2), or lremovexattr(2) without ``follow``."""

    path: str
    name: str
    follow: bool = True

    def run(self, world: World) -> Value:
        """Remove it."""
        os.removexattr(self.path, self.name, follow_symlinks=self.follow)


@dataclasses.dataclass(frozen=True)
class Access(Operation):
    """faccessat2(2) with the effective ids."""

    path: str
    mode: int

    def run(self, world: World) -> Value:
        """Whether it is allowed."""
        return os.access(self.path, self.mode, effective_ids=True)


@dataclasses.dataclass(frozen=True)
class Stat(Operation):
    """stat(2), or lstat(2) without ``follow``: type, mode, links, owner, size."""

    path: str
    follow: bool = True

    def run(self, world: World) -> Value:
        """What must agree of it."""
        return attributes(os.stat(self.path, follow_symlinks=self.follow))


@dataclasses.dataclass(frozen=True)
class BirthTime(Operation):
    """statx(2) with STATX_BTIME: whether there is a birth time, and whether it lies before all changes."""

    path: str

    def run(self, world: World) -> Value:
        """(known, not after the ctime)."""
        found = statx(self.path)
        return (bool(found.mask & StatxMask.BTIME), found.btime_ns <= found.ctime_ns)


@dataclasses.dataclass(frozen=True)
class ReadDir(Operation):
    """getdents64(2) to the end: names and types, in any order."""

    path: str

    def run(self, world: World) -> Value:
        """Sorted (name, type) pairs; a name that comes twice is there twice."""
        with os.scandir(self.path) as entries:
            return tuple(sorted((entry.name, _kind(entry)) for entry in entries))


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "dir"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def _regular(path: str, flags: int, mode: int = 0o666) -> int:
    """Open, without waiting for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)


@dataclasses.dataclass(frozen=True)
class WriteFile(Operation):
    """Open with O_CREAT and O_TRUNC, write everything, close."""

    path: str
    data: bytes
    mode: int = styled(Style.OCTAL, default=0o644)

    def run(self, world: World) -> Value:
        """The number of bytes written."""
        fd = _regular(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, self.mode)
        try:
            return os.write(fd, self.data)
        finally:
            os.close(fd)


@dataclasses.dataclass(frozen=True)
class ReadFile(Operation):
    """Open, read to the end, close."""

    path: str

    def run(self, world: World) -> Value:
        """The size and a digest of the content."""
        fd = _regular(self.path, os.O_RDONLY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return "not a regular file"
            digest, size = hashlib.sha256(), 0
            while block := os.read(fd, 1 << 17):
                digest.update(block)
                size += len(block)
            return (size, digest.hexdigest()[:16])
        finally:
            os.close(fd)


@dataclasses.dataclass(frozen=True)
class As(Operation):
    """Another operation, done with other effective ids and no supplementary groups. Needs root."""

    uid: int
    gid: int
    operation: Operation

    def run(self, world: World) -> Value:
        """What the operation gives."""
        uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
        os.setgroups([])
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            return self.operation.run(world)
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            os.setgroups(groups)

    def paths(self) -> tuple[str, ...]:
        """Those of the operation."""
        return self.operation.paths()

    def slots(self) -> tuple[int, ...]:
        """Those of the operation."""
        return self.operation.slots()

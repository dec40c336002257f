# SPDX-License-Identifier: Apache-2.0
"""Operations on open files: read, write, size, holes, locks, and names for files that had none.

A file is opened with a *slot*, a number that later operations use. Every open has O_NONBLOCK, so that a FIFO that happens
to be there does not wait for its other end.

Specification: the man page (section 2) of the system call that each class is named after.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import stat
import struct
from typing import ClassVar, Final

from instar.edge.syscalls import FallocateMode, fallocate
from instar.verify.model._names import xattr_names
from instar.verify.model._operation import Operation, Style, Value, styled
from instar.verify.model._world import World, attributes

__all__ = [
    "Close",
    "CopyRange",
    "Dup",
    "FAllocate",
    "FChmod",
    "FChown",
    "FGetXattr",
    "FListXattr",
    "FReadDir",
    "FSetXattr",
    "FStat",
    "FSync",
    "FTruncate",
    "FUtimens",
    "FallocateMode",
    "Flock",
    "LinkFile",
    "OfdLock",
    "OfdTest",
    "Open",
    "PRead",
    "PWrite",
    "Read",
    "Seek",
    "SeekData",
    "SeekHole",
    "SendFile",
    "SetAppend",
    "TmpFile",
    "Write",
]

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of fcntl.h with a 64-bit off_t


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


@dataclasses.dataclass(frozen=True)
class Open(Operation):
    """open(2)."""

    slot: int
    path: str
    flags: int = styled(Style.OPEN_FLAGS)
    mode: int = styled(Style.OCTAL, default=0o644)

    def run(self, world: World) -> Value:
        """Keep the open file in the slot."""
        world.keep(self.slot, os.open(self.path, self.flags | os.O_NONBLOCK | os.O_CLOEXEC, self.mode))


@dataclasses.dataclass(frozen=True)
class TmpFile(Operation):
    """open(2) with O_TMPFILE in the directory ``path``; O_EXCL in ``flags`` forbids a name for ever."""

    slot: int
    path: str
    flags: int = styled(Style.OPEN_FLAGS, default=os.O_RDWR)
    mode: int = styled(Style.OCTAL, default=0o600)

    def run(self, world: World) -> Value:
        """Keep the open file in the slot."""
        world.keep(self.slot, os.open(self.path, self.flags | os.O_TMPFILE | os.O_CLOEXEC, self.mode))


@dataclasses.dataclass(frozen=True)
class LinkFile(Operation):
    """linkat(2) of an open file: gives one made by :class:`TmpFile` a name."""

    slot: int
    new_path: str

    def run(self, world: World) -> Value:
        """Link /proc/self/fd/N, following it, as open(2) describes for O_TMPFILE."""
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        try:
            name = f"/proc/self/fd/{world.fd(self.slot)}"
            os.link(name, self.new_path, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=True)
        finally:
            os.close(here)


@dataclasses.dataclass(frozen=True)
class Close(Operation):
    """close(2)."""

    slot: int

    def run(self, world: World) -> Value:
        """Close it."""
        os.close(world.forget(self.slot))


@dataclasses.dataclass(frozen=True)
class Dup(Operation):
    """dup2(2): ``new_slot`` shares the position, the flags and the locks of ``slot``."""

    slot: int
    new_slot: int

    def run(self, world: World) -> Value:
        """Keep the copy in the other slot."""
        fd = world.fd(self.slot)
        if self.slot != self.new_slot:
            world.keep(self.new_slot, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))


@dataclasses.dataclass(frozen=True)
class Read(Operation):
    """read(2) at the position."""

    slot: int
    size: int

    def run(self, world: World) -> Value:
        """The bytes."""
        return os.read(world.fd(self.slot), self.size)


@dataclasses.dataclass(frozen=True)
class Write(Operation):
    """write(2) at the position, or at the end with O_APPEND; gives the count and the position after."""

    slot: int
    data: bytes

    def run(self, world: World) -> Value:
        """(bytes written, position after)."""
        fd = world.fd(self.slot)
        count = os.write(fd, self.data)
        return (count, _position(fd))


def _position(fd: int) -> int | None:
    try:
        return os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno == errno.ESPIPE:
            return None
        raise


@dataclasses.dataclass(frozen=True)
class PRead(Operation):
    """pread(2)."""

    slot: int
    offset: int
    size: int

    def run(self, world: World) -> Value:
        """The bytes."""
        return os.pread(world.fd(self.slot), self.size, self.offset)


@dataclasses.dataclass(frozen=True)
class PWrite(Operation):
    """pwrite(2). On Linux a file with O_APPEND takes the bytes at its end all the same."""

    slot: int
    offset: int
    data: bytes

    def run(self, world: World) -> Value:
        """Bytes written."""
        return os.pwrite(world.fd(self.slot), self.data, self.offset)


@dataclasses.dataclass(frozen=True)
class Seek(Operation):
    """lseek(2) with SEEK_SET, SEEK_CUR or SEEK_END; positions in a directory mean nothing, so only 0 is set there."""

    slot: int
    offset: int
    whence: int = os.SEEK_SET

    def run(self, world: World) -> Value:
        """The position after."""
        fd = world.fd(self.slot)
        if _is_directory(fd) and (self.offset, self.whence) != (0, os.SEEK_SET):
            return "directory"
        return os.lseek(fd, self.offset, self.whence)


def _first_nonzero(fd: int, start: int, end: int) -> int | None:
    """Where the first byte that is not zero lies in [start, end), or None."""
    while start < end:
        block = os.pread(fd, min(end - start, 1 << 17), start)
        if not block:
            return None
        rest = block.lstrip(b"\0")
        if rest:
            return start + len(block) - len(rest)
        start += len(block)
    return None


def _seek_sparse(fd: int, offset: int, whence: int) -> Value:
    """SEEK_DATA or SEEK_HOLE, judged by what every file system must keep, since each has its own block size.

    What is skipped on the way to data must read as zeros, and so must the hole that was found. The position is put at
    ``offset``, so that what follows does not depend on the answer.
    """
    if _is_directory(fd):
        return "directory"
    os.lseek(fd, 0, os.SEEK_CUR)  # a FIFO ends here, with ESPIPE
    # A kernel that asks a FUSE server for holes does not write back what was stored through a mapping before.
    os.fsync(fd)
    size = os.fstat(fd).st_size
    old = os.lseek(fd, 0, os.SEEK_CUR)
    readable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
    try:
        found = os.lseek(fd, offset, whence)
        no_more = False
    except OSError as error:
        if error.errno != errno.ENXIO or offset >= size or whence != os.SEEK_DATA:
            raise
        found, no_more = size, True  # only a hole is left: right if it is zeros
    os.lseek(fd, old, os.SEEK_SET)
    if not offset <= found <= size:
        return f"position {found} is not between {offset} and {size}"
    if readable:
        if whence == os.SEEK_DATA:
            hole_start, hole_end = offset, found
        else:
            hole_start = hole_end = found
            if found < size:
                try:
                    hole_end = os.lseek(fd, found, os.SEEK_DATA)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    hole_end = size
                os.lseek(fd, old, os.SEEK_SET)
        wrong = _first_nonzero(fd, hole_start, hole_end)
        if wrong is not None:
            return f"byte {wrong} is data, but [{hole_start}, {hole_end}) was said to be a hole"
    elif no_more:
        return "some position"
    return "some position"


@dataclasses.dataclass(frozen=True)
class SeekData(Operation):
    """lseek(2) with SEEK_DATA: where holes begin is the file system's choice, that they read as zeros is not."""

    slot: int
    offset: int

    def run(self, world: World) -> Value:
        """``some position``, or what is wrong with it."""
        return _seek_sparse(world.fd(self.slot), self.offset, os.SEEK_DATA)


@dataclasses.dataclass(frozen=True)
class SeekHole(Operation):
    """lseek(2) with SEEK_HOLE, judged as :class:`SeekData`."""

    slot: int
    offset: int

    def run(self, world: World) -> Value:
        """``some position``, or what is wrong with it."""
        return _seek_sparse(world.fd(self.slot), self.offset, os.SEEK_HOLE)


@dataclasses.dataclass(frozen=True)
class FTruncate(Operation):
    """ftruncate(2)."""

    slot: int
    size: int

    def run(self, world: World) -> Value:
        """Set the size."""
        os.ftruncate(world.fd(self.slot), self.size)


@dataclasses.dataclass(frozen=True)
class FAllocate(Operation):
    """fallocate(2)."""

    slot: int
    mode: FallocateMode
    offset: int
    size: int

    def run(self, world: World) -> Value:
        """Allocate, punch or zero, as the mode says."""
        fallocate(world.fd(self.slot), self.mode, self.offset, self.size)


@dataclasses.dataclass(frozen=True)
class CopyRange(Operation):
    """copy_file_range(2), again and again until everything is copied or the source ends."""

    slot: int
    offset: int
    new_slot: int
    new_offset: int
    size: int

    def run(self, world: World) -> Value:
        """Bytes copied in all."""
        source, target = world.fd(self.slot), world.fd(self.new_slot)
        done = 0
        while done < self.size:
            count = os.copy_file_range(
                source, target, self.size - done, self.offset + done, self.new_offset + done
            )
            if count == 0:
                break
            done += count
        return done


@dataclasses.dataclass(frozen=True)
class SendFile(Operation):
    """sendfile(2) to the position of ``new_slot``, until everything is copied or the source ends."""

    slot: int
    offset: int
    new_slot: int
    size: int

    def run(self, world: World) -> Value:
        """(bytes copied in all, position of the target)."""
        source, target = world.fd(self.slot), world.fd(self.new_slot)
        done = 0
        while done < self.size:
            count = os.sendfile(target, source, self.offset + done, self.size - done)
            if count == 0:
                break
            done += count
        return (done, _position(target))


@dataclasses.dataclass(frozen=True)
class FStat(Operation):
    """fstat(2): type, mode, links, owner, size; works on files that have no name any more."""

    slot: int

    def run(self, world: World) -> Value:
        """What must agree of it."""
        return attributes(os.fstat(world.fd(self.slot)))


@dataclasses.dataclass(frozen=True)
class FSync(Operation):
    """fsync(2), or fdatasync(2)."""

    slot: int
    data_only: bool = False

    def run(self, world: World) -> Value:
        """Wait for the data."""
        (os.fdatasync if self.data_only else os.fsync)(world.fd(self.slot))


@dataclasses.dataclass(frozen=True)
class FChmod(Operation):
    """fchmod(2)."""

    slot: int
    mode: int = styled(Style.OCTAL)

    def run(self, world: World) -> Value:
        """Set the mode."""
        os.fchmod(world.fd(self.slot), self.mode)


@dataclasses.dataclass(frozen=True)
class FChown(Operation):
    """fchown(2)."""

    slot: int
    uid: int
    gid: int

    def run(self, world: World) -> Value:
        """Set the owner."""
        os.fchown(world.fd(self.slot), self.uid, self.gid)


@dataclasses.dataclass(frozen=True)
class FUtimens(Operation):
    """futimens(3) with both times given, in ns; gives back the times that a stat shows then."""

    slot: int
    atime: int
    mtime: int

    def run(self, world: World) -> Value:
        """Set both, and read them again."""
        fd = world.fd(self.slot)
        os.utime(fd, ns=(self.atime, self.mtime))
        found = os.fstat(fd)
        return (found.st_atime_ns, found.st_mtime_ns)


@dataclasses.dataclass(frozen=True)
class FSetXattr(Operation):
    """fsetxattr(2)."""

    may_keep_times: ClassVar[bool] = True  # ext4 does nothing when the value is the one that is there

    slot: int
    name: str
    value: bytes
    flags: int = 0

    def run(self, world: World) -> Value:
        """Set it."""
        os.setxattr(world.fd(self.slot), self.name, self.value, self.flags)


@dataclasses.dataclass(frozen=True)
class FGetXattr(Operation):
    """fgetxattr(2)."""

    slot: int
    name: str

    def run(self, world: World) -> Value:
        """Its value."""
        return os.getxattr(world.fd(self.slot), self.name)


@dataclasses.dataclass(frozen=True)
class FListXattr(Operation):
    """flistxattr(2); order does not matter."""

    slot: int

    def run(self, world: World) -> Value:
        """The names, sorted."""
        return xattr_names(world.fd(self.slot))


@dataclasses.dataclass(frozen=True)
class FReadDir(Operation):
    """getdents64(2) on an open directory, from its start: names, in any order. Works on a removed one."""

    slot: int

    def run(self, world: World) -> Value:
        """Sorted names; a name that comes twice is there twice."""
        fd = world.fd(self.slot)
        if not _is_directory(fd):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        os.lseek(fd, 0, os.SEEK_SET)
        return tuple(sorted(os.listdir(fd)))


@dataclasses.dataclass(frozen=True)
class SetAppend(Operation):
    """fcntl(2) F_SETFL: put O_APPEND on or off."""

    slot: int
    on: bool

    def run(self, world: World) -> Value:
        """Whether it was on."""
        fd = world.fd(self.slot)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND if self.on else flags & ~os.O_APPEND)
        return bool(flags & os.O_APPEND)


@dataclasses.dataclass(frozen=True)
class Flock(Operation):
    """flock(2), never waiting; ``operation`` is LOCK_SH, LOCK_EX or LOCK_UN of fcntl."""

    slot: int
    operation: int

    def run(self, world: World) -> Value:
        """Take or drop the lock."""
        fcntl.flock(world.fd(self.slot), self.operation | fcntl.LOCK_NB)


@dataclasses.dataclass(frozen=True)
class OfdLock(Operation):
    """fcntl(2) F_OFD_SETLK: a lock on a range that belongs to the open file; ``kind`` is F_RDLCK, F_WRLCK, F_UNLCK."""

    slot: int
    kind: int
    start: int
    size: int

    def run(self, world: World) -> Value:
        """Take or drop the lock."""
        request = _FLOCK.pack(self.kind, os.SEEK_SET, self.start, self.size, 0)
        fcntl.fcntl(world.fd(self.slot), fcntl.F_OFD_SETLK, request)


@dataclasses.dataclass(frozen=True)
class OfdTest(Operation):
    """fcntl(2) F_OFD_GETLK: what lock, if any, stands in the way."""

    slot: int
    kind: int
    start: int
    size: int

    def run(self, world: World) -> Value:
        """(kind, start, size) of the lock in the way, or None."""
        request = _FLOCK.pack(self.kind, os.SEEK_SET, self.start, self.size, 0)
        answer = fcntl.fcntl(world.fd(self.slot), fcntl.F_OFD_GETLK, request)
        kind, _whence, start, size, _pid = _FLOCK.unpack(answer)
        return None if kind == fcntl.F_UNLCK else (kind, start, size)

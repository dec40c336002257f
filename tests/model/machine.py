# SPDX-License-Identifier: Apache-2.0
"""A hypothesis state machine over the operation language: each rule is one operation, done on subject and oracle.

Bundles hold names, directories, open files and mappings, so that rules mostly act on something that is there. Every example
runs in new directories of the same two mounts, and ends with a comparison of the whole trees.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule

from instar.verify import model as m

__all__ = ["Arena", "make_machine"]

_TREE_EVERY = 60  # steps between two comparisons of whole trees

_LEAVES = st.sampled_from(["a", "b", "c", "d", "e", "long" * 50, "ü ", "\udcff\n"])
_EDGES = st.sampled_from([0, 1, 511, 4095, 4096, 4097, 8192, 12289, 65536, 150000])
_OFFSETS = st.one_of(_EDGES, st.integers(0, 40000))
_LENGTHS = st.one_of(st.sampled_from([0, 1, 100, 4095, 4096, 4097, 10000]), st.integers(1, 9000))
_DATA = st.builds(lambda letter, length: bytes([letter]) * length, st.integers(97, 122), _LENGTHS)
_MODES = st.sampled_from([0o644, 0o600, 0o755, 0o777, 0o4755, 0o2770, 0o1777, 0o444, 0o6666])
_IDS = st.sampled_from([-1, 0, 1000, 1001])
_TIMES = st.sampled_from([0, 1, 1_600_000_000_123_456_789, 4_000_000_000 * 10**9])
_XATTRS = st.sampled_from(["user.a", "user.b", "trusted.t"])
_ACLS = st.sampled_from(
    ["u::7 g::5 o::0", "u::7 u:1000:7 g::5 m::7 o::0", "u::6 g::4 g:1000:0 m::4 o::4", ""]
)
_VALUES = st.binary(max_size=40)
_XATTR_FLAGS = st.sampled_from([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
_ACCESS = st.sampled_from([os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_WRONLY])
_CREATE = st.sampled_from([0, os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL])
_EXTRA = st.sampled_from([0, 0, 0, os.O_TRUNC, os.O_APPEND, os.O_APPEND, os.O_NOFOLLOW])
_FALLOCATE = st.sampled_from(
    [
        m.FallocateMode.NONE,
        m.FallocateMode.KEEP_SIZE,
        m.FallocateMode.PUNCH_HOLE | m.FallocateMode.KEEP_SIZE,
        m.FallocateMode.ZERO_RANGE,
        m.FallocateMode.ZERO_RANGE | m.FallocateMode.KEEP_SIZE,
    ]
)
_RENAME = st.sampled_from(
    [m.RenameFlags.NONE, m.RenameFlags.NONE, m.RenameFlags.NOREPLACE, m.RenameFlags.EXCHANGE]
)
_LOCKS = st.sampled_from([fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK])
_RANGE = st.integers(0, 12)


@dataclass
class Arena:
    """Where a machine runs, and how many steps it has done there."""

    subject: str
    oracle: str
    make_subject: type[m.World] = m.World
    steps: int = 0
    kinds: set[str] = field(default_factory=set)


class FileSystemMachine(RuleBasedStateMachine):
    """The rules."""

    arena: Arena

    names = Bundle("names")
    directories = Bundle("directories")
    handles = Bundle("handles")
    mappings = Bundle("mappings")

    def __init__(self):
        super().__init__()
        arena = self.arena
        self._below = [tempfile.mkdtemp(prefix="machine-", dir=top) for top in (arena.subject, arena.oracle)]
        for directory in self._below:
            os.chmod(directory, 0o755)
        subject = arena.make_subject(self._below[0], "subject")
        self.comparer = m.Comparer(subject, m.World(self._below[1], "ext4"))
        self.steps = 0
        self.slot = 0
        self.failed = False

    def do(self, operation):
        self.arena.steps += 1
        self.arena.kinds.add(type(operation).__name__)
        self.steps += 1
        self.failed = True
        outcome = self.comparer.run(operation)
        if self.steps % _TREE_EVERY == 0:
            self.comparer.check_tree()
        self.failed = False
        return outcome

    def open(self, make):
        """Run an operation that opens; the new slot for the bundle, or nothing."""
        self.slot += 1
        outcome = self.do(make(self.slot))
        return multiple() if outcome.error else self.slot

    def teardown(self):
        try:
            if not self.failed:
                self.comparer.finish()
        finally:
            self.comparer.subject.close()
            self.comparer.oracle.close()
            for directory in self._below:
                shutil.rmtree(directory)

    # Names

    @initialize(target=directories)
    def start(self):
        self.do(m.Chmod(".", 0o1777))
        return ""

    @rule(target=names, directory=directories, leaf=_LEAVES)
    def think_of_a_name(self, directory, leaf):
        return directory + leaf

    @rule(target=directories, name=names, mode=_MODES)
    def mkdir(self, name, mode):
        return multiple() if self.do(m.Mkdir(name, mode | 0o700)).error else name + "/"

    @rule(directory=directories)
    def rmdir(self, directory):
        self.do(m.Rmdir(directory.rstrip("/") or "missing"))

    @rule(target=names, directory=directories, leaf=_LEAVES, data=_DATA)
    def write_file(self, directory, leaf, data):
        self.do(m.WriteFile(directory + leaf, data))
        return directory + leaf

    @rule(target=names, directory=directories, leaf=_LEAVES, key=_XATTRS, value=_VALUES, new=names)
    def tag_and_rename_a_file(self, directory, leaf, key, value, new):
        self.do(m.WriteFile(directory + leaf, b"tagged"))
        self.do(m.SetXattr(directory + leaf, key, value))
        self.do(m.Rename(directory + leaf, new))
        return directory + leaf

    @rule(name=names)
    def read_file(self, name):
        self.do(m.ReadFile(name))

    @rule(name=names, kind=st.sampled_from([stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK]), mode=_MODES)
    def mknod(self, name, kind, mode):
        self.do(m.Mknod(name, kind | mode))

    @rule(name=names)
    def unlink(self, name):
        self.do(m.Unlink(name))

    @rule(name=names, new=names, flags=_RENAME)
    def rename(self, name, new, flags):
        self.do(m.Rename(name, new, flags))

    @rule(directory=directories, new=st.one_of(names, directories), flags=_RENAME)
    def rename_directory(self, directory, new, flags):
        self.do(m.Rename(directory or ".", new or ".", flags))

    @rule(name=names, new=names, follow=st.booleans())
    def link(self, name, new, follow):
        self.do(m.Link(name, new, follow))

    @rule(name=names, to=st.one_of(_LEAVES, st.sampled_from(["missing/x", "y" * 300])))
    def symlink(self, name, to):
        self.do(m.Symlink(to, name))

    @rule(name=names)
    def readlink(self, name):
        self.do(m.ReadLink(name))

    @rule(name=names, size=_OFFSETS)
    def truncate(self, name, size):
        self.do(m.Truncate(name, size))

    @rule(name=st.one_of(names, directories), mode=_MODES)
    def chmod(self, name, mode):
        self.do(m.Chmod(name or ".", mode))

    @rule(name=st.one_of(names, directories), uid=_IDS, gid=_IDS, follow=st.booleans())
    def chown(self, name, uid, gid, follow):
        self.do(m.Chown(name or ".", uid, gid, follow))

    @rule(name=names, atime=_TIMES, mtime=_TIMES, follow=st.booleans())
    def utimens(self, name, atime, mtime, follow):
        self.do(m.Utimens(name, atime, mtime, follow))

    @rule(name=names, key=_XATTRS, value=_VALUES, flags=_XATTR_FLAGS, follow=st.booleans())
    def setxattr(self, name, key, value, flags, follow):
        self.do(m.SetXattr(name, key, value, flags, follow))

    @rule(name=st.one_of(names, directories), text=_ACLS, default=st.booleans())
    def set_acl(self, name, text, default):
        self.do(m.SetAcl(name or ".", text, default))

    @rule(name=names)
    def birth_time(self, name):
        self.do(m.BirthTime(name))

    @rule(name=names, key=_XATTRS, follow=st.booleans())
    def getxattr(self, name, key, follow):
        self.do(m.GetXattr(name, key, follow))

    @rule(name=names, follow=st.booleans())
    def listxattr(self, name, follow):
        self.do(m.ListXattr(name, follow))

    @rule(name=names, key=_XATTRS, follow=st.booleans())
    def removexattr(self, name, key, follow):
        self.do(m.RemoveXattr(name, key, follow))

    @rule(name=names, follow=st.booleans())
    def stat(self, name, follow):
        self.do(m.Stat(name, follow))

    @rule(directory=directories)
    def readdir(self, directory):
        self.do(m.ReadDir(directory or "."))

    # Other users

    @rule(uid=st.sampled_from([1000, 1001]), name=names, data=_DATA)
    def write_as_another(self, uid, name, data):
        self.do(m.As(uid, 1000, m.WriteFile(name, data)))

    @rule(uid=st.sampled_from([1000, 1001]), name=names)
    def unlink_as_another(self, uid, name):
        self.do(m.As(uid, 1000, m.Unlink(name)))

    @rule(uid=st.sampled_from([1000, 1001]), name=names, new=names)
    def rename_as_another(self, uid, name, new):
        self.do(m.As(uid, 1000, m.Rename(name, new)))

    @rule(uid=st.sampled_from([1000, 1001]), name=names, mode=_MODES)
    def chmod_as_another(self, uid, name, mode):
        self.do(m.As(uid, 1000, m.Chmod(name, mode)))

    # Open files

    @rule(target=handles, name=names, access=_ACCESS, create=_CREATE, extra=_EXTRA)
    def open_file(self, name, access, create, extra):
        return self.open(lambda slot: m.Open(slot, name, access | create | extra))

    @rule(target=handles, directory=directories)
    def open_directory(self, directory):
        return self.open(lambda slot: m.Open(slot, directory or ".", os.O_RDONLY | os.O_DIRECTORY))

    @rule(target=handles, directory=directories, never=st.booleans())
    def tmpfile(self, directory, never):
        return self.open(
            lambda slot: m.TmpFile(slot, directory or ".", os.O_RDWR | (os.O_EXCL if never else 0))
        )

    @rule(slot=handles, name=names)
    def link_file(self, slot, name):
        self.do(m.LinkFile(slot, name))

    @rule(target=handles, name=names, data=_DATA)
    def write_to_an_unlinked_file(self, name, data):
        slot = self.open(lambda slot: m.Open(slot, name, os.O_RDWR | os.O_CREAT))
        if slot == self.slot:
            self.do(m.Unlink(name))
            self.do(m.Write(slot, data))
        return slot

    @rule(target=handles, name=names, data=_DATA)
    def append_to_a_file(self, name, data):
        slot = self.open(lambda slot: m.Open(slot, name, os.O_RDWR | os.O_CREAT | os.O_APPEND))
        if slot == self.slot:
            self.do(m.Write(slot, data))
        return slot

    @rule(slot=consumes(handles))
    def close(self, slot):
        self.do(m.Close(slot))

    @rule(target=handles, slot=handles)
    def dup(self, slot):
        return self.open(lambda new: m.Dup(slot, new))

    @rule(slot=handles, size=_LENGTHS)
    def read(self, slot, size):
        self.do(m.Read(slot, size))

    @rule(slot=handles, data=_DATA)
    def write(self, slot, data):
        self.do(m.Write(slot, data))

    @rule(slot=handles, offset=_OFFSETS, size=_LENGTHS)
    def pread(self, slot, offset, size):
        self.do(m.PRead(slot, offset, size))

    @rule(slot=handles, offset=_OFFSETS, data=_DATA)
    def pwrite(self, slot, offset, data):
        self.do(m.PWrite(slot, offset, data))

    @rule(
        slot=handles,
        offset=st.sampled_from([0, 1, 5000]),
        whence=st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]),
    )
    def seek(self, slot, offset, whence):
        self.do(m.Seek(slot, offset, whence))

    @rule(slot=handles, offset=_OFFSETS, data=st.booleans())
    def seek_sparse(self, slot, offset, data):
        self.do(m.SeekData(slot, offset) if data else m.SeekHole(slot, offset))

    @rule(slot=handles, size=_OFFSETS)
    def ftruncate(self, slot, size):
        self.do(m.FTruncate(slot, size))

    @rule(slot=handles, mode=_FALLOCATE, offset=_OFFSETS, size=_LENGTHS)
    def fallocate(self, slot, mode, offset, size):
        self.do(m.FAllocate(slot, mode, offset, size))

    @rule(slot=handles, offset=_OFFSETS, new=handles, new_offset=_OFFSETS, size=_LENGTHS)
    def copy_range(self, slot, offset, new, new_offset, size):
        self.do(m.CopyRange(slot, offset, new, new_offset, size))

    @rule(slot=handles, offset=_OFFSETS, new=handles, size=_LENGTHS)
    def sendfile(self, slot, offset, new, size):
        self.do(m.SendFile(slot, offset, new, size))

    @rule(slot=handles)
    def fstat(self, slot):
        self.do(m.FStat(slot))

    @rule(slot=handles, data_only=st.booleans())
    def fsync(self, slot, data_only):
        self.do(m.FSync(slot, data_only))

    @rule(slot=handles, mode=_MODES)
    def fchmod(self, slot, mode):
        self.do(m.FChmod(slot, mode))

    @rule(slot=handles, uid=_IDS, gid=_IDS)
    def fchown(self, slot, uid, gid):
        self.do(m.FChown(slot, uid, gid))

    @rule(slot=handles, atime=_TIMES, mtime=_TIMES)
    def futimens(self, slot, atime, mtime):
        self.do(m.FUtimens(slot, atime, mtime))

    @rule(slot=handles, key=_XATTRS, value=_VALUES, flags=_XATTR_FLAGS)
    def fsetxattr(self, slot, key, value, flags):
        self.do(m.FSetXattr(slot, key, value, flags))

    @rule(slot=handles)
    def freaddir(self, slot):
        self.do(m.FReadDir(slot))

    @rule(slot=handles, on=st.booleans())
    def set_append(self, slot, on):
        self.do(m.SetAppend(slot, on))

    @rule(slot=handles, operation=st.sampled_from([fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_UN]))
    def flock(self, slot, operation):
        self.do(m.Flock(slot, operation))

    @rule(slot=handles, kind=_LOCKS, start=_RANGE, size=_RANGE)
    def ofd_lock(self, slot, kind, start, size):
        self.do(m.OfdLock(slot, kind, start, size))

    @rule(slot=handles, kind=st.sampled_from([fcntl.F_RDLCK, fcntl.F_WRLCK]), start=_RANGE, size=_RANGE)
    def ofd_test(self, slot, kind, start, size):
        self.do(m.OfdTest(slot, kind, start, size))

    # Mappings

    @rule(
        target=mappings,
        slot=handles,
        first=st.sampled_from([0, 0, 1]),
        pages=st.sampled_from([1, 2, 6]),
        private=st.sampled_from([False, False, True]),
        writable=st.sampled_from([True, True, False]),
    )
    def map(self, slot, first, pages, private, writable):
        return self.open(lambda number: m.Map(number, slot, first, pages, private, writable))

    @rule(mapping=mappings, offset=st.one_of(_EDGES, st.integers(0, 9000)), size=_LENGTHS)
    def map_load(self, mapping, offset, size):
        self.do(m.MapLoad(mapping, offset, size))

    @rule(mapping=mappings, offset=st.one_of(_EDGES, st.integers(0, 9000)), data=_DATA)
    def map_store(self, mapping, offset, data):
        self.do(m.MapStore(mapping, offset, data))

    @rule(mapping=mappings)
    def map_sync(self, mapping):
        self.do(m.MapSync(mapping))

    @rule(mapping=consumes(mappings))
    def unmap(self, mapping):
        self.do(m.Unmap(mapping))


def make_machine(arena):
    """The class of a machine that runs in this arena."""
    return type("FileSystemMachine", (FileSystemMachine,), {"arena": arena})

# SPDX-License-Identifier: Apache-2.0
"""What a file system gives and the session refuses: the caller gets EIO, and what the result holds is let go."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem
from instar.wire import fuse as wire
from instar.wire.fuse import Opcode
from tests.transport.services import fails
from tests.transport.test_session import Counting, Deaf

pytestmark = pytest.mark.timeout(30)

_NEW = {
    "mknod": (Opcode.FUSE_MKNOD, wire.Mknod("new", stat.S_IFIFO | 0o644, 0, 0)),
    "mkdir": (Opcode.FUSE_MKDIR, wire.Mkdir("new", 0o755, 0)),
    "symlink": (Opcode.FUSE_SYMLINK, wire.Symlink("new", "there")),
    "link": (Opcode.FUSE_LINK, wire.Link(2, "new")),
    "create": (Opcode.FUSE_CREATE, wire.Create("new", os.O_RDWR, stat.S_IFREG | 0o644, 0)),
    "tmpfile": (Opcode.FUSE_TMPFILE, wire.Tmpfile(os.O_RDWR, stat.S_IFREG | 0o644, 0)),
}


class Nonsense(Counting):
    """Opens, makes and finds, and spoils what it gives once it is told to."""

    spoil = staticmethod(lambda result: result)

    def _handed_out(self, ino):
        return self.spoil(super()._handed_out(ino))

    def _spoil_entry(self, entry):
        entry.attr = Attr(entry.ino, 0o644)  # without a file type
        return entry

    def lookup(self, ctx, parent, name):
        return self._spoil_entry(super().lookup(ctx, parent, name))

    def mkdir(self, ctx, parent, name, mode):
        return self._spoil_entry(super().mkdir(ctx, parent, name, mode))

    def create(self, ctx, parent, name, mode, flags):
        entry, file = super().create(ctx, parent, name, mode, flags)
        return self._spoil_entry(entry), file


class NonsenseLater(Nonsense):
    async def mkdir(self, ctx, parent, name, mode):
        return super().mkdir(ctx, parent, name, mode)

    async def create(self, ctx, parent, name, mode, flags):
        return super().create(ctx, parent, name, mode, flags)

    async def release(self, ctx, ino, fh, flags):
        super().release(ctx, ino, fh, flags)


@pytest.mark.parametrize("kind", [Nonsense, NonsenseLater])
def test_what_a_refused_result_holds_is_released_and_forgotten(kind, caplog):
    def spoil(opened):
        opened.fh = -opened.fh
        fs.open_files[opened.fh] = fs.open_files.pop(-opened.fh)
        return opened

    fs = kind()
    channel = Deaf(fs)
    try:
        for opcode, message in (
            (Opcode.FUSE_CREATE, wire.Create("new", os.O_RDWR, stat.S_IFREG | 0o644, 0)),
            (Opcode.FUSE_MKDIR, wire.Mkdir("dir", 0o755, 0)),
            (Opcode.FUSE_LOOKUP, wire.Lookup("new")),
        ):
            with fails(errno.EIO):
                channel.call(wire.EntryReply, opcode, message, ROOT_INO)
        assert fs.forgotten == [2, 3, 2]
        fs.spoil = spoil
        for opcode, message in (
            (Opcode.FUSE_OPEN, wire.Open(os.O_RDWR)),
            (Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY)),
        ):
            with fails(errno.EIO):
                channel.call(wire.OpenReply, opcode, message, 2 if opcode == Opcode.FUSE_OPEN else ROOT_INO)
        for task in list(channel._tasks):
            channel.loop.run_until_complete(task)
        assert fs.open_files == {}
        assert channel.session.known == {}
        assert channel.session.mappable == {}
        assert "could not be let go" not in caplog.text
    finally:
        channel.close()


@pytest.mark.parametrize("name", _NEW)
def test_the_root_cannot_be_made_again(name, caplog):
    def rooted(base):
        def method(*args):
            result = base(*args)
            entry = result[0] if isinstance(result, tuple) else result
            entry.ino = ROOT_INO
            return result

        return method

    fs = Counting()
    channel = Deaf(fs)
    try:
        there = wire.Create("there", os.O_RDWR, stat.S_IFREG | 0o644, 0)
        channel.call(wire.CreateReply, Opcode.FUSE_CREATE, there, ROOT_INO)
        fs.open_files.clear()
        known = dict(channel.session.known)
        setattr(fs, name, rooted(getattr(fs, name)))
        fs.release = lambda ctx, ino, fh, flags: fs.open_files.pop(fh)
        opcode, message = _NEW[name]
        with fails(errno.EIO):
            channel.call(wire.EntryReply, opcode, message, ROOT_INO)
        assert channel.session.known == known
        assert fs.open_files == {}
        assert ROOT_INO not in fs.forgotten
        assert "the root, node 1" in caplog.text
    finally:
        channel.close()


class HalfWay(Counting):
    """Has no create of its own, and fails in the second half of what the session makes of two calls."""

    create = FileSystem.create

    def mknod(self, ctx, parent, name, mode, rdev):
        return super().mknod(ctx, parent, name, mode, rdev)

    def open(self, ctx, ino, flags):
        if flags & os.O_TRUNC:
            return super().open(ctx, ino, flags)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def setattr(self, ctx, ino, changes, fh=None):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))


class HalfWayLater(HalfWay):
    async def mknod(self, ctx, parent, name, mode, rdev):
        return super().mknod(ctx, parent, name, mode, rdev)

    async def open(self, ctx, ino, flags):
        return super().open(ctx, ino, flags)

    async def setattr(self, ctx, ino, changes, fh=None):
        super().setattr(ctx, ino, changes, fh)


@pytest.mark.parametrize("kind", [HalfWay, HalfWayLater])
def test_the_first_half_of_an_operation_is_taken_back_when_the_second_fails(kind):
    channel = Deaf(kind())
    try:
        create = wire.Create("new", os.O_RDWR, stat.S_IFREG | 0o644, 0)
        with fails(errno.EMFILE):
            channel.call(wire.CreateReply, Opcode.FUSE_CREATE, create, ROOT_INO)
        assert channel.fs.forgotten == [2]
        cut = wire.Open(os.O_RDWR | os.O_TRUNC, wire.OpenInFlags.FUSE_OPEN_KILL_SUIDGID)
        with fails(errno.EDQUOT):
            channel.call(wire.OpenReply, Opcode.FUSE_OPEN, cut, 2)
        assert channel.fs.open_files == {}
        assert channel.session.known == {}
    finally:
        channel.close()


@pytest.mark.parametrize("kind", [HalfWay, HalfWayLater])
def test_the_caller_gets_the_first_error_when_taking_back_fails_as_well(kind, caplog):
    channel = Deaf(kind())

    def release(ctx, ino, fh, flags):
        raise LookupError("no such file of mine")

    channel.fs.release = release
    try:
        node = wire.Mknod("there", stat.S_IFREG | 0o644, 0, 0)
        channel.call(wire.EntryReply, Opcode.FUSE_MKNOD, node, ROOT_INO)
        cut = wire.Open(os.O_RDWR | os.O_TRUNC, wire.OpenInFlags.FUSE_OPEN_KILL_SUIDGID)
        with fails(errno.EDQUOT):
            channel.call(wire.OpenReply, Opcode.FUSE_OPEN, cut, 2)
        (told,) = (record for record in caplog.records if record.exc_info)
        assert "could not be taken back" in told.getMessage()
        assert isinstance(told.exc_info[1], LookupError)
    finally:
        channel.close()


class Long(FileSystem):
    """Lists names that are longer than it says that they may be."""

    name_max = 255
    entry_timeout = attr_timeout = 1.0

    def readdir(self, ctx, ino, fh, cookie):
        for number, size in enumerate((255, 256, 300), 1):
            if number > cookie:
                yield DirEntry("n" * size, number + 1, stat.S_IFREG, number)

    def lookup(self, ctx, parent, name):
        return Entry(2, Attr(2, stat.S_IFREG | 0o644))


class LongPlain(Long):
    entry_timeout = attr_timeout = 0.0


class LongLater(LongPlain):
    async def readdir(self, ctx, ino, fh, cookie):
        for line in super().readdir(ctx, ino, fh, cookie):
            yield line


@pytest.mark.parametrize("kind", [LongPlain, LongLater])
def test_a_long_name_in_a_listing_without_attributes_is_told_once(kind, caplog):
    channel = Deaf(kind())
    try:
        opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
        for size in (320, 8192, 8192):  # bytes: up to the name that fits, and all of them
            message = wire.Readdir(opened.fh, 0, size)
            reply = channel.call(wire.ReaddirReply, Opcode.FUSE_READDIR, message, ROOT_INO)
            assert bool(caplog.records) == (len(reply.entries) > 3)
        assert [len(line.name) for line in reply.entries] == [1, 2, 255, 256, 300]
        (told,) = (record.getMessage() for record in caplog.records)
        assert "and name_max is 255" in told
    finally:
        channel.close()


def test_a_listed_name_that_no_lookup_would_take_is_told_once(caplog):
    channel = Deaf(Long())
    try:
        opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
        message = wire.Readdirplus(opened.fh, 0, 8192)
        reply = channel.call(wire.ReaddirplusReply, Opcode.FUSE_READDIRPLUS, message, ROOT_INO)
        assert [len(line.dirent.name) for line in reply.entries] == [1, 2, 255, 256, 300]
        (told,) = (record.getMessage() for record in caplog.records)
        assert "a name of 256 bytes, and name_max is 255" in told
        with fails(errno.ENAMETOOLONG):
            channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup("n" * 256), ROOT_INO)
    finally:
        channel.close()


@pytest.mark.parametrize("mtime", [1 << 70, -(1 << 70), 1 << 92])
def test_a_time_that_a_file_can_have_goes_out_as_it_is_however_far(mtime):
    class Far(FileSystem):
        def getattr(self, ctx, ino, fh=None):
            return Attr(ino, stat.S_IFDIR | 0o755, mtime=mtime)

    channel = Deaf(Far())
    try:
        reply = channel.call(wire.AttrReply, Opcode.FUSE_GETATTR, wire.Getattr(None), ROOT_INO)
        assert reply.attr.mtime == mtime
    finally:
        channel.close()


def test_a_time_that_no_file_can_have_is_refused_and_told(caplog):
    class Beyond(FileSystem):
        def getattr(self, ctx, ino, fh=None):
            return Attr(ino, stat.S_IFDIR | 0o755, mtime=1 << 93)

    channel = Deaf(Beyond())
    try:
        with fails(errno.EIO):
            channel.call(wire.AttrReply, Opcode.FUSE_GETATTR, wire.Getattr(None), ROOT_INO)
        assert "expected an Attr" in caplog.text
    finally:
        channel.close()

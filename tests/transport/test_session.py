# SPDX-License-Identifier: Apache-2.0
"""The session without a kernel: what it counts, what it takes back, and what it says to requests that are none."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import stat

import pytest

from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem, Open
from instar.fs.memfs import MemFS
from instar.testing import Channel
from instar.transport import MountOptions
from instar.wire import fuse as wire
from instar.wire.fuse import InitFlags, Opcode
from tests.transport.services import fails

FILE = Attr(2, stat.S_IFREG | 0o644)


class Deaf(Channel):
    """A channel to a kernel that does not want replies any more once ``deaf`` is set."""

    deaf = False

    def send(self, unique, body):
        return False if self.deaf else super().send(unique, body)

    def send_error(self, unique, code):
        return False if self.deaf else super().send_error(unique, code)

    def vanish(self, opcode, message, nodeid=ROOT_INO):
        """A request whose caller is gone when the reply comes."""
        self.deaf = True
        _, task = self.post(opcode, message, nodeid)
        if task is not None:
            self.loop.run_until_complete(task)
        self.deaf = False
        for background in list(self._tasks):
            self.loop.run_until_complete(background)


class Counting(MemFS):
    """Keeps a list of what is opened, closed and forgotten."""

    def __init__(self):
        super().__init__()
        self.handles = itertools.count(100)
        self.open_files = {}
        self.forgotten = []

    def _handed_out(self, ino):
        fh = next(self.handles)
        self.open_files[fh] = ino
        return Open(fh)

    def open(self, ctx, ino, flags):
        super().open(ctx, ino, flags)
        return self._handed_out(ino)

    def create(self, ctx, parent, name, mode, flags):
        entry, _ = super().create(ctx, parent, name, mode, flags)
        return entry, self._handed_out(entry.ino)

    def tmpfile(self, ctx, parent, mode, flags):
        entry, _ = super().tmpfile(ctx, parent, mode, flags)
        return entry, self._handed_out(entry.ino)

    def opendir(self, ctx, ino, flags):
        return self._handed_out(ino)

    def release(self, ctx, ino, fh, flags):
        assert self.open_files.pop(fh) == ino

    def releasedir(self, ctx, ino, fh, flags):
        assert self.open_files.pop(fh) == ino

    def forget(self, ino):
        self.forgotten.append(ino)
        super().forget(ino)


class CountingLater(Counting):
    """The same, asynchronously."""

    async def open(self, ctx, ino, flags):
        await asyncio.sleep(0)
        return super().open(ctx, ino, flags)

    async def create(self, ctx, parent, name, mode, flags):
        await asyncio.sleep(0)
        return super().create(ctx, parent, name, mode, flags)

    async def opendir(self, ctx, ino, flags):
        await asyncio.sleep(0)
        return super().opendir(ctx, ino, flags)

    async def lookup(self, ctx, parent, name):
        await asyncio.sleep(0)
        return super().lookup(ctx, parent, name)

    async def release(self, ctx, ino, fh, flags):
        await asyncio.sleep(0)
        super().release(ctx, ino, fh, flags)

    async def releasedir(self, ctx, ino, fh, flags):
        await asyncio.sleep(0)
        super().releasedir(ctx, ino, fh, flags)


@pytest.fixture(params=[Counting, CountingLater], ids=["plain", "async"])
def channel(request):
    channel = Deaf(request.param())
    yield channel
    channel.close()


def _create(channel, name, nodeid=ROOT_INO):
    message = wire.Create(name, os.O_RDWR | os.O_CREAT, stat.S_IFREG | 0o644, 0)
    return channel.call(wire.CreateReply, Opcode.FUSE_CREATE, message, nodeid)


_MAKERS = {
    "lookup": (Opcode.FUSE_LOOKUP, wire.Lookup("there")),
    "mknod": (Opcode.FUSE_MKNOD, wire.Mknod("new", stat.S_IFIFO | 0o644, 0, 0)),
    "mkdir": (Opcode.FUSE_MKDIR, wire.Mkdir("new", 0o755, 0)),
    "symlink": (Opcode.FUSE_SYMLINK, wire.Symlink("new", "there")),
    "link": (Opcode.FUSE_LINK, wire.Link(2, "new")),
    "create": (Opcode.FUSE_CREATE, wire.Create("new", os.O_RDWR, stat.S_IFREG | 0o644, 0)),
    "tmpfile": (Opcode.FUSE_TMPFILE, wire.Tmpfile(os.O_RDWR, stat.S_IFREG | 0o644, 0)),
}


@pytest.mark.parametrize("name", _MAKERS)
def test_an_entry_that_the_kernel_did_not_take_is_not_known(channel, name):
    there = _create(channel, "there").entry.nodeid
    assert there == 2
    known, files = dict(channel.session.known), dict(channel.fs.open_files)
    opcode, message = _MAKERS[name]
    channel.vanish(opcode, message)
    assert channel.session.known == known
    assert channel.fs.open_files == files
    assert channel.session.mappable == {there: 1}
    if name in ("lookup", "link"):
        assert channel.fs.forgotten == []  # still known from before
    else:
        assert channel.fs.forgotten == [3]
    assert channel.session.exceptions == 0


def test_a_file_that_nobody_learned_was_opened_is_released(channel):
    there = _create(channel, "there").entry.nodeid
    before = dict(channel.fs.open_files)
    channel.vanish(Opcode.FUSE_OPEN, wire.Open(os.O_RDWR), there)
    assert channel.fs.open_files == before
    assert channel.session.mappable == {there: 1}


def test_a_directory_that_nobody_learned_was_opened_is_released_and_its_stream_dropped(channel):
    opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
    channel.vanish(Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY))
    assert len(channel.fs.open_files) == 1
    reply = channel.call(wire.ReaddirReply, Opcode.FUSE_READDIR, wire.Readdir(opened.fh, 0, 4096), ROOT_INO)
    assert [each.name for each in reply.entries] == [".", ".."]
    with fails(errno.EBADF):
        channel.call(wire.ReaddirReply, Opcode.FUSE_READDIR, wire.Readdir(opened.fh + 1, 0, 4096), ROOT_INO)


def test_a_listing_that_the_kernel_did_not_take_leaves_no_node_known_and_can_be_had_again(channel):
    for number in range(5):
        _create(channel, f"f{number}")
    known = dict(channel.session.known)
    opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
    channel.vanish(Opcode.FUSE_READDIRPLUS, wire.Readdirplus(opened.fh, 0, 4096))
    assert channel.session.known == known
    reply = channel.call(
        wire.ReaddirplusReply, Opcode.FUSE_READDIRPLUS, wire.Readdirplus(opened.fh, 0, 4096), ROOT_INO
    )
    assert [each.dirent.name for each in reply.entries] == [".", "..", "f0", "f1", "f2", "f3", "f4"]
    assert channel.session.known == {ino: count + 1 for ino, count in known.items()}


def test_an_undo_that_raises_is_reported_and_ends_nothing(caplog):
    class Broken(Counting):
        def release(self, ctx, ino, fh, flags):
            raise SystemExit("from release")

        def forget(self, ino):
            raise KeyboardInterrupt("from forget")

    channel = Deaf(Broken())
    channel.vanish(Opcode.FUSE_CREATE, wire.Create("new", os.O_RDWR, stat.S_IFREG | 0o644, 0))
    channel.vanish(Opcode.FUSE_MKDIR, wire.Mkdir("dir", 0o755, 0))
    assert "from release" in caplog.text
    assert "from forget" in caplog.text
    assert _create(channel, "again").entry.nodeid
    channel.close()


def test_nodes_are_forgotten_once_when_the_last_reference_is_given_back(channel):
    ino = _create(channel, "f").entry.nodeid
    for _ in range(4):
        channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup("f"), ROOT_INO)
    assert channel.session.known == {ino: 5}
    channel.post(Opcode.FUSE_FORGET, wire.Forget(3), ino)
    assert channel.fs.forgotten == []
    channel.post(Opcode.FUSE_BATCH_FORGET, wire.BatchForget(((ino, 2),)), 0)
    assert channel.fs.forgotten == [ino]
    assert channel.session.known == {}


def test_what_was_never_known_is_never_forgotten(channel):
    channel.post(Opcode.FUSE_FORGET, wire.Forget(1), 77)
    channel.post(Opcode.FUSE_FORGET, wire.Forget(1), ROOT_INO)
    assert channel.fs.forgotten == []


def test_a_negative_entry_counts_as_no_lookup(channel):
    reply = channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup("none"), ROOT_INO)
    assert reply.nodeid == 0
    assert channel.session.known == {}


def test_without_a_negative_timeout_a_missing_name_is_an_errno():
    channel = Channel(FileSystem())
    with fails(errno.ENOENT):
        channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup("none"), ROOT_INO)
    channel.close()


def test_opcodes_that_nobody_knows_are_refused_without_enosys(channel):
    for opcode in (7, 19, 48, 49, 99, 4095, 4096, 1 << 31):
        raw = bytearray(wire.IN_HEADER.pack(wire.IN_HEADER_SIZE, opcode, 4242, ROOT_INO, 0, 0, 0, 0, 0))
        channel.session.handle(memoryview(raw), len(raw))
        _, error, unique = wire.OUT_HEADER.unpack(channel.replies.pop(4242))
        assert unique == 4242
        assert -error in (errno.EOPNOTSUPP, errno.EIO, errno.EPROTO)


def test_a_request_that_is_cut_or_whose_length_lies_is_refused_and_reported(channel, caplog):
    message = wire.encode_request(
        wire.Header(Opcode.FUSE_LOOKUP, 10, ROOT_INO, 0, 0, 0), wire.Lookup("there")
    )
    for cut in range(wire.IN_HEADER_SIZE, len(message)):
        channel.session.handle(memoryview(bytearray(message)), cut)
        assert wire.OUT_HEADER.unpack(channel.replies.pop(10))[1] == -errno.EIO
    assert "lookup failed" in caplog.text


def test_forget_and_interrupt_that_are_cut_are_reported_and_get_no_reply(channel, caplog):
    for opcode in (Opcode.FUSE_FORGET, Opcode.FUSE_BATCH_FORGET, Opcode.FUSE_INTERRUPT):
        raw = bytearray(wire.IN_HEADER.pack(wire.IN_HEADER_SIZE, opcode, 4242, 2, 0, 0, 0, 0, 0))
        channel.session.handle(memoryview(raw), len(raw))
    assert 4242 not in channel.replies
    assert all(name in caplog.text for name in ("FUSE_FORGET", "FUSE_BATCH_FORGET", "FUSE_INTERRUPT"))


def test_an_interrupt_cancels_the_handler_it_names_and_no_other():
    cancelled = []

    class Waiting(FileSystem):
        async def read(self, ctx, ino, fh, offset, size):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(offset)
                raise

    channel = Channel(Waiting())
    posted = [channel.post(Opcode.FUSE_READ, wire.Read(0, n, 10, 0, 0, 0), 2) for n in range(3)]
    channel.loop.run_until_complete(asyncio.sleep(0))
    assert len(channel.session.tasks) == 3
    channel.interrupt(posted[1][0])
    channel.interrupt(4444)
    channel.loop.run_until_complete(posted[1][1])
    assert cancelled == [1]
    with fails(errno.EINTR):
        channel.take(wire.DataReply, Opcode.FUSE_READ, posted[1][0])
    assert len(channel.session.tasks) == 2
    channel.close()
    assert sorted(cancelled) == [0, 1, 2]
    assert channel.session.tasks == {}


def test_a_cancellation_that_nobody_asked_for_is_a_failure_and_not_an_interrupt(caplog):
    class Cancelling(FileSystem):
        async def read(self, ctx, ino, fh, offset, size):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    channel = Channel(Cancelling())
    with fails(errno.EIO):
        channel.call(wire.DataReply, Opcode.FUSE_READ, wire.Read(0, 0, 10, 0, 0, 0), 2)
    assert "CancelledError" in caplog.text
    channel.close()


def test_a_handler_that_finishes_in_spite_of_an_interrupt_is_answered():
    class Stubborn(FileSystem):
        async def read(self, ctx, ino, fh, offset, size):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return b"done"

    channel = Channel(Stubborn())
    unique, task = channel.post(Opcode.FUSE_READ, wire.Read(0, 0, 10, 0, 0, 0), 2)
    channel.loop.run_until_complete(asyncio.sleep(0))
    channel.interrupt(unique)
    channel.loop.run_until_complete(task)
    assert channel.take(wire.DataReply, Opcode.FUSE_READ, unique).data == b"done"
    channel.close()


def test_one_place_is_reported_once_and_each_failure_is_counted(caplog):
    class Broken(FileSystem):
        def read(self, ctx, ino, fh, offset, size):
            if offset:
                raise ValueError("one place")
            raise ValueError("another")

    channel = Channel(Broken())
    for offset in [0, 1] * 10:
        with fails(errno.EIO):
            channel.call(wire.DataReply, Opcode.FUSE_READ, wire.Read(0, offset, 10, 0, 0, 0), 2)
    assert channel.session.exceptions == 20
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    channel.close()


def test_a_flush_that_fails_drops_the_locks_of_who_closes_all_the_same():
    dropped = []

    class Locks(FileSystem):
        def flush(self, ctx, ino, fh, lock_owner):
            raise OSError(errno.EDQUOT, "")

        def getlk(self, ctx, ino, fh, owner, lock):
            return None

        async def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
            await asyncio.sleep(0)
            dropped.append((owner, lock.type.name, flock))

    class LocksLater(Locks):
        async def flush(self, ctx, ino, fh, lock_owner):
            await asyncio.sleep(0)
            super().flush(ctx, ino, fh, lock_owner)

    for kind in (Locks, LocksLater):
        dropped.clear()
        channel = Channel(kind())
        with fails(errno.EDQUOT):
            channel.call(wire.EmptyReply, Opcode.FUSE_FLUSH, wire.Flush(0, 99), 2)
        channel.loop.run_until_complete(asyncio.sleep(0.01))
        assert dropped == [(99, "UNLCK", False)]
        channel.close()


def test_a_release_happens_even_if_its_unlock_fails():
    released = []

    class Locks(FileSystem):
        def getlk(self, ctx, ino, fh, owner, lock):
            return None

        def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
            raise OSError(errno.ENOLCK, "")

        def release(self, ctx, ino, fh, flags):
            released.append(fh)

    channel = Channel(Locks())
    flags = wire.ReleaseFlags.FUSE_RELEASE_FLOCK_UNLOCK
    with fails(errno.ENOLCK):
        channel.call(wire.EmptyReply, Opcode.FUSE_RELEASE, wire.Release(7, 0, int(flags), 99), 2)
    assert released == [7]
    channel.close()


def test_init_asks_for_locks_and_acls_only_where_the_class_has_them():
    class Locks(FileSystem):
        def getlk(self, ctx, ino, fh, owner, lock):
            return None

        def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
            return None

    def flags(fs, **options):
        channel = Channel(fs, MountOptions(**options))
        channel.close()
        return InitFlags(channel.agreed.flags)

    locks = InitFlags.FUSE_POSIX_LOCKS | InitFlags.FUSE_FLOCK_LOCKS
    assert not flags(FileSystem()) & (locks | InitFlags.FUSE_POSIX_ACL)
    assert flags(Locks()) & locks == locks
    assert flags(MemFS()) & InitFlags.FUSE_POSIX_ACL
    assert not flags(MemFS(), default_permissions=False) & InitFlags.FUSE_POSIX_ACL
    assert flags(MemFS()) & InitFlags.FUSE_EXPORT_SUPPORT
    assert not flags(MemFS(), exportable=False) & InitFlags.FUSE_EXPORT_SUPPORT
    assert not flags(MemFS()) & (InitFlags.FUSE_WRITEBACK_CACHE | InitFlags.FUSE_OVER_IO_URING)


def test_a_default_create_is_a_mknod_and_an_open_without_the_flags_of_creation():
    opened = []

    class Simple(FileSystem):
        def mknod(self, ctx, parent, name, mode, rdev):
            return Entry(2, FILE)

        def open(self, ctx, ino, flags):
            opened.append(flags)
            return Open(5)

    channel = Channel(Simple())
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
    made = channel.call(
        wire.CreateReply, Opcode.FUSE_CREATE, wire.Create("f", flags, stat.S_IFREG | 0o644, 0), ROOT_INO
    )
    assert (made.entry.nodeid, made.open.fh) == (2, 5)
    assert opened == [os.O_RDWR | os.O_APPEND]
    channel.close()


def test_a_listing_cut_short_by_an_interrupt_starts_again_where_it_was():
    class Slow(FileSystem):
        def readdir(self, ctx, ino, fh, cookie):
            async def lines():
                for number in range(cookie + 1, 6):
                    if number == 3:
                        await self.gate.wait()
                    yield DirEntry(f"n{number}", number + 2, stat.S_IFREG, number)

            return lines()

        def lookup(self, ctx, parent, name):
            return Entry(int(name[1:]) + 2, Attr(int(name[1:]) + 2, stat.S_IFREG | 0o644))

    for plus in (False, True):
        channel = Channel(Slow())
        channel.fs.gate = asyncio.Event()
        opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
        opcode = Opcode.FUSE_READDIRPLUS if plus else Opcode.FUSE_READDIR
        kind = wire.ReaddirplusReply if plus else wire.ReaddirReply
        ask = (wire.Readdirplus if plus else wire.Readdir)(opened.fh, 0, 4096)
        unique, task = channel.post(opcode, ask, ROOT_INO)
        channel.loop.run_until_complete(asyncio.sleep(0))
        channel.interrupt(unique)
        channel.loop.run_until_complete(task)
        with fails(errno.EINTR):
            channel.take(kind, opcode, unique)
        assert channel.session.known == {}
        channel.fs.gate.set()
        reply = channel.call(kind, opcode, ask, ROOT_INO)
        names = [each.dirent.name if plus else each.name for each in reply.entries]
        assert names == [".", "..", "n1", "n2", "n3", "n4", "n5"]
        channel.close()


class Strict(MemFS):
    """Is never asked for a dot, and does not hide what is for root."""

    def lookup(self, ctx, parent, name):
        assert name not in (".", "..")
        return super().lookup(ctx, parent, name)

    def listxattr(self, ctx, ino):
        return ["user.a", "trusted.b"]


def test_the_session_answers_dots_by_parent_and_getattr_without_asking_lookup():
    channel = Channel(Strict())
    try:
        inner = channel.call(wire.EntryReply, Opcode.FUSE_MKDIR, wire.Mkdir("d", 0o755, 0), ROOT_INO).nodeid
        for name, start, expected in (
            (".", inner, inner),
            ("..", inner, ROOT_INO),
            ("..", ROOT_INO, ROOT_INO),
        ):
            found = channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup(name), start)
            assert (found.nodeid, found.attr.mode >> 12) == (expected, stat.S_IFDIR >> 12)
        assert channel.session.known == {inner: 2, ROOT_INO: 2}
        with fails(errno.ESTALE):
            channel.call(wire.EntryReply, Opcode.FUSE_LOOKUP, wire.Lookup("."), 12345)
    finally:
        channel.close()


def test_the_session_keeps_trusted_attributes_from_all_but_root():
    channel = Channel(Strict())
    try:
        for uid, expected in ((0, b"user.a\0trusted.b\0"), (1000, b"user.a\0")):
            message = wire.Listxattr(1000)
            got = channel.call(wire.DataReply, Opcode.FUSE_LISTXATTR, message, ROOT_INO, uid)
            assert bytes(got.data) == expected
    finally:
        channel.close()

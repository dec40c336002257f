# SPDX-License-Identifier: Apache-2.0
"""Listings: resumed anywhere, complete while names come and go, and wrong in no way that stays unnoticed."""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import os
import stat

import pytest

from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem, Open
from instar.fs.memfs import MemFS
from instar.testing import Channel, mounted
from instar.wire import fuse as wire
from instar.wire.fuse import Opcode
from tests.transport.services import Line, fails

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = _libc.readdir64.restype = ctypes.c_void_p
_libc.opendir.argtypes = [ctypes.c_char_p]
_libc.telldir.restype = ctypes.c_long
for _name in ("readdir64", "telldir", "rewinddir", "closedir"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p]
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_NAME = 19  # offsetof(struct dirent64, d_name)


class Stream:
    """A directory stream of the C library, which has what Python's lacks: places."""

    def __init__(self, path):
        self._dir = _libc.opendir(os.fsencode(path))
        assert self._dir

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        _libc.closedir(self._dir)

    def next(self):
        ctypes.set_errno(0)
        entry = _libc.readdir64(self._dir)
        if entry is None:
            if code := ctypes.get_errno():
                raise OSError(code, os.strerror(code))
            return None
        return os.fsdecode(ctypes.string_at(entry + _NAME))

    def rest(self):
        return list(iter(self.next, None))

    def tell(self):
        return _libc.telldir(self._dir)

    def seek(self, place):
        _libc.seekdir(self._dir, place)

    def rewind(self):
        _libc.rewinddir(self._dir)


class Listed(FileSystem):
    """A root whose listing is what ``lines(cookie)`` gives; each listed name is an empty file."""

    def __init__(self, lines, log=None):
        self.lines = lines
        if log is not None:
            logging.getLogger("instar").addHandler(logging.FileHandler(log))

    def getattr(self, ctx, ino, fh=None):
        if ino == ROOT_INO:
            return Attr(ino, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | 0o644)

    def lookup(self, ctx, parent, name):
        if not name.startswith("n"):
            raise FileNotFoundError(errno.ENOENT, "")
        return Entry(int(name[1:]) + 2, Attr(int(name[1:]) + 2, stat.S_IFREG | 0o644))

    def readdir(self, ctx, ino, fh, cookie):
        return self.lines(cookie)


def line(number, **more):
    fields = {"name": f"n{number}", "ino": number + 2, "mode": stat.S_IFREG, "cookie": number, **more}
    return DirEntry(**fields)


def count_to(last):
    return lambda cookie: (line(number) for number in range(cookie + 1, last + 1))


def count_to_async(last):
    async def lines(cookie):
        for number in range(cookie + 1, last + 1):
            yield line(number)

    return lines


def promised(last):
    async def lines(cookie):
        return [line(number) for number in range(cookie + 1, last + 1)]

    return lines


def promised_async(last):
    async def lines(cookie):
        return count_to_async(last)(cookie)

    return lines


class ListedAsync(Listed):
    """The same, with a lookup that has to be awaited."""

    async def lookup(self, ctx, parent, name):
        return super().lookup(ctx, parent, name)


class ListedPlus(Listed):
    """The same, with a listing of its own that has attributes."""

    def readdirplus(self, ctx, ino, fh, cookie):
        for each in self.lines(cookie):
            each.entry = self.lookup(ctx, ino, each.name)
            yield each


_KINDS = {
    "generator": lambda: Listed(count_to(2000)),
    "list": lambda: Listed(lambda cookie: [line(number) for number in range(cookie + 1, 2001)]),
    "async generator": lambda: Listed(count_to_async(2000)),
    "async function that returns a list": lambda: Listed(promised(2000)),
    "async function that returns an async generator": lambda: Listed(promised_async(2000)),
    "generator, async lookup": lambda: ListedAsync(count_to(2000)),
    "async generator, async lookup": lambda: ListedAsync(count_to_async(2000)),
    "own readdirplus": lambda: ListedPlus(count_to(2000)),
}
_ALL = [f"n{number}" for number in range(1, 2001)]


@pytest.mark.parametrize("kind", _KINDS)
def test_a_listing_is_complete_and_in_order_whatever_kind_of_iterable_it_is(kind):
    with mounted(_KINDS[kind]) as top:
        assert os.listdir(top) == _ALL
        with os.scandir(top) as lines:
            assert [each.name for each in lines if each.stat().st_ino == int(each.name[1:]) + 2] == _ALL
        assert os.listdir(top) == _ALL


@pytest.mark.parametrize("kind", _KINDS)
def test_telldir_seekdir_and_rewinddir_lead_where_they_say(kind):
    with mounted(_KINDS[kind]) as top, Stream(top) as stream:
        assert [stream.next(), stream.next()] == [".", ".."]
        places = {}
        for name in _ALL:
            places[name] = stream.tell()
            assert stream.next() == name
        end = stream.tell()
        assert stream.next() is None
        for name in ("n1500", "n3", "n2000", "n1", "n700"):
            stream.seek(places[name])
            assert stream.next() == name
            assert stream.tell() == places.get(f"n{int(name[1:]) + 1}", end)
        stream.seek(places["n1999"])
        assert stream.rest() == ["n1999", "n2000"]
        stream.rewind()
        assert stream.rest() == [".", "..", *_ALL]
        stream.seek(end)
        assert stream.rest() == []


def test_seeking_to_the_dots_and_between_them_gives_the_rest():
    with mounted(lambda: Listed(count_to(3))) as top, Stream(top) as stream:
        start = stream.tell()
        everything, places = [], []
        while True:
            places.append(stream.tell())
            if (name := stream.next()) is None:
                break
            everything.append(name)
        assert everything == [".", "..", "n1", "n2", "n3"]
        for number, place in enumerate(places):
            stream.seek(place)
            assert stream.rest() == everything[number:]
        stream.seek(start)
        assert stream.rest() == everything


def test_a_seek_to_the_largest_cookie_asks_for_what_comes_after_it():
    with Line() as said:

        def lines(cookie):
            said.say(cookie)
            return []

        with mounted(lambda: Listed(lines)) as top:
            fd = os.open(top, os.O_RDONLY)
            try:
                os.lseek(fd, (1 << 63) - 1, os.SEEK_SET)
                assert os.listdir(fd) == []  # Python rewinds first
                libc = ctypes.CDLL(None, use_errno=True)
                os.lseek(fd, (1 << 63) - 1, os.SEEK_SET)
                assert libc.syscall(217, fd, ctypes.create_string_buffer(4096), 4096) == 0  # getdents64
            finally:
                os.close(fd)
        assert int(said.pending()[-1]) == (1 << 63) - 3


def test_each_opening_of_a_directory_has_its_own_listing():
    with mounted(lambda: Listed(count_to(500))) as top, Stream(top) as one, Stream(top) as two:
        pairs = [(one.next(), two.next()) for _ in range(300)]
        assert all(first == second for first, second in pairs)
        one.rewind()
        assert one.next() == "."
        assert two.next() == "n299"


def test_a_directory_that_is_closed_half_way_ends_its_async_generator():
    with Line() as said:

        def lines(cookie):
            async def endless():
                try:
                    for number in itertools.count(cookie + 1):
                        yield line(number)
                finally:
                    said.say("ended")

            return endless()

        with mounted(lambda: Listed(lines)) as top:
            with Stream(top) as stream:
                assert [stream.next() for _ in range(5)][-1] == "n3"
            assert said.hear() == "ended"


def test_a_name_that_is_gone_before_its_lookup_is_left_out():
    class Going(Listed):
        def lookup(self, ctx, parent, name):
            if int(name[1:]) % 2:
                raise FileNotFoundError(errno.ENOENT, "")
            return super().lookup(ctx, parent, name)

    class GoingAsync(Going):
        async def lookup(self, ctx, parent, name):
            return super().lookup(ctx, parent, name)

    for kind in (Going, GoingAsync):
        with mounted(lambda kind=kind: kind(count_to(100))) as top:
            assert os.listdir(top) == [f"n{number}" for number in range(2, 101, 2)]


@pytest.mark.parametrize("awaits", [False, True])
def test_an_endless_listing_of_names_that_are_not_there_keeps_nobody_waiting(awaits):
    class Nowhere(Listed):
        def lookup(self, ctx, parent, name):
            raise FileNotFoundError(errno.ENOENT, "")

    class NowhereAsync(Nowhere):
        async def lookup(self, ctx, parent, name):
            return super().lookup(ctx, parent, name)

    with mounted(lambda: (NowhereAsync if awaits else Nowhere)(count_to(1 << 62))) as top:
        with Stream(top) as stream:
            assert stream.next() is not None
        with pytest.raises(FileNotFoundError):
            (top / "n1").stat()


# ------------------------------------------------------------------------------------------------ errors


def _raise(error):
    raise error


def _breaking_after(number, error):
    return lambda cookie: (
        line(each) if each <= number else _raise(error) for each in range(cookie + 1, number + 2)
    )


def _breaking_after_async(number, error):
    async def lines(cookie):
        for each in range(cookie + 1, number + 1):
            yield line(each)
        raise error

    return lines


_ERRORS = {
    "an errno": (OSError(errno.EREMOTEIO, ""), errno.EREMOTEIO),
    "ValueError": (ValueError("half-way"), errno.EIO),
    "SystemExit": (SystemExit(1), errno.EIO),
    "KeyboardInterrupt": (KeyboardInterrupt(), errno.EIO),
}


@pytest.mark.parametrize("plus", [False, True], ids=["names", "attributes"])
@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("name", _ERRORS)
@pytest.mark.parametrize("number", [0, 10, 1000])
def test_what_was_listed_before_an_error_is_delivered_and_then_the_error(name, later, plus, number):
    error, code = _ERRORS[name]
    lines = (_breaking_after_async if later else _breaking_after)(number, error)
    if not later and isinstance(error, ValueError):  # a generator turns some exceptions into others
        lines = _breaking_after(number, error)
    kind = ListedPlus if plus and not later else Listed
    with mounted(lambda: kind(lines), allow_errors=True) as top, Stream(top) as stream:
        for _ in range(2):
            assert [stream.next() for _ in range(number + 2)] == [".", "..", *_ALL[:number]]
            with fails(code):
                stream.next()
            stream.rewind()


def test_after_an_error_the_same_place_can_be_asked_again():
    def lines(cookie):
        nonlocal broken
        for number in range(cookie + 1, 11):
            if number == 5 and broken:
                broken = False
                raise OSError(errno.EAGAIN, "")
            yield line(number)

    broken = True
    with mounted(lambda: Listed(lines)) as top, Stream(top) as stream:
        assert [stream.next() for _ in range(6)] == [".", "..", "n1", "n2", "n3", "n4"]
        with fails(errno.EAGAIN):
            stream.next()
        assert stream.rest() == ["n5", "n6", "n7", "n8", "n9", "n10"]


_MISUSE = {
    "cookie 0": (lambda: line(1, cookie=0), "cookie 0; it must be from 1"),
    "negative cookie": (lambda: line(1, cookie=-1), "cookie -1; it must be from 1"),
    "cookie too large": (lambda: line(1, cookie=(1 << 63) - 3), "it must be from 1 to 2**63 - 4"),
    "cookie of text": (lambda: line(1, cookie="1"), "TypeError"),
    "text": (lambda: "n1", "'n1', which is not a DirEntry"),
    "tuple": (lambda: ("n1", 2), "which is not a DirEntry"),
    "None": (lambda: None, "None, which is not a DirEntry"),
    "slash": (lambda: line(1, name="a/b"), "'a/b'"),
    "empty": (lambda: line(1, name=""), "''"),
    "NUL": (lambda: line(1, name="a\0b"), "'a\\x00b'"),
    "dot": (lambda: line(1, name="."), "'.': leave it out"),
    "dots": (lambda: line(1, name=".."), "'..': leave it out"),
    "long": (lambda: line(1, name="n" + "1".rjust(1024, "0")), "is no name of a directory entry"),
    "bytes": (lambda: line(1, name=b"n1"), "Error"),
    "ino of text": (lambda: line(1, ino="1"), "does not fit"),
    "negative ino": (lambda: line(1, ino=-1), "does not fit"),
    "mode of text": (lambda: line(1, mode="file"), "TypeError"),
    "no entry": (lambda: Entry(2, Attr(2, 0o100644)), "which is not a DirEntry"),
}


@pytest.mark.parametrize("kind", [Listed, ListedAsync], ids=["plain lookup", "async lookup"])
@pytest.mark.parametrize("name", _MISUSE)
def test_a_line_that_is_none_gives_eio_and_the_log_says_why(name, kind, tmp_path):
    make, words = _MISUSE[name]
    log = tmp_path / "log"

    def lines(cookie):
        if cookie < 1:
            yield line(100)
        yield make()

    with mounted(lambda: kind(lines, log), allow_errors=True) as top, Stream(top) as stream:
        assert [stream.next() for _ in range(3)] == [".", "..", "n100"]
        with fails(errno.EIO):
            stream.next()
    assert words in log.read_text()


def test_two_entries_with_one_cookie_are_refused_by_name(tmp_path):
    log = tmp_path / "log"
    with (
        mounted(
            lambda: Listed(lambda cookie: [line(1, cookie=7), line(2, cookie=7)], log), allow_errors=True
        ) as top,
        fails(errno.EIO),
    ):
        os.listdir(top)
    assert "readdir gave 'n2' the cookie 7, which is that of the entry before" in log.read_text()


def test_a_resumed_listing_that_repeats_the_entry_is_refused(tmp_path):
    log = tmp_path / "log"
    with (
        mounted(
            lambda: Listed(lambda cookie: [line(n) for n in range(max(cookie, 1), 9)], log), allow_errors=True
        ) as top,
        Stream(top) as stream,
    ):
        assert [stream.next() for _ in range(5)][-1] == "n3"
        stream.seek(stream.tell())
        with fails(errno.EIO):
            stream.next()
    assert "a listing that is resumed with one goes on behind it" in log.read_text()


@pytest.mark.parametrize(
    "value", [None, 5, object(), "abc", b"abc", [None], {"n1": 1}, 1.5], ids=lambda value: repr(value)[:8]
)
def test_a_readdir_that_returns_no_listing_gives_eio(value, tmp_path):
    with mounted(lambda: Listed(lambda cookie: value, tmp_path / "log"), allow_errors=True) as top:
        with fails(errno.EIO):
            os.listdir(top)
        os.stat(top)
    assert "which is not" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "entry",
    [5, Entry(0, Attr(0, 0)), Entry(9, None), Entry(9, Attr(9, 0o644)), Entry(-1, Attr(9, 0o100644))],
    ids=["5", "node 0", "no attributes", "no type", "negative"],
)
def test_a_bad_entry_in_a_listing_with_attributes_gives_eio_and_leaves_no_node_known(entry, tmp_path):
    class Plus(Listed):
        def readdirplus(self, ctx, ino, fh, cookie):
            yield line(1, entry=Entry(3, Attr(3, 0o100644)))
            yield line(2, entry=entry)

    channel = Channel(Plus(count_to(0)))
    opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), ROOT_INO)
    for _ in range(2):
        ask = wire.Readdirplus(opened.fh, 0, 4096)
        reply = channel.call(wire.ReaddirplusReply, Opcode.FUSE_READDIRPLUS, ask, ROOT_INO)
        assert [each.dirent.name for each in reply.entries] == [".", "..", "n1"]
        ask = wire.Readdirplus(opened.fh, reply.entries[-1].dirent.off, 4096)
        with fails(errno.EIO):
            channel.call(wire.ReaddirplusReply, Opcode.FUSE_READDIRPLUS, ask, ROOT_INO)
    assert channel.session.known == {3: 2}
    channel.close()


# --------------------------------------------------------------------------------------------- changes


def test_names_that_stay_are_listed_once_while_others_come_and_go():
    with mounted(MemFS) as top:
        stay = {f"stay{number}" for number in range(300)}
        for name in sorted(stay):
            (top / name).touch()
            (top / f"go-{name}").touch()
        for turn in range(5):
            with Stream(top) as stream:
                seen = []
                for number in itertools.count():
                    name = stream.next()
                    if name is None:
                        break
                    seen.append(name)
                    if number % 10 == turn:
                        (top / f"come{turn}-{number}").touch()
                    if number % 10 == turn + 1 and (top / f"go-stay{number}").exists():
                        (top / f"go-stay{number}").unlink()
                    if number == 100:
                        stream.seek(stream.tell())
            assert len(seen) == len(set(seen))
            assert stay <= set(seen)


def test_a_handle_of_opendir_comes_back_in_every_call_on_the_directory():
    with Line() as said:

        class Handles(Listed):
            def opendir(self, ctx, ino, flags):
                return Open(0xABCDEF0123456789)

            def readdir(self, ctx, ino, fh, cookie):
                said.say("readdir", hex(fh))
                return []

            def fsyncdir(self, ctx, ino, fh, datasync):
                said.say("fsyncdir", hex(fh))

            def ioctl(self, ctx, ino, fh, cmd, arg, data, out_size, flags):
                said.say("ioctl", hex(fh))
                raise OSError(errno.ENOTTY, "")

            def releasedir(self, ctx, ino, fh, flags):
                said.say("releasedir", hex(fh))

        with mounted(lambda: Handles(count_to(0))) as top:
            fd = os.open(top, os.O_RDONLY)
            os.listdir(fd)
            os.fsync(fd)
            with fails(errno.ENOTTY):
                import fcntl

                fcntl.ioctl(fd, 0x80086901, bytes(8))
            os.close(fd)
            heard = said.hear_until("releasedir 0xabcdef0123456789")
        assert {each.split()[1] for each in heard} == {"0xabcdef0123456789"}
        assert {each.split()[0] for each in heard} == {"readdir", "fsyncdir", "ioctl", "releasedir"}

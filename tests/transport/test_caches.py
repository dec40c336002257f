# SPDX-License-Identifier: Apache-2.0
"""What the kernel answers from its caches, for how long, and the notifications that end it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import time

import pytest

from instar.fs import ROOT_INO, Entry, Open
from instar.fs.memfs import MemFS
from instar.testing import mounted
from tests.transport.services import Line, OneFile, until

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


_libc = ctypes.CDLL(None, use_errno=True)
_IN_DELETE_SELF = 0x400  # sys/inotify.h


# ---------------------------------------------------------------------------------------------- caches


class Counting(OneFile):
    """Counts what it is asked."""

    def __init__(self, line, entry=0.0, attr=0.0, negative=0.0):
        super().__init__()
        self.line = line
        self.entry_timeout, self.attr_timeout, self.negative_timeout = entry, attr, negative

    def lookup(self, ctx, parent, name):
        self.line.say("lookup", name)
        return super().lookup(ctx, parent, name)

    def getattr(self, ctx, ino, fh=None):
        self.line.say("getattr", ino)
        return super().getattr(ctx, ino, fh)

    def open(self, ctx, ino, flags):
        return Open()


def _asked(line, word):
    return sum(each.startswith(word) for each in line.pending())


def test_with_timeouts_of_0_every_stat_asks_and_with_long_ones_only_the_first():
    for seconds, asked in ((0.0, 5), (3600.0, 1)):
        with Line() as line, mounted(lambda s=seconds, p=line: Counting(p, s, s)) as top:
            line.pending()
            for _ in range(5):
                os.stat(top / "file")
            assert _asked(line, "lookup file") == asked


def test_an_attribute_timeout_that_has_passed_is_asked_for_again_and_the_name_is_not():
    with Line() as line, mounted(lambda: Counting(line, 3600.0, 0.2)) as top:
        os.stat(top / "file")
        line.pending()
        os.stat(top / "file")
        assert _asked(line, "getattr 2") == 0
        time.sleep(0.4)  # what is tested is the passing of time
        os.stat(top / "file")
        heard = line.pending()
        assert "getattr 2" in heard
        assert "lookup file" not in heard


@pytest.mark.parametrize(("seconds", "asked"), [(0.0, 4), (3600.0, 1)])
def test_a_missing_name_is_remembered_for_the_negative_timeout(seconds, asked):
    with Line() as line, mounted(lambda: Counting(line, 0.0, 0.0, seconds)) as top:
        for _ in range(4):
            assert not os.path.exists(top / "missing")
        assert _asked(line, "lookup missing") == asked


def test_timeouts_can_be_set_by_mount_options():
    options = "entry_timeout=3600,attr_timeout=3600,negative_timeout=3600"
    with Line() as line, mounted(lambda: Counting(line), options=options) as top:
        for _ in range(4):
            os.stat(top / "file")
            assert not os.path.exists(top / "missing")
        heard = line.pending()
        assert heard.count("lookup file") == 1
        assert heard.count("lookup missing") == 1


def test_an_entry_has_timeouts_of_its_own():
    class Own(Counting):
        def lookup(self, ctx, parent, name):
            entry = super().lookup(ctx, parent, name)
            return Entry(entry.ino, entry.attr, entry_timeout=3600.0, attr_timeout=3600.0)

    with Line() as line, mounted(lambda: Own(line)) as top:
        for _ in range(4):
            os.stat(top / "file")
        assert _asked(line, "lookup file") == 1


# ----------------------------------------------------------------------------------------- notifications


class Changing(OneFile):
    """Caches everything for ever, and changes behind the kernel's back when an attribute is set."""

    entry_timeout = attr_timeout = negative_timeout = 3600.0

    def __init__(self, line):
        super().__init__(b"old content\n")
        self.line = line
        self.names = {"file": 2}

    def lookup(self, ctx, parent, name):
        self.line.say("lookup", name)
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "")
        return Entry(self.names[name], OneFile.getattr(self, ctx, self.names[name]))

    def getattr(self, ctx, ino, fh=None):
        self.line.say("getattr", ino)
        return super().getattr(ctx, ino)

    def open(self, ctx, ino, flags):
        return Open(keep_cache=True)

    def read(self, ctx, ino, fh, offset, size):
        self.line.say("read", offset)
        return super().read(ctx, ino, fh, offset, size)

    def setxattr(self, ctx, ino, name, value, flags):
        match value.decode().split():
            case ["content", word]:
                self.content = word.encode()
            case ["name", word]:
                self.names[word] = 2
            case ["no-name", word]:
                del self.names[word]
            case ["inval_inode", *numbers]:
                self.notify.inval_inode(2, *map(int, numbers))
            case ["inval_entry", word]:
                self.notify.inval_entry(ROOT_INO, word)
            case ["expire", word]:
                self.notify.inval_entry(ROOT_INO, word, expire_only=True)
            case ["delete", word]:
                self.notify.delete(ROOT_INO, 2, word)
            case ["store", word]:
                self.notify.store(2, 0, word.encode())
            case ["unknown"]:
                self.notify.inval_inode(12345)
                self.notify.inval_entry(99, "nothing")
                self.notify.inval_entry(ROOT_INO, "never seen")
                self.notify.delete(ROOT_INO, 12345, "never seen")
                self.notify.store(12345, 0, b"x")
                self.notify.poll(777)


@pytest.fixture
def changing():
    with Line() as line, mounted(lambda: Changing(line)) as top:

        def tell(words):
            os.setxattr(top, "user.do", words.encode())

        with open(top / "file", "rb") as tell.held:  # so that nothing but a notification ends what is cached
            for _ in range(2):  # the first read makes the kernel ask for the time of access
                assert (top / "file").read_bytes() == b"old content\n"
            line.pending()
            yield top, line, tell


def test_without_a_notification_the_kernel_answers_from_its_caches(changing):
    top, line, tell = changing
    tell("content new")
    assert (top / "file").read_bytes() == b"old content\n"
    assert line.pending() == []


def test_inval_inode_makes_the_new_content_and_size_seen(changing):
    top, _, tell = changing
    tell("content new")
    tell("inval_inode 0 0")
    until(lambda: (top / "file").read_bytes() == b"new")
    assert (top / "file").stat().st_size == 3


def test_inval_inode_of_the_attributes_alone_keeps_the_data(changing):
    top, line, tell = changing
    tell("inval_inode -1 0")
    until(lambda: (top / "file").stat() and "getattr 2" in line.pending())
    assert (top / "file").read_bytes() == b"old content\n"
    assert "read 0" not in line.pending()


@pytest.mark.parametrize("how", ["inval_entry", "expire"])
def test_inval_entry_and_expire_have_a_name_looked_up_again(changing, how):
    top, line, tell = changing
    tell(f"{how} file")
    until(lambda: (top / "file").stat() and "lookup file" in line.pending())


def test_inval_entry_ends_a_cached_absence(changing):
    top, _line, tell = changing
    assert not (top / "later").exists()
    tell("name later")
    assert not (top / "later").exists()
    tell("inval_entry later")
    until((top / "later").exists)


def test_delete_takes_a_name_away_and_tells_who_watches_the_file(changing):
    top, _, tell = changing
    with open(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0) as watch:
        assert _libc.inotify_add_watch(watch.fileno(), os.fsencode(top / "file"), _IN_DELETE_SELF) > 0
        tell.held.close()
        tell("no-name file")
        tell("delete file")
        poller = select.poll()
        poller.register(watch, select.POLLIN)
        assert poller.poll(10_000)
        _, mask, _, _ = struct.unpack_from("iIII", watch.read(4096))
    assert mask & _IN_DELETE_SELF
    assert not (top / "file").exists()


def test_store_puts_data_into_the_page_cache(changing):
    top, line, tell = changing
    tell("store NEW")
    until(lambda: (top / "file").read_bytes() == b"NEW content\n")
    assert "read 0" not in line.pending()


def test_notifications_about_what_the_kernel_does_not_know_do_no_harm(changing):
    top, line, tell = changing
    tell("unknown")
    tell("inval_entry file")
    until(lambda: (top / "file").stat() and "lookup file" in line.pending())


def test_a_notification_for_a_directory_in_which_a_caller_waits_does_not_block_the_server():
    """INVAL_ENTRY takes the lock of the directory that a mkdir under way holds: a server that wrote it itself would hang."""

    class Notifying(MemFS):
        def mkdir(self, ctx, parent, name, mode):
            for number in range(20):
                self.notify.inval_entry(parent, f"d{number}")
            return super().mkdir(ctx, parent, name, mode)

        def unlink(self, ctx, parent, name):
            self.notify.inval_entry(parent, name)
            self.notify.delete(parent, self._child(parent, name).ino, name)
            return super().unlink(ctx, parent, name)

    with mounted(Notifying) as top:
        for number in range(20):
            os.mkdir(top / f"d{number}")
            (top / f"f{number}").touch()
        for number in range(20):
            (top / f"f{number}").unlink()
        until(lambda: len(os.listdir(top)) == 20)

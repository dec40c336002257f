# SPDX-License-Identifier: Apache-2.0
"""`Tree`: files that are written to, polled and seeked, without a kernel."""

from __future__ import annotations

import asyncio
import errno
import os
import select

import pytest

from instar.fs import (
    ROOT_INO,
    Dir,
    File,
    PollHandle,
    SeqFile,
    SetAttr,
    Symlink,
    Tree,
)
from tests.fs.in_process import CTX, Opened, cat, find, refused

# -------------------------------------------------------------------------------- writing


def test_each_write_is_one_call_whatever_its_offset():
    taken = []
    opened = Opened(Tree({"f": File(write=taken.append)}), "f", os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    assert opened.open.direct_io
    assert opened.write(b"one\n") == 4
    assert opened.write(b"two\n", 4) == 4
    assert opened.write(b"\xff", 1000) == 1
    assert taken == ["one\n", "two\n", "\udcff"]


def test_binary_files_take_bytes():
    taken = []
    Opened(Tree({"f": File(write=taken.append, binary=True)}), "f", os.O_WRONLY).write(b"\xff\0")
    assert taken == [b"\xff\0"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(OSError(errno.EBUSY, "busy"), errno.EBUSY), (ValueError("no number"), errno.EINVAL)],
)
@pytest.mark.parametrize("later", [False, True])
def test_what_the_setter_raises_is_what_write_returns(error, code, later):
    def plain(text):
        raise error

    async def delayed(text):
        await asyncio.sleep(0)
        raise error

    opened = Opened(Tree({"f": File(write=delayed if later else plain)}), "f", os.O_WRONLY)
    refused(code, opened.write, b"x")


def test_an_async_setter_is_awaited():
    taken = []

    async def store(text):
        await asyncio.sleep(0)
        taken.append(text)

    assert Opened(Tree({"f": File(write=store)}), "f", os.O_WRONLY).write(b"text") == 4
    assert taken == ["text"]


def test_a_reader_that_writes_reads_what_is_there_afterwards():
    value = ["old"]
    file = File(read=lambda: value[0], write=lambda text: value.__setitem__(0, text))
    opened = Opened(Tree({"f": file}), "f", os.O_RDWR)
    opened.write(b"new")
    assert opened.read() == b"new"


def test_fixed_content_with_a_writer_is_not_cached_and_can_be_read():
    tree = Tree({"f": File("usage\n", write=print)})
    assert find(tree, "f").attr.size == 0
    assert cat(tree, "f") == b"usage\n"
    assert Opened(tree, "f").open.direct_io
    assert not Opened(tree, "f").open.keep_cache


def test_plain_bytes_are_cached():
    opened = Opened(Tree({"f": "x"}), "f").open
    assert opened.keep_cache
    assert not opened.direct_io


def test_a_file_without_a_writer_cannot_be_opened_for_writing_nor_cut():
    tree = Tree({"f": "x", "w": File(write=print)})
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        refused(errno.EACCES, tree.open, CTX, find(tree, "f").ino, flags)
    refused(errno.EACCES, tree.setattr, CTX, find(tree, "f").ino, SetAttr(size=0))
    refused(errno.EACCES, tree.open, CTX, find(tree, "w").ino, os.O_RDONLY)


def test_in_a_read_only_tree_it_is_erofs():
    tree = Tree({"f": "x", "w": File(write=print)}, read_only=True)
    for name in ("f", "w"):
        refused(errno.EROFS, tree.open, CTX, find(tree, name).ino, os.O_WRONLY)
        refused(errno.EROFS, tree.setattr, CTX, find(tree, name).ino, SetAttr(size=0))


def test_cutting_and_touching_a_file_that_can_be_written_does_nothing():
    tree = Tree({"w": File(write=print)})
    ino = find(tree, "w").ino
    assert tree.setattr(CTX, ino, SetAttr(size=5, mtime=1)) == tree.getattr(CTX, ino)
    refused(errno.EPERM, tree.setattr, CTX, ino, SetAttr(mode=0o777))
    refused(errno.EPERM, tree.setattr, CTX, ino, SetAttr(uid=0))


def test_names_cannot_be_added_or_removed_from_outside():
    tree = Tree({"f": "x", "w": File(write=print)})
    refused(errno.EPERM, tree.create, CTX, ROOT_INO, "new", 0o644, 0)
    refused(errno.EPERM, tree.mkdir, CTX, ROOT_INO, "new", 0o755)
    refused(errno.EPERM, tree.unlink, CTX, ROOT_INO, "f")
    refused(errno.EPERM, tree.rename, CTX, ROOT_INO, "f", ROOT_INO, "g", 0)
    refused(errno.EPERM, tree.setattr, CTX, ROOT_INO, SetAttr(mode=0o700))


def test_a_tree_is_read_only_when_nothing_in_it_can_be_written():
    assert Tree({"f": "x", "d": {"g": lambda: ""}}).read_only
    assert not Tree({"d": {"w": File(write=print)}}).read_only
    assert not Tree({"d": Dir(dict)}).read_only
    assert Tree({"d": Dir(dict)}, read_only=True).read_only
    assert not Tree({"f": "x"}, read_only=False).read_only


def test_directories_and_links_cannot_be_opened_as_files():
    tree = Tree({"d": {}, "l": Symlink("x")})
    refused(errno.EISDIR, tree.open, CTX, find(tree, "d").ino, os.O_RDONLY)
    refused(errno.ELOOP, tree.open, CTX, find(tree, "l").ino, os.O_RDONLY)


# -------------------------------------------------------------------------------- seeking and polling


def test_data_and_holes_are_known_where_the_size_is():
    tree = Tree({"b": b"12345", "c": lambda: "x", "s": SeqFile(range(3))})
    opened = Opened(tree, "b")
    assert opened.lseek(2, os.SEEK_DATA) == 2
    assert opened.lseek(2, os.SEEK_HOLE) == 5
    refused(errno.ENXIO, opened.lseek, 5, os.SEEK_DATA)
    for name in "cs":
        refused(errno.EINVAL, Opened(tree, name).lseek, 0, os.SEEK_DATA)


def test_notify_is_urgent_news_until_the_file_is_read_from_its_start():
    events = select.POLLIN | select.POLLPRI
    file = File(read=lambda: "x")
    opened = Opened(Tree({"f": file}), "f")
    woken = []
    assert opened.poll(events, PollHandle(7, woken.append)) == select.POLLIN
    file.notify()
    assert woken == [7]
    for _ in range(2):
        assert opened.poll(events) == select.POLLIN | select.POLLPRI | select.POLLERR
    opened.read(0)
    assert opened.poll(events) == select.POLLIN | select.POLLPRI | select.POLLERR
    opened.read(0)
    assert opened.poll(events) == select.POLLIN
    opened.close()
    file.notify()
    assert woken == [7]


def test_a_reader_of_a_seqfile_sees_notify_too():
    file = File(SeqFile(range(3)))
    opened = Opened(Tree({"f": file}), "f")
    file.notify()
    assert opened.poll(select.POLLPRI) == select.POLLPRI | select.POLLERR
    opened.read(0)
    assert opened.poll(select.POLLPRI) == 0

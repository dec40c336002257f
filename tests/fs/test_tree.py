# SPDX-License-Identifier: Apache-2.0
"""`Tree`: what each Python value becomes, without a kernel. Real programs use it in test_tree_mounted.py."""

from __future__ import annotations

import asyncio
import errno
import inspect
import itertools
import os
import select
import stat
from collections.abc import Mapping

import pytest

from instar.fs import (
    ROOT_INO,
    Attr,
    Context,
    Dir,
    DirEntry,
    File,
    PollHandle,
    SeqFile,
    SetAttr,
    Symlink,
    Tree,
    WriteFlags,
)

CTX = Context()


def now(value):
    """The result of an operation, whichever way it comes."""
    if inspect.isawaitable(value):

        async def result():
            return await value

        return asyncio.run(result())
    return value


def find(tree, path):
    """What a path walk of the kernel finds: the last Entry."""
    ino = ROOT_INO
    entry = None
    for name in path.split("/"):
        entry = now(tree.lookup(CTX, ino, name))
        ino = entry.ino
    return entry


def listing(tree, ino=ROOT_INO, cookie=0, plus=False):
    lines = (tree.readdirplus if plus else tree.readdir)(CTX, ino, 0, cookie)
    if isinstance(lines, Mapping) or hasattr(lines, "__iter__"):
        return list(lines)

    async def collect():
        return [line async for line in lines]

    return asyncio.run(collect())


def names(tree, ino=ROOT_INO):
    return [line.name for line in listing(tree, ino)]


class Opened:
    """A file opened in a tree."""

    def __init__(self, tree, path, flags=os.O_RDONLY):
        self.tree = tree
        self.ino = find(tree, path).ino
        self.open = now(tree.open(CTX, self.ino, flags))

    def read(self, offset=0, size=1 << 16):
        return now(self.tree.read(CTX, self.ino, self.open.fh, offset, size))

    def write(self, data, offset=0):
        return now(self.tree.write(CTX, self.ino, self.open.fh, offset, memoryview(data), WriteFlags.NONE))

    def poll(self, events, handle=None):
        return self.tree.poll(CTX, self.ino, self.open.fh, events, handle)

    def lseek(self, offset, whence):
        return now(self.tree.lseek(CTX, self.ino, self.open.fh, offset, whence))

    def close(self):
        now(self.tree.release(CTX, self.ino, self.open.fh, 0))


def cat(tree, path):
    opened = Opened(tree, path)
    text = b""
    while part := opened.read(len(text), 4096):
        text += bytes(part)
    opened.close()
    return text


def refused(code, call, *args):
    with pytest.raises(OSError) as caught:
        now(call(*args))
    assert errno.errorcode[caught.value.errno] == errno.errorcode[code]


# -------------------------------------------------------------------------------- what values become


def test_bytes_and_text_are_files_of_their_size():
    tree = Tree({"b": b"\0\xff", "s": "né\udcff"})
    assert find(tree, "b").attr.size == 2
    assert cat(tree, "b") == b"\0\xff"
    assert find(tree, "s").attr.size == 4
    assert cat(tree, "s") == b"n\xc3\xa9\xff"


def test_a_dict_is_a_directory():
    tree = Tree({"d": {"e": {"f": "x"}}})
    assert find(tree, "d").attr.is_dir
    assert cat(tree, "d/e/f") == b"x"
    assert names(tree, find(tree, "d").ino) == ["e"]


def test_a_function_makes_the_content_for_each_open_and_has_size_zero():
    count = itertools.count(1)
    tree = Tree({"n": lambda: f"{next(count)}\n"})
    assert find(tree, "n").attr.size == 0
    assert [cat(tree, "n"), cat(tree, "n")] == [b"1\n", b"2\n"]


def test_an_async_function_makes_content():
    async def fetch():
        await asyncio.sleep(0)
        return b"fetched"

    assert cat(Tree({"f": fetch}), "f") == b"fetched"


def test_a_function_is_called_again_for_a_reader_that_goes_back_to_the_start_and_only_there():
    count = itertools.count(1)
    opened = Opened(Tree({"n": lambda: f"{next(count)}23456"}), "n")
    assert opened.read(0, 3) == b"123"
    assert opened.read(3, 3) == b"456"
    assert opened.read(1, 3) == b"234"
    assert opened.read(0, 3) == b"223"


def test_an_async_function_is_called_again_for_a_reader_that_goes_back_to_the_start():
    count = itertools.count(1)

    async def fetch():
        return str(next(count))

    opened = Opened(Tree({"n": fetch}), "n")
    assert [opened.read(), opened.read()] == [b"1", b"2"]


def test_a_function_is_not_called_for_a_file_that_is_only_written():
    def fail():
        raise AssertionError

    taken = []
    opened = Opened(Tree({"f": File(read=fail, write=taken.append)}), "f", os.O_WRONLY)
    assert opened.write(b"x") == 1
    assert taken == ["x"]
    refused(errno.EBADF, opened.read)


def test_what_a_function_raises_is_what_open_returns():
    def fail():
        raise OSError(errno.EHOSTUNREACH, "away")

    tree = Tree({"f": fail})
    refused(errno.EHOSTUNREACH, tree.open, CTX, find(tree, "f").ino, os.O_RDONLY)


def test_a_function_that_returns_no_content_is_an_error_that_names_the_path():
    tree = Tree({"d": {"f": lambda: 42}})
    with pytest.raises(
        TypeError, match=r"^/d/f: the function returned int; return str or bytes, or use a SeqFile$"
    ):
        tree.open(CTX, find(tree, "d/f").ino, os.O_RDONLY)


def test_a_generator_function_is_a_seqfile():
    def rows():
        yield "a"
        yield "b"

    async def async_rows():
        yield "c"

    tree = Tree({"rows": rows, "async": async_rows, "seq": SeqFile(range(2))})
    assert cat(tree, "rows") == b"a\nb\n"
    assert cat(tree, "seq") == b"0\n1\n"
    assert find(tree, "rows").attr.size == 0

    async def read():
        entry = tree.lookup(CTX, ROOT_INO, "async")
        opened = tree.open(CTX, entry.ino, os.O_RDONLY)
        assert await tree.read(CTX, entry.ino, opened.fh, 0, 100) == b"c\n"
        await tree.release(CTX, entry.ino, opened.fh, 0)

    asyncio.run(read())


def test_a_symlink_has_its_target():
    tree = Tree({"l": Symlink("té")})
    entry = find(tree, "l")
    assert stat.S_ISLNK(entry.attr.mode)
    assert entry.attr.size == 3
    assert tree.readlink(CTX, entry.ino) == "té"
    refused(errno.EINVAL, tree.readlink, CTX, ROOT_INO)


def test_a_directory_may_be_a_function_plain_or_async():
    async def later():
        await asyncio.sleep(0)
        return {"b": "2"}

    tree = Tree({"plain": Dir(lambda: {"a": "1"}), "async": Dir(later)})
    for directory, name, text in (("plain", "a", b"1"), ("async", "b", b"2")):
        ino = find(tree, directory).ino
        assert names(tree, ino) == [name]
        assert cat(tree, f"{directory}/{name}") == text
        refused(errno.ENOENT, tree.lookup, CTX, ino, "other")


def test_a_directory_may_be_a_mapping_that_makes_its_entries_up():
    class Squares(Mapping):
        def __getitem__(self, name):
            if not name.isdigit():
                raise KeyError(name)
            return f"{int(name) ** 2}\n"

        def __iter__(self):
            return iter(["1", "2"])

        def __len__(self):
            return 2

    tree = Tree({"squares": Squares()})
    assert names(tree, find(tree, "squares").ino) == ["1", "2"]
    assert cat(tree, "squares/12") == b"144\n"
    refused(errno.ENOENT, tree.lookup, CTX, find(tree, "squares").ino, "x")


def test_a_mapping_may_raise_an_oserror():
    class Locked(Mapping):
        def __getitem__(self, name):
            raise PermissionError(errno.EACCES, name)

        def __iter__(self):
            return iter(())

        def __len__(self):
            return 0

    refused(errno.EACCES, Tree(Dir(Locked())).lookup, CTX, ROOT_INO, "a")


def test_a_directory_whose_function_returns_no_mapping_is_an_error_that_names_the_path():
    tree = Tree({"d": Dir(lambda: ["a"])})
    ino = find(tree, "d").ino
    with pytest.raises(TypeError, match=r"^/d: the directory's function returned list, not a mapping$"):
        tree.lookup(CTX, ino, "a")
    with pytest.raises(TypeError, match=r"^/d: "):
        tree.readdir(CTX, ino, 0, 0)


def test_a_subclass_may_hold_the_entries():
    class Two(Tree):
        entries = {"one": "1", "two": "2"}  # noqa: RUF012 - it is the point

    assert names(Two()) == ["one", "two"]


# -------------------------------------------------------------------------------- modes and owners


def test_modes_follow_from_what_a_file_can_do():
    tree = Tree(
        {
            "r": "x",
            "call": lambda: "x",
            "rw": File(read=lambda: "x", write=print),
            "w": File(write=print),
            "d": {},
            "own": File("x", mode=0o600),
            "sub": Dir({}, mode=0o1777),
        }
    )
    modes = {line.name: stat.S_IMODE(line.entry.attr.mode) for line in listing(tree, plus=True)}
    assert modes == {
        "r": 0o444, "call": 0o444, "rw": 0o644, "w": 0o200, "d": 0o555, "own": 0o600, "sub": 0o1777,
    }  # fmt: skip


def test_owners_are_the_process_the_tree_or_the_entry():
    assert find(Tree({"f": ""}), "f").attr.uid == os.geteuid()
    tree = Tree(
        {"f": "", "own": File("", uid=7), "d": Dir({}, gid=8), "l": Symlink("x", uid=9)}, uid=5, gid=6
    )
    assert [(line.entry.attr.uid, line.entry.attr.gid) for line in listing(tree, plus=True)] == [
        (5, 6), (7, 6), (5, 8), (9, 6),
    ]  # fmt: skip
    assert tree.getattr(CTX, ROOT_INO).uid == 5


# -------------------------------------------------------------------------------- what is found out later


def test_a_bad_name_or_value_that_comes_later_is_an_error_that_names_its_path():
    entries = {"d": {}}
    tree = Tree(entries)
    ino = find(tree, "d").ino
    entries["d"]["x"] = 5
    with pytest.raises(TypeError, match=r"^/d/x: int is nothing"):
        tree.lookup(CTX, ino, "x")
    with pytest.raises(TypeError, match=r"^/d/x: int is nothing"):
        listing(tree, ino)
    del entries["d"]["x"]
    entries["d"]["a/b"] = "x"
    with pytest.raises(ValueError, match=r"^/d: 'a/b' cannot be a name"):
        listing(tree, ino)


# -------------------------------------------------------------------------------- live changes


def test_a_change_of_the_dict_is_a_change_of_the_file_system():
    entries = {"a": "1"}
    tree = Tree(entries)
    entries["b"] = {"c": "2"}
    assert names(tree) == ["a", "b"]
    assert cat(tree, "b/c") == b"2"
    del entries["a"]
    refused(errno.ENOENT, tree.lookup, CTX, ROOT_INO, "a")
    assert tree.entry_timeout == tree.attr_timeout == 0


def test_an_open_file_of_bytes_shows_what_stands_there_now_and_stays_when_the_name_goes():
    entries = {"d": {"f": "old"}}
    opened = Opened(Tree(entries), "d/f")
    entries["d"]["f"] = "new content"
    assert opened.read() == b"new content"
    entries["d"] = {"f": "third"}
    assert opened.read() == b"third"
    del entries["d"]["f"]
    assert opened.read() == b"third"


def test_a_change_of_content_moves_the_time_of_change_and_nothing_else_does():
    entries = {"f": "old"}
    tree = Tree(entries)
    before = find(tree, "f")
    entries["f"] = str(b"old", "ascii")
    assert find(tree, "f").attr.mtime == before.attr.mtime
    entries["f"] = "new"
    after = find(tree, "f")
    assert after.attr.mtime > before.attr.mtime
    assert tree.getattr(CTX, after.ino) == after.attr


def test_a_name_that_becomes_another_type_of_file_is_another_node_to_the_kernel():
    entries = {"x": "file"}
    tree = Tree(entries)
    seen = set()
    for value in ("file", {}, Symlink("a"), Symlink("b")):
        entries["x"] = value
        entry = find(tree, "x")
        seen.add((entry.ino, entry.generation))
        assert 0 <= entry.generation < 1 << 31
    assert len(seen) == 4


# -------------------------------------------------------------------------------- numbers and forgetting


def test_a_path_has_the_same_number_in_every_tree_and_in_the_listing():
    def make():
        return Tree({"a": {"b": "x"}, "b": "y"})

    one, two = make(), make()
    assert find(one, "a/b").ino == find(two, "a/b").ino
    assert find(one, "a/b").ino != find(one, "b").ino
    assert {line.name: line.ino for line in listing(one)} == {
        name: find(two, name).ino for name in ("a", "b")
    }


def test_a_forgotten_name_costs_nothing_and_comes_back_with_its_number():
    tree = Tree({"d": {"f": "x"}})
    before = find(tree, "d/f").ino
    directory = tree.parent(before)
    tree.forget(before)
    tree.forget(directory)
    assert len(tree._nodes) == 1
    refused(errno.ESTALE, tree.getattr, CTX, before)
    assert find(tree, "d/f").ino == before
    assert tree.parent(before) == directory
    assert tree.parent(directory) == tree.parent(ROOT_INO) == ROOT_INO


def test_numbers_that_fall_together_are_told_apart(monkeypatch):
    monkeypatch.setattr("instar.fs._tree._NUMBER_BITS", 3)
    tree = Tree({str(n): str(n) for n in range(50)})
    inos = [find(tree, str(n)).ino for n in range(50)]
    assert len(set(inos)) == 50
    assert min(inos) > ROOT_INO
    assert [find(tree, str(n)).ino for n in range(50)] == inos


# -------------------------------------------------------------------------------- listings


def test_a_listing_keeps_the_order_of_the_dict():
    assert names(Tree(dict.fromkeys("zebra", "x"))) == ["z", "e", "b", "r", "a"]


def test_a_listing_says_what_type_each_entry_is():
    tree = Tree({"d": {}, "f": "", "l": Symlink("x"), "c": lambda: ""})
    assert [line.mode for line in listing(tree)] == [stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFREG]
    refused(errno.ENOTDIR, tree.readdir, CTX, find(tree, "f").ino, 0, 0)


def test_what_is_there_all_the_while_is_listed_once_whatever_comes_and_goes():
    entries = {f"stay{n}": "" for n in range(10)} | {f"go{n}": "" for n in range(10)}
    tree = Tree(entries)
    seen = []
    cookie = 0
    for step in itertools.count():
        line = next(iter(tree.readdir(CTX, ROOT_INO, 0, cookie)), None)
        if line is None:
            break
        assert isinstance(line, DirEntry)
        assert line.cookie > cookie
        seen.append(line.name)
        cookie = line.cookie
        entries.pop(f"go{step}", None)
        if step < 20:
            entries[f"come{step}"] = ""
    assert sorted(name for name in seen if name.startswith("stay")) == [f"stay{n}" for n in range(10)]
    assert len(seen) == len(set(seen))


def test_an_entry_that_goes_during_a_listing_is_left_out():
    entries = {"a": "", "b": "", "c": ""}
    tree = Tree(entries)
    lines = iter(tree.readdir(CTX, ROOT_INO, 0, 0))
    next(lines)
    del entries["b"]
    assert [line.name for line in lines] == ["c"]


def test_a_function_that_is_a_directory_is_called_once_for_a_listing_with_attributes():
    calls = []

    def entries():
        calls.append(1)
        return {str(n): str(n) for n in range(100)}

    tree = Tree(Dir(entries))
    assert [line.entry.attr.size for line in listing(tree, plus=True)] == [1] * 10 + [2] * 90
    assert len(calls) == 1


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


# -------------------------------------------------------------------------------- the end


def test_destroy_ends_what_is_open():
    ended = []

    def rows():
        try:
            yield "a"
            yield "b"
        finally:
            ended.append(True)

    tree = Tree({"rows": rows})
    Opened(tree, "rows").read(0, 1)
    asyncio.run(tree.destroy())
    assert ended == [True]


def test_a_handle_that_is_not_open_is_refused():
    tree = Tree({"f": "x"})
    refused(errno.EBADF, tree.read, CTX, find(tree, "f").ino, 99, 0, 1)
    assert tree.release(CTX, find(tree, "f").ino, 99, 0) is None


def test_attributes_are_typed():
    assert isinstance(Tree({}).getattr(CTX, ROOT_INO), Attr)

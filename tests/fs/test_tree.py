# SPDX-License-Identifier: Apache-2.0
"""`Tree`: what each Python value becomes, without a kernel. Real programs use it in test_tree_mounted.py."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import stat
import typing
from collections.abc import Mapping

import pytest

from instar.fs import (
    ROOT_INO,
    Attr,
    Dir,
    DirEntry,
    File,
    SeqFile,
    Symlink,
    Tree,
)
from tests.fs.in_process import CTX, Opened, cat, find, listing, names, refused

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


def test_its_arguments_are_typed_for_the_command_line():
    hints = typing.get_type_hints(Tree.__init__)
    assert hints["uid"] == int | None
    assert hints["entry_timeout"] == float | None


def test_the_cache_times_and_the_name_can_be_chosen():
    tree = Tree({}, entry_timeout=60, attr_timeout=30, fsname="knobs")
    assert (tree.entry_timeout, tree.attr_timeout, tree.fsname) == (60, 30, "knobs")


def test_a_function_may_return_any_kind_of_bytes():
    assert cat(Tree({"f": lambda: bytearray(b"x")}), "f") == b"x"
    assert cat(Tree({"f": lambda: memoryview(b"y")}), "f") == b"y"


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

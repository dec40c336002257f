# SPDX-License-Identifier: Apache-2.0
"""Listing directories: POSIX.1-2017 readdir(), rewinddir(), seekdir(), telldir(); getdents64(2)."""

from __future__ import annotations

import dataclasses
import errno
import os
import random

from instar.edge.getdents import DirectoryReader
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import KINDS

__all__: list[str] = []

_TYPES = {"fifo": 1, "char": 2, "dir": 4, "block": 6, "file": 8, "symlink": 10, "socket": 12}
_DT_UNKNOWN = 0


@dataclasses.dataclass(frozen=True)
class _Entry:
    """``ino``, the cookie behind it, ``DT_*`` and the name."""

    ino: int
    cookie: int
    type: int
    name: str


def _batch(fd: int, size: int = 32768) -> list[_Entry]:
    entries = DirectoryReader(size).batch(fd)
    return [_Entry(ino, cookie, type_, os.fsdecode(name)) for ino, cookie, type_, name in entries]


def _rest(fd: int, size: int = 32768) -> list[_Entry]:
    """All entries from where the descriptor stands."""
    entries = []
    while batch := _batch(fd, size):
        entries.extend(batch)
    return entries


def _list(path: str, size: int = 32768) -> list[_Entry]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return _rest(fd, size)
    finally:
        os.close(fd)


def _rewind_and_list(fd: int) -> list[_Entry]:
    os.lseek(fd, 0, os.SEEK_SET)
    return _rest(fd)


def _names(entries: list[_Entry]) -> list[str]:
    return sorted(entry.name for entry in entries if entry.name not in {".", ".."})


def _fill(path: str, count: int, prefix: str = "n") -> None:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    for number in range(count):
        os.close(os.open(f"{prefix}{number:06}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd))
    os.close(fd)


def _remove(path: str, names: list[str]) -> None:
    for name in names:
        os.unlink(f"{path}/{name}")


@case(short=True)
def _empty_directory_has_dot_and_dotdot(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    entries = {entry.name: entry for entry in t.me(_list, "d")}
    # POSIX leaves it open whether they are listed; programs on Linux expect it.
    t.equal(sorted(entries), [".", ".."], "entries")
    t.equal(entries["."].ino, t.stat("d").st_ino, "inode of .")
    t.equal(entries[".."].ino, t.stat(".").st_ino, "inode of ..")


@case(KINDS)
def _entry_has_the_inode_and_type_of_the_file(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "d/f")
    (entry,) = [one for one in t.me(_list, "d") if one.name == "f"]
    t.equal(entry.ino, t.stat("d/f").st_ino, "inode")
    t.true(entry.type in {_TYPES[kind], _DT_UNKNOWN}, f"type {entry.type} of a {kind}")


@case(each(10, 100, 1000, 5000))
def _every_name_is_listed_once(t: Arena, count: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", count)
    expected = [f"n{number:06}" for number in range(count)]
    entries = t.me(_list, "d")
    t.equal(_names(entries) == expected, True, f"the names of {count} files")
    t.equal(len(entries), count + 2, "entries")
    t.equal(len({entry.ino for entry in entries}), count + 2, "different inodes")
    t.equal(len({entry.cookie for entry in entries}), count + 2, "different cookies")
    t.equal(sorted(t.me(os.listdir, "d")) == expected, True, "names by readdir(3)")


@case({str(size): size for size in (300, 512, 1000, 4096, 100_000)})
def _small_buffers_give_the_same_list(t: Arena, size: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 150)
    t.me(_fill, "d", 5, "x" * 200)
    expected = [entry.name for entry in t.me(_list, "d")]
    t.equal(
        [entry.name for entry in t.me(_list, "d", size)] == expected,
        True,
        f"names in batches of {size} bytes",
    )


@case()
def _buffer_too_small_for_one_entry_is_einval(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.make("file", "d/" + "x" * 200)
    fd = t.me(os.open, "d", os.O_RDONLY)
    number = t.me.attempt(_batch, fd, 10)
    t.equal(number, errno.EINVAL, "errno with a buffer of 10 bytes")
    t.equal(len(t.me(_rest, fd)), 3, "entries afterwards")


@case(each(20, 1000))
def _cookie_resumes_behind_its_entry(t: Arena, count: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", count)
    fd = t.me(os.open, "d", os.O_RDONLY)
    entries = t.me(_rest, fd)
    generator = random.Random(count)
    for index in [0, 1, 2, count // 2, len(entries) - 1, *generator.sample(range(len(entries)), 10)]:
        t.me(os.lseek, fd, entries[index].cookie, os.SEEK_SET)
        rest = t.me(_rest, fd)
        names = [entry.name for entry in entries[index + 1 :]]
        t.equal([entry.name for entry in rest] == names, True, f"names behind entry {index}")


@case()
def _rewind_starts_again_and_shows_what_is_new(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 10)
    fd = t.me(os.open, "d", os.O_RDONLY)
    t.equal(len(t.me(_rest, fd)), 12, "entries")
    t.equal(t.me(_rest, fd), [], "entries behind the end")
    t.make("file", "d/new")
    t.me(os.unlink, "d/n000003")
    names = _names(t.me(_rewind_and_list, fd))
    t.equal(
        names,
        sorted({f"n{number:06}" for number in range(10)} - {"n000003"} | {"new"}),
        "names after rewinding",
    )


@case()
def _end_is_the_end_until_it_is_rewound(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    fd = t.me(os.open, "d", os.O_RDONLY)
    t.me(_rest, fd)
    for _ in range(3):
        t.equal(t.me(_rest, fd), [], "entries behind the end")
    t.equal(len(t.me(_rewind_and_list, fd)), 2, "entries after rewinding")


@case(each(200, 3000))
def _removing_what_was_listed_loses_nothing(t: Arena, count: int) -> None:
    """Rm -r does this: read a batch, remove it, read on."""
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", count)
    t.equal(t.me(_remove_while_listing, "d"), count, "names seen")
    t.equal(t.me(os.listdir, "d"), [], "what is left")
    t.me(os.rmdir, "d")


def _remove_while_listing(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    seen = 0
    while batch := _batch(fd, 2048):
        for entry in batch:
            if entry.name not in {".", ".."}:
                os.unlink(f"{path}/{entry.name}")
                seen += 1
    os.close(fd)
    return seen


@case(each(300, 3000))
def _names_that_stay_are_listed_once_while_others_come_and_go(t: Arena, count: int) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", count, "stay")
    t.me(_fill, "d", count, "go")
    listed = t.me(_list_while_changing, "d", count)
    stay = [name for name in listed if name.startswith("stay")]
    t.equal(
        sorted(stay) == [f"stay{number:06}" for number in range(count)], True, "names that stayed, each once"
    )
    t.equal(len(listed), len(set(listed)), "names without duplicates")
    made = set(t.me(os.listdir, "d"))
    t.equal(len([name for name in made if name.startswith("come")]), count, "names that came")
    t.equal(len([name for name in made if name.startswith("go")]), 0, "names that went")


def _list_while_changing(path: str, count: int) -> list[str]:
    fd = os.open(path, os.O_RDONLY)
    listed = []
    number = 0
    while batch := _batch(fd, 4096):
        listed += [entry.name for entry in batch]
        for _ in range(max(1, count // 20)):
            if number < count:
                os.unlink(f"{path}/go{number:06}")
                _do.create(f"{path}/come{number:06}")
                number += 1
    while number < count:
        os.unlink(f"{path}/go{number:06}")
        _do.create(f"{path}/come{number:06}")
        number += 1
    os.close(fd)
    return listed


@case()
def _another_process_changes_the_directory_meanwhile(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 1000, "stay")
    other = t.another(t.me)
    changing = other.start(_churn, "d", 300)
    for _ in range(10):
        names = [entry.name for entry in t.me(_list, "d", 4096)]
        t.equal(len([name for name in names if name.startswith("stay")]), 1000, "names that stay")
        t.equal(len(names), len(set(names)), "names without duplicates")
    changing.result()


def _churn(path: str, turns: int) -> None:
    for turn in range(turns):
        _do.create(f"{path}/churn{turn}")
        os.rename(f"{path}/churn{turn}", f"{path}/moved{turn}")
        os.unlink(f"{path}/moved{turn}")


@case()
def _renamed_entry_keeps_the_listing_whole(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 500)
    fd = t.me(os.open, "d", os.O_RDONLY)
    first = t.me(_batch, fd, 2048)
    seen = {entry.name for entry in first}
    listed = [name for name in seen if name.startswith("n")]
    t.me(os.rename, f"d/{listed[0]}", "d/zzz")
    rest = [entry.name for entry in t.me(_rest, fd)]
    t.equal(len(rest), len(set(rest)), "names without duplicates")
    expected = {f"n{number:06}" for number in range(500)} - seen
    t.equal(expected - set(rest), set(), "names that are missing")


@case()
def _two_descriptors_list_independently(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 100)
    one, two = t.me(os.open, "d", os.O_RDONLY), t.me(os.open, "d", os.O_RDONLY)
    first = t.me(_batch, one, 1024)
    t.equal(len(t.me(_rest, two)), 102, "entries by the second descriptor")
    t.equal(len(first) + len(t.me(_rest, one)), 102, "entries by the first")


@case()
def _listing_needs_read_permission_when_it_is_opened(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 5)
    fd = t.user_a(os.open, "d", os.O_RDONLY)
    t.me(os.chmod, "d", 0o311)
    t.user_a.fails(errno.EACCES, os.listdir, "d")
    t.equal(len(t.user_a(_rest, fd)), 7, "entries by a descriptor from before")


@case()
def _every_kind_of_name_is_listed(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    names = [
        "a",
        "A",
        " ",
        "...",
        "-rf",
        "*",
        "new\nline",
        "tab\t",
        "\u00e9",
        "e\u0301",
        "\udcff\udcfe",
        "x" * 255,
        "~",
        "\\",
        "\x01",
        "\x7f",
    ]
    for name in names:
        t.me(_do.create, f"d/{name}")
    t.equal(_names(t.me(_list, "d")), sorted(names), "names")
    for name in names:
        t.exists(f"d/{name}")
        t.me(os.unlink, f"d/{name}")
    t.equal(_names(t.me(_list, "d")), [], "names after all are removed")


@case()
def _bad_descriptors_are_refused(t: Arena) -> None:
    t.make("file", "f")
    fd = t.me(os.open, "f", os.O_RDONLY)
    t.me.fails(errno.ENOTDIR, _batch, fd)
    t.me.fails(errno.EBADF, _batch, 9999)
    t.me.fails((errno.EINVAL, errno.ENXIO), os.lseek, t.me(os.open, ".", os.O_RDONLY), -1, os.SEEK_SET)
    t.me(_remove, ".", ["f"])


@case()
def _atime_of_a_directory_moves_at_most(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_fill, "d", 3)
    with t.times({"d": "?"}):
        t.me(_list, "d")

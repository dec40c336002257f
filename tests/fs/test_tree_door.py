# SPDX-License-Identifier: Apache-2.0
"""A `Tree` behind the door: the requests that a kernel would send, without one."""

from __future__ import annotations

import asyncio
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.fs import ROOT_INO, Dir, File, SeqFile, Symlink, Tree
from instar.testing import Door


def make_tree():
    level = ["3"]

    async def later():
        await asyncio.sleep(0)
        return {"a": "in a\n"}

    async def ticking():
        yield "tick"
        await asyncio.Event().wait()

    def set_level(text):
        level[0] = str(int(text))

    return Tree(
        {
            "motd": "hello\n",
            "link": Symlink("sub/later"),
            "squares": SeqFile(lambda: range(100_000), format="{:06}"),
            "ticking": ticking,
            "level": File(read=lambda: f"{level[0]}\n", write=set_level),
            "sub": {"later": Dir(later), "many": Dir(lambda: {f"file{n}": "x" for n in range(5000)})},
        }
    )


@pytest.fixture
def door():
    with Door(make_tree()) as door:
        yield door


def test_names_are_found_through_links_functions_and_async_functions(door):
    assert door.listdir("/") == ["motd", "link", "squares", "ticking", "level", "sub"]
    assert door.read_text("/link/a") == "in a\n"
    assert door.readlink("/link") == "sub/later"
    assert door.stat("/sub/later").mode == 0o040555
    assert not door.exists("/sub/later/b")


def test_a_listing_in_several_requests_is_complete(door):
    names = door.listdir("/sub/many")
    assert len(names) == len(set(names)) == 5000
    numbers = {entry.name: entry.ino for entry in door.scandir("/sub/many")}
    assert numbers["file77"] == door.stat("/sub/many/file77").ino


def test_records_are_read_from_any_place(door):
    with door.open("/squares") as file:
        assert file.pread(7, 7 * 99_999) == b"099999\n"
        assert file.pread(7, 7 * 500) == b"000500\n"
        assert len(file.read()) == 700_000
        with pytest.raises(OSError) as caught:
            file.seek(0, os.SEEK_DATA)
        assert caught.value.errno == errno.EINVAL


def test_a_waiting_iterator_gives_what_it_has_and_is_ended_by_the_close(door):
    with door.open("/ticking") as file:
        assert file.pread(4096, 0) == b"tick\n"


def test_what_is_open_at_the_end_is_closed():
    ended = []

    async def rows():
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    door = Door(Tree({"rows": rows}))
    assert door.open("/rows").pread(10, 0) == b"a\n"
    door.close()
    assert ended == [True]


def test_values_are_set_and_refused(door):
    door.write_text("/level", "7\n")
    assert door.read_text("/level") == "7\n"
    with pytest.raises(OSError) as caught:
        door.write_text("/level", "x")
    assert caught.value.errno == errno.EINVAL
    for call in (
        lambda: door.write_text("/motd", "x"),
        lambda: door.mkdir("/new"),
        lambda: door.unlink("/motd"),
    ):
        with pytest.raises(PermissionError):
            call()


def test_nothing_is_remembered_of_names_that_nobody_uses(door):
    door.listdir("/sub/many")
    door.read_text("/link/a")
    assert list(door.channel.fs._nodes) == [ROOT_INO]
    assert not door.channel.fs._open


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in {".", ".."})
TREES = st.recursive(
    st.one_of(st.binary(max_size=50), st.text(max_size=20)),
    lambda values: st.dictionaries(NAMES, values, max_size=5),
    max_leaves=20,
).filter(lambda value: isinstance(value, dict))


def seen(door, path=""):
    """What is there, as nested dicts of bytes."""
    return {
        entry.name: (seen if entry.type << 12 == 0o040000 else Door.read_bytes)(door, f"{path}/{entry.name}")
        for entry in door.scandir(path)
    }


def meant(entries):
    return {
        name: meant(value) if isinstance(value, dict) else value.encode() if isinstance(value, str) else value
        for name, value in entries.items()
    }


@given(TREES, TREES)
def test_any_dict_is_seen_as_it_is_and_as_it_becomes(before, after):
    entries = dict(before)
    with Door(Tree(entries)) as door:
        assert seen(door) == meant(before)
        entries.clear()
        entries.update(after)
        assert seen(door) == meant(after)

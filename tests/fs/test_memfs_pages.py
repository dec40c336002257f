# SPDX-License-Identifier: Apache-2.0
"""The content of MemFS files: pages and reservations against plain models, and what large ranges cost."""

from __future__ import annotations

import errno
import os
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.fs import ROOT_INO, Context, FallocateFlags
from instar.fs.memfs import MemFS
from instar.fs.memfs._pages import PAGE_SIZE, Pages
from instar.fs.memfs._ranges import Ranges
from instar.fs.memfs._tables import tighten
from instar.testing import Door

pytestmark = pytest.mark.timeout(60)

_TOP = 12 * PAGE_SIZE
_LIMIT = 9
_ME = Context()

_ranges = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(st.lists(st.tuples(st.sampled_from(["add", "remove"]), _ranges), max_size=30), _ranges)
def test_ranges_are_a_set(steps, asked):
    ranges, model = Ranges(), set()
    for name, (first, stop) in steps:
        getattr(ranges, name)(first, stop)
        (model.update if name == "add" else model.difference_update)(range(first, stop))
        ranges.assert_invariants()
    assert {number for number in range(50) if number in ranges} == model
    assert bool(ranges) == bool(model)
    first, stop = min(asked), max(asked)
    assert ranges.count(first, stop) == len(model & set(range(first, stop)))
    assert ranges.count(first, None) == len([number for number in model if number >= first])
    ranges.remove(first, None)
    assert {number for number in range(50) if number in ranges} == model & set(range(first))


class _Model:
    """A file of `_TOP` bytes, the pages that are allocated, and those that hold data for ``SEEK_DATA``."""

    def __init__(self):
        self.bytes = bytearray(_TOP)
        self.allocated = set()

    def fits(self, indexes):
        return len(self.allocated | set(indexes)) <= _LIMIT


def _touched(offset, length):
    return range(offset // PAGE_SIZE, (offset + length + PAGE_SIZE - 1) // PAGE_SIZE)


def _whole(offset, length):
    return range((offset + PAGE_SIZE - 1) // PAGE_SIZE, (offset + length) // PAGE_SIZE)


_offsets = st.integers(0, _TOP - 1) | st.integers(0, 11).map(lambda page: page * PAGE_SIZE)
_lengths = st.integers(1, 5 * PAGE_SIZE) | st.integers(1, 5).map(lambda pages: pages * PAGE_SIZE)
_steps = st.tuples(
    st.sampled_from(["write", "write", "reserve", "punch", "zero", "truncate"]), _offsets, _lengths
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_steps, max_size=25))
def test_pages_read_and_count_as_a_plain_model_does(steps):
    used = 0

    def charge(count):
        nonlocal used
        if used + count > _LIMIT:
            raise OSError(errno.ENOSPC, "full")
        used += count

    pages, model = Pages(charge), _Model()
    for number, (name, offset, wanted) in enumerate(steps):
        length = min(wanted, _TOP - offset)
        content = bytes([number % 255 + 1]) * length
        if name in ("write", "reserve", "zero") and not model.fits(_touched(offset, length)):
            with pytest.raises(OSError, match="full"):
                pages.write(offset, content) if name == "write" else getattr(pages, name)(offset, length)
        elif name == "write":
            pages.write(offset, content)
            model.bytes[offset : offset + length] = content
            model.allocated.update(_touched(offset, length))
        elif name == "truncate":
            pages.truncate(offset)
            model.bytes[offset:] = bytes(_TOP - offset)
            model.allocated = {page for page in model.allocated if page * PAGE_SIZE < offset}
        else:
            getattr(pages, name)(offset, length)
            if name == "punch":
                model.allocated.difference_update(_whole(offset, length))
            else:
                model.allocated.update(_touched(offset, length))
            if name != "reserve":
                model.bytes[offset : offset + length] = bytes(length)
        pages.assert_invariants()
        assert pages.read(0, _TOP) == model.bytes
        assert len(pages) == len(model.allocated) == used
    pages.clear()
    assert (len(pages), used) == (0, 0)


@pytest.mark.parametrize("mode", [0, 1, 0x10, 0x11], ids=["allocate", "keep", "zero", "zero-keep"])
def test_a_reservation_of_a_tebibyte_takes_neither_time_nor_memory(mode):
    fs = MemFS(size=1 << 41)
    entry, opened = fs.create(_ME, ROOT_INO, "file", 0o600, os.O_RDWR)
    fs.write(_ME, entry.ino, opened.fh, 10 * PAGE_SIZE, memoryview(b"x" * PAGE_SIZE), 0)
    before = sys.getallocatedblocks()
    start = time.thread_time()
    fs.fallocate(_ME, entry.ino, opened.fh, FallocateFlags(mode), 0, 1 << 40)
    assert fs.getattr(_ME, entry.ino).blocks == (1 << 40) // 512
    fs.write(_ME, entry.ino, opened.fh, 1 << 39, memoryview(b"data"), 0)
    assert fs.getattr(_ME, entry.ino).blocks == (1 << 40) // 512
    punch = FallocateFlags.PUNCH_HOLE | FallocateFlags.KEEP_SIZE
    fs.fallocate(_ME, entry.ino, opened.fh, punch, 0, 1 << 39)
    assert fs.getattr(_ME, entry.ino).blocks == (1 << 39) // 512
    assert time.thread_time() - start < 0.5
    assert sys.getallocatedblocks() - before < 5000
    fs.assert_invariants()


def test_a_reservation_is_a_hole_until_it_is_written():
    with Door(MemFS(size=1 << 20)) as door, door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        file.fallocate(FallocateFlags.ALLOCATE, 0, 1 << 16)
        with pytest.raises(OSError, match="No such device"):
            file.seek(0, os.SEEK_DATA)
        file.pwrite(b"x", 3 * PAGE_SIZE)
        assert (file.seek(0, os.SEEK_DATA), file.seek(3 * PAGE_SIZE, os.SEEK_HOLE)) == (
            3 * PAGE_SIZE,
            4 * PAGE_SIZE,
        )
        assert file.fstat().blocks == (1 << 16) // 512


def test_a_file_with_many_holes_is_walked_in_one_pass():
    pages = Pages(lambda count: None)
    for number in range(20_000):
        pages.write(2 * number * PAGE_SIZE, b"x")
    size, place, seen = 40_000 * PAGE_SIZE, 0, 0
    start = time.thread_time()
    while place < size - PAGE_SIZE:
        assert pages.seek(place, size, os.SEEK_DATA) == place
        place = pages.seek(place, size, os.SEEK_HOLE)
        seen += 1
        if place < size - PAGE_SIZE:
            place = pages.seek(place, size, os.SEEK_DATA)
    assert seen == 20_000
    assert time.thread_time() - start < 2


def test_data_behind_a_long_hole_is_found():
    pages = Pages(lambda count: None)
    for number in range(5000):
        pages.write(number * PAGE_SIZE, b"x")
    pages.write(10**12, b"x")
    assert pages.seek(5000 * PAGE_SIZE, 10**13, os.SEEK_DATA) == 10**12 // PAGE_SIZE * PAGE_SIZE
    with pytest.raises(OSError, match="No such device"):
        pages.seek(10**12 + PAGE_SIZE, 10**13, os.SEEK_DATA)


def test_what_was_reserved_is_there_when_all_else_is_full():
    with Door(MemFS(size=1 << 20)) as door, door.open("/file", os.O_RDWR | os.O_CREAT) as file:
        file.fallocate(FallocateFlags.ALLOCATE, 0, 1 << 19)
        with pytest.raises(OSError, match="No space"):
            door.write_bytes("/other", bytes(1 << 20))
        assert file.pwrite(b"x" * (1 << 19), 0) == 1 << 19


def test_a_dictionary_that_lost_its_entries_gives_back_its_table():
    table = dict.fromkeys(range(100_000))
    for number in range(100_000):
        if number % 1000:
            del table[number]
            tighten(table)
    assert list(table) == list(range(0, 100_000, 1000))
    assert sys.getsizeof(table) < 64 << 10


def test_a_directory_that_was_large_gives_back_its_room():
    fs = MemFS()
    parent = fs.mkdir(_ME, ROOT_INO, "d", 0o755).ino
    for number in range(20_000):
        fs.mknod(_ME, parent, str(number), 0o100600, 0)
    for number in range(19_999):
        ino = fs.lookup(_ME, parent, str(number)).ino
        fs.unlink(_ME, parent, str(number))
        fs.forget(ino)
    assert sys.getsizeof(fs._nodes[parent].children) < 16 << 10
    assert sys.getsizeof(fs._nodes) < 16 << 10
    fs.assert_invariants()

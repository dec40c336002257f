# SPDX-License-Identifier: Apache-2.0
"""A mapped file gives its bytes, and an access that would be a signal raises instead."""

from __future__ import annotations

import errno
import os

import pytest

from instar.edge.mmap_file import PAGE_SIZE, FileMapping, MapFlags, Protection

BOTH = Protection.READ | Protection.WRITE


@pytest.fixture
def fd(tmp_path):
    """A file of a page and a half."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(opened, b"a" * PAGE_SIZE + b"b" * (PAGE_SIZE // 2))
    yield opened
    os.close(opened)


def test_a_shared_store_reaches_the_file_and_a_write_reaches_the_mapping(fd):
    with FileMapping(fd, 2 * PAGE_SIZE, BOTH) as mapping:
        mapping.store(PAGE_SIZE - 1, b"xy")
        assert os.pread(fd, 4, PAGE_SIZE - 2) == b"axyb"
        os.pwrite(fd, b"new", 0)
        assert mapping.load(0, 4) == b"newa"
        mapping.sync()


def test_a_private_store_stays_private(fd):
    with FileMapping(fd, PAGE_SIZE, BOTH, MapFlags.PRIVATE) as mapping:
        mapping.store(0, b"mine")
        assert mapping.load(0, 5) == b"minea"
    assert os.pread(fd, 4, 0) == b"aaaa"


def test_the_rest_of_the_last_page_is_zero_and_the_page_after_is_a_fault(fd):
    with FileMapping(fd, 3 * PAGE_SIZE, BOTH) as mapping:
        assert mapping.load(PAGE_SIZE + PAGE_SIZE // 2, PAGE_SIZE // 2) == bytes(PAGE_SIZE // 2)
        for access in (lambda: mapping.load(2 * PAGE_SIZE, 1), lambda: mapping.store(2 * PAGE_SIZE, b"x")):
            with pytest.raises(OSError) as raised:
                access()
            assert raised.value.errno == errno.EFAULT


def test_a_mapping_lives_on_when_the_file_is_cut_and_grows_again(fd):
    with FileMapping(fd, PAGE_SIZE, BOTH) as mapping:
        os.ftruncate(fd, 0)
        with pytest.raises(OSError):
            mapping.load(0, 1)
        os.ftruncate(fd, 10)
        assert mapping.load(0, 10) == bytes(10)


def test_a_store_without_the_right_is_a_fault(fd):
    with FileMapping(fd, PAGE_SIZE) as mapping, pytest.raises(OSError) as raised:
        mapping.store(0, b"x")
    assert raised.value.errno == errno.EFAULT


def test_mapping_for_writing_a_file_opened_for_reading_is_eacces(fd):
    reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    try:
        with pytest.raises(PermissionError):
            FileMapping(reader, PAGE_SIZE, BOTH)
    finally:
        os.close(reader)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, PAGE_SIZE + 1), (PAGE_SIZE, 1)])
def test_a_range_outside_the_mapping_is_refused(fd, offset, size):
    with FileMapping(fd, PAGE_SIZE) as mapping, pytest.raises(ValueError, match="not inside"):
        mapping.load(offset, size)


def test_a_closed_mapping_is_refused_and_closing_twice_is_harmless(fd):
    mapping = FileMapping(fd, PAGE_SIZE)
    mapping.close()
    mapping.close()
    with pytest.raises(ValueError, match="closed"):
        mapping.load(0, 1)


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_of_zero_is_einval(fd, length):
    with pytest.raises(OSError) as raised:
        FileMapping(fd, length)
    assert raised.value.errno == errno.EINVAL


def test_an_anonymous_buffer_carries_direct_io(tmp_path):
    fd = os.open(tmp_path / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    try:
        with FileMapping.anonymous(2 * PAGE_SIZE) as buffer:
            buffer.store(10, b"data")
            assert buffer.pwrite_from(fd, 0) == 2 * PAGE_SIZE
            buffer.store(10, b"gone")
            assert buffer.pread_into(fd, 0) == 2 * PAGE_SIZE
            assert buffer.load(10, 4) == b"data"
    finally:
        os.close(fd)

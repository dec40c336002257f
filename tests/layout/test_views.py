# SPDX-License-Identifier: Apache-2.0
"""A view reads and writes the buffer it lies over, and nothing else."""

from __future__ import annotations

import pytest

from instar.layout import (
    ArrayView,
    LayoutError,
    Struct,
    Union,
    alignof,
    array,
    bits,
    char,
    memory,
    offsetof,
    s16,
    sizeof,
    trailing,
    u8,
    u16,
    u32,
    u64,
    union,
)


class Inner(Struct):
    mode: u32
    size: u64


class Overlap(Union):
    whole: u32
    halves: list[int] = array(u16, 2)


class Outer(Struct):
    id: u8
    flag: int = bits(u8, 1)
    level: int = bits(u8, 7)
    inner: Inner
    inners: list[Inner] = array(Inner, 2)
    grid: list[list[int]] = array(s16, 2, 3)
    name: bytes = array(char, 4)
    overlap: Overlap
    with union():
        raw: u32
        low: u16
    tail: list[int] = trailing(u16)


class Named(Struct):
    length: u32
    name: bytes = trailing(char)


class Ends(Struct):
    id: u32
    named: Named


@pytest.fixture
def buf():
    return bytearray(b"\xaa" * (8 + Outer.SIZE + 6 + 8))


@pytest.fixture
def view(buf):
    buf[8:-8] = bytes(Outer.SIZE + 6)
    return Outer.view(buf, 8, 3)


def test_reading_and_writing_go_to_the_buffer(buf, view):
    view.inner.mode = 0o644
    assert buf[8 + offsetof(Outer, "inner.mode")] == 0o644 & 0xFF
    buf[8] = 7
    assert view.id == 7
    view.inners[1].size = 5
    view.grid[1][2] = -3
    view.tail[0] = 9
    view.overlap.halves[1] = 1
    view.low = 3
    assert Outer.unpack_from(buf, 8, 3) == view
    assert (view.inners[1].size, view.grid[1][2], view.tail, view.overlap.whole, view.raw) == (
        5,
        -3,
        [9, 0, 0],
        1 << 16,
        3,
    )


def test_nothing_outside_the_view_is_written(buf, view):
    view.flag, view.level, view.name = 1, 127, b"abcd"
    view.tail = [65535] * 3
    view.inners = [Inner(mode=1), Inner(size=2)]
    view.inner = Inner(mode=3)
    view.overlap = Overlap(whole=0xFFFFFFFF)
    view.grid = [[1, 2, 3], [4, 5, 6]]
    assert buf[:8] == buf[-8:] == b"\xaa" * 8


def test_setting_a_bit_field_leaves_its_neighbour_alone(view):
    view.flag = 1
    view.level = 127
    view.flag = 0
    assert (view.flag, view.level) == (0, 127)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("id", 256),
        ("id", None),
        ("flag", 2),
        ("level", -1),
        ("inner", 5),
        ("inner", Inner(mode=-1)),
        ("inners", [Inner()]),
        ("grid", [[1, 2, 3]]),
        ("grid", [[1, 2, 3], [4, 5, 1 << 15]]),
        ("name", b"abcde"),
        ("name", "abc"),
        ("overlap", Inner()),
        ("raw", 1 << 32),
        ("tail", [1]),
        ("tail", [1, 2, 1 << 16]),
        ("tail", None),
    ],
)
def test_what_does_not_fit_is_refused_by_name(view, field, bad):
    with pytest.raises(LayoutError, match=rf"Outer\.{field}"):
        setattr(view, field, bad)


def test_an_array_view_is_a_sequence(view):
    view.tail = [1, 2, 3]
    tail = view.tail
    assert isinstance(tail, ArrayView)
    assert (len(tail), tail[-1], tail[1:], list(tail), list(reversed(tail))) == (
        3,
        3,
        [2, 3],
        [1, 2, 3],
        [3, 2, 1],
    )
    assert tail == [1, 2, 3]
    assert tail == (1, 2, 3)
    assert tail != [1, 2]
    assert tail != 5
    assert 2 in tail
    assert repr(tail) == "[1, 2, 3]"
    tail[1:] = [8, 9]
    assert view.tail.tolist() == [1, 8, 9]
    assert view.grid.tolist() == [[0, 0, 0], [0, 0, 0]]
    for index in (3, -4):
        with pytest.raises(IndexError, match=r"Outer\.tail"):
            tail[index]
        with pytest.raises(IndexError, match=r"Outer\.tail"):
            tail[index] = 1
    with pytest.raises(LayoutError, match=r"Outer\.tail\[0\]"):
        tail[0] = 1 << 16
    with pytest.raises(LayoutError, match=r"Outer\.tail"):
        tail[:2] = [1]
    with pytest.raises(LayoutError, match=r"Outer\.inners\[0\]"):
        view.inners[0] = 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(tail)


def test_a_read_only_buffer_can_be_read_and_not_written():
    view = Outer.view(bytes(Outer.SIZE))
    assert view == Outer()
    for field, value in (("id", 1), ("flag", 1), ("inner", Inner()), ("name", b""), ("grid", [[0] * 3] * 2)):
        with pytest.raises(LayoutError, match=rf"Outer\.{field}: cannot be set"):
            setattr(view, field, value)


def test_the_buffer_cannot_shrink_below_a_view(buf, view):
    with pytest.raises(BufferError):
        buf.clear()
    assert view.id == 0


def test_a_view_of_a_view_and_of_a_value_are_instances_of_the_class(view):
    assert isinstance(view, Outer)
    assert isinstance(view.inner, Inner)
    assert isinstance(view.overlap, Overlap)
    assert isinstance(Outer().inner, Inner)


def test_a_view_can_stand_where_a_value_is_wanted(buf, view):
    view.inner.mode = 5
    assert (
        Outer(inner=view.inner, inners=view.inners, grid=view.grid).pack()[: Outer.SIZE]
        == view.pack()[: Outer.SIZE]
    )


def test_a_member_that_ends_in_a_flexible_array_is_a_view():
    buf = bytearray(Ends(id=1, named=Named(length=3, name=b"abc")).pack() + b"\xaa")
    view = Ends.view(buf, 0, 3)
    assert view.named.name == b"abc"
    view.named.name = b"xyz"
    view.named = Named(length=4, name=view.named.name[::-1])
    assert buf == b"\1\0\0\0\4\0\0\0zyx\xaa"
    for wrong in (Named(name=b"toolong"), Named(name=b""), Named(length=-1, name=b"abc"), 5):
        with pytest.raises(LayoutError, match=r"Ends\.named"):
            view.named = wrong
    with pytest.raises(LayoutError, match=r"Named\.name: 2 bytes"):
        view.named.name = b"ab"


def test_memory_gives_the_bytes_of_a_field_without_a_copy(buf, view):
    with memory(view, "name") as name:
        name[:2] = b"hi"
    assert view.name == b"hi\0\0"
    assert bytes(memory(view, "inners[1].size")) == bytes(8)
    assert memory(view, "tail").nbytes == 6
    assert memory(view.overlap, "halves[1]").nbytes == 2
    with pytest.raises(LayoutError, match="value"):
        memory(Outer(), "name")
    with pytest.raises(LayoutError, match="nothing"):
        memory(view, "nothing")


def test_offsetof_follows_a_path():
    assert offsetof(Outer, "inner") == 8
    assert offsetof(Outer, "inner.size") == 16
    assert offsetof(Outer, "inners[1].size") == offsetof(Outer, "inners") + 24
    assert offsetof(Outer, "grid[1][2]") == offsetof(Outer, "grid") + 10
    assert offsetof(Outer, "low") == offsetof(Outer, "raw")
    assert offsetof(Outer, "tail[2]") == offsetof(Outer, "tail") + 4
    assert offsetof(Ends, "named.name") == 8


@pytest.mark.parametrize(
    "path", ["nothing", "id.x", "id[0]", "inners.size", "inners[3]", "inner..size", "[0]", "1", "flag"]
)
def test_offsetof_refuses_what_is_no_field_with_an_offset(path):
    with pytest.raises(LayoutError, match="Outer"):
        offsetof(Outer, path)


def test_sizeof_and_alignof_take_classes_instances_and_types():
    assert (sizeof(Inner), sizeof(Inner()), sizeof(u16), sizeof(array(u16, 3))) == (16, 16, 2, 6)
    assert (alignof(Inner), alignof(Inner()), alignof(u64), alignof(array(u16, 3))) == (8, 8, 8, 2)
    for what in (5, int):
        with pytest.raises(LayoutError):
            sizeof(what)
    with pytest.raises(LayoutError):
        offsetof(int, "x")

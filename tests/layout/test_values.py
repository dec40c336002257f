# SPDX-License-Identifier: Apache-2.0
"""Values go into bytes and come back; what does not fit raises one clear error."""

from __future__ import annotations

import array as stdlib_array
import contextlib
import copy
import enum
import math
import pickle
import random
import struct as stdlib_struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.layout import (
    LayoutError,
    Struct,
    Union,
    array,
    be16,
    be32,
    bits,
    cbool,
    char,
    f32,
    f64,
    le32,
    s16,
    s32,
    s64,
    s128,
    struct,
    trailing,
    u8,
    u16,
    u32,
    u64,
    u128,
    union,
)
from instar.layout import enum as enum_field
from instar.layout._types import Array, Bits, Enumerated, Kind, Scalar, Trailing, int_bounds
from tests.layout.random_layouts import Maker, Spelling


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 7


class Inner(Struct):
    a: u16
    b: u64


class Overlap(Union):
    number: u64
    parts: list[int] = array(u16, 4)
    inner: Inner


class Everything(Struct):
    small: u8
    signed: s16
    wide: s128
    ratio: f64
    yes: cbool
    letter: char
    colour: Colour
    short_colour: Colour = enum_field(Colour, u8)
    low: int = bits(u32, 5)
    high: int = bits(s32, 7)
    name: bytes = array(char, 10)
    ids: list[int] = array(u32, 3)
    names: list[bytes] = array(char, 2, 4)
    inner: Inner
    inners: list[Inner] = array(Inner, 2)
    overlap: Overlap
    with union():
        raw: u64
        with struct():
            left: u32
            right: u32
    tail: list[int] = trailing(u16)


GOOD = {
    "small": 200,
    "signed": -5,
    "wide": -(1 << 100),
    "ratio": 0.5,
    "yes": True,
    "letter": b"q",
    "colour": Colour.BLUE,
    "short_colour": Colour.RED,
    "low": 31,
    "high": -64,
    "name": b"0123456789",
    "ids": [1, 2, 3],
    "names": [b"abcd", b"efgh"],
    "inner": Inner(a=1, b=2),
    "inners": [Inner(a=3), Inner(b=4)],
    "overlap": Overlap(number=5),
    "left": 6,
    "right": 7,
    "tail": [8, 9],
}


def test_every_kind_of_field_comes_back():
    value = Everything(**GOOD)
    again = Everything.unpack(value.pack())
    assert again == value
    for name, good in GOOD.items():
        assert getattr(again, name) == good, name
    assert again.raw == 6 | 7 << 32
    assert type(again.colour) is Colour


@pytest.mark.parametrize(
    ("field", "bad", "where"),
    [
        ("small", 256, "small: 256"),
        ("small", -1, "small: -1"),
        ("small", 1.5, "small: must be an integer, not float"),
        ("small", None, "small: must be an integer, not None"),
        ("signed", 1 << 15, "signed: 32768"),
        ("wide", 1 << 127, "wide"),
        ("ratio", "1", "ratio: must be a number"),
        ("letter", b"", "letter: must be one byte"),
        ("letter", b"ab", "letter: must be one byte"),
        ("letter", "a", "letter: must be one byte"),
        ("colour", -1, "colour: -1"),
        ("short_colour", 256, "short_colour: 256"),
        ("low", 32, "low: 32 does not fit in 5 bits"),
        ("low", -1, "low: -1"),
        ("low", "x", "low: must be an integer"),
        ("high", 64, "high: 64"),
        ("high", -65, "high: -65"),
        ("name", b"0123456789a", "name: 11 bytes do not fit in 10"),
        ("name", "text", "name: must be bytes"),
        ("name", None, "name: must be bytes"),
        ("ids", [1, 2], "ids: must have 3 elements, not 2"),
        ("ids", [1, 2, 1 << 32], "ids[2]: 4294967296"),
        ("ids", 5, "ids: must be a list"),
        ("names", [b"a", b"abcde"], "names[1]: 5 bytes do not fit in 4"),
        ("names", [b"a"], "names: must have 2 elements"),
        ("inner", None, "inner: must be Inner, not None"),
        ("inner", Inner(a=1 << 16), "inner.a: 65536"),
        ("inners", [Inner(), Inner(b=-1)], "inners[1].b: -1"),
        ("inners", [Inner(), 5], "inners[1]: must be Inner"),
        ("overlap", Inner(), "overlap: must be Overlap"),
        ("tail", [1 << 16], "tail[0]: 65536"),
        ("tail", 5, "tail: must be a list"),
    ],
)
def test_a_value_that_does_not_fit_is_named(field, bad, where):
    value = Everything(**{**GOOD, field: bad})
    for pack in (value.pack, lambda: value.pack_into(bytearray(1000))):
        with pytest.raises(LayoutError) as caught:
            pack()
        assert f"Everything.{where}" in str(caught.value)


def test_the_first_wrong_field_is_named_where_there_are_several():
    with pytest.raises(LayoutError, match=r"Everything\.signed"):
        Everything(signed=1 << 20, low=99).pack()


def test_a_union_in_the_constructor_takes_one_member():
    assert Overlap(parts=[1, 2, 3, 4]).number == 0x0004_0003_0002_0001
    with pytest.raises(LayoutError, match=r"parts.*number"):
        Overlap(number=1, parts=[0, 0, 0, 0])
    with pytest.raises(LayoutError, match=r"left.*raw"):
        Everything(raw=1, left=2)
    with pytest.raises(LayoutError, match=r"Overlap\.number"):
        Overlap(number=-1)
    with pytest.raises(TypeError, match="nothing"):
        Overlap(nothing=1)


def test_members_of_a_union_share_their_bytes():
    value = Overlap(number=0x0102030405060708)
    value.parts[0] = 0xFFFF
    assert value.number == 0x010203040506FFFF
    value.inner.a = 0
    assert value.number == 0x0102030405060000
    value.parts = [1, 1, 1, 1]
    assert value.inner == Inner(a=1, b=value.inner.b)


def test_an_anonymous_union_shares_its_bytes():
    value = Everything()
    value.raw = 0x0000_0001_0000_0002
    assert (value.left, value.right) == (2, 1)
    value.right = 0
    assert value.raw == 2


@pytest.mark.parametrize("length", [0, 1, Inner.SIZE - 1, Inner.SIZE + 1])
def test_unpack_takes_exactly_the_size(length):
    with pytest.raises(LayoutError, match=rf"Inner: cannot unpack {length} bytes; it takes {Inner.SIZE}"):
        Inner.unpack(bytes(length))
    with pytest.raises(LayoutError, match="Overlap"):
        Overlap.unpack(bytes(Overlap.SIZE + 1 + length))


@pytest.mark.parametrize("offset", [-1, -16, 1, 16, 17, 1 << 40, 1 << 80, -(1 << 80)])
@pytest.mark.parametrize("cls", [Inner, Overlap, Everything])
def test_an_offset_outside_the_buffer_is_one_error(cls, offset):
    buf = bytearray(cls.SIZE)
    for call in (cls.unpack_from, cls.view, cls().pack_into):
        with pytest.raises(LayoutError, match=cls.__name__):
            call(buf, offset)


@given(st.binary(max_size=Everything.SIZE + 9), st.integers(-5, 40))
def test_any_bytes_give_a_value_or_a_layout_error(data, offset):
    for call in (Everything.unpack, Inner.unpack, Overlap.unpack):
        with contextlib.suppress(LayoutError):
            call(data)
    for cls in (Everything, Inner, Overlap):
        for call in (cls.unpack_from, cls.view):
            with contextlib.suppress(LayoutError):
                repr(call(data, offset))


def test_a_number_that_is_no_member_of_its_enum_is_named():
    class Coloured(Struct):
        colour: Colour
        few: Colour = bits(Colour, 4)
        many: list[int] = array(Colour, 2)

    assert Coloured.unpack(bytes([1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0])).many == [1, 7]
    with pytest.raises(LayoutError, match=r"Coloured\.colour: 5 is no Colour"):
        Coloured.unpack(bytes([5] + [0] * 15))
    with pytest.raises(LayoutError, match=r"Coloured\.few: 5 is no Colour"):
        Coloured.unpack(bytes([1, 0, 0, 0, 5] + [0] * 11))
    with pytest.raises(LayoutError, match=r"Coloured\.many: 0 is no Colour"):
        Coloured.unpack(bytes([1, 0, 0, 0, 7] + [0] * 11))
    view = Coloured.view(bytearray(16))
    with pytest.raises(LayoutError, match=r"Coloured\.colour: 0 is no Colour"):
        _ = view.colour


def test_shorter_bytes_are_filled_with_nuls():
    assert Everything.unpack(Everything(**{**GOOD, "name": b"ab"}).pack()).name == b"ab" + bytes(8)


def test_padding_is_zero_whatever_was_in_the_buffer():
    buf = bytearray(b"\xff" * 16)
    Inner(a=1, b=2).pack_into(buf)
    assert buf == stdlib_struct.pack("<H6xQ", 1, 2)


def test_pack_into_returns_how_many_bytes_it_wrote():
    assert Inner().pack_into(bytearray(50), 3) == 16
    assert Overlap().pack_into(bytearray(50), 3) == 16
    assert Everything(tail=[1, 2, 3]).pack_into(bytearray(500), 3) == len(Everything(tail=[1, 2, 3]).pack())


def test_buffers_of_every_kind_are_taken():
    data = Inner(a=1, b=2).pack()
    words = stdlib_array.array("I", data)
    for buf in (data, bytearray(data), memoryview(data), words, memoryview(data).cast("I")):
        assert Inner.unpack(buf) == Inner.unpack_from(buf) == Inner.view(buf) == Inner(a=1, b=2)
    for call in (Inner.unpack, Inner.unpack_from, Inner.view, Overlap.unpack, Everything.unpack):
        with pytest.raises(TypeError):
            call("text")


def test_the_codec_is_the_whole_as_flat_values():
    class Flat(Struct):
        a: u8
        inner: Inner
        c: list[int] = array(u16, 2)

    assert Flat.FORMAT == "<B7xH6xQ2H4x"
    assert Flat.CODEC.unpack(Flat(a=1, inner=Inner(a=2, b=3), c=[4, 5]).pack()) == (1, 2, 3, 4, 5)


def test_equal_codes_in_a_row_are_one_with_a_count():
    class Runs(Struct):
        a: u8
        b: u8
        c: bytes = array(char, 1)
        d: bytes = array(char, 1)
        e: u32
        f: u32
        g: u32

    assert Runs.FORMAT == "<2B1s1s3I"
    assert Runs.CODEC.unpack(Runs.CODEC.pack(1, 2, b"c", b"d", 5, 6, 7)) == (1, 2, b"c", b"d", 5, 6, 7)


def test_a_structure_of_one_other_byte_order_has_a_flat_format():
    class Header(Struct):
        version: u8
        kind: u8
        length: be16
        address: be32

    assert Header.FORMAT == ">2BHI"
    assert Header(version=1, kind=2, length=3, address=4).pack() == bytes([1, 2, 0, 3, 0, 0, 0, 4])


def test_two_byte_orders_stand_in_one_structure():
    class Both(Struct):
        big: be32
        little: le32
        native: u64
        bigs: list[int] = array(be16, 2)

    class Outer(Struct, byteorder="big"):
        number: u32
        both: Both
        flag: int = bits(u16, 1)
        rest: int = bits(u16, 15)

    value = Outer(number=1, both=Both(big=2, little=3, native=4, bigs=[5, 6]), flag=1, rest=2)
    data = value.pack()
    assert data[:4] == b"\0\0\0\1"
    assert data[8:12] == b"\0\0\0\2"
    assert data[12:16] == b"\3\0\0\0"
    assert data[24:28] == b"\0\5\0\6"
    assert data[32:34] == b"\x80\x02"
    assert Outer.unpack(data) == Outer.view(data) == value


def test_floats_are_numbers_and_what_is_too_large_is_named():
    class Floats(Struct):
        a: f32
        b: f64

    value = Floats.unpack(Floats(a=1, b=math.pi).pack())
    assert (value.a, value.b) == (1.0, math.pi)
    assert math.isnan(Floats.unpack(Floats(a=math.nan).pack()).a)
    with pytest.raises(LayoutError, match=r"Floats\.a"):
        Floats(a=1e300).pack()


def test_128_bit_numbers_come_back():
    class Wide(Struct):
        a: u128
        b: s128
        few: int = bits(u128, 100)

    value = Wide(a=(1 << 128) - 1, b=-1, few=(1 << 100) - 1)
    assert Wide.unpack(value.pack()) == value
    assert Wide.ALIGN == 16


def test_a_layout_with_a_flexible_array_counts_or_takes_the_rest():
    class Message(Struct):
        size: u32
        kind: u8
        data: bytes = trailing(char)

    assert (Message.SIZE, Message.FIELDS["data"].offset) == (8, 5)
    data = Message(size=1, kind=2, data=b"hello").pack()
    assert data == b"\1\0\0\0\2hello"
    assert Message.unpack(data).data == b"hello"
    assert Message.unpack_from(b"xx" + data, 2, 3).data == b"hel"
    # An array that ends in the padding is filled up to SIZE.
    assert Message(data=b"a").pack() == b"\0\0\0\0\0a\0\0"
    with pytest.raises(LayoutError, match=r"Message\.data: 9 elements do not fit in the 5 bytes"):
        Message.unpack_from(data, 0, 9)
    with pytest.raises(LayoutError, match=r"Message\.data"):
        Message.unpack_from(data, 0, -1)
    with pytest.raises(LayoutError, match=r"Message\.data"):
        Message.view(data, 0, 9)
    with pytest.raises(LayoutError, match="Message: cannot pack into 9 bytes"):
        Message(data=b"hello").pack_into(bytearray(9))


def test_a_structure_may_end_in_one_with_a_flexible_array():
    class Entry(Struct):
        length: u32
        name: bytes = trailing(char)

    class Plus(Struct):
        id: u64
        entry: Entry

    value = Plus(id=1, entry=Entry(length=3, name=b"abc"))
    data = value.pack()
    assert data[12:] == b"abc" + bytes(1)
    assert Plus.unpack_from(data, 0, 3) == value
    assert Plus.view(bytearray(data), 0, 3) == value
    assert Plus.unpack(data).entry.name == b"abc\0"


def test_a_rest_that_is_no_whole_element_is_left():
    class Numbers(Struct):
        data: list[int] = trailing(u32)

    assert Numbers.unpack(bytes(11)).data == [0, 0]
    assert len(Numbers.view(bytes(11)).data) == 2


@pytest.mark.parametrize("value", [Inner(a=1, b=2), Overlap(number=3), Everything(**GOOD)])
def test_copies_are_equal_and_share_nothing(value):
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert again == value
        assert again is not value
        assert type(again) is type(value)
    view = type(value).view(bytearray(value.pack()))
    for again in (copy.deepcopy(view), pickle.loads(pickle.dumps(view))):
        assert again == value
        assert type(again) is type(value)
    deep = copy.deepcopy(Overlap(number=3))
    shallow = copy.copy(deep)
    shallow.number = 4
    assert deep.number == 3


def test_layouts_of_two_classes_are_not_equal_and_none_is_a_key():
    class Same(Struct):
        a: u16
        b: u64

    assert Inner() != Same()
    assert Inner() != 5
    for value in (Inner(), Overlap(), Inner.view(bytes(16))):
        with pytest.raises(TypeError, match="unhashable"):
            hash(value)


def test_repr_shows_every_field():
    assert repr(Inner(a=1, b=2)) == "Inner(a=1, b=2)"
    assert repr(Inner.view(bytes(16))) == "Inner(a=0, b=0)"
    assert repr(Overlap(number=1)) == "Overlap(number=1, parts=[1, 0, 0, 0], inner=Inner(a=1, b=0))"


def test_an_unset_field_is_named():
    value = Inner()
    del value.a
    with pytest.raises(LayoutError, match=r"Inner\.a: has no value"):
        value.pack()
    assert "unset" in repr(value)


def test_a_misspelt_field_is_refused():
    with pytest.raises(TypeError, match="size"):
        Inner(size=1)
    with pytest.raises(AttributeError):
        Inner().size = 1


# ---------------------------------------------------------------------------------- random layouts


def random_value(ftype, rng: random.Random):
    if isinstance(ftype, Bits):
        low, high = int_bounds(ftype.width, signed=ftype.scalar.kind is Kind.SIGNED)
        number = rng.choice([low, high, rng.randint(low, high)])
        return ftype.base.enum(number) if isinstance(ftype.base, Enumerated) else number
    if isinstance(ftype, Enumerated):
        return ftype.enum(random_value(ftype.base, rng))
    if isinstance(ftype, Array):
        if isinstance(ftype.elem, Scalar) and ftype.elem.kind is Kind.CHAR:
            return rng.randbytes(ftype.count)
        return [random_value(ftype.elem, rng) for _ in range(ftype.count)]
    if isinstance(ftype, Trailing):
        # Enough to end after the padding.
        return random_value(Array(ftype.elem, rng.randint(32, 40)), rng)
    if isinstance(ftype, Scalar):
        if ftype.kind is Kind.CHAR:
            return rng.randbytes(1)
        if ftype.kind is Kind.BOOL:
            return rng.random() < 0.5
        if ftype.kind is Kind.FLOAT:
            return float(rng.randint(-1000, 1000)) / 8
        low, high = ftype.bounds()
        return rng.choice([low, high, rng.randint(low, high)])
    raise AssertionError(ftype)


def random_pairs(seed: int, count: int):
    rng = random.Random(seed)
    spelling = Spelling([Maker(rng, big=rng.random() < 0.3).record() for _ in range(count)])
    for cls in spelling.classes().values():
        yield cls, rng


@pytest.mark.parametrize("seed", range(6))
def test_random_values_of_random_layouts_come_back(seed):
    for cls, rng in random_pairs(seed, 40):
        value = Instances(rng).make(cls)
        data = value.pack()
        assert len(data) >= cls.SIZE
        assert cls.unpack(data) == value
        assert cls.unpack(data).pack() == data
        buf = bytearray(b"\xee" * (len(data) + 9))
        assert value.pack_into(buf, 4) == len(data)
        assert buf == b"\xee" * 4 + data + b"\xee" * 5
        view = cls.view(data)
        assert view == value
        assert view.pack() == data


@pytest.mark.parametrize("seed", range(6, 9))
def test_setting_each_field_of_a_view_gives_the_bytes_of_the_value(seed):
    for cls, rng in random_pairs(seed, 40):
        instances = Instances(rng)
        value = instances.make(cls)
        data = value.pack()
        view = cls.view(bytearray(len(data)))
        for name, content in instances.given.items():
            setattr(view, name, content)
        assert view == value
        assert view.pack() == data


class Instances:
    """Makes instances with random values."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def make(self, cls):
        taken: dict[int, int] = {}
        values = {}
        for field in cls.FIELDS.values():
            if all(taken.setdefault(number, index) == index for number, index in field.rivals):
                values[field.name] = self.value(field.type)
        self.given = values
        return cls(**values)

    def value(self, ftype):
        if isinstance(ftype, type):
            return self.make(ftype)
        if isinstance(ftype, Array) and isinstance(ftype.elem, (Array, type)):
            return [self.value(ftype.elem) for _ in range(ftype.count)]
        return random_value(ftype, self.rng)


class Numbers(Struct):
    a: u8
    b: s64
    c: int = bits(s16, 11)
    d: int = bits(u16, 5)
    e: list[int] = array(u16, 3)
    f: bytes = array(char, 5)


@settings(max_examples=200)
@given(
    st.integers(-2, 257),
    st.integers(-(2**63) - 1, 2**63),
    st.integers(-1026, 1026),
    st.integers(-1, 33),
    st.lists(st.integers(-1, 65536), min_size=2, max_size=4),
    st.binary(max_size=6),
)
def test_values_come_back_if_and_only_if_they_fit(a, b, c, d, e, f):
    fits = (
        0 <= a < 256
        and -(2**63) <= b < 2**63
        and -1024 <= c < 1024
        and 0 <= d < 32
        and len(e) == 3
        and all(0 <= x < 65536 for x in e)
        and len(f) <= 5
    )
    value = Numbers(a=a, b=b, c=c, d=d, e=e, f=f)
    if fits:
        again = Numbers.unpack(value.pack())
        assert (again.a, again.b, again.c, again.d, again.e, again.f) == (a, b, c, d, e, f.ljust(5, b"\0"))
    else:
        with pytest.raises(LayoutError, match=r"Numbers\.[a-f]"):
            value.pack()


def test_a_default_of_a_union_member_holds_until_another_member_is_given():
    class Start(Struct):
        with union():
            a: u32 = 7
            b: u16

    class Either(Union):
        a: u32
        b: u16 = 9

    assert (Start().a, Start(b=1).a, Start(a=2).a) == (7, 1, 2)
    assert (Either().a, Either(a=1).b) == (9, 1)

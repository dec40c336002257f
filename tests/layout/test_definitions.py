# SPDX-License-Identifier: Apache-2.0
"""A wrong layout fails while its class is defined, and the error names the class and the field."""

from __future__ import annotations

import enum
import re
from typing import Annotated, ClassVar

import pytest

from instar.layout import (
    LayoutError,
    Struct,
    Union,
    array,
    be32,
    cbool,
    char,
    field,
    s8,
    s16,
    struct,
    trailing,
    u8,
    u16,
    u32,
    u64,
    union,
)
from instar.layout import enum as enum_field


class Inner(Struct):
    a: u32


class Tail(Struct):
    n: u32
    data: bytes = trailing(char)


def refused(*words: str):
    """The block raises LayoutError with a message that has these words."""
    return pytest.raises(LayoutError, match=".*".join(re.escape(w) for w in words))


def test_an_unknown_type_is_named():
    with refused("Bad.x", "nonsense"):

        class Bad(Struct):
            x: nonsense  # noqa: F821


@pytest.mark.parametrize(
    ("kind", "hint"), [("int", "u32"), ("float", "f64"), ("bytes", "array(char"), ("str", "str")]
)
def test_a_python_type_is_no_c_type(kind, hint):
    with refused("Bad.x", hint):
        exec_body(f"x: {kind}")


def exec_body(*lines: str, head: str = "class Bad(Struct):"):
    text = (
        "from __future__ import annotations\nfrom instar.layout import *\n"
        + head
        + "\n"
        + "\n".join(f"    {line}" for line in lines)
    )
    scope = dict(globals())
    exec(compile(text, "<body>", "exec", dont_inherit=True), scope)
    return scope["Bad"]


def test_a_name_declared_twice_is_refused():
    with refused("Bad.x", "twice"):
        exec_body("x: u32", "y: u32", "x: u64")


def test_a_name_declared_twice_in_different_anonymous_groups_is_refused():
    with refused("Bad.x", "twice"):
        exec_body("with union():", "    x: u32", "with union():", "    x: u64")


@pytest.mark.parametrize(
    "name", ["pack", "unpack", "unpack_from", "view", "SIZE", "FIELDS", "CODEC", "CTYPE"]
)
def test_a_name_that_hides_a_method_is_refused(name):
    with refused(f"Bad.{name}", "hides"):
        exec_body(f"{name}: u32")


def test_a_name_with_two_leading_underscores_is_refused():
    with refused("__x", "underscores"):
        exec_body("__x: u32")
    with refused("__x__", "underscores"):
        exec_body("__x__: u32")


@pytest.mark.parametrize("body", [["data: bytes = trailing(char)", "x: u32"], ["t: Tail", "x: u32"]])
def test_a_flexible_array_must_be_last(body):
    with refused("Bad.", "last"):
        exec_body(*body)


def test_a_flexible_array_cannot_stand_in_a_union():
    with refused("Bad.x", "last"):
        exec_body("a: u32", "x: bytes = trailing(char)", head="class Bad(Union):")
    with refused("Bad.x", "anonymous"):
        exec_body("with union():", "    a: u32", "    x: bytes = trailing(char)")


def test_an_array_of_structures_with_flexible_arrays_is_refused():
    with refused("Bad.x", "flexible"):
        exec_body("x: list[Tail] = array(Tail, 2)")


@pytest.mark.parametrize(
    "call", ["bits(u8, 9)", "bits(cbool, 2)", "bits(u32, -1)", "bits(u32, True)", "bits(u32, 1.5)"]
)
def test_a_bit_width_that_does_not_fit_is_refused(call):
    with refused("Bad.x", "bits"):
        exec_body(f"x: int = {call}")


@pytest.mark.parametrize("base", ["f32", "char", "Inner", "be32", "5"])
def test_a_bit_field_needs_an_integer_type(base):
    with refused("Bad.x", "bits", "integer"):
        exec_body(f"x: int = bits({base}, 1)")


def test_a_bit_field_of_width_zero_has_no_name():
    with refused("Bad.x", "width 0"):
        exec_body("x: int = bits(u32, 0)")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("x: u8 = 256", "Bad.x"),
        ("x: u8 = 'a'", "Bad.x"),
        ("x: u8 = None", "Bad.x"),
        ("x: f32 = 'a'", "Bad.x"),
        ("x: char = b'ab'", "Bad.x"),
        ("x: int = bits(u32, 3, default=8)", "Bad.x"),
        ("x: bytes = array(char, 2, default=b'abc')", "Bad.x"),
        ("x: list[int] = array(u8, 2, default=[1])", "Bad.x"),
        ("x: list[int] = array(u8, 2, default=[1, 256])", "[1]"),
        ("x: Inner = 5", "Bad.x"),
        ("x: Inner = Inner(a=-1)", ".a"),
    ],
)
def test_a_default_that_does_not_fit_is_refused(body, where):
    with refused("Bad.x", "default"):
        exec_body(body)
    with refused(where):
        exec_body(body)


def test_a_method_and_a_field_of_one_name_are_refused():
    with refused("Bad.x"):
        exec_body("x: u32", "def x(self): ...")


@pytest.mark.parametrize("size", ["size=3", "size=-1", "size='a'", "size=True"])
def test_an_explicit_size_must_hold_the_fields(size):
    with refused("Bad", "size"):
        exec_body("x: u32", head=f"class Bad(Struct, {size}):")


@pytest.mark.parametrize("align", ["3", "0", "-4", "'a'", "True"])
def test_an_alignment_must_be_a_power_of_two(align):
    with refused("Bad", "align"):
        exec_body("x: u32", head=f"class Bad(Struct, align={align}):")
    with refused("align"):
        exec_body(f"x: int = field(u32, align={align})")
    with refused("align"):
        exec_body(f"with union(align={align}):", "    x: u32")


def test_a_byte_order_must_be_one_of_three():
    with refused("Bad", "byteorder", "middle"):
        exec_body("x: u32", head="class Bad(Struct, byteorder='middle'):")


def test_a_layout_cannot_be_extended():
    with refused("Bad", "Inner", "field instead"):
        exec_body("x: u32", head="class Bad(Inner):")


def test_slots_are_the_layouts_own():
    with refused("Bad", "__slots__"):
        exec_body("__slots__ = ()", "x: u32")


def test_a_declaration_without_annotation_is_refused():
    with refused("Bad.x", "annotation"):
        exec_body("x = array(u32, 3)")


@pytest.mark.parametrize(
    "call", ["array(u32)", "array(u32, -1)", "array(u32, 1.5)", "array(5, 2)", "array(int, 2)"]
)
def test_an_array_needs_an_element_and_a_count(call):
    with refused("Bad.x", "array"):
        exec_body(f"x: list[int] = {call}")


def test_arrays_of_bit_fields_and_of_flexible_arrays_are_refused():
    with refused("Bad.x", "array", "bits"):
        exec_body("x: list[int] = array(bits(u32, 3), 2)")
    with refused("Bad.x", "array", "trailing"):
        exec_body("x: list[int] = array(trailing(u32), 2)")
    with refused("Bad.x", "trailing", "trailing"):
        exec_body("x: list[int] = trailing(trailing(u32))")


def test_an_enum_base_must_be_an_integer():
    with refused("Bad.x", "enum", "Kind", "integer"):
        exec_body("x: Kind = enum_field(Kind, f32)")
    with refused("Bad.x", "enum", "IntEnum"):
        exec_body("x: Kind = enum_field(Inner)")


def test_an_enum_that_fits_no_integer_is_refused():
    with refused("Bad.x", "Huge", "64"):
        exec_body("x: Huge")
    with refused("Bad.x", "Huge", "64"):
        exec_body("x: Huge = enum_field(Huge)")


def test_a_mistake_inside_another_declaration_is_told():
    with refused("Bad.x", "count"):
        exec_body("x: list[int] = array(array(u32, -1), 2)")
    with refused("Bad.x", "count"):
        exec_body("x: list[int] = field(array(u32, -1))")
    with refused("Bad.x", "no field type"):
        exec_body("x: list[int] = field(5)")
    with refused("Bad.x", "count"):
        exec_body("x: Annotated[int, array(u32, -1)]")


def test_an_anonymous_group_belongs_in_a_class_body():
    with refused("body of a Struct"), union():
        pass
    with refused("body of a Struct"), struct():
        pass


class Kind(enum.IntEnum):
    A = 1
    B = 2


class Huge(enum.IntEnum):
    A = 1 << 64


class Flags(enum.IntFlag):
    X = 1
    Y = 2


# ------------------------------------------------------------------------------------ what is accepted


def test_every_spelling_of_a_type_is_accepted():
    name_t = Annotated[bytes, array(char, 4)]

    class Good(Struct, ctype="struct good"):
        CONSTANT: ClassVar[int] = 7
        a: u8
        b: bool
        c: cbool
        name: name_t
        kind: Kind
        small: Kind = enum_field(Kind, u16)
        flags: Flags
        order: be32
        x: s8 = -1
        one: char = b"x"
        pair: list[int] = array(s16, 2, default=[1, 2])
        inner: Inner = Inner(a=9)
        wide: int = field(u64, align=16)

        def double(self) -> int:
            return self.a * 2

    assert Good.CONSTANT == 7
    assert list(Good.FIELDS) == [
        "a",
        "b",
        "c",
        "name",
        "kind",
        "small",
        "flags",
        "order",
        "x",
        "one",
        "pair",
        "inner",
        "wide",
    ]
    good = Good(a=3)
    assert (good.double(), good.x, good.one, good.pair, good.inner.a) == (6, -1, b"x", [1, 2], 9)
    assert Good.FIELDS["wide"].offset % 16 == 0
    assert Good.ALIGN == 16
    assert Good.CTYPE == "struct good"


def test_defaults_are_not_shared_between_instances():
    class Lists(Struct):
        a: list[int] = array(u32, 2, default=[1, 2])
        b: list[int] = array(u32, 2)
        c: Inner

    one, two = Lists(), Lists()
    one.a[0], one.b[0], one.c.a = 9, 9, 9
    assert (two.a, two.b, two.c.a) == ([1, 2], [0, 0], 0)


def test_annotations_may_name_what_is_local_to_a_function():
    class Local(Struct):
        a: u16

    class Outer(Struct):
        x: u8
        local: Local

    assert Outer.SIZE == 4


def test_fields_may_have_names_that_generated_code_uses():
    class Names(Struct):
        self: u8
        buf: u8
        offset: u8
        _M: u8
        _cls: u8
        other: u8
        v: u8
        t1: u8
        _g0: u8
        get_self: u8
        with union():
            property: u8
            _set: s8

    value = Names(self=1, buf=2, offset=3, _M=4, _cls=5, other=6, v=7, t1=8, _g0=9, get_self=10, property=11)
    assert value.pack() == bytes(range(1, 12))
    assert Names.unpack(value.pack()) == value
    assert Names.view(value.pack()) == value


def test_an_empty_layout_has_size_zero():
    class Empty(Struct):
        pass

    assert Empty.SIZE == 0
    assert Empty().pack() == b""
    assert Empty.unpack(b"") == Empty()


def test_the_generated_text_is_kept_and_shown_in_tracebacks():
    import linecache

    class Shown(Struct):
        a: u32

    assert "def pack" in Shown.SOURCE
    assert linecache.getline(Shown.pack.__code__.co_filename, Shown.pack.__code__.co_firstlineno).startswith(
        "def pack"
    )


def test_packed_and_aligned_layouts_have_the_sizes_of_c():
    class Packed(Struct, packed=True):
        a: u8
        b: u64

    class Aligned(Struct, align=32):
        a: u8

    class Sized(Struct, size=64):
        a: u8

    class PackedUnion(Union, packed=True):
        a: u64
        b: bytes = array(char, 9)

    assert (Packed.SIZE, Packed.ALIGN) == (9, 1)
    assert (Aligned.SIZE, Aligned.ALIGN) == (32, 32)
    assert (Sized.SIZE, Sized.ALIGN, len(Sized().pack())) == (64, 1, 64)
    assert (PackedUnion.SIZE, PackedUnion.ALIGN) == (9, 1)


def test_the_example_of_the_module_runs():
    import textwrap

    import instar.layout

    lines = instar.layout.__doc__.splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if not line or line.startswith("    ")))
    scope = {"__name__": "example"}
    exec(compile("from __future__ import annotations\n" + example, "<example>", "exec"), scope)
    assert scope["buf"][64 + instar.layout.offsetof(scope["Entry"], "attr.mode")] == 0o111 & 0xFF


def test_annotations_that_python_evaluates_late_are_read():
    """What a body without the future import gives on Python 3.14."""
    made = type(Struct)("Late", (Struct,), {"__annotate_func__": lambda _: {"a": u32, "b": u8}, "b": 5})
    assert (made.SIZE, made().b) == (8, 5)

    def unknown(_):
        raise NameError("name 'nonsense' is not defined")

    with refused("Late", "nonsense"):
        type(Struct)("Late", (Struct,), {"__annotate_func__": unknown})
    recorder = type(Struct).__prepare__("Late", (Struct,))["__annotations__"]
    recorder.open(union())
    with refused("Late", "__future__"):
        type(Struct)("Late", (Struct,), {"__annotations__": recorder, "__annotate__": lambda _: {"a": u32}})

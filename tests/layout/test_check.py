# SPDX-License-Identifier: Apache-2.0
"""A layout that differs from C is reported by its first difference; what cannot be compared says so."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from instar.layout import (
    LayoutError,
    Struct,
    Union,
    _gcc,
    array,
    bits,
    char,
    ptr,
    s32,
    struct,
    trailing,
    u16,
    u32,
    u64,
    union,
)
from instar.layout.btf import VMLINUX, Btf
from instar.layout.check import LayoutMismatch, LayoutUnavailable, compare_btf, compare_gcc, from_btf
from tests.layout.btf_encoder import Encoder

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

SOURCE = """
#include <stdint.h>
struct point { uint32_t x; int32_t y; };
struct sample {
    uint64_t id;
    struct point points[2];
    union { uint32_t raw; struct { uint16_t low, high; }; };
    uint32_t flag : 1, level : 7;
    char name[6];
    void *next;
    uint32_t class;
    char tail[];
};
"""


def sample_btf() -> Btf:
    """The same as SOURCE."""
    e = Encoder()
    e.int("unsigned int", 4)  # 1
    e.int("int", 4, 1)  # 2
    e.int("unsigned long", 8)  # 3
    e.int("unsigned short", 2)  # 4
    e.int("char", 1, 1)  # 5
    e.record("point", 8, ("x", 1, 0), ("y", 2, 32))  # 6
    e.array(6, 2)  # 7
    e.record("", 4, ("low", 4, 0), ("high", 4, 16))  # 8
    e.record("", 4, ("raw", 1, 0), ("", 8, 0), union=True)  # 9
    e.array(5, 6)  # 10
    e.add(2)  # 11: a pointer
    e.array(5, 0)  # 12
    e.record(
        "sample",
        56,
        ("id", 3, 0, 0),
        ("points", 7, 64, 0),
        ("", 9, 192, 0),
        ("flag", 1, 224, 1),
        ("level", 1, 225, 7),
        ("name", 10, 232, 0),
        ("next", 11, 320, 0),
        ("class", 1, 384, 0),
        ("tail", 12, 416, 0),
        flag=True,
    )
    return Btf(e.data())


class Point(Struct, ctype="struct point"):
    x: u32
    y: s32


class Sample(Struct, ctype="struct sample"):
    id: u64
    points: list[Point] = array(Point, 2)
    with union():
        raw: u32
        with struct():
            low: u16
            high: u16
    flag: int = bits(u32, 1)
    level: int = bits(u32, 7)
    name: bytes = array(char, 6)
    next: ptr
    class_: u32
    tail: bytes = trailing(char)


def by_gcc(cls, **more):
    compare_gcc(cls, header=None, source=SOURCE, **more)


def by_btf(cls, **more):
    compare_btf(cls, sample_btf(), **more)


both = pytest.mark.parametrize("compare", [pytest.param(by_gcc, marks=needs_gcc), by_btf])


@both
def test_a_layout_that_agrees_is_accepted(compare):
    compare(Sample)
    compare([Point, Sample])


def variant(name: str, *body: str, tag: str = "struct sample") -> type:
    text = "from __future__ import annotations\nfrom instar.layout import *\n"
    text += f"class {name}(Struct, ctype={tag!r}):\n" + "".join(f"    {line}\n" for line in body)
    scope = dict(globals())
    exec(compile(text, "<variant>", "exec", dont_inherit=True), scope)
    return scope[name]


WRONG = {
    "offset": (["id: u32", "points: list[Point] = array(Point, 2)"], "id", "size", 4, 8),
    "moved": (["id: u64", "raw: u32"], "raw", "offset", 8, 24),
    "longer": (["id: u64", "points: list[Point] = array(Point, 3)"], "points", "size", 24, 16),
    "signed": (["id: s64"], "id", "sign", "signed", "unsigned"),
    "misspelt": (["identity: u64"], "identity", "name", "identity", "identity"),
    "short": (["id: u64"], "", "size", 8, 56),
}


@both
@pytest.mark.parametrize("case", WRONG)
def test_the_first_difference_is_named(compare, case):
    body, field, what, ours, theirs = WRONG[case]
    with pytest.raises(LayoutMismatch) as caught:
        compare(variant("Wrong", *body))
    error = caught.value
    assert (error.field, error.what, error.ours, error.theirs) == (field, what, ours, theirs)
    assert re.search(rf"Wrong\.{field}" if field else "Wrong", str(error))
    assert "struct sample" in str(error)


@both
def test_bit_fields_are_compared_by_their_bits(compare):
    body = ["id: u64", "points: list[Point] = array(Point, 2)", "raw: u32"]
    with pytest.raises(LayoutMismatch) as caught:
        compare(variant("Wrong", *body, "flag: int = bits(u32, 2)"))
    assert (caught.value.field, caught.value.what, caught.value.ours, caught.value.theirs) == (
        "flag",
        "bits",
        (224, 2),
        (224, 1),
    )
    with pytest.raises(LayoutMismatch, match=r"Wrong\.flag"):
        compare(variant("Wrong", *body, "flag: int = bits(s32, 1)"))
    shorter = variant("Wrong", *body, "flag: int = bits(u32, 1)", "level: int = bits(u32, 7)")
    with pytest.raises(LayoutMismatch, match="Wrong: size is 32, but 56"):
        compare(shorter)


@both
def test_a_difference_inside_a_nested_layout_has_its_path(compare):
    class Swapped(Struct, ctype="struct point"):
        y: s32
        x: u32

    class Outer(Struct, ctype="struct sample"):
        id: u64
        points: list[Swapped] = array(Swapped, 2)

    with pytest.raises(LayoutMismatch) as caught:
        compare(Outer)
    assert (caught.value.field, caught.value.ours, caught.value.theirs) == ("points[0].y", 8, 12)


@both
def test_names_and_signs_can_be_set_aside(compare):
    class Renamed(Struct, ctype="struct point"):
        left: s32
        ours: s32

    with pytest.raises(LayoutMismatch):
        compare(Renamed)
    with pytest.raises(LayoutMismatch, match="sign"):
        compare(Renamed, names={"left": "x", "ours": "y"})
    compare(Renamed, names={"left": "x", "ours": ""}, signs=False)


@both
def test_a_structure_that_c_does_not_have_is_unavailable(compare):
    with pytest.raises(LayoutUnavailable, match="struct missing"):
        compare(variant("Lost", "x: u32", tag="struct missing"))

    class Tagless(Struct):
        x: u32

    with pytest.raises(LayoutUnavailable, match="ctype"):
        compare(Tagless)


@needs_gcc
def test_alignment_is_compared_with_gcc():
    class Loose(Struct, ctype="struct point", align=8):
        x: u32
        y: s32

    with pytest.raises(LayoutMismatch, match="Loose: alignment is 8, but 4"):
        by_gcc(Loose)


@needs_gcc
def test_one_missing_structure_does_not_hide_a_mismatch_in_an_earlier_one():
    wrong, lost = variant("Wrong", "id: u32"), variant("Lost", "x: u32", tag="struct missing")
    with pytest.raises(LayoutMismatch, match=r"Wrong\.id"):
        by_gcc([wrong, lost])
    with pytest.raises(LayoutUnavailable):
        by_gcc([lost, wrong])


@needs_gcc
def test_many_classes_take_one_compilation_and_answers_are_kept(monkeypatch):
    runs = []
    compile_ = _gcc._compile
    monkeypatch.setattr(_gcc, "_compile", lambda *args: runs.append(args) or compile_(*args))
    source = SOURCE + "/* of this test alone */"
    compare_gcc([Point, Sample], header=None, source=source)
    compare_gcc(Sample, header=None, source=source)
    assert len(runs) == 1


@needs_gcc
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"header": "no/such.h"}, r"no/such\.h"),
        ({"cc": "no-such-compiler"}, "no-such-compiler is not installed"),
        ({"header": None, "source": "this is no C;"}, "does not compile"),
        ({"flags": ["--no-such-flag"]}, "no-such-flag"),
    ],
)
def test_what_gcc_cannot_do_is_said(more, words):
    with pytest.raises(LayoutUnavailable, match=words):
        compare_gcc(Point, **more)


class InHeader(Struct, ctype="struct fuse_in_header"):
    len: u32
    opcode: u32
    unique: u64
    nodeid: u64
    uid: u32
    gid: u32
    pid: u32


class Dirent(Struct, ctype="struct fuse_dirent"):
    ino: u64
    off: u64
    namelen: u32
    type: u32
    name: bytes = trailing(char)


@needs_gcc
@pytest.mark.skipif(not os.path.exists("/usr/include/linux/fuse.h"), reason="needs linux/fuse.h")
def test_the_installed_header_is_asked():
    compare_gcc([Dirent, InHeader])
    with pytest.raises(
        LayoutMismatch, match=r"Wrong\.len: size is 8, but 4 for struct fuse_in_header in <linux/fuse\.h>"
    ):
        compare_gcc(variant("Wrong", "len: u64", tag="struct fuse_in_header"))


@pytest.mark.skipif(not os.path.exists(VMLINUX), reason="the kernel has no BTF")
def test_the_running_kernel_is_asked():
    kernel = Btf.kernel()
    compare_btf(Dirent, kernel)
    with pytest.raises(
        LayoutMismatch, match=r"InHeader: struct fuse_in_header in BTF has a field .* at byte 36"
    ):
        compare_btf(InHeader, kernel)


def test_a_class_from_btf_agrees_with_the_class_by_hand():
    made = from_btf(sample_btf(), "struct sample")
    assert {n: (f.offset, f.size, f.bit_offset) for n, f in made.FIELDS.items()} == {
        n: (f.offset, f.size, f.bit_offset) for n, f in Sample.FIELDS.items()
    }
    assert (made.SIZE, made.ALIGN, made.FORMAT, made.CTYPE) == (
        Sample.SIZE,
        8,
        Sample.FORMAT,
        "struct sample",
    )
    value = made(id=1, high=2, level=3, class_=4, tail=b"abc")
    assert Sample.unpack_from(value.pack(), 0, 3) == Sample(id=1, high=2, level=3, class_=4, tail=b"abc")
    with pytest.raises(LayoutError):
        from_btf(sample_btf(), "struct nothing")
    with pytest.raises(LayoutError, match="no structure"):
        from_btf(sample_btf(), "int")


def test_a_union_from_btf_is_a_union():
    e = Encoder()
    e.int("unsigned int", 4)
    e.array(1, 3)
    e.record("either", 12, ("one", 1, 0), ("many", 2, 0), union=True)
    made = from_btf(Btf(e.data()), "union either")
    assert issubclass(made, Union)
    assert made(many=[5, 6, 7]).one == 5


def test_names_that_python_cannot_have_get_an_underscore():
    e = Encoder()
    e.int("unsigned char", 1)
    e.record(
        "odd", 6, *[(n, 1, i * 8) for i, n in enumerate(["class", "pack", "SIZE", "__x", "class_", "x"])]
    )
    made = from_btf(Btf(e.data()), "struct odd")
    assert list(made.FIELDS) == ["class_", "pack_", "SIZE_", "x", "class__", "x_"]
    compare_btf(made, Btf(e.data()))
    assert made(class_=1).pack() == b"\1" + bytes(5)

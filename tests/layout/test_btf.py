# SPDX-License-Identifier: Apache-2.0
"""The BTF reader reads every kind, the running kernel and what gcc writes; hostile bytes give one error."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.layout import LayoutError, btf
from instar.layout.btf import VMLINUX, Btf, BtfError, IntEncoding, Kind
from instar.layout.check import compare_btf, from_btf
from tests.layout.btf_encoder import Encoder
from tests.layout.random_layouts import Anonymous, Bit, Maker, Nested, Num, Spelling

needs_kernel_btf = pytest.mark.skipif(not os.path.exists(VMLINUX), reason="the kernel has no BTF")


@pytest.fixture(scope="module")
def kernel():
    return Btf.kernel()


def every_kind(order: str = "<") -> Encoder:
    e = Encoder(order)
    e.int("int", 4, IntEncoding.SIGNED)  # 1
    e.add(Kind.PTR, third=1)  # 2
    e.array(1, 7)  # 3
    e.record("point", 8, ("x", 1, 0), ("y", 1, 32))  # 4
    e.record("either", 8, ("number", 1, 0), ("pointer", 2, 0), union=True)  # 5
    e.add(Kind.ENUM, "colour", 2, 4, flag=True, rest=e.words(e.string("RED"), -1, e.string("BLUE"), 7))  # 6
    e.add(Kind.FWD, "later", flag=True)  # 7
    e.add(Kind.TYPEDEF, "number_t", third=1)  # 8
    e.add(Kind.VOLATILE, third=8)  # 9
    e.add(Kind.CONST, third=9)  # 10
    e.add(Kind.RESTRICT, third=2)  # 11
    e.add(Kind.FUNC_PROTO, "", 2, 1, rest=e.words(e.string("a"), 1, 0, 0))  # 12
    e.add(Kind.FUNC, "work", 1, 12)  # 13
    e.add(Kind.VAR, "counter", third=10, rest=e.words(1))  # 14
    e.add(Kind.DATASEC, ".data", 1, 64, rest=e.words(14, 16, 4))  # 15
    e.add(Kind.FLOAT, "double", third=8)  # 16
    e.add(Kind.DECL_TAG, "tagged", third=4, rest=e.words(-1))  # 17
    e.add(Kind.TYPE_TAG, "user", third=1)  # 18
    e.add(Kind.ENUM64, "wide", 2, 8, rest=e.words(e.string("BIG"), 1, 2, e.string("MAX"), -1, -1))  # 19
    e.record("flags", 4, ("low", 1, 0, 3), ("high", 1, 3, 29), flag=True)  # 20
    return e


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_is_decoded(order):
    b = Btf(every_kind(order).data())
    assert len(b) == 21
    assert list(b) == [
        btf.Int(1, "int", 4, IntEncoding.SIGNED, 0, 32),
        btf.Pointer(2, 1),
        btf.Array(3, 1, 1, 7),
        btf.Record(4, "point", Kind.STRUCT, 8, (btf.Member("x", 1, 0, 0), btf.Member("y", 1, 32, 0))),
        btf.Record(
            5, "either", Kind.UNION, 8, (btf.Member("number", 1, 0, 0), btf.Member("pointer", 2, 0, 0))
        ),
        btf.Enum(6, "colour", 4, True, (("RED", -1), ("BLUE", 7))),
        btf.Forward(7, "later", Kind.UNION),
        btf.Typedef(8, "number_t", 1),
        btf.Modifier(9, Kind.VOLATILE, 8),
        btf.Modifier(10, Kind.CONST, 9),
        btf.Modifier(11, Kind.RESTRICT, 2),
        btf.Prototype(12, 1, (btf.Parameter("a", 1), btf.Parameter("", 0))),
        btf.Function(13, "work", 12, 1),
        btf.Variable(14, "counter", 10, 1),
        btf.DataSection(15, ".data", 64, (btf.VariableSlot(14, 16, 4),)),
        btf.Float(16, "double", 8),
        btf.DeclTag(17, "tagged", 4, -1, False),
        btf.TypeTag(18, "user", 1, False),
        btf.Enum(19, "wide", 8, False, (("BIG", 1 | 2 << 32), ("MAX", (1 << 64) - 1))),
        btf.Record(20, "flags", Kind.STRUCT, 4, (btf.Member("low", 1, 0, 3), btf.Member("high", 1, 3, 29))),
    ]
    assert b[0] == btf.Void()
    assert b.byteorder == ("little" if order == "<" else "big")


def test_types_are_found_by_their_c_name():
    b = Btf(every_kind().data())
    found = {
        "struct point": 4,
        "union either": 5,
        "enum colour": 6,
        "enum wide": 19,
        "number_t": 8,
        "int": 1,
        "double": 16,
    }
    assert {name: b.find(name).id for name in found} == found
    assert [t.id for t in b.find_all("work")] == [13]
    for name in ("struct either", "point", "struct ", "", "struct nothing", "struct po\0int", "\0", "nt"):
        with pytest.raises(BtfError):
            b.find(name)


def test_typedefs_and_modifiers_are_looked_through():
    b = Btf(every_kind().data())
    assert b.resolve(10) == b[1]
    assert [b.sizeof(i) for i in (1, 2, 3, 4, 6, 10, 14, 15, 16, 18)] == [4, 8, 28, 8, 4, 4, 4, 64, 8, 4]
    for i in (0, 7, 12, 13, 17):
        with pytest.raises(BtfError):
            b.sizeof(i)


def test_a_split_btf_goes_on_from_its_base():
    base = Btf(every_kind().data())
    e = Encoder(first_id=len(base), first_string=base.string_end)
    e.record("mine", 16, ("p", 4, 0), ("q", 8, 64))  # 21
    e.add(Kind.TYPEDEF, "mine_t", third=21)  # 22
    # A name of the base is used from there.
    shared = base._strings.index(b"\0point\0") + 1
    e.types += e.words(shared, Kind.TYPEDEF << 24, 21)  # 23
    split = Btf(e.data(), base)
    assert (len(split), [t.id for t in split]) == (24, [21, 22, 23])
    assert split.find("struct mine").members[0].name == "p"
    assert split.find("struct point") == base[4]
    assert split.find("point").id == 23
    assert split.resolve(22).size == 16
    assert split[1] == base[1]
    assert (len(split.find_all("point")), split.string_end) == (2, base.string_end + len(e.strings))
    assert from_btf(split, "struct mine").FIELDS["p"].type.SIZE == 8


def test_bit_fields_of_old_btf_are_those_of_their_int():
    e = Encoder()
    e.int("unsigned int", 4)
    e.int("unsigned int", 4, bits=3)
    e.int("unsigned int", 4, offset=3, bits=5)
    e.record("old", 4, ("a", 2, 0), ("b", 3, 0), ("c", 1, 0))
    members = Btf(e.data()).find("struct old").members
    assert [(m.bit_offset, m.bit_width) for m in members] == [(0, 3), (3, 5), (0, 0)]


# ------------------------------------------------------------------------------------------- hostile


@pytest.mark.parametrize(
    "header",
    [
        {"magic": 0xEB9E},
        {"version": 2},
        {"hdr_len": 20},
        {"hdr_len": 1 << 31},
        {"type_off": 1 << 31},
        {"type_len": (1 << 32) - 1},
        {"type_len": 13},
        {"str_len": 1 << 20},
        {"str_off": (1 << 32) - 1},
        {"str_len": 4},
    ],
)
def test_a_wrong_header_is_refused(header):
    with pytest.raises(BtfError):
        Btf(every_kind().data(**header))


def test_every_truncation_is_refused_or_read():
    data = every_kind().data()
    for length in range(len(data)):
        with pytest.raises(BtfError):
            Btf(data[:length])


@pytest.mark.parametrize("kind", [0, 20, 31])
def test_an_unknown_kind_is_refused(kind):
    e = Encoder()
    e.add(kind)
    with pytest.raises(BtfError, match="kind"):
        Btf(e.data())


def test_a_type_that_is_cut_off_is_refused():
    e = Encoder()
    e.add(Kind.STRUCT, "s", 9, 4)
    with pytest.raises(BtfError, match="cut off"):
        Btf(e.data())


def test_ids_and_strings_outside_are_refused():
    e = Encoder()
    e.add(Kind.PTR, third=99)
    e.types += e.words(12345, Kind.TYPEDEF << 24, 99)
    b = Btf(e.data())
    for call in (lambda: b[99], lambda: b[-1], lambda: b[2], lambda: b.resolve(99), lambda: b.string(12345)):
        with pytest.raises(BtfError):
            call()


def test_circles_are_refused():
    e = Encoder()
    e.add(Kind.TYPEDEF, "a", third=2)
    e.add(Kind.CONST, third=1)
    e.array(3, 2)
    e.add(Kind.VAR, "v", third=4, rest=e.words(0))
    e.record("self", 8, ("me", 5, 0))
    e.record("anonymous", 8, ("", 6, 0))
    e.record("grown", 1 << 31, ("a", 8, 0))
    e.array(1, 1 << 31)
    b = Btf(e.data())
    for call in (b.resolve, b.sizeof):
        with pytest.raises(BtfError):
            call(1)
    for i in (3, 4, 8):
        with pytest.raises(BtfError):
            b.sizeof(i)
    for name in ("self", "anonymous", "grown"):
        with pytest.raises(BtfError):
            from_btf(b, f"struct {name}")


@pytest.mark.parametrize(
    "members",
    [
        [("a", 1, 32)],  # ends after the record
        [("a", 1, 4)],  # starts inside a byte
        [("a", 9, 0)],  # no such type
        [("a", 2, 0)],  # a function
        [("", 1, 0)],  # no name
        [("a b", 1, 0)],  # no identifier
        [("\u00aa", 1, 0)],  # not ASCII: Python would fold it to "a"
        [("a", 3, 0)],  # too large an array
        [("a", 1, 0), ("b", 1, 0)],  # on top of each other
    ],
)
def test_a_record_that_cannot_be_laid_out_is_refused(members):
    e = Encoder()
    e.int("int", 4)
    e.add(Kind.FUNC_PROTO)
    e.array(1, 1 << 30)
    e.record("bad", 4, *members)
    with pytest.raises(LayoutError):
        from_btf(Btf(e.data()), "struct bad")


def test_nesting_that_multiplies_is_refused_soon():
    e = Encoder()
    e.record("r1", 0)
    for i in range(2, 33):
        e.record(f"r{i}", 0, ("a", i - 1, 0), ("b", i - 1, 0))
    with pytest.raises(LayoutError, match="more than"):
        from_btf(Btf(e.data()), "struct r32")


def test_a_record_whose_name_is_no_identifier_gets_one():
    e = Encoder()
    e.int("int", 4)
    e.record("Vec<u8>", 4, ("a", 1, 0))
    made = from_btf(Btf(e.data()), "struct Vec<u8>")
    assert (made.__name__, made.CTYPE) == ("Vec_u8_", "struct Vec<u8>")
    data = bytearray(e.data())
    data[data.index(b"Vec")] = 0x80  # not UTF-8
    explore(bytes(data))
    assert from_btf(Btf(data), Btf(data)[2])(a=1).a == 1


@pytest.mark.parametrize("width", [33, 255])
def test_a_bit_field_wider_than_its_type_is_refused(width):
    e = Encoder()
    e.int("int", 4)
    e.record("bad", 64, ("a", 1, 0, width), flag=True)
    with pytest.raises(BtfError):
        from_btf(Btf(e.data()), "struct bad")


def explore(data: bytes) -> None:
    """Everything that reads; nothing but LayoutError may come out."""
    try:
        b = Btf(data)
        found = list(b)
    except BtfError:
        return
    for t in found:
        for call in (b.sizeof, b.resolve):
            with contextlib.suppress(BtfError):
                call(t.id)
        if isinstance(t, btf.Record):
            with contextlib.suppress(LayoutError):
                made = from_btf(b, t)
                if made.SIZE < 4096:
                    made().pack()


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.booleans())
def test_changed_bytes_give_a_layout_error_or_types(changes, big):
    data = bytearray(every_kind(">" if big else "<").data())
    for at, value in changes:
        data[at % len(data)] = value
    explore(bytes(data))


@given(st.binary(max_size=200))
def test_random_bytes_give_a_layout_error_or_types(data):
    explore(data)
    e = Encoder()
    e.types = data[: len(data) // 4 * 4]
    explore(e.data())


# ----------------------------------------------------------------------------------------- witnesses


@needs_kernel_btf
def test_the_kernel_is_open_and_a_structure_found_in_well_under_a_second():
    start = time.perf_counter()
    found = Btf.kernel().find("struct fuse_attr")
    elapsed = time.perf_counter() - start
    assert found.size == 88
    assert elapsed < 0.9  # 0.08 s on an idle machine


@needs_kernel_btf
def test_every_type_of_the_kernel_is_decoded(kernel):
    kinds = {type(t) for t in kernel}
    assert {btf.Record, btf.Enum, btf.Function, btf.Prototype, btf.Array, btf.Typedef, btf.Pointer} <= kinds


@needs_kernel_btf
def test_hundreds_of_kernel_structures_become_classes_that_agree_with_their_btf(kernel):
    records = [t for t in kernel if isinstance(t, btf.Record) and t.name]
    sample = random.Random(1).sample(records, min(500, len(records)))
    for record in sample:
        made = from_btf(kernel, record)
        assert (made.SIZE, made.CTYPE.split()[-1]) == (record.size, record.name)
        if kernel.find(made.CTYPE) == record:  # not the second of two with one name
            compare_btf(made, kernel)
        value = made()
        assert made.unpack(value.pack()).pack() == value.pack()
        assert made.view(bytearray(made.SIZE)).pack()[: made.SIZE] == value.pack()[: made.SIZE]


@needs_kernel_btf
def test_the_largest_structures_work(kernel):
    task = from_btf(kernel, "struct task_struct")
    buf = bytearray(task.SIZE)
    view = task.view(buf)
    view.pid, view.comm = 42, b"worker"
    assert task.unpack(buf).pid == 42
    assert view.comm.rstrip(b"\0") == b"worker"


def drop_leading_unnamed_bits(members: list) -> None:
    """gcc 12 says in BTF that the first named member is at offset 0, even after an unnamed bit-field."""
    while members and isinstance(members[0], Bit) and not (members[0].name and members[0].width):
        del members[0]
    for member in members:
        if isinstance(member, (Nested, Anonymous)):
            drop_leading_unnamed_bits(member.record.members if isinstance(member, Nested) else member.members)
    if not members:
        members.append(Num("x", "u8", "unsigned char"))


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("objcopy")), reason="needs gcc and objcopy")
@pytest.mark.parametrize("seed", range(2))
def test_random_layouts_agree_with_the_btf_that_gcc_writes(seed, tmp_path):
    maker = Maker(random.Random(500 + seed))
    records = [maker.record() for _ in range(80)]
    for record in records:
        drop_leading_unnamed_bits(record.members)
    spelling = Spelling(records)
    source, compiled, blob = tmp_path / "a.c", tmp_path / "a.o", tmp_path / "a.btf"
    uses = "\n".join(f"{r.tag} *use_{r.name};" for r in spelling.all)
    source.write_text("\n".join(spelling.c) + uses)
    done = subprocess.run(
        ["gcc", "-w", "-gbtf", "-c", "-o", compiled, source], timeout=60, stderr=subprocess.PIPE, text=True
    )
    if "unrecognized" in done.stderr:
        pytest.skip("this gcc writes no BTF")
    subprocess.run(
        ["objcopy", "-O", "binary", "--set-section-flags", ".BTF=alloc", "-j", ".BTF", compiled, blob],
        check=True,
    )
    b = Btf.from_file(str(blob))
    assert b.byteorder == sys.byteorder
    for cls in spelling.classes().values():
        compare_btf(cls, b)
        assert from_btf(b, cls.CTYPE).SIZE == cls.SIZE

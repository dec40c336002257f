# SPDX-License-Identifier: Apache-2.0
"""Random layouts have the offsets, sizes and values that gcc gives them."""

from __future__ import annotations

import platform
import random
import shutil
import subprocess

import pytest

from instar.layout import _rules
from instar.layout._types import Bits, Enumerated, Kind
from instar.layout.check import compare_gcc
from tests.layout.random_layouts import Maker, Spelling, leaves

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

BATCH = 150  # structures in one run of gcc, besides those inside them


def batch(seed: int, *, big: bool, count: int = BATCH) -> Spelling:
    maker = Maker(random.Random(seed), big=big)
    return Spelling([maker.record() for _ in range(count)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("big", [False, True])
def test_offsets_sizes_and_bits_are_those_of_gcc(seed, big):
    """`big`: as gcc's scalar_storage_order("big-endian")."""
    spelling = batch(seed, big=big)
    compare_gcc(spelling.classes().values(), header=None, source="\n".join(spelling.c))


def c_values(spelling: Spelling, classes, contents, folder) -> list[list[int]]:
    """What C reads in each integer of each structure that holds the given bytes."""
    program = ["#include <stdio.h>", "#include <string.h>", *spelling.c, "int main(void) {"]
    for record in spelling.all:
        cls = classes[record.name]
        if not cls.SIZE:
            continue
        data = ",".join(map(str, contents[record.name]))
        program.append(f"{{ static const unsigned char b[] = {{{data}}}; static {record.tag} v;")
        program.append("memcpy(&v, b, sizeof b);")
        for path, ftype in leaves(cls):
            if is_integer(ftype):
                wide = f"(__int128)v.{path}"
                program.append(f'printf("%llx %llx ", (long long)({wide} >> 64), (long long)({wide}));')
        program.append('puts(""); }')
    program.append("return 0; }")
    source, binary = folder / "values.c", folder / "values"
    source.write_text("\n".join(program))
    subprocess.run(
        ["gcc", "-w", "-Wno-packed-bitfield-compat", "-O0", "-o", binary, source], check=True, timeout=60
    )
    out = subprocess.run([binary], check=True, timeout=10, stdout=subprocess.PIPE, text=True).stdout
    rows = []
    for line in out.splitlines():
        words = [int(w, 16) for w in line.split()]
        rows.append([high << 64 | low for high, low in zip(words[::2], words[1::2], strict=True)])
    return rows


def is_integer(ftype) -> bool:
    scalar = (
        ftype.scalar if isinstance(ftype, Bits) else ftype.base if isinstance(ftype, Enumerated) else ftype
    )
    return scalar.kind in {Kind.SIGNED, Kind.UNSIGNED} or (
        isinstance(ftype, Bits) and scalar.kind is Kind.BOOL
    )


def at_path(obj, path: str):
    for part in path.replace("[", ".[").split("."):
        obj = obj[int(part[1:-1])] if part.startswith("[") else getattr(obj, part)
    return obj


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("big", [False, True])
def test_values_are_those_that_c_reads(seed, big, tmp_path):
    spelling = batch(100 + seed, big=big, count=BATCH // 2)
    classes = spelling.classes()
    rng = random.Random(seed)
    contents = {name: rng.randbytes(cls.SIZE) for name, cls in classes.items()}
    rows = iter(c_values(spelling, classes, contents, tmp_path))
    mask = (1 << 128) - 1
    for record in spelling.all:
        cls = classes[record.name]
        if not cls.SIZE:
            continue
        paths = [path for path, ftype in leaves(cls) if is_integer(ftype)]
        expected = dict(zip(paths, next(rows), strict=True))
        value = cls.unpack_from(contents[record.name])
        view = cls.view(bytearray(contents[record.name]))
        assert {p: int(at_path(value, p)) & mask for p in paths} == expected, record.name
        assert {p: int(at_path(view, p)) & mask for p in paths} == expected, record.name


CROSS = "aarch64-linux-gnu-gcc"


@pytest.mark.skipif(
    shutil.which(CROSS) is None and platform.machine() != "aarch64",
    reason=f"needs {CROSS}, or an arm64 machine",
)
@pytest.mark.parametrize("seed", range(2))
def test_offsets_and_sizes_on_arm64_are_those_of_its_gcc(seed, monkeypatch, tmp_path):
    """The compiler checks assertions; nothing runs, so single bits are not looked at."""
    monkeypatch.setattr(_rules, "host_abi", lambda: _rules.Abi(unnamed_bits_align=True))
    spelling = batch(200 + seed, big=False)
    lines = list(spelling.c)
    for name, cls in spelling.classes().items():
        lines.append(f'_Static_assert(sizeof({cls.CTYPE}) == {cls.SIZE}, "{name}: {cls.SIZE}");')
        lines.append(f'_Static_assert(_Alignof({cls.CTYPE}) == {cls.ALIGN}, "{name} aligned {cls.ALIGN}");')
        for field in cls.FIELDS.values():
            if field.bit_offset is None:
                where = f"__builtin_offsetof({cls.CTYPE}, {field.name}) == {field.offset}"
                lines.append(f'_Static_assert({where}, "{name}.{field.name}: {field.offset}");')
    source = tmp_path / "asserts.c"
    source.write_text("\n".join(lines))
    compiler = shutil.which(CROSS) or "gcc"
    done = subprocess.run(
        [compiler, "-std=gnu11", "-w", "-fsyntax-only", source], timeout=60, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr[:2000]


def test_an_unnamed_bit_field_aligns_a_structure_on_arm64_only():
    members = [_rules.Member(1, 1), _rules.Member(4, 4, width=3, named=False)]
    assert _rules.place(members, abi=_rules.Abi(unnamed_bits_align=False)).align == 1
    assert _rules.place(members, abi=_rules.Abi(unnamed_bits_align=True)).align == 4

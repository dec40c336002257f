# SPDX-License-Identifier: Apache-2.0
"""Random structures, spelled both in C and in Python: what the tests against gcc compare."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

# Python name, C spelling, bytes
SCALARS = [
    ("u8", "unsigned char", 1),
    ("s8", "signed char", 1),
    ("u16", "unsigned short", 2),
    ("s16", "short", 2),
    ("u32", "unsigned int", 4),
    ("s32", "int", 4),
    ("u64", "unsigned long long", 8),
    ("s64", "long long", 8),
    ("u128", "unsigned __int128", 16),
    ("s128", "__int128", 16),
    ("cbool", "_Bool", 1),
    ("char", "char", 1),
    ("f32", "float", 4),
    ("f64", "double", 8),
    ("ptr", "void *", 8),
    ("Colour", "enum colour", 4),
    ("Signed", "enum signed_", 4),
    ("Wide", "enum wide", 8),
]
BIT_BASES = [s for s in SCALARS if s[0] not in {"char", "f32", "f64", "ptr", "u128", "s128", "Wide"}]

PROLOGUE_C = """
enum colour { RED, GREEN = 5, BLUE = 255 };
enum signed_ { MINUS = -3, PLUS = 3 };
enum wide { HUGE_ = 0x100000000 };
"""
PROLOGUE_PY = """
from __future__ import annotations
import enum as _enum
from instar.layout import *
class Colour(_enum.IntFlag, boundary=_enum.KEEP):
    RED = 0
    GREEN = 5
    BLUE = 255
class Signed(_enum.IntEnum):
    MINUS = -3
    PLUS = 3
    @classmethod
    def _missing_(cls, value):
        member = int.__new__(cls, value)
        member._value_, member._name_ = value, None
        return member
class Wide(_enum.IntFlag, boundary=_enum.KEEP):
    HUGE = 0x100000000
"""


@dataclass
class Num:
    name: str
    py: str
    c: str
    dims: tuple[int, ...] = ()
    align: int = 1
    packed: bool = False


@dataclass
class Bit:
    name: str  # "" for an unnamed one
    py: str
    c: str
    width: int
    align: int = 1
    packed: bool = False


@dataclass
class Nested:
    name: str
    record: Record
    dims: tuple[int, ...] = ()


@dataclass
class Anonymous:
    union: bool
    packed: bool
    align: int
    members: list


@dataclass
class Flexible:
    name: str
    py: str
    c: str


@dataclass
class Record:
    union: bool
    packed: bool
    align: int
    big: bool
    members: list
    name: str = ""
    inner: list[Record] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return f"{'union' if self.union else 'struct'} {self.name}"


class Maker:
    """Makes random records; `rng` is a `random.Random`, hypothesis's included."""

    def __init__(self, rng: random.Random, *, big: bool = False) -> None:
        self.rng = rng
        self.big = big
        # gcc refuses a 128-bit number, and ignores pointers, in a structure of the other byte order.
        self.scalars = [s for s in SCALARS if not big or s[0] not in {"u128", "s128", "ptr"}]

    def one_in(self, n: int) -> bool:
        return self.rng.randrange(n) == 0

    def record(self, depth: int = 2) -> Record:
        union = self.one_in(3)
        record = Record(
            union, self.one_in(3), self.rng.choice([1, 1, 1, 2, 4, 32]), self.big, self.members(depth)
        )
        named = any(isinstance(m, (Num, Nested)) for m in record.members)
        if depth == 2 and not union and named and self.one_in(3):
            _, py, c = ("x", *self.rng.choice(self.scalars)[:2])
            record.members.append(Flexible("x", py, c))
        return record

    def members(self, depth: int) -> list:
        return [self.member(depth) for _ in range(self.rng.randint(1, 6))]

    def member(self, depth: int):
        kind = self.rng.randrange(10 if depth else 7)
        if kind < 3:
            py, c, _ = self.rng.choice(self.scalars)
            return Num("x", py, c, self.dims(), self.rng.choice([1, 1, 1, 1, 1, 2, 4, 16]), self.one_in(5))
        if kind < 7:
            py, c, size = self.rng.choice(BIT_BASES)
            limit = 1 if py == "cbool" else size * 8
            width = self.rng.choice([0, limit, *[self.rng.randint(1, min(limit, 12)) for _ in range(5)]])
            unnamed = self.one_in(5)
            # gcc ignores or refuses attributes of bit-fields that have no name or width.
            plain = unnamed or width == 0
            align = 1 if plain else self.rng.choice([1, 1, 1, 1, 1, 1, 2, 4, 16])
            return Bit("" if unnamed else "x", py, c, width, align, not plain and self.one_in(8))
        if kind < 9:
            return Anonymous(
                self.one_in(2), self.one_in(4), self.rng.choice([1, 1, 1, 8]), self.members(depth - 1)
            )
        return Nested("n", self.record(depth - 1), self.dims())

    def dims(self) -> tuple[int, ...]:
        return self.rng.choice([(), (), (), (self.rng.randint(0, 4),), (2, 3)])


class Spelling:
    """Names everything in a batch of records, and spells them."""

    def __init__(self, records: list[Record]) -> None:
        self.serial = 0
        self.all: list[Record] = []
        self.c: list[str] = [PROLOGUE_C]
        self.py: list[str] = [PROLOGUE_PY]
        for record in records:
            self.record(record)

    def fresh(self, stem: str) -> str:
        self.serial += 1
        return f"{stem}{self.serial}"

    def record(self, record: Record) -> None:
        record.name = self.fresh("r")
        lines_c, lines_py = self.members(record.members, 1, big=record.big, union=record.union)
        attributes = _attributes(record.packed, record.align, record.big)
        self.c.append(f"{record.tag} {{\n" + "\n".join(lines_c) + f"\n}}{attributes};")
        keywords = [f"ctype={record.tag!r}", f"packed={record.packed}", f"align={record.align}"]
        keywords.append(f"byteorder={'big' if record.big else 'native'!r}")
        base = "Union" if record.union else "Struct"
        self.py.append(f"class {record.name}({base}, {', '.join(keywords)}):\n" + "\n".join(lines_py))
        self.all.append(record)

    def members(self, members: list, depth: int, *, big: bool, union: bool) -> tuple[list[str], list[str]]:
        c: list[str] = []
        py: list[str] = []
        pad = "    " * depth
        for m in members:
            if isinstance(m, Anonymous):
                inner_c, inner_py = self.members(m.members, depth + 1, big=big, union=m.union)
                word = "union" if m.union else "struct"
                c += [f"{pad}{word} {{", *inner_c, f"{pad}}}{_attributes(m.packed, m.align, big)};"]
                py += [f"{pad}with {word}(packed={m.packed}, align={m.align}):", *inner_py]
            elif isinstance(m, Bit):
                named = bool(m.name) and m.width > 0
                m.name = self.fresh("b" if named else "_")
                extra = _attributes(m.packed, m.align, big=False)
                c.append(f"{pad}{m.c} {m.name if named else ''} : {m.width}{extra};")
                value = f"field(bits({m.py}, {m.width}), align={m.align}, packed={m.packed})"
                py.append(f"{pad}{m.name}: int = {value}")
            elif isinstance(m, Nested):
                self.record(m.record)
                m.name = self.fresh("n")
                dims = "".join(f"[{d}]" for d in m.dims)
                c.append(f"{pad}{m.record.tag} {m.name}{dims};")
                py.append(f"{pad}{m.name}: object = {_array(m.record.name, m.dims)}")
            elif isinstance(m, Flexible):
                m.name = self.fresh("f")
                c.append(f"{pad}{m.c} {m.name}[];")
                py.append(f"{pad}{m.name}: object = trailing({m.py})")
            else:
                m.name = self.fresh("x")
                dims = "".join(f"[{d}]" for d in m.dims)
                extra = f" __attribute__((aligned({m.align})))" if m.align > 1 else ""
                extra += " __attribute__((packed))" if m.packed else ""
                c.append(f"{pad}{m.c} {m.name}{dims}{extra};")
                value = f"field({_array(m.py, m.dims)}, align={m.align}, packed={m.packed})"
                py.append(f"{pad}{m.name}: object = {value}")
        return c, py

    def classes(self) -> dict[str, type]:
        """The layout classes by name."""
        scope: dict = {"__name__": "random_layouts_batch"}
        exec(compile("\n".join(self.py), "<random layouts>", "exec"), scope)
        return {r.name: scope[r.name] for r in self.all}


def _array(py: str, dims: tuple[int, ...]) -> str:
    return f"array({py}, {', '.join(map(str, dims))})" if dims else f"field({py})"


def _attributes(packed: bool, align: int, big: bool) -> str:
    words = ["packed"] * packed + [f"aligned({align})"] * (align > 1)
    words += ['scalar_storage_order("big-endian")'] * big
    return f" __attribute__(({', '.join(words)}))" if words else ""


def leaves(cls, path: str = "") -> Iterator[tuple[str, object]]:
    """Each number of a layout with the C path to it, arrays by their elements."""
    for f in cls.FIELDS.values():
        yield from _leaves_of(f.type, path + f.name)


def _leaves_of(ftype, path: str) -> Iterator[tuple[str, object]]:
    from instar.layout._types import Array, Trailing

    if isinstance(ftype, Array):
        for i in range(ftype.count):
            yield from _leaves_of(ftype.elem, f"{path}[{i}]")
    elif isinstance(ftype, type):
        yield from leaves(ftype, path + ".")
    elif not isinstance(ftype, Trailing):
        yield path, ftype

# SPDX-License-Identifier: Apache-2.0
"""A type checker sees the Python values of fields: mypy --strict accepts right uses and refuses wrong
ones.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is a tool for development: pip install -e .[dev]")

SOURCE = Path(__file__).parents[2] / "src"

RIGHT = """
from __future__ import annotations
import enum
from typing import Annotated, assert_type
from instar.layout import (
    Struct, Union, array, bits, cbool, char, f64, field, offsetof, ptr, sizeof, struct, trailing, u8, u16,
    u32, u64, union,
)
from instar.layout import enum as enum_field

class Kind(enum.IntEnum):
    A = 1

class Attr(Struct, ctype="struct attr", packed=True, align=4, size=64, byteorder="big"):
    ino: u64
    ratio: f64
    ready: cbool
    mode: u32 = 0o644

Name = Annotated[bytes, array(char, 16)]

class Entry(Struct):
    attr: Attr
    comm: Name
    kind: Kind
    small: Kind = enum_field(Kind, u8)
    ids: list[int] = array(u32, 4)
    grid: list[list[int]] = array(u16, 2, 3)
    names: list[bytes] = array(char, 2, 8)
    attrs: list[Attr] = array(Attr, 2)
    low: int = bits(u32, 3)
    wide: int = field(u64, align=16)
    where: ptr
    with union():
        raw: u64
        with struct():
            left: u32
            right: u32
    name: bytes = trailing(char)

class Either(Union):
    number: u64
    attr: Attr

def check(e: Entry, u: Either) -> None:
    assert_type(e.attr, Attr)
    assert_type(e.attr.ino, int)
    assert_type(e.attr.ratio, float)
    assert_type(e.attr.ready, bool)
    assert_type(e.comm, bytes)
    assert_type(e.kind, Kind)
    assert_type(e.ids, list[int])
    assert_type(e.attrs, list[Attr])
    assert_type(e.low, int)
    assert_type(e.left, int)
    assert_type(e.name, bytes)
    assert_type(u.attr.mode, int)
    assert_type(e.pack(), bytes)
    assert_type(Entry.unpack(b""), Entry)
    assert_type(Entry.unpack_from(b"", 0, 3), Entry)
    assert_type(Entry.view(bytearray(8), 0), Entry)
    assert_type(Entry.SIZE, int)
    assert_type(offsetof(Entry, "attr.ino") + sizeof(Entry), int)
    e.attr.mode |= 0o111
    Entry(attr=Attr(ino=1), raw=3).pack_into(bytearray(200))
    Entry.CODEC.unpack_from(b"", 0)
"""

WRONG = [
    "e.attr.ino = 'text'",
    "e.comm = 5",
    "e.comm = 'text'",
    "e.nothing",
    "e.attrs[0] = e",
    "e.kind = 'a'",
    "x: str = e.low",
]


def mypy(tmp_path: Path, text: str) -> str:
    file = tmp_path / "uses.py"
    file.write_text(text)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(tmp_path / "cache"),
        str(file),
    ]
    done = subprocess.run(
        command,
        env={"MYPYPATH": str(SOURCE), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
    )
    return done.stdout


def test_fields_have_the_types_of_their_python_values(tmp_path):
    assert mypy(tmp_path, RIGHT) == ""
    lines = len(RIGHT.splitlines())
    text = RIGHT + "\ndef wrong(e: Entry) -> None:\n" + "".join(f"    {line}\n" for line in WRONG)
    reported = {int(line.split(":")[1]) for line in mypy(tmp_path, text).splitlines() if ": error:" in line}
    assert reported == {lines + 3 + i for i in range(len(WRONG))}

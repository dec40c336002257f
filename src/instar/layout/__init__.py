# SPDX-License-Identifier: Apache-2.0
"""C layouts as annotated classes: exact offsets, fast pack and unpack, views without a copy.

    from instar.layout import Struct, array, bits, char, s32, trailing, u16, u32, u64, union

    class Attr(Struct, ctype="struct attr"):
        ino: u64
        size: u64
        mode: u32

    class Entry(Struct):
        nodeid: u64
        attr: Attr                                   # by value
        ids: list[int] = array(u32, 4)               # u32 ids[4]
        grid: list[list[int]] = array(u16, 2, 3)     # u16 grid[2][3]
        comm: bytes = array(char, 16)                # char comm[16]
        ready: int = bits(u32, 1)                    # u32 ready : 1
        kind: int = bits(u32, 3)
        with union():                                # union { u32 raw; s32 value; };
            raw: u32
            value: s32
        name: bytes = trailing(char)                 # char name[]

    e = Entry(nodeid=1, attr=Attr(mode=0o644), raw=7, name=b"name")
    assert Entry.unpack(e.pack()) == e

    buf = bytearray(256)
    v = Entry.view(buf, 64)                          # no copy: reads and writes buf
    v.attr.mode |= 0o111
    v.grid[1][2] = 5

Scalars: `u8` to `u128`, `s8` to `s128`, `f32`, `f64`, `cbool` (or `bool`), `char`, `ptr` (an address, never
followed), `be16` to `be64` and `le16` to `le64` (their own byte order). An `enum.IntEnum` or `IntFlag` is a C
enum. What a declaration needs besides a plain type is its value (`array`, `bits`, `trailing`, `enum`,
`field`), so that the annotation says what Python sees; plain fields may have a default (`mode: u32 = 0o644`).
An alias such as `Comm = Annotated[bytes, array(char, 16)]` can be used as a type. `char` arrays are `bytes`,
all other arrays lists.

Modules that define layouts start with `from __future__ import annotations`.

The rules are those of gcc for x86-64 and arm64; `instar.layout.check` compares a layout with gcc or with the
kernel's BTF, `instar.layout.btf` reads BTF.
"""

from __future__ import annotations

from instar.layout._declare import array, bits, enum, field, struct, trailing, union
from instar.layout._place import Field
from instar.layout._query import alignof, memory, offsetof, sizeof
from instar.layout._struct import Struct, Union
from instar.layout._types import (
    LayoutError,
    be16,
    be32,
    be64,
    cbool,
    char,
    f32,
    f64,
    le16,
    le32,
    le64,
    ptr,
    s8,
    s16,
    s32,
    s64,
    s128,
    u8,
    u16,
    u32,
    u64,
    u128,
)
from instar.layout._view import ArrayView

__all__ = [
    "ArrayView",
    "Field",
    "LayoutError",
    "Struct",
    "Union",
    "alignof",
    "array",
    "be16",
    "be32",
    "be64",
    "bits",
    "cbool",
    "char",
    "enum",
    "f32",
    "f64",
    "field",
    "le16",
    "le32",
    "le64",
    "memory",
    "offsetof",
    "ptr",
    "s8",
    "s16",
    "s32",
    "s64",
    "s128",
    "sizeof",
    "struct",
    "trailing",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "union",
]

# SPDX-License-Identifier: Apache-2.0
"""The types a field may have, and the error that every wrong layout or wrong value raises.

A scalar such as `u32` is `Annotated[int, Scalar(...)]`: a type checker reads `int`, the class machinery
reads the `Scalar`. Arrays, bit-fields and enums wrap a scalar. Sizes and alignments are those of the
System V ABI for x86-64 and of AAPCS64, which agree on every type here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeAlias

if TYPE_CHECKING:
    from instar.layout._struct import LayoutMeta

__all__ = [
    "Array",
    "Bits",
    "Enumerated",
    "FieldType",
    "Kind",
    "LayoutError",
    "Scalar",
    "Trailing",
    "be16",
    "be32",
    "be64",
    "cbool",
    "char",
    "f32",
    "f64",
    "le16",
    "le32",
    "le64",
    "ptr",
    "s8",
    "s16",
    "s32",
    "s64",
    "s128",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
]


class LayoutError(ValueError):
    """A layout is wrong, a value does not fit its field, or a buffer is too short.

    The message names the class and, where there is one, the field. Wrong definitions raise it while the
    class is being defined; `pack`, `unpack` and views raise it for values and buffers. Bytes from a peer
    raise nothing else.
    """


class Kind(enum.Enum):
    """What the bits of a scalar mean."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    BOOL = "bool"
    CHAR = "char"
    FLOAT = "float"
    POINTER = "pointer"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One C scalar.

    Attributes:
        name: the spelling used in messages (`u32`).
        size: bytes.
        align: bytes; the alignment as a member of a structure.
        kind: how the bits become a Python value.
        code: the `struct` module's letter, or "" where it has none (128-bit integers).
        order: "little" or "big" for types with an order of their own (`be32`), else "".
        ctype: the spelling of the type in C, for programs that compare with gcc.
    """

    name: str
    size: int
    align: int
    kind: Kind
    code: str
    order: str = ""
    ctype: str = ""

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest integer that the scalar holds."""
        return int_bounds(self.size * 8, signed=self.kind is Kind.SIGNED)

    def __str__(self) -> str:
        return self.name


def int_bounds(width: int, *, signed: bool) -> tuple[int, int]:
    """Smallest and largest integer of `width` bits."""
    if signed:
        return -(1 << (width - 1)), (1 << (width - 1)) - 1
    return 0, (1 << width) - 1


@dataclass(frozen=True, slots=True)
class Enumerated:
    """An integer that Python sees as a member of an `enum.IntEnum` or `enum.IntFlag`."""

    enum: type[enum.IntEnum | enum.IntFlag]
    base: Scalar

    def __str__(self) -> str:
        return f"enum {self.enum.__name__}"


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements of one type; `bytes` in Python when the element is `char`, else a list."""

    elem: FieldType
    count: int

    def __str__(self) -> str:
        return f"array({type_name(self.elem)}, {self.count})"


@dataclass(frozen=True, slots=True)
class Trailing:
    """A flexible array: as many elements as the buffer holds, no part of `SIZE`."""

    elem: FieldType

    def __str__(self) -> str:
        return f"trailing({type_name(self.elem)})"


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit-field of `width` bits declared with type `base`."""

    base: Scalar | Enumerated
    width: int

    @property
    def scalar(self) -> Scalar:
        """The declared integer type."""
        return self.base.base if isinstance(self.base, Enumerated) else self.base

    def __str__(self) -> str:
        return f"bits({self.base}, {self.width})"


# A union of what a field's type may be; classes stand for themselves.
FieldType: TypeAlias = "Scalar | Enumerated | Array | Trailing | Bits | LayoutMeta"


def type_name(ftype: FieldType) -> str:
    """The type as a message spells it."""
    return ftype.__name__ if isinstance(ftype, type) else str(ftype)


def _int(name: str, size: int, code: str, ctype: str, order: str = "") -> Scalar:
    kind = Kind.SIGNED if name.startswith("s") else Kind.UNSIGNED
    return Scalar(name, size, size, kind, code, order, ctype)


u8 = Annotated[int, _int("u8", 1, "B", "unsigned char")]
u16 = Annotated[int, _int("u16", 2, "H", "unsigned short")]
u32 = Annotated[int, _int("u32", 4, "I", "unsigned int")]
u64 = Annotated[int, _int("u64", 8, "Q", "unsigned long long")]
u128 = Annotated[int, _int("u128", 16, "", "unsigned __int128")]
s8 = Annotated[int, _int("s8", 1, "b", "signed char")]
s16 = Annotated[int, _int("s16", 2, "h", "short")]
s32 = Annotated[int, _int("s32", 4, "i", "int")]
s64 = Annotated[int, _int("s64", 8, "q", "long long")]
s128 = Annotated[int, _int("s128", 16, "", "__int128")]
be16 = Annotated[int, _int("be16", 2, "H", "unsigned short", "big")]
be32 = Annotated[int, _int("be32", 4, "I", "unsigned int", "big")]
be64 = Annotated[int, _int("be64", 8, "Q", "unsigned long long", "big")]
le16 = Annotated[int, _int("le16", 2, "H", "unsigned short", "little")]
le32 = Annotated[int, _int("le32", 4, "I", "unsigned int", "little")]
le64 = Annotated[int, _int("le64", 8, "Q", "unsigned long long", "little")]
f32 = Annotated[float, Scalar("f32", 4, 4, Kind.FLOAT, "f", "", "float")]
f64 = Annotated[float, Scalar("f64", 8, 8, Kind.FLOAT, "d", "", "double")]
cbool = Annotated[bool, Scalar("cbool", 1, 1, Kind.BOOL, "?", "", "_Bool")]
char = Annotated[bytes, Scalar("char", 1, 1, Kind.CHAR, "c", "", "char")]
# An address is a number that is never followed.
ptr = Annotated[int, Scalar("ptr", 8, 8, Kind.POINTER, "Q", "", "void *")]

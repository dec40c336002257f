# SPDX-License-Identifier: Apache-2.0
"""The types of BTF as Python values, one class for each kind that differs; ids refer to other types.

The kinds are those of `include/uapi/linux/btf.h`; `Documentation/bpf/btf.rst` says what each word means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from instar.layout._types import LayoutError

__all__ = [
    "Array",
    "BtfError",
    "DataSection",
    "DeclTag",
    "Enum",
    "Float",
    "Forward",
    "Function",
    "Int",
    "IntEncoding",
    "Kind",
    "Member",
    "Modifier",
    "Parameter",
    "Pointer",
    "Prototype",
    "Record",
    "Type",
    "TypeTag",
    "Typedef",
    "Variable",
    "VariableSlot",
    "Void",
]


class BtfError(LayoutError):
    """The bytes are no BTF, or the BTF has no such type."""


class Kind(enum.IntEnum):
    """BTF_KIND_* of `include/uapi/linux/btf.h`."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


class IntEncoding(enum.IntFlag):
    """BTF_INT_*: how an integer is read."""

    SIGNED = 1
    CHAR = 2
    BOOL = 4


# ------------------------------------------------------------------------------------------ the types


@dataclass(frozen=True, slots=True)
class Void:
    """Type 0."""

    id: int = 0
    name: str = "void"


@dataclass(frozen=True, slots=True)
class Int:
    """An integer of `size` bytes; `bits` of them count, from bit `bit_offset` (old BTF only)."""

    id: int
    name: str
    size: int
    encoding: IntEncoding
    bit_offset: int
    bits: int


@dataclass(frozen=True, slots=True)
class Float:
    """A floating-point number of `size` bytes."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer to type `target`."""

    id: int
    target: int


@dataclass(frozen=True, slots=True)
class Array:
    """`count` elements of type `elem`; a flexible array has count 0."""

    id: int
    elem: int
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a record: `bit_offset` from its start; `bit_width` is 0 unless it is a bit-field."""

    name: str
    type: int
    bit_offset: int
    bit_width: int


@dataclass(frozen=True, slots=True)
class Record:
    """A structure (`Kind.STRUCT`) or union (`Kind.UNION`) of `size` bytes."""

    id: int
    name: str
    kind: Kind
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum of `size` bytes (`ENUM` and `ENUM64`)."""

    id: int
    name: str
    size: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """`struct name;` or `union name;`: declared, not defined here."""

    id: int
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Typedef:
    """Another name for type `target`."""

    id: int
    name: str
    target: int


@dataclass(frozen=True, slots=True)
class Modifier:
    """`const`, `volatile` or `restrict`."""

    id: int
    kind: Kind
    target: int


@dataclass(frozen=True, slots=True)
class TypeTag:
    """`__attribute__((btf_type_tag(name)))`, as `__user` or `__rcu`; `attribute` as of kernel 6.15."""

    id: int
    name: str
    target: int
    attribute: bool


@dataclass(frozen=True, slots=True)
class DeclTag:
    """A tag on a declaration, or on its member or parameter number `component` (-1 for the whole)."""

    id: int
    name: str
    target: int
    component: int
    attribute: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; a last one without name and with type 0 is `...`."""

    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Prototype:
    """The type of a function."""

    id: int
    returns: int
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function with its prototype; linkage 0 static, 1 global, 2 extern."""

    id: int
    name: str
    prototype: int
    linkage: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable; linkage as for `Function`."""

    id: int
    name: str
    type: int
    linkage: int


@dataclass(frozen=True, slots=True)
class VariableSlot:
    """Where a variable lies in its section, in bytes."""

    variable: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class DataSection:
    """A section such as `.data..percpu`."""

    id: int
    name: str
    size: int
    slots: tuple[VariableSlot, ...]


Type: TypeAlias = (
    Void
    | Int
    | Float
    | Pointer
    | Array
    | Record
    | Enum
    | Forward
    | Typedef
    | Modifier
    | TypeTag
    | DeclTag
    | Prototype
    | Function
    | Variable
    | DataSection
)

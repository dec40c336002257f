# SPDX-License-Identifier: Apache-2.0
"""From the entries of a class body to placed fields: groups inside groups, names promoted.

`_rules` knows the arithmetic of one group; this module applies it from the inside out, and keeps what a
layout needs to know about anonymous unions: which bytes they cover and which fields exclude each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from instar.layout import _rules, _values
from instar.layout._declare import MISSING, Group, Spec
from instar.layout._types import Array, Bits, FieldType, LayoutError, Trailing

__all__ = [
    "Entries",
    "Field",
    "Flex",
    "Placed",
    "Placer",
    "Region",
    "check_align",
    "check_flexible",
    "make_field",
    "make_flex",
    "wrong",
]

# What a body holds: (name, Spec) for a field, (Group, entries) for an anonymous group. The tuples are
# recursive, which mypy cannot follow through a union of tuples; `isinstance` tells them apart.
Entries: TypeAlias = "Sequence[tuple[Any, Any]]"


def wrong(cls: str, field: str, reason: str) -> LayoutError:
    """The error for a wrong definition."""
    return LayoutError(f"{cls}.{field}: {reason}" if field else f"{cls}: {reason}")


def check_align(cls: str, field: str, align: object) -> None:
    """Raise LayoutError unless `align` is a power of two."""
    if not isinstance(align, int) or isinstance(align, bool) or align < 1 or align & (align - 1):
        raise wrong(cls, field, f"align must be a power of two, not {align!r}")


@dataclass(frozen=True, slots=True)
class Field:
    """One named field, placed.

    Attributes:
        name: its name in Python.
        offset: first byte, from the start of the structure.
        size: bytes; 0 for a flexible array; for a bit-field the bytes that it touches.
        type: the declared type: a scalar, array, bit-field, or layout class.
        bit_offset: for a bit-field its first bit, counted from the start of the structure; else None.
        bit_width: for a bit-field its width; else 0.
        region: index of the anonymous union that it lies in, or -1.
        rivals: for each union around it, (number of the union, number of the member).
        default: the declared default, or a marker for none.
        cname: its name in C, where that is no name for a Python attribute.
    """

    name: str
    offset: int
    size: int
    type: FieldType
    bit_offset: int | None = None
    bit_width: int = 0
    region: int = -1
    rivals: tuple[tuple[int, int], ...] = ()
    default: Any = MISSING
    cname: str = ""


@dataclass(slots=True, eq=False, repr=False)
class Region:
    """The bytes of an anonymous union inside a structure."""

    offset: int
    size: int


@dataclass(slots=True, eq=False, repr=False)
class Flex:
    """The flexible array at a structure's end, perhaps inside its last members."""

    path: tuple[str, ...]
    offset: int
    elem: FieldType


@dataclass(slots=True, eq=False, repr=False)
class Leaf:
    """A field on its way: placed in its group, not yet in the whole. Numbers in bits."""

    name: str
    spec: Spec
    at: int
    rivals: tuple[tuple[int, int], ...]
    region: int = -1
    cname: str = ""


# ----------------------------------------------------------------------------------------- the placing


@dataclass(slots=True, eq=False, repr=False)
class Placed:
    """One placed group; sizes in bytes, the offsets of its leaves in bits.

    Attributes:
        leaves: the named fields, in order.
        regions: the anonymous unions among them.
    """

    size: int
    align: int
    leaves: list[Leaf]
    regions: list[Region]


class Placer:
    """Places the entries of one class body, groups inside groups."""

    def __init__(self) -> None:
        self.unions = 0

    def group(self, entries: Entries, *, union: bool, packed: bool, align: int) -> Placed:
        """Place the members of one group, those of inner groups first."""
        members: list[_rules.Member] = []
        inner: list[Placed | None] = []
        for head, tail in entries:
            if isinstance(head, Group):
                placed = self.group(tail, union=head.is_union, packed=head.packed, align=head.align)
                placed.size = placed.size if head.size is None else head.size
                inner.append(placed)
                members.append(_rules.Member(placed.size, placed.align, at=head.at))
            else:
                inner.append(None)
                members.append(_member(head, tail))
        result = _rules.place(members, union=union, packed=packed, align=align)
        number = self.unions
        self.unions += union
        leaves: list[Leaf] = []
        regions: list[Region] = []
        for i, ((head, tail), sub, at) in enumerate(zip(entries, inner, result.bit_offsets, strict=True)):
            rival = ((number, i),) if union else ()
            if sub is None:
                if not (isinstance(tail.type, Bits) and head.startswith("_")):
                    leaves.append(Leaf(head, tail, at, rival))
                continue
            whole_region = head.is_union and not union
            for leaf in sub.leaves:
                leaf.at += at
                leaf.rivals = rival + leaf.rivals
                if leaf.region >= 0:
                    leaf.region += len(regions)
                elif whole_region:
                    leaf.region = len(regions)
            if whole_region:
                regions.append(Region(at // 8, sub.size))
            elif not union:
                regions += [Region(r.offset + at // 8, r.size) for r in sub.regions]
            leaves += sub.leaves
        if union:
            # Inside a union everything lies in the bytes of the union, whatever was opened below.
            for leaf in leaves:
                leaf.region = -1
        return Placed(result.size, result.align, leaves, regions)


def _member(name: str, spec: Spec) -> _rules.Member:
    ftype = spec.type
    width = ftype.width if isinstance(ftype, Bits) else None
    named = not name.startswith("_") or width is None
    return _rules.Member(
        _values.size_of(ftype), _values.align_of(ftype), width, named, spec.packed, spec.align, spec.at
    )


def make_field(leaf: Leaf, cname: str) -> Field:
    ftype = leaf.spec.type
    start = leaf.at // 8
    if isinstance(ftype, Bits):
        size = -(-(leaf.at + ftype.width) // 8) - start
        return Field(
            leaf.name,
            start,
            size,
            ftype,
            leaf.at,
            ftype.width,
            leaf.region,
            leaf.rivals,
            leaf.spec.default,
            cname,
        )
    return Field(
        leaf.name,
        start,
        _values.size_of(ftype),
        ftype,
        None,
        0,
        leaf.region,
        leaf.rivals,
        leaf.spec.default,
        cname,
    )


def check_flexible(cls: str, entries: Entries, *, union: bool) -> None:
    for i, (head, tail) in enumerate(entries):
        if isinstance(head, Group):
            inner = [h for h, _ in _flat_entries(tail) if _values.flex_of(_.type)]
            if inner:
                raise wrong(cls, inner[0], "a flexible array cannot stand in an anonymous group")
        elif _values.flex_of(tail.type) and (union or i + 1 != len(entries)):
            raise wrong(cls, head, "a flexible array must be the last field of a structure")
        elif isinstance(tail.type, Array):
            elem: FieldType = tail.type
            while isinstance(elem, Array):
                elem = elem.elem
            if _values.flex_of(elem):
                raise wrong(cls, head, "an element cannot end in a flexible array")


def _flat_entries(entries: Entries) -> list[tuple[str, Spec]]:
    out: list[tuple[str, Spec]] = []
    for head, tail in entries:
        out += _flat_entries(tail) if isinstance(head, Group) else [(head, tail)]
    return out


def make_flex(fields: tuple[Field, ...]) -> Flex | None:
    """The flexible array at the end of a structure, if it has one."""
    if not fields:
        return None
    last = fields[-1]
    if isinstance(last.type, Trailing):
        return Flex((last.name,), last.offset, last.type.elem)
    if isinstance(last.type, type) and last.type.__layout_flex__ is not None:
        below = last.type.__layout_flex__
        return Flex((last.name, *below.path), last.offset + below.offset, below.elem)
    return None

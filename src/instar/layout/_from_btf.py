# SPDX-License-Identifier: Apache-2.0
"""Layout classes made from BTF, at the offsets that BTF gives.

BTF does not record alignment or `packed`: a record whose members stand where natural alignment would not put
them becomes packed, and `ALIGN` is a guess. Enums become integers, since a kernel may hold a value that the
enum does not name. Names that a class cannot have (`class`, `pack`) get a `_`.
"""

from __future__ import annotations

import keyword
import re
from typing import Any, Final, get_args

from instar.layout import _values
from instar.layout._declare import Group, Spec
from instar.layout._struct import LayoutMeta, Struct, Union, build
from instar.layout._types import (
    Array,
    Bits,
    FieldType,
    Scalar,
    Trailing,
    cbool,
    char,
    f32,
    f64,
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
from instar.layout.btf import (
    Array as BtfArray,
)
from instar.layout.btf import (
    Btf,
    BtfError,
    Enum,
    Float,
    Int,
    IntEncoding,
    Kind,
    Member,
    Pointer,
    Record,
)

__all__ = ["from_btf"]

_MAX_SIZE: Final = 1 << 26  # bytes; the largest structure of a kernel has a few MiB
_MAX_DEPTH: Final = 32  # records in records by value
_RESERVED: Final = frozenset(dir(Struct)) | set(keyword.kwlist)


def _scalar(annotation: Any) -> Scalar:
    found: Scalar = get_args(annotation)[1]
    return found


_UNSIGNED: Final = {s.size: s for s in map(_scalar, (u8, u16, u32, u64, u128))}
_SIGNED: Final = {s.size: s for s in map(_scalar, (s8, s16, s32, s64, s128))}
_FLOATS: Final = {s.size: s for s in map(_scalar, (f32, f64))}
_BOOL, _CHAR, _PTR = _scalar(cbool), _scalar(char), _scalar(ptr)


def from_btf(btf: Btf, name: str | Record, *, flexible: bool = True) -> type[Struct | Union]:
    """A layout class for "struct name" or "union name" (or for a record of `btf`).

    With `flexible` false, a flexible array at the end has no elements, as inside an array.

    Raises:
        BtfError: there is no such record, or it cannot be laid out (a circle, a member outside of it).
    """
    record = btf.find(name) if isinstance(name, str) else name
    if not isinstance(record, Record):
        raise BtfError(f"{name} is no structure and no union")
    made: Any = _Maker(btf).record(record, record.name or f"type{record.id}", flexible=flexible, depth=0)
    return made  # type: ignore[no-any-return] # LayoutMeta's instances are Struct or Union


class _Maker:
    """Makes the class of one record and of those inside it."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.made: dict[tuple[int, bool], LayoutMeta] = {}
        self.cnames: dict[str, str] = {}

    def record(self, record: Record, name: str, *, flexible: bool, depth: int) -> LayoutMeta:
        """The class of one record."""
        key = (record.id, flexible)
        if key not in self.made:
            self.made[key] = self._record(record, name, flexible=flexible, depth=depth)
        return self.made[key]

    def _record(self, record: Record, name: str, *, flexible: bool, depth: int) -> LayoutMeta:
        if depth > _MAX_DEPTH:
            raise BtfError(f"{name}: records nested more than {_MAX_DEPTH} deep")
        if record.size > _MAX_SIZE:
            raise BtfError(f"{name}: {record.size} bytes are more than a structure may have")
        cnames: dict[str, str] = {}
        is_union = record.kind is Kind.UNION
        entries, align = self._entries(record, name, cnames, flexible=flexible and not is_union, depth=depth)
        word = "union" if is_union else "struct"
        return build(
            re.sub(r"\W", "_", name, flags=re.ASCII),
            entries,
            union=is_union,
            ctype=f"{word} {record.name}" if record.name else None,
            packed=align == 1,
            size=record.size,
            byteorder=self.btf.byteorder,
            cnames=cnames,
            module=__name__,
        )

    def _entries(
        self, record: Record, name: str, cnames: dict[str, str], *, flexible: bool, depth: int
    ) -> tuple[list[tuple[Any, Any]], int]:
        """The record's entries for `build`, and its alignment in bytes as far as one can tell."""
        if depth > _MAX_DEPTH:
            raise BtfError(f"{name}: records nested more than {_MAX_DEPTH} deep")
        entries: list[tuple[Any, Any]] = []
        natural = 1
        packed = False
        for i, member in enumerate(record.members):
            last = i + 1 == len(record.members)
            bits = self._extent(member, name)
            if member.bit_offset + bits > record.size * 8:
                raise BtfError(f"{name}.{member.name}: ends after the {record.size} bytes of {name}")
            inner = self.btf.resolve(member.type)
            if not member.name and isinstance(inner, Record):
                group = Group(is_union=inner.kind is Kind.UNION, at=member.bit_offset, size=inner.size)
                below, align = self._entries(inner, name, cnames, flexible=False, depth=depth + 1)
                group.packed = align == 1
                entries.append((group, below))
                natural = max(natural, align)
                packed |= bool(member.bit_offset % (align * 8))
                continue
            if not member.name:
                raise BtfError(f"{name}: a member without a name is no record")
            spec = self._spec(member, f"{name}_{member.name}", flexible=flexible and last, depth=depth)
            field = self._field_name(member.name, cnames)
            entries.append((field, spec))
            align = _values.align_of(spec.type)
            natural = max(natural, align)
            packed |= not isinstance(spec.type, Bits) and bool(member.bit_offset % (align * 8))
        return entries, 1 if packed or record.size % natural else natural

    def _extent(self, member: Member, name: str) -> int:
        """Bits that a member takes."""
        if member.bit_width:
            return member.bit_width
        if member.bit_offset % 8:
            raise BtfError(f"{name}.{member.name}: starts inside a byte and is no bit-field")
        return self.btf.sizeof(member.type) * 8

    def _field_name(self, cname: str, cnames: dict[str, str]) -> str:
        # Python folds other letters (NFKC), so two names could become one.
        if not (cname.isascii() and cname.isidentifier()):
            raise BtfError(f"{cname!r} is no name of a member")
        field = cname.lstrip("_") if cname.startswith("__") else cname
        if not field or field[0].isdigit():
            field = f"f{field}"
        while field in _RESERVED or field in cnames:
            field += "_"
        cnames[field] = cname
        return field

    def _spec(self, member: Member, name: str, *, flexible: bool, depth: int) -> Spec:
        if member.bit_width:
            base = self._type(member.type, name, flexible=False, depth=depth)
            if base is _CHAR:
                base = _SIGNED[1]
            if not isinstance(base, Scalar) or base.kind not in _INTEGER or member.bit_width > base.size * 8:
                raise BtfError(f"{name}: a bit-field of {member.bit_width} bits in {base}")
            return Spec(Bits(base, member.bit_width), at=member.bit_offset)
        return Spec(self._type(member.type, name, flexible=flexible, depth=depth), at=member.bit_offset)

    def _type(self, type_id: int, name: str, *, flexible: bool, depth: int) -> FieldType:
        found = self.btf.resolve(type_id)
        match found:
            case Int():
                return _int(found)
            case Enum():
                return (_SIGNED if found.signed else _UNSIGNED).get(found.size) or _opaque(found.size)
            case Float():
                return _FLOATS.get(found.size) or _opaque(found.size)
            case Pointer():
                return _PTR
            case BtfArray():
                # `sizeof` has checked how deep arrays nest.
                elem = self._type(found.elem, name, flexible=False, depth=depth)
                if found.count == 0 and flexible:
                    return Trailing(elem)
                return Array(elem, found.count)
            case Record():
                return self.record(found, found.name or name, flexible=flexible, depth=depth + 1)
        raise BtfError(f"{name}: a member cannot be {type(found).__name__.lower()}")


_INTEGER: Final = {_UNSIGNED[1].kind, _SIGNED[1].kind, _BOOL.kind}


def _int(found: Int) -> FieldType:
    if IntEncoding.BOOL in found.encoding and found.size == 1:
        return _BOOL
    if found.name == "char":  # gcc marks every integer of one byte as CHAR
        return _CHAR
    return (_SIGNED if IntEncoding.SIGNED in found.encoding else _UNSIGNED).get(found.size) or _opaque(
        found.size
    )


def _opaque(size: int) -> FieldType:
    return Array(_CHAR, size)

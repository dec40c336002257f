# SPDX-License-Identifier: Apache-2.0
"""Compare layouts with what the compiler or the kernel says, and name the first difference.

`compare_gcc` lets gcc print `offsetof` and `sizeof` of each field (`_gcc`); `compare_btf` reads them from
BTF. A class is compared by its C tag, the `ctype` keyword. Each field is looked up by name: one whose C name
Python cannot have (`class`, `pack`) is spelled with a `_` at the end. Unnamed bit-fields are not compared,
except by what they do to the fields after them.

    compare_btf(FuseAttr, Btf.kernel())
    compare_gcc([FuseAttr, FuseEntryOut], header="linux/fuse.h")
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from instar.layout import _gcc, _values
from instar.layout._from_btf import from_btf
from instar.layout._place import Field
from instar.layout._struct import LayoutMeta, Struct, Union
from instar.layout._types import Array, Bits, Enumerated, FieldType, Kind, LayoutError, Scalar, Trailing
from instar.layout.btf import Array as BtfArray
from instar.layout.btf import Btf, Enum, Int, IntEncoding, Record
from instar.layout.btf import Kind as BtfKind

__all__ = ["LayoutMismatch", "LayoutUnavailable", "compare_btf", "compare_gcc", "from_btf"]

LayoutClass: TypeAlias = "type[Struct | Union]"


class LayoutMismatch(LayoutError):
    """A layout differs from C.

    Attributes:
        cls: the layout.
        field: the path of the field that differs first, or "" for the whole.
        what: "offset", "size", "alignment", "sign", "bits"; "name" where C has no such field; "missing" where
            C has a field and the layout has padding (found in BTF only).
        ours: what the layout says.
        theirs: what C says.
    """

    def __init__(
        self, cls: LayoutMeta, field: str, what: str, ours: object, theirs: object, where: str
    ) -> None:
        self.cls, self.field, self.what, self.ours, self.theirs = cls, field, what, ours, theirs
        name = f"{cls.__name__}.{field}" if field else cls.__name__
        tag = f"{cls.CTYPE} in {where}"
        if what == "name":
            super().__init__(f"{name}: {tag} has no field {theirs}")
        elif what == "missing":
            super().__init__(
                f"{name}: {tag} has a field {ours} at byte {theirs}, the layout has padding there"
            )
        else:
            super().__init__(f"{name}: {what} is {ours}, but {theirs} for {tag}")


class LayoutUnavailable(LayoutError):
    """There is nothing to compare with: no gcc, no such header, or no such structure in it."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One field to compare: its path in Python and in C, and where it is from the start of the whole."""

    path: str
    cpath: str
    field: Field
    offset: int
    order: str


def compare_gcc(
    classes: LayoutClass | Iterable[LayoutClass],
    header: str | None = "linux/fuse.h",
    *,
    source: str = "",
    names: Mapping[str, str] | None = None,
    signs: bool = True,
    flags: Iterable[str] = (),
    cc: str = "gcc",
) -> None:
    """Compare layouts with the compiler's, all in one compilation; results are kept for later calls.

    Args:
        classes: one layout or many, each with `ctype`.
        header: what to include, or None.
        source: C text after the include: more includes, or definitions.
        names: C names of fields whose Python names differ; "" leaves a field out.
        signs: also compare whether integers are signed.
        flags: more arguments for the compiler.
        cc: the compiler.

    Raises:
        LayoutMismatch: the first difference, in the order of the classes and their fields.
        LayoutUnavailable: no compiler, no header, or the header does not define the structure.
    """
    todo = _classes(classes)
    prologue = (f"#include <{header}>\n" if header else "") + source
    where = f"<{header}>" if header else "the C source"
    probes: dict[LayoutMeta, list[_Item]] = {cls: list(_items(cls, names or {})) for cls in todo}
    wanted = [_probe(cls, item) for cls in todo for item in probes[cls]]
    wanted += [_gcc.Probe(_ctype(cls), "", "whole") for cls in todo]
    try:
        answers = _gcc.ask(wanted, prologue, tuple(flags), cc)
    except _gcc.GccError as err:
        raise LayoutUnavailable(str(err)) from None
    for cls in todo:
        _compare_with_gcc(cls, probes[cls], answers, where, signs=signs)


def _compare_with_gcc(
    cls: LayoutMeta,
    items: list[_Item],
    answers: Mapping[_gcc.Probe, _gcc.Answer | None],
    where: str,
    *,
    signs: bool,
) -> None:
    whole = answers[_gcc.Probe(_ctype(cls), "", "whole")]
    if whole is None:
        raise LayoutUnavailable(f"{cls.__name__}: {where} does not define {cls.CTYPE}")
    for item in items:
        ftype = item.field.type
        answer = answers[_probe(cls, item)]
        if answer is None:
            raise LayoutMismatch(cls, item.path, "name", item.path, item.cpath, where)
        if isinstance(ftype, Bits):
            ours: object = (item.offset * 8 + (item.field.bit_offset or 0) % 8, ftype.width)
            theirs: object = (answer.offset, answer.size)
            if ours != theirs:
                raise LayoutMismatch(cls, item.path, "bits", ours, theirs, where)
        else:
            if item.offset != answer.offset:
                raise LayoutMismatch(cls, item.path, "offset", item.offset, answer.offset, where)
            size = _values.size_of(ftype.elem) if isinstance(ftype, Trailing) else item.field.size
            if size != answer.size:
                raise LayoutMismatch(cls, item.path, "size", size, answer.size, where)
        ours_signed = _signed(ftype)
        if signs and ours_signed is not None and answer.signed is not None and ours_signed != answer.signed:
            raise LayoutMismatch(cls, item.path, "sign", _sign(ours_signed), _sign(answer.signed), where)
    if whole.size != cls.SIZE:
        raise LayoutMismatch(cls, "", "size", cls.SIZE, whole.size, where)
    if whole.offset != cls.ALIGN:
        raise LayoutMismatch(cls, "", "alignment", cls.ALIGN, whole.offset, where)


def _sign(signed: bool) -> str:
    return "signed" if signed else "unsigned"


def compare_btf(
    classes: LayoutClass | Iterable[LayoutClass],
    btf: Btf,
    *,
    names: Mapping[str, str] | None = None,
    signs: bool = True,
) -> None:
    """Compare layouts with a kernel's; arguments and errors as `compare_gcc`.

    BTF does not tell the alignment, so `ALIGN` is not compared.

    Raises:
        LayoutMismatch: the first difference.
        LayoutUnavailable: the BTF has no such structure.
    """
    for cls in _classes(classes):
        tag = _ctype(cls)
        found = _find_record(btf, tag)
        if found is None:
            raise LayoutUnavailable(f"{cls.__name__}: this BTF has no {tag}")
        for item in _items(cls, names or {}):
            _compare_item(cls, item, btf, found, signs=signs)
        _compare_coverage(cls, btf, found)
        if found.size != cls.SIZE:
            raise LayoutMismatch(cls, "", "size", cls.SIZE, found.size, "BTF")


def _find_record(btf: Btf, tag: str) -> Record | None:
    word, _, name = tag.rpartition(" ")
    kinds = {"struct": (BtfKind.STRUCT,), "union": (BtfKind.UNION,)}.get(word, (BtfKind.TYPEDEF,))
    for found in btf.find_all(name, *kinds):
        resolved = btf.resolve(found.id)
        if isinstance(resolved, Record):
            return resolved
    return None


def _compare_item(cls: LayoutMeta, item: _Item, btf: Btf, record: Record, *, signs: bool) -> None:
    at, width, type_id = 0, 0, record.id
    for part in item.cpath.split("."):
        name, _, index = part.partition("[")
        here = btf.resolve(type_id)
        step = _member(btf, here, name) if isinstance(here, Record) else None
        if step is None:
            raise LayoutMismatch(cls, item.path, "name", item.path, item.cpath, "BTF")
        at, width, type_id = at + step[0], step[1], step[2]
        if index:
            # All indices are 0, so the innermost element starts where the array does.
            type_id = _innermost_id(btf, type_id)
    ftype = item.field.type
    if isinstance(ftype, Bits):
        ours: object = (item.offset * 8 + (item.field.bit_offset or 0) % 8, ftype.width)
        if ours != (at, width):
            raise LayoutMismatch(cls, item.path, "bits", ours, (at, width), "BTF")
    elif width or item.offset * 8 != at:
        raise LayoutMismatch(cls, item.path, "offset", item.offset, at // 8, "BTF")
    elif not isinstance(ftype, Trailing) and item.field.size != btf.sizeof(type_id):
        raise LayoutMismatch(cls, item.path, "size", item.field.size, btf.sizeof(type_id), "BTF")
    ours_signed, theirs_signed = _signed(ftype), _btf_signed(btf, type_id)
    if signs and ours_signed is not None and theirs_signed is not None and ours_signed != theirs_signed:
        raise LayoutMismatch(cls, item.path, "sign", _sign(ours_signed), _sign(theirs_signed), "BTF")


def _compare_coverage(cls: LayoutMeta, btf: Btf, record: Record) -> None:
    """Raise LayoutMismatch where C has a field and the layout nothing but padding."""
    ours = [
        (f.bit_offset, f.bit_offset + f.bit_width)
        if f.bit_offset is not None
        else (f.offset * 8, (f.offset + f.size) * 8)
        for f in cls.FIELDS.values()
    ]
    for name, start, end in _extents(btf, record):
        if start < end <= cls.SIZE * 8 and not any(a < end and start < b for a, b in ours):
            raise LayoutMismatch(cls, "", "missing", name, start // 8, "BTF")


def _extents(btf: Btf, record: Record, base: int = 0, depth: int = 0) -> Iterator[tuple[str, int, int]]:
    """Name, first and last bit of each member, those of anonymous groups included."""
    for member in record.members:
        inner = btf.resolve(member.type)
        start = base + member.bit_offset
        if not member.name and isinstance(inner, Record) and depth < 32:
            yield from _extents(btf, inner, start, depth + 1)
        else:
            yield member.name, start, start + (member.bit_width or btf.sizeof(member.type) * 8)


def _member(btf: Btf, record: Record, name: str, depth: int = 0) -> tuple[int, int, int] | None:
    """First bit, width and type of a member, looked for in anonymous groups too."""
    for member in record.members:
        if member.name == name:
            return member.bit_offset, member.bit_width, member.type
        inner = btf.resolve(member.type) if not member.name else None
        if isinstance(inner, Record) and depth < 32:
            below = _member(btf, inner, name, depth + 1)
            if below is not None:
                return member.bit_offset + below[0], below[1], below[2]
    return None


def _innermost_id(btf: Btf, type_id: int) -> int:
    for _ in range(32):
        found = btf.resolve(type_id)
        if not isinstance(found, BtfArray):
            break
        type_id = found.elem
    return type_id


def _btf_signed(btf: Btf, type_id: int) -> bool | None:
    found = btf.resolve(_innermost_id(btf, type_id))
    if (
        isinstance(found, Int)
        and not found.encoding & (IntEncoding.BOOL | IntEncoding.CHAR)
        and found.name != "char"
    ):
        return IntEncoding.SIGNED in found.encoding
    # BTF before kernel 6.0 (and gcc 12) calls every enum unsigned.
    return True if isinstance(found, Enum) and found.signed else None


# ------------------------------------------------------------------------------------------- our side


def _classes(classes: LayoutClass | Iterable[LayoutClass]) -> list[LayoutMeta]:
    if isinstance(classes, LayoutMeta):
        return [classes]
    found: list[Any] = list(classes)
    return found


def _ctype(cls: LayoutMeta) -> str:
    if not cls.CTYPE:
        raise LayoutUnavailable(f'{cls.__name__}: it names no C type; say class ...(ctype="struct ...")')
    return cls.CTYPE


def _items(
    cls: LayoutMeta, names: Mapping[str, str], path: str = "", cpath: str = "", base: int = 0
) -> Iterator[_Item]:
    """Each field, and those of nested layouts after it."""
    for field in cls.FIELDS.values():
        cname = names.get(path + field.name, _cname(field))
        if not cname:
            continue
        item = _Item(path + field.name, cpath + cname, field, base + field.offset, cls.__layout_order__)
        yield item
        nested, suffix = field.type, ""
        while isinstance(nested, Array) and nested.count:
            nested, suffix = nested.elem, suffix + "[0]"
        if isinstance(nested, LayoutMeta):
            below = _items(nested, names, f"{item.path}{suffix}.", f"{item.cpath}{suffix}.", item.offset)
            yield from below


def _cname(field: Field) -> str:
    if field.cname:
        return field.cname
    bare = field.name.rstrip("_")
    return bare if keyword.iskeyword(bare) or hasattr(Struct, bare) else field.name


def _innermost(ftype: FieldType) -> FieldType:
    while isinstance(ftype, (Array, Trailing)):
        ftype = ftype.elem
    return ftype


def _signed(ftype: FieldType) -> bool | None:
    """Whether the integer is signed; None where that says nothing (char, bool, pointers, layouts)."""
    if isinstance(ftype, Bits):
        return _signed(ftype.scalar)
    inner = _innermost(ftype)
    if isinstance(inner, Enumerated):
        inner = inner.base
    if isinstance(inner, Scalar) and inner.kind in {Kind.SIGNED, Kind.UNSIGNED}:
        return inner.kind is Kind.SIGNED
    return None


def _probe(cls: LayoutMeta, item: _Item) -> _gcc.Probe:
    """The question to gcc about one field."""
    ftype, depth = item.field.type, 0
    if isinstance(ftype, Bits):
        return _gcc.Probe(_ctype(cls), item.cpath, "bits", big=item.order == "big")
    kind: _gcc.ProbeKind = "flexible" if isinstance(ftype, Trailing) else "field"
    while isinstance(ftype, (Array, Trailing)):
        ftype, depth = ftype.elem, depth + 1
    return _gcc.Probe(_ctype(cls), item.cpath, kind, depth if isinstance(ftype, (Scalar, Enumerated)) else 0)

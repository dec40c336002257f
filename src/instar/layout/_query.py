# SPDX-License-Identifier: Apache-2.0
"""C's `offsetof`, `sizeof` and `alignof`, and the bytes of one field."""

from __future__ import annotations

import re
from typing import Any

from instar.layout import _values
from instar.layout._struct import LayoutMeta, Struct, Union
from instar.layout._types import Array, Bits, FieldType, LayoutError, Trailing, type_name

__all__ = ["alignof", "memory", "offsetof", "sizeof"]

_STEP = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+)\]")


def _locate(cls: type[Struct | Union], path: str) -> tuple[int, FieldType]:
    """Offset in bytes and type of what `path` names."""
    ftype: FieldType = _layout(cls)
    at = pos = 0
    while pos < len(path):
        step = _STEP.match(path, pos)
        if step is None:
            raise LayoutError(
                f"{cls.__name__}: {path!r} is no path of fields, as in 'attr.mode' or 'items[2].id'"
            )
        pos = step.end()
        name, index = step.groups()
        if name is not None:
            if not isinstance(ftype, LayoutMeta) or name not in ftype.FIELDS:
                raise LayoutError(f"{cls.__name__}: {path!r}: {type_name(ftype)} has no field {name}")
            field = ftype.FIELDS[name]
            at, ftype = at + field.offset, field.type
        else:
            if not isinstance(ftype, (Array, Trailing)):
                raise LayoutError(f"{cls.__name__}: {path!r}: {type_name(ftype)} is no array")
            if isinstance(ftype, Array) and int(index) > ftype.count:
                raise LayoutError(f"{cls.__name__}: {path!r}: it has {ftype.count} elements")
            ftype = ftype.elem
            at += int(index) * _values.size_of(ftype)
    return at, ftype


def _layout(cls: object) -> LayoutMeta:
    if not isinstance(cls, LayoutMeta):
        raise LayoutError(f"{cls!r} is no layout class")
    return cls


def offsetof(cls: type[Struct | Union], path: str) -> int:
    """Bytes from the start of `cls` to a field: `offsetof(FuseEntryOut, "attr.mode")`.

    Raises:
        LayoutError: no such field, or a bit-field (as in C; `FIELDS[name].bit_offset` has its first bit).
    """
    at, ftype = _locate(cls, path)
    if isinstance(ftype, Bits):
        raise LayoutError(
            f"{cls.__name__}.{path}: a bit-field has no offset in bytes; see FIELDS[...].bit_offset"
        )
    return at


def sizeof(what: type[Struct | Union] | Struct | Union | object) -> int:
    """Bytes of a layout class, an instance, or a field type such as `u32`; without a flexible array."""
    return _values.size_of(_type(what))


def alignof(what: type[Struct | Union] | Struct | Union | object) -> int:
    """Bytes of alignment of a layout class, an instance, or a field type such as `u32`."""
    return _values.align_of(_type(what))


def _type(what: object) -> FieldType:
    from instar.layout._declare import resolve

    if isinstance(type(what), LayoutMeta):
        what = type(what)
    spec = resolve(what)
    if spec is None:
        raise LayoutError(f"{what!r} is no layout and no field type")
    return spec.type


def memory(view: Struct | Union, path: str) -> memoryview:
    """The bytes of a field of a view, without a copy: `memory(FuseDirent.view(buf), "name")`.

    Raises:
        LayoutError: no such field, or `view` is a value, which has no memory.
    """
    anything: Any = view  # only views have these attributes
    try:
        buf, start = anything.__layout_b__, anything.__layout_o__
    except AttributeError:
        raise LayoutError(f"{type(view).__name__}: only a view has memory; this is a value") from None
    at, ftype = _locate(type(view), path)
    if isinstance(ftype, Trailing):
        end: int = anything.__layout_e__
        return memoryview(buf)[start + at : end]
    return memoryview(buf)[start + at : start + at + _values.size_of(ftype)]

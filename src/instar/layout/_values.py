# SPDX-License-Identifier: Apache-2.0
"""Load, store, check and make the value of one field, by its type.

These are closures, built once for each field, for what generated code does not spell out: arrays of anything
but plain numbers, members of unions, fields of views, and the search for the field that an error is about.
`Any` stands for the value of a field of any type.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from instar.layout._types import (
    Array,
    Bits,
    Enumerated,
    FieldType,
    Kind,
    LayoutError,
    Scalar,
    Trailing,
    int_bounds,
    type_name,
)

if TYPE_CHECKING:
    from typing import Literal

    from instar.layout._struct import LayoutMeta

    ByteOrder: TypeAlias = Literal["little", "big"]

__all__ = [
    "Load",
    "Store",
    "bits_loader",
    "bits_storer",
    "blank",
    "codec",
    "flex_of",
    "is_bytes",
    "loader",
    "problem",
    "size_of",
    "storer",
    "zero",
]

Load: TypeAlias = "Callable[[Any, int], Any]"  # (buffer, offset in bytes) -> value
Store: TypeAlias = "Callable[[Any, int, Any], None]"  # (buffer, offset in bytes, value)

# What the struct module, int.to_bytes and the closures here raise for a value that does not fit; IndexError
# comes from an offset beyond 64 bits.
VALUE_ERRORS = (struct.error, TypeError, OverflowError, AttributeError, IndexError, LayoutError)

_codecs: dict[str, struct.Struct] = {}


def codec(fmt: str) -> struct.Struct:
    """The compiled form of a `struct` format, one for each format."""
    found = _codecs.get(fmt)
    if found is None:
        found = _codecs[fmt] = struct.Struct(fmt)
    return found


def blank(cls: LayoutMeta) -> Callable[[], Any]:
    """A function that makes an instance without values, faster than `cls.__new__(cls)`."""
    new: Any = object.__new__  # mypy takes no metaclass's instance for a type here
    return partial(new, cls)


def prefix(order: ByteOrder) -> str:
    """The `struct` module's letter for a byte order."""
    return "<" if order == "little" else ">"


def order_of(scalar: Scalar, order: ByteOrder) -> ByteOrder:
    """The scalar's own byte order, else that of its class."""
    return "little" if (scalar.order or order) == "little" else "big"


def is_bytes(ftype: FieldType) -> bool:
    """Whether elements of this type make a `bytes` value, not a list."""
    return isinstance(ftype, Scalar) and ftype.kind is Kind.CHAR


def size_of(ftype: FieldType) -> int:
    """Bytes that the type takes; 0 for a flexible array."""
    if isinstance(ftype, Scalar):
        return ftype.size
    if isinstance(ftype, Enumerated):
        return ftype.base.size
    if isinstance(ftype, Array):
        return ftype.count * size_of(ftype.elem)
    if isinstance(ftype, Bits):
        return ftype.scalar.size
    return 0 if isinstance(ftype, Trailing) else ftype.SIZE


def align_of(ftype: FieldType) -> int:
    """Bytes of alignment that the type asks for as a member."""
    if isinstance(ftype, Scalar):
        return ftype.align
    if isinstance(ftype, Enumerated):
        return ftype.base.align
    if isinstance(ftype, (Array, Trailing)):
        return align_of(ftype.elem)
    if isinstance(ftype, Bits):
        return ftype.scalar.align
    return ftype.ALIGN


def flex_of(ftype: FieldType) -> bool:
    """Whether the type ends in a flexible array."""
    return isinstance(ftype, Trailing) or (isinstance(ftype, type) and ftype.__layout_flex__ is not None)


def zero(ftype: FieldType) -> Any:
    """A fresh value that packs to zero bytes."""
    if isinstance(ftype, Scalar):
        return {Kind.CHAR: b"\0", Kind.BOOL: False, Kind.FLOAT: 0.0}.get(ftype.kind, 0)
    if isinstance(ftype, Enumerated):
        return enum_member(ftype, 0)
    if isinstance(ftype, Array):
        if is_bytes(ftype.elem):
            return bytes(ftype.count)
        return [zero(ftype.elem) for _ in range(ftype.count)]
    if isinstance(ftype, Trailing):
        return b"" if is_bytes(ftype.elem) else []
    if isinstance(ftype, Bits):
        return enum_member(ftype.base, 0) if isinstance(ftype.base, Enumerated) else 0
    return ftype()


def enum_member(ftype: Enumerated, number: int) -> Any:
    """The member with this number; the number itself where 0 is the default but no member."""
    try:
        return ftype.enum(number)
    except ValueError:
        return number


def enum_loader(ftype: Enumerated, where: str) -> Callable[[int], Any]:
    """From number to member, for numbers that come from a buffer.

    Raises (when called): LayoutError for a number that is no member.
    """
    members: dict[int, Any] = dict(ftype.enum._value2member_map_)

    def member(number: int) -> Any:
        found = members.get(number)
        if found is None:
            try:
                found = ftype.enum(number)
            except ValueError:
                raise LayoutError(f"{where}: {number} is no {ftype.enum.__name__}") from None
        return found

    return member


# ------------------------------------------------------------------------------------- load and store


def loader(ftype: FieldType, order: ByteOrder, where: str = "value") -> Load:
    """A function that reads a value of this type as a copy; `where` names the field in errors."""
    if isinstance(ftype, Scalar):
        size, own = ftype.size, order_of(ftype, order)
        if ftype.code:
            unpack = codec(prefix(own) + ftype.code).unpack_from
            return lambda buf, off: unpack(buf, off)[0]
        signed = ftype.kind is Kind.SIGNED
        return lambda buf, off: int.from_bytes(buf[off : off + size], own, signed=signed)
    if isinstance(ftype, Enumerated):
        number, member = loader(ftype.base, order), enum_loader(ftype, where)
        return lambda buf, off: member(number(buf, off))
    if isinstance(ftype, Array):
        return _array_loader(ftype, order, where)
    if isinstance(ftype, (Bits, Trailing)):
        raise LayoutError(f"{where}: {type_name(ftype)} cannot be an element")
    layout = ftype
    if layout.__layout_flex__ is None:
        return layout.unpack_from
    return lambda buf, off: layout.unpack_from(buf, off, 0)


def _array_loader(ftype: Array, order: ByteOrder, where: str) -> Load:
    elem, count = ftype.elem, ftype.count
    if is_bytes(elem):
        return lambda buf, off: bytes(buf[off : off + count])
    if isinstance(elem, Scalar) and elem.code:
        unpack = codec(f"{prefix(order_of(elem, order))}{count}{elem.code}").unpack_from
        return lambda buf, off: list(unpack(buf, off))
    one, step = loader(elem, order, where), size_of(elem)
    return lambda buf, off: [one(buf, off + i * step) for i in range(count)]


def storer(ftype: FieldType, order: ByteOrder) -> Store:
    """A function that writes a value of this type.

    It raises one of `VALUE_ERRORS` or LayoutError for a value that does not fit; the caller names the field.
    """
    if isinstance(ftype, Scalar):
        size, own = ftype.size, order_of(ftype, order)
        if ftype.code:
            return codec(prefix(own) + ftype.code).pack_into
        signed = ftype.kind is Kind.SIGNED

        def store_wide(buf: Any, off: int, value: Any) -> None:
            buf[off : off + size] = int(value).to_bytes(size, own, signed=signed)

        return store_wide
    if isinstance(ftype, Enumerated):
        return storer(ftype.base, order)
    if isinstance(ftype, Array):
        return _array_storer(ftype, order)
    if isinstance(ftype, (Bits, Trailing)):
        raise LayoutError(f"{type_name(ftype)} cannot be an element")
    layout: Any = ftype

    def store_layout(buf: Any, off: int, value: Any) -> None:
        if not isinstance(value, layout):
            raise TypeError(f"must be {layout.__name__}")
        value.pack_into(buf, off)

    return store_layout


def _array_storer(ftype: Array, order: ByteOrder) -> Store:
    elem, count = ftype.elem, ftype.count
    if is_bytes(elem):
        put = codec(f"{count}s").pack_into

        def store_bytes(buf: Any, off: int, value: Any) -> None:
            if len(value) > count:
                raise OverflowError
            put(buf, off, value)

        return store_bytes
    one, step = storer(elem, order), size_of(elem)

    def store_list(buf: Any, off: int, value: Any) -> None:
        if len(value) != count:
            raise OverflowError
        for i, item in enumerate(value):
            one(buf, off + i * step, item)

    return store_list


def bits_shift(first_bit: int, width: int, order: ByteOrder) -> tuple[int, int, int]:
    """First byte, number of bytes and shift of a bit-field whose first bit is `first_bit` of the structure.

    Little-endian structures count bits from the least significant end, big-endian ones from the most.
    """
    start, stop = first_bit // 8, -(-(first_bit + width) // 8)
    count = stop - start
    low = first_bit - start * 8
    return start, count, low if order == "little" else count * 8 - low - width


def bits_loader(ftype: Bits, first_bit: int, order: ByteOrder, where: str) -> Load:
    """As `loader`, for a bit-field; the offset given to the result is that of the structure."""
    own = order_of(ftype.scalar, order)
    start, count, shift = bits_shift(first_bit, ftype.width, own)
    mask = (1 << ftype.width) - 1
    sign = 1 << (ftype.width - 1) if ftype.scalar.kind is Kind.SIGNED else 0
    is_bool = ftype.scalar.kind is Kind.BOOL

    def load(buf: Any, off: int) -> Any:
        raw = int.from_bytes(buf[off + start : off + start + count], own) >> shift & mask
        return bool(raw) if is_bool else (raw ^ sign) - sign

    if not isinstance(ftype.base, Enumerated):
        return load
    member = enum_loader(ftype.base, where)
    return lambda buf, off: member(load(buf, off))


def bits_storer(ftype: Bits, first_bit: int, order: ByteOrder) -> Store:
    """As `storer`, for a bit-field: its neighbours keep their bits."""
    own = order_of(ftype.scalar, order)
    start, count, shift = bits_shift(first_bit, ftype.width, own)
    mask = (1 << ftype.width) - 1
    low, high = int_bounds(ftype.width, signed=ftype.scalar.kind is Kind.SIGNED)

    def store(buf: Any, off: int, value: Any) -> None:
        number = value.__index__()
        if not low <= number <= high:
            raise OverflowError
        here = slice(off + start, off + start + count)
        raw = int.from_bytes(buf[here], own) & ~(mask << shift) | (number & mask) << shift
        buf[here] = raw.to_bytes(count, own)

    return store


# -------------------------------------------------------------------------------------- what is wrong


def problem(ftype: FieldType, value: Any) -> tuple[str, str] | None:
    """Why `value` does not fit the type: (path below the field, reason), or None if it fits."""
    if isinstance(ftype, Scalar):
        return _scalar_problem(ftype, value)
    if isinstance(ftype, Enumerated):
        return _scalar_problem(ftype.base, value)
    if isinstance(ftype, Bits):
        scalar = ftype.scalar
        low, high = int_bounds(ftype.width, signed=scalar.kind is Kind.SIGNED)
        return _int_problem(value, low, high, f"{ftype.width} bits")
    if isinstance(ftype, Array):
        return _sequence_problem(ftype.elem, ftype.count, value)
    if isinstance(ftype, Trailing):
        return _sequence_problem(ftype.elem, None, value)
    layout: Any = ftype
    if not isinstance(value, layout):
        return "", f"must be {layout.__name__}, not {_kind(value)}"
    found = first_problem(value)
    return None if found is None else (f".{found[0]}", found[1])


def first_problem(obj: Any) -> tuple[str, str] | None:
    """The first field of a layout's instance that does not fit: (path, reason)."""
    for field in obj.FIELDS.values():
        try:
            value = getattr(obj, field.name)
        except AttributeError:
            return field.name, "has no value"
        found = problem(field.type, value)
        if found is not None:
            return field.name + found[0], found[1]
    return None


def _scalar_problem(scalar: Scalar, value: Any) -> tuple[str, str] | None:
    if scalar.kind is Kind.CHAR:
        if isinstance(value, (bytes, bytearray)) and len(value) == 1:
            return None
        return "", f"must be one byte, not {_show(value)}"
    if scalar.kind is Kind.FLOAT:
        if not isinstance(value, (int, float)):
            return "", f"must be a number, not {_kind(value)}"
        try:
            struct.pack("<" + scalar.code, value)
        except (struct.error, OverflowError):
            return "", f"{_show(value)} does not fit in {scalar}"
        return None
    if scalar.kind is Kind.BOOL:
        return None  # as in C, everything is true or false
    low, high = scalar.bounds()
    return _int_problem(value, low, high, str(scalar))


def _int_problem(value: Any, low: int, high: int, where: str) -> tuple[str, str] | None:
    try:
        number = value.__index__()
    except AttributeError:
        return "", f"must be an integer, not {_kind(value)}"
    if low <= number <= high:
        return None
    return "", f"{_show(number)} does not fit in {where} ({low} to {high})"


def _sequence_problem(elem: FieldType, count: int | None, value: Any) -> tuple[str, str] | None:
    if is_bytes(elem):
        if not isinstance(value, (bytes, bytearray)):
            return "", f"must be bytes, not {_kind(value)}"
        if count is not None and len(value) > count:
            return "", f"{len(value)} bytes do not fit in {count}"
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return "", f"must be a list, not {_kind(value)}"
    if count is not None and len(value) != count:
        return "", f"must have {count} elements, not {len(value)}"
    for i, item in enumerate(value):
        found = problem(elem, item)
        if found is not None:
            return f"[{i}]{found[0]}", found[1]
    return None


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _show(value: Any) -> str:
    text = hex(value) if isinstance(value, int) and abs(value) >> 64 else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

# SPDX-License-Identifier: Apache-2.0
"""What a class body says: `array(...)`, `bits(...)`, `with union():`, and the record of it.

The metaclass gives each class body a `Recorder` as its `__annotations__`. It keeps the order of declarations,
sees a name that is declared twice (a plain dict would forget the first), and knows which `with` block a
declaration stands in.
"""

from __future__ import annotations

import enum as _enum
import sys
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as _dc_field
from typing import Annotated, Any, Final, TypeVar, cast, get_args, get_origin, overload

from instar.layout import _types
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
    s32,
    s64,
    type_name,
    u32,
    u64,
)

__all__ = [
    "Group",
    "Recorder",
    "Spec",
    "array",
    "bits",
    "enum",
    "field",
    "resolve",
    "scalar_of",
    "struct",
    "trailing",
    "union",
]

T = TypeVar("T")
E = TypeVar("E", bound="_enum.IntEnum | _enum.IntFlag")

_CBOOL: Final = Scalar("cbool", 1, 1, Kind.BOOL, "?", "", "_Bool")
MISSING: Final[Any] = object()  # "no default given"; None may be a mistake worth naming


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """A field's full declaration: the value of `array(...)` and its kin, or the metadata of a scalar."""

    type: FieldType
    default: Any = MISSING  # of whatever type the field has
    align: int = 1
    packed: bool = False
    at: int | None = None  # the first bit, where it is known (BTF)
    mistake: str = ""  # what is wrong, told when the class and the field are known


@dataclass(slots=True, eq=False, repr=False)
class Entry:
    """One declaration in a body: a name with its unread annotation, or a `Group`."""

    name: str
    annotation: Any  # a string, or the object where annotations are not postponed


@dataclass(slots=True, eq=False, repr=False)
class Group:
    """An anonymous structure or union: what `with struct():` and `with union():` open."""

    is_union: bool
    packed: bool = False
    align: int = 1
    at: int | None = None  # the first bit, where it is known (BTF)
    size: int | None = None  # bytes, where they are known (BTF)
    entries: list[Entry | Group] = _dc_field(default_factory=list)

    def __enter__(self) -> None:
        _recorder(2).open(self)

    def __exit__(self, *exc: object) -> None:
        _recorder(2).close()


class Recorder(dict[str, Any]):
    """The `__annotations__` of a class body that is being run."""

    __slots__ = ("cls", "root", "stack")

    def __init__(self, cls: str) -> None:
        super().__init__()
        self.cls = cls
        self.root = Group(is_union=False)
        self.stack = [self.root]

    def __setitem__(self, name: str, annotation: Any) -> None:
        if name in self:
            raise LayoutError(f"{self.cls}.{name}: declared twice")
        super().__setitem__(name, annotation)
        self.stack[-1].entries.append(Entry(name, annotation))

    def open(self, group: Group) -> None:
        """Start an anonymous group."""
        self.stack[-1].entries.append(group)
        self.stack.append(group)

    def close(self) -> None:
        """End the innermost anonymous group."""
        self.stack.pop()


def _recorder(depth: int) -> Recorder:
    # The class body that the `with` stands in.
    found = sys._getframe(depth).f_locals.get("__annotations__")  # noqa: SLF001 # no public name
    if not isinstance(found, Recorder):
        raise LayoutError(
            "`with union():` and `with struct():` belong in the body of a Struct or Union, in a module that "
            "starts with `from __future__ import annotations`"
        )
    return found


def _late(make: Callable[[], Spec]) -> Any:
    """The declaration, or its mistake: `array(...)` does not know yet which field it is for."""
    try:
        return make()
    except LayoutError as err:
        return Spec(_CBOOL, mistake=str(err))


def union(*, packed: bool = False, align: int = 1) -> Group:
    """Open an anonymous union in a class body; its fields become fields of the class.

    `with union():` and then the members, one level deeper.
    """
    return Group(is_union=True, packed=packed, align=align)


def struct(*, packed: bool = False, align: int = 1) -> Group:
    """Open an anonymous structure in a class body, mostly inside `with union():`."""
    return Group(is_union=False, packed=packed, align=align)


# `bytes` are a case of T, and stand first.
@overload
def array(  # type: ignore[overload-overlap] # see above
    elem: type[bytes], count: int, /, *, default: bytes = ...
) -> bytes: ...
@overload
def array(  # type: ignore[overload-overlap] # see above
    elem: type[bytes], count: int, inner: int, /
) -> list[bytes]: ...
@overload
def array(elem: type[T], count: int, /, *, default: list[T] = ...) -> list[T]: ...
@overload
def array(elem: type[T], count: int, inner: int, /) -> list[list[T]]: ...
@overload
def array(elem: object, /, *counts: int, default: object = ...) -> Any: ...
def array(elem: object, /, *counts: int, default: object = MISSING) -> Any:
    """Declare a fixed array.

    `name: bytes = array(char, 16)`, or `ids: list[list[int]] = array(u32, 2, 3)` for C's `ids[2][3]`.

    The Python value is `bytes` for `char` (all of them, NULs included; a shorter value is filled with NULs
    on pack) and a list of exactly `count` elements for every other type.

    The class definition raises LayoutError for a count that is missing or negative, and for an element that
    cannot be one.
    """
    return _late(lambda: _array(elem, counts, default))


def _array(elem: object, counts: tuple[object, ...], default: object) -> Spec:
    if not counts:
        raise LayoutError("array: a count is missing, as in array(u32, 4)")
    ftype = _element(elem, "array")
    for count in reversed(counts):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise LayoutError(f"array: the count must be an integer of 0 or more, not {count!r}")
        ftype = Array(ftype, count)
    return Spec(ftype, default)


@overload
def trailing(elem: type[bytes], /) -> bytes: ...  # type: ignore[overload-overlap] # as array
@overload
def trailing(elem: type[T], /) -> list[T]: ...
@overload
def trailing(elem: object, /) -> Any: ...
def trailing(elem: object, /) -> Any:
    """Declare a flexible array, C's `name[]`: the last field, not counted in `SIZE`."""
    return _late(lambda: Spec(Trailing(_element(elem, "trailing"))))


def bits(base: object, width: int, /, *, default: Any = MISSING) -> Any:
    """Declare a bit-field.

    `mode: int = bits(u32, 3)` is C's `unsigned int mode : 3`. An unnamed one (`unsigned int : 3`) is a field
    whose name starts with `_`; it is no field of the class and always zero. Width 0 needs such a name and
    moves the next bit-field to a boundary of `base`.

    The class definition raises LayoutError for a base that is no integer (or has a byte order of its own),
    for a negative width and for one larger than the base.
    """
    return _late(lambda: _bits(base, width, default))


def _bits(base: object, width: object, default: object) -> Spec:
    found = resolve(base)
    ftype = found.type if found is not None else None
    scalar = ftype.base if isinstance(ftype, Enumerated) else ftype
    if (
        not isinstance(ftype, (Scalar, Enumerated))
        or not isinstance(scalar, Scalar)
        or scalar.order
        or scalar.kind not in {Kind.UNSIGNED, Kind.SIGNED, Kind.BOOL}
    ):
        raise LayoutError(f"bits: the base must be an integer type such as u32, not {base!r}")
    limit = 1 if scalar.kind is Kind.BOOL else scalar.size * 8
    if not isinstance(width, int) or isinstance(width, bool) or not 0 <= width <= limit:
        raise LayoutError(f"bits: {scalar} holds 0 to {limit} bits, not {width!r}")
    return Spec(Bits(ftype, width), default)


def enum(cls: type[E], base: object = None, /, *, default: E | None = None) -> E:
    """Declare a field whose values are members of `cls`.

    `kind: Kind = enum(Kind, u16)`. Without `base` the size is what gcc gives the enum; `kind: Kind` alone
    says the same. Unpacking a number that is no member raises `LayoutError`; an `IntFlag` takes any bits.
    """
    return cast("E", _late(lambda: _enumerated(cls, base, MISSING if default is None else default)))


def _enumerated(cls: Any, base: object, default: object) -> Spec:
    if not isinstance(cls, type) or not issubclass(cls, (_enum.IntEnum, _enum.IntFlag)):
        raise LayoutError(f"enum: {cls!r} is no IntEnum and no IntFlag")
    scalar = enum_scalar(cls) if base is None else scalar_of(base)
    if scalar is None or scalar.kind not in {Kind.UNSIGNED, Kind.SIGNED}:
        raise LayoutError(
            f"enum: the base of {cls.__name__} must be an integer type such as u32, not {base!r}"
        )
    return Spec(Enumerated(cls, scalar), default)


def field(ftype: object, /, *, default: object = MISSING, align: int = 1, packed: bool = False) -> Any:
    """Declare a field with attributes of its own: C's `__attribute__((aligned(align)))` and `((packed))`.

    `when: int = field(u64, align=16)`.
    """
    return _late(lambda: _attributed(ftype, default, align, packed))


def _attributed(ftype: object, default: object, align: int, packed: bool) -> Spec:
    spec = resolve(ftype)
    if spec is None:
        raise LayoutError(f"field: {ftype!r} is no field type")
    if spec.mistake:
        return spec
    return Spec(spec.type, spec.default if default is MISSING else default, align, packed)


def enum_scalar(cls: type[_enum.IntEnum | _enum.IntFlag]) -> Scalar:
    """The integer type that gcc gives an enum with these values."""
    # Iterating a flag skips what is not one bit.
    values = [int(m) for m in cls.__members__.values()] or [0]
    for candidate in (u32, s32, u64, s64):
        scalar = get_args(candidate)[1]
        low, high = int_bounds(scalar.size * 8, signed=scalar.kind is Kind.SIGNED)
        if low <= min(values) and max(values) <= high:
            return cast("Scalar", scalar)
    raise LayoutError(f"{cls.__name__}: its values fit no 64-bit integer")


def _element(elem: object, who: str) -> FieldType:
    spec = resolve(elem)
    if spec is None:
        raise LayoutError(f"{who}: {elem!r} is no field type")
    if spec.mistake:
        raise LayoutError(spec.mistake)
    if isinstance(spec.type, (Bits, Trailing)):
        raise LayoutError(f"{who}: an element cannot be {type_name(spec.type)}")
    return spec.type


def scalar_of(annotation: object) -> Scalar | None:
    """The scalar that `u32` and its kin stand for, or None."""
    if isinstance(annotation, Scalar):
        return annotation
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, Scalar):
                return extra
    return None


def resolve(annotation: object) -> Spec | None:
    """The declaration that an annotation stands for, or None if it is none."""
    from instar.layout._struct import LayoutMeta

    if isinstance(annotation, Spec):
        return annotation
    if isinstance(annotation, (Scalar, Enumerated, Array, Trailing, Bits)):
        return Spec(annotation)
    known = _PLAIN.get(id(annotation))
    if known is not None:
        return known
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            found = resolve(extra)
            if found is not None:
                return found
        return None
    if annotation is bool:
        return resolve(_CBOOL)
    if isinstance(annotation, LayoutMeta):
        return Spec(annotation)
    if isinstance(annotation, type) and issubclass(annotation, (_enum.IntEnum, _enum.IntFlag)):
        return Spec(Enumerated(annotation, enum_scalar(annotation)))
    return None


# `u32` and its kin by identity, which is quicker to look up than what `Annotated` holds.
_PLAIN: Final = {
    id(alias): Spec(get_args(alias)[1])
    for alias in (
        *(_types.u8, _types.u16, _types.u32, _types.u64, _types.u128),
        *(_types.s8, _types.s16, _types.s32, _types.s64, _types.s128),
        *(_types.le16, _types.le32, _types.le64, _types.be16, _types.be32, _types.be64),
        *(_types.f32, _types.f64, _types.cbool, _types.char, _types.ptr),
    )
}

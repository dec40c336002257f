# SPDX-License-Identifier: Apache-2.0
"""Views: a layout over a buffer that somebody else owns.

A view of a structure is an instance of a subclass that has the memory and an offset instead of values; its
fields are generated properties. The subclass is made when a layout is first viewed. A union's instance is
always a view, of bytes of its own or of a buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from instar.layout import _codegen, _values
from instar.layout._types import Array, Bits, FieldType, LayoutError, Scalar, Trailing

if TYPE_CHECKING:
    from instar.layout._place import Field, Flex
    from instar.layout._struct import LayoutMeta

__all__ = ["ArrayView", "attach", "flex_names"]


class ArrayView(Sequence[Any]):
    """An array inside a buffer: indexing and assigning read and write the buffer.

    Elements are numbers, `bytes` for inner `char` arrays, views for layouts and inner arrays. A slice is a
    list.
    """

    __slots__ = ("_at", "_buf", "_count", "_get", "_set", "_step", "_what")

    def __init__(self, buf: Any, at: int, count: int, step: int, get: Any, put: Any, what: str) -> None:
        self._buf = buf
        self._at = at
        self._count = count
        self._step = step
        self._get = get
        self._set = put
        self._what = what

    def __len__(self) -> int:
        return self._count

    def _where(self, index: int) -> int:
        i = index + self._count if index < 0 else index
        if not 0 <= i < self._count:
            raise IndexError(f"{self._what}[{index}]: it has {self._count} elements")
        return self._at + i * self._step

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        return self._get(self._buf, self._where(index))

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if isinstance(index, slice):
            places = range(*index.indices(self._count))
            if len(places) != len(value):
                raise LayoutError(f"{self._what}: {len(value)} values do not fit in {len(places)} elements")
            for i, item in zip(places, value, strict=True):
                self[i] = item
            return
        where = self._where(index)
        try:
            self._set(self._buf, where, value)
        except _values.VALUE_ERRORS as err:
            raise LayoutError(f"{self._what}[{index}]: {value!r} does not fit ({err})") from None

    def __iter__(self) -> Iterator[Any]:
        get, buf, start, step = self._get, self._buf, self._at, self._step
        return (get(buf, start + i * step) for i in range(self._count))

    def tolist(self) -> list[Any]:
        """The elements as a list; inner arrays become lists too, layouts stay views."""
        return [item.tolist() if isinstance(item, ArrayView) else item for item in self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, ArrayView)):
            return NotImplemented
        return len(other) == self._count and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment] # values change

    def __repr__(self) -> str:
        return repr(list(self))


def view_loader(ftype: FieldType, order: Any, where: str) -> _values.Load:
    """As `_values.loader`, but nested layouts and arrays stay views."""
    if isinstance(ftype, type):
        layout = ftype
        at, size = view_maker(layout), layout.SIZE
        return lambda buf, off: at(buf, off, off + size)
    if isinstance(ftype, Array) and not _values.is_bytes(ftype.elem):
        get, put = view_loader(ftype.elem, order, where), _values.storer(ftype.elem, order)
        count, step = ftype.count, _values.size_of(ftype.elem)
        return lambda buf, off: ArrayView(buf, off, count, step, get, put, where)
    return _values.loader(ftype, order, where)


def _explain_set(self: Any, name: str, value: Any, err: Exception) -> Exception:
    """The error to raise where a value could not be stored through a view."""
    field = self.FIELDS[name]
    found = _values.problem(field.type, value)
    where = f"{type(self).__name__}.{name}"
    if found is not None:
        return LayoutError(f"{where}{found[0]}: {found[1]}")
    return LayoutError(f"{where}: cannot be set ({err})")


def _property_lines(
    f: Field, order: Any, where: str, names: dict[str, Any], buf: str, off: str, serial: int
) -> list[str]:
    """The text of a property that reads and writes field `f` at `off` + its offset in `buf`."""
    ftype = f.type
    at = f"{off} + {f.offset}" if f.offset else off
    if isinstance(ftype, Bits):
        assert f.bit_offset is not None
        # The bit offset already counts from the start of the structure.
        names[f"_g{serial}"] = _values.bits_loader(ftype, f.bit_offset, order, where)
        names[f"_p{serial}"] = _values.bits_storer(ftype, f.bit_offset, order)
        read, write = f"_g{serial}({buf}, {off})", f"_p{serial}({buf}, {off}, value)"
    elif isinstance(ftype, Scalar) and ftype.code:
        packer = _values.codec(_values.prefix(_values.order_of(ftype, order)) + ftype.code)
        names[f"_g{serial}"], names[f"_p{serial}"] = packer.unpack_from, packer.pack_into
        read, write = f"_g{serial}({buf}, {at})[0]", f"_p{serial}({buf}, {at}, value)"
    else:
        names[f"_g{serial}"] = view_loader(ftype, order, where)
        names[f"_p{serial}"] = _values.storer(ftype, order)
        read, write = f"_g{serial}({buf}, {at})", f"_p{serial}({buf}, {at}, value)"
    return [
        "def _get(self):",
        f"    return {read}",
        "def _set(self, value):",
        "    try:",
        f"        {write}",
        "    except _E as e:",
        f"        raise _explain_set(self, {f.name!r}, value, e) from None",
        f"_made[{f.name!r}] = property(_get, _set)",
    ]


def _flex_property_lines(
    f: Field, elem: FieldType, order: Any, where: str, names: dict[str, Any]
) -> list[str]:
    step = _values.size_of(elem) or 1
    if _values.is_bytes(elem):
        read = f"bytes(self.__layout_b__[self.__layout_o__ + {f.offset}:self.__layout_e__])"
    else:
        names["_fget"], names["_fset"] = view_loader(elem, order, where), _values.storer(elem, order)
        names["_ArrayView"] = ArrayView
        start = f"self.__layout_o__ + {f.offset}"
        count = f"(self.__layout_e__ - ({start})) // {step}"
        read = f"_ArrayView(self.__layout_b__, {start}, {count}, {step}, _fget, _fset, {where!r})"
    names["_encode_tail"] = tail_encoder(elem, order)

    def store(self: Any, value: Any) -> None:
        start, end = self.__layout_o__ + f.offset, self.__layout_e__
        found = _values.problem(f.type, value)
        if found is not None:
            raise LayoutError(f"{where}{found[0]}: {found[1]}")
        data = names["_encode_tail"](value)
        if len(data) != end - start:
            raise LayoutError(
                f"{where}: {len(data)} bytes do not fit the view's {end - start}; their number is fixed"
            )
        self.__layout_b__[start:end] = data

    names["_fstore"] = store
    return [
        "def _get(self):",
        f"    return {read}",
        f"_made[{f.name!r}] = property(_get, _fstore)",
    ]


def _nested_storer(f: Field, layout: Any, where: str) -> Callable[[Any, Any], None]:
    """A setter for a member that ends in a flexible array: its length stays as it is."""

    def store(self: Any, value: Any) -> None:
        found = _values.problem(layout, value)
        if found is not None:
            raise LayoutError(f"{where}{found[0]}: {found[1]}")
        data, start = value.pack(), self.__layout_o__ + f.offset
        have = max(layout.SIZE, self.__layout_e__ - start)
        if len(data) != have:
            raise LayoutError(
                f"{where}: {len(data)} bytes do not fit the view's {have}; their number is fixed"
            )
        self.__layout_b__[start : start + have] = data

    return store


def _compile_properties(cls: LayoutMeta, fields: list[tuple[Field, str, str]], label: str) -> dict[str, Any]:
    """Properties for `fields`, each with the expressions of its buffer and base offset."""
    made: dict[str, Any] = {}
    names: dict[str, Any] = {
        "_E": _values.VALUE_ERRORS,
        "_explain_set": _explain_set,
        "_made": made,
    }
    lines: list[str] = []
    for serial, (f, buf, off) in enumerate(fields):
        where = f"{cls.__name__}.{f.name}"
        flex = f.type if isinstance(f.type, Trailing) else None
        if flex is not None:
            lines += _flex_property_lines(f, flex.elem, cls.__layout_order__, where, names)
        elif isinstance(f.type, type) and f.type.__layout_flex__ is not None:
            names[f"_g{serial}"] = view_maker(f.type)
            names[f"_nest{serial}"] = _nested_storer(f, f.type, where)
            lines += [
                "def _get(self):",
                f"    start = self.__layout_o__ + {f.offset}",
                f"    return _g{serial}(self.__layout_b__, start, self.__layout_e__)",
                f"_made[{f.name!r}] = property(_get, _nest{serial})",
            ]
        else:
            lines += _property_lines(f, cls.__layout_order__, where, names, buf, off, serial)
    _codegen.compile_source(f"{cls.__qualname__}.{label}", cls.__module__, "\n".join(lines) + "\n", names)
    return made


def attach(cls: LayoutMeta) -> None:
    """Give a layout its `view` and the properties that lie over bytes."""
    if cls.__layout_union__:
        fields = [(f, "self.__layout_b__", "self.__layout_o__") for f in cls.FIELDS.values()]
        for name, prop in _compile_properties(cls, fields, "union").items():
            setattr(cls, name, prop)
        _adopt_view(cls, *_compile_view(cls, _values.blank(cls)))
        return
    shared = [
        (f, f"self.__layout_u{f.region}__", f"-{cls.__layout_regions__[f.region].offset}")
        for f in cls.FIELDS.values()
        if f.region >= 0
    ]
    if shared:
        for name, prop in _compile_properties(cls, shared, "anonymous").items():
            setattr(cls, name, prop)

    # Few layouts are ever viewed; the first view of one pays for its class.
    def first_at(buf: Any, off: int, end: int) -> Any:
        return view_maker(cls)(buf, off, end)

    def first_view(buf: Any, offset: int = 0, *count: Any, **more: Any) -> Any:
        view_maker(cls)
        return cls.__layout_view__(buf, offset, *count, **more)

    _adopt_view(cls, first_at, first_view)


def view_maker(cls: LayoutMeta) -> Callable[[Any, int, int], Any]:
    """The function `(memory, offset, end)` that makes a view without checks."""
    if not cls.__layout_union__ and cls.__layout_at__.__name__ == "first_at":
        _adopt_view(cls, *_compile_view(cls, _view_class(cls)))
    return cls.__layout_at__


def _adopt_view(cls: LayoutMeta, at: Callable[..., Any], view: Callable[..., Any]) -> None:
    old = cls.__dict__.get("view")
    ours = old is None or old is cls.__dict__.get("__layout_view__")
    view.__doc__, view.__module__ = cls.view.__doc__, cls.__module__
    view.__name__, view.__qualname__ = "view", f"{cls.__qualname__}.view"
    cls.__layout_at__ = staticmethod(at)
    cls.__layout_view__ = static = staticmethod(view)
    if ours:  # and no function of the class body
        cls.view = static


def _compile_view(cls: LayoutMeta, make: Callable[[], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`__layout_at__` and `view`, whose instances `make` makes."""
    flex = cls.__layout_flex__
    names: dict[str, Any] = {
        "_make": make,
        "_memoryview": memoryview,
        "_len": len,
        "_short": lambda mem, offset: _short_view(cls, mem, offset),
        "_end": lambda mem, offset, count: flex and flex_end(cls, flex, len(mem), offset, count),
    }
    ending = flex is not None
    lines = [
        "def at(buf, off, end):",
        "    v = _make()",
        "    v.__layout_b__ = buf",
        "    v.__layout_o__ = off",
        *(["    v.__layout_e__ = end"] if ending else []),
        "    return v",
        f"def view(buf, offset=0{', count=None' if ending else ''}):",
        "    m = _memoryview(buf)",
        "    if m.format != 'B' or m.ndim != 1:",
        "        m = m.cast('B')",
        f"    if offset < 0 or offset + {cls.SIZE} > _len(m):",
        "        raise _short(m, offset)",
        "    v = _make()",
        "    v.__layout_b__ = m",
        "    v.__layout_o__ = offset",
        *(["    v.__layout_e__ = _end(m, offset, count)"] if ending else []),
        "    return v",
    ]
    made = _codegen.compile_source(
        f"{cls.__qualname__}.view()", cls.__module__, "\n".join(lines) + "\n", names
    )
    return made["at"], made["view"]


def _short_view(cls: LayoutMeta, mem: memoryview, offset: int) -> LayoutError:
    have = max(0, len(mem) - max(0, offset))
    return LayoutError(f"{cls.__name__}: cannot view {have} bytes at offset {offset}; it takes {cls.SIZE}")


def _view_class(cls: LayoutMeta) -> LayoutMeta:
    """The subclass whose instances lie over a buffer."""
    fields = [(f, "self.__layout_b__", "self.__layout_o__") for f in cls.FIELDS.values()]
    ending = cls.__layout_flex__ is not None
    namespace: dict[str, Any] = {
        "__slots__": ("__layout_b__", "__layout_o__") + (("__layout_e__",) if ending else ()),
        "__module__": cls.__module__,
        "__qualname__": f"{cls.__qualname__}.view",
        "__doc__": cls.__doc__,
        # Values are not set: a bare call is the fastest way to an instance.
        "__init__": object.__init__,
    }
    namespace |= _compile_properties(cls, fields, "view")
    for i, region in enumerate(cls.__layout_regions__):
        namespace[f"__layout_u{i}__"] = property(_region_getter(region.offset, region.size))
    # Not through LayoutMeta.__new__: this is no new layout.
    return type.__new__(type(cls), cls.__name__, (cls,), namespace)


def _region_getter(offset: int, size: int) -> Callable[[Any], bytearray]:
    def get(self: Any) -> bytearray:
        start = self.__layout_o__ + offset
        return bytearray(self.__layout_b__[start : start + size])

    return get


# ---------------------------------------------------------------------------------------- flexible arrays


def flex_end(cls: LayoutMeta, flex: Flex, have: int, offset: int, count: int | None) -> int:
    """Where a flexible array ends, in bytes from the start of the buffer."""
    step = _values.size_of(flex.elem) or 1
    start = offset + flex.offset
    if count is None:
        return start + (have - start) // step * step
    end = start + count * step
    if count < 0 or end > have:
        where = f"{cls.__name__}.{'.'.join(flex.path)}"
        raise LayoutError(f"{where}: {count} elements do not fit in the {have - start} bytes left")
    return end


def tail_encoder(elem: FieldType, order: Any) -> Callable[[Any], bytes]:
    """A function that packs the elements of a flexible array."""
    if _values.is_bytes(elem):
        return bytes
    if isinstance(elem, Scalar) and elem.code:
        fmt = _values.prefix(_values.order_of(elem, order))
        return lambda value: struct.pack(f"{fmt}{len(value)}{elem.code}", *value)
    store, step = _values.storer(elem, order), _values.size_of(elem)

    def encode(value: Any) -> bytes:
        out = bytearray(len(value) * step)
        for i, item in enumerate(value):
            store(out, i * step, item)
        return bytes(out)

    return encode


def flex_names(cls: LayoutMeta, flex: Flex) -> dict[str, Any]:
    """What the generated functions of a layout with a flexible array refer to."""
    elem, start, size = flex.elem, flex.offset, cls.SIZE
    order: Any = cls.__layout_order__
    owner = cls
    for name in flex.path[:-1]:
        nested = owner.FIELDS[name].type
        assert isinstance(nested, type)
        owner = nested
        order = owner.__layout_order__
    step = _values.size_of(elem) or 1
    where = f"{cls.__name__}.{'.'.join(flex.path)}"
    encode = tail_encoder(elem, order)
    is_bytes = _values.is_bytes(elem)

    def join(head: bytes, value: Any) -> bytes:
        if is_bytes and not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError
        data = encode(value)
        if start == size:
            return head + data
        # The array starts in the padding at the end.
        return (head[:start] + data).ljust(size, b"\0")

    def put(buf: Any, offset: int, data: bytes) -> int:
        mem = memoryview(buf).cast("B")
        if offset + len(data) > len(mem):
            have = f"{max(0, len(mem) - offset)} bytes at offset {offset}"
            raise LayoutError(f"{cls.__name__}: cannot pack into {have}; it takes {len(data)}")
        mem[offset : offset + len(data)] = data
        return len(data)

    def tail(buf: Any, offset: int, count: int | None) -> Any:
        mem = memoryview(buf).cast("B")
        end = flex_end(cls, flex, len(mem), offset, count)
        first = offset + start
        if is_bytes:
            return bytes(mem[first:end])
        number = (end - first) // step
        return _values.loader(Array(elem, number), order, where)(mem, first)

    return {"_join": join, "_put": put, "_tail": tail}

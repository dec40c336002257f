# SPDX-License-Identifier: Apache-2.0
"""The source of `__init__`, `__eq__`, `pack` and `unpack`, one text for each layout, compiled once.

A layout is flattened into *slots*: runs of bytes that one `struct` code covers. Plain numbers, fixed `char`
arrays and arrays of plain numbers are slots of their own, and nested structures are flattened into those of
their members; bit-fields that share a byte are one number; what `struct` has no code for (128-bit numbers, a
second byte order, anonymous unions, arrays of structures) is a run of bytes that a closure converts. The
generated functions then make one `struct` call each. `benchmarks/layout.py` compares them with hand-written
calls.

The text is kept as `Cls.SOURCE`, and `linecache` knows it, so tracebacks and debuggers show it.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from dataclasses import field as _dc_field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from instar.layout._types import Array, Bits, Enumerated, FieldType, Kind, LayoutError, Scalar, Trailing
from instar.layout._values import (
    bits_shift,
    blank,
    codec,
    enum_loader,
    is_bytes,
    loader,
    order_of,
    prefix,
    size_of,
    storer,
)

if TYPE_CHECKING:
    from instar.layout._place import Field
    from instar.layout._struct import LayoutMeta

__all__ = ["Flat", "compile_source", "flatten"]

ByteOrder = Literal["little", "big"]

# A dataclass that nobody outside sees is made without `==` and `repr`: each costs start-up time.

# Nesting multiplies: a few hostile types of BTF could ask for more text than memory holds. The largest
# structures of a kernel have some thousands.
_MAX_FIELDS: Final = 1 << 15


@dataclass(slots=True, eq=False, repr=False)
class Slot:
    """One run of bytes and how it becomes a value.

    `count` is how many values the code yields: 1, or the length of an array of plain numbers. Without `after`
    the value goes straight to `target`; else into the local `temp`, and `after` are the statements that
    store it.
    """

    offset: int
    size: int
    code: str
    value: str
    target: str
    count: int = 1
    before: list[str] = _dc_field(default_factory=list)
    after: list[str] = _dc_field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Flat:
    """A layout as slots, in the order of their offsets.

    Attributes:
        names: what the generated text refers to.
        nest_load: statements that make nested objects before values are stored in them.
        nest_save: statements that fetch nested objects before values are read from them.
    """

    order: ByteOrder
    slots: list[Slot] = _dc_field(default_factory=list)
    names: dict[str, Any] = _dc_field(default_factory=dict)
    nest_load: list[str] = _dc_field(default_factory=list)
    nest_save: list[str] = _dc_field(default_factory=list)
    serial: int = 0

    def name(self, stem: str, value: Any) -> str:
        """A fresh global name for `value` in the generated text."""
        self.serial += 1
        fresh = f"_{stem}{self.serial}"
        self.names[fresh] = value
        return fresh

    def temp(self) -> str:
        """A fresh local name."""
        self.serial += 1
        return f"t{self.serial}"

    def format(self, size: int) -> str:
        """The `struct` format of the whole, with explicit pad bytes up to `size`.

        Equal codes in a row are one with a count: `struct` runs through `3I` faster than through `III`.
        """
        codes: list[str] = []
        at = 0
        for slot in self.slots:
            if slot.offset > at:
                codes.append(_counted("x", slot.offset - at))
            codes.append(slot.code)
            at = slot.offset + slot.size
        if size > at:
            codes.append(_counted("x", size - at))
        return prefix(self.order) + "".join(_counted(code, len(list(run))) for code, run in groupby(codes))


def _counted(code: str, count: int) -> str:
    """`count` times one code; a longer code has a count of its own (`16s`) and cannot take another."""
    if count == 1 or len(code) > 1:
        return code * count
    return f"{count}{code}"


def _votes(cls: LayoutMeta, tally: dict[str, int]) -> None:
    """Count the byte orders of the plain numbers that would become slots."""
    for f in cls.__layout_plain__:
        tally["fields"] += 1
        if tally["fields"] > _MAX_FIELDS:
            raise LayoutError(
                f"{cls.__name__}: more than {_MAX_FIELDS} fields with those of nested structures"
            )
        ftype: FieldType = f.type
        if isinstance(ftype, Array):
            ftype = ftype.elem
        if isinstance(ftype, Enumerated):
            ftype = ftype.base
        if isinstance(ftype, Scalar):
            if ftype.size > 1:
                tally[order_of(ftype, cls.__layout_order__)] += 1
        elif isinstance(ftype, type) and not isinstance(f.type, Array) and not ftype.__layout_union__:
            _votes(ftype, tally)


def flatten(cls: LayoutMeta) -> Flat:
    """All slots of a structure."""
    tally = {"little": 0, "big": 0, "fields": 0}
    _votes(cls, tally)
    order: ByteOrder = cls.__layout_order__
    if tally["little"] != tally["big"]:
        order = "little" if tally["little"] > tally["big"] else "big"
    flat = Flat(order)
    _walk(flat, cls, "self", 0, cls.__name__)
    flat.slots.sort(key=lambda s: (s.offset, s.offset + s.size))
    for before, after in pairwise(flat.slots):
        if before.offset + before.size > after.offset:
            raise LayoutError(f"{cls.__name__}: fields overlap at byte {after.offset}")
    return flat


def _walk(flat: Flat, cls: LayoutMeta, obj: str, base: int, where: str) -> None:
    order: ByteOrder = cls.__layout_order__
    packed_bits: list[Field] = []
    for f in cls.__layout_plain__:
        path, at, dotted = f"{obj}.{f.name}", base + f.offset, f"{where}.{f.name}"
        if isinstance(f.type, Bits):
            packed_bits.append(f)
        elif isinstance(f.type, Trailing):
            continue
        elif isinstance(f.type, type) and not f.type.__layout_union__:
            nested = flat.temp()
            maker = flat.name("make", blank(f.type))
            flat.nest_load.append(f"{nested} = {path} = {maker}()")
            flat.nest_save.append(f"{nested} = {path}")
            _walk(flat, f.type, nested, at, dotted)
            flex = f.type.__layout_flex__
            if flex is not None:
                empty = "b''" if is_bytes(flex.elem) else "[]"
                if len(flex.path) == 1:
                    flat.nest_load.append(f"{nested}.{flex.path[0]} = {empty}")
        else:
            flat.slots.append(_slot(flat, f.type, order, path, at, dotted))
    for cluster in _clusters(packed_bits):
        flat.slots.append(_bits_slot(flat, cluster, order, obj, base, where))
    for i, region in enumerate(cls.__layout_regions__):
        temp, path = flat.temp(), f"{obj}.__layout_u{i}__"
        flat.slots.append(
            Slot(
                base + region.offset,
                region.size,
                f"{region.size}s",
                path,
                temp,
                after=[f"{path} = _bytearray({temp})"],
            )
        )


def _slot(flat: Flat, ftype: FieldType, order: ByteOrder, path: str, at: int, where: str) -> Slot:
    size, temp = size_of(ftype), flat.temp()
    if isinstance(ftype, Scalar):
        own = order_of(ftype, order)
        if ftype.code and (own == flat.order or ftype.size == 1):
            return Slot(at, size, ftype.code, path, path)
        if ftype.kind is not Kind.FLOAT:
            sign = f", signed={ftype.kind is Kind.SIGNED}"
            return Slot(
                at,
                size,
                f"{size}s",
                f"{path}.to_bytes({size}, {own!r}{sign})",
                temp,
                after=[f"{path} = _from_bytes({temp}, {own!r}{sign})"],
            )
    if isinstance(ftype, Enumerated) and ftype.base.code and order_of(ftype.base, order) == flat.order:
        member = flat.name("enum", enum_loader(ftype, where))
        return Slot(at, size, ftype.base.code, path, temp, after=[f"{path} = {member}({temp})"])
    if isinstance(ftype, Array):
        elem, count = ftype.elem, ftype.count
        if is_bytes(elem):
            check = [f"{temp} = {path}", f"if len({temp}) > {count}: _misfit()"]
            return Slot(at, size, f"{count}s", temp, path, before=check)
        if isinstance(elem, Scalar) and elem.code and (order_of(elem, order) == flat.order or elem.size == 1):
            check = [f"{temp} = {path}", f"if len({temp}) != {count}: _misfit()"]
            return Slot(at, size, f"{count}{elem.code}", f"*{temp}", path, count, before=check)
    return _opaque_slot(flat, ftype, order, path, at, where)


def _opaque_slot(flat: Flat, ftype: FieldType, order: ByteOrder, path: str, at: int, where: str) -> Slot:
    """A run of bytes that closures convert."""
    size, temp = size_of(ftype), flat.temp()
    store, load = storer(ftype, order), loader(ftype, order, where)

    def encode(value: Any) -> bytearray:
        out = bytearray(size)
        store(out, 0, value)
        return out

    save, read = flat.name("save", encode), flat.name("load", load)
    return Slot(at, size, f"{size}s", f"{save}({path})", temp, after=[f"{path} = {read}({temp}, 0)"])


def _clusters(fields: list[Field]) -> list[list[Field]]:
    """Bit-fields in runs that share bytes."""
    runs: list[list[Field]] = []
    end = -1
    for f in sorted(fields, key=lambda f: f.bit_offset or 0):
        assert f.bit_offset is not None
        if runs and f.bit_offset // 8 < end:
            runs[-1].append(f)
        else:
            runs.append([f])
        end = -(-(f.bit_offset + f.bit_width) // 8)
    return runs


def _bits_slot(flat: Flat, run: list[Field], order: ByteOrder, obj: str, base: int, where: str) -> Slot:
    first = min(f.bit_offset or 0 for f in run) // 8
    last = -(-max((f.bit_offset or 0) + f.bit_width for f in run) // 8)
    count, temp = last - first, flat.temp()
    before, after, checks, parts = [], [], [], []
    for f in run:
        assert isinstance(f.type, Bits)
        assert f.bit_offset is not None
        width, value, path = f.bit_width, flat.temp(), f"{obj}.{f.name}"
        kind = f.type.scalar.kind
        start, spread, shift = bits_shift(f.bit_offset, width, order)
        shift += (start - first) * 8 if order == "little" else (last - start - spread) * 8
        mask = (1 << width) - 1
        before.append(f"{value} = {path}")
        raw = f"{temp} >> {shift} & {mask:#x}" if shift else f"{temp} & {mask:#x}"
        if kind is Kind.SIGNED:
            sign = 1 << (width - 1)
            checks.append(f"({value} + {sign:#x}) >> {width}")
            parts.append(f"({value} & {mask:#x}) << {shift}")
            raw = f"({raw} ^ {sign:#x}) - {sign:#x}"
        else:
            checks.append(f"{value} >> {width}")
            parts.append(f"{value} << {shift}" if shift else value)
        if kind is Kind.BOOL:
            raw = f"{raw} != 0" if not shift else f"({raw}) != 0"
        if isinstance(f.type.base, Enumerated):
            raw = f"{flat.name('enum', enum_loader(f.type.base, f'{where}.{f.name}'))}({raw})"
        after.append(f"{path} = {raw}")
    before.append(f"if {' | '.join(checks)}: _misfit()")
    whole = " | ".join(parts)
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(count)
    if code is None or (count > 1 and order != flat.order):
        after.insert(0, f"{temp} = _from_bytes({temp}, {order!r})")
        return Slot(
            base + first,
            count,
            f"{count}s",
            f"({whole}).to_bytes({count}, {order!r})",
            temp,
            before=before,
            after=after,
        )
    return Slot(base + first, count, code, whole, temp, before=before, after=after)


# ------------------------------------------------------------------------------------------- the text


def save_lines(flat: Flat) -> list[str]:
    """Statements that fetch and check the values to pack."""
    return flat.nest_save + [line for slot in flat.slots for line in slot.before]


def save_values(flat: Flat) -> str:
    """The values to pack, as arguments."""
    return ", ".join(slot.value for slot in flat.slots)


def load_lines(flat: Flat, call: str, guard: list[str]) -> list[str]:
    """Statements that unpack with `call` and store; `guard` are the lines of its `except`."""
    arrays = [s for s in flat.slots if s.count != 1 or s.value.startswith("*")]
    lines = list(flat.nest_load)
    if len(arrays) <= 1:
        targets = "".join(f"{'*' if s in arrays else ''}{s.target}, " for s in flat.slots).rstrip()
        lines += ["try:", f"    {targets or '()'} = {call}", *guard]
    else:
        # One assignment takes one star only.
        lines += ["try:", f"    v = {call}", *guard]
        at = 0
        for s in flat.slots:
            if s in arrays:
                lines.append(f"{s.target} = _list(v[{at}:{at + s.count}])")
                at += s.count
            else:
                lines.append(f"{s.target} = v[{at}]")
                at += 1
    return lines + [line for s in flat.slots for line in s.after]


def compile_source(cls_name: str, module: str, source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run generated text and return what it defines; tracebacks will show its lines."""
    filename = f"<instar.layout {module}.{cls_name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    scope = dict(names)
    exec(compile(source, filename, "exec"), scope)  # noqa: S102 # text made here, from checked identifiers
    return {k: v for k, v in scope.items() if k not in names and k != "__builtins__"}


__all__ += ["codec", "load_lines", "save_lines", "save_values"]

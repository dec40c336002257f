# SPDX-License-Identifier: Apache-2.0
"""`Struct` and `Union`: classes whose annotations are a C layout.

    class FuseForgetOne(Struct, ctype="struct fuse_forget_one"):
        nodeid: u64
        nlookup: u64

The metaclass reads the body, places the fields (`_rules`), and gives the class its constants and generated
functions (`_codegen`, `_view`). Everything that can be wrong is found there and then.

An instance of a `Struct` holds plain values in slots. An instance of a `Union` holds bytes: each member reads
and writes them, as in C. An anonymous union inside a `Struct` does the same with its own few bytes.
"""

from __future__ import annotations

import copy
import keyword
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_origin

from instar.layout import _codegen, _rules, _values, _view
from instar.layout._declare import MISSING, Entry, Group, Recorder, Spec, resolve
from instar.layout._types import Array, Bits, FieldType, Kind, LayoutError, Scalar, Trailing, type_name

if TYPE_CHECKING:
    from typing import Self

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Field", "Flex", "LayoutMeta", "Region", "Struct", "Union", "build"]


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


@dataclass(frozen=True, slots=True)
class Region:
    """The bytes of an anonymous union inside a structure."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Flex:
    """The flexible array at a structure's end, perhaps inside its last members."""

    path: tuple[str, ...]
    offset: int
    elem: FieldType


@dataclass(slots=True)
class _Leaf:
    """A field on its way: placed in its group, not yet in the whole. Numbers in bits."""

    name: str
    spec: Spec
    at: int
    rivals: tuple[tuple[int, int], ...]
    region: int = -1
    cname: str = ""


# ----------------------------------------------------------------------------------------- the placing


@dataclass(slots=True)
class _Placed:
    size: int
    align: int
    leaves: list[_Leaf]
    regions: list[Region]
    unnamed: int = 0


class _Placer:
    """Places the entries of one class body, groups inside groups."""

    def __init__(self, cls: str, order: Literal["little", "big"]) -> None:
        self.cls = cls
        self.order = order
        self.unions = 0

    def group(
        self, entries: list[tuple[str, Spec] | tuple[Group, list[Any]]], *, union: bool, packed: bool, align: int
    ) -> _Placed:
        members: list[_rules.Member] = []
        inner: list[_Placed | None] = []
        for head, tail in entries:
            if isinstance(head, Group):
                assert isinstance(tail, list)
                placed = self.group(tail, union=head.is_union, packed=head.packed, align=head.align)
                inner.append(placed)
                members.append(_rules.Member(placed.size, placed.align))
            else:
                assert isinstance(tail, Spec)
                inner.append(None)
                members.append(_member(head, tail))
        result = _rules.place(members, union=union, packed=packed, align=align)
        number = self.unions
        self.unions += union
        leaves: list[_Leaf] = []
        regions: list[Region] = []
        for i, ((head, tail), sub, at) in enumerate(zip(entries, inner, result.bit_offsets, strict=True)):
            rival = ((number, i),) if union else ()
            if sub is None:
                assert isinstance(head, str)
                assert isinstance(tail, Spec)
                if not (isinstance(tail.type, Bits) and head.startswith("_")):
                    leaves.append(_Leaf(head, tail, at, rival))
                continue
            assert isinstance(head, Group)
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
        return _Placed(result.size, result.align, leaves, regions)


def _member(name: str, spec: Spec) -> _rules.Member:
    ftype = spec.type
    width = ftype.width if isinstance(ftype, Bits) else None
    named = not name.startswith("_") or width is None
    return _rules.Member(
        _values.size_of(ftype), _values.align_of(ftype), width, named, spec.packed, spec.align
    )


# ------------------------------------------------------------------------------------- reading the body


def _fail(cls: str, field: str, reason: str) -> LayoutError:
    return LayoutError(f"{cls}.{field}: {reason}" if field else f"{cls}: {reason}")


class _Body:
    """Turns what a class body recorded into specifications."""

    def __init__(self, cls: str, namespace: dict[str, Any], globals_: dict[str, Any], locals_: Mapping[str, Any]):
        self.cls = cls
        self.namespace = namespace
        self.globals = globals_
        self.locals = locals_
        self.defaults: dict[str, Any] = {}

    def read(self, entries: list[Entry | Group]) -> list[Any]:
        out: list[Any] = []
        for entry in entries:
            if isinstance(entry, Group):
                _check_align(self.cls, "anonymous group", entry.align)
                out.append((entry, self.read(entry.entries)))
                continue
            spec = self.spec(entry)
            if spec is not None:
                self.name(entry.name)
                out.append((entry.name, spec))
        return out

    def name(self, name: str) -> None:
        if name in _RESERVED or name.startswith("_instar_"):
            raise _fail(self.cls, name, "the name hides a method or constant of layouts; choose another (a trailing _ is ignored by checks)")
        if name.startswith("__"):
            raise _fail(self.cls, name, "a name cannot start with two underscores")

    def spec(self, entry: Entry) -> Spec | None:
        """The specification of one entry; None for a `ClassVar`."""
        name = entry.name
        value = self.namespace.get(name, MISSING)
        if isinstance(value, Spec):
            del self.namespace[name]
            return self.checked(name, value)
        annotation = entry.annotation
        if isinstance(annotation, str):
            annotation = self.evaluate(name, annotation)
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            return None
        spec = resolve(annotation)
        if spec is None:
            hint = {int: "; say how large, as in u32", float: "; say f32 or f64", bytes: "; say array(char, n)"}
            raise _fail(self.cls, name, f"unknown type {_shown(annotation)}{hint.get(annotation, '')}")
        if value is not MISSING:
            del self.namespace[name]
            spec = Spec(spec.type, value, spec.align, spec.packed)
        return self.checked(name, spec)

    def checked(self, name: str, spec: Spec) -> Spec:
        if isinstance(spec.type, Bits) and spec.type.width == 0 and not name.startswith("_"):
            raise _fail(self.cls, name, "a bit-field of width 0 has no name in C; start its name with _")
        if spec.default is not MISSING:
            found = _values.problem(spec.type, spec.default)
            if found is not None:
                raise _fail(self.cls, name, f"wrong default{found[0]}: {found[1]}")
        return spec

    def evaluate(self, name: str, text: str) -> Any:
        scope = {**self.locals, **self.namespace}
        try:
            return eval(text, self.globals, scope)  # noqa: S307 # the annotation that stands in the class body
        except LayoutError as err:
            raise _fail(self.cls, name, str(err)) from None
        except (NameError, AttributeError, SyntaxError, TypeError, KeyError, IndexError) as err:
            raise _fail(self.cls, name, f"unknown type {text!r} ({err})") from None


def _shown(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def _check_align(cls: str, field: str, align: object) -> None:
    if not isinstance(align, int) or isinstance(align, bool) or align < 1 or align & (align - 1):
        raise _fail(cls, field, f"align must be a power of two, not {align!r}")


# ------------------------------------------------------------------------------------------ the classes


class LayoutMeta(type):
    """The class of layouts. Its attributes are constants of each layout."""

    SIZE: int
    ALIGN: int
    FIELDS: Mapping[str, Field]
    FORMAT: str
    CODEC: struct.Struct
    SOURCE: str
    CTYPE: str | None
    _instar_order: Literal["little", "big"]
    _instar_union: bool
    _instar_plain: tuple[Field, ...]
    _instar_regions: tuple[Region, ...]
    _instar_flex: Flex | None
    _instar_at: Callable[[Any, int, int], Any]

    @classmethod
    def __prepare__(mcs, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> dict[str, object]:
        return {"__annotations__": Recorder(name)}

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        ctype: str | None = None,
        packed: bool = False,
        align: int = 1,
        size: int | None = None,
        byteorder: str = "native",
    ) -> LayoutMeta:
        recorder = namespace.get("__annotations__")
        if not any(isinstance(b, LayoutMeta) for b in bases):
            namespace["__annotations__"] = dict(recorder or {})
            return super().__new__(mcs, name, bases, namespace)
        for base in bases:
            if isinstance(base, LayoutMeta) and base not in {Struct, Union}:
                raise _fail(name, "", f"{base.__name__} is a complete layout; make it a field instead of a base")
        if "__slots__" in namespace:
            raise _fail(name, "", "a layout has its fields as slots; leave __slots__ out")
        if not isinstance(recorder, Recorder):
            recorder = Recorder(name)
        for field, annotation in _late_annotations(namespace).items():
            recorder[field] = annotation
        frame = sys._getframe(1)
        body = _Body(name, namespace, frame.f_globals, frame.f_locals)
        entries = body.read(recorder.root.entries)
        for key, value in namespace.items():
            if isinstance(value, Spec):
                raise _fail(name, key, "has no annotation, so it would not be a field")
        namespace["__annotations__"] = dict(recorder)
        return build(
            name,
            entries,
            union=Union in bases,
            bases=bases,
            namespace=namespace,
            ctype=ctype,
            packed=packed,
            align=align,
            size=size,
            byteorder=byteorder,
        )

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace)


def _late_annotations(namespace: dict[str, Any]) -> dict[str, Any]:
    """Annotations of a body without the `__future__` import on Python 3.14 (PEP 649), else nothing."""
    annotate = namespace.get("__annotate_func__") or namespace.get("__annotate__")
    if not callable(annotate):
        return {}
    found: dict[str, Any] = annotate(1)
    return found


def build(
    name: str,
    entries: list[Any],
    *,
    union: bool,
    bases: tuple[type, ...] = (),
    namespace: dict[str, Any] | None = None,
    ctype: str | None = None,
    packed: bool = False,
    align: int = 1,
    size: int | None = None,
    byteorder: str = "native",
    cnames: Mapping[str, str] | None = None,
    module: str = "",
) -> LayoutMeta:
    """Make a layout class from `(name, Spec)` and `(Group, entries)` pairs.

    Raises:
        LayoutError: what the class body asked for is no C layout.
    """
    _check_align(name, "", align)
    if byteorder not in {"native", "little", "big"}:
        raise _fail(name, "", f'byteorder must be "native", "little" or "big", not {byteorder!r}')
    order: Literal["little", "big"] = "big" if (sys.byteorder if byteorder == "native" else byteorder) == "big" else "little"
    _check_flexible(name, entries, union=union)
    placed = _Placer(name, order).group(entries, union=union, packed=packed, align=align)
    total = placed.size
    if size is not None:
        if not isinstance(size, int) or size < total:
            raise _fail(name, "", f"size={size!r} is less than the {total} bytes of its fields")
        total = size
    fields = tuple(_field(leaf, (cnames or {}).get(leaf.name, "")) for leaf in placed.leaves)
    return _make(name, fields, placed.regions, total, placed.align, order, union, bases, namespace or {}, ctype, module)


def _check_flexible(cls: str, entries: list[Any], *, union: bool) -> None:
    for i, (head, tail) in enumerate(entries):
        if isinstance(head, Group):
            inner = [h for h, _ in _flat_entries(tail) if _values.flex_of(_.type)]
            if inner:
                raise _fail(cls, inner[0], "a flexible array cannot stand in an anonymous group")
        elif _values.flex_of(tail.type) and (union or i + 1 != len(entries)):
            raise _fail(cls, head, "a flexible array must be the last field of a structure")
        elif isinstance(tail.type, Array):
            elem: FieldType = tail.type
            while isinstance(elem, Array):
                elem = elem.elem
            if _values.flex_of(elem):
                raise _fail(cls, head, "an element cannot end in a flexible array")


def _flat_entries(entries: list[Any]) -> list[tuple[str, Spec]]:
    out: list[tuple[str, Spec]] = []
    for head, tail in entries:
        out += _flat_entries(tail) if isinstance(head, Group) else [(head, tail)]
    return out


def _field(leaf: _Leaf, cname: str) -> Field:
    ftype = leaf.spec.type
    start = leaf.at // 8
    if isinstance(ftype, Bits):
        size = -(-(leaf.at + ftype.width) // 8) - start
        return Field(
            leaf.name, start, size, ftype, leaf.at, ftype.width, leaf.region, leaf.rivals, leaf.spec.default, cname
        )
    return Field(
        leaf.name, start, _values.size_of(ftype), ftype, None, 0, leaf.region, leaf.rivals, leaf.spec.default, cname
    )


def _make(
    name: str,
    fields: tuple[Field, ...],
    regions: list[Region],
    size: int,
    align: int,
    order: Literal["little", "big"],
    union: bool,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    ctype: str | None,
    module: str,
) -> LayoutMeta:
    plain = tuple(f for f in fields if f.region < 0)
    if union:
        slots: tuple[str, ...] = ("_instar_b", "_instar_o")
    else:
        slots = tuple(f.name for f in plain) + tuple(f"_instar_u{i}" for i in range(len(regions)))
    flex: Flex | None = None
    if fields and not union:
        last = fields[-1]
        if isinstance(last.type, Trailing):
            flex = Flex((last.name,), last.offset, last.type.elem)
        elif isinstance(last.type, LayoutMeta) and last.type._instar_flex is not None:
            below = last.type._instar_flex
            flex = Flex((last.name, *below.path), last.offset + below.offset, below.elem)
    namespace |= {
        "__slots__": slots,
        "SIZE": size,
        "ALIGN": align,
        "FIELDS": MappingProxyType({f.name: f for f in fields}),
        "CTYPE": ctype,
        "_instar_order": order,
        "_instar_union": union,
        "_instar_plain": () if union else plain,
        "_instar_regions": tuple(regions),
        "_instar_flex": flex,
    }
    if module:
        namespace["__module__"] = module
    bases = bases or ((Union,) if union else (Struct,))
    for field in fields:
        if field.name in namespace:
            raise _fail(name, field.name, "is a field and a method of the class")
    cls = type.__new__(LayoutMeta, name, bases, namespace)
    type.__init__(cls, name, bases, namespace)
    (_finish_union if union else _finish_struct)(cls)
    return cls


def _adopt(cls: LayoutMeta, made: Mapping[str, Callable[..., Any]]) -> None:
    """Put generated functions on the class, with the docstrings of the base, unless the body has its own."""
    for key, func in made.items():
        base = getattr(Struct, key, None)
        func.__doc__ = getattr(base, "__doc__", None)
        func.__qualname__ = f"{cls.__qualname__}.{key}"
        func.__module__ = cls.__module__
        if key not in cls.__dict__ or key == "__hash__":
            static = key in {"unpack", "unpack_from", "view"}
            setattr(cls, key, staticmethod(func) if static else func)


def _init_lines(cls: LayoutMeta, names: dict[str, Any]) -> list[str]:
    """The text of `__init__`: keywords only, zero for what is not given."""
    params: list[str] = []
    body: list[str] = []
    late: list[str] = []
    for i, f in enumerate(cls.FIELDS.values()):
        if f.region >= 0 or cls._instar_union:
            params.append(f"{f.name}=_M")
            late.append(f.name)
            continue
        default = f.default if f.default is not MISSING else None
        simple = isinstance(f.type, (Scalar, Bits)) or (isinstance(f.type, (Array, Trailing)) and _values.is_bytes(f.type.elem))
        if f.default is MISSING and not isinstance(f.type, type):
            default = _values.zero(f.type)
        if simple and isinstance(default, (int, float, bytes)):
            names[f"_d{i}"] = default
            params.append(f"{f.name}=_d{i}")
            body.append(f"self.{f.name} = {f.name}")
        else:
            names[f"_d{i}"] = _maker(f)
            params.append(f"{f.name}=_M")
            body.append(f"self.{f.name} = _d{i}() if {f.name} is _M else {f.name}")
    body += [f"self._instar_u{i} = _bytearray({r.size})" for i, r in enumerate(cls._instar_regions)]
    if cls._instar_union:
        body += [f"self._instar_b = _bytearray({cls.SIZE})", "self._instar_o = 0"]
    if late:
        pairs = ", ".join(f"({n!r}, {n})" for n in late)
        body.append(f"_assign(self, ({pairs},))")
    star = ", *, " if params else ""
    return [f"def __init__(self{star}{', '.join(params)}):", *(f"    {line}" for line in body or ["pass"])]


def _maker(f: Field) -> Callable[[], Any]:
    """A function that makes the field's default anew."""
    ftype, default = f.type, f.default
    if default is not MISSING:
        return lambda: copy.deepcopy(default)
    if isinstance(ftype, type):
        return ftype
    return lambda: _values.zero(ftype)


def _assign(self: Any, pairs: tuple[tuple[str, Any], ...]) -> None:
    """Set the members of unions that the constructor was given; two members of one union are a mistake."""
    fields = self.FIELDS
    seen: dict[int, tuple[int, str]] = {}
    for name, value in pairs:
        if value is MISSING:
            default = fields[name].default
            if default is MISSING:
                continue
            if any(seen.get(n, (i,))[0] != i for n, i in fields[name].rivals):
                continue  # another member was given
            value = copy.deepcopy(default)  # noqa: PLW2901 # the value to set
        for number, index in fields[name].rivals:
            other = seen.setdefault(number, (index, name))
            if other[0] != index:
                raise LayoutError(f"{type(self).__name__}.{name}: shares its bytes with {other[1]}; give one of them")
        setattr(self, name, value)


_ERRORS: Final = _values.VALUE_ERRORS


def _explain(self: Any, err: Exception, buf: Any = None, offset: int = 0) -> Exception:
    """The error to raise where packing failed: it names the field, or says how short the buffer is."""
    found = _values.first_problem(self)
    if found is not None:
        return LayoutError(f"{type(self).__name__}.{found[0]}: {found[1]}")
    if buf is not None and not isinstance(err, TypeError):
        return _short(type(self), buf, offset, "pack into")
    return err


def _short(cls: Any, buf: Any, offset: int, verb: str = "unpack") -> LayoutError:
    have = memoryview(buf).nbytes
    if not isinstance(offset, int) or not 0 <= offset <= have:
        return LayoutError(f"{cls.__name__}: cannot {verb} a buffer of {have} bytes at offset {offset}")
    more = f" at offset {offset}" if offset else ""
    return LayoutError(f"{cls.__name__}: cannot {verb} {have - offset} bytes{more}; it takes {cls.SIZE}")


def _misfit() -> None:
    raise OverflowError


_COMMON: Final = {
    "_M": MISSING,
    "_E": _ERRORS,
    "_assign": _assign,
    "_bytearray": bytearray,
    "_explain": _explain,
    "_from_bytes": int.from_bytes,
    "_len": len,
    "_list": list,
    "_misfit": _misfit,
    "_new": object.__new__,
    "_short": _short,
    "_UE": (struct.error, OverflowError),
}


def _finish_struct(cls: LayoutMeta) -> None:
    flat = _codegen.flatten(cls)
    fmt = flat.format(cls.SIZE)
    cls.FORMAT, cls.CODEC = fmt, struct.Struct(fmt)
    names = flat.names
    names |= _COMMON
    names |= {
        "_cls": cls,
        "_pack": cls.CODEC.pack,
        "_pack_into": cls.CODEC.pack_into,
        "_unpack": cls.CODEC.unpack,
        "_unpack_from": cls.CODEC.unpack_from,
    }
    lines = _init_lines(cls, names)
    lines += _eq_lines(cls)
    lines += _struct_io_lines(cls, flat)
    cls.SOURCE = "\n".join(lines) + "\n"
    made = _codegen.compile_source(cls.__qualname__, cls.__module__, cls.SOURCE, names)
    _adopt(cls, made)
    _view.attach(cls)


def _eq_lines(cls: LayoutMeta) -> list[str]:
    tests = [f"self.{f.name} == other.{f.name}" for f in cls._instar_plain]
    tests += [f"self._instar_u{i} == other._instar_u{i}" for i in range(len(cls._instar_regions))]
    return [
        "def __eq__(self, other):",
        "    if not isinstance(other, _cls):",
        "        return NotImplemented",
        f"    return {' and '.join(tests) or 'True'}",
    ]


def _indent(lines: list[str], by: int) -> list[str]:
    return [" " * by + line for line in lines]


def _struct_io_lines(cls: LayoutMeta, flat: _codegen.Flat) -> list[str]:
    save, values = _codegen.save_lines(flat), _codegen.save_values(flat)
    flex = cls._instar_flex
    flat.names["_S"] = cls.SIZE
    guard = ["except _UE:", "    raise _short(_cls, buf, offset) from None"]
    whole = ["except _UE:", "    raise _short(_cls, buf, 0) from None"]
    if flex is None:
        comma = ", " if values else ""
        return [
            "def pack(self):",
            "    try:",
            *_indent(save, 8),
            f"        return _pack({values})",
            "    except _E as e:",
            "        raise _explain(self, e) from None",
            "def pack_into(self, buf, offset=0):",
            "    if offset < 0:",
            "        raise _short(_cls, buf, offset, 'pack into')",
            "    try:",
            *_indent(save, 8),
            f"        _pack_into(buf, offset{comma}{values})",
            "    except _E as e:",
            "        raise _explain(self, e, buf, offset) from None",
            "    return _S",
            "def unpack(buf):",
            "    self = _new(_cls)",
            *_indent(_codegen.load_lines(flat, "_unpack(buf)", whole), 4),
            "    return self",
            "def unpack_from(buf, offset=0):",
            "    if offset < 0:",
            "        raise _short(_cls, buf, offset)",
            "    self = _new(_cls)",
            *_indent(_codegen.load_lines(flat, "_unpack_from(buf, offset)", guard), 4),
            "    return self",
        ]
    path = ".".join(flex.path)
    flat.names |= _view.flex_names(cls, flex)
    return [
        "def pack(self):",
        "    try:",
        *_indent(save, 8),
        f"        return _join(_pack({values}), self.{path})",
        "    except _E as e:",
        "        raise _explain(self, e) from None",
        "def pack_into(self, buf, offset=0):",
        "    if offset < 0:",
        "        raise _short(_cls, buf, offset, 'pack into')",
        "    return _put(buf, offset, self.pack())",
        "def unpack(buf):",
        "    return unpack_from(buf)",
        "def unpack_from(buf, offset=0, count=None):",
        "    if offset < 0:",
        "        raise _short(_cls, buf, offset)",
        "    self = _new(_cls)",
        *_indent(_codegen.load_lines(flat, "_unpack_from(buf, offset)", guard), 4),
        f"    self.{path} = _tail(buf, offset, count)",
        "    return self",
    ]


def _finish_union(cls: LayoutMeta) -> None:
    cls.FORMAT = f"<{cls.SIZE}s"
    cls.CODEC = struct.Struct(cls.FORMAT)
    names: dict[str, Any] = _COMMON | {"_cls": cls, "_memoryview": memoryview}
    lines = _init_lines(cls, names)
    n = cls.SIZE
    lines += [
        "def __eq__(self, other):",
        "    if not isinstance(other, _cls):",
        "        return NotImplemented",
        "    return self.pack() == other.pack()",
        "def pack(self):",
        "    o = self._instar_o",
        f"    return bytes(self._instar_b[o:o + {n}])",
        "def pack_into(self, buf, offset=0):",
        "    m = _memoryview(buf).cast('B')",
        f"    if offset < 0 or offset + {n} > _len(m):",
        "        raise _short(_cls, buf, offset, 'pack into')",
        f"    m[offset:offset + {n}] = self.pack()",
        f"    return {n}",
        "def unpack(buf):",
        f"    if _memoryview(buf).nbytes != {n}:",
        "        raise _short(_cls, buf, 0)",
        "    return unpack_from(buf, 0)",
        "def unpack_from(buf, offset=0):",
        "    m = _memoryview(buf).cast('B')",
        f"    if offset < 0 or offset + {n} > _len(m):",
        "        raise _short(_cls, buf, offset)",
        "    self = _new(_cls)",
        f"    self._instar_b = _bytearray(m[offset:offset + {n}])",
        "    self._instar_o = 0",
        "    return self",
    ]
    cls.SOURCE = "\n".join(lines) + "\n"
    _adopt(cls, _codegen.compile_source(cls.__qualname__, cls.__module__, cls.SOURCE, names))
    _view.attach(cls)


class _Layout:
    """What structures and unions have in common. The functions here are replaced in each layout."""

    __slots__ = ()
    __hash__: ClassVar[None]  # type: ignore[assignment] # values change, so they are no keys

    SIZE: ClassVar[int] = 0
    """Bytes, with padding, without a flexible array."""
    ALIGN: ClassVar[int] = 1
    """Bytes of alignment."""
    FIELDS: ClassVar[Mapping[str, Field]] = MappingProxyType({})
    """Each field by name, those of anonymous groups included, in the order of declaration."""
    FORMAT: ClassVar[str] = ""
    """The whole as a `struct` format with explicit pad bytes."""
    CODEC: ClassVar[struct.Struct] = struct.Struct("")
    """`FORMAT`, compiled: for hot paths that have flat values and need no object."""
    SOURCE: ClassVar[str] = ""
    """The generated source text."""
    CTYPE: ClassVar[str | None] = None
    """The tag in C, such as "struct fuse_attr"."""

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    def pack(self) -> bytes:
        """The C bytes, padding zeroed, a flexible array at the end.

        Raises:
            LayoutError: a value does not fit; the message names the field.
        """
        raise NotImplementedError

    def pack_into(self, buf: WriteableBuffer, offset: int = 0) -> int:
        """Write the C bytes into a buffer; return how many.

        Raises:
            LayoutError: a value does not fit, or the buffer is too short.
        """
        raise NotImplementedError

    @classmethod
    def unpack(cls, buf: ReadableBuffer) -> Self:
        """Read exactly `SIZE` bytes; all bytes where the layout ends in a flexible array.

        Raises:
            LayoutError: another number of bytes, or a number that is no member of its enum.
        """
        raise NotImplementedError

    @classmethod
    def unpack_from(cls, buf: ReadableBuffer, offset: int = 0, count: int | None = None) -> Self:
        """Read from a buffer that may be longer.

        `count` is the number of elements of a flexible array, by default all that the buffer holds; other
        layouts do not take it.

        Raises:
            LayoutError: the buffer is too short, or a number is no member of its enum.
        """
        raise NotImplementedError

    @classmethod
    def view(cls, buf: ReadableBuffer, offset: int = 0, count: int | None = None) -> Self:
        """The layout over a buffer, without a copy: reading and setting attributes reads and writes it.

        Nested layouts are views too and arrays are sequences over the buffer; `bytes` are copies (`memory`
        gives a field's bytes without a copy). The buffer cannot be resized while the view lives.

        Raises:
            LayoutError: the buffer is too short. Setting an attribute raises it where the value does not fit.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        shown = []
        for name in self.FIELDS:
            value = getattr(self, name, "<unset>")
            shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Struct(_Layout, metaclass=LayoutMeta):
    """Base of every C structure; see the module `instar.layout` for the language of class bodies.

    Class keywords: `ctype` (the tag in C), `packed`, `align` and `size` (bytes), `byteorder` ("native",
    "little", "big").
    """

    __slots__ = ()


class Union(_Layout, metaclass=LayoutMeta):
    """Base of every C union: each field reads and writes the same bytes."""

    __slots__ = ()


_RESERVED: Final = frozenset(dir(Struct)) | {"view", "SIZE"} | set(keyword.kwlist)
_UNUSED = (Kind, type_name)

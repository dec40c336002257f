# SPDX-License-Identifier: Apache-2.0
"""The text of a layout's functions around the slots of `_codegen`, and the errors that they raise.

The fast path of each function has no check that `struct` makes itself; when `struct` refuses, `_explain`
looks for the field to blame.

All that can be wrong is found when the class is defined. The text is written and compiled when one of its
functions is first looked up: a protocol has a hundred structures, and a program that starts uses few of them.
Until then a `_Late` stands in the place of each.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from instar.layout import _codegen, _values, _view
from instar.layout._declare import MISSING
from instar.layout._place import Field
from instar.layout._types import Array, Bits, LayoutError, Scalar, Trailing

if TYPE_CHECKING:
    from instar.layout._struct import LayoutMeta

__all__ = ["finish_struct", "finish_union"]


class _Late:
    """Stands for a generated attribute of `cls`; the first look-up of any makes them all.

    Looking up `cls.pack` gives the function itself, so that who keeps it pays nothing on a call. Two threads
    that come at the same time make two equal sets.
    """

    __slots__ = ("cls", "key", "make")

    def __init__(self, cls: LayoutMeta, key: str, make: Callable[[], None]) -> None:
        self.cls, self.key, self.make = cls, key, make

    def __get__(self, obj: object, owner: type | None = None) -> Any:
        if self.cls.__dict__[self.key] is self:
            self.make()
        found = self.cls.__dict__[self.key]
        return found.__get__(obj, owner) if hasattr(found, "__get__") else found


_STATIC: Final = frozenset({"unpack", "unpack_from"})


def _later(cls: LayoutMeta, lines: Callable[[], list[str]], names: dict[str, Any]) -> None:
    """Put the functions that the text `lines()` defines on the class, when one is looked up.

    They get the docstrings of the base. A function that the class body has under such a name stays.
    """
    keys = [k for k in ("__init__", "__eq__", "pack", "pack_into", *_STATIC) if k not in cls.__dict__]

    def make() -> None:
        source = "\n".join(lines()) + "\n"
        made = _codegen.compile_source(cls.__qualname__, cls.__module__, source, names)
        for key in keys:
            func = made[key]
            func.__doc__ = getattr(getattr(super(cls, cls), key, None), "__doc__", None)
            func.__qualname__ = f"{cls.__qualname__}.{key}"
            func.__module__ = cls.__module__
            setattr(cls, key, staticmethod(func) if key in _STATIC else func)
        cls.SOURCE = source

    for key in (*keys, "SOURCE"):
        setattr(cls, key, _Late(cls, key, make))


def _init_lines(cls: LayoutMeta, names: dict[str, Any]) -> list[str]:
    """The text of `__init__`: keywords only, zero for what is not given.

    Its own names start with two underscores, which no field's name does.
    """
    params: list[str] = []
    body: list[str] = []
    late: list[str] = []
    for i, f in enumerate(cls.FIELDS.values()):
        if f.region >= 0 or cls.__layout_union__:
            params.append(f"{f.name}=__M")
            late.append(f.name)
            continue
        default = f.default if f.default is not MISSING else None
        simple = isinstance(f.type, (Scalar, Bits)) or (
            isinstance(f.type, (Array, Trailing)) and _values.is_bytes(f.type.elem)
        )
        if f.default is MISSING and not isinstance(f.type, type):
            default = _values.zero(f.type)
        if simple and isinstance(default, (int, float, bytes)):
            names[f"__d{i}"] = default
            params.append(f"{f.name}=__d{i}")
            body.append(f"__self.{f.name} = {f.name}")
        else:
            names[f"__d{i}"] = _maker(f)
            params.append(f"{f.name}=__M")
            body.append(f"__self.{f.name} = __d{i}() if {f.name} is __M else {f.name}")
    body += [f"__self.__layout_u{i}__ = __bytearray({r.size})" for i, r in enumerate(cls.__layout_regions__)]
    if cls.__layout_union__:
        body += [f"__self.__layout_b__ = __bytearray({cls.SIZE})", "__self.__layout_o__ = 0"]
    if late:
        pairs = ", ".join(f"({n!r}, {n})" for n in late)
        body.append(f"__assign(__self, ({pairs},))")
    star = ", *, " if params else ""
    return [f"def __init__(__self{star}{', '.join(params)}):", *(f"    {line}" for line in body or ["pass"])]


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
    given: dict[int, tuple[int, str]] = {}  # number of a union -> index and name of its member
    for name, value in pairs:
        if value is MISSING:
            continue
        for number, index in fields[name].rivals:
            other = given.setdefault(number, (index, name))
            if other[0] != index:
                raise LayoutError(
                    f"{type(self).__name__}.{name}: shares its bytes with {other[1]}; give one of them"
                )
        setattr(self, name, value)
    for name, value in pairs:
        field = fields[name]
        if value is not MISSING or field.default is MISSING:
            continue
        # A default holds unless another member of the union was given, or has one.
        if all(given.setdefault(n, (i, name))[0] == i for n, i in field.rivals):
            setattr(self, name, copy.deepcopy(field.default))


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
    if not 0 <= offset <= have:
        return LayoutError(f"{cls.__name__}: cannot {verb} a buffer of {have} bytes at offset {offset}")
    more = f" at offset {offset}" if offset else ""
    return LayoutError(f"{cls.__name__}: cannot {verb} {have - offset} bytes{more}; it takes {cls.SIZE}")


def _misfit() -> None:
    raise OverflowError


_COMMON: Final = {
    "__M": MISSING,
    "_E": _ERRORS,
    "__assign": _assign,
    "__bytearray": bytearray,
    "_bytearray": bytearray,
    "_explain": _explain,
    "_from_bytes": int.from_bytes,
    "_len": len,
    "_list": list,
    "_misfit": _misfit,
    "_short": _short,
    "_UE": (struct.error, OverflowError, IndexError),
}


def finish_struct(cls: LayoutMeta) -> None:
    flat = _codegen.flatten(cls)
    fmt = flat.format(cls.SIZE)
    cls.FORMAT, cls.CODEC = fmt, struct.Struct(fmt)
    names = flat.names
    names |= _COMMON
    names |= {
        "_cls": cls,
        "_make": _values.blank(cls),
        "_pack": cls.CODEC.pack,
        "_pack_into": cls.CODEC.pack_into,
        "_unpack": cls.CODEC.unpack,
        "_unpack_from": cls.CODEC.unpack_from,
    }
    _later(cls, lambda: _init_lines(cls, names) + _eq_lines(cls) + _struct_io_lines(cls, flat), names)
    _view.attach(cls)


def _eq_lines(cls: LayoutMeta) -> list[str]:
    tests = [f"self.{f.name} == other.{f.name}" for f in cls.__layout_plain__]
    tests += [f"self.__layout_u{i}__ == other.__layout_u{i}__" for i in range(len(cls.__layout_regions__))]
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
    flex = cls.__layout_flex__
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
            "    self = _make()",
            *_indent(_codegen.load_lines(flat, "_unpack(buf)", whole), 4),
            "    return self",
            "def unpack_from(buf, offset=0):",
            "    if offset < 0:",
            "        raise _short(_cls, buf, offset)",
            "    self = _make()",
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
        "    self = _make()",
        *_indent(_codegen.load_lines(flat, "_unpack_from(buf, offset)", guard), 4),
        f"    self.{path} = _tail(buf, offset, count)",
        "    return self",
    ]


def finish_union(cls: LayoutMeta) -> None:
    cls.FORMAT = f"<{cls.SIZE}s"
    cls.CODEC = struct.Struct(cls.FORMAT)
    names: dict[str, Any] = _COMMON | {
        "_cls": cls,
        "_make": _values.blank(cls),
        "_memoryview": memoryview,
    }
    _later(cls, lambda: _init_lines(cls, names) + _union_io_lines(cls), names)
    _view.attach(cls)


def _union_io_lines(cls: LayoutMeta) -> list[str]:
    n = cls.SIZE
    return [
        "def __eq__(self, other):",
        "    if not isinstance(other, _cls):",
        "        return NotImplemented",
        "    return self.pack() == other.pack()",
        "def pack(self):",
        "    o = self.__layout_o__",
        f"    return bytes(self.__layout_b__[o:o + {n}])",
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
        "    self = _make()",
        f"    self.__layout_b__ = _bytearray(m[offset:offset + {n}])",
        "    self.__layout_o__ = 0",
        "    return self",
    ]

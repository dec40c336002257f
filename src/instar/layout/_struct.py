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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from instar.layout._body import Body, late_annotations
from instar.layout._declare import Recorder, Spec
from instar.layout._generate import finish_struct, finish_union
from instar.layout._place import (
    Entries,
    Field,
    Flex,
    Placer,
    Region,
    check_align,
    check_flexible,
    make_field,
    make_flex,
    wrong,
)
from instar.layout._view import ArrayView

if TYPE_CHECKING:
    from typing import Self

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["LayoutMeta", "Struct", "Union", "build"]


class LayoutMeta(type):
    """The class of layouts. Its attributes are constants of each layout."""

    SIZE: int
    ALIGN: int
    FIELDS: Mapping[str, Field]
    FORMAT: str
    CODEC: struct.Struct
    SOURCE: str
    CTYPE: str | None
    __layout_order__: Literal["little", "big"]
    __layout_union__: bool
    __layout_plain__: tuple[Field, ...]
    __layout_regions__: tuple[Region, ...]
    __layout_flex__: Flex | None
    __layout_at__: Callable[[Any, int, int], Any]
    __layout_view__: Callable[..., Any]
    unpack_from: Callable[..., Any]
    view: Callable[..., Any]

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> dict[str, object]:
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
                raise wrong(
                    name, "", f"{base.__name__} is a complete layout; make it a field instead of a base"
                )
        if "__slots__" in namespace:
            raise wrong(name, "", "a layout has its fields as slots; leave __slots__ out")
        if not isinstance(recorder, Recorder):
            recorder = Recorder(name)
        late = late_annotations(name, namespace)
        if late and recorder.root.entries:
            raise wrong(name, "", "`with union():` needs `from __future__ import annotations` in its module")
        for field, annotation in late.items():
            recorder[field] = annotation
        # Annotations may name what is local to the function that the class stands in.
        frame = sys._getframe(1)  # noqa: SLF001 # no public name
        body = Body(name, _RESERVED, namespace, frame.f_globals, frame.f_locals)
        entries = body.read(recorder.root.entries)
        for key, value in namespace.items():
            if isinstance(value, Spec):
                raise wrong(name, key, "has no annotation, so it would not be a field")
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


def build(
    name: str,
    entries: Entries,
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
    check_align(name, "", align)
    if byteorder not in {"native", "little", "big"}:
        raise wrong(name, "", f'byteorder must be "native", "little" or "big", not {byteorder!r}')
    order: Literal["little", "big"] = (
        "big" if (sys.byteorder if byteorder == "native" else byteorder) == "big" else "little"
    )
    check_flexible(name, entries, union=union)
    placed = Placer().group(entries, union=union, packed=packed, align=align)
    total = placed.size
    if size is not None:
        if type(size) is not int or size < total:
            raise wrong(name, "", f"size={size!r} is less than the {total} bytes of its fields")
        total = size
    fields = tuple(make_field(leaf, (cnames or {}).get(leaf.name, "")) for leaf in placed.leaves)
    return _make(
        name, fields, placed.regions, total, placed.align, order, union, bases, namespace or {}, ctype, module
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
        slots: tuple[str, ...] = ("__layout_b__", "__layout_o__")
    else:
        slots = tuple(f.name for f in plain) + tuple(f"__layout_u{i}__" for i in range(len(regions)))
    namespace |= {
        "__slots__": slots,
        "__hash__": None,  # values change, so they are no keys
        "SIZE": size,
        "ALIGN": align,
        "FIELDS": MappingProxyType({f.name: f for f in fields}),
        "CTYPE": ctype,
        "__layout_order__": order,
        "__layout_union__": union,
        "__layout_plain__": () if union else plain,
        "__layout_regions__": tuple(regions),
        "__layout_flex__": None if union else make_flex(fields),
    }
    if module:
        namespace["__module__"] = module
    bases = bases or ((Union,) if union else (Struct,))
    cls = type.__new__(LayoutMeta, name, bases, namespace)
    type.__init__(cls, name, bases, namespace)
    (finish_union if union else finish_struct)(cls)
    return cls


class _Layout:
    """What structures and unions have in common. The functions here are replaced in each layout."""

    __slots__ = ()
    __hash__: ClassVar[None]  # type: ignore[assignment] # see _make

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

    def __copy__(self) -> Self:
        made: Self = _rebuild(*_state(self))
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        cls, values, shared = _state(self)
        made: Self = _rebuild(cls, copy.deepcopy(values, memo), shared)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, _state(self)

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


def _state(obj: Any) -> tuple[LayoutMeta, list[Any], list[bytes]]:
    """What makes an instance again: its class, the values of plain fields, the bytes of unions.

    A view becomes a value.
    """
    cls: Any = next(c for c in type(obj).__mro__ if "FIELDS" in c.__dict__)
    if cls.__layout_union__:
        return cls, [], [obj.pack()]
    values = [getattr(obj, f.name) for f in cls.__layout_plain__]
    values = [v.tolist() if isinstance(v, ArrayView) else v for v in values]
    shared = [bytes(getattr(obj, f"__layout_u{i}__")) for i in range(len(cls.__layout_regions__))]
    return cls, values, shared


def _rebuild(cls: Any, values: list[Any], shared: list[bytes]) -> Any:
    """The instance that `_state` describes."""
    if cls.__layout_union__:
        return cls.unpack(shared[0])
    made = object.__new__(cls)
    for field, value in zip(cls.__layout_plain__, values, strict=True):
        setattr(made, field.name, value)
    for i, content in enumerate(shared):
        setattr(made, f"__layout_u{i}__", bytearray(content))
    return made


_RESERVED: Final = frozenset(dir(Struct)) | set(keyword.kwlist)

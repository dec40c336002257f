# SPDX-License-Identifier: Apache-2.0
"""A reader for BTF, the type information that a kernel carries about itself.

`Btf.kernel()` reads `/sys/kernel/btf/vmlinux`. Opening walks the type section once, to learn where each of
its ~100,000 types starts (some 50 ms); a type is decoded when it is asked for. The format is that of
`Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`. A module's BTF is *split*: its type ids and string
offsets go on where those of its base, vmlinux, end.

Whatever the bytes, the only exception is `BtfError`.
"""

from __future__ import annotations

import struct
import sys
from array import array as _words
from collections.abc import Iterator
from typing import Final

from instar.layout._btf_types import (
    Array,
    BtfError,
    DataSection,
    DeclTag,
    Enum,
    Float,
    Forward,
    Function,
    Int,
    IntEncoding,
    Kind,
    Member,
    Modifier,
    Parameter,
    Pointer,
    Prototype,
    Record,
    Type,
    Typedef,
    TypeTag,
    Variable,
    VariableSlot,
    Void,
)

__all__ = [
    "VMLINUX",
    "Array",
    "Btf",
    "BtfError",
    "DataSection",
    "DeclTag",
    "Enum",
    "Float",
    "Forward",
    "Function",
    "Int",
    "IntEncoding",
    "Kind",
    "Member",
    "Modifier",
    "Parameter",
    "Pointer",
    "Prototype",
    "Record",
    "Type",
    "TypeTag",
    "Typedef",
    "Variable",
    "VariableSlot",
    "Void",
]

VMLINUX: Final = "/sys/kernel/btf/vmlinux"

_MAGIC: Final = 0xEB9F
_VERSION: Final = 1
_HEADER: Final = "HBBIIIII"  # magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
_HEADER_SIZE: Final = 24
_MAX_STEPS: Final = 64  # modifiers, typedefs and arrays on the way to a type; the kernel allows 32


# 32-bit words after the three common ones: a constant part, and a part for each of `vlen`.
_FIXED: Final = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH: Final = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}
_FIXED_WORDS: Final = tuple(3 + _FIXED.get(k, 0) for k in Kind)
_EACH_WORDS: Final = tuple(_EACH.get(k, 0) for k in Kind)


_TRANSPARENT: Final = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
_TAGS: Final = {
    "struct": (Kind.STRUCT,),
    "union": (Kind.UNION,),
    "enum": (Kind.ENUM, Kind.ENUM64),
}


# ------------------------------------------------------------------------------------------ the reader


class Btf:
    """All types of one BTF blob.

    Args:
        data: the bytes: header, types, strings.
        base: for split BTF the BTF that its ids go on from.

    Raises:
        BtfError: a wrong header, an unknown kind, or a section that is cut off.
    """

    def __init__(self, data: bytes | bytearray | memoryview, base: Btf | None = None) -> None:
        self.base = base
        data = bytes(data)
        self.byteorder = _byteorder(data)
        types, self._strings = _sections(data, self.byteorder)
        self._words = _words("I", types)
        if self.byteorder != sys.byteorder:
            self._words.byteswap()
        self._first_id = len(base) if base is not None else 1
        self._first_string = base.string_end if base is not None else 0
        self._starts = self._walk()
        self._by_name: dict[int, list[int]] | None = None
        self._decoded: dict[int, Type] = {}

    @classmethod
    def from_file(cls, path: str, base: Btf | None = None) -> Btf:
        """Read a file of raw BTF.

        Raises:
            OSError: it cannot be read.
            BtfError: it is no BTF.
        """
        with open(path, "rb") as file:
            return cls(file.read(), base)

    @classmethod
    def kernel(cls) -> Btf:
        """The running kernel's own.

        Raises:
            OSError: ENOENT where the kernel was built without CONFIG_DEBUG_INFO_BTF.
        """
        return cls.from_file(VMLINUX)

    @property
    def string_end(self) -> int:
        """The first string offset that a split BTF on top of this one may use."""
        return self._first_string + len(self._strings)

    def __len__(self) -> int:
        """Number of types with those of the base and `void`; ids are below it."""
        return self._first_id + len(self._starts)

    def __iter__(self) -> Iterator[Type]:
        """Each type of this BTF, without those of the base."""
        return (self[i] for i in range(self._first_id, len(self)))

    def __getitem__(self, type_id: int) -> Type:
        """The type with this id.

        Raises:
            BtfError: no such id, or its bytes are wrong.
        """
        if type_id == 0:
            return _VOID
        if self.base is not None and type_id < self._first_id:
            return self.base[type_id]
        found = self._decoded.get(type_id)
        if found is None:
            if not 0 < type_id < len(self):
                raise BtfError(f"type id {type_id} is not below {len(self)}")
            found = self._decoded[type_id] = self._decode(type_id)
        return found

    # ------------------------------------------------------------------------------------- lookups

    def find(self, name: str) -> Type:
        """The type with a C name: "struct fuse_attr", "union x", "enum y"; without a tag a typedef, int or
        float ("u32"). Where several have the name, the first.

        Raises:
            BtfError: there is none.
        """
        tag, _, rest = name.rpartition(" ")
        if tag in _TAGS:
            kinds: tuple[Kind, ...] = _TAGS[tag]
        else:
            kinds, rest = (Kind.TYPEDEF, Kind.INT, Kind.FLOAT), name
        for found in self.find_all(rest, *kinds):
            return found
        raise BtfError(f"no {name} in this BTF")

    def find_all(self, name: str, *kinds: Kind) -> list[Type]:
        """Every type with this name and one of these kinds (by default all), those of the base first."""
        found = self.base.find_all(name, *kinds) if self.base is not None else []
        index = self._name_index()
        for offset in self._string_offsets(name):
            for type_id in index.get(offset, ()):
                if not kinds or self._kind(type_id) in kinds:
                    found.append(self[type_id])
        return found

    def resolve(self, type_id: int) -> Type:
        """The type without typedefs, const, volatile, restrict and tags.

        Raises:
            BtfError: they form a circle.
        """
        for _ in range(_MAX_STEPS):
            found = self[type_id]
            if not isinstance(found, (Typedef, Modifier, TypeTag)):
                return found
            type_id = found.target
        raise BtfError(f"type {type_id}: a chain of more than {_MAX_STEPS} typedefs and modifiers")

    def sizeof(self, type_id: int, _depth: int = 0) -> int:
        """Bytes of a type; 0 for a flexible array.

        Raises:
            BtfError: the type has no size (void, a function, a forward declaration).
        """
        found = self.resolve(type_id)
        if isinstance(found, (Int, Float, Record, Enum, DataSection)):
            return found.size
        if isinstance(found, Pointer):
            return 8
        if isinstance(found, Array):
            if _depth > _MAX_STEPS:
                raise BtfError(f"type {type_id}: arrays nested more than {_MAX_STEPS} deep")
            return found.count * self.sizeof(found.elem, _depth + 1)
        if isinstance(found, Variable):
            if _depth > _MAX_STEPS:
                raise BtfError(f"type {type_id}: a circle of variables")
            return self.sizeof(found.type, _depth + 1)
        raise BtfError(f"type {type_id} ({type(found).__name__.lower()}) has no size")

    def string(self, offset: int) -> str:
        """The string at an offset. Bytes that are no UTF-8 are kept as surrogates.

        Raises:
            BtfError: the offset is outside.
        """
        if self.base is not None and offset < self._first_string:
            return self.base.string(offset)
        start = offset - self._first_string
        if not 0 <= start < len(self._strings):
            raise BtfError(f"string offset {offset} is not below {self.string_end}")
        return self._strings[start : self._strings.index(0, start)].decode(errors="surrogateescape")

    # ------------------------------------------------------------------------------------ internals

    def _walk(self) -> list[int]:
        """Where each type starts, in words."""
        words, end, fixed, each = self._words, len(self._words), _FIXED_WORDS, _EACH_WORDS
        starts: list[int] = []
        add = starts.append
        at = 0
        try:
            while at < end:
                info = words[at + 1]
                kind = info >> 24 & 31
                add(at)
                at += fixed[kind] + each[kind] * (info & 0xFFFF)
        except IndexError:
            # No second word, or a kind above the last.
            raise BtfError(f"type {self._first_id + len(starts)}: unknown kind or cut off") from None
        if at != end:
            raise BtfError(f"type {self._first_id + len(starts) - 1} is cut off")
        for start in starts:
            if not words[start + 1] >> 24 & 31:
                raise BtfError("a type of kind 0")
        return starts

    def _kind(self, type_id: int) -> Kind:
        return Kind(self._words[self._starts[type_id - self._first_id] + 1] >> 24 & 31)

    def _name_index(self) -> dict[int, list[int]]:
        if self._by_name is None:
            index: dict[int, list[int]] = {}
            words = self._words
            for type_id, start in enumerate(self._starts, self._first_id):
                offset = words[start]
                if offset:
                    index.setdefault(offset, []).append(type_id)
            self._by_name = index
        return self._by_name

    def _string_offsets(self, name: str) -> Iterator[int]:
        """Every offset whose string is `name`; a split BTF's types may use strings of the base."""
        if not name or "\0" in name:
            return
        if self.base is not None:
            yield from self.base._string_offsets(name)  # noqa: SLF001 # of the same class
        needle = name.encode(errors="surrogateescape") + b"\0"
        at = self._strings.find(needle)
        while at >= 0:
            yield at + self._first_string
            at = self._strings.find(needle, at + 1)

    def _decode(self, type_id: int) -> Type:
        words = self._words
        at = self._starts[type_id - self._first_id]
        name_off, info, extra = words[at], words[at + 1], words[at + 2]
        kind, vlen, flag = Kind(info >> 24 & 31), info & 0xFFFF, bool(info >> 31)
        name = self.string(name_off) if name_off else ""
        at += 3
        match kind:
            case Kind.INT:
                bits = words[at]
                return Int(type_id, name, extra, IntEncoding(bits >> 24 & 7), bits >> 16 & 0xFF, bits & 0xFF)
            case Kind.FLOAT:
                return Float(type_id, name, extra)
            case Kind.PTR:
                return Pointer(type_id, extra)
            case Kind.ARRAY:
                return Array(type_id, words[at], words[at + 1], words[at + 2])
            case Kind.STRUCT | Kind.UNION:
                return Record(type_id, name, kind, extra, self._members(at, vlen, flag))
            case Kind.ENUM:
                return Enum(type_id, name, extra, flag, self._enumerators(at, vlen, flag))
            case Kind.ENUM64:
                return Enum(type_id, name, extra, flag, self._enumerators64(at, vlen, flag))
            case Kind.FWD:
                return Forward(type_id, name, Kind.UNION if flag else Kind.STRUCT)
            case Kind.TYPEDEF:
                return Typedef(type_id, name, extra)
            case Kind.TYPE_TAG:
                return TypeTag(type_id, name, extra, flag)
            case Kind.DECL_TAG:
                return DeclTag(type_id, name, extra, _signed(words[at], 32), flag)
            case Kind.FUNC:
                return Function(type_id, name, extra, vlen)
            case Kind.FUNC_PROTO:
                pairs = range(at, at + 2 * vlen, 2)
                return Prototype(
                    type_id, extra, tuple(Parameter(self._name(words[i]), words[i + 1]) for i in pairs)
                )
            case Kind.VAR:
                return Variable(type_id, name, extra, words[at])
            case Kind.DATASEC:
                triples = range(at, at + 3 * vlen, 3)
                slots = tuple(VariableSlot(words[i], words[i + 1], words[i + 2]) for i in triples)
                return DataSection(type_id, name, extra, slots)
            case _:
                return Modifier(type_id, kind, extra)

    def _int(self, type_id: int) -> Int | None:
        """The integer behind typedefs and modifiers, without decoding anything else on the way."""
        for _ in range(_MAX_STEPS):
            kind, target = self._peek(type_id)
            if kind is Kind.INT:
                found = self[type_id]
                return found if isinstance(found, Int) else None
            if kind not in _TRANSPARENT:
                return None
            type_id = target
        return None

    def _peek(self, type_id: int) -> tuple[Kind, int]:
        """A type's kind and its third word: what it refers to, or its size."""
        if self.base is not None and type_id < self._first_id:
            return self.base._peek(type_id)  # noqa: SLF001 # of the same class
        if not self._first_id <= type_id < len(self):
            return Kind.VOID, 0
        return self._kind(type_id), self._words[self._starts[type_id - self._first_id] + 2]

    def _name(self, offset: int) -> str:
        return self.string(offset) if offset else ""

    def _members(self, at: int, vlen: int, flag: bool) -> tuple[Member, ...]:
        words = self._words
        out = []
        for i in range(at, at + 3 * vlen, 3):
            where, type_id = words[i + 2], words[i + 1]
            offset, width = (where & 0xFFFFFF, where >> 24) if flag else (where, 0)
            if not flag:
                # Old BTF: a bit-field's width and offset are those of an INT made for it.
                found = self._int(type_id)
                if found is not None and (found.bits != found.size * 8 or found.bit_offset):
                    offset, width = offset + found.bit_offset, found.bits
            out.append(Member(self._name(words[i]), type_id, offset, width))
        return tuple(out)

    def _enumerators(self, at: int, vlen: int, signed: bool) -> tuple[tuple[str, int], ...]:
        words = self._words
        # Kernels before 6.0 (commit 6089fb325cf7, "bpf: Add btf enum64 support") left the flag 0 for all.
        return tuple(
            (self._name(words[i]), _signed(words[i + 1], 32) if signed else words[i + 1])
            for i in range(at, at + 2 * vlen, 2)
        )

    def _enumerators64(self, at: int, vlen: int, signed: bool) -> tuple[tuple[str, int], ...]:
        words = self._words
        out = []
        for i in range(at, at + 3 * vlen, 3):
            value = words[i + 1] | words[i + 2] << 32
            out.append((self._name(words[i]), _signed(value, 64) if signed else value))
        return tuple(out)


_VOID: Final = Void()


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def _byteorder(data: bytes) -> str:
    for order in ("little", "big"):
        if int.from_bytes(data[:2], "little" if order == "little" else "big") == _MAGIC:
            return order
    raise BtfError(f"no BTF: it starts with {data[:4].hex() or 'nothing'}, not with 0x{_MAGIC:x}")


def _sections(data: bytes, byteorder: str) -> tuple[bytes, bytes]:
    """The type section and the string section."""
    try:
        _, version, _, header, type_off, type_len, str_off, str_len = struct.unpack_from(
            ("<" if byteorder == "little" else ">") + _HEADER, data
        )
    except struct.error:
        raise BtfError(f"no BTF: {len(data)} bytes are less than a header") from None
    if version != _VERSION:
        raise BtfError(f"BTF version {version} is unknown")
    if header < _HEADER_SIZE or header > len(data):
        raise BtfError(f"a header of {header} bytes in {len(data)} bytes")
    types = data[header + type_off : header + type_off + type_len]
    strings = data[header + str_off : header + str_off + str_len]
    if len(types) != type_len or len(strings) != str_len:
        raise BtfError("a section ends after the data")
    if type_len % 4:
        raise BtfError(f"a type section of {type_len} bytes is no multiple of 4")
    if strings and strings[-1]:
        raise BtfError("the string section does not end in a NUL")
    return types, strings

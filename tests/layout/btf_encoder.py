# SPDX-License-Identifier: Apache-2.0
"""Writes BTF for tests, from the format's description: `Documentation/bpf/btf.rst`."""

from __future__ import annotations

import struct

from instar.layout.btf import Kind


class Encoder:
    """Collects types and strings; `data()` is the blob. For split BTF give where ids and strings go on."""

    def __init__(self, order: str = "<", first_id: int = 1, first_string: int = 0) -> None:
        self.order = order
        self.next_id = first_id
        self.first_string = first_string
        self.types = b""
        self.strings = b"" if first_string else b"\0"

    def words(self, *values: int) -> bytes:
        return struct.pack(f"{self.order}{len(values)}I", *(v & 0xFFFFFFFF for v in values))

    def string(self, text: str) -> int:
        if not text:
            return 0
        at = self.first_string + len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(
        self,
        kind: int,
        name: str = "",
        vlen: int = 0,
        third: int = 0,
        *,
        flag: bool = False,
        rest: bytes = b"",
    ) -> int:
        info = kind << 24 | vlen | flag << 31
        self.types += self.words(self.string(name), info, third) + rest
        self.next_id += 1
        return self.next_id - 1

    def int(self, name: str, size: int, encoding: int = 0, offset: int = 0, bits: int | None = None) -> int:
        bits = size * 8 if bits is None else bits
        return self.add(Kind.INT, name, 0, size, rest=self.words(encoding << 24 | offset << 16 | bits))

    def array(self, elem: int, count: int, index: int = 1) -> int:
        return self.add(Kind.ARRAY, rest=self.words(elem, index, count))

    def record(self, name: str, size: int, *members: tuple, union: bool = False, flag: bool = False) -> int:
        """Members are (name, type, offset in bits) or, with `flag`, (name, type, offset, width)."""
        rest = b""
        for member, type_id, offset, *width in members:
            where = offset | (width[0] if width else 0) << 24 if flag else offset
            rest += self.words(self.string(member), type_id, where)
        return self.add(Kind.UNION if union else Kind.STRUCT, name, len(members), size, flag=flag, rest=rest)

    def data(self, **header: int) -> bytes:
        fields = {
            "magic": 0xEB9F,
            "version": 1,
            "flags": 0,
            "hdr_len": 24,
            "type_off": 0,
            "type_len": len(self.types),
            "str_off": len(self.types),
            "str_len": len(self.strings),
        } | header
        return struct.pack(self.order + "HBBIIIII", *fields.values()) + self.types + self.strings

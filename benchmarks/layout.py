# SPDX-License-Identifier: Apache-2.0
"""`instar.layout` against hand-written `struct` calls: medians of interleaved rounds, and their ratios.

    python benchmarks/layout.py [--quick]

Two peers, both a module-level `struct.Struct`, and functions and methods that pack the attributes of an
object and unpack into a new one:

- *by hand*: the object is of the same kind as ours, a class with slots whose constructor takes keywords and
  has defaults, and which has `==` and `repr` (`dataclass(slots=True)`). It is filled without a call of that
  constructor, which is the fastest way. This is the peer of the ratio: 1 or less is what `instar.layout`
  promises.
- *bare*: a class with slots and nothing else, so that nobody can make one with values in one expression.
  CPython calls such a class 25 ns sooner than it can make an instance of one that has an `__init__`.

Neither checks that an offset is not negative, nor names the field when a value does not fit. A view has no
peer of its kind; what it is compared with is a flat `struct` call. `CODEC` is used as it is.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from instar.layout import Struct, array, bits, char, u8, u16, u32, u64

RESULTS = Path(__file__).parent / "results"
ROUNDS = 41
CALLS = 4000


class Attr(Struct, ctype="struct fuse_attr"):
    """`struct fuse_attr`."""

    ino: u64
    size: u64
    blocks: u64
    atime: u64
    mtime: u64
    ctime: u64
    atimensec: u32
    mtimensec: u32
    ctimensec: u32
    mode: u32
    nlink: u32
    uid: u32
    gid: u32
    rdev: u32
    blksize: u32
    flags: u32


class EntryOut(Struct, ctype="struct fuse_entry_out"):
    """`struct fuse_entry_out`."""

    nodeid: u64
    generation: u64
    entry_valid: u64
    attr_valid: u64
    entry_valid_nsec: u32
    attr_valid_nsec: u32
    attr: Attr


class InHeader(Struct, ctype="struct fuse_in_header"):
    """`struct fuse_in_header`."""

    len: u32
    opcode: u32
    unique: u64
    nodeid: u64
    uid: u32
    gid: u32
    pid: u32
    total_extlen: u16
    padding: u16


class Mixed(Struct):
    """Bit-fields, bytes and an array."""

    flags: u8
    kind: int = bits(u16, 3)
    depth: int = bits(u16, 9)
    name: bytes = array(char, 16)
    ids: list[int] = array(u32, 8)


# By hand: what an `unpack` returns, of the same kind (Hand...) and bare (Bare...).
ATTR_NAMES = tuple(Attr.FIELDS)
ENTRY_NAMES = tuple(EntryOut.FIELDS)[:-1]
HEADER_NAMES = tuple(InHeader.FIELDS)


class BareAttr:
    """`Attr` by hand."""

    __slots__ = ATTR_NAMES


class BareEntry:
    """`EntryOut` by hand."""

    __slots__ = (*ENTRY_NAMES, "attr")


class BareHeader:
    """`InHeader` by hand."""

    __slots__ = HEADER_NAMES


class BareMixed:
    """`Mixed` by hand."""

    __slots__ = ("depth", "flags", "ids", "kind", "name")


ENTRY = struct.Struct("<4Q2I6Q10I")
HEADER = struct.Struct("<2I2Q3I2H")
MIXED = struct.Struct("<BBH16s8I")


@dataclass(slots=True, kw_only=True)
class HandAttr:
    """`Attr` by hand."""

    ino: int = 0
    size: int = 0
    blocks: int = 0
    atime: int = 0
    mtime: int = 0
    ctime: int = 0
    atimensec: int = 0
    mtimensec: int = 0
    ctimensec: int = 0
    mode: int = 0
    nlink: int = 0
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    blksize: int = 0
    flags: int = 0


@dataclass(slots=True, kw_only=True)
class HandEntry:
    """`EntryOut` by hand."""

    nodeid: int = 0
    generation: int = 0
    entry_valid: int = 0
    attr_valid: int = 0
    entry_valid_nsec: int = 0
    attr_valid_nsec: int = 0
    attr: HandAttr = field(default_factory=HandAttr)

    def pack(self) -> bytes:
        """Bytes of an entry."""
        a = self.attr
        return ENTRY.pack(
            self.nodeid,
            self.generation,
            self.entry_valid,
            self.attr_valid,
            self.entry_valid_nsec,
            self.attr_valid_nsec,
            a.ino,
            a.size,
            a.blocks,
            a.atime,
            a.mtime,
            a.ctime,
            a.atimensec,
            a.mtimensec,
            a.ctimensec,
            a.mode,
            a.nlink,
            a.uid,
            a.gid,
            a.rdev,
            a.blksize,
            a.flags,
        )


@dataclass(slots=True, kw_only=True)
class HandHeader:
    """`InHeader` by hand."""

    len: int = 0
    opcode: int = 0
    unique: int = 0
    nodeid: int = 0
    uid: int = 0
    gid: int = 0
    pid: int = 0
    total_extlen: int = 0
    padding: int = 0

    def pack_into(self, buf: bytearray, at: int = 0) -> None:
        """Write a header."""
        HEADER.pack_into(
            buf,
            at,
            self.len,
            self.opcode,
            self.unique,
            self.nodeid,
            self.uid,
            self.gid,
            self.pid,
            self.total_extlen,
            self.padding,
        )


@dataclass(slots=True, kw_only=True)
class HandMixed:
    """`Mixed` by hand."""

    flags: int = 0
    kind: int = 0
    depth: int = 0
    name: bytes = bytes(16)
    ids: list[int] = field(default_factory=lambda: [0] * 8)

    def pack(self) -> bytes:
        """Bytes of a `Mixed`."""
        return MIXED.pack(self.flags, self.kind & 7, self.depth & 0x1FF, self.name, *self.ids)


def entry_reader(make_entry: Callable[[], Any], make_attr: Callable[[], Any]) -> Callable[[bytes], Any]:
    """A function that makes an entry from bytes."""

    def unpack(buf: bytes) -> Any:
        e = make_entry()
        e.attr = a = make_attr()
        (
            e.nodeid,
            e.generation,
            e.entry_valid,
            e.attr_valid,
            e.entry_valid_nsec,
            e.attr_valid_nsec,
            a.ino,
            a.size,
            a.blocks,
            a.atime,
            a.mtime,
            a.ctime,
            a.atimensec,
            a.mtimensec,
            a.ctimensec,
            a.mode,
            a.nlink,
            a.uid,
            a.gid,
            a.rdev,
            a.blksize,
            a.flags,
        ) = ENTRY.unpack(buf)
        return e

    return unpack


def header_reader(make: Callable[[], Any]) -> Callable[[bytearray, int], Any]:
    """A function that makes a header from a part of a buffer."""

    def unpack_from(buf: bytearray, at: int = 0) -> Any:
        h = make()
        (
            h.len,
            h.opcode,
            h.unique,
            h.nodeid,
            h.uid,
            h.gid,
            h.pid,
            h.total_extlen,
            h.padding,
        ) = HEADER.unpack_from(buf, at)
        return h

    return unpack_from


def mixed_reader(make: Callable[[], Any]) -> Callable[[bytes], Any]:
    """A function that makes a `Mixed` from bytes."""

    def unpack(buf: bytes) -> Any:
        m = make()
        m.flags, kind, depth, m.name, *m.ids = MIXED.unpack(buf)
        m.kind, m.depth = kind & 7, depth & 0x1FF
        return m

    return unpack


def blank(cls: type) -> Callable[[], Any]:
    """A function that makes an instance without a call of its constructor."""
    return partial(object.__new__, cls)


Row = tuple[str, Callable[[], object], Callable[[], object], Callable[[], object] | None]


def rows() -> list[Row]:
    """(what, ours, by hand, bare) for each operation."""
    entry, hand_entry = EntryOut(), HandEntry()
    header, hand_header = InHeader(), HandHeader()
    for names, pair in (
        (ENTRY_NAMES, (entry, hand_entry)),
        (ATTR_NAMES, (entry.attr, hand_entry.attr)),
        (HEADER_NAMES, (header, hand_header)),
    ):
        for i, name in enumerate(names):
            for filled in pair:
                setattr(filled, name, i + 1)
    mixed = Mixed(flags=1, kind=5, depth=300, name=b"x" * 16, ids=list(range(8)))
    hand_mixed = HandMixed(flags=1, kind=5, depth=300, name=b"x" * 16, ids=list(range(8)))
    packed, packed_mixed, buf = entry.pack(), mixed.pack(), bytearray(4096)
    assert packed == hand_entry.pack()
    assert packed_mixed == hand_mixed.pack()
    header.pack_into(buf, 64)
    view = InHeader.view(buf, 64)
    opcode = struct.Struct("<I")
    # What a hot loop does with a function: look it up once.
    entry_unpack, header_unpack_from, header_view = EntryOut.unpack, InHeader.unpack_from, InHeader.view
    mixed_unpack, codec_unpack_from = Mixed.unpack, InHeader.CODEC.unpack_from
    header_codec = HEADER.unpack_from
    hand_entry_unpack = entry_reader(blank(HandEntry), blank(HandAttr))
    bare_entry_unpack = entry_reader(BareEntry, BareAttr)
    hand_header_unpack_from, bare_header_unpack_from = (
        header_reader(blank(HandHeader)),
        header_reader(BareHeader),
    )
    hand_mixed_unpack, bare_mixed_unpack = mixed_reader(blank(HandMixed)), mixed_reader(BareMixed)
    assert hand_entry_unpack(packed) == hand_entry
    assert hand_header_unpack_from(buf, 64) == hand_header
    assert hand_mixed_unpack(packed_mixed) == hand_mixed
    # A lambda around each, so that all pay for one.
    return [
        (
            "entry_out.pack (22 fields, nested)",
            lambda: entry.pack(),  # noqa: PLW0108 # see above
            lambda: hand_entry.pack(),  # noqa: PLW0108 # see above
            None,
        ),
        (
            "entry_out.unpack",
            lambda: entry_unpack(packed),
            lambda: hand_entry_unpack(packed),
            lambda: bare_entry_unpack(packed),
        ),
        (
            "in_header.pack_into",
            lambda: header.pack_into(buf, 64),
            lambda: hand_header.pack_into(buf, 64),
            None,
        ),
        (
            "in_header.unpack_from",
            lambda: header_unpack_from(buf, 64),
            lambda: hand_header_unpack_from(buf, 64),
            lambda: bare_header_unpack_from(buf, 64),
        ),
        (
            "bit-fields, bytes, array: pack",
            lambda: mixed.pack(),  # noqa: PLW0108 # see above
            lambda: hand_mixed.pack(),  # noqa: PLW0108 # see above
            None,
        ),
        (
            "bit-fields, bytes, array: unpack",
            lambda: mixed_unpack(packed_mixed),
            lambda: hand_mixed_unpack(packed_mixed),
            lambda: bare_mixed_unpack(packed_mixed),
        ),
        (
            "CODEC.unpack_from, flat values",
            lambda: codec_unpack_from(buf, 64),
            lambda: header_codec(buf, 64),
            None,
        ),
        ("view: read one field", lambda: view.opcode, lambda: opcode.unpack_from(buf, 68)[0], None),
        ("view: make one", lambda: header_view(buf, 64), lambda: memoryview(buf)[64:104], None),
    ]


def once(func: Callable[[], object]) -> float:
    """Nanoseconds for one call, from a run of `CALLS`."""
    calls = range(CALLS)
    start = time.perf_counter_ns()
    for _ in calls:
        func()
    return (time.perf_counter_ns() - start) / CALLS


def main() -> int:
    """Print the table, and leave it in benchmarks/results/layout.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    rounds = ROUNDS // 5 if parser.parse_args().quick else ROUNDS
    table = rows()
    times: list[list[list[float]]] = [[[], [], []] for _ in table]
    for turn in range(rounds):
        for (_, *calls), columns in zip(table, times, strict=True):
            pairs = [(call, column) for call, column in zip(calls, columns, strict=True) if call is not None]
            for call, column in (
                pairs[turn % len(pairs) :] + pairs[: turn % len(pairs)]
            ):  # none is always first
                column.append(once(call))
    lines = [
        "| operation | instar, ns | by hand, ns | ratio | bare, ns | ratio |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for (what, *_), (mine, *others) in zip(table, times, strict=True):
        cells = [f"{what:34}", f"{statistics.median(mine):5.0f}"]
        for other in others:
            if other:
                # The median of the rounds' ratios: all parts of a round see the same machine.
                ratio = statistics.median(x / y for x, y in zip(mine, other, strict=True))
                cells += [f"{statistics.median(other):5.0f}", f"{ratio:.2f}"]
            else:
                cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "layout.md").write_text(
        "# C layouts against hand-written struct\n\n" + "\n".join(lines) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

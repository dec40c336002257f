# SPDX-License-Identifier: Apache-2.0
"""`instar.layout` against hand-written `struct` calls: medians of interleaved rounds, and their ratio.

    python benchmarks/layout.py [--quick]

The rival is what one writes by hand: a class with `__slots__`, a module-level `struct.Struct`, and functions that
pack its attributes and unpack into a new object. `CODEC` is used as it is. A ratio below 1 means that the
generated code is faster.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


ATTR_NAMES = tuple(Attr.FIELDS)
ENTRY_NAMES = tuple(EntryOut.FIELDS)[:-1]
HEADER_NAMES = tuple(InHeader.FIELDS)


class HandAttr:
    """`Attr` by hand."""

    __slots__ = ATTR_NAMES


class HandEntry:
    """`EntryOut` by hand."""

    __slots__ = (*ENTRY_NAMES, "attr")


class HandHeader:
    """`InHeader` by hand."""

    __slots__ = HEADER_NAMES


class HandMixed:
    """`Mixed` by hand."""

    __slots__ = ("depth", "flags", "ids", "kind", "name")


ENTRY = struct.Struct("<4Q2I6Q10I")
HEADER = struct.Struct("<2I2Q3I2H")
MIXED = struct.Struct("<BBH16s8I")


def hand_entry_pack(e: HandEntry) -> bytes:
    """Bytes of an entry."""
    a = e.attr
    return ENTRY.pack(
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
    )


def hand_entry_unpack(buf: bytes) -> HandEntry:
    """An entry from bytes."""
    e, a = HandEntry(), HandAttr()
    e.attr = a
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


def hand_header_pack_into(h: HandHeader, buf: bytearray, at: int) -> None:
    """Write a header."""
    HEADER.pack_into(
        buf, at, h.len, h.opcode, h.unique, h.nodeid, h.uid, h.gid, h.pid, h.total_extlen, h.padding
    )


def hand_header_unpack_from(buf: bytearray, at: int) -> HandHeader:
    """Read a header."""
    h = HandHeader()
    h.len, h.opcode, h.unique, h.nodeid, h.uid, h.gid, h.pid, h.total_extlen, h.padding = HEADER.unpack_from(
        buf, at
    )
    return h


def hand_mixed_pack(m: HandMixed) -> bytes:
    """Bytes of a `Mixed`."""
    return MIXED.pack(m.flags, m.kind & 7, m.depth & 0x1FF, m.name, *m.ids)


def hand_mixed_unpack(buf: bytes) -> HandMixed:
    """A `Mixed` from bytes."""
    m = HandMixed()
    m.flags, kind, depth, m.name, *m.ids = MIXED.unpack(buf)
    m.kind, m.depth = kind & 7, depth & 0x1FF
    return m


def fill(hand: object, names: tuple[str, ...]) -> None:
    """Set each attribute to a number of its own."""
    for i, name in enumerate(names):
        setattr(hand, name, i + 1)


def pairs() -> list[tuple[str, Callable[[], object], Callable[[], object]]]:
    """(what, ours, by hand) for each operation."""
    entry = EntryOut(attr=Attr(**{n: i + 1 for i, n in enumerate(ATTR_NAMES)}))
    hand_entry = HandEntry()
    hand_entry.attr = HandAttr()
    for i, name in enumerate(ENTRY_NAMES):
        setattr(entry, name, i + 1)
    fill(hand_entry, ENTRY_NAMES)
    fill(hand_entry.attr, ATTR_NAMES)
    header, hand_header = InHeader(), HandHeader()
    for i, name in enumerate(HEADER_NAMES):
        setattr(header, name, i + 1)
    fill(hand_header, HEADER_NAMES)
    mixed = Mixed(flags=1, kind=5, depth=300, name=b"x" * 16, ids=list(range(8)))
    hand_mixed = HandMixed()
    for name in HandMixed.__slots__:
        setattr(hand_mixed, name, getattr(mixed, name))
    packed, packed_mixed, buf = entry.pack(), mixed.pack(), bytearray(4096)
    view = InHeader.view(buf, 64)
    opcode = struct.Struct("<I")
    # What a hot loop does with a method: look it up once.
    entry_unpack, header_unpack_from, header_view = EntryOut.unpack, InHeader.unpack_from, InHeader.view
    header_codec = HEADER.unpack_from
    mixed_unpack, codec_unpack_from = Mixed.unpack, InHeader.CODEC.unpack_from
    assert packed == hand_entry_pack(hand_entry)
    assert packed_mixed == hand_mixed_pack(hand_mixed)
    return [
        (
            "entry_out.pack (22 fields, nested)",
            lambda: entry.pack(),  # noqa: PLW0108 # the rival is a call in a lambda too
            lambda: hand_entry_pack(hand_entry),
        ),
        ("entry_out.unpack", lambda: entry_unpack(packed), lambda: hand_entry_unpack(packed)),
        (
            "in_header.pack_into",
            lambda: header.pack_into(buf, 64),
            lambda: hand_header_pack_into(hand_header, buf, 64),
        ),
        (
            "in_header.unpack_from",
            lambda: header_unpack_from(buf, 64),
            lambda: hand_header_unpack_from(buf, 64),
        ),
        (
            "bit-fields, bytes, array: pack",
            lambda: mixed.pack(),  # noqa: PLW0108 # as above
            lambda: hand_mixed_pack(hand_mixed),
        ),
        (
            "bit-fields, bytes, array: unpack",
            lambda: mixed_unpack(packed_mixed),
            lambda: hand_mixed_unpack(packed_mixed),
        ),
        (
            "CODEC.unpack_from, flat values",
            lambda: codec_unpack_from(buf, 64),
            lambda: header_codec(buf, 64),
        ),
        ("view: read one field", lambda: view.opcode, lambda: opcode.unpack_from(buf, 68)[0]),
        ("view: make one", lambda: header_view(buf, 64), lambda: memoryview(buf)[64:104]),
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
    table = pairs()
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in table]
    for _ in range(rounds):
        for (_, ours, hand), (mine, theirs) in zip(table, times, strict=True):
            mine.append(once(ours))
            theirs.append(once(hand))
    lines = ["| operation | instar, ns | by hand, ns | ratio |", "|:--|--:|--:|--:|"]
    for (what, _, _), (mine, theirs) in zip(table, times, strict=True):
        a, b = statistics.median(mine), statistics.median(theirs)
        # The median of the rounds' ratios: both halves of a round see the same machine.
        ratio = statistics.median(x / y for x, y in zip(mine, theirs, strict=True))
        lines.append(f"| {what:34} | {a:5.0f} | {b:5.0f} | {ratio:.2f} |")
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "layout.md").write_text(
        "# C layouts against hand-written struct\n\n" + "\n".join(lines) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

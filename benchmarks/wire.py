# SPDX-License-Identifier: Apache-2.0
"""What the FUSE wire core costs for each request: microseconds to decode the body and to encode the reply.

    python benchmarks/wire.py [--json]

Each line is the median of interleaved rounds. "hot" is what a transport does for each request: header, table, body. "whole"
is `decode_request`, with all its checks. The aim: below 1.5 us for a LOOKUP or GETATTR and for an entry reply.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

from instar.fs import Attr
from instar.wire import fuse as w
from instar.wire.fuse import DECODERS, IN_HEADER, IN_HEADER_SIZE, Header, Opcode

ROUNDS = 31
CALLS = 3000
LIMIT = 1.5  # microseconds
LIMITED = {"hot LOOKUP", "hot GETATTR", "reply entry", "reply attr"}
NAMES = [f"file{number:06d}.txt" for number in range(100)]

ATTR = Attr(5, 0o100644, 1, 1000, 1000, size=12345, atime=10**18 + 1, mtime=10**18 + 2, ctime=10**18 + 3)
MESSAGES: dict[Opcode, w.Request] = {
    Opcode.FUSE_LOOKUP: w.Lookup("hello.txt"),
    Opcode.FUSE_GETATTR: w.Getattr(None),
    Opcode.FUSE_SETATTR: w.Setattr(0x1B8, mtime=10**18),
    Opcode.FUSE_OPEN: w.Open(0x8000),
    Opcode.FUSE_READ: w.Read(1, 0, 131072),
    Opcode.FUSE_WRITE: w.Write(1, 0, bytes(4096)),
    Opcode.FUSE_CREATE: w.Create("hello.txt", 0x8041, 0o100644, 0o22),
    Opcode.FUSE_UNLINK: w.Unlink("hello.txt"),
    Opcode.FUSE_RENAME2: w.Rename(1, "hello.txt", "world.txt", 1),
    Opcode.FUSE_RELEASE: w.Release(1, 0x8000),
    Opcode.FUSE_FORGET: w.Forget(1),
    Opcode.FUSE_BATCH_FORGET: w.BatchForget(tuple((number, 1) for number in range(100))),
}


def request(opcode: Opcode) -> memoryview:
    """The request in a buffer, as a transport has it."""
    return memoryview(bytearray(w.encode_request(Header(opcode, 2, 1), MESSAGES[opcode])))


def hot(opcode: Opcode) -> Callable[[], object]:
    """Header, table, body."""
    buf = request(opcode)

    def run() -> object:
        length, number, *_ = IN_HEADER.unpack_from(buf)
        return DECODERS[number](buf, IN_HEADER_SIZE, length)

    return run


def whole(opcode: Opcode) -> Callable[[], object]:
    """The function with all checks."""
    buf = request(opcode)
    return lambda: w.decode_request(buf)


def listing() -> object:
    """100 names."""
    found = w.DirentBuffer(1 << 16)
    for number, name in enumerate(NAMES):
        found.add(number, number + 1, 8, name)
    return found


def listing_plus() -> object:
    """100 names with attributes."""
    found = w.DirentBuffer(1 << 16)
    for number, name in enumerate(NAMES):
        found.add_plus(5, 0, 1.0, 1.0, ATTR, number, number + 1, 8, name)
    return found


def cases() -> dict[str, tuple[Callable[[], object], int]]:
    """What is measured, and how many things one call does."""
    found: dict[str, tuple[Callable[[], object], int]] = {}
    for opcode in MESSAGES:
        name = w.opcode_name(opcode)
        items = 100 if opcode is Opcode.FUSE_BATCH_FORGET else 1
        found[f"hot {name}"] = (hot(opcode), items)
    for opcode in (Opcode.FUSE_LOOKUP, Opcode.FUSE_GETATTR, Opcode.FUSE_WRITE):
        found[f"whole {w.opcode_name(opcode)}"] = (whole(opcode), 1)
    found["reply entry"] = (lambda: w.encode_entry(5, 0, 1.0, 1.0, ATTR), 1)
    found["reply attr"] = (lambda: w.encode_attr(1.0, ATTR), 1)
    found["reply statx"] = (lambda: w.encode_statx(1.0, ATTR), 1)
    found["reply create"] = (lambda: w.encode_create(5, 0, 1.0, 1.0, ATTR, 7), 1)
    found["reply open"] = (lambda: w.encode_open(7), 1)
    found["reply error"] = (lambda: w.encode_error(2, 2), 1)
    found["readdir, each name"] = (listing, 100)
    found["readdirplus, each name"] = (listing_plus, 100)
    return found


def measure() -> dict[str, float]:
    """Microseconds for each case."""
    todo = cases()
    times: dict[str, list[float]] = {name: [] for name in todo}
    for _ in range(ROUNDS):
        for name, (run, items) in todo.items():
            calls = max(CALLS // items // 4, 10)
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter() - start) / calls / items * 1e6)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    """Print a table, or JSON; 1 where the aim is missed."""
    found = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found, indent=2))
    else:
        print(f"{'what':28} {'us':>7}")
        for name, value in found.items():
            print(f"{name:28} {value:7.3f}" + (f"   (aim: {LIMIT})" if name in LIMITED else ""))
    return int(any(found[name] > LIMIT for name in LIMITED))


if __name__ == "__main__":
    sys.exit(main())

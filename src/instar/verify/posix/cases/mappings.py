# SPDX-License-Identifier: Apache-2.0
"""Mapped files: POSIX.1-2017 mmap(), msync(), munmap().

Accesses go through :class:`instar.edge.mmap_file.FileMapping`, where EFAULT stands for the SIGBUS or SIGSEGV that a program
would get.
"""

from __future__ import annotations

import errno
import os

from instar.edge.mmap_file import PAGE_SIZE, FileMapping, MapFlags, Protection
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid

__all__: list[str] = []

SHARED, PRIVATE = MapFlags.SHARED, MapFlags.PRIVATE
READ, BOTH = Protection.READ, Protection.READ | Protection.WRITE
_KINDS = {"shared": SHARED, "private": PRIVATE}
_HELD: dict[int, FileMapping] = {}


def _map(
    key: int,
    path: str,
    length: int,
    kind: MapFlags = SHARED,
    flags: int = os.O_RDWR,
    protection: Protection = BOTH,
    offset: int = 0,
) -> None:
    """Map a file and keep the mapping under ``key`` for the calls below; the descriptor is closed."""
    fd = os.open(path, flags)
    try:
        _HELD[key] = FileMapping(fd, length, protection, kind, offset)
    finally:
        os.close(fd)


def _load(key: int, offset: int, size: int) -> bytes:
    return _HELD[key].load(offset, size)


def _store(key: int, offset: int, data: bytes) -> None:
    _HELD[key].store(offset, data)


def _sync(key: int) -> None:
    _HELD[key].sync()


def _unmap(key: int) -> None:
    _HELD.pop(key).close()


def _pattern(size: int) -> bytes:
    return (bytes(range(1, 252)) * (size // 251 + 1))[:size]


@case(
    grid(_KINDS, {str(size): size for size in (1, 100, PAGE_SIZE, PAGE_SIZE + 1, 100_000, 1_000_000)}),
    short=True,
)
def _mapping_shows_the_content(t: Arena, kind: MapFlags, size: int) -> None:
    data = _pattern(size)
    t.me(_do.write, "f", data)
    t.me(_map, 1, "f", size, kind, os.O_RDONLY, READ)
    t.equal(t.me(_load, 1, 0, size) == data, True, "content by the mapping")
    t.me(_unmap, 1)


@case(short=True)
def _shared_store_is_seen_by_read_and_by_others(t: Arena) -> None:
    t.me(_do.write, "f", _pattern(3 * PAGE_SIZE))
    other = t.another(t.me)
    fd = other(os.open, "f", os.O_RDONLY)
    t.me(_map, 1, "f", 3 * PAGE_SIZE)
    other(_map, 1, "f", 3 * PAGE_SIZE)
    for place in (0, 100, PAGE_SIZE - 2, 2 * PAGE_SIZE):
        t.me(_store, 1, place, b"STORE")
        t.equal(other(os.pread, fd, 5, place), b"STORE", f"what another process reads at {place}")
        t.equal(other(_load, 1, place, 5), b"STORE", f"what another mapping shows at {place}")
    t.me(_unmap, 1)
    other(_unmap, 1)
    t.equal(t.me(_do.read, "f")[:5], b"STORE", "content after unmapping")


@case()
def _write_is_seen_by_mappings(t: Arena) -> None:
    t.me(_do.write, "f", _pattern(2 * PAGE_SIZE))
    t.me(_map, 1, "f", 2 * PAGE_SIZE)
    t.me(_map, 2, "f", 2 * PAGE_SIZE, PRIVATE)
    t.me(_load, 1, 0, 10)
    fd = t.me(os.open, "f", os.O_RDWR)
    for place in (0, PAGE_SIZE - 3, PAGE_SIZE + 77):
        t.me(os.pwrite, fd, b"WRITE", place)
        t.equal(t.me(_load, 1, place, 5), b"WRITE", f"shared mapping at {place}")
    t.me(_unmap, 1)
    t.me(_unmap, 2)


@case()
def _private_store_stays_private(t: Arena) -> None:
    data = _pattern(2 * PAGE_SIZE)
    t.me(_do.write, "f", data)
    # A private mapping may be written even if the file is open for reading alone.
    t.me(_map, 1, "f", 2 * PAGE_SIZE, PRIVATE, os.O_RDONLY)
    with t.times({"f": "?"}):
        t.me(_store, 1, 10, b"PRIVATE")
        t.equal(t.me(_load, 1, 10, 7), b"PRIVATE", "content by the mapping")
        t.me(_sync, 1)
    t.equal(t.me(_do.read, "f") == data, True, "content of the file")
    t.me(_unmap, 1)
    t.equal(t.me(_do.read, "f") == data, True, "content of the file after unmapping")


@case()
def _rest_of_the_last_page_is_zero_and_never_reaches_the_file(t: Arena) -> None:
    t.me(_do.write, "f", b"abc")
    t.me(_map, 1, "f", PAGE_SIZE)
    t.equal(t.me(_load, 1, 0, 10), b"abc" + bytes(7), "content and what is behind it")
    t.me(_store, 1, 3, b"behind")
    t.me(_sync, 1)
    t.has("f", size=3)
    t.equal(t.me(_do.read, "f"), b"abc", "content of the file")
    t.me(_unmap, 1)
    t.me(os.truncate, "f", 20)
    t.equal(t.me(_do.read, "f"), b"abc" + bytes(17), "content of the file after it grew")


@case(_KINDS)
def _page_behind_the_end_is_sigbus(t: Arena, kind: MapFlags) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.me(_map, 1, "f", 4 * PAGE_SIZE, kind)
    t.me(_load, 1, PAGE_SIZE - 1, 1)
    for page in (1, 2, 3):
        t.me.fails(errno.EFAULT, _load, 1, page * PAGE_SIZE, 1)
        if kind is SHARED:
            t.me.fails(errno.EFAULT, _store, 1, page * PAGE_SIZE, b"x")
    t.has("f", size=100)
    # The same mapping reaches them once the file has grown.
    t.me(os.truncate, "f", 2 * PAGE_SIZE)
    t.equal(t.me(_load, 1, PAGE_SIZE, 5), bytes(5), "content of the new page")
    t.me.fails(errno.EFAULT, _load, 1, 2 * PAGE_SIZE, 1)
    t.me(os.truncate, "f", 10)
    t.me.fails(errno.EFAULT, _load, 1, PAGE_SIZE, 1)
    t.equal(t.me(_load, 1, 0, 12), b"x" * 10 + bytes(2), "content after it was cut")
    t.me(_unmap, 1)


@case()
def _cut_and_grown_page_is_zero(t: Arena) -> None:
    t.me(_do.write, "f", b"x" * 2 * PAGE_SIZE)
    t.me(_map, 1, "f", 2 * PAGE_SIZE)
    t.me(_load, 1, 0, 2 * PAGE_SIZE)
    t.me(os.truncate, "f", 100)
    t.me(os.truncate, "f", 2 * PAGE_SIZE)
    t.equal(t.me(_load, 1, 90, 20), b"x" * 10 + bytes(10), "content at the cut")
    t.equal(t.me(_load, 1, PAGE_SIZE, 10), bytes(10), "content of the page that went and came")
    t.me(_store, 1, PAGE_SIZE, b"new")
    t.me(_unmap, 1)
    t.equal(t.me(_do.read, "f")[PAGE_SIZE : PAGE_SIZE + 3], b"new", "content after a store")


@case(
    {
        "shared-write-of-read-only": (os.O_RDONLY, SHARED, BOTH, errno.EACCES),
        "shared-read-of-write-only": (os.O_WRONLY, SHARED, READ, errno.EACCES),
        "private-read-of-write-only": (os.O_WRONLY, PRIVATE, READ, errno.EACCES),
        "shared-write-of-write-only": (os.O_WRONLY, SHARED, BOTH, errno.EACCES),
    }
)
def _mapping_needs_what_the_descriptor_allows(
    t: Arena, flags: int, kind: MapFlags, protection: Protection, expected: int
) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.me.fails(expected, _map, 1, "f", 100, kind, flags, protection)


@case()
def _wrong_arguments_are_refused(t: Arena) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.make("dir", "d", 0o755)
    t.me.fails(errno.EINVAL, _map, 1, "f", 100, SHARED, os.O_RDWR, BOTH, 100)
    t.me.fails(errno.EINVAL, _map, 1, "f", 0)
    t.me.fails((errno.ENODEV, errno.EACCES), _map, 1, "d", 100, SHARED, os.O_RDONLY, READ)
    t.me.fails(errno.EBADF, _map, 1, "f", 100, SHARED, os.O_PATH, READ)


@case({str(page): page for page in (0, 1, 5)})
def _offset_is_where_the_mapping_starts(t: Arena, page: int) -> None:
    data = _pattern(8 * PAGE_SIZE)
    t.me(_do.write, "f", data)
    t.me(_map, 1, "f", 2 * PAGE_SIZE, SHARED, os.O_RDWR, BOTH, page * PAGE_SIZE)
    place = page * PAGE_SIZE
    t.equal(
        t.me(_load, 1, 0, 2 * PAGE_SIZE) == data[place : place + 2 * PAGE_SIZE],
        True,
        "content by the mapping",
    )
    t.me(_store, 1, 10, b"HERE")
    t.me(_unmap, 1)
    t.equal(t.me(_do.read, "f")[place + 10 : place + 14], b"HERE", "content of the file")


@case(each("close", "unlink", "rename", "chmod"))
def _mapping_outlives(t: Arena, what: str) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.me(_map, 1, "f", 100)
    if what == "unlink":
        t.me(os.unlink, "f")
    elif what == "rename":
        t.me(os.rename, "f", "g")
    elif what == "chmod":
        t.me(os.chmod, "f", 0)
    t.me(_store, 1, 0, b"lives")
    t.equal(t.me(_load, 1, 0, 6), b"livesx", "content by the mapping")
    t.me(_sync, 1)
    t.me(_unmap, 1)
    if what == "chmod":
        t.me(os.chmod, "f", 0o600)
    if what != "unlink":
        t.equal(t.me(_do.read, "g" if what == "rename" else "f")[:6], b"livesx", "content of the file")


@case()
def _store_moves_mtime_and_ctime_by_msync(t: Arena) -> None:
    t.me(_do.write, "f", b"x" * 100)
    t.me(_map, 1, "f", 100)
    t.me(_load, 1, 0, 1)
    with t.times({"f": "mc?"}):
        t.me(_store, 1, 0, b"new")
        t.me(_sync, 1)
    t.me(_unmap, 1)


@case()
def _store_into_a_hole_makes_data(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.truncate, "f", 1 << 20)
    t.me(_map, 1, "f", 1 << 20)
    t.equal(t.me(_load, 1, 500_000, 10), bytes(10), "content of the hole")
    t.me(_store, 1, 500_000, b"data")
    t.me(_sync, 1)
    t.me(_unmap, 1)
    content = t.me(_do.read, "f")
    t.equal(content == bytes(500_000) + b"data" + bytes((1 << 20) - 500_004), True, "content of the file")
    t.true(t.stat("f").st_blocks > 0, "the file has blocks now")


@case()
def _store_survives_closing_and_opening_again(t: Arena) -> None:
    t.me(_do.write, "f", bytes(10 * PAGE_SIZE))
    other = t.another(t.me)
    other(_map, 1, "f", 10 * PAGE_SIZE)
    for page in range(10):
        other(_store, 1, page * PAGE_SIZE + page, b"p%d" % page)
    other.kill()
    content = t.me(_do.read, "f")
    for page in range(10):
        place = page * PAGE_SIZE + page
        t.equal(content[place : place + 2], b"p%d" % page, f"page {page}")


@case()
def _mapping_and_write_mix(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.truncate, "f", 4 * PAGE_SIZE)
    t.me(_map, 1, "f", 4 * PAGE_SIZE)
    fd = t.me(os.open, "f", os.O_RDWR)
    expected = bytearray(4 * PAGE_SIZE)
    for turn in range(64):
        place = turn * 211 % (4 * PAGE_SIZE - 8)
        data = b"%08d" % turn
        if turn % 2:
            t.me(os.pwrite, fd, data, place)
        else:
            t.me(_store, 1, place, data)
        expected[place : place + 8] = data
    t.equal(t.me(_load, 1, 0, 4 * PAGE_SIZE) == expected, True, "content by the mapping")
    t.equal(t.me(os.pread, fd, 4 * PAGE_SIZE, 0) == expected, True, "content by read")
    t.me(_unmap, 1)
    t.me(os.fsync, fd)
    t.equal(t.me(_do.read, "f") == expected, True, "content in the end")

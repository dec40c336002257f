# SPDX-License-Identifier: Apache-2.0
"""Encoders put each value where the kernel reads it, and refuse what has no room."""

from __future__ import annotations

import math
import os
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.fs import Attr, StatFs
from instar.wire import fuse as w
from instar.wire.fuse import EncodeError, Header, Opcode
from instar.wire.fuse import _structs as structs
from tests.wire.fuse import strategies

NSEC = 1_000_000_000
ATTR = Attr(
    ino=5, mode=0o100644, nlink=2, uid=1000, gid=1001, rdev=os.makedev(8, 1), size=1025, blksize=4096,
    atime=3 * NSEC + 1, mtime=-1, ctime=5 * NSEC + 2, btime=-7 * NSEC,
)  # fmt: skip


def test_entry_has_every_attribute_in_its_field():
    entry = structs.FuseEntryOut.unpack(w.encode_entry(9, 4, 1.5, 0.25, ATTR))
    assert (entry.nodeid, entry.generation) == (9, 4)
    assert (entry.entry_valid, entry.entry_valid_nsec) == (1, NSEC // 2)
    assert (entry.attr_valid, entry.attr_valid_nsec) == (0, NSEC // 4)
    attr = entry.attr
    assert (attr.ino, attr.mode, attr.nlink, attr.uid, attr.gid) == (5, 0o100644, 2, 1000, 1001)
    assert (attr.rdev, attr.size, attr.blocks, attr.blksize) == (0x801, 1025, 3, 4096)
    assert (attr.atime, attr.atimensec) == (3, 1)
    assert (attr.mtime, attr.mtimensec) == (2**64 - 1, NSEC - 1)  # before 1970: two's complement
    assert (attr.ctime, attr.ctimensec) == (5, 2)


def test_attr_reply_is_the_same_attributes_behind_another_head():
    entry = w.encode_entry(9, 4, 1.5, 0.25, ATTR)
    attr = w.encode_attr(0.25, ATTR)
    assert len(attr) == 104
    assert attr[16:] == entry[40:]


def test_statx_has_every_attribute_in_its_field():
    reply = structs.FuseStatxOut.unpack(w.encode_statx(1.0, ATTR))
    stat = reply.stat
    assert reply.attr_valid == 1
    assert stat.mask == w.StatxMask.STATX_BASIC_STATS | w.StatxMask.STATX_BTIME == 0xFFF
    assert (stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid) == (5, 0o100644, 2, 1000, 1001)
    assert (stat.size, stat.blocks, stat.blksize) == (1025, 3, 4096)
    assert (stat.rdev_major, stat.rdev_minor) == (8, 1)
    times = [
        (getattr(stat, name).tv_sec, getattr(stat, name).tv_nsec)
        for name in ("atime", "btime", "ctime", "mtime")
    ]
    assert times == [(3, 1), (-7, 0), (5, 2), (-1, NSEC - 1)]


def test_blocks_are_sent_as_they_are_where_they_are_given():
    attr = msgspec.structs.replace(ATTR, blocks=0)
    assert structs.FuseAttrOut.unpack(w.encode_attr(0, attr)).attr.blocks == 0


def test_negative_entry_has_node_0_and_only_its_timeout():
    entry = structs.FuseEntryOut.unpack(w.encode_negative_entry(2.5))
    assert (entry.nodeid, entry.entry_valid, entry.entry_valid_nsec) == (0, 2, NSEC // 2)
    assert bytes(entry.attr.pack()) == bytes(88)


@pytest.mark.parametrize(
    ("timeout", "parts"),
    [
        (0, (0, 0)),
        (1, (1, 0)),
        (0.1, (0, 100_000_000)),
        (0.9999999999, (1, 0)),
        (math.inf, (2**32, 0)),
        (1e300, (2**32, 0)),
        (2**32 - 0.5, (2**32 - 1, NSEC // 2)),
    ],
)
def test_timeouts_become_seconds_and_nanoseconds(timeout, parts):
    reply = structs.FuseAttrOut.unpack(w.encode_attr(timeout, ATTR))
    assert (reply.attr_valid, reply.attr_valid_nsec) == parts


@given(timeout=st.floats(0, 2**40, allow_nan=False))
def test_any_timeout_is_kept_to_the_nanosecond(timeout):
    reply = structs.FuseAttrOut.unpack(w.encode_attr(timeout, ATTR))
    assert 0 <= reply.attr_valid_nsec < NSEC
    assert math.isclose(reply.attr_valid + reply.attr_valid_nsec / NSEC, min(timeout, 2**32), abs_tol=1e-9)


def attr_with(**changes):
    return msgspec.structs.replace(ATTR, **changes)


REFUSED = {
    "a negative timeout": lambda: w.encode_attr(-1.0, ATTR),
    "a timeout that is no number": lambda: w.encode_attr(math.nan, ATTR),
    "a timeout of text": lambda: w.encode_entry(1, 0, "1", 1, ATTR),
    "a timeout of None": lambda: w.encode_negative_entry(None),
    "a negative size": lambda: w.encode_attr(1, attr_with(size=-1)),
    "a size of None": lambda: w.encode_entry(1, 0, 1, 1, attr_with(size=None)),
    "a mode of 33 bits": lambda: w.encode_attr(1, attr_with(mode=1 << 32)),
    "a mode of 17 bits in statx": lambda: w.encode_statx(1, attr_with(mode=1 << 16)),
    "a time beyond 64 bits of seconds": lambda: w.encode_attr(1, attr_with(mtime=2**63 * NSEC)),
    "a time that is a float": lambda: w.encode_attr(1, attr_with(mtime=1.5)),
    "no attributes": lambda: w.encode_entry(1, 0, 1, 1, None),
    "a string for attributes": lambda: w.encode_statx(1, "attr"),
    "a negative device": lambda: w.encode_statx(1, attr_with(rdev=-1)),
    "a node of 65 bits": lambda: w.encode_entry(1 << 64, 0, 1, 1, ATTR),
    "errno 0": lambda: w.encode_error(1, 0),
    "errno 512": lambda: w.encode_error(1, 512),
    "a negative errno": lambda: w.encode_error(1, -2),
    "a handle that is negative": lambda: w.encode_open(-1),
    "a handle of None": lambda: w.encode_open(None),
    "more written than fits": lambda: w.encode_write(1 << 32),
    "a negative copy": lambda: w.encode_copy64(-1),
    "a negative place": lambda: w.encode_lseek(-1),
    "a negative block": lambda: w.encode_bmap(-1),
    "negative events": lambda: w.encode_poll(-1),
    "a lock from -1": lambda: w.encode_lk(-1, 0, 0, 0),
    "a negative xattr size": lambda: w.encode_xattr_size(-1),
    "an ioctl result of 33 bits": lambda: w.encode_ioctl(1 << 31),
    "an ioctl with text": lambda: w.encode_ioctl(0, "text"),
    "a retry by the wrong door": lambda: w.encode_ioctl(0, b"", w.IoctlFlags.FUSE_IOCTL_RETRY),
    "257 ranges": lambda: w.encode_ioctl_retry([(0, 1)] * 256, [(0, 1)]),
    "a range that is negative": lambda: w.encode_ioctl_retry([(-1, 1)], []),
    "a link with NUL": lambda: w.encode_readlink("a\0b"),
    "a link that no file system has": lambda: w.encode_readlink("\ud800"),
    "statfs of nothing": lambda: w.encode_statfs(None),
    "statfs with negative blocks": lambda: w.encode_statfs(StatFs(blocks=-1)),
    "an INIT out of range": lambda: w.encode_init(w.InitOut(7, 45, max_write=1 << 32)),
    "a CUSE_INIT out of range": lambda: w.encode_cuse_init(w.CuseInitReply(7, 45, 0, 0, 0, -1, 0, ())),
    "too much text for CUSE_INIT": lambda: w.encode_cuse_init(
        w.CuseInitReply(7, 45, 0, 0, 0, 0, 0, ("x" * 4096,))
    ),
    "a reply that is none": lambda: w.encode_reply(1, "text"),
    "an unknown opcode": lambda: w.encode_request(Header(7, 1, 1), w.Statfs()),
    "a reserved opcode": lambda: w.encode_request(Header(1048576, 1, 1), w.Statfs()),
    "another opcode's message": lambda: w.encode_request(Header(Opcode.FUSE_READ, 1, 1), w.Readdir(1, 2, 3)),
    "a name with a slash": lambda: w.encode_request(Header(Opcode.FUSE_LOOKUP, 1, 1), w.Lookup("a/b")),
    "an empty name": lambda: w.encode_request(Header(Opcode.FUSE_UNLINK, 1, 1), w.Unlink("")),
    "an empty xattr": lambda: w.encode_request(Header(Opcode.FUSE_REMOVEXATTR, 1, 1), w.Removexattr("")),
    "RENAME with flags": lambda: w.encode_request(Header(Opcode.FUSE_RENAME, 1, 1), w.Rename(1, "a", "b", 1)),
    "short SETXATTR with flags": lambda: w.encode_request(
        Header(Opcode.FUSE_SETXATTR, 1, 1), w.Setxattr("a", b"", 0, 1), flags=0
    ),
    "INIT with flags2 alone": lambda: w.encode_request(
        Header(Opcode.FUSE_INIT, 1, 0), w.Init(7, 45, 0, 1 << 32)
    ),
    "a unique of 65 bits": lambda: w.encode_request(Header(Opcode.FUSE_STATFS, 1 << 64, 1), w.Statfs()),
    "a value of text": lambda: w.encode_request(Header(Opcode.FUSE_SETXATTR, 1, 1), w.Setxattr("a", "b")),
    "32 contexts": lambda: w.encode_extensions(w.Extensions((w.SecurityContext("a", b""),) * 32)),
    "a negative group": lambda: w.encode_extensions(w.Extensions(groups=(-1,))),
    "a megabyte of context": lambda: w.encode_extensions(
        w.Extensions((w.SecurityContext("a", bytes(1 << 20)),))
    ),
    "a notification out of range": lambda: w.notify_poll(-1),
    "a notification about no name": lambda: w.notify_inval_entry(1, ""),
    "a pruned node out of range": lambda: w.notify_prune([1, -1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_value_without_room_is_refused_with_a_reason(name):
    with pytest.raises(EncodeError) as caught:
        REFUSED[name]()
    assert len(str(caught.value)) > 10


def test_statfs_takes_the_values_of_a_service():
    st_ = structs.FuseStatfsOut.unpack(w.encode_statfs(StatFs(1, 2, 3, 4, 5, 512, 1024, 255))).st
    assert (st_.blocks, st_.bfree, st_.bavail, st_.files, st_.ffree) == (1, 2, 3, 4, 5)
    assert (st_.bsize, st_.frsize, st_.namelen) == (512, 1024, 255)


def test_create_is_an_entry_and_an_open_file():
    body = w.encode_create(9, 4, 1.0, 1.0, ATTR, 77, w.OpenFlags.FOPEN_PASSTHROUGH, 3)
    assert body == w.encode_entry(9, 4, 1.0, 1.0, ATTR) + struct.pack("=QIi", 77, 128, 3)


def test_init_forms_depend_on_the_minor_version():
    header = Header(Opcode.FUSE_INIT, 2, 0)
    assert len(w.encode_request(header, w.Init(7, 35, 0, 1))) == 56
    assert len(w.encode_request(header, w.Init(7, 36, 0, 1))) == 104


def test_resent_request_is_known_by_bit_63():
    assert Header(Opcode.FUSE_LOOKUP, 5 | w.FUSE_UNIQUE_RESEND, 1).is_resend
    assert not Header(Opcode.FUSE_LOOKUP, 5, 1).is_resend


def test_data_of_a_write_is_a_view_of_the_buffer():
    buf = bytearray(w.encode_request(Header(Opcode.FUSE_WRITE, 1, 1), w.Write(1, 0, b"abcd")))
    _, message = w.decode_request(buf)
    buf[-1] = ord("z")
    assert bytes(message.data) == b"abcz"


# ------------------------------------------------------------------------------------------- directories


def test_listing_is_laid_out_as_the_kernel_reads_it():
    listing = w.DirentBuffer(100)
    assert listing.add(ino=3, cookie=7, type=8, name="hello")
    assert bytes(listing) == bytes(listing.data) == struct.pack("=QQII8s", 3, 7, 5, 8, b"hello")
    assert len(listing) == 32
    assert listing.room == 68


def test_line_that_does_not_fit_changes_nothing():
    listing = w.DirentBuffer(63)
    assert listing.add(1, 1, 4, "a")
    before = bytes(listing)
    assert not listing.add(2, 2, 8, "b")
    assert not listing.add_plus(2, 0, 1, 1, ATTR, 2, 2, 8, "b")
    assert bytes(listing) == before


def test_line_fits_exactly():
    assert w.DirentBuffer(32).add(1, 1, 4, "12345678")
    assert not w.DirentBuffer(31).add(1, 1, 4, "12345678")
    assert w.DirentBuffer(160).add_plus(1, 0, 1, 1, ATTR, 1, 1, 4, "12345678")
    assert not w.DirentBuffer(159).add_plus(1, 0, 1, 1, ATTR, 1, 1, 4, "12345678")


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "x" * 1025, "\ud800", None])
def test_name_that_fails_a_listing_in_the_kernel_is_refused(name):
    listing = w.DirentBuffer(4096)
    with pytest.raises(EncodeError):
        listing.add(1, 1, 8, name)
    with pytest.raises(EncodeError):
        listing.add_plus(1, 0, 1, 1, ATTR, 1, 1, 8, name)
    assert len(listing) == 0


@pytest.mark.parametrize("cookie", [-1, 1 << 63])
def test_cookie_outside_63_bits_is_refused(cookie):
    with pytest.raises(EncodeError, match="cookie"):
        w.DirentBuffer(4096).add(1, cookie, 8, "a")


def test_bad_attributes_leave_the_listing_as_it_was():
    listing = w.DirentBuffer(4096)
    with pytest.raises(EncodeError):
        listing.add_plus(1, 0, 1, 1, attr_with(size=-1), 1, 1, 8, "a")
    assert (len(listing), listing.room) == (0, 4096)


@given(
    size=st.integers(0, 3000),
    lines=st.lists(st.tuples(strategies.NAMES, st.booleans()), max_size=30),
)
def test_listing_never_exceeds_its_size_and_reads_back(size, lines):
    plain, plus = w.DirentBuffer(size), w.DirentBuffer(size)
    taken, taken_plus = [], []
    for number, (name, known) in enumerate(lines):
        if plain.add(number, number + 1, 8, name):
            taken.append(name)
        if plus.add_plus(number if known else 0, 0, 1, 1, ATTR, number, number + 1, 8, name):
            taken_plus.append(name)
    assert len(plain) <= size
    assert len(plus) <= size
    _, reply = w.decode_reply(Opcode.FUSE_READDIR, w.out_header(len(plain), 1) + bytes(plain))
    assert [line.name for line in reply.entries] == taken
    _, reply = w.decode_reply(Opcode.FUSE_READDIRPLUS, w.out_header(len(plus), 1) + bytes(plus))
    assert [line.dirent.name for line in reply.entries] == taken_plus


class Line:
    """A line as :meth:`DirentBuffer.extend` takes it."""

    def __init__(self, name, cookie=1, ino=3, mode=0o100644):
        self.name, self.cookie, self.ino, self.mode = name, cookie, ino, mode


def passed(line, last):
    """A check that finds nothing wrong."""


@given(
    size=st.integers(0, 3000),
    lines=st.lists(st.tuples(strategies.NAMES, st.integers(1, 1 << 40)), max_size=30),
)
def test_lines_in_a_run_are_packed_as_one_by_one(size, lines):
    one_by_one, run = w.DirentBuffer(size), w.DirentBuffer(size)
    lines = [Line(name, cookie) for name, cookie in lines]
    left = next((each for each in lines if not one_by_one.add(3, each.cookie + 2, 8, each.name)), None)
    assert run.extend(iter(lines), 2, passed) is left
    assert bytes(run) == bytes(one_by_one)
    assert run.room == one_by_one.room


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "x" * 1025, "\ud800", None])
@pytest.mark.parametrize("size", [80, 4096])
def test_lines_before_one_that_cannot_be_packed_stand(name, size):
    listing = w.DirentBuffer(size)
    with pytest.raises(EncodeError):
        listing.extend([Line("good", 5), Line(name, 6), Line("after", 7)], 2, passed)
    assert bytes(listing) == struct.pack("=QQII8s", 3, 7, 4, 8, b"good")
    assert listing.cookie == 5


@pytest.mark.parametrize("cookie", [-1, 1 << 63, (1 << 63) - 2])
def test_cookie_that_the_shift_brings_outside_63_bits_is_refused(cookie):
    with pytest.raises(EncodeError, match="cookie"):
        w.DirentBuffer(4096).extend([Line("a", cookie)], 2, passed)


@pytest.mark.parametrize(
    "odd", [Line("."), Line("..."), Line("a", 0), Line("a", 1), Line("a/b"), Line("\0", 9), Line(7)]
)
def test_line_that_is_not_plain_is_checked_with_the_cookie_before_it(odd):
    seen = []

    def check(line, last):
        seen.append((line, last))
        raise ArithmeticError

    listing = w.DirentBuffer(4096)
    with pytest.raises(ArithmeticError):
        listing.extend([Line("plain", 1), odd], 2, check)
    assert set(seen) == {(odd, 1)}
    assert len(listing) == 32


def test_what_the_lines_raise_passes_and_the_lines_before_it_stand():
    def lines():
        yield Line("a")
        raise ZeroDivisionError

    listing = w.DirentBuffer(4096)
    with pytest.raises(ZeroDivisionError):
        listing.extend(lines(), 2, passed)
    assert len(listing) == 32

# SPDX-License-Identifier: Apache-2.0
"""INIT: what is decoded from each kernel's form, what is agreed, and the three sizes of the reply."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.wire import fuse as w
from instar.wire.fuse import EncodeError, Init, InitFlags, InitOut, Opcode, ProtocolError
from tests.wire.fuse import strategies

#: What Linux 6.18 offers on an ordinary mount.
OFFERED = 0x73FF_FFFB | 0x5FD << 32
MODERN = Init(7, 45, 131072, OFFERED)
ALL = sum(int(flag) for flag in InitFlags)


def init_body(*words):
    header = w.IN_HEADER.pack(40 + 4 * len(words), Opcode.FUSE_INIT, 2, 0, 0, 0, 0, 0, 0)
    return header + struct.pack(f"={len(words)}I", *words)


def test_init_of_linux_5_4_has_16_bytes():
    _, message = w.decode_request(init_body(7, 31, 65536, 0x03FF_FFFB))
    assert message == Init(7, 31, 65536, 0x03FF_FFFB)


def test_init_of_linux_6_18_has_64_bytes_and_flags2():
    _, message = w.decode_request(init_body(7, 45, 131072, OFFERED & 0xFFFF_FFFF, OFFERED >> 32, *[0] * 11))
    assert message == MODERN


def test_init_of_a_later_kernel_may_be_longer():
    _, message = w.decode_request(init_body(7, 60, 0, 1 << 30, 5, *[9] * 20))
    assert message == Init(7, 60, 0, 1 << 30 | 5 << 32)


def test_flags2_does_not_count_without_init_ext():
    _, message = w.decode_request(init_body(7, 36, 0, 1, 0xFFFF_FFFF, *[0] * 11))
    assert message.flags == 1


def test_only_what_is_wanted_and_offered_is_agreed():
    wanted = InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_OVER_IO_URING | InitFlags.FUSE_HAS_RESEND
    agreed = w.negotiate(MODERN, wanted, max_write=4096)
    assert agreed.flags == InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_HAS_RESEND | InitFlags.FUSE_INIT_EXT


@given(
    offered=strategies.U64,
    wanted=strategies.U64.map(lambda n: n & ~InitFlags.FUSE_PASSTHROUGH & ~InitFlags.FUSE_REQUEST_TIMEOUT),
    minor=st.integers(31, 99),
)
def test_no_flag_is_agreed_that_was_not_wanted_offered_and_known(offered, wanted, minor):
    agreed = w.negotiate(Init(7, minor, 4096, offered), wanted, max_write=1 << 20)
    extra = agreed.flags & ~(offered & wanted & ALL)
    assert extra in {0, InitFlags.FUSE_INIT_EXT}
    assert not extra or (agreed.flags >> 32 and offered & InitFlags.FUSE_INIT_EXT)
    assert not agreed.flags & InitFlags.FUSE_INIT_RESERVED
    assert agreed.flags < 1 << 32 or agreed.flags & InitFlags.FUSE_INIT_EXT
    assert agreed.minor == min(minor, 45)
    # the kernel reads what was agreed
    assert w.decode_reply(Opcode.FUSE_INIT, w.encode_reply(1, agreed)) == (1, agreed)


def test_flags_above_32_are_not_agreed_with_a_kernel_without_init_ext():
    offered = (OFFERED & ~InitFlags.FUSE_INIT_EXT) | InitFlags.FUSE_HAS_RESEND
    assert w.negotiate(Init(7, 45, 0, offered), ALL_BUT_PASSTHROUGH, max_write=4096).flags < 1 << 32


ALL_BUT_PASSTHROUGH = ALL & ~(InitFlags.FUSE_PASSTHROUGH | InitFlags.FUSE_REQUEST_TIMEOUT)


@pytest.mark.parametrize(
    ("flags", "max_write", "pages", "agreed"),
    [
        (InitFlags.FUSE_MAX_PAGES, 1 << 20, 256, 1 << 20),
        (InitFlags.FUSE_MAX_PAGES, 4097, 2, 4097),
        (InitFlags.FUSE_MAX_PAGES, 1 << 30, 65535, 65535 * 4096),
        (0, 1 << 20, 0, 32 * 4096),
        (0, 8192, 0, 8192),
    ],
)
def test_max_write_is_held_to_what_max_pages_allows(flags, max_write, pages, agreed):
    out = w.negotiate(MODERN, flags, max_write=max_write)
    assert (out.max_pages, out.max_write) == (pages, agreed)


def test_readahead_never_exceeds_what_the_kernel_proposes():
    assert w.negotiate(MODERN, 0, max_write=4096).max_readahead == 131072
    assert w.negotiate(MODERN, 0, max_write=4096, max_readahead=1 << 30).max_readahead == 131072
    assert w.negotiate(MODERN, 0, max_write=4096, max_readahead=0).max_readahead == 0


def test_options_count_only_with_their_flags():
    options = {"max_stack_depth": 1, "request_timeout": 60, "map_alignment": 12}
    without = w.negotiate(MODERN, 0, max_write=4096, **options)
    assert (without.max_stack_depth, without.request_timeout, without.map_alignment) == (0, 0, 0)
    wanted = InitFlags.FUSE_PASSTHROUGH | InitFlags.FUSE_REQUEST_TIMEOUT | InitFlags.FUSE_MAP_ALIGNMENT
    offered = Init(7, 45, 0, ALL)
    with_flags = w.negotiate(offered, wanted, max_write=4096, **options)
    assert (with_flags.max_stack_depth, with_flags.request_timeout, with_flags.map_alignment) == (1, 60, 12)


@pytest.mark.parametrize("init", [Init(7, 30, 0, 0), Init(6, 45, 0, 0), Init(0, 0, 0, 0)])
def test_kernel_before_5_4_is_refused_by_version(init):
    with pytest.raises(ProtocolError, match=f"FUSE {init.major}.{init.minor}; at least 7.31"):
        w.negotiate(init, 0, max_write=4096)


def test_newer_major_version_is_answered_with_ours_and_nothing_else():
    assert w.negotiate(Init(8, 0, 1, ALL), ALL, max_write=4096) == InitOut(7, 45)


@pytest.mark.parametrize(
    ("wanted", "options", "reason"),
    [
        (
            InitFlags.FUSE_PASSTHROUGH | InitFlags.FUSE_WRITEBACK_CACHE,
            {"max_stack_depth": 1},
            "exclude each other",
        ),
        (InitFlags.FUSE_PASSTHROUGH, {}, "max_stack_depth of 1 or 2"),
        (InitFlags.FUSE_PASSTHROUGH, {"max_stack_depth": 3}, "max_stack_depth of 1 or 2"),
        (InitFlags.FUSE_REQUEST_TIMEOUT, {}, "request_timeout of 1 to"),
        (InitFlags.FUSE_REQUEST_TIMEOUT, {"request_timeout": 65536}, "request_timeout of 1 to"),
        (0, {"max_write": 4095}, "max_write"),
        (0, {"max_write": 1 << 32}, "max_write"),
        (0, {"time_gran": 0}, "time_gran"),
    ],
)
def test_wishes_that_cannot_be_are_refused(wanted, options, reason):
    with pytest.raises(EncodeError, match=reason):
        w.negotiate(MODERN, wanted, **{"max_write": 4096, **options})


@pytest.mark.parametrize(("minor", "size"), [(1, 8), (4, 8), (5, 24), (22, 24), (23, 64), (31, 64), (45, 64)])
def test_reply_has_the_size_of_its_version(minor, size):
    assert len(w.encode_init(InitOut(7, minor))) == size


def test_reply_is_laid_out_as_the_kernel_reads_it():
    reply = InitOut(
        major=7, minor=45, max_readahead=1, flags=2 | 3 << 32, max_background=4, congestion_threshold=5,
        max_write=6, time_gran=7, max_pages=8, map_alignment=9, max_stack_depth=10, request_timeout=11,
    )  # fmt: skip
    expected = struct.pack("=4I2H2I2H2IH22x", 7, 45, 1, 2, 4, 5, 6, 7, 8, 9, 3, 10, 11)
    assert w.encode_init(reply) == expected


def test_decoders_follow_the_setxattr_form_that_was_agreed():
    long_form, short_form = InitOut(7, 45, flags=int(InitFlags.FUSE_SETXATTR_EXT)), InitOut(7, 45)
    body = memoryview(struct.pack("=II", 1, 2) + b"user.a\0v")
    assert w.decoders(short_form)[Opcode.FUSE_SETXATTR](body, 0, len(body)) == w.Setxattr("user.a", b"v", 2)
    body = memoryview(struct.pack("=4I", 1, 2, 1, 0) + b"user.a\0v")
    assert w.decoders(long_form)[Opcode.FUSE_SETXATTR](body, 0, len(body)) == w.Setxattr("user.a", b"v", 2, 1)

# SPDX-License-Identifier: Apache-2.0
"""Bytes that are no message raise ProtocolError, say what is wrong, and raise nothing else."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar import InstarError
from instar.wire import fuse as w
from instar.wire.fuse import OPCODES, Opcode, ProtocolError
from tests.wire.fuse import strategies


def request(opcode, body=b"", *, extensions=b"", length=None, extlen=None):
    size = w.IN_HEADER_SIZE + len(body) + len(extensions)
    extlen = len(extensions) // 8 if extlen is None else extlen
    return (
        w.IN_HEADER.pack(size if length is None else length, opcode, 1, 1, 0, 0, 0, extlen, 0)
        + body
        + extensions
    )


def u32(*values):
    return struct.pack(f"={len(values)}I", *values)


def u64(*values):
    return struct.pack(f"={len(values)}Q", *values)


LOOKUP, MKDIR, GETATTR = Opcode.FUSE_LOOKUP, Opcode.FUSE_MKDIR, Opcode.FUSE_GETATTR

BAD_REQUESTS = {
    "nothing": (b"", "no room for its header"),
    "half a header": (request(GETATTR)[:39], "no room for its header"),
    "a length that is too large": (
        request(GETATTR, bytes(16), length=57),
        "says that it has 57 bytes, 56 are there",
    ),
    "a length that is too small": (request(GETATTR, bytes(16), length=55), "says that it has 55 bytes"),
    "opcode 0": (request(0), "opcode 0 is not known"),
    "an opcode that was never used": (request(7), "opcode 7 is not known"),
    "INIT in the other byte order": (request(Opcode.FUSE_INIT_BSWAP_RESERVED), "is not known"),
    "a body for nothing": (request(Opcode.FUSE_STATFS, b"\0"), "STATFS: the body has 1 bytes, not 0"),
    "a short body": (request(GETATTR, bytes(15)), "GETATTR: the body has 15 bytes, not 16"),
    "a long body": (request(GETATTR, bytes(24)), "GETATTR: the body has 24 bytes, not 16"),
    "no name": (request(LOOKUP), "LOOKUP"),
    "an empty name": (request(LOOKUP, b"\0"), "LOOKUP"),
    "a name without NUL": (request(LOOKUP, b"abc"), "NUL"),
    "a name with NUL": (request(LOOKUP, b"a\0b\0"), "no name of a directory entry"),
    "a path for a name": (request(LOOKUP, b"../etc/passwd\0"), "no name of a directory entry"),
    "a new directory called ..": (request(MKDIR, u32(0, 0) + b"..\0"), "no name of a directory entry"),
    "a rename to .": (request(Opcode.FUSE_RENAME, u64(1) + b"a\0.\0"), "no name of a directory entry"),
    "a rename with one name": (request(Opcode.FUSE_RENAME, u64(1) + b"a\0"), "NUL"),
    "a rename with three names": (request(Opcode.FUSE_RENAME, u64(1) + b"a\0b\0c\0"), "bytes follow"),
    "a rename without names": (request(Opcode.FUSE_RENAME2, u64(1, 0)), "NUL"),
    "half a rename": (request(Opcode.FUSE_RENAME2, u64(1)), "its structure alone 16"),
    "a symlink to nowhere": (request(Opcode.FUSE_SYMLINK, b"a\0"), "NUL"),
    "too little data": (
        request(Opcode.FUSE_WRITE, u64(1, 0) + u32(5, 0) + u64(0, 0) + b"1234"),
        "5 bytes are announced",
    ),
    "too much data": (
        request(Opcode.FUSE_WRITE, u64(1, 0) + u32(3, 0) + u64(0, 0) + b"1234"),
        "3 bytes are announced",
    ),
    "a huge size": (
        request(Opcode.FUSE_WRITE, u64(1, 0) + u32(2**32 - 1, 0) + u64(0, 0)),
        "4294967295 bytes",
    ),
    "more forgets than bytes": (
        request(Opcode.FUSE_BATCH_FORGET, u32(2, 0) + u64(1, 1)),
        "2 items are announced",
    ),
    "2**32 - 1 forgets": (request(Opcode.FUSE_BATCH_FORGET, u32(2**32 - 1, 0)), "items are announced"),
    "forgets without a count": (request(Opcode.FUSE_BATCH_FORGET), "BATCH_FORGET"),
    "mappings without a count": (request(Opcode.FUSE_REMOVEMAPPING, b"\0"), "REMOVEMAPPING"),
    "more mappings than bytes": (request(Opcode.FUSE_REMOVEMAPPING, u32(1)), "1 items are announced"),
    "a second of nanoseconds": (
        request(Opcode.FUSE_SETATTR, u32(0, 0) + u64(0, 0, 0, 0, 0, 0) + u32(10**9, 0, 0, 0, 0, 0, 0, 0)),
        "a second or more of nanoseconds",
    ),
    "an xattr without a name": (request(Opcode.FUSE_GETXATTR, u32(1, 0)), "NUL"),
    "an xattr with an empty name": (request(Opcode.FUSE_REMOVEXATTR, b"\0"), "empty"),
    "an xattr with too short a value": (
        request(Opcode.FUSE_SETXATTR, u32(9, 0, 0, 0) + b"user.a\0value"),
        "9 bytes is announced, 5 are there",
    ),
    "an xattr with too long a value": (
        request(Opcode.FUSE_SETXATTR, u32(1, 0, 0, 0) + b"user.a\0va"),
        "announced",
    ),
    "an ioctl with too little": (
        request(Opcode.FUSE_IOCTL, u64(1) + u32(0, 0) + u64(0) + u32(8, 0)),
        "8 bytes",
    ),
    "half a poll": (request(Opcode.FUSE_POLL, bytes(16)), "POLL"),
    "half a CUSE_INIT": (request(Opcode.CUSE_INIT, bytes(8)), "CUSE_INIT: the body has 8 bytes, not 16"),
    "an INIT of 20 bytes": (request(Opcode.FUSE_INIT, bytes(20)), "neither 16 nor at least 64"),
    "a short reply to a retrieve": (request(Opcode.FUSE_NOTIFY_REPLY, bytes(39)), "NOTIFY_REPLY"),
    "a TMPFILE whose name has no end": (request(Opcode.FUSE_TMPFILE, bytes(16) + b"/"), "NUL"),
    "extensions larger than the request": (request(LOOKUP, b"a\0", extlen=1), "8 of them are extensions"),
    "extensions that swallow the body": (
        request(MKDIR, extensions=u32(16, 1) + bytes(8), extlen=2),
        "security context",
    ),
    "an extension of 4 bytes": (request(LOOKUP, b"a\0", extensions=u32(4, 32)), "says it has 4 bytes"),
    "an extension past the end": (
        request(LOOKUP, b"a\0", extensions=u32(16, 0)),
        "says it has 16 bytes, 8 are left",
    ),
    "an extension of an unknown type": (
        request(LOOKUP, b"a\0", extensions=u32(8, 33)),
        "type 33 is not known",
    ),
    "31 contexts in no bytes": (
        request(LOOKUP, b"a\0", extensions=u32(8, 31)),
        "31 security contexts are announced",
    ),
    "a context without NUL": (request(LOOKUP, b"a\0", extensions=u32(24, 1, 0, 0) + b"x" * 8), "NUL"),
    "a context past its end": (
        request(LOOKUP, b"a\0", extensions=u32(24, 1, 9, 0) + b"selinux\0"),
        "9 bytes, 0 are left",
    ),
    "groups without a number": (
        request(LOOKUP, b"a\0", extensions=u32(8, 32)),
        "supplementary groups is missing",
    ),
    "more groups than bytes": (
        request(LOOKUP, b"a\0", extensions=u32(16, 32, 2, 7)),
        "2 groups are announced",
    ),
    "2**32 - 1 groups": (
        request(LOOKUP, b"a\0", extensions=u32(16, 32, 2**32 - 1, 7)),
        "groups are announced",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_request_is_refused_with_a_reason(name):
    buf, reason = BAD_REQUESTS[name]
    with pytest.raises(ProtocolError) as caught:
        w.decode_request(buf)
    assert reason in str(caught.value)


def test_protocol_error_is_an_error_of_instar_and_a_value_error():
    assert issubclass(ProtocolError, (InstarError, ValueError))
    assert issubclass(w.EncodeError, InstarError)
    assert not issubclass(w.EncodeError, ProtocolError)


def test_short_form_of_setxattr_is_checked_too():
    with pytest.raises(ProtocolError, match="the body has 4 bytes, its structure alone 8"):
        w.decode_request(request(Opcode.FUSE_SETXATTR, bytes(4)), flags=0)


def test_length_past_the_buffer_is_refused():
    with pytest.raises(ProtocolError, match="a buffer of 40"):
        w.decode_request(request(Opcode.FUSE_STATFS), 4096)


def test_buffer_of_another_shape_is_read_as_bytes():
    buf = memoryview(request(GETATTR, bytes(16))).cast("Q")
    assert w.decode_request(buf)[1] == w.Getattr(None)


# What a kernel without a security module sends; some call it invalid.
def test_empty_security_context_is_accepted():
    header, message = w.decode_request(request(MKDIR, u32(0o755, 0o22) + b"d\0", extensions=u32(8, 0)))
    assert header.extensions == w.Extensions(secctx=())
    assert message == w.Mkdir("d", 0o755, 0o22)


def test_extensions_need_no_alignment_behind_a_name():
    for name in ("a", "ab", "abc", "abcdefgh"):
        extensions = w.Extensions((w.SecurityContext("security.selinux", b"u:r:t:s0"),), (1000,))
        buf = w.encode_request(w.Header(MKDIR, 2, 1, extensions=extensions), w.Mkdir(name, 0o700, 0))
        header, message = w.decode_request(buf)
        assert (header.extensions, message.name) == (extensions, name)


BAD_REPLIES = {
    "nothing": (LOOKUP, b"", "no room for its header"),
    "a wrong length": (LOOKUP, w.OUT_HEADER.pack(17, 0, 1), "says that it has 17 bytes, 16 are there"),
    "a positive error": (LOOKUP, w.OUT_HEADER.pack(16, 2, 1), "not from 1 to 511"),
    "an errno of 512": (LOOKUP, w.OUT_HEADER.pack(16, -512, 1), "not from 1 to 511"),
    "an error with a body": (LOOKUP, w.OUT_HEADER.pack(17, -2, 1) + b"x", "an errno and a body"),
    "an entry cut off": (LOOKUP, w.out_header(127, 1) + bytes(127), "127 bytes, not 128"),
    "a body too many": (Opcode.FUSE_UNLINK, w.out_header(1, 1) + b"x", "1 bytes, not 0"),
    "a reply to FORGET": (Opcode.FUSE_FORGET, w.out_header(0, 1), "FORGET has no reply"),
    "a reply to nothing": (7, w.out_header(0, 1), "opcode 7 is not known"),
    "half a line": (Opcode.FUSE_READDIR, w.out_header(8, 1) + bytes(8), "in the middle of a line"),
    "an empty name": (Opcode.FUSE_READDIR, w.out_header(24, 1) + bytes(24), "a name of 0 bytes"),
    "a name past the end": (
        Opcode.FUSE_READDIR,
        w.out_header(24, 1) + u64(1, 1) + u32(9, 8),
        "9 bytes, 0 are left",
    ),
    "a slash in a line": (
        Opcode.FUSE_READDIR,
        w.out_header(32, 1) + u64(1, 1) + u32(3, 8) + b"a/b".ljust(8, b"\0"),
        "a line with the name",
    ),
    "half a line with attributes": (
        Opcode.FUSE_READDIRPLUS,
        w.out_header(151, 1) + bytes(151),
        "middle of a line",
    ),
    "half a CREATE": (Opcode.FUSE_CREATE, w.out_header(128, 1) + bytes(128), "0 bytes, not 16"),
    "a link with NUL": (Opcode.FUSE_READLINK, w.out_header(3, 1) + b"a\0b", "holds a NUL"),
    "ranges for nothing": (
        Opcode.FUSE_IOCTL,
        w.out_header(16, 1) + u32(0, 0, 1, 0),
        "without FUSE_IOCTL_RETRY",
    ),
    "ranges cut off": (Opcode.FUSE_IOCTL, w.out_header(16, 1) + u32(0, 4, 1, 0), "announces 1 ranges"),
    "half an ioctl": (Opcode.FUSE_IOCTL, w.out_header(15, 1) + bytes(15), "its structure alone 16"),
    "a second of nanoseconds": (
        GETATTR,
        w.out_header(104, 1) + u64(1) + u32(10**9, 0) + bytes(88),
        "timeout",
    ),
    "a second of nanoseconds in a time": (
        GETATTR,
        w.out_header(104, 1) + bytes(64) + u32(10**9) + bytes(36),
        "a time with a second or more",
    ),
    "a second of nanoseconds in a time of birth": (
        Opcode.FUSE_STATX,
        w.out_header(288, 1) + bytes(32 + 64 + 16 + 8) + u32(10**9) + bytes(288 - 32 - 64 - 16 - 8 - 4),
        "a time with a second or more",
    ),
    "an INIT cut off": (Opcode.FUSE_INIT, w.out_header(4, 1) + u32(7), "at least 8"),
    "an INIT of the wrong version": (
        Opcode.FUSE_INIT,
        w.out_header(24, 1) + u32(7, 31, 0, 0, 0, 0),
        "not 64",
    ),
    "a CUSE_INIT cut off": (Opcode.CUSE_INIT, w.out_header(71, 1) + bytes(71), "its structure alone 72"),
    "a CUSE_INIT without NUL": (Opcode.CUSE_INIT, w.out_header(73, 1) + bytes(72) + b"x", "end with a NUL"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_bad_reply_is_refused_with_a_reason(name):
    opcode, buf, reason = BAD_REPLIES[name]
    with pytest.raises(ProtocolError) as caught:
        w.decode_reply(opcode, buf)
    assert reason in str(caught.value)


BAD_NOTIFICATIONS = {
    "nothing": (b"", "no room for its header"),
    "a wrong length": (w.OUT_HEADER.pack(15, 7, 0), "says that it has 15 bytes"),
    "a reply": (w.OUT_HEADER.pack(16, 7, 9), "is no notification"),
    "an unknown code": (w.OUT_HEADER.pack(16, 10, 0), "is no notification"),
    "RESEND with a body": (w.OUT_HEADER.pack(24, 7, 0) + u64(0), "8 bytes, not 0"),
    "INC_EPOCH with a body": (w.OUT_HEADER.pack(24, 8, 0) + u64(0), "8 bytes, not 0"),
    "half a POLL": (w.OUT_HEADER.pack(20, 1, 0) + u32(0), "4 bytes, not 8"),
    "half an INVAL_ENTRY": (w.OUT_HEADER.pack(24, 3, 0) + u64(0), "its structure alone 16"),
    "INVAL_ENTRY with a short name": (
        w.OUT_HEADER.pack(34, 3, 0) + u64(1) + u32(3, 0) + b"a\0",
        "3 bytes and a NUL",
    ),
    "DELETE without NUL": (w.OUT_HEADER.pack(42, 6, 0) + u64(1, 2) + u32(1, 0) + b"ab", "NUL"),
    "STORE with a short body": (
        w.OUT_HEADER.pack(41, 4, 0) + u64(1, 2) + u32(2, 0) + b"a",
        "2 bytes are announced",
    ),
    "PRUNE with too few nodes": (
        w.OUT_HEADER.pack(40, 9, 0) + u32(2, 0) + u64(0, 1),
        "2 nodes are announced",
    ),
}


@pytest.mark.parametrize("name", BAD_NOTIFICATIONS)
def test_bad_notification_is_refused_with_a_reason(name):
    buf, reason = BAD_NOTIFICATIONS[name]
    with pytest.raises(ProtocolError) as caught:
        w.decode_notification(buf)
    assert reason in str(caught.value)


# ------------------------------------------------------------------------------ nothing but ProtocolError


@st.composite
def mutated(draw, source):
    """Bytes of a true message with some of them cut off, repeated, flipped or overwritten, mostly with a true length."""
    buf = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["set", "cut", "insert", "word"]))
        place = draw(st.integers(0, max(len(buf) - 1, 0)))
        if kind == "set" and buf:
            buf[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del buf[place : place + draw(st.integers(1, 16))]
        elif kind == "insert":
            buf[place:place] = draw(st.binary(max_size=16))
        elif kind == "word" and len(buf) >= 4:
            place = min(place & ~3, len(buf) - 4)
            struct.pack_into("=I", buf, place, draw(st.sampled_from([0, 1, 7, 8, 0xFFFF, 2**31, 2**32 - 1])))
    if len(buf) >= 4 and draw(st.integers(0, 9)):
        struct.pack_into("=I", buf, 0, len(buf))
    return bytes(buf)


REQUEST_BYTES = strategies.ANY_REQUEST.map(lambda pair: w.encode_request(*pair))
REPLY_BYTES = st.one_of(
    [strategy.map(lambda reply: w.encode_reply(5, reply)) for strategy in strategies.REPLIES.values()]
)
OPCODE = st.sampled_from(sorted(OPCODES)) | st.integers(0, 60)


@settings(max_examples=700)
@given(
    buf=mutated(REQUEST_BYTES) | st.binary(max_size=200),
    flags=st.sampled_from([0, w.InitFlags.FUSE_SETXATTR_EXT]),
)
def test_no_bytes_make_decoding_a_request_fail_otherwise(buf, flags):
    try:
        header, message = w.decode_request(buf, flags=flags)
    except ProtocolError:
        return
    # what was accepted can be said again, and means the same
    again = w.encode_request(header, message, flags=flags)
    assert w.decode_request(again, flags=flags) == (header, message)


@settings(max_examples=1000)
@given(
    opcode=st.sampled_from(sorted(w.DECODERS)),
    buf=st.binary(max_size=120),
    start=st.integers(0, 120),
    end=st.integers(0, 120),
)
def test_no_bytes_make_a_body_decoder_fail_otherwise(opcode, buf, start, end):
    start, end = sorted((min(start, len(buf)), min(end, len(buf))))
    try:
        message = w.DECODERS[opcode](memoryview(buf), start, end)
    except ProtocolError:
        return
    assert isinstance(message, OPCODES[Opcode(opcode)].request)


@given(opcode=st.sampled_from(sorted(w.DECODERS)), extlen=st.integers(1, 0xFFFF))
def test_body_decoder_refuses_an_end_before_its_start(opcode, extlen):
    """A transport that takes the extensions off first may be told more of them than there are bytes."""
    with pytest.raises(ProtocolError):
        w.DECODERS[opcode](memoryview(bytes(4096)), 40, 40 - 8 * extlen)


@settings(max_examples=1000)
@given(opcode=OPCODE, buf=mutated(REPLY_BYTES) | st.binary(max_size=400), size_only=st.booleans())
def test_no_bytes_make_decoding_a_reply_fail_otherwise(opcode, buf, size_only):
    try:
        unique, reply = w.decode_reply(opcode, buf, size_only=size_only)
    except ProtocolError:
        return
    assert 0 <= unique < 2**64
    assert isinstance(reply, w.Reply)


def _notification_bytes(code):
    info = w.NOTIFICATIONS[code]
    return strategies.NOTIFICATIONS[info.message].map(
        lambda message: info.encode(*msgspec.structs.astuple(message))
    )


NOTIFICATION_BYTES = st.sampled_from(sorted(w.NOTIFICATIONS)).flatmap(_notification_bytes)


@settings(max_examples=500)
@given(buf=mutated(NOTIFICATION_BYTES) | st.binary(max_size=100))
def test_no_bytes_make_decoding_a_notification_fail_otherwise(buf):
    try:
        message = w.decode_notification(buf)
    except ProtocolError:
        return
    assert isinstance(message, w.Notification)

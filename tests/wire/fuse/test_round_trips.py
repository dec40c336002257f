# SPDX-License-Identifier: Apache-2.0
"""Every message comes back from its bytes as it went in."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.wire import fuse as w
from instar.wire.fuse import NOTIFICATIONS, OPCODES, Opcode
from tests.wire.fuse import strategies


def test_there_is_a_strategy_for_everything():
    assert set(strategies.REQUESTS) == set(OPCODES)
    assert set(strategies.REPLIES) == {reply for info in OPCODES.values() for reply in info.replies}
    assert set(strategies.NOTIFICATIONS) == {info.message for info in NOTIFICATIONS.values()}


@pytest.mark.parametrize("opcode", OPCODES, ids=lambda opcode: opcode.name)
@settings(max_examples=50)
@given(data=st.data())
def test_request_survives_its_bytes(opcode, data):
    header = data.draw(strategies.headers(opcode))
    message = data.draw(strategies.REQUESTS[opcode])
    buf = w.encode_request(header, message)
    assert w.decode_request(buf) == (header, message)
    # in a larger buffer, as a transport has it
    assert w.decode_request(memoryview(bytearray(buf) + b"\xee" * 64), len(buf)) == (header, message)


@given(header=strategies.headers(Opcode.FUSE_SETXATTR), message=strategies.REQUESTS[Opcode.FUSE_SETXATTR])
def test_setxattr_survives_without_the_extension_but_for_its_flags(header, message):
    message = msgspec.structs.replace(message, setxattr_flags=0)
    buf = w.encode_request(header, message, flags=0)
    assert w.decode_request(buf, flags=0) == (header, message)


@given(pair=strategies.ANY_REQUEST)
def test_body_decoder_alone_gives_the_same_message(pair):
    header, message = msgspec.structs.replace(pair[0], extensions=w.NO_EXTENSIONS), pair[1]
    buf = memoryview(w.encode_request(header, message))
    assert w.DECODERS[header.opcode](buf, w.IN_HEADER_SIZE, len(buf)) == message


@pytest.mark.parametrize(
    ("opcode", "reply"),
    [(opcode, reply) for opcode, info in OPCODES.items() for reply in info.replies],
    ids=lambda value: value.name if isinstance(value, Opcode) else value.__name__,
)
@settings(max_examples=50)
@given(data=st.data())
def test_reply_survives_its_bytes(opcode, reply, data):
    unique = data.draw(strategies.U64)
    message = data.draw(strategies.REPLIES[reply])
    buf = w.encode_reply(unique, message)
    assert w.decode_reply(opcode, buf, size_only=reply is w.SizeReply) == (unique, message)


@given(unique=strategies.U64, errno=st.integers(1, 511), opcode=st.sampled_from(sorted(OPCODES)))
def test_error_reply_survives_its_bytes(unique, errno, opcode):
    assert w.decode_reply(opcode, w.encode_error(unique, errno)) == (unique, w.ErrorReply(errno))
    assert w.encode_reply(unique, w.ErrorReply(errno)) == w.encode_error(unique, errno)


@pytest.mark.parametrize("code", NOTIFICATIONS, ids=lambda code: code.name)
@given(data=st.data())
def test_notification_survives_its_bytes(code, data):
    info = NOTIFICATIONS[code]
    message = data.draw(strategies.NOTIFICATIONS[info.message])
    buf = info.encode(*msgspec.structs.astuple(message))
    assert w.decode_notification(buf) == message


@given(extensions=strategies.EXTENSIONS)
def test_extensions_survive_their_bytes(extensions):
    buf = w.encode_extensions(extensions)
    assert len(buf) % 8 == 0
    assert w.decode_extensions(memoryview(buf), 0, len(buf)) == extensions
    assert w.decode_groups(memoryview(buf)) == extensions.groups


@given(ns=strategies.TIMES)
def test_any_time_survives_in_an_attribute_reply(ns):
    attr = w.Attributes(1, 0o100644, atime=ns, mtime=-ns // 2, ctime=ns // 3)
    _, reply = w.decode_reply(Opcode.FUSE_GETATTR, w.encode_reply(1, w.AttrReply(1.0, attr)))
    assert reply.attr == attr

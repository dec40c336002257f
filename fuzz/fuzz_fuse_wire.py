# SPDX-License-Identifier: Apache-2.0
"""Fuzz `instar.wire.fuse` with atheris: whatever the bytes, a message or ProtocolError, and what is read can be written.

    make fuzz                                            # all targets, FUZZ_SECONDS each
    python fuzz/fuzz_fuse_wire.py -max_total_time=60     # this one; arguments are those of libFuzzer

The first byte chooses what the rest is taken for. Half of the time the length field is corrected first: otherwise almost every
input would end at that check.
"""

from __future__ import annotations

import struct
import sys

import atheris

with atheris.instrument_imports(include=["instar.wire", "instar.layout"]):
    from instar.wire import fuse as w
    from instar.wire.fuse import DECODERS, OPCODES, OUT_HEADER_SIZE, Opcode, ProtocolError

#: Request types by a small number, so that one byte reaches them all.
_NUMBERS = sorted(OPCODES)
_REPLIES = [opcode for opcode in _NUMBERS if OPCODES[opcode].has_reply]
_CODES = sorted(w.NOTIFICATIONS)


def _with_length(data: bytes) -> bytes:
    return struct.pack("=I", len(data)) + data[4:] if len(data) >= 4 else data


def request(choice: int, data: bytes) -> None:
    """The bytes are a request."""
    flags = int(w.InitFlags.FUSE_SETXATTR_EXT) if choice & 1 else 0
    if choice & 2:
        data = _with_length(data)
    if choice & 4 and len(data) >= 8:
        data = data[:4] + struct.pack("=I", _NUMBERS[data[4] % len(_NUMBERS)]) + data[8:]
    header, message = w.decode_request(data, flags=flags)
    again = w.decode_request(w.encode_request(header, message, flags=flags), flags=flags)
    if again != (header, message):
        raise AssertionError(f"{message!r} came back as {again[1]!r}")


def body(choice: int, data: bytes) -> None:
    """The bytes are the body of a request."""
    opcode = _NUMBERS[choice % len(_NUMBERS)]
    message = DECODERS[opcode](memoryview(data), 0, len(data))
    if type(message) is not OPCODES[opcode].request:
        raise AssertionError(f"{opcode.name} gave {message!r}")


def reply(choice: int, data: bytes) -> None:
    """The bytes are the body of a reply, or a reply."""
    opcode = _REPLIES[choice % len(_REPLIES)]
    if choice & 128:
        data = w.out_header(len(data), 1) + data
    size_only = opcode in {Opcode.FUSE_GETXATTR, Opcode.FUSE_LISTXATTR} and bool(len(data) & 1)
    w.decode_reply(opcode, data, size_only=size_only)


def notification(choice: int, data: bytes) -> None:
    """The bytes are a notification, or its body."""
    if choice & 128:
        code = _CODES[choice % len(_CODES)]
        data = w.OUT_HEADER.pack(OUT_HEADER_SIZE + len(data), code, 0) + data
    w.decode_notification(data)


def extensions(choice: int, data: bytes) -> None:
    """The bytes are extensions."""
    found = w.decode_extensions(memoryview(data), 0, len(data))
    again = w.encode_extensions(found)
    if w.decode_extensions(memoryview(again), 0, len(again)) != found:
        raise AssertionError(f"{found!r} did not come back")


_TARGETS = (request, request, body, body, reply, notification, extensions)


def one_input(data: bytes) -> None:
    """Take one input; returns for every input, or there is a bug."""
    if len(data) < 2:
        return
    try:
        _TARGETS[data[0] % len(_TARGETS)](data[1], data[2:])
    except ProtocolError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

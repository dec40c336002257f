# SPDX-License-Identifier: Apache-2.0
"""The kernel is the witness: what it sends is decoded, and encoded again byte for byte; what it is sent it takes.

The traces were recorded with `kernel_peer` from the kernels in their names and stay here for ever.
"""

from __future__ import annotations

import json
import os
import pathlib
import select
import struct

import pytest

from instar.wire import fuse as w
from instar.wire.fuse import Opcode
from tests.wire.fuse import kernel_peer

TRACES = sorted((pathlib.Path(__file__).parent / "traces").glob("*.bin"))


def split(raw):
    """The requests of a trace."""
    while raw:
        (length,) = struct.unpack_from("=I", raw)
        yield raw[:length]
        raw = raw[length:]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_recorded_requests_mean_what_they_meant_and_encode_as_they_were(path):
    flags, lines = 0, []
    for raw in split(path.read_bytes()):
        header, message = w.decode_request(raw, flags=flags)
        assert w.encode_request(header, message, flags=flags) == raw
        if isinstance(message, w.Init):
            flags = message.flags & kernel_peer.WANTED
        lines.append(ascii(kernel_peer.describe(header, message)))
    assert lines == path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def served():
    """A real mount on which a program did everything: the peer, and what the program saw."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    with kernel_peer.Peer() as peer:
        seen = json.loads(peer.run(kernel_peer.client_source()))
        peer.run(kernel_peer.LOOK, notifications=kernel_peer.every_notification())
        seen["interrupted"] = peer.run(kernel_peer.INTERRUPTED).strip()
    return peer, seen


def test_every_request_of_the_kernel_encodes_again_as_it_was(served):
    peer, _ = served
    assert peer.differences == []


def test_kernel_takes_every_reply_and_notification(served):
    peer, _ = served
    assert peer.refused == []


def test_kernel_sends_every_request_of_an_ordinary_mount(served):
    peer, _ = served
    sent = {Opcode(header.opcode) for header, _, _ in peer.requests}
    never = {
        Opcode.FUSE_BMAP,  # block devices
        Opcode.FUSE_DESTROY,  # block devices, virtiofs
        Opcode.FUSE_SYNCFS,
        Opcode.FUSE_SETUPMAPPING,  # virtiofs
        Opcode.FUSE_REMOVEMAPPING,
        Opcode.CUSE_INIT,
    }
    newer = {Opcode.FUSE_TMPFILE: 37, Opcode.FUSE_STATX: 39, Opcode.FUSE_COPY_FILE_RANGE_64: 45}
    never |= {opcode for opcode, minor in newer.items() if peer.agreed.minor < minor}
    # whether one node or several are forgotten at a time is a matter of luck
    assert set(w.OPCODES) - never - sent <= {Opcode.FUSE_FORGET, Opcode.FUSE_BATCH_FORGET}


def test_program_sees_the_attributes_that_were_sent(served):
    seen = served[1]["attributes"]
    ns = kernel_peer.NS
    assert (seen["mode"], seen["nlink"], seen["uid"], seen["gid"]) == (0o100644, 3, 11, 12)
    assert (seen["size"], seen["blocks"], seen["blksize"]) == (8192, 16, 512)
    assert seen["times"] == [ns + 1, -5 * ns - 1, 3 * ns + 3]
    if served[0].agreed.minor >= 39:
        assert seen["btime"] == -4 * ns + 4
    assert (seen["xattr"], seen["xattrs"]) == ("value", ["user.a"])


def test_program_sees_the_data_that_was_sent(served):
    seen = served[1]["data"]
    assert seen["read"] == "x" * 100
    assert (seen["written"], seen["copied"], seen["ioctl"]) == (11, 10, "zzzz")
    assert (seen["data"], seen["hole"]) == (3, 1003)
    assert seen["lock"][:4] == [1, 0, 5, 5]
    assert seen["poll"] == select.POLLIN


def test_program_sees_the_names_that_were_sent(served):
    seen = served[1]
    assert seen["names"] == {"missing": True, "target": "tar/get", "rdev": os.makedev(8, 1)}
    assert seen["directories"] == {"names": ["fifo", "file"], "again": ["fifo", "file"], "frsize": 1024}


def test_interrupt_names_the_request_that_waits(served):
    assert served[1]["interrupted"] == "interrupted"

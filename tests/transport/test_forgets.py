# SPDX-License-Identifier: Apache-2.0
"""FORGET, which nobody waits for, is put off until nobody waits for anything."""

from __future__ import annotations

import os
import socket

import pytest

from instar.fs import FileSystem
from instar.testing._channel import Channel
from instar.transport import FuseDevice
from instar.wire import fuse as wire

FORGETS_AT_MOST = 64


class Nodes(FileSystem):
    def __init__(self):
        self.forgotten = []

    def forget(self, ino):
        self.forgotten.append(ino)


@pytest.fixture
def session():
    channel = Channel(Nodes())
    channel.session.forgets = []
    yield channel.session
    channel.close()


def forgetting(ino, count=1, said=48):
    head = wire.IN_HEADER.pack(said, wire.Opcode.FUSE_FORGET, 0, ino, 0, 0, 0, 0, 0)
    return head + wire.FuseForgetIn.CODEC.pack(count)


def forget(session, ino, **how):
    request = forgetting(ino, **how)
    assert session.handle(memoryview(bytearray(request)), len(request)) is None


def test_a_forget_waits_until_the_session_is_told_to_settle(session):
    session.remember(7)
    forget(session, 7)
    assert session.fs.forgotten == []
    session.settle()
    assert session.fs.forgotten == [7]
    assert 7 not in session.known


def test_a_node_that_is_found_again_meanwhile_is_kept(session):
    session.remember(7)
    forget(session, 7)
    session.remember(7)
    session.settle()
    assert session.fs.forgotten == []
    assert session.known[7] == 1


def test_no_more_than_a_few_wait(session):
    for ino in range(2, 2 + FORGETS_AT_MOST):
        assert session.fs.forgotten == []
        session.remember(ino)
        forget(session, ino)
    assert len(session.fs.forgotten) == FORGETS_AT_MOST


@pytest.mark.parametrize("put_off", [False, True])
def test_a_forget_that_lies_about_its_length_is_refused(session, put_off, caplog):
    session.forgets = [] if put_off else None
    session.remember(7)
    forget(session, 7, said=56)
    session.settle()
    assert session.fs.forgotten == []
    assert "a request of 48 bytes says that it has 56" in caplog.text


def test_what_was_put_off_is_done_before_destroy():
    class Told(Nodes):
        def destroy(self):
            self.at_the_end = list(self.forgotten)

    kernel, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel:
        device = FuseDevice(connection.detach(), Told())
        device.session.remember(7)
        kernel.send(forgetting(7))
        kernel.send(wire.encode_request(wire.Header(wire.Opcode.FUSE_DESTROY, 2, 0), wire.Destroy()))
        device.serve()
    assert device.session.fs.at_the_end == [7]


@pytest.mark.mount
@pytest.mark.root
@pytest.mark.timeout(30)
def test_a_mount_that_has_nothing_to_do_has_forgotten_all(tmp_path):
    from instar.fs.memfs import MemFS
    from instar.testing import mounted
    from tests.transport.services import until

    class Counting(MemFS):
        def getxattr(self, ctx, ino, name):
            return str(len(self._nodes)).encode()

    with mounted(Counting) as point:
        for number in range(10):
            (point / str(number)).touch()
        for number in range(10):
            (point / str(number)).unlink()
        until(lambda: os.getxattr(point, "user.nodes") == b"1")

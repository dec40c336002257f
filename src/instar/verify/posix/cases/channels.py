# SPDX-License-Identifier: Apache-2.0
"""Names that processes meet at: Unix sockets bound on the mount (unix(7)) and fifos (fifo(7))."""

from __future__ import annotations

import errno
import fcntl
import os
import socket

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import A, shared_directory

__all__: list[str] = []

_OPEN: dict[str, socket.socket] = {}


def _bind(path: str, kind: int = socket.SOCK_STREAM) -> None:
    """Bind and listen; the socket stays open under its path."""
    bound = socket.socket(socket.AF_UNIX, kind)
    try:
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    if kind != socket.SOCK_DGRAM:
        bound.listen()
    _OPEN[path] = bound


def _shut(path: str) -> None:
    _OPEN.pop(path).close()


def _serve(path: str) -> bytes:
    """Accept one connection, echo what comes in upper case, give what came."""
    peer, _ = _OPEN[path].accept()
    with peer:
        data = peer.recv(1000)
        peer.send(data.upper())
    return data


def _ask(path: str, data: bytes, kind: int = socket.SOCK_STREAM) -> bytes:
    with socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(path)
        client.send(data)
        return client.recv(1000)


def _receive(path: str) -> bytes:
    return _OPEN[path].recv(1000)


def _send(path: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(data, path)


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


@case({"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}, short=True)
def _socket_connects_two_processes(t: Arena, kind: int) -> None:
    server = t.another(t.me)
    server(_bind, "s", kind)
    t.has("s", kind="socket")
    serving = server.start(_serve, "s")
    t.equal(t.me(_ask, "s", b"hello", kind), b"HELLO", "answer")
    t.equal(serving.result(), b"hello", "request")


@case()
def _datagrams_reach_a_socket(t: Arena) -> None:
    server = t.another(t.me)
    server(_bind, "s", socket.SOCK_DGRAM)
    t.me(_send, "s", b"one")
    t.me(_send, "s", b"two")
    t.equal((server(_receive, "s"), server(_receive, "s")), (b"one", b"two"), "datagrams")
    t.me.fails(errno.EPROTOTYPE, _connect, "s")


@case()
def _name_of_a_socket_is_a_file(t: Arena) -> None:
    server = t.another(t.me)
    server(os.umask, 0o027)
    server(_bind, "s")
    t.has("s", kind="socket", mode=0o750)
    server.fails(errno.EADDRINUSE, _bind, "s")
    t.make("file", "f")
    server.fails(errno.EADDRINUSE, _bind, "f")
    server.fails(errno.ENOENT, _bind, "missing/s")
    serving = server.start(_serve, "s")
    t.make("dir", "d", 0o755)
    t.me(os.rename, "s", "d/t")
    t.equal(t.me(_ask, "d/t", b"moved"), b"MOVED", "answer by a new name")
    serving.result()
    t.me(os.link, "d/t", "hard")
    serving = server.start(_serve, "s")
    t.equal(t.me(_ask, "hard", b"linked"), b"LINKED", "answer by a second name")
    serving.result()
    t.me.fails(errno.ENOENT, _connect, "s")


@case(each("closed", "killed", "file", "fifo"))
def _socket_without_a_listener_is_econnrefused(t: Arena, how: str) -> None:
    server = t.another(t.me)
    if how in {"file", "fifo"}:
        t.make(how, "s")
        t.me.fails(errno.ECONNREFUSED, _connect, "s")
        return
    server(_bind, "s")
    if how == "closed":
        server(_shut, "s")
    else:
        server.kill()
    t.me.fails(errno.ECONNREFUSED, _connect, "s")
    t.has("s", kind="socket")
    t.me(os.unlink, "s")
    t.me.fails(errno.ENOENT, _connect, "s")
    t.me(_bind, "s")


@case()
def _connecting_needs_write_permission(t: Arena) -> None:
    shared_directory(t, "d")
    server = t.another(t.me)
    server(_bind, "d/s")
    t.me(os.chmod, "d/s", 0o755)
    t.user_a.fails(errno.EACCES, _connect, "d/s")
    t.me(os.chmod, "d/s", 0o722)
    t.user_a(_connect, "d/s")
    t.me(os.chmod, "d", 0o700)
    t.user_a.fails(errno.EACCES, _connect, "d/s")


@case()
def _binding_needs_write_permission_on_the_directory(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.user_a.fails(errno.EACCES, _bind, "d/s")
    t.me(os.chmod, "d", 0o777)
    t.user_a(_bind, "d/s")
    t.has("d/s", uid=A[0], gid=A[1], kind="socket")


# ----------------------------------------------------------------------------------------------- fifos


@case(short=True)
def _fifo_connects_two_processes(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    other = t.another(t.me)
    opening = other.start(os.open, "p", os.O_RDONLY)
    t.true(opening.waits(), "opening for reading waits for a writer")
    writer = t.me(os.open, "p", os.O_WRONLY)
    reader = opening.result()
    t.me(os.write, writer, b"through the pipe")
    t.equal(other(os.read, reader, 100), b"through the pipe", "what came")
    reading = other.start(os.read, reader, 100)
    t.true(reading.waits(), "reading an empty fifo waits")
    t.me(os.write, writer, b"more")
    t.equal(reading.result(), b"more", "what came")
    t.me(os.close, writer)
    t.equal(other(os.read, reader, 100), b"", "end of file when the writer is gone")
    t.has("p", size=0, kind="fifo")


@case()
def _opening_for_writing_waits_for_a_reader(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    other = t.another(t.me)
    opening = other.start(os.open, "p", os.O_WRONLY)
    t.true(opening.waits(), "opening for writing waits for a reader")
    reader = t.me(os.open, "p", os.O_RDONLY)
    writer = opening.result()
    other(os.write, writer, b"x")
    t.equal(t.me(os.read, reader, 10), b"x", "what came")


@case()
def _opening_is_interrupted_by_a_signal(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    other = t.another(t.me)
    opening = other.start(os.open, "p", os.O_RDONLY)
    t.true(opening.waits(), "opening waits")
    other.interrupt()
    opening.fails(errno.EINTR)


@case()
def _nonblocking_opens(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    t.me.fails(errno.ENXIO, os.open, "p", os.O_WRONLY | os.O_NONBLOCK)
    reader = t.me(os.open, "p", os.O_RDONLY | os.O_NONBLOCK)
    t.equal(t.me(os.read, reader, 10), b"", "content without a writer")
    writer = t.me(os.open, "p", os.O_WRONLY | os.O_NONBLOCK)
    t.me.fails(errno.EAGAIN, os.read, reader, 10)
    t.me(os.write, writer, b"x")
    t.equal(t.me(os.read, reader, 10), b"x", "content")
    t.me(os.close, reader)
    t.me.fails(errno.EPIPE, os.write, writer, b"x")


@case()
def _fifo_keeps_working_without_its_name(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    other = t.another(t.me)
    reader = t.me(os.open, "p", os.O_RDONLY | os.O_NONBLOCK)
    writer = other(os.open, "p", os.O_WRONLY)
    t.me(os.unlink, "p")
    other(os.write, writer, b"nameless")
    t.equal(t.me(os.read, reader, 100), b"nameless", "what came")
    t.equal(t.me(os.fstat, reader).st_nlink, 0, "nlink")
    t.make("fifo", "p", 0o600)
    fresh = t.me(os.open, "p", os.O_RDONLY | os.O_NONBLOCK)
    other(os.write, writer, b"old pipe")
    t.equal(t.me(os.read, fresh, 100), b"", "what comes out of a new fifo of that name")


@case()
def _all_names_lead_to_one_pipe(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    t.me(os.link, "p", "q")
    t.me(os.symlink, "q", "link")
    reader = t.me(os.open, "p", os.O_RDONLY | os.O_NONBLOCK)
    writer = t.me(os.open, "link", os.O_WRONLY)
    t.me(os.write, writer, b"x")
    t.equal(t.me(os.read, reader, 10), b"x", "content")


@case()
def _fifo_permissions_are_asked(t: Arena) -> None:
    t.make("fifo", "p", 0o624)
    t.user_a(_open_close, "p", os.O_RDONLY | os.O_NONBLOCK)
    t.user_a.fails(errno.EACCES, os.open, "p", os.O_WRONLY | os.O_NONBLOCK)
    t.user_a.fails(errno.EACCES, os.open, "p", os.O_RDWR | os.O_NONBLOCK)


def _open_close(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def _write_lines(path: str, letter: bytes, count: int) -> None:
    fd = os.open(path, os.O_WRONLY)
    for _ in range(count):
        os.write(fd, letter * 500)
    os.close(fd)


def _read_blocks(path: str, writers: int, count: int) -> tuple[int, bool]:
    """(bytes that came, whether each block of 500 is of one letter)."""
    fd = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_GETFL)
    data = b""
    while len(data) < writers * count * 500:
        data += os.read(fd, 65536)
    os.close(fd)
    return len(data), all(len(set(data[place : place + 500])) == 1 for place in range(0, len(data), 500))


@case()
def _small_writes_of_several_processes_stay_whole(t: Arena) -> None:
    t.make("fifo", "p", 0o600)
    actors = [t.another(t.me) for _ in range(3)]
    reading = t.me.start(_read_blocks, "p", 3, 40)
    pending = [
        actor.start(_write_lines, "p", letter, 40)
        for actor, letter in zip(actors, (b"a", b"b", b"c"), strict=True)
    ]
    for one in pending:
        one.result()
    t.equal(reading.result(), (3 * 40 * 500, True), "bytes that came, and whether the blocks are whole")
    t.equal(t.me(_do.exists, "p"), True, "existence of the fifo")

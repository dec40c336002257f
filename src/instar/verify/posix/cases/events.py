# SPDX-License-Identifier: Apache-2.0
"""inotify(7) as another process sees it; poll(2), select(2) and epoll(7) on files of the mount."""

from __future__ import annotations

import errno
import os
import select

from instar.edge.syscalls import InotifyMask, inotify_add_watch, inotify_init1, inotify_read
from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each

__all__: list[str] = []

_I = InotifyMask
_ALL = 0x0FFF
_WATCHED = (
    _I.MODIFY
    | _I.ATTRIB
    | _I.CREATE
    | _I.DELETE
    | _I.MOVED_FROM
    | _I.MOVED_TO
    | _I.DELETE_SELF
    | _I.MOVE_SELF
    | _I.CLOSE_WRITE
)


def _watch(path: str, mask: int = int(_WATCHED)) -> int:
    fd = inotify_init1(os.O_NONBLOCK)
    inotify_add_watch(fd, path, mask)
    return fd


def _events(fd: int) -> list[tuple[str, str]]:
    """What came so far: (names of the mask's bits, name); empty if nothing did."""
    events = []
    while select.select([fd], [], [], 0)[0]:
        for event in inotify_read(fd):
            kind = event.mask & ~_I.ISDIR
            events.append(("|".join(flag.name or "?" for flag in _I if flag & kind), event.name))
    return events


def _watcher(t: Arena, path: str = ".", mask: int = int(_WATCHED)) -> tuple[Actor, int]:
    watcher = t.another(t.me)
    return watcher, watcher(_watch, path, mask)


@case(short=True)
def _names_that_come_and_go_are_told(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    watcher, fd = _watcher(t)
    t.me(_do.create, "f")
    t.equal(watcher(_events, fd), [("CREATE", "f"), ("CLOSE_WRITE", "f")], "events of a new file")
    t.me(os.mkdir, "e", 0o755)
    t.me(os.symlink, "x", "link")
    t.me(os.mkfifo, "p", 0o600)
    t.me(os.link, "f", "hard")
    got = [event for event in watcher(_events, fd) if event[0] != "ATTRIB"]
    t.equal(
        got, [("CREATE", "e"), ("CREATE", "link"), ("CREATE", "p"), ("CREATE", "hard")], "events of new names"
    )
    t.me(os.rename, "f", "g")
    t.equal(watcher(_events, fd), [("MOVED_FROM", "f"), ("MOVED_TO", "g")], "events of a rename")
    t.me(os.rename, "g", "d/g")
    t.equal(watcher(_events, fd), [("MOVED_FROM", "g")], "events of a rename to elsewhere")
    t.me(os.rename, "d/g", "f")
    t.equal(watcher(_events, fd), [("MOVED_TO", "f")], "events of a rename from elsewhere")
    t.me(os.unlink, "hard")
    t.me(os.rmdir, "e")
    got = [event for event in watcher(_events, fd) if event[0] != "ATTRIB"]
    t.equal(got, [("DELETE", "hard"), ("DELETE", "e")], "events of removal")


@case()
def _changes_of_a_file_are_told(t: Arena) -> None:
    t.make("file", "f")
    watcher, fd = _watcher(t)
    out = t.me(os.open, "f", os.O_RDWR)
    t.me(os.write, out, b"text")
    t.equal(watcher(_events, fd), [("MODIFY", "f")], "events of a write")
    t.me(os.ftruncate, out, 1)
    t.equal(watcher(_events, fd), [("MODIFY", "f")], "events of ftruncate")
    t.me(os.close, out)
    t.equal(watcher(_events, fd), [("CLOSE_WRITE", "f")], "events of close")
    t.me(os.chmod, "f", 0o600)
    t.me(os.utime, "f")
    t.equal(watcher(_events, fd), [("ATTRIB", "f")], "events of chmod and utime, which are alike and joined")
    t.me(os.truncate, "f", 0)
    t.equal(watcher(_events, fd), [("MODIFY", "f")], "events of truncate")


@case()
def _watched_file_tells_of_its_own_end(t: Arena) -> None:
    t.make("file", "f")
    watcher, fd = _watcher(t, "f")
    t.me(os.rename, "f", "g")
    t.equal(watcher(_events, fd), [("MOVE_SELF", "")], "events of a rename")
    t.me(os.link, "g", "h")
    watcher(_events, fd)
    t.me(os.unlink, "g")
    t.equal(watcher(_events, fd), [("ATTRIB", "")], "events when one of two names goes")
    t.me(os.unlink, "h")
    kinds = [kind for kind, _ in watcher(_events, fd)]
    t.equal(kinds, ["ATTRIB", "DELETE_SELF", "IGNORED"], "events when the last name goes")


@case()
def _reading_is_told_to_those_who_ask(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    watcher, fd = _watcher(t, "f", int(_I.OPEN | _I.ACCESS | _I.CLOSE_NOWRITE))
    t.me(_do.read, "f")
    kinds = [kind for kind, _ in watcher(_events, fd)]
    t.equal(kinds, ["OPEN", "ACCESS", "CLOSE_NOWRITE"], "events of a read")


@case()
def _two_halves_of_a_rename_share_a_cookie(t: Arena) -> None:
    t.make("file", "f")
    t.equal(t.me(_rename_cookies, "f", "g"), (2, 1), "events, and different cookies")


def _rename_cookies(old: str, new: str) -> tuple[int, int]:
    fd = _watch(".")
    os.rename(old, new)
    events = inotify_read(fd)
    os.close(fd)
    return len(events), len({event.cookie for event in events if event.cookie})


# ------------------------------------------------------------------------------------ poll and friends


def _poll(path: str, flags: int) -> tuple[int, int]:
    """(poll events that are ready at once, select's count) of a file."""
    fd = os.open(path, flags)
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
        ready = dict(poller.poll(1000)).get(fd, 0)
        lists = select.select([fd], [fd], [], 1)
        return ready, len(lists[0]) + len(lists[1])
    finally:
        os.close(fd)


@case(
    {"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR, "append": os.O_WRONLY | os.O_APPEND},
    short=True,
)
def _regular_file_is_always_ready(t: Arena, flags: int) -> None:
    for size in (0, 10):
        t.me(_do.write, "f", b"x" * size)
        ready, count = t.me(_poll, "f", flags)
        t.equal(ready & (select.POLLIN | select.POLLOUT), select.POLLIN | select.POLLOUT, "poll events")
        t.equal(ready & (select.POLLERR | select.POLLHUP | select.POLLNVAL), 0, "poll errors")
        t.equal(count, 2, "select's count")


@case()
def _directory_is_always_ready(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    ready, _ = t.me(_poll, "d", os.O_RDONLY)
    t.true(ready & select.POLLIN, "POLLIN of a directory")


def _epoll(path: str) -> int:
    fd = os.open(path, os.O_RDONLY)
    with select.epoll() as poller:
        try:
            poller.register(fd, select.EPOLLIN)
            return len(poller.poll(1))
        finally:
            os.close(fd)


@case()
def _epoll_of_a_regular_file_is_eperm_or_ready(t: Arena) -> None:
    t.me(_do.write, "f", b"x")
    # Linux refuses files without a poll operation; FUSE files have one and are ready.
    number = t.me.attempt(_epoll, "f")
    t.true(number in {0, errno.EPERM}, f"errno {number}")
    if number == 0:
        t.equal(t.me(_epoll, "f"), 1, "events")


@case(
    each(
        "fifo",
    )
)
def _fifo_is_ready_when_it_has_data(t: Arena, kind: str) -> None:
    t.make(kind, "p")
    other = t.another(t.me)
    reader = t.me(os.open, "p", os.O_RDONLY | os.O_NONBLOCK)
    t.equal(t.me(_poll_fd, reader) & select.POLLIN, 0, "POLLIN of an empty fifo")
    writer = other(os.open, "p", os.O_WRONLY)
    other(os.write, writer, b"x")
    t.equal(t.me(_poll_fd, reader) & select.POLLIN, select.POLLIN, "POLLIN of a fifo with data")
    t.me(os.read, reader, 10)
    other(os.close, writer)
    t.equal(t.me(_poll_fd, reader) & select.POLLHUP, select.POLLHUP, "POLLHUP when the writer is gone")


def _poll_fd(fd: int) -> int:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return dict(poller.poll(0)).get(fd, 0)

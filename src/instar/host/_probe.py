# SPDX-License-Identifier: Apache-2.0
"""Asking a mount that may hang: in a process of its own, with a deadline.

A system call on a FUSE mount whose server does not answer can wait for ever, and a thread in it keeps its process from ending. So
another process asks, and is left behind if it has not answered in time: it ends when the mount does. Only paths on file systems
that others serve are asked so; `resolved` looks at all others itself.

Specification: fs/fuse/dev.c, ``request_wait_answer``: after a SIGKILL the wait for a request that the server has read goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
import time
from collections import deque
from typing import Final

from instar.edge.mount import MountError
from instar.edge.mountinfo import MountEntry, containing_mount, mount_table

__all__ = ["PROBE_SECONDS", "asked", "require_answer", "resolved"]

PROBE_SECONDS: Final = 2.0  # a server that is alive and busy answers within milliseconds
_PATH_MAX: Final = 4096  # bytes, the NUL at the end included; linux/limits.h
_MAX_LINKS: Final = 40  # MAXSYMLINKS, linux/namei.h
#: Types of file systems that ask another process or machine; with a dot or nothing behind, and all that begin with "fuse".
_REMOTE: Final = frozenset({"9p", "afs", "autofs", "ceph", "cifs", "nfs", "nfs4", "smb3", "virtiofs"})

#: Descriptors of processes that were left behind and have not been waited for.
_LEFT: Final[deque[int]] = deque()

# What the other process runs: each argument is a path, asked in a thread of its own, so that one that hangs keeps none of the
# others waiting. It writes "INDEX ERRNO LINK\0" for each: 0 for an answer, and where the path is a link, to where.
_ASK: Final = r"""
import os, sys, threading
def ask(index, path):
    link = b""
    try:
        try:
            link = os.readlink(path)
        except OSError:
            os.statvfs(path)
            os.stat(path)
        code = 0
    except OSError as error:
        code = error.errno
    os.write(1, b"%d %d %s\0" % (index, code, link))
for each in enumerate(map(os.fsencode, sys.argv[1:])):
    threading.Thread(target=ask, args=each).start()
"""


def asked(paths: list[str], seconds: float = PROBE_SECONDS) -> dict[str, tuple[int, str]]:
    """Ask each path for its attributes and its file system's, all at once.

    Gives (errno or 0, where a symbolic link leads or "") for each path that has answered within ``seconds``.
    """
    for _ in range(len(_LEFT)):
        with contextlib.suppress(IndexError):  # another thread had it
            _reap_or_leave(_LEFT.popleft())
    if not paths:
        return {}
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((null, 0), (writer, 1), (null, 2))]
        command = [sys.executable, "-I", "-S", "-c", _ASK, *paths]
        # Not subprocess, which waits for its children: this one may never end.
        child = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
        # At once: where the caller ignores SIGCHLD, the number is another's as soon as the child has ended.
        pidfd = os.pidfd_open(child)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        os.close(null)
    try:
        text = _read_until_end(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        _abandon(pidfd)
    answers = {}
    for answer in text.split(b"\0")[:-1]:
        index, code, link = answer.split(b" ", 2)
        answers[paths[int(index)]] = int(code), os.fsdecode(link)
    return answers


def require_answer(path: str) -> None:
    """Ask a path on a file system that another process serves whether it answers; others are not asked.

    Raises :class:`MountError` (``ETIMEDOUT``) that names the mount that hangs.
    """
    entry = containing_mount(mount_table(), path)
    if entry is not None and _is_remote(entry):
        _answer(path, entry)


def resolved(path: str | os.PathLike[str]) -> str:
    """``path`` as the kernel's table of mounts spells it: absolute and without symbolic links.

    Asks nothing of a mount point itself, which may be a mount that hangs, and of what lies below one that others serve
    only with a deadline. Raises :class:`MountError` (``ETIMEDOUT``) that names the mount that does not answer.
    """
    table = mount_table()
    points = {entry.mountpoint for entry in table}
    # POSIX lets two slashes be a root of their own, and abspath keeps them; Linux has one root.
    path = "/" + os.path.abspath(path).lstrip("/")
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise MountError(f"{path[:60]}...: {os.strerror(errno.ENAMETOOLONG)}.", errno.ENAMETOOLONG)
    place = path  # as far as the table knows it, there is no link in it
    while place not in points and place != "/":
        place = os.path.dirname(place)
    names = _names(path[len(place) :])
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            place = os.path.dirname(place)
            continue
        candidate = os.path.join(place, name)
        link = "" if candidate in points else _link(candidate, table)
        if not link:
            place = candidate
            continue
        links += 1
        if links > _MAX_LINKS:
            raise MountError(f"{path}: {os.strerror(errno.ELOOP)}.", errno.ELOOP)
        names += _names(link)
        if link.startswith("/"):
            place = "/"
    return place


def _names(path: str) -> list[str]:
    """The components, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _link(path: str, table: list[MountEntry]) -> str:
    """Where a symbolic link leads; "" for what is none, or missing."""
    entry = containing_mount(table, path)
    if entry is not None and _is_remote(entry):
        return _answer(path, entry)
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _answer(path: str, entry: MountEntry) -> str:
    answer = asked([path]).get(path)
    if answer is None:
        do = "end what hangs there"
        if entry.fstype.startswith("fuse.instar"):
            do = f"look at it with `instar status {entry.mountpoint}`, or remove it with `instar umount --force {entry.mountpoint}`"
        raise MountError(
            f"{path} lies on the mount {entry.mountpoint}, which does not answer: {do}.", errno.ETIMEDOUT
        )
    return answer[1]


def _is_remote(entry: MountEntry) -> bool:
    return entry.fstype.startswith("fuse") or entry.fstype in _REMOTE


def _read_until_end(reader: int, deadline: float) -> bytes:
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    text = b""
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        piece = os.read(reader, 1 << 16)
        if not piece:
            break
        text += piece
    return text


def _abandon(pidfd: int) -> None:
    """Kill the process that asked. Where it hangs in the kernel it stays until the mount answers or goes."""
    try:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody had to wait for it
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.poll(200)
    finally:
        _reap_or_leave(pidfd)


def _reap_or_leave(pidfd: int) -> None:
    """Have the kernel drop what is left of a process that has ended; the next call of :func:`asked` does it for another."""
    try:
        if os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is None:
            _LEFT.append(pidfd)
            return
    except ChildProcessError:  # the caller ignores SIGCHLD, or waits for every child
        pass
    os.close(pidfd)


def _leave_to_parent() -> None:
    """In the child of a fork: the processes are not its own, and to keep the descriptors would serve nobody."""
    while _LEFT:
        os.close(_LEFT.popleft())


os.register_at_fork(after_in_child=_leave_to_parent)

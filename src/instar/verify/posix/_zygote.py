# SPDX-License-Identifier: Apache-2.0
"""The process that actors are forked from, and the loop that an actor runs.

The suite may be started from a program with threads, where fork(2) is not safe; so one single-threaded interpreter is
started once, and forks an actor for each identity that a case asks for, in a millisecond or two. When the control socket
ends, because the suite is done or was killed, all actors are killed, also those that wait for a lock.

On the control socket: a pickled identity ``(uid, gid, groups)`` or None (stay as you are) with the actor's socket as
SCM_RIGHTS, answered by its pid; or the pid of an actor to be killed and reaped, answered by whether it died. On an actor's socket: see
:mod:`instar.verify.posix._wire`.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from instar.verify.posix import _wire
from instar.verify.posix._case import all_cases

__all__ = ["enter", "leave", "main"]

_MESSAGE = 4096
_DYING = 5.0  # seconds that a killed process may take
_kept_fd = 0


def main(control_fd: int) -> None:
    """Serve the control socket until it ends."""
    # So that the actors find the functions loaded that they are asked to call.
    list(all_cases())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the suite, which ends this process
    control = socket.socket(fileno=control_fd)
    children: set[int] = set()
    while True:
        message, fds, _, _ = socket.recv_fds(control, _MESSAGE, 1)
        if not message:
            break
        request = pickle.loads(message)  # noqa: S301 - from the parent, over a socket pair
        if isinstance(request, int):
            ended = _end(request)
            children.discard(request)
            control.send(pickle.dumps(ended))
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            _become(request)
            _serve(socket.socket(fileno=fds[0]))
        os.close(fds[0])
        children.add(pid)
        control.send(pickle.dumps(pid))
    for child in children:
        _end(child)


def _end(pid: int) -> bool:
    """Kill and reap; False if the process does not die, because it is stuck in the kernel."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _DYING
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def _become(identity: tuple[int, int, tuple[int, ...]] | None) -> None:
    if identity is None:
        return
    uid, gid, groups = identity
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _interrupted(number: int, frame: object) -> None:
    """Make the interrupted system call fail with EINTR instead of being called again (PEP 475)."""
    raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


def _serve(requests: socket.socket) -> NoReturn:
    global _kept_fd
    _kept_fd = requests.fileno()
    signal.signal(signal.SIGUSR1, _interrupted)
    os.umask(0)
    while (request := _wire.receive(requests)) is not None:
        function, arguments, keywords = request
        _wire.send(requests, _call(function, arguments, keywords))
    os._exit(0)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
    try:
        return _wire.Done(function(*arguments, **keywords))
    except OSError as error:
        return _wire.Failed(error.errno or 0, _wire.where(error))
    except Exception:  # noqa: BLE001 - whatever went wrong in a case is told to the suite, which reports it
        return _wire.Broke(traceback.format_exc())


def enter(directory: str) -> None:
    """Start a case: a clean process in the case's directory."""
    _clean()
    os.chdir(directory)


def leave() -> None:
    """End a case: nothing that keeps its directory busy."""
    _clean()
    os.chdir("/")


def _clean() -> None:
    os.umask(0)
    os.closerange(3, _kept_fd)
    os.closerange(_kept_fd + 1, os.sysconf("SC_OPEN_MAX"))

# SPDX-License-Identifier: Apache-2.0
"""Actors: processes with an identity that do what a case asks for, one request at a time.

``actor(os.mkdir, "d", 0o755)`` calls the function in the actor's process and gives its result, or raises what the
function raised; ``actor.fails(errno.EACCES, os.mkdir, "d")`` asserts that it fails with that errno;
``actor.start(...)`` does not wait. Any module-level function can be called; it runs in the case's directory with a umask
of 0. Descriptors are numbers of that process and are closed when the case ends.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from instar.verify.posix import _wire, _zygote

if TYPE_CHECKING:
    from instar.verify.posix._arena import Arena

__all__ = ["CALL_TIMEOUT", "Actor", "Broken", "Crew", "Hung", "Identity", "Pending", "error_name"]

P = ParamSpec("P")
R = TypeVar("R")

_START = f"from {_zygote.__name__} import main; main({{}})"
# Long enough for a slow mount on a busy machine, short enough that a hang is a failed case and not a failed run.
CALL_TIMEOUT = 30.0  # seconds


class Hung(Exception):
    """A call did not return in time; its process has been killed."""


class Broken(Exception):
    """A function of a case raised something that is not OSError; its traceback."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """Whose rights a process has. A uid of -1 is the suite's own identity, unchanged."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def error_name(number: int) -> str:
    """``EACCES`` for 13; ``success`` for 0."""
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"  # errorcode has its other name
    return errno.errorcode.get(number, f"errno {number}") if number else "success"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...({len(text)} characters)"


def _describe(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    parts = [_short(value) for value in arguments] + [
        f"{key}={_short(value)}" for key, value in keywords.items()
    ]
    return f"{function.__name__}({', '.join(parts)})"


class Process:
    """The suite's end of an actor's process."""

    def __init__(self, crew: Crew, identity: Identity) -> None:
        self._crew = crew
        self.identity = identity
        self.busy = False
        ours, theirs = socket.socketpair()
        with theirs:
            self.pid = crew.fork(identity, theirs)
        ours.settimeout(CALL_TIMEOUT)
        self._socket = ours
        self.dead = False

    def request(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        """Send a request; the answer is fetched by :meth:`answer`."""
        assert not self.busy, "an actor does one thing at a time: use arena.another()"
        self.busy = True
        _wire.send(self._socket, (function, arguments, keywords))

    def answer(self, timeout: float = CALL_TIMEOUT) -> Any:
        """The answer; TimeoutError if there is none in time. Raises :class:`Hung` if the process died."""
        self._socket.settimeout(timeout)
        answer = _wire.receive(self._socket)
        self.busy = False
        if answer is None:
            self.kill()
            raise Hung("the actor's process died")
        return answer

    def readable(self, seconds: float) -> bool:
        """Whether an answer has come, or comes within ``seconds``."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def do(self, function: Callable[..., Any], *arguments: Any, timeout: float = CALL_TIMEOUT) -> Any:
        """Call a function of the harness itself. Raises OSError as it did, or Hung after ``timeout`` seconds."""
        what = _describe(function, arguments, {})
        self.request(function, arguments, {})
        try:
            answer = self.answer(timeout)
        except TimeoutError:
            self.kill()
            raise Hung(f"{what} did not return within {timeout:.0f} s") from None
        if isinstance(answer, _wire.Failed):
            raise OSError(answer.errno, f"{what} ({answer.where}): {error_name(answer.errno)}")
        if isinstance(answer, _wire.Broke):
            raise Broken(f"{what}\n{answer.text}")
        return answer.value

    def kill(self) -> None:
        """End the process; harmless a second time."""
        if not self.dead:
            self.dead = True
            self._socket.close()
            self._crew.end(self.pid)


class Crew:
    """All processes of a run. Use as a context manager: no process outlives it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-c", _START.format(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        self._by_identity: dict[Identity, Process] = {}
        #: Whether a process did not die when it was killed: the mount hangs, and no more can be asked of it.
        self.stuck = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._by_identity.values():
            process.kill()
        self._control.close()
        self._zygote.wait()

    def fork(self, identity: Identity, theirs: socket.socket) -> int:
        """A new process of that identity that serves ``theirs``; its pid."""
        wanted = None if identity.uid == -1 else (identity.uid, identity.gid, identity.groups)
        socket.send_fds(self._control, [pickle.dumps(wanted)], [theirs.fileno()])
        return int(self._answer())

    def end(self, pid: int) -> None:
        """Kill and reap an actor's process; :attr:`stuck` if it does not die."""
        self._control.send(pickle.dumps(pid))
        self.stuck |= not self._answer()

    def _answer(self) -> Any:
        message = self._control.recv(4096)
        if not message:
            raise RuntimeError("the process that actors are forked from died; its messages are above")
        return pickle.loads(message)  # noqa: S301 - from our own child

    def process(self, identity: Identity) -> Process:
        """The long-lived process of an identity; a new one if the last was killed."""
        process = self._by_identity.get(identity)
        if process is None or process.dead:
            process = self._by_identity[identity] = Process(self, identity)
        return process


class Actor:
    """An identity at work in one case. See the module's text."""

    def __init__(self, arena: Arena, process: Process) -> None:
        self._arena = arena
        self._process = process
        self.identity = process.identity

    @property
    def pid(self) -> int:
        """Process id, for signals."""
        return self._process.pid

    def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call and wait; counts as an assertion that it succeeds. Raises OSError as the function did."""
        return self.start(function, *args, **kwargs).result()

    def fails(
        self,
        expected: int | tuple[int, ...],
        function: Callable[P, object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Assert that the call fails with ``expected``, or with one of several where the standard allows that.

        A wrong outcome is noted and the case goes on.
        """
        self.start(function, *args, **kwargs).fails(expected)

    def attempt(self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Call and give the errno, or 0; no assertion."""
        return self.start(function, *args, **kwargs).attempt()

    def start(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
        """Begin a call that may block, and go on."""
        self._process.request(function, args, kwargs)
        return Pending(self._arena, self._process, _describe(function, args, kwargs))

    def interrupt(self) -> None:
        """Interrupt the call that was started: it fails with EINTR."""
        os.kill(self.pid, signal.SIGUSR1)

    def kill(self) -> None:
        """End the process as SIGKILL does: the kernel closes its descriptors and drops its locks."""
        self._process.kill()


class Pending(Generic[R]):
    """A call that was started."""

    def __init__(self, arena: Arena, process: Process, what: str) -> None:
        self._arena = arena
        self._process = process
        self._what = what

    def __str__(self) -> str:
        return f"{self._process.identity.name}: {self._what}"

    def waits(self, seconds: float = 0.05) -> bool:
        """Whether the call is still under way after ``seconds``, or when it is done, at once."""
        assert self._process.busy
        return not self._process.readable(seconds)

    def result(self) -> R:
        """Wait for the result. Raises OSError as the function did, Hung after half a minute."""
        answer = self._fetch()
        if isinstance(answer, _wire.Failed):
            where = f" ({answer.where})" if answer.where else ""
            raise OSError(answer.errno, f"{self}{where}: {error_name(answer.errno)}, should succeed")
        result: R = answer.value
        return result

    def attempt(self) -> int:
        """Wait; the errno, or 0 for success."""
        answer = self._fetch()
        self._arena.assertions -= 1
        return answer.errno if isinstance(answer, _wire.Failed) else 0

    def fails(self, expected: int | tuple[int, ...]) -> None:
        """Wait and assert that the call failed with ``expected``."""
        got = self.attempt()
        self._arena.assertions += 1
        allowed = (expected,) if isinstance(expected, int) else expected
        if got not in allowed:
            self._arena.lacking(got)
            wanted = " or ".join(error_name(number) for number in allowed)
            self._arena.fail(f"{self}: {error_name(got)}, should be {wanted}")

    def _fetch(self) -> _wire.Done | _wire.Failed:
        self._arena.assertions += 1
        try:
            answer = self._process.answer()
        except TimeoutError:
            self._process.kill()
            raise Hung(f"{self} did not return within {CALL_TIMEOUT:.0f} s") from None
        if isinstance(answer, _wire.Broke):
            raise Broken(f"{self}\n{answer.text}")
        assert isinstance(answer, _wire.Done | _wire.Failed)
        return answer

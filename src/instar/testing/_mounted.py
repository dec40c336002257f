# SPDX-License-Identifier: Apache-2.0
"""`mounted`: a file system on a real mount for the length of a ``with`` block.

The server is a forked child, because a process that uses its own mount can deadlock on itself: the kernel waits for the
server while the server's interpreter is held by the call that waits. The child opens the connection, so the test
process never holds its descriptor, and the kernel aborts the mount when the child dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn

from instar._errors import InstarError
from instar.edge import mount as edge
from instar.fs import FileSystem
from instar.host import load
from instar.host._mounts import mounts_at
from instar.transport import mount, parse_options

__all__ = ["ServerFailedError", "mounted"]

_READY: Final = b"\0"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0
_LINGER_SECONDS: Final = 2.0  # after an unmount, before anybody asks why the server is still there


class ServerFailedError(InstarError):
    """The server did not start, died, or logged an exception that it did not expect."""


@contextlib.contextmanager
def mounted(
    target: str | Callable[[], FileSystem],
    *,
    options: Mapping[str, object] | str = "",
    mountpoint: str | os.PathLike[str] | None = None,
    allow_errors: bool = False,
) -> Iterator[Path]:
    """Mount ``target`` and yield the mount point.

    ``target`` is what the command line takes, or a function without arguments that makes the file system; it runs in
    the server's process. ``options`` are mount options, as ``-o`` takes them or as a mapping. At the end the mount is
    removed and the server awaited. Raises :class:`ServerFailedError` when it could not start or died, and, unless
    ``allow_errors``, when it logged an error meanwhile.

    >>> with mounted("memfs") as path:  # doctest: +SKIP
    ...     (path / "file").write_text("content")
    """
    text = options if isinstance(options, str) else ",".join(_option(*item) for item in options.items())
    with contextlib.ExitStack() as stack:
        if mountpoint is None:
            mountpoint = stack.enter_context(_scratch_directory())
        path = Path(mountpoint)
        log = stack.enter_context(tempfile.TemporaryFile("w+b"))
        before = _devices(path)
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _serve(target, path, text, writer, log.fileno())
        os.close(writer)
        pidfd = os.pidfd_open(child)
        stack.callback(os.close, pidfd)
        with open(reader, "rb", buffering=0) as pipe:
            said = pipe.read(1) if _readable(reader, _START_SECONDS) else b""
        if said != _READY:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            _detach(path, _devices(path) - before)  # it may have mounted, and hung in its init
            raise ServerFailedError(f"The server did not start:\n{_text(log)}")
        ours = _devices(path) - before
        try:
            yield path
        finally:
            status = _stop(path, child, pidfd, ours)
        output = _text(log)
        if status != 0:
            raise ServerFailedError(f"The server ended with status {status}:\n{output}")
        if not allow_errors and "ERROR" in output:
            raise ServerFailedError(f"The server logged errors:\n{output}")


def _option(key: str, value: object) -> str:
    if value is True:
        return key
    return f"no{key}" if value is False else f"{key}={value}"


@contextlib.contextmanager
def _scratch_directory() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="instar-mnt-")
    os.chmod(path, 0o755)  # other users must get through when the mount allows them
    try:
        yield path
    finally:
        os.rmdir(path)


def _serve(
    target: str | Callable[[], FileSystem], path: Path, options: str, writer: int, log: int
) -> NoReturn:
    """The child: serve until unmounted. Never returns into the test's frames."""
    status = 1
    try:
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test's Ctrl-C is the test's; it unmounts
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for handler in logging.root.handlers[:]:
            logging.root.removeHandler(handler)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - the child's last stream; a test runner replaced it
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
        mount_options, rest = parse_options(options)
        fs = load(target).make(rest) if isinstance(target, str) else target()
        mount(fs, path, mount_options, ready=lambda: _tell(writer))
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of a process: whatever ended it is reported
        traceback.print_exc()
    finally:
        try:
            sys.stderr.flush()
        finally:  # a log that cannot be written must not let the child into the test's frames
            os._exit(status)


def _tell(writer: int) -> None:
    os.write(writer, _READY)
    os.close(writer)


def _stop(path: Path, child: int, pidfd: int, ours: set[str]) -> int:
    """Unmount and wait for the server; returns its exit status. A server that does not end is killed: status -9.

    Unless it has nothing to end for: a process that has got a mount namespace of its own meanwhile (a container, a sandbox,
    a service of systemd) has got the mount with it, and keeps it. The server is told to stop then.
    """
    if ours & _devices(path):  # the test may have unmounted it
        with contextlib.suppress(edge.MountError):  # in use
            edge.unmount(str(path))
        _detach(path, ours)
    if not _readable(pidfd, _LINGER_SECONDS) and _is_mounted_elsewhere(ours):
        os.kill(child, signal.SIGTERM)
    if not _readable(pidfd, _STOP_SECONDS):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _devices(path: Path) -> set[str]:
    """The device numbers of what is mounted at ``path``; read from the kernel's table, because a mount may hang."""
    return {line.device for line in mounts_at(path)}


def _is_mounted_elsewhere(devices: set[str]) -> bool:
    """Whether a process of this machine has one of these devices mounted; to be asked when none is mounted here."""
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # the process has ended
            if any(line.split(b" ", 3)[2].decode() in devices for line in table.read_bytes().splitlines()):
                return True
    return False


def _detach(path: Path, ours: set[str]) -> None:
    """Detach our own mount and what the test left on top of it; what was there before stays."""
    while ours & _devices(path):
        try:
            edge.unmount(str(path), lazy=True)
        except edge.MountError:
            if ours & _devices(path):  # its server did not do it meanwhile
                raise


def _readable(fd: int, seconds: float) -> bool:
    poller = select.poll()  # select(2) knows no descriptor above 1023
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _text(log: object) -> str:
    assert hasattr(log, "seek")
    assert hasattr(log, "read")
    log.seek(0)
    return str(log.read().decode(errors="replace"))

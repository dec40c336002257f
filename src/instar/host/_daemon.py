# SPDX-License-Identifier: Apache-2.0
"""Starting a server: in the foreground, or in a process of its own that outlives the shell.

The parent waits until the child says that the mount is there, or why it is not, so that the exit status of
``instar mount`` is the truth. The child has its own session, the root directory, and a log file.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

from instar import __version__
from instar._errors import InstarError
from instar.host._lock import MountLock
from instar.host._mounts import find_mount, runtime_directory, unusable, write_record
from instar.host._probe import require_answer, resolved
from instar.host._target import load
from instar.transport import MountOptions, mount

if TYPE_CHECKING:
    from collections.abc import Callable

    from instar.host._target import Options

__all__ = ["StartError", "start"]

_READY: Final = b"\0"
#: Directories of the Filesystem Hierarchy Standard that programs cannot do without.
_NEEDED: Final = frozenset(
    {
        "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/usr/bin", "/usr/lib",
        "/usr/lib64", "/usr/sbin", "/var",
    }
)  # fmt: skip
_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


class StartError(InstarError):
    """The server could not start; the message is what it said."""


def start(
    target: str,
    mountpoint: str,
    mount_options: MountOptions,
    options: Options,
    *,
    foreground: bool = False,
    dry_run: bool = False,
) -> None:
    """Mount ``target`` at ``mountpoint``.

    In the foreground this returns when it has been unmounted; otherwise as soon as the mount is there.
    With ``dry_run`` the file system is made, in this process, and nothing is mounted.
    Raises :class:`InstarError` that says what to do; then nothing is mounted. Of several that start at one place at
    the same time one mounts, and the others are refused.
    """
    if not mountpoint:  # an unset variable of a script; it would mean the working directory
        raise StartError("The mount point is empty: give a directory.")
    mountpoint = os.path.abspath(mountpoint)
    place = resolved(mountpoint)
    _check_free(mountpoint)
    require_answer(place)
    _check_place(place)
    if foreground or dry_run:
        try:
            if dry_run:
                load(target).make(options)
                return
            _serve(target, mountpoint, mount_options, options, "", lambda: None)
        except (InstarError, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a file system that fails can raise anything
            traceback.print_exc()
            raise StartError(_said(target, error)) from None
        return
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(target, mountpoint, mount_options, options, writer)
    os.close(writer)
    with open(reader, "rb", buffering=0) as pipe:
        said = pipe.read(len(_READY))
        if said != _READY:
            said += pipe.read()
    os.waitpid(child, 0)
    if said != _READY:
        raise StartError(
            said.decode(errors="replace").strip() or f"The server of {mountpoint} died while it started."
        )


def _check_place(place: str) -> None:
    """Refuse to hide what the machine needs to go on working."""
    if place == "/":
        raise StartError(
            "/ is the root directory: a mount over it would hide everything. Give another directory, such as /mnt."
        )
    if place not in _NEEDED:
        return
    try:
        is_empty = not os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return  # hides nothing; mounting says what is wrong with it
    except OSError as error:
        raise StartError(
            f"{place} is a part of the system and cannot be read ({error.strerror}): give another directory."
        ) from None
    if not is_empty:
        raise StartError(
            f"{place} is a part of the system and not empty: a mount over it would hide what programs need. Give another directory."
        )


def _check_free(mountpoint: str) -> None:
    """Refuse a second mount on top of the first, which would only hide it."""
    record = find_mount(mountpoint)
    if record is None:
        return
    what = f"has {record.target or record.source} mounted already"
    if not record.alive:
        what = "is a mount whose server is gone"
    raise StartError(f"{mountpoint} {what}: run `instar umount {mountpoint}` first.")


def _said(target: str, error: BaseException) -> str:
    return f"{target} failed: {traceback.format_exception_only(error)[-1].strip()}"


def _child(
    target: str, mountpoint: str, mount_options: MountOptions, options: Options, writer: int
) -> NoReturn:
    """The rest of the child's life. Never returns."""
    status = 1
    parent = open(writer, "wb", buffering=0)  # noqa: SIM115 - closed when the mount is there, or by the exit
    message = log = ""

    def ready() -> None:
        parent.write(_READY)
        parent.close()

    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _close_inherited(writer)
        log = str(runtime_directory() / f"{os.getpid()}.log")
        try:
            _detach_streams(log)
        except OSError as error:
            raise unusable(runtime_directory(), error) from None
        _serve(target, mountpoint, mount_options, options, log, ready)
        status = 0
        os.unlink(log)
    except InstarError as error:
        message = str(error)
        if not parent.closed:  # it says all there is
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log)
        else:
            traceback.print_exc()
    except BaseException as error:  # noqa: BLE001 - the last frame of a process: whatever ended it is reported
        message = _said(target, error)
        with contextlib.suppress(OSError):  # the file system of the log is full
            traceback.print_exc()
            sys.stderr.flush()
            message += f"\nThe traceback is in {log}."
    finally:
        try:
            if message and not parent.closed:
                parent.write(message.encode(errors="surrogateescape"))
            sys.stderr.flush()
        finally:
            os._exit(status)


def _close_inherited(keep: int) -> None:
    """Close what the caller had open, which a server that outlives it would keep open: pipes, sockets, locked files."""
    gc.freeze()  # no forgotten file object may close the number again, which is another file's by then
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != keep:
            with contextlib.suppress(OSError):  # that of the listing
                os.close(fd)


def _detach_streams(log: str) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for fd, new in ((0, null), (1, out), (2, out)):
        os.dup2(new, fd)
    os.close(null)
    os.close(out)


def _serve(
    target: str,
    mountpoint: str,
    mount_options: MountOptions,
    options: Options,
    log: str,
    ready: Callable[[], None],
) -> None:
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    found = load(target)
    fs = found.make(options)
    if log:
        os.chdir("/")  # a server in the background keeps no directory in use
    if mount_options.subtype is None:
        mount_options.subtype = found.name
    place = resolved(mountpoint)
    try:
        lock = MountLock(runtime_directory(), place, target)
    except OSError as error:
        raise unusable(runtime_directory(), error) from None
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        _check_free(mountpoint)  # again: another may have mounted since

        def mounted() -> None:
            stack.enter_context(write_record(mountpoint, target, __version__, log))
            lock.release()
            ready()

        threading.current_thread().name = "instar"
        mount(fs, mountpoint, mount_options, ready=mounted)

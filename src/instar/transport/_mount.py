# SPDX-License-Identifier: Apache-2.0
"""Mounting a file system and serving it: what the command line, the tests and users call."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from instar.edge import mount as edge
from instar.edge.mount import MountError, MountFlags
from instar.edge.mountinfo import MountEntry, mount_table, stacked
from instar.transport._options import MountOptions
from instar.transport.fuse_dev import FuseDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from instar.fs import FileSystem

__all__ = ["attach", "mount"]

_log = logging.getLogger("instar.fuse")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DETACH_SECONDS: Final = 2.0  # a server that is told to end at once waits no longer for its mount to go
#: relatime is not among them: it is what the kernel does anyway.
_NOT_BY_FUSERMOUNT: Final = {
    MountFlags.NODIRATIME: "nodiratime",
    MountFlags.STRICTATIME: "strictatime",
    MountFlags.LAZYTIME: "lazytime",
}
_NOT_OF_A_TYPE = re.compile(r"[^\w.+-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def attach(fs: FileSystem, mountpoint: str, options: MountOptions) -> int:
    """Mount ``fs`` at ``mountpoint`` and return the connection's descriptor; nothing is served yet.

    Raises :class:`MountError` that says what to do: the mount point is missing or of the wrong type, the rights are
    missing, the device is missing.
    """
    mode = _check_mountpoint(mountpoint)
    kind = _NOT_OF_A_TYPE.sub("_", (options.subtype or type(fs).__name__).lower())
    source = _CONTROL.sub("?", options.fsname or fs.fsname or kind)
    flags = options.flags
    if fs.read_only:
        flags |= MountFlags.RDONLY
    settings: dict[str, str | None] = {}
    if options.default_permissions:
        settings["default_permissions"] = None
    if options.allow_other:
        settings["allow_other"] = None
    if options.max_read:
        settings["max_read"] = str(options.max_read)
    try:
        fd = edge.open_fuse_device()
    except MountError as error:
        if error.errno == errno.EACCES:
            return _fusermount(mountpoint, source, kind, flags, settings)
        raise
    data = [
        f"fd={fd}",
        f"rootmode={stat.S_IFMT(mode):o}",
        f"user_id={os.geteuid()}",
        f"group_id={os.getegid()}",
    ]
    data += [key if value is None else f"{key}={value}" for key, value in settings.items()]
    try:
        edge.mount(source, mountpoint, f"fuse.instar.{kind}", flags, ",".join(data))
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EPERM:
            return _fusermount(mountpoint, source, kind, flags, settings)
        raise MountError(f"Mounting at {mountpoint} failed: {error.strerror}.", error.errno or 0) from None
    return fd


def _check_mountpoint(mountpoint: str) -> int:
    try:
        mode = os.stat(mountpoint).st_mode
    except FileNotFoundError:
        raise MountError(
            f"{mountpoint} does not exist: make it with `mkdir {mountpoint}`.", errno.ENOENT
        ) from None
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise MountError(
                f"{mountpoint} is a mount whose server is gone: run `instar umount {mountpoint}` first.",
                errno.ENOTCONN,
            ) from None
        raise MountError(f"{mountpoint} cannot be used: {error.strerror}.", error.errno or 0) from None
    if not stat.S_ISDIR(mode):
        raise MountError(
            f"{mountpoint} is not a directory: file systems are mounted on directories.", errno.ENOTDIR
        )
    return mode


def _fusermount(
    mountpoint: str, source: str, kind: str, flags: MountFlags, settings: dict[str, str | None]
) -> int:
    names = {
        MountFlags.RDONLY: "ro", MountFlags.NOSUID: "nosuid", MountFlags.NODEV: "nodev", MountFlags.NOEXEC: "noexec",
        MountFlags.NOATIME: "noatime", MountFlags.SYNCHRONOUS: "sync", MountFlags.DIRSYNC: "dirsync",
    }  # fmt: skip
    unknown = [name for flag, name in _NOT_BY_FUSERMOUNT.items() if flags & flag]
    if unknown:
        raise MountError(
            f"fusermount3, which mounts for users, cannot set {', '.join(unknown)}: leave that out, or mount as root.",
            errno.EPERM,
        )
    words: dict[str, str | None] = {name: None for flag, name in names.items() if flags & flag}
    return edge.fusermount(mountpoint, {"fsname": source, "subtype": f"instar.{kind}", **words, **settings})


def mount(
    fs: FileSystem,
    mountpoint: str | os.PathLike[str],
    options: MountOptions | None = None,
    *,
    ready: Callable[[], None] | None = None,
) -> None:
    """Mount ``fs`` and serve it until it is unmounted.

    ``ready`` is called when the mount is there and ``fs.init`` is done. In the main thread SIGINT,
    SIGTERM and SIGHUP unmount cleanly: at once when nothing is in use, else lazily (the last user's close ends it); a
    second signal ends the process.
    Raises :class:`MountError`, and what ``fs.init`` raises; in either case nothing stays mounted.
    """
    options = options or MountOptions()
    path = os.path.abspath(mountpoint)
    for name in ("entry_timeout", "attr_timeout", "negative_timeout"):
        value = getattr(options, name)
        if value is not None:
            setattr(fs, name, value)
    place = os.path.realpath(path)  # before the mount is there, and nobody to answer for it
    fd = attach(fs, path, options)
    attachment = _Attachment(place)
    device: FuseDevice | None = None
    try:
        device = _device(fd, fs, options)
        with _signals_unmount(attachment, device.stop):
            device.serve(ready)
    finally:
        # After a failure, a stop or an abort nobody will answer there again. What has been unmounted is left alone: the
        # next mount on the place may have got the number of ours.
        if device is None or not device.unmounted:
            attachment.detach()


def _device(fd: int, fs: FileSystem, options: MountOptions) -> FuseDevice:
    try:
        return FuseDevice(fd, fs, options)
    except BaseException:
        os.close(fd)
        raise


class _Attachment:
    """The mount that was just made at ``path``, a path without symbolic links; what others have mounted there, below or since, is not touched."""

    def __init__(self, path: str) -> None:
        self._path = path
        entry = self._top()
        self._device = "" if entry is None else entry.device

    def _top(self) -> MountEntry | None:
        stack = stacked(mount_table(), self._path)
        return stack[-1] if stack else None

    @property
    def is_there(self) -> bool:
        """Whether it is mounted still, and on top."""
        entry = self._top()
        return entry is not None and entry.device == self._device

    def unmount(self) -> None:
        """Unmount. Raises :class:`MountError`: it is in use, or not there any more."""
        if not self.is_there:
            raise MountError(f"{self._path} has been unmounted already.", errno.EINVAL)
        edge.unmount(self._path)

    def detach(self) -> bool:
        """Detach lazily; False when there is nothing (any more)."""
        if not self.is_there:
            return False
        try:
            edge.unmount(self._path, lazy=True)
        except (MountError, OSError) as error:
            _log.warning("%s could not be detached: %s", self._path, error)
            return False
        return True


@contextmanager
def _signals_unmount(attachment: _Attachment, stop: Callable[[], None]) -> Iterator[None]:
    """While the body runs, SIGINT, SIGTERM and SIGHUP unmount; a no-op outside the main thread.

    Where somebody has detached the mount already, and only open files keep it alive, they ``stop`` the server. A
    signal that is ignored (``nohup``) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unmount() -> None:
        # In a thread: unmounting writes dirty pages back, and it is the main thread that serves those writes.
        try:
            attachment.unmount()
        except (MountError, OSError) as error:
            _log.warning("%s Unmounting lazily; a second signal ends the server at once.", error)
            if not attachment.detach():
                stop()

    def on_signal(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, on_second_signal)
        threading.Thread(target=unmount, name="instar-unmount", daemon=True).start()

    def on_second_signal(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        thread = threading.Thread(target=attachment.detach, name="instar-detach", daemon=True)
        thread.start()
        thread.join(_DETACH_SECONDS)
        signal.raise_signal(number)

    before = {each: handler for each in _SIGNALS if (handler := signal.getsignal(each)) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, on_signal)
    try:
        yield
    finally:
        for each, handler in before.items():
            # None: it was not Python's, and Python cannot put it back.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)

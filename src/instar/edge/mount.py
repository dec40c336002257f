# SPDX-License-Identifier: Apache-2.0
"""Attaching a FUSE connection to a directory: ``mount(2)``, ``umount2(2)`` and ``fusermount3``.

Root (``CAP_SYS_ADMIN``) mounts by itself. Everyone else asks the setuid helper ``fusermount3``, which opens
``/dev/fuse``, mounts, and sends the descriptor back over a Unix socket whose number it finds in the environment
variable ``_FUSE_COMMFD`` (``util/fusermount.c`` of libfuse describes this protocol). Inside a user namespace of its
own a process may mount FUSE directly as well (Linux 4.18, commit 4ad769f3c346 "fuse: Allow fully unprivileged
mounts").
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from instar._errors import InstarError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MountError",
    "MountFlags",
    "UmountFlags",
    "abort_connection",
    "fusermount",
    "mount",
    "open_fuse_device",
    "umount",
    "unmount",
]

FUSE_DEVICE = "/dev/fuse"
FUSE_CONNECTIONS = "/sys/fs/fuse/connections"

# SAFETY: the prototypes are those of sys/mount.h, so no argument is passed in another width than the C library reads.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.mount.restype = ctypes.c_int
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.umount2.restype = ctypes.c_int


class MountError(InstarError):
    """A file system could not be attached or detached; ``errno`` says why where the kernel said so."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.errno = code


class MountFlags(enum.IntFlag):
    """``mountflags`` of ``mount(2)`` (``linux/mount.h``)."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    SYNCHRONOUS = 16
    REMOUNT = 32
    DIRSYNC = 128
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    RELATIME = 1 << 21
    STRICTATIME = 1 << 24
    LAZYTIME = 1 << 25


class UmountFlags(enum.IntFlag):
    """``flags`` of ``umount2(2)``."""

    NONE = 0
    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8


def open_fuse_device() -> int:
    """Open ``/dev/fuse`` without blocking reads and return the descriptor.

    Raises :class:`MountError` that says how to get the device.
    """
    try:
        return os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise MountError(
            "There is no /dev/fuse: load the module with `modprobe fuse`, or give the container the device.",
            errno.ENOENT,
        ) from None
    except PermissionError:
        raise MountError(
            "/dev/fuse may not be opened: run as root, or install fuse3, whose fusermount3 opens it for users.",
            errno.EACCES,
        ) from None


def mount(source: str, target: str, fstype: str, flags: MountFlags, data: str) -> None:
    """``mount(2)``. Raises :class:`OSError` with the call's errno, naming ``target``."""
    # SAFETY: five arguments of the declared types; the byte strings live until the call returns and the kernel
    # copies what it needs from them.
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), fstype.encode(), int(flags), os.fsencode(data)
    )
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def umount(target: str, flags: UmountFlags = UmountFlags.NONE) -> None:
    """``umount2(2)``. Raises :class:`OSError`: ``EINVAL`` not a mount point, ``EBUSY`` in use, ``EPERM`` not root."""
    # SAFETY: a NUL-terminated path that lives until the call returns, and an int.
    if _libc.umount2(os.fsencode(target), int(flags)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def fusermount(target: str, options: Mapping[str, str | None]) -> int:
    """Have ``fusermount3`` mount at ``target`` and return the descriptor of the connection, non-blocking.

    Raises :class:`MountError` with the helper's own message.
    """
    helper = _fusermount_path()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        text = ",".join(_escaped(key, value) for key, value in options.items())
        command = [helper, *(["-o", text] if text else []), "--", target]
        done = subprocess.run(
            command,
            env={**_environment(), "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            check=False,
        )
        theirs.close()
        if done.returncode != 0:
            message, code = _complaint(done)
            raise MountError(f"fusermount3 could not mount at {target}: {message}", code or errno.EPERM)
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    if not fds:
        raise MountError(f"fusermount3 mounted at {target} but sent no descriptor back.", errno.EPROTO)
    os.set_inheritable(fds[0], False)
    os.set_blocking(fds[0], False)
    return fds[0]


def unmount(target: str, *, lazy: bool = False, force: bool = False) -> None:
    """Detach what is mounted at ``target``: by ``umount2``, or by ``fusermount3 -u`` where that is not allowed.

    ``lazy`` detaches at once and lets open files go on; ``force`` aborts requests in flight first.
    Raises :class:`MountError` that says what to do when it is busy or not a mount point.
    """
    flags = UmountFlags.NOFOLLOW
    if lazy:
        flags |= UmountFlags.DETACH
    if force:
        flags |= UmountFlags.FORCE
    try:
        umount(target, flags)
    except OSError as error:
        if error.errno == errno.EPERM:
            _fusermount_unmount(target, lazy=lazy)
        elif error.errno in (errno.EBUSY, errno.EINVAL, errno.ENOENT):
            raise _explained(target, error.errno) from None
        else:
            raise


def abort_connection(device: str) -> bool:
    """Abort the FUSE connection with this device number ("major:minor"): all that waits for it fails.

    It is the user who mounted that may (Documentation/filesystems/fuse.rst, "Control filesystem"). ``False`` where that file system
    is not mounted, or does not let the caller.
    """
    try:
        with open(f"{FUSE_CONNECTIONS}/{device.partition(':')[2]}/abort", "wb", buffering=0) as file:
            file.write(b"1")
    except OSError:
        return False
    return True


def _explained(target: str, code: int) -> MountError:
    if code == errno.EBUSY:
        return MountError(
            f"{target} is in use: close what is open there (`fuser -vm {target}`), or use --lazy.", code
        )
    return MountError(f"Nothing is mounted at {target}.", code)


def _fusermount_unmount(target: str, *, lazy: bool) -> None:
    command = [_fusermount_path(), "-u", *(["-z"] if lazy else []), "--", target]
    done = subprocess.run(command, env=_environment(), stderr=subprocess.PIPE, check=False)
    if done.returncode == 0:
        return
    message, code = _complaint(done)
    if code in (errno.EBUSY, errno.EINVAL, errno.ENOENT):
        raise _explained(target, code)
    raise MountError(f"fusermount3 could not unmount {target}: {message}", code or errno.EPERM)


def _environment() -> dict[str, str]:
    """This process's, with messages in English: the helper says what failed in words alone."""
    return {**os.environ, "LC_ALL": "C"}


def _complaint(done: subprocess.CompletedProcess[bytes]) -> tuple[str, int]:
    """What the helper said, and the errno in it; 0 where it named none."""
    message = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
    if " not found in " in message:  # "entry for MOUNTPOINT not found in /etc/mtab"
        return message, errno.EINVAL
    codes = [code for code in errno.errorcode if message.endswith(f": {os.strerror(code)}")]
    return message, codes[0] if codes else 0


def _fusermount_path() -> str:
    path = shutil.which("fusermount3") or shutil.which("fusermount")
    if path is None:
        raise MountError(
            "Mounting without root needs the program fusermount3: install the package fuse3, or run as root.",
            errno.ENOENT,
        )
    return path


def _escaped(key: str, value: str | None) -> str:
    # fusermount splits options at commas; a backslash keeps one.
    if value is None:
        return key
    return f"{key}=" + value.replace("\\", "\\\\").replace(",", "\\,")

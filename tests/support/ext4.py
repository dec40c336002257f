# SPDX-License-Identifier: Apache-2.0
"""A fresh ext4 in a loop-mounted image: the oracle that other file systems are compared with.

:func:`ext4_image` makes the image, mounts it with ``acl`` and ``user_xattr``, yields the mount point and takes all of
it away again, also when the body raises. The image file is unlinked as soon as it is mounted, so its blocks go back
when the mount goes. What a killed test run left behind is found by a lock that died with its owner, and removed by the
next call. Needs root, ``mkfs.ext4`` (e2fsprogs) and a free loop device; :func:`why_not` says what is missing.

Specification: mke2fs(8), ext4(5), losetup(8).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

__all__ = ["ext4_image", "loop_image", "why_not"]

_PREFIX = "instar-loop-"
_YOUNG = 30  # seconds within which a directory may not have been locked by its maker yet


def why_not(fstype: str = "ext4") -> str | None:
    """Why a loop image of ``fstype`` cannot be made here, in one line, or None if it can."""
    if os.geteuid() != 0:
        return f"a loop-mounted {fstype} needs root"
    if shutil.which(f"mkfs.{fstype}", path=_sbin_path()) is None:
        return f"mkfs.{fstype} is not installed"
    if not os.path.exists("/dev/loop-control"):
        return "/dev/loop-control is missing: the kernel has no loop devices"
    with open("/proc/filesystems") as known:
        if not any(line.split()[-1] == fstype for line in known):
            return f"the kernel does not know {fstype}"
    return None


@contextlib.contextmanager
def ext4_image(
    size_mb: int = 256, *, mkfs: Sequence[str] = (), options: Sequence[str] = ("acl", "user_xattr")
) -> Iterator[pathlib.Path]:
    """Mount a new ext4 of ``size_mb`` MiB and yield its mount point (owned by root, mode 0755, empty).

    ``mkfs`` are more arguments for mkfs.ext4 (``["-N", "1000000"]`` for a million inodes), ``options`` the options of
    the mount. ``lost+found`` is removed. Raises RuntimeError with mkfs's or mount's own words when they fail.
    """
    # Without lazy initialisation nothing writes in the background while a test measures or fills the image.
    arguments = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0", *mkfs]
    with loop_image("ext4", size_mb, mkfs=arguments, options=options) as mountpoint:
        (mountpoint / "lost+found").rmdir()
        yield mountpoint


@contextlib.contextmanager
def loop_image(
    fstype: str, size_mb: int, *, mkfs: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[pathlib.Path]:
    """As :func:`ext4_image` for any file system that has a ``mkfs.<fstype>`` (xfs, btrfs...).

    Raises RuntimeError with the tool's own words when mkfs or mount fails.
    """
    missing = why_not(fstype)
    if missing is not None:
        raise RuntimeError(missing)
    _remove_stale()
    home = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX))
    home.chmod(0o755)
    mountpoint = home / "mnt"
    with open(home / "owner", "wb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            mountpoint.mkdir()
            image = home / "image"
            with open(image, "wb") as backing:
                backing.truncate(size_mb << 20)
            _run(f"mkfs.{fstype}", "-q", "-f" if fstype != "ext4" else "-F", *mkfs, str(image))
            _run("mount", "-t", fstype, "-o", ",".join(["loop", *options]), str(image), str(mountpoint))
            image.unlink()
            yield mountpoint
        finally:
            _remove(home)


def _sbin_path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": _sbin_path()},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed ({done.returncode}): {done.stderr.strip()}")


def _remove(home: pathlib.Path) -> None:
    """Unmount what is mounted under ``home`` and delete it; a busy mount is detached and goes with its last user."""
    mountpoint = home / "mnt"
    while os.path.ismount(mountpoint):
        try:
            _run("umount", str(mountpoint))
        except RuntimeError:
            _run("umount", "--lazy", str(mountpoint))
    shutil.rmtree(home)


def _remove_stale() -> None:
    """Remove images whose owner was killed: the kernel dropped its lock, so the lock can be had."""
    for home in pathlib.Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        try:
            if time.time() - home.stat().st_mtime < _YOUNG:
                continue
            owner = open(home / "owner", "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:
            continue  # another run is removing it at this moment
        with owner:
            try:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            with contextlib.suppress(FileNotFoundError):
                _remove(home)

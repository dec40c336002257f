# SPDX-License-Identifier: Apache-2.0
"""Mount points: is it there, wait for it, take it away; and the loop-mounted ext4 that everything is compared on.

Mounts are read from ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)). A FUSE server that hangs is cut off through
``/sys/fs/fuse/connections/N/abort``, so that a benchmark never leaves a dead mount.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CONNECTIONS = Path("/sys/fs/fuse/connections")


class MountTrouble(Exception):
    """A mount did not come or did not go."""


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    point: str
    minor: int  # of st_dev; for FUSE it is the number of the connection
    kind: str


def find_mount(point: str) -> Mount | None:
    """The topmost mount at ``point``, or None."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            fields = left.split()
            if fields[4] == point:
                found = Mount(point, int(fields[2].partition(":")[2]), right.split()[0])
    return found


def wait_for_mount(point: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 20.0) -> Mount:
    """Wait until ``point`` is mounted and answers stat.

    Raises:
        MountTrouble: the server ended first, or nothing was mounted in time; with the tail of its log.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        mount = find_mount(point)
        if mount is not None:
            os.stat(point)
            return mount
        if server.poll() is not None:
            raise MountTrouble(f"ended with {server.returncode} before it mounted: {tail(log)}")
        time.sleep(0.005)
    raise MountTrouble(f"nothing mounted after {seconds:.0f} s: {tail(log)}")


def tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log, on one line."""
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    return " | ".join(text.splitlines()[-lines:]) or "no output"


def unmount(point: str) -> None:
    """Unmount, first kindly, then lazily with the FUSE connection aborted."""
    mount = find_mount(point)
    if mount is None:
        return
    if subprocess.run(["umount", point], capture_output=True, check=False, timeout=60).returncode == 0:
        return
    abort = CONNECTIONS / str(mount.minor) / "abort"
    if mount.kind.startswith("fuse") and abort.exists():
        abort.write_text("1")
    subprocess.run(["umount", "--lazy", point], capture_output=True, check=False, timeout=60)


def end(server: subprocess.Popen[bytes], seconds: float = 10.0) -> None:
    """Wait for a server to end by itself, then make it."""
    try:
        server.wait(seconds)
        return
    except subprocess.TimeoutExpired:
        server.terminate()
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


class Arena:
    """A directory for one run of a benchmark: a fresh ext4 in a loop-mounted image, mount points and logs.

    Use it as a context manager. ``ext4`` is the mounted image.
    """

    def __init__(self, gib: int = 4) -> None:
        self._gib = gib
        self._held = tempfile.TemporaryDirectory(prefix="instar-bench-")
        self.path = Path(os.path.realpath(self._held.name))
        self.ext4 = self.path / "ext4"
        self.features = ""

    def __enter__(self) -> Self:
        image = self.path / "ext4.img"
        with image.open("wb") as file:
            file.truncate(self._gib << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image], check=True)
        self.ext4.mkdir()
        done = subprocess.run(
            ["mount", "-o", "loop,noatime", image, self.ext4], capture_output=True, text=True, check=False
        )
        if done.returncode:
            self._held.cleanup()
            raise MountTrouble(f"cannot mount an ext4 image: {done.stderr.strip()}")
        self.features = f"ext4 on a loop device, {self._gib} GiB, noatime"
        return self

    def __exit__(self, *_: object) -> None:
        unmount(str(self.ext4))
        self._held.cleanup()

    def fresh(self, name: str) -> Path:
        """A new, empty directory on the ext4."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.ext4))

    def mount_point(self, name: str) -> Path:
        """A new, empty directory to mount on, beside the ext4."""
        return Path(tempfile.mkdtemp(prefix=f"mnt-{name}-", dir=self.path))

    def settle(self) -> None:
        """Write back what the last sample left, so that the next does not pay for it."""
        fd = os.open(self.ext4, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        subprocess.run(["sync", "-f", self.ext4], check=False)

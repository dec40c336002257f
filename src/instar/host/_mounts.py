# SPDX-License-Identifier: Apache-2.0
"""What is mounted, and who serves it: ``/proc/self/mountinfo`` joined with a record that each server leaves.

A record is a small JSON file in the runtime directory (``/run/instar``, or ``$XDG_RUNTIME_DIR/instar`` for users),
named after the mount's device number. The kernel's table is the truth; a record without a mount is stale and is removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from instar._errors import InstarError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MountRecord", "find_mount", "list_mounts", "runtime_directory", "write_record"]


class MountRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One mount. ``pid`` is 0 and ``started`` (seconds since the epoch) is 0 where no record was found."""

    mountpoint: str
    fstype: str
    source: str
    options: str
    device: str
    target: str = ""
    pid: int = 0
    started: float = 0.0
    version: str = ""
    log: str = ""
    alive: bool = True

    @property
    def uptime(self) -> float:
        """Seconds since the server started."""
        return time.time() - self.started if self.started else 0.0


def runtime_directory() -> Path:
    """Where records, sockets and logs of running mounts live; made on first use, the owner's alone."""
    if os.geteuid() == 0:
        path = Path("/run/instar")
    else:
        path = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/instar-{os.geteuid()}") / "instar"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise InstarError(f"{path} belongs to somebody else: set XDG_RUNTIME_DIR to a directory of your own.")
    return path


def list_mounts() -> list[MountRecord]:
    """Every Instar mount that this process can see, in the order of the kernel's table."""
    found = []
    directory = runtime_directory()
    for line in (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    ):
        left, _, right = line.partition(" - ")
        fields, (fstype, source, *_) = left.split(), right.split()
        if not fstype.startswith("fuse.instar"):
            continue
        record = MountRecord(
            mountpoint=_unescaped(fields[4]),
            fstype=fstype,
            source=_unescaped(source),
            options=fields[5],
            device=fields[2],
        )
        with contextlib.suppress(OSError, msgspec.DecodeError):
            saved = msgspec.json.decode((directory / f"{record.device}.json").read_bytes(), type=MountRecord)
            for name in ("target", "pid", "started", "version", "log"):
                setattr(record, name, getattr(saved, name))
        record.alive = record.pid == 0 or Path(f"/proc/{record.pid}").exists()
        found.append(record)
    return found


def find_mount(mountpoint: str | os.PathLike[str]) -> MountRecord | None:
    """The topmost Instar mount at ``mountpoint``, or ``None``. Asks nothing of the mount itself, which may hang."""
    parent, name = os.path.split(os.path.abspath(mountpoint))
    path = os.path.join(os.path.realpath(parent), name)
    return next((record for record in reversed(list_mounts()) if record.mountpoint == path), None)


@contextlib.contextmanager
def write_record(mountpoint: str, target: str, version: str, log: str) -> Iterator[None]:
    """Leave a record for the mount at ``mountpoint`` while the body runs."""
    record = find_mount(mountpoint)
    if record is None:
        yield
        return
    record.target, record.version, record.log = target, version, log
    record.pid, record.started = os.getpid(), time.time()
    path = runtime_directory() / f"{record.device}.json"
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(msgspec.json.encode(record))
    scratch.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of ``/proc/self/mountinfo``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)

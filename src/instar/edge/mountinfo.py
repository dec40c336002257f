# SPDX-License-Identifier: Apache-2.0
"""The kernel's table of mounts: ``/proc/self/mountinfo`` (``proc(5)``). Reading it asks nothing of the mounts themselves."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

__all__ = ["MountEntry", "mount_table", "top_mount"]

_ESCAPE = re.compile(r"\\([0-7]{3})")


class MountEntry(NamedTuple):
    """One line. ``device`` is "major:minor", which for FUSE names the connection; ``options`` are the mount's own."""

    device: str
    mountpoint: str
    options: str
    fstype: str
    source: str


def mount_table() -> list[MountEntry]:
    """Every mount that this process sees, in the order in which they were made; of two on one place the later is on top."""
    entries = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for line in lines:
            left, _, right = line.partition(" - ")
            fields, (fstype, source, *_) = left.split(" "), right.split(" ")
            entries.append(
                MountEntry(fields[2], _unescaped(fields[4]), fields[5], fstype, _unescaped(source))
            )
    return entries


def top_mount(path: str | os.PathLike[str]) -> MountEntry | None:
    """What is mounted at exactly this place, the topmost of several; ``None`` where nothing is.

    Symbolic links are followed in all but the last component, which is never looked at: it may be a mount that hangs.
    """
    parent, name = os.path.split(os.path.abspath(path))
    place = os.path.join(os.path.realpath(parent), name)
    return next((entry for entry in reversed(mount_table()) if entry.mountpoint == place), None)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of blanks, newlines and backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)

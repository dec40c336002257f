# SPDX-License-Identifier: Apache-2.0
"""The kernel's table of mounts: ``/proc/self/mountinfo`` (``proc_pid_mountinfo(5)``). Reading it asks nothing of the mounts themselves."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

__all__ = ["MountEntry", "containing_mount", "mount_table", "stacked"]

_ESCAPE = re.compile(r"\\([0-7]{3})")


class MountEntry(NamedTuple):
    """One line. ``device`` is "major:minor", which for FUSE names the connection; ``options`` are the mount's own."""

    ident: int
    parent: int
    device: str
    mountpoint: str
    options: str
    fstype: str
    source: str
    super_options: str


def mount_table() -> list[MountEntry]:
    """Every mount that this process sees, in the order of their numbers, which is not always that of their making."""
    # Only a newline ends a line: a name may hold what else Python takes for an end.
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        return [_parsed(line.rstrip("\n")) for line in lines]


def _parsed(line: str) -> MountEntry:
    left, _, right = line.partition(" - ")
    ident, parent, device, _, mountpoint, options, *_ = left.split(" ")
    fstype, source, super_options = right.split(" ", 2)
    place = _unescaped(mountpoint)
    return MountEntry(
        int(ident), int(parent), device, place, options, fstype, _unescaped(source), super_options
    )


def stacked(table: list[MountEntry], place: str) -> list[MountEntry]:
    """What is mounted at exactly this place, a path without symbolic links: the topmost last."""
    there = [entry for entry in table if entry.mountpoint == place]
    # The table has the order of the mounts' numbers; what lies on what is said by the parents.
    idents = {entry.ident for entry in there}
    above = {entry.parent: entry for entry in there}
    stack: list[MountEntry] = []
    for entry in there:
        if entry.parent in idents and entry.parent != entry.ident:
            continue
        upper: MountEntry | None = entry
        while upper is not None and upper not in stack:
            stack.append(upper)
            upper = above.get(upper.ident)
    return stack


def containing_mount(table: list[MountEntry], place: str) -> MountEntry | None:
    """The mount that ``place`` lies on, by its name alone; ``None`` where the table says nothing (a strange chroot)."""
    while True:
        stack = stacked(table, place)
        if stack:
            return stack[-1]
        if place == "/":
            return None
        place = os.path.dirname(place)


def _unescaped(text: str) -> str:
    """Undo the octal escapes of blanks, newlines and backslashes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)

# SPDX-License-Identifier: Apache-2.0
"""What runs a service: finding its class, starting its process, knowing what is mounted."""

from __future__ import annotations

from instar.host._daemon import StartError, start
from instar.host._mounts import MountRecord, MountState, find_mount, list_mounts, mount_states, unmount
from instar.host._target import Target, TargetError, load

__all__ = [
    "MountRecord",
    "MountState",
    "StartError",
    "Target",
    "TargetError",
    "find_mount",
    "list_mounts",
    "load",
    "mount_states",
    "start",
    "unmount",
]

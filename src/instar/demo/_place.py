# SPDX-License-Identifier: Apache-2.0
"""Where a demonstration can happen on this machine, and one line that says why not somewhere better.

From the best to the least: a mount made by root; a mount through ``fusermount3``; a mount inside a user namespace of its
own; no mount at all, but the door of `instar.testing`, which drives the file systems in process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

import msgspec

__all__ = ["INSIDE_NAMESPACE", "Place", "find_place"]

#: Set in the environment of the copy of this program that runs inside a user namespace.
INSIDE_NAMESPACE: Final = "INSTAR_DEMO_INSIDE_NAMESPACE"


class Place(msgspec.Struct, frozen=True):
    """``mounts`` says whether file systems can be mounted; ``namespace``, whether that takes a user namespace first."""

    mounts: bool
    namespace: bool = False
    note: str = ""


def find_place() -> Place:
    """Look for the best place that this machine offers; tries, and does not compare versions."""
    device = os.access("/dev/fuse", os.R_OK | os.W_OK)
    if os.environ.get(INSIDE_NAMESPACE):
        return Place(mounts=True, note="Not root: mounted inside a user namespace.")
    if os.geteuid() == 0 and device:
        return Place(mounts=True)
    if os.geteuid() == 0:
        return Place(
            mounts=False, note="No /dev/fuse here (`modprobe fuse`): shown in process, without a mount."
        )
    if shutil.which("fusermount3") and os.path.exists("/dev/fuse"):
        return Place(mounts=True, note="Not root: mounted with fusermount3.")
    if device and _namespaces_work():
        return Place(mounts=True, namespace=True)
    return Place(
        mounts=False,
        note="Neither root nor fusermount3 (package fuse3) nor user namespaces: shown in process, without a mount.",
    )


def _namespaces_work() -> bool:
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([unshare, "-Urm", "true"], capture_output=True, check=False).returncode == 0

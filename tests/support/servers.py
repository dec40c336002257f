# SPDX-License-Identifier: Apache-2.0
"""What the server of a mount uses."""

from __future__ import annotations

import os
import resource

__all__ = ["resident", "server_of"]


def resident(pid):
    """Bytes of memory that a process has now."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def server_of(path):
    """The process that serves the FUSE mount at ``path``: the child of this one that holds its connection."""
    device = os.stat(path).st_dev
    wanted = f"fuse_connection:\t{os.minor(device)}\n"
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
        children = file.read().split()
    for pid in children:
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                if wanted in file.read():
                    return int(pid)
    raise LookupError(f"no child serves {path}")

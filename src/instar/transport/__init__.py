# SPDX-License-Identifier: Apache-2.0
"""The loops that join a descriptor, a protocol core and a service."""

from __future__ import annotations

from instar.transport._mount import attach, mount
from instar.transport._options import MountOptions, OptionError, parse_options
from instar.transport._session import Reply, Session
from instar.transport.fuse_dev import FuseDevice

__all__ = [
    "FuseDevice",
    "MountOptions",
    "OptionError",
    "Reply",
    "Session",
    "attach",
    "mount",
    "parse_options",
]

# SPDX-License-Identifier: Apache-2.0
"""The test kit for people who write file systems.

`Door` drives a file system in process, with neither a kernel nor root: fast, and debuggable with breakpoints.
`mounted` gives a real mount, served by a process of its own, for tests that want the kernel in between.
"""

from __future__ import annotations

from instar.testing._channel import Channel
from instar.testing._door import Door
from instar.testing._door_file import DoorFile
from instar.testing._mounted import ServerFailedError, mounted

__all__ = ["Channel", "Door", "DoorFile", "ServerFailedError", "mounted"]

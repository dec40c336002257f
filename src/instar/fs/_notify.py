# SPDX-License-Identifier: Apache-2.0
"""What a file system may tell the kernel of its own accord.

The protocol lives here so that services do not depend on a transport; `instar.transport` provides it, and sets
``FileSystem.notify`` before ``init``. The kernel answers a notification only after it has taken the locks of the
inode in question, which a caller that waits for this very file system may hold; so every method here only queues,
and returns at once.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Notifier"]


class Notifier(Protocol):
    """Sends notifications (``enum fuse_notify_code`` in ``linux/fuse.h``) to the kernel, in order, without waiting."""

    def inval_inode(self, ino: int, offset: int = 0, length: int = 0) -> None:
        """Drop cached attributes and the cached data from ``offset`` on (``length`` 0: to the end; ``offset`` -1: attributes only)."""

    def inval_entry(self, parent: int, name: str, *, expire_only: bool = False) -> None:
        """Forget that ``name`` in ``parent`` is cached; with ``expire_only`` it is only asked for again."""

    def delete(self, parent: int, ino: int, name: str) -> None:
        """Tell that ``name`` in ``parent``, which was ``ino``, has been removed."""

    def store(self, ino: int, offset: int, data: bytes) -> None:
        """Put ``data`` into the page cache of ``ino``."""

    async def write_back(self, ino: int) -> None:
        """Have the kernel write what programs changed in memory maps of ``ino``, and drop the file's cached pages."""

    def poll(self, kh: int) -> None:
        """Wake the caller that waits in ``poll(2)`` under the kernel's number ``kh``."""

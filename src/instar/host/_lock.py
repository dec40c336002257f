# SPDX-License-Identifier: Apache-2.0
"""One server at a time may mount at a place: a file in the runtime directory, locked from the last look at the place until the mount
and its record are there.

The file is named after the place and holds what is being mounted. Its lock (``flock(2)``) goes with the process, so a server that dies
leaves none; the file itself is removed by whoever holds the lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from typing import TYPE_CHECKING, Final

from instar._errors import InstarError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MountLock", "PlaceTakenError"]

_WAIT_SECONDS: Final = 5.0  # most servers mount in a tenth of one
_LOOK_SECONDS: Final = 0.05


class PlaceTakenError(InstarError):
    """Another server is mounting at the same place."""


class MountLock:
    """The right to mount at ``place``, a path without symbolic links. Released by :meth:`release`, or at the end of the process."""

    def __init__(self, directory: Path, place: str, target: str) -> None:
        """Take the lock; wait a few seconds for another server. Raises :class:`PlaceTakenError`, and OSError for a full directory."""
        name = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
        self._path = directory / f"{name}.lock"
        self._fd = self._taken(place)
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{target}, by process {os.getpid()}".encode(errors="replace"), 0)
        except BaseException:
            self.release()
            raise

    def _taken(self, place: str) -> int:
        deadline = time.monotonic() + _WAIT_SECONDS
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                what = os.pread(fd, 4096, 0).decode(errors="replace") or "another file system"
                os.close(fd)
                if time.monotonic() > deadline:
                    raise PlaceTakenError(
                        f"{what}, is being mounted at {place} right now: wait until it is there, or end that process."
                    ) from None
                time.sleep(_LOOK_SECONDS)
                continue
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # its holder removed it between the two calls

    def release(self) -> None:
        """Let the next one in; nothing when that is done already."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._path.unlink(missing_ok=True)
        fcntl.flock(fd, fcntl.LOCK_UN)  # a process that the file system forked may hold the descriptor too
        os.close(fd)

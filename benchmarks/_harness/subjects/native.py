# SPDX-License-Identifier: Apache-2.0
"""ext4 itself: the kernel's own file system on the loop-mounted image that the mirrors show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from _harness.subjects._base import Setting, Subject


class NativeExt4(Subject):
    """A fresh directory of the ext4, used directly. Its names are always cached; no timeout applies."""

    name = "ext4"
    kind = "native"
    label = "ext4 (native)"

    _directory: Path | None = None

    def missing(self) -> str:
        """Root mounts the image; without it there is no benchmark at all."""
        return "" if os.geteuid() == 0 else "mounting an ext4 image needs root"

    def version(self) -> str:
        """The kernel's."""
        return f"ext4 of Linux {os.uname().release}"

    def timeouts(self, setting: Setting) -> str:
        """None."""
        return "none (in the kernel)"

    def start(self, setting: Setting) -> Path:
        """Make the directory."""
        self._directory = self.arena.fresh(self.name)
        return self._directory

    def stop(self) -> None:
        """Remove it."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None

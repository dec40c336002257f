# SPDX-License-Identifier: Apache-2.0
"""bindfs (Debian): a mirror written in C on libfuse3's path interface."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from _harness.subjects._base import MOUNT_OPTIONS, FuseSubject, Setting


class Bindfs(FuseSubject):
    """As Debian ships it: one thread."""

    name = "bindfs"
    kind = "mirror"
    label = "bindfs (C)"
    flags: tuple[str, ...] = ()

    def command(self, point: Path, source: Path, setting: Setting) -> list[str]:
        """``bindfs -f``."""
        options = list(MOUNT_OPTIONS)
        if setting.timeout is not None:
            options += [f"entry_timeout={setting.timeout:g}", f"attr_timeout={setting.timeout:g}"]
        return ["bindfs", "-f", *self.flags, "-o", ",".join(options), str(source), str(point)]

    def missing(self) -> str:
        """The program."""
        return "" if shutil.which("bindfs") else "bindfs is missing: apt-get install bindfs fuse3"

    def version(self) -> str:
        """Its own."""
        said = subprocess.run(["bindfs", "--version"], capture_output=True, text=True, check=False).stdout
        return said.splitlines()[0] if said else "bindfs"

    def timeouts(self, setting: Setting) -> str:
        """1 s is libfuse's default."""
        return super().timeouts(setting) if setting.timeout is not None else "entry 1 s, attr 1 s"


class BindfsThreads(Bindfs):
    """With several threads, which its manual advises against as a security risk."""

    name = "bindfs-threads"
    label = "bindfs --multithreaded"
    flags = ("--multithreaded",)
    default = False

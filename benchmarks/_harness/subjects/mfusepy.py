# SPDX-License-Identifier: Apache-2.0
"""mfusepy (PyPI): the maintained successor of fusepy, libfuse's path interface through ctypes."""

from __future__ import annotations

import ctypes.util
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

from _harness.subjects._base import FuseSubject, Setting

PEERS = Path(__file__).resolve().parents[1] / "peers"


class _Mfusepy(FuseSubject):
    script = ""

    def command(self, point: Path, source: Path, setting: Setting) -> list[str]:
        """The peer's script; libfuse's path interface trusts names and attributes for 1 s."""
        command = [sys.executable, str(PEERS / self.script), str(point)]
        if self.kind == "mirror":
            command.append(str(source))
        if setting.timeout is not None:
            command.append(f"--timeout={setting.timeout:g}")
        return command

    def missing(self) -> str:
        """The module and libfuse."""
        if importlib.util.find_spec("mfusepy") is None:
            return "mfusepy is missing: pip install -r benchmarks/requirements.txt"
        return "" if ctypes.util.find_library("fuse3") else "libfuse3 is missing: apt-get install fuse3"

    def version(self) -> str:
        """Its own."""
        return f"mfusepy {version('mfusepy')}"

    def timeouts(self, setting: Setting) -> str:
        """1 s is libfuse's default."""
        return super().timeouts(setting) if setting.timeout is not None else "entry 1 s, attr 1 s"


class MfusepyMemFS(_Mfusepy):
    """peers/mfusepy_memfs.py."""

    name = "mfusepy-memfs"
    kind = "memfs"
    label = "mfusepy memfs"
    script = "mfusepy_memfs.py"


class MfusepyMirror(_Mfusepy):
    """peers/mfusepy_mirror.py."""

    name = "mfusepy-mirror"
    kind = "mirror"
    label = "mfusepy mirror"
    script = "mfusepy_mirror.py"

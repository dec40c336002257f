# SPDX-License-Identifier: Apache-2.0
"""Instar's own file systems, started with the command that users type."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from _harness.subjects._base import MOUNT_OPTIONS, FuseSubject, Setting

SOURCE = Path(__file__).resolve().parents[3] / "src"


class _Instar(FuseSubject):
    extra: tuple[str, ...] = ()

    def target(self, source: Path) -> str:
        """TARGET of ``instar mount``."""
        raise NotImplementedError

    def command(self, point: Path, source: Path, setting: Setting) -> list[str]:
        """``instar mount TARGET POINT --foreground -o ...``."""
        options = [*MOUNT_OPTIONS, *self.extra]
        if setting.timeout is not None:
            options += [f"entry_timeout={setting.timeout:g}", f"attr_timeout={setting.timeout:g}"]
        return [
            *(sys.executable, "-m", "instar", "mount", self.target(source), str(point)),
            *("--foreground", "-o", ",".join(options)),
        ]

    def environment(self) -> dict[str, str]:
        """With this tree's source first on the path."""
        path = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path}

    def missing(self) -> str:
        """The command line and its libraries."""
        if not (SOURCE / "instar" / "__main__.py").exists():
            return "src/instar has no command line yet"
        for module in ("click", "rich", "msgspec"):
            if importlib.util.find_spec(module) is None:
                return f"{module} is missing: pip install -e ."
        return (
            ""
            if os.access("/dev/fuse", os.R_OK | os.W_OK)
            else "/dev/fuse cannot be opened: be root, or load the fuse module"
        )

    def version(self) -> str:
        """Instar's and Python's."""
        try:
            number = version("instar")
        except PackageNotFoundError:
            number = "(source tree)"
        return f"Instar {number}, CPython {platform.python_version()}"


class InstarMemFS(_Instar):
    """MemFS as shipped."""

    name = "instar-memfs"
    kind = "memfs"
    label = "Instar memfs"

    def target(self, source: Path) -> str:
        """MemFS."""
        return "memfs"


class InstarMirror(_Instar):
    """MirrorFS as shipped, on a directory of the ext4."""

    name = "instar-mirror"
    kind = "mirror"
    label = "Instar mirror"

    def target(self, source: Path) -> str:
        """MirrorFS."""
        return f"mirror:{source}"

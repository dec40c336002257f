# SPDX-License-Identifier: Apache-2.0
"""pyfuse3 (PyPI): asynchronous Python on libfuse3's low-level interface, in C through Cython."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

from _harness.subjects._base import FuseSubject, Setting

PEERS = Path(__file__).resolve().parents[1] / "peers"


class _Pyfuse3(FuseSubject):
    script = ""
    use_asyncio = False

    def command(self, point: Path, source: Path, setting: Setting) -> list[str]:
        """The peer's script; EntryAttributes' defaults are 300 s."""
        command = [sys.executable, str(PEERS / self.script), str(point)]
        if self.kind == "mirror":
            command.append(str(source))
        if setting.timeout is not None:
            command += [f"--entry-timeout={setting.timeout:g}", f"--attr-timeout={setting.timeout:g}"]
        if self.use_asyncio:
            command.append("--asyncio")
        return command

    def missing(self) -> str:
        """The module."""
        if importlib.util.find_spec("pyfuse3") is None:
            return (
                "pyfuse3 is missing: apt-get install gcc libfuse3-dev pkg-config python3-dev && "
                "pip install -r benchmarks/requirements.txt"
            )
        return ""

    def version(self) -> str:
        """pyfuse3's and its event loop's."""
        loop = "asyncio" if self.use_asyncio else f"trio {version('trio')}"
        return f"pyfuse3 {version('pyfuse3')}, {loop}"

    def timeouts(self, setting: Setting) -> str:
        """300 s is what an EntryAttributes starts with."""
        return super().timeouts(setting) if setting.timeout is not None else "entry 300 s, attr 300 s"


class Pyfuse3MemFS(_Pyfuse3):
    """peers/pyfuse3_memfs.py."""

    name = "pyfuse3-memfs"
    kind = "memfs"
    label = "pyfuse3 memfs"
    script = "pyfuse3_memfs.py"


class Pyfuse3Mirror(_Pyfuse3):
    """peers/pyfuse3_mirror.py."""

    name = "pyfuse3-mirror"
    kind = "mirror"
    label = "pyfuse3 mirror"
    script = "pyfuse3_mirror.py"


class Pyfuse3MemFSAsyncio(Pyfuse3MemFS):
    """The same on asyncio."""

    name = "pyfuse3-asyncio-memfs"
    label = "pyfuse3 memfs (asyncio)"
    use_asyncio = True
    default = False

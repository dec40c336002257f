# SPDX-License-Identifier: Apache-2.0
"""The demonstration where nothing can be mounted: the same file systems, driven in process by the door."""

from __future__ import annotations

import os
import tempfile
import time
from typing import TYPE_CHECKING

from instar.demo import _tree
from instar.fs.memfs import MemFS
from instar.fs.mirror import MirrorFS
from instar.testing import Door

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["run_in_process"]

Row = tuple[str, str, str, float, str]


def run_in_process() -> Iterator[Row]:
    """Yield the rows of the table: title, file system, what was called, seconds, status."""
    with tempfile.TemporaryDirectory(prefix="instar-demo-") as source:
        with open(os.path.join(source, "original"), "w", encoding="utf-8") as file:
            file.write("content\n" * 1000)
        with Door(MirrorFS(source)) as mirror, Door(MemFS()) as mem, Door(_tree.tree) as tree:

            def copy() -> bool:
                mem.write_bytes("/copy", mirror.read_bytes("/original"))
                return mem.read_bytes("/copy") == mirror.read_bytes("/original")

            def hole() -> bool:
                mem.write_text("/hole", "")
                mem.truncate("/hole", 1_000_000_000)
                return mem.stat("/hole").blocks == 0

            def names() -> bool:
                mem.mkdir("/d")
                mem.link("/copy", "/d/other")
                mem.rename("/d/other", "/d/name")
                return mem.stat("/d/name").nlink == 2 and mem.listdir("/d") == ["name"]

            def values() -> bool:
                tree.write_text("/answer", "42\n")
                return (
                    tree.read_text("/hello") == "Hello from Python!\n" and tree.read_text("/answer") == "42\n"
                )

            steps: list[tuple[str, str, Callable[[], bool]]] = [
                ("copy a file", "mirror → memfs", copy),
                ("a billion bytes, all hole", "memfs", hole),
                ("links and names", "memfs", names),
                ("read and set values", "tree", values),
            ]
            for title, works_on, step in steps:
                began = time.perf_counter()
                good = step()
                yield title, works_on, step.__name__, time.perf_counter() - began, "ok" if good else "failed"

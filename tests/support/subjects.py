# SPDX-License-Identifier: Apache-2.0
"""The file systems that every heavy check runs on, mounted for real: MemFS, and MirrorFS of a directory."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile

from instar.testing import mounted

__all__ = ["SUBJECTS", "subject"]

SUBJECTS = ("memfs", "mirror")
"""Names for parametrize."""


@contextlib.contextmanager
def subject(name, **options):
    """Mount a file system by its short name and yield the mount point; ``mirror`` gets a new empty directory."""
    if name != "mirror":
        with mounted(name, options=options) as path:
            yield pathlib.Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="mirrored-") as below:
        os.chmod(below, 0o755)
        with mounted(f"mirror:{below}", options=options) as path:
            yield pathlib.Path(path)

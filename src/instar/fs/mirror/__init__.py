# SPDX-License-Identifier: Apache-2.0
"""A file system that shows a directory: `MirrorFS`, and how it names, holds and finds the files of the backing tree."""

from __future__ import annotations

from instar.fs.mirror._base import MirrorError
from instar.fs.mirror._mirror import MirrorFS

__all__ = ["MirrorError", "MirrorFS"]

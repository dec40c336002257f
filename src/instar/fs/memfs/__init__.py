# SPDX-License-Identifier: Apache-2.0
"""An in-memory file system with everything that Linux programs may ask of one."""

from __future__ import annotations

from instar.fs.memfs._memfs import MemFS

__all__ = ["MemFS"]

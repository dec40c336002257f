# SPDX-License-Identifier: Apache-2.0
"""The test kit for people who write file systems.

`mounted` gives a real mount, served by a process of its own, for tests that want the kernel in between.
"""

from __future__ import annotations

from instar.testing._mounted import ServerFailedError, mounted

__all__ = ["ServerFailedError", "mounted"]

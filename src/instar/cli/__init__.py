# SPDX-License-Identifier: Apache-2.0
"""The command line. Thin: every verb calls a public function."""

from __future__ import annotations

from instar.cli._main import main
from instar.cli._mount_helper import mount_helper

__all__ = ["main", "mount_helper"]

# SPDX-License-Identifier: Apache-2.0
"""``python -m instar`` is the command ``instar``."""

from __future__ import annotations

from instar.cli import main

main()

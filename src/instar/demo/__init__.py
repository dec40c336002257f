# SPDX-License-Identifier: Apache-2.0
"""``instar demo``: real programs at work on mounted file systems, with a table of what was done."""

from __future__ import annotations

from instar.demo._run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]

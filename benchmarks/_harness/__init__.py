# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: subjects to measure, an interleaving runner, and reports.

``subjects`` start and stop the file systems; ``client`` builds and runs the C program that uses them; ``runner`` plays
rounds in random order; ``summary`` turns samples into medians and ratios; ``tables``, ``plot`` and ``report`` show them.
"""

from __future__ import annotations

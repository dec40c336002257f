# SPDX-License-Identifier: Apache-2.0
"""Metadata operations a second: ext4, Instar, pyfuse3, mfusepy and bindfs side by side.

    python benchmarks/metadata.py [--quick] [--only create,stat] [--subjects instar-memfs,bindfs] [--rounds 5]

Each phase runs over files of its own directory: ``create`` (open with O_CREAT|O_EXCL, close), ``stat`` and ``stat_missing``,
``write_small`` (open, write 128 bytes, close), ``open_read_close``, ``chmod``, ``readdir`` (names) and ``readdir_stat``
(names, then stat of each), ``rename``, ``unlink``, ``mkdir``, ``rmdir``. Reports go to ``benchmarks/results``.
"""

from __future__ import annotations

import sys

from _harness.client import Load
from _harness.options import Benchmark, main

PHASES = (
    "create",
    "stat",
    "stat_missing",
    "write_small",
    "open_read_close",
    "chmod",
    "readdir",
    "readdir_stat",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
)

METADATA = Benchmark(
    name="metadata",
    heading="Metadata operations",
    phases=PHASES,
    load=Load(PHASES, ops=2000),
    quick=Load(PHASES, ops=400),
    notes=(
        "Medians over the rounds with quartiles; ratios are taken inside each round, then the median. One client thread.",
        "ext4 answers names and attributes from the kernel's cache in any case: it is the ceiling, not a rival.",
        (
            "`one-cpu` shows the work of each server; `free` adds the wake-ups between processors, which on a virtual "
            "machine with sleeping processors cost more than the work."
        ),
    ),
    series=(("uncached", "one-cpu"), ("uncached", "free"), ("normal", "free")),
    targets=True,
    must_reach="stat",
)

if __name__ == "__main__":
    sys.exit(main(METADATA))

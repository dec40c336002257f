# SPDX-License-Identifier: Apache-2.0
"""Reading and writing: ext4, Instar, pyfuse3, mfusepy and bindfs side by side.

    python benchmarks/data.py [--quick] [--mib 64] [--only seq_read_cold] [--subjects instar-mirror,bindfs] [--rounds 5]

``seq_*`` moves 1 MiB at a time, ``rand_*`` 4 KiB at random places, each at most once; ``mmap_read_*`` touches each page of
a mapping. ``*_cold``: the mount's own pages of the file were dropped before the clock started (what lies below a mirror is
in memory). ``*_warm``: the file was just read on the same open file. ``*_direct``: O_DIRECT on the mount; mirrors open
the file below without it. Writes end with close; ``seq_write_fsync`` with fsync. Reports go to ``benchmarks/results``.
"""

from __future__ import annotations

import sys

from _harness.client import Load
from _harness.options import Benchmark, main

PHASES = (
    "seq_write",
    "seq_write_fsync",
    "seq_write_direct",
    "rand_write",
    "rand_write_direct",
    "seq_read_cold",
    "seq_read_warm",
    "seq_read_direct",
    "rand_read_cold",
    "rand_read_warm",
    "rand_read_direct",
    "mmap_read_cold",
    "mmap_read_warm",
)

DATA = Benchmark(
    name="data",
    heading="Reading and writing",
    phases=PHASES,
    load=Load(PHASES, ops=4000, mib=64),
    quick=Load(PHASES, ops=1000, mib=16),
    notes=(
        "Medians over the rounds with quartiles; ratios are taken inside each round, then the median. One client thread.",
        (
            "cold: the mount's own pages of the file were dropped first; what lies below a mirror is in memory, so this is the "
            "cost of the way through the server. warm: just read on the same open file. direct: O_DIRECT on the mount."
        ),
        "With attribute timeouts of 0 a warm read still asks for attributes; therefore the normal timeouts are the default here.",
    ),
    series=(("normal", "one-cpu"), ("normal", "free")),
    targets=False,
)

if __name__ == "__main__":
    sys.exit(main(DATA))

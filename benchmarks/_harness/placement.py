# SPDX-License-Identifier: Apache-2.0
"""On which processors client and server run, and whether idle processors may sleep.

Most of an uncached FUSE request is two wake-ups: the kernel wakes the server, the server's answer wakes the client. If the
other processor is asleep, and above all in a virtual machine where waking it is an exit and an interrupt, a wake-up takes
up to 100 us and hides everything that a server does. Which of the two happens is the scheduler's mood. So each
placement is measured on its own, and tables say which:

- ``one-cpu``: client and server share one processor. No wake-up crosses processors; what is left is the work. Steady.
- ``free``: as the scheduler likes it, as users have it. Noisy.
- ``awake``: free, and ``/dev/cpu_dma_latency`` held at 0 for everybody (Documentation/power/pm_qos_interface.rst),
  so idle processors poll.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_LATENCY = "/dev/cpu_dma_latency"


@dataclass(frozen=True)
class Placement:
    """Where processes run; inherited by what is started inside ``applied``."""

    name: str
    explanation: str

    def missing(self) -> str:
        """Why it cannot be had here; empty if it can."""
        if self.name == "awake" and not os.access(_LATENCY, os.W_OK):
            return f"{_LATENCY} cannot be written: be root"
        return ""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Everything started inside runs so placed."""
        before = os.sched_getaffinity(0)
        latency = -1
        try:
            if self.name == "one-cpu":
                os.sched_setaffinity(0, {min(before)})
            elif self.name == "awake":
                latency = os.open(_LATENCY, os.O_WRONLY)
                os.write(latency, struct.pack("=i", 0))
            yield
        finally:
            os.sched_setaffinity(0, before)
            if latency >= 0:
                os.close(latency)


PLACEMENTS = {
    placement.name: placement
    for placement in (
        Placement("one-cpu", "client and server bound to one processor"),
        Placement("free", "client and server where the scheduler puts them"),
        Placement("awake", "free, and idle processors kept from sleeping for every subject"),
    )
}

# SPDX-License-Identifier: Apache-2.0
"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def _first(path: str, default: str = "?") -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return default


def _processor() -> str:
    for line in _first("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _virtual() -> str:
    flags = next((line for line in _first("/proc/cpuinfo").splitlines() if line.startswith("flags")), "")
    return "virtual machine" if " hypervisor" in flags else "bare metal"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _commit() -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Facts about this machine, for people; the order is that of the report."""
    idle = _first("/sys/devices/system/cpu/cpuidle/current_driver", "none")
    governor = _first("/sys/devices/system/cpu/cpuidle/current_governor", "none")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{len(os.sched_getaffinity(0))} of {_processor()}, {_virtual()}, {_memory_gib():.0f} GiB",
        "kernel": f"Linux {os.uname().release}, cpuidle {idle}/{governor}",
        "fuse over io_uring": {"Y": "enabled", "N": "disabled"}.get(
            _first("/sys/module/fuse/parameters/enable_uring"), "not in this kernel"
        ),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "source": _commit(),
    }


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]

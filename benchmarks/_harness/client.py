# SPDX-License-Identifier: Apache-2.0
"""Building and running the benchmark client.

The client is ``benchmarks/client/*.c``, compiled when a benchmark starts, so that its own cost is a few hundred
nanoseconds an operation. Without gcc a Python client of the same phases stands in; it says so loudly, because it
costs microseconds and flatters slow file systems.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENT_DIR = Path(__file__).resolve().parent.parent / "client"


class ClientError(Exception):
    """The client did not run, or did not print what it should."""


@dataclass(frozen=True)
class Load:
    """What the client is asked to do: phases, operations or MiB in each, and by how many workers."""

    phases: tuple[str, ...]
    ops: int = 2000
    mib: int = 64
    threads: int = 1
    processes: int = 1


@dataclass(frozen=True)
class Measurement:
    """What one phase did in one run: rate in ``unit``, times in microseconds; or the error that stopped it."""

    phase: str
    unit: str
    rate: float
    p50_us: float
    p99_us: float
    operations: int
    error: str = ""


class Client:
    """The program, ready to run."""

    def __init__(self, command: list[str], name: str) -> None:
        self.command = command
        #: "gcc 12.2.0 -O2" or "Python".
        self.name = name

    @classmethod
    def build(cls, directory: str) -> Client:
        """Compile the client into ``directory``.

        Raises:
            ClientError: gcc is there and fails.
        """
        gcc = shutil.which("gcc") or shutil.which("cc")
        if gcc is None:
            print(
                "*** no C compiler: THE CLIENT IS PYTHON, its own cost is in every figure. apt-get install gcc ***",
                file=sys.stderr,
            )
            return cls([sys.executable, str(CLIENT_DIR / "client.py")], "Python (no gcc)")
        program = os.path.join(directory, "client")
        sources = sorted(str(path) for path in CLIENT_DIR.glob("*.c"))
        made = subprocess.run(
            [gcc, "-std=gnu11", "-O2", "-Wall", "-pthread", "-o", program, *sources],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ClientError(f"gcc does not compile {CLIENT_DIR}:\n{made.stderr}")
        version = subprocess.run([gcc, "-dumpfullversion"], capture_output=True, text=True, check=False)
        return cls([program], f"gcc {version.stdout.strip()} -O2")

    def run(self, directory: str, load: Load, timeout: float = 900.0) -> list[Measurement]:
        """Run ``load`` in ``directory`` and return one measurement for each phase.

        Raises:
            ClientError: the client failed as a whole, or took longer than ``timeout`` seconds.
        """
        command = [
            *self.command,
            "--dir",
            directory,
            "--phases",
            ",".join(load.phases),
            f"--ops={load.ops}",
            f"--mib={load.mib}",
            f"--threads={load.threads}",
            f"--processes={load.processes}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise ClientError(f"the client was not done after {timeout:.0f} s") from None
        if done.returncode:
            raise ClientError(done.stderr.strip() or f"the client ended with {done.returncode}")
        return [_measurement(entry) for entry in json.loads(done.stdout)["phases"]]


def _measurement(entry: dict[str, Any]) -> Measurement:
    return Measurement(
        phase=entry["name"],
        unit=entry["unit"],
        rate=entry.get("rate", 0.0),
        p50_us=entry.get("p50_us", 0.0),
        p99_us=entry.get("p99_us", 0.0),
        operations=entry.get("operations", 0),
        error=entry.get("error", ""),
    )

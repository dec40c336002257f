# SPDX-License-Identifier: Apache-2.0
"""Counting what really reaches a FUSE server: the kernel's own ``fuse:fuse_request_send`` tracepoint.

"stat without cache" is only that if each stat becomes a request. The tracepoint (fs/fuse/fuse_trace.h, Linux 6.11) fires
once for each request that the kernel sends, whoever serves it and by whatever transport; FORGETs have no reply and are not
among them. The client stops before and after each phase (``--step``), so what a phase prepares is not counted. This
is a pass of its own: nothing is timed while it is traced.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _harness.client import Client, Load
from _harness.mounts import Mount, unmount

_OPCODE = re.compile(r"\((?:FUSE|CUSE)_(\w+)\)")

Counts = dict[str, dict[str, float]]  # phase -> opcode -> requests for each operation, entry or MiB


class RequestCounter:
    """A tracing instance of its own, so that nobody else's tracing is disturbed."""

    def __init__(self, instance: Path) -> None:
        self._instance = instance
        self._event = instance / "events" / "fuse" / "fuse_request_send"

    def watch(self, mount: Mount) -> None:
        """Count only the requests of this mount's connection."""
        (self._event / "filter").write_text(f"connection == {mount.minor}")

    def reset(self) -> None:
        """Forget what was seen, and start."""
        (self._instance / "trace").write_text("")
        (self._event / "enable").write_text("1")

    def read(self) -> Counter[str]:
        """Stop, and return the requests by opcode."""
        (self._event / "enable").write_text("0")
        with (self._instance / "trace").open() as lines:
            return Counter(match[1] for line in lines if (match := _OPCODE.search(line)))


@contextmanager
def request_counter(directory: Path) -> Iterator[RequestCounter | None]:
    """A counter, or None where the kernel or our rights do not allow one (no tracefs, Linux before 6.11)."""
    tracing = directory / "tracing"
    tracing.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tracefs", "none", tracing], capture_output=True, check=False)
    if done.returncode:
        yield None
        return
    instance = tracing / "instances" / f"instar-bench-{os.getpid()}"
    try:
        if not (tracing / "events" / "fuse" / "fuse_request_send").exists():
            yield None
            return
        instance.mkdir()
        (instance / "buffer_size_kb").write_text("8192")
        yield RequestCounter(instance)
    finally:
        if instance.exists():
            instance.rmdir()
        unmount(str(tracing))


def count(counter: RequestCounter, client: Client, directory: Path, mount: Mount, load: Load) -> Counts:
    """Run ``load`` step by step and return the requests for each operation, entry or MiB of each phase."""
    counter.watch(mount)
    command = [
        *client.command,
        f"--dir={directory}",
        f"--phases={','.join(load.phases)}",
        f"--ops={load.ops}",
        f"--mib={load.mib}",
        "--step",
    ]
    seen: dict[str, Counter[str]] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stderr is not None
        for line in program.stderr:
            if not line.startswith("@ "):
                continue
            _, where, phase = line.split()
            if where == "before":
                counter.reset()
            else:
                seen[phase] = counter.read()
            program.stdin.write("\n")
            program.stdin.flush()
        assert program.stdout is not None
        said = json.loads(program.stdout.read())
    amounts = {entry["name"]: entry["amount"] for entry in said["phases"] if entry.get("amount")}
    return {
        phase: {opcode: number / amounts[phase] for opcode, number in sorted(found.items())}
        for phase, found in seen.items()
        if phase in amounts
    }

# SPDX-License-Identifier: Apache-2.0
"""A process that frees a test stuck in the kernel: it aborts the FUSE connections of the test run.

A system call that waits for a dead file system server cannot be interrupted from the process that waits: not by a signal,
not by pytest-timeout. Writing to the connection's ``abort`` file in fusectl ends every such wait with an error. This
program is started once for each run; it gets ``arm SECONDS NAME`` and ``disarm`` on its standard input, and ends with it.

Specification: Documentation/filesystems/fuse.rst ("Aborting a filesystem connection").
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import subprocess
import sys
import time

__all__ = ["CONNECTIONS", "Watchdog", "abort_below"]

CONNECTIONS = pathlib.Path("/sys/fs/fuse/connections")


def abort_below(directory, pid="self"):
    """Abort the connection of every FUSE file system mounted at or below a directory; the mount points."""
    from tests.support.leaks import mounts_below

    aborted = []
    for _ident, device, point, kind in mounts_below(str(directory), pid):
        if kind != "fuse" and not kind.startswith("fuse."):
            continue
        if not os.path.ismount(CONNECTIONS):
            subprocess.run(["mount", "-t", "fusectl", "fusectl", CONNECTIONS], check=False)
        try:
            (CONNECTIONS / device.partition(":")[2] / "abort").write_text("1")
        except OSError as error:
            print(f"watchdog: {point}: {error}", file=sys.stderr, flush=True)
        else:
            aborted.append(point)
    return aborted


class Watchdog:
    """The process, seen from the test run."""

    def __init__(self, directory):
        root = pathlib.Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.watchdog", str(directory)],
            stdin=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        self.pid = self._process.pid

    def _say(self, words):
        try:
            self._process.stdin.write(words.encode(errors="replace") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it is gone; the test's own timeout remains
            pass

    def arm(self, seconds, name):
        """Abort what is mounted ``seconds`` from now, unless told otherwise before."""
        self._say(f"arm {seconds} {name}")

    def disarm(self):
        self._say("disarm")

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


def main(directory):
    """Watch standard input."""
    deadline, name, pending = None, "", b""
    parent = os.getppid()
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([0], [], [], timeout)
        if ready:
            block = os.read(0, 65536)
            if not block:
                return
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                words = line.decode(errors="replace").split(" ", 2)
                if words[0] == "arm":
                    deadline, name = time.monotonic() + float(words[1]), words[2]
                else:
                    deadline = None
        elif deadline is not None:
            deadline = None
            points = abort_below(directory, parent)
            if points:
                print(
                    f"\nwatchdog: {name} takes too long; aborted {', '.join(points)}",
                    file=sys.stderr,
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1])

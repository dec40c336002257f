# SPDX-License-Identifier: Apache-2.0
"""Run a command and tell what it left behind: FUSE mounts and processes.

    python -m tools.leaks COMMAND ARGUMENT...

INSTAR_LEAKS_GRACE, in seconds (5), is the time that a process gets to end by itself after the command.

Where that is possible (root), the command runs in mount and process namespaces of its own: the mounts of other
programs are not mistaken for its own, and however it ends, nothing of it lives on. Elsewhere this process is a
*subreaper*. Either way, a process that the command starts and forgets becomes ours when its parent ends, and is seen
here. What is left is named, then killed and unmounted. The exit code is the command's own, or 3 when the command succeeded
and left something.

Sources: prctl(2), PR_SET_CHILD_SUBREAPER; unshare(1); pid_namespaces(7); proc_pid_mountinfo(5).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["left_mounts", "main"]

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
INSIDE = "INSTAR_LEAKS_INSIDE"
GRACE = float(os.environ.get("INSTAR_LEAKS_GRACE", "5"))


def left_mounts() -> set[str]:
    """Mount points of FUSE file systems in this namespace."""
    found = set()
    for line in (
        Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    ):
        before, _, after = line.partition(" - ")
        kind = after.split(" ")[0]
        if kind in {"fuse", "fuseblk"} or kind.startswith("fuse."):
            found.add(before.split(" ")[4].encode("latin-1", "surrogateescape").decode("unicode_escape"))
    return found


def _children() -> list[int]:
    """Living children of this process."""
    threads = Path(f"/proc/{os.getpid()}/task")
    return [int(pid) for thread in threads.iterdir() for pid in (thread / "children").read_text().split()]


def _describe(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    return f"process {pid}: {b' '.join(words).decode(errors='replace')[:120]}"


def _reap() -> None:
    """Collect children that have ended."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _await_children() -> None:
    """Wait until no child is left, or the grace is over."""
    deadline = time.monotonic() + GRACE
    _reap()
    while _children() and time.monotonic() < deadline:
        time.sleep(0.02)
        _reap()


def _run_and_reap(command: list[str]) -> int:
    """Run a command to its end, collecting what it orphans; returns its exit code as a shell would."""
    process = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _private_namespaces() -> list[str]:
    """The prefix that gives a command its own namespaces; empty where this user may not have them."""
    prefix = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]
    if os.getuid() != 0:
        return []
    try:
        probe = subprocess.run([*prefix, "true"], check=False, capture_output=True)
    except OSError:
        return []
    return prefix if probe.returncode == 0 else []


def _run_inside(command: list[str]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = left_mounts()
    code = _run_and_reap(command)
    _await_children()
    left = []
    for mount in sorted(left_mounts() - before):
        left.append(f"mount {mount}")
        subprocess.run(["umount", "--lazy", mount], check=False)
    for pid in _children():
        left.append(_describe(pid))
        os.kill(pid, signal.SIGKILL)
    _await_children()
    for line in left:
        print(f"leaks: left behind: {line}", file=sys.stderr)
    return code or 3 * bool(left)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and report; see the module's description."""
    command = sys.argv[1:] if arguments is None else arguments
    if not command:
        print("usage: python -m tools.leaks COMMAND ARGUMENT...", file=sys.stderr)
        return 2
    # An interrupt is for the command; what it leaves is looked at in any case. A handler, because children inherit SIG_IGN.
    signal.signal(signal.SIGINT, lambda *_: None)
    if os.environ.pop(INSIDE, None) is None:
        inside = [*_private_namespaces(), sys.executable, "-m", "tools.leaks", *command]
        return subprocess.run(inside, check=False, env={**os.environ, INSIDE: "1"}).returncode
    return _run_inside(command)


if __name__ == "__main__":
    sys.exit(main())

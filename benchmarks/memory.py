# SPDX-License-Identifier: Apache-2.0
"""Memory of an idle inode: a million files in a memfs, divided into what its server then holds.

    python benchmarks/memory.py [--inodes 1000000] [--kind empty,small,dir] [--subjects instar-memfs,pyfuse3-memfs]

The client makes the inodes through the mount, 10,000 to a directory. "Idle" is after the kernel dropped its own
references (``drop_caches``, so that the server is sent its FORGETs and keeps only what the files need): nothing open,
nothing looked up. Counted is the private memory of the server's processes (``Pss`` of ``smaps_rollup``, proc_pid_smaps(5))
minus what it was before the first file. The project's limit is 1 KiB for each empty file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from _harness import machine
from _harness.mounts import Arena, MountTrouble, unmount
from _harness.options import RESULTS
from _harness.subjects import NORMAL, SUBJECTS, FuseSubject, Subject
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

LIMIT = 1024  # bytes for each idle inode
FEW = 10_000  # in one directory
SMALL = bytes(100)


@dataclass(frozen=True)
class Held:
    """What one kind of inode costs one subject."""

    subject: str
    label: str
    kind: str
    inodes: int
    bytes_each: float  # idle
    bytes_each_known: float  # while the kernel still knows them all
    inodes_per_second: float
    server_mib: float


def make_empty(directory: int, name: str) -> None:
    """An empty file."""
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=directory))


def make_small(directory: int, name: str) -> None:
    """A file of 100 bytes."""
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=directory)
    os.write(fd, SMALL)
    os.close(fd)


def make_directory(directory: int, name: str) -> None:
    """An empty directory."""
    os.mkdir(name, 0o755, dir_fd=directory)


def make_symlink(directory: int, name: str) -> None:
    """A symbolic link of 20 characters."""
    os.symlink("x" * 20, name, dir_fd=directory)


KINDS: dict[str, Callable[[int, str], None]] = {
    "empty": make_empty,
    "small": make_small,
    "dir": make_directory,
    "symlink": make_symlink,
}


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _family(int(child))
    return found


def held_bytes(pid: int) -> int:
    """Proportional memory of a process and its descendants, in bytes."""
    total = 0
    for one in _family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def settled_bytes(pid: int, seconds: float = 30.0) -> int:
    """The same once it stands still: the server may have FORGETs to work through."""
    last = held_bytes(pid)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = held_bytes(pid)
        if abs(now - last) < 64 * 1024:
            return now
        last = now
    return last


def drop_inodes() -> None:
    """Have the kernel let go of the names and inodes that nobody uses."""
    subprocess.run(["sync"], check=False)
    Path("/proc/sys/vm/drop_caches").write_text("2")


def measure(subject: FuseSubject, kind: str, inodes: int, progress: Progress) -> Held:
    """Make the inodes, wait, weigh."""
    root = subject.start(NORMAL)
    try:
        assert subject.server is not None
        pid = subject.server.pid
        # One of everything first, so that what the server loads late is not charged to the inodes.
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        KINDS[kind](top, "first")
        os.listdir(top)
        drop_inodes()
        before = settled_bytes(pid)
        task = progress.add_task(f"{subject.label}, {kind}", total=inodes)
        start = time.monotonic()
        for first in range(0, inodes, FEW):
            os.mkdir(f"d{first}", dir_fd=top)
            directory = os.open(f"d{first}", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
            for number in range(first, min(first + FEW, inodes)):
                KINDS[kind](directory, f"f{number:07d}")
            os.close(directory)
            progress.advance(task, min(FEW, inodes - first))
        seconds = time.monotonic() - start
        known = held_bytes(pid)
        drop_inodes()
        idle = settled_bytes(pid)
        os.close(top)
    finally:
        # A million names in the kernel make umount slow; the server need not be told of each.
        unmount(str(root))
        subject.stop()
    return Held(
        subject.name,
        subject.label,
        kind,
        inodes,
        (idle - before) / inodes,
        (known - before) / inodes,
        inodes / seconds,
        idle / (1 << 20),
    )


def table(found: list[Held]) -> Table:
    """What was found."""
    shown = Table(title="memory of the server for each inode", title_justify="left", box=box.SIMPLE_HEAD)
    for column in (
        "subject",
        "kind",
        "inodes",
        "idle, bytes",
        "known to the kernel, bytes",
        "made a second",
        "server, MiB",
    ):
        shown.add_column(column, justify="left" if column in {"subject", "kind"} else "right")
    for held in found:
        style = "" if held.kind != "empty" else "green" if held.bytes_each <= LIMIT else "red"
        shown.add_row(
            held.label,
            held.kind,
            f"{held.inodes:,}",
            f"[{style}]{held.bytes_each:.0f}" if style else f"{held.bytes_each:.0f}",
            f"{held.bytes_each_known:.0f}",
            f"{held.inodes_per_second:,.0f}",
            f"{held.server_mib:.0f}",
        )
    return shown


def markdown(found: list[Held], facts: dict[str, str]) -> str:
    """The same as a section of documentation."""
    lines = ["## Memory of an idle inode", "", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += [
        "| | kind | inodes | idle, bytes each | known to the kernel, bytes each |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {held.label} | {held.kind} | {held.inodes:,} | **{held.bytes_each:.0f}** | {held.bytes_each_known:.0f} |"
        for held in found
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status is 1 if Instar's empty file is over the limit."""
    memfs = [kind for kind in SUBJECTS if kind.kind == "memfs"]
    parser = argparse.ArgumentParser(prog="benchmarks/memory.py", description="Memory of an idle inode")
    parser.add_argument("--inodes", type=int, default=1_000_000)
    parser.add_argument("--kind", default="empty", help=f"of: {','.join(KINDS)}; several with commas")
    parser.add_argument(
        "--subjects", default="instar-memfs", help=f"of: {','.join(kind.name for kind in memfs)}"
    )
    parser.add_argument("--quick", action="store_true", help="100,000 inodes")
    parser.add_argument("--json", metavar="FILE", help="write the JSON here too; - for the standard output")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(argv)
    kinds, names = chosen.kind.split(","), chosen.subjects.split(",")
    if wrong := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"no kind {wrong[0]!r}; there are: {', '.join(KINDS)}")
    if wrong := [name for name in names if name not in {kind.name for kind in memfs}]:
        parser.error(f"no subject {wrong[0]!r}; there are: {', '.join(kind.name for kind in memfs)}")
    console = Console(stderr=chosen.json == "-")
    if os.geteuid() != 0:
        console.print("dropping the kernel's caches needs root")
        return 77
    inodes = min(chosen.inodes, 100_000) if chosen.quick else chosen.inodes
    facts = machine.describe()
    found: list[Held] = []
    try:
        with Arena(gib=1) as arena, Progress(console=console, transient=True) as progress:
            for name in names:
                subject: Subject = next(kind for kind in memfs if kind.name == name)(arena)
                if reason := subject.missing():
                    console.print(f"[yellow]without {subject.label}: {reason}", highlight=False)
                    continue
                assert isinstance(subject, FuseSubject)
                found += [measure(subject, kind, inodes, progress) for kind in kinds]
    except MountTrouble as trouble:
        console.print(f"[red]{trouble}", highlight=False)
        return 1
    console.print(table(found))
    chosen.results.mkdir(parents=True, exist_ok=True)
    data = {
        "benchmark": "memory",
        "facts": facts,
        "limit_bytes": LIMIT,
        "held": [asdict(held) for held in found],
    }
    (chosen.results / "memory.json").write_text(json.dumps(data, indent=1) + "\n")
    (chosen.results / "memory.md").write_text(markdown(found, facts))
    if chosen.json == "-":
        json.dump(data, sys.stdout, indent=1)
    elif chosen.json:
        Path(chosen.json).write_text(json.dumps(data, indent=1) + "\n")
    over = [h for h in found if h.subject == "instar-memfs" and h.kind == "empty" and h.bytes_each > LIMIT]
    for held in over:
        console.print(f"[red]{held.bytes_each:.0f} bytes for each idle inode: over the limit of {LIMIT}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

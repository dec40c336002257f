# SPDX-License-Identifier: Apache-2.0
"""Stands in for the C client where there is no compiler: the same options, phases and JSON, one worker only.

It is several times slower than ``client.c``, so what it measures is partly itself; ``_harness.client`` says so loudly. The
phases are those of ``metadata.c`` and ``data.c``; read them there.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import sys
import time
from collections.abc import Callable

MIB, PAGE, SMALL = 1 << 20, 4096, 128


class Worker:
    """State that phases leave for each other, and the times of single operations."""

    def __init__(self, directory: str, ops: int, mib: int) -> None:
        os.makedirs(os.path.join(directory, "w0"), exist_ok=True)
        self.dir = os.open(os.path.join(directory, "w0"), os.O_RDONLY | os.O_DIRECTORY)
        self.ops, self.mib = ops, mib
        self.files = self.filled = self.data = False
        self.fd = -1
        self.map: mmap.mmap | None = None
        self.buffer = mmap.mmap(-1, MIB)  # page-aligned, as O_DIRECT wants it
        self.buffer.write(b"\x5a" * MIB)
        self.order: list[int] = []
        self.times: list[int] = []

    def names(self, kind: str = "f") -> list[str]:
        """The names of a phase."""
        return [f"{kind}{i:07d}" for i in range(self.ops)]

    def each(self, call: Callable[[str], object], kind: str = "f") -> int:
        """Time ``call`` on each name."""
        for name in self.names(kind):
            before = time.perf_counter_ns()
            call(name)
            self.times.append(time.perf_counter_ns() - before)
        return self.ops

    # ------------------------------------------------------------------ metadata

    def create_one(self, name: str) -> None:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=self.dir))

    def write_one(self, name: str) -> None:
        fd = os.open(name, os.O_WRONLY, dir_fd=self.dir)
        os.write(fd, memoryview(self.buffer)[:SMALL])
        os.close(fd)

    def read_one(self, name: str) -> None:
        fd = os.open(name, os.O_RDONLY, dir_fd=self.dir)
        if len(os.read(fd, PAGE)) != SMALL:
            raise OSError(0, "short read")
        os.close(fd)

    def stat_one(self, name: str) -> None:
        os.stat(name, dir_fd=self.dir, follow_symlinks=False)

    def miss_one(self, name: str) -> None:
        try:
            self.stat_one(name)
        except FileNotFoundError:
            return
        raise OSError(0, "a name that should be missing")

    def want_none(self) -> None:
        if self.files:
            self.unlink()

    def want_files(self) -> None:
        if not self.files:
            self.create()

    def want_filled(self) -> None:
        self.want_files()
        if not self.filled:
            self.write_small()

    def create(self) -> int:
        done = self.each(self.create_one)
        self.files, self.filled = True, False
        return done

    def stat(self) -> int:
        return self.each(self.stat_one)

    def stat_missing(self) -> int:
        return self.each(self.miss_one, "n")

    def write_small(self) -> int:
        done = self.each(self.write_one)
        self.filled = True
        return done

    def open_read_close(self) -> int:
        return self.each(self.read_one)

    def chmod(self) -> int:
        return self.each(lambda name: os.chmod(name, 0o600, dir_fd=self.dir))

    def list(self, *, attributes: bool) -> int:
        before = time.perf_counter_ns()
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.dir)
        names = os.listdir(fd)
        if attributes:
            for name in names:
                os.stat(name, dir_fd=fd, follow_symlinks=False)
        os.close(fd)
        self.times.append(time.perf_counter_ns() - before)
        return len(names)

    def readdir(self) -> int:
        return sum(self.list(attributes=False) for _ in range(5))

    def readdir_stat(self) -> int:
        return self.list(attributes=True)

    def move(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.dir, dst_dir_fd=self.dir)

    def rename(self) -> int:
        return self.each(lambda name: self.move(name, "r" + name[1:]))

    def rename_back(self) -> None:
        self.each(lambda name: self.move(name, "f" + name[1:]), "r")

    def unlink(self) -> int:
        done = self.each(lambda name: os.unlink(name, dir_fd=self.dir))
        self.files = self.filled = False
        return done

    def mkdir(self) -> int:
        return self.each(lambda name: os.mkdir(name, 0o755, dir_fd=self.dir), "d")

    def rmdir(self) -> int:
        return self.each(lambda name: os.rmdir(name, dir_fd=self.dir), "d")

    # ---------------------------------------------------------------------- data

    def write_all(self, flags: int = 0, *, sync: bool = False) -> int:
        fd = os.open("data", os.O_CREAT | os.O_WRONLY | os.O_TRUNC | flags, 0o644, dir_fd=self.dir)
        for _ in range(self.mib):
            before = time.perf_counter_ns()
            os.write(fd, self.buffer)
            self.times.append(time.perf_counter_ns() - before)
        if sync:
            os.fsync(fd)
        os.close(fd)
        self.data = True
        return self.mib * MIB

    def remove_data(self) -> None:
        if self.data:
            os.unlink("data", dir_fd=self.dir)
        self.data = False

    def open_data(self, flags: int) -> None:
        if not self.data:
            self.write_all()
        self.fd = os.open("data", flags, dir_fd=self.dir)

    def shuffle(self) -> None:
        pages = list(range(self.mib * MIB // PAGE))
        random.Random(1).shuffle(pages)
        self.order = pages[: self.ops]

    def before_cold(self) -> None:
        self.open_data(os.O_RDONLY)
        os.fsync(self.fd)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def before_warm(self) -> None:
        self.open_data(os.O_RDONLY)
        self.read_all()

    def before_random_cold(self) -> None:
        self.before_cold()
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.shuffle()

    def before_random_warm(self) -> None:
        self.before_warm()
        self.shuffle()

    def before_random_write(self) -> None:
        self.open_data(os.O_RDWR)
        self.shuffle()

    def before_direct(self) -> None:
        self.open_data(os.O_RDWR | os.O_DIRECT)
        self.shuffle()

    def close_data(self) -> None:
        if self.map is not None:
            self.map.close()
            self.map = None
        os.close(self.fd)

    def read_at(self, size: int, offset: int) -> None:
        before = time.perf_counter_ns()
        if os.preadv(self.fd, [memoryview(self.buffer)[:size]], offset) != size:
            raise OSError(0, "short read")
        self.times.append(time.perf_counter_ns() - before)

    def read_all(self) -> int:
        for place in range(self.mib):
            self.read_at(MIB, place * MIB)
        return self.mib * MIB

    def random_read(self) -> int:
        for page in self.order:
            self.read_at(PAGE, page * PAGE)
        return len(self.order)

    def random_write(self) -> int:
        for page in self.order:
            before = time.perf_counter_ns()
            os.pwritev(self.fd, [memoryview(self.buffer)[:PAGE]], page * PAGE)
            self.times.append(time.perf_counter_ns() - before)
        return len(self.order)

    def map_cold(self) -> None:
        self.before_cold()
        self.map = mmap.mmap(self.fd, self.mib * MIB, mmap.MAP_SHARED, mmap.PROT_READ)

    def map_warm(self) -> None:
        self.before_warm()
        self.map = mmap.mmap(self.fd, self.mib * MIB, mmap.MAP_SHARED, mmap.PROT_READ)

    def touch(self) -> int:
        assert self.map is not None
        if not sum(self.map[place] for place in range(0, self.mib * MIB, PAGE)):
            raise OSError(0, "wrong bytes")
        return self.mib * MIB


Phase = tuple[str, Callable[[], object] | None, Callable[[], int], Callable[[], object] | None]


def phases(w: Worker) -> dict[str, Phase]:
    """Name to unit, what comes before, what is timed, what comes after."""
    direct = os.O_DIRECT
    return {
        "create": ("op/s", w.want_none, w.create, None),
        "stat": ("op/s", w.want_files, w.stat, None),
        "stat_missing": ("op/s", w.want_files, w.stat_missing, None),
        "write_small": ("op/s", w.want_files, w.write_small, None),
        "open_read_close": ("op/s", w.want_filled, w.open_read_close, None),
        "chmod": ("op/s", w.want_files, w.chmod, None),
        "readdir": ("entries/s", w.want_files, w.readdir, None),
        "readdir_stat": ("entries/s", w.want_files, w.readdir_stat, None),
        "rename": ("op/s", w.want_files, w.rename, w.rename_back),
        "unlink": ("op/s", w.want_files, w.unlink, None),
        "mkdir": ("op/s", None, w.mkdir, w.rmdir),
        "rmdir": ("op/s", w.mkdir, w.rmdir, None),
        "seq_write": ("MiB/s", w.remove_data, w.write_all, None),
        "seq_write_fsync": ("MiB/s", w.remove_data, lambda: w.write_all(sync=True), None),
        "seq_read_cold": ("MiB/s", w.before_cold, w.read_all, w.close_data),
        "seq_read_warm": ("MiB/s", w.before_warm, w.read_all, w.close_data),
        "rand_read_cold": ("op/s", w.before_random_cold, w.random_read, w.close_data),
        "rand_read_warm": ("op/s", w.before_random_warm, w.random_read, w.close_data),
        "rand_write": ("op/s", w.before_random_write, w.random_write, w.close_data),
        "seq_write_direct": ("MiB/s", w.remove_data, lambda: w.write_all(direct), None),
        "seq_read_direct": ("MiB/s", w.before_direct, w.read_all, w.close_data),
        "rand_read_direct": ("op/s", w.before_direct, w.random_read, w.close_data),
        "rand_write_direct": ("op/s", w.before_direct, w.random_write, w.close_data),
        "mmap_read_cold": ("MiB/s", w.map_cold, w.touch, w.close_data),
        "mmap_read_warm": ("MiB/s", w.map_warm, w.touch, w.close_data),
    }


def pause_for(where: str, name: str, *, step: bool) -> None:
    """With --step: say where we are and wait for a line."""
    if step:
        print("@", where, name, file=sys.stderr, flush=True)
        sys.stdin.readline()


def play(w: Worker, name: str, phase: Phase, *, step: bool) -> dict[str, object]:
    """One phase, as an entry of the report."""
    unit, prepare, run, finish = phase
    try:
        if prepare is not None:
            prepare()
        w.times = []
        pause_for("before", name, step=step)
        start = time.perf_counter()
        done = run()
        seconds = time.perf_counter() - start
        pause_for("after", name, step=step)
        times = sorted(w.times) or [0]
        if finish is not None:
            finish()
    except OSError as error:
        return {"name": name, "unit": unit, "error": str(error)}
    amount = done / MIB if unit == "MiB/s" else float(done)
    return {
        "name": name,
        "unit": unit,
        "rate": amount / seconds,
        "amount": amount,
        "operations": len(times),
        "seconds": seconds,
        "p50_us": times[len(times) // 2] / 1e3,
        "p99_us": times[len(times) * 99 // 100] / 1e3,
        "max_us": times[-1] / 1e3,
    }


def main() -> None:
    """Run the phases and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--phases", required=True)
    parser.add_argument("--ops", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--threads", type=int, choices=[1], default=1)
    parser.add_argument("--processes", type=int, choices=[1], default=1)
    parser.add_argument("--step", action="store_true")
    chosen = parser.parse_args()
    worker = Worker(chosen.dir, chosen.ops, chosen.mib)
    known = phases(worker)
    entries = [play(worker, name, known[name], step=chosen.step) for name in chosen.phases.split(",")]
    json.dump({"client": "python", "phases": entries}, sys.stdout)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""One file, changed in every way that a file can be, checked against a copy in memory.

The idea is Apple's and NeXT's *fsx* ("file system exerciser"): random writes, stores through a mapping, truncations, holes,
zeroed and copied ranges hit the same few hundred KiB again and again, so that the page cache, the size and the blocks of
the file must stay in step. Every read is compared byte by byte, and the whole file when it is opened again and at the end.

    python -m instar.verify.fsx /mnt/new/file --ops 100000 --seed 1

A failure names the first wrong byte and lists the operations that touched it. Operations that the file system does not have
(EOPNOTSUPP) are left out after the first try, and reported.

Specification: open(2), pread(2), mmap(2), ftruncate(2), fallocate(2), copy_file_range(2).
"""

from __future__ import annotations

import argparse
import collections
import errno
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from instar.edge.mmap_file import PAGE_SIZE, FileMapping, Protection
from instar.edge.syscalls import FallocateMode, fallocate

__all__ = ["Fsx", "FsxFailure", "Step", "main"]

_KEPT: Final = 20_000  # operations remembered for the message of a failure
_SHOWN: Final = 40
_MISSING: Final = (errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True)
class Step:
    """One operation that was done: on [offset, offset + length), with the file's size before and after."""

    number: int
    name: str
    offset: int
    length: int
    before: int
    after: int
    source: int | None = None

    def touches(self, offset: int) -> bool:
        """Whether it wrote, or cut off, the byte at ``offset``."""
        if self.name in _READS:
            return False
        if self.offset <= offset < self.offset + self.length:
            return True
        return min(self.before, self.after) <= offset < max(self.before, self.after)

    def __str__(self) -> str:
        """One line."""
        source = "" if self.source is None else f" from {self.source:#x}"
        size = (
            f"size {self.before:#x}"
            if self.before == self.after
            else f"size {self.before:#x} -> {self.after:#x}"
        )
        return f"{self.number:>8} {self.name:<10} {self.offset:#8x}..{self.offset + self.length:#x}{source} {size}"


_READS: Final = frozenset({"read", "mapread", "fsync", "reopen", "msync"})


class FsxFailure(AssertionError):
    """The file is not what it should be. The message says where, and which operations were there."""


class Fsx:
    """The exerciser of one file. Use as a context manager, or call :meth:`close`.

    Args:
        path: the file; made or emptied.
        seed: two runs with one seed do the same.
        max_size: bytes that the file may grow to.
        max_length: bytes that one operation touches at most.
        mapped: whether the file is mapped too.
        append: whether some writes use O_APPEND on a second descriptor.
        direct: open with O_DIRECT, all offsets and lengths multiples of a page; excludes ``mapped``.

    Raises:
        OSError: the file cannot be opened, or an operation fails that must not.
        FsxFailure: from :meth:`step` and :meth:`run`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        seed: int,
        *,
        max_size: int = 1 << 18,
        max_length: int = 1 << 16,
        mapped: bool = True,
        append: bool = True,
        direct: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.shadow = bytearray()
        self.steps: collections.deque[Step] = collections.deque(maxlen=_KEPT)
        self.counts: collections.Counter[str] = collections.Counter()
        self.missing: set[str] = set()
        self._random = random.Random(seed)
        self._max_size = max_size
        self._max_length = max_length
        self._unit = PAGE_SIZE if direct else 1
        self._flags = os.O_RDWR | os.O_CLOEXEC | (os.O_DIRECT if direct else 0)
        self._source: int | None = None
        self._number = 0
        self._table: list[tuple[str, int, Callable[[int, int], None]]] = [
            ("read", 10, self._read),
            ("write", 12, self._write),
            ("truncate", 5, self._truncate),
            ("punch", 4, self._punch),
            ("zero", 3, self._zero),
            ("zero-keep", 2, self._zero_keep),
            ("allocate", 2, self._allocate),
            ("alloc-keep", 2, self._allocate_keep),
            ("copy", 4, self._copy),
            ("fsync", 1, self._fsync),
            ("reopen", 1, self._reopen),
            ("empty", 1, self._empty),
        ]
        if mapped and not direct:
            self._table += [("mapread", 8, self._mapread), ("mapwrite", 10, self._mapwrite)]
        if append and not direct:
            self._table.append(("append", 3, self._append))
        self._fd = os.open(self.path, self._flags | os.O_CREAT | os.O_TRUNC, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def run(self, ops: int, progress: Callable[[int], None] = lambda _done: None) -> collections.Counter[str]:
        """Do ``ops`` operations and compare the whole file; how often each was done."""
        for done in range(1, ops + 1):
            self.step()
            if done % 1000 == 0:
                progress(done)
        self.verify()
        return self.counts

    def step(self) -> Step:
        """Do one operation and check what it gives and the size of the file."""
        names = [entry for entry in self._table if entry[0] not in self.missing]
        name, _, _ = self._random.choices(names, [weight for _, weight, _ in names])[0]
        offset = self._random.randrange(self._max_size)
        # Many small operations and a few large ones: lengths are spread over powers of two.
        length = self._random.randrange(1, 1 << self._random.randrange(1, self._max_length.bit_length()) | 1)
        if self._random.random() < 0.2:  # the edges of pages are where the trouble is
            offset -= offset % PAGE_SIZE
        if self._random.random() < 0.2:
            length = max(1, round(length / PAGE_SIZE)) * PAGE_SIZE
        offset -= offset % self._unit
        length = min(-(-length // self._unit) * self._unit, self._max_size - offset)
        return self.do(name, offset, length)

    def do(self, name: str, offset: int, length: int) -> Step:
        """Do the operation of that name on [offset, offset + length); offsets and lengths are bytes.

        Raises:
            KeyError: there is no such operation, or the options exclude it.
        """
        call = {entry[0]: entry[2] for entry in self._table}[name]
        before, self._number, self._source = len(self.shadow), self._number + 1, None
        try:
            call(offset, length)
        except OSError as error:
            if error.errno not in _MISSING or self.counts[name]:
                raise
            self.missing.add(name)
        step = Step(self._number, name, offset, length, before, len(self.shadow), self._source)
        self.steps.append(step)
        self.counts[name] += name not in self.missing
        size = os.fstat(self._fd).st_size
        if size != len(self.shadow):
            raise self._failure(
                f"the size is {size:#x}, not {len(self.shadow):#x}", min(size, len(self.shadow))
            )
        return step

    def verify(self) -> None:
        """Compare the whole file; raises FsxFailure."""
        self._check("whole file", 0, self._pread(0, max(self._unit, len(self.shadow) + self._unit)))

    # What is done to the file and to the shadow

    def _failure(self, what: str, offset: int) -> FsxFailure:
        touching = [str(step) for step in self.steps if step.touches(offset)][-_SHOWN:]
        last = [str(step) for step in self.steps][-5:]
        lines = "\n".join(touching) or "  (none)"
        return FsxFailure(
            f"{self.path}: operation {self._number}: {what}\nwhat wrote there:\n{lines}\nlast:\n"
            + "\n".join(last)
        )

    def _check(self, name: str, offset: int, data: bytes) -> None:
        wanted = bytes(self.shadow[offset : offset + len(data)])
        if data == wanted:
            return
        if len(data) != len(wanted):
            raise self._failure(f"{name} at {offset:#x} gave {len(data)} bytes, not {len(wanted)}", offset)
        bad = next(at for at in range(len(data)) if data[at] != wanted[at])
        count = sum(ours != theirs for ours, theirs in zip(data, wanted, strict=True))
        raise self._failure(
            f"{name} of {offset:#x}..{offset + len(data):#x}: byte {offset + bad:#x} is {data[bad]:#04x}, "
            f"not {wanted[bad]:#04x}; {count} bytes are wrong",
            offset + bad,
        )

    def _new_data(self, length: int) -> bytes:
        # A run of one byte that tells the operation, with a mark at each page, so that a moved page shows.
        data = bytearray((self._number % 255 + 1,)) * length
        for at in range(0, length, PAGE_SIZE):
            data[at] = self._random.randrange(1, 256)
        return bytes(data)

    def _put(self, offset: int, data: bytes) -> None:
        if offset > len(self.shadow):
            self.shadow.extend(bytes(offset - len(self.shadow)))
        self.shadow[offset : offset + len(data)] = data

    def _pread(self, offset: int, length: int) -> bytes:
        if self._unit == 1:
            return os.pread(self._fd, length, offset)
        # O_DIRECT wants a buffer aligned to the device's blocks.
        with FileMapping.anonymous(-(-length // PAGE_SIZE) * PAGE_SIZE) as buffer:
            count = buffer.pread_into(self._fd, offset)
            return buffer.load(0, min(count, length))

    def _pwrite(self, offset: int, data: bytes) -> int:
        if self._unit == 1:
            return os.pwrite(self._fd, data, offset)
        with FileMapping.anonymous(len(data)) as buffer:
            buffer.store(0, data)
            return buffer.pwrite_from(self._fd, offset)

    def _read(self, offset: int, length: int) -> None:
        data = self._pread(offset, length)
        wanted = max(0, min(length, len(self.shadow) - offset))
        if len(data) != wanted:
            raise self._failure(f"read at {offset:#x} gave {len(data)} bytes, not {wanted}", offset)
        self._check("read", offset, data)

    def _write(self, offset: int, length: int) -> None:
        data = self._new_data(length)
        count = self._pwrite(offset, data)
        if count != length:
            raise self._failure(f"write took {count} of {length} bytes", offset + count)
        self._put(offset, data)

    def _append(self, offset: int, length: int) -> None:
        length = min(length, self._max_size - len(self.shadow))
        data = self._new_data(length)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        self._put(len(self.shadow), data)

    def _mapread(self, offset: int, length: int) -> None:
        if not self.shadow:
            return
        offset %= len(self.shadow)
        length = min(length, len(self.shadow) - offset)
        first = offset - offset % PAGE_SIZE
        end = -(-(offset + length) // PAGE_SIZE) * PAGE_SIZE
        with FileMapping(self._fd, end - first, Protection.READ, offset=first) as mapping:
            data = mapping.load(offset - first, end - offset)
        self._check("mapread", offset, data[:length])
        tail = data[len(self.shadow) - offset :]
        if tail.strip(b"\0"):
            raise self._failure("the mapped page past the end of the file is not zero", len(self.shadow))

    def _mapwrite(self, offset: int, length: int) -> None:
        end = offset + length
        if end > len(self.shadow):
            os.ftruncate(self._fd, end)
            self._put(end, b"")
        data = self._new_data(length)
        first = offset - offset % PAGE_SIZE
        protection = Protection.READ | Protection.WRITE
        with FileMapping(self._fd, end - first, protection, offset=first) as mapping:
            mapping.store(offset - first, data)
            if self._random.random() < 0.2:
                mapping.sync()
        self._put(offset, data)

    def _truncate(self, offset: int, length: int) -> None:
        os.ftruncate(self._fd, offset)
        if offset < len(self.shadow):
            del self.shadow[offset:]
        else:
            self._put(offset, b"")

    def _fallocate(self, mode: FallocateMode, offset: int, length: int) -> None:
        fallocate(self._fd, mode, offset, length)

    def _clear(self, offset: int, length: int) -> None:
        end = min(offset + length, len(self.shadow))
        if end > offset:
            self.shadow[offset:end] = bytes(end - offset)

    def _punch(self, offset: int, length: int) -> None:
        self._fallocate(FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE, offset, length)
        self._clear(offset, length)

    def _zero(self, offset: int, length: int) -> None:
        self._fallocate(FallocateMode.ZERO_RANGE, offset, length)
        self._clear(offset, length)
        if offset + length > len(self.shadow):
            self._put(offset + length, b"")

    def _zero_keep(self, offset: int, length: int) -> None:
        self._fallocate(FallocateMode.ZERO_RANGE | FallocateMode.KEEP_SIZE, offset, length)
        self._clear(offset, length)

    def _allocate(self, offset: int, length: int) -> None:
        self._fallocate(FallocateMode.NONE, offset, length)
        if offset + length > len(self.shadow):
            self._put(offset + length, b"")

    def _allocate_keep(self, offset: int, length: int) -> None:
        self._fallocate(FallocateMode.KEEP_SIZE, offset, length)

    def _copy(self, offset: int, length: int) -> None:
        if not self.shadow:
            return
        source = self._random.randrange(len(self.shadow))
        source -= source % self._unit
        length = min(length, len(self.shadow) - source, self._max_size - offset)
        # copy_file_range(2) refuses ranges of one file that overlap.
        length = min(length, abs(source - offset))
        self._source = source
        done = 0
        while done < length:
            count = os.copy_file_range(self._fd, self._fd, length - done, source + done, offset + done)
            if count == 0:
                raise self._failure(
                    f"copy of {length} bytes from {source:#x} stopped at {done}", offset + done
                )
            self._put(offset + done, bytes(self.shadow[source + done : source + done + count]))
            done += count

    def _fsync(self, offset: int, length: int) -> None:
        os.fsync(self._fd)

    def _reopen(self, offset: int, length: int) -> None:
        os.close(self._fd)
        self._fd = -1
        self._fd = os.open(self.path, self._flags)
        self.verify()

    def _empty(self, offset: int, length: int) -> None:
        """Open with O_TRUNC, as most programs write their files."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC))
        self.shadow.clear()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exercise a file; 0 if it stayed right, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m instar.verify.fsx", description="Exercise one file.")
    parser.add_argument("file", help="the file; made or emptied")
    parser.add_argument("--ops", type=int, default=10_000, help="operations to do (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=None, help="start of the random numbers (default: a new one)"
    )
    parser.add_argument("--max-size", type=int, default=1 << 18, metavar="BYTES", help="default %(default)s")
    parser.add_argument(
        "--max-length", type=int, default=1 << 16, metavar="BYTES", help="default %(default)s"
    )
    parser.add_argument("--no-mmap", action="store_true", help="do not map the file")
    parser.add_argument("--direct", action="store_true", help="open with O_DIRECT")
    parser.add_argument("--keep", action="store_true", help="leave the file there when it stayed right")
    options = parser.parse_args(arguments)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    started = time.monotonic()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a program's output

    say(f"seed {seed}")
    with Fsx(
        options.file,
        seed,
        max_size=options.max_size,
        max_length=options.max_length,
        mapped=not options.no_mmap,
        direct=options.direct,
    ) as fsx:
        try:
            counts = fsx.run(options.ops, lambda done: say(f"{done:>9} of {options.ops}"))
        except FsxFailure as failure:
            say(f"{failure}\nseed {seed}")
            return 1
    words = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    say(f"{options.ops} operations in {time.monotonic() - started:.1f} s, no difference ({words})")
    if fsx.missing:
        say(f"the file system does not have: {', '.join(sorted(fsx.missing))}")
    if not options.keep:
        os.unlink(options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

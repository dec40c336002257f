# SPDX-License-Identifier: Apache-2.0
"""Operations on mapped files: shared and private mappings that live on while the file changes under them.

A mapping has a number of its own. An access past the end of the file is an outcome (EFAULT) and not a signal: see
:mod:`instar.edge.mmap_file`. Times are not compared: the kernel may set them when it writes the pages back. What is
stored after the end of the file in its last page is unspecified once the file grows, so such stores are left out.

Specification: mmap(2), msync(2).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from instar.edge.mmap_file import PAGE_SIZE, FileMapping, MapFlags, Protection
from instar.verify.model._operation import Operation, Value
from instar.verify.model._world import Mapped, World

__all__ = ["Map", "MapLoad", "MapStore", "MapSync", "Unmap"]


@dataclasses.dataclass(frozen=True)
class Map(Operation):
    """mmap(2) of ``pages`` pages from page ``first`` on, shared or private, writable or not."""

    times: ClassVar[bool] = False

    mapping: int
    slot: int
    first: int
    pages: int
    private: bool = False
    writable: bool = True

    def run(self, world: World) -> Value:
        """Keep the mapping under its number, in the place of one that has it."""
        protection = Protection.READ | Protection.WRITE if self.writable else Protection.READ
        made = FileMapping(
            world.fd(self.slot),
            self.pages * PAGE_SIZE,
            protection,
            MapFlags.PRIVATE if self.private else MapFlags.SHARED,
            self.first * PAGE_SIZE,
        )
        world.map(self.mapping, Mapped(made, world.fd(self.slot), self.first * PAGE_SIZE))


def _inside(mapping: FileMapping, offset: int, size: int) -> tuple[int, int]:
    """The range cut to the mapping, which may be smaller than who wrote the operation knew."""
    offset = min(offset, len(mapping) - 1)
    return offset, min(size, len(mapping) - offset)


@dataclasses.dataclass(frozen=True)
class MapLoad(Operation):
    """Read mapped bytes."""

    times: ClassVar[bool] = False

    mapping: int
    offset: int
    size: int

    def run(self, world: World) -> Value:
        """The bytes; EFAULT where a program would get SIGBUS."""
        mapping = world.mapping(self.mapping).memory
        return mapping.load(*_inside(mapping, self.offset, self.size))


@dataclasses.dataclass(frozen=True)
class MapStore(Operation):
    """Write mapped bytes."""

    times: ClassVar[bool] = False

    mapping: int
    offset: int
    data: bytes

    def run(self, world: World) -> Value:
        """Bytes stored; EFAULT where a program would get SIGBUS or SIGSEGV."""
        mapped = world.mapping(self.mapping)
        offset, size = _inside(mapped.memory, self.offset, len(self.data))
        end = mapped.end_of_file()
        if offset < -(-end // PAGE_SIZE) * PAGE_SIZE:
            size = max(0, min(size, end - offset))
        mapped.memory.store(offset, self.data[:size])
        return size


@dataclasses.dataclass(frozen=True)
class MapSync(Operation):
    """msync(2) with MS_SYNC."""

    times: ClassVar[bool] = False

    mapping: int

    def run(self, world: World) -> Value:
        """Wait for the data."""
        world.mapping(self.mapping).memory.sync()


@dataclasses.dataclass(frozen=True)
class Unmap(Operation):
    """munmap(2)."""

    times: ClassVar[bool] = False

    mapping: int

    def run(self, world: World) -> Value:
        """Unmap."""
        world.unmap(self.mapping)

# SPDX-License-Identifier: Apache-2.0
"""Where C puts the members of a structure: pure arithmetic, no classes.

The rules are those that gcc and clang follow for the System V ABI (x86-64 psABI 3.1.2) and AAPCS64 (10.1.8):

- a member starts at the next multiple of its alignment; `packed` makes every alignment 1;
- a bit-field starts at the next bit, unless it would then cross a boundary of its declared type, in which
  case it starts at that boundary; `packed` bit-fields always start at the next bit;
- a bit-field of width 0 moves the next one to a boundary of its declared type, packed or not;
- a named bit-field gives its declared type's alignment to the structure, unless packed; an unnamed one does
  so on arm64 only, and there one of width 0 does so even when packed;
- the size is rounded up to the alignment.

`tests/layout/test_against_gcc.py` holds each of these against the compiler.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Abi", "Member", "Placement", "align_up", "host_abi", "place"]


@dataclass(frozen=True, slots=True, eq=False)
class Abi:
    """What differs between machines.

    Attributes:
        unnamed_bits_align: whether an unnamed bit-field raises the structure's alignment.
    """

    unnamed_bits_align: bool


@functools.cache
def host_abi() -> Abi:
    """The rules of the machine that this runs on."""
    return Abi(unnamed_bits_align=os.uname().machine in {"aarch64", "arm64"})


@dataclass(slots=True, eq=False, repr=False)
class Member:
    """One member to place: sizes and alignments in bytes, `width` in bits for a bit-field (else None).

    `align_extra` is an `aligned(N)` attribute on the member itself; it holds in packed structures too. `at`
    is a first bit that is already known, as BTF knows it.
    """

    size: int
    align: int
    width: int | None = None
    named: bool = True
    packed: bool = False
    align_extra: int = 1
    at: int | None = None


@dataclass(slots=True, eq=False, repr=False)
class Placement:
    """The result: size and alignment in bytes, and for each member its first bit."""

    size: int
    align: int
    bit_offsets: tuple[int, ...]


def align_up(value: int, align: int) -> int:
    """The smallest multiple of `align` that is not below `value`."""
    return -(-value // align) * align


def place(
    members: Sequence[Member],
    *,
    union: bool = False,
    packed: bool = False,
    align: int = 1,
    abi: Abi | None = None,
) -> Placement:
    """Place `members` in order; `align` is an `aligned(N)` attribute on the whole.

    Pure: the same members always give the same placement. Never raises for members with positive alignment.
    """
    abi = abi or host_abi()
    here = 0  # the next free bit
    end = 0  # for unions: the largest member, in bits
    whole = align
    offsets: list[int] = []
    for m in members:
        if union:
            here = 0
        is_packed = packed or m.packed
        member_align = max(1 if is_packed else m.align, m.align_extra)
        if m.width is None:
            start = align_up(here, member_align * 8)
            here = start + m.size * 8
            whole = max(whole, member_align)
        else:
            unit = m.align * 8
            if m.width == 0:
                # The boundary holds in packed structures too.
                start = align_up(here, max(unit, m.align_extra * 8))
                if abi.unnamed_bits_align:
                    whole = max(whole, m.align)
            else:
                start = align_up(here, m.align_extra * 8) if m.align_extra > 1 else here
                if not is_packed and start % unit + m.width > m.size * 8:
                    start = align_up(start, unit)
                if m.named or abi.unnamed_bits_align:
                    whole = max(whole, member_align)
            here = start + m.width
        if m.at is not None:
            start = m.at
            here = start + (m.size * 8 if m.width is None else m.width)
        offsets.append(start)
        end = max(end, here)
    size = align_up(align_up(end, 8) // 8, whole)
    return Placement(size, whole, tuple(offsets))

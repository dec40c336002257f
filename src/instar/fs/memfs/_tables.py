# SPDX-License-Identifier: Apache-2.0
"""`tighten`: dictionaries that have lost most of their entries give back their room.

CPython never shrinks a dictionary when entries are removed, so a directory in which a million names once were would
keep a table of a million places, and so would a large file that was cut.
"""

from __future__ import annotations

from typing import Final, TypeVar

__all__ = ["tighten"]

_K = TypeVar("_K")
_V = TypeVar("_V")

# A table that only grew takes at most about 100 bytes for each entry. Beyond these it has lost most of them, so that
# filling it again costs less, over time, than the removals did.
_BYTES_EACH: Final = 256
_BYTES_ANYWAY: Final = 8192


def tighten(table: dict[_K, _V]) -> None:
    """Make the table of a dictionary smaller if few of its places are in use. The order of entries stays."""
    if table.__sizeof__() > _BYTES_ANYWAY + _BYTES_EACH * len(table):
        entries = dict(table)
        table.clear()
        table.update(entries)

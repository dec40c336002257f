# SPDX-License-Identifier: Apache-2.0
"""Structures as the wire core packs them, where that is not as the header spells them; and times and timeouts.

The header declares seconds as unsigned and means two's complement, so that a time before 1970 has a place. The
formats here are those of the layouts with signed seconds: ``struct`` then takes and gives the right number and refuses one out of
range, without a mask. ``tests/wire/fuse/test_structs.py`` compares each of them with its layout.
"""

from __future__ import annotations

import functools
import struct
from typing import Final

from instar.wire.fuse._errors import EncodeError

__all__ = [
    "ATTR",
    "ATTR_OUT",
    "ENTRY_OUT",
    "FOREVER",
    "INIT_COMPAT_IN",
    "LSEEK_IN",
    "NS",
    "SETATTR_IN",
    "SETXATTR_COMPAT_IN",
    "STATX_OUT",
    "join_timeout",
    "split_timeout",
]

#: Nanoseconds in a second.
NS: Final = 1_000_000_000

_ATTR = "QQQqqqIIIIIIIIII"
_SX_TIME = "qIi"

#: ``struct fuse_attr``
ATTR: Final = struct.Struct("=" + _ATTR)
#: ``struct fuse_entry_out``
ENTRY_OUT: Final = struct.Struct("=QQQQII" + _ATTR)
#: ``struct fuse_attr_out``
ATTR_OUT: Final = struct.Struct("=QII" + _ATTR)
#: ``struct fuse_statx_out`` without its unused parts, which are 0
STATX_OUT: Final = struct.Struct("=QII16x" + "IIQIIIHxxQQQQ" + 4 * _SX_TIME + "IIII112x")
#: ``struct fuse_setattr_in``
SETATTR_IN: Final = struct.Struct("=IIQQQqqqIIIIIIII")
#: ``struct fuse_lseek_in``
LSEEK_IN: Final = struct.Struct("=QqII")
#: ``struct fuse_setxattr_in`` of a connection without FUSE_SETXATTR_EXT
SETXATTR_COMPAT_IN: Final = struct.Struct("=II")
#: ``struct fuse_init_in`` up to 7.35
INIT_COMPAT_IN: Final = struct.Struct("=IIII")

#: What a timeout is cut to, in seconds: 136 years. The kernel cuts to less, but must not see 2**63.
FOREVER: Final = float(1 << 32)


@functools.lru_cache(maxsize=64)
def split_timeout(timeout: float) -> tuple[int, int]:
    """Seconds and nanoseconds of a timeout in seconds; more than :data:`FOREVER`, infinity too, is cut to it.

    Raises:
        EncodeError: the timeout is negative or not a number.
    """
    if not timeout >= 0:
        raise EncodeError(f"a timeout is 0 or more seconds, not {timeout!r}")
    if timeout >= FOREVER:
        return int(FOREVER), 0
    seconds = int(timeout)
    nanoseconds = round((timeout - seconds) * NS)
    return (seconds + 1, 0) if nanoseconds == NS else (seconds, nanoseconds)


def join_timeout(seconds: int, nanoseconds: int) -> float:
    """The timeout in seconds; the inverse of :func:`split_timeout` but for its rounding."""
    return seconds + nanoseconds / NS

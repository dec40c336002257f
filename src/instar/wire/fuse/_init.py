# SPDX-License-Identifier: Apache-2.0
"""What a connection agrees on: a pure function from the kernel's INIT and the server's wishes to the reply.

INIT comes once in the life of a mount, and what is agreed then holds for every later server of it: ask on the
first day for all that a later version may want.

Never answer with the flags that the kernel offered: each is a promise. (A server that accepts FUSE_OVER_IO_URING and
registers no rings leaves every caller waiting for ever.) Here a flag is agreed only when the caller wants it, the kernel
offers it and this version knows it.

Source: ``process_init_reply`` in ``fs/fuse/inode.c`` of Linux 6.18.
"""

from __future__ import annotations

from typing import Final

from instar.wire.fuse._constants import FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, InitFlags
from instar.wire.fuse._errors import EncodeError, ProtocolError
from instar.wire.fuse._replies import InitOut
from instar.wire.fuse._requests import Init

__all__ = ["DEFAULT_MAX_PAGES", "OLDEST_MINOR", "negotiate"]

#: The oldest minor version that is served, that of Linux 5.4. Older ones have other structures.
OLDEST_MINOR: Final = 31

#: How many pages of data a request carries at most without FUSE_MAX_PAGES.
DEFAULT_MAX_PAGES: Final = 32

_KNOWN: Final = sum(int(flag) for flag in InitFlags) & ~int(InitFlags.FUSE_INIT_RESERVED)
_INIT_EXT: Final = int(InitFlags.FUSE_INIT_EXT)
_LOW: Final = 0xFFFF_FFFF
_U16: Final = 0xFFFF
#: Backing files may be stacked this deep (FILESYSTEM_MAX_STACK_DEPTH in ``linux/fs.h``).
_MAX_STACK_DEPTH: Final = 2
_MIN_MAX_WRITE: Final = 4096


def negotiate(
    init: Init,
    wanted: int,
    *,
    max_write: int,
    max_readahead: int | None = None,
    max_background: int = 0,
    congestion_threshold: int = 0,
    time_gran: int = 1,
    map_alignment: int = 0,
    max_stack_depth: int = 0,
    request_timeout: int = 0,
    page_size: int = 4096,
) -> InitOut:
    """Answer INIT. The result goes to :func:`encode_init` and says what holds from now on.

    Args:
        init: the request.
        wanted: the flags that the server can serve (:class:`InitFlags`); FUSE_INIT_EXT is added where it is needed.
        max_write: the largest WRITE in bytes. Without FUSE_MAX_PAGES no more than 32 pages are agreed.
        max_readahead: bytes; None takes what the kernel proposes, and more than that is never agreed.
        max_background: how many requests that nobody waits for may be in flight; 0 leaves it to the kernel (12).
        congestion_threshold: from how many of them on the kernel holds back; 0 leaves it to the kernel.
        time_gran: the granularity of times in ns, a power of ten up to 10**9.
        map_alignment: log2 of the alignment that DAX mappings need (FUSE_MAP_ALIGNMENT).
        max_stack_depth: 1, or 2 where backing files may be stacked themselves (FUSE_PASSTHROUGH).
        request_timeout: seconds after which the kernel aborts the *connection* (FUSE_REQUEST_TIMEOUT); a pause for
            an upgrade must be shorter.
        page_size: of this machine, in bytes.

    Returns:
        What was agreed. For a kernel with a newer major version it agrees on nothing but version 7, and the kernel sends
        another INIT.

    Raises:
        ProtocolError: the kernel speaks a version below 7.31.
        EncodeError: wishes that exclude each other, or that are out of range.
    """
    if init.major > FUSE_KERNEL_VERSION:
        return InitOut(FUSE_KERNEL_VERSION, FUSE_KERNEL_MINOR_VERSION)
    if init.major < FUSE_KERNEL_VERSION or init.minor < OLDEST_MINOR:
        raise ProtocolError(
            f"INIT: the kernel speaks FUSE {init.major}.{init.minor}; at least "
            f"{FUSE_KERNEL_VERSION}.{OLDEST_MINOR} (Linux 5.4) is needed"
        )
    _check_wishes(wanted, max_write, time_gran, max_stack_depth, request_timeout)
    flags = init.flags & int(wanted) & _KNOWN
    if flags > _LOW or wanted & _INIT_EXT:
        flags |= init.flags & _INIT_EXT
    if not flags & _INIT_EXT:
        flags &= _LOW
    max_pages = 0
    limit = DEFAULT_MAX_PAGES * page_size
    if flags & InitFlags.FUSE_MAX_PAGES:
        max_pages = min(-(-max_write // page_size), _U16)
        limit = max_pages * page_size
    return InitOut(
        major=FUSE_KERNEL_VERSION,
        minor=min(init.minor, FUSE_KERNEL_MINOR_VERSION),
        max_readahead=init.max_readahead if max_readahead is None else min(max_readahead, init.max_readahead),
        flags=flags,
        max_background=max_background,
        congestion_threshold=congestion_threshold,
        max_write=min(max_write, limit),
        time_gran=time_gran,
        max_pages=max_pages,
        map_alignment=map_alignment if flags & InitFlags.FUSE_MAP_ALIGNMENT else 0,
        max_stack_depth=max_stack_depth if flags & InitFlags.FUSE_PASSTHROUGH else 0,
        request_timeout=request_timeout if flags & InitFlags.FUSE_REQUEST_TIMEOUT else 0,
    )


def _check_wishes(
    wanted: int, max_write: int, time_gran: int, max_stack_depth: int, request_timeout: int
) -> None:
    if wanted & InitFlags.FUSE_PASSTHROUGH:
        if wanted & InitFlags.FUSE_WRITEBACK_CACHE:
            raise EncodeError(
                "FUSE_PASSTHROUGH and FUSE_WRITEBACK_CACHE exclude each other: want one of them"
            )
        if not 1 <= max_stack_depth <= _MAX_STACK_DEPTH:
            raise EncodeError(
                f"FUSE_PASSTHROUGH needs a max_stack_depth of 1 or {_MAX_STACK_DEPTH}, not {max_stack_depth}"
            )
    if wanted & InitFlags.FUSE_REQUEST_TIMEOUT and not 0 < request_timeout <= _U16:
        raise EncodeError(
            f"FUSE_REQUEST_TIMEOUT needs a request_timeout of 1 to {_U16} seconds, not {request_timeout}"
        )
    if not _MIN_MAX_WRITE <= max_write <= _LOW:
        raise EncodeError(f"max_write is from {_MIN_MAX_WRITE} to {_LOW} bytes, not {max_write}")
    if not 1 <= time_gran <= 1_000_000_000:
        raise EncodeError(f"time_gran is from 1 to 10**9 ns, not {time_gran}")

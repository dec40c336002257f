# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a protocol: the peer's bytes are bad, or ours would be.

The two are kept apart, as in h11: :class:`ProtocolError` blames the other side, :class:`EncodeError` the caller.
"""

from __future__ import annotations

from instar._errors import InstarError

__all__ = ["EncodeError", "ProtocolError", "too_short", "wrong_size"]


class ProtocolError(InstarError, ValueError):
    """Bytes from the other side that are no message of the protocol. Decoding raises nothing else.

    The message says which request or reply it was and what is wrong with it. A server answers such a request with
    EIO if its header could be read, and goes on.
    """


class EncodeError(InstarError, ValueError):
    """A value that the protocol has no room for: a number out of range, a name with a slash, a wrong message.

    The caller's mistake, or that of the service whose answer it encodes; the message names the message and the field
    where it can.
    """


def wrong_size(what: str, start: int, end: int, size: int) -> ProtocolError:
    """The error about a body ``buf[start:end]`` that should be one structure of ``size`` bytes."""
    return ProtocolError(f"{what}: the body has {end - start} bytes, not {size}")


def too_short(what: str, start: int, end: int, size: int) -> ProtocolError:
    """The error about a body ``buf[start:end]`` that ends before its structure does."""
    return ProtocolError(f"{what}: the body has {end - start} bytes, its structure alone {size}")

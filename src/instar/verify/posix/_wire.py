# SPDX-License-Identifier: Apache-2.0
"""Messages between the suite and its actors: a length of 4 bytes, then a pickle.

A request is ``(function, arguments, keywords)``; functions travel by name. An answer is :class:`Done`,
:class:`Failed` or :class:`Broke`. Both ends are this package in processes of one machine, so pickle is safe.
"""

from __future__ import annotations

import dataclasses
import pickle
import socket
import struct
import traceback
from typing import Any

__all__ = ["Broke", "Done", "Failed", "receive", "send", "where"]

_LENGTH = struct.Struct("!I")
_CHUNK = 1 << 18


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """The call returned."""

    value: Any  # of the function's own type


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """The call raised OSError with this errno; ``where`` is the line of a composed function that did, or empty."""

    errno: int
    where: str


@dataclasses.dataclass(frozen=True, slots=True)
class Broke:
    """The call raised something else: a mistake in a case. Its traceback."""

    text: str


def where(error: OSError) -> str:
    """The source line that raised, if it was below the function that was called."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    return f"line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def send(peer: socket.socket, message: object) -> None:
    """Send one message."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    peer.sendall(_LENGTH.pack(len(body)) + body)


def receive(peer: socket.socket) -> Any:
    """One message, or None when the peer is gone. TimeoutError after the socket's timeout."""
    data = peer.recv(_CHUNK)
    if not data:
        return None
    while len(data) < _LENGTH.size:
        data += peer.recv(_CHUNK)
    (length,) = _LENGTH.unpack_from(data)
    missing = length + _LENGTH.size - len(data)
    if missing:
        parts = [data]
        while missing > 0:
            part = peer.recv(min(missing, _CHUNK))
            if not part:
                return None
            parts.append(part)
            missing -= len(part)
        data = b"".join(parts)
    return pickle.loads(memoryview(data)[_LENGTH.size :])  # noqa: S301 - from our own process, see above

# SPDX-License-Identifier: Apache-2.0
"""The open files of a `Tree`: one small class for each way in which a `File` gets its content.

`OpenFile` alone is a file opened for writing only: it writes, as each of the others does where the file has a ``write``.
"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Awaitable, Callable

from instar._awaitable import then
from instar.fs._entries import File, content_bytes
from instar.fs._filesystem import MaybeAwaitable
from instar.fs._seqfile import SeqReader

__all__ = ["OpenBytes", "OpenCall", "OpenFile", "OpenSeq"]


class OpenFile:
    """One open of a :class:`File`; by itself one that cannot be read."""

    __slots__ = ("file", "path", "poller")

    def __init__(self, file: File, path: str) -> None:
        self.file = file
        self.path = path
        self.poller = file.poller()

    def read(self, offset: int, size: int) -> MaybeAwaitable[bytes]:
        """Return up to ``size`` bytes from ``offset``. Raises ``EBADF`` when it was not opened for reading."""
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def write(self, data: memoryview) -> MaybeAwaitable[int]:
        """Hand one write to the file's function. Raises ``EINVAL`` for its ``ValueError``, and what else it raises."""
        if self.file.write is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        size = data.nbytes
        text = bytes(data) if self.file.binary else str(data, "utf-8", "surrogateescape")
        # The type of the function's argument follows from `binary`, which mypy cannot see.
        write: Callable[..., object] = self.file.write
        try:
            result = write(text)
        except ValueError as error:
            raise _invalid(error) from error
        if inspect.isawaitable(result):
            return _written_later(result, size)
        return size

    def close(self) -> MaybeAwaitable[None]:
        """The last close."""
        self.poller.close()
        return None


def _invalid(error: ValueError) -> OSError:
    return OSError(errno.EINVAL, str(error))


async def _written_later(result: Awaitable[object], size: int) -> int:
    try:
        await result
    except ValueError as error:
        raise _invalid(error) from error
    return size


class OpenBytes(OpenFile):
    """A file of known bytes. ``now`` tells what stands there at the moment: readers see a change, as on a disk."""

    __slots__ = ("_data", "_now")

    def __init__(self, file: File, path: str, now: Callable[[], object]) -> None:
        super().__init__(file, path)
        self._data = file.data or b""
        self._now = now

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        found = self._now()
        if isinstance(found, File) and found.sized:
            self._data = found.data or b""
        return self._data[offset : offset + size]


class OpenCall(OpenFile):
    """A file whose content a function makes: once for the open, and again for each reader that goes back to the start."""

    __slots__ = ("_content", "_fresh")

    def __init__(self, file: File, path: str) -> None:
        super().__init__(file, path)
        self._content = b""
        self._fresh = False

    def fetch(self) -> MaybeAwaitable[None]:
        """Get the content. Raises what the function raises, and ``TypeError`` when it returns no content."""
        self.poller.saw()
        if not callable(self.file.read):  # bytes that a reader and a writer share
            self._keep(self.file.data or b"")
            return None
        return then(self.file.read(), self._keep)

    def _keep(self, content: object) -> None:
        try:
            self._content = content_bytes(content)
        except TypeError:
            raise TypeError(
                f"{self.path}: the function returned {type(content).__name__}; return str or bytes, or use a SeqFile"
            ) from None
        self._fresh = True

    def read(self, offset: int, size: int) -> MaybeAwaitable[bytes]:
        """Return up to ``size`` bytes from ``offset``; at 0 the content is fetched, unless it has just been."""
        if offset == 0 and not self._fresh:
            return then(self.fetch(), lambda _: self._part(offset, size))
        return self._part(offset, size)

    def _part(self, offset: int, size: int) -> bytes:
        self._fresh = False
        return self._content[offset : offset + size]

    def write(self, data: memoryview) -> MaybeAwaitable[int]:
        """As every open file, and the content has to be fetched anew."""
        self._fresh = False
        return super().write(data)


class OpenSeq(OpenFile):
    """A file that is a :class:`SeqFile`."""

    __slots__ = ("_reader",)

    def __init__(self, file: File, path: str, reader: SeqReader) -> None:
        super().__init__(file, path)
        self._reader = reader

    def read(self, offset: int, size: int) -> MaybeAwaitable[bytes]:
        """Read from the iteration."""
        if offset == 0:
            self.poller.saw()
        return self._reader.read(offset, size)

    def close(self) -> MaybeAwaitable[None]:
        """End the iteration."""
        self.poller.close()
        return self._reader.close()

# SPDX-License-Identifier: Apache-2.0
"""What a `Tree` is made of: `File`, `Dir`, `Symlink`, and the plain Python values that stand for them.

A plain value is short for one of the three::

    {"name": value}            Dir({"name": value})     a mapping is a directory
    b"...", "..."              File(b"...")             bytes and text are a file's content
    function                   File(function)           a function makes the content
    SeqFile(...)               File(SeqFile(...))       so does an iterator of records

Names and values are checked by :func:`check_entries` when a tree is made, and again, since a mapping may change,
when they are used.
"""

from __future__ import annotations

import inspect
import select
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, Union

from instar.fs._seqfile import SeqFile

if TYPE_CHECKING:
    from instar.fs._types import PollHandle

__all__ = ["Content", "Dir", "Entries", "File", "Poller", "Symlink", "TreeValue", "as_entry", "check_entries"]

#: The content of a file: ``str`` is encoded in UTF-8, surrogate escapes as the bytes that they stand for.
Content: TypeAlias = str | bytes | bytearray | memoryview
#: A function that makes the content of a file.
Reader: TypeAlias = Callable[[], Content | Awaitable[Content]]
#: What may stand in a tree under a name.
TreeValue: TypeAlias = Union[
    str, bytes, Callable[[], object], SeqFile, "File", "Dir", "Symlink", Mapping[str, "TreeValue"]
]
#: The entries of a directory.
Entries: TypeAlias = Mapping[str, TreeValue]

_NAME_MAX = 255
_TARGET_MAX = 4095
_MODE_MAX = 0o7777


class _Entry:
    """What the three have in common: permission bits and owner, ``None`` for the usual ones."""

    __slots__ = ("gid", "mode", "uid")

    def __init__(self, mode: int | None, uid: int | None, gid: int | None) -> None:
        if mode is not None and not 0 <= mode <= _MODE_MAX:
            raise ValueError(f"mode holds permission bits only, from 0 to 0o7777, not {mode:#o}")
        self.mode = mode
        self.uid = uid
        self.gid = gid


class File(_Entry):
    r"""A file whose content is made when it is read, and which may be written to.

    ``read`` gives the content:

    * ``str`` or ``bytes``: it stands there, and the file has its size.
    * A function without arguments, plain or ``async def``, that returns ``str`` or ``bytes``. It is called when the
      file is opened for reading, and again when a reader goes back to the start; in between a reader sees one
      content, whatever happens. What it raises is what ``open(2)`` returns.
    * A :class:`SeqFile`, or a generator function, which stands for ``SeqFile(function)``.

    ``write`` takes what is written, as ``store`` does in sysfs: each ``write(2)`` is one call, with the whole text of
    that write (up to 1 MiB) and no matter at what offset; ``echo 5 > file`` calls it with ``"5\n"``. It may be
    ``async def``; its result is ignored. The text is ``str``, or ``bytes`` with ``binary=True``. What it raises is what
    ``write(2)`` returns: an :class:`OSError` its errno, a :class:`ValueError` (as of ``int("x")``) ``EINVAL``. Opening
    with ``O_TRUNC`` and cutting such a file do nothing, so that ``>`` works as ``>>`` does.

    A file without ``read`` cannot be opened for reading, and one without ``write`` not for writing (``EACCES``). ``mode``
    is 0444, 0644 or 0200, as the file can be read, both, or written. The size of a file with a function or
    with ``write`` is 0, as in ``/proc``: what is there is known once it is read.
    """

    __slots__ = ("_pollers", "binary", "changes", "data", "read", "write")

    def __init__(
        self,
        read: Content | Reader | Callable[[], object] | SeqFile | None = None,
        write: Callable[[str], object] | Callable[[bytes], object] | None = None,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        binary: bool = False,
    ) -> None:
        """See the class.

        Raises:
            TypeError: ``read`` is none of those, ``write`` is no function, or neither is given.
            ValueError: ``mode`` holds more than permission bits.
        """
        super().__init__(mode, uid, gid)
        if read is None and write is None:
            raise TypeError("File needs read, write, or both")
        if write is not None and not callable(write):
            raise TypeError(f"write is a function that takes the text, not {type(write).__name__}")
        #: The content where it is known, else None.
        self.data: bytes | None = None
        #: What makes the content; None when it is known, or when the file cannot be read.
        self.read: Callable[[], object] | SeqFile | None = None
        if isinstance(read, SeqFile):
            self.read = read
        elif inspect.isgeneratorfunction(read) or inspect.isasyncgenfunction(read):
            self.read = SeqFile(read)
        elif callable(read):
            self.read = read
        elif read is not None:
            self.data = content_bytes(read)
        self.write = write
        self.binary = binary
        #: Counts :meth:`notify`.
        self.changes = 0
        self._pollers: set[Poller] = set()

    @property
    def readable(self) -> bool:
        """Whether it can be opened for reading."""
        return self.data is not None or self.read is not None

    @property
    def sized(self) -> bool:
        """Whether its size is known and its content may be cached."""
        return self.data is not None and self.write is None

    def notify(self) -> None:
        """Tell who waits in ``poll(2)`` for ``POLLPRI`` that the content has changed (``sysfs_notify``).

        Their poll returns ``POLLPRI | POLLERR`` until they read the file from its start again. May be called from any
        thread.
        """
        self.changes += 1
        for poller in tuple(self._pollers):
            poller.wake()

    def poller(self) -> Poller:
        """What one open of the file needs to be polled."""
        return Poller(self)


class Poller:
    """The part of an open file that knows which change its reader has seen."""

    __slots__ = ("_file", "_handles", "_seen")

    def __init__(self, file: File) -> None:
        self._file = file
        self._seen = file.changes
        self._handles: dict[int, PollHandle] = {}

    def saw(self) -> None:
        """The reader has gone to the start of the file."""
        self._seen = self._file.changes

    def poll(self, events: int, handle: PollHandle | None) -> int:
        """Which of ``events`` are ready: it never blocks, and has urgent news after a change."""
        if handle is not None:
            self._handles[handle.kh] = handle
            self._file._pollers.add(self)  # noqa: SLF001 - the other half of the file
        ready = select.POLLIN | select.POLLOUT | select.POLLRDNORM | select.POLLWRNORM
        if self._seen != self._file.changes:
            ready |= select.POLLPRI | select.POLLERR
        return ready & (events | select.POLLERR)

    def wake(self) -> None:
        """Let the callers that wait ask again."""
        for handle in tuple(self._handles.values()):
            handle.wake()

    def close(self) -> None:
        """Nobody waits any more."""
        self._file._pollers.discard(self)  # noqa: SLF001 - the other half of the file


class Dir(_Entry):
    """A directory: a mapping from names to values, or a function that returns one.

    A mapping is asked anew for each name and each listing, so a ``dict`` may change while the tree is in use, and any
    :class:`~collections.abc.Mapping` may make its entries up. It raises :class:`KeyError` for a name that it has not,
    and may raise :class:`OSError`. A function, plain or ``async def``, is called once for each lookup and each listing.

    ``mode`` is 0555 where it is not given.
    """

    __slots__ = ("entries",)

    def __init__(
        self,
        entries: Entries | Callable[[], Entries | Awaitable[Entries]],
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """See the class.

        Raises:
            TypeError: ``entries`` is neither a mapping nor a function.
            ValueError: ``mode`` holds more than permission bits.
        """
        super().__init__(mode, uid, gid)
        if not isinstance(entries, Mapping) and not callable(entries):
            raise TypeError(
                f"Dir needs a mapping or a function that returns one, not {type(entries).__name__}"
            )
        self.entries = entries


class Symlink(_Entry):
    """A symbolic link that points at ``target``, up to 4095 bytes that are not empty and hold no NUL."""

    __slots__ = ("target",)

    def __init__(self, target: str, *, uid: int | None = None, gid: int | None = None) -> None:
        """See the class.

        Raises:
            TypeError: ``target`` is no ``str``.
            ValueError: it is empty, too long, or holds a NUL.
        """
        super().__init__(None, uid, gid)
        if not isinstance(target, str):
            raise TypeError(f"Symlink needs a target of type str, not {type(target).__name__}")
        if not 0 < len(content_bytes(target)) <= _TARGET_MAX or "\0" in target:
            raise ValueError(
                f"a symbolic link points at 1 to {_TARGET_MAX} bytes without NUL, not at {target!r}"
            )
        self.target = target


def content_bytes(content: object) -> bytes:
    """The bytes of a content. Raises ``TypeError`` for what is neither text nor bytes."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogateescape")
    if isinstance(content, (bytearray, memoryview)):
        return bytes(content)
    raise TypeError(f"the content of a file is str or bytes, not {type(content).__name__}")


def as_entry(value: object, path: str) -> File | Dir | Symlink:
    """What a value stands for. Raises ``TypeError`` that names ``path`` when it stands for nothing."""
    if isinstance(value, (File, Dir, Symlink)):
        return value
    if isinstance(value, Mapping):
        return Dir(value)
    if isinstance(value, (str, bytes, SeqFile)) or callable(value):
        return File(value)
    raise TypeError(
        f"{path}: {type(value).__name__} is nothing that a tree is made of: use a dict, str, bytes, a function, "
        "or a SeqFile, File, Dir or Symlink"
    )


def check_name(name: object, path: str) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless ``name`` can stand in the directory ``path``."""
    if not isinstance(name, str):
        raise TypeError(f"{path}: the name {name!r} is not a str")
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(
            f"{path}: {name!r} cannot be a name: it is empty, . or .., or holds a slash or a NUL"
        )
    if len(content_bytes(name)) > _NAME_MAX:
        raise ValueError(
            f"{path}: a name of {len(content_bytes(name))} bytes is too long, {_NAME_MAX} are allowed"
        )


def check_entries(entries: object, path: str = "/") -> bool:
    """Check the names and values of a directory and of those below, as far as they are ``dict``.

    Returns whether something in it can be written to, as far as is known: what a function or another mapping will hold
    is not. Raises ``TypeError`` or ``ValueError`` with a sentence that names the path.
    """
    return _check(as_entry(entries, path), path, ())


def _check(entry: File | Dir | Symlink, path: str, above: tuple[int, ...]) -> bool:
    if isinstance(entry, File):
        return entry.write is not None
    if isinstance(entry, Symlink):
        return False
    entries = entry.entries
    if not isinstance(entries, dict):
        return True
    if id(entries) in above:
        raise ValueError(f"{path}: this directory is one of those that it stands in")
    above = (*above, id(entries))
    found = False
    for name, value in entries.items():
        check_name(name, path)
        below = f"{path.rstrip('/')}/{name}"
        found |= _check(as_entry(value, below), below, above)
    return found

# SPDX-License-Identifier: Apache-2.0
"""`MirrorFS`: a directory of this machine, shown with all its operations."""

from __future__ import annotations

import os

from instar.fs.mirror._attributes import Attributes
from instar.fs.mirror._data import Data
from instar.fs.mirror._directories import Directories
from instar.fs.mirror._locks import Locks
from instar.fs.mirror._names import Names

__all__ = ["LockingMirrorFS", "MirrorFS"]


class MirrorFS(Names, Attributes, Data, Directories):
    """Shows the directory ``source`` and everything below it, other mounts included.

    No symbolic link is ever followed by the server and no path is used below ``source``, so nothing that happens in the
    tree leads out of it. Changes made behind the mount's back are seen as soon as the timeouts (1 second) have passed.
    What is made belongs to the caller if the server may set its user (root may), else to the server.

    ``read_only`` refuses every change with ``EROFS``. ``locks`` takes the locks of the mount's users on the backing files as
    well, so that they hold against programs that do not come through the mount; the object is then a
    :class:`LockingMirrorFS`. ``use_handles=False`` keeps a descriptor open for each node instead of its file handle.

    Raises :class:`MirrorError` when ``source`` is not a directory that can be opened.

    >>> MirrorFS("/no/such/directory")
    Traceback (most recent call last):
    ...
    instar.fs.mirror._base.MirrorError: /no/such/directory does not exist: give a directory that is there.
    """

    entry_timeout = 1.0
    attr_timeout = 1.0

    def __new__(cls, *_: object, locks: bool = False, **__: object) -> MirrorFS:  # noqa: PYI034 - maybe the subclass
        """A mirror; with ``locks`` one of the class that has the operations on locks."""
        # A class either has getlk and setlk or leaves locks to the kernel: which one is asked when it is mounted.
        return super().__new__(LockingMirrorFS if locks and cls is MirrorFS else cls)

    def __init__(
        self,
        source: str | os.PathLike[str],
        *,
        read_only: bool = False,
        locks: bool = False,
        use_handles: bool = True,
    ) -> None:
        super().__init__(source, read_only=read_only, use_handles=use_handles)


class LockingMirrorFS(MirrorFS, Locks):
    """A :class:`MirrorFS` whose locks are locks of the backing files."""

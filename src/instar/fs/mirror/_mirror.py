# SPDX-License-Identifier: Apache-2.0
"""`MirrorFS`: a directory of this machine, shown with all its operations."""

from __future__ import annotations

from instar.fs.mirror._attributes import Attributes
from instar.fs.mirror._data import Data
from instar.fs.mirror._directories import Directories
from instar.fs.mirror._names import Names

__all__ = ["MirrorFS"]


class MirrorFS(Names, Attributes, Data, Directories):
    """Shows the directory ``source`` and everything below it, other mounts included.

    No symbolic link is ever followed by the server and no path is used below ``source``, so nothing that happens in the
    tree leads out of it. Changes made behind the mount's back are seen as soon as the timeouts (1 second) have passed.
    What is made belongs to the caller if the server may set its user (root may), else to the server.

    ``read_only`` refuses every change with ``EROFS``. ``use_handles=False`` keeps a descriptor open for each node instead of
    its file handle.

    Raises :class:`MirrorError` when ``source`` is not a directory that can be opened.

    >>> MirrorFS("/no/such/directory")
    Traceback (most recent call last):
    ...
    instar.fs.mirror._base.MirrorError: /no/such/directory does not exist: give a directory that is there.
    """

    entry_timeout = 1.0
    attr_timeout = 1.0

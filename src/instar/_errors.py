# SPDX-License-Identifier: Apache-2.0
"""The root of Instar's own exceptions.

Two kinds of failure exist. Where the kernel would give an errno, Instar raises :class:`OSError` with that errno.
Everything else is an :class:`InstarError`: a mistake in how Instar is used, or something that this machine lacks.
"""

from __future__ import annotations

__all__ = ["InstarError"]


class InstarError(Exception):
    """Something that the reader can act on; the message says what to do next.

    The message is one or two plain sentences: what is wrong, by the name the reader knows it by (a class, a field,
    a mount point), then what to do. Subclasses name the kind of failure; catch those, or this one at the top of a
    program.

    >>> raise InstarError("No /dev/fuse here: load the module with `modprobe fuse`.")
    Traceback (most recent call last):
    ...
    instar._errors.InstarError: No /dev/fuse here: load the module with `modprobe fuse`.
    """

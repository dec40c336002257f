# SPDX-License-Identifier: Apache-2.0
"""What a failed call of the C library becomes: the one place where its errno is read (errno(3))."""

from __future__ import annotations

import ctypes
import os
from typing import TypeAlias

__all__ = ["Path", "call_error"]

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def call_error(*paths: Path | None) -> OSError:
    """The error of the library call that has just failed in this thread, with the one or two paths that it was about.

    The library must have been loaded with ``use_errno``; call nothing else of ctypes in between.
    """
    number = ctypes.get_errno()
    named = [os.fspath(path) for path in paths if path is not None]
    if not named:
        return OSError(number, os.strerror(number))
    return OSError(number, os.strerror(number), named[0], None, named[1] if len(named) > 1 else None)

# SPDX-License-Identifier: Apache-2.0
"""What every operation has: a way to run, the objects it names, and its own source text.

An operation is a frozen dataclass: data, printable, comparable. Fields that name objects of the file system have fixed
names, so the comparer can look at those objects before and after: ``path`` and ``new_path`` are paths relative to the
directory under test, ``slot`` and ``new_slot`` are the numbers of open files. Fields that hold flags carry a *style*, so
that the source text shows ``os.O_RDWR | os.O_CREAT`` and not 66.
"""

from __future__ import annotations

import dataclasses
import enum
import errno
import os
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from instar.verify.model._world import World

__all__ = ["Operation", "Outcome", "Style", "Value", "styled"]

Value = Any
"""What an operation gives when it succeeds: None, int, str, bytes or tuples of these. It is only compared and printed."""


class Style(enum.Enum):
    """How a number is written in source text."""

    OCTAL = "octal"
    OPEN_FLAGS = "open flags"
    HEX = "hex"


def styled(style: Style, **more: Any) -> Any:
    """A dataclass field whose number is printed in that style."""
    return dataclasses.field(metadata={"style": style}, **more)


_OPEN_FLAGS = (
    "O_CREAT",
    "O_EXCL",
    "O_TRUNC",
    "O_APPEND",
    "O_TMPFILE",
    "O_DIRECTORY",
    "O_NOFOLLOW",
    "O_DIRECT",
    "O_SYNC",
    "O_DSYNC",
    "O_NOATIME",
    "O_PATH",
)
_ACCESS_MODES = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}


def _open_flags(flags: int) -> str:
    names = [_ACCESS_MODES.get(flags & os.O_ACCMODE, "O_ACCMODE")]
    rest = flags & ~os.O_ACCMODE
    # O_TMPFILE holds the bit of O_DIRECTORY, O_SYNC that of O_DSYNC: the larger first.
    for name in sorted(_OPEN_FLAGS, key=lambda each: -int(getattr(os, each)).bit_count()):
        bits = int(getattr(os, name))
        if rest & bits == bits:
            names.append(name)
            rest &= ~bits
    text = " | ".join(f"os.{name}" for name in names)
    return f"{text} | {rest:#o}" if rest else text


def _text(value: Any, style: Style | None) -> str:
    if isinstance(value, Operation):
        return value.source()
    if isinstance(value, enum.Flag):
        names = [f"{type(value).__name__}.{member.name}" for member in type(value) if member & value]
        return " | ".join(names) or f"{type(value).__name__}.NONE"
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, bytes) and len(value) > 64 and value == value[:1] * len(value):
        return f"{value[:1]!r} * {len(value)}"
    if style is Style.OCTAL:
        return f"{value:#o}"
    if style is Style.HEX:
        return f"{value:#x}"
    if style is Style.OPEN_FLAGS:
        return _open_flags(value)
    return repr(value)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of an operation: a value, or an errno."""

    value: Value = None
    error: int = 0

    def __str__(self) -> str:
        """``= value`` or ``! ENOENT``."""
        if self.error:
            return f"! {errno.errorcode.get(self.error, self.error)}"
        text = repr(self.value)
        return f"= {text if len(text) <= 300 else text[:300] + f'... ({len(text)} characters)'}"


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation on a file system. Subclasses are the language."""

    times: ClassVar[bool] = True
    """Whether "mtime changed" and "ctime changed" must agree: not where the kernel is free to set them later."""

    may_keep_times: ClassVar[bool] = False
    """Whether the oracle may leave the times alone, when nothing really changed, and the subject need not."""

    def run(self, world: World) -> Value:
        """Do it in ``world``, whose directory is the working directory. Raises OSError."""
        raise NotImplementedError

    def paths(self) -> tuple[str, ...]:
        """The paths that it names."""
        found = (getattr(self, field, None) for field in ("path", "new_path"))
        return tuple(path for path in found if path is not None)

    def slots(self) -> tuple[int, ...]:
        """The open files that it names."""
        found = (getattr(self, field, None) for field in ("slot", "new_slot"))
        return tuple(slot for slot in found if slot is not None)

    def source(self) -> str:
        """Python source that makes this operation again."""
        arguments = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is not dataclasses.MISSING and value == field.default:
                continue
            text = _text(value, field.metadata.get("style"))
            arguments.append(text if field.default is dataclasses.MISSING else f"{field.name}={text}")
        return f"{type(self).__name__}({', '.join(arguments)})"

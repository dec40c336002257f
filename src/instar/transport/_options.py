# SPDX-License-Identifier: Apache-2.0
"""Mount options: what ``-o`` may say, and how it is divided between the kernel and Instar."""

from __future__ import annotations

import os
import re
from typing import Any, Final

import msgspec

from instar._errors import InstarError
from instar._values import convert_value, split_options
from instar.edge.mount import MountFlags

__all__ = ["MountOptions", "OptionError", "parse_options"]


class OptionError(InstarError):
    """A mount option is unknown or has a value that it cannot have."""


#: Options that ``mount(2)`` takes as flags: what each sets and clears.
_FLAGS: Final[dict[str, tuple[MountFlags, MountFlags]]] = {
    "ro": (MountFlags.RDONLY, MountFlags.NONE),
    "rw": (MountFlags.NONE, MountFlags.RDONLY),
    "suid": (MountFlags.NONE, MountFlags.NOSUID),
    "nosuid": (MountFlags.NOSUID, MountFlags.NONE),
    "dev": (MountFlags.NONE, MountFlags.NODEV),
    "nodev": (MountFlags.NODEV, MountFlags.NONE),
    "exec": (MountFlags.NONE, MountFlags.NOEXEC),
    "noexec": (MountFlags.NOEXEC, MountFlags.NONE),
    "sync": (MountFlags.SYNCHRONOUS, MountFlags.NONE),
    "async": (MountFlags.NONE, MountFlags.SYNCHRONOUS),
    "dirsync": (MountFlags.DIRSYNC, MountFlags.NONE),
    "atime": (MountFlags.NONE, MountFlags.NOATIME),
    "noatime": (MountFlags.NOATIME, MountFlags.NONE),
    "diratime": (MountFlags.NONE, MountFlags.NODIRATIME),
    "nodiratime": (MountFlags.NODIRATIME, MountFlags.NONE),
    "relatime": (MountFlags.RELATIME, MountFlags.STRICTATIME),
    "norelatime": (MountFlags.NONE, MountFlags.RELATIME),
    "strictatime": (MountFlags.STRICTATIME, MountFlags.RELATIME),
    "nostrictatime": (MountFlags.NONE, MountFlags.STRICTATIME),
    "lazytime": (MountFlags.LAZYTIME, MountFlags.NONE),
    "nolazytime": (MountFlags.NONE, MountFlags.LAZYTIME),
}
#: What mount(8) and fstab put in and means nothing to a file system.
_IGNORED: Final = frozenset(
    {
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "nousers",
        "owner",
        "noowner",
        "group",
        "nogroup",
        "nofail",
        "_netdev",
    }
)


_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_SUBTYPE: Final = re.compile(r"[\w.+-]+")


class MountOptions(msgspec.Struct, kw_only=True):
    """How a file system is mounted and served.

    ``allow_other`` lets other users than the mounting one in (default: when root mounts). ``default_permissions`` has
    the kernel check modes, owners and ACLs. ``fsname`` is shown as what is mounted, ``subtype`` as the end of the type. ``exportable`` allows file handles (NFS). ``max_write`` is the largest
    WRITE in bytes; ``max_read`` the largest READ (0: no limit but the kernel's). The timeouts, in seconds, override the file
    system's own. ``latency`` is ``auto`` (keep processors awake while requests flow, where allowed) or ``off``.
    """

    flags: MountFlags = MountFlags.NOSUID | MountFlags.NODEV
    allow_other: bool | None = None
    default_permissions: bool = True
    exportable: bool = True
    max_write: int = 1 << 20
    max_read: int = 0
    fsname: str | None = None
    subtype: str | None = None
    entry_timeout: float | None = None
    attr_timeout: float | None = None
    negative_timeout: float | None = None
    latency: str = "auto"

    def __post_init__(self) -> None:
        if not 4096 <= self.max_write <= 1 << 28:
            raise OptionError(f"max_write must be from 4096 to {1 << 28} bytes, got {self.max_write}.")
        if not 0 <= self.max_read < 1 << 31:
            raise OptionError(f"max_read must be from 0 to {(1 << 31) - 1} bytes, got {self.max_read}.")
        if self.latency not in ("auto", "off"):
            raise OptionError(f"latency must be auto or off, got {self.latency!r}.")
        if self.fsname is not None and not _NAME.fullmatch(self.fsname):
            raise OptionError(
                f"fsname must be one line of text without control characters, got {self.fsname!r}."
            )
        if self.subtype is not None and not _SUBTYPE.fullmatch(self.subtype):
            raise OptionError(
                f"subtype is a part of the type's name, fuse.instar.SUBTYPE: letters, digits, '_', '-', '+' and '.', got {self.subtype!r}."
            )
        if self.allow_other is None:
            self.allow_other = os.geteuid() == 0
        for name in ("entry_timeout", "attr_timeout", "negative_timeout"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise OptionError(f"{name} must be 0 or more seconds, got {value}.")


_OWN: Final[dict[str, Any]] = {
    field.name: field.type for field in msgspec.structs.fields(MountOptions) if field.name != "flags"
}
_SWITCHES: Final = frozenset({"allow_other", "default_permissions", "exportable"})


def parse_options(*texts: str) -> tuple[MountOptions, dict[str, str | None]]:
    r"""Divide ``"ro,size=16M,allow_other"`` into mount options and the rest, which is the file system's.

    Each text is what one ``-o`` says; of an option that comes twice the last counts. A comma in a value is written ``\,``.
    Raises :class:`OptionError` for a value that an option cannot have.

    >>> options, rest = parse_options("ro,attr_timeout=0,size=16M")
    >>> options.attr_timeout, rest
    (0.0, {'size': '16M'})
    """
    flags = MountFlags.NONE
    explicit = MountFlags.NONE
    own: dict[str, Any] = {}
    rest: dict[str, str | None] = {}
    for item in (item for text in texts for item in split_options(text)):
        key, equals, value = item.partition("=")
        key = key.strip()
        if key in _FLAGS and not equals:
            to_set, to_clear = _FLAGS[key]
            flags = (flags | to_set) & ~to_clear
            explicit |= to_set | to_clear
        elif key in _OWN:
            own[key] = _own_value(key, value if equals else None)
        elif key.startswith("no") and key[2:] in _SWITCHES and not equals:
            own[key[2:]] = False
        elif key not in _IGNORED and not key.startswith("x-"):
            rest[key] = value if equals else None
    defaults = MountFlags.NOSUID | MountFlags.NODEV
    options = MountOptions(**own)
    options.flags = (defaults & ~explicit) | flags
    return options, rest


def _own_value(key: str, text: str | None) -> Any:
    try:
        return convert_value(text, _OWN[key])
    except ValueError as error:
        shown = key if text is None else f"{key}={text}"
        raise OptionError(f"Mount option {shown}: {key} {error}.") from None

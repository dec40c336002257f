# SPDX-License-Identifier: Apache-2.0
"""Values of options: text as people write it for ``mount(8)``, made into the type that is declared.

``yes`` and ``no`` are truth values, ``16M``, ``1.5G`` and ``1e3`` numbers; what does not fit is refused in plain words. Other types
than these are left to msgspec.
"""

from __future__ import annotations

import enum
import math
import re
import types
from fractions import Fraction
from typing import Any, Final, Literal, NewType, Union, get_args, get_origin

import msgspec

__all__ = ["alternatives", "convert_value", "split_options"]

_TRUTH: Final = {
    "yes": True, "true": True, "on": True, "1": True, "y": True,
    "no": False, "false": False, "off": False, "0": False, "n": False,
}  # fmt: skip
_SUFFIXES: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_NUMBER: Final = re.compile(
    r"(?P<number>[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?)(?P<suffix>[kmgtp]?)(i?b)?", re.ASCII
)
_ITEM: Final = re.compile(r"(?:\\.|[^,\\]|\\$)+", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\([\\,])")


def split_options(text: str) -> list[str]:
    r"""Split at commas. ``\,`` is a comma that belongs to a value and ``\\`` a backslash, as overlayfs has it; other backslashes stay.

    >>> split_options(r"ro,title=one\, two")
    ['ro', 'title=one, two']
    """
    return [_ESCAPE.sub(r"\1", item) for item in _ITEM.findall(text)]


def convert_value(text: str | None, hint: Any) -> Any:
    """``text`` as the type ``hint``; ``None`` is an option without a value. Raises ValueError: "must be ...", to go after the name.

    >>> convert_value("1.5k", int), convert_value("no", bool)
    (1536, False)
    """
    kinds = [kind for kind in alternatives(hint) if kind is not type(None)]
    if text is None:
        if bool in kinds or hint is Any:
            return True
        raise ValueError("must have a value" if kinds == [str] else f"must have a value: {_wanted(kinds)}")
    if hint is Any:  # nothing is declared: a suffix says that a number is meant
        match = _NUMBER.fullmatch(text.lower())
        number = _number(text) if match is not None and match["suffix"] else None
        return text if number is None else number
    if str in kinds:
        return text
    # A whole number stays one where both are taken.
    for kind in sorted(kinds, key=lambda kind: kind is float):
        value = _as_kind(text, kind)
        if value is not None:
            return value
    try:
        return msgspec.convert(text, hint, strict=False, dec_hook=lambda kind, given: kind(given))
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        if all(_known(kind) for kind in kinds):
            raise ValueError(f"must be {_wanted(kinds)}") from None
        raise ValueError(f"does not fit: {str(error).rstrip('.')}") from None


def _as_kind(text: str, kind: Any) -> Any:
    if kind is bool:
        return _TRUTH.get(text.lower())
    if kind is int:
        return _number(text)
    if kind is float:
        return _float(text)
    return None


def _number(text: str) -> int | None:
    """A whole number, with a binary suffix; ``None`` for what is none."""
    match = _NUMBER.fullmatch(text.lower())
    if match is None:
        return None
    number = Fraction(match["number"]) * (1 << _SUFFIXES[match["suffix"]])
    return int(number) if number.denominator == 1 else None


def _float(text: str) -> float | None:
    match = _NUMBER.fullmatch(text.lower())
    if match is None:
        return None
    number = float(match["number"]) * (1 << _SUFFIXES[match["suffix"]])
    return number if math.isfinite(number) else None


def alternatives(hint: Any) -> list[Any]:
    """The types that ``hint`` allows: the members of a union, and of what :class:`typing.NewType` made, what it is made of.

    >>> alternatives(NewType("Bytes", int) | None)
    [<class 'int'>, <class 'NoneType'>]
    """
    if isinstance(hint, NewType):
        return alternatives(hint.__supertype__)
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for member in get_args(hint) for kind in alternatives(member)]
    return [hint]


def _known(kind: Any) -> bool:
    return (
        kind in (bool, int, float)
        or get_origin(kind) is Literal
        or (isinstance(kind, type) and issubclass(kind, enum.Enum))
    )


def _wanted(kinds: list[Any]) -> str:
    """What is accepted, in words."""
    said = []
    for kind in kinds:
        if kind is bool:
            said.append("yes or no")
        elif kind is int:
            said.append("a whole number, such as 4096, 16M or 1.5G")
        elif kind is float:
            said.append("a number, such as 2 or 0.5")
        elif get_origin(kind) is Literal:
            said.append("one of " + ", ".join(map(str, get_args(kind))))
        elif isinstance(kind, type) and issubclass(kind, enum.Enum):
            said.append("one of " + ", ".join(str(member.value) for member in kind))
        else:
            said.append(f"option={getattr(kind, '__name__', kind)}" if kind is not str else "a text")
    return " or ".join(said)

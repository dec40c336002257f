# SPDX-License-Identifier: Apache-2.0
"""What a case is, and the table of all cases.

A case is a function in a module of :mod:`instar.verify.posix.cases`, marked with :func:`case`; its name is the sentence
that it checks (after an underscore: nobody calls it by name). Its id is ``module/function`` or ``module/function[label]`` for each set of arguments, and never changes
once it is released: reports of different versions are compared by it.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from instar.verify.posix._arena import Arena

__all__ = ["Case", "Skip", "Unsupported", "all_cases", "case", "each", "grid"]

F = TypeVar("F", bound=Callable[..., None])
_PACKAGE = "instar.verify.posix.cases"


class Skip(Exception):
    """The case cannot run here (not root, a tool is missing); the message says why."""


class Unsupported(Exception):
    """The file system lacks a facility that POSIX does not ask for; the message says which call told so."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One case with its arguments.

    Attributes:
        id: stable name.
        function: what is run with an arena and ``arguments``.
        arguments: the values that belong to the label in the id.
        optional: a facility that a file system may lack ("xattr"); EOPNOTSUPP or ENOSYS then mean "unsupported". Empty
            for what POSIX or Linux programs in general ask for.
        short: part of the short run.
    """

    id: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]  # a case's own values, whatever they are
    optional: str
    short: bool

    def run(self, arena: Arena) -> None:
        """Run the function; what it finds is in ``arena`` or raised."""
        self.function(arena, *self.arguments)


_cases: list[Case] = []


def case(
    over: Mapping[str, Any] | None = None, *, optional: str = "", short: bool = False
) -> Callable[[F], F]:
    """Mark a function ``(arena, *arguments)`` as a case, or as one case for each item of ``over``.

    ``over`` maps labels to an argument, or to a tuple of arguments; see :func:`each` and :func:`grid`. With ``short``
    the first item alone is part of the short run.
    """

    def mark(function: F) -> F:
        name = f"{function.__module__.rpartition('.')[2]}/{function.__name__.lstrip('_')}"
        if over is None:
            _cases.append(Case(name, function, (), optional, short))
        else:
            for index, (label, value) in enumerate(over.items()):
                arguments = value if isinstance(value, tuple) else (value,)
                _cases.append(Case(f"{name}[{label}]", function, arguments, optional, short and index == 0))
        return function

    return mark


def each(*values: Any) -> dict[str, Any]:
    """Values that are their own labels."""
    return {str(value): value for value in values}


def grid(*axes: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """All combinations of several mappings; labels are joined by ``-``."""
    combined: dict[str, tuple[Any, ...]] = {}
    for items in itertools.product(*(axis.items() for axis in axes)):
        arguments: tuple[Any, ...] = ()
        for _, value in items:
            arguments += value if isinstance(value, tuple) else (value,)
        combined["-".join(label for label, _ in items)] = arguments
    return combined


def all_cases() -> Iterator[Case]:
    """Every case, by module and then in the order of definition."""
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{_PACKAGE}.{module.name}")
    yield from sorted(_cases, key=lambda one: one.id.partition("/")[0])

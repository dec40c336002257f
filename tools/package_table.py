# SPDX-License-Identifier: Apache-2.0
"""An import-linter contract that holds the table of packages: who may import what.

import-linter's own contract types name what is *forbidden*, and want every module they name to exist. The table
of packages says what is *allowed*, and some of its packages are yet to be written. So this contract type reads
rows of the form::

    "instar.wire -> instar.layout, instar._errors"

Left of the arrow stand modules (a trailing ``*`` matches any ending), right of it what their code may import directly.
A module belongs to the row with the longest matching name; modules of one row may import each other, and
whatever lies in their packages; the standard
library is always allowed (what is dangerous in it is the business of ``tools/check_edge.py``). On the right, ``*``
means any module of Instar; packages of others (``msgspec``) are always named. A module that no row covers breaks the
contract: a new package starts with a row, here and in ``docs/architecture.md``.

Specification: https://import-linter.readthedocs.io/en/stable/custom_contract_types.html
"""

from __future__ import annotations

import fnmatch
import sys
from dataclasses import dataclass
from typing import Any, cast

from importlinter import Contract, ContractCheck, fields, output

__all__ = ["PackageTable", "Row", "Violation", "find_violations", "parse_row"]


# `_typeshed` holds the names that stubs give to the standard library's types; nothing imports it when running.
STDLIB = sys.stdlib_module_names | {"_typeshed"}


@dataclass(frozen=True)
class Row:
    """One row: the modules it covers and what they may import, as patterns."""

    modules: tuple[str, ...]
    allowed: tuple[str, ...]

    def match_length(self, module: str) -> int:
        """The length of the longest pattern that covers ``module``, or -1."""
        return max((len(pattern) for pattern in self.modules if _covers(pattern, module)), default=-1)


@dataclass(frozen=True)
class Violation:
    """One import that the table does not allow, or (with no ``imported``) a module that no row covers."""

    importer: str
    imported: str = ""
    lines: tuple[int, ...] = ()

    def __str__(self) -> str:
        """One line that says what is wrong."""
        if not self.imported:
            return f"{self.importer} is in no row of the table of packages: add one"
        lines = ", ".join(f"line {line}" for line in self.lines)
        return f"{self.importer} may not import {self.imported} ({lines or 'line unknown'})"


def parse_row(text: str) -> Row:
    """Read ``"a, b* -> c, d"``.

    Raises:
        ValueError: there is no arrow, or nothing stands before it.
    """
    left, arrow, right = text.partition("->")
    modules = tuple(part.strip() for part in left.split(",") if part.strip())
    if not arrow or not modules:
        raise ValueError(f"a row reads 'modules -> what they may import', not {text!r}")
    return Row(modules, tuple(part.strip() for part in right.split(",") if part.strip()))


def _covers(pattern: str, module: str) -> bool:
    """Whether a module is named by the pattern or lies in the package it names."""
    if pattern.endswith("."):  # "instar." is the top module alone
        return module == pattern[:-1]
    parts = module.split(".")
    heads = (".".join(parts[: count + 1]) for count in range(len(parts)))
    return any(fnmatch.fnmatchcase(head, pattern) for head in heads)


def find_violations(graph: Any, rows: list[Row], root: str = "instar") -> list[Violation]:
    """Every import of ``root``'s modules that the rows do not allow, in a stable order.

    Args:
        graph: a ``grimp.ImportGraph`` with external packages.
        rows: the table.
        root: the top package; its modules must each be covered by a row.
    """

    def inside(module: str) -> bool:
        return module == root or module.startswith(f"{root}.")

    def row_of(module: str) -> Row | None:
        best = max(rows, key=lambda row: row.match_length(module), default=None)
        return best if best is not None and best.match_length(module) >= 0 else None

    found = []
    for importer in sorted(module for module in graph.modules if inside(module)):
        row = row_of(importer)
        if row is None:
            found.append(Violation(importer))
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            if inside(imported):
                allowed = any(_covers(pattern, imported) for pattern in (*row.modules, *row.allowed))
            else:
                top = imported.partition(".")[0]
                allowed = top in STDLIB or top in row.allowed
            if not allowed:
                details = graph.get_import_details(importer=importer, imported=imported)
                found.append(
                    Violation(importer, imported, tuple(sorted({entry["line_number"] for entry in details})))
                )
    return found


class PackageTable(Contract):
    """The contract type ``package_table``; option ``rows`` as in the module's description."""

    type_name = "package_table"

    rows = fields.ListField(subfield=fields.StringField())

    def check(self, graph: Any, verbose: bool) -> ContractCheck:
        """Compare every direct import with the table; called by import-linter."""
        rows = [parse_row(text) for text in cast("list[str]", self.rows)]
        violations = find_violations(graph, rows)
        output.verbose_print(verbose, f"{len(rows)} rows, {len(violations)} violations")
        return ContractCheck(
            kept=not violations, metadata={"violations": [str(entry) for entry in violations]}
        )

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each violation; called by import-linter."""
        for line in check.metadata["violations"]:
            output.print_error(f"- {line}", bold=False)
        output.new_line()
        output.print_error(
            "The table stands in pyproject.toml under tool.importlinter, explained in docs/architecture.md.",
            bold=False,
        )

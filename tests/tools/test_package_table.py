# SPDX-License-Identifier: Apache-2.0
"""The import contract refuses what the table of packages does not allow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("grimp", reason="import-linter is a tool for development: pip install -e .[dev]")

import grimp

from tools.package_table import Row, Violation, find_violations, parse_row

ROWS = [
    parse_row(text)
    for text in (
        "instar. -> instar.fs",
        "instar.layout ->",
        "instar.edge -> instar.layout",
        "instar.fs -> instar.layout",
        "instar.fs.mirror* -> instar.fs, instar.edge",
        "instar.cli -> *, click",
    )
]


def graph(*imports):
    """A graph with exactly these imports, all on line 7."""
    made = grimp.ImportGraph()
    for importer, imported in imports:
        for module in (importer, imported):
            if module not in made.modules:
                made.add_module(module, is_squashed=not module.startswith("instar"))
        made.add_import(importer=importer, imported=imported, line_number=7, line_contents="import")
    return made


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("instar", "instar.fs"),
        ("instar.edge.mount", "instar.layout"),
        ("instar.edge.mount", "instar.edge.errno"),
        ("instar.edge.mount", "ctypes"),
        ("instar.fs.mirror", "instar.edge.openat2"),
        ("instar.fs.mirror_walk", "instar.fs.mirror"),
        ("instar.fs", "instar.fs.mirror"),
        ("instar.cli", "instar.edge.mount"),
        ("instar.cli.main", "click"),
    ],
)
def test_an_import_that_the_table_names_is_allowed(importer, imported):
    assert find_violations(graph((importer, imported)), ROWS) == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("instar", "instar.edge"),
        ("instar.layout", "instar.edge"),
        ("instar.layout.view", "msgspec"),
        ("instar.edge", "instar.fs"),
        ("instar.fs.base", "instar.edge.mount"),
        ("instar.fs", "instar"),
        ("instar.layout", "instar.cli"),
        ("instar.cli", "rich"),
    ],
)
def test_an_import_that_the_table_does_not_name_is_refused_with_its_line(importer, imported):
    found = find_violations(graph((importer, imported)), ROWS)
    assert found == [Violation(importer, imported, (7,))]
    assert str(found[0]) == f"{importer} may not import {imported} (line 7)"


def test_a_module_in_no_row_is_a_violation():
    found = find_violations(graph(("instar.newpackage.core", "os")), ROWS)
    assert [entry.importer for entry in found] == ["instar.newpackage.core"]
    assert "in no row" in str(found[0])


def test_the_longest_match_decides_the_row():
    row = Row(("instar.fs", "instar.fs.mirror*"), ())
    assert row.match_length("instar.fs.mirror_walk") == len("instar.fs.mirror*")
    assert row.match_length("instar.fs.base") == len("instar.fs")
    assert row.match_length("instar.fstab") == -1


@pytest.mark.parametrize("text", ["instar.fs", "-> instar.fs", ""])
def test_a_row_without_an_arrow_or_a_left_side_is_refused(text):
    with pytest.raises(ValueError, match="a row reads"):
        parse_row(text)


SRC = Path(__file__).parents[2] / "src"
#: Who reaches into another package, and why: the test kit looks at mounts that are not its own.
REACHES = {("instar.testing._mounted", "instar.host._mounts.mounts_at")}


def imported_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def reaches_into(module, name):
    """Whether ``name`` lies in a private module of a package that ``module`` is not in."""
    parts = name.split(".")
    return any(
        part.startswith("_") and not part.startswith("__") and parts[:place] != module.split(".")[:place]
        for place, part in enumerate(parts)
    )


def test_no_package_imports_from_a_private_module_of_another():
    found = set()
    for path in SRC.glob("instar/**/*.py"):
        module = ".".join(path.relative_to(SRC).with_suffix("").parts)
        names = imported_names(ast.parse(path.read_text(encoding="utf-8")))
        found |= {(module, name) for name in names if reaches_into(module, name)}
    assert found == REACHES

# SPDX-License-Identifier: Apache-2.0
"""Each operation of `FileSystem` has a page in `docs/operations`, and the page says what the code says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from instar.fs import FileSystem
from tests.docs.pages import read_blocks

PAGES = Path(__file__).resolve().parents[2] / "docs" / "operations"
OPERATIONS = sorted(
    name for name, value in vars(FileSystem).items() if inspect.isfunction(value) and not name.startswith("_")
)
SECTIONS = [
    "When it is called",
    "Arguments",
    "What to return",
    "What to raise",
    "Without an own version",
    "Good to know",
    "Example",
    "Sources",
]


def without_layout(text):
    return re.sub(r"\s+", "", text).replace(",)", ")")


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_each_operation_has_a_page_and_each_page_an_operation():
    assert sorted(path.stem for path in PAGES.glob("*.md") if path.name != "README.md") == OPERATIONS


def test_the_list_of_operations_links_to_each_page():
    assert sorted(re.findall(r"\[(\w+)\]\(\1\.md\)", page("README"))) == OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_signature_on_the_page_is_that_of_the_code(name):
    first = read_blocks(page(name))[0]
    signature = str(inspect.signature(getattr(FileSystem, name))).replace("'", "")
    assert without_layout(first.text) == without_layout(f"def {name}{signature}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_has_the_sections_that_every_page_has(name):
    found = re.findall(r"^## (.*)$", page(name), re.MULTILINE)
    arguments = list(inspect.signature(getattr(FileSystem, name)).parameters)[1:]
    assert found == [section for section in SECTIONS if arguments or section != "Arguments"]
    assert page(name).startswith(f"# {name}\n")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_describes_each_argument(name):
    """All but `self` and `ctx`, which the list of operations describes."""
    described = re.search(r"^## Arguments$(.*?)^## ", page(name), re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`.*?`) \|", described[1] if described else "", re.MULTILINE)
    told = [word for row in rows for word in re.findall(r"`(\w+)`", row)]
    assert told == [
        parameter
        for parameter in inspect.signature(getattr(FileSystem, name)).parameters
        if parameter not in {"self", "ctx"}
    ]


@pytest.mark.parametrize("name", [*OPERATIONS, "README"])
def test_links_between_the_pages_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page(name)):
        assert (PAGES / target).exists(), target


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_page_has_an_example_that_checks_what_it_shows(name):
    blocks = read_blocks(page(name))
    assert blocks[0].verb == "skip"
    assert any(block.verb == "run" and "assert" in block.text for block in blocks[1:]) or name in {
        "fsync",
        "fsyncdir",
    }

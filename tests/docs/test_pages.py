# SPDX-License-Identifier: Apache-2.0
"""The pages agree with each other."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import read_blocks
from tests.docs.test_examples import PAGES, ROOT

MORE = [ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]


def example_of(page):
    return next(block for block in read_blocks((ROOT / page).read_text()) if block.file == "hello.py")


def test_the_first_example_is_the_tutorials_and_has_twelve_lines():
    text = example_of("README.md").text
    assert text == example_of("docs/tutorial.md").text
    assert len(text.splitlines()) == 12


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in [*PAGES, *MORE]]
)
def test_each_link_to_a_place_in_this_tree_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            where = (path.parent / file).resolve() if file else path
            if not where.exists() or (anchor and anchor not in anchors(where.read_text())):
                broken.append(target)
    assert broken == []


def anchors(text):
    """The names that a page's headings get."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

# SPDX-License-Identifier: Apache-2.0
"""Every code block of the documentation, and every example of a docstring, does what it says."""

from __future__ import annotations

import doctest
import importlib
import os
from pathlib import Path

import pytest

from tests.docs.pages import read_blocks
from tests.docs.runner import PageRunner, lacks
from tools.source import module_name

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
MODULES = [
    path for path in sorted((ROOT / "src").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")
]


def page_parameter(path):
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    marks = [pytest.mark.mount] if "needs=mount" in text else []
    return pytest.param(path, id=str(path.relative_to(ROOT)), marks=marks)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", [page_parameter(path) for path in PAGES])
def test_each_block_of_the_page_does_what_the_page_says(path, tmp_path):
    page = str(path.relative_to(ROOT))
    skipped = []
    with PageRunner(page, tmp_path) as runner:
        for block in read_blocks(path.read_text(encoding="utf-8")):
            missing = lacks(block.needs)
            if missing:
                skipped.append(f"line {block.line} needs {', '.join(missing)}")
                continue
            wrong = runner.run(block)
            assert not wrong, f"{page}:{block.line}: {wrong}"
        assert runner.left_mounts() == [], f"{page} leaves mounts behind"
    if skipped:
        pytest.skip("; ".join(skipped))


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=str(path.relative_to(ROOT / "src"))) for path in MODULES]
)
def test_each_example_in_the_docstrings_of_the_module_runs(path, tmp_path, monkeypatch, capsys):
    module = importlib.import_module(module_name(path.relative_to(ROOT)))
    assert os.path.realpath(module.__file__) == str(path), "another copy of instar is imported"
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0, capsys.readouterr().out

# SPDX-License-Identifier: Apache-2.0
"""What an sdist holds."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_an_sdist_holds_everything_that_a_clone_does():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    if done.returncode:
        pytest.skip("no clone")
    tracked = {name.split("/")[0] for name in done.stdout.split()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {f"/{name}" for name in tracked - {".gitignore", "pyproject.toml"}} == set(included)

# SPDX-License-Identifier: Apache-2.0
"""The Makefile explains itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_make_alone_names_each_target_with_what_it_does():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in set(phony) - {"clean"}:
        assert re.search(rf"^  {target} +\w", shown, re.MULTILINE), f"{target} is not explained"
    assert {"demo", "test", "bench", "lint", "fuzz", "help"} <= set(phony)


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith("exec make test")

# SPDX-License-Identifier: Apache-2.0
"""The demo does what it shows, on each kind of machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from instar.demo._steps import STEPS

root_only = pytest.mark.skipif(
    os.geteuid() != 0, reason="NOT TESTED: only root can become another user or hide /dev"
)


def _demo(*prefix: str) -> list[dict[str, Any]]:
    command = [*prefix, sys.executable, "-m", "instar", "demo", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.decode()
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


def test_every_step_works_on_real_mounts() -> None:
    """Each step ends with ok, and none is left out on a machine that `make test` has prepared."""
    assert [row["status"] for row in _demo()] == ["ok"] * len(STEPS)


@root_only
def test_without_a_device_the_door_shows_what_is_possible() -> None:
    """In a mount namespace with an empty /dev nothing can be mounted, and the steps in process still work."""
    hide = 'mount -t tmpfs none /dev && exec "$@"'
    rows = _demo("unshare", "-m", "sh", "-c", hide, "sh")
    assert rows
    assert {row["status"] for row in rows} == {"ok"}


def test_a_failing_step_is_reported_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong result does not pass for a right one."""
    from instar.demo import _run
    from instar.demo._steps import Step

    monkeypatch.setattr(
        _run, "STEPS", (Step("lie", "memfs", "false"), Step("absent", "memfs", "true", ("no-such-program",)))
    )
    assert _run.run_demo(quick=True, as_json=True) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in rows] == ["failed", "left out"]


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_is_wider_than_the_terminal_or_cut(width: int) -> None:
    """Neither where the output is a pipe, and what is shown of the source is all of it."""
    done = subprocess.run(
        [sys.executable, "-m", "instar", "demo", "--quick"],
        env={**os.environ, "COLUMNS": str(width), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith("in /")] == []
    if width == 80:
        assert '        "squares": SeqFile(lambda: (n * n for n in range(1_000_000))),' in map(
            str.rstrip, lines
        )
        table = lines[next(number for number, line in enumerate(lines) if line.startswith("step ")) :]
        assert [line.split()[-1] for line in table[1 : len(STEPS) + 1]] == ["ok"] * len(STEPS)


def test_what_a_failed_step_said_fits_the_table_whatever_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long words are folded, and brackets are no markup."""
    from instar.demo import _run

    monkeypatch.setenv("COLUMNS", "80")
    result = _run.DemoResult("title", "memfs", "", 0.1, "failed", "[/nothing] " + "x" * 200)
    _run._show(Console(highlight=False), [result])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "[/nothing]" in "".join(lines)
    assert "".join(lines).count("x") >= 200

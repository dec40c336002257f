# SPDX-License-Identifier: Apache-2.0
"""The test runner runs every step, reports each, and finds other Pythons."""

from __future__ import annotations

import sys

import pytest

from tools.run_tests import Step, other_pythons, summary


def fake_python(path, answer):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {answer}\n")
    path.chmod(0o755)


def test_other_pythons_are_cpythons_from_3_12_on_one_for_each_minor_version(tmp_path):
    fake_python(tmp_path / "a/python3.11", "cpython 3 11")
    fake_python(tmp_path / "a/python3.98", "cpython 3 98")
    fake_python(tmp_path / "b/python3.98", "cpython 3 98")
    fake_python(tmp_path / "a/python3.99", "cpython 3 99")
    fake_python(tmp_path / "a/python3.97", "pypy 3 97")
    fake_python(tmp_path / "a/python3.96-config", "cpython 3 96")
    fake_python(tmp_path / f"a/python3.{sys.version_info.minor}", f"cpython 3 {sys.version_info.minor}")
    found = other_pythons((f"{tmp_path}/a/python3.*", f"{tmp_path}/b/python3.*"))
    assert found == {"3.98": f"{tmp_path}/a/python3.98", "3.99": f"{tmp_path}/a/python3.99"}


@pytest.mark.parametrize(
    ("command", "limit", "outcome"),
    [(["true"], 10, "ok"), (["false"], 10, "FAILED (1)"), (["sleep", "30"], 0.1, "FAILED (more than 0 s)")],
)
def test_a_step_is_ok_only_when_its_command_succeeds_in_time(command, limit, outcome):
    step = Step("it", command, limit)
    step.run()
    assert step.outcome == outcome
    assert 0 < step.seconds < 10


def test_a_step_over_its_limit_is_interrupted_so_that_it_can_say_what_it_found(capfd):
    code = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('so far')"
    step = Step("it", [sys.executable, "-m", "tools.leaks", sys.executable, "-c", code], 2)
    step.run()
    assert step.outcome == "FAILED (more than 2 s)"
    assert "so far" in capfd.readouterr().out


def test_a_step_that_ignores_the_interrupt_is_killed(monkeypatch):
    monkeypatch.setattr("tools.run_tests.INTERRUPT_GRACE", 0.2)
    step = Step("it", ["sh", "-c", "trap '' INT; sleep 60 & sleep 60"], 0.2)
    step.run()
    assert step.seconds < 10


def test_the_summary_names_what_failed_and_gives_the_exit_code(capsys):
    good, bad = (
        Step("good", [], outcome="ok", seconds=1.0),
        Step("bad", [], outcome="FAILED (1)", seconds=2.0),
    )
    assert summary([good]) == 0
    assert summary([good, bad]) == 1
    assert "FAILED: bad" in capsys.readouterr().out

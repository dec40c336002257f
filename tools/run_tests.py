# SPDX-License-Identifier: Apache-2.0
"""What ``make test`` runs: the linters, the types, every test on real mounts, and a short part on other CPythons.

Each step runs even when an earlier one failed; the summary at the end names each with its time, and the exit code
is 0 only when all of them passed. ``scripts/test --help`` lists the parts; words after ``--`` go to pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Step", "main", "other_pythons"]

ROOT = Path(__file__).resolve().parent.parent
OLDEST_OTHER = (3, 12)
INTERRUPT_GRACE = 30.0  # seconds
# In-process tests, which another CPython can fail where this one does not.
QUICK_PLACES = ("tests/layout", "tests/wire", "tests/fs", "tests/aio", "tests/sync", "tests/testing")
QUICK_MARKS = "not slow and not root and not mount"
PATTERNS = (
    "~/.pyenv/versions/*/bin/python3.[0-9]*",
    "$PYENV_ROOT/versions/*/bin/python3.[0-9]*",
    "/usr/bin/python3.[0-9]*",
    "/usr/local/bin/python3.[0-9]*",
    "/opt/python*/bin/python3.[0-9]*",
)


@dataclass
class Step:
    """One command of the run, its limit in seconds, and how it went."""

    title: str
    command: list[str]
    limit: float = 120.0
    outcome: str = ""
    seconds: float = 0.0

    def run(self) -> None:
        """Run to the end or to the limit; the whole process group ends with it."""
        print(f"\n=== {self.title}", flush=True)
        started = time.monotonic()
        with subprocess.Popen(self.command, cwd=ROOT, start_new_session=True) as process:
            try:
                code = process.wait(self.limit)
                self.outcome = "ok" if code == 0 else f"FAILED ({code})"
            except subprocess.TimeoutExpired:
                self.outcome = f"FAILED (more than {self.limit:.0f} s)"
                _end(process)
            except BaseException:
                _end(process)
                raise
        self.seconds = time.monotonic() - started


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: an interrupt, on which pytest says what it has found so far, then by force."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(INTERRUPT_GRACE)
            return


def other_pythons(patterns: tuple[str, ...] = PATTERNS) -> dict[str, str]:
    """Other CPythons of this machine from 3.12 on: version ("3.13") to path, one for each minor version."""
    found: dict[tuple[int, int], str] = {}
    here = sys.version_info[:2]
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.expandvars(os.path.expanduser(pattern)))):
            named = re.fullmatch(r"python3\.(\d+)", os.path.basename(path))
            if named is None or not os.access(path, os.X_OK):
                continue
            version = (3, int(named[1]))
            if version < OLDEST_OTHER or version == here or version in found:
                continue
            probe = [path, "-c", "import sys; print(sys.implementation.name, *sys.version_info[:2])"]
            answer = subprocess.run(probe, check=False, capture_output=True, text=True).stdout.split()
            if answer == ["cpython", "3", named[1]]:
                found[version] = path
    return {f"{major}.{minor}": found[major, minor] for major, minor in sorted(found)}


def lint_steps() -> list[Step]:
    """ruff, the types, the table of packages, and the project's own checks."""
    python = sys.executable
    tool = os.path.join(os.path.dirname(python), "")
    return [
        Step("ruff", [f"{tool}ruff", "check", "--quiet", "."]),
        Step("format", [f"{tool}ruff", "format", "--quiet", "--check", "."]),
        Step("mypy --strict", [f"{tool}mypy"], limit=300),
        Step("table of packages", [f"{tool}lint-imports", "--no-logo"]),
        Step("edge", [python, "-m", "tools.check_edge"]),
        Step("style", [python, "-m", "tools.check_style"]),
    ]


def test_step(pytest_arguments: list[str]) -> Step:
    """Every test, on real mounts."""
    command = [
        sys.executable,
        "-m",
        "tools.leaks",
        sys.executable,
        "-m",
        "pytest",
        "--durations=15",
        *pytest_arguments,
    ]
    return Step(f"tests on {sys.version.split()[0]}", command, limit=720)


def quick_steps() -> list[Step]:
    """The short part, on each other CPython; each gets its virtual environment first."""
    places = [place for place in QUICK_PLACES if (ROOT / place).is_dir()]
    steps = []
    for version, python in other_pythons().items():
        where = f".venv-{version}"
        run = f'scripts/setup {where} {python} quick && exec {where}/bin/python -m pytest -q -m "$0" "$@"'
        steps.append(Step(f"short tests on {version}", ["sh", "-c", run, QUICK_MARKS, *places], limit=300))
    return steps if places else []


def summary(steps: list[Step]) -> int:
    """Print the table and give the exit code."""
    width = max(len(step.title) for step in steps)
    print("\n=== summary")
    for step in steps:
        print(f"{step.title:<{width}}  {step.seconds:7.1f} s  {step.outcome}")
    bad = [step.title for step in steps if step.outcome != "ok"]
    total = sum(step.seconds for step in steps)
    print(f"{'all':<{width}}  {total:7.1f} s  {'FAILED: ' + ', '.join(bad) if bad else 'ok'}", flush=True)
    return 1 if bad else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that were asked for; all of them by default."""
    parser = argparse.ArgumentParser(prog="scripts/test", description="Run the project's checks and tests.")
    parser.add_argument("--lint", action="store_true", help="only the linters and the types")
    parser.add_argument("--tests", action="store_true", help="only the tests on this Python")
    parser.add_argument("--quick", action="store_true", help="only the short part on the other Pythons")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args(arguments)
    every = not (options.lint or options.tests or options.quick)
    # A stop from outside ends the step that runs, as Ctrl-C does, and does not leave it behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    steps = []
    if every or options.lint:
        steps += lint_steps()
    if every or options.tests:
        steps.append(test_step(options.pytest))
    if every or options.quick:
        steps += quick_steps()
    for step in steps:
        step.run()
    return summary(steps) if steps else 0


if __name__ == "__main__":
    sys.exit(main())

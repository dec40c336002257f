# SPDX-License-Identifier: Apache-2.0
"""``python -m instar.verify.posix DIR``: run the conformance suite on a directory, and say what failed.

Exit status: 0 nothing failed (with --oracle: nothing failed that the oracle passes), 1 something did, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from instar.verify.posix._actor import Hung
from instar.verify.posix._report import CaseReport, Outcome, Report
from instar.verify.posix._run import run, select_cases

__all__ = ["main"]


class _Progress:
    """One line on a terminal that is written again and again; with ``-v`` a line for each case."""

    def __init__(self, label: str, total: int, verbose: bool) -> None:
        self._label = label
        self._total = total
        self._verbose = verbose
        self._done = 0
        self._failed = 0
        self._shown = 0.0

    def __call__(self, case: CaseReport) -> None:
        self._done += 1
        self._failed += case.outcome is Outcome.FAIL
        if self._verbose:
            text = f" - {case.message}" if case.outcome in {Outcome.SKIP, Outcome.UNSUPPORTED} else ""
            _say(f"{case.outcome:<11} {case.seconds * 1000:7.1f} ms {case.assertions:5}  {case.id}{text}")
        elif sys.stderr.isatty() and (time.monotonic() - self._shown > 0.1 or self._done == self._total):
            self._shown = time.monotonic()
            end = "\n" if self._done == self._total else ""
            sys.stderr.write(f"\r{self._label}: {self._done}/{self._total} cases, {self._failed} failed{end}")
            sys.stderr.flush()


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program's output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite as the arguments say; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m instar.verify.posix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", nargs="?", help="a directory on the file system under test")
    parser.add_argument(
        "--select",
        metavar="PATTERN",
        action="append",
        help="only cases whose id matches: 'rename/*', or a part of the id; may be repeated",
    )
    parser.add_argument("--short", action="store_true", help="only the few seconds of cases that say most")
    parser.add_argument(
        "--oracle", metavar="DIR", help="run there as well; fail only for what passes there and not here"
    )
    parser.add_argument("--json", metavar="FILE", help="write the report of DIR there")
    parser.add_argument("--list", action="store_true", help="print the ids and run nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every case")
    options = parser.parse_args(arguments)
    cases = select_cases(options.select, short=options.short)
    if not cases:
        parser.error(f"no case matches {options.select}; --list shows all")
    if options.list:
        for case in cases:
            _say(case.id)
        return 0
    if options.directory is None:
        parser.error("DIR is missing: a directory on the file system under test")
    if os.geteuid() != 0:
        _say("not root: cases that need other users or device nodes are skipped")

    def one(directory: str) -> Report:
        progress = _Progress(directory, len(cases), options.verbose)
        try:
            return run(directory, select=options.select, short=options.short, progress=progress)
        except (OSError, ValueError, Hung) as error:
            parser.error(f"{directory} cannot be tested: {error}")

    oracle = one(options.oracle) if options.oracle is not None else None
    report = one(options.directory)
    if options.json is not None:
        with open(options.json, "w", encoding="utf-8") as file:
            file.write(report.to_json())
    for failed in report.failed:
        _say(f"FAIL {failed.id}")
        for line in failed.message.splitlines():
            _say(f"     {line}")
    _say(report.summary())
    if oracle is None:
        return 1 if report.failed else 0
    _say(oracle.summary())
    differences = report.compare(oracle)
    _say(f"{len(differences)} cases pass on {oracle.filesystem} and not here")
    for difference in differences:
        _say(f"  {difference.outcome:<11} {difference.id}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The real ext4 validates the suite: what it does not pass would be a case that asks for more than the standard."""

from __future__ import annotations

import pytest

from instar.verify.posix import Outcome

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(240)]

# What ext4 itself does not pass: case id -> reason.
DECLARED: dict[str, str] = {}


def test_ext4_passes_every_case_but_the_declared_ones(oracle_report):
    others = {
        case.id: f"{case.outcome}: {case.message}"
        for case in oracle_report.cases
        if case.outcome is not Outcome.PASS and case.id not in DECLARED
    }
    assert others == {}, "\n".join(f"{name}: {text}" for name, text in others.items())


def test_each_declared_difference_of_ext4_is_one(oracle_report):
    passed = {case.id for case in oracle_report.cases if case.outcome is Outcome.PASS}
    known = {case.id for case in oracle_report.cases}
    assert {name for name in DECLARED if name in passed or name not in known} == set()


def test_the_suite_has_the_depth_that_it_promises(oracle_report):
    assert oracle_report.assertions > 20_000
    assert len(oracle_report.cases) > 2_500

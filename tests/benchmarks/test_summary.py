# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from _harness import summary, tables
from _harness.client import Measurement
from _harness.placement import PLACEMENTS
from _harness.runner import Sample, Series
from _harness.subjects import UNCACHED


def series(**rates):
    """A series of one phase; each subject has one rate for each round, None for a failure."""
    made = Series(UNCACHED, PLACEMENTS["free"], {})
    for subject, values in rates.items():
        for number, rate in enumerate(values):
            error = "" if rate else "stat: No such file"
            measurement = Measurement("stat", "op/s", rate or 0.0, 1.0, 2.0, 10, error)
            made.samples.append(Sample(subject, number, 0.0, {"stat": measurement}))
    return made


def test_a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians():
    made = series(a=[10.0, 20.0, 90.0], b=[10.0, 10.0, 30.0])
    ratio = summary.ratio(made, "a", "b", "stat")
    assert ratio.spread.median == 2.0  # of 1, 2 and 3
    assert summary.rate(made, "a", "stat").median == 20.0


def test_a_round_in_which_one_side_failed_is_not_in_the_ratio():
    ratio = summary.ratio(series(a=[10.0, None, 40.0], b=[10.0, 5.0, 10.0]), "a", "b", "stat")
    assert ratio.spread.count == 2


def test_a_subject_that_always_failed_has_an_error_and_no_rate():
    made = series(a=[None, None])
    assert summary.rate(made, "a", "stat") is None
    assert summary.error(made, "a", "stat") == "stat: No such file"


def test_one_figure_is_its_own_quartiles():
    assert summary.spread([3.0]) == summary.Spread(3.0, 3.0, 3.0, 3.0, 3.0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.24, "1.2"),
        (12.4, "12"),
        (999.0, "999"),
        (1234.0, "1.23k"),
        (12345.0, "12.3k"),
        (123456.0, "123k"),
        (2.5e6, "2.50M"),
    ],
)
def test_numbers_keep_three_digits(value, text):
    assert tables.number(value) == text


def test_a_phase_that_sends_less_than_a_request_for_each_operation_is_named():
    counts = {"honest": {"stat": {"LOOKUP": 1.0}}, "cached": {"stat": {"LOOKUP": 0.02}}}
    assert tables.unreached(counts, "stat") == ["cached"]

# SPDX-License-Identifier: Apache-2.0
"""From samples to what a table shows: medians, spreads, and ratios taken inside a round."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median, quantiles

from _harness.client import Measurement
from _harness.runner import Series


@dataclass(frozen=True)
class Spread:
    """The median of some figures, their quartiles and ends."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Ratio:
    """How many times faster ``subject`` is than ``rival``: the median of the ratios of each round."""

    subject: str
    rival: str
    spread: Spread


def spread(figures: Iterable[float]) -> Spread | None:
    """None for no figures."""
    values = sorted(figure for figure in figures if math.isfinite(figure))
    if not values:
        return None
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return Spread(median(values), low, high, values[0], values[-1], len(values))


def _rates(series: Series, subject: str, phase: str) -> dict[int, float]:
    found = {}
    for sample in series.samples:
        measurement = sample.measurements.get(phase)
        if (
            sample.subject == subject
            and measurement is not None
            and not measurement.error
            and measurement.rate
        ):
            found[sample.round] = measurement.rate
    return found


def rate(series: Series, subject: str, phase: str) -> Spread | None:
    """The rate of a subject in a phase."""
    return spread(_rates(series, subject, phase).values())


def figure(series: Series, subject: str, phase: str, pick: Callable[[Measurement], float]) -> Spread | None:
    """Any other number of the measurements, for example ``lambda m: m.p99_us``."""
    return spread(
        pick(sample.measurements[phase])
        for sample in series.samples
        if sample.subject == subject and phase in sample.measurements and not sample.measurements[phase].error
    )


def error(series: Series, subject: str, phase: str) -> str:
    """The first thing that went wrong for a subject in a phase."""
    for sample in series.samples:
        if sample.subject == subject:
            measurement = sample.measurements.get(phase)
            if sample.trouble:
                return sample.trouble
            if measurement is not None and measurement.error:
                return measurement.error
    return ""


def ratio(series: Series, subject: str, rival: str, phase: str) -> Ratio | None:
    """How many times ``subject`` does what ``rival`` does; rounds in which one of them failed do not count."""
    mine, theirs = _rates(series, subject, phase), _rates(series, rival, phase)
    found = spread(mine[number] / theirs[number] for number in sorted(mine.keys() & theirs.keys()))
    return None if found is None else Ratio(subject, rival, found)

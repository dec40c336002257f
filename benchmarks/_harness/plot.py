# SPDX-License-Identifier: Apache-2.0
"""Plots: one bar for each subject in each phase, logarithmic, with quartiles. matplotlib is optional."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from _harness import summary
from _harness.runner import Series
from _harness.subjects import Subject
from _harness.tables import Group

COLOURS = {
    "ext4": "#9e9e9e",
    "instar-memfs": "#00695c",
    "instar-mirror": "#00695c",
    "pyfuse3-memfs": "#ef6c00",
    "pyfuse3-mirror": "#ef6c00",
    "pyfuse3-asyncio-memfs": "#ffb74d",
    "mfusepy-memfs": "#6a1b9a",
    "mfusepy-mirror": "#6a1b9a",
    "bindfs": "#1565c0",
    "bindfs-threads": "#90caf9",
}


def missing() -> str:
    """Why there will be no plots; empty if there will."""
    return "" if importlib.util.find_spec("matplotlib") else "matplotlib is missing: pip install matplotlib"


def draw(
    series: Series, group: Group, phases: Sequence[str], heading: str, footer: str, paths: Sequence[Path]
) -> None:
    """Draw one group of one series into each of ``paths`` (the suffix is the format)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    subjects: list[Subject] = list(group.subjects)
    width = 0.8 / len(subjects)
    figure, axes = plt.subplots(figsize=(max(7.0, 0.95 * len(phases) + 2), 4.6), layout="constrained")
    for place, subject in enumerate(subjects):
        at, heights, below, above = [], [], [], []
        for index, phase in enumerate(phases):
            rate = summary.rate(series, subject.name, phase)
            if rate is None:
                continue
            at.append(index + (place - (len(subjects) - 1) / 2) * width)
            heights.append(rate.median)
            below.append(rate.median - rate.low)
            above.append(rate.high - rate.median)
        axes.bar(
            at,
            heights,
            width * 0.92,
            yerr=[below, above],
            label=subject.label,
            color=COLOURS.get(subject.name),
            error_kw={"elinewidth": 0.8, "ecolor": "#424242"},
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(phases)), [phase.replace("_", "\n") for phase in phases], fontsize=8)
    units = {measurement.unit for sample in series.samples for measurement in sample.measurements.values()}
    axes.set_ylabel(" or ".join(sorted(units)) + ", logarithmic; more is better", fontsize=8)
    axes.set_title(f"{heading}: {group.title} ({series.title})", fontsize=10, loc="left")
    axes.grid(axis="y", which="major", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=8, ncols=len(subjects), frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16))
    axes.text(1.0, -0.22, footer, fontsize=6, color="#616161", ha="right", va="top", transform=axes.transAxes)
    for path in paths:
        figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)

# SPDX-License-Identifier: Apache-2.0
"""Writing what was measured: JSON with every sample, markdown for the documentation, plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from _harness import plot, tables
from _harness.requests import Counts
from _harness.runner import Series
from _harness.subjects import Subject


@dataclass
class Report:
    """Everything about one run of one benchmark."""

    name: str  # "metadata"
    heading: str  # "Metadata operations"
    notes: tuple[str, ...]  # what the reader must know to read the figures
    facts: dict[str, str]
    subjects: list[Subject]
    phases: tuple[str, ...]
    series: list[Series] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    requests: dict[str, dict[str, Counts]] = field(default_factory=dict)  # setting -> subject -> counts
    targets: bool = True  # whether the project's targets apply

    def show(self, console: Console) -> None:
        """Tables and verdicts on the terminal."""
        for series in self.series:
            for group in tables.groups(self.subjects):
                for table in tables.rate_tables(series, group, self.subjects, self.phases, console.width):
                    console.print(table)
            if self.targets:
                for line in tables.verdicts(series, self.subjects, self.phases):
                    console.print(f"  {series.title}: {line}", highlight=False)
            console.print()
        for setting, counts in self.requests.items():
            console.print(f"[bold]{setting}[/bold]")
            console.print(tables.request_table(counts, self.subjects, self.phases))

    def markdown(self, plots: Sequence[Path] = ()) -> str:
        """The whole report as a section of documentation."""
        lines = [f"## {self.heading}", ""]
        lines += [f"- {key}: {value}" for key, value in self.facts.items()]
        lines += [f"- {subject.label}: {subject.version()}" for subject in self.subjects]
        lines += [f"- not measured: {name}: {reason}" for name, reason in self.missing.items()]
        lines += ["", *self.notes, ""]
        for series in self.series:
            rounds = 1 + max((sample.round for sample in series.samples), default=0)
            lines += [f"### {series.setting.name.capitalize()} names, {series.placement.name}", ""]
            lines += [f"{series.setting.explanation}; {series.placement.explanation}. {rounds} rounds.", ""]
            if series.setting.timeout is None:
                lines += ["Timeouts: " + "; ".join(f"{k}: {v}" for k, v in series.timeouts.items()) + ".", ""]
            for group in tables.groups(self.subjects):
                lines += [tables.markdown_table(series, group, self.subjects, self.phases), ""]
                stem = plot_stem(self.name, series, group)
                lines += [f"![{group.title}]({path.name})\n" for path in plots if path.name == f"{stem}.svg"]
            if self.targets:
                lines += [f"- {line}" for line in tables.verdicts(series, self.subjects, self.phases)] + [""]
        for setting, counts in self.requests.items():
            lines += [f"### Requests for each operation, entry or MiB: {setting}", ""]
            lines += ["Counted by the kernel (`fuse:fuse_request_send`); FORGET is not among them.", ""]
            lines += [tables.request_markdown(counts, self.subjects, self.phases), ""]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """All samples, for programs."""
        return {
            "benchmark": self.name,
            "facts": self.facts,
            "phases": list(self.phases),
            "subjects": {
                subject.name: {"label": subject.label, "kind": subject.kind, "version": subject.version()}
                for subject in self.subjects
            },
            "missing": self.missing,
            "series": [
                {
                    "setting": series.setting.name,
                    "placement": series.placement.name,
                    "timeouts": series.timeouts,
                    "samples": [asdict(sample) for sample in series.samples],
                }
                for series in self.series
            ],
            "requests_for_each_operation": self.requests,
        }

    def write(self, directory: Path, console: Console, *, plots: bool = True) -> None:
        """Write ``NAME.json``, ``NAME.md`` and, with matplotlib, ``NAME-*.svg`` and ``.png``."""
        directory.mkdir(parents=True, exist_ok=True)
        written = self._plots(directory, console) if plots else []
        (directory / f"{self.name}.json").write_text(json.dumps(self.data(), indent=1) + "\n")
        (directory / f"{self.name}.md").write_text(self.markdown(written))
        console.print(f"written: {directory}/{self.name}.json, .md and {len(written)} plots", highlight=False)

    def _plots(self, directory: Path, console: Console) -> list[Path]:
        if reason := plot.missing():
            console.print(f"no plots: {reason}", highlight=False)
            return []
        footer = " | ".join(self.facts[key] for key in ("processor", "kernel", "date") if key in self.facts)
        written = []
        for series in self.series:
            for group in tables.groups(self.subjects):
                stem = plot_stem(self.name, series, group)
                paths = [directory / f"{stem}.svg", directory / f"{stem}.png"]
                plot.draw(series, group, self.phases, self.heading, footer, paths)
                written += paths
        return written


def plot_stem(name: str, series: Series, group: tables.Group) -> str:
    """File name of a plot, without its suffix."""
    return f"{name}-{series.setting.name}-{series.placement.name}-{group.kind}"

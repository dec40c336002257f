# SPDX-License-Identifier: Apache-2.0
"""Tables: for the terminal with rich, and in markdown for documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from _harness import summary
from _harness.requests import Counts
from _harness.runner import Series
from _harness.subjects import Subject
from _harness.summary import Spread

# With whom each of Instar's subjects is compared, and the ratio that the project wants to reach in metadata.
RIVALS: dict[str, tuple[str, ...]] = {
    "instar-memfs": ("pyfuse3-memfs", "mfusepy-memfs", "bindfs"),
    "instar-mirror": ("pyfuse3-mirror", "mfusepy-mirror", "bindfs", "ext4"),
}
TARGETS = {"pyfuse3-memfs": 4.0, "pyfuse3-mirror": 4.0, "bindfs": 1.0}


@dataclass(frozen=True)
class Group:
    """Subjects that stand in one table: what Instar's one is compared with."""

    kind: str
    title: str
    subjects: tuple[Subject, ...]

    @property
    def instar(self) -> str:
        """Instar's subject in this group, or empty."""
        return next((subject.name for subject in self.subjects if subject.name in RIVALS), "")


def groups(subjects: Sequence[Subject]) -> list[Group]:
    """In-memory file systems and mirrors apart, each beside ext4."""
    found = []
    for kind, title in (("memfs", "in-memory file systems"), ("mirror", "mirrors of a directory")):
        chosen = tuple(subject for subject in subjects if subject.kind in {kind, "native"})
        if any(subject.kind == kind for subject in chosen):
            found.append(Group(kind, title, chosen))
    return found


def compare(group: Group, subjects: Sequence[Subject]) -> list[str]:
    """The rivals of a group's Instar that were measured."""
    measured = {subject.name for subject in subjects}
    return [rival for rival in RIVALS.get(group.instar, ()) if rival in measured]


def number(value: float) -> str:
    """Three digits that matter: 1.23M, 12.3k, 123."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.{max(0, 2 - _digits(scaled))}f}{unit}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _digits(value: float) -> int:
    return len(str(int(value))) - 1


def rate_text(rate: Spread | None) -> str:
    """Median and quartiles."""
    if rate is None:
        return "-"
    return (
        number(rate.median)
        if rate.count == 1
        else f"{number(rate.median)} ({number(rate.low)}..{number(rate.high)})"
    )


def ratio_text(ratio: summary.Ratio | None) -> str:
    """``3.4x``."""
    if ratio is None:
        return "-"
    return f"{ratio.spread.median:.2f}x" if ratio.spread.median < 10 else f"{ratio.spread.median:.0f}x"


def _labels(subjects: Sequence[Subject]) -> dict[str, str]:
    return {subject.name: subject.label for subject in subjects}


def _short(label: str) -> str:
    """Without what the title of the group says already."""
    return label.removesuffix(" memfs").removesuffix(" mirror").partition(" (")[0]


def _unit(series: Series, phase: str) -> str:
    for sample in series.samples:
        if phase in sample.measurements:
            return sample.measurements[phase].unit
    return ""


def rate_tables(
    series: Series, group: Group, subjects: Sequence[Subject], phases: Sequence[str], width: int
) -> list[Table]:
    """Rates and ratios in one table where ``width`` columns are enough for both, else in two."""
    title = f"{series.title}: {group.title}"
    rivals = [subject for subject in subjects if subject.name in compare(group, subjects)]
    if width >= 110:
        return [_table(title, series, group, group.subjects, rivals, phases, spreads=width >= 130)]
    rates = _table(title, series, group, group.subjects, [], phases, spreads=False)
    ratios = _table("Instar against them", series, group, (), rivals, phases, spreads=False)
    return [rates, ratios] if rivals else [rates]


def _table(
    title: str,
    series: Series,
    group: Group,
    shown: Sequence[Subject],
    rivals: Sequence[Subject],
    phases: Sequence[str],
    *,
    spreads: bool,
) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("phase", no_wrap=True)
    for subject in shown:
        style = "green" if subject.name == group.instar else ""
        table.add_column(_short(subject.label), justify="right", style=style, no_wrap=not spreads)
    for rival in rivals:
        table.add_column(f"/ {_short(rival.label)}", justify="right", no_wrap=True)
    for phase in phases:
        unit = _unit(series, phase)
        row: list[Text | str] = [phase if unit == "op/s" else f"{phase} [dim]{unit}"]
        for subject in shown:
            rate = summary.rate(series, subject.name, phase)
            if rate is None:
                row.append(Text(summary.error(series, subject.name, phase)[:24] or "-", style="red"))
            elif spreads:
                row.append(f"{number(rate.median)}\n[dim]{number(rate.low)}..{number(rate.high)}")
            else:
                row.append(number(rate.median))
        for rival in rivals:
            ratio = summary.ratio(series, group.instar, rival.name, phase)
            row.append(Text(ratio_text(ratio), style=_ratio_style(ratio, rival.name)))
        table.add_row(*row)
    return table


def _ratio_style(ratio: summary.Ratio | None, rival: str) -> str:
    wanted = TARGETS.get(rival)
    if ratio is None or wanted is None:
        return ""
    return "green" if ratio.spread.median >= wanted else "yellow"


def markdown_table(series: Series, group: Group, subjects: Sequence[Subject], phases: Sequence[str]) -> str:
    """The same in markdown."""
    labels = _labels(subjects)
    rivals = compare(group, subjects)
    head = [
        "",
        *(subject.label for subject in group.subjects),
        *(f"Instar / {labels[rival]}" for rival in rivals),
    ]
    lines = [_row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for phase in phases:
        cells = [f"{phase} ({_unit(series, phase)})"]
        for subject in group.subjects:
            rate = summary.rate(series, subject.name, phase)
            cells.append(rate_text(rate) if rate else summary.error(series, subject.name, phase)[:60] or "-")
        cells += [f"**{ratio_text(summary.ratio(series, group.instar, rival, phase))}**" for rival in rivals]
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def verdicts(series: Series, subjects: Sequence[Subject], phases: Sequence[str]) -> list[str]:
    """One line for each target: reached on every phase, or where not."""
    lines = []
    labels = _labels(subjects)
    for group in groups(subjects):
        for rival in compare(group, subjects):
            wanted = TARGETS.get(rival)
            if wanted is None:
                continue
            ratios = {
                phase: ratio.spread.median
                for phase in phases
                if (ratio := summary.ratio(series, group.instar, rival, phase)) is not None
            }
            short = [f"{phase} {value:.2f}x" for phase, value in ratios.items() if value < wanted]
            what = f"{labels[group.instar]}: at least {wanted:g} times {labels[rival]}"
            if not ratios:
                continue
            if short:
                lines.append(f"{what}: not on {len(short)} of {len(ratios)}: {', '.join(short)}")
            else:
                lines.append(f"{what}: on all {len(ratios)} (least {min(ratios.values()):.2f}x)")
    return lines


def request_text(opcodes: dict[str, float]) -> str:
    """``LOOKUP 1 + OPEN 1``; what comes less than once in fifty operations is left out."""
    parts = [
        f"{opcode} {share:.2g}" if share < 10 else f"{opcode} {share:.0f}"
        for opcode, share in opcodes.items()
        if share >= 0.02
    ]
    return " + ".join(parts) or "none"


def request_table(counts: dict[str, Counts], subjects: Sequence[Subject], phases: Sequence[str]) -> Table:
    """Requests for each operation, entry or MiB: the sum, by subject."""
    counted = [subject for subject in subjects if subject.name in counts]
    table = Table(
        title="requests that reach the server for each operation, entry or MiB",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("phase", no_wrap=True)
    for subject in counted:
        table.add_column(subject.label.partition(" (")[0].replace(" ", "\n"), justify="right")
    for phase in phases:
        sums = [sum(counts[subject.name].get(phase, {}).values()) for subject in counted]
        table.add_row(phase, *(f"{value:.2f}" for value in sums))
    return table


def request_markdown(counts: dict[str, Counts], subjects: Sequence[Subject], phases: Sequence[str]) -> str:
    """The same in markdown, with opcodes."""
    counted = [subject for subject in subjects if subject.name in counts]
    lines = [_row(["", *(subject.label for subject in counted)]), _row(["---"] * (len(counted) + 1))]
    lines += [
        _row([phase, *(request_text(counts[subject.name].get(phase, {})) for subject in counted)])
        for phase in phases
    ]
    return "\n".join(lines)


def unreached(counts: dict[str, Counts], phase: str) -> list[str]:
    """Subjects whose ``phase`` does not reach the server each time."""
    return [
        subject
        for subject, phases in counts.items()
        if phase in phases and sum(phases[phase].values()) < 0.99
    ]

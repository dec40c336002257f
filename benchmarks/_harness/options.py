# SPDX-License-Identifier: Apache-2.0
"""The command line that the comparing benchmarks share, and what they do with it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from _harness import machine, tables
from _harness.client import Client, ClientError, Load
from _harness.mounts import Arena, MountTrouble
from _harness.placement import PLACEMENTS, Placement
from _harness.report import Report
from _harness.runner import Series, count_requests, run_series
from _harness.subjects import SETTINGS, SUBJECTS, Setting, Subject

RESULTS = Path(__file__).resolve().parent.parent / "results"


@dataclass(frozen=True)
class Benchmark:
    """What one benchmark is: its phases, sizes and notes."""

    name: str
    heading: str
    phases: tuple[str, ...]
    load: Load
    quick: Load
    notes: tuple[str, ...]
    series: tuple[tuple[str, str], ...]  # the default pairs of setting and placement
    targets: bool
    must_reach: str = ""  # the phase that must reach the server each time when nothing is cached


def ensure(arena: Arena, wanted: list[str] | None) -> tuple[list[Subject], dict[str, str]]:
    """The subjects that can run, and for each other one why not and how to get it, in one line."""
    ready, missing = [], {}
    for kind in SUBJECTS:
        if kind.name not in wanted if wanted else not kind.default:
            continue
        subject = kind(arena)
        if reason := subject.missing():
            missing[subject.label] = reason
        else:
            ready.append(subject)
    return ready, missing


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def parse(benchmark: Benchmark, argv: list[str] | None) -> argparse.Namespace:
    """The options; a wrong name ends the program with the list of right ones."""
    parser = argparse.ArgumentParser(prog=f"benchmarks/{benchmark.name}.py", description=benchmark.heading)
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each series (5; 2 with --quick)")
    parser.add_argument("--only", type=_names, help=f"phases, of: {','.join(benchmark.phases)}")
    parser.add_argument("--subjects", type=_names, help=f"of: {','.join(kind.name for kind in SUBJECTS)}")
    parser.add_argument("--settings", type=_names, help=f"of: {','.join(SETTINGS)}")
    parser.add_argument("--placements", type=_names, help=f"of: {','.join(PLACEMENTS)}")
    parser.add_argument(
        "--ops", type=int, default=benchmark.load.ops, help="operations in a phase (%(default)s)"
    )
    parser.add_argument(
        "--mib", type=int, default=benchmark.load.mib, help="size of the data file, MiB (%(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the client in each process")
    parser.add_argument("--processes", type=int, default=1, help="processes of the client")
    parser.add_argument(
        "--quick", action="store_true", help="small and short: does it work, roughly how fast"
    )
    parser.add_argument("--json", metavar="FILE", help="write the JSON here too; - for the standard output")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory for reports (%(default)s)")
    parser.add_argument("--no-count", action="store_true", help="do not count requests")
    parser.add_argument("--no-plots", action="store_true", help="do not draw")
    chosen = parser.parse_args(argv)
    for given, known in (
        (chosen.only, benchmark.phases),
        (chosen.subjects, [kind.name for kind in SUBJECTS]),
        (chosen.settings, SETTINGS),
        (chosen.placements, PLACEMENTS),
    ):
        for name in given or ():
            if name not in known:
                parser.error(f"no {name!r}; there are: {', '.join(known)}")
    return chosen


def _pairs(benchmark: Benchmark, chosen: argparse.Namespace) -> list[tuple[Setting, Placement]]:
    if not (chosen.settings or chosen.placements):
        return [(SETTINGS[setting], PLACEMENTS[placement]) for setting, placement in benchmark.series]
    settings = chosen.settings or list(dict.fromkeys(setting for setting, _ in benchmark.series))
    placements = chosen.placements or list(dict.fromkeys(placement for _, placement in benchmark.series))
    return [(SETTINGS[setting], PLACEMENTS[placement]) for setting in settings for placement in placements]


def main(benchmark: Benchmark, argv: list[str] | None = None) -> int:
    """Run a benchmark as the command line says. Returns the exit status."""
    chosen = parse(benchmark, argv)
    console = Console(stderr=chosen.json == "-")
    phases = tuple(phase for phase in benchmark.phases if not chosen.only or phase in chosen.only)
    load = replace(
        benchmark.load,
        phases=phases,
        ops=chosen.ops,
        mib=chosen.mib,
        threads=chosen.threads,
        processes=chosen.processes,
    )
    if chosen.quick:
        load = replace(load, ops=min(load.ops, benchmark.quick.ops), mib=min(load.mib, benchmark.quick.mib))
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        console.print("benchmarks mount an ext4 image and FUSE: be root, with /dev/fuse")
        return 77
    try:
        with Arena() as arena:
            report = _run(benchmark, chosen, console, arena, load, rounds)
    except (MountTrouble, ClientError) as trouble:
        console.print(f"[red]{trouble}", highlight=False)
        return 1
    report.show(console)
    report.write(chosen.results, console, plots=not chosen.no_plots)
    if chosen.json == "-":
        json.dump(report.data(), sys.stdout, indent=1)
    elif chosen.json:
        Path(chosen.json).write_text(json.dumps(report.data(), indent=1) + "\n")
    return 0


def _run(
    benchmark: Benchmark, chosen: argparse.Namespace, console: Console, arena: Arena, load: Load, rounds: int
) -> Report:
    subjects, missing = ensure(arena, chosen.subjects)
    for label, reason in missing.items():
        console.print(f"[yellow]without {label}: {reason}", highlight=False)
    client = Client.build(str(arena.path))
    facts = {**machine.describe(), "client": client.name, "mirrored": arena.features, **_sizes(load)}
    for key, value in facts.items():
        console.print(f"[dim]{key}: {value}", highlight=False)
    if machine.load() > 0.5:
        facts["noise"] = f"the machine was busy when it began (load {machine.load():.2f})"
        console.print(f"[yellow]{facts['noise']}: figures are noisy")
    report = Report(
        benchmark.name, benchmark.heading, benchmark.notes, facts, subjects, load.phases, missing=missing,
        targets=benchmark.targets,
    )  # fmt: skip
    pairs = _pairs(benchmark, chosen)
    if not chosen.no_count:
        _count(benchmark, report, console, arena, client, load, [setting for setting, _ in pairs])
    for setting, placement in pairs:
        if reason := placement.missing():
            console.print(f"[yellow]no series {placement.name}: {reason}")
            continue
        timeouts = {subject.label: subject.timeouts(setting) for subject in subjects}
        series = Series(setting, placement, timeouts)
        report.series.append(series)
        run_series(arena, client, subjects, load, rounds, series, console)
    return report


def _sizes(load: Load) -> dict[str, str]:
    workers = (
        f", {load.processes} processes of {load.threads} threads" if load.processes * load.threads > 1 else ""
    )
    return {"sizes": f"{load.ops} operations in a phase, data file {load.mib} MiB{workers}"}


def _count(
    benchmark: Benchmark,
    report: Report,
    console: Console,
    arena: Arena,
    client: Client,
    load: Load,
    settings: list[Setting],
) -> None:
    few = replace(load, ops=min(load.ops, 200), mib=min(load.mib, 4), threads=1, processes=1)
    for setting in dict.fromkeys(settings):
        console.print(f"[dim]counting requests ({setting.name})")
        counts = count_requests(arena, client, report.subjects, few, setting, console.print)
        if counts is None:
            return
        report.requests[setting.name] = counts
        if setting.timeout == 0 and benchmark.must_reach in load.phases:
            cheats = tables.unreached(counts, benchmark.must_reach)
            if cheats:
                console.print(
                    f"[red]{benchmark.must_reach} does not reach the server each time: {', '.join(cheats)}"
                )
            else:
                console.print(f"[green]each {benchmark.must_reach} reaches each server, says the kernel")

# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds: in each round every subject runs once, in random order.

What the machine does meanwhile (another program, a warmer processor) then falls on all subjects alike, and a ratio is taken
inside a round. Each sample is a fresh server on a fresh directory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from _harness import machine
from _harness.client import Client, ClientError, Load, Measurement
from _harness.mounts import Arena, MountTrouble
from _harness.placement import Placement
from _harness.requests import Counts, count, request_counter
from _harness.subjects import FuseSubject, Setting, Subject


@dataclass
class Sample:
    """One run of one subject in one round."""

    subject: str
    round: int
    load: float  # load average of the machine just before
    measurements: dict[str, Measurement]
    trouble: str = ""


@dataclass
class Series:
    """All rounds of one setting and one placement."""

    setting: Setting
    placement: Placement
    timeouts: dict[str, str]
    samples: list[Sample] = field(default_factory=list)

    @property
    def title(self) -> str:
        """For headings and file names."""
        return f"{self.setting.name}, {self.placement.name}"


def run_series(
    arena: Arena,
    client: Client,
    subjects: Sequence[Subject],
    load: Load,
    rounds: int,
    series: Series,
    console: Console,
) -> None:
    """Play the rounds and fill ``series.samples``. A subject that fails is reported in its sample; the rest go on."""
    order = list(subjects)
    with Progress(
        TextColumn("[bold]{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[now]}"),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(series.title, total=rounds * len(order), now="")
        for number in range(rounds):
            random.shuffle(order)
            for subject in order:
                progress.update(task, now=f"{subject.label} (load {machine.load():.2f})")
                sample = _sample(arena, client, subject, load, number, series)
                series.samples.append(sample)
                if sample.trouble:
                    console.print(f"[red]{subject.label}: {sample.trouble}", highlight=False)
                progress.advance(task)


def _sample(
    arena: Arena, client: Client, subject: Subject, load: Load, number: int, series: Series
) -> Sample:
    arena.settle()
    sample = Sample(subject.name, number, machine.load(), {})
    try:
        with series.placement.applied():
            directory = subject.start(series.setting)
            for measurement in client.run(str(directory), load):
                sample.measurements[measurement.phase] = measurement
    except (ClientError, MountTrouble, OSError) as trouble:
        sample.trouble = str(trouble)
    finally:
        subject.stop()
    return sample


def count_requests(
    arena: Arena,
    client: Client,
    subjects: Sequence[Subject],
    load: Load,
    setting: Setting,
    say: Callable[[str], None],
) -> dict[str, Counts] | None:
    """Requests for each operation, by subject and phase; None where the kernel cannot tell."""
    with request_counter(arena.path) as counter:
        if counter is None:
            say("requests are not counted: no fuse tracepoint (root, tracefs and Linux 6.11 are needed)")
            return None
        found: dict[str, Counts] = {}
        for subject in subjects:
            if not isinstance(subject, FuseSubject):
                continue
            try:
                directory = subject.start(setting)
                assert subject.mount is not None
                found[subject.name] = count(counter, client, directory, subject.mount, load)
            except (MountTrouble, OSError) as trouble:
                say(f"{subject.label}: requests not counted: {trouble}")
            finally:
                subject.stop()
        return found

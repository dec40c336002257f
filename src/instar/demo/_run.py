# SPDX-License-Identifier: Apache-2.0
"""Running the demonstration: mount, work, show, unmount; nothing stays behind, however it ends."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from instar.demo import _tree
from instar.demo._in_process import run_in_process
from instar.demo._place import INSIDE_NAMESPACE, find_place
from instar.demo._steps import STEPS, Step
from instar.edge.mount import MountError, unmount
from instar.host import start
from instar.transport import parse_options

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DemoResult", "run_demo"]

_SHOWN: Final = {"mirror": "mirror:original", "mem": "memfs", "tree": "a Tree, made of Python values"}
_STEP_SECONDS: Final = 120.0


class DemoResult(msgspec.Struct):
    """One line of the table: ``status`` is ``ok``, ``failed`` or ``left out``; ``seconds`` is how long it took."""

    title: str
    works_on: str
    command: str
    seconds: float
    status: str
    detail: str = ""


def run_demo(*, quick: bool = False, as_json: bool = False) -> int:
    """Show what Instar does on this machine. Returns an exit status: 1 when a step came out wrong.

    ``quick`` takes fewer files. With ``as_json`` the results go to standard output, and the rest to standard error.
    """
    console = Console(stderr=as_json, highlight=False)
    place = find_place()
    if place.namespace:
        command = ["unshare", "-Urm", sys.executable, "-m", "instar", "demo"]
        command += ["--quick"] * quick + ["--json"] * as_json
        return subprocess.run(command, env={**os.environ, INSIDE_NAMESPACE: "1"}, check=False).returncode
    if place.note:
        console.print(place.note, style="yellow")
    if not place.mounts:
        results = [DemoResult(*row) for row in run_in_process()]
    else:
        with _mounted(console, quick=quick) as environment:
            results = [_run(console, step, environment) for step in STEPS]
            _show_tree(console)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(results)).decode() + "\n")
    _show(console, results)
    return int(any(result.status == "failed" for result in results))


@contextlib.contextmanager
def _mounted(console: Console, *, quick: bool) -> Iterator[dict[str, str]]:
    """Mount three file systems; yields the environment for the steps."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instar-demo-")))
        source = scratch / "original"
        files = _copy_sources(source, quick=quick)
        console.print(f"[dim]in {scratch}:[/]", soft_wrap=True)  # a path that is broken cannot be copied
        targets = {"mirror": f"mirror:{source}", "mem": "memfs", "tree": f"{_tree.__file__}:tree"}
        environment = {**os.environ, "SRC": str(source), "LC_ALL": "C.UTF-8"}
        for name, target in targets.items():
            mountpoint = scratch / name
            mountpoint.mkdir()
            options, rest = parse_options("")
            start(target, str(mountpoint), options, rest)
            stack.callback(_unmount, mountpoint)
            environment[name.upper()] = str(mountpoint)
            console.print(f"[green]mounted[/] {_SHOWN[name]} [dim]at {name}[/]")
        console.print(f"[dim]the mirror shows {files} real files of Python's standard library[/]\n")
        yield environment


def _copy_sources(destination: Path, *, quick: bool) -> int:
    """Copy real files to work on: a part of the standard library. Returns how many."""
    library = Path(os.__file__).parent
    names = (
        ["json", "email"]
        if quick
        else ["json", "email", "asyncio", "unittest", "xml", "ctypes", "http", "encodings"]
    )
    for name in names:
        shutil.copytree(library / name, destination / name, ignore=shutil.ignore_patterns("__pycache__"))
    return sum(len(files) for _, _, files in os.walk(destination))


def _unmount(mountpoint: Path) -> None:
    with contextlib.suppress(MountError):
        try:
            unmount(str(mountpoint))
        except MountError:
            unmount(str(mountpoint), lazy=True)


def _run(console: Console, step: Step, environment: dict[str, str]) -> DemoResult:
    result = DemoResult(step.title, step.works_on, step.shown, 0.0, "ok")
    if step.missing:
        result.status, result.detail = "left out", f"not installed: {', '.join(step.missing)}"
        return result
    began = time.perf_counter()
    with console.status(f"{step.title} [dim]({step.works_on})[/]"):
        try:
            done = subprocess.run(
                ["/bin/sh", "-euc", step.command],
                env=environment,
                cwd=environment["SRC"],
                capture_output=True,
                timeout=_STEP_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            result.status, result.detail = "failed", f"not done after {_STEP_SECONDS:.0f} s"
            return result
    result.seconds = time.perf_counter() - began
    if done.returncode != 0:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        result.status, result.detail = "failed", output or f"exit status {done.returncode}"
    return result


def _show_tree(console: Console) -> None:
    source = inspect.getsource(_tree)
    console.print("The tree above is this file:", style="bold")
    shown = source[source.index("settings =") :].rstrip()
    console.print(Syntax(shown, "python", background_color="default", word_wrap=True))
    console.print()


def _show(console: Console, results: list[DemoResult]) -> None:
    table = Table(title="What was done", title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    table.add_column("on")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("result", overflow="fold")  # what a step that failed said can be long
    styles = {"ok": "[green]ok[/]", "failed": "[bold red]failed[/]", "left out": "[yellow]left out[/]"}
    for result in results:
        took = "" if result.status == "left out" else f"{result.seconds:.3f} s"
        detail = f" {result.detail}" if result.detail else ""
        table.add_row(result.title, result.works_on, took, styles[result.status] + escape(detail))
    console.print(table)
    failed = sum(result.status == "failed" for result in results)
    total = sum(result.seconds for result in results)
    console.print(f"\n{len(results)} steps, {failed} failed, {total:.1f} s. Everything has been unmounted.")
    console.print("Next: README.md, then docs/tutorial.md.")
    console.print("`instar new NAME` writes a file system to start from.")

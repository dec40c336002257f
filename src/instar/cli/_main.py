# SPDX-License-Identifier: Apache-2.0
"""The command ``instar`` and its verbs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from instar import InstarError, __version__
from instar.cli._new import write_skeleton

if TYPE_CHECKING:
    from instar.host import MountRecord, MountState

# What a verb needs it imports itself: `--help` and completion need none of it.

__all__ = ["main"]

EXIT_FAILURE = 1
EXIT_NOT_SERVING = 3
_WIDE = 10_000  # columns


class _Group(click.Group):
    """Prints an :class:`InstarError` as one sentence and exits with 1; click's own usage errors exit with 2."""

    def invoke(self, ctx: click.Context) -> Any:  # Any: click's own signature
        try:
            return super().invoke(ctx)
        except (InstarError, OSError) as error:
            click.echo(f"instar: {_sentence(error)}", err=True)
            ctx.exit(EXIT_FAILURE)


def _sentence(error: InstarError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="instar")
def _instar() -> None:
    """File systems written as Python classes, mounted on a stock Linux kernel.

    Exit status: 0 done, 1 failed (one sentence on standard error says why), 2 wrong usage; `status MOUNTPOINT` has 3 for a mount that
    does not answer.
    """


@_instar.command("mount")
@click.argument("target")
@click.argument("mountpoint")  # not click.Path, which would ask a mount that may hang
@click.option(
    "-o", "options", multiple=True, metavar="k=v,...", help="Mount options, and options of the file system."
)
@click.option("-f", "--foreground", is_flag=True, help="Serve in this process; Ctrl-C unmounts.")
def _mount(target: str, mountpoint: str, options: tuple[str, ...], *, foreground: bool) -> None:
    """Mount TARGET at the directory MOUNTPOINT.

    TARGET is memfs, mirror:DIR, path/to/file.py (which holds one file system), path/to/file.py:Class, or module:Class.

    \b
    instar mount memfs /mnt -o size=1G
    instar mount mirror:/srv /mnt -o ro
    instar mount hello.py /mnt --foreground

    Options that mount itself knows: ro, nosuid, nodev, noexec, noatime, allow_other, default_permissions (both "no..."
    as well), max_write, max_read, entry_timeout, attr_timeout, negative_timeout (seconds), fsname, latency=auto|off.
    All others go to the file system. A comma in a value is written "\\,"; numbers may be written as 16M or 1.5G.
    """  # noqa: D301 - click wants the character itself, which keeps it from filling the lines
    from instar.host import start
    from instar.transport import parse_options

    mount_options, rest = parse_options(*options)
    start(target, mountpoint, mount_options, rest, foreground=foreground)


@_instar.command("umount")
@click.argument("mountpoints", nargs=-1, required=True, metavar="MOUNTPOINT...")
@click.option("-l", "--lazy", is_flag=True, help="Detach now; open files go on until they are closed.")
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Abort what is under way, which then fails, and detach even if in use. "
    "Without root only the user who mounted can abort, and only where /sys/fs/fuse/connections is mounted; elsewhere this detaches, as --lazy.",
)
def _umount(mountpoints: tuple[str, ...], *, lazy: bool, force: bool) -> None:
    """Unmount, writing back what is not written yet. The server ends by itself."""
    from instar.host import unmount

    failed = False
    for mountpoint in mountpoints:
        try:
            record = unmount(mountpoint, lazy=lazy, force=force)
            if record.log and not record.alive:
                click.echo(f"The server of {record.mountpoint} had died; its log is {record.log}")
        except (InstarError, OSError) as error:
            failed = True
            click.echo(f"instar: {_sentence(error)}", err=True)
    if failed:
        sys.exit(EXIT_FAILURE)


@_instar.command("status")
@click.argument("mountpoint", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def _status(mountpoint: str | None, *, as_json: bool) -> None:
    """Show what is mounted, who serves it, and how it is doing.

    \b
    serving   it answers
    stopped   its server is stopped (SIGSTOP, a debugger): `kill -CONT PID`
    hung      its server runs and did not answer for two seconds
    dead      its server is gone, or its connection was aborted
    unknown   it answers, and no record says who serves it

    Exit status: 0 done; with MOUNTPOINT, 1 nothing is mounted there, 3 what is mounted is stopped, hung or dead.
    """  # noqa: D301 - as above
    import msgspec

    from instar.edge.mount import MountError
    from instar.host import MountState, find_mount, list_mounts, mount_states

    if mountpoint is None:
        records = list_mounts()
    else:
        record = find_mount(mountpoint)
        if record is None:
            raise MountError(f"Nothing of Instar's is mounted at {mountpoint}.")
        records = [record]
    states = mount_states(records)
    if as_json:
        rows = [
            {
                **msgspec.to_builtins(record),
                "uptime": record.uptime,
                "alive": record.alive,
                "state": state.value,
            }
            for record, state in zip(records, states, strict=True)
        ]
        click.echo(json.dumps(rows, indent=2))
    elif not records:
        click.echo("Nothing is mounted. `instar mount memfs DIR` mounts a first file system.")
    else:
        _print_table(records, states)
    if mountpoint is not None and states[0] in {MountState.STOPPED, MountState.HUNG, MountState.DEAD}:
        sys.exit(EXIT_NOT_SERVING)


def _print_table(records: list[MountRecord], states: list[MountState]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("MOUNTPOINT", "TARGET", "PID", "UP", "VERSION", "STATE"):
        table.add_column(heading, overflow="fold")
    for record, state in zip(records, states, strict=True):
        up = _duration(record.uptime) if record.started and record.alive else ""
        pid = str(record.pid) if record.pid else "?"
        row = (
            record.mountpoint,
            record.target or record.source,
            pid,
            up,
            record.version,
            _explained(state, record),
        )
        table.add_row(*(Text(_printable(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:  # lines that go into a file or another program are as long as they are
        console = Console(highlight=False, width=_WIDE)
    console.print(table)


def _explained(state: MountState, record: MountRecord) -> str:
    """The state, and what to do about it."""
    from instar.host import MountState

    log = f"log: {record.log or 'none'}"
    if state is MountState.DEAD:
        return f"dead: `instar umount` it; {log}"
    if state is MountState.STOPPED:
        return f"stopped: `kill -CONT {record.pid}`"
    if state is MountState.HUNG:
        return f"hung: `instar umount --force` it; {log}"
    return state.value


def _printable(text: str) -> str:
    """Text that any terminal takes: what is not UTF-8 in a path is shown as a question mark in a box."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    shown = [f"{value}{unit}" for value, unit in parts if value]
    return "".join(shown[:2]) or "0s"


@_instar.command("new")
@click.argument("name")
def _new(name: str) -> None:
    """Write NAME.py: a small, commented file system that mounts at once."""
    path = write_skeleton(name)
    click.echo(
        f"Wrote {path}. Try it:\n\n  mkdir -p mnt\n  instar mount {path} mnt\n  cat mnt/hello\n  instar umount mnt"
    )


@_instar.command("demo")
@click.option("--quick", is_flag=True, help="Fewer files.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as a JSON array.")
def _demo(*, quick: bool, as_json: bool) -> None:
    """Mount a mirror and an in-memory file system, run real programs on them, show a table, and unmount."""
    from instar.demo import run_demo

    sys.exit(run_demo(quick=quick, as_json=as_json))


@_instar.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(shell: str) -> None:
    """Print the completion script for a shell, e.g. `eval "$(instar completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(_instar, {}, "instar", "_INSTAR_COMPLETE").source())


def main() -> None:
    """The entry point of ``instar``."""
    _instar(prog_name="instar")

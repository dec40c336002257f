# SPDX-License-Identifier: Apache-2.0
"""``mount.instar``: what ``mount(8)`` runs for the type ``instar``, so that fstab works.

``memfs /mnt instar size=1G 0 0`` in fstab becomes ``mount.instar memfs /mnt -o rw,size=1G``. Exit statuses are those of
``mount(8)``: 0 success, 1 usage, 8 interrupted, 32 the mount failed.
"""

from __future__ import annotations

import sys

import click

from instar import InstarError

__all__ = ["mount_helper"]

EXIT_USAGE = 1
EXIT_INTERRUPTED = 8
EXIT_MOUNT_FAILED = 32


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target")
@click.argument("mountpoint")
@click.option("-o", "options", multiple=True, metavar="k=v,...")
@click.option("-s", "sloppy", is_flag=True, help="Accepted and ignored.")
@click.option("-v", "verbose", is_flag=True, help="Say what is mounted.")
@click.option("-n", "no_mtab", is_flag=True, help="Accepted and ignored.")
@click.option("-f", "fake", is_flag=True, help="Load and make TARGET, mount nothing.")
@click.option("-t", "fstype", help="Accepted and ignored.")
def _helper(
    target: str,
    mountpoint: str,
    options: tuple[str, ...],
    fstype: str | None,
    *,
    sloppy: bool,
    verbose: bool,
    no_mtab: bool,
    fake: bool,
) -> None:
    """Mount TARGET at MOUNTPOINT; called by mount(8)."""
    from instar.host import start
    from instar.transport import parse_options

    mount_options, rest = parse_options(*options)
    if verbose:
        click.echo(f"mount.instar: {target} on {mountpoint}")
    start(target, mountpoint, mount_options, rest, dry_run=fake)


def mount_helper() -> None:
    """The entry point of ``mount.instar``."""
    try:
        _helper.main(prog_name="mount.instar", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.Abort:  # Ctrl-C, or SIGINT from mount(8)
        click.echo("mount.instar: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except (InstarError, OSError) as error:
        click.echo(f"mount.instar: {error}", err=True)
        sys.exit(EXIT_MOUNT_FAILED)

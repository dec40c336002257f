# SPDX-License-Identifier: Apache-2.0
"""``python -m instar.verify.model DIR --oracle DIR``: a random walk on two file systems, compared at each step."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from instar.verify.model._search import Search
from instar.verify.model._world import World


def main(arguments: Sequence[str] | None = None, make_subject: Callable[[str, str], World] = World) -> int:
    """Run the walk; 0 without a difference, 1 with one (its program is printed), 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m instar.verify.model", description=__doc__)
    parser.add_argument("directory", help="a directory on the file system under test")
    parser.add_argument("--oracle", required=True, help="a directory on the file system that is right (ext4)")
    parser.add_argument("--steps", type=int, default=10_000, help="operations to do (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=None, help="start of the walk (default: a new one each time)"
    )
    parser.add_argument(
        "--tree-every", type=int, default=250, metavar="N", help="compare whole trees every N steps"
    )
    parser.add_argument(
        "--no-times", action="store_true", help="do not compare which operations change mtime, ctime"
    )
    parser.add_argument("--no-users", action="store_true", help="do nothing as other users, also as root")
    parser.add_argument(
        "--no-shrink", action="store_true", help="print the whole walk, not the shortest part of it"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but a difference")
    options = parser.parse_args(arguments)
    for directory in (options.directory, options.oracle):
        if not os.path.isdir(directory):
            parser.error(f"{directory} is not a directory")
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    started = time.monotonic()

    def say(text: str) -> None:
        if not options.quiet:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - a program's output

    def progress(done: int) -> None:
        say(f"{done:>9} of {options.steps} steps, {done / (time.monotonic() - started):.0f} a second")

    say(f"seed {seed}")
    search = Search(
        options.directory,
        options.oracle,
        make_subject=make_subject,
        users=os.geteuid() == 0 and not options.no_users,
        check_times=not options.no_times,
        tree_every=options.tree_every,
        progress=progress,
    )
    difference = search.walk(options.steps, seed)
    if difference is None:
        say(f"no difference in {options.steps} steps, {time.monotonic() - started:.1f} s")
        return 0
    if not options.no_shrink:
        say(
            f"a difference after {len(difference.history)} steps (seed {seed}); looking for a shorter way to it"
        )
        difference = search.shrink(difference)
    print(difference)  # noqa: T201 - a program's output
    return 1


if __name__ == "__main__":
    sys.exit(main())

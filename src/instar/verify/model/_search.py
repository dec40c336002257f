# SPDX-License-Identifier: Apache-2.0
"""Looking for a difference with random walks, and making what was found small.

Each try runs in fresh directories below the two that were given, so one mount serves all of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from instar.verify.model._compare import Comparer, Difference
from instar.verify.model._operation import Operation
from instar.verify.model._walk import Walk
from instar.verify.model._world import World

__all__ = ["Search"]


@dataclass
class Search:
    """Where and how to look.

    Attributes:
        subject: a directory on the file system under test.
        oracle: a directory on the one that is taken to be right.
        make_subject: makes the subject's world in a directory; tests put broken ones here.
        users: whether some operations are done as other users; needs root.
        check_times: whether changes of times must agree.
        tree_every: steps between two comparisons of the whole trees.
        restart_every: steps after which everything is closed and new directories are used.
        leave_out: classes of operations that are not wanted.
        progress: called with the number of steps done, after each tree comparison.
    """

    subject: str | os.PathLike[str]
    oracle: str | os.PathLike[str]
    make_subject: Callable[[str, str], World] = World
    users: bool = False
    check_times: bool = True
    tree_every: int = 250
    restart_every: int = 500
    leave_out: tuple[type[Operation], ...] = ()
    progress: Callable[[int], None] = lambda _steps: None

    def walk(self, steps: int, seed: int) -> Difference | None:
        """Walk ``steps`` steps; the first difference, or None."""
        done = 0
        while done < steps:
            part = min(self.restart_every, steps - done)
            found = self._try(Walk(seed + done, users=self.users, leave_out=self.leave_out), part, done)
            if found is not None:
                return found
            done += part
        return None

    def shrink(self, difference: Difference, tries: int = 2000) -> Difference:
        """The same kind of trouble with fewer operations: whatever differs after leaving some out."""
        best = difference
        size = max(1, len(best.history) // 2)
        while size >= 1 and tries > 0:
            start, smaller = 0, False
            while start < len(best.history) and tries > 0:
                tries -= 1
                rest = best.history[:start] + best.history[start + size :]
                found = self.replay(rest)
                if found is not None and len(found.history) < len(best.history):
                    best, smaller = found, True
                else:
                    start += size
            if not smaller or size > 1:
                size = size // 2 if size > 1 else (1 if smaller else 0)
        return best

    def replay(self, operations: Sequence[Operation]) -> Difference | None:
        """Run just these operations; the difference, or None."""
        return self._try(iter(operations), len(operations), 0)

    def _try(self, operations: Iterator[Operation], steps: int, done: int) -> Difference | None:
        below = [tempfile.mkdtemp(prefix="model-", dir=os.fspath(top)) for top in (self.subject, self.oracle)]
        for directory in below:
            os.chmod(directory, 0o755)
        try:
            with self.make_subject(below[0], "subject") as subject, World(below[1], "oracle") as oracle:
                comparer = Comparer(subject, oracle, check_times=self.check_times)
                try:
                    for step in range(steps):
                        operation = next(operations)
                        outcome = comparer.run(operation)
                        if isinstance(operations, Walk):
                            operations.note(operation, outcome)
                        if (step + 1) % self.tree_every == 0:
                            comparer.check_tree()
                            self.progress(done + step + 1)
                    comparer.finish()
                except Difference as difference:
                    return difference
        finally:
            for directory in below:
                shutil.rmtree(directory)
        return None

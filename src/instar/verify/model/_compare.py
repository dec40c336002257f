# SPDX-License-Identifier: Apache-2.0
"""The same operations on a subject and on an oracle, step by step, until they differ.

After each operation three things must agree: the outcome, the attributes of every object that the operation names,
and whether the operation changed the mtime and ctime of those objects. The last is asked both ways only where both file systems
have time stamps fine enough to show each change (Linux 6.13's multigrain time stamps); otherwise a change that the
oracle shows must show on the subject.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Sequence

from instar.verify.model._mappings import Map
from instar.verify.model._operation import Operation, Outcome
from instar.verify.model._tree import read_tree, tree_differences
from instar.verify.model._world import Attributes, Times, World

__all__ = ["Comparer", "Difference", "replay", "script"]


def script(operations: Iterable[Operation], message: str = "") -> str:
    """A Python program that runs the operations again on two directories."""
    lines = "\n".join(f"        {operation.source()}," for operation in operations)
    note = textwrap.indent(message.strip(), "# ") + "\n" if message else ""
    return (
        "#!/usr/bin/env python3\n"
        "# usage: python SCRIPT SUBJECT_DIRECTORY ORACLE_DIRECTORY   (both empty)\n"
        f"{note}"
        "import os\n\n"
        "from instar.verify.model import *\n\n"
        "replay(\n"
        "    [\n"
        f"{lines}\n"
        "    ]\n"
        ")\n"
    )


class Difference(AssertionError):
    """Subject and oracle differ; the text ends with a program that shows it again.

    Attributes:
        what: one or more lines that say what differs.
        history: every operation so far, the last one being where the difference showed.
    """

    def __init__(self, what: str, history: Sequence[Operation]) -> None:
        self.what = what
        self.history = tuple(history)
        super().__init__(what, self.history)

    def __str__(self) -> str:
        """What differs, and the program."""
        return f"{self.what}\n\nTo see it again:\n\n{script(self.history, self.what)}"


def has_fine_times(directory: str) -> bool:
    """Whether each change of a file shows in its ctime, however soon after the last."""
    fd, name = tempfile.mkstemp(dir=directory)
    try:
        for _ in range(20):
            before = os.fstat(fd).st_ctime_ns
            os.fchmod(fd, 0o600)
            if os.fstat(fd).st_ctime_ns == before:
                return False
        return True
    finally:
        os.close(fd)
        os.unlink(name)


class Comparer:
    """Runs operations on two worlds.

    Args:
        subject: the file system under test.
        oracle: the one that is taken to be right.
        fine_times: whether changes of times are compared both ways; None tries it out in both directories.
        check_times: False leaves times out altogether.
    """

    def __init__(
        self, subject: World, oracle: World, *, fine_times: bool | None = None, check_times: bool = True
    ) -> None:
        self.subject = subject
        self.oracle = oracle
        self.history: list[Operation] = []
        if fine_times is None:
            fine_times = check_times and has_fine_times(subject.root) and has_fine_times(oracle.root)
        self.fine_times = fine_times
        self.check_times = check_times
        self._mapped: set[int] = set()

    def _fail(self, what: str) -> Difference:
        return Difference(what, self.history)

    def run(self, operation: Operation) -> Outcome:
        """Do it on both and give the outcome.

        Raises:
            Difference: the outcome, an attribute or a change of times is not the same.
        """
        self.history.append(operation)
        subject, seen = self._one(self.subject, operation)
        oracle, wanted = self._one(self.oracle, operation)
        name = operation.source()
        if subject != oracle:
            raise self._fail(f"{name}\n  {self.subject.label}: {subject}\n  {self.oracle.label}: {oracle}")
        if isinstance(operation, Map) and not operation.private and not oracle.error:
            self._mapped.add(os.fstat(self.oracle.fd(operation.slot)).st_ino)
        for thing in seen.keys() | wanted.keys():
            if (thing in seen) != (thing in wanted):
                where = self.subject if thing in seen else self.oracle
                raise self._fail(f"after {name}\n  {thing!r} exists only in {where.label}")
            ours, theirs = seen[thing], wanted[thing]
            if ours[0] != theirs[0]:
                raise self._fail(
                    f"after {name}\n  {thing!r} has (mode, links, uid, gid, size, device)\n"
                    f"  {self.subject.label}: {_show(ours[0])}\n  {self.oracle.label}: {_show(theirs[0])}"
                )
            if operation.times and self.check_times and self._keeps_times(theirs[0], theirs[2]):
                both_ways = self.fine_times and not operation.may_keep_times
                self._compare_times(name, thing, ours[1], theirs[1], both_ways)
        return oracle

    def _one(
        self, world: World, operation: Operation
    ) -> tuple[Outcome, dict[str, tuple[Attributes, tuple[bool, bool] | None, int]]]:
        """Run on one world; what is there after, with whether its times changed (None if it was not there before)."""
        with world.inside():
            before = world.observe(operation)
            outcome = world.perform(operation)
            after = world.observe(operation)
        seen: dict[str, tuple[Attributes, tuple[bool, bool] | None, int]] = {}
        for thing, (attributes, times, inode) in after.items():
            changed = None
            if thing in before and before[thing][2] == inode:
                old: Times = before[thing][1]
                changed = (old[0] != times[0], old[1] != times[1])
            seen[thing] = (attributes, changed, inode)
        return outcome, seen

    def _keeps_times(self, attributes: Attributes, inode: int) -> bool:
        """Whether times change only when an operation changes them.

        Stores through a mapping set them at any moment, and those of a FIFO belong to the kernel's pipe.
        """
        return inode not in self._mapped and not stat.S_ISFIFO(attributes[0] or 0)

    def _compare_times(
        self,
        name: str,
        thing: str,
        ours: tuple[bool, bool] | None,
        theirs: tuple[bool, bool] | None,
        both_ways: bool,
    ) -> None:
        if ours is None or theirs is None:
            return
        for kind, mine, other in zip(("mtime", "ctime"), ours, theirs, strict=True):
            if mine != other and (both_ways or other):
                words = {True: f"changed the {kind}", False: f"left the {kind} alone"}
                raise self._fail(
                    f"{name} on {thing!r}\n  {self.subject.label}: {words[mine]}\n"
                    f"  {self.oracle.label}: {words[other]}"
                )

    def check_tree(self) -> None:
        """Compare everything that is in both directories.

        Raises:
            Difference: some name, content, mode, owner, link or extended attribute is not the same.
        """
        found = tree_differences(read_tree(self.subject.root), read_tree(self.oracle.root))
        if found:
            lines = "\n  ".join(found[:20])
            raise self._fail(
                f"the trees differ; the first is {self.subject.label}, the second {self.oracle.label}\n  {lines}"
            )

    def finish(self) -> None:
        """Close what is open on both and compare the trees; raises Difference."""
        self.subject.close_files()
        self.oracle.close_files()
        self.check_tree()


def _show(attributes: Attributes) -> str:
    return f"({attributes[0]:#o}, {', '.join(map(str, attributes[1:]))})"


def replay(operations: Sequence[Operation], arguments: Sequence[str] | None = None) -> None:
    """Run operations on the two directories named on the command line; what the printed programs call.

    Prints each outcome of the oracle; ends with the difference as the exit message, or returns if there is none.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 2:
        sys.exit(f"usage: {sys.argv[0]} SUBJECT_DIRECTORY ORACLE_DIRECTORY")
    with World(arguments[0], "subject") as subject, World(arguments[1], "oracle") as oracle:
        comparer = Comparer(subject, oracle)
        started = time.monotonic()
        for operation in operations:
            try:
                outcome = comparer.run(operation)
            except Difference as difference:
                sys.exit(difference.what)
            with contextlib.suppress(BrokenPipeError):
                print(f"{time.monotonic() - started:8.3f} {operation.source()} {outcome}")  # noqa: T201 - a program
        try:
            comparer.finish()
        except Difference as difference:
            sys.exit(difference.what)

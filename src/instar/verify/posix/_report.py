# SPDX-License-Identifier: Apache-2.0
"""What a run found, as data: JSON both ways, and the comparison with an oracle."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
from typing import Self

__all__ = ["CaseReport", "Difference", "Outcome", "Report"]


class Outcome(enum.StrEnum):
    """How a case ended."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    #: It could not run here: not root, a tool is missing.
    SKIP = "skip"
    #: The file system lacks what the case is about, and neither POSIX nor ordinary programs need it.
    UNSUPPORTED = "unsupported"


@dataclasses.dataclass(frozen=True)
class CaseReport:
    """One case: outcome, what was wrong or why it was skipped (empty on a pass), seconds, assertions made."""

    id: str
    outcome: Outcome
    message: str
    seconds: float
    assertions: int


@dataclasses.dataclass(frozen=True)
class Difference:
    """A case that the oracle passes and the file system under test does not."""

    id: str
    outcome: Outcome
    message: str

    def __str__(self) -> str:
        return f"{self.id}: {self.outcome}\n" + "\n".join(f"    {line}" for line in self.message.splitlines())


@dataclasses.dataclass(frozen=True)
class Report:
    """A run: where, on what, as whom, how long (seconds), and every case in the order of running."""

    directory: str
    filesystem: str
    kernel: str
    as_root: bool
    seconds: float
    cases: list[CaseReport]

    @property
    def assertions(self) -> int:
        """Of all cases."""
        return sum(case.assertions for case in self.cases)

    @property
    def failed(self) -> list[CaseReport]:
        """The cases that failed."""
        return [case for case in self.cases if case.outcome is Outcome.FAIL]

    def count(self, outcome: Outcome) -> int:
        """How many cases ended so."""
        return sum(case.outcome is outcome for case in self.cases)

    def compare(self, oracle: Report) -> list[Difference]:
        """Cases that pass on the oracle and not here. A case that only one of the reports has is no difference."""
        right = {case.id for case in oracle.cases if case.outcome is Outcome.PASS}
        return [
            Difference(case.id, case.outcome, case.message)
            for case in self.cases
            if case.id in right and case.outcome is not Outcome.PASS
        ]

    def summary(self) -> str:
        """Counts in one line, and a line for each reason why cases did not run."""
        counts = ", ".join(f"{self.count(outcome)} {outcome}" for outcome in Outcome)
        work = f"{self.assertions} assertions, {self.seconds:.1f} s"
        lines = [f"{self.filesystem} at {self.directory}: {len(self.cases)} cases ({counts}), {work}"]
        reasons = collections.Counter(
            f"{case.outcome}: {case.message}"
            for case in self.cases
            if case.outcome in {Outcome.SKIP, Outcome.UNSUPPORTED}
        )
        lines += [f"  {count:5} x {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)

    def to_json(self) -> str:
        """JSON text that :meth:`from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that :meth:`to_json` wrote. Raises ValueError or TypeError for anything else."""
        fields = json.loads(text)
        cases = [CaseReport(**{**case, "outcome": Outcome(case["outcome"])}) for case in fields.pop("cases")]
        return cls(**fields, cases=cases)

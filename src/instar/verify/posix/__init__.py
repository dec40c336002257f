# SPDX-License-Identifier: Apache-2.0
"""A conformance suite for file systems: what POSIX and Linux's man pages promise, asked of a real mount.

The cases are in :mod:`instar.verify.posix.cases`, a module for each subject. They run as root and as other users, by
processes that live for the whole run (:mod:`instar.verify.posix._actor`). What a file system may differ in is decided by
an oracle: :meth:`Report.compare` gives the cases that ext4 passes and the file system under test does not.

    python -m instar.verify.posix /mnt/new --oracle /mnt/ext4

Specification: POSIX.1-2017 (System Interfaces), and the Linux man pages where they say more.
"""

from __future__ import annotations

from instar.verify.posix._case import Case
from instar.verify.posix._report import CaseReport, Difference, Outcome, Report
from instar.verify.posix._run import run, select_cases

__all__ = ["Case", "CaseReport", "Difference", "Outcome", "Report", "run", "select_cases"]

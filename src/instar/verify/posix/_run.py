# SPDX-License-Identifier: Apache-2.0
"""Running cases on a directory."""

from __future__ import annotations

import fnmatch
import os
import pathlib
import shutil
import stat
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from instar.verify.posix._actor import CALL_TIMEOUT, Broken, Crew, Hung, Identity
from instar.verify.posix._arena import USER_A, Arena
from instar.verify.posix._case import Case, Skip, Unsupported, all_cases
from instar.verify.posix._report import CaseReport, Outcome, Report

__all__ = ["run", "select_cases"]

Progress: TypeAlias = Callable[[CaseReport], None]
# It makes and removes directories, because this process must not hang with the mount.
_KEEPER = Identity("keeper", -1, -1)
_REMOVING = 60.0  # seconds
_MESSAGES = 12  # of one case that are reported


def select_cases(select: str | Iterable[str] | None = None, *, short: bool = False) -> list[Case]:
    """The cases whose id matches one of the patterns (``rename/*``; a plain word is a part of the id); all without."""
    patterns = [select] if isinstance(select, str) else list(select or ["*"])
    wanted = [pattern if set(pattern) & set("*?") else f"*{pattern}*" for pattern in patterns]
    # Brackets are part of ids here, not classes of characters.
    wanted = [pattern.replace("[", "[[]") for pattern in wanted]
    return [
        case
        for case in all_cases()
        if (case.short or not short) and any(fnmatch.fnmatchcase(case.id, pattern) for pattern in wanted)
    ]


def run(
    directory: str | os.PathLike[str],
    *,
    select: str | Iterable[str] | None = None,
    short: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Run cases in a new directory below ``directory``, which is removed again.

    Args:
        directory: on the file system under test; writable. As root, other users must be able to reach it.
        select: patterns as for :func:`select_cases`.
        short: only the cases of the short run.
        progress: called with each case's report as soon as it is there.

    Raises:
        OSError: the directory cannot be used.
        Hung: it does not answer.
        ValueError: the pattern matches no case, or root's other users cannot reach the directory.

    >>> report = run("/mnt/new", select="rename/*")  # doctest: +SKIP
    >>> print(report.summary())  # doctest: +SKIP
    """
    cases = select_cases(select, short=short)
    if not cases:
        raise ValueError(f"no case matches {select!r}; --list shows all")
    started = time.monotonic()
    reports: list[CaseReport] = []
    hung = ""
    with Crew() as crew:
        home = str(crew.process(_KEEPER).do(_make_home, os.path.abspath(directory)))
        try:
            filesystem = str(crew.process(_KEEPER).do(_filesystem, home))
            granularity = int(crew.process(_KEEPER).do(_granularity, home))
            if os.geteuid() == 0:
                _check_reachable(crew, home)
            for number, case in enumerate(cases):
                if crew.stuck:
                    hung = hung or reports[-1].id
                    reason = f"not run: the mount hangs since {hung}"
                    report = CaseReport(case.id, Outcome.FAIL, reason, 0.0, 0)
                else:
                    report = _run_case(crew, case, os.path.join(home, str(number)), granularity)
                reports.append(report)
                if progress is not None:
                    progress(report)
        except (OSError, ValueError, Hung):
            _clear(crew, home)
            raise
        # A case whose remains cannot be removed has failed and says so: its report is worth more than an exception.
        left = _clear(crew, home)
        if left is not None and not any(report.outcome is Outcome.FAIL for report in reports):
            raise left
    return Report(
        directory=os.fspath(directory),
        filesystem=filesystem,
        kernel=os.uname().release,
        as_root=os.geteuid() == 0,
        seconds=time.monotonic() - started,
        cases=reports,
    )


def _run_case(crew: Crew, case: Case, path: str, granularity: int) -> CaseReport:
    started = time.monotonic()
    arena = Arena(crew, path, optional=case.optional, granularity=granularity)
    outcome, message = Outcome.PASS, ""
    try:
        _keep(crew, _make_arena, path)
        try:
            case.run(arena)
        finally:
            arena.close()
    except Skip as reason:
        outcome, message = Outcome.SKIP, str(reason)
    except Unsupported as reason:
        outcome, message = Outcome.UNSUPPORTED, str(reason)
    except OSError as error:
        try:
            arena.lacking(error.errno or 0)
            arena.fail(error.strerror or str(error))
        except Unsupported as reason:
            outcome, message = Outcome.UNSUPPORTED, str(reason)
    except (Hung, Broken) as error:
        arena.fail(str(error))
    except (AssertionError, ValueError, LookupError, TypeError):
        arena.fail(traceback.format_exc())  # a mistake in the case; the others go on
    try:
        if not crew.stuck:
            _keep(crew, _remove, path, timeout=_REMOVING)
    except (OSError, Hung) as error:
        arena.fail(f"what the case made cannot be removed: {error}")
    if arena.failures:
        outcome = Outcome.FAIL
        shown = arena.failures[:_MESSAGES]
        if len(arena.failures) > _MESSAGES:
            shown.append(f"and {len(arena.failures) - _MESSAGES} more")
        message = "\n".join(shown)
    return CaseReport(case.id, outcome, message, time.monotonic() - started, arena.assertions)


def _keep(crew: Crew, function: Callable[..., Any], *arguments: Any, timeout: float = CALL_TIMEOUT) -> None:
    """Let the keeper do something; if even that hangs, the mount does, and the run is at its end."""
    try:
        crew.process(_KEEPER).do(function, *arguments, timeout=timeout)
    except Hung:
        crew.stuck = True
        raise


def _clear(crew: Crew, home: str) -> OSError | Hung | None:
    """Remove the run's directory; the error if that does not work."""
    if crew.stuck:
        return None
    try:
        _keep(crew, _remove, home, timeout=_REMOVING)
    except (OSError, Hung) as error:
        return error
    return None


def _make_home(directory: str) -> str:
    home = tempfile.mkdtemp(prefix=".instar-posix-", dir=directory)
    os.chmod(home, 0o755)
    return home


def _make_arena(path: str) -> None:
    os.mkdir(path)
    os.chmod(path, 0o755)


def _remove(path: str) -> None:
    """Remove a tree; directories that its owner may not read are opened up first."""
    if os.geteuid() != 0:
        for parent, names, _ in os.walk(path):
            for name in names:
                child = os.path.join(parent, name)
                if not os.path.islink(child):
                    os.chmod(child, stat.S_IRWXU)
    shutil.rmtree(path)


def _check_reachable(crew: Crew, home: str) -> None:
    try:
        crew.process(USER_A).do(os.listdir, home)
    except PermissionError as error:
        raise ValueError(
            f"other users cannot reach {home} ({error}): make its parents searchable, and mount FUSE with allow_other"
        ) from error


def _granularity(home: str) -> int:
    """The unit of the file system's timestamps in ns: what is left of a time with nine digits."""
    probe = pathlib.Path(home, "granularity")
    probe.touch()
    os.utime(probe, ns=(0, 1_234_567_899_123_456_789))
    kept = probe.stat().st_mtime_ns
    probe.unlink()
    unit = 1
    while unit < 2_000_000_000 and kept % (unit * 10) == 0:
        unit *= 10
    return min(unit, 2_000_000_000)


def _filesystem(directory: str) -> str:
    """The type of the file system, from the mount table: that of the longest mount point above the directory."""
    path = os.path.realpath(directory)
    best = ("", "unknown")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            mountpoint = before.split()[4].encode("latin-1", "surrogateescape").decode("unicode_escape")
            above = mountpoint.rstrip("/")
            if (path == above or path.startswith(above + "/")) and len(above) >= len(best[0]):
                best = (above, after.split()[0])
    return best[1]

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

import instar
import instar.testing
from instar.edge.mount import MountFlags, umount
from instar.edge.mount import mount as edge_mount
from instar.verify.posix import CaseReport, Outcome, Report, _actor, _run, run, select_cases
from instar.verify.posix._case import Case, Skip, Unsupported, grid

# What the fake cases below ask actors to do; functions travel by name, so they stand at the top.


def _sleep_for_ever():
    time.sleep(1000)


def _end_yourself():
    os._exit(3)


def _wrong_type():
    raise TypeError("a mistake")


def _passes(t):
    t.me(os.mkdir, "d", 0o755)
    t.has("d", kind="dir")


def _fails_twice(t):
    t.equal(1, 2, "one")
    t.me.fails(errno.EEXIST, os.mkdir, "d", 0o755)


def _stops(t):
    t.me(os.rmdir, "missing")


def _skips(t):
    raise Skip("no tool")


def _lacks(t):
    raise Unsupported("no such thing")


def _lacks_by_errno(t):
    t.me(_not_supported)


def _not_supported():
    raise OSError(errno.EOPNOTSUPP, "no")


def _hangs(t):
    t.me(_sleep_for_ever)


def _dies(t):
    t.me(_end_yourself)


def _breaks(t):
    t.me(_wrong_type)


def _leaves_a_mess(t):
    t.me(os.makedirs, "a/b/c")
    t.me(os.chmod, "a", 0)
    t.me(os.open, ".", os.O_RDONLY)
    t.me(os.umask, 0o777)


def _is_clean(t):
    t.equal(t.me(os.listdir, "."), [], "content of a new arena")
    t.equal(t.me(os.umask, 0), 0, "umask")


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory() as path:
        above = path
        while above not in {"/", "/tmp"}:  # other users have to get through
            os.chmod(above, 0o755)
            above = os.path.dirname(above)
        yield path


@pytest.fixture
def results(directory, monkeypatch):
    """A function that runs fake cases and gives their reports by name."""

    def go(*functions, optional=""):
        cases = [Case(function.__name__, function, (), optional, short=False) for function in functions]
        monkeypatch.setattr(_run, "select_cases", lambda *_args, **_kwargs: cases)
        report = run(directory)
        assert os.listdir(directory) == []
        return {case.id: case for case in report.cases}

    return go


def test_each_end_of_a_case_has_its_outcome(results):
    outcomes = {
        name: case.outcome
        for name, case in results(_passes, _fails_twice, _stops, _skips, _lacks, _breaks).items()
    }
    assert outcomes == {
        "_passes": Outcome.PASS,
        "_fails_twice": Outcome.FAIL,
        "_stops": Outcome.FAIL,
        "_skips": Outcome.SKIP,
        "_lacks": Outcome.UNSUPPORTED,
        "_breaks": Outcome.FAIL,
    }


def test_wrong_values_are_all_told_and_the_case_goes_on(results):
    report = results(_fails_twice)["_fails_twice"]
    assert "one is 1, should be 2" in report.message
    assert "mkdir('d', 493): success, should be EEXIST" in report.message
    assert report.assertions == 2


def test_a_call_that_should_succeed_tells_its_errno(results):
    assert "rmdir('missing'): ENOENT, should succeed" in results(_stops)["_stops"].message


def test_eopnotsupp_is_a_lack_only_of_an_optional_facility(results):
    assert results(_lacks_by_errno)["_lacks_by_errno"].outcome is Outcome.FAIL
    report = results(_lacks_by_errno, optional="telepathy")["_lacks_by_errno"]
    assert (report.outcome, report.message) == (Outcome.UNSUPPORTED, "telepathy (EOPNOTSUPP)")


def test_a_hanging_call_fails_its_case_and_the_next_one_runs(results, monkeypatch):
    monkeypatch.setattr(_actor, "CALL_TIMEOUT", 0.2)
    monkeypatch.setattr(_actor.Process.answer, "__defaults__", (0.2,))
    reports = results(_hangs, _passes)
    assert "did not return within" in reports["_hangs"].message
    assert reports["_passes"].outcome is Outcome.PASS


def test_an_actor_that_dies_fails_its_case_and_the_next_one_runs(results):
    reports = results(_dies, _passes)
    assert "died" in reports["_dies"].message
    assert reports["_passes"].outcome is Outcome.PASS


def test_a_case_leaves_nothing_to_the_next(results):
    assert {case.outcome for case in results(_leaves_a_mess, _is_clean).values()} == {Outcome.PASS}


def _leaves_a_mount_point(t):
    t.me(os.mkdir, "m")
    t.me(_mount_here, "m")


def _mount_here(path):
    edge_mount("none", path, "tmpfs", MountFlags.NONE, "")


@pytest.mark.root
def test_a_case_whose_remains_stay_fails_and_its_report_is_kept(directory, monkeypatch):
    cases = [
        Case("stays", _leaves_a_mount_point, (), "", short=False),
        Case("passes", _passes, (), "", short=False),
    ]
    monkeypatch.setattr(_run, "select_cases", lambda *_args, **_kwargs: cases)
    try:
        report = run(directory)
    finally:
        for home in os.listdir(directory):
            umount(f"{directory}/{home}/0/m")
            shutil.rmtree(f"{directory}/{home}")
    assert [case.outcome for case in report.cases] == [Outcome.FAIL, Outcome.PASS]
    assert "cannot be removed" in report.cases[0].message


def test_processes_end_with_the_run(results):
    results(_passes)
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True
    ).stdout
    assert "_zygote" not in children


@pytest.mark.root
@pytest.mark.timeout(60)
def test_a_mount_that_stops_answering_ends_the_run_and_says_since_when(monkeypatch):
    monkeypatch.setitem(_actor.Process.do.__kwdefaults__, "timeout", 1.0)
    monkeypatch.setitem(_run._keep.__kwdefaults__, "timeout", 1.0)
    monkeypatch.setattr(_run, "_REMOVING", 1.0)
    before = _children()
    with instar.testing.mounted(
        "memfs", options="allow_other,default_permissions", allow_errors=True
    ) as path:
        (server,) = _children() - before
        done = []

        def stop_the_server_soon(report):
            done.append(report)
            if len(done) == 5:
                os.kill(server, signal.SIGSTOP)

        try:
            report = run(path, select="mkdir/*", progress=stop_the_server_soon)
        finally:
            os.kill(server, signal.SIGCONT)
    assert report.count(Outcome.PASS) == 5
    assert "did not return within" in report.cases[5].message
    assert {case.message for case in report.cases[6:]} == {
        f"not run: the mount hangs since {report.cases[5].id}"
    }


def _children():
    with open(f"/proc/self/task/{os.getpid()}/children") as listed:
        return {int(word) for word in listed.read().split()}


def test_ids_are_unique_and_name_their_module():
    ids = [case.id for case in select_cases()]
    assert len(ids) == len(set(ids))
    assert all("/" in name and not name.partition("/")[2].startswith("_") for name in ids)


def test_the_short_run_is_a_part_of_every_module_that_has_one():
    short, every = select_cases(short=True), select_cases()
    assert 25 <= len(short) < len(every) / 20
    assert len({case.id.partition("/")[0] for case in short}) >= 20


@pytest.mark.parametrize(
    ("pattern", "good"),
    [
        ("rename/*", "rename/moves_the_name[file-down]"),
        ("moves_the_name[file-down]", "rename/moves_the_name[file-down]"),
    ],
)
def test_patterns_select_by_glob_or_by_part(pattern, good):
    ids = {case.id for case in select_cases(pattern)}
    assert good in ids
    assert "mkdir/makes_an_empty_directory" not in ids


def test_grid_combines_labels_and_arguments():
    assert grid({"a": 1, "b": (2, 3)}, {"x": 4}) == {"a-x": (1, 4), "b-x": (2, 3, 4)}


def _report(*outcomes):
    cases = [CaseReport(f"m/c{number}", outcome, "why", 0.5, 3) for number, outcome in enumerate(outcomes)]
    return Report("/d", "ext4", "6.18", True, 1.5, cases)


def test_a_report_survives_json():
    report = _report(Outcome.PASS, Outcome.FAIL, Outcome.SKIP, Outcome.UNSUPPORTED)
    assert Report.from_json(report.to_json()) == report


def test_only_what_the_oracle_passes_is_a_difference():
    oracle = _report(Outcome.PASS, Outcome.PASS, Outcome.PASS, Outcome.FAIL, Outcome.PASS)
    mine = _report(Outcome.PASS, Outcome.FAIL, Outcome.UNSUPPORTED, Outcome.FAIL)
    assert [one.id for one in mine.compare(oracle)] == ["m/c1", "m/c2"]


def _command(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "instar.verify.posix", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        **more,
    )


def test_the_command_reports_in_json_and_by_its_status(directory, tmp_path):
    done = _command(
        directory, "--select", "mkdir/*", "--json", str(tmp_path / "report.json"), "--oracle", directory
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 cases pass on" in done.stdout
    report = Report.from_json((tmp_path / "report.json").read_text())
    assert report.count(Outcome.PASS) == len(report.cases) > 50
    assert json.loads(report.to_json())["kernel"] == os.uname().release


def test_the_command_lists_without_running():
    done = _command("--list", "--short")
    assert done.returncode == 0
    assert "mkdir/makes_an_empty_directory" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["/no/such/place"], "cannot be tested"),
        (["--select", "no-such-case", "/tmp"], "--list shows all"),
        ([], "DIR is missing"),
    ],
)
def test_the_command_explains_wrong_arguments(arguments, text):
    done = _command(*arguments)
    assert done.returncode == 2
    assert text in done.stderr


def _interpreter_for_others():
    """A Python that another user may run (the one that runs the tests may live in root's home)."""
    for path in (sys.executable, "/usr/bin/python3"):
        probe = "import sys; sys.exit(sys.version_info < (3, 11))"
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    [path, "-c", probe], user=30001, group=30001, extra_groups=[], cwd="/"
                ).returncode
                == 0
            ):
                return path
    return None


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_another_user_runs_what_one_user_can_and_says_what_is_skipped(directory):
    python = _interpreter_for_others()
    if python is None:
        pytest.skip("no Python that another user may run")
    os.chown(directory, 30001, 30001)
    source = os.path.dirname(os.path.dirname(instar.__file__))
    done = subprocess.run(
        [python, "-m", "instar.verify.posix", directory],
        user=30001,
        group=30001,
        extra_groups=[],
        cwd="/",
        env={"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "not root" in done.stdout
    assert "needs root to act as root and as other users" in done.stdout

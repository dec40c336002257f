# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: a temporary directory of the run's own, nothing left behind, no endless wait.

A test that leaves a mount, a process, a descriptor or a network namespace fails, and the message names it. A test that
needs root says so with the ``root`` marker. Property tests always draw the same examples; ``--hypothesis-profile=random``
draws new ones.
"""

from __future__ import annotations

import contextlib
import os
import signal
import uuid

import hypothesis
import pytest

from tests.support import leaks
from tests.support.run import RunDirectory, unmount_below
from tests.support.watchdog import Watchdog

_RUN = pytest.StashKey[RunDirectory]()
_WATCHDOG = pytest.StashKey[Watchdog]()
_MARGIN = 15  # seconds before the test's timeout at which its mounts are aborted
_QUIET = list(hypothesis.HealthCheck)  # slow examples are what real mounts give

hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=_QUIET)
hypothesis.settings.register_profile("random", deadline=None, suppress_health_check=_QUIET, print_blob=True)


def pytest_configure(config):
    if not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("steady")
    os.environ[leaks.MARK] = uuid.uuid4().hex
    config.stash[_RUN] = RunDirectory()
    config.stash[_WATCHDOG] = Watchdog(config.stash[_RUN].path)


def pytest_unconfigure(config):
    if _WATCHDOG in config.stash:
        config.stash[_WATCHDOG].close()
        config.stash[_RUN].close()
        os.environ.pop(leaks.MARK, None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") is not None and os.geteuid() != 0:
        pytest.skip("needs root")


def _timeout(item):
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs["timeout"])
    return float(item.config.getoption("--timeout", None) or item.config.getini("timeout") or 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    watchdog = item.config.stash[_WATCHDOG]
    seconds = _timeout(item)
    if seconds:
        watchdog.arm(max(seconds / 2, seconds - _MARGIN), item.nodeid)
    try:
        return (yield)
    finally:
        watchdog.disarm()


def _clear(before, tmp, mark):
    """Take away what was left, so that one leak is not reported again by every test that follows."""
    now = leaks.holdings(tmp, mark)
    for key in now.processes.keys() - before.processes.keys():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(key), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(key), 0)
    if now.mounts.keys() - before.mounts.keys():
        unmount_below(tmp)


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """Fail the test that leaves something, naming it."""
    tmp, mark = str(request.config.stash[_RUN].path), os.environ[leaks.MARK]
    before = leaks.holdings(tmp, mark)
    yield
    lines = leaks.left_behind(before, tmp, mark)
    if lines:
        _clear(before, tmp, mark)
        pytest.fail("the test left behind:\n  " + "\n  ".join(lines), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def nothing_left_by_the_run(request):
    """Fail the run whose wider fixtures leave something, naming it."""
    tmp, mark = str(request.config.stash[_RUN].path), os.environ[leaks.MARK]
    before = leaks.holdings(tmp, mark)
    yield
    lines = leaks.left_behind(before, tmp, mark)
    if lines:
        _clear(before, tmp, mark)
        pytest.fail("the run left behind:\n  " + "\n  ".join(lines), pytrace=False)

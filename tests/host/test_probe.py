# SPDX-License-Identifier: Apache-2.0
"""The process that asks a mount."""

from __future__ import annotations

import os
import select
import signal

import pytest

from instar.host import _probe

pytestmark = pytest.mark.timeout(60)


def test_a_caller_that_ignores_sigchld_gets_its_answer_when_nobody_waits_for_the_process(
    monkeypatch, tmp_path
):
    """The kernel reaps it then, and its number may be that of another process."""
    spawn, read = os.posix_spawn, _probe._read_until_end
    watched = []

    def spawned(*args, **kwargs):
        child = spawn(*args, **kwargs)
        watched.append(os.pidfd_open(child))
        return child

    def read_until_it_has_ended(reader, deadline):
        text = read(reader, deadline)
        assert select.select(watched, [], [], 10)[0]
        return text

    monkeypatch.setattr(os, "posix_spawn", spawned)
    monkeypatch.setattr(_probe, "_read_until_end", read_until_it_has_ended)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert _probe.asked([str(tmp_path)], 30) == {str(tmp_path): (0, "")}
    finally:
        signal.signal(signal.SIGCHLD, before)
        for fd in watched:
            os.close(fd)

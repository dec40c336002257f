# SPDX-License-Identifier: Apache-2.0
"""The process that asks a mount."""

from __future__ import annotations

import os
import select
import signal
from collections import deque

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


def test_a_process_that_was_left_behind_is_waited_for_by_the_next_call(monkeypatch, tmp_path):
    """One that hangs in the kernel outlives its SIGKILL, and would be a zombie for the life of the caller."""
    spawn, fifo = os.posix_spawn, str(tmp_path / "fifo")
    os.mkfifo(fifo)
    children = []

    def spawned(*args, **kwargs):
        children.append(spawn(*args, **kwargs))
        return children[-1]

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawn", spawned)
        patch.setattr(_probe, "_ASK", "import sys; open(sys.argv[1]).read()")
        patch.setattr(signal, "pidfd_send_signal", lambda pidfd, number: None)
        assert _probe.asked([fifo], 0.0) == {}
    (child,) = children
    held = os.listdir("/proc/self/fd")
    watched = os.pidfd_open(child)
    try:
        with open(fifo, "w"):  # the mount answers
            pass
        assert select.select([watched], [], [], 20)[0]
    finally:
        os.close(watched)
    assert _probe.asked([]) == {}
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)
    assert len(os.listdir("/proc/self/fd")) == len(held) - 1


def test_the_child_of_a_fork_does_not_wait_for_its_parents_processes(monkeypatch):
    child = os.posix_spawn("/bin/true", ["true"], {})
    pidfd = os.pidfd_open(child)
    monkeypatch.setattr(_probe, "_LEFT", deque([pidfd]))
    forked = os.fork()
    if forked == 0:
        try:
            os.fstat(pidfd)
        except OSError:
            os._exit(7 if not _probe._LEFT else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 7
    assert select.select([pidfd], [], [], 20)[0]
    _probe.asked([])
    assert not _probe._LEFT
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)

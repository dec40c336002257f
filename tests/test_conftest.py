# SPDX-License-Identifier: Apache-2.0
"""The guards of the test run notice what they are there for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

import pytest

from instar.fs import Attr, FileSystem
from instar.testing import ServerFailedError, mounted
from tests.support import leaks
from tests.support.servers import server_of
from tests.support.tools import need, run
from tests.support.watchdog import Watchdog


@pytest.fixture
def guard():
    """A function that gives the lines about what was left since the fixture was made."""
    tmp, mark = tempfile.gettempdir(), os.environ[leaks.MARK]
    before = leaks.holdings(tmp, mark)
    return lambda: leaks.left_behind(before, tmp, mark, grace=0.05)


def test_a_quiet_test_leaves_nothing(guard):
    assert guard() == []


def test_an_open_file_and_a_memfd_are_named(guard):
    file, memory = os.open("/etc/passwd", os.O_RDONLY), os.memfd_create("forgotten")
    try:
        lines = guard()
    finally:
        os.close(file)
        os.close(memory)
    assert len(lines) == 2
    assert any("/etc/passwd" in line for line in lines)
    assert any("memfd:forgotten" in line for line in lines)


def test_a_child_that_runs_and_one_that_was_not_waited_for_are_named(guard):
    running = subprocess.Popen(["sleep", "60"])
    finished = os.posix_spawn("/bin/true", ["true"], os.environ)
    os.waitid(os.P_PID, finished, os.WEXITED | os.WNOWAIT)
    try:
        lines = guard()
    finally:
        running.kill()
        running.wait()
        os.waitpid(finished, 0)
    assert len(lines) == 2
    assert any(f"process {running.pid} (sleep 60), running" in line for line in lines)
    assert any(f"process {finished}" in line and "not waited for" in line for line in lines)


def test_a_daemon_that_left_the_family_is_named(guard):
    code = "import os; os.fork() and os._exit(0); os.setsid(); os.execlp('sleep', 'sleep', '60')"
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        subprocess.run([sys.executable, "-c", code], check=True, pass_fds=[writer])
        lines = guard()
    finally:
        os.close(reader)
        os.close(writer)
    named = [line for line in lines if "as a daemon" in line]
    assert len(named) == 1, lines
    os.kill(int(named[0].split()[1]), 9)


@pytest.mark.root
def test_a_mount_is_named(guard, tmp_path):
    need("mount")
    run("mount", "-t", "tmpfs", "tmpfs", tmp_path)
    try:
        lines = guard()
    finally:
        run("umount", tmp_path)
    assert len(lines) == 1
    assert f"tmpfs at {tmp_path}" in lines[0]


def test_a_changed_directory_and_umask_are_named(guard, tmp_path):
    here, umask = os.getcwd(), os.umask(0o123)
    try:
        os.chdir(tmp_path)
        lines = guard()
    finally:
        os.chdir(here)
        os.umask(umask)
    assert len(lines) == 2
    assert any(line.startswith("umask is 0123") for line in lines)
    assert any(line.startswith("cwd is") for line in lines)


class Stuck(FileSystem):
    """A file system whose server never comes back from one lookup."""

    def getattr(self, ctx, ino, fh=None):
        return Attr(ino=ino, mode=0o040755, nlink=2)

    def lookup(self, ctx, parent, name):
        signal.pause()


@pytest.mark.root
def test_the_watchdog_frees_a_caller_of_a_server_that_is_stuck():
    with pytest.raises(ServerFailedError), mounted(Stuck) as top:
        server = server_of(top)
        caller = subprocess.Popen(["stat", top / "name"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        dog = Watchdog(top)
        try:
            dog.arm(0.1, "a test")
            _, words = caller.communicate(timeout=30)
        finally:
            dog.close()
            caller.kill()
            caller.wait()
            os.kill(server, signal.SIGKILL)
    assert b"connection abort" in words or b"not connected" in words


def test_the_watchdog_lets_a_test_be_that_ends_in_time(tmp_path, capfd):
    dog = Watchdog(tmp_path)
    dog.arm(0.01, "quick")
    dog.disarm()
    dog.close()
    assert capfd.readouterr().err == ""


def test_a_missing_tool_fails_with_its_package():
    with pytest.raises(
        (pytest.fail.Exception, pytest.skip.Exception), match="apt-get install no-such-program"
    ):
        need("no-such-program")

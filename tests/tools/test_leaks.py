# SPDX-License-Identifier: Apache-2.0
"""The leak watch names what a command leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def leaks(*command):
    environment = {**os.environ, "INSTAR_LEAKS_GRACE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "tools.leaks", *command], capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_command_that_leaves_nothing_keeps_its_exit_code(code):
    done = leaks("sh", "-c", f"exit {code}")
    assert (done.returncode, done.stderr) == (code, "")


def test_a_process_that_outlives_the_command_is_named_and_ended():
    done = leaks("sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
    assert done.returncode == 3
    assert f"left behind: process {int(done.stdout)}: sleep 300" in done.stderr


def test_what_is_left_is_gone_when_the_watch_ends(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    done = leaks("sh", "-c", f"setsid sleep 300 > {fifo} 2>/dev/null &")
    assert done.returncode == 3
    assert os.read(reader, 1) == b"", "somebody still has the other end"
    os.close(reader)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="a process namespace needs root")
def test_what_is_left_is_gone_when_the_watch_is_killed(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    command = [sys.executable, "-m", "tools.leaks", "sh", "-c", f"setsid sleep 300 > {fifo} & echo on; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.read(3) == b"on\n"
        os.killpg(process.pid, signal.SIGKILL)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_command_that_a_signal_ends_gives_the_shells_exit_code():
    assert leaks("sh", "-c", "kill -9 $$").returncode == 137


def test_a_process_that_ends_soon_after_the_command_is_forgiven():
    done = leaks("sh", "-c", "sleep 0.3 >/dev/null 2>&1 &")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.root
@pytest.mark.mount
@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse here")
def test_a_fuse_mount_that_outlives_the_command_is_named_and_unmounted(tmp_path):
    bindfs = shutil.which("bindfs")
    if bindfs is None:
        pytest.skip("bindfs is not installed")
    where = tmp_path / "mount point"
    where.mkdir()
    done = leaks(bindfs, str(tmp_path), str(where))
    assert done.returncode == 3
    assert f"left behind: mount {where}" in done.stderr
    assert str(where) not in Path("/proc/self/mountinfo").read_text()


def test_without_a_command_it_says_how_it_is_used():
    done = leaks()
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")

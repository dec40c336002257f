# SPDX-License-Identifier: Apache-2.0
"""The exerciser of one file finds what is wrong with it, and finds nothing on MemFS, MirrorFS and the host's file system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from instar.edge.mmap_file import PAGE_SIZE
from instar.verify.fsx import Fsx, FsxFailure
from tests.support.subjects import SUBJECTS, subject


@pytest.mark.root
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SUBJECTS)
def test_twenty_thousand_operations_leave_the_file_right(name):
    with subject(name) as top, Fsx(top / "file", seed=4) as fsx:
        counts = fsx.run(20_000)
        assert not fsx.missing
    assert all(counts[kind] for kind in ("mapread", "mapwrite", "punch", "zero", "copy", "append", "reopen"))


_SYNC = "import os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\nwhile True: os.fsync(fd)"


@pytest.mark.root
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SUBJECTS)
def test_write_back_at_any_moment_leaves_the_file_right(name):
    """Another process has mapped pages written back all the time: nothing may come back that was cut off."""
    with subject(name) as top, Fsx(top / "file", seed=6) as fsx:
        other = subprocess.Popen([sys.executable, "-c", _SYNC, top / "file"])
        try:
            fsx.run(6000)
        finally:
            other.kill()
            other.wait()


@pytest.mark.root
@pytest.mark.parametrize("name", SUBJECTS)
def test_direct_io_leaves_the_file_right(name):
    with subject(name) as top, Fsx(top / "file", seed=5, direct=True) as fsx:
        fsx.run(4000)


def test_the_file_system_that_tests_run_on_is_right(tmp_path):
    with Fsx(tmp_path / "file", seed=1) as fsx:
        fsx.run(3000)


def _forget_a_page(fsx):
    """Lose the second page of the file behind the exerciser's back."""
    if len(fsx.shadow) > 2 * PAGE_SIZE:
        os.pwrite(fsx._fd, bytes(PAGE_SIZE), PAGE_SIZE)


def _shorten(fsx):
    size = os.fstat(fsx._fd).st_size
    if size > 5000:
        os.ftruncate(fsx._fd, size - 1)


@pytest.mark.parametrize(
    ("damage", "words"), [(_forget_a_page, "bytes are wrong"), (_shorten, "the size is")]
)
def test_damage_is_found_and_the_operations_there_are_listed(damage, words, tmp_path):
    with Fsx(tmp_path / "file", seed=2) as fsx:
        fsx.run(500)
        with pytest.raises(FsxFailure, match=words) as raised:
            for _ in range(200):
                damage(fsx)
                fsx.run(5)
    assert "what wrote there:" in str(raised.value)


def test_one_seed_gives_the_same_operations(tmp_path):
    steps = []
    for name in ("a", "b"):
        with Fsx(tmp_path / name, seed=9) as fsx:
            fsx.run(300)
            steps.append(list(fsx.steps))
    assert steps[0] == steps[1]


def test_the_command_ends_with_0_and_removes_the_file(tmp_path):
    command = [sys.executable, "-m", "instar.verify.fsx", tmp_path / "file", "--ops", "1500", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1500 operations" in done.stderr
    assert not (tmp_path / "file").exists()

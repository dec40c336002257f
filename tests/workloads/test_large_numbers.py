# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand open files, a million inodes, a file of a billion bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from instar.fs import ROOT_INO, Context
from instar.fs.memfs import MemFS
from instar.testing import mounted
from tests.support.servers import resident, server_of
from tests.support.subjects import SUBJECTS, subject

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

_OPEN, _HOLDERS = 100_000, 8
_DIRECTORIES, _EACH = 1000, 1000


# Opens its share of the files, says so, waits for its input to end, and looks whether each is still what it was.
_HOLDER = """
import os, resource, sys
top, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
directory = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
fds = [os.open(f"f{n}", os.O_RDWR | os.O_CREAT, dir_fd=directory) for n in range(first, first + count)]
for n in range(0, count, 50):
    os.write(fds[n], f"content {first + n}".encode())
    if n % 100 == 0:
        os.unlink(f"f{first + n}", dir_fd=directory)
print("open", flush=True)
sys.stdin.read()
for n in range(0, count, 50):
    assert os.pread(fds[n], 100, 0) == f"content {first + n}".encode(), n
    assert os.fstat(fds[n]).st_nlink == (0 if n % 100 == 0 else 1), n
    os.write(fds[n], b" more")
    assert os.fstat(fds[n]).st_size == len(f"content {first + n} more"), n
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_hundred_thousand_files_are_open_at_once(name):
    share = _OPEN // _HOLDERS
    with subject(name) as top:
        holders = [
            subprocess.Popen(
                [sys.executable, "-c", _HOLDER, top, str(number * share), str(share)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for number in range(_HOLDERS)
        ]
        try:
            for holder in holders:
                assert holder.stdout.readline() == b"open\n", holder.communicate()[1].decode()
            (top / "another").write_text("one more")
            for holder in holders:
                _, errors = holder.communicate(timeout=100)
                assert holder.returncode == 0, errors.decode()
        finally:
            for holder in holders:
                holder.kill()
                holder.communicate()
        assert len(os.listdir(top)) == _OPEN - _OPEN // 100 + 1


def _populated():
    """A MemFS with a million files in a thousand directories, made in the server without a mount."""
    fs, ctx = MemFS(inodes=2_000_000), Context()
    for directory in range(_DIRECTORIES):
        parent = fs.mkdir(ctx, ROOT_INO, f"d{directory}", 0o755).ino
        for number in range(_EACH):
            entry = fs.mknod(ctx, parent, f"f{number}", 0o100644, 0)
            fs.forget(entry.ino)
        fs.forget(parent)
    return fs


@pytest.mark.slow
def test_a_million_inodes_are_listed_looked_up_and_removed():
    with mounted(_populated) as top:
        server = server_of(top)
        assert resident(server) < 1.5 * 1024 * _DIRECTORIES * _EACH
        assert os.statvfs(top).f_files - os.statvfs(top).f_ffree >= _DIRECTORIES * _EACH
        seen = sum(len(os.listdir(top / f"d{directory}")) for directory in range(_DIRECTORIES))
        assert seen == _DIRECTORIES * _EACH
        inodes = {
            os.lstat(top / f"d{number}" / f"f{number % _EACH}").st_ino for number in range(_DIRECTORIES)
        }
        assert len(inodes) == _DIRECTORIES
        (top / "d500" / "new").write_text("one more")
        for number in range(_EACH):
            os.unlink(top / "d0" / f"f{number}")
        os.rmdir(top / "d0")
        assert len(os.listdir(top)) == _DIRECTORIES - 1


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_billion_bytes_with_holes_cost_nothing(name):
    size = 10**9
    with subject(name) as top:
        server = server_of(top)
        path = top / "sparse"
        with open(path, "wb+", buffering=0) as file:
            before = resident(server)
            file.truncate(size)
            for offset in (0, 123_456_789, size - 4):
                os.pwrite(file.fileno(), b"data", offset)
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
            assert status.st_size == size
            assert status.st_blocks * 512 <= 1 << 20
            assert os.pread(file.fileno(), 8, 123_456_787) == b"\0\0data\0\0"
            assert os.pread(file.fileno(), 1 << 20, 500_000_000) == bytes(1 << 20)
            data = os.lseek(file.fileno(), 1 << 20, os.SEEK_DATA)
            assert (1 << 20) < data <= 123_456_789
            hole = os.lseek(file.fileno(), data, os.SEEK_HOLE)
            assert 123_456_793 <= hole < 124_500_000
            assert resident(server) - before < 32 << 20
            file.truncate(0)
            assert os.fstat(file.fileno()).st_blocks == 0


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_file_far_past_four_gibibytes_keeps_its_offsets(name):
    with subject(name) as top, open(top / "far", "wb+", buffering=0) as file:
        for power in (31, 32, 33, 40):
            os.pwrite(file.fileno(), b"%d" % power, 1 << power)
        assert os.fstat(file.fileno()).st_size == (1 << 40) + 2
        for power in (31, 32, 33, 40):
            assert os.pread(file.fileno(), 2, 1 << power) == b"%d" % power
            assert os.lseek(file.fileno(), (1 << power) - (1 << 20), os.SEEK_DATA) <= 1 << power


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_path_of_four_thousand_bytes_and_a_thousand_hard_links_work(name):
    with subject(name) as top:
        here = os.getcwd()
        os.chdir(top)
        try:
            for number in range(40):
                os.mkdir(f"{number:099}")
                os.chdir(f"{number:099}")
            with open("file", "w") as file:
                file.write("deep")
            for number in range(1000):
                os.link("file", f"link{number}")
            assert os.stat("file").st_nlink == 1001
            assert len(os.listdir(".")) == 1001
        finally:
            os.chdir(here)
        deep = "/".join(f"{number:099}" for number in range(39))
        assert os.path.isdir(top / deep)

# SPDX-License-Identifier: Apache-2.0
"""A file system that is full says ENOSPC, keeps what it has, and goes on when there is room again."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import time

import pytest

from instar.fs.mirror import MirrorFS
from instar.testing import mounted
from instar.verify.fsx import Fsx
from tests.support.ext4 import ext4_image
from tests.support.subjects import subject
from tests.support.tools import need, run

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


@contextlib.contextmanager
def _small(name):
    """A mount with room for about sixteen mebibytes."""
    if name == "memfs":
        with subject("memfs", size="16M") as top:
            yield top
    else:
        with ext4_image(24) as below, mounted(f"mirror:{below}") as top:
            yield top


def _fill(path, block=b"x" * 65536):
    """Write until nothing fits; the number of bytes that were taken."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    written = 0
    try:
        with pytest.raises(OSError) as raised:
            while True:
                written += os.write(fd, block)
    finally:
        os.close(fd)
    assert raised.value.errno == errno.ENOSPC
    return written


def _wait_for_space(top, wanted):
    """Wait until so many bytes are free: the kernel tells a server that a file is gone after unlink(2) has returned."""
    deadline = time.monotonic() + 20
    while os.statvfs(top).f_bavail * os.statvfs(top).f_frsize < wanted:
        assert time.monotonic() < deadline, f"{wanted} bytes did not come back"
        time.sleep(0.001)


@pytest.mark.parametrize("name", ["memfs", "mirror"])
def test_a_full_file_system_says_so_and_recovers(name):
    with _small(name) as top:
        (top / "precious").write_bytes(b"keep me" * 1000)
        free = os.statvfs(top).f_bavail * os.statvfs(top).f_frsize
        written = _fill(top / "fill")
        assert written > 0.8 * free
        assert os.stat(top / "fill").st_size >= written
        assert (top / "precious").read_bytes() == b"keep me" * 1000
        assert os.statvfs(top).f_bavail * os.statvfs(top).f_frsize < 1 << 20

        os.rename(top / "precious", top / "renamed")
        os.chmod(top / "renamed", 0o600)
        os.unlink(top / "fill")
        _wait_for_space(top, 0.8 * free)
        assert _fill(top / "again") > 0.8 * free
        os.unlink(top / "again")
        assert (top / "renamed").read_bytes() == b"keep me" * 1000


@pytest.mark.parametrize("name", ["memfs", "mirror"])
def test_space_comes_back_only_when_the_last_user_of_a_removed_file_closes_it(name):
    with _small(name) as top:
        _fill(top / "held")
        with open(top / "held", "rb") as held:
            os.unlink(top / "held")
            with pytest.raises(OSError) as raised, open(top / "other", "wb", buffering=0) as other:
                other.writelines([b"y" * 65536] * 64)
            assert raised.value.errno == errno.ENOSPC
            assert held.read(4) == b"xxxx"
            assert os.statvfs(top).f_bavail * os.statvfs(top).f_frsize < 4 << 20
        _wait_for_space(top, 4 << 20)
        assert _fill(top / "other") > 4 << 20


@pytest.mark.parametrize("name", ["memfs", "mirror"])
def test_fallocate_beyond_the_space_fails_and_a_hole_gives_space_back(name):
    with _small(name) as top:
        fd = os.open(top / "file", os.O_RDWR | os.O_CREAT)
        try:
            with pytest.raises(OSError) as raised:
                os.posix_fallocate(fd, 0, 1 << 30)
            assert raised.value.errno == errno.ENOSPC
            os.ftruncate(fd, 0)
            os.posix_fallocate(fd, 0, 8 << 20)
            used = os.statvfs(top).f_bfree
            need("fallocate")
            run("fallocate", "--punch-hole", "--offset", "0", "--length", str(8 << 20), top / "file")
            assert os.statvfs(top).f_bfree > used
            assert os.fstat(fd).st_size == 8 << 20
        finally:
            os.close(fd)


def test_the_limit_of_inodes_holds():
    with subject("memfs", inodes=100) as top:
        with pytest.raises(OSError) as raised:
            for number in range(200):
                os.mkdir(top / f"d{number}")
        assert raised.value.errno == errno.ENOSPC
        os.rmdir(top / "d0")
        os.mkdir(top / "another")


def test_a_stressed_small_file_system_stays_right():
    with subject("memfs", size="2M") as top, Fsx(top / "file", seed=11, max_size=1 << 18) as fsx:
        for _ in range(20):
            fsx.run(100)
            _fill(top / "fill", b"z" * 4096)
            os.unlink(top / "fill")
            _wait_for_space(top, 1 << 20)


def test_a_service_with_few_descriptors_serves_more_open_files_or_says_emfile(tmp_path):
    def few_descriptors():
        fs = MirrorFS(str(tmp_path))
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        return fs

    with mounted(few_descriptors) as top, contextlib.ExitStack() as opened:
        files = []
        try:
            while len(files) < 1000:
                files += [opened.enter_context(open(top / f"file{len(files)}", "wb+", buffering=0))]
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        assert len(files) > 50
        for number, file in enumerate(files):
            file.write(b"%d" % number)
        for number, file in enumerate(files):
            assert os.pread(file.fileno(), 10, 0) == b"%d" % number
        opened.close()
        (top / "after").write_text("again")
        assert (tmp_path / "after").read_text() == "again"

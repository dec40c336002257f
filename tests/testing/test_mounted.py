# SPDX-License-Identifier: Apache-2.0
"""`mounted` takes away its own mount and no other, whatever happened to it in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import pytest

from instar.edge import mount as edge
from instar.fs import FileSystem
from instar.fs.memfs import MemFS
from instar.host._mounts import mounts_at
from instar.testing import ServerFailedError, _mounted, mounted
from tests.support.servers import server_of

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


class Hanging(FileSystem):
    """Mounts and never gets ready."""

    def init(self):
        time.sleep(3600)


class Quarrelsome(FileSystem):
    def getattr(self, ctx, ino, fh=None):
        raise RuntimeError("unexpected")


@pytest.fixture
def point(tmp_path):
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while mounts_at(path):
        edge.umount(str(path), edge.UmountFlags.DETACH)


def test_a_mount_that_was_there_before_is_there_after(point):
    edge.mount("before", str(point), "tmpfs", edge.MountFlags.NONE, "")
    with mounted("memfs", mountpoint=point) as path:
        (path / "file").write_text("x")
        assert [line.fstype for line in mounts_at(point)] == ["tmpfs", "fuse.instar.memfs"]
    assert [line.source for line in mounts_at(point)] == ["before"]


def test_a_mount_that_the_test_took_away_does_not_cost_the_one_below(point):
    edge.mount("before", str(point), "tmpfs", edge.MountFlags.NONE, "")
    with mounted("memfs", mountpoint=point):
        edge.umount(str(point))
    assert [line.source for line in mounts_at(point)] == ["before"]


def test_what_the_test_left_on_top_goes_with_the_mount(point):
    with mounted("memfs", mountpoint=point):
        edge.mount("above", str(point), "tmpfs", edge.MountFlags.NONE, "")
    assert mounts_at(point) == []


def test_two_mounts_on_one_point_end_in_turn(point):
    with mounted("memfs", mountpoint=point) as outer:
        (outer / "outer").touch()
        with mounted("memfs", mountpoint=point) as inner:
            assert os.listdir(inner) == []
        assert os.listdir(outer) == ["outer"]


def test_a_server_that_does_not_get_ready_is_reported_and_leaves_nothing(monkeypatch):
    monkeypatch.setattr(_mounted, "_START_SECONDS", 0.5)
    with pytest.raises(ServerFailedError, match="did not start"), mounted(Hanging):
        pass


def test_a_server_that_was_killed_is_reported_and_leaves_nothing():
    with pytest.raises(ServerFailedError, match="status -9"), mounted(MemFS) as path:
        os.kill(server_of(path), signal.SIGKILL)


def test_a_file_system_that_cannot_be_made_is_reported_with_its_words():
    with pytest.raises(ServerFailedError, match="no option 'nothing'"), mounted("memfs", options="nothing=1"):
        pass


def test_an_error_in_the_log_fails_the_test_unless_it_is_allowed():
    def provoke(path):
        with pytest.raises(OSError, match="Input/output"):
            os.stat(path)

    with pytest.raises(ServerFailedError, match="unexpected"), mounted(Quarrelsome) as path:
        provoke(path)
    with mounted(Quarrelsome, allow_errors=True) as path:
        provoke(path)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (Debian package util-linux)")
def test_a_mount_that_lives_on_in_a_namespace_of_another_process_ends_here(tmp_path):
    class Last(MemFS):
        def destroy(self):
            (tmp_path / "destroyed").touch()

    with mounted(Last):
        command = ["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 50"]
        other = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert other.stdout.readline() == b"ready\n"
    try:
        assert other.poll() is None
        assert (tmp_path / "destroyed").exists()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()

# SPDX-License-Identifier: Apache-2.0
"""`instar umount`: busy mounts, dead servers, what is not Instar's, several mount points."""

from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest

from instar.edge import mount as edge
from instar.host import find_mount
from instar.host._mounts import mounts_at
from tests.cli.commands import instar, refused

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


def test_a_mount_in_use_is_refused_and_lazy_detaches_it(point):
    instar("mount", "memfs", point)
    held = subprocess.Popen(["cat"], cwd=point, stdin=subprocess.PIPE)
    try:
        said = refused(1, "umount", point)
        assert f"{point} is in use: close what is open there (`fuser -vm {point}`), or use --lazy." in said
        assert instar("umount", "--lazy", point).returncode == 0
        assert mounts_at(point) == []
    finally:
        held.communicate()


def test_force_takes_away_a_mount_that_is_in_use(point):
    """Once aborted, nothing on it answers, so to leave it there and call it busy helps nobody."""
    instar("mount", "memfs", point)
    held = subprocess.Popen(["cat"], cwd=point, stdin=subprocess.PIPE)
    try:
        assert instar("umount", "--force", point).returncode == 0
        assert mounts_at(point) == []
    finally:
        held.communicate()


def test_the_mount_of_a_dead_server_goes_and_its_log_is_named(point):
    instar("mount", "memfs", point)
    record = find_mount(point)
    pidfd = os.pidfd_open(record.pid)
    os.kill(record.pid, signal.SIGKILL)
    select.select([pidfd], [], [], 10)
    os.close(pidfd)
    done = instar("umount", point)
    assert done.returncode == 0
    assert f"The server of {point} had died; its log is {record.log}" in done.stdout
    assert mounts_at(point) == []
    os.unlink(record.log)


def test_what_is_not_instars_is_refused(point):
    assert "Nothing of Instar's is mounted at /, but " in refused(1, "umount", "/")
    assert f"Nothing of Instar's is mounted at {point}." in refused(1, "umount", point)
    instar("mount", "memfs", point)
    edge.mount("cover", str(point), "tmpfs", edge.MountFlags.NONE, "")
    assert "tmpfs mounted over Instar's mount" in refused(1, "umount", point)
    assert len(mounts_at(point)) == 2
    edge.umount(str(point))
    assert instar("umount", point).returncode == 0


def test_one_that_fails_does_not_keep_the_others(point, tmp_path):
    instar("mount", "memfs", point)
    assert str(tmp_path) in refused(1, "umount", tmp_path, point)
    assert mounts_at(point) == []


def test_without_a_mount_point_it_is_wrong_usage():
    assert "Missing argument" in refused(2, "umount")

# SPDX-License-Identifier: Apache-2.0
"""When the kernel may keep the listing of a directory that changed a moment ago."""

from __future__ import annotations

import os
import time

import pytest

from instar.edge.file_status import StatusReader
from instar.fs import ROOT_INO, Context
from instar.fs.mirror import MirrorFS
from instar.fs.mirror._mounts import MountKind, mount_kind


@pytest.mark.parametrize(
    ("fstype", "release", "fine"),
    [
        ("ext4", "6.13.0", True),
        ("xfs", "7.0-rc1", True),
        ("btrfs", "6.18.5-custom", True),
        ("ext4", "6.12.9-amd64", False),
        ("ext4", "5.10.0-33-amd64", False),
        ("tmpfs", "6.18.0", False),
        ("nfs4", "6.18.0", False),
    ],
)
def test_times_are_fine_where_the_kernel_has_multigrain_timestamps(monkeypatch, fstype, release, fine):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", release, "#1", "x86_64")))
    assert MountKind(fstype, 8, 1).has_fine_times is fine


def test_a_look_at_the_times_sets_each_later_change_of_a_directory_apart(tmp_path):
    """What the rule above rests on, tried on the file system that the tests run on where it has fine times."""
    fd = os.open(tmp_path, os.O_PATH)
    mount_id = StatusReader().at(fd)[21]
    os.close(fd)
    if not mount_kind(mount_id).has_fine_times:
        pytest.skip(f"{tmp_path} is on a file system without multigrain timestamps")
    seen = {tmp_path.stat().st_mtime_ns}
    for number in range(500):
        (tmp_path / str(number)).touch()
        seen.add(tmp_path.stat().st_mtime_ns)
    assert len(seen) == 501


@pytest.mark.parametrize(("part", "kept"), [(0, False), (1, True)])
def test_a_listing_is_not_kept_where_the_times_have_no_fraction_of_a_second(
    monkeypatch, tmp_path, part, kept
):
    """ext4 with inodes of 128 bytes cuts them, also on a kernel whose ext4 has multigrain timestamps."""
    monkeypatch.setattr(MountKind, "has_fine_times", property(lambda kind: True))
    now = time.time_ns() // 1_000_000_000 * 1_000_000_000 + part
    os.utime(tmp_path, ns=(now, now))
    fs = MirrorFS(tmp_path)
    try:
        opened = fs.opendir(Context(), ROOT_INO, 0)
        fs.releasedir(Context(), ROOT_INO, opened.fh, 0)
    finally:
        fs.destroy()
    assert opened.cache_dir is kept


def test_a_place_in_a_listing_means_the_same_in_each_open_directory(tmp_path):
    """The kernel keeps one listing for all who have the directory open, and goes on from its cookies with any of them."""
    for number in range(10):
        (tmp_path / str(number)).touch()
    fs, me = MirrorFS(tmp_path), Context()
    first, second = fs.opendir(me, ROOT_INO, 0).fh, fs.opendir(me, ROOT_INO, 0).fh
    lines = list(fs.readdir(me, ROOT_INO, first, 0))
    for place, line in reversed(list(enumerate(lines))):  # the second one has not seen the end yet
        after = [each.name for each in fs.readdir(me, ROOT_INO, second, line.cookie)]
        assert after == [each.name for each in lines[place + 1 :]]
    for fh in (first, second):
        fs.releasedir(me, ROOT_INO, fh, 0)
    for volume in fs.nodes._volumes.values():
        os.close(volume.fd)
    os.close(fs.nodes.root.fd)

# SPDX-License-Identifier: Apache-2.0
"""The table of mounts: odd names, mounts on mounts, and which mount a path lies on."""

from __future__ import annotations

import os

import pytest

from instar.edge import mount as edge
from instar.edge.mountinfo import MountEntry, containing_mount, mount_table, stacked


def entry(ident, parent, mountpoint):
    return MountEntry(ident, parent, "0:1", mountpoint, "rw", "tmpfs", "none", "rw")


def test_the_topmost_of_a_stack_is_last_whatever_the_numbers_say():
    table = [entry(9, 20, "/m"), entry(20, 1, "/m"), entry(1, 0, "/"), entry(5, 9, "/m"), entry(7, 1, "/n")]
    assert [each.ident for each in stacked(table, "/m")] == [20, 9, 5]
    assert stacked(table, "/m/x") == []


@pytest.mark.parametrize(
    ("place", "ident"), [("/m", 2), ("/m/a/b", 2), ("/mm", 1), ("/", 1), ("/m/n", 3), ("/m/n/x", 3)]
)
def test_a_path_lies_on_the_mount_with_the_longest_fitting_name(place, ident):
    table = [entry(1, 0, "/"), entry(2, 1, "/m"), entry(3, 2, "/m/n")]
    assert containing_mount(table, place).ident == ident


def test_a_table_without_a_root_has_no_mount_for_what_is_outside():
    assert containing_mount([entry(2, 1, "/m")], "/n") is None


@pytest.mark.mount
@pytest.mark.root
def test_names_come_back_as_they_were_given(tmp_path):
    path = os.path.join(tmp_path, "a \\\t\n\u2028\udcff#")
    os.mkdir(path)
    edge.mount("so urce\n", path, "tmpfs", edge.MountFlags.NOEXEC, "size=64k")
    try:
        (found,) = [each for each in mount_table() if each.mountpoint == path]
    finally:
        edge.umount(path)
    assert (found.fstype, found.source) == ("tmpfs", "so urce\n")
    assert "noexec" in found.options.split(",")
    assert "size=64k" in found.super_options

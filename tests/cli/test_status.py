# SPDX-License-Identifier: Apache-2.0
"""`instar status`: the table, the fields of --json, and the exit status for one mount point."""

from __future__ import annotations

import json
import os

import pytest

from instar import __version__
from tests.cli.commands import instar, refused

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


def test_json_has_every_field_of_a_mount(point):
    instar("mount", "memfs", point)
    (row,) = json.loads(instar("status", "--json", point).stdout)
    table = instar("status").stdout
    instar("umount", point)
    device = os.stat(point).st_dev
    assert row["mountpoint"] == str(point)
    assert row["target"] == "memfs"
    assert row["fstype"] == "fuse.instar.memfs"
    assert row["version"] == __version__
    assert row["alive"] is True
    assert row["device"] != f"{os.major(device)}:{os.minor(device)}"
    assert row["pid"] > 1
    assert 0 <= row["uptime"] < 60
    assert {"source", "options", "started", "log"} <= row.keys()
    (line,) = [line for line in table.splitlines() if line.startswith(f"{point} ")]
    assert line.split()[1:3] == ["memfs", str(row["pid"])]
    assert line.split()[-1] == "serving"


def test_a_directory_that_is_not_mounted_is_a_failure(point):
    assert f"Nothing of Instar's is mounted at {point}." in refused(1, "status", point)

# SPDX-License-Identifier: Apache-2.0
"""A mount point for each test, free again after it, and records of the test's own."""

from __future__ import annotations

import pytest

from instar.edge import mount as edge
from instar.host._mounts import mounts_at


@pytest.fixture
def point(tmp_path):
    """An empty directory to mount on."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while mounts_at(path):
        edge.umount(str(path), edge.UmountFlags.DETACH)

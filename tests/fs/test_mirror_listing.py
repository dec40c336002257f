# SPDX-License-Identifier: Apache-2.0
"""Listings of a mirror that the kernel keeps show what changes, on either side, all the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from instar.testing import mounted

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mount
LONG_AGO = 1_000_000_000  # seconds since the epoch


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with ten files that last changed long ago, so that its listings may be kept."""
    for number in range(10):
        (tmp_path / f"f{number}").touch()
    os.utime(tmp_path, (LONG_AGO, LONG_AGO))
    return tmp_path


def test_a_kept_listing_shows_what_changes_behind_the_mirror(source: Path) -> None:
    """A file that comes or goes in the backing directory is in the next listing."""
    with mounted(f"mirror:{source}", options="attr_timeout=0") as path:
        for _ in range(3):
            assert len(os.listdir(path)) == 10
        (source / "new").touch()
        assert "new" in os.listdir(path)
        assert "new" in os.listdir(path)
        (source / "new").unlink()
        assert "new" not in os.listdir(path)


def test_a_kept_listing_shows_what_changes_through_the_mirror(source: Path) -> None:
    """A rename on the mount is in the next listing, whatever the timeouts are."""
    with mounted(f"mirror:{source}", options="attr_timeout=1000,entry_timeout=1000") as path:
        assert len(os.listdir(path)) == 10
        assert len(os.listdir(path)) == 10
        (path / "f1").rename(path / "g1")
        assert {"g1"} == set(os.listdir(path)) - {f"f{number}" for number in range(10)}

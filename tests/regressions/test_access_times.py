# SPDX-License-Identifier: Apache-2.0
"""Times of access: mount(8) ``noatime``, open(2) ``O_NOATIME``."""

from __future__ import annotations

import os

import pytest

from instar.testing import mounted

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

_LONG_AGO = 1_000_000_000 * 10**9  # ns: older than any change, so that relatime would move it


@pytest.fixture(params=["memfs", "mirror"])
def target(request, tmp_path):
    """What to mount."""
    if request.param == "memfs":
        return "memfs"
    (tmp_path / "backing").mkdir()
    return f"mirror:{tmp_path / 'backing'}"


def _aged(path):
    """A file and a directory with one name in it, last accessed long ago."""
    file, directory = path / "file", path / "directory"
    file.write_bytes(b"content")
    directory.mkdir()
    (directory / "name").touch()
    for each in (file, directory):
        os.utime(each, ns=(_LONG_AGO, _LONG_AGO))
    return file, directory


def test_on_a_noatime_mount_reading_and_listing_leave_the_time_of_access(target):
    with mounted(target, options="noatime") as path:
        file, directory = _aged(path)
        assert file.read_bytes() == b"content"
        assert os.listdir(directory) == ["name"]
        assert [each.stat().st_atime_ns for each in (file, directory)] == [_LONG_AGO, _LONG_AGO]


def test_without_noatime_reading_and_listing_move_the_time_of_access(target):
    with mounted(target) as path:
        file, directory = _aged(path)
        assert file.read_bytes() == b"content"
        assert os.listdir(directory) == ["name"]
        assert all(each.stat().st_atime_ns > _LONG_AGO for each in (file, directory))


def test_a_file_opened_with_o_noatime_keeps_its_time_of_access(target):
    with mounted(target) as path:
        file, directory = _aged(path)
        for each, read in ((file, lambda fd: os.pread(fd, 7, 0)), (directory, os.listdir)):
            fd = os.open(each, os.O_RDONLY | os.O_NOATIME)
            try:
                assert read(fd)
            finally:
                os.close(fd)
            assert each.stat().st_atime_ns == _LONG_AGO

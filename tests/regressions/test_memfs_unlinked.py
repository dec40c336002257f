# SPDX-License-Identifier: Apache-2.0
"""A file of a MemFS without a name keeps its content for whoever can still reach it."""

from __future__ import annotations

import os

import pytest

from instar.testing import mounted

pytestmark = pytest.mark.mount


def test_a_file_held_by_a_path_descriptor_is_opened_again_with_its_content() -> None:
    """O_PATH opens nothing, so the file system sees a file without name and without user; it must keep it all the same."""
    with mounted("memfs") as top:
        (top / "file").write_bytes(b"content")
        handle = os.open(top / "file", os.O_PATH)
        try:
            os.unlink(top / "file")
            for _ in range(3):
                with open(f"/proc/self/fd/{handle}", "rb") as again:
                    assert again.read() == b"content"
            numbers = os.statvfs(top)
            assert 0 <= numbers.f_ffree <= numbers.f_files
            assert 0 <= numbers.f_bfree <= numbers.f_blocks
        finally:
            os.close(handle)


def test_the_space_of_a_file_without_a_name_is_there_for_the_next() -> None:
    """A full file system has room again as soon as a file is removed, whatever the kernel still remembers of it."""
    with mounted("memfs", options="size=4M") as top:
        for _ in range(20):
            (top / "file").write_bytes(bytes(4 << 20))
            (top / "file").unlink()

# SPDX-License-Identifier: Apache-2.0
"""The two file systems of twelve lines, as the tutorial shows them, mount and work."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from instar.testing import mounted
from tests.docs.pages import read_blocks

pytestmark = pytest.mark.mount

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
SHOWN = {block.file: block.text for block in read_blocks(PAGE.read_text(encoding="utf-8")) if block.file}


@pytest.fixture
def mount(tmp_path):
    """Mount a file of the tutorial."""

    def mount(name):
        (tmp_path / name).write_text(SHOWN[name])
        return mounted(str(tmp_path / name))

    return mount


@pytest.mark.parametrize("name", ["hello.py", "knobs.py"])
def test_it_has_twelve_lines_that_are_not_too_long(name):
    lines = SHOWN[name].splitlines()
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 110


def test_the_class_shows_one_file(mount):
    with mount("hello.py") as path:
        assert os.listdir(path) == ["hello"]
        assert (path / "hello").read_text() == "Hello from Python!\n"
        assert stat.filemode((path / "hello").stat().st_mode) == "-r--r--r--"
        assert subprocess.check_output(["tail", "-c", "8", path / "hello"]) == b"Python!\n"
        with pytest.raises(FileNotFoundError):
            (path / "other").stat()
        with pytest.raises(OSError) as caught:
            (path / "new").touch()
        assert caught.value.errno == errno.EROFS


def test_the_tree_shows_computes_and_sets(mount):
    with mount("knobs.py") as path:
        assert (path / "today").read_text() == "Hello from Python!\n"
        assert (path / "etc/colors").read_text().split() == ["red", "green", "blue"]
        assert len((path / "time").read_text()) == len("12:34:56\n")
        assert subprocess.check_output(["head", "-n", "1", path / "squares"]) == b"1 1\n"
        assert subprocess.check_output(["wc", "-l", path / "squares"]).split()[0] == b"1000000"
        (path / "level").write_text("17\n")
        assert (path / "level").read_text() == "17\n"
        with pytest.raises(OSError) as caught:
            (path / "level").write_text("nonsense")
        assert caught.value.errno == errno.EINVAL

# SPDX-License-Identifier: Apache-2.0
"""`instar new` writes a file system that mounts at once, and never over a file."""

from __future__ import annotations

import pytest

from instar.testing import Door
from tests.cli.commands import instar, refused


@pytest.mark.mount
@pytest.mark.root
def test_the_skeleton_mounts_as_it_is(point, tmp_path):
    done = instar("new", "my-first_fs", cwd=tmp_path)
    assert "instar mount my-first_fs.py mnt" in done.stdout
    assert instar("mount", "my-first_fs.py", "mnt", cwd=tmp_path).returncode == 0
    content = (point / "hello").read_text()
    assert instar("umount", "mnt", cwd=tmp_path).returncode == 0
    assert content == "Hello from MyFirstFs!\n"


def test_the_skeleton_works_through_the_door(tmp_path):
    instar("new", "stars.py", cwd=tmp_path)
    names = {}
    exec((tmp_path / "stars.py").read_text(), names)
    with Door(names["Stars"]()) as door:
        assert door.listdir() == ["hello"]
        assert door.read_text("/hello") == "Hello from Stars!\n"


def test_a_file_that_is_there_stays(tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    assert "mine.py exists already" in refused(1, "new", "mine", cwd=tmp_path)
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["1st", "a b", "../up", ""])
def test_a_name_that_is_none_for_python_is_refused(tmp_path, name):
    assert "is not a name for a Python file" in refused(1, "new", name, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []

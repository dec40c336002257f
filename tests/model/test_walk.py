# SPDX-License-Identifier: Apache-2.0
"""The random walk finds what is wrong, makes it small, and its printed program shows it again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from instar.verify import model as m
from instar.verify.model.__main__ import main
from tests.model.mutants import MUTANTS, AppendIgnored
from tests.support.ext4 import ext4_image
from tests.support.subjects import SUBJECTS, subject


@pytest.fixture
def pair(tmp_path):
    """Two empty directories."""
    directories = [tmp_path / "subject", tmp_path / "oracle"]
    for directory in directories:
        directory.mkdir()
    return directories


@pytest.mark.root
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_walk_of_ten_thousand_steps_does_not_differ_from_ext4(name):
    with subject(name) as top, ext4_image(256) as oracle:
        search = m.Search(top, oracle, users=True)
        difference = search.walk(10_000, seed=2)
        if difference is not None:
            raise search.shrink(difference, tries=300)


@pytest.mark.root
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_walk_finds_a_file_system_that_is_wrong(mutant, pair):
    search = m.Search(*pair, make_subject=mutant)
    difference = search.walk(40_000, seed=1)
    assert difference is not None
    small = search.shrink(difference)
    assert len(small.history) <= 8, str(small)


def test_two_directories_of_one_file_system_do_not_differ(pair):
    assert m.Search(*pair).walk(3000, seed=3) is None


def test_two_walks_with_one_seed_are_the_same():
    first, second = m.Walk(7), m.Walk(7)
    assert [next(first) for _ in range(200)] == [next(second) for _ in range(200)]


def test_the_source_of_every_operation_makes_it_again():
    walk = m.Walk(5, users=True)
    kinds = set()
    for _ in range(5000):
        operation = next(walk)
        kinds.add(type(operation).__name__)
        assert eval(operation.source(), {"os": os, **vars(m)}) == operation
    assert len(kinds) >= 25


def test_every_operation_is_exported_and_used_by_the_walk():
    walk = m.Walk(5, users=True)
    seen = {type(next(walk)) for _ in range(20_000)}
    operations = {
        thing
        for thing in vars(m).values()
        if isinstance(thing, type) and issubclass(thing, m.Operation) and thing is not m.Operation
    }
    assert operations == seen
    assert {operation.__name__ for operation in operations} <= set(m.__all__)


def test_the_printed_program_shows_the_difference_again(pair, tmp_path):
    (pair[0] / "a").write_bytes(b"subject")
    with m.World(pair[0], "subject") as subject_world, m.World(pair[1], "oracle") as oracle:
        comparer = m.Comparer(subject_world, oracle)
        comparer.run(m.Mkdir("d", 0o700))
        with pytest.raises(m.Difference) as raised:
            comparer.run(m.Stat("a"))
    program = tmp_path / "program.py"
    program.write_text(str(raised.value).partition("To see it again:")[2].strip())
    for directory in pair:
        os.rmdir(directory / "d")
    done = subprocess.run(
        [sys.executable, program, *map(str, pair)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Stat('a')" in done.stderr
    assert "ENOENT" in done.stderr
    (pair[0] / "a").unlink()
    for directory in pair:
        os.rmdir(directory / "d")
    assert subprocess.run([sys.executable, program, *map(str, pair)], timeout=60).returncode == 0


def test_the_command_gives_0_and_1(pair, capsys):
    arguments = [str(pair[0]), "--oracle", str(pair[1]), "--seed", "1"]
    assert main([*arguments, "--steps", "300", "--quiet"]) == 0
    assert main([*arguments, "--steps", "5000"], make_subject=AppendIgnored) == 1
    assert "replay(" in capsys.readouterr().out


@pytest.mark.parametrize("mtimes", [False, True])
def test_equal_trees_are_equal_and_a_changed_mode_is_named(pair, mtimes):
    for directory in pair:
        (directory / "d").mkdir()
        (directory / "d" / "f").write_bytes(b"data")
        os.utime(directory / "d" / "f", (1, 1))
        os.link(directory / "d" / "f", directory / "g")
        os.symlink("g", directory / "s")
        os.utime(directory / "s", (1, 1), follow_symlinks=False)
        os.setxattr(directory / "g", "user.x", b"1")
    first, second = (m.read_tree(directory, mtimes=mtimes) for directory in pair)
    assert m.tree_differences(first, second) == []
    assert second["g"].same_as == "d/f"
    os.chmod(pair[1] / "g", 0o600)
    lines = m.tree_differences(first, m.read_tree(pair[1], mtimes=mtimes))
    assert lines == [
        f"{name!r}: mode is 0o100644 in the first, 0o100600 in the second" for name in ("d/f", "g")
    ]

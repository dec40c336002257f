# SPDX-License-Identifier: Apache-2.0
"""Archives and copies of a large tree keep everything: contents, modes, owners, times, links, holes, attributes."""

from __future__ import annotations

import os

import pytest

from instar.verify.model import read_tree, tree_differences
from tests.support.tools import need, run
from tests.support.trees import make_tree

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_FILES = 3000
_TAR = ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner", "--format=posix"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree on the host's file system, and its description."""
    path = tmp_path_factory.mktemp("original") / "tree"
    path.mkdir()
    make_tree(path, _FILES)
    return path, read_tree(path, mtimes=True)


def _assert_same(wanted, directory):
    found = tree_differences(wanted, read_tree(directory, mtimes=True))
    assert found == [], "\n".join(found[:30])


def test_tar_extracts_and_compares_and_archives_again(tree, top, tmp_path):
    need("tar", "setfacl")
    original, wanted = tree
    archive = tmp_path / "tree.tar"
    run(*_TAR, "-cf", archive, "-C", original.parent, "tree")
    run(*_TAR, "-xpf", archive, "-C", top, timeout=120)
    run(*_TAR, "--compare", "-f", archive, "-C", top, timeout=120)
    compared = run(
        "diff", "-r", "--brief", "--no-dereference", original, top / "tree", timeout=120, check=False
    )
    assert [line for line in compared.splitlines() if line and "a fifo" not in line] == []
    _assert_same(wanted, top / "tree")

    again = top / "again.tar"
    run(*_TAR, "-cf", again, "-C", top, "tree", timeout=120)
    run(*_TAR, "--compare", "-f", again, "-C", original.parent, timeout=120)


def test_cp_archive_keeps_everything_and_find_and_grep_agree(tree, top):
    original, wanted = tree
    run("cp", "-a", "--sparse=always", original, top / "copy", timeout=120)
    _assert_same(wanted, top / "copy")
    expression = ["-printf", r"%P %y %m %n %s %U %G %T@ %l\0"]
    listings = [
        sorted(
            line for line in run("find", where, "-mindepth", "1", "!", "-type", "d", *expression).split("\0")
        )
        for where in (original, top / "copy")
    ]
    assert listings[0] == listings[1]
    patterns = ["-rlaZ", "--devices=skip", "end of a hole", "."]
    hits = [sorted(run("grep", *patterns, cwd=where).split("\0")) for where in (original, top / "copy")]
    assert hits[0] == hits[1]
    assert len(hits[0]) > 50


def test_a_tree_is_renamed_linked_and_removed(tree, top):
    original, wanted = tree
    run("cp", "-a", original, top / "copy", timeout=120)
    run("mv", top / "copy", top / "moved")
    _assert_same(wanted, top / "moved")
    run("cp", "-al", top / "moved", top / "linked", timeout=120)
    run("rm", "-rf", top / "moved", timeout=120)
    linked = read_tree(top / "linked", mtimes=True)
    found = [line for line in tree_differences(wanted, linked) if "mtime" in line or "content" in line]
    assert found == []
    run("rm", "-rf", top / "linked", timeout=120)
    assert os.listdir(top) == []


def test_rsync_finds_nothing_to_do_the_second_time(tree, top):
    need("rsync")
    original, wanted = tree
    command = ["rsync", "-aHAXS", "--numeric-ids", "--itemize-changes", f"{original}/", f"{top}/copy/"]
    run(*command, timeout=150)
    _assert_same(wanted, top / "copy")
    assert run(*command, timeout=150).strip() == ""

# SPDX-License-Identifier: Apache-2.0
"""A git repository of several thousand objects is cloned, checked, changed and packed."""

from __future__ import annotations

import pytest

from tests.support.tools import need, run

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_COMMITS = 120
_FILES = 25  # changed in each commit


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with 120 commits and about 4,000 loose and packed objects, made without a work tree."""
    need("git")
    path = tmp_path_factory.mktemp("origin") / "origin.git"
    run("git", "init", "-q", "--bare", "-b", "main", path)
    stream = []
    for commit in range(_COMMITS):
        message = f"commit {commit}"
        stream.append("commit refs/heads/main\n")
        stream.append(f"committer A U Thor <author@example.org> {1_600_000_000 + commit} +0000\n")
        stream.append(f"data {len(message)}\n{message}\n")
        for number in range(_FILES):
            name = f"dir{number % 7}/sub{commit % 11}/file{number}-{commit % 40}"
            body = f"{name} in commit {commit}\n" * (1 + number * 10)
            mode = "100755" if number == 0 else "100644"
            stream.append(f"M {mode} inline {name}\ndata {len(body)}\n{body}\n")
        stream.append("M 120000 inline link\ndata 4\ndir0\n")
    commands = path.parent / "stream"
    commands.write_text("".join(stream))
    with open(commands) as file:
        run("git", "-C", path, "fast-import", "--quiet", stdin=file)
    return path


def _git(directory, *words, **more):
    identity = ["-c", "user.name=A U Thor", "-c", "user.email=author@example.org", "-c", "safe.directory=*"]
    return run("git", *identity, "-C", directory, *words, timeout=120, **more)


def test_a_clone_is_complete_and_stays_so_through_commits_and_packing(origin, top):
    clone = top / "clone"
    run("git", "-c", "safe.directory=*", "clone", "-q", "--no-local", f"file://{origin}", clone, timeout=120)
    _git(clone, "fsck", "--full", "--strict")
    assert _git(clone, "status", "--porcelain") == ""
    assert int(_git(clone, "rev-list", "--objects", "--count", "HEAD")) > 3000

    _git(clone, "checkout", "-q", "-b", "work", "HEAD~20")
    (clone / "new file").write_text("new\n")
    _git(clone, "add", ".")
    _git(clone, "commit", "-q", "-m", "work")
    _git(clone, "rebase", "-q", "main")
    _git(clone, "gc", "-q", "--prune=now")
    _git(clone, "fsck", "--full", "--strict")
    assert _git(clone, "status", "--porcelain") == ""
    assert _git(clone, "log", "--oneline").count("\n") == _COMMITS + 1


def test_a_clone_of_hard_links_and_a_worktree_check_out_the_same(origin, top):
    first, second, tree = top / "first", top / "second", top / "tree"
    run("git", "-c", "safe.directory=*", "clone", "-q", "--bare", origin, first)
    run("git", "-c", "safe.directory=*", "clone", "-q", "--local", first, second)
    _git(second, "worktree", "add", "-q", tree, "HEAD")
    run("diff", "-r", "--no-dereference", "--exclude=.git", second, tree)
    _git(second, "repack", "-q", "-a", "-d", "-f")
    _git(second, "fsck", "--full")

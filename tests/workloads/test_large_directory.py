# SPDX-License-Identifier: Apache-2.0
"""A directory of 100,000 entries lists complete and without duplicates while entries come and go."""

from __future__ import annotations

import collections
import os
import subprocess
import sys

import pytest

from instar.testing import mounted
from tests.support.subjects import SUBJECTS, subject

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_ENTRIES = 100_000

# Makes and removes names in all the ways there are, until its input ends. Says so once it has begun.
_CHURN = """
import os, random, select, sys
os.chdir(sys.argv[1])
rng = random.Random(1)
said = False
while not select.select([0], [], [], 0)[0]:
    name = f"goes-{rng.randrange(3000)}"
    try:
        choice = rng.randrange(5)
        if choice == 0:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        elif choice == 1:
            os.unlink(name)
        elif choice == 2:
            os.rename(name, f"goes-{rng.randrange(3000)}")
        elif choice == 3:
            os.symlink("stays-1", name)
        else:
            os.link(name, f"goes-{rng.randrange(3000)}")
    except (FileExistsError, FileNotFoundError):
        pass
    if not said:
        said = True
        print("begun", flush=True)
"""


@pytest.fixture(scope="module", params=SUBJECTS)
def directory(request, tmp_path_factory):
    """A mounted directory with the entries in it."""
    names = [f"stays-{number}" for number in range(_ENTRIES)]
    if request.param == "mirror":  # filled from below, where it is faster
        below = tmp_path_factory.mktemp("large")
        for name in names:
            os.mknod(below / name)
        with mounted(f"mirror:{below}") as top:
            yield top
    else:
        with subject(request.param) as top:
            fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
            for name in names:
                os.mknod(name, dir_fd=fd)
            os.close(fd)
            yield top


@pytest.fixture
def churn(directory):
    process = subprocess.Popen(
        [sys.executable, "-c", _CHURN, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"begun\n"
        yield
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def _check(names):
    counts = collections.Counter(names)
    stable = sum(counts[f"stays-{number}"] == 1 for number in range(_ENTRIES))
    assert stable == _ENTRIES, f"{_ENTRIES - stable} of the entries that stay are missing or come twice"
    twice = [name for name, count in counts.items() if count > 1 and name.startswith("stays-")]
    assert not twice
    strange = [name for name in counts if not name.startswith(("stays-", "goes-"))]
    assert not strange


def test_a_listing_is_complete_while_entries_come_and_go(directory, churn):
    for _ in range(3):
        _check(os.listdir(directory))


def test_a_listing_with_attributes_is_complete_while_entries_come_and_go(directory, churn):
    names = []
    with os.scandir(directory) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.name.startswith("stays-"):
                assert entry.stat(follow_symlinks=False).st_size == 0
    _check(names)


def test_a_listing_goes_on_after_the_entries_read_so_far_are_removed(directory):
    """What ``rm -r`` does: read some, remove them, read on in the same open directory."""
    expendable = [f"goes-{number}" for number in range(5000)]
    below = directory / "removed"
    below.mkdir()
    for name in expendable:
        (below / name).touch()
    seen = []
    with os.scandir(below) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert sorted(seen) == sorted(expendable)
    below.rmdir()


def test_ten_listings_at_once_are_each_complete(directory, churn):
    code = "import os, sys; names = os.listdir(sys.argv[1]); print(sum(n.startswith('stays-') for n in set(names)), sum(n.startswith('stays-') for n in names))"
    readers = [
        subprocess.Popen([sys.executable, "-c", code, directory], stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    try:
        counts = [reader.communicate(timeout=120)[0] for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert counts == [f"{_ENTRIES} {_ENTRIES}\n"] * len(readers)

# SPDX-License-Identifier: Apache-2.0
"""A runtime directory that takes nothing more: the message says which, nothing is mounted, nothing stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instar import InstarError
from instar.edge import mount as edge
from instar.host import _mounts
from instar.host._mounts import mounts_at
from instar.testing import mounted
from tests.cli.commands import INSTAR, refused

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


@pytest.fixture
def runtime(tmp_path):
    """A small file system of its own, over /run/instar of a mount namespace of the test's own."""
    path = tmp_path / "runtime"
    path.mkdir()
    yield path
    while mounts_at(path):
        edge.umount(str(path), edge.UmountFlags.DETACH)


def _over_run(runtime, options):
    """The command `instar` in a mount namespace where /run/instar is a tmpfs with ``options``, full; its content is kept in runtime."""
    edge.mount("small", str(runtime), "tmpfs", edge.MountFlags.NONE, options)
    runtime.chmod(0o700)
    script = 'mkdir -p /run/instar && mount --bind "$0" /run/instar && exec "$@"'
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, str(runtime), *INSTAR]


# Of the inodes the root directory and the filler take two; then come the log (in the background alone), the lock, the record.
@pytest.mark.parametrize(
    ("options", "how"),
    [
        *((options, []) for options in ("size=16k", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4")),
        *((options, ["-f"]) for options in ("size=16k", "nr_inodes=2", "nr_inodes=3")),
    ],
)
def test_a_full_directory_is_named_and_nothing_stays(point, runtime, options, how):
    command = _over_run(runtime, options)
    if options.startswith("size"):
        (runtime / "filler").write_bytes(b"x" * 16384)
    else:
        (runtime / "filler").touch()
    said = refused(1, "mount", "memfs", point, *how, command=command)
    assert "/run/instar is full" in said.splitlines()[-1]
    assert mounts_at(point) == []
    assert os.listdir(runtime) == ["filler"]


def test_a_record_that_cannot_be_written_leaves_no_scratch_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_mounts, "runtime_directory", lambda: tmp_path)

    def full(self, text, encoding):
        self.write_bytes(text.encode()[:10])
        raise OSError(28, "No space left on device", str(self))

    with mounted("memfs") as path:
        monkeypatch.setattr(Path, "write_text", full)
        with (
            pytest.raises(InstarError, match="is full"),
            _mounts.write_record(str(path), "memfs", "1", ""),
        ):
            pass
    assert list(tmp_path.iterdir()) == []

# SPDX-License-Identifier: Apache-2.0
"""The temporary directory of one test run: everything that tests mount lies below it.

It is the directory that :mod:`tempfile` and programs started by tests use (``TMPDIR``). A lock on it dies with the run, so
the next run finds what a killed one left, unmounts it and removes it.
"""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import tempfile

from tests.support.leaks import mounts_below
from tests.support.watchdog import abort_below

__all__ = ["RunDirectory", "unmount_below"]

_PREFIX = "instar-test-"


def unmount_below(directory):
    """Detach everything mounted below a directory, FUSE connections aborted first."""
    abort_below(directory)
    for _ident, _device, point, _kind in reversed(mounts_below(str(directory))):
        subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL, check=False)


class RunDirectory:
    """Made when the run starts, removed when it ends."""

    def __init__(self):
        top = pathlib.Path(os.environ.get("TMPDIR", "/tmp"))
        self._remove_stale(top)
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=_PREFIX, dir=top))
        self.path.chmod(0o755)  # tests act as other users too
        self._owner = open(self.path / "owner", "wb")  # noqa: SIM115 - held for the whole run
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._before = (os.environ.get("TMPDIR"), tempfile.tempdir)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)

    def close(self):
        environ, tempfile.tempdir = self._before
        if environ is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = environ
        unmount_below(self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        self._owner.close()

    @staticmethod
    def _remove_stale(top):
        for directory in top.glob(_PREFIX + "*"):
            try:
                owner = open(directory / "owner", "rb")  # noqa: SIM115 - closed by the with below
            except OSError:
                continue  # just made, or just removed, by another run
            with owner:
                try:
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                unmount_below(directory)
                shutil.rmtree(directory, ignore_errors=True)

# SPDX-License-Identifier: Apache-2.0
"""What a mirror does to its process while it makes files in the name of others: nothing that another thread can feel."""

from __future__ import annotations

import errno
import os
import pathlib
import threading

import pytest

from instar.fs import ROOT_INO, Context
from instar.fs.mirror import _base
from tests.support.mirrors import USER, mirrored

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


def own_umask():
    for line in pathlib.Path("/proc/thread-self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    raise AssertionError("the kernel does not tell the umask")


class Held:
    """Runs a mirror in a thread and holds it where the identity of a caller is in force."""

    def __init__(self, fs):
        self.fs = fs
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self.after = None
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        self.fs.init()
        before = own_umask()
        with self.fs._as(Context(uid=0, gid=0, pid=1, umask=0o077)):
            assert own_umask() == 0o077
            self.inside.set()
            self.go_on.wait(20)
        self.after = own_umask() == before

    def __enter__(self):
        self._thread.start()
        assert self.inside.wait(20)

    def __exit__(self, *exc):
        self.go_on.set()
        self._thread.join(20)
        assert self.after


def test_another_thread_does_not_feel_the_umask_of_a_caller():
    before = own_umask()
    with mirrored() as (fs, _), Held(fs):
        assert own_umask() == before


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.get)
def test_mirrors_take_turns_where_the_umask_cannot_be_unshared(code, monkeypatch):
    def forbidden(flags):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_base, "unshare", forbidden)
    made = threading.Event()
    with mirrored() as (fs, _), mirrored() as (other, below):

        def make():
            other.mkdir(USER, ROOT_INO, "dir", 0o777)
            made.set()

        thread = threading.Thread(target=make)
        with Held(fs):
            thread.start()
            assert not made.wait(0.2)
        thread.join(20)
        assert (below / "dir").stat().st_mode & 0o777 == 0o755


def test_a_caller_whose_identity_cannot_be_assumed_leaves_no_trace(monkeypatch):
    def lost(self, data):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    before = own_umask()
    with mirrored() as (fs, below):
        with monkeypatch.context() as patch:
            patch.setattr("instar.edge.fs_credentials.FsCredentials._capset", lost)
            with pytest.raises(PermissionError):
                fs.mkdir(Context(uid=12345, gid=12346, pid=2, umask=0o077), ROOT_INO, "dir", 0o777)
        assert own_umask() == before
        (below / "own").touch()
        assert ((below / "own").stat().st_uid, (below / "own").stat().st_gid) == (0, 0)
        fs.mkdir(USER, ROOT_INO, "dir", 0o777)  # no lock is left behind
        assert (below / "dir").stat().st_uid == USER.uid

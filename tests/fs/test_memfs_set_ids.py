# SPDX-License-Identifier: Apache-2.0
"""Set-ID bits of MemFS files that others change, compared with the file system that holds the temporary directory."""

from __future__ import annotations

import itertools
import os
import stat
import traceback

import pytest

from instar.fs import ROOT_INO, Context, SetAttr
from instar.fs.memfs import MemFS
from instar.fs.memfs._caller import Capability, rights_of
from instar.testing import mounted

pytestmark = pytest.mark.timeout(60)

_USER, _GROUP = 1000, 1000


def _write(path):
    _with_file(path, os.O_WRONLY, lambda fd: os.write(fd, b"y"))


def _fallocate(path):
    _with_file(path, os.O_WRONLY, lambda fd: os.posix_fallocate(fd, 0, 20_000))


def _copy(path):
    _with_file(path, os.O_RDWR, lambda fd: os.copy_file_range(fd, fd, 10, 0, 5000))


def _with_file(path, flags, change):
    fd = os.open(path, flags)
    try:
        change(fd)
    finally:
        os.close(fd)


_CHANGES = {
    "write": _write,
    "fallocate": _fallocate,
    "copy": _copy,
    "truncate": lambda path: os.truncate(path, 5),
    "open-truncate": lambda path: _with_file(path, os.O_WRONLY | os.O_TRUNC, lambda fd: None),
    "chown-nothing": lambda path: os.chown(path, -1, -1),
    "chown-group": lambda path: os.chown(path, -1, _GROUP),
}
_CALLERS = {
    "stranger": (_USER, _GROUP, []),
    "supplementary": (_USER, _GROUP, [0]),
    "member": (_USER, 0, []),
    "root": (0, 0, []),
}


def _as(caller, change, path):
    """Make the change in a process of its own; its errno, or 0."""
    uid, gid, groups = caller
    child = os.fork()
    if child == 0:
        status = 255
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            change(path)
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            if status == 255:
                traceback.print_exc()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _outcome(top, mode, owner, caller, change):
    path = top / "file"
    path.write_bytes(b"x" * 10_000)
    try:
        os.chown(path, owner, 0)
        path.chmod(mode)
        status = _as(caller, change, path)
        return status, oct(stat.S_IMODE(path.stat().st_mode))
    finally:
        path.unlink()


@pytest.mark.root
@pytest.mark.mount
@pytest.mark.parametrize("change", _CHANGES)
def test_set_id_bits_go_and_stay_as_on_the_local_file_system(change, tmp_path):
    """Kernel 6.2 and later clear the set-group-ID bit of a file that its group may not execute, but not for the group."""
    for parent in [tmp_path, *tmp_path.parents[:2]]:
        parent.chmod(parent.stat().st_mode | 0o711)
    tmp_path.chmod(0o777)
    with mounted("memfs", options="allow_other,suid") as top:
        top.chmod(0o777)
        for mode, owner, (name, caller) in itertools.product(
            (0o2666, 0o6666, 0o4666, 0o2676, 0o6777), (0, _USER), _CALLERS.items()
        ):
            case = (oct(mode), owner, name)
            ours = _outcome(top, mode, owner, caller, _CHANGES[change])
            assert (case, ours) == (case, _outcome(tmp_path, mode, owner, caller, _CHANGES[change]))


@pytest.mark.root
@pytest.mark.mount
def test_a_stranger_cannot_clear_set_id_bits_without_writing():
    with mounted("memfs", options="allow_other,suid") as top:
        top.chmod(0o777)
        path = top / "tool"
        path.write_bytes(b"x")
        path.chmod(0o4755)
        with open(path, "rb"):  # being open for reading is not enough
            assert _as(_CALLERS["stranger"], _CHANGES["chown-nothing"], path) != 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o4755


def test_where_the_caller_is_not_known_the_set_group_id_bit_stays():
    """``FUSE_HANDLE_KILLPRIV_V2`` clears that bit only where the group may execute the file."""
    fs = MemFS(uid=0, gid=0)
    for mode, left in ((0o102666, 0o102666), (0o106666, 0o102666), (0o102676, 0o100676)):
        entry, opened = fs.create(Context(uid=1, gid=1), ROOT_INO, "file", mode & 0o777, os.O_RDWR)
        fs.setattr(Context(), entry.ino, SetAttr(mode=mode))
        changed = fs.setattr(Context(uid=2, gid=2, pid=0), entry.ino, SetAttr(kill_suidgid=True), opened.fh)
        assert oct(changed.mode) == oct(left)
        fs.release(Context(), entry.ino, opened.fh, os.O_RDWR)
        fs.unlink(Context(), ROOT_INO, "file")
        fs.forget(entry.ino)
    fs.assert_invariants()


def test_the_rights_of_a_thread_are_those_that_proc_shows():
    rights = rights_of(Context(pid=os.getpid()))
    assert rights is not None
    assert rights.groups == set(os.getgroups())
    if os.geteuid() == 0:
        assert rights.capabilities & Capability.FOWNER


def test_the_rights_of_no_thread_are_not_known():
    assert rights_of(Context(pid=2**31 - 1)) is None

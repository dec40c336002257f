# SPDX-License-Identifier: Apache-2.0
"""Mounting and unmounting by system call and by fusermount3: which errno, and which sentence, comes of what."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from instar.edge import mount as edge
from instar.edge.mount import MountError, MountFlags, UmountFlags

BUSY = "fusermount3: failed to unmount {0}: Device or resource busy"
MISSING = "fusermount3: entry for {0} not found in /etc/mtab"
DENIED = "fusermount3: failed to unmount {0}: Operation not permitted"


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A fusermount3 that says one sentence and fails, where umount2 is not allowed."""

    def make(sentence, status=1):
        program = tmp_path / "fusermount3"
        said = f'printf \'%s %s\\n\' "$LC_ALL" "$*" > {tmp_path}/called'
        program.write_text(f"#!/bin/sh\n{said}\ncat >&2 <<'.'\n{sentence}\n.\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "called"

    def not_allowed(target, flags):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), target)

    monkeypatch.setattr(edge, "umount", not_allowed)
    return make


@pytest.mark.parametrize(
    ("sentence", "code", "says"),
    [
        (BUSY, errno.EBUSY, "/m is in use: close what is open there (`fuser -vm /m`), or use --lazy."),
        (MISSING, errno.EINVAL, "Nothing is mounted at /m."),
        (DENIED, errno.EPERM, "fusermount3 could not unmount /m: " + DENIED.format("/m")),
        ("who knows", errno.EPERM, "fusermount3 could not unmount /m: who knows"),
    ],
)
def test_what_fusermount_says_becomes_its_errno(helper, sentence, code, says):
    helper(sentence.format("/m"))
    with pytest.raises(MountError) as raised:
        edge.unmount("/m")
    assert raised.value.errno == code
    assert str(raised.value) == says


def test_fusermount_is_asked_in_english_and_lazily_where_wanted(helper, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    called = helper("", status=0)
    edge.unmount("/m", lazy=True)
    assert called.read_text() == "C -u -z -- /m\n"
    edge.unmount("/m")
    assert called.read_text() == "C -u -- /m\n"


@pytest.mark.parametrize(
    ("sentence", "code"),
    [
        ("fusermount3: bad mount point /m: No such file or directory", errno.ENOENT),
        ("fusermount3: user has no write access to mountpoint /m", errno.EPERM),
    ],
)
def test_a_mount_that_fusermount_refuses_says_why(helper, sentence, code):
    helper(sentence)
    with pytest.raises(MountError) as raised:
        edge.fusermount("/m", {})
    assert raised.value.errno == code
    assert sentence in str(raised.value)


def test_a_helper_that_sends_no_descriptor_is_reported(helper):
    called = helper("", status=0)
    with pytest.raises(MountError, match="sent no descriptor back") as raised:
        edge.fusermount("/m", {"ro": None, "fsname": "a,b\\c"})
    assert raised.value.errno == errno.EPROTO
    assert called.read_text() == "C -o ro,fsname=a\\,b\\\\c -- /m\n"


def test_without_fusermount_it_says_which_package_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match="install the package fuse3"):
        edge.fusermount("/m", {})


@pytest.mark.mount
@pytest.mark.root
class TestAsRoot:
    @pytest.fixture
    def mounted(self, tmp_path):
        path = str(tmp_path / "m")
        os.mkdir(path)
        edge.mount("name", path, "tmpfs", MountFlags.NOEXEC, "size=64k")
        yield path
        if os.path.ismount(path):
            edge.umount(path, UmountFlags.DETACH)

    def test_flags_and_data_reach_the_kernel(self, mounted):
        assert os.statvfs(mounted).f_flag & os.ST_NOEXEC
        assert os.statvfs(mounted).f_blocks * os.statvfs(mounted).f_frsize == 64 << 10

    def test_a_mount_in_use_is_ebusy_until_it_is_detached(self, mounted):
        with open(f"{mounted}/file", "w"):
            with pytest.raises(MountError, match="is in use") as raised:
                edge.unmount(mounted)
            assert raised.value.errno == errno.EBUSY
            edge.unmount(mounted, lazy=True)
        assert not os.path.ismount(mounted)

    def test_what_is_not_a_mount_point_is_einval(self, tmp_path):
        with pytest.raises(MountError, match="Nothing is mounted at") as raised:
            edge.unmount(str(tmp_path))
        assert raised.value.errno == errno.EINVAL

    def test_a_missing_mount_point_is_enoent_and_names_it(self, tmp_path):
        with pytest.raises(FileNotFoundError) as raised:
            edge.mount("name", str(tmp_path / "none"), "tmpfs", MountFlags.NONE, "")
        assert raised.value.filename == str(tmp_path / "none")

    def test_a_link_to_a_mount_point_is_not_followed(self, mounted, tmp_path):
        os.symlink(mounted, tmp_path / "link")
        with pytest.raises(MountError, match="Nothing is mounted"):
            edge.unmount(str(tmp_path / "link"))
        assert os.path.ismount(mounted)

    def test_the_device_is_opened_without_blocking_and_not_inherited(self):
        fd = edge.open_fuse_device()
        try:
            assert stat.S_ISCHR(os.fstat(fd).st_mode)
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
        finally:
            os.close(fd)


@pytest.mark.parametrize(("code", "says"), [(errno.ENOENT, "modprobe fuse"), (errno.EACCES, "install fuse3")])
def test_a_device_that_cannot_be_opened_says_what_to_do(monkeypatch, tmp_path, code, says):
    def refuse(path, flags):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MountError, match=says) as raised:
        edge.open_fuse_device()
    assert raised.value.errno == code

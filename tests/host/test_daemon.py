# SPDX-License-Identifier: Apache-2.0
"""A server in the background holds nothing of the one who started it, and says why it could not start."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from instar._errors import InstarError
from instar.edge.mount import MountError
from instar.host import StartError, _daemon, find_mount, start, unmount
from instar.transport import parse_options

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


@pytest.fixture
def point(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = tmp_path / "mnt"
    path.mkdir()
    yield str(path)
    if find_mount(path):
        unmount(path, lazy=True)


def run(target, point, **how):
    start(target, point, *parse_options(""), **how)


def descriptors(pid):
    names = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        names[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return names


def test_the_server_holds_no_descriptor_of_its_starter(point, tmp_path):
    reader, writer = os.pipe()
    high = os.dup2(writer, 700)
    held = open(tmp_path / "held", "w")  # noqa: SIM115 - closed below, after the server looked
    try:
        pipe = os.readlink(f"/proc/self/fd/{writer}")
        run("memfs", point)
        found = descriptors(find_mount(point).pid)
        unmount(point)
    finally:
        held.close()
        for fd in (reader, writer, high):
            os.close(fd)
    assert pipe not in found.values()
    assert str(tmp_path / "held") not in found.values()
    assert found[0] == "/dev/null"
    assert found[1] == found[2]
    assert "/dev/fuse" in found.values()


def test_a_reader_of_the_starters_pipe_sees_its_end_while_the_server_runs(point):
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    run("memfs", point)
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b""
    unmount(point)


def test_the_server_has_its_own_session_and_keeps_no_directory_in_use(point):
    run("memfs", point)
    pid = find_mount(point).pid
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    unmount(point)


@pytest.mark.parametrize("where", ["__init__", "init"])
@pytest.mark.parametrize("foreground", [False, True])
def test_a_file_system_that_raises_says_why_and_leaves_nothing_mounted(point, tmp_path, where, foreground):
    file = tmp_path / "raising_target.py"
    file.write_text(
        "from instar.fs import FileSystem\n"
        f"class Raising(FileSystem):\n    def {where}(self):\n        raise LookupError('no such star')\n"
    )
    with pytest.raises(StartError, match="LookupError: no such star"):
        start(str(file), point, *parse_options(""), foreground=foreground)
    assert find_mount(point) is None


def test_a_dry_run_makes_the_file_system_and_mounts_nothing(point, tmp_path):
    run("memfs", point, dry_run=True)
    assert find_mount(point) is None
    file = tmp_path / "dry_target.py"
    file.write_text(
        "from instar.fs import FileSystem\nclass Dry(FileSystem):\n    def __init__(self):\n        1 / 0\n"
    )
    with pytest.raises(StartError, match="ZeroDivisionError"):
        run(str(file), point, dry_run=True)


@pytest.mark.parametrize("empty", [False, True])
def test_a_directory_that_the_system_needs_is_covered_only_if_empty(point, monkeypatch, empty):
    monkeypatch.setattr(_daemon, "_NEEDED", frozenset({point}))
    if empty:
        run("memfs", point, dry_run=True)
        return
    (Path(point) / "needed").touch()
    with pytest.raises(StartError, match="is a part of the system and not empty"):
        run("memfs", point)


def test_a_needed_directory_is_looked_into_only_when_its_mount_has_answered(point, monkeypatch):
    def hangs(place):
        raise MountError(f"{place} lies on a mount which does not answer.", errno.ETIMEDOUT)

    monkeypatch.setattr(_daemon, "_NEEDED", frozenset({point}))
    monkeypatch.setattr(_daemon, "require_answer", hangs)
    monkeypatch.setattr(_daemon.os, "listdir", lambda place: pytest.fail("looked into it"))
    with pytest.raises(MountError, match="does not answer"):
        run("memfs", point)


def test_a_needed_directory_that_is_missing_or_unreadable_is_refused_in_plain_words(point, monkeypatch):
    monkeypatch.setattr(_daemon, "_NEEDED", frozenset({point}))

    def forbidden(place):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)

    with monkeypatch.context() as patch:
        patch.setattr(_daemon.os, "listdir", forbidden)
        with pytest.raises(StartError, match="cannot be read"):
            run("memfs", point)
    os.rmdir(point)
    with pytest.raises(InstarError, match=re.escape(point)):
        run("memfs", point)


def test_a_second_mount_on_the_first_is_refused(point):
    run("memfs", point)
    with pytest.raises(StartError, match="has memfs mounted already: run `instar umount"):
        run("memfs", point)
    unmount(point)


def test_a_record_and_a_log_are_there_while_the_server_runs(point):
    run("memfs", point)
    record = find_mount(point)
    assert record.target == "memfs"
    assert Path(record.log).exists()
    unmount(point)

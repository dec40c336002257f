# SPDX-License-Identifier: Apache-2.0
"""What is mounted and by whom: records match mounts, are never lost, and what is not Instar's is never touched."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest

from instar.edge import mount as edge
from instar.edge.mount import MountError, MountFlags, UmountFlags
from instar.edge.mountinfo import MountEntry
from instar.host import MountRecord, MountState, _mounts, find_mount, list_mounts, mount_states, unmount
from instar.host._mounts import mounts_at, write_record
from instar.testing import mounted

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]
NO_SUCH_PROCESS = 2**22 + 1  # above the largest pid that Linux gives


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Records of this test alone."""
    path = tmp_path / "records"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(_mounts, "runtime_directory", lambda: path)
    return path


@pytest.fixture
def cover():
    """Mount a tmpfs on something."""
    covered = []

    def mount(path):
        edge.mount("cover", str(path), "tmpfs", MountFlags.NONE, "")
        covered.append(str(path))

    yield mount
    for path in covered:
        if any(line.source == "cover" for line in mounts_at(path)):
            edge.umount(path, UmountFlags.DETACH)


def refusal(path):
    with pytest.raises(MountError) as raised:
        unmount(path)
    assert raised.value.errno == errno.EINVAL
    return str(raised.value)


def records(directory):
    return sorted(path.name for path in directory.glob("*.json"))


def test_what_is_mounted_over_an_instar_mount_is_not_unmounted(cover):
    with mounted("memfs") as path:
        cover(path)
        assert f"{path} has tmpfs mounted over Instar's mount: remove that first" in refusal(path)
        assert [line.fstype for line in mounts_at(path)] == ["fuse.instar.memfs", "tmpfs"]
        assert find_mount(path).fstype == "fuse.instar.memfs"


def test_an_instar_mount_over_something_else_is_unmounted_and_that_stays(tmp_path, cover):
    cover(tmp_path)
    with mounted("memfs", mountpoint=tmp_path):
        assert unmount(tmp_path).fstype == "fuse.instar.memfs"
    assert [line.fstype for line in mounts_at(tmp_path)] == ["tmpfs"]
    assert "but tmpfs" in refusal(tmp_path)


def test_the_root_directory_is_not_unmounted():
    assert "Nothing of Instar's is mounted at /, but " in refusal("/")


def test_a_directory_where_nothing_is_mounted_says_so(tmp_path):
    assert refusal(tmp_path) == f"Nothing of Instar's is mounted at {tmp_path}."


def test_a_name_with_blanks_and_a_symbolic_link_find_the_mount(tmp_path):
    (tmp_path / "a \\b\n").mkdir()
    (tmp_path / "link").symlink_to("a \\b\n")
    with mounted("memfs", mountpoint=tmp_path / "a \\b\n"):
        assert find_mount(tmp_path / "link").mountpoint == str(tmp_path / "a \\b\n")


def test_a_record_says_who_serves_the_mount_while_it_lasts(directory):
    with mounted("memfs") as path:
        with write_record(str(path), "the target", "1.2", "a log"):
            found = find_mount(path)
            assert (found.target, found.version, found.log, found.pid) == (
                "the target",
                "1.2",
                "a log",
                os.getpid(),
            )
            assert found.alive
            assert 0 <= found.uptime < 60
        assert records(directory) == []
        assert find_mount(path).pid == 0


def test_a_server_that_ends_leaves_the_record_of_the_next_with_the_same_device(directory):
    with mounted("memfs") as path:
        first = write_record(str(path), "first", "1", "")
        second = write_record(str(path), "second", "1", "")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert find_mount(path).target == "second"
        second.__exit__(None, None, None)
    assert records(directory) == []


def test_a_record_that_replaces_a_stale_one_while_that_is_removed_is_kept(directory, monkeypatch):
    with mounted("memfs") as path, write_record(str(path), "old", "1", ""):
        (old,) = directory.glob("*.json")
        content = json.loads(old.read_text())
        content.update(pid=NO_SUCH_PROCESS, mountpoint="/elsewhere")
        old.write_text(json.dumps(content))
        lives = _mounts._lives
        entered = []

        def while_it_is_looked_at(record):
            if record.pid == NO_SUCH_PROCESS and not entered:
                entered.append(write_record(str(path), "new", "1", ""))
                entered[0].__enter__()
            return lives(record)

        monkeypatch.setattr(_mounts, "_lives", while_it_is_looked_at)
        list_mounts()
        monkeypatch.setattr(_mounts, "_lives", lives)
        assert find_mount(path).target == "new"
        entered[0].__exit__(None, None, None)


def test_of_two_records_that_of_the_server_which_runs_counts_and_the_other_is_removed(directory):
    with mounted("memfs") as path, write_record(str(path), "alive", "1", ""):
        (record,) = directory.glob("*.json")
        content = json.loads(record.read_text())
        content.update(target="dead", pid=NO_SUCH_PROCESS, started=time.time() + 100)
        (directory / f"{content['device']}.json").write_text(json.dumps(content))
        assert find_mount(path).target == "alive"
        assert records(directory) == [record.name]


def test_a_mount_whose_server_is_gone_is_shown_as_dead_with_its_record(directory):
    with mounted("memfs") as path, write_record(str(path), "dead", "1", ""):
        (record,) = directory.glob("*.json")
        content = json.loads(record.read_text())
        record.write_text(json.dumps({**content, "pid": NO_SUCH_PROCESS}))
        found = find_mount(path)
        assert (found.target, found.alive) == ("dead", False)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\udcff"])
def test_a_file_that_is_no_record_is_left_alone(directory, text):
    (directory / "0:1.json").write_bytes(text.encode(errors="surrogateescape"))
    list_mounts()
    assert records(directory) == ["0:1.json"]


def test_logs_of_dead_servers_go_after_a_week(directory):
    old, young = directory / f"{NO_SUCH_PROCESS}.log", directory / f"{NO_SUCH_PROCESS + 1}.log"
    for log in (old, young):
        log.touch()
    os.utime(old, (0, 0))
    list_mounts()
    assert [log.name for log in directory.glob("*.log")] == [young.name]


@pytest.mark.parametrize("answers", [{}, {"/x": (errno.ENOTCONN, "")}])
def test_what_is_wrong_with_a_mount_is_not_said_of_the_one_that_it_hides(monkeypatch, answers):
    table = [
        MountEntry(1, 0, "0:1", "/", "rw", "ext4", "disk", "rw"),
        MountEntry(2, 1, "0:2", "/x", "rw", "fuse.instar.memfs", "memfs", "rw"),
        MountEntry(3, 2, "0:3", "/x", "rw", "fuse.instar.memfs", "memfs", "rw"),
    ]
    monkeypatch.setattr(_mounts, "mount_table", lambda: table)
    monkeypatch.setattr(_mounts, "asked", lambda paths, seconds: answers)
    hidden, top = (
        MountRecord(mountpoint="/x", fstype="", source="", options="", device=f"0:{minor}", pid=os.getpid())
        for minor in (2, 3)
    )
    expected = MountState.DEAD if answers else MountState.HUNG
    assert mount_states([hidden, top]) == [MountState.SERVING, expected]


def test_a_record_of_another_process_namespace_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(_mounts, "runtime_directory", lambda: tmp_path)
    record = tmp_path / "0:99.1.json"
    record.write_text(
        json.dumps(
            {
                "mountpoint": "/nowhere", "fstype": "fuse.instar.memfs", "source": "memfs", "options": "rw", "device": "0:99",
                "pid": 2**22 + 1, "birth": 1, "namespace": "pid:[1]",
            }
        )
    )  # fmt: skip
    _mounts.list_mounts()
    assert record.exists()
    record.write_text(record.read_text().replace("pid:[1]", os.readlink("/proc/self/ns/pid")))
    _mounts.list_mounts()
    assert not record.exists()

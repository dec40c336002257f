# SPDX-License-Identifier: Apache-2.0
"""Below and beside a mount whose server is stopped: each command answers within its deadline and tells the truth."""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from instar.host import MountState, find_mount, mount_states
from instar.host._mounts import mounts_at
from instar.testing import mounted
from tests.cli.commands import HELPER, INSTAR, environment, instar, refused, write
from tests.cli.test_robust import STUCK, gone, reader_of

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


#: A file system that is ready only when six of its kind are, each in a process that has found the place free.
TOGETHER = """
import os, time
from instar.fs.memfs import MemFS
class Together(MemFS):
    def __init__(self):
        super().__init__()
        open({directory!r} + "/ready" + str(os.getpid()), "w").close()
        while sum(name.startswith("ready") for name in os.listdir({directory!r})) < 6:
            time.sleep(0.01)
"""


@pytest.fixture
def stopped(point):
    """A mount with a directory `sub` in it, whose server is stopped and whose answers nobody keeps."""
    assert instar("mount", "memfs", point, "-o", "attr_timeout=0,entry_timeout=0").returncode == 0
    (point / "sub").mkdir()
    record = find_mount(point)
    os.kill(record.pid, signal.SIGSTOP)
    yield record
    os.kill(record.pid, signal.SIGCONT)
    instar("umount", point)
    gone(record.pid)
    Path(record.log).unlink(missing_ok=True)  # kept where the connection was aborted


@pytest.mark.parametrize("words", [["mount", "memfs"], ["status"], ["umount"]])
@pytest.mark.parametrize("below", ["sub", "sub/deeper"])
def test_a_path_below_a_hung_mount_is_refused_with_the_name_of_the_mount(point, stopped, words, below):
    said = refused(1, *words, point / below)
    assert f"lies on the mount {point}, which does not answer" in said
    assert f"instar umount --force {point}" in said
    assert len(said.splitlines()) == 1


def test_a_link_that_leads_below_a_hung_mount_is_refused_too(point, stopped, tmp_path):
    (tmp_path / "link").symlink_to("mnt/sub")
    assert "which does not answer" in refused(1, "status", tmp_path / "link")


def test_a_mirror_of_what_hangs_is_refused(point, stopped, tmp_path):
    (tmp_path / "other").mkdir()
    for source in (point, point / "sub"):
        said = refused(1, "mount", f"mirror:{source}", tmp_path / "other")
        assert f"lies on the mount {point}, which does not answer" in said


def test_a_mount_point_is_found_and_removed_without_asking_it(point, stopped):
    assert instar("umount", "--force", point).returncode == 0
    assert mounts_at(point) == []


def test_a_stopped_server_is_shown_as_stopped(point, stopped):
    done = instar("status", point, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)[0]["state"] == "stopped"
    (line,) = [line for line in instar("status").stdout.splitlines() if line.startswith(f"{point} ")]
    assert f"stopped: `kill -CONT {stopped.pid}`" in line


def test_a_server_that_runs_and_does_not_answer_is_shown_as_hung(point, tmp_path):
    """Its only thread is in a handler that does not return."""
    assert instar("mount", write(tmp_path, STUCK), point).returncode == 0
    record = find_mount(point)
    reader = reader_of(point / "hello")
    try:
        done = instar("status", point, "--json")
    finally:
        os.kill(record.pid, signal.SIGKILL)
        reader.wait(10)
        gone(record.pid)
    assert json.loads(done.stdout)[0]["state"] == "hung"
    assert done.returncode == 3
    done = instar("status", point, "--json")
    assert json.loads(done.stdout)[0]["state"] == "dead"
    assert done.returncode == 3
    instar("umount", point)
    Path(record.log).unlink()


def test_a_mount_without_a_record_is_unknown_and_not_serving():
    with mounted("memfs") as path:
        assert mount_states([find_mount(path)]) == [MountState.UNKNOWN]
        done = instar("status", path, "--json")
    assert json.loads(done.stdout)[0]["state"] == "unknown"
    assert done.returncode == 0


def test_a_connection_that_was_aborted_is_dead_although_its_server_lives(point, stopped):
    from instar.edge.mount import abort_connection

    assert abort_connection(stopped.device)
    assert mount_states([stopped]) == [MountState.DEAD]


@pytest.mark.parametrize(("command", "status"), [([*INSTAR, "mount"], 1), (HELPER, 32)])
def test_of_several_that_mount_at_once_one_wins_and_the_others_say_what_is_there(
    point, tmp_path, command, status
):
    target = write(tmp_path, TOGETHER.format(directory=str(tmp_path)))
    processes = [
        subprocess.Popen(
            [*command, str(target), str(point)], env=environment(), stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    said = [process.communicate(timeout=50)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0] + [status] * 5
    assert len(mounts_at(point)) == 1
    for sentence in filter(None, said):
        assert f"{point} has {target} mounted already: run `instar umount {point}` first." in sentence
    name = hashlib.sha256(os.fsencode(point)).hexdigest()[:32]
    assert not Path(f"/run/instar/{name}.lock").exists()
    assert instar("umount", point).returncode == 0


def test_a_mount_while_another_starts_slowly_says_who_it_is(point, tmp_path):
    """`init` of the first takes for ever; the second does not wait for it."""
    fifo = tmp_path / "reached"
    os.mkfifo(fifo)
    text = (
        "from instar.fs import FileSystem\nimport signal\nclass Slow(FileSystem):\n    def init(self):\n"
        f"        open({str(fifo)!r}, 'w').close()\n        signal.pause()\n"
    )
    target = write(tmp_path, text)
    first = subprocess.Popen([*INSTAR, "mount", "-f", str(target), str(point)], env=environment())
    try:
        fifo.read_bytes()
        assert "mounted already" in refused(1, "mount", "memfs", point)
    finally:
        first.kill()
        first.wait()
    instar("umount", point)  # the server may have gone before its mount did
    assert instar("mount", "memfs", point).returncode == 0  # the lock went with the process
    assert instar("umount", point).returncode == 0


_HOLD = """
import sys
from pathlib import Path
from instar.host._lock import MountLock
lock = MountLock(Path(sys.argv[1]), sys.argv[2], "slowfs")
print(flush=True)
sys.stdin.read()
"""


def test_a_lock_that_is_held_names_its_holder_and_goes_with_it(tmp_path, monkeypatch):
    from instar.host import _lock

    monkeypatch.setattr(_lock, "_WAIT_SECONDS", 0.2)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), "/some/place"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        select.select([holder.stdout], [], [], 20)
        with pytest.raises(_lock.PlaceTakenError, match="slowfs, by process") as raised:
            _lock.MountLock(tmp_path, "/some/place", "memfs")
        assert str(holder.pid) in str(raised.value)
        _lock.MountLock(tmp_path, "/another/place", "memfs").release()
    finally:
        holder.kill()
        holder.communicate()
    lock = _lock.MountLock(tmp_path, "/some/place", "memfs")
    lock.release()
    assert list(tmp_path.iterdir()) == []

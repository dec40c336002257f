# SPDX-License-Identifier: Apache-2.0
"""`instar mount`: what it says and exits with, and that a mount outlives the shell and ends on a signal."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from instar.host import find_mount
from instar.host._mounts import mounts_at
from tests.cli.commands import INSTAR, RAISING, environment, instar, refused, write

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


def wait_for(event):
    """Wait for what no descriptor tells: a line in the kernel's table of mounts, which poll(2) does tell of."""
    with open("/proc/self/mountinfo") as table:
        poller = select.poll()
        poller.register(table, select.POLLPRI)
        for _ in range(300):
            if event():
                return
            poller.poll(100)
    raise AssertionError("it did not happen")


def test_a_missing_mount_point_says_how_to_make_it(tmp_path):
    assert f"{tmp_path}/none does not exist: make it with `mkdir" in refused(
        1, "mount", "memfs", tmp_path / "none"
    )


def test_a_file_is_not_a_mount_point(tmp_path):
    (tmp_path / "file").touch()
    assert "is not a directory" in refused(1, "mount", "memfs", tmp_path / "file")


def test_an_empty_mount_point_does_not_mean_the_working_directory(point):
    assert "The mount point is empty" in refused(1, "mount", "memfs", "", cwd=point)
    assert mounts_at(point) == []


@pytest.mark.parametrize("path", ["/", "//", "/etc/..", "root"])
def test_the_root_directory_is_refused(tmp_path, path):
    (tmp_path / "root").symlink_to("/")
    said = refused(1, "mount", "memfs", path, cwd=tmp_path)
    assert "/ is the root directory: a mount over it would hide everything." in said
    assert all(not line.fstype.startswith("fuse.instar") for line in mounts_at("/"))


@pytest.mark.parametrize("path", ["/etc", "/proc", "/usr/bin"])
def test_a_part_of_the_system_is_not_hidden(path):
    assert f"{path} is a part of the system and not empty" in refused(1, "mount", "memfs", path)


def test_a_directory_for_a_target_asks_whether_a_mirror_was_meant(point, tmp_path):
    assert f"{tmp_path} is a directory: did you mean mirror:{tmp_path}?" in refused(
        1, "mount", tmp_path, point
    )


def test_a_source_with_blanks_and_commas_reaches_the_table_as_it_is(point):
    done = instar("mount", "memfs", point, "-o", r"fsname=my disk\, old,size=1.5M")
    assert done.returncode == 0, done
    assert mounts_at(point)[-1].source == "my disk, old"
    assert os.statvfs(point).f_blocks * os.statvfs(point).f_frsize == 3 << 19
    assert instar("umount", point).returncode == 0


def test_a_mount_that_hangs_refuses_another_one_at_once(point):
    """Nothing is asked of the mount point before the kernel's table has said what is there."""
    instar("mount", "memfs", point, "-o", "attr_timeout=0,entry_timeout=0")
    record = find_mount(point)
    os.kill(record.pid, signal.SIGSTOP)
    try:
        assert "has memfs mounted already" in refused(1, "mount", "memfs", point)
    finally:
        os.kill(record.pid, signal.SIGCONT)
        instar("umount", point)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mount"], "Missing argument"),
        (["mount", "memfs"], "Missing argument"),
        (["mount", "--nothing", "memfs", "/x"], "No such option"),
        (["nothing"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2(words, says):
    assert says in refused(2, *words)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("nothing=1", "memfs has no option 'nothing'; it has: size"),
        ("size=big", "Option size=big of memfs"),
        ("max_write=1", "max_write must be from 4096"),
        ("attr_timeout=soon", "attr_timeout must be a number, such as 2 or 0.5."),
        ("size=1e", "Option size=1e of memfs: size must be a whole number, such as 4096, 16M or 1.5G."),
        ("allow_other=perhaps", "allow_other must be yes or no."),
    ],
)
def test_an_option_that_does_not_fit_is_named_and_nothing_is_mounted(point, options, says):
    assert says in refused(1, "mount", "memfs", point, "-o", options)
    assert mounts_at(point) == []


def test_an_unknown_target_lists_what_targets_are(point):
    assert "is not a target. Targets are: memfs" in refused(1, "mount", "nonsense", point)


def test_a_module_that_raises_says_the_line(point, tmp_path):
    file = write(tmp_path, "x = 1\n1 / 0\n")
    assert "failed while it was imported (line 2): ZeroDivisionError" in refused(1, "mount", file, point)


def test_several_classes_are_named(point, tmp_path):
    text = (
        "from instar.fs import FileSystem\nclass A(FileSystem):\n    pass\nclass B(FileSystem):\n    pass\n"
    )
    assert "several: A, B; name one as" in refused(1, "mount", write(tmp_path, text), point)


@pytest.mark.parametrize("where", ["__init__", "init"])
def test_a_file_system_that_raises_at_start_says_why_and_leaves_nothing(point, tmp_path, where):
    file = write(tmp_path, RAISING.format(where=where))
    assert "LookupError: no such star" in refused(1, "mount", file, point)
    assert mounts_at(point) == []


def test_a_second_mount_is_refused_and_a_dead_one_says_how_to_remove_it(point):
    assert instar("mount", "memfs", point).returncode == 0
    assert "has memfs mounted already: run `instar umount" in refused(1, "mount", "memfs", point)
    record = find_mount(point)
    pidfd = os.pidfd_open(record.pid)
    os.kill(record.pid, signal.SIGKILL)
    select.select([pidfd], [], [], 10)
    os.close(pidfd)
    assert "is a mount whose server is gone: run `instar umount" in refused(1, "mount", "memfs", point)
    assert record.log in instar("umount", point).stdout
    assert mounts_at(point) == []


def test_a_mount_survives_the_shell_that_made_it(point):
    script = f"{shlex.join(INSTAR)} mount memfs {point}; kill -HUP 0"
    subprocess.run(["setsid", "--wait", "sh", "-c", script], env=environment(), check=False, timeout=30)
    (point / "file").write_text("still there")
    record = find_mount(point)
    assert record.alive
    assert os.getsid(record.pid) not in (os.getsid(0), 0)
    assert instar("umount", point).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_server_in_the_foreground_cleanly(point, number):
    server = subprocess.Popen(
        [*INSTAR, "mount", "-f", "memfs", str(point)], env=environment(), stderr=subprocess.PIPE
    )
    try:
        wait_for(lambda: (record := find_mount(point)) and record.pid == server.pid)
        (point / "file").write_text("x")
        server.send_signal(number)
        _, errors = server.communicate(timeout=20)
    finally:
        server.kill()
        server.wait()
    assert b"Traceback" not in errors
    assert server.returncode == 0, errors
    assert mounts_at(point) == []


@pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs fusermount3 (Debian package fuse3)")
def test_a_user_who_is_not_root_mounts_and_unmounts_through_fusermount3(point, nobody):
    os.chown(point, 65534, 65534)

    def run(*words):
        return subprocess.run(
            [*nobody, *map(str, words)], capture_output=True, text=True, timeout=30, check=False
        )

    done = run("-m", "instar", "mount", "memfs", point, "-o", r"fsname=my disk\, old,relatime")
    assert done.returncode == 0, done
    (row,) = json.loads(run("-m", "instar", "status", "--json", point).stdout)
    assert (row["source"], row["state"]) == ("my disk, old", "serving")
    done = run("-c", f"open('{point}/file', 'w').write('x'); print(open('{point}/file').read())")
    assert done.stdout == "x\n", done
    program = f"import os; os.chdir('{point}'); print(flush=True); input()"
    busy = subprocess.Popen([*nobody, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    busy.stdout.readline()
    done = run("-m", "instar", "umount", point)
    busy.communicate(b"\n")
    assert "is in use: close what is open there" in done.stderr
    done = run("-m", "instar", "umount", point)
    assert done.returncode == 0, done
    done = run("-m", "instar", "status", point)
    assert "Nothing of Instar's is mounted" in done.stderr


@pytest.mark.skipif(shutil.which("fusermount3") is None, reason="needs fusermount3 (Debian package fuse3)")
def test_force_by_a_user_aborts_what_hangs(point, nobody, tmp_path):
    """fusermount3 cannot abort; the connection's own file lets the user who mounted."""
    connections = "/sys/fs/fuse/connections"
    if not os.path.ismount(connections):
        subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
    os.chown(point, 65534, 65534)

    def run(*words):
        command = [*nobody, "-m", "instar", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert run("mount", "memfs", point, "-o", "attr_timeout=0").returncode == 0
    (row,) = json.loads(run("status", "--json", point).stdout)
    pid, device = row["pid"], row["device"].partition(":")[2]
    os.kill(pid, signal.SIGSTOP)
    waiting = subprocess.Popen([*nobody, "-c", f"import os; os.statvfs('{point}')"], stderr=subprocess.PIPE)
    try:
        wait_for_request(device)
        done = run("umount", "--force", point)
        _, errors = waiting.communicate(timeout=20)
    finally:
        waiting.kill()
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0, done
    assert "Nothing of Instar's is mounted" in run("status", point).stderr
    assert b"OSError" in errors or b"ConnectionAbortedError" in errors


def wait_for_request(device):
    """Wait until somebody waits for an answer on this connection."""
    path = f"/sys/fs/fuse/connections/{device}/waiting"
    for _ in range(500):
        with open(path) as file:
            if int(file.read()):
                return
        time.sleep(0.01)
    raise AssertionError("nobody asks")

# SPDX-License-Identifier: Apache-2.0
"""The command in hard times: odd names, targets that fail in every way, hung and busy servers, terminals that go away."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instar.host import find_mount
from instar.host._mounts import mounts_at
from tests.cli.commands import environment, instar, refused, write
from tests.cli.test_mount import wait_for

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]

_SAFE = [
    sys.executable,
    "-P",
    "-m",
    "instar",
]  # without the working directory on the path, as the script `instar`

HELLO = """
import errno, os, stat, sys, time
from instar.fs import ROOT_INO, Attr, DirEntry, Entry, FileSystem

class Hello(FileSystem):
    def __init__(self, text: str = "hello", times: int = 1, loud: bool = False, mode: int = 0o444):
        self.text, self.mode = text * times, mode
        if loud:
            self.text = self.text.upper()

    def lookup(self, ctx, parent, name):
        if name != "hello":
            raise FileNotFoundError(errno.ENOENT, "")
        return Entry(2, self.getattr(ctx, 2))

    def getattr(self, ctx, ino, fh=None):
        if ino == ROOT_INO:
            return Attr(ino, stat.S_IFDIR | 0o755, nlink=2)
        return Attr(ino, stat.S_IFREG | self.mode, size=len(self.text))

    def read(self, ctx, ino, fh, offset, size):
        return self.text.encode()[offset:offset + size]
"""
STUCK = HELLO + "class Stuck(Hello):\n    def read(self, *args):\n        time.sleep(3600)\n"


def gone(pid, seconds=20):
    """Wait until a process is no more."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            assert os.waitid  # the server is nobody's child here
            import select

            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            assert poller.poll(seconds * 1000), f"process {pid} does not end"
        finally:
            os.close(pidfd)


@contextlib.contextmanager
def foreground(point, *words, command=_SAFE):
    """A server in the foreground, mounted; killed at the end if it still runs."""
    server = subprocess.Popen(
        [*command, "mount", "-f", *map(str, words), str(point)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_for(lambda: (record := find_mount(point)) and record.pid == server.pid)
        yield server
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def reader_of(path):
    """A program that waits in the kernel for a file of a server that does not answer."""
    process = subprocess.Popen(["cat", path], stderr=subprocess.DEVNULL)
    for _ in range(1000):
        stack = Path(f"/proc/{process.pid}/stack").read_text()
        if "fuse_" in stack or "folio_wait_bit" in stack:
            return process
        time.sleep(0.01)
    raise AssertionError(stack)


# ------------------------------------------------------------------------------------------- targets

_MESSAGES = {
    "a file that is missing": ("", ["no.py"], "no.py is not a file. `instar new NAME` writes one"),
    "a module that is missing": ("", ["no.such.module:Class"], "There is no module no.such.module"),
    "a mirror of nothing": ("", ["mirror:"], "mirror needs a directory"),
    "a mirror of what is missing": ("", ["mirror:nowhere"], "nowhere"),
    "a syntax error": ("def", ["fs.py"], "failed while it was imported: SyntaxError"),
    "a module that exits": ("import sys\nsys.exit(3)", ["fs.py"], "imported (line 2): SystemExit: 3"),
    "an import that is missing": ("import nosuch", ["fs.py"], "No module named 'nosuch'"),
    "no class": ("x = 1", ["fs.py"], "fs.py holds no file system; name one as fs.py:Name."),
    "a class that is missing": (HELLO, ["fs.py:Missing"], "fs.py has no Missing. It has: Hello."),
    "no file system": ("class A: pass", ["fs.py:A"], "A gave A, which is not an instar.fs.FileSystem."),
    "a number": ("A = 5", ["fs.py:A"], "fs.py:A is int, not a FileSystem class, object or function."),
    "a type of the interpreter": ("A = dict", ["fs.py:A"], "A"),
    "an option": (HELLO, ["fs.py", "-o", "colour=red"], "Hello has no option 'colour'; it has: text, times, loud, mode."),
    "no options at all": ("from instar.fs import FileSystem\nclass A(FileSystem): pass", ["fs.py", "-o", "x=1"], "A has no option 'x'"),
    "a bad number": (HELLO, ["fs.py", "-o", "times=many"], "Option times=many of Hello: times must be a whole number, such as 4096"),
    "a number without a value": (HELLO, ["fs.py", "-o", "times"], "Option times of Hello: times must have a value: a whole number"),
    "a negative timeout": ("", ["memfs", "-o", "attr_timeout=-1"], "attr_timeout must be 0 or more seconds"),
    "a timeout that is no number": ("", ["memfs", "-o", "attr_timeout=nan"], "attr_timeout must be 0 or more"),
    "a bad max_read": ("", ["memfs", "-o", "max_read=-5"], "max_read must be from 0"),
    "a bad latency": ("", ["memfs", "-o", "latency=low"], "latency must be auto or off"),
    "a negative size": ("", ["memfs", "-o", "size=-1"], "size must not be negative"),
    "a constructor that exits": (
        HELLO + "class B(Hello):\n    def __init__(self):\n        sys.exit('no disk')\n", ["fs.py:B"], "SystemExit: no disk",
    ),
    "a constructor that needs more": (
        HELLO + "class B(Hello):\n    def __init__(self, disk): pass\n", ["fs.py:B"],
        "missing 1 required positional argument: 'disk'",
    ),
    "an async init that raises": (
        HELLO + "class B(Hello):\n    async def init(self):\n        raise OSError(5, 'no network')\n", ["fs.py:B"], "no network",
    ),
    "an init that exits": (
        HELLO + "class B(Hello):\n    def init(self):\n        sys.exit()\n", ["fs.py:B"], "fs.py:B failed: SystemExit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ["background", "foreground"])
@pytest.mark.parametrize("name", _MESSAGES)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_mounted(point, tmp_path, name, how):
    text, (target, *options), expected = _MESSAGES[name]
    write(tmp_path, text, "fs.py")
    more = ["-f"] if how == "foreground" else []
    done = instar("mount", target, point, *options, *more, cwd=tmp_path, command=_SAFE)
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("The traceback is in ")]
    assert lines[-1].startswith("instar: "), done.stderr
    assert expected in lines[-1]
    assert len(lines) == 1 or how == "foreground"  # the foreground shows the traceback above
    assert mounts_at(point) == []
    if "The traceback is in " in done.stderr:
        log = Path(done.stderr.rpartition("The traceback is in ")[2].strip().rstrip("."))
        assert "Traceback" in log.read_text()
        log.unlink()


@pytest.mark.parametrize(
    ("target", "options", "content"),
    [
        ("hello.py", "text=abc,times=3", "abcabcabc"),
        ("hello.py:Hello", "loud,text=x", "X"),
        ("hello.py", "times=1k", "hello" * 1024),
        ("hello.py", "mode=0400", "hello"),
    ],
)
def test_options_reach_the_class_in_the_types_that_it_declares(point, tmp_path, target, options, content):
    write(tmp_path, HELLO, "hello.py")
    assert instar("mount", target, point, "-o", options, cwd=tmp_path).returncode == 0
    assert (point / "hello").read_text() == content
    assert (point / "hello").stat().st_mode & 0o777 == (0o400 if "mode" in options else 0o444)
    assert instar("umount", point).returncode == 0


def test_options_of_an_inherited_constructor_are_converted_too(point, tmp_path):
    text = "from instar.fs.memfs import MemFS\nclass Mine(MemFS): pass\n"
    assert instar("mount", write(tmp_path, text), point, "-o", "inodes=5,size=4k").returncode == 0
    assert os.statvfs(point).f_files == 5
    assert instar("umount", point).returncode == 0


def test_a_file_that_is_named_like_a_module_of_python_harms_nobody(point, tmp_path):
    write(tmp_path, HELLO + "import tempfile\n", "random.py")
    done = instar("mount", "random.py", point, cwd=tmp_path, command=_SAFE)
    assert done.returncode == 0, done
    assert (point / "hello").read_text() == "hello"
    assert instar("umount", point).returncode == 0


# -------------------------------------------------------------------------------------------- names

_NAMES = [
    b"a b\t[bold]x\\", "ü\u2028\u00a0\u3000".encode(), b"\xff\xfe", b"new\nline", b"-o", b"100%", b"cr\rlf", b"#",
]  # fmt: skip


@pytest.mark.parametrize("name", _NAMES, ids=repr)
def test_a_mount_point_may_have_any_name(tmp_path, name):
    directory = os.fsencode(tmp_path)
    path = os.fsdecode(os.path.join(directory, name))
    os.mkdir(path)
    done = instar("mount", "memfs", os.path.join(".", os.fsdecode(name)), cwd=tmp_path)
    assert done.returncode == 0, done
    assert os.path.ismount(path)
    (record,) = [each for each in json.loads(instar("status", "--json").stdout) if each["mountpoint"] == path]
    assert record["target"] == "memfs"
    table = instar("status")
    assert table.returncode == 0, table
    assert instar("status", path).returncode == 0
    done = instar("umount", path)
    assert done.returncode == 0, done
    assert not os.path.ismount(path)
    gone(record["pid"])


def test_a_mount_point_with_brackets_is_shown_as_it_is(tmp_path):
    path = tmp_path / "[bold]x[b]"
    path.mkdir()
    assert instar("mount", "memfs", path).returncode == 0
    assert f"{path} " in instar("status").stdout
    assert instar("umount", path).returncode == 0


def test_a_mount_point_may_be_a_link(point, tmp_path):
    (tmp_path / "link").symlink_to("mnt")
    assert instar("mount", "memfs", "link", cwd=tmp_path).returncode == 0
    assert len(mounts_at(point)) == 1
    assert json.loads(instar("status", "link", "--json", cwd=tmp_path).stdout)[0]["mountpoint"] == str(point)
    assert "memfs mounted already" in refused(1, "mount", "memfs", point)
    assert instar("umount", "link", cwd=tmp_path).returncode == 0
    assert mounts_at(point) == []


# ------------------------------------------------------------------------------------ busy and hung


def test_a_signal_to_a_busy_mount_detaches_it_and_the_last_close_ends_it(point):
    with foreground(point, "memfs") as server:
        with open(point / "file", "w+") as file:
            server.send_signal(signal.SIGINT)
            wait_for(lambda: mounts_at(point) == [])
            file.write("content")
            file.flush()
            file.seek(0)
            assert file.read() == "content"
            assert server.poll() is None
        assert server.wait(20) == 0
        assert "Unmounting lazily; a second signal ends the server at once." in server.stdout.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_a_busy_server_at_once(point, number):
    with foreground(point, "memfs") as server, open(point / "file", "w+"):
        server.send_signal(signal.SIGTERM)
        wait_for(lambda: mounts_at(point) == [])
        server.send_signal(number)
        assert server.wait(20) == -number


def test_two_signals_end_a_server_that_hangs_in_a_handler_and_take_its_mount_away(point, tmp_path):
    with foreground(point, write(tmp_path, STUCK), command=_SAFE) as server:
        reader = reader_of(point / "hello")
        server.send_signal(signal.SIGINT)
        time.sleep(0.2)  # the first is at work in a handler of signals, which nothing shows
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == -signal.SIGINT
        assert reader.wait(10) == 1
    assert mounts_at(point) == []


def test_a_signal_while_init_takes_its_time_ends_the_server(point, tmp_path):
    text = HELLO + "class Slow(Hello):\n    def init(self):\n        time.sleep(3600)\n"
    server = subprocess.Popen(
        [*_SAFE, "mount", "-f", str(write(tmp_path, text)), str(point)],
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: mounts_at(point))
        time.sleep(0.3)
        server.send_signal(signal.SIGINT)
        wait_for(lambda: not mounts_at(point))
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == -signal.SIGINT
    finally:
        server.kill()
        server.wait()
    assert mounts_at(point) == []


def test_a_hang_up_unmounts_a_server_in_the_foreground_unless_nohup(point):
    with foreground(point, "memfs") as server:
        server.send_signal(signal.SIGHUP)
        assert server.wait(20) == 0
    assert mounts_at(point) == []
    with foreground(point, "memfs", command=["nohup", *_SAFE]) as server:
        server.send_signal(signal.SIGHUP)
        (point / "file").write_text("content")
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.3)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def test_sigterm_to_a_server_in_the_background_unmounts_and_leaves_nothing(point):
    assert instar("mount", "memfs", point).returncode == 0
    record = find_mount(point)
    os.kill(record.pid, signal.SIGTERM)
    gone(record.pid)
    assert mounts_at(point) == []
    assert not Path(record.log).exists()


def test_umount_with_force_ends_requests_that_nobody_answers(point, tmp_path):
    assert instar("mount", write(tmp_path, STUCK), point, command=_SAFE).returncode == 0
    record = find_mount(point)
    reader = reader_of(point / "hello")
    for _ in range(100):  # the reader may still hold the file for a moment
        done = instar("umount", "--force", point)
        if done.returncode == 0:
            break
        assert "is in use" in done.stderr
    assert reader.wait(10) == 1
    assert mounts_at(point) == []
    os.kill(record.pid, signal.SIGKILL)  # it still hangs in the handler
    gone(record.pid)
    instar("status")
    Path(record.log).unlink()


# ---------------------------------------------------------------------------------- what stays behind


def test_a_mount_survives_the_terminal_and_the_process_group_that_made_it(point, tmp_path):
    controller, terminal = pty.openpty()
    script = f"{sys.executable} -P -m instar mount memfs '{point}'; echo done; exec sleep 60"
    shell = subprocess.Popen(
        ["sh", "-c", script],
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    said = b""
    while b"done" not in said:
        said += os.read(controller, 1000)
    record = find_mount(point)
    os.close(controller)  # hang up
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    (point / "file").write_text("still there")
    stat = Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()
    assert stat[4] == "0"  # no controlling terminal
    assert os.readlink(f"/proc/{record.pid}/cwd") == "/"
    assert not [fd for fd in os.listdir(f"/proc/{record.pid}/fd") if _leads_to_terminal(record.pid, fd)]
    assert instar("umount", point).returncode == 0


def _leads_to_terminal(pid, fd):
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith(("/dev/pts", "/dev/tty"))
    return False


def test_who_started_a_server_does_not_wait_for_what_the_file_system_forked(point, tmp_path):
    text = HELLO + (
        "class Forks(Hello):\n    def init(self):\n        self.pid = os.fork()\n"
        "        if self.pid == 0:\n            time.sleep(3600)\n"
        "    def destroy(self):\n        os.kill(self.pid, 9); os.waitpid(self.pid, 0)\n"
    )
    assert instar("mount", write(tmp_path, text), point, command=_SAFE).returncode == 0
    record = find_mount(point)
    os.kill(record.pid, signal.SIGTERM)
    gone(record.pid)
    assert mounts_at(point) == []


def test_the_log_of_a_server_that_failed_later_is_kept_for_a_week(point, tmp_path):
    text = HELLO + "class Bad(Hello):\n    def destroy(self):\n        raise RuntimeError('index lost')\n"
    assert instar("mount", write(tmp_path, text), point, command=_SAFE).returncode == 0
    record = find_mount(point)
    assert instar("umount", point).returncode == 0
    gone(record.pid)
    log = Path(record.log)
    instar("status")
    assert "index lost" in log.read_text()
    os.utime(log, (0, 0))
    instar("status")
    assert not log.exists()


def test_what_a_handler_raises_is_in_the_log_that_status_names(point, tmp_path):
    text = HELLO + "class Bad(Hello):\n    def read(self, *args):\n        raise RuntimeError('bad sector')\n"
    assert instar("mount", write(tmp_path, text), point, command=_SAFE).returncode == 0
    with pytest.raises(OSError):
        (point / "hello").read_bytes()
    (record,) = json.loads(instar("status", "--json", point).stdout)
    assert "bad sector" in Path(record["log"]).read_text()
    os.kill(record["pid"], signal.SIGKILL)
    gone(record["pid"])
    (line,) = [each for each in instar("status").stdout.splitlines() if str(point) in each]
    assert f"dead: `instar umount` it; log: {record['log']}" in line
    assert record["log"] in instar("umount", point).stdout
    Path(record["log"]).unlink()


def test_ten_mounts_in_a_row_leave_no_record_and_no_log(point):
    pids = []
    for _ in range(10):
        assert instar("mount", "memfs", point).returncode == 0
        pids.append(find_mount(point).pid)
        assert instar("umount", point).returncode == 0
    for pid in pids:
        gone(pid)
    assert not [name for name in os.listdir("/run/instar") if name.split(".")[0] in map(str, pids)]
    instar("status")
    for path in Path("/run/instar").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):
            assert json.loads(path.read_text()).get("mountpoint") != str(point)


def test_a_signal_unmounts_what_was_mounted_through_a_link(point, tmp_path):
    (tmp_path / "link").symlink_to("mnt")
    server = subprocess.Popen([*_SAFE, "mount", "-f", "memfs", str(tmp_path / "link")], env=environment())
    try:
        wait_for(lambda: (record := find_mount(point)) and record.pid == server.pid)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
    assert mounts_at(point) == []


def test_a_mount_whose_connection_is_aborted_is_taken_away_by_its_server(point):
    connections = Path("/sys/fs/fuse/connections")
    if not os.path.ismount(connections):
        subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
    with foreground(point, "memfs") as server:
        device = os.stat(point).st_dev
        (connections / str(os.minor(device)) / "abort").write_text("1")
        assert server.wait(20) == 0
        assert "the connection was aborted" in server.stdout.read()
    assert mounts_at(point) == []


def test_a_path_that_is_longer_than_any_may_be_is_refused_at_once(point):
    assert "File name too long" in refused(1, "mount", "memfs", "a/" * 3000)
    assert "File name too long" in refused(1, "status", "a/" * 3000)


def test_an_empty_target_is_said_to_be_empty(point):
    assert "The target is empty" in refused(1, "mount", "", point)


def test_a_runtime_directory_that_others_can_write_is_refused(point, tmp_path):
    (tmp_path / "instar").mkdir()
    (tmp_path / "instar").chmod(0o777)
    command = [*_SAFE]
    if os.geteuid() == 0:  # root's comes first
        command = [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount -t tmpfs -o mode=777 tmpfs /run/instar; exec "$@"',
            "sh",
            *_SAFE,
        ]
    said = refused(1, "mount", "memfs", point, command=command, XDG_RUNTIME_DIR=str(tmp_path))
    assert "can be written by others" in said
    assert mounts_at(point) == []

# SPDX-License-Identifier: Apache-2.0
"""`mount.instar`: the exit statuses of mount(8), alone and behind `mount -t instar`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess

import pytest

from instar.host._mounts import mounts_at
from tests.cli.commands import HELPER, RAISING, environment, instar, refused, write

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]
_LINK = "/sbin/mount.instar"


def test_wrong_usage_is_1_and_a_failed_mount_32(point, tmp_path):
    assert "Missing argument" in refused(1, command=HELPER)
    assert "does not exist" in refused(32, "memfs", tmp_path / "none", command=HELPER)
    assert "has no option 'x'" in refused(32, "memfs", point, "-o", "rw,x=1", command=HELPER)


def test_a_fake_mount_loads_and_makes_the_target_and_mounts_nothing(point, tmp_path):
    assert instar("memfs", point, "-f", command=HELPER).returncode == 0
    assert "is not a target" in refused(32, "nonsense", point, "-f", command=HELPER)
    assert "has no option 'x'" in refused(32, "memfs", point, "-f", "-o", "x=1", command=HELPER)
    done = instar(write(tmp_path, RAISING.format(where="__init__")), point, "-f", command=HELPER)
    assert done.returncode == 32
    assert "mount.instar: " in done.stderr.splitlines()[-1]
    assert "LookupError: no such star" in done.stderr
    assert mounts_at(point) == []


def test_ctrl_c_is_8_without_a_traceback(point, tmp_path):
    fifo = tmp_path / "reached"
    os.mkfifo(fifo)
    file = write(tmp_path, f"open({str(fifo)!r}, 'w').close()\nimport signal\nsignal.pause()\n")
    helper = subprocess.Popen(
        [*HELPER, str(file), str(point), "-f"], env=environment(), stderr=subprocess.PIPE
    )
    try:
        fifo.read_bytes()
        helper.send_signal(signal.SIGINT)
        _, errors = helper.communicate(timeout=20)
    finally:
        helper.kill()
        helper.wait()
    assert errors.split(b"\n")[-2] == b"mount.instar: interrupted"
    assert b"Traceback" not in errors
    assert helper.returncode == 8


def test_mount_8_finds_it_by_the_type(point, tmp_path):
    if os.path.lexists(_LINK):
        pytest.skip(f"{_LINK} is there already, and is not this checkout's")
    script = tmp_path / "mount.instar"
    source = environment()["PYTHONPATH"]
    script.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(source)} exec {shlex.join(HELPER)} "$@"\n')
    script.chmod(0o755)
    os.symlink(script, _LINK)
    try:
        command = ["mount", "-t", "instar", "-o", "size=1M,nosuid,noatime", "memfs", str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done
        assert os.statvfs(point).f_blocks * os.statvfs(point).f_frsize == 1 << 20
        assert "noatime" in mounts_at(point)[-1].options
        table = tmp_path / "fstab"
        subprocess.run([shutil.which("umount") or "umount", str(point)], check=True, timeout=30)
        table.write_text(f"memfs {point} instar size=2M,noauto 0 0\n")
        subprocess.run(["mount", "-T", str(table), str(point)], check=True, timeout=30)
        assert os.statvfs(point).f_blocks * os.statvfs(point).f_frsize == 2 << 20
        subprocess.run(["umount", str(point)], check=True, timeout=30)
    finally:
        os.unlink(_LINK)

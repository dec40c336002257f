# SPDX-License-Identifier: Apache-2.0
"""A mount point for each test, free again after it; and a user who is not root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from instar.edge import mount as edge
from instar.host._mounts import mounts_at
from tests.support.leaks import MARK


@pytest.fixture
def point(tmp_path):
    """An empty directory to mount on."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    while mounts_at(path):
        edge.umount(str(path), edge.UmountFlags.DETACH)


@pytest.fixture
def nobody(tmp_path):
    """Run a Python program as the user nobody, on a machine whose /dev/fuse is open to all, as udev makes it.

    The machine is a mount namespace of the test's own, so the real device keeps its mode.
    """
    device = tmp_path / "fuse"
    os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    os.chmod(device, 0o666)
    script = 'mount --bind "$0" /dev/fuse && echo ready && read line'
    machine = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(device)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    try:
        assert machine.stdout.readline() == b"ready\n"
        runtime = tmp_path / "runtime"
        runtime.mkdir()
        os.chown(runtime, 65534, 65534)
        for directory in list(tmp_path.parents)[:2]:
            os.chmod(directory, 0o755)
        os.chmod(tmp_path, 0o755)
        command = ["nsenter", f"--mount=/proc/{machine.pid}/ns/mnt", "--wd=/"]
        command += [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "env",
            "-i",
            "PATH=/usr/bin:/bin",
        ]
        command += [f"XDG_RUNTIME_DIR={runtime}", f"{MARK}={os.environ[MARK]}"]
        command += [f"PYTHONPATH={':'.join(filter(None, sys.path))}"]
        yield [*command, _interpreter_for(command)]
    finally:
        machine.communicate(b"\n")


def _interpreter_for(command):
    """An interpreter of this version that may be run so; skips the test where there is none."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    programs = [sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"]
    for program in programs:
        tried = subprocess.run(
            [*command, program, "-c", "import instar.cli"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return program
    pytest.skip(
        f"NOT TESTED: fusermount3 as a user. None of {programs} runs for the user nobody with this checkout"
    )

# SPDX-License-Identifier: Apache-2.0
"""Without root: in a user namespace, through fusermount3, and where there is no device at all."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

import pytest

from instar.host._mounts import mounts_at
from tests.cli.commands import INSTAR, environment

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]

_SESSION = """
set -e
{instar} mount memfs {point}
echo content > {point}/file
cat {point}/file
{instar} status | grep -c {point}
{instar} umount {point}
ls {point} | wc -l
"""


def script(text, point, *before, program=None, **environ):
    """Run a shell script behind a command such as unshare."""
    instar = shlex.join(program or INSTAR)
    text = text.format(instar=instar, point=shlex.quote(str(point)))
    return subprocess.run(
        [*before, "sh", "-c", text],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def path_without_fusermount(tmp_path):
    """A PATH with everything but fusermount3."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for program in ("sh", "cat", "ls", "wc", "grep", "env", "python3"):
        os.symlink(shutil.which(program), directory / program)
    return str(directory)


def test_in_a_user_namespace_a_mount_needs_no_fusermount(point, tmp_path, path_without_fusermount):
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    unshare = [shutil.which("unshare"), "--user", "--map-root-user", "--mount"]
    done = script(_SESSION, point, *unshare, PATH=path_without_fusermount, XDG_RUNTIME_DIR=str(runtime))
    assert done.returncode == 0, done
    assert done.stdout == "content\n1\n0\n"
    assert mounts_at(point) == []  # it was the namespace's own


def test_a_user_mounts_in_a_namespace_of_his_own_without_fusermount(
    point,
    tmp_path,
    nobody,
    path_without_fusermount,
):
    os.chown(point, 65534, 65534)
    *command, python = nobody
    inner = ["unshare", "--user", "--map-root-user", "--mount", "env", f"PATH={path_without_fusermount}"]
    text = _SESSION.format(instar=f"{python} -m instar", point=shlex.quote(str(point)))
    done = subprocess.run(
        [*command, *inner, "sh", "-c", text], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done
    assert done.stdout == "content\n1\n0\n"


def test_a_user_who_may_not_allow_others_is_told_what_fusermount_says(point, nobody):
    os.chown(point, 65534, 65534)
    done = subprocess.run(
        [*nobody, "-m", "instar", "mount", "memfs", str(point), "-o", "allow_other"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "user_allow_other" in done.stderr


def test_without_the_device_one_line_says_how_to_get_it(point):
    text = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && exec {instar} mount memfs {point}"
    done = script(text, point, "unshare", "--mount", "--propagation", "private")
    assert done.returncode == 1
    assert done.stderr == (
        "instar: There is no /dev/fuse: load the module with `modprobe fuse`, or give the container the device.\n"
    )


def test_with_something_else_in_the_place_of_the_device_it_fails_in_one_line(point):
    text = "mount --bind /dev/null /dev/fuse && exec {instar} mount memfs {point}"
    done = script(text, point, "unshare", "--mount", "--propagation", "private")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done
    assert "Invalid argument" in done.stderr


def test_without_the_right_to_mount_and_without_fusermount_it_says_what_to_install(
    point, path_without_fusermount
):
    drop = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    drop = [shutil.which(drop[0]), *drop[1:]]
    text = "exec {instar} mount memfs {point}"
    done = script(text, point, *drop, PATH=path_without_fusermount)
    assert done.returncode == 1
    assert done.stderr == (
        "instar: Mounting without root needs the program fusermount3: install the package fuse3, or run as root.\n"
    )

# SPDX-License-Identifier: Apache-2.0
"""Programs that tests run: there, or said to be missing."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

__all__ = ["need", "run"]

_PACKAGES = {"mkfs.ext4": "e2fsprogs", "setfacl": "acl", "rsync": "rsync", "sqlite3": "sqlite3"}


def need(*programs):
    """Fail if a program is missing: ``make test`` installs them, as root. Without root, skip."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if missing:
        packages = " ".join(_PACKAGES.get(program, program) for program in missing)
        sentence = f"not installed: {', '.join(missing)}; apt-get install {packages}"
        if os.geteuid() == 0:
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)


def run(*command, timeout=60, check=True, stdin=subprocess.DEVNULL, **more):
    """Run a program; what it printed, both streams together. A failure shows all of it.

    Afterwards nothing of it runs: at the timeout the whole process group is killed.
    """
    process = subprocess.Popen(
        [os.fspath(word) for word in command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
        **more,
    )
    with process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, 9)
            process.wait()
            raise
    if check and process.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} ended with {process.returncode}:\n{output[-6000:]}"
        )
    return output

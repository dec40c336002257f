# SPDX-License-Identifier: Apache-2.0
"""The commands, run as a shell runs them: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["HELPER", "INSTAR", "RAISING", "environment", "instar", "refused", "write"]

INSTAR = [sys.executable, "-m", "instar"]
HELPER = [sys.executable, "-c", "from instar.cli import mount_helper; mount_helper()"]
RAISING = """from instar.fs import FileSystem
class Raising(FileSystem):
    def {where}(self):
        raise LookupError("no such star")
"""
_SOURCE = Path(__file__).resolve().parents[2] / "src"


def environment(**more):
    """This process's, in which ``instar`` is that of this checkout."""
    return {**os.environ, "PYTHONPATH": str(_SOURCE), "TERM": "dumb", **more}


def instar(*words, cwd=None, command=INSTAR, **more):
    """Run the command to its end."""
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def refused(status, *words, **how):
    """Run the command, which must exit with ``status`` and no traceback; returns what it said."""
    done = instar(*words, **how)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done.stderr


def write(directory, text, name="target_file.py"):
    """Write a target and return its path."""
    (directory / name).write_text(text)
    return directory / name

# SPDX-License-Identifier: Apache-2.0
"""`instar completion` prints a script that the shell accepts and that asks for the verbs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.commands import instar, refused


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_for_the_shell(shell):
    done = instar("completion", shell)
    assert done.returncode == 0
    assert "_INSTAR_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def test_the_verbs_are_offered():
    done = instar(_INSTAR_COMPLETE="bash_complete", COMP_WORDS="instar u", COMP_CWORD="1")
    assert done.stdout.split(",")[1].split() == ["umount"]


def test_another_shell_is_wrong_usage():
    assert "is not one of 'bash', 'zsh', 'fish'" in refused(2, "completion", "csh")

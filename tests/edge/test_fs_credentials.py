# SPDX-License-Identifier: Apache-2.0
"""Capabilities of a server that is not root and lends its identity; that of root is in test_file_status.py."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.root

_CAPABILITIES = "+setuid,+setgid,+dac_read_search"  # the last lets it read this checkout, wherever that is
_SERVER = """
from instar.edge.fs_credentials import Capability, FsCredentials
credentials = FsCredentials()
assert credentials.can_assume
assert credentials.has(Capability.DAC_READ_SEARCH)
credentials.assume(0, 0)
credentials.restore(0, 0)
credentials.refresh()
assert credentials.has(Capability.DAC_READ_SEARCH), "lost on the way back from 0"
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (Debian package util-linux)")
def test_a_server_with_capabilities_alone_keeps_them_after_it_made_a_file_for_root():
    command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    command += [f"--inh-caps={_CAPABILITIES}", f"--ambient-caps={_CAPABILITIES}"]
    script = f"import sys\nsys.path[:0] = {sys.path!r}\n{_SERVER}"
    done = subprocess.run([*command, sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


_LOST = """
import os
from instar.edge.fs_credentials import FsCredentials
credentials = FsCredentials()
os.setresuid(1000, 1000, 1000)
try:
    credentials.assume(12345, 0)
except PermissionError:
    fsuid = next(line for line in open("/proc/thread-self/status") if line.startswith("Uid:")).split()[4]
    assert fsuid != "12345"
    os._exit(0)
os._exit(1)
"""


def test_a_server_that_has_lost_its_capabilities_is_told_and_lends_nothing():
    script = f"import sys\nsys.path[:0] = {sys.path!r}\n{_LOST}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr

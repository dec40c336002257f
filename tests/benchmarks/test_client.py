# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import subprocess
import sys

import data
import metadata
import pytest
from _harness.client import CLIENT_DIR, Client, ClientError, Load

PHASES = metadata.PHASES + data.PHASES


@pytest.fixture(scope="module", params=["c", "python"])
def client(request, tmp_path_factory):
    if request.param == "python":
        return Client([sys.executable, str(CLIENT_DIR / "client.py")], "Python")
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    return Client.build(str(tmp_path_factory.mktemp("client")))


def test_every_phase_runs_alone_on_an_empty_directory(client, tmp_path):
    """So `--only` may name any of them."""
    for phase in PHASES:
        (tmp_path / phase).mkdir()
        (measured,) = client.run(str(tmp_path / phase), Load((phase,), ops=20, mib=1))
        assert measured.error == ""
        assert measured.rate > 0


def test_all_phases_run_one_after_the_other_and_leave_no_files(client, tmp_path):
    measured = client.run(str(tmp_path), Load((*metadata.PHASES, "create", "unlink"), ops=20))
    assert [one.error for one in measured] == [""] * len(measured)
    assert list((tmp_path / "w0").iterdir()) == []


def test_a_phase_that_fails_names_the_call_and_the_next_ones_still_run(client, tmp_path):
    (tmp_path / "w0").mkdir()
    (tmp_path / "w0" / "d0000005").touch()
    mkdir, stat = client.run(str(tmp_path), Load(("mkdir", "stat"), ops=20))
    assert "exists" in mkdir.error
    assert stat.error == ""


def test_workers_each_have_a_directory_and_their_work_is_added_up(client, tmp_path):
    if client.name == "Python":
        with pytest.raises(ClientError):
            client.run(str(tmp_path), Load(("create",), ops=20, threads=2))
        return
    (measured,) = client.run(str(tmp_path), Load(("create",), ops=20, threads=2, processes=2))
    assert measured.operations == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w0", "w1", "w2", "w3"]


def test_the_c_and_the_python_client_know_the_same_phases(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    program = Client.build(str(tmp_path)).command
    listed = subprocess.run([*program, "--list"], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == set(PHASES)

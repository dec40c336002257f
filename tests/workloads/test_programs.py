# SPDX-License-Identifier: Apache-2.0
"""Everyday programs work on a mount: a compiler, make, Python's venv, programs that run from it."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.tools import need, run
from tests.support.trees import make_sources

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def test_gcc_compiles_and_links_and_the_program_runs(top):
    need("gcc", "ar")
    sources = make_sources(top)
    for source in sources:
        run("gcc", "-O0", "-c", source, cwd=top)
    objects = [source.replace(".c", ".o") for source in sources]
    run("ar", "rcs", "libparts.a", *objects[:-1], cwd=top)
    run("gcc", "-o", "program", objects[-1], "libparts.a", cwd=top)
    assert run(top / "program") == f"{len(sources) - 1}\n"
    run("strip", top / "program")
    assert run(top / "program") == f"{len(sources) - 1}\n"


def test_a_virtual_environment_is_made_there_and_works(top):
    run(sys.executable, "-m", "venv", "--without-pip", top / "venv", timeout=120)
    python = top / "venv" / "bin" / "python"
    package = (
        top
        / "venv"
        / "lib"
        / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        / "site-packages"
        / "there"
    )
    package.mkdir()
    (package / "__init__.py").write_text("answer = 42\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    for _ in range(2):  # the second time from the byte code that the first wrote
        assert run(python, "-c", "import there; print(there.answer)", env=environment) == "42\n"
    assert list(package.glob("__pycache__/*.pyc"))


def test_a_script_and_a_copied_program_run_from_the_mount(top):
    script = top / "script"
    script.write_text("#!/bin/sh\necho from a script\n")
    script.chmod(0o755)
    assert run(script) == "from a script\n"
    run("cp", "/bin/true", top / "program")
    run(top / "program")
    os.chmod(top / "program", 0o644)
    with pytest.raises(PermissionError):
        run(top / "program")


def test_dd_and_cmp_agree_on_ten_mebibytes(top, tmp_path):
    data = os.urandom(10 << 20)
    (tmp_path / "data").write_bytes(data)
    run("dd", f"if={tmp_path / 'data'}", f"of={top / 'data'}", "bs=64k", "conv=fsync", "status=none")
    run("cmp", tmp_path / "data", top / "data")
    run(
        "dd",
        f"if={top / 'data'}",
        f"of={top / 'again'}",
        "bs=4k",
        "oflag=direct",
        "iflag=direct",
        "status=none",
    )
    run("cmp", tmp_path / "data", top / "again")

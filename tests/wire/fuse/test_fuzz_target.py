# SPDX-License-Identifier: Apache-2.0
"""The fuzz target takes any input. Long runs are `make fuzz`; this keeps it working and runs it for a moment."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.wire import fuse as w
from tests.wire.fuse import strategies

ROOT = pathlib.Path(__file__).parents[3]
TARGET = ROOT / "fuzz" / "fuzz_fuse_wire.py"
HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def load():
    """The target as a module, with a stand-in for atheris, which is needed to fuzz but not to take an input."""
    stand_in = types.ModuleType("atheris")
    stand_in.instrument_imports = lambda **_: contextlib.nullcontext()
    before = sys.modules.get("atheris")
    sys.modules["atheris"] = stand_in
    try:
        spec = importlib.util.spec_from_file_location("fuzz_fuse_wire", TARGET)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        del sys.modules["atheris"]
        if before is not None:
            sys.modules["atheris"] = before
    return module


ONE_INPUT = load().one_input
BYTES = st.binary(max_size=200)
MESSAGES = strategies.ANY_REQUEST.map(lambda pair: w.encode_request(*pair))


@settings(max_examples=300)
@given(
    head=st.binary(min_size=2, max_size=2), rest=BYTES | MESSAGES | st.tuples(MESSAGES, BYTES).map(b"".join)
)
def test_fuzz_target_takes_any_input(head, rest):
    ONE_INPUT(head + rest)


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris is not installed: pip install -e .[fuzz]")
def test_fuzzer_finds_nothing_in_a_moment(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TARGET), "-max_total_time=10", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr[-2000:]

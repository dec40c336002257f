# SPDX-License-Identifier: Apache-2.0
"""MemFS and MirrorFS do what ext4 does, over ten thousand steps of a hypothesis state machine."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from instar.verify.model import Difference
from tests.model.machine import Arena, make_machine
from tests.model.mutants import AppendIgnored, RenameLosesXattrs, TruncateOffByOne
from tests.support.ext4 import ext4_image
from tests.support.subjects import SUBJECTS, subject

pytestmark = pytest.mark.root

_EXAMPLES, _LENGTH = 100, 150


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SUBJECTS)
def test_no_step_differs_from_ext4(name):
    with subject(name) as top, ext4_image(256) as oracle:
        arena = Arena(str(top), str(oracle))
        settings = hypothesis.settings(max_examples=_EXAMPLES, stateful_step_count=_LENGTH)
        run_state_machine_as_test(make_machine(arena), settings=settings)
    print(f"{arena.steps} steps, {len(arena.kinds)} kinds of operations")
    assert arena.steps >= 10_000
    assert len(arena.kinds) >= 35


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", [TruncateOffByOne, AppendIgnored, RenameLosesXattrs])
def test_the_machine_finds_a_file_system_that_is_wrong(mutant, tmp_path):
    directories = [tmp_path / "subject", tmp_path / "oracle"]
    for directory in directories:
        directory.mkdir()
    arena = Arena(*map(str, directories), make_subject=mutant)
    settings = hypothesis.settings(
        max_examples=400,
        stateful_step_count=60,
        phases=[hypothesis.Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(Difference):
        run_state_machine_as_test(make_machine(arena), settings=settings)

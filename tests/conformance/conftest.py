# SPDX-License-Identifier: Apache-2.0
"""The oracle: what the conformance suite says of a fresh ext4, found out once for each run of the tests."""

from __future__ import annotations

import pytest

from instar.verify.posix import run
from tests.support.ext4 import ext4_image, why_not


@pytest.fixture(scope="session")
def ext4():
    """A fresh ext4 of 1 GiB (the space is taken as it is used)."""
    missing = why_not()
    if missing is not None:
        pytest.skip(missing)
    with ext4_image(1024) as path:
        yield path


@pytest.fixture(scope="session")
def oracle_report(ext4):
    """The suite's report of ext4."""
    return run(ext4)

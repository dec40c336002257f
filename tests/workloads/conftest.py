# SPDX-License-Identifier: Apache-2.0
"""A mount of each file system for each test."""

from __future__ import annotations

import pytest

from tests.support.subjects import SUBJECTS, subject


@pytest.fixture(params=SUBJECTS)
def top(request):
    """An empty mounted file system: MemFS, then MirrorFS."""
    with subject(request.param) as path:
        yield path

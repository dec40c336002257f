# SPDX-License-Identifier: Apache-2.0
"""The kernel's structures are in the machine's byte order, and so are the formats that read them."""

from __future__ import annotations

import pathlib
import re

import pytest

import instar.edge

pytestmark = pytest.mark.timeout(30)

_FILES = sorted(pathlib.Path(instar.edge.__path__[0]).glob("*.py"))
_OTHER_ORDER = re.compile(r"""["'][<>!][0-9a-zA-Z? ]+["']""")


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_no_format_of_the_edge_fixes_a_byte_order(file):
    assert _OTHER_ORDER.findall(file.read_text()) == []

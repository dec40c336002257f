# SPDX-License-Identifier: Apache-2.0
"""Giving back memory that the C library holds free."""

from __future__ import annotations

import os
import platform

import pytest

from instar.edge import malloc


def _resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim(3) is glibc's")
def test_memory_between_live_objects_goes_back_to_the_system():
    objects = [bytes([number % 256]) * 3000 for number in range(40_000)]
    objects = objects[::20]
    before = _resident()
    assert malloc.trim()
    assert before - _resident() > 40 << 20
    assert len(objects) == 2000


def test_a_library_without_the_call_is_no_trouble(monkeypatch):
    monkeypatch.setattr(malloc, "_malloc_trim", None)
    assert malloc.trim() is False

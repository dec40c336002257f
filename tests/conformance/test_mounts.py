# SPDX-License-Identifier: Apache-2.0
"""The file systems that ship with Instar pass on a real mount what ext4 passes."""

from __future__ import annotations

import pytest

import instar.testing
from instar.verify.posix import run

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

_OPTIONS = {"allow_other": True, "default_permissions": True, "suid": True, "dev": True}

# What passes on ext4 and not here, and why that is right: case id -> reason.
_COLLAPSE = (
    "FUSE carries no COLLAPSE_RANGE and no INSERT_RANGE: fuse_file_fallocate() refuses them in the kernel"
)
DECLARED: dict[str, str] = {
    "seek/collapse_range_takes_bytes_out": _COLLAPSE,
    "seek/insert_range_makes_room": _COLLAPSE,
}


def _compare(path, oracle_report):
    report = run(path)
    differences = [one for one in report.compare(oracle_report) if one.id not in DECLARED]
    assert differences == [], f"{report.summary()}\n" + "\n".join(str(one) for one in differences)


def test_memfs_passes_what_ext4_passes(oracle_report):
    with instar.testing.mounted("memfs", options=_OPTIONS) as path:
        _compare(path, oracle_report)


def test_mirror_of_an_ext4_passes_what_ext4_passes(ext4, oracle_report):
    shown = ext4 / "shown"
    shown.mkdir()
    with instar.testing.mounted(f"mirror:{shown}", options=_OPTIONS) as path:
        _compare(path, oracle_report)
    assert list(shown.iterdir()) == [], "the suite leaves nothing in the mirrored directory"
    shown.rmdir()

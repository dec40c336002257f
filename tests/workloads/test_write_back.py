# SPDX-License-Identifier: Apache-2.0
"""What was stored through a mapping reaches the file before it is cut, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from instar.edge.mmap_file import PAGE_SIZE, FileMapping, Protection

pytestmark = pytest.mark.root

_PAGES = 64
_SYNC = (
    "import os, sys\nfd = os.open(sys.argv[1], os.O_RDWR)\nprint('go', flush=True)\nwhile True: os.fsync(fd)"
)


def _cut_by_open(path, fd):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def _cut_by_ftruncate(path, fd):
    os.ftruncate(fd, 0)


def _cut_by_truncate(path, fd):
    os.truncate(path, 0)


@pytest.mark.parametrize("cut", [_cut_by_open, _cut_by_ftruncate, _cut_by_truncate])
def test_a_file_that_is_cut_while_its_pages_are_written_back_stays_cut(cut, top):
    """With FUSE_ATOMIC_O_TRUNC and without FUSE_WRITEBACK_CACHE the kernel does not hold such writes back.

    In that case fuse_open() (fs/fuse/file.c) takes neither the inode's lock nor fuse_set_nowrite(), and a WRITE that is
    sent between OPEN and the truncation of the page cache makes the file long again. As two requests, OPEN and SETATTR,
    it is safe.
    """
    path = top / "file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    other = subprocess.Popen([sys.executable, "-c", _SYNC, path], stdout=subprocess.PIPE)
    long = 0
    try:
        assert other.stdout.readline() == b"go\n"
        for _ in range(400):
            os.ftruncate(fd, _PAGES * PAGE_SIZE)
            with FileMapping(fd, _PAGES * PAGE_SIZE, Protection.READ | Protection.WRITE) as mapping:
                for page in range(_PAGES):
                    mapping.store(page * PAGE_SIZE, b"stored")
                cut(path, fd)
                long += os.fstat(fd).st_size != 0
    finally:
        other.kill()
        other.communicate()
        os.close(fd)
    assert long == 0, f"the file was long again {long} times out of 400"

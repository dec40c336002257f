# SPDX-License-Identifier: Apache-2.0
"""Data from the page cache is written whole or its loss is told: the kernel does not look at the count of such a WRITE."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import subprocess

import pytest

from instar.fs.memfs import MemFS
from instar.testing import mounted

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]

_SIZE = 1 << 20


class Short(MemFS):
    """Takes at most 1,000 bytes at a time."""

    def write(self, ctx, ino, fh, offset, data, flags):
        return super().write(ctx, ino, fh, offset, data[:1000], flags)


class ShortAndSlow(Short):
    async def write(self, *args):
        await asyncio.sleep(0)
        return Short.write(self, *args)


class Stuck(MemFS):
    """Takes nothing."""

    def write(self, ctx, ino, fh, offset, data, flags):
        return 0


class Full(Short):
    """Has room for 100,000 bytes."""

    def write(self, ctx, ino, fh, offset, data, flags):
        if offset >= 100_000:
            raise OSError(errno.ENOSPC, "")
        return super().write(ctx, ino, fh, offset, data, flags)


def write_through_a_map(path, content):
    """Write ``content`` through a memory map; raises what msync(2) says."""
    with open(path, "w+b") as file:
        file.truncate(len(content))
        with mmap.mmap(file.fileno(), len(content)) as pages:
            pages[:] = content
            pages.flush()


@pytest.mark.parametrize("kind", [Short, ShortAndSlow])
def test_short_writes_are_gone_on_with(kind):
    content = os.urandom(_SIZE)
    with mounted(kind) as point:
        write_through_a_map(point / "file", content)
        assert (point / "file").read_bytes() == content


@pytest.mark.parametrize(("kind", "code"), [(Stuck, errno.EIO), (Full, errno.ENOSPC)])
def test_what_could_not_be_written_is_told_by_msync(kind, code):
    with mounted(kind) as point, pytest.raises(OSError) as raised:
        write_through_a_map(point / "file", bytes(range(256)) * (_SIZE // 256))
    assert raised.value.errno == code


def test_a_mirror_of_a_full_file_system_tells_of_lost_pages(tmp_path):
    backing = tmp_path / "tiny"
    backing.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", backing], check=True)
    try:
        with mounted(f"mirror:{backing}") as point, pytest.raises(OSError) as raised:
            write_through_a_map(point / "file", bytes(range(1, 251)) * 4000)
        assert raised.value.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", backing], check=True)

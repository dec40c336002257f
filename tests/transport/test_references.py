# SPDX-License-Identifier: Apache-2.0
"""What the kernel holds of a file system is given back; and long use leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import sys
import threading
from pathlib import Path

import pytest

from instar.fs.memfs import MemFS
from instar.testing import mounted
from instar.transport import FuseDevice
from tests.support.tools import run
from tests.transport.services import drop_caches, until

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


# ------------------------------------------------------------------------------------------ references


class Recording(MemFS):
    """Shows what the kernel knows of it in the attribute ``user.known`` of the root."""

    def __init__(self):
        super().__init__()
        self.forgotten = 0

    def forget(self, ino):
        assert ino not in self.session.known
        self.forgotten += 1
        super().forget(ino)

    def init(self):
        # The session is the only one that counts; the test reads it over the shoulder.
        self.session = next(cell.session for cell in _devices() if cell.session.fs is self)

    def getxattr(self, ctx, ino, name):
        if name == "user.known":
            known = self.session.known
            figures = self.statfs(ctx, ino)
            nodes = figures.files - figures.ffree
            return f"{len(known)} {sum(known.values())} {self.forgotten} {nodes} {len(self.session._directories)} {len(self.session.tasks)} {len(self.session.mappable)}".encode()
        return super().getxattr(ctx, ino, name)


def _devices():
    return [each for each in gc.get_objects() if isinstance(each, FuseDevice)]


class Known:
    """The figures of a `Recording`."""

    def __init__(self, top):
        self.top = top

    def __call__(self):
        values = map(int, os.getxattr(self.top, "user.known").split())
        return dict(
            zip(
                ("nodes", "lookups", "forgotten", "left", "directories", "tasks", "mappable"),
                values,
                strict=False,
            )
        )


def test_after_many_operations_and_an_end_of_the_caches_every_reference_has_been_given_back():
    with mounted(Recording) as top:
        known = Known(top)
        before = known()
        for turn in range(4):
            for number in range(50 * turn, 50 * turn + 50):
                path = top / f"d{number % 5}"
                path.mkdir(exist_ok=True)
                file = path / f"f{number}"
                file.write_bytes(b"x" * 100)
                os.link(file, path / f"l{number}")
                os.symlink("nowhere", path / f"s{number}")
                os.mkfifo(path / f"p{number}")
                os.rename(file, path / f"g{number}")
                with contextlib.suppress(FileNotFoundError):
                    os.stat(path / "missing")
                with open(path / f"g{number}", "rb+") as opened, mmap.mmap(opened.fileno(), 0) as memory:
                    memory[0:1] = b"y"
                fd = os.open(path, os.O_TMPFILE | os.O_RDWR)
                os.close(fd)
            run("find", top, "-ls")
            run("ls", "-laR", top)
            with contextlib.chdir(top / "d1"):
                os.stat(".")
            assert known()["nodes"] > 100
            if turn % 2:
                run("rm", "-rf", *top.glob("d*"))
            drop_caches()
            until(lambda: known()["lookups"] == 0)
            figures = known()
            assert figures["nodes"] == figures["directories"] == figures["tasks"] == 0
            assert figures["forgotten"] > 150 * (turn + 1)
            until(lambda: known()["mappable"] == 0)
            assert len(os.listdir(top)) == (0 if turn % 2 else 5)
            drop_caches()
            until(lambda: known()["lookups"] == 0)
            if turn % 2:
                assert known()["left"] == before["left"] == 1  # the root


def test_a_node_that_is_in_use_is_not_forgotten():
    with mounted(Recording) as top:
        known = Known(top)
        (top / "dir").mkdir()
        (top / "open").write_bytes(b"content")
        with contextlib.chdir(top / "dir"), open(top / "open", "rb") as file:
            (top / "open").unlink()
            drop_caches()
            until(lambda: known()["lookups"] <= 2)
            assert file.read() == b"content"
            assert os.getcwd() == str(top / "dir")
        drop_caches()
        until(lambda: known()["lookups"] == 0)


# ------------------------------------------------------------------------------------------------ growth

_EACH = """
import fcntl, mmap, os, select, sys
top, count = sys.argv[1], int(sys.argv[2])
os.chdir(top)
open("file", "wb").write(b"x" * 8192)
os.makedirs("dir", exist_ok=True)
fd, directory = os.open("file", os.O_RDWR), os.open("dir", os.O_RDONLY)
poller = select.poll(); poller.register(fd, select.POLLIN)
def refused(call, *args):
    try: call(*args)
    except OSError: pass
def each(number):
    os.stat("file"); refused(os.stat, "missing")
    os.mkdir("d"); os.rmdir("d")
    os.symlink("file", "s"); os.readlink("s"); os.unlink("s")
    os.link("file", "l"); os.rename("l", "m"); os.unlink("m")
    os.mkfifo("p"); os.unlink("p")
    os.close(os.open("new", os.O_CREAT | os.O_RDWR)); os.unlink("new")
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))
    os.close(os.open("file", os.O_RDONLY))
    os.pwrite(fd, b"y" * 4096, 0); os.pread(fd, 4096, 0)
    os.ftruncate(fd, 4096); os.posix_fallocate(fd, 0, 8192); os.lseek(fd, 0, os.SEEK_DATA)
    os.fsync(fd); os.fsync(directory); os.copy_file_range(fd, fd, 100, 0, 4096)
    os.chmod("file", 0o600 + number % 8); os.utime("file")
    os.setxattr("file", "user.a", b"1"); os.getxattr("file", "user.a"); os.listxattr("file"); os.removexattr("file", "user.a")
    refused(os.getxattr, "file", "user.none")
    os.listdir("dir"); list(os.scandir(".")); os.statvfs(".")
    fcntl.lockf(fd, fcntl.LOCK_EX); fcntl.lockf(fd, fcntl.LOCK_UN); fcntl.flock(fd, fcntl.LOCK_EX); fcntl.flock(fd, fcntl.LOCK_UN)
    refused(fcntl.ioctl, fd, 0x80086901, bytes(8)); poller.poll(0); os.access("file", os.R_OK)
for number in range(count):
    each(number)
"""


class Measured(Recording):
    """A MemFS with locks of its own, some operations async, that says how much memory it takes."""

    entry_timeout = attr_timeout = negative_timeout = 0.0

    def getlk(self, ctx, ino, fh, owner, lock):
        return None

    async def setlk(self, ctx, ino, fh, owner, lock, *, wait, flock):
        return None

    async def fsync(self, ctx, ino, fh, datasync):
        return None

    def getxattr(self, ctx, ino, name):
        if name == "user.memory":
            gc.collect()
            size = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
            fds = len(os.listdir("/proc/self/fd"))
            return f"{size} {len(gc.get_objects())} {fds} {threading.active_count()}".encode()
        return super().getxattr(ctx, ino, name)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_operations_of_each_kind_leave_no_object_no_descriptor_and_no_memory():
    with mounted(Measured) as top:

        def figures():
            drop_caches()
            until(lambda: Known(top)()["lookups"] <= 3)
            return list(map(int, os.getxattr(top, "user.memory").split()))

        run(sys.executable, "-c", _EACH, top, "500")
        size, objects, fds, threads = figures()
        run(sys.executable, "-c", _EACH, top, "10000", timeout=280)
        size_after, objects_after, fds_after, threads_after = figures()
        print(f"memory {size} -> {size_after} bytes, objects {objects} -> {objects_after}")
        assert fds_after == fds
        assert threads_after == threads
        assert objects_after - objects < 300
        assert size_after - size < 3 << 20
        assert Known(top)()["tasks"] == 0

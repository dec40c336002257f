# SPDX-License-Identifier: Apache-2.0
"""The node table of a mirror: few descriptors for many nodes, and what happens when there are none left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import traceback

import pytest

from instar.fs import ROOT_INO, Context, RenameFlags, SetAttr, WriteFlags
from instar.fs.mirror import MirrorFS
from instar.testing import mounted
from tests.support.ext4 import ext4_image, why_not
from tests.support.mirrors import ROOT, mirrored, names

pytestmark = pytest.mark.root


def refused(code, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def descriptor_limit(free):
    """Leave the process about ``free`` descriptors beyond those that it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = []
    try:
        while True:  # fill the gaps below the highest, so that the limit counts
            fd = os.dup(0)
            fillers.append(fd)
            if fd > highest:
                break
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + free, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


@pytest.fixture(params=["disk", "tmpfs"])
def where(request):
    return "/dev/shm" if request.param == "tmpfs" else None


def fill(below, count):
    for number in range(count):
        (below / f"f{number}").write_bytes(b"%d" % number)


def read(fs, ino):
    fh = fs.open(ROOT, ino, os.O_RDONLY).fh
    try:
        return fs.read(ROOT, ino, fh, 0, 100)
    finally:
        fs.release(ROOT, ino, fh, 0)


def test_nodes_hold_no_descriptors_beyond_the_cache(where):
    with mirrored(where) as (fs, below):
        fs.nodes.capacity = 32
        fill(below, 500)
        before = descriptors()
        inos = [fs.lookup(ROOT, ROOT_INO, f"f{number}").ino for number in range(500)]
        assert len(set(inos)) == 500
        assert fs.nodes.cached <= 32
        assert descriptors() <= before + 32
        for turn in range(2):
            for number, ino in enumerate(inos):
                assert read(fs, ino) == b"%d" % number, turn
                assert fs.getattr(ROOT, ino).size == len(str(number))
        assert [fs.lookup(ROOT, ROOT_INO, f"f{number}").ino for number in range(500)] == inos
        for ino in inos:
            fs.forget(ino)
        assert len(fs.nodes) == 1
        assert descriptors() <= before


def test_a_node_whose_file_is_gone_is_stale_and_its_inode_number_is_not_taken_for_it(where):
    with mirrored(where) as (fs, below):
        fill(below, 1)
        old = fs.lookup(ROOT, ROOT_INO, "f0")
        for number in range(8):
            fs.mkdir(ROOT, ROOT_INO, f"d{number}", 0o755)
        fs.nodes.shrink(0)
        assert fs.nodes.node(old.ino).fd == -1
        (below / "f0").unlink()
        reused = False
        for number in range(64):
            (below / f"new{number}").write_text("new")
            found = fs.lookup(ROOT, ROOT_INO, f"new{number}")
            reused |= found.attr.ino == old.attr.ino
            assert found.ino != old.ino
        refused(errno.ESTALE, fs.getattr, ROOT, old.ino)
        refused(errno.ESTALE, fs.open, ROOT, old.ino, os.O_RDONLY)
        fs.forget(old.ino)
        assert reused or where  # ext4 gives the number out again at once; tmpfs counts on


def test_unknown_numbers_and_handles_are_refused(where):
    with mirrored(where) as (fs, _):
        for call in (
            lambda: fs.getattr(ROOT, 99),
            lambda: fs.lookup(ROOT, 99, "x"),
            lambda: fs.open(ROOT, 99, os.O_RDONLY),
            lambda: fs.setattr(ROOT, 99, SetAttr(mode=0)),
        ):
            refused(errno.ESTALE, call)
        for fh in (0, 1, 2, 99, 2**64 - 1):
            refused(errno.EBADF, fs.read, ROOT, ROOT_INO, fh, 0, 10)
            refused(errno.EBADF, fs.write, ROOT, ROOT_INO, fh, 0, memoryview(b"x"), WriteFlags.NONE)
            refused(errno.EBADF, fs.release, ROOT, ROOT_INO, fh, 0)
            refused(errno.EBADF, fs.releasedir, ROOT, ROOT_INO, fh, 0)
            refused(errno.EBADF, fs.readdir, ROOT, ROOT_INO, fh, 0)
        fs.forget(99)
        fs.forget(ROOT_INO)
        assert fs.getattr(ROOT, ROOT_INO).is_dir


def test_every_descriptor_is_closed_at_the_end(where):
    before = descriptors()
    with mirrored(where) as (fs, below):
        fill(below, 20)
        for number in range(20):
            fs.open(ROOT, fs.lookup(ROOT, ROOT_INO, f"f{number}").ino, os.O_RDWR)
        fs.unlink(ROOT, ROOT_INO, "f3")
        fs.opendir(ROOT, ROOT_INO, 0)
        fs.tmpfile(ROOT, ROOT_INO, 0o600, os.O_RDWR)
        fs.rename(ROOT, ROOT_INO, "f1", ROOT_INO, "f2", RenameFlags.NONE)
    assert descriptors() == before


def test_failed_operations_leave_no_descriptors(where):
    with mirrored(where) as (fs, below):
        fill(below, 3)
        directory = fs.mkdir(ROOT, ROOT_INO, "dir", 0o755).ino
        for number in range(3):
            fs.lookup(ROOT, ROOT_INO, f"f{number}")
        before = descriptors()
        for _ in range(50):
            for call in (
                lambda: fs.lookup(ROOT, ROOT_INO, "none"),
                lambda: fs.mkdir(ROOT, ROOT_INO, "f0", 0o755),
                lambda: fs.create(ROOT, ROOT_INO, "f0", 0o644, os.O_EXCL | os.O_RDWR),
                lambda: fs.rename(ROOT, ROOT_INO, "none", ROOT_INO, "f1", RenameFlags.NONE),
                lambda: fs.rename(ROOT, ROOT_INO, "f1", ROOT_INO, "dir", RenameFlags.NONE),
                lambda: fs.link(ROOT, directory, ROOT_INO, "x"),
                lambda: fs.unlink(ROOT, ROOT_INO, "dir"),
                lambda: fs.rmdir(ROOT, ROOT_INO, "f2"),
                lambda: fs.opendir(ROOT, fs.lookup(ROOT, ROOT_INO, "f2").ino, 0),
            ):
                with pytest.raises(OSError):
                    call()
        assert descriptors() == before


@pytest.mark.parametrize("use_handles", [True, False], ids=["handles", "pinned"])
def test_many_open_files_share_few_descriptors_or_are_refused_cleanly(where, use_handles):
    """With handles idle files give their descriptors up; without, the caller gets EMFILE and all goes on."""
    with mirrored(where, use_handles=use_handles) as (fs, below):
        fill(below, 400)
        with descriptor_limit(100):
            files = []
            refusals = 0
            for number in range(400):
                try:
                    ino = fs.lookup(ROOT, ROOT_INO, f"f{number}").ino
                    files.append((number, ino, fs.open(ROOT, ino, os.O_RDWR).fh))
                except OSError as error:
                    assert error.errno == errno.EMFILE  # noqa: PT017 - others are failures
                    refusals += 1
            assert (refusals == 0) is use_handles
            for turn in (b"a", b"b"):
                for number, ino, fh in files:
                    size = len(str(number))
                    assert fs.write(ROOT, ino, fh, size, memoryview(turn), WriteFlags.NONE) == 1
                    assert fs.read(ROOT, ino, fh, 0, 100) == b"%d%s" % (number, turn)
            assert fs.getattr(ROOT, ROOT_INO).is_dir
        for _, ino, fh in files:
            fs.release(ROOT, ino, fh, 0)
            fs.forget(ino)
        assert (below / "f5").read_bytes() == b"5b"


def test_an_open_file_without_a_name_keeps_its_descriptor_when_others_lose_theirs(where):
    with mirrored(where) as (fs, below):
        fill(below, 300)
        entry, opened = fs.create(ROOT, ROOT_INO, "gone", 0o644, os.O_RDWR)
        (below / "gone").unlink()
        fs.write(ROOT, entry.ino, opened.fh, 0, memoryview(b"alive"), WriteFlags.NONE)
        with descriptor_limit(60):
            for number in range(300):
                ino = fs.lookup(ROOT, ROOT_INO, f"f{number}").ino
                fs.open(ROOT, ino, os.O_RDWR)
            assert fs.read(ROOT, entry.ino, opened.fh, 0, 100) == b"alive"


def test_other_mounts_in_the_tree_are_entered_and_have_inode_numbers_of_their_own(tmp_path):
    missing = why_not()
    if missing:
        pytest.skip(missing)
    with ext4_image(16) as one, ext4_image(16) as two:
        (two / "inside").write_text("mounted")
        (one / "dir").mkdir()
        os.system(f"mount --bind {two} {one}/dir")
        try:
            fs = MirrorFS(one)
            made = fs.lookup(ROOT, ROOT_INO, "dir")
            assert made.attr.ino != fs.getattr(ROOT, ROOT_INO).ino  # both are inode 2 on their device
            inside = fs.lookup(ROOT, made.ino, "inside")
            assert read(fs, inside.ino) == b"mounted"
            fs.nodes.shrink(0)
            assert read(fs, inside.ino) == b"mounted"
            assert fs.parent(made.ino) == ROOT_INO
            refused(errno.EXDEV, fs.link, ROOT, inside.ino, ROOT_INO, "linked")
            fs.forget(inside.ino)
            fs.forget(made.ino)
            fs.destroy()
        finally:
            os.system(f"umount {one}/dir")


def test_a_server_without_rights_serves_with_its_own(tmp_path):
    """As another user: no handles, no ownership to give, what it may not do is refused."""
    below = tmp_path / "below"
    (below / "closed").mkdir(mode=0o700, parents=True)
    os.chown(below, 12345, 12345)
    source = os.open(below, os.O_PATH | os.O_DIRECTORY)  # the way to tmp_path is closed to other users
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            fs = MirrorFS(f"/proc/self/fd/{source}")
            caller = Context(uid=54321, gid=54321, umask=0o027)
            entry, opened = fs.create(caller, ROOT_INO, "file", 0o666, os.O_RDWR)
            assert (entry.attr.uid, entry.attr.mode & 0o777) == (12345, 0o640)
            assert fs.nodes.node(entry.ino).pinned
            fs.unlink(caller, ROOT_INO, "file")
            fs.write(caller, entry.ino, opened.fh, 0, memoryview(b"x"), WriteFlags.NONE)
            assert fs.getattr(caller, entry.ino).nlink == 0
            closed = fs.lookup(caller, ROOT_INO, "closed").ino
            for call in (
                lambda: fs.opendir(caller, closed, 0),
                lambda: fs.mkdir(caller, closed, "x", 0o755),
                lambda: fs.setattr(caller, closed, SetAttr(mode=0o777)),
            ):
                with pytest.raises(PermissionError):
                    call()
            assert names(fs, ROOT_INO) == ["closed"]
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    os.close(source)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_mirror_does_not_enter_its_own_mount(tmp_path):
    """The server would wait for itself; it must neither hang nor hide what lies beside."""
    (tmp_path / "mnt").mkdir()
    (tmp_path / "beside").write_text("here")
    with mounted(f"mirror:{tmp_path}", mountpoint=tmp_path / "mnt") as top:
        assert sorted(os.listdir(top)) == ["beside", "mnt"]
        refused(errno.EDEADLK, os.stat, top / "mnt")
        refused(errno.EDEADLK, os.listdir, top / "mnt")
        refused(errno.EDEADLK, os.rmdir, top / "mnt")
        assert (top / "beside").read_text() == "here"


@pytest.mark.parametrize("name", ["proc", "sysfs"])
def test_generated_files_are_read_past_the_size_that_they_claim(name):
    """No handles there, and reads that do not ask the page cache how large the file is."""
    source, path = {"proc": ("/proc", "sys/kernel/ostype"), "sysfs": ("/sys", "kernel/mm/hugepages")}[name]
    fs = MirrorFS(source)
    try:
        ino = ROOT_INO
        for part in path.split("/"):
            found = fs.lookup(ROOT, ino, part)
            assert fs.lookup(ROOT, ino, part).ino == found.ino
            ino = found.ino
        if name == "proc":
            opened = fs.open(ROOT, ino, os.O_RDONLY)
            assert opened.direct_io
            assert fs.read(ROOT, ino, opened.fh, 0, 100) == b"Linux\n"
        else:
            assert found.attr.is_dir
            assert names(fs, ino) == os.listdir(f"{source}/{path}")
    finally:
        fs.destroy()


def test_space_of_a_removed_file_is_waited_for_until_the_kernel_forgets_it():
    missing = why_not()
    if missing:
        pytest.skip(missing)
    with ext4_image(8) as below:
        fs = MirrorFS(below)
        block = memoryview(bytes(1 << 20))
        removed, first = fs.create(ROOT, ROOT_INO, "removed", 0o644, os.O_RDWR)
        with pytest.raises(OSError) as full:
            for place in range(8):
                done = 0
                while done < len(block):
                    done += fs.write(
                        ROOT, removed.ino, first.fh, (place << 20) + done, block[done:], WriteFlags.NONE
                    )
        assert full.value.errno == errno.ENOSPC
        fs.release(ROOT, removed.ino, first.fh, 0)
        fs.unlink(ROOT, ROOT_INO, "removed")
        entry, opened = fs.create(ROOT, ROOT_INO, "new", 0o644, os.O_RDWR)

        async def work():
            writing = asyncio.ensure_future(fs.write(ROOT, entry.ino, opened.fh, 0, block, WriteFlags.NONE))
            await asyncio.sleep(0)
            fs.forget(removed.ino)
            return await writing

        assert asyncio.run(work()) > 0
        fs.destroy()


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a mount below /dev")
def test_a_mount_of_which_no_node_could_be_made_is_not_kept_busy(monkeypatch):
    def broken(volume, fd, status):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    fs = MirrorFS("/dev")
    try:
        volumes, before = dict(fs.nodes._volumes), descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(fs.nodes, "_key", broken)
            refused(errno.EIO, fs.lookup, ROOT, ROOT_INO, "shm")
        assert fs.nodes._volumes == volumes
        assert descriptors() == before
        fs.lookup(ROOT, ROOT_INO, "shm")
    finally:
        fs.destroy()


def test_a_new_file_for_whose_node_no_descriptor_is_left_leaves_no_node(monkeypatch):
    with mirrored(use_handles=False) as (fs, _):
        open_at = fs.nodes.open_at

        def exhausted(name, flags, mode=0, dirfd=None):
            if name.startswith(b"/proc/self/fd/"):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return open_at(name, flags, mode, dirfd)

        nodes, before = len(fs.nodes), descriptors()
        monkeypatch.setattr(fs.nodes, "open_at", exhausted)
        refused(errno.EMFILE, fs.create, ROOT, ROOT_INO, "new", 0o644, os.O_RDWR)
        assert len(fs.nodes) == nodes
        assert descriptors() == before

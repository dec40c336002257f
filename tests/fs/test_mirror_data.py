# SPDX-License-Identifier: Apache-2.0
"""Data, attributes and listings of a mirror, compared with what the backing files say."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import struct

import pytest

from instar.edge.file_ioctl import FileIoctl
from instar.fs import ROOT_INO, Attr, Context, FallocateFlags, IoctlFlags, SetAttr, WriteFlags, XattrFlags
from tests.support.mirrors import ROOT, USER, mirrored, names

pytestmark = pytest.mark.root


@pytest.fixture(params=["disk", "tmpfs", "disk-pinned"])
def mirror(request):
    where, _, pinned = request.param.partition("-")
    with mirrored("/dev/shm" if where == "tmpfs" else None, use_handles=not pinned) as made:
        yield made


def refused(code, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


@pytest.fixture
def opened(mirror):
    """A new file, open for reading and writing: (fs, path, ino, fh)."""
    fs, below = mirror
    entry, handle = fs.create(USER, ROOT_INO, "file", 0o644, os.O_RDWR)
    return fs, below / "file", entry.ino, handle.fh


def write(fs, ino, fh, offset, data, flags=WriteFlags.NONE):
    return fs.write(ROOT, ino, fh, offset, memoryview(data), flags)


# ---------------------------------------------------------------- data


def test_what_is_written_is_in_the_backing_file_and_the_other_way_round(opened):
    fs, path, ino, fh = opened
    assert write(fs, ino, fh, 5, b"hello") == 5
    assert path.read_bytes() == b"\0\0\0\0\0hello"
    path.write_bytes(b"changed behind")
    assert fs.read(ROOT, ino, fh, 0, 100) == b"changed behind"
    assert fs.read(ROOT, ino, fh, 8, 3) == b"beh"
    assert fs.read(ROOT, ino, fh, 100, 3) == b""
    fs.flush(ROOT, ino, fh, 1)


def test_a_file_opened_to_append_is_written_where_the_kernel_says(opened):
    fs, path, ino, _ = opened
    path.write_bytes(b"0123456789")
    fh = fs.open(ROOT, ino, os.O_WRONLY | os.O_APPEND).fh
    assert write(fs, ino, fh, 2, b"ab") == 2
    assert path.read_bytes() == b"01ab456789"


def test_a_file_opened_for_direct_io_takes_any_buffer(opened):
    fs, _path, ino, _ = opened
    fh = fs.open(ROOT, ino, os.O_RDWR | os.O_DIRECT).fh
    assert write(fs, ino, fh, 3, b"odd") == 3
    assert fs.read(ROOT, ino, fh, 1, 7) == b"\0\0odd"


def test_a_file_opened_for_writing_can_be_read_by_the_kernel_and_one_for_reading_not_written(opened):
    fs, path, ino, _ = opened
    path.write_bytes(b"content")
    writer = fs.open(ROOT, ino, os.O_WRONLY).fh
    assert fs.read(ROOT, ino, writer, 0, 100) == b"content"
    reader = fs.open(ROOT, ino, os.O_RDONLY).fh
    refused(errno.EBADF, write, fs, ino, reader, 0, b"x")
    assert path.read_bytes() == b"content"


def test_opening_with_truncation_cuts_the_file_and_a_users_clears_the_set_id_bits(opened):
    fs, path, ino, _ = opened
    for ctx, left in ((ROOT, 0o6755), (USER, 0o755)):
        path.write_bytes(b"content")
        path.chmod(0o6755)
        fs.release(ctx, ino, fs.open(ctx, ino, os.O_WRONLY | os.O_TRUNC).fh, 0)
        assert (path.stat().st_size, stat.S_IMODE(path.stat().st_mode)) == (0, left)


def test_a_write_or_truncation_that_shall_clear_the_set_id_bits_does_and_no_other(opened):
    fs, path, ino, fh = opened
    path.chmod(0o6755)
    write(fs, ino, fh, 0, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o6755
    write(fs, ino, fh, 0, b"x", WriteFlags.KILL_SUIDGID)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    path.chmod(0o6755)
    fs.setattr(ROOT, ino, SetAttr(size=7))
    assert stat.S_IMODE(path.stat().st_mode) == 0o6755
    assert fs.setattr(ROOT, ino, SetAttr(size=5, kill_suidgid=True)).mode & 0o7777 == 0o755
    path.chmod(0o6755)
    assert fs.setattr(ROOT, ino, SetAttr(kill_suidgid=True)).mode & 0o7777 == 0o755
    link = fs.symlink(ROOT, ROOT_INO, "link", "file").ino
    assert stat.S_ISLNK(fs.setattr(ROOT, link, SetAttr(kill_suidgid=True)).mode)


def test_syncing_runs_beside_other_requests_and_survives_a_release(opened):
    fs, _, ino, fh = opened
    write(fs, ino, fh, 0, b"durable")

    async def work():
        sync = asyncio.ensure_future(fs.fsync(ROOT, ino, fh, False))
        await asyncio.sleep(0)
        fs.release(ROOT, ino, fh, 0)
        await sync

    asyncio.run(work())
    refused(errno.EBADF, fs.read, ROOT, ino, fh, 0, 1)
    directory = fs.opendir(ROOT, ROOT_INO, 0).fh
    asyncio.run(fs.fsyncdir(ROOT, ROOT_INO, directory, True))
    fs.syncfs(ROOT, ROOT_INO)


def test_a_sync_whose_caller_gets_a_signal_goes_on_to_its_end(opened):
    """Programs do not expect EINTR of fsync(2)."""
    fs, _, ino, fh = opened

    async def work():
        sync = asyncio.ensure_future(fs.fsync(ROOT, ino, fh, True))
        for _ in range(3):
            await asyncio.sleep(0)
            sync.cancel()
        await sync
        fs.release(ROOT, ino, fh, 0)

    asyncio.run(work())


def test_holes_are_found_where_the_backing_file_has_them(opened):
    fs, path, ino, fh = opened
    write(fs, ino, fh, 1 << 20, b"x" * 4096)
    with open(path, "rb") as file:
        for offset, whence in ((0, os.SEEK_DATA), (0, os.SEEK_HOLE), (1 << 20, os.SEEK_HOLE)):
            assert fs.lseek(ROOT, ino, fh, offset, whence) == os.lseek(file.fileno(), offset, whence)
    refused(errno.ENXIO, fs.lseek, ROOT, ino, fh, 1 << 30, os.SEEK_DATA)


def test_ranges_are_allocated_punched_and_zeroed(opened):
    fs, path, ino, fh = opened
    write(fs, ino, fh, 0, b"x" * 16384)
    punch = FallocateFlags.PUNCH_HOLE | FallocateFlags.KEEP_SIZE
    fs.fallocate(ROOT, ino, fh, punch, 4096, 4096)
    assert path.read_bytes() == b"x" * 4096 + bytes(4096) + b"x" * 8192
    fs.fallocate(ROOT, ino, fh, FallocateFlags.ALLOCATE, 0, 65536)
    assert path.stat().st_size == 65536
    fs.fallocate(ROOT, ino, fh, FallocateFlags.KEEP_SIZE, 0, 1 << 20)
    assert path.stat().st_size == 65536
    refused(errno.EOPNOTSUPP, fs.fallocate, ROOT, ino, fh, FallocateFlags.PUNCH_HOLE, 0, 4096)


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_copying_between_files_happens_in_the_backing_file_system(opened, size):
    fs, path, ino, fh = opened
    content = os.urandom(size)
    path.write_bytes(content)
    other, to = fs.create(ROOT, ROOT_INO, "copy", 0o644, os.O_RDWR)

    async def copy():
        done = 0
        while done < size:
            copied = fs.copy_file_range(ROOT, ino, fh, done, other.ino, to.fh, done, size - done, 0)
            done += copied if isinstance(copied, int) else await copied

    asyncio.run(copy())
    assert path.with_name("copy").read_bytes() == content
    refused(errno.EINVAL, fs.copy_file_range, ROOT, ino, fh, 0, other.ino, to.fh, 0, 1, 1)


# ---------------------------------------------------------------- attributes


def as_attr(path):
    found = os.lstat(path)
    return (
        found.st_ino, found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev, found.st_size,
        found.st_blocks, found.st_blksize, found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns,
    )  # fmt: skip


def shown(attr: Attr):
    return (
        attr.ino, attr.mode, attr.nlink, attr.uid, attr.gid, attr.rdev, attr.size,
        attr.blocks, attr.blksize, attr.atime, attr.mtime, attr.ctime,
    )  # fmt: skip


def test_attributes_are_those_of_the_backing_file(opened):
    fs, path, ino, fh = opened
    write(fs, ino, fh, 0, b"x" * 5000)
    assert shown(fs.getattr(ROOT, ino)) == as_attr(path)
    assert shown(fs.getattr(ROOT, ino, fh)) == as_attr(path)
    assert shown(fs.lookup(ROOT, ROOT_INO, "file").attr) == as_attr(path)
    assert shown(fs.getattr(ROOT, ROOT_INO)) == as_attr(path.parent)
    assert fs.getattr(ROOT, ino).btime > 0


def test_owner_mode_size_and_times_change_alone_and_together(opened):
    fs, path, ino, fh = opened
    assert fs.setattr(ROOT, ino, SetAttr(mode=0o4600)).mode == stat.S_IFREG | 0o4600
    attr = fs.setattr(ROOT, ino, SetAttr(uid=7))
    assert (attr.uid, attr.gid, attr.mode & 0o7777) == (7, USER.gid, 0o600)  # chown clears set-user-ID
    assert fs.setattr(ROOT, ino, SetAttr(gid=8)).gid == 8
    assert fs.setattr(ROOT, ino, SetAttr(size=100), fh).size == 100
    assert fs.setattr(ROOT, ino, SetAttr(size=10)).size == 10
    old = fs.getattr(ROOT, ino)
    attr = fs.setattr(ROOT, ino, SetAttr(mtime=1_234_567_891))
    assert (attr.atime, attr.mtime) == (old.atime, 1_234_567_891)
    attr = fs.setattr(ROOT, ino, SetAttr(atime=-5, mtime=2**40, uid=1, mode=0o640, size=3))
    assert (attr.atime, attr.mtime, attr.uid, attr.mode & 0o7777, attr.size) == (-5, 2**40, 1, 0o640, 3)
    attr = fs.setattr(ROOT, ino, SetAttr(atime=0, mtime=0, atime_now=True, mtime_now=True))
    assert attr.atime == attr.mtime == attr.ctime
    assert shown(attr) == as_attr(path)


def test_a_symbolic_links_owner_and_times_change_and_its_target_does_not(opened):
    fs, path, _ino, _ = opened
    link = fs.symlink(ROOT, ROOT_INO, "link", "file").ino
    before = as_attr(path)
    attr = fs.setattr(ROOT, link, SetAttr(uid=5, gid=6, mtime=10**9))
    assert (attr.uid, attr.gid, attr.mtime) == (5, 6, 10**9)
    refused(errno.EOPNOTSUPP, fs.setattr, ROOT, link, SetAttr(mode=0o600))
    assert as_attr(path) == before


def test_a_change_that_fails_leaves_nothing_half_changed():
    with mirrored() as (fs, _):  # the disk's file system has a largest file; tmpfs has none
        ino = fs.mknod(USER, ROOT_INO, "file", stat.S_IFREG | 0o4755, 0).ino
        before = fs.getattr(ROOT, ino)
        refused(errno.EFBIG, fs.setattr, ROOT, ino, SetAttr(uid=1, gid=2, mode=0o600, size=1 << 62))
        after = fs.getattr(ROOT, ino)
        for field in ("uid", "gid", "mode", "size"):
            assert getattr(after, field) == getattr(before, field)


def test_an_open_file_without_a_name_is_cut_and_changed_by_number(opened):
    fs, path, ino, fh = opened
    write(fs, ino, fh, 0, b"0123456789")
    path.unlink()
    assert fs.setattr(ROOT, ino, SetAttr(size=4)).size == 4
    assert fs.setattr(ROOT, ino, SetAttr(mode=0o600), fh).mode & 0o7777 == 0o600
    assert fs.read(ROOT, ino, fh, 0, 100) == b"0123"
    fs.setxattr(ROOT, ino, "trusted.x", b"1", XattrFlags.NONE)
    assert fs.getxattr(ROOT, ino, "trusted.x") == b"1"


def test_figures_of_the_file_system_are_the_backing_ones(mirror):
    fs, below = mirror
    found, native = fs.statfs(ROOT, ROOT_INO), os.statvfs(below)
    assert (found.blocks, found.files, found.bsize, found.frsize, found.namelen) == (
        native.f_blocks, native.f_files, native.f_bsize, native.f_frsize, native.f_namemax,
    )  # fmt: skip


# ---------------------------------------------------------------- extended attributes


def test_extended_attributes_of_all_namespaces_are_kept_on_the_backing_file(opened):
    fs, path, ino, _ = opened
    values = {"user.x": b"1", "trusted.y": b"\0binary", "security.z": b""}
    for name, value in values.items():
        fs.setxattr(ROOT, ino, name, value, XattrFlags.CREATE)
        assert os.getxattr(path, name) == fs.getxattr(ROOT, ino, name) == value
    refused(errno.EEXIST, fs.setxattr, ROOT, ino, "user.x", b"", XattrFlags.CREATE)
    refused(errno.ENODATA, fs.setxattr, ROOT, ino, "user.none", b"", XattrFlags.REPLACE)
    assert set(values) <= set(fs.listxattr(ROOT, ino))
    fs.removexattr(ROOT, ino, "user.x")
    refused(errno.ENODATA, fs.getxattr, ROOT, ino, "user.x")
    refused(errno.ENODATA, fs.removexattr, ROOT, ino, "user.x")
    refused(errno.EOPNOTSUPP, fs.getxattr, ROOT, ino, "unheard.of")


def test_a_symbolic_link_has_extended_attributes_of_its_own(opened):
    fs, _path, ino, _ = opened
    link = fs.symlink(ROOT, ROOT_INO, "link", "file").ino
    fs.setxattr(ROOT, link, "trusted.l", b"link", XattrFlags.NONE)
    assert fs.getxattr(ROOT, link, "trusted.l") == b"link"
    refused(errno.ENODATA, fs.getxattr, ROOT, ino, "trusted.l")
    refused(errno.EPERM, fs.setxattr, ROOT, link, "user.l", b"", XattrFlags.NONE)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_default_acl_of_the_backing_directory_takes_the_place_of_the_umask(mirror):
    fs, _below = mirror
    nobody = 0xFFFFFFFF
    default = acl((1, 7, nobody), (2, 7, 4242), (4, 7, nobody), (0x10, 7, nobody), (0x20, 0, nobody))
    fs.setxattr(ROOT, ROOT_INO, "system.posix_acl_default", default, XattrFlags.NONE)
    caller = Context(uid=5, gid=5, umask=0o077)
    entry, _ = fs.create(caller, ROOT_INO, "file", 0o666, os.O_RDWR)
    assert entry.attr.mode & 0o777 == 0o660
    granted = fs.getxattr(ROOT, entry.ino, "system.posix_acl_access")
    assert struct.pack("<HHI", 2, 7, 4242) in granted
    fs.removexattr(ROOT, ROOT_INO, "system.posix_acl_default")
    entry, _ = fs.create(caller, ROOT_INO, "other", 0o666, os.O_RDWR)
    assert entry.attr.mode & 0o777 == 0o600


# ---------------------------------------------------------------- ioctl


def test_inode_flags_are_forwarded_and_unknown_commands_are_not():
    with mirrored() as (fs, below):
        (below / "file").touch()
        ino = fs.lookup(ROOT, ROOT_INO, "file").ino
        none = IoctlFlags.NONE

        def flags(number):
            answer = fs.ioctl(ROOT, number, 0, FileIoctl.GETFLAGS, 0, b"", 4, none)
            assert len(answer.data) == 4
            return int.from_bytes(answer.data, "little")

        nodump = 0x40  # FS_NODUMP_FL
        old = flags(ino)
        fs.ioctl(ROOT, ino, 0, FileIoctl.SETFLAGS, 0, (old | nodump).to_bytes(4, "little"), 0, none)
        assert flags(ino) == old | nodump
        with open(below / "file", "rb") as file:
            native = fcntl.ioctl(file, FileIoctl.GETFLAGS, bytes(8))
        assert int.from_bytes(native[:4], "little") == flags(ino)
        flags(ROOT_INO)
        assert len(fs.ioctl(ROOT, ino, 0, FileIoctl.FSGETXATTR, 0, bytes(28), 28, none).data) == 28
        fifo = fs.mknod(ROOT, ROOT_INO, "fifo", stat.S_IFIFO | 0o600, 0).ino
        for number, command in ((ino, 0x5401), (ino, 0x1277), (fifo, FileIoctl.GETFLAGS)):
            refused(errno.ENOTTY, fs.ioctl, ROOT, number, 0, command, 0, b"", 64, none)


def test_a_command_that_changes_a_file_is_refused_to_all_but_its_owner_and_root():
    with mirrored() as (fs, below):
        for name, owner in (("roots", 0), ("users", USER.uid)):
            (below / name).touch()
            os.chown(below / name, owner, owner)
        roots, users = (fs.lookup(ROOT, ROOT_INO, name).ino for name in ("roots", "users"))
        none, same = IoctlFlags.NONE, bytes(8)
        for command in (FileIoctl.SETFLAGS, FileIoctl.SETVERSION):
            refused(errno.EPERM, fs.ioctl, USER, roots, 0, command, 0, same, 0, none)
        old = fs.ioctl(USER, users, 0, FileIoctl.GETFLAGS, 0, b"", 4, none).data
        for caller in (USER, ROOT):
            fs.ioctl(caller, users, 0, FileIoctl.SETFLAGS, 0, old, 0, none)


# ---------------------------------------------------------------- directories


def test_a_listing_resumes_after_any_entry(mirror):
    fs, below = mirror
    expected = {f"name-{number}" for number in range(700)}
    for name in expected:
        (below / name).touch()
    fh = fs.opendir(ROOT, ROOT_INO, 0).fh
    lines = list(fs.readdir(ROOT, ROOT_INO, fh, 0))
    assert len(lines) == 700
    assert {line.name for line in lines} == expected
    cookies = [line.cookie for line in lines]
    assert len(set(cookies)) == 700
    assert all(0 < cookie < 2**63 - 3 for cookie in cookies)
    for place in (0, 1, 350, 698, 699):
        rest = [line.name for line in fs.readdir(ROOT, ROOT_INO, fh, cookies[place])]
        assert rest == [line.name for line in lines[place + 1 :]]
    refused(errno.EINVAL, fs.readdir, ROOT, ROOT_INO, fh, 2**63 - 17)
    fs.releasedir(ROOT, ROOT_INO, fh, 0)


def test_two_listings_of_one_open_directory_do_not_disturb_each_other(mirror):
    fs, below = mirror
    for number in range(2500):  # more than one batch
        (below / f"{number}").touch()
    fh = fs.opendir(ROOT, ROOT_INO, 0).fh
    first, second = fs.readdir(ROOT, ROOT_INO, fh, 0), fs.readdir(ROOT, ROOT_INO, fh, 0)
    one, two = [], []
    for line in first:
        one.append(line.name)
        if len(one) % 3 == 0:
            two.append(next(second).name)
    two += [line.name for line in second]
    assert one == two
    assert len(set(one)) == 2500


def test_entries_that_stay_are_listed_once_while_others_come_and_go(mirror):
    fs, below = mirror
    for number in range(3000):
        (below / f"stays-{number}").touch()
    fh = fs.opendir(ROOT, ROOT_INO, 0).fh
    seen = []
    for count, line in enumerate(fs.readdir(ROOT, ROOT_INO, fh, 0)):
        seen.append(line.name)
        (below / f"comes-{count % 200}").touch()
        if count % 2:
            (below / f"comes-{(count * 7) % 200}").unlink(missing_ok=True)
    stays = [name for name in seen if name.startswith("stays")]
    assert len(stays) == len(set(stays)) == 3000


def test_types_and_inode_numbers_of_a_listing_agree_with_the_attributes(mirror):
    fs, _ = mirror
    fs.mkdir(ROOT, ROOT_INO, "dir", 0o755)
    fs.symlink(ROOT, ROOT_INO, "link", "x")
    fs.mknod(ROOT, ROOT_INO, "fifo", stat.S_IFIFO | 0o600, 0)
    fh = fs.opendir(ROOT, ROOT_INO, 0).fh
    plain = list(fs.readdir(ROOT, ROOT_INO, fh, 0))
    plus = list(fs.readdirplus(ROOT, ROOT_INO, fh, 0))
    assert [line.name for line in plain] == [line.name for line in plus]
    for line in plain + plus:
        found = fs.lookup(ROOT, ROOT_INO, line.name)
        assert (line.ino, line.mode) == (found.attr.ino, stat.S_IFMT(found.attr.mode))
        if line.entry is not None:
            assert line.entry == found
    assert all(line.entry is not None for line in plus)


def test_a_directory_that_is_removed_while_open_is_gone_for_its_reader_as_natively(mirror):
    fs, _ = mirror
    made = fs.mkdir(ROOT, ROOT_INO, "dir", 0o755)
    fh = fs.opendir(ROOT, made.ino, 0).fh
    fs.rmdir(ROOT, ROOT_INO, "dir")
    refused(errno.ENOENT, list, fs.readdir(ROOT, made.ino, fh, 0))
    assert names(fs, ROOT_INO) == []

# SPDX-License-Identifier: Apache-2.0
"""Attributes, handles, listings and the borrowed identity of the edge agree with what Python's os says."""

from __future__ import annotations

import errno
import os
import pathlib
import stat

import pytest

from instar.edge.file_handle import HandleReader, open_handle
from instar.edge.file_ioctl import FileIoctl, file_ioctl, ioctl_size
from instar.edge.file_status import StatusReader, StatxMask, statx
from instar.edge.fs_credentials import Capability, FsCredentials
from instar.edge.getdents import DirectoryReader
from instar.edge.syscalls import AtFlags


@pytest.fixture
def directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield tmp_path, fd
    os.close(fd)


def test_statx_reads_what_stat_reads_of_every_type(directory):
    path, fd = directory
    (path / "file").write_bytes(b"x" * 12345)
    os.chmod(path / "file", 0o4640)
    os.utime(path / "file", ns=(-3, 2**33 * 10**9 + 7))
    (path / "link").symlink_to("nowhere")
    os.mkfifo(path / "fifo")
    reader = StatusReader()
    for name in (b"file", b"link", b"fifo", b"."):
        got = reader.at(fd, name, AtFlags.SYMLINK_NOFOLLOW.value)
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        assert got[1:9] == (
            found.st_blksize, found.st_nlink, found.st_uid, found.st_gid, found.st_mode, found.st_ino,
            found.st_size, found.st_blocks,
        )  # fmt: skip
        times = [got[place] * 10**9 + got[place + 1] for place in (9, 13, 15)]
        assert times == [found.st_atime_ns, found.st_ctime_ns, found.st_mtime_ns]
        assert os.makedev(got[17], got[18]) == found.st_rdev
        assert os.makedev(got[19], got[20]) == found.st_dev
        assert got[0] & StatxMask.MNT_ID
    assert reader.at(fd)[6] == os.fstat(fd).st_ino
    with pytest.raises(FileNotFoundError):
        reader.at(fd, b"none", AtFlags.SYMLINK_NOFOLLOW.value)


def test_the_record_and_the_numbers_of_a_file_agree(directory):
    path, fd = directory
    (path / "file").write_bytes(b"x" * 999)
    mask, blksize, nlink, uid, gid, mode, ino, size, blocks, *times = StatusReader().at(fd, b"file", 0)
    every = int(StatxMask.BASIC_STATS | StatxMask.BTIME | StatxMask.MNT_ID)
    found = statx(path / "file", every)
    assert (found.mask, found.blksize, found.nlink, found.uid, found.gid) == (mask, blksize, nlink, uid, gid)
    assert (found.mode, found.ino, found.size, found.blocks) == (mode, ino, size, blocks)
    stamps = [seconds * 10**9 + ns for seconds, ns in zip(times[0:8:2], times[1:8:2], strict=True)]
    assert [found.atime_ns, found.btime_ns, found.ctime_ns, found.mtime_ns] == stamps
    assert (found.rdev, found.dev, found.mnt_id) == (
        os.makedev(*times[8:10]),
        os.makedev(*times[10:12]),
        times[12],
    )
    with pytest.raises(FileNotFoundError) as missing:
        statx("none", dir_fd=fd)
    assert missing.value.filename == "none"


@pytest.mark.root
def test_a_handle_opens_its_file_under_any_name_and_no_other_after_it(directory):
    path, fd = directory
    (path / "file").write_text("content")
    reader = HandleReader()
    handle, mount = reader.at(fd, b"file", 0)
    assert mount == StatusReader().at(fd)[21]
    os.rename(path / "file", path / "renamed")
    opened = open_handle(fd, handle, os.O_RDONLY | os.O_CLOEXEC)
    assert os.read(opened, 100) == b"content"
    assert reader.at(opened) == (handle, mount)
    os.close(opened)
    (path / "renamed").unlink()
    (path / "file").write_text("another")
    with pytest.raises(OSError) as gone:
        os.close(open_handle(fd, handle, os.O_RDONLY | os.O_CLOEXEC))
    assert gone.value.errno == errno.ESTALE
    assert reader.at(fd, b"file", 0)[0] != handle


@pytest.mark.parametrize(
    "handle", [b"", b"\x08\0\0\0", b"\x08\0\0\0\x01\0\0\0", b"\xff\xff\xff\xff" + bytes(100)]
)
def test_a_handle_that_is_cut_short_never_reaches_the_kernel(directory, handle):
    with pytest.raises(ValueError, match="cut short"):
        open_handle(directory[1], handle, os.O_RDONLY)


def test_a_directory_is_read_in_batches_that_join_without_a_gap(directory):
    _path, fd = directory
    expected = {f"{'n' * (number % 200)}{number}".encode() for number in range(300)}
    for name in expected:
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    reader = DirectoryReader(4096)
    seen = []
    while batch := reader.batch(fd):
        seen += batch
        os.lseek(fd, batch[-1][1], os.SEEK_SET)
    names = [name for _, _, _, name in seen]
    assert sorted(names) == sorted({*expected, b".", b".."})
    inodes = {name: ino for ino, _, _, name in seen}
    assert all(inodes[name] == os.stat(name, dir_fd=fd).st_ino for name in expected)
    assert {kind for _, _, kind, _ in seen} <= {stat.S_IFDIR >> 12, stat.S_IFREG >> 12}
    with pytest.raises(OSError) as small:
        os.lseek(fd, 0, os.SEEK_SET)
        DirectoryReader(8).batch(fd)
    assert small.value.errno == errno.EINVAL


@pytest.mark.root
def test_a_borrowed_identity_owns_what_is_made_and_keeps_its_power(directory):
    path, fd = directory
    os.chmod(path, 0o700)
    credentials = FsCredentials()
    assert credentials.can_assume
    credentials.assume(12345, 54321)
    try:
        os.mkdir("made", dir_fd=fd)
        os.chown("made", -1, 777, dir_fd=fd)
        os.mkdir("again", dir_fd=fd)
    finally:
        credentials.restore(12345, 54321)
    os.mkdir("own", dir_fd=fd)
    owners = {name: (os.stat(path / name).st_uid, os.stat(path / name).st_gid) for name in os.listdir(path)}
    assert owners == {"made": (12345, 777), "again": (12345, 54321), "own": (0, 0)}
    before = pathlib.Path("/proc/thread-self/status").read_text()
    credentials.assume(1, 1)
    credentials.restore(1, 1)
    credentials.drop_fsetid()
    credentials.regain_fsetid()
    after = pathlib.Path("/proc/thread-self/status").read_text()
    wanted = ("Uid:", "Gid:", "CapEff:", "CapPrm:")
    assert [line for line in before.splitlines() if line.startswith(wanted)] == [
        line for line in after.splitlines() if line.startswith(wanted)
    ]


@pytest.mark.root
def test_without_fsetid_a_write_clears_the_set_id_bits(directory):
    path, _ = directory
    (path / "file").touch()
    credentials = FsCredentials()
    assert credentials.has(Capability.FSETID)
    with open(path / "file", "wb", buffering=0) as file:
        os.chmod(path / "file", 0o6755)
        file.write(b"x")
        assert stat.S_IMODE(os.stat(path / "file").st_mode) == 0o6755
        credentials.drop_fsetid()
        try:
            file.write(b"x")
        finally:
            credentials.regain_fsetid()
        assert stat.S_IMODE(os.stat(path / "file").st_mode) == 0o755


def test_every_file_ioctl_says_its_size_and_a_wrong_file_is_enotty(directory):
    sizes = {command: ioctl_size(command) for command in FileIoctl}
    assert sizes[FileIoctl.GETFLAGS] == 8
    assert sizes[FileIoctl.FSGETXATTR] == 28
    assert all(0 < size <= 256 for size in sizes.values())
    reader, writer = os.pipe()
    try:
        with pytest.raises(OSError) as refused:
            file_ioctl(reader, FileIoctl.GETFLAGS, b"")
        assert refused.value.errno == errno.ENOTTY
    finally:
        os.close(reader)
        os.close(writer)

# SPDX-License-Identifier: Apache-2.0
"""What programs get from a mount: permissions, kinds of I/O, kinds of nodes, attributes."""

from __future__ import annotations

import errno
import mmap
import os
import socket
import stat
import subprocess

import pytest

from instar.fs import Attr, Entry, StatFs
from instar.fs.memfs import MemFS
from instar.testing import mounted
from tests.support.tools import run
from tests.transport.services import Line, OneFile, fails

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


# -------------------------------------------------------------------------------------------- permissions


def as_user(uid, code, *args):
    """Run Python code as another user, without any privilege; its output."""
    return subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3", "-c", code, *map(str, args)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_other_users_are_let_in_by_default_where_root_mounts_and_kept_out_with_noallow_other():
    code = "import os,sys; print(os.listdir(sys.argv[1]))"
    for options, allowed in (("", True), ("allow_other", True), ("noallow_other", False)):
        with mounted("memfs", options=options) as top:
            (top / "file").touch()
            done = as_user(1000, code, top)
            if allowed:
                assert done.stdout == "['file']\n", (options, done)
            else:
                assert "PermissionError: [Errno 13]" in done.stderr, done
            assert os.listdir(top) == ["file"]


def test_the_kernel_checks_modes_by_default():
    code = "import os,sys\ntry: open(sys.argv[1]).read(); print('read')\nexcept PermissionError: print('refused')"
    with mounted("memfs") as top:
        (top / "secret").write_text("x")
        os.chmod(top / "secret", 0o600)
        assert as_user(1000, code, top / "secret").stdout == "refused\n"
        os.chmod(top / "secret", 0o604)
        assert as_user(1000, code, top / "secret").stdout == "read\n"


def test_without_default_permissions_the_file_system_decides():
    class Deciding(OneFile):
        def __init__(self, line):
            super().__init__()
            self.line = line

        def access(self, ctx, ino, mask):
            self.line.say("access", ino, ctx.uid, mask)
            if ctx.uid == 1000 and mask & os.W_OK:
                raise OSError(errno.EACCES, "")

        def open(self, ctx, ino, flags):
            if ctx.uid == 1001:
                raise OSError(errno.EPERM, "")
            return super().open(ctx, ino, flags)

        def write(self, ctx, ino, fh, offset, data, flags):  # so that it is not mounted read-only
            return len(data)

    code = (
        "import os,sys\nprint(os.access(sys.argv[1], os.R_OK), os.access(sys.argv[1], os.W_OK))\n"
        "try: print(open(sys.argv[1]).read())\nexcept PermissionError as error: print(error.errno)"
    )
    with Line() as line, mounted(lambda: Deciding(line), options="nodefault_permissions") as top:
        assert as_user(1000, code, top / "file").stdout == "True False\ncontent\n\n"
        assert as_user(1001, code, top / "file").stdout == f"True True\n{errno.EPERM}\n"
        assert f"access 2 1000 {os.W_OK}" in line.pending()


def test_the_context_says_who_asks_and_with_which_umask():
    class Asking(MemFS):
        def __init__(self, line):
            super().__init__(mode=0o777)
            self.line = line

        def mkdir(self, ctx, parent, name, mode):
            self.line.say(ctx.uid, ctx.gid, ctx.pid, oct(ctx.umask), oct(mode & 0o7777))
            return super().mkdir(ctx, parent, name, mode)

    code = "import os,sys; os.umask(0o027); os.mkdir(sys.argv[1], 0o777); print(os.getpid())"
    with Line() as line, mounted(lambda: Asking(line)) as top:
        done = as_user(1000, code, top / "dir")
        assert line.hear() == f"1000 1000 {done.stdout.strip()} 0o27 0o777"
        status = os.stat(top / "dir")
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1000, 0o750)


def test_a_class_that_changes_nothing_is_mounted_read_only_and_one_that_does_is_not():
    with mounted(OneFile) as top:
        assert os.statvfs(top).f_flag & os.ST_RDONLY
        for change in (
            (top / "new").touch,
            (top / "file").unlink,
            lambda: (top / "file").write_bytes(b""),
            lambda: os.chmod(top / "file", 0),
        ):
            with fails(errno.EROFS):
                change()
    with mounted("memfs") as top:
        assert not os.statvfs(top).f_flag & os.ST_RDONLY
    with mounted("memfs", options="ro") as top, fails(errno.EROFS):
        (top / "new").touch()


# --------------------------------------------------------------------------------------- data and nodes


class Places(MemFS):
    """Tells which reads and writes reach it."""

    def __init__(self, line):
        super().__init__()
        self.line = line

    def read(self, ctx, ino, fh, offset, size):
        self.line.say("read", offset, size)
        return super().read(ctx, ino, fh, offset, size)


def test_direct_io_reads_and_writes_reach_the_file_system_each_time():
    with Line() as line, mounted(lambda: Places(line)) as top:
        (top / "file").write_bytes(b"a" * 8192)
        fd = os.open(top / "file", os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as page:
            for _ in range(3):
                assert os.preadv(fd, [page], 4096) == 4096
            page[:] = b"b" * 4096
            assert os.pwritev(fd, [page], 0) == 4096
        os.close(fd)
        assert line.pending().count("read 4096 4096") == 3
        assert (top / "file").read_bytes() == b"b" * 4096 + b"a" * 4096


def test_shared_maps_write_through_private_ones_do_not_and_both_see_what_is_written():
    with mounted("memfs") as top:
        path = top / "file"
        path.write_bytes(b"a" * 10_000)
        with open(path, "rb+") as file:
            shared = mmap.mmap(file.fileno(), 0)
            private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            shared[5000:5004] = b"SHAR"
            private[0:4] = b"PRIV"
            shared.flush()
            os.pwrite(file.fileno(), b"WRITTEN", 9000)
            assert shared[9000:9007] == private[9000:9007] == b"WRITTEN"
            content = path.read_bytes()
            assert content[5000:5004] == b"SHAR"
            assert content[0:4] == b"aaaa"
            shared.close()
            private.close()
        with mounted("memfs") as other:  # what is mapped and changed reaches another file system too
            run("cp", path, other / "copy")
            assert (other / "copy").read_bytes() == content


def test_a_program_runs_from_a_mount():
    with mounted("memfs", options="exec") as top:
        run("cp", "/bin/true", top / "true")
        run(top / "true")
    with mounted("memfs", options="noexec") as top:
        run("cp", "/bin/true", top / "true")
        with fails(errno.EACCES):
            subprocess.run([top / "true"], check=False)


def test_a_hole_that_a_shared_map_has_filled_and_not_written_is_data_to_seek_data():
    with mounted("memfs") as top:
        path = top / "file"
        with open(path, "wb+") as file:
            file.truncate(1 << 20)
            fd = file.fileno()
            with fails(errno.ENXIO):
                os.lseek(fd, 0, os.SEEK_DATA)
            with mmap.mmap(fd, 0) as memory:
                memory[0x40000:0x40004] = b"data"
                assert os.lseek(fd, 0, os.SEEK_DATA) == 0x40000
                assert os.lseek(fd, 0x40000, os.SEEK_HOLE) == 0x41000
                run("cp", "--sparse=auto", path, top / "copy")
                assert (top / "copy").read_bytes()[0x40000:0x40004] == b"data"


def test_fifos_sockets_and_devices_are_what_they_are_elsewhere():
    with mounted("memfs", options="dev") as top:
        os.mkfifo(top / "fifo")
        reader = subprocess.Popen(["cat", top / "fifo"], stdout=subprocess.PIPE)
        with open(top / "fifo", "wb") as fifo:
            fifo.write(b"through the fifo")
        assert reader.communicate(timeout=10)[0] == b"through the fifo"
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(str(top / "socket"))
            server.listen()
            assert stat.S_ISSOCK(os.stat(top / "socket").st_mode)
            client.connect(str(top / "socket"))
            accepted, _ = server.accept()
            client.sendall(b"hello")
            assert accepted.recv(10) == b"hello"
            accepted.close()
        os.mknod(top / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with open(top / "zero", "rb") as zero:
            assert zero.read(10) == bytes(10)
        os.mknod(top / "loop", stat.S_IFBLK | 0o600, os.makedev(7, 200))
        assert os.stat(top / "loop").st_rdev == os.makedev(7, 200)
        big = os.makedev(500, 123_456)
        os.mknod(top / "big", stat.S_IFCHR | 0o600, big)
        assert os.stat(top / "big").st_rdev == big
    with mounted("memfs") as top:
        os.mknod(top / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with fails(errno.EACCES):
            (top / "zero").read_bytes()


def test_statvfs_shows_the_figures_of_the_file_system():
    class Figures(OneFile):
        def statfs(self, ctx, ino):
            return StatFs(1 << 40, 1 << 39, 1 << 38, 1000, 900, 8192, 4096, 200)

    with mounted(Figures) as top:
        found = os.statvfs(top)
    assert (found.f_blocks, found.f_bfree, found.f_bavail) == (1 << 40, 1 << 39, 1 << 38)
    assert (found.f_files, found.f_ffree, found.f_bsize, found.f_frsize, found.f_namemax) == (
        1000, 900, 8192, 4096, 200,
    )  # fmt: skip


def test_times_before_1970_and_after_2106_and_nanoseconds_are_shown_as_given():
    class Old(OneFile):
        def getattr(self, ctx, ino, fh=None):
            attr = super().getattr(ctx, ino)
            return Attr(
                ino,
                attr.mode,
                size=attr.size,
                atime=-1,
                mtime=-86400 * 10**9 + 5,
                ctime=2**33 * 10**9 + 7,
                btime=3,
            )

        def lookup(self, ctx, parent, name):
            super().lookup(ctx, parent, name)
            return Entry(2, self.getattr(ctx, 2))

    with mounted(Old) as top:
        status = os.stat(top / "file")
    assert status.st_atime_ns == -1
    assert status.st_mtime_ns == -86400 * 10**9 + 5
    assert status.st_ctime_ns == 2**33 * 10**9 + 7

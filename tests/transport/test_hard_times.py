# SPDX-License-Identifier: Apache-2.0
"""A server without descriptors, memory or room; floods; unmounts under load; stops and ends of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from instar.edge import mount as edge
from instar.fs.memfs import MemFS
from instar.testing import mounted
from instar.transport import FuseDevice, MountOptions, attach, mount
from tests.transport.services import Line, OneFile, fails, until

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(60)]


# ------------------------------------------------------------------------------------- hard times


def test_a_server_without_descriptors_left_serves_plain_and_async_handlers():
    class Poor(OneFile):
        def init(self):
            self.hold = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        def statfs(self, ctx, ino):
            while True:
                self.hold.append(os.open("/dev/null", os.O_RDONLY))

        async def read(self, ctx, ino, fh, offset, size):
            await asyncio.sleep(0.01)
            return super().read(ctx, ino, fh, offset, size)

    with mounted(Poor) as top:
        with fails(errno.EMFILE):
            os.statvfs(top)
        assert (top / "file").read_bytes() == b"content\n"
        with fails(errno.EMFILE):
            os.statvfs(top)


def test_a_file_system_that_is_full_says_so_and_goes_on():
    with mounted("memfs", options="size=1M,inodes=10") as top:
        with fails(errno.ENOSPC):
            (top / "big").write_bytes(bytes(2 << 20))
        (top / "big").unlink()
        with fails(errno.ENOSPC):
            for number in range(20):
                (top / f"f{number}").touch()
        assert len(os.listdir(top)) == 9
        (top / "f0").unlink()
        (top / "again").write_bytes(b"1")


def test_a_server_that_runs_out_of_memory_goes_on():
    class Hungry(OneFile):
        def init(self):
            limit = 400 << 20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        def statfs(self, ctx, ino):
            bytearray(1 << 30)
            return super().statfs(ctx, ino)

    with mounted(Hungry, allow_errors=True) as top:
        for _ in range(20):
            with fails(errno.ENOMEM):
                os.statvfs(top)
            assert (top / "file").read_bytes() == b"content\n"


def test_a_server_whose_log_is_full_goes_on():
    class Logging(OneFile):
        def init(self):
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, 2)
            os.close(full)

        def statfs(self, ctx, ino):
            raise ValueError("said nowhere")

    with mounted(Logging, allow_errors=True) as top:
        for _ in range(3):
            with fails(errno.EIO):
                os.statvfs(top)
        assert (top / "file").read_bytes() == b"content\n"


def test_eight_processes_that_flood_a_server_leave_it_alive():
    flood = "import os,sys,time\nend=time.time()+1.5\nwhile time.time()<end: os.stat(sys.argv[1]); os.listdir(sys.argv[2])"
    with mounted(OneFile) as top:
        clients = [
            subprocess.Popen([sys.executable, "-c", flood, str(top / "file"), str(top)]) for _ in range(8)
        ]
        try:
            assert (top / "file").read_bytes() == b"content\n"
            assert [client.wait(timeout=40) for client in clients] == [0] * 8
        finally:
            for client in clients:
                client.kill()
                client.wait()
        assert (top / "file").read_bytes() == b"content\n"


_BUSY = """
import os, sys
while True:
    try:
        os.stat(sys.argv[1])
        with open(sys.argv[1], "rb") as file:
            file.read()
    except OSError:
        break
"""


@pytest.mark.parametrize("how", ["lazy", "force"])
def test_an_unmount_under_load_ends_the_server_and_lets_every_caller_go(how, tmp_path):
    class Both(OneFile):
        async def read(self, ctx, ino, fh, offset, size):
            await asyncio.sleep(0.001)
            return super().read(ctx, ino, fh, offset, size)

    for kind in (OneFile, Both):
        with mounted(kind, mountpoint=tmp_path) as top:
            clients = [subprocess.Popen([sys.executable, "-c", _BUSY, str(top / "file")]) for _ in range(4)]
            try:
                time.sleep(0.5)
                with contextlib.suppress(edge.MountError):
                    edge.unmount(str(top), **{how: True})
                if how == "force":
                    with contextlib.suppress(edge.MountError):
                        edge.unmount(str(top), lazy=True)
                assert [client.wait(timeout=20) for client in clients] == [0] * 4
            finally:
                for client in clients:
                    client.kill()
                    client.wait()


def test_a_server_that_is_stopped_under_a_flood_stops(tmp_path):
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            fs = OneFile()
            options = MountOptions()
            device = FuseDevice(attach(fs, str(tmp_path), options), fs, options)
            signal.signal(signal.SIGUSR1, lambda number, frame: device.stop())
            device.serve()
            os._exit(7)
        os._exit(1)
    clients = []
    try:
        while not os.path.ismount(tmp_path):
            time.sleep(0.01)
        clients = [subprocess.Popen([sys.executable, "-c", _BUSY, str(tmp_path / "file")]) for _ in range(4)]
        time.sleep(0.5)
        os.kill(pid, signal.SIGUSR1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert [client.wait(timeout=20) for client in clients] == [0] * 4
    finally:
        for client in clients:
            client.kill()
            client.wait()
        edge.unmount(str(tmp_path), lazy=True)


def test_a_stop_before_and_after_serving_does_no_harm(tmp_path):
    fs = OneFile()
    options = MountOptions()
    device = FuseDevice(attach(fs, str(tmp_path), options), fs, options)
    device.stop()
    device.serve()
    edge.unmount(str(tmp_path), lazy=True)
    device.stop()


def test_fifty_mounts_in_one_process_leave_no_descriptor_and_no_thread(tmp_path):
    def held():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    fs = OneFile()
    counts = []
    for _ in range(50):
        options = MountOptions()
        device = FuseDevice(attach(fs, str(tmp_path), options), fs, options)
        fs.notify.inval_inode(2)  # starts the notifier's thread
        thread = threading.Thread(target=edge.unmount, args=(str(tmp_path),), kwargs={"lazy": True})
        device.serve(thread.start)
        thread.join()
        counts.append(held())
    assert counts[4:] == [counts[4]] * 46


def test_the_end_of_a_server_leaves_the_next_mount_on_its_place_alone(tmp_path):
    class Slow(OneFile):
        def destroy(self):
            line.say("destroy")
            os.read(gate, 1)

    gate, go = os.pipe()
    with Line() as line:
        first = os.fork()
        if first == 0:
            with contextlib.suppress(BaseException):
                mount(Slow(), tmp_path, ready=lambda: line.say("ready"))
            os._exit(0)
        line.hear_until("ready")
        edge.unmount(str(tmp_path))
        line.hear_until("destroy")
        with mounted(OneFile, mountpoint=tmp_path) as top:  # gets the device number that is free again
            os.write(go, b"1")
            os.waitpid(first, 0)
            assert (top / "file").read_bytes() == b"content\n"
    os.close(gate)
    os.close(go)


def test_a_stop_while_a_notification_waits_for_a_caller_that_nobody_serves_hangs_nobody(tmp_path):
    """The notification waits for the lock of the directory, which the caller of a mkdir holds that is not read any more."""

    class Stopping(MemFS):
        negative_timeout = 0.0

        def statfs(self, ctx, ino):
            line.say("statfs")
            os.read(gate, 1)
            self.notify.inval_entry(1, "new")
            line.say("notified")
            time.sleep(0.2)  # the other thread gets as far as the lock, which nothing shows
            device.stop()
            return super().statfs(ctx, ino)

    gate, go = os.pipe()
    with Line() as line:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                fs, options = Stopping(), MountOptions()
                device = FuseDevice(attach(fs, str(tmp_path), options), fs, options)
                device.serve(lambda: line.say("ready"))
                os._exit(7)
            os._exit(1)
        try:
            line.hear_until("ready")
            os.stat(tmp_path)  # now the kernel knows the directory, and a mkdir locks it before it asks
            code = "import os,sys\ntry: os.{}(sys.argv[1])\nexcept OSError as error: print(error.errno)"
            words = [sys.executable, "-c", code.format("statvfs"), str(tmp_path)]
            one = subprocess.Popen(words, stdout=subprocess.PIPE)
            line.hear_until("statfs")
            words = [sys.executable, "-c", code.format("mkdir"), str(tmp_path / "new")]
            two = subprocess.Popen(words, stdout=subprocess.PIPE)
            until(lambda: "fuse_lookup" in Path(f"/proc/{two.pid}/stack").read_text())
            os.write(go, b"1")
            assert one.communicate(timeout=20)[0] == b""
            assert int(two.communicate(timeout=20)[0]) in (errno.ECONNABORTED, errno.ENOTCONN)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        finally:
            edge.unmount(str(tmp_path), lazy=True)
            os.close(gate)
            os.close(go)

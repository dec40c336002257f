# SPDX-License-Identifier: Apache-2.0
"""A program that makes the kernel send every request of an ordinary mount. Run on the mount that `kernel_peer` serves.

It prints what it sees as one JSON object, for the test to look at.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import struct
import sys

from instar.edge import syscalls
from instar.edge.file_status import statx

NS = 1_000_000_000


def names(top):
    path = f"{top}/file"
    missing = not os.path.exists(f"{top}/nope")
    os.mkdir(f"{top}/dir", 0o750)
    os.mknod(f"{top}/fifo", 0o10644)
    os.mknod(f"{top}/dev", 0o60600, os.makedev(8, 1))
    os.symlink("tar/get", f"{top}/link")
    os.link(path, f"{top}/hard")
    os.rename(path, f"{top}/newname")
    syscalls.renameat2(path, f"{top}/excl", syscalls.RenameFlags.NOREPLACE)
    os.unlink(f"{top}/hard")
    os.rmdir(f"{top}/dir")
    odd = os.fsdecode(b"caf\303\251-\377")  # not UTF-8
    os.close(os.open(f"{top}/{odd}", os.O_CREAT | os.O_WRONLY, 0o600))
    os.close(os.open(top, os.O_TMPFILE | os.O_RDWR, 0o600))
    return {"missing": missing, "target": os.readlink(f"{top}/link"), "rdev": os.stat(f"{top}/dev").st_rdev}


def attributes(top):
    path = f"{top}/file"
    os.chmod(path, 0o640)
    os.chown(path, 1, 2)
    os.utime(path, ns=(-5 * NS - 1, 1_763_000_000 * NS + 5))
    os.utime(path)
    os.truncate(path, 1000)
    os.access(path, os.R_OK)
    with open(path, "rb"):
        pass
    st, stx = os.stat(path), statx(path)
    os.setxattr(path, "user.a", b"value")
    os.setxattr(path, "user.b", b"", os.XATTR_CREATE)
    with contextlib.suppress(OSError):
        os.getxattr(path, "user.none")
    os.removexattr(path, "user.b")
    return {
        "mode": st.st_mode, "nlink": st.st_nlink, "uid": st.st_uid, "gid": st.st_gid, "size": st.st_size,
        "times": [st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns], "btime": stx.btime_ns,
        "blksize": st.st_blksize, "blocks": st.st_blocks,
        "xattr": os.getxattr(path, "user.a").decode(), "xattrs": os.listxattr(path),
    }  # fmt: skip


def data(top):
    fd = os.open(f"{top}/file", os.O_RDWR)
    seen = {"read": os.pread(fd, 100, 0).decode(), "written": os.pwrite(fd, b"hello world", 5)}
    os.fsync(fd)
    os.fdatasync(fd)
    os.ftruncate(fd, 7)
    seen["data"] = os.lseek(fd, 3, os.SEEK_DATA)
    seen["hole"] = os.lseek(fd, 3, os.SEEK_HOLE)
    os.posix_fallocate(fd, 0, 4096)
    syscalls.fallocate(fd, 3, 0, 4096)
    for _ in range(2):  # the first is answered with ENOSYS, so that the second comes under the old opcode
        other = os.open(f"{top}/created", os.O_CREAT | os.O_RDWR | os.O_EXCL | os.O_TRUNC, 0o644)
        seen["copied"] = os.copy_file_range(fd, other, 10, 0, 0)
        os.close(other)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
    fcntl.lockf(fd, fcntl.LOCK_SH, 10, 5)
    lock = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
    seen["lock"] = struct.unpack("hhqqi4x", lock)
    fcntl.flock(fd, fcntl.LOCK_EX)
    got = bytearray(4)
    fcntl.ioctl(fd, 0x8004_5A01, got)
    seen["ioctl"] = got.decode()
    fcntl.ioctl(fd, 0x4004_5A02, b"abcd")
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    seen["poll"] = waiting.poll(1000)[0][1]
    os.close(fd)
    return seen


def directories(top):
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    fcntl.ioctl(fd, 0x5A04)
    os.close(fd)
    st = os.statvfs(top)
    return {"names": sorted(os.listdir(top)), "again": sorted(os.listdir(top)), "frsize": st.f_frsize}


def interrupted(top):
    """A lock that is never granted, and a signal while waiting for it."""

    def stop(*_):
        raise TimeoutError  # a handler that returned would make Python wait again

    signal.signal(signal.SIGALRM, stop)
    fd = os.open(f"{top}/file", os.O_RDWR)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 900, 1, 0))
    except TimeoutError:
        return "interrupted"
    finally:
        os.close(fd)
    return "granted"


if __name__ == "__main__":
    top = sys.argv[1]
    steps = (names, attributes, data, directories)
    print(json.dumps({step.__name__: step(top) for step in steps}))

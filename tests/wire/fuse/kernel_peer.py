# SPDX-License-Identifier: Apache-2.0
"""The other end of a real mount, made of nothing but `instar.wire.fuse`: it answers every request with fixed values.

Every request is decoded and encoded again; what differs from the kernel's own bytes is kept in ``differences``. Every
reply and notification is written to the kernel; what it refuses is kept in ``refused``.

`python -m tests.wire.fuse.kernel_peer FILE.bin` records the requests into a file, one behind the other, and what they mean
into FILE.txt.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import tempfile
import threading
import time

from instar.edge import mount
from instar.fs import Attr, StatFs
from instar.wire import fuse as w
from instar.wire.fuse import InitFlags, Opcode

NS = 1_000_000_000
FILE, DIR, FIFO, DEV, LINK, CREATED = 2, 3, 4, 5, 6, 7
MODES = {1: 0o40777, DIR: 0o40750, FIFO: 0o10644, DEV: 0o60600, LINK: 0o120777}
NODES = {"file": FILE, "dir": DIR, "fifo": FIFO, "dev": DEV, "link": LINK, "hard": FILE}
#: Not accepted: rings and passthrough need more than bytes, the others change which requests come.
UNWANTED = (
    InitFlags.FUSE_OVER_IO_URING
    | InitFlags.FUSE_PASSTHROUGH
    | InitFlags.FUSE_REQUEST_TIMEOUT
    | InitFlags.FUSE_WRITEBACK_CACHE
    | InitFlags.FUSE_ALLOW_IDMAP
    | InitFlags.FUSE_NO_EXPORT_SUPPORT
    | InitFlags.FUSE_POSIX_ACL
)
WANTED = sum(int(flag) for flag in InitFlags) & ~int(UNWANTED)
#: A lock from here on is never granted.
FOREVER = 900


def attributes(ino):
    return Attr(
        ino, MODES.get(ino, 0o100644), nlink=3, uid=11, gid=12, rdev=os.makedev(8, 1) if ino == DEV else 0,
        size=8192, blksize=512, atime=NS + 1, mtime=-5 * NS - 1, ctime=3 * NS + 3, btime=-4 * NS + 4,
    )  # fmt: skip


def entry(ino):
    return w.encode_entry(ino, 0, 0.0, 0.0, attributes(ino))


class Peer:
    """Serves a directory that it mounts on, until the program that it runs there has ended."""

    def __init__(self):
        self.requests = []
        self.differences = []
        self.refused = []
        self.agreed = None
        self._names = set()
        self._gone = set()
        self._held = None
        self._copies = 0
        self._buffer = memoryview(bytearray(1 << 21))
        self._fd = mount.open_fuse_device()
        self._top = tempfile.mkdtemp(prefix="peer-")

    def __enter__(self):
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount.mount("peer", self._top, "fuse", mount.MountFlags.NOSUID | mount.MountFlags.NODEV, options)
        return self

    def __exit__(self, *exc):
        mount.umount(self._top, mount.UmountFlags.DETACH)
        self._close()
        os.rmdir(self._top)

    def _close(self):
        """Let go of the connection: the kernel ends it, and nobody waits any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def run(self, source, *, notifications=(), seconds=30):
        """Run a Python program with the mount as its argument, send notifications, serve. Returns what it printed."""
        program = subprocess.Popen(
            [sys.executable, "-c", source, self._top],
            stdout=subprocess.PIPE, cwd="/", env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        # from a thread: some wait for locks that the program's requests hold
        notifier = threading.Thread(target=self._notify, args=(notifications,))
        notifier.start()
        try:
            self._serve(program, notifier, time.monotonic() + seconds)
        except BaseException:
            self._close()
            program.kill()
            raise
        finally:
            out, _ = program.communicate()
            notifier.join()
        assert program.returncode == 0, f"the program on the mount ended with {program.returncode}"
        return out.decode()

    def _notify(self, notifications):
        for message in notifications:
            try:
                os.write(self._fd, message)
            except OSError as error:
                self.refused.append((w.decode_notification(message), error))

    def _serve(self, program, notifier, deadline):
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while time.monotonic() < deadline:
            if not poll.poll(20):
                if program.poll() is not None and not notifier.is_alive():
                    return
                continue
            try:
                length = os.readv(self._fd, [self._buffer])
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINTR, errno.EAGAIN}:
                    continue
                raise
            self._answer(bytes(self._buffer[:length]))
        raise TimeoutError("the program on the mount did not end")

    def _answer(self, raw):
        flags = self.agreed.flags if self.agreed else 0
        header, message = w.decode_request(raw, flags=flags)
        self.requests.append((header, message, raw))
        again = w.encode_request(header, message, flags=flags)
        if again != raw:
            self.differences.append((header, message, raw.hex(), again.hex()))
        reply = self._reply(header, message)
        if reply is None:
            return
        try:
            os.write(self._fd, reply)
        except OSError as error:
            self.refused.append((header, message, error))

    def _reply(self, header, message):
        if isinstance(message, w.Setlkw) and message.start == FOREVER:
            self._held = header.unique
            return None
        if isinstance(message, w.Interrupt):
            return w.encode_error(message.unique, errno.EINTR) if message.unique == self._held else None
        if not w.OPCODES[Opcode(header.opcode)].has_reply:
            return None
        try:
            body = self._body(header, message)
        except OSError as error:
            return w.encode_error(header.unique, error.errno)
        return w.out_header(len(body), header.unique) + body

    def _body(self, header, message):
        match message:
            case w.Init():
                self.agreed = w.negotiate(message, WANTED, max_write=1 << 20)
                return w.encode_init(self.agreed)
            case w.Lookup(name):
                if name != "file" and (name not in self._names or name in self._gone):
                    raise OSError(errno.ENOENT, name)
                return entry(NODES[name])
            case w.Mkdir(name) | w.Mknod(name) | w.Symlink(name):
                self._names.add(name)
                return entry(NODES[name])
            case w.Link(node, name):
                self._names.add(name)
                return entry(node)
            case w.Unlink(name) | w.Rmdir(name):
                self._gone.add(name)
                return b""
            case w.Getattr() | w.Setattr():
                return w.encode_attr(0.0, attributes(header.nodeid))
            case w.Statx():
                return w.encode_statx(0.0, attributes(header.nodeid))
            case w.Readlink():
                return w.encode_readlink("tar/get")
            case w.Open():  # OPENDIR too
                return w.encode_open(11)
            case w.Create() | w.Tmpfile():
                return w.encode_create(CREATED, 0, 0.0, 0.0, attributes(CREATED), 12)
            case w.Readdir(offset=offset, size=size):
                return self._listing(offset, size, plus=isinstance(message, w.Readdirplus))
            case w.Read(size=size):
                return b"x" * min(size, 8192)
            case w.Write(data=data):
                return w.encode_write(len(data))
            case w.Statfs():
                return w.encode_statfs(StatFs(1, 2, 3, 4, 5, 512, 1024))
            case w.Getxattr(name, size):
                if name != "user.a":
                    raise OSError(errno.ENODATA, name)
                return b"value" if size else w.encode_xattr_size(5)
            case w.Listxattr(size):
                return b"user.a\0" if size else w.encode_xattr_size(7)
            case w.Lseek(offset=offset, whence=whence):
                return w.encode_lseek(offset + (1000 if whence == os.SEEK_HOLE else 0))
            case w.CopyFileRange(length=length):
                if header.opcode == Opcode.FUSE_COPY_FILE_RANGE:
                    return w.encode_write(length)
                self._copies += 1
                if self._copies > 1:
                    raise OSError(errno.ENOSYS, "the kernel shall try the older opcode")
                return w.encode_copy64(length)
            case w.Setlk() | w.Setlkw():
                return b""
            case w.Getlk():
                return w.encode_lk(5, 9, 1, 0)
            case w.Ioctl(out_size=size):
                return w.encode_ioctl(0, b"z" * size)
            case w.Poll():
                return w.encode_poll(select.POLLIN)
            case _:
                return b""

    def _listing(self, offset, size, *, plus):
        listing = w.DirentBuffer(size)
        for number, name in enumerate([".", "..", "file", "fifo"]):
            if number < offset:
                continue
            ino = NODES.get(name, 1)
            kind = attributes(ino).mode >> 12
            if plus:
                listing.add_plus(
                    NODES.get(name, 0), 0, 0.0, 0.0, attributes(ino), ino, number + 1, kind, name
                )
            else:
                listing.add(ino, number + 1, kind, name)
        return bytes(listing)


def client_source():
    """The program that makes the kernel send everything."""
    with open(os.path.join(os.path.dirname(__file__), "kernel_client.py"), encoding="utf-8") as file:
        return file.read()


#: A program that only looks at the file, for requests that notifications bring.
LOOK = "import os, sys; os.stat(sys.argv[1] + '/file')"
#: The part of the client that is interrupted while it waits.
INTERRUPTED = client_source().split("\nif __name__")[0] + "\nprint(interrupted(sys.argv[1]))"


def every_notification():
    """One of each kind, about nodes that the kernel knows."""
    return [
        w.notify_store(FILE, 0, b"stored" * 1000),
        w.notify_retrieve(77, FILE, 0, 4096),
        w.notify_inval_inode(FILE, -1, 0),
        w.notify_inval_inode(FILE, 0, 0),
        w.notify_inval_entry(1, "link"),
        w.notify_inval_entry(1, "fifo", w.InvalEntryFlags.FUSE_EXPIRE_ONLY),
        w.notify_delete(1, DEV, "dev"),
        w.notify_poll(1),
        w.notify_resend(),
        w.notify_inc_epoch(),
        w.notify_prune([FILE, FIFO, 99]),
    ]


def describe(header, message):
    """One line about a request, the same on every machine: data as bytes, and no process ids."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    text = " ".join(f"{name}={bytes(v) if isinstance(v, memoryview) else v!r}" for name, v in fields.items())
    extensions = "" if header.extensions == w.NO_EXTENSIONS else f" {header.extensions}"
    return f"{w.opcode_name(header.opcode)} {header.nodeid}: {text}".rstrip() + extensions


def main(path):
    with Peer() as peer:
        peer.run(client_source())
        peer.run(LOOK, notifications=every_notification())
        peer.run(INTERRUPTED)
    with (
        open(path, "wb") as requests,
        open(os.path.splitext(path)[0] + ".txt", "w", encoding="utf-8") as lines,
    ):
        for header, message, raw in peer.requests:
            requests.write(raw)
            lines.write(ascii(describe(header, message)) + "\n")
    print(f"{len(peer.requests)} requests, {len(peer.differences)} differences, {len(peer.refused)} refused")


if __name__ == "__main__":
    main(sys.argv[1])

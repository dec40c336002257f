# SPDX-License-Identifier: Apache-2.0
"""Whatever an operation raises or returns, its caller gets an errno, the log says why, and the mount lives on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import mmap
import os
import select

import pytest

from instar.fs import ROOT_INO, Attr, Entry, Open
from instar.testing import mounted
from tests.transport.services import CONTROL, FaultyLater, FaultyNow, fails

pytestmark = [pytest.mark.mount, pytest.mark.root, pytest.mark.timeout(120)]


# ------------------------------------------------------------------------------------------- what is raised


class Unprintable(Exception):
    def __str__(self):
        return str(self)  # recurses for ever

    __repr__ = __str__


def _endless():
    return _endless()


def _raises(error):
    def fault():
        raise error

    return fault


def _out_of_memory():
    return bytearray(1 << 62)


RAISED = {
    "Exception": _raises(Exception("no")),
    "ValueError": _raises(ValueError("no")),
    "KeyboardInterrupt": _raises(KeyboardInterrupt()),
    "SystemExit": _raises(SystemExit(3)),
    "GeneratorExit": _raises(GeneratorExit()),
    "BaseException": _raises(BaseException("no")),
    "StopIteration": _raises(StopIteration(4)),
    "StopAsyncIteration": _raises(StopAsyncIteration()),
    "CancelledError": _raises(asyncio.CancelledError()),
    "TimeoutError": _raises(TimeoutError()),
    "RecursionError": _endless,
    "a group": _raises(BaseExceptionGroup("two", [ValueError("one"), KeyboardInterrupt()])),
    "one that cannot be shown": _raises(Unprintable()),
    "OSError without an errno": _raises(OSError("no errno")),
    "errno 0": _raises(OSError(0, "success")),
    "errno -5": _raises(OSError(-5, "negative")),
    "errno 512": _raises(OSError(512, "ERESTARTSYS")),
    "errno 2**40": _raises(OSError(1 << 40, "large")),
    "errno of text": _raises(OSError("5", "text")),
    "errno of float": _raises(OSError(5.5, "float")),
    "errno None": _raises(OSError(None, "none")),
}

# ------------------------------------------------------------------------------------------- what is called

_IOWR = 3 << 30 | 8 << 16 | ord("i") << 8 | 1


class Client:
    """A system call for each operation, in a mount with ``file``, ``dir``, ``link`` and an attribute ``user.a``."""

    def __init__(self, top):
        self.top = top
        (top / "file").write_bytes(b"x" * 8192)
        (top / "dir").mkdir()
        (top / "dir" / "inner").touch()
        (top / "link").symlink_to("file")
        os.setxattr(top / "file", "user.a", b"1")
        self.fd = os.open(top / "file", os.O_RDWR | os.O_DIRECT)
        self.directory = os.open(top, os.O_RDONLY)
        self.page = mmap.mmap(-1, 4096)

    def close(self):
        self.page.close()
        os.close(self.fd)
        os.close(self.directory)

    def fault(self, operation="", fault=""):
        os.setxattr(self.directory, CONTROL, f"{operation} {fault}".encode())

    def lookup(self):
        os.stat(self.top / "file")

    def getattr(self):
        os.fstat(self.fd)

    def setattr(self):
        os.fchmod(self.fd, 0o600)

    def access(self):
        os.access(self.top, os.R_OK) or _fail()

    def statfs(self):
        os.statvfs(self.top)

    def mknod(self):
        os.mkfifo(self.top / "new")

    def mkdir(self):
        os.mkdir(self.top / "new")

    def symlink(self):
        os.symlink("a", self.top / "new")

    def readlink(self):
        os.readlink(self.top / "link")

    def link(self):
        os.link(self.top / "file", self.top / "new")

    def unlink(self):
        os.unlink(self.top / "link")

    def rmdir(self):
        os.rmdir(self.top / "dir")

    def rename(self):
        os.rename(self.top / "link", self.top / "new")

    def open(self):
        os.close(os.open(self.top / "file", os.O_RDONLY))

    def create(self):
        os.close(os.open(self.top / "new", os.O_CREAT | os.O_RDWR))

    def tmpfile(self):
        os.close(os.open(self.top, os.O_TMPFILE | os.O_RDWR))

    def read(self):
        os.preadv(self.fd, [self.page], 0)

    def write(self):
        os.pwrite(self.fd, self.page, 0)

    def flush(self):
        os.close(os.dup(self.fd))

    def fsync(self):
        os.fsync(self.fd)

    def lseek(self):
        os.lseek(self.fd, 0, os.SEEK_DATA)

    def fallocate(self):
        os.posix_fallocate(self.fd, 0, 4096)

    def copy_file_range(self):
        os.copy_file_range(self.fd, self.fd, 100, 0, 4096)

    def ioctl(self):
        fcntl.ioctl(self.fd, _IOWR, bytes(8))

    def poll(self):
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        ((_, events),) = poller.poll(5000)
        if events & select.POLLERR:
            raise OSError(errno.EIO, "POLLERR")

    def getlk(self):
        fcntl.fcntl(self.fd, fcntl.F_GETLK, bytes(32))

    def setlk(self):
        fcntl.lockf(self.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def opendir(self):
        os.close(os.open(self.top / "dir", os.O_RDONLY))

    def readdir(self):
        # The kernel asks with attributes first, and without where nobody uses them: the second reply is the last.
        fd = os.open(self.top / "dir", os.O_RDONLY)
        try:
            with os.scandir(fd) as lines:
                list(lines)
        finally:
            os.close(fd)

    readdirplus = readdir

    def fsyncdir(self):
        os.fsync(self.directory)

    def getxattr(self):
        os.getxattr(self.top / "file", "user.a")

    def setxattr(self):
        os.setxattr(self.top / "file", "user.b", b"2")

    def listxattr(self):
        os.listxattr(self.top / "file")

    def removexattr(self):
        os.removexattr(self.top / "file", "user.a")


def _fail():
    raise OSError(errno.EIO, "access(2) says no and nothing more")


# What the system call of an operation shows. RELEASE and RELEASEDIR have no caller.
_SILENT = {"release": "open", "releasedir": "opendir"}
_CALLED = [name for name in vars(Client) if not name.startswith("_") and name not in ("close", "fault")]
_LISTS = ("readdir", "readdirplus")


@contextlib.contextmanager
def _mount(faulty, faults, log):
    with mounted(
        lambda: faulty(faults, log), options={"default_permissions": False}, allow_errors=True
    ) as top:
        client = Client(top)
        try:
            yield client
        finally:
            client.fault()
            client.close()


def _code(fault, operation):
    if fault is _out_of_memory:
        return errno.ENOMEM
    return errno.EIO


@pytest.mark.parametrize("faulty", [FaultyNow, FaultyLater], ids=["plain", "async"])
def test_an_operation_that_raises_anything_gives_eio_and_a_traceback_and_the_mount_lives(faulty, tmp_path):
    log = tmp_path / "log"
    with _mount(faulty, RAISED, log) as client:
        for operation in _CALLED:
            if operation in _LISTS:
                continue
            for name in RAISED:
                client.fault(operation, name)
                try:
                    with fails(errno.EIO):
                        getattr(client, operation)()
                except (AssertionError, pytest.fail.Exception) as error:
                    raise AssertionError(f"{operation} that raises {name}: {error}") from error
            client.fault()
        for operation, call in _SILENT.items():
            for name in RAISED:
                client.fault(operation, name)
                getattr(client, call)()
            client.fault()
        _still_works(client)
        text = log.read_text()
    for operation in [*_CALLED, *_SILENT]:
        if operation not in _LISTS:
            assert f".{operation} failed; the caller gets EIO" in text, operation
    assert "Traceback (most recent call last)" in text


@pytest.mark.parametrize("faulty", [FaultyNow, FaultyLater], ids=["plain", "async"])
def test_an_operation_that_runs_out_of_memory_gives_enomem(faulty, tmp_path):
    with _mount(faulty, {"memory": _out_of_memory}, tmp_path / "log") as client:
        for operation in _CALLED:
            if operation in _LISTS or operation in ("access", "poll"):  # those two show no errno
                continue
            client.fault(operation, "memory")
            with fails(errno.ENOMEM):
                getattr(client, operation)()
        client.fault()
        _still_works(client)
    assert "the caller gets ENOMEM" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("faulty", [FaultyNow, FaultyLater], ids=["plain", "async"])
def test_an_operation_that_raises_an_errno_gives_that_errno_and_logs_nothing(faulty, tmp_path):
    codes = [errno.EPERM, errno.ENOSPC, errno.EMFILE, errno.EDQUOT, errno.ESTALE, errno.EXDEV, 511]
    faults = {f"errno {code}": _raises(OSError(code, "")) for code in codes}
    with _mount(faulty, faults, tmp_path / "log") as client:
        for operation in ("getattr", "mkdir", "write", "fsync", "setxattr", "open"):
            for code in codes:
                client.fault(operation, f"errno {code}")
                with pytest.raises(OSError) as caught:
                    getattr(client, operation)()
                assert caught.value.errno == code, operation
    assert (tmp_path / "log").read_text() == ""


def test_enosys_is_answered_as_eopnotsupp_because_the_kernel_would_never_ask_again(tmp_path):
    with _mount(FaultyNow, {"enosys": _raises(OSError(errno.ENOSYS, ""))}, tmp_path / "log") as client:
        for operation in ("fsync", "lseek", "ioctl", "getxattr", "fsyncdir", "access"):
            client.fault(operation, "enosys")
            with fails(errno.EOPNOTSUPP, errno.EIO):  # EIO is what Client.access makes of a plain no
                getattr(client, operation)()
            client.fault()
            getattr(client, operation)()


# ------------------------------------------------------------------------------------------- what is returned


class Odd:
    def __getattr__(self, name):
        raise ZeroDivisionError("an attribute of nonsense")


def _generator():
    yield 1


_FILE = Attr(2, 0o100644)
_ODD = {
    "object": object(),
    "1.5": 1.5,
    "2**70": 1 << 70,
    "a function": _generator,
    "a generator": _generator(),
    "an exception": ValueError("returned, not raised"),
    "a class": Entry,
    "Odd": Odd(),
    "nan": float("nan"),
}
_NOT_NONE = {**_ODD, "5": 5, "text": "text", "False": False}
_NOT_AN_ENTRY = {
    **_ODD,
    "None": None,
    "()": (),
    "5": 5,
    "text": "text",
    "Attr": _FILE,
    "no node": Entry(0, _FILE),
    "a negative node": Entry(-4, _FILE),
    "a large node": Entry(1 << 64, _FILE),
    "the root": Entry(ROOT_INO, Attr(1, 0o040755)),
    "no attributes": Entry(9, None),
    "no type": Entry(9, Attr(9, 0o644)),
    "an unknown type": Entry(9, Attr(9, 0o150644)),
    "a large type": Entry(9, Attr(9, 0o1100644)),
    "a size beyond all": Entry(9, Attr(9, 0o100644, size=1 << 63)),
    "a negative size": Entry(9, Attr(9, 0o100644, size=-1)),
    "a size of text": Entry(9, Attr(9, 0o100644, size="1")),
    "a negative timeout": Entry(9, _FILE, entry_timeout=-1.0),
    "a timeout that is no number": Entry(9, _FILE, attr_timeout=float("nan")),
    "a generation of text": Entry(9, _FILE, generation="1"),
}
_NOT_AN_ATTR = {
    **_ODD, "None": None, "5": 5, "Entry": Entry(2, _FILE), "no type": Attr(2, 0o644),
    "a size beyond all": Attr(2, 0o100644, size=1 << 63), "uid": Attr(2, 0o100644, uid=-1),
    "time": Attr(2, 0o100644, mtime="yesterday"),
}  # fmt: skip
_NOT_AN_OPEN = {
    **_ODD, "None": None, "5": 5, "negative": Open(-1), "large": Open(1 << 64), "text": Open("1"),
}  # fmt: skip
_NOT_A_NUMBER = {**_ODD, "None": None, "-1": -1, "text": "4", "bytes": b"4"}
_WRONG_TYPE = {"a directory": Entry(9, Attr(9, 0o040755))}

RETURNED = {
    "lookup": _NOT_AN_ENTRY,
    "getattr": _NOT_AN_ATTR,
    "setattr": _NOT_AN_ATTR,
    "mknod": {**_NOT_AN_ENTRY, **_WRONG_TYPE},
    "mkdir": {**_NOT_AN_ENTRY, "a file": Entry(9, _FILE)},
    "symlink": {**_NOT_AN_ENTRY, **_WRONG_TYPE},
    "link": _NOT_AN_ENTRY,
    "readlink": {
        **_ODD, "None": None, "5": 5, "bytes": b"file", "": "", "NUL": "a\0b", "long": "x" * 4096, "huge": "x" * (5 << 20),
    },
    "statfs": {**_ODD, "None": None, "5": 5},
    "open": _NOT_AN_OPEN,
    "opendir": _NOT_AN_OPEN,
    "create": {
        **_ODD, "None": None, "Entry": Entry(9, _FILE), "Open": Open(1), "()": (), "three": (1, 2, 3),
        "turned round": (Open(1), Entry(9, _FILE)), "a directory": (Entry(9, Attr(9, 0o040755)), Open(1)),
        "a bad handle": (Entry(9, _FILE), Open(-1)),
    },
    "tmpfile": {**_ODD, "None": None, "Entry": Entry(9, _FILE), "a list of one": [Entry(9, _FILE)]},
    "read": {
        **_ODD, "None": None, "5": 5, "text": "text", "list": [1, 2], "too much": bytes(1 << 20), "more": bytes(4097),
    },
    "write": {**_NOT_A_NUMBER, "more": 4097},
    "copy_file_range": {**_NOT_A_NUMBER, "more": 1 << 40},
    "lseek": _NOT_A_NUMBER,
    "ioctl": {**_ODD, "None": None, "5": 5, "bytes": b"x"},
    "poll": _NOT_A_NUMBER,
    "getxattr": {**_ODD, "None": None, "5": 5, "text": "text", "list": [1]},
    "listxattr": {**_ODD, "a generator": ..., "None": None, "5": 5, "one name": "user.a", "bytes": b"user.a", "numbers": [1], "empty": [""], "NUL": ["a\0b"]},
    "getlk": {**_ODD, "5": 5, "text": "text"},
    **dict.fromkeys(("access", "unlink", "rmdir", "rename", "flush", "fsync", "fallocate", "setlk", "fsyncdir", "setxattr", "removexattr"), _NOT_NONE),
}  # fmt: skip

_GIVES = {
    **dict.fromkeys(("lookup", "mknod", "mkdir", "symlink", "link"), "an Entry"),
    **dict.fromkeys(("getattr", "setattr"), "an Attr"),
    **dict.fromkeys(("open", "opendir"), "an Open"),
    **dict.fromkeys(("create", "tmpfile"), "an Entry and an Open"),
    **dict.fromkeys(("write", "copy_file_range", "lseek", "poll"), "an int"),
    **dict.fromkeys(("read", "getxattr"), "bytes"),
    "readlink": "a str", "statfs": "a StatFs", "ioctl": "an Ioctl", "listxattr": "names", "getlk": "a FileLock or None",
}  # fmt: skip


def test_the_table_of_nonsense_names_every_operation_that_has_a_caller():
    assert sorted(set(RETURNED) | set(_LISTS)) == sorted(_CALLED)


@pytest.mark.parametrize("faulty", [FaultyNow, FaultyLater], ids=["plain", "async"])
def test_an_operation_that_returns_nonsense_gives_eio_and_the_log_says_what_was_expected(faulty, tmp_path):
    log = tmp_path / "log"
    faults = {
        f"{operation} {name}": (lambda value=value: value)
        for operation, values in RETURNED.items()
        for name, value in values.items()
    }
    with _mount(faulty, faults, log) as client:
        for operation, values in RETURNED.items():
            for name in values:
                client.fault(operation, f"{operation} {name}")
                try:
                    with fails(errno.EIO):
                        getattr(client, operation)()
                except (AssertionError, pytest.fail.Exception) as error:
                    raise AssertionError(f"{operation} that returns {name}: {error}") from error
            client.fault()
        _still_works(client)
        text = log.read_text()
    for operation in RETURNED:
        expected = f", expected {_GIVES.get(operation, 'None')}; the caller gets EIO"
        lines = [line for line in text.splitlines() if f".{operation} returned " in line]
        assert any(expected in line for line in lines), (operation, lines)
    assert "refused a reply" not in text  # all of it was seen before the kernel did


@pytest.mark.parametrize(
    "value", [memoryview(b"abcdefgh")[::2], memoryview(bytearray(b"abcd")), bytearray(b"abcd")]
)
def test_a_read_may_return_any_kind_of_buffer(value, tmp_path):
    with _mount(FaultyNow, {"value": lambda: value}, tmp_path / "log") as client:
        client.fault("read", "value")
        assert os.preadv(client.fd, [client.page], 0) == 4
        assert client.page[:4] == bytes(value)


def _still_works(client):
    client.lookup()
    assert sorted(os.listdir(client.top)) == ["dir", "file", "link"]
    client.read()
    client.write()
    client.mkdir()
    os.rmdir(client.top / "new")

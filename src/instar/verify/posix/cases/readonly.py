# SPDX-License-Identifier: Apache-2.0
"""EROFS: a read-only view of the directory, bind-mounted in a mount namespace that ends with its process."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from instar.edge.mount import MountFlags, mount
from instar.edge.syscalls import CloneFlags, RenameFlags, renameat2, unshare
from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case
from instar.verify.posix.cases._common import open_and_close, open_creating

__all__: list[str] = []

_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18  # linux/mount.h


def _bind_read_only(source: str, target: str) -> None:
    unshare(CloneFlags.NEWNS)
    mount("none", "/", "", MountFlags(_MS_REC | _MS_PRIVATE), "")
    mount(source, target, "", MountFlags.BIND, "")
    mount("none", target, "", MountFlags.BIND | MountFlags.REMOUNT | MountFlags.RDONLY, "")
    os.chdir(target)


def _view(t: Arena) -> Actor:
    """A process of root whose working directory is a read-only view of ``source``."""
    t.root(os.mkdir, "source", 0o777)
    t.root(os.mkdir, "view", 0o777)
    for kind in ("file", "dir", "fifo"):
        t.make(kind, f"source/{kind}", 0o666)
    t.root(_do.write, "source/file", b"text")
    t.root(os.symlink, "file", "source/link")
    process = t.another(t.root)
    number = process.attempt(_bind_read_only, f"{t.path}/source", f"{t.path}/view")
    if number:
        t.skip("mounting is not allowed here")
    return process


def _create(path: str) -> None:
    open_creating(path)


def _open_write(path: str) -> None:
    open_and_close(path, os.O_WRONLY)


def _open_truncate(path: str) -> None:
    open_and_close(path, os.O_RDONLY | os.O_TRUNC)


def _mkdir(path: str) -> None:
    os.mkdir(path, 0o755)


def _mknod(path: str) -> None:
    os.mknod(path, stat.S_IFREG | 0o644)


def _symlink(path: str) -> None:
    os.symlink("x", path)


def _link(path: str) -> None:
    os.link("file", path)


def _rename(path: str) -> None:
    os.rename(path, "other")


def _exchange(path: str) -> None:
    renameat2(path, "fifo", RenameFlags.EXCHANGE)


def _chmod(path: str) -> None:
    os.chmod(path, 0o600)


def _chown(path: str) -> None:
    os.chown(path, 1, 1)


def _truncate(path: str) -> None:
    os.truncate(path, 0)


def _utime(path: str) -> None:
    os.utime(path)


def _setxattr(path: str) -> None:
    os.setxattr(path, "user.a", b"1")


_REFUSED: dict[str, tuple[Callable[[str], None], str]] = {
    "open-creat": (_create, "new"),
    "open-write": (_open_write, "file"),
    "open-truncate": (_open_truncate, "file"),
    "open-write-by-link": (_open_write, "link"),
    "mkdir": (_mkdir, "new"),
    "mknod": (_mknod, "new"),
    "mkfifo": (os.mkfifo, "new"),
    "symlink": (_symlink, "new"),
    "link": (_link, "new"),
    "rename": (_rename, "file"),
    "exchange": (_exchange, "file"),
    "unlink": (os.unlink, "file"),
    "rmdir": (os.rmdir, "dir"),
    "chmod": (_chmod, "file"),
    "chmod-dir": (_chmod, "dir"),
    "chown": (_chown, "file"),
    "truncate": (_truncate, "file"),
    "utimensat": (_utime, "file"),
    "setxattr": (_setxattr, "file"),
}


@case(_REFUSED)
def _change_is_erofs(t: Arena, call: Callable[[str], None], path: str) -> None:
    view = _view(t)
    before = sorted(t.root(os.listdir, "source"))
    with t.times({"source": "?", "source/file": "?", "source/dir": "?"}):
        view.fails(errno.EROFS, call, path)
    t.equal(sorted(t.root(os.listdir, "source")), before, "names")
    t.has("source/file", size=4)


@case()
def _reading_goes_on(t: Arena) -> None:
    view = _view(t)
    t.equal(view(_do.read, "file"), b"text", "content")
    t.equal(view(_do.read, "link"), b"text", "content by a link")
    t.equal(sorted(view(os.listdir, ".")), ["dir", "fifo", "file", "link"], "names")
    t.true(view(os.statvfs, ".").f_flag & os.ST_RDONLY, "ST_RDONLY")
    t.equal(view(_do.rights, "file"), "r--", "rights of root on a file")
    view.fails(errno.EEXIST, os.mkdir, "dir", 0o755)
    view.fails((errno.ENOENT, errno.EROFS), os.unlink, "missing")
    # A fifo is written to without a change of the file system.
    reader = view(os.open, "fifo", os.O_RDWR | os.O_NONBLOCK)
    t.equal(view(os.write, reader, b"x"), 1, "bytes written to a fifo")

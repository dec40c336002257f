# SPDX-License-Identifier: Apache-2.0
"""How every call resolves a path: POSIX.1-2017 4.13 Pathname Resolution, path_resolution(7)."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import (
    NAME_MAX,
    NOT_DIRECTORIES,
    PATH_MAX,
    deep_path,
    open_and_close,
    open_creating,
    touch_times,
)

__all__: list[str] = []

Call = Callable[[str], object]


def _mkdir(path: str) -> None:
    os.mkdir(path, 0o755)


def _mkfifo(path: str) -> None:
    os.mkfifo(path, 0o644)


def _mksocket(path: str) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o644)


def _symlink(path: str) -> None:
    os.symlink("target", path)


def _link_to(path: str) -> None:
    os.link("origin", path)


def _rename_to(path: str) -> None:
    os.rename("origin", path)


def _create_exclusive(path: str) -> None:
    _do.create(path)


def _open_read(path: str) -> None:
    open_and_close(path)


def _open_write(path: str) -> None:
    open_and_close(path, os.O_WRONLY)


def _open_truncate(path: str) -> None:
    open_and_close(path, os.O_WRONLY | os.O_TRUNC)


def _open_path(path: str) -> None:
    open_and_close(path, os.O_PATH)


def _chmod(path: str) -> None:
    os.chmod(path, 0o640)


def _chown(path: str) -> None:
    os.chown(path, -1, -1)


def _lchown(path: str) -> None:
    os.lchown(path, -1, -1)


def _truncate(path: str) -> None:
    os.truncate(path, 10)


def _link_from(path: str) -> None:
    os.link(path, "other", follow_symlinks=False)


def _rename_from(path: str) -> None:
    os.rename(path, "other")


def _exchange(path: str) -> None:
    syscalls.renameat2(path, "origin", syscalls.RenameFlags.EXCHANGE)


def _access(path: str) -> None:
    """access(2), which :func:`os.access` turns into a bool."""
    syscalls.faccessat(path, os.F_OK)


def _setxattr(path: str) -> None:
    os.setxattr(path, "user.x", b"1")


def _getxattr(path: str) -> None:
    syscalls.getxattr_into(path, "user.none", 0)


def _utimes(path: str) -> None:
    touch_times(path)


def _lutimes(path: str) -> None:
    os.utime(path, ns=(5, 6), follow_symlinks=False)


def _execute(path: str) -> None:
    os.waitpid(os.posix_spawn(path, ["x"], {}), 0)


def _bind(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)


# Calls that make a name; the last component need not be there.
_CREATE: dict[str, Call] = {
    "mkdir": _mkdir,
    "mkfifo": _mkfifo,
    "mknod-socket": _mksocket,
    "symlink": _symlink,
    "link-to": _link_to,
    "rename-to": _rename_to,
    "open-creat": open_creating,
    "open-excl": _create_exclusive,
}
# Calls that use what is there and follow a link at the end.
_FOLLOW: dict[str, Call] = {
    "open-read": _open_read,
    "open-write": _open_write,
    "open-trunc": _open_truncate,
    "open-path": _open_path,
    "chmod": _chmod,
    "chown": _chown,
    "truncate": _truncate,
    "stat": os.stat,
    "access": _access,
    "utimensat": _utimes,
    "setxattr": _setxattr,
    "statfs": os.statvfs,
    "chdir": os.chdir,
    "execve": _execute,
    "scandir": os.listdir,
}
# Calls that use what is there, and take a link at the end for itself.
_NOFOLLOW: dict[str, Call] = {
    "lstat": os.lstat,
    "readlink": os.readlink,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "lchown": _lchown,
    "link-from": _link_from,
    "rename-from": _rename_from,
    "rename-exchange": _exchange,
    "lutimes": _lutimes,
}
_EVERY = {**_CREATE, **_FOLLOW, **_NOFOLLOW}
_EXISTING = {**_FOLLOW, **_NOFOLLOW}


@case(_EVERY, short=True)
def _missing_directory_in_a_path_is_enoent(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me.fails(errno.ENOENT, call, "missing/name")
    t.me.fails(errno.ENOENT, call, "missing/deeper/name")
    t.me.fails(errno.ENOENT, call, "missing/../name")
    t.me(os.symlink, "nowhere", "dangling")
    t.me.fails(errno.ENOENT, call, "dangling/name")
    t.equal(sorted(t.me(os.listdir, ".")), ["dangling", "origin"], "names after failed calls")


@case(_EVERY)
def _empty_path_is_enoent(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me.fails(errno.ENOENT, call, "")


@case(_EXISTING)
def _missing_name_is_enoent(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(os.mkdir, "d")
    t.me.fails(errno.ENOENT, call, "missing")
    t.me.fails(errno.ENOENT, call, "d/missing")
    t.me.fails(errno.ENOENT, call, "d/../missing")
    # The same name again: a file system that remembers absent names must remember them right.
    t.me.fails(errno.ENOENT, call, "missing")


@case(_FOLLOW)
def _dangling_link_is_enoent(t: Arena, call: Call) -> None:
    t.me(os.symlink, "nowhere", "link")
    t.me(os.symlink, "link", "link2")
    t.me.fails(errno.ENOENT, call, "link")
    t.me.fails(errno.ENOENT, call, "link2")
    t.exists("nowhere", False)


@case(grid(_EVERY, NOT_DIRECTORIES))
def _other_file_as_a_directory_is_enotdir(t: Arena, call: Call, kind: str) -> None:
    t.me(_do.create, "origin")
    t.make(kind, "f")
    t.me.fails(errno.ENOTDIR, call, "f/name")
    t.me.fails(errno.ENOTDIR, call, "f/name/deeper")
    t.me.fails(errno.ENOTDIR, call, "f/../origin")
    t.me(os.symlink, "f", "link")
    t.me.fails(errno.ENOTDIR, call, "link/name")
    t.has("f", kind=kind, mode=0o644, nlink=1)


@case(
    {name: call for name, call in _EXISTING.items() if name not in {"rmdir", "chdir", "scandir", "readlink"}}
)
def _file_with_a_trailing_slash_is_enotdir(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(_do.create, "f")
    t.me.fails(errno.ENOTDIR, call, "f/")
    t.me.fails(errno.ENOTDIR, call, "f/.")
    t.has("f", kind="file", size=0, nlink=1)


@case(_EVERY)
def _link_loop_in_a_path_is_eloop(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(os.symlink, "two", "one")
    t.me(os.symlink, "one", "two")
    t.me(os.symlink, "self", "self")
    t.me.fails(errno.ELOOP, call, "one/name")
    t.me.fails(errno.ELOOP, call, "two/name")
    t.me.fails(errno.ELOOP, call, "self/name")


@case(_FOLLOW)
def _link_loop_at_the_end_is_eloop(t: Arena, call: Call) -> None:
    t.me(os.symlink, "two", "one")
    t.me(os.symlink, "one", "two")
    t.me(os.symlink, "self", "self")
    for name in ("one", "two", "self", "./one", "one/../two"):
        t.me.fails(errno.ELOOP, call, name)


@case(_EVERY)
def _name_of_256_bytes_is_enametoolong(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(os.mkdir, "d")
    for long in (
        "x" * (NAME_MAX + 1),
        "x" * 1000,
        "d/" + "x" * (NAME_MAX + 1),
        "x" * (NAME_MAX + 1) + "/name",
    ):
        t.me.fails(errno.ENAMETOOLONG, call, long)
    # 128 characters of two bytes each: bytes count, not characters.
    t.me.fails(errno.ENAMETOOLONG, call, "\u00e9" * 128)
    t.equal(sorted(t.me(os.listdir, ".")), ["d", "origin"], "names after failed calls")


@case(_EVERY)
def _path_of_4096_bytes_is_enametoolong(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me.fails(errno.ENAMETOOLONG, call, deep_path(PATH_MAX, "name"))
    t.me.fails(errno.ENAMETOOLONG, call, deep_path(PATH_MAX + 1000, "name"))


@case(_CREATE)
def _name_of_255_bytes_can_be_made(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(os.mkdir, "d")
    name = "n" * NAME_MAX
    t.me(call, name)
    t.exists(name)
    t.true(name in t.me(os.listdir, "."), "the long name is listed in full")
    t.me(_do.make, "file", "d/origin")
    t.me(os.rename, name, "d/" + "m" * NAME_MAX)
    t.exists("d/" + "m" * NAME_MAX)


@case(_CREATE)
def _path_of_4095_bytes_can_be_used(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    t.me(call, deep_path(PATH_MAX - 1, "name"))
    t.exists("name")


@case(_CREATE)
def _dot_and_dotdot_in_a_path_are_followed(t: Arena, call: Call) -> None:
    t.me(os.makedirs, "d/e")
    t.me(_do.create, "origin")
    t.me(call, "d/e/.././e/../../d/./name")
    t.exists("d/name")
    t.equal(t.stat("d/e/../name").st_ino, t.stat("d/name").st_ino, "inode by two paths")


@case({name: call for name, call in _CREATE.items() if name not in {"open-creat", "rename-to"}})
def _existing_name_is_eexist(t: Arena, call: Call) -> None:
    t.me(_do.create, "origin")
    for kind in ("file", "dir", "fifo", "socket", "symlink"):
        t.make(kind, kind)
        inode = t.stat(kind).st_ino
        t.me.fails(errno.EEXIST, call, kind)
        t.has(kind, kind=kind, ino=inode)
    directory = errno.EISDIR if call is _create_exclusive else errno.EEXIST
    for path in (".", "..", "dir/.", "dir/..", "/"):
        t.me.fails((errno.EEXIST, directory), call, path)


_SEARCHERS = each("owner", "group", "other", "supplementary")
_SEARCH_BITS = {"owner": 0o100, "group": 0o010, "other": 0o001, "supplementary": 0o010}


@case(grid({name: call for name, call in _EVERY.items() if name != "rename-exchange"}, _SEARCHERS))
def _search_permission_is_asked_of_each_directory(t: Arena, call: Call, who: str) -> None:
    actor, bit = _prepare_search(t, who)
    # Everything but the search bit that counts for this user is granted.
    t.root(os.chmod, "p", 0o777 & ~bit)
    actor.fails(errno.EACCES, call, "p/d/name")
    actor.fails(errno.EACCES, call, "p/missing/name")
    t.root(os.chmod, "p", 0o777)
    t.root(os.chmod, "p/d", 0o777 & ~bit)
    actor.fails(errno.EACCES, call, "p/d/name")
    t.root(os.chmod, "p/d", 0o777)
    actor.fails(errno.ENOENT, call, "p/missing/name")


def _prepare_search(t: Arena, who: str) -> tuple[Actor, int]:
    t.root(os.mkdir, "p", 0o777)
    t.root(os.mkdir, "p/d", 0o777)
    t.root(_do.make, "file", "p/d/name", 0o777)
    t.root(_do.make, "file", "origin", 0o777)
    t.root(os.chmod, ".", 0o777)
    owner = {"owner": (30001, 0), "group": (0, 30001), "other": (0, 0), "supplementary": (0, 777)}[who]
    for path in ("p", "p/d", "p/d/name", "origin"):
        t.root(os.chown, path, *owner)
    actor = t.who(30001, 30001, 777) if who == "supplementary" else t.user_a
    return actor, _SEARCH_BITS[who]


@case(each(1, 10, 40))
def _chain_of_links_is_followed(t: Arena, length: int) -> None:
    t.me(_do.write, "0", b"end")
    for number in range(1, length + 1):
        t.me(os.symlink, str(number - 1), str(number))
    t.equal(t.me(_do.read, str(length)), b"end", f"content by {length} links")
    t.equal(t.me(os.stat, str(length)).st_ino, t.stat("0").st_ino, "inode at the end of the links")


@case()
def _chain_of_41_links_is_eloop(t: Arena) -> None:
    t.me(_do.write, "0", b"end")
    for number in range(1, 43):
        t.me(os.symlink, str(number - 1), str(number))
    t.me.fails(errno.ELOOP, os.stat, "42")
    t.me.fails(errno.ELOOP, os.stat, "41")
    t.me(os.lstat, "42")


@case()
def _relative_link_starts_from_its_own_directory(t: Arena) -> None:
    t.me(os.makedirs, "a/b")
    t.me(os.makedirs, "c")
    t.me(_do.write, "a/f", b"in a")
    t.me(_do.write, "c/f", b"in c")
    t.me(os.symlink, "../f", "a/b/up")
    t.me(os.symlink, "../c", "a/side")
    t.me(os.symlink, t.path, "a/absolute")
    t.equal(t.me(_do.read, "a/b/up"), b"in a", "content by ../f")
    t.equal(t.me(_do.read, "a/side/f"), b"in c", "content by a link to a directory")
    t.equal(t.me(_do.read, "a/absolute/c/f"), b"in c", "content by an absolute link")
    t.equal(t.me(os.stat, "a/side/..").st_ino, t.stat(".").st_ino, "inode of link/..")


@case()
def _slashes_may_be_repeated(t: Arena) -> None:
    t.me(os.makedirs, "a/b")
    t.me(_do.write, "a/b/f", b"x")
    for path in ("a//b/f", "a///b////f", ".//a/b//./f", t.path + "//a/b/f"):
        t.equal(t.me(_do.read, path), b"x", f"content of {path}")
    t.me(os.mkdir, "a/c///")
    t.has("a/c", kind="dir")
    t.me(os.rename, "a/c/", "a/d//")
    t.me(os.rmdir, "a/d/")
    t.exists("a/d", False)


@case()
def _trailing_slash_follows_a_link_to_a_directory(t: Arena) -> None:
    t.me(os.mkdir, "d")
    t.me(os.symlink, "d", "link")
    t.equal(_do.kind_of(t.me(os.lstat, "link/").st_mode), "dir", "type of link/")
    t.equal(_do.kind_of(t.me(os.lstat, "link").st_mode), "symlink", "type of link")
    t.me.fails(errno.ENOTDIR, os.rmdir, "link")
    t.me.fails(errno.ENOTDIR, os.rmdir, "link/")
    t.me.fails(errno.ENOTDIR, os.unlink, "link/")
    t.me.fails(errno.EINVAL, os.readlink, "link/")
    t.exists("link")
    t.exists("d")


@case({"file": "open-creat", "dir": "mkdir"})
def _name_with_a_trailing_slash_can_be_made_only_by_mkdir(t: Arena, how: str) -> None:
    if how == "mkdir":
        t.me(os.mkdir, "new/")
        t.has("new", kind="dir")
        return
    t.me.fails(errno.EISDIR, open_creating, "new/")
    t.me.fails(errno.EISDIR, _create_exclusive, "new/")
    t.me.fails(errno.ENOENT, _mkfifo, "new/")
    t.me.fails(errno.ENOENT, _symlink, "new/")
    t.me(_do.create, "origin")
    t.me.fails(errno.ENOENT, _link_to, "new/")
    t.me.fails(errno.ENOTDIR, _rename_to, "new/")
    t.exists("new", False)


@case()
def _dotdot_of_a_directory_is_its_parent(t: Arena) -> None:
    t.me(os.makedirs, "a/b")
    t.equal(t.me(os.stat, "a/b/..").st_ino, t.stat("a").st_ino, "inode of a/b/..")
    t.equal(t.me(os.stat, "a/b/../..").st_ino, t.stat(".").st_ino, "inode of a/b/../..")
    t.me(os.mkdir, "c")
    t.me(os.rename, "a/b", "c/b")
    t.equal(t.me(os.stat, "c/b/..").st_ino, t.stat("c").st_ino, "inode of .. after a rename")


@case()
def _working_directory_that_was_removed_answers_enoent(t: Arena) -> None:
    t.me(os.mkdir, "gone")
    walker = t.another(t.me)
    walker(os.chdir, "gone")
    t.me(os.rmdir, "gone")
    walker.fails(errno.ENOENT, os.getcwd)
    walker.fails(errno.ENOENT, _do.create, "new")
    walker.fails(errno.ENOENT, os.mkdir, "new")
    walker.fails(errno.ENOENT, os.symlink, "x", "new")
    t.equal(walker(os.listdir, "."), [], "content of a removed directory")
    walker(os.stat, ".")


@case()
def _working_directory_follows_a_rename(t: Arena) -> None:
    t.me(os.makedirs, "a/b")
    walker = t.another(t.me)
    walker(os.chdir, "a/b")
    t.me(os.rename, "a", "c")
    t.equal(walker(os.getcwd), f"{t.path}/c/b", "working directory after a rename above it")
    walker(_do.create, "f")
    t.exists("c/b/f")


@case(each("chmod", "rename", "unlink", "replace"))
def _name_that_changed_is_seen_by_others_at_once(t: Arena, how: str) -> None:
    other = t.another(t.me)
    t.me(_do.write, "f", b"one")
    t.equal(other(_do.read, "f"), b"one", "content that another process reads")
    for turn in range(20):
        if how == "chmod":
            t.me(os.chmod, "f", 0o600 + turn)
            t.equal(stat.S_IMODE(other(os.stat, "f").st_mode), 0o600 + turn, "mode that another process sees")
        elif how == "rename":
            t.me(os.rename, "f" if turn % 2 == 0 else "g", "g" if turn % 2 == 0 else "f")
            other.fails(errno.ENOENT, os.stat, "f" if turn % 2 == 0 else "g")
            other(os.stat, "g" if turn % 2 == 0 else "f")
        elif how == "unlink":
            t.me(os.unlink, "f")
            other.fails(errno.ENOENT, os.stat, "f")
            t.me(_do.create, "f")
            other(os.stat, "f")
        else:
            t.me(_do.write, "new", b"%d" % turn)
            t.me(os.rename, "new", "f")
            t.equal(other(_do.read, "f"), b"%d" % turn, "content that another process reads")

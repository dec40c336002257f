# SPDX-License-Identifier: Apache-2.0
"""mkdir(2), mkdirat(2): POSIX.1-2017 mkdir()."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, shared_directory

__all__: list[str] = []

_MODES = {f"{mode:04o}": mode for mode in (0o0, 0o111, 0o400, 0o644, 0o700, 0o755, 0o777, 0o1777)}


def _mkdir_under_umask(path: str, mode: int, umask: int) -> None:
    old = os.umask(umask)
    try:
        os.mkdir(path, mode)
    finally:
        os.umask(old)


def _mkdirat(directory: str, name: str, mode: int) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        os.mkdir(name, mode, dir_fd=fd)
    finally:
        os.close(fd)


@case(short=True)
def _makes_an_empty_directory(t: Arena) -> None:
    t.me(os.mkdir, "d", 0o755)
    t.has("d", kind="dir", mode=0o755)
    t.equal(t.me(os.listdir, "d"), [], "content of a new directory")
    t.equal(t.me(os.listdir, "."), ["d"], "content of its parent")
    t.me(_mkdirat, "d", "e", 0o700)
    t.has("d/e", kind="dir", mode=0o700)
    t.equal(t.stat("d/e/..").st_ino, t.stat("d").st_ino, "inode of d/e/..")
    t.equal(t.stat("d/e/.").st_ino, t.stat("d/e").st_ino, "inode of d/e/.")


@case(grid(_MODES, {f"{umask:03o}": umask for umask in (0, 0o022, 0o077, 0o151, 0o777)}))
def _mode_is_the_argument_without_the_umask(t: Arena, mode: int, umask: int) -> None:
    t.me(_mkdir_under_umask, "d", mode, umask)
    t.has("d", mode=mode & ~umask)


@case()
def _setuid_and_setgid_in_the_argument_are_ignored(t: Arena) -> None:
    t.me(os.mkdir, "d", 0o6755)
    t.has("d", mode=0o755)


@case()
def _owner_is_the_caller(t: Arena) -> None:
    shared_directory(t, "d")
    t.user_a(os.mkdir, "d/a", 0o755)
    t.has("d/a", uid=A[0], gid=A[1])
    t.user_b(os.mkdir, "d/b", 0o755)
    t.has("d/b", uid=B[0], gid=B[1])
    t.who(5, 6, 7, 8)(os.mkdir, "d/c", 0o755)
    t.has("d/c", uid=5, gid=6)


@case()
def _times_of_the_new_directory_and_of_its_parent_are_now(t: Arena) -> None:
    with t.times({".": "mc?"}):
        t.me(os.mkdir, "d", 0o755)
    new, parent = t.stat("d"), t.stat(".")
    t.equal(new.st_mtime_ns, new.st_ctime_ns, "mtime and ctime of a new directory")
    t.true(new.st_mtime_ns <= parent.st_mtime_ns, "the parent's mtime is not before the child's")
    with t.times({"d": "mc?", ".": ""}):
        t.me(os.mkdir, "d/e", 0o755)


@case(KINDS)
def _existing_name_is_eexist_and_changes_nothing(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    before = t.stat("f")
    with t.times({".": "", "f": "?"}):
        t.me.fails(errno.EEXIST, os.mkdir, "f", 0o755)
    t.equal(t.stat("f").st_ino, before.st_ino, "inode of the old file")
    t.has("f", kind=kind)


@case()
def _existing_name_comes_before_lack_of_permission(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.make("dir", "d/e", 0o755)
    t.user_a.fails(errno.EEXIST, os.mkdir, "d/e", 0o755)
    t.user_a.fails(errno.EACCES, os.mkdir, "d/new", 0o755)


@case(each(3, 50))
def _directories_can_be_nested(t: Arena, depth: int) -> None:
    path = "/".join(f"d{level}" for level in range(depth))
    t.me(os.makedirs, path)
    t.has(path, kind="dir")
    t.me(_do.write, path + "/f", b"deep")
    t.equal(t.me(_do.read, path + "/f"), b"deep", "content of a file far down")


@case()
def _many_processes_make_one_directory_and_one_of_them_succeeds(t: Arena) -> None:
    actors = [t.another(t.me) for _ in range(4)]
    for turn in range(10):
        pending = [actor.start(os.mkdir, f"d{turn}", 0o755) for actor in actors]
        outcomes = sorted(one.attempt() for one in pending)
        t.equal(outcomes, [0, errno.EEXIST, errno.EEXIST, errno.EEXIST], "errnos of four mkdir of one name")

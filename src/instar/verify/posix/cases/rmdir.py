# SPDX-License-Identifier: Apache-2.0
"""rmdir(2), unlinkat(2) with AT_REMOVEDIR: POSIX.1-2017 rmdir()."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each
from instar.verify.posix.cases._common import KINDS, NOT_DIRECTORIES, A, shared_directory

__all__: list[str] = []

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def _rmdirat(directory: str, name: str) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)


@case(short=True)
def _removes_an_empty_directory(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(os.rmdir, "d")
    t.exists("d", False)
    t.equal(t.me(os.listdir, "."), [], "content of the parent")
    t.make("dir", "d", 0o000)
    t.me(os.rmdir, "d")
    t.exists("d", False)
    t.me(os.makedirs, "p/q")
    t.me(_rmdirat, "p", "q")
    t.exists("p/q", False)


@case(KINDS)
def _directory_with_an_entry_is_enotempty(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "d/f")
    with t.times({".": "", "d": ""}):
        t.me.fails(_NOT_EMPTY, os.rmdir, "d")
    t.exists("d/f")
    t.me(os.rmdir if kind == "dir" else os.unlink, "d/f")
    t.me(os.rmdir, "d")
    t.exists("d", False)


@case(NOT_DIRECTORIES)
def _other_type_is_enotdir(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    with t.times({".": ""}):
        t.me.fails(errno.ENOTDIR, os.rmdir, "f")
    t.has("f", kind=kind)


@case()
def _link_to_a_directory_is_enotdir(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "d", "link")
    t.me.fails(errno.ENOTDIR, os.rmdir, "link")
    t.me(os.symlink, "nowhere", "dangling")
    t.me.fails(errno.ENOTDIR, os.rmdir, "dangling")
    t.exists("d")


@case()
def _dot_is_einval_and_dotdot_enotempty(t: Arena) -> None:
    t.me(os.makedirs, "d/e")
    t.me.fails(errno.EINVAL, os.rmdir, ".")
    t.me.fails(errno.EINVAL, os.rmdir, "d/.")
    t.me.fails(errno.EINVAL, os.rmdir, "d/e/.")
    t.me.fails((*_NOT_EMPTY, errno.EINVAL), os.rmdir, "..")
    t.me.fails((*_NOT_EMPTY, errno.EINVAL), os.rmdir, "d/e/..")
    t.me.fails((errno.EBUSY, *_NOT_EMPTY), os.rmdir, "/")
    t.exists("d/e")


@case()
def _parents_times_move_on(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    with t.times({".": "mc?"}):
        t.me(os.rmdir, "d")


@case()
def _write_permission_on_the_parent_is_asked(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.make("dir", "d/e", 0o777, A)
    with t.times({"d": "", "d/e": ""}):
        t.user_a.fails(errno.EACCES, os.rmdir, "d/e")
    t.root(os.chmod, "d", 0o777)
    t.user_a(os.rmdir, "d/e")
    # Permission on the directory itself does not matter.
    t.make("dir", "d/f", 0o000, (0, 0))
    t.user_b(os.rmdir, "d/f")


@case()
def _directory_that_is_open_can_be_removed(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    inode = t.stat("d").st_ino
    fd = t.me(os.open, "d", os.O_RDONLY | os.O_DIRECTORY)
    t.me(os.rmdir, "d")
    t.equal(t.me(os.fstat, fd).st_ino, inode, "inode by the descriptor")
    t.equal(t.me(os.listdir, fd), [], "content by the descriptor")
    t.me.fails(errno.ENOENT, _create_at, fd, "new")
    t.me.fails(errno.ENOENT, _mkdir_at, fd, "new")
    # The name is free for another file.
    t.make("file", "d")
    t.has("d", kind="file")


def _create_at(fd: int, name: str) -> None:
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))


def _mkdir_at(fd: int, name: str) -> None:
    os.mkdir(name, 0o755, dir_fd=fd)


@case(each(1, 100))
def _name_can_be_used_again(t: Arena, turns: int) -> None:
    for turn in range(turns):
        t.me(os.mkdir, "d", 0o755)
        t.me(_do.create, "d/f")
        t.me.fails(_NOT_EMPTY, os.rmdir, "d")
        t.me(os.unlink, "d/f")
        t.me(os.rmdir, "d")
        t.exists("d", False)
        if turn % 10 == 0:
            t.me(_do.create, "d")
            t.me.fails(errno.ENOTDIR, os.rmdir, "d")
            t.me(os.unlink, "d")


@case()
def _unlink_at_takes_its_flag_seriously(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "f")
    t.me.fails((errno.EISDIR, errno.EPERM), os.unlink, "d")
    t.me.fails(errno.ENOTDIR, os.rmdir, "f")
    t.exists("d")
    t.exists("f")

# SPDX-License-Identifier: Apache-2.0
"""symlink(2), readlink(2): POSIX.1-2017 symlink(), readlink(); symlink(7)."""

from __future__ import annotations

import errno
import os

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import (
    KINDS,
    NOT_DIRECTORIES,
    PATH_MAX,
    A,
    open_creating,
    shared_directory,
)

__all__: list[str] = []

_TARGETS = {
    "plain": "target",
    "absolute": "/tmp/target",
    "dots": "../../.././x",
    "slashes": "a//b///c/",
    "one": "x",
    "spaces": " a b ",
    "newline": "line\nbreak",
    "not-utf8": "\udcff\udcfe",
    "utf8": "\u00e9\u4e2d\U0001f600",
    "255": "x" * 255,
    "59": "y" * 59,
    "60": "y" * 60,
    "61": "y" * 61,
    "1000": "d/" * 500,
    "1023": "z" * 1023,
}


@case(_TARGETS, short=True)
def _readlink_gives_the_bytes_that_symlink_was_given(t: Arena, target: str) -> None:
    t.me(os.symlink, target, "link")
    t.equal(t.me(os.readlink, "link"), target, "target")
    t.has("link", kind="symlink", size=len(os.fsencode(target)), nlink=1, mode=0o777)


@case(each(1024, 4000, PATH_MAX - 1))
def _longer_target_is_kept_if_the_file_system_takes_it(t: Arena, length: int) -> None:
    target = "d/" * (length // 2) + "x" * (length % 2)
    number = t.me.attempt(os.symlink, target, "link")
    if number == errno.ENAMETOOLONG:
        # xfs takes 1023 bytes, a 4 KiB ext4 4095; POSIX asks for SYMLINK_MAX >= 255.
        t.me(os.symlink, "x" * 1023, "link")
        return
    t.equal(number, 0, "errno")
    t.equal(t.me(os.readlink, "link"), target, "target")
    t.has("link", size=length)


@case()
def _target_of_4096_bytes_is_enametoolong(t: Arena) -> None:
    t.me.fails(errno.ENAMETOOLONG, os.symlink, "x" * PATH_MAX, "link")
    t.exists("link", False)


@case()
def _empty_target_is_enoent(t: Arena) -> None:
    t.me.fails(errno.ENOENT, os.symlink, "", "link")
    t.exists("link", False)


@case(KINDS)
def _existing_name_is_eexist(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    inode = t.stat("f").st_ino
    with t.times({".": "", "f": "?"}):
        t.me.fails(errno.EEXIST, os.symlink, "target", "f")
    t.has("f", kind=kind, ino=inode)


@case()
def _parents_times_move_on_and_the_targets_do_not(t: Arena) -> None:
    t.make("file", "target")
    with t.times({".": "mc?", "target": ""}):
        t.me(os.symlink, "target", "link")
    t.has("target", nlink=1)


@case()
def _owner_is_the_caller(t: Arena) -> None:
    shared_directory(t, "d")
    t.user_a(os.symlink, "x", "d/a")
    t.has("d/a", uid=A[0], gid=A[1])
    t.who(5, 6, 7)(os.symlink, "x", "d/b")
    t.has("d/b", uid=5, gid=6)


@case()
def _umask_does_not_apply(t: Arena) -> None:
    t.me(_symlink_under_umask, 0o777, "target", "link")
    t.has("link", mode=0o777)
    t.equal(t.me(os.readlink, "link"), "target", "target")


def _symlink_under_umask(umask: int, target: str, path: str) -> None:
    old = os.umask(umask)
    try:
        os.symlink(target, path)
    finally:
        os.umask(old)


@case(NOT_DIRECTORIES)
def _readlink_of_another_type_is_einval(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.me.fails(errno.EINVAL, os.readlink, "f")
    t.make("dir", "d")
    t.me.fails(errno.EINVAL, os.readlink, "d")


@case()
def _readlink_needs_no_permission_on_the_link(t: Arena) -> None:
    t.me(os.symlink, "secret", "link")
    t.equal(t.user_a(os.readlink, "link"), "secret", "target that another user reads")


@case({str(size): size for size in (1, 2, 5, 6, 7, 100, 4096)})
def _readlink_cuts_at_the_buffer_without_an_error(t: Arena, size: int) -> None:
    t.me(os.symlink, "target", "link")
    t.equal(t.me(syscalls.readlink_into, "link", size), b"target"[:size], f"target in {size} bytes")
    t.me.fails(errno.EINVAL, syscalls.readlink_into, "link", 0)


@case()
def _file_is_made_at_the_end_of_a_dangling_link(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "d/new", "link")
    t.me.fails(errno.EEXIST, _do.create, "link")  # O_EXCL does not follow
    t.exists("d/new", False)
    t.me(open_creating, "link")
    t.has("d/new", kind="file")
    t.has("link", kind="symlink")
    t.me(os.symlink, "missing/new", "broken")
    t.me.fails(errno.ENOENT, open_creating, "broken")


@case(grid(each("mkdir", "mkfifo", "symlink", "link"), each("dangling", "working")))
def _making_a_name_does_not_follow_a_link(t: Arena, how: str, which: str) -> None:
    t.make("file", "origin")
    if which == "working":
        t.make("dir", "target")
    t.me(os.symlink, "target", "link")
    if how == "mkdir":
        t.me.fails(errno.EEXIST, os.mkdir, "link", 0o755)
    elif how == "mkfifo":
        t.me.fails(errno.EEXIST, os.mkfifo, "link", 0o644)
    elif how == "symlink":
        t.me.fails(errno.EEXIST, os.symlink, "x", "link")
    else:
        t.me.fails(errno.EEXIST, os.link, "origin", "link")
    t.exists("target", which == "working")


@case()
def _link_in_a_directory_descriptor_is_relative_to_its_directory(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_do.write, "d/f", b"x")
    t.me(_symlink_at, "d", "f", "link")
    t.equal(t.me(_do.read, "d/link"), b"x", "content by the link")
    t.equal(t.me(_readlink_at, "d", "link"), "f", "target by readlinkat")


def _symlink_at(directory: str, target: str, name: str) -> None:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        os.symlink(target, name, dir_fd=fd)
    finally:
        os.close(fd)


def _readlink_at(directory: str, name: str) -> str:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return os.readlink(name, dir_fd=fd)
    finally:
        os.close(fd)


@case()
def _link_itself_can_be_opened_as_a_path(t: Arena) -> None:
    t.me(os.symlink, "nowhere", "link")
    fd = t.me(os.open, "link", os.O_PATH | os.O_NOFOLLOW)
    t.equal(_do.kind_of(t.me(os.fstat, fd).st_mode), "symlink", "type by the descriptor")
    t.equal(t.me(os.readlink, "", dir_fd=fd), "nowhere", "target by the descriptor")
    t.me.fails(errno.ELOOP, os.open, "link", os.O_RDONLY | os.O_NOFOLLOW)
    t.me.fails(errno.EBADF, os.read, fd, 1)


@case()
def _replacing_a_link_changes_where_it_leads(t: Arena) -> None:
    t.me(_do.write, "one", b"1")
    t.me(_do.write, "two", b"2")
    t.me(os.symlink, "one", "link")
    for turn in range(10):
        t.equal(t.me(_do.read, "link"), b"12"[turn % 2 : turn % 2 + 1], "content by the link")
        t.me(os.symlink, "two" if turn % 2 == 0 else "one", "new")
        t.me(os.rename, "new", "link")

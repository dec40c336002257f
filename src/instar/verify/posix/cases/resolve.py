# SPDX-License-Identifier: Apache-2.0
"""openat2(2) with its RESOLVE_* flags; file handles (open_by_handle_at(2))."""

from __future__ import annotations

import errno
import os
import time

from instar.edge.file_handle import HandleReader, open_handle
from instar.edge.syscalls import ResolveFlags, openat2
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each

__all__: list[str] = []

_R = ResolveFlags


def _tree(t: Arena) -> int:
    """A small tree with links in it; a descriptor of ``root``."""
    t.me(os.makedirs, "root/d")
    t.me(_do.write, "root/f", b"inside")
    t.me(_do.write, "f", b"outside")
    for target, path in (
        ("f", "root/link"),
        ("../f", "root/out"),
        ("/f", "root/absolute"),
        ("d", "root/to-d"),
        ("../../..", "root/far"),
    ):
        t.me(os.symlink, target, path)
    return t.me(os.open, "root", os.O_PATH | os.O_DIRECTORY)


def _read_at(fd: int, path: str, resolve: int) -> bytes:
    opened = openat2(path, os.O_RDONLY, 0, resolve, dir_fd=fd)
    try:
        return os.read(opened, 100)
    finally:
        os.close(opened)


@case()
def _beneath_keeps_inside(t: Arena) -> None:
    fd = _tree(t)
    for path in ("f", "./f", "d/../f", "link", "to-d/../f"):
        t.equal(t.me(_read_at, fd, path, _R.BENEATH), b"inside", f"content of {path}")
    for path in ("../f", "out", "absolute", "d/../../f", "far/f", "/etc/passwd"):
        t.me.fails(errno.EXDEV, _read_at, fd, path, _R.BENEATH)


@case()
def _in_root_is_a_root_of_its_own(t: Arena) -> None:
    fd = _tree(t)
    for path in ("f", "/f", "../f", "../../f", "out", "absolute", "far/f"):
        t.equal(t.me(_read_at, fd, path, _R.IN_ROOT), b"inside", f"content of {path}")


@case()
def _no_symlinks_refuses_links(t: Arena) -> None:
    fd = _tree(t)
    t.equal(t.me(_read_at, fd, "f", _R.NO_SYMLINKS), b"inside", "content")
    for path in ("link", "to-d/../f", "out"):
        t.me.fails(errno.ELOOP, _read_at, fd, path, _R.NO_SYMLINKS)


@case()
def _unknown_flags_are_einval(t: Arena) -> None:
    fd = _tree(t)
    t.me.fails(errno.EINVAL, openat2, "f", 1 << 40, 0, 0, dir_fd=fd)
    t.me.fails(errno.EINVAL, openat2, "f", os.O_RDONLY, 0, 1 << 30, dir_fd=fd)
    t.me.fails(errno.EINVAL, openat2, "f", os.O_RDONLY, 0o644, 0, dir_fd=fd)
    t.me.fails(errno.EINVAL, openat2, "new", os.O_CREAT | os.O_WRONLY, 0o17777, 0, dir_fd=fd)
    t.me(openat2, "new", os.O_CREAT | os.O_WRONLY, 0o640, _R.BENEATH, dir_fd=fd)
    t.has("root/new", mode=0o640)


# -------------------------------------------------------------------------------------------- handles


def _handle(path: str) -> bytes:
    directory = os.open(".", os.O_RDONLY)
    try:
        return HandleReader().at(directory, os.fsencode(path), 0)[0]
    finally:
        os.close(directory)


def _open_by_handle(handle: bytes, flags: int = os.O_RDONLY) -> bytes:
    directory = os.open(".", os.O_RDONLY)
    try:
        fd = open_handle(directory, handle, flags)
        try:
            return os.read(fd, 100)
        finally:
            os.close(fd)
    finally:
        os.close(directory)


@case(optional="file handles")
def _handle_finds_the_file_whatever_its_name(t: Arena) -> None:
    t.me(os.makedirs, "a/b")
    t.me(_do.write, "f", b"text")
    handle = t.root(_handle, "f")
    t.equal(t.root(_open_by_handle, handle), b"text", "content")
    t.me(os.rename, "f", "a/b/g")
    t.equal(t.root(_open_by_handle, handle), b"text", "content after a rename")
    t.equal(t.root(_handle, "a/b/g"), handle, "handle by the new name")
    t.me(_do.write, "f", b"another")
    t.true(t.root(_handle, "f") != handle, "another file has another handle")
    t.user_a.fails(errno.EPERM, _open_by_handle, handle)


@case(each("unlinked", "open"), optional="file handles")
def _handle_of_a_removed_file_is_estale(t: Arena, which: str) -> None:
    t.me(_do.write, "f", b"text")
    handle = t.root(_handle, "f")
    t.equal(t.root(_open_by_handle, handle), b"text", "content")
    fd = t.me(os.open, "f", os.O_RDONLY) if which == "open" else -1
    t.me(os.unlink, "f")
    if which == "open":
        t.equal(t.root(_open_by_handle, handle), b"text", "content while it is open")
        t.me(os.close, fd)
        # FUSE tells its server of a close a moment later.
        t.equal(t.root(_wait_until_stale, handle), errno.ESTALE, "errno soon after the last close")
    else:
        t.root.fails(errno.ESTALE, _open_by_handle, handle)
    for number in range(20):
        t.me(_do.write, f"n{number}", b"new")
    t.root.fails(errno.ESTALE, _open_by_handle, handle)


def _wait_until_stale(handle: bytes) -> int:
    """The errno of opening by the handle, as soon as there is one; 0 if there is none for seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            _open_by_handle(handle)
        except OSError as error:
            return error.errno or -1
        time.sleep(0.005)
    return 0

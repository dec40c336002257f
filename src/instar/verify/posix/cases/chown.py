# SPDX-License-Identifier: Apache-2.0
"""chown(2), fchown(2), lchown(2), fchownat(2): POSIX.1-2017 chown()."""

from __future__ import annotations

import errno
import os

from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, shared_directory

__all__: list[str] = []

_FOLLOWABLE = each("file", "dir", "fifo", "socket", "block", "char")


def _fchownat(path: str, uid: int, gid: int) -> None:
    fd = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chown(path, uid, gid, dir_fd=fd, follow_symlinks=False)
    finally:
        os.close(fd)


def _fchown(path: str, uid: int, gid: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def _by_empty_path(path: str, uid: int, gid: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        os.chown(f"/proc/self/fd/{fd}", uid, gid)
    finally:
        os.close(fd)


_HOW = {"chown": os.chown, "lchown": os.lchown, "fchownat": _fchownat}


@case(grid(KINDS, _HOW), short=True)
def _root_sets_owner_and_group(t: Arena, kind: str, how: object) -> None:
    if kind == "symlink" and how is os.chown:
        t.make("file", "target")
        t.make("symlink", "f")
        t.root(os.chown, "f", *A)
        t.has("target", uid=A[0], gid=A[1])
        t.has("f", uid=0, gid=0)
        return
    t.make(kind, "f")
    call = _HOW["chown" if how is os.chown else "lchown" if how is os.lchown else "fchownat"]
    for uid, gid in (A, B, (0, 0), (A[0], B[1]), (1, 2), (65534, 65534), (2**31, 2**32 - 2)):
        t.root(call, "f", uid, gid)
        t.has("f", uid=uid, gid=gid, kind=kind)


@case(KINDS)
def _minus_one_leaves_an_id_alone(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.root(os.lchown, "f", *A)
    t.root(os.lchown, "f", -1, 5)
    t.has("f", uid=A[0], gid=5)
    t.root(os.lchown, "f", 6, -1)
    t.has("f", uid=6, gid=5)
    t.root(os.lchown, "f", -1, -1)
    t.has("f", uid=6, gid=5)


@case(KINDS)
def _ctime_alone_moves_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    with t.times({"f": "c", ".": ""}):
        t.root(os.lchown, "f", *A)
    with t.times({"f": "c"}):
        t.root(os.lchown, "f", *A)


@case(KINDS)
def _failed_call_changes_nothing(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    with t.times({"f": ""}):
        t.user_a.fails(errno.EPERM, os.lchown, "f", *A)
        t.user_a.fails(errno.EPERM, os.lchown, "f", -1, A[1])
        t.user_a.fails(errno.EPERM, os.lchown, "f", A[0], -1)
    t.has("f", uid=0, gid=0)


@case(KINDS)
def _owner_may_choose_among_its_groups(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.make(kind, "d/f", 0o644, (A[0], 1))
    member = t.who(A[0], A[1], 501, 502)
    for gid in (501, 502, A[1]):
        with t.times({"d/f": "c"}):
            member(os.lchown, "d/f", -1, gid)
        t.has("d/f", uid=A[0], gid=gid)
        member(os.lchown, "d/f", A[0], gid)
    for gid in (0, 503, B[1]):
        member.fails(errno.EPERM, os.lchown, "d/f", -1, gid)
        member.fails(errno.EPERM, os.lchown, "d/f", A[0], gid)
    t.has("d/f", uid=A[0], gid=A[1])


@case(KINDS)
def _owner_may_not_give_a_file_away(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.make(kind, "d/f", 0o644, A)
    t.user_a.fails(errno.EPERM, os.lchown, "d/f", B[0], -1)
    t.user_a.fails(errno.EPERM, os.lchown, "d/f", 0, 0)
    t.user_a.fails(errno.EPERM, os.lchown, "d/f", B[0], A[1])
    t.user_b.fails(errno.EPERM, os.lchown, "d/f", *B)
    t.has("d/f", uid=A[0], gid=A[1])


@case(KINDS)
def _owner_may_set_the_ids_that_are_there(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.make(kind, "d/f", 0o644, A)
    t.user_a(os.lchown, "d/f", *A)
    t.user_a(os.lchown, "d/f", A[0], -1)
    t.user_a(os.lchown, "d/f", -1, A[1])
    t.user_a(os.lchown, "d/f", -1, -1)
    t.has("d/f", uid=A[0], gid=A[1])


@case(each("group-of-file", "group-of-none"))
def _group_that_the_owner_is_not_in_may_stay(t: Arena, which: str) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o644, (A[0], 700))
    # POSIX lets the owner name the group that the file has only if it is one of its own; Linux lets it stay.
    if which == "group-of-file":
        t.user_a(os.chown, "d/f", -1, 700)
        t.user_a(os.chown, "d/f", A[0], 700)
    else:
        t.user_a.fails(errno.EPERM, os.chown, "d/f", -1, 701)
    t.has("d/f", uid=A[0], gid=700)


_BITS = {
    f"{mode:04o}": mode
    for mode in (0o4755, 0o2755, 0o6755, 0o6711, 0o6777, 0o4644, 0o2644, 0o6644, 0o2745, 0o6000)
}


def _after_chown(mode: int) -> int:
    """What Linux leaves of a regular file's mode: a setgid bit without group execution is no setgid bit."""
    mode &= ~0o4000
    return mode & ~0o2000 if mode & 0o010 else mode


@case(grid(_BITS, each("new-owner", "new-group", "same", "minus-one", "user")))
def _setuid_and_setgid_of_a_file_are_cleared(t: Arena, mode: int, how: str) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", mode, A)
    t.has("d/f", mode=mode)
    if how == "user":
        t.user_a(os.chown, "d/f", -1, A[1])
        t.has("d/f", mode=_after_chown(mode))
        return
    ids = {"new-owner": (B[0], -1), "new-group": (-1, B[1]), "same": A, "minus-one": (-1, -1)}[how]
    t.root(os.chown, "d/f", *ids)
    # Nothing to change (-1, -1) still clears them on Linux, for root as well (chown_common()).
    t.has("d/f", mode=_after_chown(mode))


@case(grid(each("dir", "fifo"), {"6755": 0o6755, "7777": 0o7777}))
def _setuid_and_setgid_of_other_types_stay_for_root(t: Arena, kind: str, mode: int) -> None:
    t.make(kind, "f", mode)
    t.root(os.chown, "f", *A)
    expected = mode if kind == "dir" else _after_chown(mode)
    t.has("f", mode=expected)


@case()
def _setgid_directory_keeps_its_bit_when_its_owner_changes_the_group(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("dir", "d/e", 0o2755, A)
    t.who(A[0], A[1], 501)(os.chown, "d/e", -1, 501)
    t.has("d/e", gid=501, mode=0o2755)


@case(_FOLLOWABLE)
def _link_is_followed_by_chown_and_not_by_lchown(t: Arena, kind: str) -> None:
    t.make(kind, "target")
    t.make("symlink", "link")
    t.root(os.chown, "link", *A)
    t.has("target", uid=A[0], gid=A[1])
    t.has("link", uid=0, gid=0)
    with t.times({"link": "c?", "target": ""}):
        t.root(os.lchown, "link", *B)
    t.has("target", uid=A[0], gid=A[1])
    t.has("link", uid=B[0], gid=B[1])


@case(each("file", "dir"))
def _descriptor_names_the_file(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.root(_fchown, "f", *A)
    t.has("f", uid=A[0], gid=A[1])
    t.root(_by_empty_path, "f", *B)
    t.has("f", uid=B[0], gid=B[1])
    t.root.fails(errno.EBADF, os.fchown, 9999, 0, 0)
    fd = t.root(os.open, "f", os.O_PATH)
    t.root.fails(errno.EBADF, os.fchown, fd, 0, 0)


@case()
def _open_unlinked_file_can_be_given_away(t: Arena) -> None:
    t.make("file", "f")
    fd = t.root(os.open, "f", os.O_RDWR)
    t.root(os.unlink, "f")
    t.root(os.fchown, fd, *A)
    status = t.root(os.fstat, fd)
    t.equal((status.st_uid, status.st_gid), A, "owner of an unlinked file")


@case()
def _all_names_of_a_file_show_the_owner(t: Arena) -> None:
    t.make("file", "f")
    t.root(os.link, "f", "g")
    t.root(os.chown, "f", *A)
    t.has("g", uid=A[0], gid=A[1])


@case()
def _rights_follow_the_owner_at_once(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o600, A)
    t.user_a(os.open, "d/f", os.O_RDWR)
    t.user_b.fails(errno.EACCES, os.open, "d/f", os.O_RDONLY)
    t.root(os.chown, "d/f", *B)
    t.user_b(os.open, "d/f", os.O_RDWR)
    t.user_a.fails(errno.EACCES, os.open, "d/f", os.O_RDONLY)
    t.root(os.chown, "d/f", 0, A[1])
    t.root(os.chmod, "d/f", 0o640)
    t.user_a(os.open, "d/f", os.O_RDONLY)
    t.user_a.fails(errno.EACCES, os.open, "d/f", os.O_RDWR)

# SPDX-License-Identifier: Apache-2.0
"""chmod(2), fchmod(2), fchmodat(2): POSIX.1-2017 chmod()."""

from __future__ import annotations

import errno
import os
import stat

from instar.edge import syscalls
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, B, shared_directory

__all__: list[str] = []

_CHANGEABLE = each("file", "dir", "fifo", "socket", "block", "char")
_SOME_MODES = {
    f"{mode:04o}": mode
    for mode in (0o0, 0o111, 0o222, 0o444, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o7777)
}


def _fchmod(path: str, mode: int) -> None:
    # Not O_PATH: fchmod(2) takes no such descriptor.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _fchmodat(path: str, mode: int) -> None:
    directory, _, name = path.rpartition("/")
    fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.chmod(name, mode, dir_fd=fd)
    finally:
        os.close(fd)


_HOW = {"chmod": os.chmod, "fchmodat": _fchmodat}


@case(grid(_CHANGEABLE, _SOME_MODES), short=True)
def _sets_exactly_the_twelve_bits(t: Arena, kind: str, mode: int) -> None:
    t.make(kind, "f", 0o640)
    before = t.stat("f")
    t.me(os.chmod, "f", mode)
    t.has(
        "f",
        mode=mode,
        kind=kind,
        uid=before.st_uid,
        gid=before.st_gid,
        ino=before.st_ino,
        nlink=before.st_nlink,
    )
    t.me(_fchmodat, "f", 0o600)
    t.has("f", mode=0o600, kind=kind)
    # Bits of the file type in the argument are ignored by Linux.
    t.me(os.chmod, "f", stat.S_IFDIR | mode)
    t.has("f", mode=mode, kind=kind)


@case({f"{high}xxx": high for high in range(8)})
def _every_mode_is_kept(t: Arena, high: int) -> None:
    t.make("file", "f", 0o600)
    for low in range(0, 0o1000, 7):
        mode = high << 9 | low
        t.me(os.chmod, "f", mode)
        t.has("f", mode=mode)


@case(grid(each("file", "dir"), _SOME_MODES))
def _fchmod_does_the_same(t: Arena, kind: str, mode: int) -> None:
    t.make(kind, "f", 0o640)
    t.me(_fchmod, "f", mode)
    t.has("f", mode=mode, kind=kind)


@case(grid(_CHANGEABLE, each("chmod", "fchmodat")))
def _ctime_alone_moves_on(t: Arena, kind: str, how: str) -> None:
    t.make(kind, "f", 0o640)
    with t.times({"f": "c", ".": ""}):
        t.me(_HOW[how], "f", 0o755)
    with t.times({"f": "c"}):  # also when the mode is the same
        t.me(_HOW[how], "f", 0o755)


@case(_CHANGEABLE)
def _failed_call_leaves_ctime_alone(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    with t.times({"f": ""}):
        t.user_a.fails(errno.EPERM, os.chmod, "f", 0o777)
    t.has("f", mode=0o640)


@case(_CHANGEABLE)
def _owner_and_root_may_and_others_are_eperm(t: Arena, kind: str) -> None:
    shared_directory(t, "d")
    t.make(kind, "d/f", 0o644, A)
    t.user_a(os.chmod, "d/f", 0o111)
    t.has("d/f", mode=0o111, uid=A[0])
    t.root(os.chmod, "d/f", 0o666)
    t.has("d/f", mode=0o666, uid=A[0])
    for other in (t.user_b, t.who(30009, A[1]), t.who(30009, 30009, A[1])):
        other.fails(errno.EPERM, os.chmod, "d/f", 0o777)
    t.has("d/f", mode=0o666)
    t.root(os.chown, "d/f", *B)
    t.user_a.fails(errno.EPERM, os.chmod, "d/f", 0o777)
    t.user_b(os.chmod, "d/f", 0o123)
    t.has("d/f", mode=0o123, uid=B[0])


@case()
def _right_to_change_the_mode_needs_no_permission_on_the_file(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o000, A)
    t.user_a(os.chmod, "d/f", 0o400)
    t.make("file", "d/g", 0o666, B)
    fd = t.user_a(os.open, "d/g", os.O_RDWR)
    t.user_a.fails(errno.EPERM, os.fchmod, fd, 0o777)
    t.has("d/g", mode=0o666)


@case()
def _link_is_followed(t: Arena) -> None:
    t.make("file", "f", 0o600)
    t.make("dir", "d", 0o700)
    t.me(os.symlink, "f", "to-file")
    t.me(os.symlink, "d", "to-dir")
    with t.times({"f": "c", "to-file": "?"}):
        t.me(os.chmod, "to-file", 0o644)
    t.has("f", mode=0o644)
    t.me(os.chmod, "to-dir", 0o755)
    t.has("d", mode=0o755)


@case()
def _mode_of_a_link_cannot_be_changed(t: Arena) -> None:
    t.make("file", "target", 0o600)
    t.make("symlink", "link")
    number = t.me.attempt(syscalls.fchmodat2, "link", 0o700, syscalls.AtFlags.SYMLINK_NOFOLLOW)
    if number == errno.ENOSYS:
        t.skip("fchmodat2 is from Linux 6.6")
    t.equal(number, errno.EOPNOTSUPP, "errno of fchmodat2 with AT_SYMLINK_NOFOLLOW on a link")
    t.has("target", mode=0o600)
    t.me(syscalls.fchmodat2, "target", 0o711, syscalls.AtFlags.SYMLINK_NOFOLLOW)
    t.has("target", mode=0o711)
    t.has("link", mode=0o777)


@case(grid(each("file", "dir"), each("group", "supplementary", "foreign")))
def _setgid_bit_is_cleared_for_an_owner_outside_the_group(t: Arena, kind: str, membership: str) -> None:
    shared_directory(t, "d")
    group = {"group": A[1], "supplementary": 555, "foreign": 556}[membership]
    actor = t.who(A[0], A[1], 555)
    t.make(kind, "d/f", 0o755, (A[0], group))
    actor(os.chmod, "d/f", 0o2755)
    # POSIX asks for it on regular files; Linux does it for every type (setattr_copy()).
    t.has("d/f", mode=0o755 if membership == "foreign" else 0o2755)
    actor(os.chmod, "d/f", 0o6755)
    t.has("d/f", mode=0o4755 if membership == "foreign" else 0o6755)
    t.root(os.chmod, "d/f", 0o2755)
    t.has("d/f", mode=0o2755)


@case()
def _sticky_bit_of_a_file_may_be_set_by_its_owner(t: Arena) -> None:
    shared_directory(t, "d")
    for kind in ("file", "dir", "fifo"):
        t.make(kind, f"d/{kind}", 0o644, A)
        t.user_a(os.chmod, f"d/{kind}", 0o1644)
        t.has(f"d/{kind}", mode=0o1644)


@case()
def _all_names_of_a_file_show_the_mode(t: Arena) -> None:
    t.make("file", "f", 0o600)
    t.me(os.link, "f", "g")
    fd = t.me(os.open, "g", os.O_RDONLY)
    t.me(os.chmod, "f", 0o604)
    t.has("g", mode=0o604)
    t.equal(stat.S_IMODE(t.me(os.fstat, fd).st_mode), 0o604, "mode by a descriptor")
    t.me(os.unlink, "f")
    t.me(os.fchmod, fd, 0o640)
    t.has("g", mode=0o640)


@case()
def _mode_of_an_open_unlinked_file_can_be_changed(t: Arena) -> None:
    t.make("file", "f", 0o600)
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.unlink, "f")
    t.me(os.fchmod, fd, 0o4711)
    t.equal(oct(t.me(os.fstat, fd).st_mode & 0o7777), oct(0o4711), "mode of the unlinked file")


@case()
def _path_descriptor_is_ebadf_for_fchmod(t: Arena) -> None:
    t.make("file", "f", 0o600)
    fd = t.me(os.open, "f", os.O_PATH)
    t.me.fails(errno.EBADF, os.fchmod, fd, 0o777)
    t.me.fails(errno.EBADF, os.fchmod, 9999, 0o777)
    t.me(os.chmod, f"/proc/self/fd/{fd}", 0o640)
    t.has("f", mode=0o640)
    t.equal(t.me(_do.exists, "f"), True, "existence of f")

# SPDX-License-Identifier: Apache-2.0
"""renameat2(2) with RENAME_NOREPLACE, RENAME_EXCHANGE and RENAME_WHITEOUT."""

from __future__ import annotations

import errno
import os

from instar.edge.syscalls import RenameFlags, renameat2
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, shared_directory

__all__: list[str] = []

NOREPLACE, EXCHANGE, WHITEOUT = RenameFlags.NOREPLACE, RenameFlags.EXCHANGE, RenameFlags.WHITEOUT


def _require(t: Arena, flag: RenameFlags) -> None:
    """End the case where the file system lacks the flag: it says EINVAL then, as renameat2(2) tells."""
    for name in ("probe-a", "probe-b"):
        t.make("file", name)
    target = "probe-b" if flag is EXCHANGE else "probe-c"
    actor = t.root if flag is WHITEOUT else t.me
    if actor.attempt(renameat2, "probe-a", target, flag) == errno.EINVAL:
        t.unsupported(f"{flag.name}: renameat2 says EINVAL")
    for name in t.me(os.listdir, "."):
        t.me(os.unlink, name)


# ------------------------------------------------------------------------------------------ NOREPLACE


@case(KINDS, short=True)
def _noreplace_moves_to_a_free_name(t: Arena, kind: str) -> None:
    _require(t, NOREPLACE)
    t.make(kind, "f")
    t.make("dir", "d", 0o755)
    inode = t.stat("f").st_ino
    t.me(renameat2, "f", "g", NOREPLACE)
    t.has("g", ino=inode, kind=kind)
    with t.times({".": "mc?", "d": "mc?"}):
        t.me(renameat2, "g", "d/h", NOREPLACE)
    t.has("d/h", ino=inode, kind=kind)
    t.exists("f", False)
    t.exists("g", False)


@case(grid(KINDS, KINDS))
def _noreplace_of_an_existing_name_is_eexist(t: Arena, source: str, target: str) -> None:
    _require(t, NOREPLACE)
    t.make(source, "f")
    t.make(target, "g")
    inodes = t.stat("f").st_ino, t.stat("g").st_ino
    with t.times({".": ""}):
        t.me.fails(errno.EEXIST, renameat2, "f", "g", NOREPLACE)
    t.has("f", ino=inodes[0], kind=source)
    t.has("g", ino=inodes[1], kind=target)


@case()
def _noreplace_to_itself_or_another_name_of_it_is_eexist(t: Arena) -> None:
    _require(t, NOREPLACE)
    t.make("file", "f")
    t.me(os.link, "f", "g")
    t.me.fails(errno.EEXIST, renameat2, "f", "f", NOREPLACE)
    t.me.fails(errno.EEXIST, renameat2, "f", "g", NOREPLACE)
    t.has("f", nlink=2)
    t.me(os.symlink, "nowhere", "dangling")
    t.me.fails(errno.EEXIST, renameat2, "f", "dangling", NOREPLACE)
    t.me.fails(errno.ENOENT, renameat2, "missing", "h", NOREPLACE)


@case()
def _noreplace_of_two_processes_succeeds_once(t: Arena) -> None:
    _require(t, NOREPLACE)
    actors = [t.another(t.me) for _ in range(3)]
    for turn in range(10):
        for number in range(3):
            t.make("file", f"f{number}")
        pending = [
            actor.start(renameat2, f"f{number}", f"g{turn}", NOREPLACE) for number, actor in enumerate(actors)
        ]
        outcomes = sorted(one.attempt() for one in pending)
        t.equal(outcomes, [0, errno.EEXIST, errno.EEXIST], "errnos of three renames to one name")
        for number in range(3):
            if t.me(_do.exists, f"f{number}"):
                t.me(os.unlink, f"f{number}")


# ------------------------------------------------------------------------------------------- EXCHANGE

_PLACES = {"same-directory": ("f", "g"), "across": ("d/f", "e/g")}


@case(grid(KINDS, KINDS, _PLACES), short=True)
def _exchange_swaps_two_names(t: Arena, source: str, target: str, one: str, two: str) -> None:
    _require(t, EXCHANGE)
    t.make("dir", "d", 0o755)
    t.make("dir", "e", 0o755)
    t.make(source, one)
    t.make(target, two)
    first, second = t.stat(one), t.stat(two)
    parents = {(os.path.dirname(one) or "."): "mc?", (os.path.dirname(two) or "."): "mc?"}
    with t.times(parents):
        t.me(renameat2, one, two, EXCHANGE)
    t.has(one, kind=target, ino=second.st_ino, nlink=second.st_nlink)
    t.has(two, kind=source, ino=first.st_ino, nlink=first.st_nlink)
    for path in (one, two):
        t.equal(
            t.me(os.listdir, os.path.dirname(path) or ".").count(os.path.basename(path)),
            1,
            f"entries of {path}",
        )


@case()
def _exchange_of_directories_with_content(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.me(os.makedirs, "d/sub")
    t.me(os.makedirs, "p/e")
    t.me(_do.write, "d/sub/f", b"one")
    t.me(_do.write, "p/e/g", b"two")
    t.me(renameat2, "d", "p/e", EXCHANGE)
    t.equal(t.me(_do.read, "p/e/sub/f"), b"one", "content")
    t.equal(t.me(_do.read, "d/g"), b"two", "content")
    t.equal(t.stat("p/e/..").st_ino, t.stat("p").st_ino, "inode of p/e/..")
    t.equal(t.stat("d/..").st_ino, t.stat(".").st_ino, "inode of d/..")


@case()
def _exchange_of_a_file_and_a_directory_moves_the_parents_link(t: Arena) -> None:
    _require(t, EXCHANGE)
    for name in ("p", "q", "p/d"):
        t.make("dir", name, 0o755)
    t.make("file", "q/f")
    links = t.stat("p").st_nlink, t.stat("q").st_nlink
    t.me(renameat2, "p/d", "q/f", EXCHANGE)
    t.has("p/d", kind="file")
    t.has("q/f", kind="dir")
    if links == (3, 2):  # where directories count their children
        t.has("p", nlink=2)
        t.has("q", nlink=3)


@case()
def _exchange_needs_both_names(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.make("file", "f")
    with t.times({".": "", "f": ""}):
        t.me.fails(errno.ENOENT, renameat2, "f", "missing", EXCHANGE)
        t.me.fails(errno.ENOENT, renameat2, "missing", "f", EXCHANGE)
        t.me.fails(errno.ENOENT, renameat2, "missing", "missing2", EXCHANGE)
    t.exists("f")


@case()
def _exchange_with_itself_or_another_name_of_it_succeeds(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.make("file", "f")
    t.me(os.link, "f", "g")
    t.me(renameat2, "f", "f", EXCHANGE)
    t.me(renameat2, "f", "g", EXCHANGE)
    t.has("f", nlink=2)
    t.has("g", nlink=2)


@case()
def _exchange_with_an_ancestor_is_einval(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.me(os.makedirs, "d/e/f")
    for one, two in (("d", "d/e"), ("d/e", "d"), ("d", "d/e/f"), ("d/e/f", "d")):
        t.me.fails(errno.EINVAL, renameat2, one, two, EXCHANGE)
    t.exists("d/e/f")


@case()
def _exchange_does_not_follow_links(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.me(_do.write, "f", b"x")
    t.me(os.symlink, "f", "link")
    t.me(os.symlink, "nowhere", "dangling")
    t.me(renameat2, "link", "dangling", EXCHANGE)
    t.equal((t.me(os.readlink, "link"), t.me(os.readlink, "dangling")), ("nowhere", "f"), "targets")
    t.me(renameat2, "dangling", "f", EXCHANGE)
    t.equal(t.me(_do.read, "dangling"), b"x", "content")
    t.me.fails(errno.ELOOP, _do.read, "f")


@case()
def _exchange_asks_for_rights_on_both_sides(t: Arena) -> None:
    _require(t, EXCHANGE)
    shared_directory(t, "open")
    t.make("dir", "closed", 0o755)
    t.make("file", "open/f", 0o666, A)
    t.make("file", "closed/g", 0o666, A)
    t.user_a.fails(errno.EACCES, renameat2, "open/f", "closed/g", EXCHANGE)
    t.user_a.fails(errno.EACCES, renameat2, "closed/g", "open/f", EXCHANGE)
    shared_directory(t, "sticky", 0o1777)
    t.make("file", "sticky/theirs", 0o666, B)
    t.make("file", "sticky/mine", 0o666, A)
    t.user_a.fails((errno.EPERM, errno.EACCES), renameat2, "sticky/mine", "sticky/theirs", EXCHANGE)
    t.user_a.fails((errno.EPERM, errno.EACCES), renameat2, "sticky/theirs", "sticky/mine", EXCHANGE)
    t.root(renameat2, "sticky/theirs", "sticky/mine", EXCHANGE)
    t.has("sticky/mine", uid=B[0])


@case()
def _exchange_keeps_open_files_with_their_names(t: Arena) -> None:
    _require(t, EXCHANGE)
    t.me(_do.write, "f", b"one")
    t.me(_do.write, "g", b"two")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(renameat2, "f", "g", EXCHANGE)
    t.me(os.pwrite, fd, b"ONE", 0)
    t.equal(t.me(_do.read, "g"), b"ONE", "content of g")
    t.equal(t.me(_do.read, "f"), b"two", "content of f")


# ------------------------------------------------------------------------------------------- WHITEOUT


@case(grid(KINDS, each("free", "taken", "across")))
def _whiteout_leaves_a_device_0_0(t: Arena, kind: str, where: str) -> None:
    _require(t, WHITEOUT)
    t.make("dir", "d", 0o755)
    t.make(kind, "f", 0o640)
    new = "d/g" if where == "across" else "g"
    if where == "taken":
        t.make("dir" if kind == "dir" else "file", new, 0o600)
    inode = t.stat("f").st_ino
    with t.times({".": "mc?"}):
        t.root(renameat2, "f", new, WHITEOUT)
    t.has(new, kind=kind, ino=inode)
    t.has("f", kind="char", nlink=1)
    t.equal(t.stat("f").st_rdev, 0, "device number of the whiteout")
    t.true("f" in t.me(os.listdir, "."), "the whiteout is listed")
    t.me(os.unlink, "f")
    t.exists("f", False)


@case(each("0o777", "0o2777"))
def _whiteout_is_owned_as_any_new_file(t: Arena, mode: str) -> None:
    _require(t, WHITEOUT)
    shared_directory(t, "d", int(mode, 8), (0, 555))
    user = t.user_a
    uid, gid = user(os.getuid), user(os.getgid)
    t.make("file", "d/f", owner=(uid, gid))
    if user.attempt(renameat2, "d/f", "d/g", WHITEOUT) == errno.EPERM:
        t.unsupported("only root makes whiteouts on this kernel (before Linux 5.8)")
    t.has("d/f", kind="char", uid=uid, gid=555 if mode == "0o2777" else gid)


@case()
def _whiteout_with_noreplace_spares_what_is_there(t: Arena) -> None:
    _require(t, WHITEOUT)
    t.make("file", "f")
    t.make("file", "g")
    t.root.fails(errno.EEXIST, renameat2, "f", "g", WHITEOUT | NOREPLACE)
    t.has("f", kind="file")
    t.root(renameat2, "f", "h", WHITEOUT | NOREPLACE)
    t.has("f", kind="char")
    t.has("h", kind="file")


# ------------------------------------------------------------------------------------------------- all


@case()
def _contradictory_and_unknown_flags_are_einval(t: Arena) -> None:
    t.make("file", "f")
    t.make("file", "g")
    for flags in (EXCHANGE | NOREPLACE, EXCHANGE | WHITEOUT, 8, 0x100, 0x80000000):
        t.root.fails(errno.EINVAL, renameat2, "f", "g", flags)
        t.root.fails(errno.EINVAL, renameat2, "f", "h", flags)
    t.equal(sorted(t.me(os.listdir, ".")), ["f", "g"], "names")


@case(each("NOREPLACE", "EXCHANGE"))
def _dot_and_dotdot_are_refused(t: Arena, name: str) -> None:
    flag = RenameFlags[name]
    t.me(os.makedirs, "d/e")
    for old, new in ((".", "x"), ("d/.", "x"), ("d/e/..", "x")):
        t.me.fails((errno.EBUSY, errno.EINVAL), renameat2, old, new, flag)
    for old, new in (("d", "."), ("d", "d/e/..")):
        t.me.fails((errno.EBUSY, errno.EINVAL, errno.EEXIST), renameat2, old, new, flag)
    t.exists("d/e")

# SPDX-License-Identifier: Apache-2.0
"""File access permissions: POSIX.1-2017 4.5, path_resolution(7), access(2), inode(7) on the sticky bit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from instar.verify.posix import _do
from instar.verify.posix._actor import Actor
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, B, open_and_close, shared_directory

__all__: list[str] = []

_CLASSES = each("owner", "group", "supplementary", "other")
_SHIFT = {"owner": 6, "group": 3, "supplementary": 3, "other": 0}
_GROUP = 30003
_LETTERS = {4: "r--", 2: "-w-", 1: "--x"}


def _actor(t: Arena, who: str) -> Actor:
    """Somebody who is of that class for a file of user_a and group 30003."""
    return {
        "owner": lambda: t.user_a,
        "group": lambda: t.who(30004, _GROUP),
        "supplementary": lambda: t.who(30005, 30005, 9, _GROUP, 77),
        "other": lambda: t.who(30006, 30006, 9, 77),
    }[who]()


def _rights_of(mode: int, who: str) -> str:
    bits = mode >> _SHIFT[who] & 7
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


@case(grid(each("file", "dir"), {f"{high}xx": high for high in range(8)}))
def _access_follows_all_512_modes(t: Arena, kind: str, high: int) -> None:
    t.make(kind, "f", 0o600, (A[0], _GROUP))
    actors = {who: _actor(t, who) for who in _CLASSES}
    for low in range(0o100):
        mode = high << 6 | low
        t.root(os.chmod, "f", mode)
        for who, actor in actors.items():
            t.equal(actor(_do.rights, "f"), _rights_of(mode, who), f"rights of {who} with mode {mode:o}")
        execute = "x" if kind == "dir" or mode & 0o111 else "-"
        t.equal(t.root(_do.rights, "f"), "rw" + execute, f"rights of root with mode {mode:o}")


def _open_results(path: str) -> dict[str, int]:
    """Errno of each way to open; a file that may not be read or written says EACCES."""
    results = {}
    for name, flags in (
        ("read", os.O_RDONLY),
        ("write", os.O_WRONLY),
        ("both", os.O_RDWR),
        ("append", os.O_WRONLY | os.O_APPEND),
        ("truncate", os.O_WRONLY | os.O_TRUNC),
        ("creat", os.O_WRONLY | os.O_CREAT),
    ):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK))
        except OSError as error:
            results[name] = error.errno or -1
        else:
            results[name] = 0
    return results


@case(grid(_CLASSES, {f"{bits:o}": bits for bits in range(8)}), short=True)
def _open_asks_for_the_bits_of_the_callers_class_alone(t: Arena, who: str, bits: int) -> None:
    shift = _SHIFT[who]
    # The other classes have exactly the rights that this one lacks.
    mode = (bits << shift) | (0o777 & ~(7 << shift) & ((~bits & 7) * 0o111))
    t.make("file", "f", mode, (A[0], _GROUP))
    actor = _actor(t, who)
    may_read, may_write = bits & 4, bits & 2
    results = actor(_open_results, "f")
    for name, allowed in (
        ("read", may_read),
        ("write", may_write),
        ("both", may_read and may_write),
        ("append", may_write),
        ("truncate", may_write),
        ("creat", may_write),
    ):
        t.equal(results[name], 0 if allowed else errno.EACCES, f"errno of open to {name} with mode {mode:o}")
    t.equal(set(t.root(_open_results, "f").values()), {0}, "root's results")


@case(grid(_CLASSES, {f"{bits:o}": bits for bits in range(8)}))
def _directory_bits_are_list_change_and_search(t: Arena, who: str, bits: int) -> None:
    shift = _SHIFT[who]
    mode = (bits << shift) | (0o777 & ~(7 << shift) & ((~bits & 7) * 0o111))
    t.root(os.mkdir, "d", 0o777)
    t.make("file", "d/old", 0o666)
    t.make("file", "d/old2", 0o666)
    t.root(os.chown, "d", A[0], _GROUP)
    t.root(os.chmod, "d", mode)
    actor = _actor(t, who)
    change = bits & 3 == 3

    def expect(allowed: object, function: Callable[..., object], *arguments: object) -> None:
        if allowed:
            actor(function, *arguments)
        else:
            actor.fails(errno.EACCES, function, *arguments)

    expect(bits & 4, os.listdir, "d")
    expect(bits & 1, os.stat, "d/old")
    expect(bits & 1, _do.read, "d/old")
    expect(bits & 1, os.chdir, "d")
    actor(os.chdir, t.path)
    expect(change, _do.create, "d/new")
    expect(change, os.mkdir, "d/newdir", 0o755)
    expect(change, os.mkfifo, "d/newfifo", 0o644)
    expect(change, os.symlink, "x", "d/newlink")
    expect(change, os.link, "d/old", "d/hard")
    expect(change, os.rename, "d/old", "d/renamed")
    expect(change, os.unlink, "d/old2")


@case(grid(_CLASSES, {"old": "old", "new": "new"}))
def _rename_between_directories_asks_both_for_write(t: Arena, who: str, lacking: str) -> None:
    actor = _actor(t, who)
    for name in ("old", "new"):
        t.root(os.mkdir, name, 0o777)
        t.root(os.chown, name, A[0], _GROUP)
        t.root(os.chmod, name, 0o777 & ~(0o2 << _SHIFT[who]) if name == lacking else 0o777)
    t.make("file", "old/f", 0o666)
    t.make("file", "old/g", 0o666)
    actor.fails(errno.EACCES, os.rename, "old/f", "new/f")
    if lacking == "new":
        actor.fails(errno.EACCES, os.link, "old/f", "new/f")
    t.exists("old/f")
    t.exists("new/f", False)
    t.root(os.chmod, lacking, 0o777)
    actor(os.rename, "old/f", "new/f")
    actor(os.link, "old/g", "new/g")


@case()
def _directory_moves_to_another_parent_only_with_write_permission_on_itself(t: Arena) -> None:
    shared_directory(t, "one")
    shared_directory(t, "two")
    t.user_a(os.mkdir, "one/mine", 0o755)
    t.root(os.mkdir, "one/theirs", 0o755)
    # Its ".." changes, so write permission on the directory itself is asked for (POSIX rename(), EACCES).
    t.user_a.fails(errno.EACCES, os.rename, "one/theirs", "two/theirs")
    t.user_a(os.rename, "one/theirs", "one/same-parent")
    t.user_a(os.rename, "one/mine", "two/mine")
    t.user_a(os.chmod, "two/mine", 0o555)
    t.user_a.fails(errno.EACCES, os.rename, "two/mine", "one/mine")
    t.user_a(os.chmod, "two/mine", 0o300)
    t.user_a(os.rename, "two/mine", "one/mine")


# ---------------------------------------------------------------------------------------- the sticky bit

_VICTIMS = each("file", "dir", "fifo", "socket", "symlink")


def _remove(kind: str) -> Callable[[str], None]:
    return os.rmdir if kind == "dir" else os.unlink


@case(_VICTIMS, short=True)
def _sticky_directory_lets_only_owners_remove(t: Arena, kind: str) -> None:
    remove = _remove(kind)
    # The directory belongs to user_a.
    shared_directory(t, "d", 0o1777, A)
    for owner, actor, allowed in (
        (B, t.user_b, True),  # owner of the file
        (B, t.user_a, True),  # owner of the directory
        (B, t.root, True),
        (A, t.user_b, False),
        ((0, 0), t.user_b, False),
        ((0, 0), t.user_a, True),
        ((0, B[1]), t.user_b, False),  # the group does not count
        (B, t.who(30009, 30009), False),
    ):
        t.make(kind, "d/f", 0o777, owner)
        if allowed:
            actor(remove, "d/f")
            t.exists("d/f", False)
        else:
            actor.fails((errno.EPERM, errno.EACCES), remove, "d/f")
            t.exists("d/f")
            t.root(remove, "d/f")


@case(_VICTIMS)
def _sticky_directory_lets_only_owners_rename_away(t: Arena, kind: str) -> None:
    shared_directory(t, "d", 0o1777, A)
    shared_directory(t, "open", 0o777)
    everywhere, inside, nowhere = ("d/g", "open/g"), ("d/g",), ()
    for owner, actor, allowed in (
        (B, t.user_b, everywhere),
        # A directory of somebody else cannot be given another parent: its ".." would change.
        (B, t.user_a, inside if kind == "dir" else everywhere),
        (B, t.root, everywhere),
        (A, t.user_b, nowhere),
        ((0, 0), t.user_b, nowhere),
        (B, t.who(30009, 30009), nowhere),
    ):
        for target in everywhere:
            t.make(kind, "d/f", 0o755, owner)
            if target in allowed:
                actor(os.rename, "d/f", target)
                t.exists("d/f", False)
                t.root(_remove(kind), target)
            else:
                actor.fails((errno.EPERM, errno.EACCES), os.rename, "d/f", target)
                t.exists(target, False)
                t.root(_remove(kind), "d/f")


@case(_VICTIMS)
def _sticky_directory_lets_only_owners_replace(t: Arena, kind: str) -> None:
    shared_directory(t, "d", 0o1777, A)
    for owner, actor, allowed in (
        (B, t.user_b, True),
        (B, t.user_a, True),
        (A, t.user_b, False),
        ((0, 0), t.user_b, False),
        ((0, 0), t.user_a, True),
        (B, t.root, True),
    ):
        mine = (actor.identity.uid, actor.identity.gid)
        t.make(kind, "d/source", 0o755, mine)
        t.make(kind, "d/target", 0o755, owner)
        inode = t.stat("d/source").st_ino
        if allowed:
            actor(os.rename, "d/source", "d/target")
            t.has("d/target", ino=inode)
            t.exists("d/source", False)
        else:
            actor.fails((errno.EPERM, errno.EACCES), os.rename, "d/source", "d/target")
            t.has("d/source", ino=inode)
            t.root(_remove(kind), "d/source")
        t.root(_remove(kind), "d/target")


@case()
def _sticky_directory_does_not_hinder_creating_linking_and_writing(t: Arena) -> None:
    shared_directory(t, "d", 0o1777, A)
    t.make("file", "d/f", 0o666, A)
    t.user_b(_do.write, "d/f", b"data", os.O_WRONLY)
    t.user_b(_do.create, "d/new")
    t.user_b(os.mkdir, "d/dir")
    t.user_b(os.link, "d/new", "d/hard")
    t.user_b.fails(errno.EPERM, os.chmod, "d/f", 0o600)


@case()
def _sticky_bit_is_looked_at_in_the_directory_that_holds_the_name(t: Arena) -> None:
    shared_directory(t, "sticky", 0o1777)
    t.user_a(os.mkdir, "sticky/open", 0o777)
    t.user_a(_do.create, "sticky/open/f")
    t.user_b(os.unlink, "sticky/open/f")
    t.user_b.fails((errno.EPERM, errno.EACCES), os.rmdir, "sticky/open")


# --------------------------------------------------------------------------------------------- root


@case(each("file", "dir", "fifo"))
def _root_may_do_everything_whatever_the_mode_says(t: Arena, kind: str) -> None:
    t.root(os.mkdir, "d", 0o777)
    t.make(kind, "d/f", 0o000, A)
    t.root(os.chown, "d", *A)
    t.root(os.chmod, "d", 0o000)
    t.root(os.stat, "d/f")
    t.root(open_and_close, "d/f", os.O_RDONLY | os.O_NONBLOCK)
    if kind != "dir":
        t.root(open_and_close, "d/f", os.O_RDWR | os.O_NONBLOCK)
    t.root(os.listdir, "d")
    t.root(_do.create, "d/new", 0o000)
    t.root(os.rename, "d/f", "d/g")
    t.root(_remove(kind), "d/g")


@case()
def _ownership_is_decided_when_a_file_is_opened(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o666)
    fd = t.user_a(os.open, "d/f", os.O_RDWR)
    t.root(os.chmod, "d/f", 0o000)
    t.equal(t.user_a(os.write, fd, b"still"), 5, "bytes written after the right was taken away")
    t.equal(t.user_a(os.pread, fd, 5, 0), b"still", "bytes read after the right was taken away")
    t.user_a.fails(errno.EACCES, os.open, "d/f", os.O_RDONLY)
    t.root(os.chmod, "d", 0o000)
    t.equal(t.user_a(os.pread, fd, 5, 0), b"still", "bytes read with the directory closed")
    t.equal(stat.S_IMODE(t.user_a(os.fstat, fd).st_mode), 0, "mode by fstat")


@case()
def _new_file_is_open_for_writing_even_if_its_mode_forbids_it(t: Arena) -> None:
    shared_directory(t, "d")
    for mode in (0o000, 0o444, 0o200, 0o100):
        fd = t.user_a(os.open, f"d/{mode}", os.O_CREAT | os.O_RDWR | os.O_EXCL, mode)
        t.equal(t.user_a(os.write, fd, b"abc"), 3, f"bytes written to a new file of mode {mode:o}")
        t.equal(t.user_a(os.pread, fd, 3, 0), b"abc", f"content of a new file of mode {mode:o}")
        t.has(f"d/{mode}", mode=mode, uid=A[0], gid=A[1], size=3)
    t.user_a.fails(errno.EACCES, os.open, "d/0", os.O_RDWR)


@case(each(1, 16, 32, 200))
def _every_supplementary_group_counts(t: Arena, count: int) -> None:
    groups = tuple(range(40000, 40000 + count))
    member = t.who(30007, 30007, *groups)
    t.make("file", "f", 0o060, (0, 0))
    for gid in (groups[0], groups[count // 2], groups[-1]):
        t.root(os.chown, "f", 0, gid)
        t.equal(member(_do.rights, "f"), "rw-", f"rights by supplementary group {gid}")
        member(open_and_close, "f", os.O_RDWR)
    t.root(os.chown, "f", 0, 39999)
    t.equal(member(_do.rights, "f"), "---", "rights without the group")
    member.fails(errno.EACCES, open_and_close, "f", os.O_RDWR)

# SPDX-License-Identifier: Apache-2.0
"""Set-user-ID, set-group-ID, groups of new files: POSIX.1-2017 write(), open(), mkdir(); inode(7)."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import A, B, create_kind, shared_directory

__all__: list[str] = []

_MODES = {f"{mode:04o}": mode for mode in (0o4777, 0o2777, 0o6777, 0o6767, 0o4666, 0o6666, 0o1777, 0o777)}


def _write(path: str) -> None:
    _do.write(path, b"data", os.O_WRONLY)


def _truncate_open(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def _truncate(path: str) -> None:
    os.truncate(path, 2)


def _ftruncate(path: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.ftruncate(fd, 3)
    os.close(fd)


def _append(path: str) -> None:
    _do.append(path, b"more")


_CHANGES = {
    "write": _write,
    "append": _append,
    "o_trunc": _truncate_open,
    "truncate": _truncate,
    "ftruncate": _ftruncate,
}


@case(grid({name: name for name in _CHANGES}, _MODES), short=True)
def _user_who_changes_the_content_clears_them(t: Arena, how: str, mode: int) -> None:
    shared_directory(t, "d")
    t.me(_do.write, "d/f", b"old text")
    t.root(os.chown, "d/f", *A)
    for actor in (t.user_b, t.user_a):
        t.root(os.chmod, "d/f", mode)
        t.has("d/f", mode=mode)
        actor(_CHANGES[how], "d/f")
        if mode & 0o2010 == 0o2000:
            # A setgid bit without group execution runs nothing: whether it goes differs even among Linux's file systems.
            kept = t.stat("d/f").st_mode & 0o2000
            t.has("d/f", mode=(mode & ~0o6000) | kept)
        else:
            t.has("d/f", mode=mode & ~0o6000)


@case(grid({name: name for name in _CHANGES}, {"6777": 0o6777}))
def _root_keeps_them(t: Arena, how: str, mode: int) -> None:
    t.me(_do.write, "f", b"old text")
    t.root(os.chown, "f", *A)
    t.root(os.chmod, "f", mode)
    t.root(_CHANGES[how], "f")
    t.has("f", mode=mode)


@case()
def _reading_and_an_empty_write_clear_nothing(t: Arena) -> None:
    shared_directory(t, "d")
    t.me(_do.write, "d/f", b"text")
    t.root(os.chmod, "d/f", 0o6777)
    t.user_b(_do.read, "d/f")
    t.user_b(_do.append, "d/f", b"")
    t.user_b(os.utime, "d/f")
    t.user_b(os.rename, "d/f", "d/g")
    t.has("d/g", mode=0o6777)


@case(each("write", "pwrite", "writev"))
def _clearing_is_seen_by_the_open_descriptor(t: Arena, how: str) -> None:
    shared_directory(t, "d")
    t.me(_do.write, "d/f", b"text")
    t.root(os.chmod, "d/f", 0o6777)
    fd = t.user_b(os.open, "d/f", os.O_RDWR)
    if how == "write":
        t.user_b(os.write, fd, b"x")
    elif how == "pwrite":
        t.user_b(os.pwrite, fd, b"x", 2)
    else:
        t.user_b(os.writev, fd, [b"x", b"y"])
    t.equal(oct(t.user_b(os.fstat, fd).st_mode & 0o7777), oct(0o777), "mode by the descriptor")
    t.has("d/f", mode=0o777)
    # Set again while it is open, it is cleared again.
    t.root(os.chmod, "d/f", 0o4777)
    t.user_b(os.pwrite, fd, b"x", 0)
    t.has("d/f", mode=0o777)


@case()
def _write_by_a_mapping_or_descriptor_of_root_keeps_them(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.root(os.open, "f", os.O_RDWR)
    t.root(os.chmod, "f", 0o6755)
    t.root(os.write, fd, b"x")
    t.has("f", mode=0o6755)


# --------------------------------------------------------------------------------- groups of new files

_KINDS = each("file", "dir", "fifo", "socket", "symlink")


@case(grid(_KINDS, each("plain", "setgid")), short=True)
def _group_comes_from_the_caller_or_from_a_setgid_directory(t: Arena, kind: str, which: str) -> None:
    shared_directory(t, "d", 0o777 if which == "plain" else 0o2777, (0, 777))
    for actor, own in ((t.user_a, A[1]), (t.user_b, B[1]), (t.root, 0), (t.who(9, 10, 777), 10)):
        actor(create_kind, kind, "d/f", 0o755)
        t.has("d/f", uid=actor.identity.uid, gid=777 if which == "setgid" else own)
        if kind == "dir":
            # The bit itself is inherited, for the whole tree.
            t.has("d/f", mode=0o2755 if which == "setgid" else 0o755)
            actor(create_kind, kind, "d/f/sub", 0o700)
            t.has(
                "d/f/sub", gid=777 if which == "setgid" else own, mode=0o2700 if which == "setgid" else 0o700
            )
            actor(os.rmdir, "d/f/sub")
        (t.root)(os.rmdir if kind == "dir" else os.unlink, "d/f")


@case({"member": True, "stranger": False})
def _setgid_of_a_new_file_in_a_setgid_directory_is_for_members(t: Arena, member: bool) -> None:
    shared_directory(t, "d", 0o2777, (0, 777))
    actor = t.who(A[0], A[1], 777) if member else t.user_a
    actor(_do.create, "d/f", 0o2755)
    # CVE-2018-13405: a stranger must not get a program that runs with the directory's group.
    t.has("d/f", gid=777, mode=0o2755 if member else 0o755)
    actor(_do.create, "d/g", 0o2744)
    t.has("d/g", gid=777)
    actor(os.mkdir, "d/e", 0o755)
    t.has("d/e", gid=777, mode=0o2755)


@case()
def _moving_into_a_setgid_directory_keeps_the_group(t: Arena) -> None:
    shared_directory(t, "s", 0o2777, (0, 777))
    shared_directory(t, "d")
    t.user_a(_do.create, "d/f")
    t.user_a(os.rename, "d/f", "s/f")
    t.has("s/f", gid=A[1])
    t.user_a(os.link, "s/f", "s/g")
    t.has("s/g", gid=A[1])


@case({"setuid": 0o4755, "setgid": 0o2755, "both": 0o6755, "none": 0o755})
def _program_runs_with_the_ids_of_its_file(t: Arena, mode: int) -> None:
    shared_directory(t, "d")
    t.me(_copy_program, "/usr/bin/id", "d/id")
    t.root(os.chown, "d/id", *B)
    t.root(os.chmod, "d/id", mode)
    uid = B[0] if mode & 0o4000 else A[0]
    gid = B[1] if mode & 0o2000 else A[1]
    got = t.user_a(_run_id, "d/id")
    if mode & 0o6000 and got == (A[0], A[1]) and _is_nosuid(t):
        t.skip("the mount has nosuid")
    t.equal(got, (uid, gid), "effective ids of the program")


def _is_nosuid(t: Arena) -> bool:
    return bool(t.me(os.statvfs, ".").f_flag & os.ST_NOSUID)


def _copy_program(source: str, target: str) -> None:
    with open(source, "rb") as program:
        _do.write(target, program.read())
    os.chmod(target, 0o755)


def _run_id(program: str) -> tuple[int, int]:
    import subprocess

    def ask(option: str) -> int:
        done = subprocess.run([f"./{program}", option], capture_output=True, text=True, check=True)
        return int(done.stdout)

    return ask("-u"), ask("-g")


@case()
def _program_on_the_mount_needs_its_execute_bit(t: Arena) -> None:
    t.me(_copy_program, "/bin/true", "prog")
    t.equal(t.user_a(_run, "prog"), 0, "exit status")
    t.me(os.chmod, "prog", 0o644)
    t.user_a.fails(errno.EACCES, _run, "prog")
    t.me.fails(errno.EACCES, _run, "prog")
    t.me(os.chmod, "prog", 0o711)
    t.equal(t.user_a(_run, "prog"), 0, "exit status of a program that cannot be read")
    t.me(os.chmod, "prog", 0o700)
    t.user_a.fails(errno.EACCES, _run, "prog")


def _run(program: str) -> int:
    pid = os.posix_spawn(f"./{program}", [program], {})
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

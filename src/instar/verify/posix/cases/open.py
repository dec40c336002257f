# SPDX-License-Identifier: Apache-2.0
"""open(2), openat(2), creat(2): POSIX.1-2017 open(); flags of Linux's man page."""

from __future__ import annotations

import errno
import fcntl
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import (
    KINDS,
    A,
    B,
    open_and_close,
    open_creating,
    set_flags,
    shared_directory,
)

__all__: list[str] = []

_ACCESS = {"read": os.O_RDONLY, "write": os.O_WRONLY, "both": os.O_RDWR}
_MODES = {
    f"{mode:04o}": mode
    for mode in (0o0, 0o100, 0o444, 0o600, 0o644, 0o755, 0o777, 0o1777, 0o4755, 0o2755, 0o7777)
}
_UMASKS = {f"{umask:03o}": umask for umask in (0, 0o022, 0o027, 0o077, 0o151, 0o777)}


def _create_under_umask(path: str, mode: int, umask: int) -> None:
    old = os.umask(umask)
    try:
        _do.create(path, mode)
    finally:
        os.umask(old)


# --------------------------------------------------------------------------------------------- O_CREAT


@case(grid(_MODES, _UMASKS), short=True)
def _mode_of_a_new_file_is_the_argument_without_the_umask(t: Arena, mode: int, umask: int) -> None:
    t.me(_create_under_umask, "f", mode, umask)
    t.has("f", kind="file", mode=mode & ~umask, size=0, nlink=1)


@case()
def _owner_of_a_new_file_is_the_caller(t: Arena) -> None:
    shared_directory(t, "d")
    t.user_a(_do.create, "d/a")
    t.has("d/a", uid=A[0], gid=A[1])
    t.user_b(_do.create, "d/b")
    t.has("d/b", uid=B[0], gid=B[1])
    t.who(5, 6, 7, 8)(_do.create, "d/c")
    t.has("d/c", uid=5, gid=6)
    t.root(_do.create, "d/d")
    t.has("d/d", uid=0, gid=0)


@case(each("creat", "excl"))
def _new_name_moves_the_parents_times(t: Arena, how: str) -> None:
    with t.times({".": "mc?"}):
        t.me(open_creating if how == "creat" else _do.create, "f")
    status = t.stat("f")
    t.equal(status.st_mtime_ns, status.st_ctime_ns, "mtime and ctime of a new file")


@case()
def _creat_of_an_existing_file_changes_nothing(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(os.chmod, "f", 0o604)
    with t.times({".": "", "f": ""}):
        t.me(open_and_close, "f", os.O_CREAT | os.O_RDWR, 0o777)
    t.has("f", mode=0o604, size=4)


@case(KINDS)
def _excl_of_an_existing_name_is_eexist(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    inode = t.stat("f").st_ino
    with t.times({".": "", "f": "?"}):
        for access in _ACCESS.values():
            t.me.fails(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL | access)
    t.has("f", kind=kind, ino=inode)


@case()
def _excl_lets_one_of_many_processes_win(t: Arena) -> None:
    actors = [t.another(t.me) for _ in range(4)]
    for turn in range(20):
        pending = [actor.start(_do.create, f"f{turn}") for actor in actors]
        outcomes = sorted(one.attempt() for one in pending)
        t.equal(outcomes, [0, errno.EEXIST, errno.EEXIST, errno.EEXIST], "errnos of four exclusive opens")


@case(each("file", "missing"))
def _creating_needs_write_permission_only_for_a_new_name(t: Arena, which: str) -> None:
    t.make("dir", "d", 0o755)
    t.make("file", "d/f", 0o666)
    if which == "file":
        t.user_a(open_and_close, "d/f", os.O_CREAT | os.O_RDWR)
    else:
        t.user_a.fails(errno.EACCES, open_creating, "d/g")
        t.exists("d/g", False)


# --------------------------------------------------------------------------------------------- O_TRUNC


@case({"write": os.O_WRONLY, "both": os.O_RDWR})
def _trunc_empties_the_file_and_moves_mtime_and_ctime(t: Arena, access: int) -> None:
    t.me(_do.write, "f", b"x" * 10000)
    with t.times({"f": "mc?"}):
        t.me(open_and_close, "f", access | os.O_TRUNC)
    t.has("f", size=0)
    t.equal(t.me(_do.read, "f"), b"", "content")
    with t.times({"f": "mc?"}):  # also when it is empty already
        t.me(open_and_close, "f", access | os.O_TRUNC)
    t.me(_do.write, "f", b"again")
    t.me(open_and_close, "f", access | os.O_TRUNC | os.O_CREAT)
    t.has("f", size=0)


@case()
def _trunc_is_seen_by_those_who_have_the_file_open(t: Arena) -> None:
    t.me(_do.write, "f", b"x" * 5000)
    other = t.another(t.me)
    fd = other(os.open, "f", os.O_RDWR)
    t.equal(len(other(os.pread, fd, 9000, 0)), 5000, "bytes before")
    t.me(open_and_close, "f", os.O_WRONLY | os.O_TRUNC)
    t.equal(other(os.pread, fd, 9000, 0), b"", "content after")
    t.equal(other(os.fstat, fd).st_size, 0, "size after")
    other(os.pwrite, fd, b"y", 100)
    t.equal(t.me(_do.read, "f"), bytes(100) + b"y", "content after a write behind the end")


@case()
def _trunc_needs_write_permission(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(os.chmod, "f", 0o444)
    t.user_a.fails(errno.EACCES, os.open, "f", os.O_RDONLY | os.O_TRUNC)
    t.user_a.fails(errno.EACCES, os.open, "f", os.O_WRONLY | os.O_TRUNC)
    t.has("f", size=4)


@case(each("dir", "symlink-to-dir"))
def _trunc_of_a_directory_is_eisdir(t: Arena, which: str) -> None:
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "d", "link")
    path = "d" if which == "dir" else "link"
    t.me.fails(errno.EISDIR, os.open, path, os.O_WRONLY | os.O_TRUNC)
    t.me.fails(errno.EISDIR, os.open, path, os.O_RDWR)
    t.me.fails(errno.EISDIR, os.open, path, os.O_WRONLY)
    t.me.fails(errno.EISDIR, os.open, path, os.O_RDWR | os.O_CREAT)
    t.me(open_and_close, path, os.O_RDONLY)


# ------------------------------------------------------------------------------- O_DIRECTORY, O_NOFOLLOW


@case(each("file", "fifo", "socket", "block", "char"))
def _o_directory_of_another_type_is_enotdir(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.me(os.symlink, "f", "link")
    for flags in (os.O_DIRECTORY, os.O_DIRECTORY | os.O_NONBLOCK, os.O_DIRECTORY | os.O_PATH):
        t.me.fails(errno.ENOTDIR, os.open, "f", flags)
        t.me.fails(errno.ENOTDIR, os.open, "link", flags)


@case()
def _o_directory_opens_a_directory(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(os.symlink, "d", "link")
    t.me(open_and_close, "d", os.O_RDONLY | os.O_DIRECTORY)
    t.me(open_and_close, "link", os.O_RDONLY | os.O_DIRECTORY)
    t.me.fails(errno.ENOTDIR, os.open, "link", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    t.me.fails(errno.ENOENT, os.open, "missing", os.O_RDONLY | os.O_DIRECTORY)
    # Both flags together make no directory: EINVAL since Linux 6.4, a file before.
    t.me.attempt(os.open, "x", os.O_CREAT | os.O_DIRECTORY | os.O_RDONLY)
    t.equal(t.me(_is_directory, "x"), False, "x is a directory")


def _is_directory(path: str) -> bool:
    return os.path.isdir(path)


@case(each("file", "dir", "missing"))
def _nofollow_of_a_link_is_eloop(t: Arena, target: str) -> None:
    if target != "missing":
        t.make(target, "target")
    t.make("dir", "p", 0o755)
    t.me(os.symlink, "target", "link")
    t.me(os.symlink, "..", "p/up")
    t.me.fails(errno.ELOOP, os.open, "link", os.O_RDONLY | os.O_NOFOLLOW)
    t.me.fails(errno.ELOOP, os.open, "link", os.O_WRONLY | os.O_NOFOLLOW)
    t.me.fails(errno.ELOOP, os.open, "link", os.O_WRONLY | os.O_NOFOLLOW | os.O_CREAT)
    if target != "missing":
        # Only the last component counts.
        t.me(open_and_close, "p/up/target", os.O_RDONLY | os.O_NOFOLLOW)


# ----------------------------------------------------------------------------------------------- O_PATH


@case(KINDS)
def _path_descriptor_names_any_file_without_rights_on_it(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o000)
    fd = t.user_a(os.open, "f", os.O_PATH | os.O_NOFOLLOW)
    t.equal(t.user_a(os.fstat, fd).st_ino, t.stat("f").st_ino, "inode by the descriptor")
    t.user_a.fails(errno.EBADF, os.read, fd, 1)
    t.user_a.fails(errno.EBADF, os.write, fd, b"x")
    t.user_a.fails(errno.EBADF, os.fchmod, fd, 0o777)
    t.user_a.fails(errno.EBADF, os.ftruncate, fd, 0)
    t.user_a.fails(errno.EBADF, os.lseek, fd, 0, os.SEEK_SET)
    t.user_a.fails(errno.EBADF, os.fsync, fd)
    t.equal(t.user_a(fcntl.fcntl, fd, fcntl.F_GETFL) & os.O_PATH, os.O_PATH, "O_PATH in F_GETFL")


@case()
def _path_descriptor_of_a_directory_serves_the_at_calls(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    fd = t.me(os.open, "d", os.O_PATH | os.O_DIRECTORY)
    t.me(_make_at, fd)
    t.equal(sorted(t.me(os.listdir, "d")), ["f", "sub"], "content")
    t.me.fails((errno.EBADF, errno.ENOTDIR), os.listdir, fd)
    t.me(os.fchdir, fd)
    t.equal(t.me(_do.read, "f"), b"", "content of f from the new working directory")


def _make_at(fd: int) -> None:
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
    os.mkdir("sub", 0o755, dir_fd=fd)
    os.stat("f", dir_fd=fd)


@case()
def _path_descriptor_is_reopened_by_proc_with_the_rights_of_then(t: Arena) -> None:
    t.me(_do.write, "f", b"text")
    t.me(os.chmod, "f", 0o644)
    fd = t.user_a(os.open, "f", os.O_PATH)
    t.equal(t.user_a(_do.read, f"/proc/self/fd/{fd}"), b"text", "content")
    t.user_a.fails(errno.EACCES, os.open, f"/proc/self/fd/{fd}", os.O_RDWR)
    t.me(os.chmod, "f", 0o600)
    t.user_a.fails(errno.EACCES, os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)


# ------------------------------------------------------------------------------------- access and position


@case(_ACCESS)
def _descriptor_allows_what_it_was_opened_for(t: Arena, access: int) -> None:
    t.me(_do.write, "f", b"text")
    fd = t.me(os.open, "f", access)
    if access == os.O_WRONLY:
        t.me.fails(errno.EBADF, os.read, fd, 1)
        t.me.fails(errno.EBADF, os.pread, fd, 1, 0)
    else:
        t.equal(t.me(os.read, fd, 10), b"text", "content")
    if access == os.O_RDONLY:
        t.me.fails(errno.EBADF, os.write, fd, b"x")
        t.me.fails(errno.EBADF, os.pwrite, fd, b"x", 0)
        t.me.fails(errno.EINVAL, os.ftruncate, fd, 0)
    else:
        t.equal(t.me(os.pwrite, fd, b"TE", 0), 2, "bytes written")
        t.equal(t.me(_do.read, "f"), b"TExt", "content after")
    t.equal(t.me(fcntl.fcntl, fd, fcntl.F_GETFL) & os.O_ACCMODE, access, "access mode in F_GETFL")


@case()
def _each_open_has_its_own_position_and_dup_shares_it(t: Arena) -> None:
    t.me(_do.write, "f", b"0123456789")
    one = t.me(os.open, "f", os.O_RDWR)
    two = t.me(os.open, "f", os.O_RDWR)
    copy = t.me(os.dup, one)
    t.equal(t.me(os.read, one, 3), b"012", "first three bytes")
    t.equal(t.me(os.read, two, 3), b"012", "first three bytes of the second open")
    t.equal(t.me(os.read, copy, 3), b"345", "next three bytes by the duplicate")
    t.me(os.lseek, copy, 9, os.SEEK_SET)
    t.equal(t.me(os.read, one, 3), b"9", "after a seek by the duplicate")
    t.equal(t.me(os.pread, one, 2, 4), b"45", "pread")
    t.equal(t.me(os.lseek, one, 0, os.SEEK_CUR), 10, "position after pread")


# --------------------------------------------------------------------------------------------- O_APPEND


@case(short=True)
def _append_writes_at_the_end_wherever_the_position_is(t: Arena) -> None:
    t.me(_do.write, "f", b"one")
    fd = t.me(os.open, "f", os.O_RDWR | os.O_APPEND)
    t.me(os.lseek, fd, 0, os.SEEK_SET)
    t.me(os.write, fd, b"two")
    t.equal(t.me(os.lseek, fd, 0, os.SEEK_CUR), 6, "position after the write")
    t.me(_do.append, "f", b"three")
    t.me(os.write, fd, b"four")
    t.equal(t.me(_do.read, "f"), b"onetwothreefour", "content")
    # Linux: pwrite(2) appends as well, whatever its offset (pwrite(2), BUGS).
    t.me(os.pwrite, fd, b"!", 0)
    t.equal(t.me(_do.read, "f"), b"onetwothreefour!", "content after pwrite")
    t.me(os.ftruncate, fd, 3)
    t.me(os.write, fd, b"X")
    t.equal(t.me(_do.read, "f"), b"oneX", "content after ftruncate")


@case()
def _append_can_be_switched_by_fcntl(t: Arena) -> None:
    t.me(_do.write, "f", b"0123456789")
    fd = t.me(os.open, "f", os.O_RDWR)
    t.me(os.write, fd, b"ab")
    t.me(set_flags, fd, os.O_APPEND)
    t.me(os.write, fd, b"cd")
    t.equal(t.me(fcntl.fcntl, fd, fcntl.F_GETFL) & os.O_APPEND, os.O_APPEND, "O_APPEND in F_GETFL")
    t.me(set_flags, fd, 0)
    t.me(os.pwrite, fd, b"ef", 2)
    t.equal(t.me(_do.read, "f"), b"abef456789cd", "content")


def _append_records(path: str, letter: bytes, count: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(count):
        os.write(fd, letter * 99 + b"\n")
    os.close(fd)


@case()
def _appends_of_several_processes_do_not_overwrite_each_other(t: Arena) -> None:
    t.make("file", "f")
    actors = [t.another(t.me) for _ in range(3)]
    pending = [
        actor.start(_append_records, "f", letter, 100)
        for actor, letter in zip(actors, (b"a", b"b", b"c"), strict=True)
    ]
    for one in pending:
        one.result()
    lines = t.me(_do.read, "f").split(b"\n")[:-1]
    t.equal(len(lines), 300, "records")
    t.equal(all(line in {b"a" * 99, b"b" * 99, b"c" * 99} for line in lines), True, "each record is whole")
    t.equal(
        [lines.count(letter * 99) for letter in (b"a", b"b", b"c")],
        [100, 100, 100],
        "records of each process",
    )


# -------------------------------------------------------------------------------------------- the rest


@case()
def _noatime_needs_the_owner(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/f", 0o666, A)
    t.user_a(open_and_close, "d/f", os.O_RDONLY | os.O_NOATIME)
    t.root(open_and_close, "d/f", os.O_RDONLY | os.O_NOATIME)
    t.user_b.fails(errno.EPERM, os.open, "d/f", os.O_RDONLY | os.O_NOATIME)


@case(
    {
        "sync": os.O_SYNC,
        "dsync": os.O_DSYNC,
        "largefile": 0o100000,
        "nonblock": os.O_NONBLOCK,
        "noctty": os.O_NOCTTY,
    }
)
def _flag_that_changes_no_result_is_accepted(t: Arena, flag: int) -> None:
    fd = t.me(os.open, "f", os.O_CREAT | os.O_RDWR | flag, 0o644)
    t.equal(t.me(os.write, fd, b"text"), 4, "bytes written")
    t.equal(t.me(os.pread, fd, 9, 0), b"text", "content")


@case(each("at-fdcwd", "directory", "file", "closed"))
def _directory_descriptor_of_openat(t: Arena, which: str) -> None:
    t.make("dir", "d", 0o755)
    t.me(_do.write, "d/f", b"in d")
    t.me(_do.write, "f", b"here")
    if which == "at-fdcwd":
        t.equal(t.me(_do.read, "f"), b"here", "content")
        return
    if which == "closed":
        t.me.fails(errno.EBADF, _read_at, 9999, "f")
        t.equal(t.me(_read_at, 9999, f"{t.path}/f"), b"here", "content by an absolute path")
        return
    fd = t.me(os.open, "d" if which == "directory" else "f", os.O_RDONLY)
    if which == "directory":
        t.equal(t.me(_read_at, fd, "f"), b"in d", "content")
        t.equal(t.me(_read_at, fd, "../f"), b"here", "content by ..")
        t.me(os.rename, "d", "e")
        t.equal(t.me(_read_at, fd, "f"), b"in d", "content after the directory was renamed")
    else:
        t.me.fails(errno.ENOTDIR, _read_at, fd, "f")
        t.equal(t.me(_read_at, fd, f"{t.path}/f"), b"here", "content by an absolute path")


def _read_at(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@case()
def _directory_can_be_opened_for_reading_alone(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    fd = t.me(os.open, "d", os.O_RDONLY)
    t.me.fails(errno.EISDIR, os.read, fd, 10)
    t.me.fails(errno.EISDIR, os.pread, fd, 10, 0)
    t.me.fails(errno.EBADF, os.write, fd, b"x")
    t.me.fails((errno.EINVAL, errno.EBADF), os.ftruncate, fd, 0)
    t.me(os.fsync, fd)
    t.me(os.fdatasync, fd)


@case(each(100, 1000))
def _many_descriptors_of_one_file(t: Arena, count: int) -> None:
    t.me(_do.write, "f", b"text")
    t.equal(t.me(_open_many, "f", count), count, "descriptors that read the content")


def _open_many(path: str, count: int) -> int:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count + 64, hard) if hard != resource.RLIM_INFINITY else count + 64
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    fds = [os.open(path, os.O_RDONLY) for _ in range(count)]
    good = sum(os.read(fd, 9) == b"text" for fd in fds)
    for fd in fds:
        os.close(fd)
    return good

# SPDX-License-Identifier: Apache-2.0
"""link(2), linkat(2): POSIX.1-2017 link(); hard-link counts; O_TMPFILE files that get a name."""

from __future__ import annotations

import errno
import os

from instar.edge import syscalls
from instar.edge.syscalls import AtFlags
from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, shared_directory

__all__: list[str] = []

_LINKABLE = each(*(kind for kind in KINDS if kind != "dir"))


def _link(source: str, target: str) -> None:
    syscalls.linkat(source, target)


@case(_LINKABLE, short=True)
def _makes_a_second_name_of_the_same_file(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    t.make("dir", "d", 0o755)
    inode = t.stat("f").st_ino
    t.me(_link, "f", "g")
    t.me(_link, "g", "d/h")
    for name in ("f", "g", "d/h"):
        t.has(name, kind=kind, ino=inode, nlink=3)
    t.equal(t.me(os.lstat, "f"), t.me(os.lstat, "d/h"), "attributes by two names")
    t.me(os.unlink, "f")
    t.has("g", nlink=2, ino=inode)


@case(_LINKABLE)
def _what_is_changed_by_one_name_is_seen_by_all(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o640)
    t.me(_link, "f", "g")
    t.root(os.lchown, "g", *A)
    t.has("f", uid=A[0], gid=A[1])
    if kind != "symlink":
        t.me(os.chmod, "f", 0o604)
        t.has("g", mode=0o604)
    t.me(os.utime, "g", ns=(5, 7), follow_symlinks=False)
    t.equal(t.stat("f").st_mtime_ns, 7, "mtime by the other name")
    if kind == "file":
        t.me(_do.write, "f", b"text", os.O_WRONLY)
        t.equal(t.me(_do.read, "g"), b"text", "content by the other name")


@case(_LINKABLE)
def _ctime_of_the_file_and_times_of_the_directory_move_on(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    t.make("dir", "d", 0o755)
    with t.times({"f": "c", "d": "mc?", ".": ""}):
        t.me(_link, "f", "d/g")


@case(grid(_LINKABLE, KINDS))
def _existing_name_is_eexist(t: Arena, source: str, target: str) -> None:
    t.make(source, "f")
    t.make(target, "g")
    inode = t.stat("g").st_ino
    with t.times({".": "", "f": "?", "g": "?"}):
        t.me.fails(errno.EEXIST, _link, "f", "g")
    t.has("f", nlink=1)
    t.has("g", kind=target, ino=inode)
    t.me.fails(errno.EEXIST, _link, "f", "f")


@case()
def _directory_is_eperm(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me.fails(errno.EPERM, _link, "d", "e")
    t.me.fails(errno.EPERM, _link, ".", "e")
    t.exists("e", False)
    shared_directory(t, "s")
    t.user_a(os.mkdir, "s/d", 0o755)
    t.user_a.fails(errno.EPERM, _link, "s/d", "s/e")


@case(_LINKABLE)
def _refused_call_changes_nothing(t: Arena, kind: str) -> None:
    shared_directory(t, "open")
    t.make("dir", "closed", 0o755)
    t.make(kind, "open/f", 0o666, A)
    with t.times({"open/f": "", "closed": ""}):
        t.user_a.fails(errno.EACCES, _link, "open/f", "closed/g")
    t.has("open/f", nlink=1)


@case()
def _link_is_linked_itself_unless_it_shall_be_followed(t: Arena) -> None:
    t.make("file", "f")
    t.me(os.symlink, "f", "link")
    t.me(syscalls.linkat, "link", "one")
    t.has("one", kind="symlink", nlink=2)
    t.equal(t.me(os.readlink, "one"), "f", "target of the link's second name")
    t.me(syscalls.linkat, "link", "two", AtFlags.SYMLINK_FOLLOW)
    t.has("two", kind="file", nlink=2, ino=t.stat("f").st_ino)
    t.me(os.symlink, "nowhere", "dangling")
    t.me.fails(errno.ENOENT, syscalls.linkat, "dangling", "three", AtFlags.SYMLINK_FOLLOW)
    t.me(syscalls.linkat, "dangling", "three")
    t.has("three", kind="symlink", nlink=2)


@case()
def _unknown_flags_are_einval(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.EINVAL, syscalls.linkat, "f", "g", 1)
    t.me.fails(errno.EINVAL, syscalls.linkat, "f", "g", AtFlags.SYMLINK_NOFOLLOW)
    t.exists("g", False)


@case({str(count): count for count in (10, 200)})
def _count_follows_each_link_and_unlink(t: Arena, count: int) -> None:
    t.make("file", "f")
    for number in range(count):
        t.me(_link, "f", f"n{number}")
        if number % 10 == 0:
            t.has("f", nlink=number + 2)
    t.has(f"n{count - 1}", nlink=count + 1)
    for number in range(count):
        t.me(os.unlink, f"n{number}")
        if number % 10 == 0:
            t.has("f", nlink=count - number)
    t.has("f", nlink=1)


@case()
def _parts_of_the_count_belong_to_different_directories(t: Arena) -> None:
    for name in ("a", "b", "c"):
        t.make("dir", name, 0o755)
    t.me(_do.write, "a/f", b"x")
    t.me(_link, "a/f", "b/f")
    t.me(_link, "b/f", "c/f")
    t.me(os.rename, "b/f", "a/g")
    t.has("a/g", nlink=3)
    t.me(os.unlink, "a/f")
    t.me(os.rmdir, "b")
    t.has("c/f", nlink=2)
    t.equal(t.me(_do.read, "c/f"), b"x", "content by the last name")


@case(each("unlinked", "never-named"))
def _file_without_a_name(t: Arena, which: str) -> None:
    if which == "unlinked":
        t.me(_do.write, "f", b"gone")
        fd = t.me(os.open, "f", os.O_RDWR)
        t.me(os.unlink, "f")
        # A file that lost its last name never gets another one.
        t.me.fails(errno.ENOENT, syscalls.linkat, f"/proc/self/fd/{fd}", "g", AtFlags.SYMLINK_FOLLOW)
        t.exists("g", False)
    else:
        fd = _tmpfile(t, os.O_RDWR)
        t.me(os.write, fd, b"made")
        t.me(syscalls.linkat, f"/proc/self/fd/{fd}", "g", AtFlags.SYMLINK_FOLLOW)
        t.has("g", nlink=1, size=4, mode=0o640)
        t.equal(t.me(_do.read, "g"), b"made", "content")
        t.me(syscalls.linkat, "g", "h")
        t.equal(t.me(os.fstat, fd).st_nlink, 2, "nlink by the descriptor")


def _tmpfile(t: Arena, flags: int, directory: str = ".") -> int:
    number = t.me.attempt(_open_tmpfile, directory)
    if number in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOSYS}:
        t.unsupported("O_TMPFILE: the file system has no files without a name")
    return t.me(os.open, directory, os.O_TMPFILE | flags, 0o640)


def _open_tmpfile(directory: str) -> None:
    os.close(os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600))


@case()
def _empty_path_links_the_descriptors_file(t: Arena) -> None:
    t.make("file", "f")
    fd = t.root(os.open, "f", os.O_PATH)
    t.root(syscalls.linkat, "", "g", AtFlags.EMPTY_PATH, source_dir_fd=fd)
    t.has("g", nlink=2, ino=t.stat("f").st_ino)


@case()
def _user_may_link_what_it_owns_or_may_write(t: Arena) -> None:
    shared_directory(t, "d")
    t.make("file", "d/mine", 0o000, A)
    t.user_a(_link, "d/mine", "d/mine2")
    t.make("file", "d/open", 0o666)
    t.user_a(_link, "d/open", "d/open2")
    t.make("file", "d/closed", 0o600)
    with open("/proc/sys/fs/protected_hardlinks", encoding="ascii") as setting:
        protected = setting.read().strip() != "0"
    if protected:
        t.user_a.fails(errno.EPERM, _link, "d/closed", "d/closed2")
    else:
        t.user_a(_link, "d/closed", "d/closed2")


@case()
def _other_mount_is_exdev(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.EXDEV, _link, "f", "/dev/instar-f")
    t.me.fails(errno.EXDEV, _link, "/proc/self/status", "f2")
    t.has("f", nlink=1)


# ----------------------------------------------------------------------------------------- O_TMPFILE


@case(short=True)
def _tmpfile_has_no_name_and_no_link(t: Arena) -> None:
    with t.times({".": "?"}):
        fd = _tmpfile(t, os.O_RDWR)
    t.equal(t.me(os.listdir, "."), [], "content of the directory")
    status = t.me(os.fstat, fd)
    t.equal((status.st_nlink, status.st_size, oct(status.st_mode)), (0, 0, oct(0o100640)), "attributes")
    t.equal(t.me(os.pwrite, fd, b"data", 4096), 4, "bytes written")
    t.equal(t.me(os.pread, fd, 10, 4094), b"\0\0data", "content")
    t.me(os.ftruncate, fd, 0)
    t.me(os.close, fd)


@case()
def _exclusive_tmpfile_never_gets_a_name(t: Arena) -> None:
    _tmpfile(t, os.O_RDWR)
    fd = t.me(os.open, ".", os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
    t.me.fails(errno.ENOENT, syscalls.linkat, f"/proc/self/fd/{fd}", "g", AtFlags.SYMLINK_FOLLOW)
    t.exists("g", False)


@case()
def _tmpfile_for_reading_alone_is_einval(t: Arena) -> None:
    _tmpfile(t, os.O_RDWR)
    t.me.fails(errno.EINVAL, os.open, ".", os.O_TMPFILE | os.O_RDONLY, 0o600)
    t.make("file", "f")
    t.me.fails(errno.ENOTDIR, os.open, "f", os.O_TMPFILE | os.O_RDWR, 0o600)
    t.me.fails(errno.ENOENT, os.open, "missing", os.O_TMPFILE | os.O_RDWR, 0o600)


@case()
def _tmpfile_needs_write_permission_on_the_directory(t: Arena) -> None:
    _tmpfile(t, os.O_RDWR)
    t.make("dir", "closed", 0o755)
    shared_directory(t, "open")
    t.user_a.fails(errno.EACCES, os.open, "closed", os.O_TMPFILE | os.O_RDWR, 0o600)
    fd = t.user_a(os.open, "open", os.O_TMPFILE | os.O_RDWR, 0o600)
    status = t.user_a(os.fstat, fd)
    t.equal((status.st_uid, status.st_gid), A, "owner")
    t.user_a(syscalls.linkat, f"/proc/self/fd/{fd}", "open/f", AtFlags.SYMLINK_FOLLOW)
    t.has("open/f", uid=A[0], gid=A[1], mode=0o600, nlink=1)


@case()
def _tmpfile_obeys_the_umask_and_a_setgid_directory(t: Arena) -> None:
    _tmpfile(t, os.O_RDWR)
    shared_directory(t, "d", 0o2777, (0, 555))
    t.user_a(os.umask, 0o027)
    fd = t.user_a(os.open, "d", os.O_TMPFILE | os.O_RDWR, 0o666)
    status = t.user_a(os.fstat, fd)
    t.equal((oct(status.st_mode & 0o7777), status.st_gid), (oct(0o640), 555), "mode and group")


@case()
def _naming_a_tmpfile_moves_its_ctime(t: Arena) -> None:
    fd = _tmpfile(t, os.O_RDWR)
    before = t.me(os.fstat, fd)
    with t.times({".": "mc?"}):
        t.me(syscalls.linkat, f"/proc/self/fd/{fd}", "g", AtFlags.SYMLINK_FOLLOW)
    after = t.stat("g")
    t.true(after.st_ctime_ns > before.st_ctime_ns, "ctime moved on")
    t.equal(after.st_mtime_ns, before.st_mtime_ns, "mtime")

# SPDX-License-Identifier: Apache-2.0
"""rename(2), renameat(2): POSIX.1-2017 rename()."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each, grid
from instar.verify.posix.cases._common import KINDS, A, B, shared_directory

__all__: list[str] = []

_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
_PLACES = {"same-directory": ("f", "g"), "down": ("f", "d/g"), "up": ("d/f", "g"), "across": ("d/f", "e/g")}


def _two_directories(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.make("dir", "e", 0o755)


def _parent(path: str) -> str:
    return os.path.dirname(path) or "."


@case(grid(KINDS, _PLACES), short=True)
def _moves_the_name(t: Arena, kind: str, old: str, new: str) -> None:
    _two_directories(t)
    t.make(kind, old, 0o641)
    before = t.stat(old)
    t.me(os.rename, old, new)
    t.exists(old, False)
    t.has(new, kind=kind, ino=before.st_ino, nlink=before.st_nlink, uid=before.st_uid, gid=before.st_gid)
    t.equal(t.stat(new).st_mode, before.st_mode, "mode")
    t.true(os.path.basename(new) in t.me(os.listdir, _parent(new)), "the new name is listed")
    t.true(os.path.basename(old) not in t.me(os.listdir, _parent(old)), "the old name is not listed")
    t.me(os.rename, new, old)
    t.has(old, kind=kind, ino=before.st_ino)
    t.exists(new, False)


@case(grid(KINDS, _PLACES))
def _times_of_both_directories_move_on(t: Arena, kind: str, old: str, new: str) -> None:
    _two_directories(t)
    t.make(kind, old)
    # Linux moves the file's ctime too; POSIX allows it.
    with t.times({_parent(old): "mc?", _parent(new): "mc?"}):
        t.me(os.rename, old, new)


@case(grid(KINDS, _PLACES))
def _mtime_and_atime_of_the_file_stay(t: Arena, kind: str, old: str, new: str) -> None:
    _two_directories(t)
    t.make(kind, old)
    before = t.stat(old)
    t.tick()
    t.me(os.rename, old, new)
    after = t.stat(new)
    if kind != "dir":
        t.equal(after.st_mtime_ns, before.st_mtime_ns, "mtime")
    t.equal(after.st_atime_ns, before.st_atime_ns, "atime")
    t.true(after.st_ctime_ns >= before.st_ctime_ns, "ctime does not go back")


_FILES = each(*(kind for kind in KINDS if kind != "dir"))


@case(grid(_FILES, _FILES))
def _replaces_what_is_there(t: Arena, source: str, target: str) -> None:
    t.make("dir", "d", 0o755)
    for old, new in (("f", "g"), ("f2", "d/g2")):
        t.make(source, old, 0o601)
        t.make(target, new, 0o604)
        inode = t.stat(old).st_ino
        t.me(os.rename, old, new)
        t.exists(old, False)
        t.has(new, kind=source, ino=inode, nlink=1)
        t.equal(t.me(os.listdir, _parent(new)).count(os.path.basename(new)), 1, "entries of the name")


@case(_FILES)
def _replaced_file_loses_a_link_and_moves_its_ctime(t: Arena, kind: str) -> None:
    t.make("file", "f")
    t.make(kind, "g")
    t.me(os.link, "g", "other", follow_symlinks=False)
    t.has("other", nlink=2)
    with t.times({"other": "c", ".": "mc?"}):
        t.me(os.rename, "f", "g")
    t.has("other", nlink=1, kind=kind)


@case()
def _directory_replaces_an_empty_directory(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_do.create, "d/f")
    t.make("dir", "e", 0o755)
    inode = t.stat("d").st_ino
    t.me(os.rename, "d", "e")
    t.exists("d", False)
    t.has("e", ino=inode, kind="dir")
    t.equal(t.me(os.listdir, "e"), ["f"], "content")


@case(KINDS)
def _directory_that_is_not_empty_is_not_replaced(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make("dir", "e", 0o755)
    t.make(kind, "e/f")
    with t.times({".": "", "d": "", "e": ""}):
        t.me.fails(_NOT_EMPTY, os.rename, "d", "e")
    t.exists("d")
    t.exists("e/f")


@case(_FILES)
def _directory_does_not_replace_another_type(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "f")
    with t.times({".": ""}):
        t.me.fails(errno.ENOTDIR, os.rename, "d", "f")
    t.has("d", kind="dir")
    t.has("f", kind=kind)


@case(grid(_FILES, each("empty", "full")))
def _another_type_does_not_replace_a_directory(t: Arena, kind: str, which: str) -> None:
    t.make("dir", "d", 0o755)
    if which == "full":
        t.me(_do.create, "d/x")
    t.make(kind, "f")
    with t.times({".": "", "d": ""}):
        t.me.fails(errno.EISDIR, os.rename, "f", "d")
    t.has("d", kind="dir")
    t.has("f", kind=kind)


@case(each("d/e", "d/e/f/g", "d/./e", "d/../d/e"))
def _directory_cannot_move_into_itself(t: Arena, target: str) -> None:
    t.me(os.makedirs, "d/e/f")
    if target in {"d/e", "d/./e", "d/../d/e"}:
        t.me(os.rmdir, "d/e/f")
        t.me(os.rmdir, "d/e")
    with t.times({".": "", "d": ""}):
        t.me.fails(errno.EINVAL, os.rename, "d", target)
    t.has("d", kind="dir")


@case()
def _ancestor_is_not_replaced(t: Arena) -> None:
    t.me(os.makedirs, "d/e/f")
    t.me.fails((*_NOT_EMPTY, errno.EINVAL), os.rename, "d/e/f", "d/e")
    t.me.fails((*_NOT_EMPTY, errno.EINVAL), os.rename, "d/e/f", "d")
    t.exists("d/e/f")


@case(KINDS)
def _name_to_itself_does_nothing(t: Arena, kind: str) -> None:
    t.make(kind, "f")
    with t.times({".": "", "f": ""}):
        t.me(os.rename, "f", "f")
        t.me(os.rename, "f", "./f")
    t.has("f", kind=kind)


@case(_FILES)
def _two_names_of_one_file_both_stay(t: Arena, kind: str) -> None:
    t.make("dir", "d", 0o755)
    t.make(kind, "f")
    t.me(os.link, "f", "g", follow_symlinks=False)
    t.me(os.link, "f", "d/h", follow_symlinks=False)
    with t.times({".": "", "f": "", "d": ""}):
        t.me(os.rename, "f", "g")
        t.me(os.rename, "f", "d/h")
    for name in ("f", "g", "d/h"):
        t.has(name, nlink=3, kind=kind)


@case()
def _links_are_not_followed(t: Arena) -> None:
    t.make("dir", "d", 0o755)
    t.me(_do.write, "f", b"text")
    t.me(os.symlink, "f", "to-file")
    t.me(os.symlink, "d", "to-dir")
    t.me(os.symlink, "nowhere", "dangling")
    t.me(os.rename, "to-file", "a")
    t.has("a", kind="symlink")
    t.equal(t.me(os.readlink, "a"), "f", "target")
    t.me(os.rename, "dangling", "b")
    t.equal(t.me(os.readlink, "b"), "nowhere", "target")
    # The target of the call is not followed either: the link is replaced.
    t.me(_do.write, "new", b"new")
    t.me(os.rename, "new", "a")
    t.has("a", kind="file")
    t.equal(t.me(_do.read, "f"), b"text", "content of what the link pointed to")
    t.me(_do.write, "new", b"new")
    t.me(os.rename, "new", "to-dir")
    t.has("to-dir", kind="file")
    t.make("dir", "n", 0o755)
    t.me(os.symlink, "d", "again")
    t.me.fails(errno.ENOTDIR, os.rename, "n", "again")


@case()
def _dot_and_dotdot_are_refused(t: Arena) -> None:
    t.me(os.makedirs, "d/e")
    for old, new in (
        (".", "x"),
        ("..", "x"),
        ("d/.", "x"),
        ("d/e/..", "x"),
        ("d", "."),
        ("d", "d/e/.."),
        ("d/e", "d/."),
    ):
        t.me.fails((errno.EBUSY, errno.EINVAL), os.rename, old, new)
    t.exists("d/e")


@case()
def _directory_with_content_moves_as_a_whole(t: Arena) -> None:
    t.me(os.makedirs, "d/e/f")
    t.me(_do.write, "d/e/f/g", b"deep")
    t.me(os.link, "d/e/f/g", "hard")
    t.make("dir", "z", 0o755)
    t.me(os.rename, "d", "z/d2")
    t.equal(t.me(_do.read, "z/d2/e/f/g"), b"deep", "content")
    t.has("hard", nlink=2, ino=t.stat("z/d2/e/f/g").st_ino)
    t.me.fails(errno.ENOENT, os.stat, "d/e/f/g")
    t.equal(t.stat("z/d2/..").st_ino, t.stat("z").st_ino, "inode of ..")


@case()
def _refused_call_changes_nothing(t: Arena) -> None:
    shared_directory(t, "open")
    t.make("dir", "closed", 0o755)
    t.make("file", "open/f", 0o666, A)
    t.make("file", "closed/g", 0o666, A)
    with t.times({"open": "", "closed": "", "open/f": "", "closed/g": ""}):
        t.user_a.fails(errno.EACCES, os.rename, "open/f", "closed/f")
        t.user_a.fails(errno.EACCES, os.rename, "closed/g", "open/g")
        t.user_a.fails(errno.EACCES, os.rename, "open/f", "closed/g")
    t.exists("open/f")
    t.exists("closed/g")


@case()
def _file_of_somebody_else_can_be_moved_with_write_permission_on_the_directories(t: Arena) -> None:
    shared_directory(t, "one")
    shared_directory(t, "two")
    t.make("file", "one/f", 0o000, (0, 0))
    t.user_a(os.rename, "one/f", "two/g")
    t.has("two/g", uid=0, mode=0)
    t.make("file", "one/f", 0o600, B)
    t.user_a(os.rename, "two/g", "one/f")
    t.has("one/f", uid=0)


@case()
def _other_mount_is_exdev(t: Arena) -> None:
    t.make("file", "f")
    t.me.fails(errno.EXDEV, os.rename, "f", "/proc/f")
    t.me.fails(errno.EXDEV, os.rename, "/proc/self/status", "f2")
    t.exists("f")


def _renameat(old_directory: str, old: str, new_directory: str, new: str) -> None:
    one = os.open(old_directory, os.O_PATH | os.O_DIRECTORY)
    two = os.open(new_directory, os.O_PATH | os.O_DIRECTORY)
    os.rename(old, new, src_dir_fd=one, dst_dir_fd=two)
    os.close(one)
    os.close(two)


@case()
def _relative_to_directory_descriptors(t: Arena) -> None:
    _two_directories(t)
    t.me(_do.write, "d/f", b"x")
    t.me(_renameat, "d", "f", "e", "g")
    t.equal(t.me(_do.read, "e/g"), b"x", "content")
    t.exists("d/f", False)


def _rename_many(turns: int) -> int:
    """Replace ``f`` again and again; how often."""
    for turn in range(turns):
        _do.write("new", b"%08d" % turn)
        os.rename("new", "f")
    return turns


def _look(turns: int) -> list[str]:
    """Read ``f`` again and again: it must be there and whole each time."""
    wrong = []
    for _ in range(turns):
        try:
            data = _do.read("f")
        except FileNotFoundError:
            wrong.append("missing")
        else:
            if len(data) != 8:
                wrong.append(f"{len(data)} bytes")
    return wrong


@case()
def _replacing_is_atomic_for_others(t: Arena) -> None:
    t.me(_do.write, "f", b"%08d" % 0)
    other = t.another(t.me)
    writing = t.me.start(_rename_many, 300)
    t.equal(other(_look, 300), [], "wrong sights of a name that is replaced all the time")
    t.equal(writing.result(), 300, "replacements")


def _swing(first: str, second: str, turns: int) -> int:
    """Rename back and forth; ENOENT means that the other process was faster."""
    done = 0
    for _ in range(turns):
        for old, new in ((first, second), (second, first)):
            try:
                os.rename(old, new)
                done += 1
            except FileNotFoundError:
                continue
    return done


@case()
def _two_processes_that_rename_one_file_leave_one_file(t: Arena) -> None:
    _two_directories(t)
    t.make("file", "d/f")
    inode = t.stat("d/f").st_ino
    other = t.another(t.me)
    mine = t.me.start(_swing, "d/f", "e/f", 100)
    theirs = other.start(_swing, "d/f", "e/f", 100)
    t.true(mine.result() + theirs.result() >= 100, "renames succeed")
    names = [f"{directory}/f" for directory in ("d", "e") if "f" in t.me(os.listdir, directory)]
    t.equal(len(names), 1, "names that are left")
    t.has(names[0], ino=inode, nlink=1)


def _cross(first: str, second: str, turns: int) -> None:
    for _ in range(turns):
        for old, new in ((first, second), (second, first)):
            try:
                os.rename(old, new)
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.EINVAL, errno.ENOTEMPTY, errno.EEXIST}:
                    raise


@case()
def _directories_that_move_into_each_other_make_no_loop(t: Arena) -> None:
    t.me(os.makedirs, "a/x")
    t.me(os.makedirs, "b/y")
    other = t.another(t.me)
    mine = t.me.start(_cross, "a", "b/y/a", 100)
    theirs = other.start(_cross, "b", "a/x/b", 100)
    mine.result()
    theirs.result()
    # Nothing may have fallen off the tree.
    found = {name for _, names, _ in t.me(_walk, ".") for name in names}
    t.equal(found, {"a", "b", "x", "y"}, "directories that can be reached")


def _walk(path: str) -> list[tuple[str, list[str], list[str]]]:
    return list(os.walk(path))

# SPDX-License-Identifier: Apache-2.0
"""Names of a mirror: what is made belongs to the caller, what is removed goes on working, and nothing leads out."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest

from instar.edge.syscalls import renameat2
from instar.fs import ROOT_INO, RenameFlags, WriteFlags
from instar.fs.mirror import MirrorError, MirrorFS
from tests.support.mirrors import ROOT, USER, mirrored, names

pytestmark = pytest.mark.root
NONE = RenameFlags.NONE


@pytest.fixture(params=["disk", "tmpfs", "disk-pinned", "tmpfs-pinned"])
def mirror(request):
    where, _, pinned = request.param.partition("-")
    with mirrored("/dev/shm" if where == "tmpfs" else None, use_handles=not pinned) as made:
        yield made


def refused(code, call, *args):
    with pytest.raises(OSError) as caught:
        call(*args)
    assert caught.value.errno == code, caught.value


def make(fs, name, content=b"", parent=ROOT_INO):
    """A file with content, closed."""
    entry, opened = fs.create(ROOT, parent, name, 0o644, os.O_RDWR)
    fs.write(ROOT, entry.ino, opened.fh, 0, memoryview(content), WriteFlags.NONE)
    fs.release(ROOT, entry.ino, opened.fh, 0)
    return entry.ino


def content(fs, ino):
    fh = fs.open(ROOT, ino, os.O_RDONLY).fh
    try:
        return fs.read(ROOT, ino, fh, 0, 1 << 20)
    finally:
        fs.release(ROOT, ino, fh, 0)


# ---------------------------------------------------------------- the source


def test_a_source_that_is_not_there_or_not_a_directory_is_refused_in_words(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MirrorError, match="does not exist"):
        MirrorFS(tmp_path / "nothing")
    with pytest.raises(MirrorError, match="is not a directory"):
        MirrorFS(tmp_path / "file")


def test_a_source_that_is_a_symbolic_link_is_followed_once(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    fs = MirrorFS(tmp_path / "link")
    assert names(fs, ROOT_INO) == ["file"]
    fs.destroy()


# ---------------------------------------------------------------- making


@pytest.mark.parametrize("ctx", [ROOT, USER], ids=["root", "user"])
def test_what_is_made_belongs_to_the_caller_and_is_masked_once(mirror, ctx):
    fs, below = mirror
    made = [
        fs.mkdir(ctx, ROOT_INO, "dir", 0o777),
        fs.mknod(ctx, ROOT_INO, "fifo", stat.S_IFIFO | 0o666, 0),
        fs.mknod(ctx, ROOT_INO, "device", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        fs.symlink(ctx, ROOT_INO, "link", "target"),
    ]
    entry, opened = fs.create(ctx, ROOT_INO, "file", 0o666, os.O_RDWR)
    fs.release(ctx, entry.ino, opened.fh, 0)
    made.append(entry)
    for entry, name in zip(made, ["dir", "fifo", "device", "link", "file"], strict=True):
        found = os.lstat(below / name)
        assert (found.st_uid, found.st_gid) == (ctx.uid, ctx.gid)
        assert found.st_mode == entry.attr.mode
        assert found.st_ino == entry.attr.ino
        if name != "link":
            assert stat.S_IMODE(found.st_mode) == (0o755 if name == "dir" else 0o644)
    assert os.stat(below / "device").st_rdev == os.makedev(1, 3) == made[2].attr.rdev
    assert os.umask(0o077) != 0o777
    os.umask(0o022)


def test_the_server_keeps_its_identity_and_its_power_after_making_a_file_for_a_user(mirror):
    fs, below = mirror
    closed = fs.mkdir(ROOT, ROOT_INO, "closed", 0o700)
    fs.mkdir(
        USER, closed.ino, "inside", 0o700
    )  # the kernel has checked the caller; the server is not asked again
    assert os.stat(below / "closed" / "inside").st_uid == USER.uid
    (below / "mine").touch()
    assert os.stat(below / "mine").st_uid == 0
    os.chown(below / "mine", 1, 1)


def test_a_set_group_id_directory_hands_its_group_down(mirror):
    fs, below = mirror
    os.chown(below, 0, 777)
    os.chmod(below, 0o2777)
    entry = fs.mkdir(USER, ROOT_INO, "dir", 0o755)
    assert (entry.attr.gid, entry.attr.mode & stat.S_ISGID) == (777, stat.S_ISGID)


def test_an_existing_name_is_refused_and_an_unexpected_one_is_looked_up_again(mirror):
    fs, below = mirror
    (below / "there").write_text("secret")
    for call in (
        lambda: fs.mkdir(ROOT, ROOT_INO, "there", 0o755),
        lambda: fs.mknod(ROOT, ROOT_INO, "there", stat.S_IFREG | 0o644, 0),
        lambda: fs.symlink(ROOT, ROOT_INO, "there", "x"),
        lambda: fs.create(ROOT, ROOT_INO, "there", 0o644, os.O_RDWR | os.O_EXCL),
    ):
        refused(errno.EEXIST, call)
    refused(errno.ESTALE, fs.create, USER, ROOT_INO, "there", 0o644, os.O_RDWR)
    assert (below / "there").read_text() == "secret"


@pytest.mark.parametrize("name", ["", "a/b", "../up", "/etc/passwd", "nul\0byte"])
def test_only_single_names_are_taken(mirror, name):
    fs, below = mirror
    for call in (
        lambda: fs.lookup(ROOT, ROOT_INO, name),
        lambda: fs.mkdir(ROOT, ROOT_INO, name, 0o755),
        lambda: fs.unlink(ROOT, ROOT_INO, name),
        lambda: fs.rename(ROOT, ROOT_INO, "a", ROOT_INO, name, NONE),
        lambda: fs.create(ROOT, ROOT_INO, name, 0o644, os.O_RDWR),
    ):
        refused(errno.EINVAL, call)
    for dots in (".", ".."):
        refused(errno.EINVAL, fs.rmdir, ROOT, ROOT_INO, dots)
    assert list(below.iterdir()) == []


def test_a_name_that_is_not_utf_8_comes_back_as_it_went(mirror):
    fs, below = mirror
    raw = b"caf\xe9"
    fs.mkdir(ROOT, ROOT_INO, os.fsdecode(raw), 0o755)
    assert os.listdir(os.fsencode(below)) == [raw]
    assert names(fs, ROOT_INO) == [os.fsdecode(raw)]


def test_a_file_without_a_name_gets_one_by_link(mirror):
    fs, below = mirror
    entry, opened = fs.tmpfile(USER, ROOT_INO, 0o640, os.O_RDWR)
    fs.write(USER, entry.ino, opened.fh, 0, memoryview(b"born late"), WriteFlags.NONE)
    assert entry.attr.nlink == 0
    assert names(fs, ROOT_INO) == []
    assert fs.link(USER, entry.ino, ROOT_INO, "named").attr.nlink == 1
    fs.release(USER, entry.ino, opened.fh, 0)
    assert (below / "named").read_bytes() == b"born late"
    assert os.stat(below / "named").st_uid == USER.uid
    assert content(fs, entry.ino) == b"born late"


def test_a_file_without_a_name_made_exclusively_gets_none(mirror):
    fs, _ = mirror
    entry, opened = fs.tmpfile(ROOT, ROOT_INO, 0o640, os.O_RDWR | os.O_EXCL)
    refused(errno.ENOENT, fs.link, ROOT, entry.ino, ROOT_INO, "named")
    fs.release(ROOT, entry.ino, opened.fh, 0)


# ---------------------------------------------------------------- hard links and renames


def test_all_names_of_a_file_are_one_node(mirror):
    fs, below = mirror
    ino = make(fs, "one", b"x")
    assert fs.link(ROOT, ino, ROOT_INO, "two").ino == ino
    os.link(below / "one", below / "three")
    found = fs.lookup(ROOT, ROOT_INO, "three")
    assert (found.ino, found.attr.nlink) == (ino, 3)
    fs.unlink(ROOT, ROOT_INO, "one")
    assert fs.getattr(ROOT, ino).nlink == 2
    assert content(fs, ino) == b"x"


def test_a_symbolic_link_can_be_linked_itself(mirror):
    fs, below = mirror
    link = fs.symlink(ROOT, ROOT_INO, "link", "nowhere")
    assert fs.link(ROOT, link.ino, ROOT_INO, "again").ino == link.ino
    assert os.readlink(below / "again") == "nowhere"
    assert os.lstat(below / "again").st_nlink == 2


def test_rename_flags_do_what_they_say(mirror):
    fs, below = mirror
    one, two = make(fs, "one", b"1"), make(fs, "two", b"2")
    refused(errno.EEXIST, fs.rename, ROOT, ROOT_INO, "one", ROOT_INO, "two", RenameFlags.NOREPLACE)
    fs.rename(ROOT, ROOT_INO, "one", ROOT_INO, "two", RenameFlags.EXCHANGE)
    assert (fs.lookup(ROOT, ROOT_INO, "one").ino, fs.lookup(ROOT, ROOT_INO, "two").ino) == (two, one)
    fs.rename(ROOT, ROOT_INO, "one", ROOT_INO, "three", RenameFlags.NOREPLACE)
    assert (below / "three").read_bytes() == b"2"
    fs.rename(ROOT, ROOT_INO, "three", ROOT_INO, "four", RenameFlags.WHITEOUT)
    white = os.stat(below / "three")
    assert stat.S_ISCHR(white.st_mode)
    assert white.st_rdev == 0
    refused(errno.EINVAL, fs.rename, ROOT, ROOT_INO, "two", ROOT_INO, "four", RenameFlags(3))


def test_a_replaced_file_goes_on_under_its_number(mirror):
    fs, _below = mirror
    old, new = make(fs, "old", b"old"), make(fs, "new", b"new")
    fs.rename(ROOT, ROOT_INO, "new", ROOT_INO, "old", NONE)
    assert fs.lookup(ROOT, ROOT_INO, "old").ino == new
    assert fs.getattr(ROOT, old).nlink == 0
    assert content(fs, old) == b"old"
    fs.forget(old)
    refused(errno.ESTALE, fs.getattr, ROOT, old)


def test_a_name_changed_behind_the_back_and_a_tree_moved_keep_their_numbers(mirror):
    fs, below = mirror
    top = fs.mkdir(ROOT, ROOT_INO, "top", 0o755)
    sub = fs.mkdir(ROOT, top.ino, "sub", 0o755)
    ino = make(fs, "file", b"kept", sub.ino)
    os.rename(below / "top" / "sub" / "file", below / "top" / "sub" / "renamed")
    os.rename(below / "top", below / "moved")
    (below / "top").mkdir()
    assert content(fs, ino) == b"kept"
    assert fs.lookup(ROOT, sub.ino, "renamed").ino == ino
    refused(errno.ENOENT, fs.lookup, ROOT, sub.ino, "file")
    assert fs.lookup(ROOT, ROOT_INO, "moved").ino == top.ino
    assert fs.lookup(ROOT, ROOT_INO, "top").ino != top.ino
    fs.mkdir(ROOT, sub.ino, "new", 0o755)
    assert (below / "moved" / "sub" / "new").is_dir()
    assert fs.parent(sub.ino) == top.ino


def test_the_parent_of_the_root_is_the_root_and_a_tree_moved_out_has_none(mirror, tmp_path):
    fs, below = mirror
    assert fs.parent(ROOT_INO) == ROOT_INO
    made = fs.mkdir(ROOT, ROOT_INO, "dir", 0o755)
    aside = below.with_name(below.name + "-aside")
    os.rename(below / "dir", aside)
    try:
        refused(errno.ESTALE, fs.parent, made.ino)
    finally:
        aside.rmdir()


# ---------------------------------------------------------------- removing


def test_an_open_file_outlives_its_last_name(mirror):
    fs, _below = mirror
    entry, opened = fs.create(ROOT, ROOT_INO, "file", 0o644, os.O_RDWR)
    fs.unlink(ROOT, ROOT_INO, "file")
    assert fs.write(ROOT, entry.ino, opened.fh, 0, memoryview(b"still here"), WriteFlags.NONE) == 10
    assert fs.read(ROOT, entry.ino, opened.fh, 0, 100) == b"still here"
    attr = fs.getattr(ROOT, entry.ino)
    assert (attr.nlink, attr.size) == (0, 10)
    fs.release(ROOT, entry.ino, opened.fh, 0)
    assert content(fs, entry.ino) == b"still here"  # the kernel has not forgotten the node
    fs.forget(entry.ino)
    refused(errno.ESTALE, fs.getattr, ROOT, entry.ino)


def test_a_file_unlinked_behind_the_back_goes_on_while_it_is_open(mirror):
    fs, below = mirror
    entry, opened = fs.create(ROOT, ROOT_INO, "file", 0o644, os.O_RDWR)
    (below / "file").unlink()
    fs.write(ROOT, entry.ino, opened.fh, 0, memoryview(b"more"), WriteFlags.NONE)
    assert fs.getattr(ROOT, entry.ino).nlink == 0
    assert content(fs, entry.ino) == b"more"  # another open, by number
    fs.release(ROOT, entry.ino, opened.fh, 0)


def test_a_removed_directory_answers_until_it_is_forgotten(mirror):
    fs, _ = mirror
    made = fs.mkdir(ROOT, ROOT_INO, "dir", 0o755)
    fs.rmdir(ROOT, ROOT_INO, "dir")
    assert fs.getattr(ROOT, made.ino).nlink == 0
    refused(errno.ENOENT, fs.mkdir, ROOT, made.ino, "sub", 0o755)
    fs.forget(made.ino)


def test_removing_says_what_is_wrong(mirror):
    fs, _ = mirror
    made = fs.mkdir(ROOT, ROOT_INO, "dir", 0o755)
    make(fs, "file", parent=made.ino)
    refused(errno.ENOTEMPTY, fs.rmdir, ROOT, ROOT_INO, "dir")
    refused(errno.EISDIR, fs.unlink, ROOT, ROOT_INO, "dir")
    refused(errno.ENOTDIR, fs.rmdir, ROOT, made.ino, "file")
    refused(errno.ENOENT, fs.unlink, ROOT, ROOT_INO, "nothing")
    refused(errno.EINVAL, fs.rename, ROOT, ROOT_INO, "dir", made.ino, "below", NONE)
    assert fs.nodes.cached >= 0
    fs.unlink(ROOT, made.ino, "file")
    fs.rmdir(ROOT, ROOT_INO, "dir")
    assert names(fs, ROOT_INO) == []


def test_a_read_only_mirror_refuses_every_change(tmp_path):
    (tmp_path / "file").write_text("x")
    fs = MirrorFS(tmp_path, read_only=True)
    assert fs.read_only
    ino = fs.lookup(ROOT, ROOT_INO, "file").ino
    for call in (
        lambda: fs.mkdir(ROOT, ROOT_INO, "a", 0o755),
        lambda: fs.unlink(ROOT, ROOT_INO, "file"),
        lambda: fs.rename(ROOT, ROOT_INO, "file", ROOT_INO, "b", NONE),
        lambda: fs.link(ROOT, ino, ROOT_INO, "b"),
        lambda: fs.tmpfile(ROOT, ROOT_INO, 0o600, os.O_RDWR),
        lambda: fs.open(ROOT, ino, os.O_RDWR),
        lambda: fs.open(ROOT, ino, os.O_RDONLY | os.O_TRUNC),
        lambda: fs.removexattr(ROOT, ino, "user.x"),
    ):
        refused(errno.EROFS, call)
    assert content(fs, ino) == b"x"
    fs.destroy()


# ---------------------------------------------------------------- nothing leads out


def test_symbolic_links_are_shown_and_never_followed(mirror, tmp_path):
    fs, below = mirror
    (tmp_path / "secret").write_text("secret")
    (below / "file").symlink_to(tmp_path / "secret")
    (below / "dir").symlink_to(tmp_path)
    (below / "up").symlink_to("..")
    for name in ("file", "dir", "up"):
        found = fs.lookup(ROOT, ROOT_INO, name)
        assert stat.S_ISLNK(found.attr.mode)
        assert fs.readlink(ROOT, found.ino) == os.readlink(below / name)
        refused(errno.ELOOP, fs.open, ROOT, found.ino, os.O_RDONLY)
        refused(errno.ENOTDIR, fs.opendir, ROOT, found.ino, os.O_RDONLY)
        refused(errno.ENOTDIR, fs.lookup, ROOT, found.ino, "secret")
        refused(errno.ENOTDIR, fs.mkdir, ROOT, found.ino, "new", 0o755)
    refused(errno.ENOTDIR, fs.rename, ROOT, ROOT_INO, "file", fs.lookup(ROOT, ROOT_INO, "dir").ino, "x", NONE)
    assert sorted(os.listdir(tmp_path)) == ["secret"]


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
def test_fifos_sockets_and_devices_are_never_opened(mirror, kind):
    fs, _ = mirror
    made = fs.mknod(ROOT, ROOT_INO, "special", kind | 0o666, os.makedev(1, 3) if kind == stat.S_IFCHR else 0)
    refused(errno.ENXIO, fs.open, ROOT, made.ino, os.O_RDONLY)


def test_a_directory_swapped_with_a_symbolic_link_never_leads_out(mirror, tmp_path):
    """Races between the operations and a thread that exchanges a directory and a link to somewhere else."""
    fs, below = mirror
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mark").write_text("outside")
    (below / "victim").mkdir()
    (below / "victim" / "mark").write_text("inside")
    (below / "link").symlink_to(outside)

    stop = threading.Event()
    swaps = 0

    def swap():
        nonlocal swaps
        while not stop.is_set():
            renameat2(below / "victim", below / "link", RenameFlags.EXCHANGE)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"inside": 0, "refused": 0}
    try:
        for turn in range(3000):
            try:
                directory = fs.lookup(ROOT, ROOT_INO, "victim").ino
                mark = fs.lookup(ROOT, directory, "mark").ino
                assert content(fs, mark) == b"inside"
                made = fs.mkdir(ROOT, directory, f"made{turn}", 0o755)
                fs.rmdir(ROOT, directory, f"made{turn}")
                fs.forget(made.ino)
                assert names(fs, directory) == ["mark"]
                seen["inside"] += 1
            except NotADirectoryError:
                seen["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert os.listdir(outside) == ["mark"]
    assert min(seen.values()) > 0, seen
    assert swaps > 100


def test_a_lookup_in_a_race_gives_the_attributes_of_the_node_it_names(mirror):
    """Two files are exchanged all the time: number and attributes always belong together."""
    fs, below = mirror
    sizes = {make(fs, "a", b"1"): 1, make(fs, "b", b"22"): 2}

    stop = threading.Event()

    def swap():
        while not stop.is_set():
            renameat2(below / "a", below / "b", RenameFlags.EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        found = [fs.lookup(ROOT, ROOT_INO, "a") for _ in range(20000)]
    finally:
        stop.set()
        thread.join()
    assert all(sizes[entry.ino] == entry.attr.size for entry in found)
    assert len({entry.ino for entry in found}) == 2

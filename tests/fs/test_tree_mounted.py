# SPDX-License-Identifier: Apache-2.0
"""A `Tree` on a real mount, used by the programs that people use.

The tree lives in the process that serves the mount, so what is observed here went through the kernel.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import subprocess
import sys
import threading

import pytest

from instar.fs import Dir, File, SeqFile, Symlink, Tree
from instar.testing import mounted

pytestmark = pytest.mark.mount

RECORDS = 200_000


def squares():
    for n in range(RECORDS):
        yield f"{n} {n * n}"


def endless():
    n = 0
    while True:
        n += 1
        yield n


def half_way():
    yield from range(1000)
    raise OSError(errno.ENODEV, "unplugged")


async def ticking():
    """The first record at once, the second never: a reader that waits for a full buffer would hang."""
    yield "tick"
    await asyncio.Event().wait()


def make_tree():
    level = ["3"]
    log = []
    words = {"one": "1\n"}

    def set_level(text):
        level[0] = str(int(text))

    async def set_slowly(text):
        await asyncio.sleep(0.01)
        if text != "good\n":
            raise OSError(errno.EBUSY, "only good")

    def set_word(text):
        name, _, value = text.strip().partition("=")
        if value.startswith("->"):
            words[name] = Symlink(value[2:])
        elif value:
            words[name] = f"{value}\n"
        else:
            del words[name]

    def fail():
        raise OSError(errno.EHOSTUNREACH, "away")

    counter = [0]
    queue = asyncio.Queue()

    async def events():
        while True:
            yield await queue.get()

    def count():
        counter[0] += 1
        return f"{counter[0]}\n"

    news = File(read=lambda: "news\n", write=lambda _: news.notify())
    return Tree(
        {
            "motd": "hello\n",
            "latest": Symlink("motd"),
            "big": b"0123456789abcdef" * 65536,
            "script": File("#!/bin/sh\necho ran $1\n", mode=0o555),
            "count": count,
            "fail": fail,
            "squares": squares,
            "endless": endless,
            "half": half_way,
            "ticking": ticking,
            "events": events,
            "push": File(write=lambda text: queue.put_nowait(text.strip())),
            "huge": SeqFile(lambda: [b"x" * 5_000_000], end=""),
            "level": File(read=lambda: f"{level[0]}\n", write=set_level),
            "slow": File(write=set_slowly),
            "log": File(read=lambda: repr(log), write=log.append),
            "set": File(write=set_word),
            "words": words,
            "users": Dir(lambda: {f"user{n}": f"{n}\n" for n in range(500)}, mode=0o755),
            "secret": File("s", mode=0o400),
            "news": news,
            "deep": {"er": {"est": {"file": "found\n"}}},
        }
    )


@pytest.fixture(scope="module")
def tree():
    with mounted(make_tree) as path:
        yield path


@pytest.fixture
def sh(tree):
    """Run a shell command in the mount; returns what it printed, on either stream."""

    def run(command, status=0):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    return run


# -------------------------------------------------------------------------------- reading


def test_cat_prints_files_links_and_functions(sh):
    assert sh("cat motd latest deep/er/est/file") == "hello\nhello\nfound\n"


def test_each_cat_calls_the_function_once(sh):
    first, second = sh("cat count; cat count").split()
    assert int(second) == int(first) + 1


def test_wc_counts_all_records(sh):
    assert sh("wc -l < squares").strip() == str(RECORDS)


def test_head_reads_an_endless_file(sh):
    assert sh("head -n 3 endless") == "1\n2\n3\n"


def test_tail_finds_the_end_of_a_file_without_a_size(sh):
    assert sh("tail -n 1 squares") == f"{RECORDS - 1} {(RECORDS - 1) ** 2}\n"
    assert sh("tail -c 8 squares") == f"{(RECORDS - 1) ** 2}\n"[-8:]
    assert sh("tail -c 3 motd") == "lo\n"


def test_dd_reads_from_any_place_in_any_size(sh):
    whole = "".join(f"{n} {n * n}\n" for n in range(1000))
    assert sh("dd if=squares bs=7 skip=100 count=3 status=none") == whole[700:721]
    assert sh("dd if=squares bs=1 skip=31 count=40 status=none") == whole[31:71]


def test_pread_back_and_forth_gives_the_same_text(tree):
    whole = "".join(f"{n} {n * n}\n" for n in range(3000)).encode()
    fd = os.open(tree / "squares", os.O_RDONLY)
    try:
        for offset in (0, 20_000, 500, 501, 19_999, 0):
            assert os.pread(fd, 100, offset) == whole[offset : offset + 100]
    finally:
        os.close(fd)


def test_grep_searches_all_of_it(sh):
    assert sh("grep -c . squares").strip() == str(RECORDS)
    assert sh("grep -n '^777 ' squares") == "778:777 603729\n"
    assert sh("grep -r found .  --include=file") == "./deep/er/est/file:found\n"


def test_cp_copies_what_is_there_though_the_size_is_zero(sh, tmp_path):
    sh(f"cp squares huge big level {tmp_path}")
    assert (tmp_path / "squares").read_text().count("\n") == RECORDS
    assert (tmp_path / "huge").read_bytes() == b"x" * 5_000_000
    assert (tmp_path / "big").read_bytes() == b"0123456789abcdef" * 65536


def test_a_record_larger_than_the_buffer_is_read_whole(sh):
    assert sh("wc -c < huge").strip() == "5000000"


def test_a_program_in_the_tree_runs(sh):
    assert sh("./script it") == "ran it\n"


def test_an_iterator_that_raises_half_way_gives_what_came_before_and_then_its_errno(sh):
    printed = sh("cat half", status=1)
    assert printed.startswith("0\n1\n2\n")
    assert "\n999\n" in printed
    assert printed.endswith("No such device\n")


def test_what_a_function_raises_is_what_open_returns(sh):
    assert "No route to host" in sh("cat fail", status=1)


def test_a_record_of_a_waiting_iterator_is_read_when_it_comes(tree):
    fd = os.open(tree / "ticking", os.O_RDONLY)
    try:
        assert os.read(fd, 4096) == b"tick\n"
    finally:
        os.close(fd)


def test_a_reader_that_waits_can_be_killed(tree):
    with subprocess.Popen(["cat", tree / "ticking"], stdout=subprocess.PIPE) as reader:
        assert reader.stdout.readline() == b"tick\n"
        reader.kill()
        assert reader.wait(timeout=10) < 0


READ_AND_BE_INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: print("interrupted", flush=True))
fd = os.open(sys.argv[1], os.O_RDONLY)
signal.setitimer(signal.ITIMER_REAL, 0.1)
for _ in range(2):  # the interpreter calls read(2) again after EINTR
    print(os.read(fd, 4096).decode(), end="", flush=True)
"""


def test_a_reader_that_is_interrupted_and_goes_on_loses_nothing(tree, sh):
    command = [sys.executable, "-c", READ_AND_BE_INTERRUPTED, tree / "events"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "interrupted\n"
        sh("echo one > push")
        assert reader.stdout.readline() == "one\n"
        sh("echo two > push")
        assert reader.stdout.readline() == "two\n"
        assert reader.wait(timeout=30) == 0


def test_many_readers_each_have_their_own_place(tree):
    wrong = []

    def read():
        with open(tree / "squares", "rb") as file:
            wrong.extend(
                n for n, line in zip(range(3000), file, strict=False) if line != b"%d %d\n" % (n, n * n)
            )

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []


# -------------------------------------------------------------------------------- names


def test_ls_shows_types_modes_and_sizes(sh):
    lines = {line.split()[-1]: line for line in sh("ls -lL --time-style=+").splitlines()[1:]}
    assert lines["motd"].startswith("-r--r--r-- 1 ")
    assert lines["latest"].split()[4] == "6"
    assert lines["level"].startswith("-rw-r--r-- 1 ")
    assert lines["slow"].startswith("--w------- 1 ")
    assert lines["squares"].split()[4] == "0"
    assert lines["big"].split()[4] == str(1 << 20)
    assert lines["users"].startswith("drwxr-xr-x 1 ")


def test_find_walks_the_tree(sh):
    assert sh("find deep -print | sort").split() == ["deep", "deep/er", "deep/er/est", "deep/er/est/file"]
    assert sh("find . -type l") == "./latest\n"
    assert len(sh("find users -type f").split()) == 500


def test_the_number_in_a_listing_is_the_number_of_the_file(tree):
    with os.scandir(tree) as entries:
        for entry in entries:
            assert entry.inode() == os.lstat(entry.path).st_ino


def test_tar_packs_what_has_a_size(sh):
    assert sh("tar -cf - deep motd latest | tar -tf -").split() == [
        "deep/", "deep/er/", "deep/er/est/", "deep/er/est/file", "motd", "latest",
    ]  # fmt: skip


def test_a_change_of_a_dict_is_seen_at_once(sh):
    assert sh("echo two=2 > set; cat words/two; ls words") == "2\none\ntwo\n"
    assert sh("echo two=22 > set; cat words/two; echo two= > set; ls words") == "22\none\n"
    assert "No such file" in sh("cat words/two", status=1)


def test_a_link_that_points_elsewhere_is_not_remembered(sh):
    """The kernel keeps the target of a link that it knows, whatever the timeouts say."""
    assert sh("echo 'l=->one' > set; readlink words/l; cat words/l") == "one\n1\n"
    assert sh("echo 'l=->../motd' > set; readlink words/l; cat words/l; echo l= > set") == "../motd\nhello\n"


def test_an_open_file_of_bytes_shows_a_change(tree, sh):
    with open(tree / "words/one", "rb", buffering=0) as file:
        assert file.read() == b"1\n"
        sh("echo one=eleven > set")
        assert os.pread(file.fileno(), 100, 0) == b"eleven\n"
        sh("echo one=1 > set")


# -------------------------------------------------------------------------------- writing


def test_redirection_sets_a_value(sh):
    assert sh("echo 7 > level; cat level; echo 8 >> level; cat level; printf 9 | tee level; cat level") == (
        "7\n8\n99\n"
    )


def test_what_the_setter_raises_reaches_the_writer(tree):
    for name, text, code in (("level", b"x", errno.EINVAL), ("slow", b"bad", errno.EBUSY)):
        fd = os.open(tree / name, os.O_WRONLY | os.O_TRUNC)
        try:
            with pytest.raises(OSError) as caught:
                os.write(fd, text)
            assert caught.value.errno == code
        finally:
            os.close(fd)


def test_an_async_setter_takes_a_write(sh):
    assert sh("echo good > slow") == ""


def test_each_write_is_one_call(sh):
    sh("{ printf a; printf bc; } > log; printf d >> log")
    assert sh("cat log") == "['a', 'bc', 'd']"


def test_cutting_a_file_that_can_be_written_does_nothing(sh):
    assert sh("echo 5 > level; : > level; truncate -s 100 level; touch level; cat level") == "5\n"


def test_what_cannot_be_written_is_refused(sh):
    assert "Permission denied" in sh("echo x > motd", status=1)
    assert "Permission denied" in sh("cat slow", status=1)
    assert "Operation not permitted" in sh("rm -f motd", status=1)
    assert "Operation not permitted" in sh("touch new", status=1)
    assert "Operation not permitted" in sh("mkdir new", status=1)
    assert "Operation not permitted" in sh("chmod 777 motd", status=1)


def test_a_tree_without_writers_is_mounted_read_only():
    with mounted(lambda: Tree({"motd": "hello\n", "n": lambda: "1\n"})) as path:
        assert os.statvfs(path).f_flag & os.ST_RDONLY
        with pytest.raises(OSError) as caught:
            (path / "new").touch()
        assert caught.value.errno == errno.EROFS
        assert (path / "n").read_text() == "1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_modes_hold_for_other_users(tree):
    def read_as_nobody(name):
        return subprocess.run(
            ["cat", tree / name], capture_output=True, user=65534, group=65534, extra_groups=[], cwd="/"
        )

    assert read_as_nobody("motd").stdout == b"hello\n"
    assert b"Permission denied" in read_as_nobody("secret").stderr


# -------------------------------------------------------------------------------- polling


def test_poll_waits_for_a_notification(tree):
    with open(tree / "news", "rb", buffering=0) as file:
        assert file.read() == b"news\n"
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        assert poll.poll(0) == []
        found = []
        waiter = threading.Thread(target=lambda: found.extend(poll.poll(20_000)))
        waiter.start()
        (tree / "news").write_text("now")
        waiter.join(timeout=30)
        assert found == [(file.fileno(), select.POLLPRI | select.POLLERR)]
        file.seek(0)
        file.read()
        assert poll.poll(0) == []


# -------------------------------------------------------------------------------- mistakes of the author


def test_a_bug_in_an_iterator_is_eio_after_what_it_gave_and_the_mount_lives_on():
    def rows():
        yield "fine"
        raise ZeroDivisionError

    with mounted(lambda: Tree({"rows": rows, "ok": "ok\n"}), allow_errors=True) as path:
        fd = os.open(path / "rows", os.O_RDONLY)
        try:
            assert os.read(fd, 4096) == b"fine\n"
            for _ in range(2):
                with pytest.raises(OSError) as caught:
                    os.read(fd, 4096)
                assert caught.value.errno == errno.EIO
            os.lseek(fd, 0, os.SEEK_SET)
            assert os.read(fd, 4096) == b"fine\n"
        finally:
            os.close(fd)
        assert (path / "ok").read_text() == "ok\n"

# SPDX-License-Identifier: Apache-2.0
"""The steps of the demonstration: each is one program's work on a file system, and a check that it came out right.

A step is a short shell script, run with `sh -eu` in a scratch directory with the environment variables ``SRC`` (a directory of real files),
``MIRROR`` (the same directory through `MirrorFS`), ``MEM`` (a `MemFS`) and ``TREE`` (a `Tree`). It has failed when it
exits with anything but 0. A step whose program is not installed is left out, and named.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Final

import msgspec

__all__ = ["STEPS", "Step"]


class Step(msgspec.Struct, frozen=True):
    """One line of the table. ``needs`` are the programs it runs; ``works_on`` names the file system for the reader."""

    title: str
    works_on: str
    command: str
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Which of its programs are not installed."""
        return [name for name in self.needs if shutil.which(name) is None]

    @property
    def shown(self) -> str:
        """The command on one line, for people."""
        return re.sub(r"\s+", " ", self.command).strip()


_STEPS: Final = r"""
compare with the original | mirror | diff
    diff -r "$SRC" "$MIRROR"

copy everything | mirror → memfs | cp diff
    cp -a "$MIRROR" "$MEM/copy"
    diff -r "$SRC" "$MEM/copy"

find by name | memfs | find
    test "$(find "$MEM/copy" -name '*.py' | wc -l)" = "$(find "$SRC" -name '*.py' | wc -l)"

search the text | memfs | grep
    test "$(grep -r import "$MEM/copy" | wc -l)" = "$(grep -r import "$SRC" | wc -l)"

tar and untar | memfs | tar diff
    tar -C "$MEM" -cf "$MEM/copy.tar" copy
    mkdir "$MEM/untar"
    tar -C "$MEM/untar" -xf "$MEM/copy.tar"
    diff -r "$SRC" "$MEM/untar/copy"

commit, clone, check | memfs | git
    export GIT_AUTHOR_NAME=demo GIT_AUTHOR_EMAIL=demo@example.org
    export GIT_COMMITTER_NAME=demo GIT_COMMITTER_EMAIL=demo@example.org
    cd "$MEM/copy"
    git init -q .
    git add .
    git commit -qm demo
    git clone -q . "$MEM/clone"
    git -C "$MEM/clone" fsck --no-progress

1,000 rows in a database | memfs | sqlite3
    {
        echo 'create table t(a); begin;'
        seq 1000 | sed 's/.*/insert into t values(&);/'
        echo 'commit; select sum(a) from t; pragma integrity_check;'
    } | sqlite3 "$MEM/demo.db" | tr '\n' ' ' | grep -qx '500500 ok '

compile and run | memfs | cc
    printf '#include <stdio.h>\nint main(void) { puts("it runs"); return 0; }\n' > "$MEM/hello.c"
    cc -o "$MEM/hello" "$MEM/hello.c"
    "$MEM/hello" | grep -qx 'it runs'

a billion bytes, all hole | memfs | truncate du
    truncate -s 1000000000 "$MEM/hole"
    test "$(du -k "$MEM/hole" | cut -f1)" = 0
    test "$(tail -c 1 "$MEM/hole" | wc -c)" = 1

links, names, modes | memfs | stat
    cd "$MEM"
    echo x > a
    ln a b
    ln -s a c
    mv a d
    chmod 600 d
    test "$(stat -c %h:%a d)" = 2:600
    test ! -e c

write through to the original | mirror | cmp
    echo changed > "$MIRROR/demo.txt"
    cmp "$MIRROR/demo.txt" "$SRC/demo.txt"
    rm "$MIRROR/demo.txt"

read a file made by Python | tree | cat head
    test "$(cat "$TREE/hello")" = 'Hello from Python!'
    test "$(head -n 3 "$TREE/squares" | tail -n 1)" = 4

set a value by writing | tree | cat
    echo 42 > "$TREE/answer"
    test "$(cat "$TREE/answer")" = 42

remove it all | memfs | rm
    rm -rf "$MEM"/*
    test -z "$(ls -A "$MEM")"
"""


def _parsed(text: str) -> tuple[Step, ...]:
    """Read the script above: paragraphs of a heading (title | file system | programs) and indented shell lines."""
    steps = []
    for paragraph in text.strip().split("\n\n"):
        heading, _, command = paragraph.partition("\n")
        title, works_on, needs = (part.strip() for part in heading.split("|"))
        steps.append(Step(title, works_on, textwrap.dedent(command), tuple(needs.split())))
    return tuple(steps)


STEPS: Final = _parsed(_STEPS)

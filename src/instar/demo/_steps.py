# SPDX-License-Identifier: Apache-2.0
"""The steps of the demonstration: each is one program's work on a file system, and a check that it came out right.

A step is a shell line, run in a scratch directory with the environment variables ``SRC`` (a directory of real files),
``MIRROR`` (the same directory through `MirrorFS`), ``MEM`` (a `MemFS`) and ``TREE`` (a `Tree`). It has failed when it
exits with anything but 0. A step whose program is not installed is left out, and named.
"""

from __future__ import annotations

import re
import shutil
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


_GIT: Final = "git -c user.name=demo -c user.email=demo@example.org -c init.defaultBranch=main"

STEPS: Final = (
    Step("compare with the original", "mirror", 'diff -r "$SRC" "$MIRROR"', ("diff",)),
    Step("copy everything", "mirror → memfs", 'cp -a "$MIRROR" "$MEM/copy" && diff -r "$SRC" "$MEM/copy"', ("cp", "diff")),
    Step("find by name", "memfs", 'test "$(find "$MEM/copy" -name "*.py" | wc -l)" = "$(find "$SRC" -name "*.py" | wc -l)"', ("find",)),
    Step("search the text", "memfs", 'test "$(grep -r import "$MEM/copy" | wc -l)" = "$(grep -r import "$SRC" | wc -l)"', ("grep",)),
    Step("tar and untar", "memfs", 'tar -C "$MEM" -cf "$MEM/copy.tar" copy && mkdir "$MEM/untar" && tar -C "$MEM/untar" -xf "$MEM/copy.tar" && diff -r "$SRC" "$MEM/untar/copy"', ("tar", "diff")),
    Step("commit, clone, check", "memfs", f'cd "$MEM/copy" && {_GIT} init -q . && {_GIT} add . && {_GIT} commit -qm demo && {_GIT} clone -q . "$MEM/clone" && {_GIT} -C "$MEM/clone" fsck --no-progress', ("git",)),
    Step("1,000 rows in a database", "memfs", """printf 'create table t(a,b);\\n%s\\nselect count(*) from t;\\npragma integrity_check;\\n' "$(seq 1000 | sed "s/.*/insert into t values(&,'row &');/" | sed '1s/^/begin;/;$s/$/commit;/')" | sqlite3 "$MEM/demo.db" | grep -qx ok""", ("sqlite3",)),
    Step("compile and run", "memfs", """printf '#include <stdio.h>\\nint main(void){puts("it runs");return 0;}\\n' > "$MEM/hello.c" && cc -o "$MEM/hello" "$MEM/hello.c" && "$MEM/hello" | grep -qx "it runs"""", ("cc",)),
    Step("a billion bytes, all hole", "memfs", 'truncate -s 1000000000 "$MEM/hole" && test "$(du -k "$MEM/hole" | cut -f1)" = 0 && tail -c 1 "$MEM/hole" | wc -c | grep -qx 1', ("truncate", "du")),
    Step("links, names, modes", "memfs", 'cd "$MEM" && echo x > a && ln a b && ln -s a c && mv a d && chmod 600 d && test "$(stat -c %h:%a d)" = 2:600 && test ! -e c && rm b c d', ("stat",)),
    Step("write through to the original", "mirror", 'echo changed > "$MIRROR/demo.txt" && cmp "$MIRROR/demo.txt" "$SRC/demo.txt" && rm "$MIRROR/demo.txt"', ("cmp",)),
    Step("read a file made by Python", "tree", 'test "$(cat "$TREE/hello")" = "Hello from Python!" && head -n 3 "$TREE/squares" | tail -n 1 | grep -qx 4', ("cat", "head")),
    Step("set a value by writing", "tree", 'echo 42 > "$TREE/answer" && grep -qx 42 "$TREE/answer"', ("grep",)),
    Step("remove it all", "memfs", 'rm -rf "$MEM"/* && test -z "$(ls -A "$MEM")"', ("rm",)),
)  # fmt: skip

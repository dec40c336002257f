# SPDX-License-Identifier: Apache-2.0
"""Directory trees made of what archives and copies must keep: modes, times, links, holes, odd names, attributes."""

from __future__ import annotations

import os
import random
import stat

__all__ = ["make_sources", "make_tree"]


def make_tree(top, files=2000, seed=1, users=True):
    """Fill ``top`` with ``files`` files in a few hundred directories; always the same for one seed.

    Besides plain files there are hard links, symlinks (also to nowhere), sparse files, FIFOs, names with every sort of
    byte, extended attributes, set-ID and sticky modes, and, as root with ``users``, other owners.
    """
    rng = random.Random(seed)
    top = os.fspath(top)
    directories = [top]
    for number in range(max(4, files // 20)):
        parent = rng.choice(directories[-20:])
        path = os.path.join(parent, f"dir{number}" + rng.choice(["", " with space", "-ü", ".d"]))
        os.mkdir(path, 0o755)
        directories.append(path)
    made = []
    for number in range(files):
        path = os.path.join(
            rng.choice(directories), f"file{number}" + rng.choice(["", ".txt", "\n", "\udcfe", "'"])
        )
        chance = rng.random()
        if chance < 0.06 and made:
            os.link(rng.choice(made), path)
            continue
        if chance < 0.12:
            os.symlink(rng.choice(["../nowhere", "file0", ".", "/etc/passwd", "x" * 100]), path)
            continue
        if chance < 0.14:
            os.mkfifo(path.rstrip("\n"), 0o640)  # diff names it in a line
            continue
        with open(path, "wb") as file:
            if chance < 0.18:
                file.seek(rng.randrange(1, 40) * 65536)
                file.write(b"end of a hole")
                if chance < 0.16:
                    file.truncate(file.tell() + 300_000)
            else:
                file.write(
                    rng.randbytes(rng.choice([0, 1, 100, 4096, 5000, 70_000]) if chance < 0.9 else 300_000)
                )
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o444]))
        if rng.random() < 0.1:
            os.setxattr(path, "user.comment", rng.randbytes(20))
        if users and os.geteuid() == 0 and rng.random() < 0.1:
            os.chown(path, rng.choice([1000, 1001]), rng.choice([1000, 1001]))
        made.append(path)
    os.chmod(directories[-1], 0o1777)
    # Times last: deepest first, since making a file changes its directory.
    for here, _, names in os.walk(top, topdown=False):
        for name in [*names, "."]:
            path = os.path.join(here, name)
            time = rng.randrange(10**9, 17 * 10**8) * 10**9 + rng.randrange(10**9)
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                os.utime(path, ns=(time, time), follow_symlinks=False)
    return top


def make_sources(top, files=40):
    """C files that make up one program: it prints how many functions it called."""
    names = [f"part{number}" for number in range(files)]
    header = "".join(f"int {name}(int);\n" for name in names)
    (top / "parts.h").write_text(header)
    for number, name in enumerate(names):
        body = "".join(f"  static int t{i}[{i + 2}]; t{i}[{i % 2}] += x;\n" for i in range(20))
        (top / f"{name}.c").write_text(
            f'#include "parts.h"\nint {name}(int x) {{\n{body}  return x + {number % 1 + 1};\n}}\n'
        )
    calls = "".join(f"  n = {name}(n);\n" for name in names)
    (top / "main.c").write_text(
        f'#include <stdio.h>\n#include "parts.h"\nint main(void) {{\n  int n = 0;\n{calls}  printf("%d\\n", n);\n  return 0;\n}}\n'
    )
    return [f"{name}.c" for name in [*names, "main"]]

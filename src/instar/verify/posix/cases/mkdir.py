# SPDX-License-Identifier: Apache-2.0
"""mkdir(2): POSIX.1-2017 mkdir()."""

from __future__ import annotations

import os

from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case


@case(short=True)
def _makes_an_empty_directory(t: Arena) -> None:
    t.me(os.mkdir, "d", 0o755)
    t.has("d", kind="dir", mode=0o755, nlink=2)
    t.equal(t.me(os.listdir, "d"), [], "content of a new directory")
    with t.times({".": "mc", "d": ""}):
        t.me(os.mkdir, "e")
    t.user_a.fails(13, os.mkdir, "f")
    t.user_b.fails(13, os.mkdir, "f")

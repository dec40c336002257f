# SPDX-License-Identifier: Apache-2.0
"""The edge's linter sees each kind of violation, and stays quiet about sound code."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tools.check_edge import check_sources
from tools.source import Source


def findings(*modules):
    """What the linter says of (module, code) pairs."""
    sources = [
        Source(f"src/{module.replace('.', '/')}.py", textwrap.dedent(code).lstrip("\n"), module)
        for module, code in modules
    ]
    return check_sources(sources)


def outside(code):
    return [str(finding) for finding in findings(("instar.fs.thing", code))]


def inside(code):
    return [
        (finding.line, finding.message.partition(" has no ")[0])
        for finding in findings(("instar.edge.thing", code))
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import ctypes",
        "import ctypes as c",
        "import ctypes.util",
        "import _ctypes",
        "import mmap",
        "import cffi",
        "import os, mmap",
        "from ctypes import c_int",
        "from ctypes.util import find_library",
        "from mmap import mmap as m",
        "from fcntl import ioctl",
        "from fcntl import ioctl as call, flock",
        "from fcntl import *",
        "import fcntl\nfcntl.ioctl(0, 1)",
        "import fcntl as f\ncall = f.ioctl",
        "import fcntl\ngetattr(fcntl, 'ioctl')(0, 1)",
        "from signal import pthread_kill",
        "import signal\nsignal.pthread_kill(1, 2)",
        "__import__('ctypes')",
        "import importlib\nimportlib.import_module('ctypes.util')",
        "from importlib import import_module\nimport_module('mmap')",
        "def late():\n    import ctypes",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import mmap",
        "from instar.edge import _libc",
        "from instar.edge._libc import open_tree",
        "from instar.edge.mount import _libc",
        "import instar.edge._libc",
        "from instar.edge.mount import ctypes",
        "from instar.edge.fuse_dev import ioctl",
    ],
)
def test_outside_the_edge_this_import_is_a_finding(code):
    found = outside(code)
    assert len(found) == 1, found
    assert found[0].startswith(f"src/instar/fs/thing.py:{len(code.splitlines())}: ")
    assert "only instar.edge may" in found[0]


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl\nfcntl.flock(0, fcntl.LOCK_EX)",
        "from fcntl import fcntl, F_GETFL",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)",
        "from instar.edge import mount",
        "from instar.edge.mount import umount",
        "mmap = 3\nctypes = {}",
        "'import ctypes'",
        "class Commands:\n    def ioctl(self): ...\n    def call(self): self.ioctl()",
    ],
)
def test_outside_the_edge_this_is_no_finding(code):
    assert outside(code) == []


def test_code_that_is_not_instars_is_not_looked_at():
    assert findings(("tests.thing", "import ctypes"), ("instarling", "import ctypes")) == []


@pytest.mark.parametrize(
    ("code", "line", "what"),
    [
        ("import ctypes\nlibc = ctypes.CDLL(None)", 2, "ctypes.CDLL"),
        ("import ctypes as c\nx = c.string_at(1, 2)", 2, "c.string_at"),
        ("from ctypes import memmove as copy\ncopy(1, 2, 3)", 2, "copy"),
        ("import ctypes\nctypes.cast(1, ctypes.c_void_p)", 2, "ctypes.cast"),
        ("import ctypes\n(ctypes.c_char * 4).from_buffer(b)", 2, "from_buffer"),
        ("import ctypes\nctypes.c_int.from_address(0)", 2, "from_address"),
        ("import ctypes\nctypes.pythonapi.PyErr_CheckSignals()", 2, "PyErr_CheckSignals"),
        ("import ctypes\ndef f(p):\n    return p.contents", 3, "p.contents"),
        ("import fcntl\nfcntl.ioctl(0, 1)", 2, "fcntl.ioctl"),
        ("from fcntl import ioctl\nioctl(0, 1)", 2, "ioctl"),
        ("import fcntl\ndo = fcntl.ioctl\ndo(0, 1)", 3, "do"),
        ("import mmap\nmmap.mmap(-1, 4096)", 2, "mmap.mmap"),
        ("import mmap\nwith mmap.mmap(-1, 4096) as m:\n    pass", 2, "mmap.mmap"),
        ("import mmap\nclass Ring(mmap.mmap):\n    pass", 2, "Ring on mmap.mmap"),
        ("import signal\nsignal.pthread_kill(1, 2)", 2, "pthread_kill"),
        ("import fcntl, functools\nasync def f(loop):\n    await loop.run(fcntl.ioctl, 1)", 3, "fcntl.ioctl"),
        ("import fcntl\nf = lambda: fcntl.ioctl(0, 1)", 2, "fcntl.ioctl"),
        ("import fcntl\n[fcntl.ioctl(fd, 1) for fd in ()]", 2, "fcntl.ioctl"),
    ],
)
def test_inside_the_edge_this_use_wants_a_safety_comment(code, line, what):
    found = inside(code)
    assert [(at, what in said) for at, said in found] == [(line, True)], found


LOAD = """
import ctypes
# SAFETY: libc stays loaded for the life of the process.
libc = ctypes.CDLL(None, use_errno=True)

"""


@pytest.mark.parametrize(
    "code",
    [
        "libc.mount(b'', b'')",
        "libc['mount'](b'', b'')",
        "call = libc.syscall\ncall(1)",
        "call = getattr(libc, 'syscall')\n\ncall(1)",
        "calls = {'a': libc.mount}\ncalls['a'](1)",
        "for call in (libc.mount, libc.umount2):\n    call(1)",
        "if (call := libc.syscall):\n    call(1)",
        "def check(function, *rest):\n    return function(*rest)\n# SAFETY: mount gets two strings that it copies.\ncheck(libc.mount)",
        "class A:\n    def __init__(self):\n        self.lib = libc\n    def go(self):\n        self.lib.mount(1)",
    ],
)
def test_a_call_through_a_library_object_is_followed_by_any_name(code):
    assert len(inside(LOAD + code)) == 1, inside(LOAD + code)


def test_a_function_that_returns_a_library_makes_its_callers_dangerous():
    code = """
        import ctypes, functools

        @functools.cache
        def load():
            # SAFETY: libc stays loaded for the life of the process.
            return ctypes.CDLL(None)

        def mount():
            load().mount(b"")
    """
    assert {line for line, _ in inside(code)} == {9}


def test_a_library_object_is_followed_into_another_module_of_the_edge():
    found = findings(
        ("instar.edge._libc", LOAD),
        ("instar.edge.mount", "from instar.edge._libc import libc as c\nc.mount(1)"),
        ("instar.edge.pidfd", "from instar.edge import _libc\n_libc.libc.syscall(1)"),
    )
    assert [(finding.path, finding.line) for finding in found] == [
        ("src/instar/edge/mount.py", 2),
        ("src/instar/edge/pidfd.py", 2),
    ]


@pytest.mark.parametrize(
    "code",
    [
        # directly above
        "import fcntl\n# SAFETY: the kernel writes four bytes into a four-byte buffer.\nfcntl.ioctl(0, 1)",
        # a reason of several lines
        "import fcntl\n# SAFETY: the kernel writes four bytes\n# into a four-byte buffer.\nfcntl.ioctl(0, 1)",
        # above the enclosing statement
        "import fcntl\n# SAFETY: the kernel writes four bytes into it.\ntry:\n    x = 1\n    fcntl.ioctl(0, 1)\nexcept OSError:\n    pass",
        # one comment for a few lines
        "import fcntl\n# SAFETY: the kernel writes four bytes into each.\na = 1\nfcntl.ioctl(0, 1)\nfcntl.ioctl(1, 1)",
        # inside a statement of several lines
        "import fcntl\nx = [\n    1,\n    # SAFETY: the kernel writes four bytes into it.\n    fcntl.ioctl(0, 1),\n]",
        # above a statement of several lines
        "import fcntl\n# SAFETY: the kernel writes four bytes into it.\nx = [\n    1,\n    fcntl.ioctl(0, 1),\n]",
        # looking is not calling
        "import mmap\ndef f(x):\n    return isinstance(x, mmap.mmap)",
        "import mmap\ndef f(x: mmap.mmap) -> mmap.mmap:\n    return x",
        "import ctypes\nx = ctypes.c_int(3)\ny = ctypes.sizeof(x)",
        "import fcntl\nfcntl.flock(0, fcntl.LOCK_SH)",
        "class View:\n    @classmethod\n    def from_buffer(cls, b): ...\nView.from_buffer(b'')",
    ],
)
def test_inside_the_edge_this_is_sound(code):
    assert inside(code) == []


@pytest.mark.parametrize(
    "code",
    [
        # a blank line ends the reach
        "import fcntl\n# SAFETY: the kernel writes four bytes into it.\nx = 1\n\nfcntl.ioctl(0, 1)",
        # so do nine lines
        "import fcntl\n# SAFETY: the kernel writes four bytes into it.\n"
        + "x = 1\n" * 9
        + "fcntl.ioctl(0, 1)",
        # and the end of the block that the comment stands in
        "import fcntl\nif x:\n    # SAFETY: the kernel writes four bytes into it.\n    y = 1\nfcntl.ioctl(0, 1)",
        # and another function
        "import fcntl\n# SAFETY: the kernel writes four bytes into it.\ndef f():\n    fcntl.ioctl(0, 1)",
        # behind the code is not above it
        "import fcntl\nfcntl.ioctl(0, 1)  # SAFETY: the kernel writes four bytes into it.",
        # a string is not a comment
        "import fcntl\n'# SAFETY: the kernel writes four bytes into it.'\nfcntl.ioctl(0, 1)",
        # another comment is not this one
        "import fcntl\n# This is safe: the kernel writes four bytes into it.\nfcntl.ioctl(0, 1)",
    ],
)
def test_a_safety_comment_that_does_not_stand_above_the_use_does_not_count(code):
    assert len(inside(code)) == 1, inside(code)


def test_a_safety_comment_without_a_reason_is_a_finding():
    found = findings(("instar.edge.thing", "import fcntl\n# SAFETY: ok\nfcntl.ioctl(0, 1)"))
    assert [(finding.line, "gives no reason" in finding.message) for finding in found] == [(2, True)]


@pytest.mark.parametrize(("code", "exit_code"), [("x = 1\n", 0), ("import ctypes\n", 1), ("import (\n", 2)])
def test_the_command_tells_by_its_exit_code(tmp_path, code, exit_code):
    package = tmp_path / "src" / "instar"
    package.mkdir(parents=True)
    (package / "fs.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "tools.check_edge", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == exit_code, done
    if exit_code == 1:
        assert done.stdout.startswith("src/instar/fs.py:1: imports ctypes")

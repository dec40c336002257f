# SPDX-License-Identifier: Apache-2.0
"""When the functions of a layout are made."""

from __future__ import annotations

import inspect
import linecache
import os
import subprocess
import sys
import threading

import pytest

from instar.layout import LayoutError, Struct, Union, array, bits, char, u8, u16, u32


def compiled(name):
    """Whether the text of the layout called `name` was compiled."""
    return any(f.startswith("<instar.layout ") and f.endswith(f"{name}>") for f in linecache.cache)


def test_a_layout_is_compiled_when_one_of_its_functions_is_looked_up():
    class LateOne(Struct):
        a: u32

    assert LateOne.SIZE == 4
    assert LateOne.CODEC.unpack(b"\1\0\0\0") == (1,)
    assert not compiled("LateOne")
    assert LateOne(a=7).pack() == b"\7\0\0\0"
    assert compiled("LateOne")


@pytest.mark.parametrize("key", ["__init__", "__eq__", "pack", "pack_into", "unpack", "unpack_from"])
@pytest.mark.parametrize("base", [Struct, Union])
def test_who_keeps_a_function_keeps_the_generated_one(key, base):
    class LateKept(base):
        a: u32

    first = getattr(LateKept, key)
    assert inspect.isfunction(first)
    assert first is getattr(LateKept, key)
    assert first is inspect.unwrap(vars(LateKept)[key])


def test_each_way_into_an_uncompiled_layout_works():
    def fresh():
        class LateWays(Struct):
            a: u8
            b: u8

        return LateWays

    assert fresh()(a=1, b=2).a == 1
    assert fresh().unpack(b"\1\2").b == 2
    assert fresh().unpack_from(b"\0\1\2", 1).b == 2
    assert fresh().view(bytearray(b"\1\2")).b == 2
    assert fresh().view(bytearray(b"\1\2")).pack() == b"\1\2"
    assert "def pack(self)" in fresh().SOURCE
    assert list(inspect.signature(fresh()).parameters) == ["a", "b"]


def test_a_layout_inside_another_need_not_be_compiled_itself():
    class LateInner(Struct):
        a: u16

    class LateOuter(Struct):
        b: u16
        inner: LateInner

    assert LateOuter.unpack(b"\1\0\2\0").inner.a == 2
    assert not compiled("LateInner")


def test_a_function_of_the_class_body_stays():
    class LateOwn(Struct):
        a: u8

        def pack(self):
            return b"own"

    assert LateOwn(a=1).pack() == b"own"
    assert LateOwn.unpack(b"\1").pack() == b"own"


def test_threads_that_come_at_the_same_time_get_working_functions():
    class LateRaced(Struct):
        a: u32
        name: bytes = array(char, 4)

    gate, wrong = threading.Barrier(8), []

    def use():
        gate.wait(10)
        if LateRaced.unpack(LateRaced(a=5, name=b"abcd").pack()) != LateRaced(a=5, name=b"abcd"):
            wrong.append(1)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert not any(t.is_alive() for t in threads)


def test_a_mistake_fails_when_the_class_is_defined():
    with pytest.raises(LayoutError, match=r"LateWrong\.kind"):

        class LateWrong(Struct):
            kind: int = bits(u8, 9)


def test_importing_the_fuse_protocol_compiles_no_structure():
    program = (
        "import linecache, instar.wire.fuse, instar.wire.fuse._structs as s\n"
        "print([f for f in linecache.cache if f.startswith('<instar.layout')])\n"
        "assert s.FuseAttr().pack() == bytes(s.FuseAttr.SIZE)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")

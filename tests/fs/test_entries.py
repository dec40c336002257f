# SPDX-License-Identifier: Apache-2.0
"""The values that a tree is made of are checked when it is made, in a sentence that names the path."""

from __future__ import annotations

import pytest

from instar.fs import Dir, File, Symlink, Tree


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "nul\0", "x" * 256, "é" * 128])
def test_a_name_that_cannot_be_one_is_refused_with_its_path(name):
    with pytest.raises(ValueError, match=r"^/etc: "):
        Tree({"etc": {name: "x"}})


@pytest.mark.parametrize("value", [5, None, 1.5, ["a"], object(), iter([1]), bytearray(b"x")])
def test_a_value_that_is_nothing_is_refused_with_its_path(value):
    with pytest.raises(TypeError, match=r"^/etc/motd: .* use a dict, str, bytes, a function"):
        Tree({"etc": Dir({"motd": value})})


def test_a_name_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match=r"^/: the name 5 is not a str$"):
        Tree({5: "x"})


def test_a_directory_that_holds_itself_is_refused_and_one_that_stands_twice_is_not():
    shared = {"f": "x"}
    Tree({"a": shared, "b": shared})
    shared["loop"] = shared
    with pytest.raises(ValueError, match=r"^/a/loop: "):
        Tree({"a": shared})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tree(None),
        lambda: Tree([]),
        File,
        lambda: File(5),
        lambda: File("x", write="y"),
        lambda: Dir(["a"]),
        lambda: Symlink(b"x"),
    ],
)
def test_what_is_of_the_wrong_type_is_refused_at_once(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: File("x", mode=0o100644),
        lambda: Dir({}, mode=-1),
        lambda: Symlink(""),
        lambda: Symlink("a\0b"),
        lambda: Symlink("x" * 4096),
    ],
)
def test_what_is_out_of_range_is_refused_at_once(make):
    with pytest.raises(ValueError):
        make()

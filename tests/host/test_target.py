# SPDX-License-Identifier: Apache-2.0
"""Targets: what each spelling names, and what is said where one names nothing or its options do not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from instar.fs import FileSystem
from instar.host import TargetError, load

ONE = "from instar.fs import FileSystem\nclass Only(FileSystem):\n    pass\n"


@pytest.fixture(autouse=True)
def same_imports():
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(directory, text, name="target_under_test.py"):
    file = directory / name
    file.write_text(text)
    return str(file)


def refusal(call, *args):
    with pytest.raises(TargetError) as raised:
        call(*args)
    return str(raised.value)


def test_a_file_that_holds_one_class_names_it(tmp_path):
    target = load(write(tmp_path, ONE))
    assert target.name == "Only"
    assert isinstance(target.make({}), FileSystem)


def test_a_handler_imports_what_lies_beside_its_file_long_after_loading(tmp_path):
    write(tmp_path, "ANSWER = 42\n", "sibling_of_target.py")
    text = ONE.replace(
        "pass", "def answer(self):\n        import sibling_of_target\n        return sibling_of_target.ANSWER"
    )
    assert load(write(tmp_path, text)).make({}).answer() == 42


def test_a_directory_is_put_on_the_path_once(tmp_path):
    first, second = write(tmp_path, ONE, "first_target.py"), write(tmp_path, ONE, "second_target.py")
    load(first)
    load(second)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_module_that_raises_leaves_the_path_and_the_modules_as_they_were(tmp_path):
    before = sys.path[:]
    said = refusal(load, write(tmp_path, "import sys\n\nsys.path.insert(0, '/added')\n1 / 0\n"))
    assert "failed while it was imported (line 4): ZeroDivisionError" in said
    assert sys.path == ["/added", *before]
    assert "target_under_test" not in sys.modules


def test_a_file_named_as_a_module_of_the_library_does_not_replace_it(tmp_path):
    before = sys.modules.get("random")
    assert load(write(tmp_path, ONE, "random.py")).name == "Only"
    assert sys.modules.get("random") is before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "holds no file system"),
        (ONE + "class Other(FileSystem):\n    pass\n", "holds several: Only, Other; name one as"),
    ],
)
def test_a_file_without_exactly_one_file_system_asks_for_a_name(tmp_path, text, says):
    assert says in refusal(load, write(tmp_path, text))


def test_the_most_derived_class_is_taken_and_private_ones_are_not(tmp_path):
    text = ONE + "class Derived(Only):\n    pass\nclass _Hidden(FileSystem):\n    pass\n"
    assert load(write(tmp_path, text)).name == "Derived"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "'nonsense' is not a target"),
        ("", "The target is empty"),
        ("mirror:", "mirror needs a directory"),
        ("/none/file.py", "is not a file"),
        ("no_such_module_at_all:Name", "There is no module no_such_module_at_all"),
        ("json:Nothing", "json has no Nothing"),
        ("json:__name__", "json:__name__ is str, not a FileSystem class"),
    ],
)
def test_what_names_nothing_is_refused_with_what_to_do(text, says):
    assert says in refusal(load, text)


def test_a_mirror_names_the_unknown_option_and_the_known_ones(tmp_path):
    said = refusal(load(f"mirror:{tmp_path}").make, {"foo": "1"})
    assert said.startswith("mirror has no option 'foo'; it has: read_only, ")
    assert "source" not in said


def test_a_mirror_takes_the_options_of_its_constructor(tmp_path):
    fs = load(f"mirror:{tmp_path}").make({"read_only": None})
    assert fs.read_only
    fs.destroy()


CONSTRUCTED = """from instar.fs import FileSystem
class Only(FileSystem):
    def __init__(self, size: int = 0, mode: int = 0o755, name: str = "", loud: bool = False):
        self.got = (size, mode, name, loud)
"""


def test_values_are_converted_to_the_types_of_the_signature(tmp_path):
    fs = load(write(tmp_path, CONSTRUCTED)).make({"size": "2k", "mode": "700", "name": "1k", "loud": None})
    assert fs.got == (2048, 0o700, "1k", True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"none": "1"}, "Only has no option 'none'; it has: size, mode, name, loud."),
        ({"size": "big"}, "Option size=big of Only"),
        ({"loud": "perhaps"}, "Option loud=perhaps of Only"),
    ],
)
def test_an_option_that_does_not_fit_is_named(tmp_path, options, says):
    assert says in refusal(load(write(tmp_path, CONSTRUCTED)).make, options)


def test_a_function_and_an_object_are_targets_too(tmp_path):
    path = write(
        tmp_path, ONE + "def make(depth: int):\n    fs = Only()\n    fs.depth = depth\n    return fs\n"
    )
    assert load(f"{path}:make").make({"depth": "3"}).depth == 3
    assert "has no option 'x'; it has: depth" in refusal(load(f"{path}:make").make, {"x": "1"})
    path = write(tmp_path, ONE + "it = Only()\n", "other_target.py")
    assert load(path).name == "it"


def test_what_is_not_a_file_system_is_refused_when_it_is_made(tmp_path):
    path = write(tmp_path, ONE + "def make():\n    return 1\n")
    assert "gave int, which is not an instar.fs.FileSystem" in refusal(load(f"{path}:make").make, {})


def test_a_mode_is_octal_and_never_taken_for_a_decimal_number():
    assert "a mode is an octal number" in refusal(load("memfs").make, {"mode": "999"})
    assert load("memfs").make({"mode": "700"}).getattr(None, 1).mode & 0o7777 == 0o700


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ("str", "700", "700"),
        ("str | None", "700", "700"),
        ("str | None", "999", "999"),
        ("str | int", "700", "700"),
        ("int", "700", 0o700),
        ("int | None", "0o700", 0o700),
        ("NewType('Mode', int)", "700", 0o700),
        ("Any", "700", 0o700),
        ("bool", "1", True),
        ("Path", "700", Path("700")),
    ],
)
def test_a_mode_has_the_type_that_is_declared_for_it(tmp_path, declared, text, value):
    head = "from pathlib import Path\nfrom typing import Any, NewType\n"
    body = f"    def __init__(self, mode: {declared} = None):\n        self.got = mode\n"
    got = load(write(tmp_path, head + ONE.replace("    pass\n", body))).make({"mode": text}).got
    assert (got, type(got)) == (value, type(value))

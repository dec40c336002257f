# SPDX-License-Identifier: Apache-2.0
"""The style linter sees each kind of violation, and honours declared exceptions."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tools.check_style import SPDX, Exceptions, check_sources
from tools.source import Source

PATH = "src/instar/fs/thing.py"


def findings(code, *, path=PATH, exceptions=None):
    module = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    source = Source(path, f"{SPDX}\n{textwrap.dedent(code).lstrip()}", module)
    return [str(finding) for finding in check_sources([source], exceptions)]


def test_a_file_without_the_spdx_line_is_a_finding():
    found = check_sources([Source("tests/x.py", "import os\n", "tests.x")])
    assert [str(finding) for finding in found] == [f"tests/x.py:1: the file does not open with '{SPDX}'"]


@pytest.mark.parametrize("head", [f"{SPDX}\n", f"#!/usr/bin/env python3\n{SPDX}\n", ""])
def test_the_spdx_line_may_follow_the_interpreter_and_an_empty_file_needs_none(head):
    assert check_sources([Source("tests/x.py", head, "tests.x")]) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(): ...", "1: defines public names and has no __all__: f"),
        ("LIMIT = 3", "has no __all__: LIMIT"),
        ("__all__ = ['f']", "2: __all__ lists f, which the module does not define"),
        ("__all__ = sorted(globals())", "2: __all__ is computed"),
        (
            "__all__ = ['f']\ndef f():\n    '''Does.'''\ndef g(): ...",
            "5: g is public by its name and not in __all__",
        ),
        ("__all__ = ['f']\ndef f(): ...", "3: f is public and has no docstring"),
        ("__all__ = ['f']\nasync def f(): ...", "3: f is public and has no docstring"),
        ("__all__ = ['A']\nclass A: ...", "3: A is public and has no docstring"),
        (
            "__all__ = ['A']\nclass A:\n    '''Is.'''\n    def go(self): ...",
            "5: A.go is public and has no docstring",
        ),
        (
            "__all__ = ['A']\nclass A(enum.IntEnum):\n    '''Is.'''\n    @property\n    def go(self): return 1",
            "6: A.go is public and has no docstring",
        ),
    ],
)
def test_a_public_name_that_is_not_listed_or_not_documented_is_a_finding(code, said):
    found = findings(code)
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    "code",
    [
        "def _f(): ...",
        "import os\nfrom x import y",
        "T = TypeVar('T')",
        "from x import f\n__all__ = ['f']",
        "__all__ = ['LIMIT']\nLIMIT: int = 3",
        "try:\n    import fast\nexcept ImportError:\n    fast = None\n__all__ = ['fast']",
        "__all__ = ['A']\nclass A(Base):\n    '''Is.'''\n    def go(self): ...",
        "__all__ = ['A']\nclass A:\n    '''Is.'''\n    def _go(self): ...\n    @override\n    def went(self): ...",
        "__all__ = ['A']\nclass A(Protocol):\n    '''Has.'''\n    @property\n    def size(self) -> int: ...",
        "__all__ = ['A', 'B', 'c', 'd']\n(A, B), c = x\nif c:\n    d = 1\nelse:\n    d = 2",
    ],
)
def test_a_module_that_lists_and_documents_what_is_public_is_clean(code):
    assert findings(code) == []


def test_a_private_module_may_keep_names_from_its_list_and_leave_its_neighbours_without_a_docstring():
    code = "__all__ = ['f']\ndef f(): ...\ndef g(): ..."
    assert findings(code, path="src/instar/fs/_thing.py") == []


def test_what_a_package_re_exports_from_a_private_module_is_documented_there():
    sources = [
        Source(path, f"{SPDX}\n{code}", path.removeprefix("src/").removesuffix(".py").replace("/", "."))
        for path, code in (
            ("src/instar/fs/__init__.py", "from instar.fs._thing import f\n__all__ = ['f']"),
            ("src/instar/fs/_thing.py", "__all__ = ['f', 'g']\ndef f(): ...\ndef g(): ..."),
        )
    ]
    found = [str(finding) for finding in check_sources(sources)]
    assert found == ["src/instar/fs/_thing.py:3: f is public and has no docstring"]


BROAD = [
    "try:\n    x()\nexcept Exception:\n    pass",
    "try:\n    x()\nexcept BaseException as error:\n    log(error)",
    "try:\n    x()\nexcept:\n    pass",
    "try:\n    x()\nexcept (OSError, Exception):\n    pass",
    "try:\n    x()\nexcept builtins.Exception:\n    raise KeyError from None",
    "try:\n    x()\nexcept* Exception:\n    pass",
    "import contextlib\nwith contextlib.suppress(Exception):\n    x()",
]


@pytest.mark.parametrize("code", BROAD)
def test_a_handler_that_catches_everything_is_a_finding(code):
    found = findings(code)
    assert len(found) == 1, found
    assert "catches everything" in found[0]


@pytest.mark.parametrize("code", BROAD)
def test_one_handler_of_a_declared_function_is_allowed_and_no_other(code):
    declared = Exceptions(broad_except={f"{PATH}::_A._f": "a service's exception becomes an errno"})
    inside = "class _A:\n    def _f():\n" + textwrap.indent(code, " " * 8)
    assert findings(inside, exceptions=declared) == []
    found = findings(f"{inside}\n{textwrap.indent(code, ' ' * 8)}", exceptions=declared)
    assert len(found) == 1, found
    assert "a second handler" in found[0]
    found = findings(inside.replace("_f", "_g"), exceptions=declared)
    assert len(found) == 2, found
    assert "does not catch everything" in found[0]
    assert f"declare {PATH}::_A._g" in found[1]


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    x()\nexcept BaseException:\n    undo()\n    raise",
        "try:\n    x()\nexcept (OSError, ValueError):\n    pass",
    ],
)
def test_a_handler_that_raises_again_or_names_its_errors_is_clean(code):
    assert findings(code) == []


def test_a_file_of_more_than_600_lines_is_a_finding_unless_listed():
    code = "x = 1\n" * 600
    found = findings(code, path="tests/test_x.py")
    assert len(found) == 1
    assert "601 lines, more than 600" in found[0]
    assert (
        findings(
            code, path="tests/test_x.py", exceptions=Exceptions(long_files={"tests/test_x.py": "a table"})
        )
        == []
    )
    assert findings("x = 1\n" * 599, path="tests/test_x.py") == []


@pytest.mark.parametrize(
    ("exceptions", "said"),
    [
        (Exceptions(long_files={PATH: "a table"}), "no more than 600 lines any more"),
        (Exceptions(long_files={"src/gone.py": "a table"}), "does not exist"),
        (Exceptions(broad_except={PATH: "dispatch"}), "does not catch everything (any more)"),
    ],
)
def test_a_declared_exception_that_nothing_needs_is_a_finding(exceptions, said):
    found = findings("", exceptions=exceptions)
    assert len(found) == 1, found
    assert said in found[0]


def test_a_declared_exception_without_a_reason_is_a_finding():
    found = findings(BROAD[0], exceptions=Exceptions(broad_except={f"{PATH}::": " "}))
    assert len(found) == 1, found
    assert "without a reason" in found[0]


@pytest.mark.parametrize(
    "line",
    ["x = 1  # noqa", "x = 1  # noqa: S101", "x = 1  # type: ignore", "x = 1  # type: ignore[attr-defined]"],
)
def test_a_suppression_without_a_rule_or_a_reason_is_a_finding(line):
    found = findings(f"__all__ = ['x']\n{line}")
    assert len(found) == 1, found
    assert "names no rule" in found[0] or "gives no reason" in found[0]


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # noqa: S101 - mypy cannot see it",
        "x = 1  # noqa: S101, E501  # a long table",
        "x = 1  # type: ignore[attr-defined]  # absent from 3.11's ast",
        "x = 1  # type: ignore[misc]  # noqa: S101  # the library has no types",
        "x = '# noqa'",
    ],
)
def test_a_suppression_with_its_rule_and_reason_is_clean(line):
    assert findings(f"__all__ = ['x']\n{line}") == []


def test_the_command_reads_the_exceptions_from_pyproject(tmp_path):
    package = tmp_path / "src" / "instar"
    package.mkdir(parents=True)
    (package / "a.py").write_text(f"{SPDX}\n{BROAD[0]}\n")
    command = [sys.executable, "-m", "tools.check_style", str(tmp_path)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    (tmp_path / "pyproject.toml").write_text(
        '[tool.instar-checks.broad-except]\n"src/instar/a.py::" = "the door"\n'
    )
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "style: clean\n")

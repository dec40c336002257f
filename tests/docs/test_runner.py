# SPDX-License-Identifier: Apache-2.0
"""The runner of documentation examples notices a page that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.pages import PageError, matches, read_blocks, read_commands
from tests.docs.runner import PageRunner, lacks


def run(page, tmp_path):
    """Every complaint about a page."""
    with PageRunner("page.md", tmp_path) as runner:
        return [wrong for block in read_blocks(page) if (wrong := runner.run(block))]


def page(*blocks):
    return "\n\n".join(
        f"<!-- example: {mark} -->\n```{language}\n{text}\n```" for language, mark, text in blocks
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nx = 1\n", "line 1: the block is not closed"),
        ("```rust\nfn\n```", "line 1: a block in 'rust' needs a mark"),
        ("<!-- example: skip -->\n```sh\nrm\n```", "line 2: skip needs a reason"),
        ("<!-- example: frobnicate -->\n```sh\nrm\n```", "cannot read 'frobnicate'"),
        ("<!-- example: file -->\n```python\nx\n```", "cannot read 'file'"),
        ("<!-- example: run -->\nWords.\n```python\nx\n```", "line 1: the mark stands above no block"),
        ("<!-- example: run -->\n", "line 1: the mark stands above no block"),
    ],
)
def test_a_page_that_cannot_be_understood_is_refused_with_its_line(text, said):
    with pytest.raises(PageError, match=said):
        read_blocks(text)


def test_blocks_are_read_with_their_marks_languages_and_lines():
    blocks = read_blocks(
        "# T\n\n<!-- example: file=a/b.py needs=git,mount -->\n\n```python\nx = 1\n```\n"
        "\n- item\n\n  ```console\n  $ ls\n    b\n  ```\n\n```\npicture\n```\n````text\n```\n````\n"
    )
    assert [(b.line, b.language, b.text, b.verb) for b in blocks] == [
        (5, "python", "x = 1\n", "file"),
        (11, "console", "$ ls\n  b\n", "sh"),
        (16, "", "picture\n", ""),
        (19, "text", "```\n", ""),
    ]
    assert (blocks[0].file, blocks[0].needs) == ("a/b.py", ("git", "mount"))


def test_commands_are_read_with_continuations_and_their_whole_output():
    commands = read_commands("$ cat <<E\n> a\n> E\na\n> b\n$ true \\\n  && true\n$ ls\nx\n")
    assert [(command.text, command.expected) for command in commands] == [
        ("cat <<E\na\nE", ["a", "> b"]),
        ("true \\\n  && true", []),
        ("ls", ["x"]),
    ]
    with pytest.raises(PageError):
        read_commands("x\n$ ls\n")


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        (["a"], "a\n", True),
        (["a"], "a", True),
        (["a"], "b\n", False),
        ([], "", True),
        ([], "a\n", False),
        (["a"], "", False),
        (["a...z"], "a to z  \n", True),
        (["a...z"], "a\nz\n", False),
        (["a", "...", "z"], "a\nb\nc\nz\n", True),
        (["a", "...", "z"], "a\nz\n", True),
        (["..."], "", True),
        (["a", "..."], "b\n", False),
        (["(a|b)"], "a\n", False),
    ],
)
def test_dots_stand_for_anything_and_all_else_for_itself(expected, got, same):
    assert matches(expected, got) is same


def test_a_page_that_is_right_is_run_without_complaint(tmp_path):
    text = page(
        ("python", "file=greet.py", "def greet():\n    return 'hello'"),
        ("python", "run", "import greet\nword = greet.greet()"),
        ("python", "run", "print(word)"),
        ("text", "output", "hello"),
        (
            "python",
            "run",
            ">>> word\n'hello'\n>>> 1/0\nTraceback (most recent call last):\n...\nZeroDivisionError: ...",
        ),
        ("console", "sh", "$ ls\n__pycache__\ngreet.py\n$ cd /usr\n$ WORD=there"),
        ("console", "sh", "$ echo $PWD $WORD; sleep 100 &\n/usr there"),
        ("console", "sh fails", "$ true\n$ echo no >&2; false\nno"),
        ("sh", "sh", "cd /\nls\ntest -d usr"),
        ("python", "run fails", "raise SystemExit(3)"),
        ("python", "skip reason='not here'", "1/0"),
    )
    assert run(text, tmp_path) == []


@pytest.mark.parametrize(
    ("language", "mark", "text", "said"),
    [
        ("python", "run", "x = 1\n1/0", "ZeroDivisionError"),
        ("python", "run", "import sys\nsys.exit(3)", "SystemExit: 3"),
        ("python", "run", "x = (", "SyntaxError"),
        ("python", "run", ">>> 1 + 1\n3", "went otherwise"),
        ("python", "run", "import os\nos._exit(0)", "ended its interpreter"),
        ("python", "run timeout=0.5", "import time\ntime.sleep(60)", "more than 0 s"),
        ("python", "run fails", "x = 1", "did not fail"),
        ("text", "output", "hello", "without a block"),
        ("console", "sh", "$ echo a\nb", "and it printed\na"),
        ("console", "sh", "$ echo a", "and it printed\na"),
        ("console", "sh", "$ echo a >&2\n", "and it printed\na"),
        ("console", "sh", "$ false", "ended with status 1"),
        ("console", "sh", "$ no-such-program\n...", "ended with status 127"),
        ("console", "sh fails", "$ true", "ended with status 0"),
        ("console", "sh", "$ exit 0", "ended its shell"),
        ("console", "sh timeout=0.5", "$ sleep 60", "more than 0 s"),
        ("sh", "sh", "false\ntrue", "ended with status 1"),
    ],
)
def test_a_block_that_does_not_do_what_it_says_is_a_complaint(language, mark, text, said, tmp_path):
    complaints = run(page((language, mark, text)), tmp_path)
    assert len(complaints) == 1
    assert said in complaints[0]


def test_an_error_names_the_line_of_the_page(tmp_path):
    complaints = run("# Title\n\n```python\nx = 1\n1/0\n```\n", tmp_path)
    assert 'File "page.md", line 5' in complaints[0]


def test_the_instar_of_this_tree_is_what_the_examples_import(tmp_path):
    import instar

    where = os.path.dirname(instar.__file__)
    text = f"$ python -c 'import instar, os; print(os.path.dirname(instar.__file__))'\n{where}"
    assert Path(where).parts[-2:] == ("src", "instar")
    assert run(page(("console", "sh", text)), tmp_path) == []


def test_needs_that_the_machine_does_not_meet_are_named():
    assert lacks(("sh", "no-such-program")) == ["no-such-program"]

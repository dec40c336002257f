# SPDX-License-Identifier: Apache-2.0
"""Reads the code blocks of a Markdown page, and what each says about how it is tested.

A comment directly above a block says how it is run::

    <!-- example: file=hello.py -->              write the block to a file of the page's scratch directory
    <!-- example: run -->                        execute it as Python (the default for `python`)
    <!-- example: sh -->                         run it in a shell (the default for `sh`, `bash`, `console`)
    <!-- example: output -->                     what the `run` block before it printed
    <!-- example: skip reason="needs a disk" --> do not run it, and say why

Further words: ``needs=mount,git`` (skipped where the machine has it not: ``root``, ``mount`` or a program), ``fails`` (the
last command ends with another status than 0), ``timeout=SECONDS``. The blocks of a page share one scratch directory
and run in order; its Python blocks share their names, its prompts their directory and variables.

In a block with prompts (``$ command``, ``> continued``) the lines below a command are its whole output, standard error
included; ``...`` stands for anything, within a line or for lines. A block without prompts is a script: it
has a shell of its own that stops at the first failure, and its output is not looked at. Blocks in ``text`` or in no language are pictures and are left alone unless they are marked.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

DEFAULTS = {"python": "run", "pycon": "run", "sh": "sh", "bash": "sh", "console": "sh", "text": "", "": ""}
VERBS = {"file", "run", "sh", "output", "skip"}
OPTIONS = {"needs", "timeout", "reason"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w+-]*)[^`]*$")
_MARK = re.compile(r"^\s*<!--\s*example:\s*(?P<words>.*?)\s*-->\s*$")


class PageError(Exception):
    """A page whose blocks cannot be understood; the message names the line."""


@dataclass(frozen=True)
class Block:
    """One code block: where it opens (1 based), what it says, and how it is run ("" for not at all)."""

    line: int
    language: str
    text: str
    verb: str
    file: str = ""
    needs: tuple[str, ...] = ()
    fails: bool = False
    timeout: float = 30.0
    reason: str = ""


@dataclass
class Command:
    """One command of a shell block, and the output that the page shows (None: not looked at)."""

    text: str
    expected: list[str] | None = field(default_factory=list)


def read_blocks(text: str) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        PageError: a mark that is unknown or above nothing, a block that is not closed, or one that has to be
            marked and is not.
    """
    blocks: list[Block] = []
    mark: tuple[int, str] | None = None
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _MARK.match(line):
            mark = (number, found["words"])
        elif found := _FENCE.match(line):
            start = number
            closing = re.compile(rf"^ *`{{{len(found['fence'])},}}\s*$")
            while number < len(lines) and not closing.match(lines[number]):
                number += 1
            if number == len(lines):
                raise PageError(f"line {start}: the block is not closed")
            indent = len(found["indent"])
            body = "".join(
                f"{inner[min(indent, len(inner) - len(inner.lstrip())) :]}\n" for inner in lines[start:number]
            )
            number += 1
            blocks.append(_block(start, found["language"], body, mark[1] if mark else ""))
            mark = None
        elif line.strip() and mark:
            raise PageError(f"line {mark[0]}: the mark stands above no block")
    if mark:
        raise PageError(f"line {mark[0]}: the mark stands above no block")
    return blocks


def _block(line: int, language: str, body: str, mark: str) -> Block:
    words = shlex.split(mark)
    verb, file, fails = "", "", False
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name in VERBS and not verb and (name == "file") == bool(equals):
            verb, file = name, value
        elif word == "fails":
            fails = True
        elif name in OPTIONS and value:
            options[name] = value
        else:
            raise PageError(f"line {line}: cannot read {word!r} in the mark {mark!r}")
    if not verb:
        if language not in DEFAULTS:
            raise PageError(
                f"line {line}: a block in {language!r} needs a mark: file=NAME, sh, or skip reason=..."
            )
        verb = DEFAULTS[language]
    if verb == "skip" and not options.get("reason"):
        raise PageError(f"line {line}: skip needs a reason")
    needs = tuple(part for part in options.get("needs", "").split(",") if part)
    timeout = float(options.get("timeout", "30"))
    return Block(line, language, body, verb, file, needs, fails, timeout, options.get("reason", ""))


def read_commands(text: str) -> list[Command]:
    """The commands of a shell block; one that is the whole text where there is no prompt.

    Raises:
        PageError: output stands above the first prompt.
    """
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return [Command(text, None)]
    commands: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif not commands:
            raise PageError(f"output above the first prompt: {line!r}")
        elif commands[-1].expected == [] and (line.startswith("> ") or commands[-1].text.endswith("\\")):
            commands[-1].text += "\n" + line.removeprefix("> ")
        else:
            assert commands[-1].expected is not None
            commands[-1].expected.append(line)
    return commands


def matches(expected: list[str], got: str) -> bool:
    """Whether an output is the expected one; ``...`` stands for anything, a line of it for any lines."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
    got = "".join(f"{line.rstrip()}\n" for line in got.splitlines())
    return re.fullmatch(pattern, got.strip("\n") + "\n" if got.strip("\n") else "") is not None

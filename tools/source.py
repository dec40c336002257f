# SPDX-License-Identifier: Apache-2.0
"""What the checks share: a parsed source file, a finding, and the command line around a check.

A check is a function from sources to findings. It reads the syntax tree for what the code does and the tokens for its
comments, which the tree does not hold.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Finding", "Source", "read_sources", "run_check"]


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong, at a line (1 based) of a file."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        """The form that editors and CI systems link: ``path:line: message``."""
        return f"{self.path}:{self.line}: {self.message}"


@dataclass
class Source:
    """One Python file: its text, syntax tree, and comments by line (1 based).

    ``module`` is its dotted name (``instar.edge.mount``, ``instar.fs`` for ``fs/__init__.py``); a file that lies in no
    ``src`` directory is named from the top of the checked tree.
    """

    path: str
    text: str
    module: str
    tree: ast.Module = field(init=False)
    lines: list[str] = field(init=False)
    comments: dict[int, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Parse.

        Raises:
            SyntaxError: the text is not Python.
        """
        self.tree = ast.parse(self.text, self.path)
        self.lines = self.text.splitlines()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                self.comments[token.start[0]] = token.string

    @property
    def is_package(self) -> bool:
        """Whether this is an ``__init__.py``."""
        return self.path.endswith("__init__.py")

    def comment_line(self, number: int) -> str | None:
        """The comment on a line that holds nothing else, or None."""
        comment = self.comments.get(number)
        return comment if comment is not None and self.lines[number - 1].strip() == comment.strip() else None

    def indentation(self, number: int) -> int:
        """Columns before the first character of a line."""
        line = self.lines[number - 1]
        return len(line) - len(line.lstrip())


def module_name(path: Path) -> str:
    """The dotted module name of a path: what follows ``src``, or the whole relative path."""
    parts = list(path.with_suffix("").parts)
    if "src" in parts:
        parts = parts[len(parts) - parts[::-1].index("src") :]
    if parts and parts[-1] == "__init__":
        parts.pop()
    return ".".join(part for part in parts if part not in {"/", ".", ".."})


def read_sources(root: Path, tops: Iterable[str]) -> list[Source]:
    """Every ``*.py`` under the given directories of ``root``, in a stable order; paths are relative to ``root``."""
    found = []
    for top in tops:
        for path in sorted((root / top).rglob("*.py")):
            relative = path.relative_to(root)
            found.append(Source(str(relative), path.read_text(encoding="utf-8"), module_name(relative)))
    return found


def run_check(title: str, check: Callable[[Path], list[Finding]], arguments: Sequence[str]) -> int:
    """Run a check on a tree (the first argument, or the current directory), print, and give the exit code.

    Returns:
        0 when nothing is wrong, 1 when something is, 2 when a file cannot be read or parsed.
    """
    root = Path(arguments[0]) if arguments else Path()
    try:
        findings = sorted(check(root))
    except (OSError, SyntaxError, ValueError) as error:
        print(f"{title}: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    print(f"{title}: {len(findings)} finding{'s' * (len(findings) != 1)}" if findings else f"{title}: clean")
    return 1 if findings else 0

# SPDX-License-Identifier: Apache-2.0
"""Hold the parts of the house style that ruff does not know.

- The first line (the second, after ``#!``) of each Python file is the SPDX line.
- Each module of ``src`` lists its public names in ``__all__``: all that it defines, and nothing that it lacks. A private
  module (``_x.py``) may keep some from its list: those are for its neighbours.
- What is public is documented where it is defined: classes, their public methods, and functions. Public is what a public
  module's ``__all__`` lists; what that module re-exports from a private one is held to it there.
- Nobody catches everything, except in the functions that ``pyproject.toml`` declares, once in each. A handler that ends by
  raising the same error again catches nothing for good and is allowed.
- A file has at most 600 lines, except those that ``pyproject.toml`` lists with a reason.
- ``noqa`` and ``type: ignore`` in ``src`` name their rule and carry a reason.

The exceptions stand in ``pyproject.toml``: ``[tool.instar-checks.broad-except]`` as ``"path::Class.function" = reason``, and
``[tool.instar-checks.long-files]`` as ``path = reason``. An entry that nothing needs any more is a finding as well.

Run it: ``python -m tools.check_style [TREE]``.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.source import Finding, Source, read_sources, run_check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Exceptions", "check_sources", "main"]

SPDX = "# SPDX-License-Identifier: Apache-2.0"
LONGEST = 600
TREES = ("src", "tests", "tools", "benchmarks", "fuzz", "demo")
BROAD = frozenset({"Exception", "BaseException"})
# The decorators under which a method repeats the contract of another, which is documented.
REPEATS = frozenset({"overload", "override", "setter", "deleter"})

_NOQA = re.compile(r"#\s*noqa\b(?P<codes>:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?(?P<rest>.*)", re.IGNORECASE)
_IGNORE = re.compile(r"#\s*type:\s*ignore(?P<codes>\[[^\]]+\])?(?P<rest>.*)")


@dataclass(frozen=True)
class Exceptions:
    """The declared exceptions: place (``path::function``, or ``path``) to reason."""

    broad_except: Mapping[str, str] = field(default_factory=dict)
    long_files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Exceptions:
        """Those that ``pyproject.toml`` of a tree declares."""
        path = root / "pyproject.toml"
        table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        checks = table.get("tool", {}).get("instar-checks", {})
        return cls(checks.get("broad-except", {}), checks.get("long-files", {}))


def _check_head(source: Source) -> Iterator[Finding]:
    first = 1 if source.text.startswith("#!") else 0
    if source.lines and (len(source.lines) <= first or source.lines[first] != SPDX):
        yield Finding(source.path, first + 1, f"the file does not open with '{SPDX}'")


# -------------------------------------------------------------------------------------------- names


def _bound_names(statements: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Every name that statements at the top of a module bind; imports included."""
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name, statement
            case ast.Import() | ast.ImportFrom():
                for name in statement.names:
                    yield name.asname or name.name.partition(".")[0], statement
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for target in targets:
                    for node in ast.walk(target):
                        if isinstance(node, ast.Name):
                            yield node.id, statement
            case ast.If() | ast.With() | ast.For() | ast.While():
                yield from _bound_names(statement.body)
                yield from _bound_names(getattr(statement, "orelse", []))
            case ast.Try():
                for body in (statement.body, statement.orelse, statement.finalbody):
                    yield from _bound_names(body)
                for handler in statement.handlers:
                    yield from _bound_names(handler.body)
            case _ if type(statement).__name__ == "TypeAlias":  # CPython 3.12's `type X = ...`
                yield statement.name.id, statement  # type: ignore[attr-defined]  # absent from 3.11's ast


def _listed(source: Source) -> tuple[list[str] | None, int]:
    """The literal ``__all__`` and its line; None when there is none or it is computed."""
    for statement in source.tree.body:
        target = getattr(statement, "target", None) or (getattr(statement, "targets", None) or [None])[0]
        if isinstance(target, ast.Name) and target.id == "__all__":
            try:
                value = ast.literal_eval(getattr(statement, "value", None) or ast.Constant(None))
            except ValueError:
                value = None
            return (
                (list(value), statement.lineno)
                if isinstance(value, list | tuple)
                else (None, statement.lineno)
            )
    return None, 0


def _is_private(module: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in module.split("."))


def _re_exported(sources: list[Source]) -> set[tuple[str, str]]:
    """(module, name) of what public modules list in ``__all__`` and import from elsewhere."""
    found = set()
    for source in sources:
        names, _ = _listed(source)
        if names is None or _is_private(source.module):
            continue
        for statement in ast.walk(source.tree):
            if isinstance(statement, ast.ImportFrom) and statement.module is not None:
                for name in statement.names:
                    if (name.asname or name.name) in names:
                        found.add((statement.module, name.name))
    return found


def _check_names(source: Source, re_exported: set[tuple[str, str]]) -> Iterator[Finding]:
    names, line = _listed(source)
    bound = dict(_bound_names(source.tree.body))
    imports = (ast.Import, ast.ImportFrom)
    # A single capital letter is a type variable.
    own = {name for name, node in bound.items() if not name.startswith("_") and not isinstance(node, imports)}
    own -= {name for name in own if len(name) == 1 and name.isupper()}
    if names is None:
        if line:
            yield Finding(source.path, line, "__all__ is computed: write it as a list of strings")
        elif own and not source.module.endswith("__main__"):
            yield Finding(
                source.path, 1, f"defines public names and has no __all__: {', '.join(sorted(own))}"
            )
        return
    for name in sorted(set(names) - set(bound)):
        yield Finding(source.path, line, f"__all__ lists {name}, which the module does not define")
    for name in sorted(own - set(names)) if not _is_private(source.module) else ():
        if isinstance(bound[name], ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            message = f"{name} is public by its name and not in __all__: list it or call it _{name}"
            yield Finding(source.path, bound[name].lineno, message)
    for name in names:
        node = bound.get(name)
        if _is_private(source.module) and (source.module, name) not in re_exported:
            continue
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _check_documented(source, node)


def _check_documented(
    source: Source, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, prefix: str = ""
) -> Iterator[Finding]:
    name = f"{prefix}{node.name}"
    if not (ast.get_docstring(node) or "").strip():
        yield Finding(source.path, node.lineno, f"{name} is public and has no docstring")
    if not isinstance(node, ast.ClassDef):
        return
    for inner in node.body:
        if isinstance(
            inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not inner.name.startswith("_"):
            decorators = {
                decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
                for decorator in inner.decorator_list
            }
            declares = (
                "property" in decorators and ast.unparse(inner.body[-1]) == "..."
            )  # an attribute of a protocol
            if not declares and not decorators & REPEATS and not _overrides(node, inner):
                yield from _check_documented(source, inner, f"{name}.")


def _overrides(owner: ast.ClassDef, method: ast.stmt) -> bool:
    """Whether a method may well repeat one of a base class, whose docstring then holds.

    Bases that only mark a class (an abstract class, a generic, an enumeration...) have no methods worth repeating.
    """
    marks = {
        "object",
        "ABC",
        "Protocol",
        "Generic",
        "NamedTuple",
        "TypedDict",
        "Enum",
        "IntEnum",
        "IntFlag",
        "Flag",
        "Struct",
    }
    for base in owner.bases:
        name = ast.unparse(base).partition("[")[0].rpartition(".")[2]
        if name not in marks:
            return not isinstance(method, ast.ClassDef)
    return False


# ------------------------------------------------------------------------------------- broad handlers


def _catches_all(expression: ast.expr | None) -> bool:
    if expression is None:
        return True
    if isinstance(expression, ast.Tuple):
        return any(_catches_all(element) for element in expression.elts)
    name = expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")
    return name in BROAD


def _broad_handlers(source: Source) -> list[tuple[int, str]]:
    """(line, place) of the handlers that catch everything and keep it; a place is ``path::Class.function``."""
    found = []

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = (*names, node.name)
        broad = False
        if isinstance(node, ast.ExceptHandler) and _catches_all(node.type):
            last = node.body[-1]
            broad = not (isinstance(last, ast.Raise) and last.exc is None)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
            broad = any(_catches_all(argument) for argument in node.args)
        if broad:
            assert isinstance(node, ast.ExceptHandler | ast.Call)
            found.append((node.lineno, f"{source.path}::{'.'.join(names)}"))
        for child in ast.iter_child_nodes(node):
            visit(child, names)

    visit(source.tree, ())
    return found


def _check_handlers(source: Source, exceptions: Exceptions) -> Iterator[Finding]:
    seen = set()
    for line, place in _broad_handlers(source):
        if place not in exceptions.broad_except:
            message = (
                f"catches everything: name what can happen here, or declare {place} in pyproject.toml, "
                "[tool.instar-checks.broad-except], with its reason"
            )
            yield Finding(source.path, line, message)
        elif place in seen:
            yield Finding(
                source.path, line, f"a second handler that catches everything in {place}; one is declared"
            )
        seen.add(place)


# --------------------------------------------------------------------------------- length, suppressions


def _check_length(source: Source, exceptions: Exceptions) -> Iterator[Finding]:
    if len(source.lines) > LONGEST and source.path not in exceptions.long_files:
        yield Finding(
            source.path,
            LONGEST + 1,
            f"{len(source.lines)} lines, more than {LONGEST}: find the seam, or list the file in pyproject.toml, "
            "[tool.instar-checks.long-files], with the reason",
        )


def _check_suppressions(source: Source) -> Iterator[Finding]:
    for line, comment in source.comments.items():
        for what, pattern in (("noqa", _NOQA), ("type: ignore", _IGNORE)):
            found = pattern.search(comment)
            if found is None:
                continue
            if not found["codes"]:
                yield Finding(source.path, line, f"{what} names no rule")
            elif not re.search(
                r"[A-Za-z]{2}", _IGNORE.sub("", found["rest"]) if what == "noqa" else found["rest"]
            ):
                yield Finding(
                    source.path, line, f"{what} gives no reason: add it behind, after two spaces and '#'"
                )


def _check_exceptions(sources: list[Source], exceptions: Exceptions) -> Iterator[Finding]:
    by_path = {source.path: source for source in sources}
    for title, table in (("broad-except", exceptions.broad_except), ("long-files", exceptions.long_files)):
        for place, reason in table.items():
            path = place.partition("::")[0]
            source = by_path.get(path)
            if not str(reason).strip():
                yield Finding("pyproject.toml", 1, f"{title}: {place} is listed without a reason")
            if source is None:
                yield Finding("pyproject.toml", 1, f"{title}: {path} does not exist")
            elif title == "broad-except" and place not in {found for _, found in _broad_handlers(source)}:
                yield Finding("pyproject.toml", 1, f"{title}: {place} does not catch everything (any more)")
            elif title == "long-files" and len(source.lines) <= LONGEST:
                yield Finding(
                    "pyproject.toml", 1, f"{title}: {path} has no more than {LONGEST} lines any more"
                )


def check_sources(sources: list[Source], exceptions: Exceptions | None = None) -> list[Finding]:
    """All findings; names, handlers and suppressions are looked at under ``src`` alone."""
    exceptions = exceptions or Exceptions()
    findings = list(_check_exceptions(sources, exceptions))
    re_exported = _re_exported([source for source in sources if source.path.startswith("src/")])
    for source in sources:
        findings += _check_head(source)
        findings += _check_length(source, exceptions)
        if source.path.startswith("src/"):
            findings += _check_names(source, re_exported)
            findings += _check_handlers(source, exceptions)
            findings += _check_suppressions(source)
    return sorted(findings)


def check_tree(root: Path) -> list[Finding]:
    """Check all Python files of a tree."""
    return check_sources(read_sources(root, TREES), Exceptions.read(root))


def main(arguments: list[str] | None = None) -> int:
    """Check the tree named by the first argument, or this one."""
    return run_check("style", check_tree, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())

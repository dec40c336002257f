# SPDX-License-Identifier: Apache-2.0
"""Prove that what can corrupt memory stands in ``instar.edge`` alone, each use with its ``# SAFETY:`` comment.

Two rules:

1. Outside ``instar.edge`` nobody imports ``ctypes``, ``mmap``, ``cffi``, ``fcntl.ioctl`` or
   ``signal.pthread_kill``, under any name or by ``importlib``, nor a private name of the edge.
2. Inside it, each *dangerous use* has a comment above it that opens with ``# SAFETY:`` and says why the use is sound.

A dangerous use is a call of a function that follows or makes a raw pointer (``memmove``, ``string_at``, ``cast``,
``from_buffer``, ``CDLL``...), of ``ioctl`` or ``mmap``, a call through a library object, a pointer's ``.contents``, or handing any of
these functions to somebody who may call it. Names are followed through assignments, imports between modules of
the edge, parameters, and functions that return what they loaded. The follower knows no scopes: a name that is
dangerous in one function of a module is so in all of them. That errs on the side of asking for a comment.

The comment covers the statement under it and those that follow without a blank line, eight lines at most.

Run it: ``python -m tools.check_edge [TREE]``.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from tools.source import Finding, Source, read_sources, run_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_sources", "main"]

EDGE = "instar.edge"
MARK = "# SAFETY:"
REACH = 8  # lines from the comment to the last statement that it covers
FEWEST_WORDS = 2  # of a reason; "as above" is one

# Modules that belong to the edge as a whole, and single functions of otherwise harmless modules.
EDGE_MODULES = frozenset({"ctypes", "_ctypes", "mmap", "cffi", "_cffi_backend"})
EDGE_FUNCTIONS = frozenset({("fcntl", "ioctl"), ("signal", "pthread_kill")})

# Functions whose call is dangerous, by module.
DANGEROUS = {
    "ctypes": frozenset(
        [
            "CDLL",
            "PyDLL",
            "LibraryLoader",
            "cdll",
            "pydll",
            "pythonapi",
            "addressof",
            "cast",
            "memmove",
            "memset",
            "memoryview_at",
            "py_object",
            "PYFUNCTYPE",
            "CFUNCTYPE",
            "resize",
            "string_at",
            "wstring_at",
        ]
    ),
    "fcntl": frozenset({"ioctl"}),
    "mmap": frozenset({"mmap"}),
    "signal": frozenset({"pthread_kill"}),
}
# Methods of ctypes types that build an object on memory that something else owns.
DANGEROUS_METHODS = frozenset({"from_address", "from_buffer", "in_dll"})
# Calls whose result is as dangerous as what they were called on: it is a library or a function pointer.
MAKERS = frozenset(
    {"CDLL", "PyDLL", "LibraryLoader", "CFUNCTYPE", "PYFUNCTYPE", "LoadLibrary", "getattr", "partial"}
)
# Functions that look at an argument and never call it.
LOOKERS = frozenset({"isinstance", "issubclass", "hasattr", "getattr", "setattr", "callable", "repr", "id"})


def _in_edge(module: str) -> bool:
    return module == EDGE or module.startswith(f"{EDGE}.")


def _last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c`` and of ``c``; otherwise nothing."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _literal_argument(call: ast.Call, position: int) -> str:
    if len(call.args) > position:
        value = call.args[position]
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return ""


# ------------------------------------------------------------------------------- rule 1: outside the edge


def _check_outside(source: Source) -> Iterator[Finding]:
    """Every import that only the edge may make."""

    def finding(node: ast.stmt | ast.expr, what: str) -> Finding:
        return Finding(
            source.path, node.lineno, f"{what}: only {EDGE} may; put the use there behind a safe function"
        )

    aliases: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] in EDGE_MODULES:
                    yield finding(node, f"imports {name.name}")
                if name.name.startswith(f"{EDGE}._"):
                    yield finding(node, f"imports {name.name}, which is private to the edge")
                aliases[name.asname or name.name] = name.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.partition(".")[0] in EDGE_MODULES:
                yield finding(node, f"imports from {node.module}")
            for name in node.names:
                if (node.module, name.name) in EDGE_FUNCTIONS:
                    yield finding(node, f"imports {node.module}.{name.name}")
                if name.name == "*" and any(node.module == module for module, _ in EDGE_FUNCTIONS):
                    yield finding(node, f"imports everything from {node.module}")
                whole = f"{node.module}.{name.name}"
                if _in_edge(node.module) and "._" in whole[len(EDGE) :]:
                    yield finding(node, f"imports {whole}, which is private to the edge")
                if _in_edge(node.module) and name.name in {
                    *EDGE_MODULES,
                    *(function for _, function in EDGE_FUNCTIONS),
                }:
                    yield finding(node, f"imports {name.name} by way of the edge")
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id, "")
            if (module, node.attr) in EDGE_FUNCTIONS:
                yield finding(node, f"uses {module}.{node.attr}")
        elif isinstance(node, ast.Call):
            name_of = _last_name(node.func)
            if name_of in {"import_module", "__import__"}:
                module = _literal_argument(node, 0)
                if module.partition(".")[0] in EDGE_MODULES:
                    yield finding(node, f"imports {module} by {name_of}")
            elif name_of == "getattr" and node.args and isinstance(node.args[0], ast.Name):
                pair = (aliases.get(node.args[0].id, ""), _literal_argument(node, 1))
                if pair in EDGE_FUNCTIONS:
                    yield finding(node, f"uses {'.'.join(pair)} by getattr")


# -------------------------------------------------------------------------------- rule 2: inside the edge


class _Names:
    """The dangerous names of one module of the edge, and what of it is a module or an import."""

    def __init__(self, source: Source, others: dict[str, _Names]) -> None:
        self.source = source
        self.others = others  # every module of the edge by name, this one too
        self.modules: dict[str, str] = {}  # local name of a module: its real name
        self.names: set[str] = set()  # variables and attributes that hold a dangerous function or a library
        self.factories: set[str] = set()  # functions whose result is dangerous
        self.imported: dict[
            str, tuple[str, str]
        ] = {}  # local name: (module, name) of another module of the edge
        self.parameters: dict[str, list[str]] = {}  # function: names of its parameters
        self.has_ctypes = False
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    local = name.asname or name.name.partition(".")[0]
                    self.modules[local] = name.name if name.asname else local
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                self._note_import(node, node.module)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                self.parameters[node.name] = [
                    argument.arg
                    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
                ]
        self.has_ctypes = self.has_ctypes or any(
            name.partition(".")[0] == "ctypes" for name in self.modules.values()
        )

    def _note_import(self, node: ast.ImportFrom, module: str) -> None:
        for name in node.names:
            local = name.asname or name.name
            if module == "ctypes":
                self.has_ctypes = True
            if name.name in DANGEROUS.get(module, ()):
                self.names.add(local)
                if name.name in MAKERS:
                    self.factories.add(local)
            elif _in_edge(module):
                self.imported[local] = (module, name.name)
                self.modules[local] = f"{module}.{name.name}"

    def is_dangerous(self, node: ast.expr) -> bool:
        """Whether the value of an expression is a dangerous function, a library, or holds one."""
        match node:
            case ast.Name():
                return node.id in self.names
            case ast.Attribute():
                module = self._module(node.value)
                if module in DANGEROUS:
                    return node.attr in DANGEROUS[module]
                if module in self.others:
                    return node.attr in self.others[module].names
                if self.has_ctypes and node.attr in DANGEROUS_METHODS:
                    return True
                return node.attr in self.names or self.is_dangerous(node.value)
            case ast.Call():
                return self._makes_danger(node)
            case ast.Subscript() | ast.Starred() | ast.Await():
                return self.is_dangerous(node.value)
            case ast.NamedExpr():
                return self.is_dangerous(node.value)
            case ast.IfExp():
                return self.is_dangerous(node.body) or self.is_dangerous(node.orelse)
            case ast.BoolOp():
                return any(self.is_dangerous(value) for value in node.values)
            case ast.Tuple() | ast.List() | ast.Set():
                return any(self.is_dangerous(value) for value in node.elts)
            case ast.Dict():
                return any(self.is_dangerous(value) for value in node.values)
            case ast.Lambda():
                return any(
                    isinstance(inner, ast.expr) and self.is_dangerous(inner) for inner in ast.walk(node.body)
                )
            case _:
                return False

    def _module(self, node: ast.expr) -> str:
        """The real name of the module that an expression names, or nothing."""
        if isinstance(node, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            return dotted if dotted in self.others else self.modules.get(dotted, "")
        return ""

    def is_factory(self, function: ast.expr) -> bool:
        """Whether a call of this function gives something dangerous."""
        if isinstance(function, ast.Attribute) and (other := self.others.get(self._module(function.value))):
            return function.attr in other.factories
        return _last_name(function) in self.factories

    def _makes_danger(self, call: ast.Call) -> bool:
        name = _last_name(call.func)
        if self.is_factory(call.func):
            return True
        if name in MAKERS:
            return self.is_dangerous(call.func) or any(self.is_dangerous(argument) for argument in call.args)
        # PROTOTYPE(...)(("name", library)), and CFUNCTYPE(...)(function)
        return isinstance(call.func, ast.Call) and self.is_dangerous(call.func)

    def follow(self) -> bool:
        """Spread danger one step through assignments, calls and returns; say whether anything was new."""
        before = (len(self.names), len(self.factories))
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Assign) and self.is_dangerous(node.value):
                for target in node.targets:
                    self._taint(target)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                if self.is_dangerous(node.value):
                    self._taint(node.target)
            elif isinstance(node, ast.For | ast.comprehension) and self.is_dangerous(node.iter):
                self._taint(node.target)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                if self.is_dangerous(node.context_expr):
                    self._taint(node.optional_vars)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if any(
                    isinstance(inner, ast.Return) and inner.value and self.is_dangerous(inner.value)
                    for inner in ast.walk(node)
                ):
                    self.factories.add(node.name)
            elif isinstance(node, ast.Call):
                self._follow_call(node)
        return before != (len(self.names), len(self.factories))

    def _taint(self, target: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._taint(element)
        elif isinstance(target, ast.Starred | ast.Subscript):
            self._taint(target.value)
        elif name := _last_name(target):
            self.names.add(name)

    def _follow_call(self, call: ast.Call) -> None:
        """A dangerous argument makes the parameter of a function of this module dangerous."""
        parameters = self.parameters.get(_last_name(call.func))
        if parameters is None:
            return
        shift = 1 if parameters[:1] in (["self"], ["cls"]) else 0
        for position, argument in enumerate(call.args):
            if position + shift < len(parameters) and self.is_dangerous(argument):
                self.names.add(parameters[position + shift])
        for keyword in call.keywords:
            if keyword.arg in parameters and self.is_dangerous(keyword.value):
                self.names.add(keyword.arg)

    def uses(self) -> Iterator[tuple[int, str]]:
        """(line, what) of each dangerous use."""
        for node in ast.walk(self.source.tree):
            if isinstance(node, ast.Call):
                if self.is_dangerous(node.func) or self.is_factory(node.func):
                    yield node.lineno, f"{ast.unparse(node.func)}(...)"
                elif _last_name(node.func) not in LOOKERS:
                    arguments = (*node.args, *(keyword.value for keyword in node.keywords))
                    for argument in arguments:
                        # A lambda's own call is a use; handing it on adds nothing.
                        if not isinstance(argument, ast.Lambda | ast.Call) and self.is_dangerous(argument):
                            yield node.lineno, f"{ast.unparse(node.func)}(... {ast.unparse(argument)} ...)"
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for base in (*node.decorator_list, *getattr(node, "bases", ())):
                    if self.is_dangerous(base) and not isinstance(base, ast.Call):
                        yield base.lineno, f"{node.name} on {ast.unparse(base)}"
            elif isinstance(node, ast.Attribute) and node.attr == "contents" and self.has_ctypes:
                yield node.lineno, f"{ast.unparse(node)}"


def _follow_all(sources: list[Source]) -> list[_Names]:
    """The dangerous names of all modules of the edge, followed until nothing new appears."""
    by_module: dict[str, _Names] = {}
    for source in sources:
        by_module[source.module] = _Names(source, by_module)
    every = list(by_module.values())
    changed = True
    while changed:
        changed = False
        for names in every:
            changed |= names.follow()
            for local, (module, name) in names.imported.items():
                origin = by_module.get(module)
                if origin is None:
                    continue
                for theirs, ours in ((origin.names, names.names), (origin.factories, names.factories)):
                    if name in theirs and local not in ours:
                        ours.add(local)
                        changed = True
    return every


def _is_explained(source: Source, line: int) -> bool:
    """Whether a ``# SAFETY:`` comment covers a use on this line."""
    start = _statement_start(source, line)
    if any((source.comment_line(number) or "").startswith(MARK) for number in range(start, line)):
        return True
    indentation = source.indentation(start)
    passed = 0
    for number in range(start - 1, 0, -1):
        text = source.lines[number - 1].strip()
        comment = source.comment_line(number)
        if comment is not None:
            if comment.startswith(MARK) and source.indentation(number) <= indentation:
                return True
            continue
        passed += 1
        if not text or passed > REACH or text.startswith(("def ", "async def ", "class ")):
            return False
        indentation = min(indentation, source.indentation(number))
    return False


def _statement_start(source: Source, line: int) -> int:
    """First line (decorators included) of the innermost statement that a line belongs to."""
    best = line
    smallest = sys.maxsize
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.stmt):
            continue
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        last = node.end_lineno or node.lineno
        if first <= line <= last and last - first < smallest:
            best, smallest = first, last - first
    return best


def _check_reasons(source: Source) -> Iterator[Finding]:
    """A ``# SAFETY:`` comment that gives no reason is worse than none."""
    for number in sorted(source.comments):
        comment = source.comment_line(number)
        if comment is None or not comment.startswith(MARK):
            continue
        words = comment.removeprefix(MARK).split()
        following = number + 1
        while following <= len(source.lines) and (more := source.comment_line(following)) is not None:
            words += more.lstrip("# ").split()
            following += 1
        if len(words) < FEWEST_WORDS:
            yield Finding(
                source.path, number, f"the {MARK} comment gives no reason: say why the use below is sound"
            )


def check_sources(sources: list[Source]) -> list[Finding]:
    """All findings of both rules; only modules of ``instar`` are looked at."""
    by_place: dict[bool, list[Source]] = defaultdict(list)
    for source in sources:
        if source.module.partition(".")[0] == "instar":
            by_place[_in_edge(source.module)].append(source)
    findings = {finding for source in by_place[False] for finding in _check_outside(source)}
    for names in _follow_all(by_place[True]):
        findings.update(_check_reasons(names.source))
        for line, what in names.uses():
            if not _is_explained(names.source, line):
                message = f"{what} has no {MARK} comment above it: say why it is sound (who owns the memory, how long, which sizes)"
                findings.add(Finding(names.source.path, line, message))
    return sorted(findings)


def check_tree(root: Path) -> list[Finding]:
    """Check ``src`` of a tree."""
    return check_sources(read_sources(root, ["src"]))


def main(arguments: list[str] | None = None) -> int:
    """Check the tree named by the first argument, or this one."""
    return run_check("edge", check_tree, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())

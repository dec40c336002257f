# SPDX-License-Identifier: Apache-2.0
"""Reads a class body: evaluates its annotations and finds what is wrong with each declaration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_origin

from instar.layout import _values
from instar.layout._declare import MISSING, Entry, Group, Spec, resolve
from instar.layout._place import check_align, wrong
from instar.layout._types import Bits, LayoutError

__all__ = ["Body", "late_annotations"]


class Body:
    """Turns what a class body recorded into specifications."""

    def __init__(
        self,
        cls: str,
        reserved: frozenset[str],
        namespace: dict[str, Any],
        globals_: dict[str, Any],
        locals_: Mapping[str, Any],
    ) -> None:
        self.cls = cls
        self.reserved = reserved
        self.namespace = namespace
        self.globals = globals_
        self.locals = locals_

    def read(self, entries: list[Entry | Group]) -> list[Any]:
        out: list[Any] = []
        for entry in entries:
            if isinstance(entry, Group):
                check_align(self.cls, "anonymous group", entry.align)
                out.append((entry, self.read(entry.entries)))
                continue
            spec = self.spec(entry)
            if spec is not None:
                self.name(entry.name)
                out.append((entry.name, spec))
        return out

    def name(self, name: str) -> None:
        if name in self.reserved:
            raise wrong(
                self.cls, name, "the name hides a method or constant of layouts; add a _ (checks ignore it)"
            )
        if name.startswith(("__", f"_{self.cls.lstrip('_')}__")):
            raise wrong(self.cls, name, "a name cannot start with two underscores")

    def spec(self, entry: Entry) -> Spec | None:
        """The specification of one entry; None for a `ClassVar`."""
        name = entry.name
        value = self.namespace.get(name, MISSING)
        if isinstance(value, Spec):
            del self.namespace[name]
            return self.checked(name, value)
        annotation = entry.annotation
        if isinstance(annotation, str):
            annotation = self.evaluate(name, annotation)
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            return None
        try:
            spec = resolve(annotation)
        except LayoutError as err:
            raise wrong(self.cls, name, str(err)) from None
        if spec is None:
            hint = {
                int: "; say how large, as in u32",
                float: "; say f32 or f64",
                bytes: "; say array(char, n)",
            }
            raise wrong(self.cls, name, f"unknown type {_shown(annotation)}{hint.get(annotation, '')}")
        if value is not MISSING:
            del self.namespace[name]
            spec = Spec(spec.type, value, spec.align, spec.packed)
        return self.checked(name, spec)

    def checked(self, name: str, spec: Spec) -> Spec:
        if spec.mistake:
            raise wrong(self.cls, name, spec.mistake)
        check_align(self.cls, name, spec.align)
        if isinstance(spec.type, Bits) and spec.type.width == 0 and not name.startswith("_"):
            raise wrong(self.cls, name, "a bit-field of width 0 has no name in C; start its name with _")
        if spec.default is not MISSING:
            found = _values.problem(spec.type, spec.default)
            if found is not None:
                raise wrong(self.cls, name, f"wrong default{found[0]}: {found[1]}")
        return spec

    def evaluate(self, name: str, text: str) -> Any:
        if text.isidentifier():  # as nearly all are; looking up a name needs no compiler
            for names in (self.namespace, self.locals, self.globals):
                if text in names:
                    return names[text]
        scope = {**self.locals, **self.namespace}
        try:
            return eval(text, self.globals, scope)  # noqa: S307 # the annotation that stands in the class body
        except (NameError, AttributeError, SyntaxError, TypeError, KeyError, IndexError) as err:
            raise wrong(self.cls, name, f"unknown type {text!r} ({err})") from None


def _shown(annotation: object) -> str:
    return annotation.__name__ if isinstance(annotation, type) else repr(annotation)


def late_annotations(cls: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Annotations of a body without the `__future__` import on Python 3.14 (PEP 649), else nothing."""
    annotate = namespace.get("__annotate_func__") or namespace.get("__annotate__")
    if not callable(annotate):
        return {}
    try:
        found: dict[str, Any] = annotate(1)  # annotationlib.Format.VALUE
    except NameError as err:
        raise wrong(cls, "", f"unknown type ({err})") from None
    return found

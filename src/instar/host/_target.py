# SPDX-License-Identifier: Apache-2.0
"""Targets: the words that name a file system on the command line, and how they become an object.

``memfs``; ``mirror:DIR``; ``path/to/file.py``, which holds one file system; ``path/to/file.py:Name``, a class,
an object or a function without arguments in it; ``package.module:Name``. Options that the mount does not take itself
are handed to the class as keyword arguments, converted to the types that its signature declares.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec

from instar._errors import InstarError
from instar._values import alternatives, convert_value
from instar.fs import FileSystem
from instar.host._probe import require_answer, resolved

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Target", "TargetError", "load"]

Options = Mapping[str, str | None]
_OCTAL: Final = frozenset({"mode", "umask", "fmask", "dmask"})


class TargetError(InstarError):
    """A target does not name a file system, or its options do not fit."""


class Target(msgspec.Struct, frozen=True):
    """A file system that has been found and not yet made."""

    name: str
    factory: Callable[..., object]
    arguments: tuple[str, ...] = ()

    def make(self, options: Options) -> FileSystem:
        """Make the file system. Raises :class:`TargetError` for options that it does not take."""
        arguments = _convert(self.factory, self.name, options, len(self.arguments))
        try:
            fs = self.factory(*self.arguments, **arguments)
        except (TypeError, ValueError) as error:
            raise TargetError(f"{self.name} could not be made: {error}") from error
        if not isinstance(fs, FileSystem):
            raise TargetError(f"{self.name} gave {type(fs).__name__}, which is not an instar.fs.FileSystem.")
        return fs


def load(text: str) -> Target:
    """Find what ``text`` names. Raises :class:`TargetError`.

    >>> load("memfs").name
    'memfs'
    """
    if not text:  # an unset variable of a script
        raise TargetError("The target is empty: give memfs, mirror:DIR, or a file.")
    if text == "memfs":
        from instar.fs.memfs import MemFS

        return Target("memfs", MemFS)
    scheme, colon, rest = text.partition(":")
    if scheme == "mirror":
        from instar.fs.mirror import MirrorFS

        if not rest:
            raise TargetError("mirror needs a directory: `mirror:DIR`.")
        source = resolved(rest)
        require_answer(source)  # the mirror would wait for it for ever
        return Target("mirror", MirrorFS, (source,))
    if text and not colon and _is_directory(text):
        raise TargetError(f"{text} is a directory: did you mean mirror:{text}?")
    path, name = (text, "") if text.endswith(".py") else _split_name(text)
    if path.endswith(".py"):
        return _in_module(_load_file(Path(path)), name, path)
    if colon and re.fullmatch(r"[\w.]+", path):
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            raise TargetError(f"There is no module {path}: {error}.") from None
        except Exception as error:  # as for a file
            raise _import_failed(path, error) from error
        return _in_module(module, name, path)
    raise TargetError(
        f"{text!r} is not a target. Targets are: memfs, mirror:DIR, path/to/file.py, path/to/file.py:Class, module:Class."
    )


def _is_directory(text: str) -> bool:
    place = resolved(text)
    require_answer(place)
    return os.path.isdir(place)


def _split_name(text: str) -> tuple[str, str]:
    path, _, name = text.rpartition(":")
    return path, name


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise TargetError(f"{path} is not a file. `instar new NAME` writes one to start from.")
    path = path.resolve()
    name = re.sub(r"\W", "_", path.stem)
    if (
        name in sys.modules or name in sys.stdlib_module_names
    ):  # a file called random.py is not the module random
        name = f"instar_target_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    directory = str(path.parent)
    added = directory not in sys.path
    if added:  # it stays: a handler may import a module that lies beside its own at any time
        sys.path.append(directory)  # at the end: a file called random.py must not be Python's random
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # what the user's module raises while it is imported can be anything
        sys.modules.pop(name, None)
        if added and directory in sys.path:  # by its value: the module may have changed the list
            sys.path.remove(directory)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _import_failed(path, error) from error
    return module


def _import_failed(path: Path | str, error: BaseException) -> TargetError:
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    where = f" (line {lines[-1]})" if lines else ""
    shown = traceback.format_exception_only(error)[-1].strip()
    return TargetError(f"{path} failed while it was imported{where}: {shown}")


def _in_module(module: ModuleType, name: str, path: str) -> Target:
    if name:
        found = getattr(module, name, None)
        if found is None:
            raise TargetError(f"{path} has no {name}. It has: {_names(_candidates(module))}.")
    else:
        candidates = _candidates(module)
        if len(candidates) != 1:
            what = "no file system" if not candidates else f"several: {_names(candidates)}"
            raise TargetError(f"{path} holds {what}; name one as {path}:Name.")
        name, found = next(iter(candidates.items()))
    if isinstance(found, FileSystem):
        return Target(name, lambda: found)
    if not callable(found):
        raise TargetError(
            f"{path}:{name} is {type(found).__name__}, not a FileSystem class, object or function."
        )
    return Target(name, found)


def _candidates(module: ModuleType) -> dict[str, object]:
    """The file systems that a module defines: objects first, else classes of its own, the most derived ones."""
    objects = {key: value for key, value in vars(module).items() if isinstance(value, FileSystem)}
    if objects:
        return dict(objects)
    classes = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, FileSystem) and value.__module__ == module.__name__
    }
    bases = {base for value in classes.values() for base in value.__mro__[1:]}
    return {key: value for key, value in classes.items() if value not in bases and not key.startswith("_")}


def _names(candidates: Mapping[str, object]) -> str:
    return ", ".join(candidates) or "no file system"


def _convert(factory: Callable[..., object], name: str, options: Options, taken: int) -> dict[str, Any]:
    """The options as keyword arguments, without the first ``taken`` parameters, which the target itself fills."""
    constructor = _constructor(factory)
    try:
        parameters = list(inspect.signature(constructor).parameters.values())
    except ValueError:  # one of the interpreter's own
        raise TargetError(f"{name} is not a FileSystem class, object or function.") from None
    taken += constructor is not factory  # self
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = [
        parameter.name
        for parameter in parameters[taken:]
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    unknown = sorted(set(options) - set(known))
    if unknown and not open_ended:
        has = f"it has: {', '.join(known)}" if known else "it has none"
        raise TargetError(f"{name} has no option {unknown[0]!r}; {has}.")
    hints = _hints(constructor)
    return {key: _value(name, key, value, hints.get(key, Any)) for key, value in options.items()}


def _constructor(factory: Callable[..., object]) -> Callable[..., object]:
    """What says which options there are: a class's ``__init__``, because its ``__new__`` may take anything."""
    if isinstance(factory, type) and factory.__init__ is not object.__init__:  # type: ignore[misc]  # only looked at
        return inspect.getattr_static(factory, "__init__")  # type: ignore[no-any-return]  # static, so untyped
    return factory


def _hints(constructor: Callable[..., object]) -> dict[str, Any]:
    try:
        return get_type_hints(constructor)
    except NameError:  # an annotation that is only there for a type checker
        return {}


def _value(name: str, key: str, text: str | None, hint: Any) -> Any:
    value: object = text
    plain = (text or "").lower()
    kinds = alternatives(hint)
    is_mode = key in _OCTAL and (hint is Any or int in kinds) and str not in kinds
    if is_mode and re.fullmatch(r"(0o)?[0-7]+", plain):
        value = int(plain.removeprefix("0o"), 8)
    elif is_mode and plain.isdecimal():  # not the decimal number that it looks like
        raise TargetError(f"Option {key}={text} of {name}: a mode is an octal number, such as 755.")
    try:
        return convert_value(text, hint) if value is text else value
    except ValueError as error:
        shown = key if text is None else f"{key}={text}"
        raise TargetError(f"Option {shown} of {name}: {key} {error}.") from None

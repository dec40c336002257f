# SPDX-License-Identifier: Apache-2.0
"""Ask gcc about structures: one small program prints every answer.

Each question is on a line of its own, numbered with `#line`, so that an error of the compiler names the
question that the header cannot answer; those are left out and the rest is compiled again. Bit-fields have no
`offsetof`: the program sets them to all ones and looks for the bits. Answers are kept for the life of the
process.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["Answer", "GccError", "Probe", "ProbeKind", "ask"]

ProbeKind: TypeAlias = Literal["whole", "field", "flexible", "bits"]

_TIMEOUT: Final = 120  # seconds for one compilation or run


class GccError(Exception):
    """The compiler is missing, or does not take the header."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: a type, the path of a field in it, and what kind of field it is.

    `depth` is the number of indices from the field to a number, for its sign; `big` says that the structure
    counts bits from the most significant end.
    """

    ctype: str
    path: str
    kind: ProbeKind
    depth: int = 0
    big: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What gcc says.

    Attributes:
        offset: bytes; for bits the first bit; for the whole its alignment.
        size: bytes; for bits their number; for a flexible array the size of an element.
        signed: of integers and bit-fields; None for everything else.
    """

    offset: int
    size: int
    signed: bool | None


_Key: TypeAlias = "tuple[str, tuple[str, ...], str, Probe]"
_known: dict[_Key, Answer | None] = {}

_HEAD: Final = """
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#define INSTAR_SIGN(e) _Generic((e), signed char: 1, unsigned char: 0, short: 1, unsigned short: 0, \\
  int: 1, unsigned: 0, long: 1, unsigned long: 0, long long: 1, unsigned long long: 0, \\
  __int128: 1, unsigned __int128: 0, default: -1)
static void instar_bits(int number, const void *v, size_t size, int big, int negative)
{
    const unsigned char *p = v;
    long first = -1, count = 0;
    for (size_t i = 0; i < size * 8; i++)
        if (p[i / 8] >> (big ? 7 - i % 8 : i % 8) & 1) {
            if (first < 0)
                first = (long)i;
            ++count;
        }
    printf("%d %ld %ld %d\\n", number, first, count, negative);
}
static const struct { int number; size_t offset, size; int sign; } instar_table[] = {
"""

_MIDDLE: Final = """
};
int main(void)
{
    for (size_t i = 0; i < sizeof instar_table / sizeof instar_table[0]; i++)
        printf("%d %zu %zu %d\\n", instar_table[i].number, instar_table[i].offset, instar_table[i].size,
               instar_table[i].sign);
"""

# Where the compiler says that a question is at fault.
_BLAME: Final = re.compile(r"^instar-probe:(\d+):\d+: (?:fatal )?error: ", re.MULTILINE)
_ERROR: Final = re.compile(r"^.*\berror: .*$", re.MULTILINE)


def ask(
    probes: Iterable[Probe], prologue: str, flags: tuple[str, ...] = (), cc: str = "gcc"
) -> Mapping[Probe, Answer | None]:
    """The answers; None where the type or the field does not exist.

    Raises:
        GccError: no compiler, or the prologue does not compile.
    """
    wanted = list(dict.fromkeys(probes))
    missing = [p for p in wanted if (prologue, flags, cc, p) not in _known]
    if missing:
        for probe, answer in _measure(missing, prologue, flags, cc).items():
            _known[prologue, flags, cc, probe] = answer
    return {p: _known[prologue, flags, cc, p] for p in wanted}


def _measure(
    probes: list[Probe], prologue: str, flags: tuple[str, ...], cc: str
) -> dict[Probe, Answer | None]:
    answers: dict[Probe, Answer | None] = dict.fromkeys(probes)
    numbered = dict(enumerate(probes, 1))
    with tempfile.TemporaryDirectory(prefix="instar-layout-") as folder:
        program = os.path.join(folder, "probe")
        while True:
            errors = _compile(_program(numbered, prologue), program, flags, cc)
            if not errors:
                break
            # Without the questions that do not compile the rest must.
            blamed = {int(n) for n in _BLAME.findall(errors)} & numbered.keys()
            if not blamed:
                first = _ERROR.search(errors)
                raise GccError(
                    f"{cc} does not compile the header: {first[0] if first else errors.strip()[:200]}"
                )
            numbered = {n: p for n, p in numbered.items() if n not in blamed}
        run = subprocess.run([program], stdout=subprocess.PIPE, timeout=_TIMEOUT, check=False)
    if run.returncode:
        raise GccError(f"the program that measures layouts ended with {run.returncode}")
    for line in run.stdout.splitlines():
        number, offset, size, sign = map(int, line.split())
        if number:
            answers[numbered[number]] = Answer(offset, size, None if sign < 0 else bool(sign))
    return answers


def _compile(text: str, program: str, flags: tuple[str, ...], cc: str) -> str:
    """Compile; return what the compiler complains about, or nothing."""
    command = [cc, "-x", "c", "-std=gnu11", "-w", "-O0", *flags, "-o", program, "-"]
    try:
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"LC_ALL": "C"},
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise GccError(f"{cc} is not installed") from None
    except subprocess.TimeoutExpired:
        raise GccError(f"{cc} took more than {_TIMEOUT} s") from None
    if done.returncode == 0:
        return ""
    return done.stderr or f"{cc} ended with {done.returncode}"


def _program(numbered: Mapping[int, Probe], prologue: str) -> str:
    table = ["{ 0, 0, 0, 0 },"]
    body: list[str] = []
    for number, probe in numbered.items():
        where = f'#line {number} "instar-probe"'
        if probe.kind == "bits":
            body += [where, _bits_line(number, probe)]
        else:
            table += [where, _table_line(number, probe)]
    return "\n".join([prologue, _HEAD, *table, _MIDDLE, *body, "return 0; }", ""])


def _table_line(number: int, probe: Probe) -> str:
    ctype, path = probe.ctype, probe.path
    if probe.kind == "whole":
        return f"{{ {number}, _Alignof({ctype}), sizeof({ctype}), -1 }},"
    index = "[0]" if probe.kind == "flexible" else ""
    lvalue = f"(({ctype} *)0)->{path}"
    sign = f"INSTAR_SIGN({lvalue}{'[0]' * probe.depth})"
    return f"{{ {number}, offsetof({ctype}, {path}), sizeof({lvalue}{index}), {sign} }},"


def _bits_line(number: int, probe: Probe) -> str:
    ctype, path = probe.ctype, probe.path
    return (
        f"{{ static {ctype} v; memset(&v, 0, sizeof v); v.{path} = -1; "
        f"instar_bits({number}, &v, sizeof v, {probe.big:d}, v.{path} < 0); }}"
    )

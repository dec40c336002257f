# SPDX-License-Identifier: Apache-2.0
"""Programs on the mount: POSIX.1-2017 exec; execve(2)."""

from __future__ import annotations

import errno
import os

from instar.verify.posix import _do
from instar.verify.posix._arena import Arena
from instar.verify.posix._case import case, each

__all__: list[str] = []


def _install(source: str, target: str, mode: int = 0o755) -> None:
    with open(source, "rb") as program:
        _do.write(target, program.read())
    os.chmod(target, mode)


def _script(path: str, text: str, mode: int = 0o755) -> None:
    _do.write(path, text.encode())
    os.chmod(path, mode)


def _run(program: str, *arguments: str) -> tuple[int, bytes]:
    """Exit status and output."""
    out, into = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, into, 1),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    try:
        pid = os.posix_spawn(program, [program, *arguments], {"PATH": "/usr/bin:/bin"}, file_actions=actions)
    finally:
        os.close(into)
    output = b""
    while part := os.read(out, 65536):
        output += part
    os.close(out)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


@case(short=True)
def _program_runs(t: Arena) -> None:
    t.me(_install, "/bin/echo", "prog")
    t.equal(t.me(_run, "./prog", "hello", "world"), (0, b"hello world\n"), "status and output")
    t.equal(t.user_a(_run, "./prog", "user"), (0, b"user\n"), "status and output for a user")
    t.equal(t.me(_run, f"{t.path}/prog", "x"), (0, b"x\n"), "status and output by an absolute path")
    t.me(os.symlink, "prog", "link")
    t.equal(t.me(_run, "./link", "x"), (0, b"x\n"), "status and output by a link")


@case()
def _script_runs(t: Arena) -> None:
    t.me(_script, "s", "#!/bin/sh\necho from $1\nexit 7\n")
    t.equal(t.me(_run, "./s", "here"), (7, b"from here\n"), "status and output")
    t.me(_install, "/bin/sh", "interpreter")
    t.me(_script, "s2", f"#!{t.path}/interpreter\necho own interpreter\n")
    if len(t.path) < 200:
        t.equal(
            t.me(_run, "./s2"), (0, b"own interpreter\n"), "status and output of an interpreter on the mount"
        )


@case()
def _what_is_no_program_is_enoexec(t: Arena) -> None:
    t.me(_script, "garbage", "\x01\x02garbage")
    t.me(_script, "empty", "")
    t.me.fails(errno.ENOEXEC, _run, "./garbage")
    t.me.fails(errno.ENOEXEC, _run, "./empty")
    t.me(_script, "lost", "#!/no/such/interpreter\n")
    t.me.fails(errno.ENOENT, _run, "./lost")


@case(each("dir", "fifo", "socket"))
def _other_types_cannot_be_executed(t: Arena, kind: str) -> None:
    t.make(kind, "f", 0o755)
    t.me.fails(errno.EACCES, _run, "./f")


@case()
def _execute_permission_is_asked(t: Arena) -> None:
    t.me(_install, "/bin/true", "prog", 0o644)
    t.me.fails(errno.EACCES, _run, "./prog")
    t.me(os.chmod, "prog", 0o744)
    t.me(_run, "./prog")
    t.user_a.fails(errno.EACCES, _run, "./prog")
    t.me(os.chmod, "prog", 0o711)
    t.equal(t.user_a(_run, "./prog")[0], 0, "status of a program that cannot be read")
    t.user_a.fails(errno.EACCES, os.open, "prog", os.O_RDONLY)
    # A script must be readable for its interpreter.
    t.me(_script, "s", "#!/bin/sh\nexit 0\n", 0o711)
    t.true(t.user_a(_run, "./s")[0] != 0, "a script that cannot be read fails")


@case()
def _running_program_lives_on_when_its_file_is_removed_or_replaced(t: Arena) -> None:
    t.me(_install, "/bin/cat", "prog")
    t.equal(t.me(_replace_while_running, "prog"), b"still here", "what the running program answers")
    t.equal(t.me(_run, "./prog")[1], b"", "the new program")


def _replace_while_running(program: str) -> bytes:
    from_child, out = os.pipe()
    into, to_child = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, into, 0)]
    pid = os.posix_spawn(f"./{program}", [program], {}, file_actions=actions)
    _do.close_all(out, into)
    os.unlink(program)
    _install("/bin/true", program)
    os.write(to_child, b"still here")
    os.close(to_child)
    answer = os.read(from_child, 100)
    os.close(from_child)
    os.waitpid(pid, 0)
    return answer


@case()
def _library_from_the_mount_is_loaded(t: Arena) -> None:
    t.me(_install, "/bin/true", "prog")
    t.equal(
        t.me(_run, "/bin/sh", "-c", "cd . && ./prog && ls >/dev/null && pwd"),
        (0, t.path.encode() + b"\n"),
        "a shell at work",
    )


@case()
def _shell_pipeline_writes_and_reads(t: Arena) -> None:
    text = "for i in 1 2 3; do echo line $i; done > a; sort -r a > b; cat b a | wc -l; cp a c; cmp a c; mv c d; rm a b; ls"
    t.equal(t.me(_run, "/bin/sh", "-ec", text), (0, b"6\nd\n"), "status and output")

# SPDX-License-Identifier: Apache-2.0
"""Runs the blocks of one page in a scratch directory; see `pages` for what a page may say.

Python runs in one interpreter for the whole page and the shell in one bash, each a process of its own, so that a block
that hangs or ends its interpreter fails the page and not the tests. Output goes to files and not to pipes: a server
that a block leaves in the background would hold a pipe open.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.docs.pages import Block, PageError, matches, read_commands
from tests.support import leaks

ROOT = Path(__file__).resolve().parents[2]

# The page's interpreter: reads one job a line ({"code", "file", "line", "output"}), runs it, and answers {"error"} on the
# descriptor that its last argument names.
PYTHON = r"""
import ast, doctest, json, linecache, os, sys, traceback
answers = os.fdopen(int(sys.argv[1]), "w")
names = {"__name__": "__main__", "__builtins__": __builtins__}
sys.path.insert(0, "")
for line in sys.stdin:
    job = json.loads(line)
    out = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(out, 1), os.dup2(out, 2), os.close(out)
    error = ""
    try:
        if job["code"].lstrip().startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(job["code"], names, job["file"], job["file"], job["line"])
            test.globs = names
            flags = doctest.ELLIPSIS
            if doctest.DocTestRunner(verbose=False, optionflags=flags).run(test, clear_globs=False).failed:
                error = "the session went otherwise"
        else:
            tree = ast.parse(job["code"], job["file"])
            ast.increment_lineno(tree, job["line"])
            exec(compile(tree, job["file"], "exec"), names)
    except BaseException as raised:
        if not (isinstance(raised, SystemExit) and not raised.code):
            error = "".join(traceback.format_exception(raised.with_traceback(raised.__traceback__.tb_next)))
    sys.stdout.flush(), sys.stderr.flush()
    print(json.dumps({"error": error}), file=answers, flush=True)
"""


def lacks(needs: tuple[str, ...]) -> list[str]:
    """Which of the needs this machine does not meet."""
    missing = []
    for need in needs:
        if need == "root":
            met = os.getuid() == 0
        elif need == "mount":
            met = os.access("/dev/fuse", os.R_OK | os.W_OK) and (
                os.getuid() == 0 or bool(shutil.which("fusermount3"))
            )
        else:
            met = shutil.which(need) is not None
        if not met:
            missing.append(need)
    return missing


@dataclass
class Kept:
    """An interpreter that lives as long as its page: where it answers here, and the descriptor's number there."""

    process: subprocess.Popen[str]
    answers: int
    theirs: int


class PageRunner:
    """Runs blocks one after the other; a context manager that ends what they left."""

    def __init__(self, page: str, scratch: Path) -> None:
        self.page = page
        self.scratch = scratch / "page"
        self.scratch.mkdir()
        self._private = scratch / "private"
        self._private.mkdir()
        self._printed: str | None = None
        self._count = 0
        self._python: Kept | None = None
        self._shell: Kept | None = None
        scripts = sysconfig.get_path("scripts")
        self._environment = {
            **{
                name: os.environ[name]
                for name in ("LANG", "LC_ALL", "TERM", "TMPDIR", leaks.MARK)
                if name in os.environ
            },
            "HOME": str(self.scratch),
            "PATH": f"{scripts}:{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "100",
            "NO_COLOR": "1",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for kept in (self._python, self._shell):
            if kept is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(kept.process.pid, signal.SIGKILL)
                kept.process.wait()
                os.close(kept.answers)
                assert kept.process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # a job that it did not live to read
                    kept.process.stdin.close()
        for mount in self.left_mounts():
            subprocess.run(["umount", "--lazy", mount], check=False)

    def left_mounts(self) -> list[str]:
        """Mount points under the scratch directory that are still there."""
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        points = [line.split(" ")[4] for line in text.splitlines()]
        return sorted((point for point in points if point.startswith(f"{self.scratch}/")), reverse=True)

    def run(self, block: Block) -> str:
        """Run one block; returns what went wrong, or nothing."""
        match block.verb:
            case "file":
                path = self.scratch / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
                return ""
            case "run":
                return self._run_python(block)
            case "sh":
                return self._run_shell(block)
            case "output":
                if self._printed is None:
                    return "output without a block that ran before it"
                if not matches(block.text.splitlines(), self._printed):
                    return f"the page shows\n{block.text}\nand it printed\n{self._printed}"
                return ""
        return ""

    def _start(self, command: list[str]) -> Kept:
        """Start an interpreter that reads jobs from its standard input and answers on a pipe."""
        answers, theirs = os.pipe()
        process = subprocess.Popen(
            [*command, str(theirs)],
            cwd=self.scratch,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
            text=True,
        )
        os.close(theirs)
        os.set_blocking(answers, False)
        return Kept(process, answers, theirs)

    def _ask(self, kept: Kept, job: str, timeout: float) -> str | None:
        """Send a job and wait for the line that answers it; None when the time is over or the process ended."""
        assert kept.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            kept.process.stdin.write(job)
            kept.process.stdin.flush()
        got = b""
        deadline = time.monotonic() + timeout
        while not got.endswith(b"\n") and time.monotonic() < deadline:
            try:
                piece = os.read(kept.answers, 1 << 16)
            except BlockingIOError:
                time.sleep(0.005)
                continue
            if not piece:
                return None
            got += piece
        return got.decode() if got.endswith(b"\n") else None

    def _output_file(self) -> Path:
        self._count += 1
        path = self._private / f"output-{self._count}"
        path.touch()
        return path

    def _run_python(self, block: Block) -> str:
        if self._python is None:
            self._python = self._start([sys.executable, "-c", PYTHON])
        output = self._output_file()
        job = {"code": block.text, "file": self.page, "line": block.line, "output": str(output)}
        answer = self._ask(self._python, json.dumps(job) + "\n", block.timeout)
        self._printed = output.read_text(errors="replace")
        if answer is None:
            return f"it ended its interpreter, or took more than {block.timeout:.0f} s\n{self._printed}"
        error = json.loads(answer)["error"]
        if block.fails:
            return "" if error else "it is marked `fails` and did not fail"
        return f"{error}\n{self._printed}" if error else ""

    def _run_shell(self, block: Block) -> str:
        if self._shell is None:
            self._shell = self._start(["bash", "--noprofile", "--norc", "-s"])
        try:
            commands = read_commands(block.text)
        except PageError as error:
            return str(error)
        for number, command in enumerate(commands):
            output = self._output_file()
            script = self._private / f"command-{self._count}"
            script.write_text(command.text)
            # A command keeps what it sets; a script has a shell of its own, which stops at the first failure.
            body = f"( set -e; . '{script}' )" if command.expected is None else f"{{ . '{script}'; }}"
            answers = self._shell.theirs
            job = f"{body} >'{output}' 2>&1 </dev/null {answers}>&-; echo $? >&{answers}\n"
            answer = self._ask(self._shell, job, block.timeout)
            got = output.read_text(errors="replace")
            if answer is None:
                return f"$ {command.text}\nended its shell, or took more than {block.timeout:.0f} s\n{got}"
            should_fail = block.fails and number == len(commands) - 1
            if (answer.strip() != "0") != should_fail:
                return f"$ {command.text}\nended with status {answer.strip()}\n{got}"
            if command.expected is not None and not matches(command.expected, got):
                shown = "\n".join(command.expected)
                return f"$ {command.text}\nthe page shows\n{shown}\nand it printed\n{got}"
        return ""

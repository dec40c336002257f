# SPDX-License-Identifier: Apache-2.0
"""What a case is given: a fresh directory, actors, and assertions.

A wrong value or a wrong errno is noted and the case goes on, so one run shows all that is wrong; a call that should
succeed and does not ends the case. ``arena.me`` is the suite's own identity (root, when root runs it) and owns the
directory, mode 0755. ``root``, ``user_a``, ``user_b`` and :meth:`Arena.who` need root; without it the case is skipped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import NoReturn

from instar.verify.posix import _do, _zygote
from instar.verify.posix._actor import Actor, Crew, Identity, Process, error_name
from instar.verify.posix._case import Skip, Unsupported

__all__ = ["USER_A", "USER_B", "Arena"]

USER_A = Identity("user_a", 30001, 30001)
USER_B = Identity("user_b", 30002, 30002)
_ROOT = Identity("root", 0, 0)
_ME = Identity("me", -1, -1)
_CLOCK_REALTIME_COARSE = 5  # linux/time.h; what the kernel stamps files with
_CASES = f"{os.sep}cases{os.sep}"
_NAMES = {"a": "atime", "m": "mtime", "c": "ctime"}


class Arena:
    """One case's surroundings.

    Attributes:
        path: the case's directory, absolute. Actors start in it, so cases use relative names.
        assertions: how many were made.
        failures: what was wrong, a line each.
        granularity: of the file system's timestamps, ns.
    """

    def __init__(self, crew: Crew, path: str, *, optional: str = "", granularity: int = 1) -> None:
        self.path = path
        self.assertions = 0
        self.failures: list[str] = []
        self.granularity = granularity
        self._crew = crew
        self._optional = optional
        self._used: dict[Identity, Process] = {}
        self._extra: list[Process] = []
        self._latest = 0

    # Actors

    @property
    def me(self) -> Actor:
        """The suite's own identity."""
        return self._actor(_ROOT if os.geteuid() == 0 else _ME)

    @property
    def root(self) -> Actor:
        """The superuser."""
        return self._privileged(_ROOT)

    @property
    def user_a(self) -> Actor:
        """A user with a group of its own and no other."""
        return self._privileged(USER_A)

    @property
    def user_b(self) -> Actor:
        """Another one."""
        return self._privileged(USER_B)

    def who(self, uid: int, gid: int, *groups: int) -> Actor:
        """Any user, with supplementary groups."""
        return self._privileged(Identity(f"{uid}:{gid}:{','.join(map(str, groups))}", uid, gid, groups))

    def another(self, actor: Actor) -> Actor:
        """One more process of that identity, for this case only."""
        process = Process(self._crew, actor.identity)
        self._extra.append(process)
        return self._enter(process)

    def _privileged(self, identity: Identity) -> Actor:
        if os.geteuid() != 0:
            raise Skip("needs root to act as root and as other users")
        return self._actor(identity)

    def _actor(self, identity: Identity) -> Actor:
        process = self._used.get(identity)
        if process is not None and not process.dead:
            return Actor(self, process)
        process = self._used[identity] = self._crew.process(identity)
        return self._enter(process)

    def _enter(self, process: Process) -> Actor:
        process.do(_zygote.enter, self.path)
        return Actor(self, process)

    def close(self) -> None:
        """End the case for all its processes."""
        for process in self._used.values():
            if process.busy:
                process.kill()
            if not process.dead:
                process.do(_zygote.leave)
        for process in self._extra:
            process.kill()

    # Assertions

    def fail(self, message: str) -> None:
        """Note what is wrong, with the line of the case."""
        lines = [frame.lineno for frame in traceback.extract_stack() if _CASES in frame.filename]
        self.failures.append(f"line {lines[-1]}: {message}" if lines else message)

    def equal(self, actual: object, expected: object, what: str) -> None:
        """Assert that two values are equal."""
        self.assertions += 1
        if actual != expected:
            self.fail(f"{what} is {actual!r}, should be {expected!r}")

    def true(self, condition: object, what: str) -> None:
        """Assert a condition that ``what`` states."""
        self.assertions += 1
        if not condition:
            self.fail(f"not true: {what}")

    def skip(self, reason: str) -> NoReturn:
        """End the case: it cannot run here."""
        raise Skip(reason)

    def unsupported(self, reason: str) -> NoReturn:
        """End the case: the file system lacks something that it may lack."""
        raise Unsupported(reason)

    def lacking(self, number: int) -> None:
        """Raise Unsupported if the case is about an optional facility and ``number`` says that there is none."""
        if self._optional and number in {errno.EOPNOTSUPP, errno.ENOSYS}:
            raise Unsupported(f"{self._optional} ({error_name(number)})")

    # Looking at files

    def stat(self, path: str) -> os.stat_result:
        """Attributes of ``path`` itself, as ``me`` sees them."""
        return self.me(os.lstat, path)

    def has(
        self,
        path: str,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        nlink: int | None = None,
        kind: str | None = None,
        ino: int | None = None,
    ) -> None:
        """Assert attributes of ``path`` itself (links are not followed); mode is the permission bits with the upper three."""
        status = self.me(os.lstat, path)
        checks: list[tuple[str, object, object]] = []
        if mode is not None:
            checks.append(("mode", oct(stat.S_IMODE(status.st_mode)), oct(mode)))
        if kind is not None:
            checks.append(("type", _do.kind_of(status.st_mode), kind))
        for name, actual, expected in (
            ("uid", status.st_uid, uid),
            ("gid", status.st_gid, gid),
            ("size", status.st_size, size),
            ("nlink", status.st_nlink, nlink),
            ("ino", status.st_ino, ino),
        ):
            if expected is not None:
                checks.append((name, actual, expected))
        for name, found, wanted in checks:
            self.equal(found, wanted, f"{name} of {path!r}")

    def exists(self, path: str, expected: bool = True) -> None:
        """Assert that ``path`` names something (a dangling link does), or that it does not."""
        self.equal(self.me(_do.exists, path), expected, f"existence of {path!r}")

    def make(
        self, kind: str, path: str, mode: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """Make a file of a kind of :data:`KINDS` with exactly that mode, given to ``owner`` (uid, gid).

        Without a mode it is 0755 for a directory, 0644 for everything else.
        """
        if kind in {"block", "char"} and os.geteuid() != 0:
            raise Skip("needs root to make a device node")
        if mode is None:
            mode = 0o755 if kind == "dir" else 0o644
        self.me(_do.make, kind, path, mode)
        if owner is not None:
            self.root(os.chown, path, *owner, follow_symlinks=False)
            if kind != "symlink" and mode & 0o6000:
                self.root(os.chmod, path, mode)

    # Timestamps

    @contextlib.contextmanager
    def times(self, expected: Mapping[str, str]) -> Iterator[None]:
        """Assert which timestamps the body changes: ``{"d": "mc", "d/f": "c", "old>new": "c", "x": "mc?"}``.

        The letters (atime, mtime, ctime) name those that must become later; the others must stay. With ``?`` atime may do
        either. ``old>new`` looks at ``old`` before and at ``new`` after.
        """
        before = {key: self._stamps(key.partition(">")[0]) for key in expected}
        self.tick()
        yield
        for key, letters in expected.items():
            path = key.rpartition(">")[2]
            after = self._stamps(path)
            for index, letter in enumerate("amc"):
                if letter == "a" and "?" in letters:
                    continue
                old, new = before[key][index], after[index]
                self.assertions += 1
                if letter in letters and new <= old:
                    self.fail(f"{_NAMES[letter]} of {path!r} did not move on ({old} before, {new} after)")
                elif letter not in letters and new != old:
                    self.fail(f"{_NAMES[letter]} of {path!r} changed by {new - old} ns, should stay")

    def tick(self) -> None:
        """Wait until a new timestamp is later than all that :meth:`times` and :meth:`stat` have seen."""
        target = time.time_ns() // self.granularity * self.granularity + self.granularity
        while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) <= target:
            time.sleep(0.0005)

    def _stamps(self, path: str) -> tuple[int, int, int]:
        status = self.me(os.lstat, path)
        return (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)

# SPDX-License-Identifier: Apache-2.0
"""A subject: a file system that a benchmark can start, use and stop."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from _harness import mounts

# Given to every FUSE subject.
MOUNT_OPTIONS = ("allow_other", "default_permissions")


@dataclass(frozen=True)
class Setting:
    """How long the kernel may trust what it was told: seconds, or None for what each subject does by itself."""

    name: str
    timeout: float | None
    explanation: str


UNCACHED = Setting("uncached", 0.0, "entry and attribute timeout 0: every name is asked for again")
NORMAL = Setting("normal", None, "each subject's own default timeouts")
SETTINGS = {setting.name: setting for setting in (UNCACHED, NORMAL)}


class Subject:
    """Base of all subjects; ``start`` gives a directory to work in, ``stop`` takes all of it away.

    Class attributes describe it: ``name`` for the command line and tables, ``kind`` ("native", "memfs" or "mirror"),
    ``label`` for people, ``default`` whether it runs when nobody chose.
    """

    name = ""
    kind = ""
    label = ""
    default = True

    def __init__(self, arena: mounts.Arena) -> None:
        self.arena = arena

    def missing(self) -> str:
        """Why it cannot run here and how to get it, in one line; empty if it can."""
        raise NotImplementedError

    def version(self) -> str:
        """What it is, with its version."""
        raise NotImplementedError

    def timeouts(self, setting: Setting) -> str:
        """The timeouts it runs with, in words."""
        return "entry 0 s, attr 0 s" if setting.timeout == 0 else "its default"

    def start(self, setting: Setting) -> Path:
        """Bring it up and return an empty directory to work in."""
        raise NotImplementedError

    def stop(self) -> None:
        """Undo ``start``; harmless if nothing was started."""
        raise NotImplementedError


class FuseSubject(Subject):
    """A subject that is a program serving a FUSE mount in the foreground until it is unmounted."""

    def __init__(self, arena: mounts.Arena) -> None:
        super().__init__(arena)
        self.server: subprocess.Popen[bytes] | None = None
        self.mount: mounts.Mount | None = None
        self._point: Path | None = None
        self._source: Path | None = None
        self._log = arena.path / f"{self.name}.log"

    def command(self, point: Path, source: Path, setting: Setting) -> list[str]:
        """The command line; ``source`` is the directory that a mirror shows."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The environment of the server."""
        return dict(os.environ)

    def start(self, setting: Setting) -> Path:
        """Start the server and wait until its mount answers.

        Raises:
            mounts.MountTrouble: it does not come up; what it printed is in the message.
        """
        self._point = self.arena.mount_point(self.name)
        self._source = self.arena.fresh(self.name)
        with self._log.open("wb") as log:
            self.server = subprocess.Popen(
                self.command(self._point, self._source, setting),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.arena.path,
            )
        try:
            self.mount = mounts.wait_for_mount(str(self._point), self.server, self._log)
        except (mounts.MountTrouble, OSError):
            self.stop()
            raise
        return self._point

    def stop(self) -> None:
        """Unmount, wait for the server, remove what it mirrored."""
        if self._point is not None:
            for _ in range(50):  # the last RELEASE may still be on its way, which makes umount say "busy"
                mounts.unmount(str(self._point))
                if mounts.find_mount(str(self._point)) is None:
                    break
                time.sleep(0.05)
        if self.server is not None:
            mounts.end(self.server)
        self.server = self.mount = None
        if self._source is not None:
            shutil.rmtree(self._source, ignore_errors=True)
        if self._point is not None:
            self._point.rmdir()
        self._point = self._source = None

# SPDX-License-Identifier: Apache-2.0
"""What this test process holds in the kernel, so that two moments can be compared.

Mounts, child processes (also those that made themselves daemons), descriptors, named network namespaces, the working
directory, umask and user. Other test runs on the same machine do not disturb: a mount counts if it lies in this run's own
temporary directory or outside the temporary directories of all; a process counts if it descends from this one or carries
this run's mark in its environment.
"""

from __future__ import annotations

import gc
import os
import re
import time
from dataclasses import dataclass, field

__all__ = ["MARK", "Holdings", "descendants", "holdings", "left_behind", "mounts_below"]

MARK = "INSTAR_TEST_RUN"
"""The environment variable by which a process is known to belong to a run."""

_GRACE = 5.0  # seconds that a server gets to finish after its mount is gone
_OF_PYTHON = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass
class Holdings:
    """What is held at one moment; each as a number or name and the words for a message."""

    mounts: dict[str, str] = field(default_factory=dict)
    processes: dict[str, str] = field(default_factory=dict)
    fds: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)


def mounts_below(directory, pid="self"):
    """(mount id, device number, mount point, type) of what is mounted at or below a directory."""
    found = []
    for ident, device, point, kind in _mounts(pid):
        if point == directory or point.startswith(directory.rstrip("/") + "/"):
            found.append((ident, device, point, kind))
    return found


def _mounts(pid="self"):
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as table:
        for line in table:
            fields = line.split(" ")
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            yield fields[0], fields[2], point, fields[fields.index("-") + 1]


def _is_ours(point, tmp):
    if point == tmp or point.startswith(tmp + "/"):
        return True
    return not point.startswith(("/tmp/", "/var/tmp/", "/dev/shm/"))


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # it went away while we looked, or is another user's
        return b""


def _command(pid):
    words = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return words or _read(f"/proc/{pid}/comm").decode(errors="replace").strip()


def _status(pid):
    """(state, parent) of a process, or None."""
    text = _read(f"/proc/{pid}/stat").decode(errors="replace")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1])


def descendants(root):
    """Every process below ``root``, zombies too, as {pid: state}."""
    parents = {}
    states = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (status := _status(name)) is not None:
            states[int(name)], parents[int(name)] = status
    found = {}
    for pid, state in states.items():
        above = pid
        while above > 1:
            above = parents.get(above, 0)
            if above == root:
                found[pid] = state
                break
    return found


def _processes(mark):
    found = {}
    for pid, state in descendants(os.getpid()).items():
        found[pid] = "not waited for" if state == "Z" else "running"
    if mark:
        wanted = f"{MARK}={mark}".encode()
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) in found or int(name) == os.getpid():
                continue
            if wanted in _read(f"/proc/{name}/environ").split(b"\0"):
                status = _status(name)
                if status is not None and status[0] != "Z":
                    found[int(name)] = "running as a daemon"
    named = {}
    for pid, how in found.items():
        command = _command(pid)
        if not any(word in command for word in _OF_PYTHON):
            named[str(pid)] = f"process {pid} ({command[:120]}), {how}"
    return named


def _fds():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the descriptor of the listing itself
            continue
        found[f"{name} {target}"] = f"descriptor {name} of this process: {target}"
    return found


def _namespaces():
    try:
        names = os.listdir("/run/netns")
    except FileNotFoundError:
        names = []
    return {name: f"network namespace {name}" for name in names if name.startswith("instar")}


def _state():
    umask = re.search(rb"^Umask:\s*(\S+)", _read("/proc/self/status"), re.MULTILINE)
    return {
        "cwd": os.readlink("/proc/self/cwd"),
        "umask": umask[1].decode() if umask else "",
        "effective user": str(os.geteuid()),
        "network namespace": os.readlink("/proc/self/ns/net"),
        "mount namespace": os.readlink("/proc/self/ns/mnt"),
        "root": os.readlink("/proc/self/root"),
    }


def holdings(tmp, mark=None):
    """What is held now. ``tmp`` is the run's temporary directory, ``mark`` its mark."""
    mounts = {
        f"{ident} {point}": f"mount of {kind} at {point} (device {device})"
        for ident, device, point, kind in _mounts()
        if _is_ours(point, tmp)
    }
    return Holdings(mounts, _processes(mark), _fds(), _namespaces(), _state())


def _new(before, after):
    lines = []
    for kind in ("mounts", "processes", "fds", "namespaces"):
        old, new = getattr(before, kind), getattr(after, kind)
        lines += [words for key, words in sorted(new.items()) if key not in old]
    for key, value in after.state.items():
        if before.state[key] != value:
            lines.append(f"{key} is {value}, was {before.state[key]}")
    return lines


def left_behind(before, tmp, mark=None, grace=_GRACE):
    """One line for each thing that is held now and was not before; what is on its way out gets ``grace`` seconds."""
    deadline = time.monotonic() + grace
    pause = 0.001
    collected = False
    while True:
        lines = _new(before, holdings(tmp, mark))
        if not lines or time.monotonic() > deadline:
            return lines
        if not collected:
            gc.collect()
            collected = True
            continue
        time.sleep(pause)
        pause = min(0.2, pause * 2)

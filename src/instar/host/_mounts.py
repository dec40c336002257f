# SPDX-License-Identifier: Apache-2.0
"""What is mounted, and who serves it: ``/proc/self/mountinfo`` joined with a record that each server leaves.

A record is a small JSON file in the runtime directory (``/run/instar``, or ``$XDG_RUNTIME_DIR/instar`` for users).
Its name is the mount's device number and the moment it was written, so no two servers ever write the same file, and none
can remove another's. The kernel's table is the truth; a record without a mount is stale and is removed.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from instar._errors import InstarError
from instar.edge import mount as edge
from instar.edge.mount import MountError
from instar.edge.mountinfo import MountEntry, mount_table, stacked
from instar.host._probe import PROBE_SECONDS, asked, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MountRecord",
    "MountState",
    "find_mount",
    "list_mounts",
    "mount_states",
    "mounts_at",
    "runtime_directory",
    "unmount",
    "unusable",
    "write_record",
]

_KEEP_LOGS: Final = 7 * 86400.0  # seconds that the log of a server that died is kept
_SAVED: Final = ("target", "pid", "birth", "namespace", "started", "version", "log")
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_FSTYPE: Final = "fuse.instar"


class MountState(enum.StrEnum):
    """How a mount is doing."""

    SERVING = "serving"
    #: Its server is stopped, by SIGSTOP or a debugger: whoever uses the mount waits.
    STOPPED = "stopped"
    #: Its server runs and does not answer.
    HUNG = "hung"
    #: Its server is gone, or the connection to it was aborted.
    DEAD = "dead"
    #: It answers, and there is no record of its server: one of another user's, or one that is mounting just now.
    UNKNOWN = "unknown"


class MountRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One mount. ``pid`` is 0 and ``started`` (seconds since the epoch) is 0 where no record was found."""

    mountpoint: str
    fstype: str
    source: str
    options: str
    device: str
    target: str = ""
    pid: int = 0
    started: float = 0.0
    version: str = ""
    log: str = ""
    alive: bool = True
    #: When the process started, in clock ticks since boot: with ``pid``, one process and no other.
    birth: int = 0
    #: The namespace that ``pid`` is a number of; in another one it says nothing (pid_namespaces(7)).
    namespace: str = ""

    @property
    def uptime(self) -> float:
        """Seconds since the server started."""
        return time.time() - self.started if self.started else 0.0


def runtime_directory() -> Path:
    """Where records, sockets and logs of running mounts live; made on first use, the owner's alone.

    Raises :class:`InstarError` when there is no place for one.
    """
    user = os.geteuid()
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    places = [Path("/run/instar")] if user == 0 else []
    places += [Path(xdg) / "instar"] if xdg else []
    places += [Path(f"/tmp/instar-{user}")]
    for path in places:
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            status = path.lstat()
        except OSError:  # no such parent, or not ours to write: a root of a user namespace, say
            continue
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user:
            continue  # another user's: one that root of a user namespace sees, say
        if status.st_mode & _OTHERS_MAY_WRITE:
            raise InstarError(
                f"{path} can be written by others, who could put records and sockets there: `chmod 700 {path}`, and try again."
            )
        return path
    raise InstarError(
        f"None of {', '.join(map(str, places))} can be used: set XDG_RUNTIME_DIR to a directory of your own."
    )


def list_mounts() -> list[MountRecord]:
    """Every Instar mount that this process can see, in the order of the kernel's table.

    Records of mounts that are gone with their servers are removed.
    """
    found = []
    directory = runtime_directory()
    saved = _saved_records(
        directory
    )  # before the table: a record that is newer than it is not seen, nor removed
    used = set()
    for line in mount_table():
        if not _is_instar(line):
            continue
        record = MountRecord(
            mountpoint=line.mountpoint,
            fstype=line.fstype,
            source=line.source,
            options=line.options,
            device=line.device,
        )
        path = _record_of(line, saved)
        if path is not None:
            used.add(path)
            for name in _SAVED:
                setattr(record, name, getattr(saved[path], name))
        record.alive = record.pid == 0 or _lives(record)
        found.append(record)
    _remove_stale(directory, saved, used)
    return found


def mounts_at(mountpoint: str | os.PathLike[str]) -> list[MountEntry]:
    """Everything mounted at ``mountpoint``, of whatever type, the topmost last. Asks nothing of the mounts."""
    return stacked(mount_table(), resolved(mountpoint))


def _record_of(line: MountEntry, saved: dict[Path, MountRecord]) -> Path | None:
    """Where the mount's record is: that of a server which runs, else the newest (device numbers are used again)."""
    fitting = [
        (_lives(record), record.started, path)
        for path, record in saved.items()
        if record.device == line.device and record.mountpoint == line.mountpoint
    ]
    return max(fitting)[2] if fitting else None


def mount_states(records: list[MountRecord], seconds: float = PROBE_SECONDS) -> list[MountState]:
    """How each mount is doing. All are asked at once, and waited for no longer than ``seconds``."""
    table = mount_table()
    stops = [bool(record.pid) and _process(record.pid)[0] in (b"T", b"t") for record in records]
    # What another mount hides cannot be asked. What is stopped is asked: its connection may have been aborted.
    asks = [record.alive and _is_on_top(record, table) for record in records]
    places = {record.mountpoint for record, ask in zip(records, asks, strict=True) if ask}
    answers = asked(sorted(places), seconds)
    return [
        _state(record, stopped=stopped, asked_for=ask, answer=answers.get(record.mountpoint) if ask else None)
        for record, stopped, ask in zip(records, stops, asks, strict=True)
    ]


def _state(
    record: MountRecord, *, stopped: bool, asked_for: bool, answer: tuple[int, str] | None
) -> MountState:
    if not record.alive or (answer is not None and answer[0] == errno.ENOTCONN):
        return MountState.DEAD
    if stopped:
        return MountState.STOPPED
    if asked_for and answer is None:
        return MountState.HUNG
    return MountState.SERVING if record.pid else MountState.UNKNOWN


def _is_on_top(record: MountRecord, table: list[MountEntry]) -> bool:
    stack = stacked(table, record.mountpoint)
    return bool(stack) and stack[-1].device == record.device


def find_mount(mountpoint: str | os.PathLike[str]) -> MountRecord | None:
    """The topmost Instar mount at ``mountpoint``, or ``None``. Asks nothing of the mount itself, which may hang.

    Another mount may lie on top of it and hide it.
    """
    lines = [line for line in mounts_at(mountpoint) if _is_instar(line)]
    if not lines:
        return None
    wanted = lines[-1].mountpoint, lines[-1].device
    return next((record for record in list_mounts() if (record.mountpoint, record.device) == wanted), None)


def unmount(mountpoint: str | os.PathLike[str], *, lazy: bool = False, force: bool = False) -> MountRecord:
    """Unmount what Instar has mounted at ``mountpoint``, and return what it was; its server ends by itself.

    ``lazy`` detaches at once and lets open files go on; ``force`` aborts requests in flight first (without root that takes
    ``/sys/fs/fuse/connections``; where it is missing, nothing is aborted). Then, and
    where the server is dead, there is nothing to wait for: the mount is detached even if it is in use. What is not Instar's
    is never touched, on top of an Instar mount neither. Raises :class:`InstarError` that says what to do.
    """
    lines = mounts_at(mountpoint)
    record = find_mount(mountpoint)
    if not lines or record is None or not _is_instar(lines[-1]):
        raise _not_ours(os.path.abspath(mountpoint), lines, hidden=record is not None)
    if force and os.geteuid() != 0:
        edge.abort_connection(record.device)  # fusermount3, which unmounts for users, does not
    try:
        edge.unmount(record.mountpoint, lazy=lazy or not record.alive, force=force)
    except MountError as error:
        if not force or error.errno != errno.EBUSY:
            raise
        edge.unmount(record.mountpoint, lazy=True)  # aborted it is of no use to those who still hold it
    if not record.alive:
        list_mounts()  # removes the record
    return record


@contextlib.contextmanager
def write_record(mountpoint: str, target: str, version: str, log: str) -> Iterator[None]:
    """Leave a record for the mount at ``mountpoint`` while the body runs.

    Raises :class:`InstarError` when the runtime directory takes none, because it is full, say.
    """
    record = find_mount(mountpoint)
    if record is None:
        yield
        return
    record.target, record.version, record.log = target, version, log
    record.pid, record.started, record.alive = os.getpid(), time.time(), True
    record.birth, record.namespace = _birth(record.pid) or 0, _pid_namespace()
    directory = runtime_directory()
    path = directory / f"{record.device}.{time.monotonic_ns()}.json"
    scratch = path.with_suffix(f".{os.getpid()}")
    # Not msgspec's: a path that is not UTF-8 has surrogates in it, which only the standard library escapes.
    text = json.dumps(msgspec.to_builtins(record))
    try:
        scratch.write_text(text, encoding="ascii")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise unusable(directory, error) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def unusable(directory: Path, error: OSError) -> InstarError:
    """Why the runtime directory cannot be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InstarError(
            f"{directory} is full, and each mount leaves a small record there: make room "
            f"(`df -h {directory}; df -i {directory}`), and mount again. Nothing is mounted."
        )
    return InstarError(
        f"{directory} cannot be written ({error.strerror}), and each mount leaves a small record there: "
        f"mend that, or set XDG_RUNTIME_DIR to another directory, and mount again. Nothing is mounted."
    )


def _is_instar(line: MountEntry) -> bool:
    return line.fstype.startswith(_FSTYPE)


def _not_ours(path: str, lines: list[MountEntry], *, hidden: bool) -> MountError:
    if not lines:
        return MountError(f"Nothing of Instar's is mounted at {path}.", errno.EINVAL)
    top = lines[-1]
    if hidden:
        sentence = (
            f"{path} has {top.fstype} mounted over Instar's mount: remove that first with `umount {path}`."
        )
    else:
        sentence = (
            f"Nothing of Instar's is mounted at {path}, but {top.fstype}: `umount {path}` would remove that."
        )
    return MountError(sentence, errno.EINVAL)


def _saved_records(directory: Path) -> dict[Path, MountRecord]:
    saved = {}
    for path in directory.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, msgspec.ValidationError):  # just removed, or not ours
            saved[path] = msgspec.convert(json.loads(path.read_bytes()), MountRecord)
    return saved


def _remove_stale(directory: Path, saved: dict[Path, MountRecord], used: set[Path]) -> None:
    """Remove what servers that are gone have left. What a mount still needs to be explained stays."""
    for path, record in saved.items():
        if path not in used and not _lives(record):
            path.unlink(missing_ok=True)
    logs = {saved[path].log for path in used}
    for path in directory.glob("*.log"):
        if str(path) in logs or not path.stem.isdecimal() or _birth(int(path.stem)) is not None:
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _KEEP_LOGS:
                path.unlink()


def _lives(record: MountRecord) -> bool:
    """Whether the server runs, and is not another process that got its number. One of another namespace is taken to."""
    if record.namespace not in ("", _pid_namespace()):
        return True
    now = _birth(record.pid)
    return now is not None and record.birth in (0, now)


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _birth(pid: int) -> int | None:
    """``starttime`` of ``/proc/PID/stat``; ``None`` when there is no such process, or only its remains."""
    state, birth = _process(pid)
    return None if state in (b"Z", b"X", b"") else birth


def _process(pid: int) -> tuple[bytes, int]:
    """``state`` and ``starttime`` of ``/proc/PID/stat`` (``proc_pid_stat(5)``); an empty state for no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return b"", 0
    state, *fields = text[text.rindex(b")") + 2 :].split()
    return state, int(fields[18])

# SPDX-License-Identifier: Apache-2.0
"""What the kernel does not send with a request: the caller's supplementary groups and capabilities.

A FUSE request carries one uid, one gid and the number of a thread; the thread waits in its system call, so
``/proc/PID/status`` (``proc_pid_status(5)``) tells the rest. Reading it takes some microseconds, so only what is rare asks
for it. Where it cannot be read (another pid namespace, ``hidepid``, a caller that was killed) nothing is known.

Capabilities are those that the caller has in its own user namespace (``user_namespaces(7)``): a thread that has made
itself root of a new one has them all there, and none where the mount is. The file does not tell the difference, so
nothing weightier may hang on them than whether a set-ID bit stays or is cleared.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instar.fs._types import Context

__all__ = ["Capability", "Rights", "rights_of"]


class Capability(enum.IntFlag):
    """``CAP_*`` of ``linux/capability.h``, as bits."""

    FOWNER = 1 << 3
    FSETID = 1 << 4


@dataclass(frozen=True)
class Rights:
    """The supplementary groups and the effective capabilities of a thread, those relative to its own user namespace."""

    groups: frozenset[int]
    capabilities: int

    def may_keep_sgid(self, gid: int) -> bool:
        """Whether a change by this thread leaves the set-group-ID bit of a file of group ``gid`` (not its own) alone."""
        return gid in self.groups or bool(self.capabilities & Capability.FSETID)


def rights_of(ctx: Context) -> Rights | None:
    """What the caller may do beyond its uid and gid, or ``None`` where that cannot be known.

    >>> import os
    >>> from instar.fs import Context
    >>> rights_of(Context(pid=os.getpid())).groups == set(os.getgroups())
    True
    >>> rights_of(Context(pid=0)) is None
    True
    """
    if not ctx.pid:
        return None
    try:
        with open(f"/proc/{ctx.pid}/status", encoding="ascii", errors="replace") as file:
            lines = dict(line.partition(":")[::2] for line in file)
    except OSError:
        return None
    if "Groups" not in lines or "CapEff" not in lines:
        return None
    return Rights(frozenset(map(int, lines["Groups"].split())), int(lines["CapEff"], 16))

# SPDX-License-Identifier: Apache-2.0
"""Creating files in somebody else's name: setfsuid(2), setfsgid(2) and the capabilities that go with them.

A file server that runs as root makes files that belong to its callers. It takes on their file system user and group
for the one system call, while it keeps its own power over directories: whoever asks has been checked already.
When the file system user id leaves 0 the kernel takes the capabilities of ``CAP_FS_MASK`` out of the effective set
(capabilities(7)); they are put back with capset(2), which the permitted set allows. Nothing outlasts :meth:`~FsCredentials.restore`,
unlike with the securebits, which a later setuid(2) of the same thread would feel.

Everything here is a property of the calling thread.

Specification: setfsuid(2), setfsgid(2), capset(2), capabilities(7), linux/capability.h.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
from typing import Final

from instar.edge._errno import call_error

__all__ = ["Capability", "FsCredentials"]

_LINUX_CAPABILITY_VERSION_3: Final = 0x20080522  # linux/capability.h
# The byte order is the machine's in both: the kernel reads plain numbers of 32 bits.
_HEADER: Final = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)  # 0: this thread
_DATA: Final = struct.Struct("=6I")  # two of: effective, permitted, inheritable


class Capability(enum.IntEnum):
    """``CAP_*`` of linux/capability.h, those that a file server needs."""

    DAC_READ_SEARCH = 2
    FSETID = 4
    SETGID = 6
    SETUID = 7


# SAFETY: the prototypes are those of sys/fsuid.h (uid_t and gid_t are 32 bits without a sign) and of capget(2); neither
# of the four keeps a pointer.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.setfsuid.argtypes = [ctypes.c_uint]
_libc.setfsuid.restype = ctypes.c_int
_libc.setfsgid.argtypes = [ctypes.c_uint]
_libc.setfsgid.restype = ctypes.c_int
_libc.capget.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
_libc.capget.restype = ctypes.c_int
_libc.capset.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
_libc.capset.restype = ctypes.c_int


class FsCredentials:
    """The calling thread's file system identity, which can be lent to a caller for one system call."""

    __slots__ = ("_effective", "_gid", "_own", "_uid", "_without_fsetid")

    def __init__(self) -> None:
        self._uid = os.geteuid()
        self._gid = os.getegid()
        self._own = b""
        self._without_fsetid = b""
        self._effective = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the thread's capabilities again, after something has changed them."""
        buffer = ctypes.create_string_buffer(_HEADER, len(_HEADER))
        data = ctypes.create_string_buffer(_DATA.size)
        # SAFETY: version 3 makes the kernel write two cap_user_data_t, the 24 bytes of `data`; it may write the version
        # into the header, which is a buffer of its own here.
        if _libc.capget(buffer, data) != 0:
            raise call_error()
        low, permitted, inheritable, *high = _DATA.unpack(data.raw)
        self._effective = low | high[0] << 32
        self._own = data.raw
        self._without_fsetid = _DATA.pack(low & ~(1 << Capability.FSETID), permitted, inheritable, *high)

    def has(self, capability: Capability) -> bool:
        """Whether the capability was effective when the capabilities were last read."""
        return bool(self._effective >> capability & 1)

    @property
    def can_assume(self) -> bool:
        """Whether :meth:`assume` works: the thread may set its user and its group."""
        return self.has(Capability.SETUID) and self.has(Capability.SETGID)

    def assume(self, uid: int, gid: int) -> None:
        """Own what is created from now on as ``uid`` and ``gid``, with the thread's own capabilities.

        Call :meth:`restore` in a ``finally``. Raises :class:`OSError` as capset(2) does; the identity is then as before.
        """
        if gid != self._gid:
            # SAFETY: takes a number and has no memory to touch. It cannot fail where can_assume is true.
            _libc.setfsgid(gid)
        if uid != self._uid:
            # SAFETY: as setfsgid().
            _libc.setfsuid(uid)
            try:
                self._capset(self._own)
            except OSError:
                self._back()
                raise

    def restore(self, uid: int, gid: int) -> None:
        """Undo :meth:`assume` of the same ``uid`` and ``gid``.

        Raises :class:`OSError` as capset(2) does, with user and group already as they were.
        """
        if uid != self._uid or gid != self._gid:
            self._back()
        if uid == 0 != self._uid:  # a server that is not root has left 0 now, which takes its capabilities
            self._capset(self._own)

    def _back(self) -> None:
        # SAFETY: both take a number and have no memory to touch, and neither refuses the thread's own effective number;
        # back at user 0 the kernel raises the capabilities by itself.
        _libc.setfsuid(self._uid)
        _libc.setfsgid(self._gid)

    def drop_fsetid(self) -> None:
        """Let writes and truncations clear set-ID bits, as they do for a caller without ``CAP_FSETID``.

        Call :meth:`regain_fsetid` in a ``finally``.
        """
        if self._own != self._without_fsetid:
            self._capset(self._without_fsetid)

    def regain_fsetid(self) -> None:
        """Undo :meth:`drop_fsetid`."""
        if self._own != self._without_fsetid:
            self._capset(self._own)

    def _capset(self, data: bytes) -> None:
        # SAFETY: the kernel reads the header and two cap_user_data_t, 24 bytes, from bytes objects of that size; with a valid
        # version it writes nothing.
        if _libc.capset(_HEADER, data) != 0:
            # EPERM is no exception: the thread has fewer capabilities than when they were read. Going on would serve the
            # caller with the wrong rights, or leave set-ID bits where they have to go.
            raise call_error()

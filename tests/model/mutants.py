# SPDX-License-Identifier: Apache-2.0
"""Worlds that do one thing wrong, as a defective file system would: each must be found out."""

from __future__ import annotations

import contextlib
import dataclasses
import os

from instar.verify import model as m

__all__ = ["MUTANTS"]


class TruncateOffByOne(m.World):
    """A file truncated to more than a page is one byte too long."""

    def perform(self, operation):
        if isinstance(operation, m.FTruncate | m.Truncate) and operation.size > 4096:
            operation = dataclasses.replace(operation, size=operation.size + 1)
        return super().perform(operation)


class AppendIgnored(m.World):
    """O_APPEND is forgotten: writes go to the position."""

    def perform(self, operation):
        if isinstance(operation, m.Open):
            operation = dataclasses.replace(operation, flags=operation.flags & ~os.O_APPEND)
        return super().perform(operation)


class RenameLosesXattrs(m.World):
    """A renamed file has no extended attributes any more."""

    def perform(self, operation):
        outcome = super().perform(operation)
        if isinstance(operation, m.Rename) and not outcome.error and not operation.flags:
            with contextlib.suppress(OSError):
                for name in os.listxattr(operation.new_path, follow_symlinks=False):
                    os.removexattr(operation.new_path, name, follow_symlinks=False)
        return outcome


class PunchLeavesTheLastByte(m.World):
    """The last byte of a hole keeps what it was."""

    def perform(self, operation):
        if isinstance(operation, m.FAllocate) and operation.mode & m.FallocateMode.PUNCH_HOLE:
            operation = dataclasses.replace(operation, size=max(1, operation.size - 1))
        return super().perform(operation)


class LinkCopies(m.World):
    """A hard link is a copy."""

    def perform(self, operation):
        if isinstance(operation, m.Link):
            probe = super().perform(operation)
            if probe.error or os.path.islink(operation.new_path) or not os.path.isfile(operation.new_path):
                return probe
            with open(operation.new_path, "rb") as file:
                data = file.read()
            mode = os.stat(operation.new_path).st_mode
            os.unlink(operation.new_path)
            with open(operation.new_path, "wb") as file:
                file.write(data)
            os.chmod(operation.new_path, mode & 0o7777)
            return probe
        return super().perform(operation)


class WriteKeepsTimes(m.World):
    """Writing does not change the mtime."""

    def perform(self, operation):
        if isinstance(operation, m.PWrite | m.Write) and operation.slot in self.handles:
            fd = self.handles[operation.slot]
            before = os.fstat(fd)
            outcome = super().perform(operation)
            with contextlib.suppress(OSError):
                os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
            return outcome
        return super().perform(operation)


class UnlinkedFilesGoAway(m.World):
    """A file that is removed while it is open loses its content."""

    def perform(self, operation):
        outcome = super().perform(operation)
        if isinstance(operation, m.Unlink) and not outcome.error:
            for fd in self.handles.values():
                with contextlib.suppress(OSError):
                    if os.fstat(fd).st_nlink == 0:
                        os.ftruncate(fd, 0)
        return outcome


class ExchangeForgetsOne(m.World):
    """Exchanging two names only moves one of them."""

    def perform(self, operation):
        if isinstance(operation, m.Rename) and operation.flags == m.RenameFlags.EXCHANGE:
            both = os.path.isfile(operation.path), os.path.isfile(operation.new_path)
            if all(both):
                return super().perform(m.Rename(operation.path, operation.new_path))
        return super().perform(operation)


class MappingsAreStale(m.World):
    """A shared mapping is private: what is stored there never reaches the file."""

    def perform(self, operation):
        if isinstance(operation, m.Map):
            operation = dataclasses.replace(operation, private=True)
        return super().perform(operation)


class SetgidStays(m.World):
    """A change of owner leaves the set-user-ID bit."""

    def perform(self, operation):
        if isinstance(operation, m.Chown | m.FChown):
            with contextlib.suppress(OSError):
                what = operation.path if isinstance(operation, m.Chown) else self.fd(operation.slot)
                mode = os.stat(what).st_mode
                outcome = super().perform(operation)
                if not outcome.error and not (isinstance(operation, m.Chown) and not operation.follow):
                    os.chmod(what, mode & 0o7777)
                return outcome
        return super().perform(operation)


MUTANTS = (
    TruncateOffByOne,
    AppendIgnored,
    RenameLosesXattrs,
    PunchLeavesTheLastByte,
    LinkCopies,
    WriteKeepsTimes,
    UnlinkedFilesGoAway,
    ExchangeForgetsOne,
    MappingsAreStale,
    SetgidStays,
)

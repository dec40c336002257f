# SPDX-License-Identifier: Apache-2.0
"""A listing with attributes that nobody reads to its end leaves no node behind that is never forgotten."""

from __future__ import annotations

import os

from instar.fs import Attr, DirEntry, Entry, FileSystem
from instar.testing import Channel
from instar.wire import fuse as wire
from instar.wire.fuse import Opcode

ROOM_FOR_THREE = 600  # bytes: an entry with attributes takes 160


class Counting(FileSystem):
    """Makes a node for each name that it lists, and says which were forgotten."""

    def __init__(self) -> None:
        self.made: set[int] = set()

    def getattr(self, ctx, ino, fh=None):
        return Attr(ino, 0o040755 if ino == 1 else 0o100644)

    def forget(self, ino):
        self.made.remove(ino)

    def readdirplus(self, ctx, ino, fh, cookie):
        for number in range(cookie + 2, 50):
            self.made.add(number)
            yield DirEntry(
                f"n{number}", number, 0o100644, number - 1, Entry(number, self.getattr(ctx, number))
            )


def test_the_entry_that_did_not_fit_is_forgotten_when_the_directory_is_closed() -> None:
    fs = Counting()
    channel = Channel(fs)
    try:
        opened = channel.call(wire.OpenReply, Opcode.FUSE_OPENDIR, wire.Opendir(os.O_RDONLY), 1)
        listing = wire.Readdirplus(opened.fh, 0, ROOM_FOR_THREE)
        reply = channel.call(wire.ReaddirplusReply, Opcode.FUSE_READDIRPLUS, listing, 1)
        told = [line.entry.nodeid for line in reply.entries if line.entry.nodeid]
        assert fs.made - set(told), "the listing is too short to leave an entry out"
        channel.call(wire.EmptyReply, Opcode.FUSE_RELEASEDIR, wire.Releasedir(opened.fh, 0), 1)
        assert fs.made == set(told)
        for ino in told:
            channel.post(Opcode.FUSE_FORGET, wire.Forget(1), ino)
        assert fs.made == set()
    finally:
        channel.close()

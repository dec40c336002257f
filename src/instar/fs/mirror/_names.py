# SPDX-License-Identifier: Apache-2.0
"""Names: lookup, and everything that makes, moves and removes them.

Each name is a single component below a directory's descriptor; none of the system calls here follows a symbolic link
at its end. When a name goes away the node that it stood for may still be in use, so it is *pinned* first: its descriptor
stays open, and it is let go if the file turns out to have another name.

Specification: openat(2), mknodat(2), linkat(2), unlinkat(2), renameat2(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from instar.edge import syscalls
from instar.fs._types import Context, Entry, Open, RenameFlags
from instar.fs.mirror._base import MirrorBase
from instar.fs.mirror._files import backing_flags
from instar.fs.mirror._nodes import Node, encode_name, fail

__all__ = ["Names"]

_CREATE: Final = os.O_CREAT | os.O_EXCL
_PERMISSIONS: Final = 0o7777


class Names(MirrorBase):
    """The operations on names."""

    def lookup(self, ctx: Context, parent: int, name: str) -> Entry:
        """Find a name. ``.`` and ``..`` never come here: the transport answers them by :meth:`parent` and :meth:`getattr`."""
        node, attr = self.nodes.find(self.nodes.fd(parent), encode_name(name))
        return Entry(node.number, attr)

    def parent(self, ino: int) -> int:
        """The number of the directory that holds ``ino``. Raises ``ESTALE`` when that is not known, or not in the tree."""
        parent = self.nodes.parent(self.nodes.node(ino))
        if parent is None:
            fail(errno.ESTALE)
        return parent.number

    def dots(self, ino: int) -> tuple[int, int]:
        """The inode numbers of a directory and of the one that holds it; its own where that one is not known."""
        own = self.nodes.attr(ino).ino
        above = self.nodes.parent(self.nodes.node(ino))
        return own, own if above is None else self.nodes.attr(above.number).ino

    def mknod(self, ctx: Context, parent: int, name: str, mode: int, rdev: int) -> Entry:
        """Make a file, fifo, socket or device node that belongs to the caller."""
        raw, dirfd = self._place(parent, name)
        with self._as(ctx):
            os.mknod(raw, mode, rdev, dir_fd=dirfd)
        return self._entry(self.nodes.meet(dirfd, raw))

    def mkdir(self, ctx: Context, parent: int, name: str, mode: int) -> Entry:
        """Make a directory that belongs to the caller."""
        raw, dirfd = self._place(parent, name)
        with self._as(ctx):
            os.mkdir(raw, mode & _PERMISSIONS, dir_fd=dirfd)
        return self._entry(self.nodes.meet(dirfd, raw))

    def symlink(self, ctx: Context, parent: int, name: str, target: str) -> Entry:
        """Make a symbolic link that belongs to the caller; where it points is not looked at."""
        raw, dirfd = self._place(parent, name)
        with self._as(ctx):
            os.symlink(target.encode("utf-8", "surrogateescape"), raw, dir_fd=dirfd)
        return self._entry(self.nodes.meet(dirfd, raw))

    def create(self, ctx: Context, parent: int, name: str, mode: int, flags: int) -> tuple[Entry, Open]:
        """Make and open a regular file.

        Without ``O_EXCL`` and with a file that came meanwhile this raises ``ESTALE``, on which the kernel looks the name up again
        and opens it with a check of its permissions; the kernel makes none for a file that it believes to be new.
        """
        raw, dirfd = self._place(parent, name)
        opened = backing_flags(flags)
        try:
            with self._as(ctx):
                fd = self.nodes.open_at(raw, opened | _CREATE, mode & _PERMISSIONS, dirfd)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            fail(errno.ESTALE)
        return self._new_file(fd, opened)

    def tmpfile(self, ctx: Context, parent: int, mode: int, flags: int) -> tuple[Entry, Open]:
        """Make and open a file without a name."""
        self._check_writable()
        dirfd = self.nodes.fd(parent)
        opened = backing_flags(flags) & ~os.O_NOFOLLOW
        with self._as(ctx):
            fd = self.nodes.open_at(
                b".", opened | os.O_TMPFILE | flags & os.O_EXCL, mode & _PERMISSIONS, dirfd
            )
        entry, file = self._new_file(fd, opened)
        self.nodes.pin(self.nodes.node(entry.ino))
        return entry, file

    def link(self, ctx: Context, ino: int, newparent: int, newname: str) -> Entry:
        """Give a file another name; one that was made without a name gets its first."""
        raw, dirfd = self._place(newparent, newname)
        node = self.nodes.node(ino)
        # The magic link is followed to the very file, which may itself be a symbolic link: that one is not.
        os.link(self._path(ino), raw, dst_dir_fd=dirfd, follow_symlinks=True)
        attr = self.nodes.attr(ino)
        if attr.nlink > 0:
            self.nodes.unpin(node)
        return Entry(ino, attr)

    def unlink(self, ctx: Context, parent: int, name: str) -> None:
        """Remove a name; its node goes on working by number and by handle."""
        raw, dirfd = self._place(parent, name)
        self._removing(*self.nodes.known(dirfd, raw), lambda: os.unlink(raw, dir_fd=dirfd))

    def rmdir(self, ctx: Context, parent: int, name: str) -> None:
        """Remove an empty directory."""
        raw, dirfd = self._place(parent, name)
        self._removing(*self.nodes.known(dirfd, raw), lambda: os.rmdir(raw, dir_fd=dirfd))

    def rename(
        self, ctx: Context, parent: int, name: str, newparent: int, newname: str, flags: RenameFlags
    ) -> None:
        """Move a name, with all flags of renameat2(2) that the backing file system has."""
        old, olddir = self._place(parent, name)
        new, newdir = self._place(newparent, newname)
        how = int(flags)
        if how & RenameFlags.WHITEOUT.value:
            with self._as(ctx):
                self._replacing(newdir, new, lambda: self._rename(olddir, old, newdir, new, how))
        elif how:
            self._rename(olddir, old, newdir, new, how)
        else:
            self._replacing(newdir, new, lambda: os.rename(old, new, src_dir_fd=olddir, dst_dir_fd=newdir))

    @staticmethod
    def _rename(olddir: int, old: bytes, newdir: int, new: bytes, flags: int) -> None:
        syscalls.renameat2(old, new, flags, source_dir_fd=olddir, target_dir_fd=newdir)

    # ------------------------------------------------------------ steps

    def _place(self, parent: int, name: str) -> tuple[bytes, int]:
        """Where a name is about to change: the name as bytes and the directory's descriptor."""
        self._check_writable()
        return encode_name(name), self.nodes.fd(parent)

    def _new_file(self, fd: int, flags: int) -> tuple[Entry, Open]:
        try:
            node, attr = self.nodes.adopt(fd, keep=False)
        except OSError:
            os.close(fd)
            raise
        return Entry(node.number, attr), Open(self.files.add(fd, node, flags), noflush=node.volume.is_local)

    def _replacing(self, dirfd: int, name: bytes, change: Callable[[], None]) -> None:
        self._removing(*self.nodes.known(dirfd, name), change)

    def _removing(self, victim: Node | None, names: int, change: Callable[[], None]) -> None:
        """Make a change that may take the last name of ``victim``, which had ``names`` of them (0: not known)."""
        if victim is None or victim.pinned:
            change()
            return
        fd = self.nodes.pin(victim)
        gone = False
        try:
            change()
            gone = names == 1 or os.fstat(fd).st_nlink == 0
        finally:
            if not gone:
                self.nodes.unpin(victim)

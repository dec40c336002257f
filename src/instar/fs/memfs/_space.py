# SPDX-License-Identifier: Apache-2.0
"""`Space`: what a `MemFS` holds, against what it may hold. The rules are those of tmpfs (``tmpfs(5)``, ``mm/shmem.c``).

There are two budgets. *Pages* are the content of files, and one for the target of a long symbolic link. *Node space* is
counted in bytes: `NODE_SPACE` for each node (its name included) and for each further hard link, and what extended
attributes take (kernel commit "shmem: prepare shmem quota infrastructure" and its series in 6.6 count them so, as
``BOGO_INODE_SIZE`` says). A budget that is used up is ``ENOSPC``; what is removed comes back.

A node that has neither a name nor an open file is *gone*. The kernel forgets it soon, unless somebody holds it by
``O_PATH`` and may open it again; until then what it holds counts as free, and is taken when it is needed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from instar.fs.memfs._pages import PAGE_SIZE
from instar.fs.memfs._trimmer import Trimmer

if TYPE_CHECKING:
    from instar.fs.memfs._inode import Inode

__all__ = ["LONG_TARGET", "NODE_SPACE", "Space", "default_nodes", "default_size", "xattr_space"]

NODE_SPACE: Final = 1024  # BOGO_INODE_SIZE, linux/shmem_fs.h; an idle node takes about 750 bytes
LONG_TARGET: Final = 128  # SHORT_SYMLINK_LEN, mm/shmem.c: bytes from which on a target takes a page
_XATTR_SPACE: Final = 128  # two object heads and a place in a dictionary


def default_size() -> int:
    """The default limit of content in bytes, that of tmpfs: half of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def default_nodes() -> int:
    """The default limit of nodes, that of tmpfs: half as many as the machine's memory has pages."""
    return os.sysconf("SC_PHYS_PAGES") // 2


def xattr_space(name: str, value: bytes) -> int:
    """The node space of one extended attribute in bytes: no less than what it takes, whatever is in its name."""
    return _XATTR_SPACE + 4 * len(name) + len(value)


class Space:
    """The two budgets of one file system, and the nodes that are gone.

    Invariants: ``pages`` and ``nodes`` are what all nodes together hold, and exceed their limits only where a node that
    was gone was opened again.
    """

    def __init__(self, size: int, nodes: int) -> None:
        self.page_limit = size // PAGE_SIZE
        self.pages = 0
        self.node_limit = nodes * NODE_SPACE
        self.nodes = 0
        #: In the order in which they went.
        self.gone: dict[int, Inode] = {}
        self.trimmer = Trimmer()
        self._freed = self.trimmer.freed

    def charge_pages(self, pages: int) -> None:
        """Take pages, or give them back (negative). Raises ``ENOSPC`` before anything has changed."""
        if pages > 0 and self.pages + pages > self.page_limit:
            self._reclaim_pages(self.pages + pages - self.page_limit)
        self.pages += pages
        if pages < 0:
            self._freed(-pages * PAGE_SIZE)

    def charge_nodes(self, size: int) -> None:
        """Take bytes of node space, or give them back (negative). Raises ``ENOSPC`` before anything has changed."""
        if size > 0 and self.nodes + size > self.node_limit:
            self._reclaim_nodes(self.nodes + size - self.node_limit)
        self.nodes += size

    def charge_node(self, xattrs: dict[str, bytes] | None, target: bytes | None) -> None:
        """Take what a new node needs. Raises ``ENOSPC`` before anything has changed."""
        size = NODE_SPACE if xattrs is None else NODE_SPACE + _xattrs_space(xattrs)
        self.charge_nodes(size)
        if target is not None and len(target) >= LONG_TARGET:
            try:
                self.charge_pages(1)
            except OSError:
                self.nodes -= size
                raise

    def free_pages(self) -> int:
        """How many pages are free, those of nodes that are gone included."""
        return max(self.page_limit - self.pages, 0) + sum(_pages(node) for node in self.gone.values())

    def free_nodes(self) -> int:
        """How many more nodes there may be."""
        free = self.node_limit - self.nodes + sum(_xattrs_space(node.xattrs) for node in self.gone.values())
        return max(free, 0) // NODE_SPACE

    def went(self, node: Inode) -> None:
        """Note that nobody uses a node any more."""
        if node.ino not in self.gone:
            self.gone[node.ino] = node
            self.nodes -= NODE_SPACE

    def came_back(self, node: Inode) -> None:
        """Note that a node was opened; if it was gone, it counts again."""
        if self.gone and self.gone.pop(node.ino, None) is not None:
            self.nodes += NODE_SPACE

    def forget(self, node: Inode) -> None:
        """Give back all that a node without a name holds."""
        if self.gone.pop(node.ino, None) is None:
            self.nodes -= NODE_SPACE
        self._take_pages(node)
        self._take_xattrs(node)
        self._freed(NODE_SPACE)

    def assert_invariants(self, nodes: dict[int, Inode]) -> None:
        """Raise :class:`AssertionError` if the counts are not those of these nodes."""
        unused = {node.ino for node in nodes.values() if node.nlink == 0 and node.opens == 0}
        assert set(self.gone) == unused
        assert self.pages == sum(_pages(node) for node in nodes.values())
        links = sum(1 if node.children is not None else max(node.nlink, 1) for node in nodes.values())
        xattrs = sum(_xattrs_space(node.xattrs) for node in nodes.values())
        assert self.nodes == (links - len(self.gone)) * NODE_SPACE + xattrs

    def _reclaim_pages(self, pages: int) -> None:
        """Take pages from nodes that are gone. Raises ``ENOSPC``, and takes nothing, where they do not have as many."""
        if pages > sum(_pages(node) for node in self.gone.values()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for node in self.gone.values():
            if pages <= 0:
                return
            pages -= _pages(node)
            self._take_pages(node)

    def _reclaim_nodes(self, size: int) -> None:
        """Take extended attributes from nodes that are gone. Raises ``ENOSPC`` as :meth:`_reclaim_pages`."""
        if size > sum(_xattrs_space(node.xattrs) for node in self.gone.values()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for node in self.gone.values():
            if size <= 0:
                return
            size -= _xattrs_space(node.xattrs)
            self._take_xattrs(node)

    def _take_pages(self, node: Inode) -> None:
        if node.data is not None:
            node.data.clear()  # which gives its pages back
        elif node.target is not None:
            self.pages -= _pages(node)
            node.target = b""

    def _take_xattrs(self, node: Inode) -> None:
        size = _xattrs_space(node.xattrs)
        node.xattrs = None
        self.nodes -= size
        self._freed(size)


def _pages(node: Inode) -> int:
    if node.data is not None:
        return len(node.data)
    return 1 if node.target is not None and len(node.target) >= LONG_TARGET else 0


def _xattrs_space(xattrs: dict[str, bytes] | None) -> int:
    return 0 if xattrs is None else sum(xattr_space(name, value) for name, value in xattrs.items())

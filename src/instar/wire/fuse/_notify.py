# SPDX-License-Identifier: Apache-2.0
"""Notifications: what a server tells the kernel unasked.

Each ``notify_*`` returns a whole message, to be written to the device in one go. The write fails with ENOENT where the kernel
does not know the node or the name (any more), which mostly means that there was nothing to do.

INVAL_ENTRY and DELETE take the lock of the parent directory in the kernel. Do not write them from a thread that such a
lock may be waiting for, as one that serves requests is.

Source: ``include/uapi/linux/fuse.h``; ``fuse_notify`` in ``fs/fuse/dev.c`` of Linux 6.18, which refuses a message whose length is not exact.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from instar.wire.fuse import _structs_out as so
from instar.wire.fuse._constants import NotifyCode
from instar.wire.fuse._errors import EncodeError, ProtocolError
from instar.wire.fuse._names import decode_name, encode_name
from instar.wire.fuse._reply_encode import OUT_HEADER, OUT_HEADER_SIZE

__all__ = [
    "NOTIFICATIONS",
    "Notification",
    "NotifyDelete",
    "NotifyIncEpoch",
    "NotifyInvalEntry",
    "NotifyInvalInode",
    "NotifyPoll",
    "NotifyPrune",
    "NotifyResend",
    "NotifyRetrieve",
    "NotifyStore",
    "decode_notification",
    "notify_delete",
    "notify_inc_epoch",
    "notify_inval_entry",
    "notify_inval_inode",
    "notify_poll",
    "notify_prune",
    "notify_resend",
    "notify_retrieve",
    "notify_store",
]

_U64: Final = struct.Struct("=Q")

_poll_out = so.FuseNotifyPollWakeupOut.CODEC
_inval_inode_out = so.FuseNotifyInvalInodeOut.CODEC
_inval_entry_out = so.FuseNotifyInvalEntryOut.CODEC
_store_out = so.FuseNotifyStoreOut.CODEC
_retrieve_out = so.FuseNotifyRetrieveOut.CODEC
_delete_out = so.FuseNotifyDeleteOut.CODEC
_prune_out = so.FuseNotifyPruneOut.CODEC


def _message(
    code: NotifyCode, codec: struct.Struct | None, values: tuple[int, ...], tail: bytes = b""
) -> bytes:
    try:
        body = codec.pack(*values) if codec is not None else b""
        return OUT_HEADER.pack(OUT_HEADER_SIZE + len(body) + len(tail), code, 0) + body + tail
    except struct.error as error:
        raise EncodeError(f"{code.name}: {values!r} does not fit: {error}") from error


def notify_poll(kh: int) -> bytes:
    """Wake the caller that waits in poll(2); ``kh`` came with its POLL.

    Raises:
        EncodeError: a number is out of range.
    """
    return _message(NotifyCode.FUSE_NOTIFY_POLL, _poll_out, (kh,))


def notify_inval_inode(ino: int, offset: int = 0, length: int = 0) -> bytes:
    """Drop what is cached of a node: its attributes, and its data from ``offset`` on, ``length`` bytes or, where that is 0, all.

    A negative ``offset`` leaves the data alone.

    Raises:
        EncodeError: a number is out of range.
    """
    return _message(NotifyCode.FUSE_NOTIFY_INVAL_INODE, _inval_inode_out, (ino, offset, length))


def notify_inval_entry(parent: int, name: str, flags: int = 0) -> bytes:
    """Drop the entry ``name`` of directory ``parent``, or (:class:`InvalEntryFlags`) only ask again at its next use.

    Raises:
        EncodeError: a number is out of range, or the name is none.
    """
    raw = encode_name("FUSE_NOTIFY_INVAL_ENTRY", name)
    return _message(NotifyCode.FUSE_NOTIFY_INVAL_ENTRY, _inval_entry_out, (parent, len(raw) - 1, flags), raw)


def notify_delete(parent: int, child: int, name: str) -> bytes:
    """The entry ``name`` of ``parent``, which leads to ``child``, is gone: tell watchers too, which INVAL_ENTRY does not.

    Raises:
        EncodeError: a number is out of range, or the name is none.
    """
    raw = encode_name("FUSE_NOTIFY_DELETE", name)
    return _message(NotifyCode.FUSE_NOTIFY_DELETE, _delete_out, (parent, child, len(raw) - 1, 0), raw)


def notify_store(nodeid: int, offset: int, data: bytes | bytearray | memoryview) -> bytes:
    """Put ``data`` into the page cache of a node.

    Raises:
        EncodeError: a number is out of range.
    """
    raw = bytes(data)
    return _message(NotifyCode.FUSE_NOTIFY_STORE, _store_out, (nodeid, offset, len(raw), 0), raw)


def notify_retrieve(notify_unique: int, nodeid: int, offset: int, size: int) -> bytes:
    """Ask for what the page cache holds; :class:`NotifyReply` brings it, with ``notify_unique`` as the header's ``unique``.

    Raises:
        EncodeError: a number is out of range.
    """
    return _message(NotifyCode.FUSE_NOTIFY_RETRIEVE, _retrieve_out, (notify_unique, nodeid, offset, size, 0))


def notify_resend() -> bytes:
    """Ask for every request again that was read and not answered. They come with FUSE_UNIQUE_RESEND in ``unique``."""
    return _message(NotifyCode.FUSE_NOTIFY_RESEND, None, ())


def notify_inc_epoch() -> bytes:
    """Make every cached entry of the mount be asked for again at its next use."""
    return _message(NotifyCode.FUSE_NOTIFY_INC_EPOCH, None, ())


def notify_prune(nodeids: Iterable[int]) -> bytes:
    """Ask the kernel to forget these nodes where nothing uses them.

    Raises:
        EncodeError: a number is out of range.
    """
    nodes = tuple(nodeids)
    try:
        tail = struct.pack(f"={len(nodes)}Q", *nodes)
    except struct.error as error:
        raise EncodeError(f"FUSE_NOTIFY_PRUNE: a node id is out of range: {error}") from error
    return _message(NotifyCode.FUSE_NOTIFY_PRUNE, _prune_out, (len(nodes), 0, 0), tail)


# ------------------------------------------------------------------------------------- the other direction


class Notification(msgspec.Struct, frozen=True, gc=False):
    """What all notifications are. They are for tests, traces and the door without a kernel."""


class NotifyPoll(Notification, frozen=True, gc=False):
    """See :func:`notify_poll`."""

    kh: int


class NotifyInvalInode(Notification, frozen=True, gc=False):
    """See :func:`notify_inval_inode`."""

    ino: int
    offset: int
    length: int


class NotifyInvalEntry(Notification, frozen=True, gc=False):
    """See :func:`notify_inval_entry`."""

    parent: int
    name: str
    flags: int


class NotifyDelete(Notification, frozen=True, gc=False):
    """See :func:`notify_delete`."""

    parent: int
    child: int
    name: str


class NotifyStore(Notification, frozen=True, gc=False):
    """See :func:`notify_store`."""

    nodeid: int
    offset: int
    data: bytes


class NotifyRetrieve(Notification, frozen=True, gc=False):
    """See :func:`notify_retrieve`."""

    notify_unique: int
    nodeid: int
    offset: int
    size: int


class NotifyResend(Notification, frozen=True, gc=False):
    """See :func:`notify_resend`."""


class NotifyIncEpoch(Notification, frozen=True, gc=False):
    """See :func:`notify_inc_epoch`."""


class NotifyPrune(Notification, frozen=True, gc=False):
    """See :func:`notify_prune`."""

    nodeids: tuple[int, ...]


def _fixed(what: str, buf: memoryview, codec: struct.Struct) -> tuple[Any, ...]:
    """The values of a body that is one structure. Any: struct gives what the format says."""
    if len(buf) != codec.size:
        raise ProtocolError(f"{what}: the body has {len(buf)} bytes, not {codec.size}")
    return codec.unpack(buf)


def _headed(what: str, buf: memoryview, codec: struct.Struct) -> tuple[Any, ...]:
    """The values of the structure that a body starts with. Any: as above."""
    if len(buf) < codec.size:
        raise ProtocolError(f"{what}: the body has {len(buf)} bytes, its structure alone {codec.size}")
    return codec.unpack_from(buf)


def _name(what: str, buf: memoryview, start: int, length: int) -> str:
    if len(buf) != start + length + 1:
        raise ProtocolError(
            f"{what}: a name of {length} bytes and a NUL are announced, {len(buf) - start} are there"
        )
    return decode_name(what, buf, start, len(buf))


def _decode_poll(buf: memoryview) -> Notification:
    return NotifyPoll(*_fixed("FUSE_NOTIFY_POLL", buf, _poll_out))


def _decode_inval_inode(buf: memoryview) -> Notification:
    return NotifyInvalInode(*_fixed("FUSE_NOTIFY_INVAL_INODE", buf, _inval_inode_out))


def _decode_inval_entry(buf: memoryview) -> Notification:
    parent, length, flags = _headed("FUSE_NOTIFY_INVAL_ENTRY", buf, _inval_entry_out)
    return NotifyInvalEntry(
        parent, _name("FUSE_NOTIFY_INVAL_ENTRY", buf, _inval_entry_out.size, length), flags
    )


def _decode_delete(buf: memoryview) -> Notification:
    parent, child, length, _ = _headed("FUSE_NOTIFY_DELETE", buf, _delete_out)
    return NotifyDelete(parent, child, _name("FUSE_NOTIFY_DELETE", buf, _delete_out.size, length))


def _decode_store(buf: memoryview) -> Notification:
    nodeid, offset, size, _ = _headed("FUSE_NOTIFY_STORE", buf, _store_out)
    if len(buf) != _store_out.size + size:
        raise ProtocolError(
            f"FUSE_NOTIFY_STORE: {size} bytes are announced, {len(buf) - _store_out.size} are there"
        )
    return NotifyStore(nodeid, offset, bytes(buf[_store_out.size :]))


def _decode_retrieve(buf: memoryview) -> Notification:
    notify_unique, nodeid, offset, size, _ = _fixed("FUSE_NOTIFY_RETRIEVE", buf, _retrieve_out)
    return NotifyRetrieve(notify_unique, nodeid, offset, size)


def _decode_resend(buf: memoryview) -> Notification:
    if buf:
        raise ProtocolError(f"FUSE_NOTIFY_RESEND: the body has {len(buf)} bytes, not 0")
    return NotifyResend()


def _decode_inc_epoch(buf: memoryview) -> Notification:
    if buf:
        raise ProtocolError(f"FUSE_NOTIFY_INC_EPOCH: the body has {len(buf)} bytes, not 0")
    return NotifyIncEpoch()


def _decode_prune(buf: memoryview) -> Notification:
    count, _, _ = _headed("FUSE_NOTIFY_PRUNE", buf, _prune_out)
    if len(buf) != _prune_out.size + _U64.size * count:
        raise ProtocolError(
            f"FUSE_NOTIFY_PRUNE: {count} nodes are announced, {len(buf) - _prune_out.size} bytes are left for them"
        )
    return NotifyPrune(tuple(node for (node,) in _U64.iter_unpack(buf[_prune_out.size :])))


class NotificationInfo(msgspec.Struct, frozen=True):
    """What a notification looks like: its message, the minor version that brought it, its functions."""

    message: type[Notification]
    since: int
    encode: Callable[..., bytes]
    decode: Callable[[memoryview], Notification]


#: Every notification.
NOTIFICATIONS: Final[dict[NotifyCode, NotificationInfo]] = {
    NotifyCode.FUSE_NOTIFY_POLL: NotificationInfo(NotifyPoll, 11, notify_poll, _decode_poll),
    NotifyCode.FUSE_NOTIFY_INVAL_INODE: NotificationInfo(
        NotifyInvalInode, 12, notify_inval_inode, _decode_inval_inode
    ),
    NotifyCode.FUSE_NOTIFY_INVAL_ENTRY: NotificationInfo(
        NotifyInvalEntry, 12, notify_inval_entry, _decode_inval_entry
    ),
    NotifyCode.FUSE_NOTIFY_STORE: NotificationInfo(NotifyStore, 15, notify_store, _decode_store),
    NotifyCode.FUSE_NOTIFY_RETRIEVE: NotificationInfo(NotifyRetrieve, 15, notify_retrieve, _decode_retrieve),
    NotifyCode.FUSE_NOTIFY_DELETE: NotificationInfo(NotifyDelete, 18, notify_delete, _decode_delete),
    NotifyCode.FUSE_NOTIFY_RESEND: NotificationInfo(NotifyResend, 40, notify_resend, _decode_resend),
    NotifyCode.FUSE_NOTIFY_INC_EPOCH: NotificationInfo(
        NotifyIncEpoch, 44, notify_inc_epoch, _decode_inc_epoch
    ),
    NotifyCode.FUSE_NOTIFY_PRUNE: NotificationInfo(NotifyPrune, 45, notify_prune, _decode_prune),
}

_BY_NUMBER: Final = {int(code): info for code, info in NOTIFICATIONS.items()}


def decode_notification(buf: memoryview | bytes | bytearray) -> Notification:
    """Read a whole notification, as written to the device.

    Raises:
        ProtocolError: the bytes are no notification.
    """
    view = memoryview(buf).cast("B")
    if len(view) < OUT_HEADER_SIZE:
        raise ProtocolError(f"a notification of {len(view)} bytes has no room for its header")
    length, code, unique = OUT_HEADER.unpack_from(view)
    if length != len(view):
        raise ProtocolError(f"a notification says that it has {length} bytes, {len(view)} are there")
    info = _BY_NUMBER.get(code)
    if unique or info is None:
        raise ProtocolError(f"a message with unique {unique} and code {code} is no notification")
    return info.decode(view[OUT_HEADER_SIZE:])

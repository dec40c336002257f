# SPDX-License-Identifier: Apache-2.0
"""Extensions: what a request carries behind its body.

``total_extlen`` of the header counts them, in units of 8 bytes; they are the last bytes of the request. Each starts
with a size (its head and padding included) and a type. Two kinds exist:

- security contexts (FUSE_SECURITY_CTX), for requests that make a node. Their number stands where others have the type.
  Without a security module the kernel sends the head alone, with number 0;
- a supplementary group (FUSE_CREATE_SUPP_GROUP), the one of the caller's that owns the parent directory.

Source: ``struct fuse_ext_header``, ``fuse_secctx_header``, ``fuse_secctx`` and ``fuse_supp_groups`` in ``linux/fuse.h``; ``get_create_ext``
in ``fs/fuse/dir.c`` of Linux 6.18.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from instar.wire.fuse._constants import ExtType
from instar.wire.fuse._errors import EncodeError, ProtocolError
from instar.wire.fuse._names import decode_text, encode_text, find_nul
from instar.wire.fuse._structs_common import FuseExtHeader, FuseSecctx, FuseSuppGroups

__all__ = [
    "NO_EXTENSIONS",
    "Extensions",
    "SecurityContext",
    "decode_extensions",
    "decode_groups",
    "encode_extensions",
]

_EXT_HEADER: Final = FuseExtHeader.CODEC
_SECCTX: Final = FuseSecctx.CODEC
_GROUPS_HEAD: Final = FuseSuppGroups.SIZE
_U32: Final = struct.Struct("=I")
_MAX_NR_SECCTX: Final = int(ExtType.FUSE_MAX_NR_SECCTX)
_GROUPS: Final = int(ExtType.FUSE_EXT_GROUPS)
_EXTLEN_UNIT: Final = 8
_EXTLEN_LIMIT: Final = 0xFFFF


class SecurityContext(msgspec.Struct, frozen=True, gc=False):
    """The value that a new node shall have in its extended attribute ``name`` (``security.selinux``)."""

    name: str
    value: bytes


class Extensions(msgspec.Struct, frozen=True, gc=False):
    """The extensions of a request.

    ``secctx`` is None where there was no such extension and ``()`` where there was one without a context.
    ``groups`` holds group ids of the caller.
    """

    secctx: tuple[SecurityContext, ...] | None = None
    groups: tuple[int, ...] = ()


#: What almost every request has.
NO_EXTENSIONS: Final = Extensions()


def _align(size: int) -> int:
    return (size + 7) & ~7


def decode_extensions(buf: memoryview, start: int, end: int) -> Extensions:
    """Read the extensions that fill ``buf[start:end]``.

    Raises:
        ProtocolError: a size that goes past the end, more contexts or groups than there are bytes for, an unknown type.
    """
    if start == end:
        return NO_EXTENSIONS
    secctx: tuple[SecurityContext, ...] | None = None
    groups: tuple[int, ...] = ()
    while start < end:
        if end - start < _EXT_HEADER.size:
            raise ProtocolError(f"extensions: {end - start} bytes are left, too few for a head")
        size, kind = _EXT_HEADER.unpack_from(buf, start)
        if size < _EXT_HEADER.size or size > end - start:
            raise ProtocolError(f"extensions: one says it has {size} bytes, {end - start} are left")
        body, stop = start + _EXT_HEADER.size, start + size
        if kind <= _MAX_NR_SECCTX:
            secctx = (secctx or ()) + _decode_secctx(buf, body, stop, kind)
        elif kind == _GROUPS:
            groups += _decode_groups(buf, body, stop)
        else:
            raise ProtocolError(f"extensions: type {kind} is not known")
        start += _align(size)
    return Extensions(secctx, groups)


def _decode_secctx(buf: memoryview, start: int, end: int, count: int) -> tuple[SecurityContext, ...]:
    found: list[SecurityContext] = []
    for _ in range(count):
        if end - start < _SECCTX.size:
            raise ProtocolError(
                f"extensions: {count} security contexts are announced, {len(found)} are there"
            )
        size, _pad = _SECCTX.unpack_from(buf, start)
        after_name = find_nul("security context", buf, start + _SECCTX.size, end)
        if size > end - after_name:
            raise ProtocolError(
                f"extensions: a security context says it has {size} bytes, {end - after_name} are left"
            )
        name = decode_text("security context", buf, start + _SECCTX.size, after_name)
        found.append(SecurityContext(name, bytes(buf[after_name : after_name + size])))
        start += _align(after_name + size - start)
    return tuple(found)


def _decode_groups(buf: memoryview, start: int, end: int) -> tuple[int, ...]:
    if end - start < _GROUPS_HEAD:
        raise ProtocolError("extensions: the number of supplementary groups is missing")
    (count,) = _U32.unpack_from(buf, start)
    start += _GROUPS_HEAD
    if count > (end - start) // _U32.size:
        raise ProtocolError(
            f"extensions: {count} groups are announced, {end - start} bytes are left for them"
        )
    return struct.unpack_from(f"={count}I", buf, start)


def encode_extensions(extensions: Extensions) -> bytes:
    """The extensions as the kernel lays them out, a multiple of 8 bytes.

    Raises:
        EncodeError: more than 31 contexts, more bytes than ``total_extlen`` can count, a group out of range.
    """
    out = b""
    if extensions.secctx is not None:
        if len(extensions.secctx) > _MAX_NR_SECCTX:
            raise EncodeError(
                f"extensions: at most {_MAX_NR_SECCTX} security contexts fit, not {len(extensions.secctx)}"
            )
        body = b""
        for context in extensions.secctx:
            one = (
                _SECCTX.pack(len(context.value), 0)
                + encode_text("security context", context.name)
                + context.value
            )
            body += one.ljust(_align(len(one)), b"\0")
        out += _EXT_HEADER.pack(_EXT_HEADER.size + len(body), len(extensions.secctx)) + body
    if extensions.groups:
        try:
            body = struct.pack(f"={1 + len(extensions.groups)}I", len(extensions.groups), *extensions.groups)
        except struct.error as error:
            raise EncodeError(f"extensions: a group id is out of range: {error}") from error
        body = body.ljust(_align(len(body)), b"\0")
        out += _EXT_HEADER.pack(_EXT_HEADER.size + len(body), _GROUPS) + body
    if len(out) > _EXTLEN_LIMIT * _EXTLEN_UNIT:
        raise EncodeError(f"extensions: {len(out)} bytes are more than a request can carry")
    return out


def decode_groups(buf: memoryview) -> tuple[int, ...]:
    """The supplementary groups among the extensions that fill ``buf``.

    Raises:
        ProtocolError: as :func:`decode_extensions`.
    """
    return decode_extensions(buf, 0, len(buf)).groups

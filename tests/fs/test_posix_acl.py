# SPDX-License-Identifier: Apache-2.0
"""Access control lists: the attribute's bytes, the mode they stand for, and what a new node inherits."""

from __future__ import annotations

import errno
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar.fs.posix_acl import AclEntry, AclTag, chmod, decode, encode, inherit, mode_of

PERM = st.integers(0, 7)


def minimal(user, group, other):
    return [AclEntry(AclTag.USER_OBJ, user), AclEntry(AclTag.GROUP_OBJ, group), AclEntry(AclTag.OTHER, other)]


@st.composite
def lists(draw):
    """Complete lists in order; those with named entries have a mask."""
    entries = [AclEntry(AclTag.USER_OBJ, draw(PERM))]
    entries += [
        AclEntry(AclTag.USER, draw(PERM), uid)
        for uid in sorted(draw(st.sets(st.integers(0, 2**31), max_size=3)))
    ]
    entries.append(AclEntry(AclTag.GROUP_OBJ, draw(PERM)))
    entries += [
        AclEntry(AclTag.GROUP, draw(PERM), gid)
        for gid in sorted(draw(st.sets(st.integers(0, 2**31), max_size=3)))
    ]
    if len(entries) > 2 or draw(st.booleans()):
        entries.append(AclEntry(AclTag.MASK, draw(PERM)))
    return [*entries, AclEntry(AclTag.OTHER, draw(PERM))]


@given(lists())
def test_a_list_survives_its_encoding(entries):
    assert decode(encode(entries)) == entries


@given(PERM, PERM, PERM)
def test_a_minimal_list_is_its_mode(user, group, other):
    assert mode_of(minimal(user, group, other)) == (user << 6 | group << 3 | other, True)


@given(lists(), st.integers(0, 0o777))
def test_after_chmod_the_list_shows_the_mode_and_named_entries_are_as_they_were(entries, mode):
    changed = chmod(entries, mode)
    assert mode_of(changed)[0] == mode
    named = (AclTag.USER, AclTag.GROUP)
    assert [entry for entry in changed if entry.tag in named] == [
        entry for entry in entries if entry.tag in named
    ]


@given(lists(), st.integers(0, 0o7777))
def test_a_new_node_never_has_more_than_was_asked_for(default, mode):
    bits, access = inherit(default, mode)
    assert bits & ~mode == 0
    assert bits & 0o7000 == mode & 0o7000
    if access is None:
        assert mode_of(default)[1]
    else:
        assert mode_of(access)[0] == bits & 0o777


def test_with_a_mask_the_group_bits_of_the_mode_are_the_mask():
    entries = [*minimal(7, 7, 0)[:2], AclEntry(AclTag.MASK, 1), AclEntry(AclTag.OTHER, 0)]
    assert mode_of(entries) == (0o710, False)
    assert chmod(entries, 0o640)[1].perm == 7


@pytest.mark.parametrize(
    "entries",
    [
        minimal(7, 7, 7)[:2],
        minimal(7, 7, 7)[::-1],
        [*minimal(7, 7, 7), AclEntry(AclTag.OTHER, 0)],
        [AclEntry(AclTag.USER_OBJ, 8), *minimal(0, 7, 7)[1:]],
        [AclEntry(AclTag.USER_OBJ, 7), AclEntry(AclTag.USER, 7, 1), *minimal(0, 7, 7)[1:]],
    ],
    ids=["no others", "not in order", "others twice", "no such permission", "named without a mask"],
)
def test_an_incomplete_list_is_einval(entries):
    with pytest.raises(OSError) as raised:
        decode(encode(entries))
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", errno.EINVAL),
        (b"\2\0\0", errno.EINVAL),
        (b"\2\0\0\0\1", errno.EINVAL),
        (b"\1\0\0\0", errno.EOPNOTSUPP),
        (struct.pack("<IHHI", 2, 3, 7, 0), errno.EINVAL),
    ],
)
def test_bytes_that_are_no_list_are_refused_with_the_kernels_errno(value, code):
    with pytest.raises(OSError) as raised:
        decode(value)
    assert raised.value.errno == code


@given(st.binary(max_size=64))
def test_any_bytes_are_a_list_or_an_oserror(value):
    refused = None
    try:
        decode(b"\2\0\0\0" + value)
    except OSError as error:
        refused = error.errno
    assert refused in (None, errno.EINVAL)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which may set any list")
def test_the_kernel_shows_the_same_mode_for_a_list(tmp_path):
    entries = [
        AclEntry(AclTag.USER_OBJ, 6), AclEntry(AclTag.USER, 7, 1000), AclEntry(AclTag.GROUP_OBJ, 4),
        AclEntry(AclTag.MASK, 5), AclEntry(AclTag.OTHER, 1),
    ]  # fmt: skip
    try:
        os.setxattr(tmp_path, "system.posix_acl_access", encode(entries))
    except OSError as error:
        pytest.skip(f"{tmp_path} has no ACLs: {error}")
    assert os.stat(tmp_path).st_mode & 0o777 == mode_of(entries)[0]
    os.chmod(tmp_path, 0o720)
    assert decode(os.getxattr(tmp_path, "system.posix_acl_access")) == chmod(entries, 0o720)

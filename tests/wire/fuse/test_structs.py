# SPDX-License-Identifier: Apache-2.0
"""The structures are those of the header on this machine and of the kernel that runs."""

from __future__ import annotations

import contextlib
import os

import pytest

from instar.layout import check
from instar.layout.btf import Btf
from instar.wire.fuse import STRUCTS, _codecs
from instar.wire.fuse import _structs as structs

#: What the header calls otherwise: two leading underscores would be mangled in a class.
SPELLED = {"_reserved": "__reserved", "_spare0": "__spare0", "_spare2": "__spare2"}
PARTS = (
    "",
    "stat.",
    *(f"{stat}{time}." for stat in ("", "stat.") for time in ("atime", "btime", "ctime", "mtime")),
)
NAMES = {part + ours: theirs for part in PARTS for ours, theirs in SPELLED.items()}

#: What a header before 7.45 has under another name, or not at all; BTF knows it.
NEWER = {
    "FuseCopyFileRangeOut",  # 7.45
    "FuseInHeader",  # total_extlen, 7.38
    "FuseInitOut",  # request_timeout, 7.43
    "FuseNotifyPruneOut",  # 7.45
    "FuseOpenOut",  # backing_id, 7.40
    "FuseBackingMap",  # 7.40
    "FuseStatx",
    "FuseStatxIn",
    "FuseStatxOut",
    "FuseSxTime",  # 7.39
    "FuseUringCmdReq",
    "FuseUringEntInOut",
    "FuseUringReqHeader",  # 7.42
}


@pytest.fixture(scope="module")
def kernel():
    """The running kernel's BTF, or None; and gcc asked about everything at once, which it remembers."""
    with contextlib.suppress(check.LayoutMismatch, check.LayoutUnavailable):
        check.compare_gcc(STRUCTS, "linux/fuse.h", names=NAMES)
    return Btf.kernel() if os.path.exists("/sys/kernel/btf/vmlinux") else None


def agrees(cls, compare, *args):
    """Whether a witness says that the layout is right; False where it does not know the structure.

    An old header or kernel may lack a field of a newer structure; whatever else differs is an error.
    """
    try:
        compare(cls, *args, names=NAMES)
    except check.LayoutUnavailable:
        return False
    except check.LayoutMismatch as error:
        if error.what == "name" and cls.__name__ in NEWER:
            return False
        raise
    return True


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_structure_is_that_of_the_compiler_or_of_the_kernel(cls, kernel):
    agreed = [agrees(cls, check.compare_gcc, "linux/fuse.h")]
    if kernel is not None:
        agreed.append(agrees(cls, check.compare_btf, kernel))
    if not any(agreed) and cls.__name__ in NEWER:
        pytest.skip("neither the header nor the kernel of this machine is new enough")
    assert any(agreed), f"nothing here knows {cls.CTYPE}"


@pytest.mark.parametrize(
    ("codec", "cls"),
    [
        (_codecs.ATTR, structs.FuseAttr),
        (_codecs.ENTRY_OUT, structs.FuseEntryOut),
        (_codecs.ATTR_OUT, structs.FuseAttrOut),
        (_codecs.SETATTR_IN, structs.FuseSetattrIn),
        (_codecs.LSEEK_IN, structs.FuseLseekIn),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_codec_with_signed_seconds_is_its_layout_but_for_the_sign(codec, cls):
    values = tuple(range(1, 1 + len(codec.unpack(bytes(codec.size)))))
    assert codec.pack(*values) == cls.CODEC.pack(*values)


def test_codec_of_statx_is_its_layout_without_the_unused_parts():
    full = structs.FuseStatxOut.CODEC
    count = len(_codecs.STATX_OUT.unpack(bytes(_codecs.STATX_OUT.size)))
    packed = _codecs.STATX_OUT.pack(*range(1, count + 1))
    assert len(packed) == full.size == 288
    assert [value for value in full.unpack(packed) if value] == list(range(1, count + 1))


def test_name_offsets_are_those_of_the_records():
    assert structs.FuseDirent.SIZE == 24
    assert structs.FuseDirentplus.SIZE == 152

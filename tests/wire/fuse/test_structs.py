# SPDX-License-Identifier: Apache-2.0
"""The structures are those of the header on this machine and of the kernel that runs."""

from __future__ import annotations

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


def witnesses(cls):
    """Which of the two know this structure, after each said that the layout is right."""
    agreed = set()
    try:
        check.compare_gcc(cls, "linux/fuse.h", names=NAMES)
        agreed.add("gcc")
    except check.LayoutUnavailable:
        pass
    except check.LayoutMismatch as error:
        assert error.what == "name" and cls.__name__ in NEWER, error
    if os.path.exists("/sys/kernel/btf/vmlinux"):
        try:
            check.compare_btf(cls, Btf.kernel(), names=NAMES)
            agreed.add("btf")
        except check.LayoutUnavailable:
            pass
        except check.LayoutMismatch as error:
            assert error.what == "name" and cls.__name__ in NEWER, error
    return agreed


@pytest.mark.parametrize("cls", STRUCTS, ids=lambda cls: cls.__name__)
def test_structure_is_that_of_the_compiler_or_of_the_kernel(cls):
    agreed = witnesses(cls)
    if not agreed and cls.__name__ in NEWER:
        pytest.skip("neither the header nor the kernel of this machine is new enough")
    assert agreed, f"nothing here knows {cls.CTYPE}"


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

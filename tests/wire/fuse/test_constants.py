# SPDX-License-Identifier: Apache-2.0
"""Every number of the header and of the running kernel is in the tables, under the same name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from instar.layout.btf import Btf, Enum, Kind
from instar.wire import fuse
from instar.wire.fuse import NOTIFICATIONS, OPCODES, ExtType, InitFlags, NotifyCode, Opcode, UringCmd

HEADER = "/usr/include/linux/fuse.h"

#: Macros of the header that are no numbers of the protocol, or of the device's ioctls (``instar.edge``).
ELSEWHERE = re.compile(
    r"_LINUX_FUSE_H|FUSE_DEV_IOC_\w+|FUSE_REC_ALIGN|FUSE_DIRENT\w*|FUSE_NAME_OFFSET\w*|FUSE_REMOVEMAPPING_MAX_ENTRY"
)
#: Sizes of structures of versions before 7.9 and of SETATTR's kin, which no supported kernel uses.
ANCIENT = re.compile(r"FUSE_COMPAT_(ENTRY_OUT|ATTR_OUT|MKNOD_IN|WRITE_IN|STATFS)_SIZE")


def our_numbers():
    """All numbers of the package by name, enumerations and plain ones."""
    found = {}
    for name in fuse.__all__:
        value = getattr(fuse, name)
        if isinstance(value, int):
            found[name] = int(value)
        elif hasattr(value, "__members__"):
            found.update({key: int(member) for key, member in value.__members__.items()})
    return found


def header_macros():
    """What gcc makes of each macro of the header."""
    if not os.path.exists(HEADER) or not shutil.which("gcc"):
        pytest.skip("no linux/fuse.h or no gcc here")
    with open(HEADER, encoding="utf-8") as file:
        names = re.findall(r"^#define\s+((?:C?FUSE|FOPEN|FATTR)_\w+)(?![\w(])", file.read(), re.MULTILINE)
    names = [name for name in names if not ELSEWHERE.fullmatch(name)]
    lines = "".join(f'printf("{name} %llu\\n", (unsigned long long)({name}));\n' for name in names)
    program = f"#include <stdio.h>\n#include <linux/fuse.h>\nint main(void) {{ {lines} return 0; }}"
    return names, program


def test_every_macro_of_the_header_has_the_same_number_here(tmp_path):
    names, program = header_macros()
    binary = str(tmp_path / "numbers")
    subprocess.run(["gcc", "-x", "c", "-o", binary, "-"], input=program, text=True, check=True)
    ours = our_numbers()
    printed = dict(line.split() for line in subprocess.check_output([binary], text=True).splitlines())
    assert set(printed) == set(names)
    for name, text in printed.items():
        number = int(text)
        if name == "FUSE_KERNEL_MINOR_VERSION":
            assert number <= fuse.FUSE_KERNEL_MINOR_VERSION or number > 45
        elif name == "FUSE_INIT_RESERVED":  # 1 << 31 is negative in C
            assert number & 0xFFFF_FFFF == ours[name]
        elif not ANCIENT.fullmatch(name):
            assert ours.get(name) == number, name


@pytest.mark.parametrize(
    ("tag", "ours"),
    [
        ("fuse_opcode", Opcode),
        ("fuse_notify_code", NotifyCode),
        ("fuse_ext_type", ExtType),
        ("fuse_uring_cmd", UringCmd),
    ],
)
def test_every_member_of_the_kernels_enum_has_the_same_number_here(tag, ours):
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
    enums = [entry for entry in Btf.kernel().find_all(tag, Kind.ENUM, Kind.ENUM64) if isinstance(entry, Enum)]
    if not enums:
        pytest.skip(f"the BTF of this kernel has no enum {tag}")
    theirs = {name: int(value) for name, value in enums[0].values if name != "FUSE_NOTIFY_CODE_MAX"}
    mine = {name: int(member) for name, member in ours.__members__.items()}
    assert theirs.items() <= mine.items()


def test_every_opcode_is_in_the_table_and_decoded_and_encoded():
    requests = {opcode for opcode in Opcode if not opcode.name.endswith("BSWAP_RESERVED")}
    assert set(OPCODES) == requests
    assert set(fuse.DECODERS) == {int(opcode) for opcode in requests}
    assert set(fuse._request_encode._ENCODERS) == requests


def test_every_reply_of_the_table_is_decoded_and_encoded():
    replies = {reply for info in OPCODES.values() for reply in info.replies}
    assert replies == set(fuse._reply_messages._DECODERS) == set(fuse._reply_messages._ENCODERS)


def test_every_notification_is_in_the_table():
    assert set(NOTIFICATIONS) == set(NotifyCode)


def test_init_flags_fill_their_bits_without_a_gap():
    assert sorted(int(flag) for flag in InitFlags) == [1 << bit for bit in range(43)]


def test_opcodes_without_a_reply_are_those_of_the_kernel():
    silent = {opcode.name for opcode, info in OPCODES.items() if not info.has_reply}
    assert silent == {"FUSE_FORGET", "FUSE_BATCH_FORGET", "FUSE_INTERRUPT", "FUSE_NOTIFY_REPLY"}


def test_table_names_the_usual_reply_first():
    assert OPCODES[Opcode.FUSE_GETXATTR].reply is fuse.DataReply
    assert OPCODES[Opcode.FUSE_GETXATTR].replies == (fuse.DataReply, fuse.SizeReply)
    assert OPCODES[Opcode.FUSE_FORGET].reply is None


def test_opcode_name_knows_unknown_opcodes():
    assert fuse.opcode_name(3) == "GETATTR"
    assert fuse.opcode_name(4096) == "CUSE_INIT"
    assert fuse.opcode_name(777) == "opcode 777"


def test_all_public_names_exist_once():
    assert len(fuse.__all__) == len(set(fuse.__all__))
    assert all(hasattr(fuse, name) for name in fuse.__all__)

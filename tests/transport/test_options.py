# SPDX-License-Identifier: Apache-2.0
"""Mount options: how they are written, and what is said, in plain words, of those that do not fit."""

from __future__ import annotations

import enum
import errno
import math
from typing import Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instar._values import convert_value, split_options
from instar.edge import mount as edge
from instar.edge.mount import MountError, MountFlags
from instar.transport import MountOptions, OptionError, parse_options
from instar.transport._mount import _fusermount

Bytes = NewType("Bytes", int)
Limit = NewType("Limit", Bytes | None)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a,,b", ["a", "b"]),
        (r"a=1\,2,b", ["a=1,2", "b"]),
        (r"a=x\\,b", ["a=x\\", "b"]),
        (r"a=C:\dir\,b", [r"a=C:\dir,b"]),
        ("a\\", ["a\\"]),
        ("a=1\n2,b", ["a=1\n2", "b"]),
        (r"\,", [","]),
    ],
)
def test_a_backslash_keeps_a_comma_in_a_value(text, items):
    assert split_options(text) == items


@given(st.lists(st.text(min_size=1)))
def test_what_is_escaped_comes_back_whatever_is_in_it(items):
    escaped = [item.replace("\\", "\\\\").replace(",", "\\,") for item in items]
    assert split_options(",".join(escaped)) == items


@given(st.text())
def test_any_text_is_either_a_number_or_refused(text):
    said = "must be a whole number"
    try:
        value = convert_value(text, int)
    except ValueError as error:
        said = str(error)
    else:
        assert isinstance(value, int)
    assert said.startswith("must be a whole number")


def test_a_backslash_at_the_end_of_one_text_does_not_reach_the_next():
    assert parse_options("a=x\\", "b=1")[1] == {"a": "x\\", "b": "1"}


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("16M", int, 16 << 20),
        ("1.5G", int, 3 << 29),
        ("1e3", int, 1000),
        (".5k", int, 512),
        ("4KiB", int, 4096),
        ("4kb", int, 4096),
        ("-1", int, -1),
        ("yes", bool, True),
        ("NO", bool, False),
        ("off", bool | None, False),
        (None, bool, True),
        ("0.5", float, 0.5),
        ("1e3", float | None, 1000.0),
        ("1.5k", float, 1536.0),
        ("16MiB", float | None, float(16 << 20)),
        ("inf", float, math.inf),
        ("4", float | int, 4),
        ("0.5", int | float, 0.5),
        ("16M", Bytes, 16 << 20),
        ("16M", Limit, 16 << 20),
        ("7", str, "7"),
        ("1k", str | int, "1k"),
        ("1k", Any, 1024),
        ("7", Any, "7"),
        ("12b", Any, "12b"),
        (None, Any, True),
        ("b", Literal["a", "b"], "b"),
    ],
)
def test_a_value_is_taken_as_people_write_it(text, hint, value):
    got = convert_value(text, hint)
    assert (got, type(got)) == (value, type(value))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("text", "hint", "says"),
    [
        ("big", int, "must be a whole number, such as 4096, 16M or 1.5G"),
        ("1.3", int, "must be a whole number, such as 4096, 16M or 1.5G"),
        ("", int, "must be a whole number, such as 4096, 16M or 1.5G"),
        ("perhaps", bool, "must be yes or no"),
        ("big", Bytes, "must be a whole number, such as 4096, 16M or 1.5G"),
        ("soon", float | None, "must be a number, such as 2 or 0.5"),
        ("c", Literal["a", "b"], "must be one of a, b"),
        ("green", Colour, "must be one of red, blue"),
        (None, str, "must have a value"),
        (None, int, "must have a value: a whole number, such as 4096, 16M or 1.5G"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_plain_words(text, hint, says):
    with pytest.raises(ValueError, match="must") as raised:
        convert_value(text, hint)
    assert str(raised.value) == says


@pytest.mark.parametrize("text", ["allow_other=no", "noallow_other", "allow_other=off", "allow_other=0"])
def test_a_switch_is_turned_off_in_each_usual_way(text):
    assert parse_options(text)[0].allow_other is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow_other=perhaps", "Mount option allow_other=perhaps: allow_other must be yes or no."),
        ("max_write=lots", "max_write must be a whole number"),
        ("fsname", "Mount option fsname: fsname must have a value."),
        ("fsname=", "fsname must be one line of text"),
        ("fsname=a\nb", "fsname must be one line of text"),
        ("subtype=a b", "subtype is a part of the type's name"),
        (r"subtype=a\,b", "subtype is a part of the type's name"),
        ("subtype=a\n", "subtype is a part of the type's name"),
    ],
)
def test_an_option_of_the_mount_that_does_not_fit_is_named(text, says):
    with pytest.raises(OptionError) as raised:
        parse_options(text)
    assert says in str(raised.value)


def test_a_name_may_have_blanks_and_commas():
    assert parse_options(r"fsname=my disk\, old")[0].fsname == "my disk, old"
    assert MountOptions(fsname="my disk, old").fsname == "my disk, old"


@pytest.mark.parametrize("name", ["nodiratime", "strictatime", "lazytime"])
def test_what_fusermount_cannot_set_is_refused_and_not_left_out(monkeypatch, name):
    monkeypatch.setattr(edge, "fusermount", lambda *args: pytest.fail("it was asked"))
    with pytest.raises(MountError, match=f"cannot set {name}: leave that out, or mount as root") as raised:
        _fusermount("/m", "source", "kind", parse_options(name)[0].flags, {})
    assert raised.value.errno == errno.EPERM


def test_relatime_is_what_a_mount_through_fusermount_has_anyway(monkeypatch):
    monkeypatch.setattr(edge, "fusermount", lambda mountpoint, options: sorted(options))
    words = _fusermount("/m", "source", "kind", MountFlags.RELATIME | MountFlags.NOSUID, {})
    assert words == ["fsname", "nosuid", "subtype"]

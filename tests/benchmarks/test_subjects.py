# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from _harness import mounts
from _harness.client import Client, Load
from _harness.requests import count, request_counter
from _harness.subjects import SUBJECTS, UNCACHED, FuseSubject

pytestmark = [pytest.mark.mount, pytest.mark.root]


@pytest.fixture(scope="module")
def arena():
    with mounts.Arena(gib=1) as made:
        yield made


@pytest.mark.parametrize("kind", SUBJECTS, ids=lambda kind: kind.name)
def test_a_subject_starts_works_and_goes_away(kind, arena):
    subject = kind(arena)
    if reason := subject.missing():
        pytest.skip(reason)
    directory = subject.start(UNCACHED)
    try:
        (directory / "file").write_bytes(b"x" * 5000)
        (directory / "file").rename(directory / "other")
        assert (directory / "other").read_bytes() == b"x" * 5000
        assert [path.name for path in directory.iterdir()] == ["other"]
    finally:
        subject.stop()
    assert not directory.exists()


def test_without_caching_each_stat_of_instar_reaches_the_server(arena, tmp_path):
    subject = next(kind for kind in SUBJECTS if kind.name == "instar-memfs")(arena)
    if reason := subject.missing():
        pytest.skip(reason)
    assert isinstance(subject, FuseSubject)
    client = Client.build(str(tmp_path))
    with request_counter(arena.path) as counter:
        if counter is None:
            pytest.skip("no fuse tracepoint")
        directory = subject.start(UNCACHED)
        try:
            counts = count(counter, client, directory, subject.mount, Load(("stat",), ops=50))
        finally:
            subject.stop()
    assert counts["stat"]["LOOKUP"] == 1.0

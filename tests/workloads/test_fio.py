# SPDX-License-Identifier: Apache-2.0
"""fio writes blocks with checksums and finds every one again."""

from __future__ import annotations

import json

import pytest

from tests.support.tools import need, run

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

_JOBS = {
    "buffered, several jobs": ["--ioengine=psync", "--rw=randrw", "--bsrange=512-64k", "--numjobs=4"],
    "mmap": ["--ioengine=mmap", "--rw=randrw", "--bs=4k", "--numjobs=2"],
    "O_DIRECT": ["--ioengine=psync", "--rw=randrw", "--bs=4k", "--direct=1", "--numjobs=2"],
    "O_DIRECT with libaio, sixteen in flight": [
        "--ioengine=libaio",
        "--rw=randwrite",
        "--bs=16k",
        "--direct=1",
        "--iodepth=16",
        "--numjobs=2",
    ],
    "io_uring, buffered": ["--ioengine=io_uring", "--rw=randrw", "--bs=8k", "--iodepth=8", "--numjobs=2"],
    "sequential, fsync after each 64 blocks": ["--ioengine=psync", "--rw=write", "--bs=128k", "--fsync=64"],
    "one file for all jobs, O_APPEND-like sequence": [
        "--ioengine=psync",
        "--rw=write",
        "--bs=4k",
        "--numjobs=1",
        "--file_append=1",
    ],
}


@pytest.mark.parametrize("job", _JOBS)
def test_every_block_verifies(job, top):
    need("fio")
    output = run(
        "fio",
        "--name=verify",
        f"--directory={top}",
        "--size=8M",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--do_verify=1",
        "--verify_state_save=0",
        "--randrepeat=1",
        "--randseed=42",
        "--group_reporting",
        "--output-format=json",
        *_JOBS[job],
        timeout=100,
    )
    report = json.loads(output[output.index("{") :])
    assert [entry["error"] for entry in report["jobs"]] == [0]
    assert sum(entry["write"]["io_bytes"] for entry in report["jobs"]) > 0
    assert sum(entry["read"]["io_bytes"] for entry in report["jobs"]) > 0

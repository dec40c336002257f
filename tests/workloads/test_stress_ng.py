# SPDX-License-Identifier: Apache-2.0
"""stress-ng's file system stressors, each verifying what it does, end without a failure."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.tools import need, run

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_SECONDS = 1

# Groups keep the number of mounts small; the stressors of a group run one after the other, two workers each.
# Left out: io, which syncs every file system of the machine; io-uring, which fails on ext4 too (0.15.06).
_GROUPS = {
    "names": {
        "dentry": [],
        "dir": ["--dir-dirs", "256"],
        "dirdeep": ["--dirdeep-inodes", "400"],
        "filename": [],
        "link": [],
        "symlink": [],
        "rename": [],
        "mknod": [],
        "chdir": ["--chdir-dirs", "200"],
        "dirmany": [],
    },
    "attributes": {
        "chmod": [],
        "chown": [],
        "utime": [],
        "xattr": [],
        "fstat": [],
        "access": [],
        "touch": [],
        "chattr": [],
        "dnotify": [],
    },
    "data": {
        "hdd": ["--hdd-bytes", "8M", "--hdd-opts", "direct,fsync,rd-rnd,wr-rnd"],
        "iomix": ["--iomix-bytes", "8M"],
        "seek": ["--seek-size", "4M"],
        "readahead": ["--readahead-bytes", "8M"],
        "revio": ["--revio-bytes", "8M"],
        "sync-file": ["--sync-file-bytes", "8M"],
        "aio": [],
    },
    "space": {
        "fallocate": ["--fallocate-bytes", "8M"],
        "fpunch": [],
        "copy-file": ["--copy-file-bytes", "128M"],
        "sendfile": ["--sendfile-size", "1M"],
        "fsize": [],
    },
    "open files": {
        "open": ["--open-max", "4000"],
        "flock": [],
        "lockf": [],
        "locka": [],
        "lockofd": [],
        "lease": [],
        "fcntl": [],
        "mmap": ["--mmap-file", "--mmap-bytes", "4M"],
        "mmapaddr": [],
        "msync": ["--msync-bytes", "1M"],
        "file-ioctl": [],
    },
}


@pytest.mark.parametrize("group", _GROUPS)
def test_every_stressor_of_the_group_verifies(group, top):
    need("stress-ng")
    failures = []
    for stressor, more in _GROUPS[group].items():
        command = ["stress-ng", f"--{stressor}", "2", *more, "--timeout", str(_SECONDS), "--verify"]
        command += ["--temp-path", str(top), "--metrics-brief", "--oomable", "--no-rand-seed"]
        try:
            output = run(*command, timeout=60)
        except AssertionError as error:
            failures.append(f"{stressor}: {error}")
            continue
        finally:
            if stressor == "chattr":  # it leaves files that nobody may remove
                subprocess.run(["chattr", "-R", "-f", "-ia", top], check=False)
        if "fail:" in output:
            failures.append(f"{stressor}: {output}")
    assert not failures, "\n\n".join(failures)

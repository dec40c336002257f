# SPDX-License-Identifier: Apache-2.0
"""The subjects, in the order of the tables."""

from __future__ import annotations

from _harness.subjects._base import NORMAL, SETTINGS, UNCACHED, FuseSubject, Setting, Subject
from _harness.subjects.bindfs import Bindfs, BindfsThreads
from _harness.subjects.instar import InstarMemFS, InstarMirror
from _harness.subjects.mfusepy import MfusepyMemFS, MfusepyMirror
from _harness.subjects.native import NativeExt4
from _harness.subjects.pyfuse3 import Pyfuse3MemFS, Pyfuse3MemFSAsyncio, Pyfuse3Mirror

__all__ = ["NORMAL", "SETTINGS", "SUBJECTS", "UNCACHED", "FuseSubject", "Setting", "Subject"]

SUBJECTS: tuple[type[Subject], ...] = (
    NativeExt4,
    InstarMemFS,
    Pyfuse3MemFS,
    Pyfuse3MemFSAsyncio,
    MfusepyMemFS,
    InstarMirror,
    Pyfuse3Mirror,
    MfusepyMirror,
    Bindfs,
    BindfsThreads,
)

# SPDX-License-Identifier: Apache-2.0
"""The request that processors stay awake is made once, taken back, and never an error."""

from __future__ import annotations

import os

import pytest

from instar.edge import pm_qos
from instar.edge.pm_qos import CpuLatency


@pytest.fixture
def device(tmp_path, monkeypatch):
    """A file in the device's place."""
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    monkeypatch.setattr(pm_qos, "_DEVICE", str(path))
    return path


def test_zero_microseconds_are_asked_for_while_it_is_held(device):
    latency = CpuLatency()
    assert not latency.held
    latency.hold()
    latency.hold()
    assert latency.held
    assert device.read_bytes() == bytes(4)
    latency.release()
    latency.release()
    assert not latency.held


def test_without_the_device_nothing_happens(device):
    device.unlink()
    latency = CpuLatency()
    latency.hold()
    assert (latency.available, latency.held) == (False, False)


def test_a_device_that_goes_or_refuses_turns_it_off_and_keeps_nothing_open(device, monkeypatch):
    latency = CpuLatency()
    assert latency.available
    device.unlink()
    latency.hold()
    assert (latency.available, latency.held) == (False, False)
    device.symlink_to("/dev/full")
    refused = CpuLatency()
    refused.hold()
    assert (refused.available, refused.held) == (False, False)


@pytest.mark.skipif(
    not os.access(pm_qos._DEVICE, os.W_OK), reason="needs /dev/cpu_dma_latency, and the right to it"
)
def test_the_real_device_takes_it():
    latency = CpuLatency()
    latency.hold()
    assert latency.held
    latency.release()

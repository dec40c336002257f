# SPDX-License-Identifier: Apache-2.0
"""Keeping idle processors awake: ``/dev/cpu_dma_latency`` (``Documentation/power/pm_qos_interface.rst``).

A processor that goes to sleep between two requests has to be woken for each of them; in a virtual machine that is an exit
and an interrupt, 60 to 100 microseconds, several times what the request itself takes. While the device is held open with
the value 0, idle processors poll instead of sleeping.
"""

from __future__ import annotations

import os

__all__ = ["CpuLatency"]

_DEVICE = "/dev/cpu_dma_latency"
_ZERO = bytes(4)


class CpuLatency:
    """A request that processors wake without delay; held between :meth:`hold` and :meth:`release`."""

    __slots__ = ("_fd", "available")

    def __init__(self) -> None:
        self._fd = -1
        #: Whether this process may ask (root may).
        self.available = os.access(_DEVICE, os.W_OK)

    @property
    def held(self) -> bool:
        """Whether the request stands."""
        return self._fd >= 0

    def hold(self) -> None:
        """Make the request; without the right to, or the device, nothing happens and ``available`` turns false."""
        if self._fd >= 0 or not self.available:
            return
        try:
            self._fd = os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, _ZERO)
        except OSError:
            self.available = False
            self.release()

    def release(self) -> None:
        """Take it back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

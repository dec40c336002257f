# SPDX-License-Identifier: Apache-2.0
"""Protocol cores without I/O: bytes in, typed messages out, and back.

One package for each protocol. Nothing here opens a file or a socket, keeps a clock or starts a thread: a transport does,
and a test or a fuzzer drives a core with bytes of its own.
"""

from __future__ import annotations

# SPDX-License-Identifier: Apache-2.0
"""Everything that can corrupt memory or hang a machine: ctypes, mmap, ioctl and raw system calls.

One small module for each kernel facility. Each dangerous use stands under a ``# SAFETY:`` comment that says why it is
sound; ``tools/check_edge.py`` proves that there is none elsewhere.
"""

# SPDX-License-Identifier: Apache-2.0
"""Memory that the C library holds free, given back to the system: ``malloc_trim(3)``.

glibc keeps what was freed between objects that live, for the next ones. Its pages go back to the kernel only when somebody
asks; the C libraries that do not have the call (musl) keep little.
"""

from __future__ import annotations

import ctypes

__all__ = ["trim"]

# SAFETY: the prototype is that of malloc.h; the function is thread-safe (attributes(7)), takes no pointer and frees only
# what the allocator itself holds free.
_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
if _malloc_trim is not None:
    _malloc_trim.argtypes = [ctypes.c_size_t]
    _malloc_trim.restype = ctypes.c_int


def trim() -> bool:
    """Give back free memory; whether there was any. The interpreter's lock is not held meanwhile.

    It takes about 0.1 ms for each MiB that is given back, and other threads that call ``malloc`` wait for it.
    """
    if _malloc_trim is None:
        return False
    # SAFETY: see above; 0 is the padding to keep at the top of the heap.
    return bool(_malloc_trim(0))

# SPDX-License-Identifier: Apache-2.0
"""Linux file systems and other kernel services as Python classes, replaceable while they are in use.

Start with :mod:`instar.fs` (the class to subclass) and ``instar mount --help`` (the command that serves it).
The packages and what each may import are listed in ``docs/architecture.md``.
"""

from __future__ import annotations

from instar._errors import InstarError

__all__ = ["InstarError", "__version__"]

__version__ = "0.1.0"

# SPDX-License-Identifier: Apache-2.0
"""Ways to check a service: a POSIX conformance suite, a model with an oracle, and exercisers of single files.

Each is a package or module of its own, usable from the command line (``python -m instar.verify.model --help``) and
from tests.
"""

from __future__ import annotations

# SPDX-License-Identifier: Apache-2.0
"""The file system of the demonstration that is made of Python values."""

from __future__ import annotations

from instar.fs import File, SeqFile, Tree

__all__ = ["settings", "store", "tree"]

settings = {"answer": "41"}


def store(text: str) -> None:
    """Take what was written to the file ``answer``."""
    settings["answer"] = text.strip()


tree = Tree(
    {
        "hello": "Hello from Python!\n",
        "squares": SeqFile(lambda: (n * n for n in range(1_000_000))),
        "answer": File(lambda: settings["answer"] + "\n", store, mode=0o666),
    }
)

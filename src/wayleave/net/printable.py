"""Text that others said, fit for a terminal, a log and a message."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Write what is not printable as Python does: `\x1b`, `\n`, `\u202e`; all else stays as it is."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else char.encode("unicode_escape").decode() for char in text])

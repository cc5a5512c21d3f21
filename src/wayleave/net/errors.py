"""The one exception of every decoder."""

from __future__ import annotations


class Malformed(Exception):
    """Bytes that do not follow their specification. Whoever reads from the wire turns it into a counted drop.

    `offset` counts octets from the start of what the decoder was given; `why` is for people; `source` names the rule.
    """

    def __init__(self, offset: int, why: str, source: str) -> None:
        super().__init__(offset, why, source)
        self.offset = offset
        self.why = why
        self.source = source

    def __str__(self) -> str:
        return f"octet {self.offset}: {self.why} ({self.source})"

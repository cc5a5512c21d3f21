"""How many blocks a gateway needs of a shared pool: what newcomers of the next hour may take, before it has to ask.

A gateway that is cut off lives on what it has; so it keeps as much in hand as the last hour took, and half a block at
the least. What it has beyond twice that it gives back.
"""

from __future__ import annotations

from collections import deque

from wayleave.net.units import SECOND, BootNs, Ns

WINDOW = Ns(3600 * SECOND)
"""What a pool grew by in so long, it may grow by again."""
EVERY = Ns(60 * SECOND)
MOST = 16
"""Blocks that are asked for at once."""


class Growth:
    """Of one pool, whose blocks have `block` addresses, or none yet: 0."""

    def __init__(self) -> None:
        self.block = 0
        self._held: deque[tuple[BootNs, int]] = deque()

    def note(self, held: int, now: BootNs) -> None:
        """Take note of how many addresses are held; to be called often, kept once a minute."""
        if not self._held or now - self._held[-1][0] >= EVERY:
            self._held.append((now, held))
        while now - self._held[0][0] > WINDOW:
            self._held.popleft()

    def reserve(self, held: int) -> int:
        """How many addresses there are to be in hand."""
        least = min((count for _, count in self._held), default=held)
        return max(self.block // 2, held - least)

    def lasts(self, held: int, spare: int) -> Ns | None:
        """How long what is in hand lasts if newcomers come as they did of late; None: none came."""
        least = min((count for _, count in self._held), default=held)
        return Ns(spare * WINDOW // (held - least)) if held > least else None

    def lacking(self, held: int, spare: int) -> int:
        """How many blocks to ask for; the first is wanted whether anybody came yet or not."""
        if not self.block:
            return 1
        short = self.reserve(held) - spare
        return min(MOST, -(-short // self.block)) if short > 0 else 0

    def excess(self, held: int, spare: int) -> int:
        """How many blocks could go. One stays, also where nobody is."""
        if not self.block:
            return 0
        blocks = (held + spare) // self.block
        return max(0, min(blocks - 1, (spare - 2 * self.reserve(held)) // self.block))

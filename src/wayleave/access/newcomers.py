"""The queue of those who ask for a gateway (PADI) while it has no time for another call.

After a power cut a town dials at once. If all were answered at once, thousands would be under way together, their
requests would run out and be repeated, and what time there is would go into repetitions. So a newcomer is answered when
no frame of anybody else waits; who is not answered yet takes the PADO whenever it comes, or asks again after seconds.

What waits is the frame as it came: neither a PADO nor its cookie grows old here. Source: RFC 2516 5.1, 8.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from wayleave.net.units import MILLISECOND, BootNs, Ns, after
from wayleave.session.model import NEVER

MOST = 1 << 15
"""PADIs that wait; a further one is dropped."""

TOGETHER = 32
"""Newcomers let in at once: what they say next is there before others are let in."""

PATIENCE = Ns(10 * MILLISECOND)
"""How often one is let in though there is no time: nobody waits for ever."""


class Newcomers:
    """First come, first served. `busy` tells whether frames wait."""

    def __init__(self, busy: Callable[[], bool]) -> None:
        self._busy = busy
        self._waiting: dict[tuple[int, bytes], None] = {}  # a set in order: the port, and the frame
        self.deadline = NEVER
        """When `admit` is worth calling, if not before; NEVER: nobody waits."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def wait(self) -> bool:
        """Whether another has to wait."""
        return bool(self._waiting) or self._busy()

    def add(self, port: int, padi: bytes, now: BootNs) -> bool:
        """Have a newcomer wait; who asks again keeps its place. False: there is no room."""
        if len(self._waiting) >= MOST:
            return False
        self._waiting[port, padi] = None
        self.deadline = self.deadline or after(now, PATIENCE)
        return True

    def admit(self, now: BootNs) -> list[tuple[int, bytes]]:
        """Take those out whose turn it is: some, if there is time; one, if there was none for a while."""
        if not self._waiting:
            return []
        busy = self._busy()
        if busy and now < self.deadline:
            return []
        admitted = list(islice(self._waiting, 1 if busy else TOGETHER))
        for item in admitted:
            del self._waiting[item]
        self.deadline = after(now, PATIENCE) if self._waiting else NEVER
        return admitted

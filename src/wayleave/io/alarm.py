"""One wake-up of the event loop, for who knows a deadline and may come to know an earlier one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wayleave.net.units import SECOND, BootNs

GRAIN_S = 0.001
"""What the loop's timers may be early by: it would come back at once, again and again, until it is time."""
_NEVER = BootNs(0)


class Alarm:
    """Calls `ring` at the earliest deadline that was asked for since it rang last. `clock` is the boot clock."""

    def __init__(self, clock: Callable[[], BootNs], ring: Callable[[], None]) -> None:
        self._clock, self._ring = clock, ring
        self._handle: asyncio.Handle | None = None
        self._at = _NEVER

    def set(self, loop: asyncio.AbstractEventLoop, deadline: BootNs) -> None:
        """Have it ring no later than at a deadline; 0: nothing is asked for."""
        if deadline == _NEVER or (self._handle is not None and self._at <= deadline):
            return
        self.cancel()
        wait = max(0, deadline - self._clock()) / SECOND + GRAIN_S
        self._handle, self._at = loop.call_later(wait, self._on_time), deadline

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_time(self) -> None:
        self._handle = None
        self._ring()

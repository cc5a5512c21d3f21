"""The clocks: boot time for everything that runs, UTC only for what outlives a boot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from wayleave.net.units import BootNs, UtcNs

BUILT = UtcNs(1_790_000_000_000_000_000)
"""No machine runs this program before it was written (2026-09): an earlier wall clock has not been set yet."""


class Moment(NamedTuple):
    """A moment that outlives a boot: on that boot's clock, and in UTC; None: the wall clock was not plausible."""

    boot: BootNs
    boot_id: str
    utc: UtcNs | None


class Clock:
    """The machine's clocks.

    `plausible` is False while the wall clock says a time that has already been: edge boxes boot in 1970. Until it is
    True nothing that an earlier boot promised may be freed.
    """

    def __init__(self) -> None:
        self.boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self._floor = BUILT

    def boot(self) -> BootNs:
        """CLOCK_BOOTTIME, as the BPF program reads it."""
        return BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def utc(self) -> UtcNs:
        return UtcNs(time.time_ns())

    def not_before(self, moment: UtcNs) -> None:
        """Learn of a time that has certainly been, such as when the last record was written."""
        self._floor = UtcNs(max(self._floor, moment))

    def moment(self) -> Moment:
        return Moment(self.boot(), self.boot_id, self.utc() if self.plausible else None)

    @property
    def plausible(self) -> bool:
        return self.utc() >= self._floor

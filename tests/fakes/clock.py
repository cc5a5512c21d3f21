"""A clock that stands still until it is told."""

from __future__ import annotations

from wayleave.io.clock import BUILT, Clock
from wayleave.net.units import SECOND, BootNs, UtcNs


class FakeClock(Clock):
    """Boot time and wall clock by hand. `reboot` starts a new boot; the wall clock goes on, or starts in 1970."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self._floor = BUILT
        self.now = BootNs(100 * SECOND)
        self.wall = UtcNs(BUILT + 1_000 * SECOND)

    def boot(self) -> BootNs:
        return self.now

    def utc(self) -> UtcNs:
        return self.wall

    def wait(self, length: int) -> None:
        """Let time pass on both clocks; nanoseconds."""
        self.now = BootNs(self.now + length)
        self.wall = UtcNs(self.wall + length)

    def reboot(self, off: int = 10 * SECOND, in_1970: bool = False) -> FakeClock:
        """Return the clock of the next boot, `off` nanoseconds later."""
        after = FakeClock()
        after.boot_id = f"{self.boot_id}+"
        after.now = BootNs(5 * SECOND)
        after.wall = UtcNs(5 * SECOND) if in_1970 else UtcNs(self.wall + off)
        return after

"""One client's packets, as the capture programs copy them: as they came in, and as they leave.

Those programs are the ports' own with copies added. They stand in the place of the ports' while somebody captures; if
the process dies meanwhile they go on forwarding, and the next start puts the ports' back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from wayleave.dataplane import syscall
from wayleave.dataplane.abi import (
    Captured,
    CaptureFilter,
    CaptureResult,
    CaptureSide,
    DropReason,
    Outcome,
    Stage,
)
from wayleave.dataplane.events import Ring
from wayleave.dataplane.maps import PerCpu
from wayleave.dataplane.objects import Map
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs

PROGRAMS = {"bng_access": "capture_access", "bng_core": "capture_core"}
NOBODY = CaptureFilter(Mac(bytes(6)), 0, 0, 0, 0)


class Copy(Struct, frozen=True, gc=False):
    """A frame at one end of the gateway; `octets` may be its beginning only. Stage and outcome are the packet's end."""

    at: BootNs
    port: int
    came: bool
    stage: Stage
    outcome: Outcome
    reason: DropReason | None
    length: int
    octets: bytes


class Copies:
    """What the capture programs keep of the client that `choose` names."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._filter, self.ring = maps["captures"], Ring(maps["captured"])
        self._results = PerCpu(maps["capture_results"])
        self._lost_before = 0

    def choose(self, wanted: CaptureFilter) -> None:
        """Begin anew with another client; `NOBODY` for none."""
        self._look_for(wanted)
        self.drop()
        self._lost_before = self._results.totals()[CaptureResult.LOST]

    def end(self) -> None:
        """Copy nobody's packets any more. What lies there can be taken until `choose`."""
        self._look_for(NOBODY)

    def drop(self) -> int:
        """Throw away what lies there; returns how many copies it was."""
        return sum(1 for _ in self.ring.records())

    def _look_for(self, wanted: CaptureFilter) -> None:
        syscall.update(self._filter.fd, bytes(4), wanted.pack())

    @property
    def lost(self) -> int:
        """Copies that found no room, since `choose`."""
        return self._results.totals()[CaptureResult.LOST] - self._lost_before

    def take(self, limit: int) -> Iterator[Copy]:
        """Yield up to `limit` copies."""
        for record in self.ring.records(limit):
            head = Captured.unpack(record)
            length = min(head.length, len(record) - Captured.SIZE)
            outcome = Outcome(head.outcome)
            yield Copy(
                head.at,
                head.port,
                head.side == CaptureSide.CAME,
                Stage(head.stage),
                outcome,
                DropReason(head.reason) if outcome is Outcome.DROPPED else None,
                head.length,
                bytes(record[Captured.SIZE : Captured.SIZE + length]),
            )

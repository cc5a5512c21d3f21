"""The program's counters, by name."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from wayleave.dataplane.abi import (
    Dhcp4Result,
    DropReason,
    Outcome,
    PortKind,
    PuntClass,
    PuntResult,
    SampleResult,
    Stage,
    UsageDirection,
)
from wayleave.dataplane.maps import Array, PerCpu
from wayleave.dataplane.objects import Map
from wayleave.net.units import BootNs
from wayleave.session.model import NEVER

_MOMENT = struct.Struct("<Q")
_ASKING = struct.Struct("<QII")  # asked, heard, unanswered
_SEEN, _RENEWED, _ASKED = (UsageDirection.OFFSET[name] for name in ("seen", "renewed", "asked"))
"""Of the upstream direction, which comes first."""


def spoken(name: str) -> str:
    """How a constant is written for people: NO_SESSION is `no-session`."""
    return name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session has used: IP packets and octets, and drops."""

    up_packets: int = 0
    up_octets: int = 0
    up_dropped: int = 0
    down_packets: int = 0
    down_octets: int = 0
    down_dropped: int = 0

    def __sub__(self, base: Usage) -> Usage:
        return Usage(*(getattr(self, name) - getattr(base, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Asking:
    """What a client asks of the network, looked at once a second in which it asks.

    `asked`: when it last did, to a second; `unanswered`: how many times in a row nothing had come down since the time
    before; `heard` is how many packets had come down when it last did, since the maps were made, in 32 bits.
    """

    asked: BootNs = NEVER
    heard: int = 0
    unanswered: int = 0


class Counters:
    """Reads only. Totals are since the maps were made; a session's usage is since its `begin`.

    The program counts on under an id that goes to another session, so what stood there at the beginning is taken off.
    That is known to this process alone: after a restart usage counts from the restart, as a session's age does.
    """

    def __init__(self, maps: dict[str, Map]) -> None:
        self._received, self._outcomes = PerCpu(maps["received"]), PerCpu(maps["outcomes"])
        self._drops, self._punts = PerCpu(maps["drops"]), PerCpu(maps["punts"])
        self._dhcp4, self._samples = PerCpu(maps["dhcp4"]), PerCpu(maps["samples"])
        self._usage = Array(maps["usage"])
        self._began: dict[int, tuple[BootNs, Usage, Asking]] = {}

    def received(self) -> dict[str, int]:
        """Frames that entered, by kind of port; `unknown-port` for devices not configured."""
        totals = self._received.totals()
        return {"unknown-port": totals[0]} | {spoken(kind.name): totals[kind] for kind in PortKind}

    def outcomes(self) -> dict[str, dict[str, int]]:
        """Stage → outcome → packets, without the zeros."""
        totals = self._outcomes.totals()
        table: dict[str, dict[str, int]] = {}
        for stage in Stage:
            row = {spoken(outcome.name): totals[stage * len(Outcome) + outcome] for outcome in Outcome}
            table[spoken(stage.name)] = {name: count for name, count in row.items() if count}
        return table

    def drops(self) -> dict[str, int]:
        """Reason → packets, all reasons."""
        totals = self._drops.totals()
        return {spoken(reason.name): totals[reason] for reason in DropReason if reason}

    def punts(self) -> dict[str, dict[str, int]]:
        """Class → what became of it → packets."""
        totals = self._punts.totals()
        return {
            spoken(class_.name): {
                spoken(result.name): totals[class_ * len(PuntResult) + result] for result in PuntResult
            }
            for class_ in PuntClass
        }

    def samples(self) -> dict[str, int]:
        """What became of dropped packets as samples: `sent`, `policed` (enough of them just now), `lost` (no room)."""
        totals = self._samples.totals()
        return {spoken(result.name): totals[result] for result in SampleResult}

    def dhcp4(self) -> dict[str, int]:
        """What the program made of DHCP from subscribers: `offered`, `acked`, or why it went `up-` to Python."""
        totals = self._dhcp4.totals()
        return {spoken(result.name): totals[result] for result in Dhcp4Result}

    def begin(self, id_: int, since: BootNs) -> None:
        """Count from here on for the session with this id that began at `since`; only the first time for each."""
        began = self._began.get(id_)
        if began is None or began[0] != since:
            self._began[id_] = (since, self.under(id_), self._asking(id_))

    def usage(self, id_: int, since: BootNs) -> Usage:
        """What the session with this id that began at `since` has used; nothing before its `begin`."""
        began = self._began.get(id_)
        return self.under(id_) - began[1] if began is not None and began[0] == since else Usage()

    def under(self, id_: int) -> Usage:
        """All that was counted under an id; none for one past the table, as after a start with a smaller one."""
        if id_ >= self._usage.map.max_entries:
            return Usage()
        up = id_ * self._usage.stride
        down = up + UsageDirection.SIZE
        view = self._usage.view
        return Usage(*struct.unpack_from("<QQQ", view, up), *struct.unpack_from("<QQQ", view, down))

    def asking(self, id_: int, since: BootNs) -> Asking:
        """How the session with this id that began at `since` fares with what it asks; nothing before its `begin`."""
        began, told = self._began.get(id_), self._asking(id_)
        if began is None or began[0] != since or told.asked < since:
            return Asking()
        base = began[2]
        earlier = base.unanswered if told.heard == base.heard else 0
        return Asking(told.asked, told.heard, told.unanswered - earlier)

    def _asking(self, id_: int) -> Asking:
        if id_ >= self._usage.map.max_entries:
            return Asking()
        asked, heard, unanswered = _ASKING.unpack_from(self._usage.view, id_ * self._usage.stride + _ASKED)
        return Asking(BootNs(asked), heard, unanswered)

    def seen(self, id_: int) -> BootNs:
        """When the client under this id last sent a packet that was let through, to a second; 0: never."""
        return self._moment(id_, _SEEN)

    def renewed(self, id_: int) -> BootNs:
        """When the kernel last renewed the lease under this id, or answered its client's echo; 0: never."""
        return self._moment(id_, _RENEWED)

    def _moment(self, id_: int, offset: int) -> BootNs:
        if id_ >= self._usage.map.max_entries:
            return BootNs(0)
        return BootNs(_MOMENT.unpack_from(self._usage.view, id_ * self._usage.stride + offset)[0])

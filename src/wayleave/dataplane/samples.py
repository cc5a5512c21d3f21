"""Samples of dropped packets, out of a ring of their own. The program polices them, and wakes nobody for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from wayleave.access.settings import PortSettings
from wayleave.dataplane.abi import NO_SESSION, DropReason, Sample, Stage
from wayleave.dataplane.events import Ring
from wayleave.dataplane.objects import Map
from wayleave.net import frame
from wayleave.net.errors import Malformed
from wayleave.net.frame import ETHERTYPE_PPPOE_SESSION
from wayleave.net.units import BootNs
from wayleave.session.model import Client, Line
from wayleave.session.recent import Recent
from wayleave.session.table import Key, Table


class Samples:
    """What was dropped lately, to be taken now and then."""

    def __init__(self, maps: dict[str, Map]) -> None:
        self._ring = Ring(maps["sampled"])

    def take(self, limit: int) -> Iterator[tuple[Sample, bytes]]:
        """Yield up to `limit` samples, each with the first octets of its frame as it stood when it was dropped."""
        for record in self._ring.records(limit):
            sample = Sample.unpack(record)
            length = min(sample.length, len(record) - Sample.SIZE)
            yield sample, bytes(record[Sample.SIZE : Sample.SIZE + length])


REASONS = 6
"""Of how many different reasons a client's drops are remembered."""


def whose(sample: Sample, ports: Mapping[int, PortSettings], table: Table) -> tuple[Client, bool] | None:
    """The client that sent it, or that it was on the way to, and whether it sent it; None: nobody's.

    A session's id may have gone to another client while the sample lay in the ring.
    """
    port = ports.get(sample.port)
    if port is not None and port.role == "subscriber":
        return Client(Line(sample.port, sample.svid, sample.cvid), sample.source, sample.pppoe), True
    session = table.get(sample.session)
    return None if session is None or session.since > sample.at else (session.client, False)


class Drop(Struct, frozen=True, gc=False):
    """Samples of one client dropped for one reason: how many, when, and the last one.

    `upstream`: sent by the client, else on its way to it. There were at least `count`: samples are policed.
    """

    reason: DropReason
    stage: Stage
    upstream: bool
    count: int
    first: BootNs
    last: BootNs
    length: int
    octets: bytes

    @property
    def in_pppoe(self) -> bool:
        """Whether it was a packet of a PPPoE session."""
        try:
            return frame.decode(self.octets).ethertype == ETHERTYPE_PPPOE_SESSION
        except Malformed:
            return False


class Drops:
    """Every client's drops, as sampled: whether or not it has a session."""

    def __init__(self) -> None:
        self._of: Recent[dict[tuple[int, bool], Drop]] = Recent()

    def take(self, sample: Sample, octets: bytes, ports: Mapping[int, PortSettings], table: Table) -> None:
        """Take a sample to those of its client; of a frame that neither came from a client nor was for one, nothing."""
        found = whose(sample, ports, table)
        if found is not None:
            client, upstream = found
            self.add(client.station.key, upstream, sample, octets)

    def add(self, key: Key, upstream: bool, sample: Sample, octets: bytes) -> None:
        """Take a sample to those of its client."""
        mine = self._of.get(key) or {}
        before = mine.pop((sample.reason, upstream), None)
        mine[sample.reason, upstream] = Drop(
            DropReason(sample.reason),
            Stage(sample.stage),
            upstream,
            1 + (before.count if before is not None else 0),
            before.first if before is not None else sample.at,
            sample.at,
            sample.length,
            octets,
        )
        if len(mine) > REASONS:
            del mine[next(iter(mine))]
        self._of.put(key, mine, stranger=sample.session == NO_SESSION)

    def of(self, key: Key) -> list[Drop]:
        """What is remembered of a client, the last reason at the end."""
        return list((self._of.get(key) or {}).values())

    def clients(self) -> Iterator[Key]:
        """Who is remembered, those sampled last first."""
        return reversed(self._of)

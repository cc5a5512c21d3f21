"""Samples of dropped packets, out of a ring of their own. The program polices them, and wakes nobody for one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

from wayleave.dataplane.abi import DropReason, Sample, Stage
from wayleave.dataplane.events import Ring
from wayleave.dataplane.objects import Map
from wayleave.net.units import BootNs
from wayleave.session.table import Key


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


CLIENTS, REASONS = 4096, 6
"""Clients whose drops are remembered, those sampled last; and of how many different reasons."""


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


class Drops:
    """Every client's drops, as sampled: whether or not it has a session."""

    def __init__(self, most: int = CLIENTS) -> None:
        self._most = most
        self._of: OrderedDict[Key, dict[tuple[int, bool], Drop]] = OrderedDict()

    def add(self, key: Key, upstream: bool, sample: Sample, octets: bytes) -> None:
        """Take a sample to those of its client."""
        mine = self._of.setdefault(key, {})
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
        self._of.move_to_end(key)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def of(self, key: Key) -> list[Drop]:
        """What is remembered of a client, the last reason at the end."""
        return list(self._of.get(key, {}).values())

    def clients(self) -> list[Key]:
        """Who is remembered, those sampled last at the end."""
        return list(self._of)

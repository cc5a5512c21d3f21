"""Samples of dropped packets, out of a ring of their own. The program polices them, and wakes nobody for one."""

from __future__ import annotations

from collections.abc import Iterator

from wayleave.dataplane.abi import Sample
from wayleave.dataplane.events import Ring
from wayleave.dataplane.objects import Map


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

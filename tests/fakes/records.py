"""A disk, and the store in front of it: what is written in a group is durable as a group, or not at all.

The rows are those of io.store, made and read by its own functions, so that the real rules of promises apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from msgspec.structs import replace

from tests.fakes.clock import FakeClock
from wayleave.io import lease
from wayleave.io.lease import Restored
from wayleave.io.writes import Assign, Collected, Erase, Save, Stand, Told, Write
from wayleave.net.units import BootNs, UtcNs
from wayleave.proto.nexus.holder import Standing
from wayleave.session.model import Client


class Record(NamedTuple):
    """A row of the table `lease`, and whom it is about."""

    client: Client
    address: IPv4Address
    tenant: str
    promise_utc: UtcNs | None
    boot_id: str
    promise_boot: BootNs
    written_utc: UtcNs
    body: str


@dataclass
class Disk:
    """Durable leases by session id. While `failing` every group is refused."""

    records: dict[int, Record] = field(default_factory=dict)
    failing: bool = False
    stood: tuple[Standing, str] | None = None
    """What the gateway holds of Nexus, and on which boot that was written."""

    def write(self, group: Sequence[Write], clock: FakeClock) -> str | None:
        """Write a group whole; returns why not, as the store does."""
        if self.failing:
            return "disk I/O error"
        records, stood = dict(self.records), self.stood
        for write in group:
            if isinstance(write, Erase):
                records.pop(write.id, None)
            elif isinstance(write, Assign | Told):
                pass  # Nexus hears of it
            elif isinstance(write, Stand):
                stood = write.standing, clock.boot_id
            else:
                records[write.session.id] = self._record(write, clock)
        places = {(record.tenant, record.address) for record in records.values()}
        if len(places) < len(records):
            return "UNIQUE constraint failed: lease.tenant, lease.address"
        self.records, self.stood = records, stood
        return None

    def standing(self, clock: FakeClock) -> Standing | None:
        """Give back what was held, as `Store.standing` does."""
        if self.stood is None:
            return None
        standing, boot_id = self.stood
        return standing if boot_id == clock.boot_id else replace(standing, until=BootNs(0))

    def _record(self, write: Save, clock: FakeClock) -> Record:
        utc = clock.moment().utc
        _, tenant, address, until, body = lease.row(write.session, write.promise_until, clock.boot())
        promise_utc = None if utc is None else UtcNs(utc + until - clock.boot())
        written = utc or UtcNs(0)
        return Record(
            write.session.client, IPv4Address(address), tenant, promise_utc, clock.boot_id, until, written, body
        )

    def load(self, clock: FakeClock) -> Iterator[Restored]:
        """Give back what is durable, as `Store.load` does."""
        if self.records:
            clock.not_before(max(record.written_utc for record in self.records.values()))
        for id_, record in self.records.items():
            promise = record.promise_utc, record.boot_id, record.promise_boot
            row = lease.Row(id_, record.tenant, int(record.address), *promise, record.body)
            yield lease.restored(row, clock, None)


Submitted = Callable[[], None]


class Records(Collected):
    """Implements session.ports.Records. What is submitted waits in `pending` until somebody calls `commit`."""

    def __init__(self, disk: Disk, clock: FakeClock, submitted: Submitted = lambda: None) -> None:
        super().__init__()
        self._disk, self._clock, self._submitted = disk, clock, submitted
        self.pending: list[list[Write]] = []

    def flush(self) -> None:
        if self._collected:
            self.pending.append(self._collected)
            self._collected = []
            self._submitted()

    def standing(self) -> Standing | None:
        """As `Store.standing`."""
        return self._disk.standing(self._clock)

    def commit(self) -> tuple[list[Write], str | None]:
        """Write everything that waits as one group, as the store's thread does; returns it and why it failed."""
        group = [write for submitted in self.pending for write in submitted]
        self.pending.clear()
        return group, self._disk.write(group, self._clock)

    def lose(self, written: int) -> None:
        """The process dies; of the groups that wait, the first `written` get to the disk."""
        for group in self.pending[:written]:
            self._disk.write(group, self._clock)
        self.pending.clear()
        self._collected.clear()

"""The subscribers that Nexus tells this gateway of: they count as soon as they are on the disk, and without Nexus.

They stand beside those of the machine's own file, which wins where both mean the same client. An entry that makes no
sense under this gateway's configuration counts as nothing, and says why.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from wayleave.aaa.local import Subscriber
from wayleave.io.follow import Follower
from wayleave.io.nexus import Connection
from wayleave.io.replica import Replica
from wayleave.session.model import Session
from wayleave.session.table import Table


class Directory:
    """`changed` is called on the loop with the entries that are others now: as they were, and as they are."""

    def __init__(self, folder: Path, connection: Connection, changed: Callable[[list[Subscriber]], None]) -> None:
        """Raises: ReplicaError."""
        self.replica = Replica(folder)
        self.follower = Follower(connection, self.replica, self._told, random.random)
        self._changed = changed
        self._counted = dict(self.replica.known)
        self._following: asyncio.Task[None] | None = None

    @property
    def entries(self) -> list[Subscriber]:
        """As they are on the disk."""
        return list(self.replica.known.values())

    def start(self) -> None:
        """Follow Nexus from now on."""
        self._following = asyncio.get_running_loop().create_task(self.follower.run())

    def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self.replica.close()

    def _told(self, entries: Mapping[str, Subscriber | None]) -> None:
        concerned: list[Subscriber] = []
        for name, entry in entries.items():
            before = self._counted.pop(name, None)
            if entry is not None:
                self._counted[name] = entry
            concerned += [item for item in (before, entry) if item is not None]
        self._changed(concerned)


def concerned(table: Table, entry: Subscriber) -> Iterator[Session]:
    """The sessions that an entry may mean, or meant."""
    yield from table.of_subscriber(entry.name)
    if entry.mac is not None:
        yield from table.of_mac(entry.mac)
    if entry.line is not None:
        yield from table.on_line(entry.line)
    if entry.line is None and entry.mac is None:  # by circuit or user, wherever that is
        circuit = entry.circuit.encode() if entry.circuit is not None else None
        for session in table:
            named = session.link is not None and session.link.name == entry.user
            if session.client.line.circuit == circuit or named:
                yield session

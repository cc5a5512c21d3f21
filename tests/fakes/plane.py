"""A data plane of dictionaries, with the rules of the real one: keys, rows, promises, activity."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from wayleave.net.units import BootNs
from wayleave.session.model import NEVER, NOTHING_USED, Session, Used
from wayleave.session.ports import PlaneFull
from wayleave.session.table import Key

Host = tuple[str, IPv4Address]
RING = 256
"""Messages that wait for a process; the real ring refuses what is more, here the oldest goes."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the program knows of a session. `key` is None behind a relay, where nothing upstream is claimed."""

    key: Key | None
    host: Host
    promise_until: BootNs
    session: Session


class Plane:
    """Implements session.ports.Plane. It lives longer than a process, and not longer than a boot."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: dict[int, Row] = {}
        self.clients: dict[Key, int] = {}
        self.hosts: dict[Host, int] = {}
        self.ring: deque[tuple[BootNs, int, bytes]] = deque(maxlen=RING)
        self.used: dict[int, Used] = {}
        self._seen: dict[int, BootNs] = {}
        self._renewed: dict[int, BootNs] = {}

    # ---- session.ports.Plane ------------------------------------------------------------

    def install(self, sessions: Sequence[Session], now: BootNs) -> None:  # noqa: ARG002
        fresh = sum(session.id not in self.rows for session in sessions)
        if len(self.rows) + fresh > self.capacity:
            raise PlaneFull(f"{self.capacity} rows are taken")
        for session in sessions:
            self._place(session)

    def refresh(self, sessions: Sequence[Session], now: BootNs) -> int:
        changed = [session for session in sessions if self.rows[session.id].session != session]
        self.install(changed, now)
        return len(changed)

    def remove(self, ids: Iterable[int], now: BootNs) -> None:  # noqa: ARG002
        for id_ in ids:
            row = self.rows.pop(id_, None)
            if row is not None:
                self._drop_keys(id_, row)

    def seen(self, id_: int) -> BootNs:
        return self._seen.get(id_, NEVER)

    def counted(self, id_: int) -> Used:
        return self.used.get(id_, NOTHING_USED)

    def renewed(self, id_: int) -> BootNs:
        return self._renewed.get(id_, NEVER)

    # ---- as tables.Tables does it -------------------------------------------------------

    def _place(self, session: Session) -> None:
        lease, service = session.lease, session.service
        assert lease is not None
        assert service is not None
        key = None if session.relayed else session.client.key
        row = Row(key, (service.tenant, lease.address), lease.promise_until, session)
        before = self.rows.get(session.id)
        if before is not None and (before.key, before.host) != (row.key, row.host):
            self._drop_keys(session.id, before)
        self.rows[session.id] = row
        self.hosts[row.host] = session.id
        if row.key is not None:
            self.clients[row.key] = session.id

    def _drop_keys(self, id_: int, row: Row) -> None:
        if row.key is not None and self.clients.get(row.key) == id_:
            del self.clients[row.key]
        if self.hosts.get(row.host) == id_:
            del self.hosts[row.host]

    def repair(self, wanted: Iterable[Session], now: BootNs) -> None:
        """Make the tables say what `wanted` says, and nothing else."""
        sessions = list(wanted)
        self.remove(set(self.rows) - {session.id for session in sessions}, now)
        self.install(sessions, now)

    # ---- what the program does ----------------------------------------------------------

    def forwards(self, key: Key, address: IPv4Address, now: BootNs) -> bool:
        """Let a packet of a client through if its key, its address and the promise agree."""
        id_ = self.clients.get(key)
        if id_ is None:
            return False
        row = self.rows[id_]
        if row.host[1] != address or self.hosts.get(row.host) != id_ or row.promise_until <= now:
            return False
        self._seen[id_] = now
        return True

    def renews(self, key: Key, address: IPv4Address, now: BootNs) -> Session | None:
        """Answer a renewal if the whole lease fits under the promise; else it goes up to the process."""
        id_ = self.clients.get(key)
        if id_ is None or self.rows[id_].host[1] != address:
            return None
        row = self.rows[id_]
        lease = row.session.lease
        assert lease is not None
        if not self.covers(row, BootNs(now + lease.duration)):
            return None
        self._renewed[id_] = now
        return row.session

    def client(self, key: Key, now: BootNs) -> Session | None:
        """The session of a client whose promise stands."""
        id_ = self.clients.get(key)
        return self.rows[id_].session if id_ is not None and self.rows[id_].promise_until > now else None

    def covers(self, row: Row, until: BootNs) -> bool:
        return row.promise_until >= until

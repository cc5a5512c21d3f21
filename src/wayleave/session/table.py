"""The session table: who is live, found by what a frame tells, by line, by id; and who must go when a line is full.

One task owns it: no locks. The engine puts every changed session back with `put`.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterator

from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs
from wayleave.session.model import NEVER, Client, Line, Phase, Session

Key = tuple[int, int, int, Mac, int]
REST = SECOND
"""How long an id that was freed is not given to another session."""

SILENT = 60 * SECOND
"""A client silent for longer than this may be replaced by another on its full line."""


class Full(Exception):
    """All ids are taken: raise gateway.sessions."""


class Table:
    """Live sessions and their deadlines. `capacity` is the number of ids."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._by_id: dict[int, Session] = {}
        self._by_key: dict[Key, int] = {}
        self._by_line: dict[Line, set[int]] = {}
        self._by_accounting: dict[str, int] = {}
        self._by_subscriber: dict[str, set[int]] = {}
        self._by_mac: dict[Mac, tuple[int, ...]] = {}
        self._resting: deque[tuple[int, int]] = deque()
        self._next_id = 0
        self._deadlines: list[tuple[int, int]] = []
        self._armed: dict[int, int] = {}
        self.phases: dict[Phase, int] = dict.fromkeys(Phase, 0)
        self.on_port: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    @property
    def end(self) -> int:
        """No session has this id, nor any above."""
        return self._next_id

    def from_id(self, first: int, count: int) -> Iterator[Session]:
        """Sessions in order of id, among the `count` ids from `first` on."""
        for id_ in range(first, min(first + count, self.end)):
            session = self._by_id.get(id_)
            if session is not None:
                yield session

    def get(self, id_: int) -> Session | None:
        return self._by_id.get(id_)

    def find(self, client: Client) -> Session | None:
        """The session of what the frame tells (port, tags, MAC, PPPoE session-id), whatever its circuit."""
        id_ = self._by_key.get(client.key)
        return None if id_ is None else self._by_id[id_]

    def accounted(self, accounting: str) -> Session | None:
        """The session that accounting calls so."""
        id_ = self._by_accounting.get(accounting)
        return None if id_ is None else self._by_id[id_]

    def of_subscriber(self, name: str) -> list[Session]:
        """The sessions of a subscriber that authorization named, oldest first."""
        found = (self._by_id[id_] for id_ in self._by_subscriber.get(name, ()))
        return sorted(found, key=lambda session: session.since)

    def of_mac(self, mac: Mac) -> list[Session]:
        """The sessions of a MAC, on whatever line."""
        return [self._by_id[id_] for id_ in self._by_mac.get(mac, ())]

    def on_line(self, line: Line) -> list[Session]:
        """The sessions of a line, oldest first."""
        return sorted((self._by_id[id_] for id_ in self._by_line.get(line, ())), key=lambda session: session.since)

    def new_id(self, now: BootNs) -> int:
        """Return an id that no packet in flight can still refer to. Raises: Full."""
        if self._resting and self._resting[0][0] <= now:
            return self._resting.popleft()[1]
        while self._next_id < self.capacity:
            self._next_id += 1
            if self._next_id - 1 not in self._by_id:
                return self._next_id - 1
        raise Full(f"all {self.capacity} sessions are taken: raise gateway.sessions")

    def close_gaps(self, now: BootNs) -> None:
        """After a restore: the ids between those that were taken up may be given out again, once rested."""
        gaps = (id_ for id_ in range(min(self._next_id, self.capacity)) if id_ not in self._by_id)
        self._resting.extend((now + REST, id_) for id_ in gaps)

    def put(self, session: Session, now: BootNs) -> None:
        """Store a session, new or changed; a CLOSED one leaves the table and its id rests."""
        id_ = session.id
        before = self._by_id.get(id_)
        if before is not None:
            self.phases[before.phase] -= 1
        if session.phase is Phase.CLOSED:
            if before is not None:
                self._remove(session, before)
            if id_ < self.capacity:  # a larger table of an earlier run had more
                self._resting.append((now + REST, id_))
            return
        if before is None:
            self._next_id = max(self._next_id, id_ + 1)
            self._by_key[session.client.key] = id_
            self._by_line.setdefault(session.client.line, set()).add(id_)
            mac = session.client.mac
            self._by_mac[mac] = (*self._by_mac.get(mac, ()), id_)
            self.on_port[session.client.line.port] += 1
            if session.accounting:
                self._by_accounting[session.accounting] = id_
        self._name(id_, _subscriber(before), _subscriber(session))
        self._by_id[id_] = session
        self.phases[session.phase] += 1
        self._arm(session)

    def _name(self, id_: int, before: str, now: str) -> None:
        """Have a session found by its subscriber's name."""
        if before == now:
            return
        if now:
            self._by_subscriber.setdefault(now, set()).add(id_)
        if before:
            self._by_subscriber[before].discard(id_)
            if not self._by_subscriber[before]:
                del self._by_subscriber[before]

    def _arm(self, session: Session) -> None:
        """Have at most one entry a session in the heap: a deadline that moved on is put back when it comes up."""
        armed = self._armed.get(session.id)
        if session.deadline != NEVER and (armed is None or session.deadline < armed):
            self._armed[session.id] = session.deadline
            heapq.heappush(self._deadlines, (session.deadline, session.id))

    def _remove(self, session: Session, before: Session) -> None:
        del self._by_id[session.id]
        del self._by_key[session.client.key]
        self.on_port[session.client.line.port] -= 1
        self._by_accounting.pop(session.accounting, None)
        mac = session.client.mac
        others = tuple(id_ for id_ in self._by_mac[mac] if id_ != session.id)
        if others:
            self._by_mac[mac] = others
        else:
            del self._by_mac[mac]
        self._name(session.id, _subscriber(before), "")
        line = self._by_line[session.client.line]
        line.discard(session.id)
        if not line:
            del self._by_line[session.client.line]

    def due(self, now: BootNs, limit: int) -> list[Session]:
        """Sessions whose deadline has come, at most `limit`; each deadline is handed out once."""
        found: list[Session] = []
        while self._deadlines and self._deadlines[0][0] <= now and len(found) < limit:
            deadline, id_ = heapq.heappop(self._deadlines)
            if self._armed.get(id_) != deadline:
                continue
            del self._armed[id_]
            session = self._by_id.get(id_)
            if session is None or session.deadline == NEVER:
                continue
            if session.deadline <= now:
                found.append(session)
            else:
                self._arm(session)
        return found

    @property
    def next_deadline(self) -> BootNs:
        """When `due` is worth asking; NEVER if nothing waits. May be early."""
        return BootNs(self._deadlines[0][0]) if self._deadlines else NEVER

    def room_for(self, session: Session, limit: int, now: BootNs, seen: Callable[[Session], BootNs]) -> bool | Session:
        """Is there room for `session` among the others of its line?

        True: yes. A session: only if that one, silent longest and for more than a minute, goes. False: no.
        `seen` tells when a client last sent anything.
        """
        if len(self._by_line.get(session.client.line, ())) <= limit:
            return True
        live = [other for other in self.on_line(session.client.line) if other.live and other.id != session.id]
        if len(live) < limit:
            return True
        silent = min(live, key=seen)
        return silent if now - seen(silent) > SILENT else False


def _subscriber(session: Session | None) -> str:
    return session.service.subscriber if session is not None and session.service is not None else ""

"""The calls of a gateway: whose they are, whether there is room for more, their numbers, and when to look at each.

A call is a session of PPPoE: it begins with a PADS, and may never carry a session of the domain.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from wayleave.access.settings import PortSettings
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.ppp import session as ppp
from wayleave.proto.ppp.lcp import Entropy
from wayleave.proto.pppoe.discovery import LARGEST_SESSION_ID
from wayleave.session import lifecycle
from wayleave.session.model import NEVER, Client, Line, Link
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.table import Key

VERDICT = Ns(60 * SECOND)
"""How long a client that said who it is waits for an answer before it is told to dial again."""

TOGETHER = Ns(SECOND // 10)
"""Timers of whoever is served run out on multiples of this: idle clients are looked at many a turn, not one by one."""


class Call(Struct, gc=False, eq=False):
    """One session of PPPoE. `header` is Ethernet's toward the client; `cookie` is empty after a restart."""

    client: Client
    header: bytes
    ppp: ppp.Session
    agent: bytes = b""
    cookie: bytes = b""
    pads: bytes = b""
    link: Link = Link()
    opens_at: BootNs = NEVER
    """When LCP begins here, if the client does not before."""
    asked_at: BootNs = NEVER
    """When it was asked about; NEVER: nobody decides about it now."""
    served: int | None = None
    """The session of the domain that it carries."""
    waiting: lifecycle.Dialed | None = None
    """What it says once the session that it carried before is gone."""
    armed: BootNs = NEVER

    @property
    def verdict_by(self) -> BootNs:
        """When it has waited for long enough to be decided about; NEVER: it does not wait."""
        return after(self.asked_at, VERDICT) if self.asked_at else NEVER

    @property
    def deadline(self) -> BootNs:
        """When there is something to do, if nothing is heard before. It begins, or it is asked about, or PPP waits."""
        if self.opens_at:
            return self.opens_at
        negotiation, verdict = self.ppp.deadline, self.verdict_by
        return min(negotiation, verdict) if negotiation and verdict else negotiation or verdict


class Calls:
    """Found by what a frame tells, or by station. `most`: at once."""

    def __init__(self, most: int, entropy: Entropy) -> None:
        self._most, self._entropy = most, entropy
        self._by_key: dict[Key, Call] = {}
        self._by_station: dict[Client, list[Call]] = {}
        self._dialing: Counter[Line] = Counter()
        self._on_port: Counter[int] = Counter()
        self._next_id: dict[int, int] = {}
        self._deadlines: list[tuple[BootNs, Key]] = []

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._by_key.values())

    def get(self, key: Key) -> Call | None:
        return self._by_key.get(key)

    def of_station(self, client: Client) -> list[Call]:
        """All of a MAC on a line, the oldest first."""
        return list(self._by_station.get(client.station, ()))

    @property
    def dialing(self) -> int:
        """How many have no address yet."""
        return self._dialing.total()

    # ---- coming and going ---------------------------------------------------------------

    def full(self, client: Client, port: PortSettings) -> Refusal | None:
        """Why there is no room for another call; None: there is."""
        if len(self) >= self._most:
            return Refusal(Reason.TABLE_FULL, "the gateway has no room")
        if port.pppoe_sessions is not None and self._on_port[port.number] >= port.pppoe_sessions:
            most = port.pppoe_sessions
            return Refusal(Reason.PORT_FULL, f"port {port.number} has no room: {most} sessions are there")
        if self._dialing[client.line] >= port.clients:
            return Refusal(Reason.LINE_FULL, f"too many are dialing on line {client.line}")
        return None

    def new_id(self, client: Client) -> int:
        """Return a session-id that this MAC does not have on its VLAN, and that its port did not give out for long."""
        port = client.line.port
        number = self._next_id.get(port) or int.from_bytes(self._entropy(2)) % LARGEST_SESSION_ID + 1
        while (*client.key[:4], number) in self._by_key:
            number = number % LARGEST_SESSION_ID + 1
        self._next_id[port] = number % LARGEST_SESSION_ID + 1
        return number

    def add(self, call: Call) -> None:
        """Take up a call, with a session of the domain that it carries already or not."""
        client = call.client
        self._by_key[client.key] = call
        self._by_station.setdefault(client.station, []).append(call)
        self._on_port[client.line.port] += 1
        if call.served is None:
            self._dials(client.line, 1)
        self.arm(call)

    def carries(self, call: Call, session: int | None) -> None:
        """A call carries a session of the domain from now on, or none any more."""
        self._dials(call.client.line, (session is None) - (call.served is None))
        call.served = session

    def _dials(self, line: Line, more: int) -> None:
        """Count those on a line that have no address yet."""
        self._dialing[line] += more
        if not self._dialing[line]:
            del self._dialing[line]

    def drop(self, call: Call) -> None:
        """Forget a call."""
        client = call.client
        if call.served is None:
            self._dials(client.line, -1)
        del self._by_key[client.key]
        self._on_port[client.line.port] -= 1
        others = self._by_station[client.station]
        others.remove(call)
        if not others:
            del self._by_station[client.station]

    # ---- time ---------------------------------------------------------------------------

    @property
    def next_deadline(self) -> BootNs:
        """When `due` is worth asking; NEVER if nothing waits. May be early."""
        return self._deadlines[0][0] if self._deadlines else NEVER

    def arm(self, call: Call) -> None:
        """Have at most one entry a call that counts: a deadline that moved on is put back when it comes up."""
        deadline = call.deadline
        if call.served is not None:
            deadline = BootNs(-(-deadline // TOGETHER) * TOGETHER)
        if deadline != NEVER and (call.armed == NEVER or deadline < call.armed):
            call.armed = deadline
            heapq.heappush(self._deadlines, (deadline, call.client.key))

    def due(self, now: BootNs, limit: int) -> Iterator[Call]:
        """Yield calls whose deadline has come, at most `limit`; each is to be armed again by who looked at it."""
        while limit and self._deadlines and self._deadlines[0][0] <= now:
            at, key = heapq.heappop(self._deadlines)
            call = self._by_key.get(key)
            if call is None or call.armed != at:
                continue
            call.armed = NEVER
            if call.deadline <= now:
                limit -= 1
                yield call
            else:
                self.arm(call)

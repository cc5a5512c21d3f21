"""All that `bng diagnose` goes by: what is known of one client, and of what its packets depend on. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.aaa.local import Subscriber
from wayleave.access.demux import Ignored
from wayleave.api.nexus import NexusView
from wayleave.api.radius import ServerView
from wayleave.api.schema import PoolView
from wayleave.dataplane.abi import DropReason
from wayleave.dataplane.counters import Asking, Usage
from wayleave.dataplane.explain import Explanation
from wayleave.dataplane.samples import Drop
from wayleave.io.routes import NextHop
from wayleave.net.duration import spoken_duration
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.journal import ENDING, Entry
from wayleave.session.model import NEVER, Client, Line, Phase, Session
from wayleave.session.refusal import Reason
from wayleave.session.settings import Reservation

RECENT = Ns(900 * SECOND)
"""How old an entry or a drop may be to count."""

LATELY = Ns(60 * SECOND)
"""How old a packet above the rate may be: above it is where anybody is now and then."""

METERED = frozenset((DropReason.METERED_UP, DropReason.METERED_DOWN))
"""Dropped because the service says so."""

_EXPLAINS_NOTHING = METERED | {DropReason.ETHERTYPE}
"""What nobody here speaks every client sends now and then."""


class PortFacts(Struct, frozen=True):
    """A port as it stands. `held`: its device is there, and has the program. `enabled`: administratively up."""

    number: int
    device: str
    held: bool
    enabled: bool
    up: bool


class Heard(Struct, frozen=True):
    """A client without a session that was heard of: when last, and what came of it."""

    client: Client
    at: BootNs
    says: str


class Facts(Struct, frozen=True, kw_only=True):
    """All that is known of one client and of what its packets depend on."""

    now: BootNs
    started: BootNs
    """When the gateway's process was; of what was before, journals know nothing."""
    about: str
    """The client, as it was asked for."""
    who: str
    """The client, as other commands may be asked for it."""
    client: Client | None
    session: Session | None
    entries: list[Entry]
    """Its journal, the oldest first; `drops` likewise."""
    drops: list[Drop]
    elsewhere: Heard | None
    """The MAC of its session, on another line than that, where it has none."""
    subscriber: Subscriber | None
    """Whom the subscribers file means by it, or by its MAC."""
    reservation: Reservation | None
    """An address that is kept for its MAC on a line."""
    port: PortFacts | None
    uplinks: list[PortFacts]
    """The network ports of its tenant."""
    link_fault: str | None
    """What is wrong with its tenant's host link."""
    forwarding: bool
    store_failed: str | None
    clock_awaited: bool
    """Its lease is of before a reboot, and the wall clock does not say yet whether it stands."""
    pool: PoolView | None
    nexus: NexusView | None
    """Nexus, if there is one."""
    seen: BootNs
    """When a packet of it was last let through; NEVER: none."""
    usage: Usage | None
    asking: Asking
    destination: IPv4Address
    small: Explanation | None
    """What would become of a small packet to `destination`, and of one as large as it may send."""
    large: Explanation | None
    hop: NextHop | None
    """Where the kernel would send it."""
    table: int
    """The route table of its tenant."""
    servers: list[ServerView]
    """The RADIUS servers that decide about it."""

    @property
    def subscriber_elsewhere(self) -> str | None:
        """Where the subscribers file has it, if that is another line than the one it is heard on."""
        entry = self.subscriber
        if entry is None or self.client is None or entry.mac != self.client.mac or not self._is_elsewhere(entry.line):
            return None
        return f"it is heard on line {self.client.line}; the subscribers file has {entry.name} on {entry.line}"

    @property
    def reservation_elsewhere(self) -> str | None:
        """Which address is kept for it on another line than the one it is heard on."""
        kept = self.reservation
        if kept is None or self.client is None or not self._is_elsewhere(kept.line):
            return None
        return f"it is heard on line {self.client.line}; {kept.address} is reserved for it on {kept.line}"

    def _is_elsewhere(self, line: Line | None) -> bool:
        """As far as port and tags tell: of who has no session the circuit is not known."""
        if line is None or self.client is None:
            return False
        return Client(line, self.client.mac).station.key != self.client.station.key

    @property
    def moved(self) -> bool:
        """Whether it is heard on another line than that of its session, and on this no longer."""
        there = self.elsewhere
        if there is None or self.now - there.at > RECENT:
            return False
        heard = (entry.at for entry in self.entries if entry.what not in _NOT_ITS_OWN)
        sent = (drop.last for drop in self.drops if drop.upstream)
        return there.at > max(self.seen, *heard, *sent)

    @property
    def heard_elsewhere(self) -> str | None:
        """Where its MAC is heard, if that is another line than that of its session."""
        there = self.elsewhere
        if there is None or self.client is None or self.now - there.at > RECENT:
            return None
        here = "and since then not on" if self.moved else "as well as on"
        ago = (self.now - there.at) // SECOND
        seen = f"it was heard on line {there.client.line} {ago} s ago ({there.says})"
        return f"{seen}, {here} {self.client.line}, where its session is"

    @property
    def partitioned(self) -> str | None:
        """That Nexus does not answer, and for how long the gateway goes on without it."""
        nexus = self.nexus
        if nexus is None or not nexus.partitioned or self.pool is None or self.pool.nexus is None:
            return None
        lasts = f"its blocks last {spoken_duration(nexus.hold_s * SECOND)}" if nexus.hold_s else "its blocks are over"
        return f"Nexus has not answered for {spoken_duration(nexus.since_s * SECOND)} ({nexus.why}); {lasts}"

    @property
    def over_rate(self) -> str | None:
        """That it sends, or is sent, more than its service allows: the rest is dropped, as it should be."""
        last = max((drop for drop in self.drops if drop.reason in METERED), key=lambda drop: drop.last, default=None)
        if last is not None and self.now - last.last <= LATELY:
            return f"{self._over(last)}; what was too much {(self.now - last.last) // SECOND} s ago was dropped"
        if self.small is not None and self.small.reason in METERED:
            return f"a packet to {self.destination} would be too much just now"
        return None

    def _over(self, drop: Drop) -> str:
        service = self.session.service if self.session is not None else None
        if drop.upstream and drop.reason is DropReason.METERED_DOWN:
            return "it sends another client more than that one's service allows"
        rate = None if service is None else service.up if drop.upstream else service.down
        name = service.name if service is not None else ""
        allowed = f"the {rate} of its service {name}".rstrip() if rate is not None else "its service allowed"
        return f"it {'sends' if drop.upstream else 'is sent'} more than {allowed}"

    @property
    def names(self) -> dict[str, str]:
        """What a cure may name."""
        session, hop = self.session, self.hop
        down = next((port for port in self.uplinks if not (port.held and port.up)), None)
        uplink = down or next(iter(self.uplinks), None)
        device = uplink.device if uplink is not None else ""
        return {
            "who": self.who,
            "line": str(self.client.line) if self.client is not None else "",
            "device": self.port.device if self.port is not None else "",
            "uplink": device,
            "address": str(session.lease.address) if session is not None and session.lease is not None else "",
            "destination": str(self.destination),
            "hop": str(hop.address) if hop is not None else "",
            "out": hop.device if hop is not None else device,
            "mtu": str(session.mtu if session is not None else 1500),
            "table": str(self.table),
        }

    @property
    def active(self) -> bool:
        return self.session is not None and self.session.phase is Phase.ACTIVE

    def problem(self, *kinds: str) -> Entry | None:
        """The last thing that went wrong lately, if it is of these kinds and nothing has gone well since."""
        last = self._last_problem()
        return last if last is not None and last.what in kinds and self.now - last.at <= RECENT else None

    def ignored(self, *why: str) -> Entry | None:
        """The last thing that went wrong lately, if it is a message that was ignored for this; as for `problem`."""
        last = self.problem("ignored")
        return last if last is not None and last.says in why else None

    def refused(self, *reasons: Reason) -> Entry | None:
        """The last thing that went wrong lately, if it was for one of these reasons; as for `problem`."""
        last = self._last_problem()
        return last if last is not None and last.reason in reasons and self.now - last.at <= RECENT else None

    def ended(self) -> Entry | None:
        """How its last session ended, however long ago, if it has not asked again."""
        last = self._last_problem() if self.session is None else None
        return last if last is not None and last.what == ENDING.name else None

    def _last_problem(self) -> Entry | None:
        """Of what happened at one moment the first counts: the rest follows from it."""
        last: Entry | None = None
        since = self.session.since if self.session is not None else 0
        for entry in self.entries:
            if entry.what in _WELL or entry.at < since:
                last = None
            elif entry.what in _ILL and entry.says not in _OF_BEFORE and (last is None or last.at != entry.at):
                last = entry
        return last

    def dropped(self, *reasons: DropReason) -> Drop | None:
        """The last drop of what it sent, if for one of these reasons and nothing has got through since.

        What was dropped before it was served is over as well; what its service does not allow is another matter.
        """
        since = max(self.seen, self._served_since())
        mine = [drop for drop in self.drops if drop.upstream and drop.reason not in _EXPLAINS_NOTHING]
        last = max((drop for drop in mine if drop.last > since), key=lambda drop: drop.last, default=None)
        if last is None or last.reason not in reasons or self.now - last.last > RECENT:
            return None
        return last

    def _served_since(self) -> BootNs:
        began = self.session.since if self.session is not None else NEVER
        return min((entry.at for entry in self.entries if entry.what in _SERVES and entry.at >= began), default=began)

    def becomes(self, *reasons: DropReason) -> bool:
        """Whether a packet to `destination` would be dropped for one of these reasons."""
        return self.small is not None and self.small.reason in reasons


_NOT_ITS_OWN = frozenset(("changed", "granted", "restored", "ending"))
"""What happens to a client without its saying anything."""
_SERVES = frozenset(("confirmed", "admitted", "restored"))
_WELL = frozenset(("confirmed", "admitted", "renewed", "restored"))
_ILL = frozenset(
    ("not-authorized", "no-address", "not-recorded", "not-installed", "refused", "ignored", "declined", "ending",
     "took-another-offer")
)  # fmt: skip
_OF_BEFORE = frozenset((Ignored.UNKNOWN_SESSION, Ignored.OVERTAKEN))
"""What is ignored of an earlier session of PPPoE: why there is none now, other entries say."""

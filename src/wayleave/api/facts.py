"""All that `bng diagnose` goes by: what is known of one client, and of what its packets depend on. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address

from msgspec import Struct

from wayleave.aaa.local import Subscriber
from wayleave.api.schema import PoolView
from wayleave.dataplane.abi import DropReason
from wayleave.dataplane.counters import Usage
from wayleave.dataplane.explain import Explanation
from wayleave.dataplane.samples import Drop
from wayleave.io.routes import NextHop
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.journal import ENDING, Entry
from wayleave.session.model import Client, Phase, Session
from wayleave.session.refusal import Reason

RECENT = Ns(900 * SECOND)
"""How old an entry or a drop may be to count."""


class PortFacts(Struct, frozen=True):
    """A port as it stands. `held`: its device is there, and has the program."""

    number: int
    device: str
    held: bool
    up: bool


class Facts(Struct, frozen=True, kw_only=True):
    """All that is known of one client and of what its packets depend on."""

    now: BootNs
    about: str
    """The client, as it was asked for."""
    client: Client | None
    session: Session | None
    entries: list[Entry]
    """Its journal, the oldest first; `drops` likewise."""
    drops: list[Drop]
    subscriber: Subscriber | None
    """Whom the subscribers file means by it, or by its MAC."""
    port: PortFacts | None
    uplinks: list[PortFacts]
    link_fault: str | None
    """What is wrong with its tenant's host link."""
    forwarding: bool
    store_failed: str | None
    clock_awaited: bool
    """Its lease is of before a reboot, and the wall clock does not say yet whether it stands."""
    pool: PoolView | None
    seen: BootNs
    """When a packet of it was last let through; NEVER: none."""
    usage: Usage | None
    destination: IPv4Address
    small: Explanation | None
    """What would become of a small packet to `destination`, and of one as large as it may send."""
    large: Explanation | None
    hop: NextHop | None
    """Where the kernel would send it."""

    @property
    def active(self) -> bool:
        return self.session is not None and self.session.phase is Phase.ACTIVE

    def problem(self, *kinds: str) -> Entry | None:
        """The last thing that went wrong lately, if it is of these kinds and nothing has gone well since."""
        last = self._last_problem()
        return last if last is not None and last.what in kinds and self.now - last.at <= RECENT else None

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
            elif entry.what in _ILL and (last is None or last.at != entry.at):
                last = entry
        return last

    def dropped(self, *reasons: DropReason) -> Drop | None:
        """The last drop of what it sent, if for one of these reasons and nothing has got through since."""
        found = [drop for drop in self.drops if drop.upstream and drop.last > self.seen]
        last = max(found, key=lambda drop: drop.last, default=None)
        if last is None or last.reason not in reasons or self.now - last.last > RECENT:
            return None
        return last

    def becomes(self, *reasons: DropReason) -> bool:
        """Whether a packet to `destination` would be dropped for one of these reasons."""
        return self.small is not None and self.small.reason in reasons


_WELL = frozenset(("confirmed", "renewed", "restored"))
_ILL = frozenset(
    ("not-authorized", "no-address", "not-recorded", "not-installed", "refused", "ignored", "declined", "ending",
     "took-another-offer")
)  # fmt: skip

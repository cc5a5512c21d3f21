"""The way to the destination, and back."""

from __future__ import annotations

from wayleave.api.facts import METERED, RECENT, Facts
from wayleave.api.rules.rule import Rules
from wayleave.dataplane.abi import DropReason, Outcome
from wayleave.dataplane.counters import spoken
from wayleave.net.units import SECOND

RULES = Rules()

UNANSWERED = 5
"""Seconds of sending, one after the other, after which an answer is missed: in a few, names may be asked for anew."""


@RULES.rule(
    "no-route",
    "There is no route to the destination.",
    "`ip route show table {table}`: is the routing daemon up, the default route there?",
)
def _no_route(facts: Facts) -> str | None:
    return f"no route to {facts.destination}" if facts.becomes(DropReason.NO_ROUTE) else None


@RULES.rule(
    "blackhole",
    "The route to the destination throws packets away.",
    "`ip route show table {table} type blackhole`: who put it there?",
)
def _blackhole(facts: Facts) -> str | None:
    return f"the route to {facts.destination} is a black hole" if facts.becomes(DropReason.BLACKHOLE) else None


@RULES.rule(
    "destination-refused",
    "The destination is the gateway's own, nobody's, or none.",
    "`bng explain icmp from {who} to {destination}` says more",
)
def _destination_refused(facts: Facts) -> str | None:
    if facts.small is None or facts.small.outcome is not Outcome.DROPPED or facts.small.reason is None:
        return None
    if facts.small.reason in METERED:
        return None
    return f"a packet to {facts.destination} would be dropped: {spoken(facts.small.reason.name)}"


@RULES.rule(
    "neighbour-unresolved",
    "The next router does not answer ARP.",
    "`ip neigh show dev {out}`: look at the router, its address {hop}, and the cable to it",
)
def _neighbour_unresolved(facts: Facts) -> str | None:
    hop = facts.hop
    if facts.small is None or facts.small.outcome is not Outcome.TO_HOST or hop is None:
        return None
    if hop.neighbour not in ("failed", "incomplete"):
        return None
    return f"{hop.address} on {hop.device} does not answer ARP ({hop.neighbour})"


@RULES.rule(
    "mtu",
    "Full-sized packets do not fit on the way to the network.",
    '`ip link set dev {out} mtu {mtu}`, or tell the clients of less: `pools.options."interface-mtu"`',
)
def _mtu(facts: Facts) -> str | None:
    if facts.small is None or facts.large is None or facts.large.outcome is facts.small.outcome:
        return None
    if facts.large.reason in METERED:
        return None
    device = f"{facts.hop.device} has MTU {facts.hop.mtu}" if facts.hop is not None else "the way out is too narrow"
    return f"packets of {len(facts.large.packet)} octets with tags do not get through: {device}"


@RULES.rule(
    "no-return",
    "Its packets leave, and nothing comes back: the network has no way to it, or nobody answers what it sends.",
    "has the router {hop} a route to {address} by this gateway? It may also send what nobody answers, such as log "
    "messages: `bng capture {who}` shows it",
)
def _no_return(facts: Facts) -> str | None:
    used, asking = facts.usage, facts.asking
    if used is not None and used.up_packets >= 3 and not used.down_packets:
        return f"{used.up_packets} packets went up, none ever came down"
    if asking.unanswered < UNANSWERED or facts.now - asking.asked > RECENT:
        return None
    ago = (facts.now - asking.asked) // SECOND
    return f"in the last {asking.unanswered} seconds in which it sent, nothing came down; the last was {ago} s ago"


@RULES.rule(
    "idle",
    "It has an address and sends nothing.",
    "is the customer's own network well? `bng capture {who}` shows what comes",
)
def _idle(facts: Facts) -> str | None:
    if facts.session is None or facts.now - max(facts.seen, facts.session.since) < RECENT:
        return None
    return f"no packet of it was let through in the last {RECENT // SECOND // 60} minutes"


@RULES.rule(
    "over-rate",
    "It is served, and sends or is sent more than its service allows: what is above that is dropped, as it should be.",
    "nothing, or a faster service: `services.up` and `services.down`, or its RADIUS server's word; `bng capture {who}` "
    "shows what fills its line",
)
def _over_rate(facts: Facts) -> str | None:
    return facts.over_rate


@RULES.rule(
    "well",
    "It is served, and packets to the destination get through this gateway.",
    "look beyond: `bng capture {who}` shows both sides",
)
def _well(facts: Facts) -> str | None:
    address = facts.session.lease.address if facts.session is not None and facts.session.lease is not None else None
    way = spoken(facts.small.outcome.name) if facts.small is not None else "unknown"
    return f"it has {address}; a packet to {facts.destination} goes {way}"

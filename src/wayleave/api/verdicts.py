"""What can be wrong with one client: rules from the root to the leaves, of which the first that applies is the verdict.

A rule looks at `Facts` and says in words what it has found, or nothing. Pure. A rule is added here and nowhere else;
the reference page follows from it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from wayleave.api.facts import RECENT, Facts
from wayleave.dataplane.abi import DropReason, Outcome
from wayleave.dataplane.counters import spoken
from wayleave.dataplane.samples import Drop
from wayleave.net.probe import describe
from wayleave.net.units import SECOND
from wayleave.session.model import Phase


class Rule(Struct, frozen=True):
    """One thing that can be wrong: its name, what it means, what to do, and how it is found."""

    name: str
    means: str
    cure: str
    finds: Callable[[Facts], str | None]


class Diagnosis(Struct, frozen=True):
    """The verdict. `says` is what was seen, `means` and `cure` are the rule's."""

    name: str
    says: str
    means: str
    cure: str


RULES: list[Rule] = []
_Finds = Callable[[Facts], str | None]


def _rule(name: str, means: str, cure: str) -> Callable[[_Finds], _Finds]:
    def add(finds: _Finds) -> _Finds:
        RULES.append(Rule(name, means, cure, finds))
        return finds

    return add


def diagnose(facts: Facts) -> Diagnosis:
    """Return the first verdict that applies; the last rule always does."""
    for rule in RULES:
        says = rule.finds(facts)
        if says is not None:
            return Diagnosis(rule.name, says, rule.means, rule.cure)
    raise AssertionError("the last rule applies to everybody")


# ---- what everybody depends on -----------------------------------------------------------------


@_rule(
    "port-gone",
    "The port's device is gone, or has lost its program.",
    "`ip link`: bring the device back; the gateway takes it up",
)
def _port_gone(facts: Facts) -> str | None:
    port = facts.port
    return f"port {port.number} ({port.device}) is gone or has lost its program" if port and not port.held else None


@_rule(
    "port-down",
    "The port has no carrier: nothing comes from any of its lines.",
    "look at the cable, the optics, the access node",
)
def _port_down(facts: Facts) -> str | None:
    port = facts.port
    return f"port {port.number} ({port.device}) has no carrier" if port and not port.up else None


@_rule(
    "uplink-down",
    "No network port works: nobody reaches the internet.",
    "look at the network ports' devices and cables",
)
def _uplink_down(facts: Facts) -> str | None:
    if any(port.held and port.up for port in facts.uplinks):
        return None
    names = ", ".join(f"{port.number} ({port.device})" for port in facts.uplinks)
    return f"of the network ports {names} none is up with its program"


@_rule(
    "forwarding-off",
    "The kernel does not forward.",
    "`sysctl -w net.ipv4.ip_forward=1`, and find out who switched it off",
)
def _forwarding_off(facts: Facts) -> str | None:
    return "net.ipv4.ip_forward is 0" if not facts.forwarding else None


@_rule(
    "host-link-gone",
    "The tenant's link to the kernel is not whole: what the kernel has to answer, resolve or refuse is lost.",
    "`bng` puts it back by itself: take away what keeps it from doing so; its log has the same",
)
def _host_link_gone(facts: Facts) -> str | None:
    return facts.link_fault


# ---- getting on --------------------------------------------------------------------------------


@_rule(
    "clock-unset",
    "After a reboot nobody knows whether its lease still stands, until the wall clock is set.",
    "set the clock: NTP, or `date -s`",
)
def _clock_unset(facts: Facts) -> str | None:
    return "its lease waits for the wall clock" if facts.clock_awaited else None


@_rule(
    "wrong-line",
    "It is known, but on another line: its tags or port are not what the subscribers file says.",
    "mend the VLANs at the access node, or the line in the subscribers file",
)
def _wrong_line(facts: Facts) -> str | None:
    entry, client = facts.subscriber, facts.client
    if facts.active or entry is None or entry.line is None or client is None or entry.mac != client.mac:
        return None
    here, there = client.line, entry.line
    if (here.port, here.svid, here.cvid) == (there.port, there.svid, there.cvid):
        return None
    return f"it is heard on line {here}; the subscribers file has {entry.name} on {there}"


@_rule("blocked", "The subscribers file blocks it.", "remove `blocked` there once that is settled, then `bng reload`")
def _blocked(facts: Facts) -> str | None:
    entry = facts.problem("not-authorized")
    return entry.says if entry is not None and entry.says.endswith("is blocked") else None


@_rule(
    "line-full",
    "As many clients as the line may have are on it, and none has been silent for long.",
    "`bng show sessions --line LINE`; raise `ports.clients` or the subscriber's `limit`",
)
def _line_full(facts: Facts) -> str | None:
    entry = facts.problem("not-authorized")
    return entry.says if entry is not None and entry.says.endswith("is full") else None


@_rule(
    "not-authorized",
    "Nobody says that it may get on.",
    "put it into the subscribers file, or set `authorization.default`; then `bng reload`",
)
def _not_authorized(facts: Facts) -> str | None:
    entry = facts.problem("not-authorized")
    return entry.says if entry is not None else None


@_rule("pool-empty", "Its pool has no address left.", "`bng show pools`: a larger pool, or shorter leases")
def _pool_empty(facts: Facts) -> str | None:
    entry, pool = facts.problem("no-address"), facts.pool
    if entry is None or pool is None or pool.held + pool.quarantined < pool.size:
        return None
    return f"pool {pool.name}: {pool.held} of {pool.size} addresses are held, {pool.quarantined} rest after a conflict"


@_rule(
    "address-refused",
    "It insists on an address that is not its to have.",
    "have it forget its old lease: release or restart it; or reserve that address for it",
)
def _address_refused(facts: Facts) -> str | None:
    entry = facts.problem("no-address", "refused")
    return entry.says if entry is not None else None


@_rule(
    "store-failed",
    "Leases cannot be written, so newcomers are refused.",
    "look at the disk of `gateway.state`: full, read-only, failing?",
)
def _store_failed(facts: Facts) -> str | None:
    entry = facts.problem("not-recorded")
    if facts.store_failed is None or (facts.active and entry is None):
        return None
    return f"the lease store failed: {facts.store_failed}"


@_rule(
    "table-full",
    "The gateway has as many sessions as it was made for.",
    "`gateway.sessions`: a larger table counts from the next start",
)
def _table_full(facts: Facts) -> str | None:
    entry = facts.problem("not-installed", "ignored")
    return "no session or row is free" if entry and (entry.what != "ignored" or entry.says == "table-full") else None


@_rule(
    "no-circuit-id",
    "The access node does not say on which circuit it is.",
    "have the access node insert option 82 with a circuit-id, and trust the port",
)
def _no_circuit_id(facts: Facts) -> str | None:
    entry = facts.problem("ignored")
    return (
        "its DHCP carries no circuit-id, and lines of this port are told apart by it"
        if entry and entry.says == "no-circuit-id"
        else None
    )


@_rule(
    "other-circuit",
    "The same MAC is being served on another circuit of this VLAN.",
    "a copied MAC, a loop, or a customer who moved: `bng clear session MAC` lets it on here",
)
def _other_circuit(facts: Facts) -> str | None:
    entry = facts.problem("ignored")
    return "its MAC is served on another circuit" if entry and entry.says == "mac-on-another-circuit" else None


@_rule(
    "bad-dhcp",
    "Its DHCP messages make no sense, or are not believed.",
    "capture them (`bng capture`), and look at the client or at what changes them on the way",
)
def _bad_dhcp(facts: Facts) -> str | None:
    entry = facts.problem("ignored")
    return f"its message was ignored: {entry.says}" if entry is not None else None


@_rule(
    "address-conflict",
    "It found somebody else using the address that it was given.",
    "find who has it without a lease: ARP for the address on its line",
)
def _address_conflict(facts: Facts) -> str | None:
    entry = facts.problem("declined")
    if entry is None:
        entry = facts.problem("ending")
        if entry is None or entry.says != "declined":
            return None
    return f"it declined its address: {entry.says}"


@_rule(
    "other-server",
    "It took the offer of another DHCP server.",
    "find that server on its line, and let the access node filter it",
)
def _other_server(facts: Facts) -> str | None:
    return "it took another server's offer" if facts.problem("took-another-offer") else None


@_rule(
    "policed",
    "It, its line or its class sends more to the gateway than is taken up.",
    "`bng show punt`, `bng show drops`: a loop, an attack, or rates that are too small (`punt`)",
)
def _policed(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.PUNT_CLASS, DropReason.PUNT_LINE, DropReason.PUNT_CLIENT, DropReason.PUNT_RING)
    return _seen_dropped(drop) if drop is not None and not facts.active else None


@_rule(
    "offer-unheard",
    "It asks and is offered an address, and does not take it: answers do not reach it.",
    "look at the way down: the access node's VLANs and filters toward it",
)
def _offer_unheard(facts: Facts) -> str | None:
    if facts.session is None or facts.session.phase is not Phase.OFFERED or not facts.entries:
        return None
    offers = [entry for entry in facts.entries if entry.what == "offered"]
    return f"{len(offers)} offers, and no request for one" if len(offers) > 1 else None


@_rule("ended", "Its session was ended, and it has not asked again.", "restart the client, or wait until it asks")
def _ended(facts: Facts) -> str | None:
    entry = facts.problem("ending")
    return f"its session ended: {entry.says}" if entry is not None and facts.session is None else None


@_rule(
    "wrong-mac",
    "Its frames are addressed to another MAC than the port's.",
    "clear its ARP cache; look for another router on its line",
)
def _wrong_mac(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.NOT_FOR_GATEWAY)
    return _seen_dropped(drop) if drop is not None else None


@_rule(
    "no-dhcp",
    "It sends packets and has never asked for an address: a static one, or another line's.",
    "have it ask by DHCP",
)
def _no_dhcp(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.NO_SESSION)
    return _seen_dropped(drop) if drop is not None and facts.session is None else None


# ---- being served ------------------------------------------------------------------------------


@_rule(
    "promise-past",
    "The promise of its address has run out: it is neither forwarded nor renewed by the data plane.",
    "see why no new one was recorded: the lease store, or a client that does not renew",
)
def _promise_past(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.PROMISE_PAST)
    if drop is not None:
        return _seen_dropped(drop)
    lease = facts.session.lease if facts.session is not None else None
    past = facts.active and lease is not None and lease.promise_until <= facts.now
    return "its promise has run out" if past else None


@_rule(
    "spoofing",
    "What it sends has another source address than its lease.",
    "a static address, a second router, or malice: `bng show journal X` has the last frame",
)
def _spoofing(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.SPOOFED_IPV4, DropReason.SPOOFED_ARP)
    return _seen_dropped(drop) if drop is not None else None


@_rule("dropped", "What it sends is dropped for a reason of its own.", "`docs/reference/drops.md` has the reason")
def _dropped(facts: Facts) -> str | None:
    others = set(DropReason) - {
        DropReason.NO_ROUTE, DropReason.BLACKHOLE, DropReason.NO_SUBSCRIBER, DropReason.LOCAL_SERVICE,
        DropReason.MULTICAST, DropReason.BROADCAST, DropReason.BOGUS_DESTINATION, DropReason.ETHERTYPE,
        DropReason.ARP_OWN, DropReason.ARP_ELSEWHERE,
    }  # fmt: skip
    drop = facts.dropped(*others)
    return _seen_dropped(drop) if drop is not None else None


@_rule("silent", "Nothing is heard of it.", "is it switched on? Look at its line, the ONT, the access node")
def _silent(facts: Facts) -> str | None:
    if facts.session is not None or any(facts.now - entry.at <= RECENT for entry in facts.entries):
        return None
    return f"nothing was heard of {facts.about} in the last {RECENT // SECOND // 60} minutes"


@_rule("getting-on", "It has asked, and is on its way.", "ask again in a few seconds")
def _getting_on(facts: Facts) -> str | None:
    if facts.active:
        return None
    last = facts.entries[-1] if facts.entries else None
    stands = facts.session.phase.value if facts.session is not None else "no session"
    return f"{stands}; last: {last.what} {last.says}" if last is not None else stands


# ---- the way to the destination ----------------------------------------------------------------


@_rule(
    "no-route",
    "There is no route to the destination.",
    "`ip route`: is the routing daemon up, the default route there?",
)
def _no_route(facts: Facts) -> str | None:
    return f"no route to {facts.destination}" if facts.becomes(DropReason.NO_ROUTE) else None


@_rule("blackhole", "The route to the destination throws packets away.", "`ip route get DESTINATION`")
def _blackhole(facts: Facts) -> str | None:
    return f"the route to {facts.destination} is a black hole" if facts.becomes(DropReason.BLACKHOLE) else None


@_rule("destination-refused", "The destination is the gateway's own, nobody's, or none.", "`bng explain` says more")
def _destination_refused(facts: Facts) -> str | None:
    if facts.small is None or facts.small.outcome is not Outcome.DROPPED or facts.small.reason is None:
        return None
    return f"a packet to {facts.destination} would be dropped: {spoken(facts.small.reason.name)}"


@_rule(
    "neighbour-unresolved",
    "The next router does not answer ARP.",
    "look at the router, its address, and the cable to it",
)
def _neighbour_unresolved(facts: Facts) -> str | None:
    hop = facts.hop
    if facts.small is None or facts.small.outcome is not Outcome.TO_HOST or hop is None:
        return None
    if hop.neighbour not in ("failed", "incomplete"):
        return None
    return f"{hop.address} on {hop.device} does not answer ARP ({hop.neighbour})"


@_rule(
    "mtu",
    "Full-sized packets do not fit on the way to the network.",
    "`ip link set DEVICE mtu 1500`, or a smaller `mtu` for the clients",
)
def _mtu(facts: Facts) -> str | None:
    if facts.small is None or facts.large is None or facts.large.outcome is facts.small.outcome:
        return None
    device = f"{facts.hop.device} has MTU {facts.hop.mtu}" if facts.hop is not None else "the way out is too narrow"
    return f"packets of {len(facts.large.packet)} octets with tags do not get through: {device}"


@_rule(
    "no-return",
    "Its packets leave, and nothing comes back.",
    "does the network have a route to the pool by this gateway?",
)
def _no_return(facts: Facts) -> str | None:
    used = facts.usage
    if used is None or used.up_packets < 3 or used.down_packets:
        return None
    return f"{used.up_packets} packets went up, none came down"


@_rule(
    "idle", "It has an address and sends nothing.", "is the customer's own network well? `bng capture` shows what comes"
)
def _idle(facts: Facts) -> str | None:
    if facts.session is None or facts.now - max(facts.seen, facts.session.since) < RECENT:
        return None
    return f"no packet of it was let through in the last {RECENT // SECOND // 60} minutes"


@_rule(
    "well",
    "It is served, and packets to the destination get through this gateway.",
    "look beyond: `bng capture` shows both sides",
)
def _well(facts: Facts) -> str | None:
    address = facts.session.lease.address if facts.session is not None and facts.session.lease is not None else None
    way = spoken(facts.small.outcome.name) if facts.small is not None else "unknown"
    return f"it has {address}; a packet to {facts.destination} goes {way}"


def _seen_dropped(drop: Drop) -> str:
    return f"{spoken(drop.reason.name)}: {describe(drop.octets, drop.length)}"

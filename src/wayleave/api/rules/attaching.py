"""Getting on: from the first message to an address."""

from __future__ import annotations

from wayleave.access.demux import Ignored
from wayleave.api.facts import RECENT, Facts
from wayleave.api.rules.rule import Rules, seen_dropped
from wayleave.dataplane.abi import DropReason
from wayleave.net.units import SECOND
from wayleave.proto.pppoe import discovery
from wayleave.session.model import CloseCause, Phase
from wayleave.session.refusal import Reason

RULES = Rules()


@RULES.rule(
    "clock-unset",
    "After a reboot nobody knows whether its lease still stands, until the wall clock is set.",
    "set the clock: let NTP do it",
)
def _clock_unset(facts: Facts) -> str | None:
    return "its lease waits for the wall clock" if facts.clock_awaited else None


@RULES.rule(
    "wrong-line",
    "It is known, but on another line: its tags or port are not those of its session, or in the subscribers file.",
    "mend the VLANs at the access node, or the line in the subscribers file",
)
def _wrong_line(facts: Facts) -> str | None:
    """Also who left the line on which its session still stands."""
    if facts.moved:
        return facts.heard_elsewhere
    return facts.subscriber_elsewhere if not facts.active else None


@RULES.rule(
    "blocked",
    "The subscribers file blocks it.",
    "take `subscribers.blocked` out of its entry once that is settled, then `bng reload`",
)
def _blocked(facts: Facts) -> str | None:
    """Also who was being served when that was written, and has not asked since; who has never asked, too."""
    entry, known = facts.refused(Reason.BLOCKED), facts.subscriber
    if entry is not None:
        return f"blocked by configuration: {entry.says}"
    if known is not None and known.blocked and not facts.active:
        return f"blocked by configuration: subscriber {known.name} is blocked"
    return None


@RULES.rule(
    "line-full",
    "As many clients as the line may have are on it, and none has been silent for long.",
    "`bng show sessions --line {line}`; raise `ports.clients`, or `subscribers.limit` of its entry",
)
def _line_full(facts: Facts) -> str | None:
    entry = facts.refused(Reason.LINE_FULL)
    return entry.says if entry is not None else None


@RULES.rule(
    "subscriber-full",
    "The subscriber has as many sessions as it may have.",
    "end one of them (`bng show sessions` has subscribers), or have it granted more",
)
def _subscriber_full(facts: Facts) -> str | None:
    entry = facts.refused(Reason.SUBSCRIBER_FULL)
    return entry.says if entry is not None else None


@RULES.rule(
    "wrong-password",
    "It says who it is, and not that user's password.",
    "have it say the one in the file of `authorization.secrets`; or mend that one, then `bng reload`",
)
def _wrong_password(facts: Facts) -> str | None:
    entry = facts.refused(Reason.WRONG_PASSWORD)
    return entry.says if entry is not None else None


@RULES.rule(
    "credentials-unusable",
    "It says who it is in a way that nobody can check.",
    "give it a name and a password that are text and fit into RADIUS: 253 and 128 octets; see `pppoe.authentication`",
)
def _credentials_unusable(facts: Facts) -> str | None:
    entry = facts.refused(Reason.CREDENTIALS_UNUSABLE)
    return entry.says if entry is not None else None


@RULES.rule(
    "entry-unusable",
    "What Nexus says of this subscriber makes no sense under this gateway's configuration: it is granted nothing.",
    "`bng show nexus` lists all such subscribers: mend the one at Nexus (its provider's tenant, pool and service are "
    "names of this gateway's configuration), or configure here what is missing",
)
def _entry_unusable(facts: Facts) -> str | None:
    entry = facts.refused(Reason.ENTRY_UNUSABLE)
    return entry.says if entry is not None else None


@RULES.rule(
    "not-authorized",
    "Nobody says that it may get on.",
    "have an entry in the file of `authorization.subscribers` name it as it comes (user, line, MAC); who is asked for "
    "no name may also be let on by `authorization.default`; then `bng reload`",
)
def _not_authorized(facts: Facts) -> str | None:
    entry = facts.problem("not-authorized") or facts.refused(Reason.UNKNOWN_CLIENT, Reason.NO_POOL)
    return entry.says if entry is not None else None


@RULES.rule(
    "shared-pool-empty",
    "Its pool is shared, and this gateway has no address of it left: Nexus leases it no more.",
    "`bng show nexus` says why: whether Nexus has the pool, whether its space is `pools.network`, and blocks are left",
)
def _shared_pool_empty(facts: Facts) -> str | None:
    entry, pool = facts.refused(Reason.POOL_EMPTY), facts.pool
    if entry is None or pool is None or pool.nexus is None:
        return None
    faults = facts.nexus.faults if facts.nexus is not None else []
    return "; ".join([f"pool {pool.name}: {pool.held} of {pool.size} addresses are held", *faults])


@RULES.rule(
    "no-block",
    "Its pool is shared, and nothing of it is this gateway's now: Nexus has not renewed that in time, or took it back.",
    "`bng show nexus` says why Nexus does not answer: the way there, its certificates, Nexus itself; once it does, all "
    "goes on by itself",
)
def _no_block(facts: Facts) -> str | None:
    entry = facts.refused(Reason.NO_BLOCK)
    if entry is None:
        return None
    return facts.partitioned or entry.says


@RULES.rule(
    "pool-empty",
    "Its pool had no address left.",
    "`bng show pools`: a larger `pools.network`, or a shorter `pools.lease`",
)
def _pool_empty(facts: Facts) -> str | None:
    entry, pool = facts.refused(Reason.POOL_EMPTY), facts.pool
    if entry is None:
        return None
    if pool is None:
        return entry.says
    return f"pool {pool.name}: {pool.held} of {pool.size} addresses are held, {pool.quarantined} rest after a conflict"


@RULES.rule(
    "address-refused",
    "The address that it insists on, or is to have, is not free, or not its to have.",
    "if a session of its own from before has it, end that one (`bng show sessions`); else have it forget its old "
    "lease: release or restart it; or reserve that address for it (`pools.reservations`)",
)
def _address_refused(facts: Facts) -> str | None:
    entry = facts.problem("no-address", "refused")
    return entry.says if entry is not None else None


@RULES.rule(
    "store-failed",
    "Leases cannot be written, so newcomers are refused.",
    "look at the disk of `gateway.state`: full, read-only, failing?",
)
def _store_failed(facts: Facts) -> str | None:
    entry = facts.refused(Reason.STORE_FAILED)
    if facts.store_failed is None or (facts.active and entry is None):
        return None
    return f"the lease store failed: {facts.store_failed}"


@RULES.rule(
    "table-full",
    "The gateway has as many sessions as it was made for.",
    "`gateway.sessions`: a larger table counts from the next start",
)
def _table_full(facts: Facts) -> str | None:
    return "no session or row is free" if facts.refused(Reason.TABLE_FULL) else None


@RULES.rule(
    "port-full",
    "As many PPPoE sessions as the port may have are on it.",
    "`bng show ports`; raise `ports.pppoe_sessions`, or take it out",
)
def _port_full(facts: Facts) -> str | None:
    entry = facts.refused(Reason.PORT_FULL)
    return entry.says if entry is not None else None


@RULES.rule(
    "pppoe-not-served",
    "It dials PPPoE, which its port does not serve.",
    'add "pppoe" to `ports.protocols`: that counts from the next start; or have the client ask by DHCP',
)
def _pppoe_not_served(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.PPPOE_NOT_SERVED)
    return seen_dropped(drop) if drop is not None and not facts.active else None


@RULES.rule(
    "ipoe-not-served",
    "It asks by DHCP, which its port does not serve.",
    'add "ipoe" to `ports.protocols`: that counts from the next start; or have the client dial PPPoE',
)
def _ipoe_not_served(facts: Facts) -> str | None:
    return "its DHCP is ignored: the port serves PPPoE alone" if facts.ignored(Ignored.IPOE_NOT_SERVED) else None


@RULES.rule(
    "other-service",
    "It dials for a PPPoE service that is not on offer here.",
    "have it ask for no service in particular, or for one of `pppoe.services`; or add its own there, then `bng reload`",
)
def _other_service(facts: Facts) -> str | None:
    entry = facts.ignored(discovery.Reason.OTHER_SERVICE)
    return "the Service-Name that it asks for is not offered" if entry is not None else None


@RULES.rule(
    "no-agreement",
    "PPP comes to no agreement with it.",
    "does it know one of `pppoe.authentication`, and take an IPv4 address? `bng capture {who}` has what both sides say",
)
def _no_agreement(facts: Facts) -> str | None:
    """Before it said who it is, or as it should have got its address."""
    entry, ended = facts.refused(Reason.NO_AGREEMENT), facts.ended()
    if entry is not None:
        return entry.says
    if ended is None or ended.says != CloseCause.NOT_NEGOTIATED.value or facts.now - ended.at > RECENT:
        return None
    said = next((entry.says for entry in reversed(facts.entries) if entry.what == "hung-up"), "")
    return f"its session came to nothing: {said}"


@RULES.rule(
    "no-circuit-id",
    "The access node does not say on which circuit it is.",
    "have the access node insert a circuit-id (option 82; in PPPoE, the tag of TR-101), and set `ports.trusted`",
)
def _no_circuit_id(facts: Facts) -> str | None:
    entry = facts.ignored(Ignored.NO_CIRCUIT_ID)
    return "what it sends carries no circuit-id, and lines of this port are told apart by it" if entry else None


@RULES.rule(
    "other-circuit",
    "The same MAC is being served on another circuit of this VLAN.",
    "a copied MAC, a loop, or a customer who moved: `bng clear session {who}` lets it on here",
)
def _other_circuit(facts: Facts) -> str | None:
    return "its MAC is served on another circuit" if facts.refused(Reason.MAC_ON_ANOTHER_CIRCUIT) else None


@RULES.rule(
    "bad-pppoe",
    "Its PPPoE makes no sense, is not believed, or is for another concentrator.",
    "capture it (`bng capture {who}`), and look at the client or at what changes its packets on the way",
)
def _bad_pppoe(facts: Facts) -> str | None:
    entry = facts.ignored(*discovery.Reason, Ignored.MALFORMED_PPPOE, Ignored.MALFORMED_LINE)
    return f"what it dials with was ignored: {entry.says}" if entry is not None else None


@RULES.rule(
    "bad-dhcp",
    "Its DHCP messages make no sense, or are not believed.",
    "capture them (`bng capture {who}`), and look at the client or at what changes them on the way",
)
def _bad_dhcp(facts: Facts) -> str | None:
    entry = facts.problem("ignored")
    return f"its message was ignored: {entry.says}" if entry is not None else None


@RULES.rule(
    "address-conflict",
    "It found somebody else using the address that it was given.",
    "find who has it without a lease: ARP for the address on its line",
)
def _address_conflict(facts: Facts) -> str | None:
    entry = facts.problem("declined")
    return f"it declined its address: {entry.says}" if entry is not None else None


@RULES.rule(
    "other-server",
    "It took the offer of another DHCP server.",
    "find that server on its line, and let the access node filter it",
)
def _other_server(facts: Facts) -> str | None:
    return "it took another server's offer" if facts.problem("took-another-offer") else None


@RULES.rule(
    "policed",
    "It, its line or its class sends more to the gateway than is taken up.",
    "`bng show punt`, `bng show drops`: a loop, an attack, or rates that are too small (`punt`)",
)
def _policed(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.PUNT_CLASS, DropReason.PUNT_LINE, DropReason.PUNT_CLIENT, DropReason.PUNT_RING)
    return seen_dropped(drop) if drop is not None and not facts.active else None


@RULES.rule(
    "offer-unheard",
    "It asks and is offered an address, and does not take it: answers do not reach it.",
    "look at the way down: the access node's VLANs and filters toward it",
)
def _offer_unheard(facts: Facts) -> str | None:
    if facts.session is None or facts.session.phase is not Phase.OFFERED or not facts.entries:
        return None
    offers = [entry for entry in facts.entries if entry.what == "offered"]
    return f"{len(offers)} offers, and no request for one" if len(offers) > 1 else None


@RULES.rule("ended", "Its session was ended, and it has not asked again.", "restart the client, or wait until it asks")
def _ended(facts: Facts) -> str | None:
    """Long ago, too, if it goes on as if it had not heard of it."""
    entry = facts.ended()
    if entry is None or (facts.now - entry.at > RECENT and facts.dropped(DropReason.NO_SESSION) is None):
        return None
    return f"its session ended {(facts.now - entry.at) // SECOND} s ago: {entry.says}"


@RULES.rule(
    "wrong-mac",
    "Its frames are addressed to another MAC than the port's.",
    "clear its ARP cache; look for another router on its line",
)
def _wrong_mac(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.NOT_FOR_GATEWAY)
    return seen_dropped(drop) if drop is not None else None


@RULES.rule(
    "old-session",
    "It sends in a PPPoE session that is over: it has not heard that.",
    "restart the client; one that asks whether the gateway is there (LCP echo) is told so, and dials again by itself",
)
def _old_session(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.NO_SESSION)
    return seen_dropped(drop) if drop is not None and facts.session is None and drop.in_pppoe else None


@RULES.rule(
    "no-dhcp",
    "It sends packets and has not asked for an address: a static one, or another line's.",
    "have it ask by DHCP, or dial: what its port serves, `ports.protocols` says",
)
def _no_dhcp(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.NO_SESSION)
    return seen_dropped(drop) if drop is not None and facts.session is None else None

"""Being served: what the data plane makes of its packets."""

from __future__ import annotations

from wayleave.api.facts import RECENT, Facts
from wayleave.api.rules.rule import Rules, seen_dropped
from wayleave.dataplane.abi import DropReason
from wayleave.net.duration import spoken_duration
from wayleave.net.units import SECOND

RULES = Rules()


@RULES.rule(
    "promise-past",
    "The promise of its address has run out: it is neither forwarded nor renewed by the data plane.",
    "see why no new one was recorded: the lease store, or a client that does not renew",
)
def _promise_past(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.PROMISE_PAST)
    if drop is not None:
        return seen_dropped(drop)
    lease = facts.session.lease if facts.session is not None else None
    past = facts.active and lease is not None and lease.promise_until <= facts.now
    return "its promise has run out" if past else None


@RULES.rule(
    "spoofing",
    "What it sends has another source address than its lease.",
    "a static address, a second router, or malice: `bng show journal {who}` has the last frame",
)
def _spoofing(facts: Facts) -> str | None:
    drop = facts.dropped(DropReason.SPOOFED_IPV4, DropReason.SPOOFED_ARP)
    return seen_dropped(drop) if drop is not None else None


@RULES.rule("dropped", "What it sends is dropped for a reason of its own.", "`docs/reference/drops.md` has the reason")
def _dropped(facts: Facts) -> str | None:
    others = set(DropReason) - {
        DropReason.NO_ROUTE, DropReason.BLACKHOLE, DropReason.NO_SUBSCRIBER, DropReason.LOCAL_SERVICE,
        DropReason.MULTICAST, DropReason.BROADCAST, DropReason.BOGUS_DESTINATION, DropReason.ETHERTYPE,
        DropReason.ARP_OWN, DropReason.ARP_ELSEWHERE, DropReason.PPPOE_NOT_SERVED,
    }  # fmt: skip
    drop = facts.dropped(*others)
    return seen_dropped(drop) if drop is not None else None


@RULES.rule("silent", "Nothing is heard of it.", "is it switched on? Look at its line, the ONT, the access node")
def _silent(facts: Facts) -> str | None:
    if facts.session is not None or any(facts.now - entry.at <= RECENT for entry in facts.entries):
        return None
    runs = facts.now - facts.started
    if runs < RECENT:
        return f"nothing was heard of {facts.about} since the gateway started, {spoken_duration(runs)} ago"
    return f"nothing was heard of {facts.about} in the last {RECENT // SECOND // 60} minutes"


@RULES.rule("getting-on", "It has asked, and is on its way.", "ask again in a few seconds")
def _getting_on(facts: Facts) -> str | None:
    if facts.active:
        return None
    last = facts.entries[-1] if facts.entries else None
    stands = facts.session.phase.value if facts.session is not None else "no session"
    return f"{stands}; last: {last.what} {last.says}" if last is not None else stands

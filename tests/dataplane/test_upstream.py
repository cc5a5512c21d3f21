"""From a client with a session: who is let in, and where a packet goes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from wayleave.dataplane.abi import DropReason, Outcome, Policer, Stage
from wayleave.dataplane.plane import settings_of_kernel
from wayleave.net.mac import BROADCAST, Mac

from .frames import ICMP, INTERNET, IP, TCP, UDP, Packet, Raw, down, into, out, packet, to_kernel, up
from .rig import (
    ALICE,
    BOB,
    CAROL,
    GATEWAY,
    LINK,
    NET,
    NET_1,
    NET_1_MAC,
    ROUTER_1_MAC,
    SUB,
    SUB_OFF,
    Bench,
    Case,
    Subscriber,
    Use,
    dropped,
)

ELSEWHERE = Mac.parse("02:99:00:00:00:01")
GROUP = Mac.parse("01:00:5e:00:00:01")
SIZE = len(packet())


def one(payload: Packet | None = None) -> dict[Subscriber, Use]:
    """Return what one packet of Alice's counts."""
    return {ALICE: Use(up=(1, SIZE if payload is None else len(payload)))}


def lost(says: str, sent: bytes, reason: DropReason, stage: Stage = Stage.FORWARD, **more: Any) -> Case:
    more.setdefault("by", ALICE)
    return dropped(says, sent, stage, reason, **more)


def network(says: str, payload: Packet, forwarded: Packet, **more: Any) -> Case:
    """A row for a packet that is routed out."""
    row: dict[str, Any] = {"out": out(forwarded), "to": NET, "used": one(payload), "sent": up(payload)} | more
    return Case(says, ends=(Stage.FORWARD, Outcome.TO_NETWORK), **row)


def kernel(says: str, payload: Packet, **more: Any) -> Case:
    """A row for a packet that goes up the host link, otherwise as it came."""
    row: dict[str, Any] = {"out": to_kernel(payload), "to": LINK, "used": one(payload), "sent": up(payload)} | more
    return Case(says, ends=(Stage.FORWARD, Outcome.TO_HOST), **row)


PAST = replace(ALICE, promise_for_s=-0.001)
OPEN = replace(ALICE, flags=0)
TENANT_1 = replace(ALICE, tenant=1, table=100)
TENANT_2 = replace(ALICE, tenant=2, table=200)
OFF = replace(BOB, port=SUB_OFF)

ADMISSION = [
    lost("no session", up(packet()), DropReason.NO_SESSION, Stage.ADMIT, by=None, sessions=[BOB, GATEWAY]),
    lost(
        "a session on another port",
        up(packet()),
        DropReason.NO_SESSION,
        Stage.ADMIT,
        by=None,
        sessions=[replace(ALICE, port=SUB_OFF)],
    ),
    lost(
        "a session of another MAC on the line",
        up(packet()),
        DropReason.NO_SESSION,
        Stage.ADMIT,
        by=None,
        sessions=[replace(ALICE, mac=ELSEWHERE)],
    ),
    lost(
        "a key older than its row",
        up(packet()),
        DropReason.STALE_KEY,
        Stage.ADMIT,
        by=None,
        sessions=[replace(ALICE, row_generation=2)],
    ),
    lost(
        "a row that is somebody else's, by chance of the same generation",
        up(packet()),
        DropReason.STALE_KEY,
        Stage.ADMIT,
        by=None,
        sessions=[replace(ALICE, claims=BOB.mac)],
    ),
    lost("a promise past", up(packet()), DropReason.PROMISE_PAST, Stage.ADMIT, by=PAST, sessions=[PAST]),
    lost("a frame to another MAC", up(packet(), destination=ELSEWHERE), DropReason.NOT_FOR_GATEWAY, Stage.ADMIT),
    lost("a source not leased", up(packet("100.64.0.99")), DropReason.SPOOFED_IPV4, Stage.ANTISPOOF),
    lost("a neighbour's source", up(packet(BOB.address)), DropReason.SPOOFED_IPV4, Stage.ANTISPOOF),
    lost("no source", up(packet("0.0.0.0")), DropReason.SPOOFED_IPV4, Stage.ANTISPOOF),
    network(
        "another source where antispoof is off",
        packet("192.0.2.9"),
        packet("192.0.2.9", ttl=63),
        sessions=[OPEN],
        used={OPEN: Use(up=(1, SIZE))},
    ),
]


def altered(whole: Packet, **fields: Any) -> Packet:
    """Return a copy with some fields set."""
    changed = whole.copy()
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def by_table(*rows: Case) -> list[Case]:
    """Rows that need more tables than the main one, of kernel 6.5; test_whole tells what happens without."""
    return list(rows) if settings_of_kernel().fib_by_table else []


NOTHING = IP(src=ALICE.address, dst=INTERNET, proto=253)

ROUTED = [
    network("the internet", packet(), packet(ttl=63)),
    network("the last hop that may be", packet(ttl=2), packet(ttl=1)),
    network("the largest TTL", packet(ttl=255), packet(ttl=254)),
    network("a checksum that wraps", packet(id=0xB8E1), packet(id=0xB8E1, ttl=63)),
    network("a whole MTU", packet(size=1500), packet(size=1500, ttl=63)),
    network("don't-fragment", packet(flags="DF"), packet(flags="DF", ttl=63)),
    network("an IP header and nothing else", NOTHING, altered(NOTHING, ttl=63)),
    network("a first fragment", packet(flags="MF"), packet(flags="MF", ttl=63)),
    network("a later fragment", packet(frag=100), packet(frag=100, ttl=63)),
    network(
        "DHCP to somebody else's server",
        IP(src=ALICE.address, dst=INTERNET) / UDP(sport=67, dport=67, chksum=0) / Raw(b"x" * 20),
        IP(src=ALICE.address, dst=INTERNET, ttl=63) / UDP(sport=67, dport=67, chksum=0) / Raw(b"x" * 20),
        used={ALICE: Use(up=(1, 48))},
    ),
    *by_table(
        network(
            "a tenant's own table",
            packet(),
            packet(ttl=63),
            sessions=[TENANT_1],
            to=NET_1,
            out=out(packet(ttl=63), NET_1_MAC, ROUTER_1_MAC),
            used={TENANT_1: Use(up=(1, SIZE))},
        ),
        lost(
            "no route in the tenant's table",
            up(packet()),
            DropReason.NO_ROUTE,
            by=TENANT_2,
            sessions=[TENANT_2],
            to=LINK,
        ),
    ),
    lost("a throw route", up(packet(destination="203.0.113.50")), DropReason.NO_ROUTE, to=LINK),
    lost("a blackhole", up(packet(destination="203.0.113.2")), DropReason.BLACKHOLE, to=LINK),
    lost("a pool address nobody holds", up(packet(destination="100.64.9.9")), DropReason.NO_SUBSCRIBER, to=LINK),
    lost(
        "a pool address nobody holds, its route without a neighbour",
        up(packet(destination="100.65.9.9")),
        DropReason.NO_SUBSCRIBER,
        to=LINK,
    ),
    lost(
        "forwarding off on the device",
        up(packet(OFF.address), OFF),
        DropReason.FORWARDING_OFF,
        by=OFF,
        sessions=[OFF],
        on="suboff",
        to=NET,
    ),
    lost("a network port that is not attached", up(packet()), DropReason.NO_EGRESS, to=LINK),
]

KERNEL = [
    kernel("TTL 1", packet(ttl=1)),
    kernel("TTL 0", packet(ttl=0)),
    kernel("IP options", packet(options=[b"\x94\x04\0\0"])),
    kernel("a neighbour not yet resolved", packet(destination="198.51.100.77")),
    kernel("an unreachable route", packet(destination="203.0.113.17")),
    kernel("a prohibited route", packet(destination="203.0.113.33")),
    kernel("larger than the route's MTU", packet(destination="198.18.0.1", size=1001)),
    network(
        "just the route's MTU",
        packet(destination="198.18.0.1", size=1000),
        packet(destination="198.18.0.1", size=1000, ttl=63),
    ),
    kernel("a route into a tunnel", packet(destination="198.19.0.1")),
    kernel("a device that is not configured", packet(destination="192.0.2.2")),
    kernel("a route onto a subscriber port", packet(destination="192.0.3.2")),
    lost("a host link that is not attached", up(packet(ttl=1)), DropReason.NO_LINK, to=NET),
    lost(
        "a tenant without a host link", up(packet(ttl=1)), DropReason.NO_LINK, by=TENANT_1, sessions=[TENANT_1], to=LINK
    ),
]

ECHO = IP(src=ALICE.address, dst=GATEWAY.address) / ICMP(type=8) / Raw(b"x" * 8)
SSH = IP(src=ALICE.address, dst=GATEWAY.address) / TCP(dport=22)
NTP = IP(src=ALICE.address, dst=GATEWAY.address) / UDP(dport=123) / Raw(b"x" * 48)

HALF = IP(src=ALICE.address, dst=GATEWAY.address, proto=1) / Raw(b"\x08\0\0\0")


def to_itself(says: str, payload: Packet) -> Case:
    return lost(says, up(payload), DropReason.LOCAL_SERVICE, to=LINK)


LOCAL = [
    kernel("an echo request", ECHO),
    kernel("an echo request with TTL 1", altered(ECHO, ttl=1)),
    kernel("a declared TCP service", SSH),
    kernel("a declared UDP service, in the last place", NTP),
    kernel("an echo reply", IP(src=ALICE.address, dst=GATEWAY.address) / ICMP(type=0) / Raw(b"x" * 8)),
    to_itself("another ICMP", IP(src=ALICE.address, dst=GATEWAY.address) / ICMP(type=13) / Raw(b"x" * 12)),
    to_itself("half an ICMP header", HALF),
    lost("half an ICMP header, padded by Ethernet", up(HALF) + bytes(20), DropReason.LOCAL_SERVICE, to=LINK),
    to_itself("a fragmented echo request", altered(ECHO, flags="MF")),
    to_itself("a later fragment of one", altered(ECHO, frag=2)),
    to_itself("a TCP port not declared", IP(src=ALICE.address, dst=GATEWAY.address) / TCP(dport=179)),
    to_itself("a declared port of the other protocol", IP(src=ALICE.address, dst=GATEWAY.address) / UDP(dport=22)),
    to_itself("port 0", IP(src=ALICE.address, dst=GATEWAY.address) / TCP(dport=0)),
    to_itself("a later fragment that looks like a declared service", altered(SSH, frag=2)),
    to_itself("another protocol", IP(src=ALICE.address, dst=GATEWAY.address, proto=47) / Raw(b"x" * 20)),
]

ON_PURPOSE = [
    lost("multicast", up(packet(destination="239.1.1.1"), destination=GROUP), DropReason.MULTICAST),
    lost("multicast to our own MAC", up(packet(destination="224.0.0.1")), DropReason.MULTICAST),
    lost("limited broadcast", up(packet(destination="255.255.255.255"), destination=BROADCAST), DropReason.BROADCAST),
    lost("limited broadcast to our own MAC", up(packet(destination="255.255.255.255")), DropReason.BROADCAST),
    lost("a broadcast frame with a unicast packet", up(packet(), destination=BROADCAST), DropReason.BROADCAST),
    lost("a multicast frame with a unicast packet", up(packet(), destination=GROUP), DropReason.BROADCAST),
    lost(
        "a broadcast frame to a neighbour",
        up(packet(destination=BOB.address), destination=BROADCAST),
        DropReason.BROADCAST,
    ),
    lost("0/8", up(packet(destination="0.1.2.3")), DropReason.BOGUS_DESTINATION),
    lost("127/8", up(packet(destination="127.0.0.1")), DropReason.BOGUS_DESTINATION),
    lost("240/4", up(packet(destination="240.0.0.1")), DropReason.BOGUS_DESTINATION),
]

TO_BOB, TO_CAROL = packet(destination=BOB.address), packet(destination=CAROL.address)
BOTH = {ALICE: Use(up=(1, SIZE)), BOB: Use(down=(1, SIZE))}


def hairpin(says: str, sent: bytes, out_: bytes, used: dict[Subscriber, Use], **more: Any) -> Case:
    return Case(
        says,
        sent,
        (Stage.FORWARD, Outcome.TO_SUBSCRIBER),
        out=out_,
        to=SUB,
        used=used,
        **more,
    )


HAIRPIN = [
    hairpin(
        "two tags to none",
        up(TO_BOB),
        down(packet(destination=BOB.address, ttl=63), BOB),
        BOTH,
    ),
    hairpin(
        "two tags to one",
        up(TO_CAROL),
        down(packet(destination=CAROL.address, ttl=63), CAROL),
        {ALICE: Use(up=(1, SIZE)), CAROL: Use(down=(1, SIZE))},
    ),
    hairpin(
        "none to two tags",
        up(packet(BOB.address, ALICE.address), BOB),
        down(packet(BOB.address, ALICE.address, ttl=63), ALICE),
        {BOB: Use(up=(1, SIZE)), ALICE: Use(down=(1, SIZE))},
    ),
    hairpin(
        "the receiver's whole MTU",
        up(packet(destination=BOB.address, size=1400)),
        down(packet(destination=BOB.address, size=1400, ttl=63), BOB),
        {ALICE: Use(up=(1, 1400)), BOB: Use(down=(1, 1400))},
    ),
    kernel("more than the receiver's MTU", packet(destination=BOB.address, size=1401)),
    kernel("a neighbour at TTL 1", packet(destination=BOB.address, ttl=1)),
    kernel("a neighbour with IP options", packet(destination=BOB.address, options=[b"\x94\x04\0\0"])),
    lost(
        "a neighbour whose promise is past",
        up(TO_BOB),
        DropReason.PROMISE_PAST,
        sessions=[ALICE, replace(BOB, promise_for_s=-1)],
        to=SUB,
    ),
    lost(
        "a neighbour whose row has moved on",
        up(TO_BOB),
        DropReason.STALE_KEY,
        sessions=[ALICE, replace(BOB, key_generation=2)],
        to=SUB,
    ),
    lost("a neighbour whose port is not attached", up(TO_BOB), DropReason.NO_EGRESS, to=NET),
    lost(
        "a neighbour whose encapsulation has an odd length",
        up(TO_BOB),
        DropReason.ADJUST_HEAD,
        sessions=[ALICE, replace(BOB, encapsulation=bytes(16))],
        to=SUB,
    ),
    *by_table(
        network(
            "another tenant's address is the network's",
            TO_BOB,
            packet(destination=BOB.address, ttl=63),
            sessions=[TENANT_1, BOB],
            to=NET_1,
            out=out(packet(destination=BOB.address, ttl=63), NET_1_MAC, ROUTER_1_MAC),
            used={TENANT_1: Use(up=(1, SIZE))},
        ),
    ),
]


@pytest.mark.parametrize("case", ADMISSION, ids=str)
def test_admission(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", ROUTED, ids=str)
def test_routed(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", KERNEL, ids=str)
def test_kernel_answers(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", LOCAL, ids=str)
def test_to_the_gateway_itself(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", ON_PURPOSE, ids=str)
def test_dropped_on_purpose(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", HAIRPIN, ids=str)
def test_client_to_client(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_every_ttl_keeps_the_checksum(bench: Bench) -> None:
    """As if computed anew, also where the one's complement sum wraps (checksum 0xfeff): RFC 1624."""
    bench.place([ALICE])
    bench.open_only(NET)
    whole = up(packet(id=0))
    head, tail = whole[:22], whole[42:]
    for ttl in range(2, 256):
        for wanted in (0xFEFF, 0xFEFE, 0xFF00, 0xFFFE, 0x0000, 0x00FF, 0x0100, 0x1234):
            before = with_checksum(whole[22:42], ttl, 0)
            ident = ((~wanted & 0xFFFF) - (~int.from_bytes(before[10:12], "big") & 0xFFFF)) % 0xFFFF
            before = with_checksum(before, ttl, ident)
            assert before[10:12] == wanted.to_bytes(2, "big")
            assert bench.run(head + before + tail).packet[14:34] == with_checksum(before, ttl - 1, ident)


def with_checksum(header: bytes, ttl: int, ident: int) -> bytes:
    """Return an IP header with these fields and its checksum."""
    ip = bytearray(header)
    ip[4:6], ip[8], ip[10:12] = ident.to_bytes(2, "big"), ttl, bytes(2)
    ip[10:12] = (~sum_of(ip) & 0xFFFF).to_bytes(2, "big")
    return bytes(ip)


def sum_of(header: bytes | bytearray) -> int:
    """Return the one's complement sum of a header (RFC 1071)."""
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_seen_is_kept_to_a_second(bench: Bench) -> None:
    """Written at the first packet, left alone within a second, and never by a spoofed packet."""
    bench.place([ALICE])
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    bench.run(up(packet("100.64.0.99")))
    assert bench.seen(ALICE) == 0
    bench.run(up(packet()))
    assert before <= bench.seen(ALICE) <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    recent = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 100_000_000
    bench.set_seen(ALICE, recent)
    bench.run(up(packet()))
    assert bench.seen(ALICE) == recent
    old = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 1_100_000_000
    bench.set_seen(ALICE, old)
    bench.run(up(packet()))
    assert bench.seen(ALICE) >= before


def test_what_is_asked_and_never_answered_is_told_once_a_second(bench: Bench) -> None:
    """What comes down in between makes it anew; what stays inside or is dropped asks nobody."""
    bench.place([ALICE, BOB])
    bench.open_only(NET)
    _, before, already = bench.asking(ALICE)
    for number in range(1, 4):
        bench.ask_long_ago(ALICE)
        for _ in range(3):
            bench.run(up(packet()))
        asked, heard, unanswered = bench.asking(ALICE)
        assert (heard, unanswered) == (before, already + number)
        assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - asked < 10**9
    bench.ask_long_ago(ALICE)
    stands = bench.asking(ALICE)
    for elsewhere in (up(TO_BOB), up(packet(destination="239.1.1.1")), up(packet("100.64.0.99"))):
        bench.run(elsewhere)
    assert bench.asking(ALICE) == stands
    bench.open_only(SUB)
    bench.run(into(packet(source="9.9.9.9", destination=ALICE.address)), "net")
    bench.open_only(NET)
    bench.run(up(packet()))
    assert bench.asking(ALICE)[1:] == (before + 1, 0)


HOUR = 3600 * 10**9


def test_line_that_floods_the_link_leaves_it_to_others(bench: Bench) -> None:
    """A line's own bucket runs out before the link's does; both clients of a line share it."""
    bench.place([ALICE, BOB, CAROL])
    bench.open_only(LINK)
    bench.police(Policer.LINK_LINE, HOUR, 2 * HOUR)
    bench.police(Policer.LINK, HOUR, 100 * HOUR)
    before = bench.counters()
    for _ in range(20):
        bench.run(up(packet(ttl=1)))
    bench.run(up(packet(CAROL.address, ttl=1), CAROL))
    counted = bench.counters().since(before)
    assert counted.ends == {(Stage.FORWARD, Outcome.TO_HOST): 4, (Stage.FORWARD, Outcome.DROPPED): 17}
    assert counted.reasons == {DropReason.LINK_POLICED: 17}
    assert bench.use(ALICE) == Use(up=(3, 3 * SIZE), up_dropped=17)


def test_link_as_a_whole_is_policed(bench: Bench) -> None:
    bench.place([ALICE])
    bench.open_only(LINK)
    bench.police(Policer.LINK, HOUR, 2 * HOUR)
    before = bench.counters()
    for _ in range(5):
        bench.run(up(packet(ttl=1)))
    counted = bench.counters().since(before)
    assert counted.reasons == {DropReason.LINK_POLICED: 2}
    assert counted.ends[Stage.FORWARD, Outcome.TO_HOST] == 3

"""More than a PPPoE client's MTU: whom the program tells so, what it leaves to the kernel, and what it drops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wayleave.dataplane.abi import DropReason, Outcome, Policer, Stage

from .frames import ICMP, INTERNET, IP, Packet, Raw, down, from_kernel, into, out, packet, to_kernel, up
from .rig import (
    ALICE,
    ALICE_PPP,
    BOB,
    BOB_PPP,
    CAROL_PPP,
    GATEWAY,
    LINK,
    NET_1_MAC,
    ROUTER_1_MAC,
    SUB,
    Bench,
    Case,
    Subscriber,
    Use,
    dropped,
)

SMALL = replace(BOB_PPP, mtu=1400)
TINY = replace(BOB_PPP, mtu=547)
TINIER = replace(BOB_PPP, mtu=546)
QUOTED = 548
TENANT_1 = replace(ALICE_PPP, tenant=1, table=100)


def big(
    who: Subscriber = ALICE_PPP, size: int = 1493, source: str = INTERNET, flags: str = "DF", **more: Any
) -> Packet:
    return packet(source, who.address, size=size, flags=flags, **more)


def error(of: Packet, mtu: int) -> Packet:
    """Return what the sender of a packet is told of it."""
    head = IP(src=GATEWAY.address, dst=of.src, flags="DF", id=0)
    return head / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(of)[:QUOTED])


def refused(says: str, of: Packet, mtu: int = 1492, **more: Any) -> Case:
    """A row for a packet from the network, the error about which goes back to the router."""
    row: dict[str, Any] = {"sent": into(of), "out": out(error(of, mtu))} | more
    return Case(says, ends=(Stage.DELIVER, Outcome.ANSWERED), on="net", **row)


def turned(says: str, of: Packet, who: Subscriber, mtu: int = 1492, **more: Any) -> Case:
    """A row for a packet from another client, which is told."""
    return Case(says, up(of, who), (Stage.FORWARD, Outcome.ANSWERED), out=down(error(of, mtu), who), **more)


def kernel(says: str, of: Packet, **more: Any) -> Case:
    return Case(says, into(of), (Stage.DELIVER, Outcome.TO_HOST), on="net", out=to_kernel(of), to=LINK, **more)


def lost(says: str, of: Packet, who: Subscriber = ALICE_PPP, **more: Any) -> Case:
    """A row for a packet that nobody is told of."""
    row: dict[str, Any] = {"on": "net", "used": {who: Use(down_dropped=1)}, "to": SUB} | more
    return dropped(says, into(of), Stage.DELIVER, DropReason.TOO_BIG, **row)


def icmp(type_: int, **fields: Any) -> Packet:
    head = IP(src=INTERNET, dst=ALICE_PPP.address, flags="DF", **fields)
    return head / ICMP(type=type_) / Raw((bytes(range(200)) * 8)[: 1493 - 28])


CASES = [
    refused("an octet too many", big()),
    refused("a whole packet of Ethernet", big(size=1500)),
    refused("to a client in one tag", big(CAROL_PPP)),
    refused("to a client without a tag", big(BOB_PPP)),
    refused("to a client of less than PPPoE's MTU", big(SMALL, 1401), 1400, sessions=[SMALL]),
    refused("TTL 2", big(ttl=2)),
    refused("an odd sum", big(id=0xFFFF)),
    refused("with Ethernet's padding behind it", big(), sent=into(big()) + bytes(7)),
    refused("an echo request", icmp(8)),
    refused("an echo reply", icmp(0)),
    refused("the first of several fragments", big(flags="DF+MF")),
    refused("whole or not, if the kernel cannot fragment so small", big(SMALL, 1493, flags=""), 1400, sessions=[SMALL]),
    kernel("what may be fragmented", big(flags="")),
    kernel("TTL 1", big(ttl=1)),
    kernel("IP options", big(options=[b"\x94\x04\0\0"])),
    kernel("an IPoE client's MTU is the kernel's", big(BOB, 1401)),
    lost("an error", icmp(3)),
    lost("a later fragment", big(frag=10)),
    *(lost(f"from {source}", big(source=source)) for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1")),
    lost("less than is quoted", big(TINIER, QUOTED - 1), TINIER, sessions=[TINIER]),
    refused("as little as is quoted", big(TINY, QUOTED), 547, sessions=[TINY]),
    dropped(
        "where the gateway has no address",
        into(big(), ROUTER_1_MAC, NET_1_MAC),
        Stage.DELIVER,
        DropReason.TOO_BIG,
        on="net1",
        sessions=[TENANT_1],
        used={TENANT_1: Use(down_dropped=1)},
    ),
    dropped(
        "from the kernel",
        from_kernel(big()),
        Stage.DELIVER,
        DropReason.TOO_BIG,
        on="link",
        used={ALICE_PPP: Use(down_dropped=1)},
    ),
    turned("from an IPoE client", big(source=ALICE.address), ALICE),
    turned("from an IPoE client without a tag", big(source=BOB.address), BOB),
    turned("from a PPPoE client", big(source=CAROL_PPP.address), CAROL_PPP),
    turned("from a PPPoE client without a tag", big(CAROL_PPP, source=BOB_PPP.address), BOB_PPP),
    turned(
        "whoever sends, the receiver's",
        big(SMALL, 1401, ALICE_PPP.address),
        ALICE_PPP,
        1400,
        sessions=[ALICE_PPP, SMALL],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


HOUR = 3600 * 10**9


def test_a_source_is_told_so_often_and_others_are_too(bench: Bench) -> None:
    """RFC 1812 4.3.2.8: errors are limited in rate."""
    bench.place([ALICE_PPP])
    bench.police(Policer.LINK_LINE, HOUR, HOUR)
    before = bench.counters()
    for _ in range(10):
        bench.run(into(big()), "net")
    bench.run(into(big(source="9.9.9.9")), "net")
    counted = bench.counters().since(before)
    assert counted.ends == {(Stage.DELIVER, Outcome.ANSWERED): 3, (Stage.DELIVER, Outcome.DROPPED): 8}
    assert counted.reasons == {DropReason.LINK_POLICED: 8}

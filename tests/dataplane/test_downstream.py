"""To a client: from the network, and from the kernel down the host link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wayleave.dataplane.abi import DropReason, Outcome, Policer, Stage
from wayleave.net.mac import BROADCAST, Mac

from .cases import delivered, to
from .frames import INTERNET, Packet, down, from_kernel, into, packet, to_kernel
from .rig import (
    ALICE,
    BOB,
    CAROL,
    GATEWAY,
    LINK,
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

LOST = Use(down_dropped=1)


def kernel(says: str, payload: Packet) -> Case:
    """A row for a packet that the kernel has to answer instead."""
    return Case(says, into(payload), (Stage.DELIVER, Outcome.TO_HOST), on="net", out=to_kernel(payload), to=LINK)


def passed(says: str, sent: bytes, **more: Any) -> Case:
    return Case(says, sent, (Stage.HOST, Outcome.PASSED), on="net", **more)


PAST = replace(ALICE, promise_for_s=-0.001)
S_TAGS = replace(ALICE, tags=((0x88A8, 100), (0x88A8, 7)))
Q_TAGS = replace(ALICE, tags=((0x8100, 100), (0x8100, 7)))
AD_TAG = replace(CAROL, tags=((0x88A8, 200),))
ELSEWHERE_PORT = replace(ALICE, port=SUB_OFF)
TENANT_1 = replace(ALICE, tenant=1, table=100)

FROM_THE_NETWORK = [
    delivered("two tags", ALICE),
    delivered("no tag", BOB),
    delivered("one tag", CAROL),
    delivered("two 802.1ad tags", S_TAGS, sessions=[S_TAGS]),
    delivered("two 802.1Q tags", Q_TAGS, sessions=[Q_TAGS]),
    delivered("one 802.1ad tag", AD_TAG, sessions=[AD_TAG]),
    delivered("on another port", ELSEWHERE_PORT, sessions=[ELSEWHERE_PORT], to=SUB_OFF),
    delivered("the last hop that may be", ALICE, sent=into(to(ALICE, ttl=2)), out=down(to(ALICE, ttl=1), ALICE)),
    delivered(
        "a whole MTU",
        ALICE,
        sent=into(to(ALICE, size=1500)),
        out=down(to(ALICE, ttl=63, size=1500), ALICE),
        used={ALICE: Use(down=(1, 1500))},
    ),
    delivered(
        "a later fragment",
        ALICE,
        sent=into(to(ALICE, frag=100)),
        out=down(to(ALICE, ttl=63, frag=100), ALICE),
    ),
    delivered(
        "Ethernet's padding is carried along, not counted",
        BOB,
        sent=into(to(BOB)) + bytes(14),
        out=down(to(BOB, ttl=63), BOB) + bytes(14),
    ),
    delivered(
        "a tenant's network port",
        TENANT_1,
        sent=into(to(ALICE), ROUTER_1_MAC, NET_1_MAC),
        on="net1",
        sessions=[TENANT_1],
    ),
    passed(
        "an address of another tenant's",
        into(to(ALICE), ROUTER_1_MAC, NET_1_MAC),
        sessions=[ALICE],
    ),
    kernel("TTL 1", to(ALICE, ttl=1)),
    kernel("TTL 0", to(ALICE, ttl=0)),
    kernel("IP options", to(ALICE, options=[b"\x94\x04\0\0"])),
    kernel("more than the client's MTU", to(BOB, size=1401)),
    passed("the gateway's own address", into(packet(INTERNET, GATEWAY.address))),
    passed("the network port's own address", into(packet(INTERNET, "198.51.100.1"))),
    passed("somebody to route to", into(packet(INTERNET, "192.0.2.2"))),
    passed("multicast", into(packet(INTERNET, "224.0.0.5"), destination=Mac.parse("01:00:5e:00:00:05"))),
    passed("a broadcast frame with a client's address", into(to(ALICE), destination=BROADCAST)),
    passed("a frame to another MAC", into(to(ALICE), destination=Mac.parse("02:99:00:00:00:01"))),
    dropped(
        "a pool address nobody holds",
        into(packet(INTERNET, "100.64.9.9")),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="net",
    ),
    dropped(
        "a pool address nobody holds, its route without a neighbour",
        into(packet(INTERNET, "100.65.9.9")),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="net",
    ),
    dropped(
        "a promise past",
        into(to(ALICE)),
        Stage.HOST,
        DropReason.PROMISE_PAST,
        on="net",
        sessions=[PAST],
        used={PAST: LOST},
    ),
    dropped(
        "a key older than its row",
        into(to(ALICE)),
        Stage.HOST,
        DropReason.STALE_KEY,
        on="net",
        sessions=[replace(ALICE, row_generation=2)],
    ),
    dropped(
        "a row that holds another address, by chance of the same generation",
        into(to(ALICE)),
        Stage.HOST,
        DropReason.STALE_KEY,
        on="net",
        sessions=[replace(ALICE, holds="100.64.0.99")],
    ),
    dropped(
        "a row of another tenant, by chance of the same generation",
        into(to(ALICE)),
        Stage.HOST,
        DropReason.STALE_KEY,
        on="net",
        sessions=[replace(ALICE, of_tenant=1)],
    ),
    dropped(
        "a port that is not attached",
        into(to(ALICE)),
        Stage.DELIVER,
        DropReason.NO_EGRESS,
        on="net",
        used={ALICE: LOST},
        to=LINK,
    ),
    dropped(
        "no host link for what the kernel should answer",
        into(to(ALICE, ttl=1)),
        Stage.DELIVER,
        DropReason.NO_LINK,
        on="net",
        used={ALICE: LOST},
        to=SUB,
    ),
    dropped(
        "an encapsulation of an odd length",
        into(to(ALICE)),
        Stage.DELIVER,
        DropReason.ADJUST_HEAD,
        on="net",
        sessions=[(odd := replace(ALICE, encapsulation=bytes(20)))],
        used={odd: LOST},
        to=SUB,
    ),
]


def routed(says: str, who: Subscriber, payload: Packet, **more: Any) -> Case:
    """A row for what the kernel has forwarded or sent itself: delivered as it is."""
    used = {who: Use(down=(1, len(payload)))}
    row: dict[str, Any] = {"sent": from_kernel(payload), "out": down(payload, who), "to": SUB, "used": used} | more
    return Case(says, ends=(Stage.DELIVER, Outcome.TO_SUBSCRIBER), on="link", **row)


FROM_THE_KERNEL = [
    routed("the TTL stays", ALICE, to(ALICE, ttl=64)),
    routed("TTL 1 has been decided on", ALICE, to(ALICE, ttl=1)),
    routed("IP options too", BOB, to(BOB, options=[b"\x94\x04\0\0"])),
    routed("the client's whole MTU", BOB, to(BOB, size=1400)),
    dropped(
        "more than the client's MTU",
        from_kernel(to(BOB, size=1401)),
        Stage.DELIVER,
        DropReason.TOO_BIG,
        on="link",
        used={BOB: LOST},
        to=SUB,
    ),
    dropped(
        "an address nobody holds",
        from_kernel(packet(INTERNET, "100.64.9.9")),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="link",
    ),
    dropped(
        "an address that is the network's",
        from_kernel(packet(ALICE.address, INTERNET)),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="link",
    ),
    dropped(
        "the gateway's own address",
        from_kernel(packet(INTERNET, GATEWAY.address)),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="link",
    ),
    dropped(
        "multicast",
        from_kernel(packet(GATEWAY.address, "224.0.0.1")),
        Stage.HOST,
        DropReason.NO_SUBSCRIBER,
        on="link",
    ),
    dropped(
        "a promise past",
        from_kernel(to(ALICE)),
        Stage.HOST,
        DropReason.PROMISE_PAST,
        on="link",
        sessions=[PAST],
        used={PAST: LOST},
    ),
]


@pytest.mark.parametrize("case", FROM_THE_NETWORK, ids=str)
def test_from_the_network(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", FROM_THE_KERNEL, ids=str)
def test_from_the_kernel(bench: Bench, case: Case) -> None:
    bench.check(case)


HOUR = 3600 * 10**9


def test_source_that_floods_the_link_leaves_it_to_others(bench: Bench) -> None:
    """On a network port the link is policed by source address."""
    bench.place([ALICE])
    bench.open_only(LINK)
    bench.police(Policer.LINK_LINE, HOUR, HOUR)
    bench.police(Policer.LINK, HOUR, 100 * HOUR)
    before = bench.counters()
    for _ in range(10):
        bench.run(into(to(ALICE, ttl=1)), "net")
    bench.run(into(packet("9.9.9.9", ALICE.address, ttl=1)), "net")
    counted = bench.counters().since(before)
    assert counted.ends == {(Stage.DELIVER, Outcome.TO_HOST): 3, (Stage.DELIVER, Outcome.DROPPED): 8}
    assert counted.reasons == {DropReason.LINK_POLICED: 8}
    assert bench.use(ALICE) == Use(down_dropped=8)

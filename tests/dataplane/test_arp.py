"""ARP on subscriber ports. Source: RFC 826; RFC 5227 for probes and announcements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wayleave.dataplane.abi import DropReason, Outcome, Stage
from wayleave.net.mac import BROADCAST, Mac

from .frames import ARP, Packet, ethernet, request, up
from .rig import ALICE, BOB, CAROL, GATEWAY, GATEWAY_MAC, Bench, Case, Subscriber, dropped

ELSEWHERE = Mac.parse("02:99:00:00:00:01")
HOST_ROUTE = replace(ALICE, netmask="255.255.255.255")
PAST = replace(ALICE, promise_for_s=-1)


def ask(payload: Packet, who: Subscriber = ALICE, destination: bytes = BROADCAST) -> bytes:
    return up(payload, who, destination)


def reply(address: str, who: Subscriber = ALICE, to: str | None = None) -> bytes:
    """Return the gateway's answer: it claims `address`."""
    payload = ARP(op=2, hwsrc=str(GATEWAY_MAC), psrc=address, hwdst=str(who.mac), pdst=to or who.address)
    return ethernet(payload, GATEWAY_MAC, who.mac, who.tags)


def amiss(offset: int, octets: str) -> bytes:
    """Return a request with `octets` in the place of others, `offset` into ARP."""
    frame, at = ask(request("100.64.0.1")), 22 + offset
    return frame[:at] + bytes.fromhex(octets) + frame[at + len(octets) // 2 :]


def answer(says: str, sent: bytes, out: bytes, **more: Any) -> Case:
    return Case(says, sent, (Stage.ARP, Outcome.ANSWERED), out=out, **more)


def refused(says: str, sent: bytes, reason: DropReason, by: Subscriber | None = ALICE, **more: Any) -> Case:
    return dropped(says, sent, Stage.ARP, reason, by, **more)


FROM_BOB = request("100.64.0.1", BOB.address, BOB.mac)
FROM_CAROL = request("100.64.0.1", CAROL.address, CAROL.mac)
CASES = [
    answer("the gateway's address, two tags", ask(request("100.64.0.1")), reply("100.64.0.1")),
    answer("untagged", ask(FROM_BOB, BOB), reply("100.64.0.1", BOB)),
    answer("one tag", ask(FROM_CAROL, CAROL), reply("100.64.0.1", CAROL)),
    answer("a neighbour who is there", ask(request(BOB.address)), reply(BOB.address)),
    answer("a neighbour who is not", ask(request("100.64.0.200")), reply("100.64.0.200")),
    answer("asked of us alone", ask(request("100.64.0.1"), destination=GATEWAY_MAC), reply("100.64.0.1")),
    answer(
        "a probe for somebody else's address is defended",
        ask(request(BOB.address, sender="0.0.0.0")),
        reply(BOB.address, to="0.0.0.0"),
    ),
    answer(
        "the gateway's address from a client with a host route",
        ask(request("100.64.0.1")),
        reply("100.64.0.1"),
        sessions=[HOST_ROUTE, GATEWAY],
    ),
    answer("padded to Ethernet's minimum", ask(request("100.64.0.1")) + bytes(18), reply("100.64.0.1") + bytes(18)),
    refused(
        "a neighbour, from a client with a host route",
        ask(request(BOB.address)),
        DropReason.ARP_ELSEWHERE,
        HOST_ROUTE,
        sessions=[HOST_ROUTE, GATEWAY, BOB],
    ),
    refused("a probe for the own lease", ask(request(ALICE.address, sender="0.0.0.0")), DropReason.ARP_OWN),
    refused("an announcement of the own lease", ask(request(ALICE.address)), DropReason.ARP_OWN),
    refused("a target outside the subnet", ask(request("100.64.1.1")), DropReason.ARP_ELSEWHERE),
    refused("a reply", ask(request("100.64.0.1", operation=2)), DropReason.ARP_ELSEWHERE),
    refused("another operation", ask(request("100.64.0.1", operation=3)), DropReason.ARP_ELSEWHERE),
    refused("another hardware", amiss(0, "0006"), DropReason.MALFORMED_ARP),
    refused("another protocol", amiss(2, "86dd"), DropReason.MALFORMED_ARP),
    refused("another hardware length", amiss(4, "08"), DropReason.MALFORMED_ARP),
    refused("another protocol length", amiss(5, "10"), DropReason.MALFORMED_ARP),
    refused("cut off", ask(request("100.64.0.1"))[:-1], DropReason.TRUNCATED),
    refused("a sender MAC that is not the frame's", ask(request("100.64.0.1", mac=ELSEWHERE)), DropReason.SPOOFED_ARP),
    refused("a sender address that is a neighbour's", ask(request("100.64.0.1", BOB.address)), DropReason.SPOOFED_ARP),
    refused("a client without a session", ask(request("100.64.0.1")), DropReason.NO_SESSION, None, sessions=[BOB]),
    refused(
        "a client whose row is somebody else's by now",
        ask(request("100.64.0.1")),
        DropReason.STALE_KEY,
        None,
        sessions=[replace(ALICE, key_generation=2), GATEWAY],
    ),
    refused("a lease past its promise", ask(request("100.64.0.1")), DropReason.PROMISE_PAST, PAST, sessions=[PAST]),
    refused(
        "a frame to another MAC",
        ask(request("100.64.0.1"), destination=ELSEWHERE),
        DropReason.NOT_FOR_GATEWAY,
    ),
    refused(
        "a frame to a multicast MAC",
        ask(request("100.64.0.1"), destination=Mac.parse("01:00:5e:00:00:01")),
        DropReason.NOT_FOR_GATEWAY,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)

"""DHCP on its way to Python: which packets, what a record holds, and how a flood is kept from it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from wayleave.dataplane.abi import (
    NO_SESSION,
    PUNT_FRAME_MAX,
    DropReason,
    Outcome,
    Policer,
    Punt,
    PuntClass,
    PuntResult,
    Stage,
)
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import BootNs

from .conftest import RING_OCTETS
from .frames import ICMP, IP, UDP, Raw, discover, ethernet, up
from .rig import ALICE, BOB, GATEWAY, LINK, Bench, Case, Subscriber, dropped

KNOWN, NEW = PuntClass(0), PuntClass(1)
ELSEWHERE = Mac.parse("02:99:00:00:00:01")
PAST = replace(ALICE, promise_for_s=-1)
LOCAL_1 = replace(GATEWAY, address="100.64.0.254", tenant=1)
TENANT_1 = replace(ALICE, tenant=1, table=100)
STALE = replace(ALICE, key_generation=2)


def punted(says: str, sent: bytes, class_: PuntClass = KNOWN, **more: Any) -> Case:
    return Case(says, sent, (Stage.PUNT, Outcome.PUNTED), punted=(class_, PuntResult.SENT), **more)


def broadcast(**fields: Any) -> bytes:
    return up(discover(**fields), destination=BROADCAST)


def short_udp(length: int) -> bytes:
    """Return a packet to port 67 whose IP ends `length` octets into UDP; Ethernet pads it."""
    whole = bytes(UDP(sport=68, dport=67, len=8, chksum=0))
    return up(IP(src="0.0.0.0", dst="255.255.255.255", proto=17) / Raw(whole[:length]), destination=BROADCAST) + bytes(
        30
    )


RENEWAL: dict[str, Any] = {"destination": GATEWAY.address, "source": ALICE.address}
CASES = [
    punted("a DISCOVER from a client with a session", broadcast()),
    punted("from a client without", broadcast(), NEW, sessions=[GATEWAY]),
    punted("from a client whose row has moved on", broadcast(), NEW, sessions=[STALE]),
    punted("from a client whose promise is past", broadcast(), sessions=[PAST]),
    punted("a renewal, to the gateway's address", up(discover(**RENEWAL))),
    punted("broadcast IP in a frame to our MAC", up(discover())),
    punted("a renewal in a broadcast frame", broadcast(**RENEWAL)),
    punted("with IP options", broadcast(options=[b"\x94\x04\0\0"])),
    punted("the largest record", broadcast(pad=PUNT_FRAME_MAX - len(broadcast()))),
    punted("the gateway's address of the session's tenant", up(discover("100.64.0.254")), sessions=[TENANT_1, LOCAL_1]),
    dropped(
        "an octet more than the largest record",
        broadcast(pad=PUNT_FRAME_MAX - len(broadcast()) + 1),
        Stage.PUNT,
        DropReason.TOO_BIG,
        ALICE,
    ),
    dropped("the first of several fragments", broadcast(flags="MF"), Stage.PUNT, DropReason.DHCP_FRAGMENT, ALICE),
    dropped("a later fragment", broadcast(frag=3), Stage.ANTISPOOF, DropReason.SPOOFED_IPV4, ALICE),
    dropped("to another MAC", up(discover(), destination=ELSEWHERE), Stage.ADMIT, DropReason.NOT_FOR_GATEWAY, ALICE),
    dropped(
        "to a multicast MAC",
        up(discover(), destination=Mac.parse("01:00:5e:00:00:01")),
        Stage.ANTISPOOF,
        DropReason.SPOOFED_IPV4,
        ALICE,
    ),
    dropped("a UDP header cut off by IP's length", short_udp(7), Stage.ANTISPOOF, DropReason.SPOOFED_IPV4, ALICE),
    punted("nothing but a UDP header", short_udp(8)),
    dropped(
        "to another tenant's gateway",
        up(discover("100.64.0.254", ALICE.address)),
        Stage.FORWARD,
        DropReason.NO_SUBSCRIBER,
        ALICE,
        sessions=[ALICE, LOCAL_1],
    ),
    dropped(
        "to another client",
        up(discover(BOB.address, ALICE.address)),
        Stage.FORWARD,
        DropReason.NO_EGRESS,
        ALICE,
    ),
    dropped(
        "to port 68",
        up(IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=67, dport=68) / Raw(b"x" * 300), destination=BROADCAST),
        Stage.ANTISPOOF,
        DropReason.SPOOFED_IPV4,
        ALICE,
    ),
    dropped(
        "TCP to port 67",
        up(IP(src="0.0.0.0", dst="255.255.255.255", proto=6) / Raw(b"\0\x44\0\x43" + bytes(20)), destination=BROADCAST),
        Stage.ANTISPOOF,
        DropReason.SPOOFED_IPV4,
        ALICE,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_first_fragment_to_somebody_else_is_routed(bench: Bench) -> None:
    """Only what is for the gateway is refused in fragments."""
    first = up(discover("100.64.9.9", ALICE.address, flags="MF"))
    bench.check(dropped("", first, Stage.FORWARD, DropReason.NO_SUBSCRIBER, ALICE))


@pytest.mark.parametrize("who", [ALICE, BOB], ids=["two tags", "untagged"])
@pytest.mark.parametrize("size", [300, 383, 384, 385, 767, 768, 769, 1500, PUNT_FRAME_MAX])
def test_record_holds_the_frame_as_it_came(bench: Bench, who: Subscriber, size: int) -> None:
    """Also on both sides of the sizes at which the program takes a larger record."""
    bench.place([who])
    smallest = len(up(discover(), who))
    sent = up(discover(mac=who.mac, pad=size - smallest), who, BROADCAST)
    assert len(sent) == size
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    bench.run(sent)
    ((punt, frame),) = bench.ring.read(10)
    assert frame == sent
    assert before <= punt.at <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    l3 = 14 + 4 * len(who.tags)
    key = who.key
    assert punt == Punt(BootNs(punt.at), who.id, who.port, key.svid, key.cvid, KNOWN, len(sent), l3, 0)
    assert frame[l3] == 0x45


def test_record_of_a_new_client_names_no_session(bench: Bench) -> None:
    bench.run(broadcast())
    ((punt, _),) = bench.ring.read(10)
    assert (punt.session, punt.class_, punt.svid, punt.cvid) == (NO_SESSION, NEW, 100, 7)


HOUR = 3600 * 10**9
FEW, MANY = 2 * HOUR, 1000 * HOUR


def flood(bench: Bench, count: int, mac: bytes = ELSEWHERE, vid: int = 100) -> None:
    """Send `count` DISCOVERs from one client that has no session."""
    sent = ethernet(discover(mac=mac), mac, BROADCAST, ((0x8100, vid),))
    for _ in range(count):
        bench.run(sent)
        for _ in bench.ring.read(10):
            pass


def client(number: int) -> bytes:
    return b"\x02\x99\x01\0" + number.to_bytes(2, "big")


def test_client_that_floods_leaves_the_class_to_others(bench: Bench) -> None:
    """Charged in the order client, line, class: what the client's own bucket refuses costs nobody else anything."""
    bench.police(Policer.CLIENT, HOUR, FEW)
    bench.police(Policer.LINE, HOUR, MANY)
    bench.police(Policer.DHCP4_NEW, HOUR, 5 * HOUR)
    before = bench.counters()
    flood(bench, 50)
    flood(bench, 3, client(1))
    counted = bench.counters().since(before)
    assert counted.punt_results == {(NEW, PuntResult.SENT): 6, (NEW, PuntResult.REFUSED_CLIENT): 47}
    assert counted.reasons == {DropReason.PUNT_CLIENT: 47}


def test_line_that_floods_leaves_the_class_to_others(bench: Bench) -> None:
    bench.police(Policer.CLIENT, HOUR, FEW)
    bench.police(Policer.LINE, HOUR, FEW)
    bench.police(Policer.DHCP4_NEW, HOUR, 5 * HOUR)
    before = bench.counters()
    for number in range(50):
        flood(bench, 1, client(number))
    flood(bench, 3, vid=101)
    counted = bench.counters().since(before)
    assert counted.punt_results == {(NEW, PuntResult.SENT): 6, (NEW, PuntResult.REFUSED_LINE): 47}
    assert counted.reasons == {DropReason.PUNT_LINE: 47}


def test_a_vlan_that_lines_share_has_a_rate_of_its_own(shared: Bench) -> None:
    shared.police(Policer.LINE, HOUR, 0)
    shared.police(Policer.SHARED, HOUR, FEW)
    before = shared.counters()
    for number in range(50):
        flood(shared, 1, client(number))
    flood(shared, 3, vid=101)
    counted = shared.counters().since(before)
    assert counted.punt_results == {(NEW, PuntResult.SENT): 6, (NEW, PuntResult.REFUSED_LINE): 47}


def test_of_lines_that_share_a_vlan_none_uses_up_the_others_way_to_the_kernel(shared: Bench) -> None:
    """The client takes the line's place: its MAC is a session's, so it cannot be made up."""
    neighbour = replace(ALICE, id=9, mac=Mac.parse("02:aa:00:00:00:99"), address="100.64.0.99")
    shared.place([ALICE, neighbour, GATEWAY])
    shared.open_only(LINK)
    shared.police(Policer.LINK_LINE, HOUR, FEW)
    before = shared.counters()
    for who in [ALICE] * 10 + [neighbour] * 3:
        shared.run(up(IP(src=who.address, dst=GATEWAY.address) / ICMP(), who))
    counted = shared.counters().since(before)
    assert counted.ends[(Stage.FORWARD, Outcome.TO_HOST)] == 6
    assert counted.reasons == {DropReason.LINK_POLICED: 7}


def test_classes_have_rates_of_their_own(bench: Bench) -> None:
    bench.place([ALICE])
    bench.police(Policer.DHCP4_NEW, HOUR, FEW)
    bench.police(Policer.DHCP4_KNOWN, HOUR, HOUR)
    before = bench.counters()
    for number in range(10):
        flood(bench, 1, client(number), vid=200 + number)
    for _ in range(5):
        bench.run(broadcast())
    counted = bench.counters().since(before)
    assert counted.punt_results == {
        (NEW, PuntResult.SENT): 3,
        (NEW, PuntResult.REFUSED_CLASS): 7,
        (KNOWN, PuntResult.SENT): 2,
        (KNOWN, PuntResult.REFUSED_CLASS): 3,
    }
    assert counted.reasons == {DropReason.PUNT_CLASS: 10}


def test_bucket_recovers_with_time(bench: Bench) -> None:
    """A cost of a nanosecond is paid back before the next packet, whatever the burst."""
    bench.police(Policer.CLIENT, 1, 0)
    before = bench.counters()
    flood(bench, 20)
    assert bench.counters().since(before).punt_results == {(NEW, PuntResult.SENT): 20}


def test_new_arrivals_leave_half_the_ring_to_renewals(bench: Bench) -> None:
    """Nobody reads: the new are refused at half, the known when it is full, and every refusal is counted."""
    bench.place([ALICE])
    before = bench.counters()
    new = ethernet(discover(mac=ELSEWHERE), ELSEWHERE, BROADCAST)
    while bench.ring.waiting <= RING_OCTETS // 2:
        at = bench.ring.waiting
        bench.run(new)
        assert bench.ring.waiting > at
    bench.run(new)
    counted = bench.counters().since(before)
    assert counted.punt_results[NEW, PuntResult.REFUSED_RING] == 1
    assert counted.reasons == {DropReason.PUNT_RING: 1}
    assert bench.ring.waiting < RING_OCTETS // 2 + 1000
    sent = bench.counters()
    while not (counted := bench.counters().since(sent)).reasons:
        bench.run(broadcast())
    assert counted.punt_results[KNOWN, PuntResult.REFUSED_RING] == 1
    assert counted.punt_results[KNOWN, PuntResult.SENT] > 50
    assert bench.ring.waiting > RING_OCTETS - 1000
    records = list(bench.ring.read(1000))
    assert len(records) == sum(
        number for (_, result), number in bench.counters().since(before).punt_results.items() if result == 0
    )

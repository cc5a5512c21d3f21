"""PPPoE's control: discovery and PPP on their way to Python, and LCP's echo requests, which the program answers."""

from __future__ import annotations

import struct
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
from .frames import SESSION_TYPE, Raw, Tags, discover, ethernet, ppp
from .rig import ALICE, ALICE_PPP, BOB_PPP, CAROL_PPP, GATEWAY_MAC, Bench, Case, Subscriber, dropped

DISCOVERY_TYPE = 0x8863
PADI, PADR, PADT = 0x09, 0x19, 0xA7
LCP, PAP, CHAP, IPCP, IPV6CP = 0xC021, 0xC023, 0xC223, 0x8021, 0x8057
CONFIGURE, ECHO_REQUEST, ECHO_REPLY = 1, 9, 10
KNOWN, NEW, DISCOVERY = PuntClass.PPP_KNOWN, PuntClass.PPP_NEW, PuntClass.PPPOE_DISCOVERY
ELSEWHERE = Mac.parse("02:99:00:00:00:01")
PAST = replace(ALICE_PPP, promise_for_s=-1)
STALE = replace(ALICE_PPP, key_generation=2)


def discovery(
    code: int = PADI,
    session: int = 0,
    mac: bytes = ALICE.mac,
    destination: bytes = BROADCAST,
    tags: Tags = ALICE.tags,
    body: bytes = b"\x01\x01\0\0",
    length: int | None = None,
    version_type: int = 0x11,
) -> bytes:
    """Return a discovery packet, by default with a Service-Name of no octets."""
    head = struct.pack(">BBHH", version_type, code, session, len(body) if length is None else length)
    return ethernet(Raw(head + body), mac, destination, tags, type_=DISCOVERY_TYPE)


def control(code: int = CONFIGURE, data: bytes = b"", identifier: int = 7, length: int | None = None) -> Raw:
    """Return a packet of LCP or the like; `length` if it is not to tell the truth."""
    return Raw(struct.pack(">BBH", code, identifier, 4 + len(data) if length is None else length) + data)


def session(
    who: Subscriber = ALICE_PPP,
    protocol: int = LCP,
    payload: Raw | None = None,
    destination: bytes = GATEWAY_MAC,
    **fields: Any,
) -> bytes:
    """Return what a client sends in its session: by default an LCP Configure-Request of no options."""
    inner = ppp(control() if payload is None else payload, who.pppoe, protocol, **fields)
    return ethernet(inner, who.mac, destination, who.tags, type_=SESSION_TYPE)


def punted(says: str, sent: bytes, class_: PuntClass = KNOWN, **more: Any) -> Case:
    return Case(says, sent, (Stage.PUNT, Outcome.PUNTED), punted=(class_, PuntResult.SENT), **more)


def malformed(says: str, sent: bytes) -> Case:
    return dropped(says, sent, Stage.PARSE, DropReason.MALFORMED_PPPOE)


def elsewhere(says: str, sent: bytes, by: Subscriber | None = None) -> Case:
    return dropped(says, sent, Stage.PPPOE, DropReason.NOT_FOR_GATEWAY, by)


CONTROL = [
    punted("a PADI", discovery(), DISCOVERY),
    punted("a PADI without a tag", discovery(tags=()), DISCOVERY),
    punted("a PADI from a client that has no session", discovery(), DISCOVERY, sessions=[]),
    punted("a PADR", discovery(PADR, destination=GATEWAY_MAC), DISCOVERY),
    punted("a PADT without a tag of its own", discovery(PADT, 0x1234, destination=GATEWAY_MAC, body=b""), DISCOVERY),
    punted("a PADI padded by Ethernet", discovery() + bytes(30), DISCOVERY),
    punted("the largest PADI", discovery(body=bytes(PUNT_FRAME_MAX - 28)), DISCOVERY),
    dropped("a larger PADI", discovery(body=bytes(PUNT_FRAME_MAX - 27)), Stage.PUNT, DropReason.TOO_BIG),
    malformed("discovery of version 2", discovery(version_type=0x21)),
    malformed("discovery whose length passes the frame", discovery(length=5)),
    dropped("discovery cut off", discovery()[:27], Stage.PARSE, DropReason.TRUNCATED),
    dropped("discovery where it is not served", discovery(), Stage.PARSE, DropReason.PPPOE_NOT_SERVED, on="suboff"),
    elsewhere("a PADR to another access concentrator", discovery(PADR, destination=ELSEWHERE)),
    elsewhere("a PADI to a multicast MAC", discovery(destination=Mac.parse("01:00:5e:00:00:01"))),
    *(
        punted(f"{name} of a session with an address", session(protocol=protocol))
        for name, protocol in (("LCP", LCP), ("PAP", PAP), ("CHAP", CHAP), ("IPCP", IPCP), ("IPV6CP", IPV6CP))
    ),
    punted("the first protocol that is no data", session(protocol=0x4001)),
    dropped("the last protocol that is data", session(protocol=0x3FFF), Stage.PARSE, DropReason.PPP_PROTOCOL),
    punted("LCP without a tag", session(BOB_PPP)),
    punted("LCP in one tag", session(CAROL_PPP)),
    punted("LCP of a session without an address", session(), NEW, sessions=[ALICE]),
    punted("LCP of a session whose row has moved on", session(), NEW, sessions=[STALE]),
    punted("LCP of a session whose promise is past", session(), KNOWN, sessions=[PAST]),
    punted("LCP with a neighbour's session-id", session(sessionid=CAROL_PPP.pppoe), NEW),
    punted("an LCP packet of no octets", session(payload=Raw(b""))),
    malformed("LCP whose length passes the frame", session(len=7)),
    malformed("LCP under session-id 0", session(sessionid=0)),
    elsewhere("LCP to another MAC", session(destination=ELSEWHERE), ALICE_PPP),
    elsewhere("LCP to everybody", session(destination=BROADCAST), ALICE_PPP),
    dropped(
        "more LCP than a record holds", session(payload=Raw(bytes(2020))), Stage.PUNT, DropReason.TOO_BIG, ALICE_PPP
    ),
]

OURS, THEIRS = b"\x11\x22\x33\x44", b"\xaa\xbb\xcc\xdd"
ANSWERS = tuple(replace(who, magic=OURS) for who in (ALICE_PPP, BOB_PPP, CAROL_PPP))
ASKED = ANSWERS[0]


def echo(data: bytes = THEIRS, who: Subscriber = ASKED, code: int = ECHO_REQUEST, **more: Any) -> bytes:
    return session(who, payload=control(code, data, **more))


def answered(says: str, who: Subscriber = ASKED, data: bytes = b"", pad: int = 0) -> Case:
    """A row for an echo request, the answer to which has the same data behind our magic number."""
    reply = ppp(control(ECHO_REPLY, OURS + data), who.pppoe, LCP)
    return Case(
        says,
        echo(THEIRS + data, who) + bytes(pad),
        (Stage.PPPOE, Outcome.ANSWERED),
        out=ethernet(reply, GATEWAY_MAC, who.mac, who.tags, type_=SESSION_TYPE) + bytes(pad),
        sessions=[ALICE, *ANSWERS],
    )


def to_python(says: str, sent: bytes, who: Subscriber = ASKED, class_: PuntClass = KNOWN) -> Case:
    return punted(says, sent, class_, sessions=[ALICE, who])


ECHO = [
    answered("two tags"),
    answered("no tag", ANSWERS[1]),
    answered("one tag", ANSWERS[2]),
    answered("with data", data=b"are you there?!"),
    answered("with as much data as may be", data=bytes(range(212)) * 7),
    answered("padded by Ethernet", pad=16),
    to_python("a row without a magic number", echo(), ALICE_PPP),
    to_python("a promise past", echo(), replace(ASKED, promise_for_s=-1)),
    to_python("a row that has moved on", echo(), replace(ASKED, key_generation=2), NEW),
    to_python("our own magic number: a loop", echo(OURS)),
    to_python("no room for a magic number", echo(b"abc")),
    to_python("a length that has no room for one", echo(length=7)),
    to_python("a length past PPP's", echo(length=9)),
    to_python("PPP's padding behind it", session(ASKED, payload=control(ECHO_REQUEST, THEIRS + b"abc", length=8))),
    to_python("more than the client's MTU", echo(THEIRS + bytes(1485))),
    to_python("an echo reply", echo(code=ECHO_REPLY)),
    to_python("the same code in IPCP", session(ASKED, IPCP, control(ECHO_REQUEST, THEIRS))),
    elsewhere(
        "an echo request to another MAC",
        session(payload=control(ECHO_REQUEST, THEIRS), destination=ELSEWHERE),
        ALICE_PPP,
    ),
]


@pytest.mark.parametrize("case", CONTROL, ids=str)
def test_control(bench: Bench, case: Case) -> None:
    bench.check(case)


@pytest.mark.parametrize("case", ECHO, ids=str)
def test_echo(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_a_client_that_asks_for_an_echo_lives(bench: Bench) -> None:
    """And one that sends other control has not shown it: its session-id and MAC anybody can send."""
    bench.place(ANSWERS)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    bench.run(session(ASKED))
    assert bench.renewed(ASKED) == 0
    bench.run(echo())
    assert bench.seen(ASKED) == 0, "it is not active for that: Idle-Timeout goes by its packets"
    assert before <= bench.renewed(ASKED) <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("who", [ALICE_PPP, BOB_PPP], ids=["two tags", "untagged"])
def test_record_holds_the_frame_and_the_session_id(bench: Bench, who: Subscriber) -> None:
    bench.place([ALICE, who])
    for sent, class_, id_, pppoe in (
        (session(who), KNOWN, who.id, who.pppoe),
        (session(who, sessionid=9), NEW, NO_SESSION, 9),
        (discovery(PADT, who.pppoe, who.mac, GATEWAY_MAC, who.tags), DISCOVERY, NO_SESSION, who.pppoe),
        (discovery(PADI, 0, who.mac, BROADCAST, who.tags), DISCOVERY, NO_SESSION, 0),
    ):
        bench.run(sent)
        ((punt, frame),) = bench.ring.read(10)
        key, l3 = who.key, 14 + 4 * len(who.tags)
        assert punt == Punt(BootNs(punt.at), id_, who.port, key.svid, key.cvid, class_, len(sent), l3, pppoe)
        assert (frame, frame[l3]) == (sent, 0x11)


HOUR = 3600 * 10**9
FEW, MANY = 2 * HOUR, 1000 * HOUR


def flood(bench: Bench, count: int, mac: bytes = ELSEWHERE, vid: int = 100, new: bool = False) -> None:
    """Send PADIs, or LCP of a made-up session, of one client."""
    tags = ((0x8100, vid),)
    sent = discovery(mac=mac, tags=tags)
    if new:
        sent = ethernet(ppp(control(), 77, LCP), mac, GATEWAY_MAC, tags, type_=SESSION_TYPE)
    for _ in range(count):
        bench.run(sent)
        for _ in bench.ring.read(10):
            pass


def client(number: int) -> bytes:
    return b"\x02\x99\x01\0" + number.to_bytes(2, "big")


def test_client_that_floods_leaves_the_class_to_others(bench: Bench) -> None:
    """Whether it looks for a session or makes some up, its bucket is one."""
    bench.police(Policer.PPPOE_CLIENT, HOUR, 5 * HOUR)
    bench.police(Policer.PPPOE_LINE, HOUR, MANY)
    before = bench.counters()
    flood(bench, 4)
    flood(bench, 50, new=True)
    flood(bench, 3, client(1))
    counted = bench.counters().since(before)
    assert counted.punt_results == {
        (DISCOVERY, PuntResult.SENT): 7,
        (NEW, PuntResult.SENT): 2,
        (NEW, PuntResult.REFUSED_CLIENT): 48,
    }
    assert counted.reasons == {DropReason.PUNT_CLIENT: 48}


def test_line_that_floods_leaves_the_class_to_others(bench: Bench) -> None:
    bench.police(Policer.PPPOE_LINE, HOUR, FEW)
    bench.police(Policer.PPPOE_DISCOVERY, HOUR, 5 * HOUR)
    before = bench.counters()
    for number in range(50):
        flood(bench, 1, client(number))
    flood(bench, 3, vid=101)
    counted = bench.counters().since(before)
    assert counted.punt_results == {(DISCOVERY, PuntResult.SENT): 6, (DISCOVERY, PuntResult.REFUSED_LINE): 47}
    assert counted.reasons == {DropReason.PUNT_LINE: 47}


@pytest.mark.parametrize("new", [True, False], ids=["PPP", "discovery"])
def test_pppoe_uses_up_nothing_of_dhcp(bench: Bench, new: bool) -> None:
    """Nor DHCP of PPPoE: each has its own bucket of the client and of the line."""
    for policer in (Policer.CLIENT, Policer.LINE, Policer.PPPOE_CLIENT, Policer.PPPOE_LINE):
        bench.police(policer, HOUR, FEW)
    before = bench.counters()
    flood(bench, 10, new=new)
    for _ in range(5):
        bench.run(ethernet(discover(mac=ELSEWHERE), ELSEWHERE, BROADCAST, ((0x8100, 100),)))
    counted = bench.counters().since(before)
    assert counted.punt_results[NEW if new else DISCOVERY, PuntResult.SENT] == 3
    assert counted.punt_results[PuntClass.DHCP4_NEW, PuntResult.SENT] == 3


def test_a_vlan_that_lines_share_has_a_rate_of_its_own(shared: Bench) -> None:
    shared.police(Policer.PPPOE_LINE, HOUR, 0)
    shared.police(Policer.PPPOE_SHARED, HOUR, FEW)
    before = shared.counters()
    for number in range(50):
        flood(shared, 1, client(number))
    counted = shared.counters().since(before)
    assert counted.punt_results == {(DISCOVERY, PuntResult.SENT): 3, (DISCOVERY, PuntResult.REFUSED_LINE): 47}


def test_classes_have_rates_of_their_own(bench: Bench) -> None:
    bench.place([ALICE_PPP])
    for number, policer in enumerate((Policer.PPP_KNOWN, Policer.PPP_NEW, Policer.PPPOE_DISCOVERY)):
        bench.police(policer, HOUR, number * HOUR)
    before = bench.counters()
    for _ in range(5):
        bench.run(session())
    flood(bench, 5, new=True)
    flood(bench, 5)
    counted = bench.counters().since(before)
    assert counted.punt_results == {
        (KNOWN, PuntResult.SENT): 1,
        (KNOWN, PuntResult.REFUSED_CLASS): 4,
        (NEW, PuntResult.SENT): 2,
        (NEW, PuntResult.REFUSED_CLASS): 3,
        (DISCOVERY, PuntResult.SENT): 3,
        (DISCOVERY, PuntResult.REFUSED_CLASS): 2,
    }
    assert counted.reasons == {DropReason.PUNT_CLASS: 9}


@pytest.mark.parametrize("new", [True, False], ids=["PPP", "discovery"])
def test_new_arrivals_leave_half_the_ring_to_sessions(bench: Bench, new: bool) -> None:
    bench.place([ALICE_PPP])
    sent = discovery(mac=ELSEWHERE)
    if new:
        sent = ethernet(ppp(control(), 77, LCP), ELSEWHERE, GATEWAY_MAC, type_=SESSION_TYPE)
    before = bench.counters()
    while not bench.counters().since(before).reasons:
        bench.run(sent)
    assert bench.ring.waiting < RING_OCTETS // 2 + 1000
    before = bench.counters()
    while not bench.counters().since(before).reasons:
        bench.run(session())
    assert bench.ring.waiting > RING_OCTETS - 1000

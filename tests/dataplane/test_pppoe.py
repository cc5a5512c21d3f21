"""PPPoE: what of it is read, and IPv4 inside it from and to clients, beside IPoE on the same line from the same MAC."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import msgspec
import pytest

from wayleave.dataplane import abi
from wayleave.dataplane.abi import DropReason, Outcome, Stage
from wayleave.dataplane.rows import project
from wayleave.dataplane.samples import Samples
from wayleave.net.frame import Tag, encode_l2
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import Ns
from wayleave.session.model import NEVER, Client, Lease, Line, Link, Phase, Service, Session, Subnet, Tenant

from .cases import SIZE, delivered, to
from .frames import (
    ICMP,
    IP,
    SESSION_TYPE,
    Packet,
    Raw,
    discover,
    down,
    ethernet,
    from_kernel,
    into,
    out,
    packet,
    ppp,
    to_kernel,
    up,
)
from .rig import (
    ALICE,
    ALICE_PPP,
    BOB,
    BOB_PPP,
    CAROL_PPP,
    FOREVER,
    GATEWAY,
    GATEWAY_MAC,
    LINK,
    NET,
    SUB,
    Bench,
    Case,
    Subscriber,
    Use,
    dropped,
)

ELSEWHERE = Mac.parse("02:99:00:00:00:01")
TAGS = {ALICE_PPP: "two tags", BOB_PPP: "no tag", CAROL_PPP: "one tag"}
AD_TAGS = replace(ALICE_PPP, tags=((0x88A8, 100), (0x88A8, 7)))


def sent(who: Subscriber, payload: Packet | None = None, protocol: int = 0x0021, **fields: Any) -> bytes:
    """Return what the client sends, with some of the header's fields set otherwise."""
    inner = ppp(packet(who.address) if payload is None else payload, who.pppoe, protocol, **fields)
    return ethernet(inner, who.mac, GATEWAY_MAC, who.tags, type_=SESSION_TYPE)


def malformed(says: str, **fields: Any) -> Case:
    return dropped(says, sent(ALICE_PPP, **fields), Stage.PARSE, DropReason.MALFORMED_PPPOE)


def network(says: str, who: Subscriber, **more: Any) -> Case:
    """A row for a packet that is routed out, bare."""
    row: dict[str, Any] = {
        "sent": sent(who),
        "out": out(packet(who.address, ttl=63)),
        "to": NET,
        "used": {who: Use(up=(1, SIZE))},
    } | more
    return Case(says, ends=(Stage.FORWARD, Outcome.TO_NETWORK), **row)


WHOLE = SIZE + 2
"""What the header's length says of `packet()`: PPP's protocol and IPv4."""

PARSED = [
    dropped("PPPoE where it is not served", sent(ALICE_PPP), Stage.PARSE, DropReason.PPPOE_NOT_SERVED, on="suboff"),
    Case(
        "PPPoE on a network port",
        ethernet(ppp(packet(), 1), ALICE.mac, GATEWAY_MAC, type_=SESSION_TYPE),
        (Stage.PARSE, Outcome.PASSED),
        on="net",
    ),
    malformed("version 2", version=2),
    malformed("type 0", type=0),
    malformed("a PADT's code in the session stage", code=0xA7),
    malformed("session-id 0", sessionid=0),
    malformed("a length of 0", len=0),
    malformed("half a PPP protocol", len=1),
    malformed("a length one past the frame", len=WHOLE + 1),
    malformed("the largest length", len=0xFFFF),
    dropped("IPv4 longer than PPPoE", sent(ALICE_PPP, len=WHOLE - 1), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped(
        "IPv4 longer than PPPoE, though not than the padded frame",
        sent(ALICE_PPP, len=WHOLE - 1) + bytes(30),
        Stage.PARSE,
        DropReason.MALFORMED_IPV4,
    ),
    dropped("an IPv4 header longer than PPPoE", sent(ALICE_PPP, len=21), Stage.PARSE, DropReason.MALFORMED_IPV4),
    dropped("PPPoE cut off", sent(ALICE_PPP)[:29], Stage.PARSE, DropReason.TRUNCATED),
    dropped("nothing behind PPP", sent(ALICE_PPP, Raw(b"")), Stage.PARSE, DropReason.TRUNCATED),
    dropped("IPv6 in PPP", sent(ALICE_PPP, protocol=0x0057), Stage.PARSE, DropReason.PPP_PROTOCOL),
    dropped("a compressed protocol", sent(ALICE_PPP, protocol=0x2145), Stage.PARSE, DropReason.PPP_PROTOCOL),
    dropped(
        "Ethernet's type of IPv4 as PPP's protocol",
        sent(ALICE_PPP, protocol=0x0800),
        Stage.PARSE,
        DropReason.PPP_PROTOCOL,
    ),
    network(
        "Ethernet's padding behind PPPoE",
        BOB_PPP,
        sent=sent(BOB_PPP) + bytes(14),
        out=out(packet(BOB_PPP.address, ttl=63)) + bytes(14),
    ),
    network(
        "PPP's padding behind IPv4",
        BOB_PPP,
        sent=sent(BOB_PPP, Raw(bytes(packet(BOB_PPP.address)) + bytes(3))),
        out=out(packet(BOB_PPP.address, ttl=63)) + bytes(3),
    ),
]


def lost(says: str, sent_: bytes, reason: DropReason, stage: Stage = Stage.FORWARD, **more: Any) -> Case:
    more.setdefault("by", ALICE_PPP)
    return dropped(says, sent_, stage, reason, **more)


def kernel(says: str, payload: Packet) -> Case:
    """A row for a packet of Alice's that goes up the host link, bare."""
    used = {ALICE_PPP: Use(up=(1, len(payload)))}
    return Case(
        says,
        sent(ALICE_PPP, payload),
        (Stage.FORWARD, Outcome.TO_HOST),
        out=to_kernel(payload),
        to=LINK,
        used=used,
    )


PAST = replace(ALICE_PPP, promise_for_s=-1)
METERED = replace(ALICE_PPP, up=(4096, SIZE - 1))

UPSTREAM = [
    *(network(says, who) for who, says in TAGS.items()),
    network("two 802.1ad tags", AD_TAGS, sessions=[AD_TAGS]),
    network(
        "the largest packet",
        ALICE_PPP,
        sent=sent(ALICE_PPP, packet(ALICE_PPP.address, size=1492)),
        out=out(packet(ALICE_PPP.address, size=1492, ttl=63)),
        used={ALICE_PPP: Use(up=(1, 1492))},
    ),
    network("PPPoE where the same MAC has IPoE too", ALICE_PPP, sessions=[ALICE, ALICE_PPP]),
    network(
        "IPoE where the same MAC has PPPoE too",
        ALICE,
        sent=up(packet()),
        sessions=[ALICE, ALICE_PPP],
    ),
    lost(
        "the address of the same MAC's IPoE session",
        sent(ALICE_PPP, packet(ALICE.address)),
        DropReason.SPOOFED_IPV4,
        Stage.ANTISPOOF,
    ),
    lost(
        "the PPPoE session's address in IPoE",
        up(packet(ALICE_PPP.address)),
        DropReason.SPOOFED_IPV4,
        Stage.ANTISPOOF,
        by=ALICE,
    ),
    lost("nobody's session-id", sent(ALICE_PPP, sessionid=0x1235), DropReason.NO_SESSION, Stage.ADMIT, by=None),
    lost("a neighbour's session-id", sent(ALICE_PPP, sessionid=1), DropReason.NO_SESSION, Stage.ADMIT, by=None),
    lost(
        "the session-id in the other byte order",
        sent(ALICE_PPP, sessionid=0x3412),
        DropReason.NO_SESSION,
        Stage.ADMIT,
        by=None,
    ),
    lost(
        "its session-id from another MAC",
        sent(replace(ALICE_PPP, mac=ELSEWHERE)),
        DropReason.NO_SESSION,
        Stage.ADMIT,
        by=None,
    ),
    lost(
        "its session-id from another line",
        sent(replace(ALICE_PPP, tags=((0x88A8, 100), (0x8100, 8)))),
        DropReason.NO_SESSION,
        Stage.ADMIT,
        by=None,
    ),
    lost("a source that is not its own", sent(ALICE_PPP, packet("8.8.4.4")), DropReason.SPOOFED_IPV4, Stage.ANTISPOOF),
    lost("a promise past", sent(PAST), DropReason.PROMISE_PAST, Stage.ADMIT, by=PAST, sessions=[PAST]),
    lost(
        "a key older than its row",
        sent(ALICE_PPP),
        DropReason.STALE_KEY,
        Stage.ADMIT,
        by=None,
        sessions=[replace(ALICE_PPP, row_generation=2)],
    ),
    lost(
        "a frame to another MAC",
        ethernet(ppp(packet(ALICE_PPP.address), ALICE_PPP.pppoe), ALICE.mac, ELSEWHERE, ALICE.tags, SESSION_TYPE),
        DropReason.NOT_FOR_GATEWAY,
        Stage.ADMIT,
    ),
    lost("more than was sold", sent(METERED), DropReason.METERED_UP, Stage.METER, by=METERED, sessions=[METERED]),
    lost(
        "a broadcast frame",
        ethernet(ppp(packet(ALICE_PPP.address), ALICE_PPP.pppoe), ALICE.mac, BROADCAST, ALICE.tags, SESSION_TYPE),
        DropReason.BROADCAST,
    ),
    lost(
        "DHCP, which PPP has no use for",
        sent(ALICE_PPP, discover(GATEWAY.address, ALICE_PPP.address)),
        DropReason.LOCAL_SERVICE,
    ),
    kernel("an echo request to the gateway", IP(src=ALICE_PPP.address, dst=GATEWAY.address) / ICMP() / Raw(b"x" * 8)),
    kernel("TTL 1", packet(ALICE_PPP.address, ttl=1)),
    *(
        Case(
            says,
            sent(who, packet(who.address, to.address)) if who.pppoe else up(packet(who.address, to.address), who),
            (Stage.FORWARD, Outcome.TO_SUBSCRIBER),
            out=down(packet(who.address, to.address, ttl=63), to),
            to=SUB,
            used={who: Use(up=(1, SIZE)), to: Use(down=(1, SIZE))},
        )
        for says, who, to in (
            ("PPPoE to PPPoE", ALICE_PPP, BOB_PPP),
            ("PPPoE without a tag to PPPoE in two", BOB_PPP, ALICE_PPP),
            ("PPPoE in two tags to IPoE without", ALICE_PPP, BOB),
            ("IPoE without a tag to PPPoE in two", BOB, ALICE_PPP),
            ("PPPoE to IPoE of the same MAC", ALICE_PPP, ALICE),
        )
    ),
]


ODD = replace(ALICE_PPP, encapsulation=bytes(28))
DOWN_METERED = replace(ALICE_PPP, down=(4096, SIZE - 1))

DOWNSTREAM = [
    *(delivered(says, who) for who, says in TAGS.items()),
    delivered("two 802.1ad tags", AD_TAGS, sessions=[AD_TAGS]),
    delivered("the IPoE session of the same MAC", ALICE),
    *(
        delivered(
            f"the largest packet, {says}",
            who,
            sent=into(to(who, size=1492)),
            out=down(to(who, size=1492, ttl=63), who),
            used={who: Use(down=(1, 1492))},
        )
        for who, says in TAGS.items()
    ),
    delivered(
        "Ethernet's padding is no part of PPPoE's length",
        ALICE_PPP,
        sent=into(to(ALICE_PPP)) + bytes(14),
        out=down(to(ALICE_PPP, ttl=63), ALICE_PPP) + bytes(14),
    ),
    Case(
        "down the host link",
        from_kernel(to(ALICE_PPP, options=[b"\x94\x04\0\0"])),
        (Stage.DELIVER, Outcome.TO_SUBSCRIBER),
        on="link",
        out=down(to(ALICE_PPP, options=[b"\x94\x04\0\0"]), ALICE_PPP),
        to=SUB,
        used={ALICE_PPP: Use(down=(1, SIZE + 4))},
    ),
    dropped(
        "more than was sold",
        into(to(ALICE_PPP)),
        Stage.DELIVER,
        DropReason.METERED_DOWN,
        on="net",
        sessions=[DOWN_METERED],
        used={DOWN_METERED: Use(down_dropped=1)},
        to=SUB,
    ),
    dropped(
        "an encapsulation of an odd length",
        into(to(ALICE_PPP)),
        Stage.DELIVER,
        DropReason.ADJUST_HEAD,
        on="net",
        sessions=[ODD],
        used={ODD: Use(down_dropped=1)},
        to=SUB,
    ),
]


@pytest.mark.parametrize("case", [*PARSED, *UPSTREAM, *DOWNSTREAM], ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_a_sample_tells_the_session_id(bench: Bench) -> None:
    bench.run(sent(ALICE_PPP))
    bench.run(up(packet()))
    ((ours, _), (plain, _)) = Samples(bench.maps).take(10)
    assert (ours.port, ours.svid, ours.cvid, ours.source, ours.pppoe) == (SUB, 100, 7, ALICE.mac, ALICE_PPP.pppoe)
    assert (ours.stage, ours.reason, plain.pppoe) == (Stage.ADMIT, DropReason.NO_SESSION, 0)


def session(who: Subscriber) -> Session:
    """Return the client's session as the gateway has it: its encapsulation is Ethernet's header, no more."""
    address = IPv4Address(who.address)
    lease = Lease(address, "home", Subnet(IPv4Network(f"{address}/32"), address), Ns(1), Ns(1), FOREVER)
    header = encode_l2(who.mac, GATEWAY_MAC, tuple(Tag(*tag) for tag in who.tags), SESSION_TYPE)
    return Session(
        id=who.id,
        client=Client(Line(who.port, who.key.svid, who.key.cvid), who.mac, who.pppoe),
        phase=Phase.ACTIVE,
        since=NEVER,
        encapsulation=header,
        service=Service(tenant="default", pool="home", mtu=who.mtu),
        lease=lease,
    )


@pytest.mark.parametrize("who", TAGS, ids=TAGS.values())
def test_a_session_is_projected_to_its_row(who: Subscriber) -> None:
    """To the same as the rows of the tables above."""
    rows = project(session(who), Tenant("default", 0, 254))
    row = abi.Session.unpack(rows.session)
    wanted = replace(who.row(0).encapsulation, magic=bytes(4))
    assert row.encapsulation == replace(wanted, header=row.encapsulation.header)
    assert row.encapsulation.header[: wanted.length - 4] == wanted.header[:-4]
    assert row.encapsulation.header[wanted.length - 2 : wanted.length] == b"\x00\x21"
    assert rows.client == who.key.pack()


@pytest.mark.parametrize(
    ("pppoe", "mtu", "clamped"), [(1, 1492, True), (1, 1499, True), (1, 1500, False), (0, 1492, False)]
)
def test_whose_segments_are_clamped(pppoe: int, mtu: int, clamped: bool) -> None:
    rows = project(session(replace(ALICE, pppoe=pppoe, mtu=mtu)), Tenant("default", 0, 254))
    flags = abi.SessionFlag(abi.Session.unpack(rows.session).flags)
    assert (abi.SessionFlag.CLAMP_MSS in flags, abi.SessionFlag.CHECK_SOURCE in flags) == (clamped, True)


def test_a_session_s_magic_number_stands_in_its_row() -> None:
    rows = project(msgspec.structs.replace(session(ALICE_PPP), link=Link(magic=b"abcd")), Tenant("default", 0, 254))
    assert abi.Session.unpack(rows.session).encapsulation.magic == b"abcd"

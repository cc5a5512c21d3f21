"""DHCP answered by the program: the very octets that the server in Python would send, or the request untouched."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from msgspec import structs

from tests.conftest import PROFILE
from wayleave.access.settings import PortSettings
from wayleave.dataplane.abi import Dhcp4Result, DropReason, Policer
from wayleave.dataplane.counters import spoken
from wayleave.dataplane.digest import digest_agent
from wayleave.lab.packet import Frame, Tag, dhcp_options
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.model import Tenant

from .household import GATEWAY, HOUR, NETWORK, OTHER_GATEWAY, PORTS, Household
from .requests import INFORM, QINQ, RELAY, RELEASE, REQUEST, STYLES, Asked, Guest, damaged
from .rig import SUB, SUB_OFF, Bench

EXAMPLES, SEED = {"test": (100_000, 1), "soak": (1_000_000, random.randrange(1 << 32))}[PROFILE]
SEED = int(os.environ.get("WAYLEAVE_SEED", SEED))
"""Of the damaged requests. A run that failed is run again by what it printed: `WAYLEAVE_SEED=N make test`."""
AGENT = b"\1\6door-1\2\4node"


def guest(id_: int, style: str, **more: object) -> Guest:
    mac = Mac(b"\2\xd0\0\0\0" + bytes((id_,)))
    return replace(Guest(id_, mac, NETWORK[9 + id_], GATEWAY, style), **more)  # type: ignore[arg-type]


STYLED = [guest(number, style, client_id=b"\1" + bytes(6)) for number, style in enumerate(STYLES, 1)]
ODD = [
    guest(20, "udhcpc", tags=()),
    guest(21, "router", tags=(Tag(0x8100, 300),)),
    guest(22, "windows", tags=(Tag(0x8100, 7), Tag(0x8100, 7))),
    guest(23, "router", address=IPv4Address("100.65.0.9"), server=OTHER_GATEWAY),
    guest(24, "dhclient", port=SUB_OFF, agent=AGENT),
    guest(25, "bare", port=SUB_OFF, agent=b"\1\1x", client_id=b"\xff" + bytes(18)),
]
ALICE = STYLED[0]
TWINS = [
    replace(ALICE, id=26, address=NETWORK[35], tags=(QINQ[0], Tag(0x8100, 9))),
    replace(ALICE, id=27, address=NETWORK[36], port=SUB_OFF, agent=AGENT),
    replace(ALICE, id=28, address=IPv4Address("100.65.0.10"), server=OTHER_GATEWAY, tags=(Tag(0x8100, 100),)),
]
"""Alice's MAC on other lines: another C-VID, another port, another pool. A machine that somebody carries about."""
GUESTS = STYLED + ODD + TWINS
NEIGHBOURS = [
    guest(40 + number, style, port=SUB_OFF, tags=(Tag(0x8100, 100),), agent=agent)
    for number, (style, agent) in enumerate(
        (("windows", b"\1\6door-1"), ("router", b"\1\6door-2\2\4node"), ("bare", b"\2\4node\1\1x"))
    )
]
"""On circuits of one VLAN."""
OTHER_TENANT, THEIR_GATEWAY = Tenant("other", 1, 100), IPv4Address("10.9.0.1")


@pytest.fixture
def household(bench: Bench) -> Iterator[Household]:
    """Everybody has a lease for an hour, promised for a day."""
    home = Household(bench)
    for who in GUESTS:
        pool = "other" if who.server == OTHER_GATEWAY else "home"
        home.move_in(who.id, who.selecting().frame(), who.port, pool)
    yield home
    home.close()


@pytest.fixture
def shared(bench: Bench) -> Iterator[Household]:
    """Guests on a VLAN that circuits share, where a relay may speak too."""
    circuits = PortSettings(
        number=SUB_OFF, device="suboff", role="subscriber", trusted=True, line="circuit", relays=(RELAY,)
    )
    home = Household(bench, (PORTS[0], circuits))
    for who in NEIGHBOURS:
        home.move_in(who.id, who.selecting().frame(), who.port)
    yield home
    home.close()


def answered(home: Household, asked: Asked, port: int = SUB) -> Frame:
    """What the program says, which must be what Python says."""
    frame = asked.frame()
    with home.counting() as results:
        kernel = home.kernel(frame, port)
    python = home.python(frame, port)
    assert +results in ({Dhcp4Result.OFFERED: 1}, {Dhcp4Result.ACKED: 1})
    assert kernel.answer is not None
    assert python.answer is not None
    assert kernel.answer.hex(" ") == python.answer.hex(" ")
    return Frame(kernel.answer)


def left(home: Household, asked: Asked | bytes, why: Dhcp4Result, port: int = SUB) -> None:
    """The program leaves it to Python, whole and for this reason."""
    frame = asked if isinstance(asked, bytes) else asked.frame()
    with home.counting() as results:
        kernel = home.kernel(frame, port)
    assert +results == {why: 1}
    assert kernel.frame == frame
    assert kernel.punted == frame


@pytest.mark.parametrize("who", GUESTS, ids=lambda who: f"{who.id}-{who.style}")
def test_every_request_of_a_live_lease_is_answered_as_python_would(household: Household, who: Guest) -> None:
    for asked in who.asks():
        reply = answered(household, asked, who.port)
        options = dict(dhcp_options(reply.udp_payload))
        assert options[53] == (b"\2" if asked.kind == 1 else b"\5")
        assert options[54] == who.server.packed
        assert IPv4Address(reply.udp_payload[16:20]) == who.address
        assert options.get(61) == who.client_id
        assert options.get(82) == (dict(asked.options).get(82))
        assert len(reply.udp_payload) >= 300


def test_a_reply_is_broadcast_only_to_who_asks_for_it_and_has_no_address(household: Household) -> None:
    wide = [replace(asked, flags=0x8000) for asked in ALICE.asks()]
    sent_to = [answered(household, asked).destination for asked in wide]
    assert sent_to == [BROADCAST, BROADCAST, BROADCAST, ALICE.mac, ALICE.mac]


def test_broadcast_answers_are_policed_as_what_goes_up_is(household: Household) -> None:
    """Others on a VLAN would hear a flood of them; what goes back to the client alone needs no rate."""
    household.bench.police(Policer.CLIENT, 3600 * 10**9, 2 * 3600 * 10**9)
    wide, before = replace(ALICE.reboot(), flags=0x8000), household.bench.counters()
    with household.counting() as results:
        for _ in range(10):
            household.kernel(wide.frame())
    assert +results == {Dhcp4Result.ACKED: 3, Dhcp4Result.UP_RATE: 7}
    assert household.bench.counters().since(before).reasons == {DropReason.PUNT_CLIENT: 7}
    for _ in range(10):
        answered(household, ALICE.reboot())


def test_a_lease_is_renewed_by_a_request_and_by_nothing_else(household: Household) -> None:
    answered(household, ALICE.discover())
    assert household.renewed(ALICE.id) == 0
    left(household, replace(ALICE.reboot(), kind=INFORM), Dhcp4Result.UP_TYPE)
    assert household.renewed(ALICE.id) == 0
    before = household.now()
    answered(household, ALICE.renewing())
    assert before <= household.renewed(ALICE.id) <= household.now()


def test_a_lease_is_not_renewed_past_its_promise(household: Household) -> None:
    """The promise covers a lease but for some seconds: Python must extend it first."""
    who = guest(30, "udhcpc")
    household.move_in(who.id, who.selecting().frame(), promise=HOUR - 5 * SECOND)
    answered(household, who.discover())
    for asked in who.asks()[1:]:
        left(household, asked, Dhcp4Result.UP_PROMISE)
    assert household.renewed(who.id) == 0
    household.move_in(who.id, who.selecting().frame(), promise=HOUR + 60 * SECOND)
    answered(household, who.renewing())
    household.move_in(who.id, who.selecting().frame(), promise=-SECOND)
    left(household, who.discover(), Dhcp4Result.UP_PROMISE)


def test_a_lease_that_will_be_longer_is_python_s_until_it_is(household: Household) -> None:
    """The pool grants more by now: Python records that before it tells anybody."""
    session = household.sessions[ALICE.id]
    assert session.lease
    household.install(structs.replace(session, lease=structs.replace(session.lease, longer=Ns(2 * HOUR))))
    left(household, ALICE.renewing(), Dhcp4Result.UP_NO_REPLY)
    household.install(structs.replace(session, lease=structs.replace(session.lease, duration=Ns(2 * HOUR))))
    options = dict(dhcp_options(answered(household, ALICE.renewing()).udp_payload))
    assert int.from_bytes(options[51], "big") == 2 * HOUR // SECOND


STRANGER = replace(ALICE, mac=Mac(b"\2\xd0\0\0\0\xee"))


def plus(asked: Asked, *options: tuple[int, bytes]) -> Asked:
    """The request with more options at its end."""
    return replace(asked, options=(*asked.options, *options))


def asking(*options: tuple[int, bytes]) -> Asked:
    """A REQUEST with these options before Alice's usual ones."""
    return Asked(REQUEST, ALICE.mac, (*options, *ALICE.common))


STEPS = 1 + len(ALICE.reboot().options)
"""Options of Alice's request."""

WITHOUT_DIGEST = bytes.fromhex("01 06 646f6f722d31 46966373ba71bd22")
"""An option 82 whose digest is 0, as that of none: its last word is the digest of what stands before it."""


LEFT = {
    "a client that nobody knows": (STRANGER.reboot(), Dhcp4Result.UP_NEW),
    "a known MAC on another line": (replace(ALICE.reboot(), tags=(QINQ[0], Tag(0x8100, 8))), Dhcp4Result.UP_NEW),
    "tags of other types": (replace(ALICE.reboot(), tags=(Tag(0x8100, 100), QINQ[1])), Dhcp4Result.UP_FRAME),
    "a datagram of more than a kilobyte": (replace(ALICE.reboot(), least=1017), Dhcp4Result.UP_FRAME),
    "IPv4 options": (replace(ALICE.reboot(), ip_options=b"\x94\4\0\0"), Dhcp4Result.UP_FRAME),
    "a UDP length that is not IPv4's": (replace(ALICE.reboot(), udp_length=300), Dhcp4Result.UP_FRAME),
    "a UDP length of nothing": (replace(ALICE.reboot(), udp_length=8), Dhcp4Result.UP_FRAME),
    "a reply": (replace(ALICE.reboot(), op=2), Dhcp4Result.UP_HEADER),
    "another hardware length": (replace(ALICE.reboot(), hlen=16), Dhcp4Result.UP_HEADER),
    "somebody else's MAC inside": (replace(ALICE.reboot(), chaddr=STRANGER.mac), Dhcp4Result.UP_HEADER),
    "a relay agent": (replace(ALICE.reboot(), giaddr=IPv4Address("10.0.0.1")), Dhcp4Result.UP_HEADER),
    "BOOTP": (replace(ALICE.reboot(), cookie=bytes(4)), Dhcp4Result.UP_HEADER),
    "an option that passes the end": (replace(ALICE.reboot(), least=0, end=b"\x0c\x14x"), Dhcp4Result.UP_OPTIONS),
    "option 50 twice": (plus(ALICE.reboot(), (50, ALICE.address.packed)), Dhcp4Result.UP_OPTIONS),
    "options in sname": (plus(ALICE.reboot(), (52, b"\1")), Dhcp4Result.UP_OPTIONS),
    "an address of five octets": (asking((50, bytes(5))), Dhcp4Result.UP_OPTIONS),
    "a type of two octets": (
        replace(plus(ALICE.reboot(), (53, b"\3\3")), type_at=None),
        Dhcp4Result.UP_OPTIONS,
    ),
    "64 steps": (replace(ALICE.reboot(), end=bytes(64 - STEPS) + b"\xff"), Dhcp4Result.UP_OPTIONS),
    "a release": (replace(ALICE.renewing(), kind=RELEASE), Dhcp4Result.UP_TYPE),
    "a type of 0": (replace(ALICE.reboot(), kind=0), Dhcp4Result.UP_TYPE),
    "no type": (replace(ALICE.reboot(), type_at=None), Dhcp4Result.UP_TYPE),
    "no type, but a port like DISCOVER": (
        replace(ALICE.discover(), type_at=None, sport=0x0144),
        Dhcp4Result.UP_TYPE,
    ),
    "no type, but a port like REQUEST": (replace(ALICE.reboot(), type_at=None, sport=0x0344), Dhcp4Result.UP_TYPE),
    "another address": (asking((50, NETWORK[77].packed)), Dhcp4Result.UP_ADDRESS),
    "another address in use": (replace(ALICE.renewing(), ciaddr=NETWORK[77]), Dhcp4Result.UP_ADDRESS),
    "no address": (asking(), Dhcp4Result.UP_ADDRESS),
    "an address while discovering": (replace(ALICE.discover(), ciaddr=ALICE.address), Dhcp4Result.UP_ADDRESS),
    "another server's offer": (asking((50, ALICE.address.packed), (54, bytes((10, 0, 0, 9)))), Dhcp4Result.UP_SERVER),
    "other parameters": (
        replace(ALICE.reboot(), options=((50, ALICE.address.packed), (55, b"\1\3"), (61, b"\1" + bytes(6)))),
        Dhcp4Result.UP_FORM,
    ),
    "an option 82 on a port where none is believed": (plus(ALICE.reboot(), (82, AGENT)), Dhcp4Result.UP_AGENT),
    "an option 82 whose digest is that of none": (plus(ALICE.reboot(), (82, WITHOUT_DIGEST)), Dhcp4Result.UP_AGENT),
}


@pytest.mark.parametrize("says", LEFT)
def test_the_unusual_is_left_to_python_untouched(household: Household, says: str) -> None:
    left(household, *LEFT[says])


def test_sixty_three_options_and_pads_are_read(household: Household) -> None:
    answered(household, replace(ALICE.reboot(), end=bytes(63 - STEPS) + b"\xff"))


def test_the_first_fragment_of_a_request_is_answered_by_nobody(household: Household) -> None:
    before = household.bench.counters()
    with household.counting() as results:
        kernel = household.kernel(replace(ALICE.reboot(), fragment=0x2000).frame())
    assert (+results, kernel.answer, kernel.punted) == ({}, None, None)
    assert household.bench.counters().since(before).reasons == {DropReason.DHCP_FRAGMENT: 1}


def test_an_answer_whose_checksum_comes_to_nothing_says_so_in_ones(household: Household) -> None:
    """RFC 768: 0 would mean that there is none."""
    found = int.from_bytes(answered(household, replace(ALICE.reboot(), xid=0)).payload[26:28], "big")
    reply = answered(household, replace(ALICE.reboot(), xid=found))
    assert reply.payload[26:28] == b"\xff\xff"


def test_a_port_whose_device_was_made_anew_answers_nobody_from_its_old_mac(household: Household) -> None:
    """Its clients' rows still have the old one, until Python has heard from them."""
    session = household.sessions[ALICE.id]
    old = session.encapsulation[:6] + b"\2\0\0\0\0\x77" + session.encapsulation[12:]
    household.install(structs.replace(session, encapsulation=old))
    for asked in ALICE.asks():
        left(household, asked, Dhcp4Result.UP_FRAME)


def test_an_option_82_can_be_made_up_so_that_its_digest_is_nothing_s() -> None:
    assert digest_agent(WITHOUT_DIGEST) == digest_agent(b"")


def test_an_option_82_that_was_not_seen_before_is_left_to_python(household: Household) -> None:
    who = ODD[4]
    other = replace(who, agent=b"\1\6door-2\2\4node")
    left(household, other.reboot(), Dhcp4Result.UP_AGENT, who.port)
    answered(household, who.renewing(), who.port)  # without one: access nodes mark only what is broadcast


def test_what_is_sent_to_another_tenant_s_gateway_is_no_dhcp(household: Household) -> None:
    """It is a packet like any other; the tenant's own gateways hear it, whichever the client's is."""
    household.own(OTHER_TENANT, THEIR_GATEWAY)
    answered(household, replace(ALICE.renewing(), to=OTHER_GATEWAY))
    with household.counting() as results:
        kernel = household.kernel(replace(ALICE.renewing(), to=THEIR_GATEWAY).frame())
    assert (+results, kernel.answer, kernel.punted) == ({}, None, None)


def test_the_row_s_last_word_counts(household: Household) -> None:
    """Swung from form to form, and from address to address: nothing of what was before is said."""
    for style in ("windows", "dhclient", "windows"):
        for address in (NETWORK[40], NETWORK[41]):
            who = guest(32, style, address=address)
            before = household.sessions.get(who.id)
            household.move_in(who.id, who.selecting().frame())
            for asked in who.asks():
                assert IPv4Address(answered(household, asked).udp_payload[16:20]) == address
            if before and before.lease and before.lease.address != address:
                left(household, replace(who, address=before.lease.address).reboot(), Dhcp4Result.UP_ADDRESS)


def test_a_wrong_checksum_is_left_to_python(household: Household) -> None:
    frame = bytearray(ALICE.reboot().frame())
    frame[22 + 28 + 4] ^= 1
    left(household, bytes(frame), Dhcp4Result.UP_FRAME)
    frame = bytearray(ALICE.reboot().frame())
    frame[22 + 8] ^= 1
    left(household, bytes(frame), Dhcp4Result.UP_FRAME)
    answered(household, replace(ALICE.reboot(), udp_sum=False))


def test_what_does_not_fit_the_client_is_left_to_python(household: Household) -> None:
    """Option 57 says 576: with a client-id of so many octets not all that was asked for fits, to the octet."""
    who = guest(31, "udhcpc", client_id=bytes(8))
    household.move_in(who.id, who.selecting().frame())
    used = dhcp_options(answered(household, who.reboot()).udp_payload)
    spare = 576 - 28 - 240 - 1 - sum(2 + len(value) for _, value in used)
    for more, fits in ((0, True), (1, False), (-1, True), (255 - 8 - spare, False)):
        asked = replace(guest(31, "udhcpc", client_id=bytes(8 + spare + more))).reboot()
        if fits:
            assert len(answered(household, asked).payload) == 576 + more
        else:
            left(household, asked, Dhcp4Result.UP_ROOM)


def test_the_gateway_leaves_a_client_without_a_form_to_python(household: Household) -> None:
    household.install(structs.replace(household.sessions[ALICE.id], form=None))
    left(household, ALICE.reboot(), Dhcp4Result.UP_NO_REPLY)


SELDOM = {Dhcp4Result.UP_NO_REPLY, Dhcp4Result.UP_PROMISE, Dhcp4Result.UP_ROOM, Dhcp4Result.UP_RATE}
"""What depends on the session, not on the request."""


def test_a_hundred_thousand_requests_are_answered_alike_or_left_alone(household: Household) -> None:
    """Whatever is done to a request: the program says what Python says, or nothing at all."""
    results = compare(household, GUESTS, EXAMPLES)
    assert {result for result in Dhcp4Result if not results[result]} <= SELDOM


def test_so_are_those_of_circuits_that_share_a_vlan(shared: Household) -> None:
    compare(shared, NEIGHBOURS, EXAMPLES // 5)


def compare(home: Household, guests: Sequence[Guest], examples: int) -> Counter[Dhcp4Result]:
    """Put so many damaged requests to both. Rows are swung meanwhile, now and then."""
    print(f"WAYLEAVE_SEED={SEED}, {examples} requests")
    chance = random.Random(SEED)
    with home.counting() as results:
        for number in range(examples):
            who = guests[number % len(guests)]
            if number % 500 == 0:
                swing(home, chance.choice(guests).id)
            frame = damaged(chance.choice(who.asks()), chance)
            kernel = home.kernel(frame, who.port)
            if kernel.punted is not None:
                assert kernel.frame == kernel.punted == frame, f"WAYLEAVE_SEED={SEED}: {frame.hex()}"
            if kernel.answer is not None:
                python = home.python(frame, who.port)
                assert python.only, f"WAYLEAVE_SEED={SEED}: {frame.hex()}"
                assert python.answer is not None, f"WAYLEAVE_SEED={SEED}: {frame.hex()}"
                assert kernel.answer.hex(" ") == python.answer.hex(" "), f"WAYLEAVE_SEED={SEED}: {frame.hex()}"
    print({spoken(result.name): count for result, count in results.most_common()})
    assert results[Dhcp4Result.OFFERED] > examples // 50
    assert results[Dhcp4Result.ACKED] > examples // 10
    return results


def swing(home: Household, id_: int) -> None:
    """Put the session into a fresh row, with a little more of a promise."""
    session = home.sessions[id_]
    assert session.lease
    promise = BootNs(session.lease.promise_until + SECOND)
    home.install(structs.replace(session, lease=structs.replace(session.lease, promise_until=promise)))


# ---- circuits that share a VLAN, and relays ----------------------------------------------------


def test_a_circuit_s_client_is_answered_on_its_circuit(shared: Household) -> None:
    for who in NEIGHBOURS:
        for asked in who.asks():
            assert dict(dhcp_options(answered(shared, asked, who.port).udp_payload)).get(82) == dict(asked.options).get(
                82
            )


def test_a_mac_on_another_circuit_is_left_to_python(shared: Household) -> None:
    owner, neighbour = NEIGHBOURS[:2]
    for agent in (neighbour.agent, b"\1\0", b"\2\4node", owner.agent + owner.agent):
        for asked in replace(owner, agent=agent).asks()[:3]:
            left(shared, asked, Dhcp4Result.UP_AGENT, owner.port)
    left(shared, plus(owner.reboot(), (82, neighbour.agent)), Dhcp4Result.UP_OPTIONS, owner.port)


def test_a_relayed_message_is_left_to_python_whoever_s_frame_it_is(shared: Household) -> None:
    who = NEIGHBOURS[0]
    for asked in who.asks():
        relayed = replace(asked, giaddr=RELAY, sport=67, hops=1)
        left(shared, relayed, Dhcp4Result.UP_HEADER, who.port)
        left(shared, replace(relayed, mac=STRANGER.mac, chaddr=who.mac), Dhcp4Result.UP_NEW, who.port)


def test_a_client_that_is_served_through_a_relay_is_left_to_python(shared: Household) -> None:
    who = NEIGHBOURS[0]
    shared.install(structs.replace(shared.sessions[who.id], relayed=True))
    for asked in who.asks():
        left(shared, asked, Dhcp4Result.UP_NEW, who.port)

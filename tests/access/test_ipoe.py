"""DHCP on a line: frames in, events out; answers in, frames out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.access.messages import (
    ADDRESS,
    CLIENT_MAC,
    EVERYONE,
    GATEWAY,
    GATEWAY_MAC,
    OTHER,
    QINQ,
    RELAY_MAC,
    circuit,
    renewal,
    sent,
    taken_apart,
)
from wayleave.access.ipoe import Ask, Delivery, Ipoe
from wayleave.access.settings import PortSettings
from wayleave.net import frame
from wayleave.net.frame import ETHERTYPE_IPV4, TPID_C, TPID_S, Tag, encode_l2, encode_udp4
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.proto.dhcp4.message import BROADCAST_FLAG, ZERO, MessageType
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer, Reply
from wayleave.session.model import Client, Lease, Line, Phase, Service, Session, Subnet
from wayleave.session.refusal import Reason, Refusal

DISCOVER, REQUEST = MessageType.DISCOVER, MessageType.REQUEST
RELAY = IPv4Address("10.9.0.1")
NETWORK = IPv4Network("10.0.0.0/24")
FAR = IPv4Network("10.1.0.0/24")
HOUR = Ns(3600 * SECOND)
LEASE = Lease(ADDRESS, "home", Subnet(NETWORK, GATEWAY), HOUR, HOUR)
PORTS = {
    port.number: port
    for port in (
        PortSettings(number=1, device="olt0", role="subscriber"),
        PortSettings(number=2, device="olt1", role="subscriber", trusted=True, line="circuit"),
        PortSettings(number=3, device="core0", role="subscriber", trusted=True, relays=(RELAY,)),
        PortSettings(number=4, device="olt2", role="subscriber", protocols=("pppoe",)),
    )
}
CLIENT = Client(Line(1, 100, 7), CLIENT_MAC)


def no(why: str) -> Refusal:
    return Refusal(Reason.BLOCKED, why)


class Front:
    """An `Ipoe` with the sessions that it may know."""

    def __init__(self, *known: Session) -> None:
        self.sessions = {session.client.key: session for session in known}
        pools = {
            "home": Delivery(NETWORK, GATEWAY, dns=(GATEWAY,), domain="example.net"),
            "far": Delivery(FAR, FAR[1]),
        }
        self.ipoe = Ipoe(PORTS, dict.fromkeys(PORTS, GATEWAY_MAC), pools, lambda client: self.sessions.get(client.key))

    def event(self, data: bytes, port: int = 1) -> life.Event:
        told = self.ipoe.receive(port, data)
        assert told is not None, dict(self.ipoe.ignored)
        return told[1]

    def client(self, data: bytes, port: int = 1) -> Client:
        told = self.ipoe.receive(port, data)
        assert told is not None, dict(self.ipoe.ignored)
        return told[0]

    def answer(self, data: bytes, answer: Answer, lease: Lease | None = LEASE, port: int = 1, why: str = "") -> bytes:
        """Have what a frame asks answered; returns the frame that goes out."""
        event = self.event(data, port)
        assert isinstance(event, life.Discovered | life.Requested | life.Queried)
        reply = Reply(event.ask, answer, lease, HOUR, no(why))
        out = self.ipoe.reply(session(), reply)
        assert out is not None
        assert out[0] == port, "an answer leaves where its question came in"
        return out[1]


def session(client: Client = CLIENT, wanted: IPv4Address | None = None, pool: str | None = None) -> Session:
    service = Service(tenant="isp", pool=pool) if pool else None
    return Session(id=1, client=client, phase=Phase.ACTIVE, since=BootNs(1), wanted=wanted, service=service)


def test_where_only_pppoe_is_served_dhcp_leads_to_nothing() -> None:
    front = Front()
    assert front.ipoe.receive(4, sent(DISCOVER)) is None
    assert front.ipoe.ignored == {"ipoe-not-served": 1}


# ---- in: about whom ---------------------------------------------------------------------


def test_where_a_vlan_is_a_line_the_circuit_id_does_not_tell_clients_apart() -> None:
    data = sent(DISCOVER, {82: circuit(b"door-1")}, giaddr=RELAY, source=RELAY_MAC)
    assert Front().client(data, 3) == Client(Line(3, 100, 7), CLIENT_MAC)


def test_where_many_share_a_vlan_the_circuit_id_is_the_line() -> None:
    assert Front().client(sent(DISCOVER, {82: circuit(b"door-1")}), 2) == Client(Line(2, 100, 7, b"door-1"), CLIENT_MAC)


@pytest.mark.parametrize("option", [None, b"", b"\1\0", b"\2\4node"])
def test_without_a_circuit_id_a_client_is_believed_only_if_its_session_is_known(option: bytes | None) -> None:
    options = {} if option is None else {82: option}
    home = Client(Line(2, 100, 7, b"door-1"), CLIENT_MAC)
    stranger, known = Front(), Front(session(home))
    assert stranger.ipoe.receive(2, sent(DISCOVER, options)) is None
    assert stranger.ipoe.receive(2, renewal(options=options)) is None
    assert stranger.ipoe.ignored == {"no-circuit-id": 2}
    assert known.client(renewal(options=options), 2) == home, "access nodes mark only what is broadcast"


def test_a_circuit_id_counts_even_if_the_session_is_known_on_another_circuit() -> None:
    front = Front(session(Client(Line(2, 100, 7, b"door-1"), CLIENT_MAC)))
    assert front.client(sent(DISCOVER, {82: circuit(b"door-2")}), 2).line.circuit == b"door-2"


def test_a_client_behind_a_relay_is_known_by_its_own_mac_and_reached_through_the_relay() -> None:
    data = sent(DISCOVER, giaddr=RELAY, source=RELAY_MAC, to=GATEWAY)
    front = Front()
    event = front.event(data, 3)
    assert isinstance(event, life.Discovered)
    assert event.client.mac == CLIENT_MAC
    assert event.relayed
    assert event.encapsulation == encode_l2(RELAY_MAC, GATEWAY_MAC, QINQ, ETHERTYPE_IPV4)


# ---- in: what ---------------------------------------------------------------------------


def test_a_discover_carries_its_wish_its_name_and_the_way_back() -> None:
    event = Front().event(sent(DISCOVER, {50: ADDRESS.packed, 12: b"tv"}))
    assert isinstance(event, life.Discovered)
    assert (event.wanted, event.hostname, event.relayed) == (ADDRESS, "tv", False)
    assert event.encapsulation == encode_l2(CLIENT_MAC, GATEWAY_MAC, QINQ, ETHERTYPE_IPV4)


@pytest.mark.parametrize(
    "data",
    [
        sent(REQUEST, {50: ADDRESS.packed, 54: GATEWAY.packed}),
        sent(REQUEST, {50: ADDRESS.packed, 54: FAR[1].packed}),
        sent(REQUEST, {50: ADDRESS.packed}),
        renewal(),
        sent(REQUEST, ciaddr=ADDRESS),
    ],
    ids=["selecting", "selecting by another gateway of ours", "init-reboot", "renewing", "rebinding"],
)
def test_every_request_that_is_for_us_asks_for_exactly_one_address(data: bytes) -> None:
    event = Front().event(data)
    assert isinstance(event, life.Requested)
    assert event.address == ADDRESS


def test_a_client_that_takes_another_servers_offer_withdraws() -> None:
    assert Front().event(sent(REQUEST, {50: ADDRESS.packed, 54: OTHER.packed})) == life.Withdrawn()


def test_release_and_decline_name_their_address_and_inform_asks() -> None:
    front = Front()
    assert front.event(sent(MessageType.RELEASE, {54: GATEWAY.packed}, ciaddr=ADDRESS, to=GATEWAY)) == life.Released(
        ADDRESS
    )
    assert front.event(sent(MessageType.DECLINE, {50: ADDRESS.packed, 54: GATEWAY.packed})) == life.Declined(ADDRESS)
    assert isinstance(front.event(sent(MessageType.INFORM, ciaddr=ADDRESS)), life.Queried)
    assert front.ipoe.heard == {"release": 1, "decline": 1, "inform": 1}


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"", "malformed-frame"),
        (sent(DISCOVER, {82: circuit(b"door-1")}), "untrusted-option-82"),
        (sent(DISCOVER, giaddr=RELAY), "unknown-relay"),
        (sent(DISCOVER, chaddr=RELAY_MAC), "chaddr-is-not-the-sender"),
        (sent(DISCOVER, source=Mac(b"\3\0\0\0\0\1"), chaddr=Mac(b"\3\0\0\0\0\1")), "bad-hardware-address"),
        (sent(MessageType.OFFER), "not-for-servers"),
        (sent(DISCOVER, ciaddr=ADDRESS), "ciaddr-set"),
        (sent(REQUEST), "no-address"),
        (sent(REQUEST, {50: b"\1\2\3"}), "bad-length"),
        (sent(REQUEST, {50: OTHER.packed}, ciaddr=ADDRESS), "two-addresses"),
        (sent(MessageType.RELEASE, ciaddr=ADDRESS), "no-server"),
    ],
)
def test_what_leads_to_nothing_is_counted_by_its_reason(data: bytes, counter: str) -> None:
    front = Front()
    assert front.ipoe.receive(1, data) is None
    assert front.ipoe.ignored == {counter: 1}
    assert not front.ipoe.heard


def test_a_host_name_is_made_fit_to_print() -> None:
    event = Front().event(sent(DISCOVER, {12: b"t\x1b[31mv\n\xff" + b"x" * 100}))
    assert isinstance(event, life.Discovered)
    assert event.hostname.isprintable()
    assert event.hostname.startswith("t[31mv")
    assert len(event.hostname) <= 64


# ---- out --------------------------------------------------------------------------------


def test_an_offer_goes_to_its_client_with_everything_that_it_needs() -> None:
    outer, datagram, said = taken_apart(Front().answer(sent(DISCOVER), Answer.OFFER))
    assert (outer.destination, outer.source, outer.tags) == (CLIENT_MAC, GATEWAY_MAC, QINQ)
    assert (datagram.source, datagram.sport, datagram.destination, datagram.dport) == (GATEWAY, 67, ADDRESS, 68)
    assert (said.message_type, said.yiaddr, said.xid) == (MessageType.OFFER, ADDRESS, 0x12345678)
    assert said.options[51] == (3600).to_bytes(4, "big")
    assert (said.options[1], said.options[3], said.options[6]) == (b"\xff\xff\xff\0", GATEWAY.packed, GATEWAY.packed)
    assert said.options[54] == GATEWAY.packed
    assert said.options[15] == b"example.net"


def test_a_client_that_cannot_take_unicast_hears_a_broadcast() -> None:
    outer, datagram, _ = taken_apart(Front().answer(sent(DISCOVER, flags=BROADCAST_FLAG), Answer.OFFER))
    assert (outer.destination, datagram.destination) == (BROADCAST, EVERYONE)


def test_a_confirmed_renewal_goes_back_to_the_address_that_renews() -> None:
    outer, datagram, said = taken_apart(Front().answer(renewal(), Answer.CONFIRM))
    assert (outer.destination, datagram.destination) == (CLIENT_MAC, ADDRESS)
    assert (said.message_type, said.ciaddr, said.yiaddr) == (MessageType.ACK, ADDRESS, ADDRESS)


@pytest.mark.parametrize(
    ("tags", "echoed"),
    [
        ((), ()),
        ((Tag(TPID_C, 0, 7),), ()),
        ((Tag(TPID_S, 9, 3), Tag(TPID_C, 0, 5)), (Tag(TPID_S, 9),)),
        ((Tag(TPID_S, 7, 5), Tag(TPID_C, 7, 5)), (Tag(TPID_S, 7), Tag(TPID_C, 7))),
    ],
)
def test_tags_go_back_as_they_came_without_priorities_and_priority_tags(
    tags: tuple[Tag, ...], echoed: tuple[Tag, ...]
) -> None:
    data = sent(DISCOVER, tags=tags)
    outer, _, _ = taken_apart(Front().answer(data, Answer.OFFER))
    assert outer.tags == echoed
    event = Front().event(data)
    assert isinstance(event, life.Discovered)
    assert event.encapsulation == encode_l2(CLIENT_MAC, GATEWAY_MAC, echoed, ETHERTYPE_IPV4)


def test_option_82_goes_back_byte_for_byte() -> None:
    value = circuit(b"door-1") + b"\x97\3odd"
    _, _, said = taken_apart(Front().answer(sent(DISCOVER, {82: value}), Answer.OFFER, port=2))
    assert said.relay_agent == value


def test_an_answer_to_a_relay_goes_to_the_relay() -> None:
    data = sent(DISCOVER, giaddr=RELAY, source=RELAY_MAC, to=GATEWAY)
    outer, datagram, said = taken_apart(Front().answer(data, Answer.OFFER, port=3))
    assert outer.destination == RELAY_MAC
    assert (datagram.destination, datagram.dport, said.giaddr) == (RELAY, 67, RELAY)


def test_a_refusal_behind_a_relay_has_the_relay_broadcast_it() -> None:
    data = sent(REQUEST, {50: ADDRESS.packed}, giaddr=RELAY, source=RELAY_MAC, to=GATEWAY)
    outer, datagram, said = taken_apart(Front().answer(data, Answer.REFUSE, None, port=3))
    assert (outer.destination, datagram.destination) == (RELAY_MAC, RELAY)
    assert (said.message_type, said.broadcast) == (MessageType.NAK, True)


@pytest.mark.parametrize(
    ("data", "wanted", "pool", "identifier"),
    [
        (sent(REQUEST, {50: ADDRESS.packed, 54: FAR[1].packed}), ADDRESS, None, FAR[1]),
        (renewal(FAR[9]), FAR[9], None, FAR[1]),
        (renewal(IPv4Address("192.0.2.1")), IPv4Address("192.0.2.1"), "far", FAR[1]),
        (renewal(IPv4Address("192.0.2.1")), IPv4Address("192.0.2.1"), None, GATEWAY),
    ],
    ids=["whom it asked", "whose subnet it asked for", "whose pool it was granted", "anybody"],
)
def test_a_refusal_names_the_nearest_gateway_and_is_broadcast(
    data: bytes, wanted: IPv4Address, pool: str | None, identifier: IPv4Address
) -> None:
    front = Front()
    event = front.event(data)
    assert isinstance(event, life.Requested)
    out = front.ipoe.reply(
        session(wanted=wanted, pool=pool), Reply(event.ask, Answer.REFUSE, refusal=no("no: " + "x" * 300))
    )
    assert out is not None
    outer, datagram, said = taken_apart(out[1])
    assert (outer.destination, datagram.source, datagram.destination) == (BROADCAST, identifier, EVERYONE)
    assert (said.message_type, said.yiaddr, said.ciaddr) == (MessageType.NAK, ZERO, ZERO)
    assert said.options[54] == identifier.packed
    assert 51 not in said.options


def test_a_client_that_only_looks_around_is_never_refused_aloud() -> None:
    front = Front()
    event = front.event(sent(DISCOVER))
    assert isinstance(event, life.Discovered)
    assert front.ipoe.reply(session(), Reply(event.ask, Answer.REFUSE, refusal=no("blocked"))) is None
    assert not front.ipoe.said


def test_an_inform_is_told_everything_but_an_address_and_its_times() -> None:
    outer, datagram, said = taken_apart(Front().answer(sent(MessageType.INFORM, ciaddr=ADDRESS), Answer.TELL))
    assert (outer.destination, datagram.destination) == (CLIENT_MAC, ADDRESS)
    assert (said.message_type, said.yiaddr) == (MessageType.ACK, ZERO)
    assert not {51, 58, 59} & said.options.keys()
    assert said.options[6] == GATEWAY.packed


BELIEVED = {
    "a client of a VLAN of its own": (CLIENT, b"", True),
    "with an option 82 that is not believed": (CLIENT, b"\1\1x", False),
    "with one that is": (Client(Line(3, 100, 7), CLIENT_MAC), b"\1\1x", True),
    "on a circuit": (Client(Line(2, 100, 7, b"door-1"), CLIENT_MAC), b"\1\6door-1", True),
    "on no circuit, where they tell lines apart": (Client(Line(2, 100, 7), CLIENT_MAC), b"", False),
    "on a circuit, where they no longer do": (Client(Line(3, 100, 7, b"door-1"), CLIENT_MAC), b"", False),
    "where only PPPoE is served": (Client(Line(4, 100, 7), CLIENT_MAC), b"", False),
    "on a port that is gone": (Client(Line(9, 100, 7), CLIENT_MAC), b"", False),
}


@pytest.mark.parametrize(("client", "agent", "may"), BELIEVED.values(), ids=BELIEVED.keys())
def test_the_data_plane_may_answer_only_whom_a_frame_alone_tells(client: Client, agent: bytes, may: bool) -> None:
    served = replace(session(client), lease=LEASE, form=b"\x37\1\3", agent=agent)
    ipoe = Front().ipoe
    assert (ipoe.standing(served) is not None) == may
    for unlike in ({"relayed": True}, {"form": None}, {"lease": None}, {"lease": replace(LEASE, longer=HOUR)}):
        assert ipoe.standing(replace(served, **unlike)) is None


def test_what_the_data_plane_may_say_follows_the_lease() -> None:
    ipoe = Front().ipoe
    told = [
        ipoe.standing(replace(session(), form=b"\x37\1\3", lease=replace(LEASE, duration=Ns(seconds * SECOND))))
        for seconds in (60, 120)
    ]
    assert [reply and reply.lease_s for reply in told] == [60, 120]


def test_what_was_said_is_counted() -> None:
    front = Front()
    front.answer(sent(DISCOVER), Answer.OFFER)
    front.answer(renewal(), Answer.CONFIRM)
    front.answer(renewal(), Answer.REFUSE, None)
    assert front.ipoe.said == {"offer": 1, "ack": 1, "nak": 1}


# ---- whatever comes ---------------------------------------------------------------------

REAL = [
    sent(DISCOVER, {50: ADDRESS.packed, 55: bytes(range(1, 60)), 61: b"\1" + CLIENT_MAC, 12: b"tv"}),
    sent(DISCOVER, {82: circuit(b"door-1"), 57: b"\2\x40"}, tags=(Tag(TPID_C, 0, 3), Tag(TPID_C, 4))),
    sent(DISCOVER, {82: circuit(b"door-1")}, giaddr=RELAY, source=RELAY_MAC),
    sent(REQUEST, {50: ADDRESS.packed, 54: GATEWAY.packed}, tags=()),
    sent(REQUEST, {50: ADDRESS.packed}),
    renewal(),
    sent(MessageType.RELEASE, {54: GATEWAY.packed}, ciaddr=ADDRESS, to=GATEWAY),
    sent(MessageType.DECLINE, {50: ADDRESS.packed, 54: GATEWAY.packed}),
    sent(MessageType.INFORM, ciaddr=ADDRESS),
]


def _damage(draw: st.DrawFn, data: bytearray, first: int) -> bytes:
    """Change, put in, take out, cut off or repeat a few octets from `first` on."""
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(min(first, len(data)), len(data)))
        match draw(st.sampled_from(["change", "insert", "remove", "cut", "repeat"])):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "insert":
                data[at:at] = draw(st.binary(max_size=8))
            case "remove":
                del data[at : at + draw(st.integers(1, 8))]
            case "cut":
                del data[at:]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real frame, damaged anywhere; or a sound frame around a message damaged anywhere, or in its options."""
    real = draw(st.sampled_from(REAL))
    where = draw(st.sampled_from(["frame", "message", "options"]))
    if where == "frame":
        return _damage(draw, bytearray(real), 0)
    outer = frame.decode(real)
    datagram = frame.decode_udp4(outer.payload)
    payload = _damage(draw, bytearray(datagram.payload), 240 if where == "options" else 0)
    l2 = real[: outer.offset]
    return encode_udp4(l2, datagram.source, datagram.sport, datagram.destination, datagram.dport, payload)


def _all_answers(front: Front, port: int, told: tuple[Client, life.Event] | None) -> Iterator[bytes]:
    """Whatever is understood can be answered in every way."""
    if told is None or not isinstance(told[1], life.Discovered | life.Requested | life.Queried):
        return
    ask = told[1].ask
    assert isinstance(ask, Ask)
    for answer in Answer:
        for lease in (LEASE, None) if answer is Answer.REFUSE else (LEASE,):
            out = front.ipoe.reply(session(told[0]), Reply(ask, answer, lease, HOUR, no("no")))
            if out is not None:
                assert out[0] == port
                yield out[1]


@given(damaged(), st.sampled_from([1, 2, 3]))
def test_nothing_that_a_peer_sends_raises_and_each_frame_is_counted_once(data: bytes, port: int) -> None:
    front = Front(session(Client(Line(2, 100, 7, b"door-1"), CLIENT_MAC)))
    told = front.ipoe.receive(port, data)
    assert front.ipoe.heard.total() + front.ipoe.ignored.total() == 1
    assert front.ipoe.heard.total() == (told is not None)
    for out in _all_answers(front, port, told):
        outer, datagram, said = taken_apart(out)
        assert outer.source == GATEWAY_MAC
        assert said.op == 2
        assert len(datagram.payload) + 28 <= 1500


@given(st.binary(max_size=400), st.sampled_from([1, 2, 3]))
def test_noise_is_counted(data: bytes, port: int) -> None:
    front = Front()
    assert front.ipoe.receive(port, data) is None
    assert front.ipoe.ignored.total() == 1

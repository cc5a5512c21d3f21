"""IPCP: the client gets what was granted, whatever it asks for."""

from ipaddress import IPv4Address

import pytest

from tests.proto.ppp.control import answer, request, said
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.automaton import Layer, State, Timers
from wayleave.proto.ppp.ipcp import ZERO, Addresses, IpcpClient, IpcpServer, Kind
from wayleave.proto.ppp.packet import Code

NOW = BootNs(100 * SECOND)
OWN, PEER = IPv4Address("100.64.0.1"), IPv4Address("100.64.0.2")
DNS = (IPv4Address("198.51.100.53"), IPv4Address("198.51.100.54"))
NOTHING = ZERO.packed


def server(dns=DNS):
    machine = IpcpServer(Timers(), own=OWN, peer=PEER, dns=dns)
    return machine, machine.open(NOW)[0]


def client():
    machine = IpcpClient(Timers())
    return machine, machine.open(NOW)[0]


def test_the_gateway_says_its_address():
    assert said(server()[1]) == (Code.CONFIGURE_REQUEST, {Kind.ADDRESS: OWN.packed})


@pytest.mark.parametrize(
    ("options", "code", "reply"),
    [
        ([(3, NOTHING)], Code.CONFIGURE_NAK, {3: PEER.packed}),
        ([(3, OWN.packed)], Code.CONFIGURE_NAK, {3: PEER.packed}),
        ([(3, b"\1")], Code.CONFIGURE_NAK, {3: PEER.packed}),
        ([(3, PEER.packed)], Code.CONFIGURE_ACK, {3: PEER.packed}),
        (
            [(3, NOTHING), (129, NOTHING), (131, NOTHING)],
            Code.CONFIGURE_NAK,
            {3: PEER.packed, 129: DNS[0].packed, 131: DNS[1].packed},
        ),
        ([(3, PEER.packed), (129, DNS[1].packed)], Code.CONFIGURE_NAK, {129: DNS[0].packed}),
        ([(3, PEER.packed), (131, DNS[1].packed)], Code.CONFIGURE_ACK, {3: PEER.packed, 131: DNS[1].packed}),
        ([(3, NOTHING), (130, NOTHING), (132, NOTHING)], Code.CONFIGURE_REJECT, {130: NOTHING, 132: NOTHING}),
        ([(3, NOTHING), (2, b"\0\x2d\x0f\1")], Code.CONFIGURE_REJECT, {2: b"\0\x2d\x0f\1"}),
        ([(1, bytes(8))], Code.CONFIGURE_REJECT, {1: bytes(8)}),
        ([], Code.CONFIGURE_NAK, {3: PEER.packed}),
        ([(129, DNS[0].packed)], Code.CONFIGURE_NAK, {3: PEER.packed}),
    ],
)
def test_answers(options, code, reply):
    machine, _ = server()
    assert said(machine.receive(request(*options), NOW)[0]) == (code, reply)


@pytest.mark.parametrize(("dns", "rejected"), [((), {129, 131}), (DNS[:1], {131})])
def test_resolvers_that_nobody_granted_are_rejected(dns, rejected):
    machine, _ = server(dns)
    code, reply = said(machine.receive(request((3, NOTHING), (129, NOTHING), (131, NOTHING)), NOW)[0])
    assert (code, set(reply)) == (Code.CONFIGURE_REJECT, rejected)


def test_what_was_agreed():
    machine, asked = server()
    machine.receive(answer(asked, Code.CONFIGURE_ACK), NOW)
    assert machine.receive(request((3, PEER.packed)), NOW)[-1] is Layer.UP
    assert machine.agreed() == Addresses(OWN, PEER, DNS)


def test_a_client_that_insists_on_another_address_gets_none():
    machine, asked = server()
    machine.receive(answer(asked, Code.CONFIGURE_ACK), NOW)
    codes = [said(machine.receive(request((3, OWN.packed)), NOW)[0])[0] for _ in range(6)]
    assert codes == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT]
    assert machine.receive(request(), NOW) == [Layer.FINISHED], "nor does one that asks for none at all"
    assert machine.state is State.STOPPED


def test_the_gateway_s_address_is_not_the_client_s_to_choose():
    machine, asked = server()
    (again,) = machine.receive(answer(asked, Code.CONFIGURE_NAK, (3, PEER.packed)), NOW)
    assert said(again)[1] == {3: OWN.packed}
    (again,) = machine.receive(answer(again, Code.CONFIGURE_REJECT), NOW)
    assert said(again)[1] == {}, "a client may do without"


# ---- the client -------------------------------------------------------------------------


def test_a_client_takes_what_it_is_told():
    machine, asked = client()
    assert said(asked)[1] == {3: NOTHING, 129: NOTHING, 131: NOTHING}
    (again,) = machine.receive(answer(asked, Code.CONFIGURE_REJECT, (131, NOTHING)), NOW)
    (again,) = machine.receive(answer(again, Code.CONFIGURE_NAK, (3, PEER.packed), (129, DNS[0].packed)), NOW)
    assert said(again)[1] == {3: PEER.packed, 129: DNS[0].packed}
    machine.receive(answer(again, Code.CONFIGURE_ACK), NOW)
    assert machine.receive(request((3, OWN.packed)), NOW)[-1] is Layer.UP
    assert machine.agreed() == Addresses(PEER, OWN, DNS[:1])


def test_a_client_needs_an_address():
    machine, asked = client()
    assert machine.receive(answer(asked, Code.CONFIGURE_REJECT), NOW) == [Layer.FINISHED]


def test_a_nak_that_makes_no_sense_changes_nothing():
    machine, asked = client()
    (again,) = machine.receive(answer(asked, Code.CONFIGURE_NAK, (3, b"\1"), (77, b"")), NOW)
    assert said(again)[1] == said(asked)[1]

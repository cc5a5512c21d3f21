"""IPV6CP: identifiers that are not zero, not the gateway's, and where one was granted, that one."""

import pytest

from tests.proto.ppp.control import answer, request, said
from wayleave.net.units import SECOND, BootNs
from wayleave.proto.ppp.automaton import Layer, Timers
from wayleave.proto.ppp.ipv6cp import Identifiers, Ipv6cpClient, Ipv6cpServer, Kind
from wayleave.proto.ppp.packet import Code

NOW = BootNs(100 * SECOND)
OWN, SUGGESTED = bytes(7) + b"\1", bytes(7) + b"\xc0"
THEIRS = bytes.fromhex("02aabbfffeccdd01")


def server(fixed=False):
    machine = Ipv6cpServer(Timers(), own=OWN, suggested=SUGGESTED, fixed=fixed)
    return machine, machine.open(NOW)[0]


@pytest.mark.parametrize(
    ("fixed", "options", "code", "reply"),
    [
        (False, [(1, THEIRS)], Code.CONFIGURE_ACK, {1: THEIRS}),
        (False, [(1, bytes(8))], Code.CONFIGURE_NAK, {1: SUGGESTED}),
        (False, [(1, OWN)], Code.CONFIGURE_NAK, {1: SUGGESTED}),
        (False, [(1, b"\1")], Code.CONFIGURE_NAK, {1: SUGGESTED}),
        (False, [], Code.CONFIGURE_NAK, {1: SUGGESTED}),
        (False, [(1, THEIRS), (2, b"\0\x61")], Code.CONFIGURE_REJECT, {2: b"\0\x61"}),
        (True, [(1, THEIRS)], Code.CONFIGURE_NAK, {1: SUGGESTED}),
        (True, [(1, SUGGESTED)], Code.CONFIGURE_ACK, {1: SUGGESTED}),
    ],
)
def test_answers(fixed, options, code, reply):
    machine, asked = server(fixed)
    assert said(asked)[1] == {Kind.INTERFACE_IDENTIFIER: OWN}
    assert said(machine.receive(request(*options), NOW)[0]) == (code, reply)


def test_what_was_agreed():
    machine, asked = server()
    machine.receive(answer(asked, Code.CONFIGURE_ACK), NOW)
    assert machine.receive(request((1, THEIRS)), NOW)[-1] is Layer.UP
    assert machine.agreed() == Identifiers(OWN, THEIRS)


def test_the_gateway_s_identifier_stands():
    machine, asked = server()
    (again,) = machine.receive(answer(asked, Code.CONFIGURE_NAK, (1, THEIRS)), NOW)
    assert said(again)[1] == {1: OWN}
    assert machine.receive(answer(again, Code.CONFIGURE_REJECT), NOW) == [Layer.FINISHED], "without it there is none"


def test_both_chose_the_same():
    """The client is the one that takes another."""
    machine, _ = server()
    client = Ipv6cpClient(Timers(), own=OWN)
    (asked,) = client.open(NOW)
    (nak,) = machine.receive(asked, NOW)
    (again,) = client.receive(nak, NOW)
    assert said(again)[1] == {1: SUGGESTED}
    assert said(machine.receive(again, NOW)[0])[0] == Code.CONFIGURE_ACK


def test_a_client_needs_an_identifier():
    client = Ipv6cpClient(Timers(), own=THEIRS)
    (asked,) = client.open(NOW)
    (again,) = client.receive(answer(asked, Code.CONFIGURE_NAK, (1, b"\1"), (9, b"")), NOW)
    assert said(again)[1] == {1: THEIRS}
    assert client.receive(answer(again, Code.CONFIGURE_REJECT), NOW) == [Layer.FINISHED]

"""Relay agents: only those the port names are heard, and answered at their own address (RFC 2131 4.1, RFC 1542)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import ECHO
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.mac import Mac

from .dhcp import ACK, DISCOVER, NAK, OFFER, REQUEST, Message, framed, message
from .watch import ignored, sessions

RELAY, ANOTHER = IPv4Address("10.99.0.1"), IPv4Address("10.99.0.2")
RELAY_MAC, CLIENT = Mac.parse("02:c0:de:00:00:67"), Mac.parse("02:c0:de:00:00:68")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config(subscriber={"relays": [str(RELAY)]}))
        yield lab


def relayed(lab: Lab, payload: bytes, source: IPv4Address, to: IPv4Address | None = None) -> bytes:
    """A message as a relay sends it: from port 67 of its own address, to the gateway's."""
    return framed(
        payload,
        RELAY_MAC,
        source=source,
        to=to or lab.pool_gateway,
        to_mac=GATEWAY_ACCESS_MAC,
        ports=(67, 67),
        tags=lab.lines[0].tags,
    )


def exchange(lab: Lab, payload: bytes, *kinds: int) -> Message:
    with lab.access_node.trunk.capture() as trunk:
        lab.access_node.trunk.send(relayed(lab, payload, RELAY))
        found = trunk.wait_for(
            lambda f: not f.outgoing and f.udp_ports == (67, 67) and Message(f).kind in kinds, what="answer"
        )
    return Message(found[0])


def test_an_unknown_relay_is_not_heard(lab: Lab) -> None:
    unknown = ignored(lab.gateway, "unknown-relay")
    with lab.access_node.trunk.capture() as trunk:
        lab.access_node.trunk.send(relayed(lab, message(DISCOVER, CLIENT, giaddr=ANOTHER), ANOTHER))
        unknown.wait()
        lab.access_node.trunk.send(relayed(lab, message(DISCOVER, CLIENT, giaddr=RELAY), RELAY))
        trunk.wait_for(lambda f: not f.outgoing and f.udp_ports == (67, 67))
    assert unknown.grown == 1
    answers = trunk.matching(lambda f: not f.outgoing)
    assert {frame.ip.destination for frame in answers if frame.ip} == {RELAY}


def test_a_known_one_is_answered_at_its_own_address(lab: Lab) -> None:
    offer = exchange(lab, message(DISCOVER, CLIENT, giaddr=RELAY), OFFER)
    asked = message(REQUEST, CLIENT, (50, offer.yiaddr.packed), (54, offer.options[54]), giaddr=RELAY)
    ack = exchange(lab, asked, ACK, NAK)
    assert ack.kind == ACK
    for reply in (offer, ack):
        assert reply.frame.destination == RELAY_MAC
        assert reply.frame.ip
        assert (reply.frame.ip.source, reply.frame.ip.destination) == (lab.pool_gateway, RELAY)
        assert reply.frame.udp_ports == (67, 67)
        assert IPv4Address(reply.frame.udp_payload[24:28]) == RELAY
        assert reply.chaddr == CLIENT
        assert reply.frame.tags == lab.lines[0].tags
    (session,) = sessions(lab.gateway, mac=CLIENT)
    assert session["address"] == str(ack.yiaddr)


def test_what_is_sent_to_its_client_goes_by_the_relay(lab: Lab) -> None:
    address = IPv4Address(sessions(lab.gateway, mac=CLIENT)[0]["address"])
    with lab.access_node.trunk.capture() as trunk:
        lab.server.ping(address, count=1, timeout=0.2)
        (echo,) = trunk.wait_for(lambda f: not f.outgoing and f.icmp == (ECHO, 0))
    assert echo.destination == RELAY_MAC
    assert echo.tags == lab.lines[0].tags


def test_a_refusal_behind_a_relay_asks_for_broadcast(lab: Lab) -> None:
    """RFC 2131 4.3.2: the relay must reach a client whose address is wrong."""
    nak = exchange(lab, message(REQUEST, CLIENT, (50, bytes((10, 1, 2, 3))), giaddr=RELAY), NAK)
    assert nak.frame.udp_payload[10] & 0x80
    assert nak.frame.destination == RELAY_MAC


def test_option_82_of_a_relay_needs_a_trusted_port(lab: Lab) -> None:
    untrusted = ignored(lab.gateway, "untrusted-option-82")
    lab.access_node.trunk.send(relayed(lab, message(DISCOVER, CLIENT, (82, b"\x01\x01x"), giaddr=RELAY), RELAY))
    untrusted.wait()

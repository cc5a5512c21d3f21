"""Option 82: thrown out where customers could write it, the line's name where an access node does (RFC 3046)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import NoLease
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.mac import Mac

from .dhcp import ACK, DISCOVER, NAK, OFFER, REQUEST, framed, message, messages
from .watch import Meter, ignored, refused, sessions

CIRCUITS = (b"olt-1/1/1", b"olt-1/1/2", b"\x00\x04\x00\x0b\x01\xff")
STRANGER = Mac.parse("02:c0:de:00:00:82")


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """Three circuits in one VLAN: N:1."""
    with Lab([Line(100, circuit=circuit) for circuit in CIRCUITS]) as lab:
        lab.gateway.start(lab.config())
        yield lab


@pytest.fixture(scope="module")
def plain() -> Iterator[Lab]:
    """A line a VLAN: nobody there has any business with option 82."""
    with Lab([Line(100, 1)]) as lab:
        lab.gateway.start(lab.config())
        yield lab


def _circuit(value: bytes) -> bytes:
    return bytes((1, len(value))) + value


def test_a_customer_that_names_a_line_is_not_heard(plain: Lab) -> None:
    customer = plain.customers[0]
    thrown_out = ignored(plain.gateway, "untrusted-option-82")
    with plain.access_node.trunk.capture() as trunk:
        with pytest.raises(NoLease):
            customer.dhcp("udhcpc", "-t", "1", "-x", f"0x52:{_circuit(CIRCUITS[0]).hex()}")
        trunk.settle()
    sent = messages(trunk.frames, DISCOVER)
    assert [item.options[82] for item in sent] == [_circuit(CIRCUITS[0])]
    assert thrown_out.grown == len(sent)
    assert not messages(trunk.frames, OFFER)
    assert not sessions(plain.gateway)
    assert customer.dhcp("udhcpc").address, "without it, it is served"


def test_circuits_of_one_vlan_are_lines_of_their_own(shared: Lab) -> None:
    addresses = set()
    for customer, circuit in zip(shared.customers, CIRCUITS, strict=True):
        with shared.access_node.trunk.capture() as trunk:
            addresses.add(customer.dhcp("udhcpc").address)
            assert customer.ping(shared.server_address)
            trunk.settle()
        exchange = messages(trunk.frames, mac=customer.mac)
        assert [item.kind for item in exchange] == [DISCOVER, OFFER, REQUEST, ACK]
        assert {item.options[82] for item in exchange} == {_circuit(circuit)}
    assert len(addresses) == len(CIRCUITS)
    found = {item["line"] for item in sessions(shared.gateway)}
    assert found >= {f"1:100/{circuit.decode('utf-8', 'backslashreplace')}" for circuit in CIRCUITS}


def test_option_82_comes_back_byte_for_byte(shared: Lab) -> None:
    """With sub-options that nothing here reads: remote-id, a vendor's, one of no length, and a pad's number."""
    told = bytes.fromhex("02 06 02c0de000082  09 07 000011 8b 02 ff00  98 00  00 01 00") + _circuit(b"olt-9/9")
    line = shared.lines[0]
    with shared.access_node.trunk.capture() as trunk:
        shared.access_node.trunk.send(
            framed(message(DISCOVER, STRANGER, (82, told)), STRANGER, tags=line.tags),
        )
        (offer,) = messages(trunk.wait_for(lambda f: messages([f], OFFER, mac=STRANGER)))
    assert offer.options[82] == told
    assert list(offer.options)[-1] == 82, "RFC 3046 2.1: it should come last"


def test_a_live_mac_on_another_circuit_is_refused(shared: Lab) -> None:
    owner, thief = shared.customers[0], shared.customers[1]
    owned = owner.dhcp("udhcpc").address
    own = thief.mac
    elsewhere = refused(shared.gateway, "mac-on-another-circuit")
    thief.change_mac(owner.mac)
    try:
        with pytest.raises(NoLease):
            thief.dhcp("udhcpc", "-t", "1")
    finally:
        thief.change_mac(own)
    assert elsewhere.grown == 1
    (session,) = sessions(shared.gateway, mac=owner.mac)
    assert session["line"].endswith(CIRCUITS[0].decode())
    assert session["address"] == str(owned)
    assert owner.ping(shared.server_address)


def test_a_renewal_without_it_is_served_if_the_session_is_known(shared: Lab) -> None:
    """RFC 3046 2.1.1: agents need not put it into what is unicast to the server."""
    customer = shared.customers[0]
    lease = customer.dhcp("udhcpc")
    asked = message(REQUEST, customer.mac, ciaddr=lease.address)
    with shared.access_node.trunk.capture() as trunk:
        _unicast(shared, asked, customer.mac, lease.address)
        (ack,) = messages(trunk.wait_for(lambda f: messages([f], ACK, NAK, mac=customer.mac)))
    assert ack.kind == ACK
    assert ack.yiaddr == lease.address
    assert 82 not in ack.options
    assert ack.frame.ip
    assert ack.frame.ip.destination == lease.address


def test_a_stranger_without_it_is_not_heard(shared: Lab) -> None:
    customer = shared.customers[0]
    lease = customer.dhcp("udhcpc")
    lineless = ignored(shared.gateway, "no-circuit-id")
    heard = Meter(shared.gateway, "dhcp4", "heard", "renewing")
    nobody = Mac.parse("02:c0:de:00:00:83")
    with shared.access_node.trunk.capture() as trunk:
        shared.access_node.trunk.send(framed(message(DISCOVER, nobody), nobody, tags=shared.lines[0].tags))
        _unicast(shared, message(REQUEST, nobody, ciaddr=lease.address), nobody, lease.address)
        lineless.wait(2)
        _unicast(shared, message(REQUEST, customer.mac, ciaddr=lease.address), customer.mac, lease.address)
        trunk.wait_for(lambda f: messages([f], ACK, mac=customer.mac))
    assert not messages(trunk.matching(lambda f: not f.outgoing), mac=nobody)
    assert heard.grown == 1
    assert not sessions(shared.gateway, mac=nobody)


def _unicast(lab: Lab, payload: bytes, mac: Mac, source: IPv4Address) -> None:
    """Send to the gateway's own address, as a client does that renews."""
    frame = framed(payload, mac, source=source, to=lab.pool_gateway, to_mac=GATEWAY_ACCESS_MAC, tags=lab.lines[0].tags)
    lab.access_node.trunk.send(frame)

"""DHCP as the distribution's clients speak it, message by message (RFC 2131)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.capture import packet_socket
from wayleave.lab.customer import Customer
from wayleave.lab.packet import ARP, BROADCAST, Frame, arp, ethernet
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .dhcp import ACK, DECLINE, DISCOVER, INFORM, NAK, OFFER, RELEASE, REQUEST, framed, message, messages
from .watch import Meter, dropped, ignored, pool, sessions

LEASE_S = 3600
NTP = "198.51.100.123"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1 + number) for number in range(9)]) as lab:
        lab.gateway.start(lab.config(pool={"ntp": [NTP], "domain": "example.net"}))
        yield lab


def leased(customer: Customer) -> IPv4Address:
    assert customer.lease is not None
    return customer.lease.address


# ---- dhclient comes back --------------------------------------------------------------------


def switched_off(customer: Customer) -> IPv4Address:
    """Give a dhclient a lease, and take its power away once the lease is on its disk; returns the address."""
    address = customer.dhcp("dhclient").address
    wait_until(lambda: f"fixed-address {address};" in customer.lease_file.read_text(), "lease on the client's disk")
    customer.stop_client()
    return address


def test_dhclient_that_reboots_keeps_its_address(lab: Lab) -> None:
    customer = lab.customers[0]
    address = switched_off(customer)
    with lab.access_node.trunk.capture() as trunk:
        assert customer.dhcp("dhclient").address == address
        trunk.settle()
    request, ack = messages(trunk.frames, mac=customer.mac)
    assert (request.kind, ack.kind) == (REQUEST, ACK), "INIT-REBOOT: no DISCOVER comes first"
    assert request.options[50] == address.packed
    assert 54 not in request.options
    assert ack.yiaddr == address
    assert customer.events[-1]["event"] == "REBOOT"
    assert customer.ping(lab.server_address)


def test_dhclient_whose_address_is_somebody_elses_is_told_so(lab: Lab) -> None:
    late, heir = lab.customers[1], lab.customers[2]
    address = switched_off(late)
    (session,) = sessions(lab.gateway, address=address)
    lab.gateway.request("DELETE", f"/sessions/{session['id']}")
    wait_until(lambda: not sessions(lab.gateway, address=address), "free address")
    assert heir.dhcp("udhcpc", request=address).address == address
    with lab.access_node.trunk.capture() as trunk:
        fresh = late.dhcp("dhclient").address
        trunk.settle()
    exchange = messages(trunk.frames, mac=late.mac)
    assert [item.kind for item in exchange] == [REQUEST, NAK, DISCOVER, OFFER, REQUEST, ACK]
    nak = exchange[1]
    assert (nak.frame.destination, nak.yiaddr, nak.options[54]) == (BROADCAST, IPv4Address(0), lab.pool_gateway.packed)
    assert nak.options[56].decode() == f"{address} is held by another client"
    assert fresh != address
    assert late.ping(lab.server_address)
    assert heir.ping(lab.server_address)


def test_dhclient_from_a_foreign_network_is_told_so(lab: Lab) -> None:
    customer = lab.customers[3]
    home = switched_off(customer)
    (session,) = sessions(lab.gateway, address=home)
    lab.gateway.request("DELETE", f"/sessions/{session['id']}")
    wait_until(lambda: not sessions(lab.gateway, address=home), "free address")
    customer.lease_file.write_text(customer.lease_file.read_text().replace(str(home), "10.77.0.5"))
    with lab.access_node.trunk.capture() as trunk:
        lease = customer.dhcp("dhclient")
        trunk.settle()
    kinds = [item.kind for item in messages(trunk.frames, mac=customer.mac)]
    assert kinds[:2] == [REQUEST, NAK]
    assert lease.address in lab.pools[0]


def test_dhclient_releases(lab: Lab) -> None:
    customer = lab.customers[4]
    address = customer.dhcp("dhclient").address
    held = pool(lab.gateway)["held"]
    with lab.access_node.trunk.capture() as trunk:
        customer.release()
        wait_until(lambda: pool(lab.gateway)["held"] == held - 1, "free address")
    (release,) = messages(trunk.frames, RELEASE)
    assert release.frame.ip
    assert (release.frame.ip.source, release.frame.ip.destination) == (address, lab.pool_gateway)
    assert not sessions(lab.gateway, address=address)
    assert lab.gateway.get("/counters")["sessions"]["closed"]["user-request"]


def test_a_release_of_somebody_elses_address_frees_nothing(lab: Lab) -> None:
    victim, attacker = lab.customers[0], lab.customers[5]
    victim.dhcp("udhcpc")
    attacker.dhcp("udhcpc")
    heard = Meter(lab.gateway, "dhcp4", "heard", "release")
    release = message(RELEASE, attacker.mac, (54, lab.pool_gateway.packed), ciaddr=leased(victim))
    frame = framed(release, attacker.mac, source=leased(victim), to=lab.pool_gateway, to_mac=GATEWAY_ACCESS_MAC)
    attacker.send_raw(frame)
    heard.wait()
    assert victim.ping(lab.server_address)
    assert attacker.ping(lab.server_address)


# ---- an address that is in use ---------------------------------------------------------------


def _in_use(lab: Lab, number: int, probe: Frame) -> None:
    """Answer an ARP probe at a customer's device, as another machine in the house does."""
    asked = probe.arp
    assert asked is not None
    other = Mac.parse("02:c0:de:00:00:aa")
    answer = ethernet(probe.source, other, ARP, arp(2, other, asked.target, probe.source, asked.sender))
    out = lab.access_node.namespace.call(lambda: packet_socket(f"c{number}", receive=False))
    with out:
        out.send(answer)


def test_an_address_that_a_client_finds_in_use_is_set_aside(lab: Lab) -> None:
    customer = lab.customers[6]
    with lab.access_node.trunk.capture() as trunk, customer.capture() as seen:
        customer.dhcp_start("udhcpc", "-a3000")
        (probe,) = seen.wait_for(lambda f: f.arp and f.arp.operation == 1, what="probe")
        _in_use(lab, 6, probe)
        (decline,) = messages(trunk.wait_for(lambda f: messages([f], DECLINE, mac=customer.mac)))
    customer.stop_client()
    taken = IPv4Address(decline.options[50])
    assert probe.arp
    assert taken == probe.arp.target
    assert not trunk.matching(lambda f: not f.outgoing and f.arp), "the gateway answers no probe for it"
    wait_until(lambda: pool(lab.gateway)["quarantined"] == 1, "quarantine")
    wait_until(lambda: not sessions(lab.gateway, mac=customer.mac), "end of the session")
    assert lab.gateway.get("/counters")["sessions"]["closed"]["declined"] == 1
    second = customer.dhcp("udhcpc", "-a500", request=taken).address
    assert second != taken, "not even to who asks for it"
    assert customer.ping(lab.server_address)


def test_a_free_address_survives_the_probe(lab: Lab) -> None:
    """The gateway speaks for the whole subnet, but not for the asker's own address."""
    own = dropped(lab.gateway, "arp-own")
    customer = lab.customers[7]
    address = customer.dhcp("udhcpc", "-a500").address
    assert own.grown >= 1
    assert customer.arping(address, dad=True, timeout=1) == []


# ---- DHCPINFORM, the broadcast flag, what is asked for ----------------------------------------


def test_inform_is_answered_without_a_lease(lab: Lab) -> None:
    customer = lab.customers[0]
    address = customer.dhcp("udhcpc").address
    inform = message(INFORM, customer.mac, (55, bytes((15, 6, 51, 42))), ciaddr=address)
    with lab.access_node.trunk.capture() as trunk:
        customer.send_raw(framed(inform, customer.mac, source=address, to_mac=BROADCAST))
        (ack,) = messages(trunk.wait_for(lambda f: messages([f], ACK, mac=customer.mac)))
    assert ack.yiaddr == IPv4Address(0)
    assert not ack.options.keys() & {51, 58, 59}
    assert ack.options[15] == b"example.net"
    assert ack.options[42] == IPv4Address(NTP).packed
    assert ack.frame.ip
    assert ack.frame.ip.destination == address


@pytest.mark.parametrize("broadcast", [False, True], ids=["by itself", "with -B"])
def test_replies_go_where_the_client_hears_them(lab: Lab, broadcast: bool) -> None:
    customer = lab.customers[8]
    customer.forget()
    with lab.access_node.trunk.capture() as trunk:
        lease = customer.dhcp("udhcpc", *(["-B"] if broadcast else []))
        trunk.settle()
    replies = messages(trunk.frames, OFFER, ACK, mac=customer.mac)
    assert len(replies) == 2
    to = {(item.frame.destination, item.frame.ip.destination) for item in replies if item.frame.ip}
    everyone, alone = (BROADCAST, IPv4Address("255.255.255.255")), (bytes(customer.mac), lease.address)
    assert to == {everyone if broadcast else alone}


def test_what_is_asked_for_is_told_and_nothing_else(lab: Lab) -> None:
    customer = lab.customers[8]
    with lab.access_node.trunk.capture() as trunk:
        customer.dhcp("udhcpc", "-o", "-O", "ntpsrv", "-O", "domain", "-O", "staticroutes")
        trunk.settle()
    asked = messages(trunk.frames, DISCOVER, mac=customer.mac)[0].options[55]
    assert {15, 42, 121} <= {*asked}
    assert 6 not in asked
    for reply in messages(trunk.frames, OFFER, ACK, mac=customer.mac):
        codes = [code for code in reply.options if code != 61]
        assert codes == [53, 54, 51, 58, 59, 1, *(code for code in asked if code in (15, 42))]
        assert int.from_bytes(reply.options[51], "big") == LEASE_S
        assert int.from_bytes(reply.options[58], "big") == LEASE_S // 2
        assert int.from_bytes(reply.options[59], "big") == LEASE_S * 7 // 8
        assert reply.options[1] == lab.pools[0].netmask.packed
        assert reply.options[54] == lab.pool_gateway.packed
    event = customer.events[-1]
    assert event["ntpsrv"] == NTP
    assert event["domain"] == "example.net"
    assert "dns" not in event


def test_a_renewal_is_unicast_and_extends_the_lease(lab: Lab) -> None:
    customer = lab.customers[8]
    address = customer.dhcp("udhcpc").address
    answered, up = Meter(lab.gateway, "dhcp4", "kernel", "acked"), Meter(lab.gateway, "punts", "dhcp4-known", "sent")
    with lab.access_node.trunk.capture() as trunk:
        lease = customer.renew()
        trunk.settle()
    # udhcpc asks from a socket that it then closes, and listens on another: an answer that comes at once is lost on
    # it, and it asks again, by broadcast.
    requests, acks = (messages(trunk.frames, kind, mac=customer.mac) for kind in (REQUEST, ACK))
    assert len(messages(trunk.frames, mac=customer.mac)) == len(requests) + len(acks)
    assert len(requests) == len(acks) == answered.grown, "each answered, in the kernel"
    assert up.grown == 0
    assert (lease.address, lease.seconds) == (address, LEASE_S)
    asked = [request.frame.ip for request in requests]
    assert asked[0]
    assert (asked[0].source, asked[0].destination) == (address, lab.pool_gateway)
    for ack in acks:
        assert ack.frame.ip
        assert (ack.frame.destination, ack.frame.ip.destination) == (customer.mac, address)
        assert ack.yiaddr == address


def test_another_servers_offer_is_left_to_it(lab: Lab) -> None:
    """SELECTING with a foreign server identifier: no answer, and the offered address is free at once."""
    customer = lab.customers[8]
    customer.forget()
    for session in sessions(lab.gateway, mac=customer.mac):
        lab.gateway.request("DELETE", f"/sessions/{session['id']}")
    wait_until(lambda: not sessions(lab.gateway, mac=customer.mac), "end of the session")
    held = pool(lab.gateway)["held"]
    with lab.access_node.trunk.capture() as trunk:
        customer.send_raw(framed(message(DISCOVER, customer.mac), customer.mac))
        (offer,) = messages(trunk.wait_for(lambda f: messages([f], OFFER, mac=customer.mac)))
        assert pool(lab.gateway)["held"] == held + 1
        elsewhere = message(REQUEST, customer.mac, (54, bytes((10, 9, 9, 9))), (50, offer.yiaddr.packed))
        customer.send_raw(framed(elsewhere, customer.mac))
        wait_until(lambda: pool(lab.gateway)["held"] == held, "free address")
        trunk.settle()
    assert not messages(trunk.frames, ACK, NAK)


def test_a_message_for_a_server_only_is_ignored(lab: Lab) -> None:
    customer = lab.customers[8]
    counted = ignored(lab.gateway, "not-for-servers")
    customer.send_raw(framed(message(ACK, customer.mac), customer.mac))
    counted.wait()

"""What the local kernel says and hears: the gateway's own addresses, errors on the way, and what goes nowhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.packet import (
    BROADCAST,
    ECHO,
    ECHO_REPLY,
    ICMP,
    IPV4,
    UDP,
    UNREACHABLE,
    ethernet,
    icmp_echo,
    ipv4,
    udp,
)
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .watch import Meter, dropped

DECLARED, UNDECLARED = 8081, 8080
JUMBO = 3000
TOO_BIG = 2000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2), Line(200, None, (0x8100, 0x8100))]) as lab:
        for space, device in (
            (lab.gateway.namespace, "core0"),
            (lab.router.namespace, "gw0"),
            (lab.router.namespace, "srv0"),
            (lab.server.namespace, "eth0"),
        ):
            space.ip(f"link set {device} mtu {JUMBO}")
        lab.gateway.start(lab.config(tenant={"services": [f"tcp/{DECLARED}", "udp/53"]}))
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


def leased(customer: Customer) -> IPv4Address:
    found = customer.address
    assert found is not None
    return found


@pytest.mark.parametrize("number", range(3))
def test_customers_ping_the_gateway(lab: Lab, number: int) -> None:
    up = Meter(lab.gateway, "outcomes", "forward", "to-host")
    assert lab.customers[number].ping(lab.pool_gateway, count=3)
    assert up.grown == 3
    assert lab.customers[number].ping(lab.core.ip), "and its address on the core side"


@pytest.mark.parametrize("number", range(3))
def test_the_gateway_pings_customers(lab: Lab, number: int) -> None:
    assert lab.gateway.ping(leased(lab.customers[number]))


def _connects(lab: Lab, port: int) -> bool:
    listener = lab.gateway.socket(socket.SOCK_STREAM, port)
    listener.listen()
    client = lab.customers[0].socket(socket.SOCK_STREAM)
    client.settimeout(0.5)
    try:
        client.connect((str(lab.pool_gateway), port))
    except TimeoutError:
        return False
    finally:
        client.close()
        listener.close()
    return True


def test_a_declared_service_is_reached(lab: Lab) -> None:
    assert _connects(lab, DECLARED)


def test_any_other_is_dropped_although_somebody_listens(lab: Lab) -> None:
    local = dropped(lab.gateway, "local-service")
    up = Meter(lab.gateway, "outcomes", "forward", "to-host")
    assert not _connects(lab, UNDECLARED)
    assert local.grown
    assert not up.grown


def test_a_declared_udp_service_is_answered(lab: Lab) -> None:
    service, asker = lab.gateway.socket(port=53), lab.customers[0].socket()
    asker.sendto(b"who?", (str(lab.pool_gateway), 53))
    question, sender = service.recvfrom(100)
    assert (question, sender[0]) == (b"who?", str(leased(lab.customers[0])))
    service.sendto(b"me", sender)
    answer, who = asker.recvfrom(100)
    assert (answer, who[0]) == (b"me", str(lab.pool_gateway))


def test_too_much_for_the_kernel_is_policed(lab: Lab) -> None:
    """100 a second from one line go up the host link, however many it sends; its neighbour's pings pass."""
    flooder, neighbour = lab.customers[0], lab.customers[1]
    policed = dropped(lab.gateway, "link-policed")
    up = Meter(lab.gateway, "outcomes", "forward", "to-host")
    mac = flooder.mac
    echo = ipv4(leased(flooder), lab.pool_gateway, ICMP, icmp_echo(1, 1))
    for _ in range(1000):
        flooder.send_raw(ethernet(GATEWAY_ACCESS_MAC, mac, IPV4, echo))
    wait_until(lambda: policed.grown + up.grown >= 1000, lambda: f"1,000 echoes: {policed}, {up}")
    assert policed.grown > 500
    assert up.grown >= 100
    assert neighbour.ping(lab.pool_gateway)
    assert flooder.ping(lab.server_address), "what goes through is not policed"


# ---- path MTU ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 2], ids=["two tags", "one tag"])
def test_a_packet_too_big_for_the_customer_is_answered_with_its_mtu(lab: Lab, number: int) -> None:
    customer = lab.customers[number]
    address = leased(customer)
    lab.server.run("ip", "route", "flush", "cache")
    with lab.server.capture() as seen, customer.capture() as inside:
        result = lab.server.ping(address, count=1, size=TOO_BIG, df=True, timeout=1)
        assert not result.received
        (told,) = seen.wait_for(lambda f: f.icmp == (UNREACHABLE, 4) and not f.outgoing)
    assert told.ip
    assert int.from_bytes(told.ip.payload[6:8], "big") == 1500
    assert told.ip.payload[8 + 16 : 8 + 20] == address.packed, "the packet it is about"
    assert result.errors[0][1] == "Frag needed and DF set (mtu = 1500)"
    assert not inside.matching(lambda f: f.icmp)
    lab.server.run("ip", "route", "flush", "cache")


def test_without_df_it_arrives_in_fragments(lab: Lab) -> None:
    customer = lab.customers[1]
    lab.server.run("ip", "route", "flush", "cache")
    with customer.capture() as inside:
        assert lab.server.ping(leased(customer), count=2, size=TOO_BIG)
    fragments = inside.matching(lambda f: f.ip and f.ip.source == lab.server_address)
    assert len(fragments) == 4
    assert max(len(frame.data) for frame in fragments) <= 1514


def test_a_packet_too_big_for_the_core_is_answered_to_the_customer(lab: Lab) -> None:
    customer = lab.customers[0]
    lab.gateway.namespace.ip("link set core0 mtu 1400")
    try:
        result = customer.ping(lab.server_address, count=1, size=1472, df=True, timeout=1)
        assert not result.received
        assert result.errors == ((str(lab.pool_gateway), "Frag needed and DF set (mtu = 1400)"),)
    finally:
        lab.gateway.namespace.ip(f"link set core0 mtu {JUMBO}")
        customer.run("ip", "route", "flush", "cache")
    assert customer.ping(lab.server_address, size=1472, df=True)


# ---- what goes nowhere ---------------------------------------------------------------------

NOWHERE = {
    "a multicast group": ("239.1.1.1", b"\x01\x00\x5e\x01\x01\x01", "multicast"),
    "mDNS": ("224.0.0.251", b"\x01\x00\x5e\x00\x00\xfb", "multicast"),
    "a multicast group, to the gateway's MAC": ("239.1.1.1", GATEWAY_ACCESS_MAC, "multicast"),
    "everybody": ("255.255.255.255", BROADCAST, "broadcast"),
    "everybody, to the gateway's MAC": ("255.255.255.255", GATEWAY_ACCESS_MAC, "broadcast"),
    "the subnet": ("100.64.3.255", BROADCAST, "broadcast"),
    "the subnet, to the gateway's MAC": ("100.64.3.255", GATEWAY_ACCESS_MAC, "no-subscriber"),
    "the server, in a broadcast frame": ("198.51.100.10", BROADCAST, "broadcast"),
    "itself": ("127.0.0.1", GATEWAY_ACCESS_MAC, "bogus-destination"),
    "nothing": ("0.0.0.0", GATEWAY_ACCESS_MAC, "bogus-destination"),
    "another MAC": ("198.51.100.10", Mac.parse("02:00:00:00:00:99"), "not-for-gateway"),
    "an address nobody holds": ("100.64.3.200", GATEWAY_ACCESS_MAC, "no-subscriber"),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_what_a_customer_sends_to_nobody_reaches_nobody(lab: Lab, what: str) -> None:
    to, mac, reason = NOWHERE[what]
    customer, other = lab.customers[0], lab.customers[1]
    counted = dropped(lab.gateway, reason)
    packet = ipv4(leased(customer), IPv4Address(to), UDP, udp(leased(customer), IPv4Address(to), 5353, 5353, b"lost"))
    with lab.router.capture() as core, other.capture() as beside, lab.gateway.capture("wl-default") as host:
        customer.send_raw(ethernet(mac, customer.mac, IPV4, packet))
        counted.wait()
        assert customer.ping(lab.server_address, count=1), "a packet behind it"
    assert counted.grown == 1
    for capture in (core, beside, host):
        assert not capture.matching(lambda f: f.udp_payload.startswith(b"lost")), capture.where


def test_an_address_nobody_holds_is_not_looked_for(lab: Lab) -> None:
    nobody = dropped(lab.gateway, "no-subscriber")
    with lab.access_node.trunk.capture() as trunk, lab.gateway.capture("wl-default") as host:
        assert not lab.server.ping("100.64.3.201", count=3, timeout=0.2)
        trunk.settle()
    assert nobody.grown == 3
    assert not trunk.matching(lambda f: not f.outgoing)
    assert not host.matching(lambda f: f.icmp)


def test_the_kernel_does_not_send_to_nobody_either(lab: Lab) -> None:
    with lab.access_node.trunk.capture() as trunk:
        assert not lab.gateway.ping("100.64.3.202", count=2, timeout=0.2)
        assert lab.gateway.ping(leased(lab.customers[0]), count=1)
        trunk.settle()
    down = trunk.matching(lambda f: not f.outgoing and f.ip)
    assert {frame.ip.destination for frame in down if frame.ip} == {leased(lab.customers[0])}


def test_the_server_reaches_customers_first(lab: Lab) -> None:
    """Nobody behind the lines has to speak first: no address translation stands in the way."""
    for customer in lab.customers:
        with customer.capture() as inside:
            assert lab.server.ping(leased(customer))
        assert len(inside.matching(lambda f: f.icmp in ((ECHO, 0), (ECHO_REPLY, 0)))) == 6

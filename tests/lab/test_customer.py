"""The distribution's DHCP clients in a customer's namespace, and what a customer can do."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import get_args

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Client, Customer, NoLease
from wayleave.lab.host import parse_ping
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .fake_gateway import DISCOVER, GATEWAY, RELEASE, REQUEST, FakeGateway

CLIENTS = get_args(Client)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1)]) as lab:
        yield lab


@pytest.fixture
def fake(lab: Lab) -> Iterator[FakeGateway]:
    with FakeGateway(lab) as fake:
        yield fake


@pytest.fixture
def customer(lab: Lab) -> Customer:
    return lab.customers[0]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_lease_is_read_and_configured(fake: FakeGateway, customer: Customer, client: Client) -> None:
    lease = customer.dhcp(client)
    assert lease.interface == IPv4Interface("100.64.0.10/22")
    assert (lease.router, lease.dns) == (GATEWAY, (IPv4Address("198.51.100.10"),))
    assert (lease.seconds, lease.server) == (3600, GATEWAY)
    assert customer.address == lease.address == fake.addresses[customer.mac]
    assert f"default via {GATEWAY}" in customer.run("ip", "route")
    assert customer.ping(GATEWAY)


@pytest.mark.parametrize("client", CLIENTS)
def test_releasing_sends_a_release_and_takes_the_address_away(
    fake: FakeGateway, customer: Customer, client: Client
) -> None:
    customer.dhcp(client)
    customer.release()
    wait_until(lambda: fake.messages(RELEASE) == 1, "DHCPRELEASE")
    assert customer.address is None
    assert customer.lease is None


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_is_stopped_keeps_its_address_and_says_nothing(
    fake: FakeGateway, customer: Customer, client: Client
) -> None:
    lease = customer.dhcp(client, keep=False)
    assert customer.address == lease.address
    assert customer.ping(GATEWAY)
    assert fake.messages(RELEASE) == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_can_ask_for_an_address_it_had(fake: FakeGateway, customer: Customer, client: Client) -> None:
    fake.addresses[customer.mac] = IPv4Address("100.64.0.77")
    assert customer.dhcp(client, request="100.64.0.77").address == IPv4Address("100.64.0.77")


@pytest.mark.parametrize("client", ["udhcpc", "dhcpcd"])
def test_a_client_renews_when_told(fake: FakeGateway, customer: Customer, client: Client) -> None:
    customer.dhcp(client)
    before = fake.messages(REQUEST)
    assert customer.renew().address == customer.address
    # An answer that comes at once may be lost on a client that asks on one socket and listens on another.
    assert before < fake.messages(REQUEST) <= before + 3


def test_dhclient_renews_when_its_time_has_come(lab: Lab, customer: Customer) -> None:
    with FakeGateway(lab, lease_s=4) as fake:
        customer.dhcp("dhclient")
        before = fake.messages(REQUEST)
        assert customer.renew().address == customer.address
        assert fake.messages(REQUEST) > before


@pytest.mark.parametrize(
    ("client", "kinds"), [("udhcpc", [DISCOVER, REQUEST]), ("dhclient", [REQUEST]), ("dhcpcd", [REQUEST])]
)
def test_what_a_client_remembers_it_asks_for_after_a_reboot(
    fake: FakeGateway, customer: Customer, client: Client, kinds: list[int]
) -> None:
    before = customer.dhcp(client)
    fake.heard.clear()
    customer.reboot()
    assert customer.address is None
    assert customer.dhcp(client) == before
    assert [kind for kind, _ in fake.heard] == kinds


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_forgets_starts_from_nothing(fake: FakeGateway, customer: Customer, client: Client) -> None:
    customer.dhcp(client)
    fake.heard.clear()
    customer.forget()
    assert customer.address is None
    customer.dhcp(client)
    assert [kind for kind, _ in fake.heard] == [DISCOVER, REQUEST]


def test_customers_that_run_one_client_keep_out_of_each_other_s_way() -> None:
    """dhcpcd's files are named after the interface, and eth0 is what they all have."""
    with Lab([Line(100, 1), Line(100, 2)]) as lab, FakeGateway(lab) as fake:
        both = lab.customers
        leases = [customer.dhcp("dhcpcd") for customer in both]
        assert [lease.address for lease in leases] == [customer.address for customer in both]
        assert len({lease.address for lease in leases}) == 2
        both[0].release()
        assert both[1].renew().address == leases[1].address
        assert fake.messages(RELEASE) == 1


def test_a_client_without_a_server_has_no_lease(customer: Customer) -> None:
    with pytest.raises(NoLease, match="no lease"):
        customer.dhcp("udhcpc", "-t", "1")


@pytest.mark.usefixtures("fake")
def test_raw_arp_and_a_changed_mac(customer: Customer) -> None:
    customer.dhcp()
    assert customer.arping(GATEWAY) == [GATEWAY_ACCESS_MAC]
    assert customer.arping(GATEWAY, dad=True) == [GATEWAY_ACCESS_MAC]
    assert customer.arping("100.64.0.99", timeout=1) == []
    customer.change_mac(Mac.parse("02:00:00:00:00:99"))
    assert customer.address is None
    assert customer.dhcp().address == IPv4Address("100.64.0.11")


@pytest.mark.usefixtures("fake")
def test_a_ping_in_the_background_counts_what_was_lost(customer: Customer) -> None:
    customer.dhcp()
    with customer.pinging(GATEWAY) as pinging:
        pinging.wait_for(5)
        result = pinging.stop()
    assert result.received >= 5
    assert set(result.lost) <= {result.sent}


@pytest.mark.usefixtures("fake")
def test_sizes_and_ttl_reach_the_wire(customer: Customer, lab: Lab) -> None:
    customer.dhcp()
    with lab.access_node.trunk.capture() as trunk:
        assert customer.ping(GATEWAY, count=1, size=1472, df=True, ttl=7)
        (request,) = trunk.wait_for(lambda frame: frame.outgoing and frame.icmp == (8, 0))
    assert request.ip is not None
    assert (request.ip.length, request.ip.dont_fragment, request.ip.ttl) == (1500, True, 7)
    assert len(request.data) == 1522


def test_ping_output_is_read() -> None:
    text = """PING 198.51.100.10 (198.51.100.10) 56(84) bytes of data.
64 bytes from 198.51.100.10: icmp_seq=1 ttl=62 time=0.3 ms
From 100.64.0.1 icmp_seq=2 Time to live exceeded
64 bytes from 198.51.100.10: icmp_seq=4 ttl=62 time=0.1 ms
64 bytes from 198.51.100.10: icmp_seq=4 ttl=62 time=0.2 ms (DUP!)

--- 198.51.100.10 ping statistics ---
4 packets transmitted, 2 received, +1 duplicates, +1 errors, 50% packet loss, time 110ms
rtt min/avg/max/mdev = 0.057/0.133/0.285/0.107 ms
"""
    result = parse_ping(text)
    assert (result.sent, result.received, result.duplicates, result.lost) == (4, 2, 1, (2, 3))
    assert result.errors == (("100.64.0.1", "Time to live exceeded"),)
    assert not result


def test_the_way_to_the_server_is_traced(lab: Lab) -> None:
    lab.gateway.namespace.sysctl({"ipv4/ip_forward": 1})
    assert lab.gateway.hops(lab.server_address) == ["192.0.2.2", "198.51.100.10"]


def test_iperf3_and_http_reach_the_server(lab: Lab) -> None:
    process = lab.server.iperf3_server()
    assert lab.gateway.iperf3(lab.server_address, seconds=1).bits_per_second > 0
    assert process.alive
    (lab.folder / "page").write_text("hello")
    lab.server.http_server(lab.folder)
    text = "import urllib.request as r; print(r.urlopen('http://198.51.100.10/page', timeout=5).read().decode())"
    assert lab.gateway.run("python3", "-c", text).strip() == "hello"


def test_a_socket_is_of_the_hosts_namespace(lab: Lab) -> None:
    there, here = lab.server.socket(port=7), lab.gateway.socket()
    here.sendto(b"ask", ("198.51.100.10", 7))
    data, sender = there.recvfrom(100)
    assert (data, sender[0]) == (b"ask", "192.0.2.1")

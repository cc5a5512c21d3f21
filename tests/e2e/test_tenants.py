"""Two providers on one gateway: each has its own pool, its own route table, its own way out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.other_way import CORE, ROUTER, TABLE, TENANT, UPLINK, lay
from wayleave.lab.packet import ECHO, ECHO_REPLY
from wayleave.lab.topology import Lab

from .watch import dropped, sessions

A_POOL, B_POOL = IPv4Network("100.64.0.0/22"), IPv4Network("100.70.0.0/24")
A, B = 0, 1
MORE = f"""
{TENANT}

[[pools]]
name = "others"
tenant = "other"
network = "{B_POOL}"
gateway = "{B_POOL[1]}"
"""
SUBSCRIBERS = """
[[subscribers]]
name = "of the other provider"
line = "1:200"
pool = "others"
tenant = "other"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(200)], pools=(A_POOL,)) as lab:
        lay(lab, B_POOL)
        (lab.folder / "subscribers.toml").write_text(SUBSCRIBERS)
        lab.gateway.start(lab.config(authorization={"subscribers": "subscribers.toml"}, more=MORE))
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


def leased(lab: Lab, which: int) -> IPv4Address:
    found = lab.customers[which].address
    assert found is not None
    return found


def test_each_has_an_address_of_its_provider(lab: Lab) -> None:
    assert leased(lab, A) in A_POOL
    assert leased(lab, B) in B_POOL
    assert [item["address"] for item in sessions(lab.gateway, tenant="other")] == [str(leased(lab, B))]


@pytest.mark.parametrize(("which", "way", "other"), [(A, "gw0", UPLINK), (B, UPLINK, "gw0")], ids=["A", "B"])
def test_each_goes_its_providers_way(lab: Lab, which: int, way: str, other: str) -> None:
    customer = lab.customers[which]
    with lab.router.capture(way) as taken, lab.router.capture(other) as shunned:
        assert customer.ping(lab.server_address)
    echoes = [frame.icmp for frame in taken.matching(lambda f: f.icmp)]
    assert (echoes.count((ECHO, 0)), echoes.count((ECHO_REPLY, 0))) == (3, 3)
    assert not shunned.matching(lambda f: f.icmp)


def test_each_pings_its_own_gateway(lab: Lab) -> None:
    assert lab.customers[A].ping(A_POOL[1])
    assert lab.customers[B].ping(B_POOL[1])
    assert lab.customers[B].hops(lab.server_address) == [str(B_POOL[1]), str(ROUTER), str(lab.server_address)]


def test_they_meet_outside_only(lab: Lab) -> None:
    """A customer of the other provider is as far as the internet: out by one core, in by the other."""
    with lab.router.capture("gw0") as of_a, lab.router.capture(UPLINK) as of_b:
        assert lab.customers[A].ping(leased(lab, B))
    for capture in (of_a, of_b):
        assert len(capture.matching(lambda f: f.icmp)) == 6, capture.where


@pytest.mark.parametrize("which", [A, B], ids=["A", "B"])
def test_the_gateways_own_addresses_are_nobodys_to_route_to(lab: Lab, which: int) -> None:
    """Whoever asks for whichever of them: it goes up the link, and never out by a core on the way back to itself."""
    own = [A_POOL[1], B_POOL[1], lab.core.ip, CORE]
    with lab.router.capture("gw0") as of_a, lab.router.capture(UPLINK) as of_b:
        for address in own:
            lab.customers[which].ping(address, count=1, timeout=0.2)
    for capture in (of_a, of_b):
        assert not capture.matching(lambda f: f.ip and f.ip.destination in own), capture.where


def test_without_a_route_it_does_not_leave_by_the_others(lab: Lab) -> None:
    none = dropped(lab.gateway, "no-route")
    lab.gateway.namespace.ip(f"route del default table {TABLE}")
    try:
        with lab.router.capture("gw0") as of_a, lab.router.capture(UPLINK) as of_b:
            assert not lab.customers[B].ping(lab.server_address, count=3, timeout=0.2)
            assert lab.customers[A].ping(lab.server_address)
    finally:
        lab.gateway.namespace.ip(f"route add default via {ROUTER} dev core1 table {TABLE}")
    assert none.grown == 3
    for capture in (of_a, of_b):
        assert not capture.matching(lambda f: f.ip and f.ip.source == leased(lab, B)), capture.where
    assert lab.customers[B].ping(lab.server_address)


def test_nor_what_the_kernel_has_to_answer(lab: Lab) -> None:
    """A TTL that ends here goes up the link; its answer, and nothing else, comes back. B's table alone is asked."""
    lab.gateway.namespace.ip(f"route del default table {TABLE}")
    try:
        with lab.router.capture("gw0") as of_a:
            lab.customers[B].ping(lab.server_address, count=1, ttl=1, timeout=0.2)
            lab.customers[B].run("ping", "-c", "1", "-W", "0.2", "-R", str(lab.server_address), check=False)
    finally:
        lab.gateway.namespace.ip(f"route add default via {ROUTER} dev core1 table {TABLE}")
    assert not of_a.matching(lambda f: f.ip and f.ip.source in (leased(lab, B), B_POOL[1]))


def test_the_uplink_that_is_down_is_that_of_whom_it_is_asked_about(lab: Lab) -> None:
    """The other provider's still works, and is no reason to look at the routes."""

    def diagnosed(which: int) -> dict[str, Any]:
        words = ("diagnose", str(leased(lab, which)), "--json", "--config", str(lab.gateway.config_file))
        return dict(json.loads(lab.gateway.bng(*words, check=False)))

    gateway = lab.gateway.namespace
    gateway.ip("link set core1 down")
    try:
        told = diagnosed(B)
        assert (told["verdict"], told["says"]) == ("uplink-down", "port 101 (core1) is administratively down")
        assert "`ip link set dev core1 up`" in told["cure"]
        assert diagnosed(A)["verdict"] == "well"
    finally:
        gateway.ip("link set core1 up", f"route replace default via {ROUTER} dev core1 table {TABLE}")

"""A lab of two gateways that share a pool of one Nexus: who has which block, and what the core makes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from tests.lab.test_topology import left_of
from wayleave.lab.access_node import Line
from wayleave.lab.nexus import NexusFailed, NexusHost, nexus_in
from wayleave.lab.topology import Lab, Site
from wayleave.lab.waiting import wait_until

SPACE = IPv4Network("100.64.0.0/22")
HOME = {"name": "home", "kind": "ipv4", "space": str(SPACE), "block": 64, "tenant": "default"}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Lab, NexusHost]]:
    with Lab([Line(100, 1)], others=[[Line(100, 1), Line(100, 2)]], pools=[SPACE]) as lab, nexus_in(lab) as nexus:
        nexus.make("/v1/pools/home", HOME)
        for site in lab.sites:
            site.gateway.start(site.config(pool={"nexus": "home"}, more=nexus.section(site)))
        yield lab, nexus


def leased(site: Site) -> None:
    """Have every customer of a site have an address."""
    for customer in site.customers:
        customer.dhcp()


def test_customers_of_two_gateways_reach_each_other_once_the_core_knows_who_has_what(
    world: tuple[Lab, NexusHost],
) -> None:
    lab, _ = world
    here, there = lab.sites
    for site in lab.sites:
        wait_until(site.gateway.blocks, f"blocks of {site.instance}")
        leased(site)
    blocks = [site.gateway.blocks() for site in lab.sites]
    assert not blocks[0] & blocks[1]
    for site, own in zip(lab.sites, blocks, strict=True):
        for customer in site.customers:
            assert any(customer.address in network for network in own)
    assert not here.customers[0].ping(lab.server_address, count=1, timeout=0.3)
    lab.route_blocks()
    for site in lab.sites:
        assert all(customer.ping(lab.server_address) for customer in site.customers)
    assert there.customers[1].address is not None
    assert here.customers[0].ping(there.customers[1].address)
    assert there.customers[0].ping(there.customers[1].address)


def test_a_gateway_that_is_cut_off_says_so_and_its_traffic_goes_on(world: tuple[Lab, NexusHost]) -> None:
    lab, nexus = world
    here = lab.sites[0]
    nexus.cut_off(here)
    assert not here.gateway.ping(nexus.interface.ip, count=1, timeout=0.3)
    assert here.customers[0].ping(lab.server_address)
    assert lab.sites[1].gateway.ping(nexus.interface.ip)
    nexus.mend(here)
    assert here.gateway.ping(nexus.interface.ip)


def test_nexus_is_asked_as_who_one_is(world: tuple[Lab, NexusHost]) -> None:
    lab, nexus = world
    nodes = nexus.ask("GET", "/v1/nodes").body["items"]
    assert {node["name"] for node in nodes} == {site.instance for site in lab.sites}
    assert nexus.ask("GET", "/v1/nodes", role="provider", name="isp-a").status == 403
    with pytest.raises(NexusFailed, match="PUT /v1/pools/home: 4"):
        nexus.make("/v1/pools/home", HOME)
    nexus.kill9()
    with pytest.raises(OSError, match="refused"):
        nexus.ask("GET", "/v1/nodes")
    nexus.start()
    assert nexus.ask("GET", "/v1/nodes").status == 200


def test_a_lab_of_more_gateways_leaves_nothing_behind() -> None:
    with Lab([Line(100, 1)], others=[[Line(100, 1)], []]) as lab, nexus_in(lab):
        for site in lab.sites:
            site.gateway.start(
                site.config(pool={"network": f"100.64.{site.number}.0/24", "gateway": f"100.64.{site.number}.1"})
            )
            for customer in site.customers:
                customer.dhcp()
        assert [site.gateway.get("/pools")[0]["held"] for site in lab.sites] == [1, 1, 0]
        assert lab.sites[1].gateway.ping(lab.sites[2].core.ip)
        assert len({customer.mac for site in lab.sites for customer in site.customers}) == 2
        assert left_of(lab.name)
        assert lab.name.split("-")[1] == str(os.getpid())
    assert left_of(lab.name) == []

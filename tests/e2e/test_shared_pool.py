"""Gateways that share a pool through Nexus, on the wire: what they serve, with it and without it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.nexus import SQLITE, NexusHost, nexus_in
from wayleave.lab.topology import Lab, Site
from wayleave.lab.waiting import wait_until

SPACE = IPv4Network("100.64.0.0/22")
KEPT = IPv4Address("100.64.3.77")
HOLD_S = 24
POOL = {"name": "home", "kind": "ipv4", "space": str(SPACE), "block": 32, "tenant": "default"}
ALICE = {"name": "alice", "provider": "isp", "address": str(KEPT)}
LINES = [Line(100, 1), Line(100, 2), Line(100, 3)]

Shared = tuple[Lab, NexusHost]


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    terms = f'{SQLITE}\nhold = "{HOLD_S}s"\ngrace = "1s"'
    with Lab(LINES, others=[LINES], pools=[SPACE]) as lab, nexus_in(lab, terms) as nexus:
        nexus.make("/v1/pools/home", POOL)
        nexus.make("/v1/providers/isp", {"name": "isp", "tenant": "default", "pool": "residential"})
        for site in lab.sites:
            for line in LINES:
                name = f"line-{site.number}-{line.cvid}"
                place = {"node": site.instance, "port": 1, "svid": line.svid, "cvid": line.cvid}
                nexus.make(f"/v1/lines/{name}", {"name": name, **place})
        nexus.make("/v1/subscribers/alice", {**ALICE, "line": "line-0-3"})
        for site in lab.sites:
            site.gateway.start(site.config(pool={"nexus": "home"}, more=nexus.section(site)))
        for site in lab.sites:
            wait_until(site.gateway.blocks, f"blocks of {site.instance}")
        lab.route_blocks()
        yield lab, nexus


def hold_s(site: Site) -> int:
    """How long a gateway's blocks are its own without Nexus; seconds."""
    return int(site.gateway.get("/nexus")["hold_s"])


def reaches(customer: Customer, lab: Lab) -> bool:
    return bool(customer.ping(lab.server_address, count=1, timeout=0.5))


def test_two_gateways_serve_one_pool_and_their_customers_reach_each_other(shared: Shared) -> None:
    lab, _ = shared
    here, there = (site.customers[0] for site in lab.sites)
    addresses = [customer.dhcp().address for customer in (here, there)]
    assert len(set(addresses)) == 2
    assert all(address in SPACE for address in addresses)
    assert here.ping(lab.server_address)
    assert here.ping(addresses[1])
    assert there.ping(addresses[0])


def test_nexus_is_told_how_gateways_do_and_whose_addresses_are(shared: Shared) -> None:
    lab, nexus = shared
    site = lab.sites[0]
    address = site.customers[0].address
    told = f"/v1/addresses/home/{address}"
    wait_until(lambda: nexus.ask("GET", told).status == 200, "its address, at Nexus")
    assert nexus.ask("GET", told).body["subscriber"] == f"{site.customers[0].mac}@1:100.1"
    state = nexus.ask("GET", f"/v1/nodes/{site.instance}").body["state"]
    assert state["pools"][0]["pool"] == "home"


def test_cut_off_it_admits_newcomers_and_says_how_long_that_will_last(shared: Shared) -> None:
    lab, nexus = shared
    site = lab.sites[0]
    gateway, newcomer = site.gateway, site.customers[1]
    nexus.cut_off(site)
    try:
        wait_until(lambda: gateway.get("/nexus")["why"], "a gateway that notices", HOLD_S)
        lease = newcomer.dhcp()
        assert lease.seconds <= hold_s(site) + 2, "it is told of no more than is certain"
        assert newcomer.ping(lab.server_address)
        config = str(gateway.config_file)
        told = gateway.bng("show", "nexus", "--config", config)
        assert "does not answer" in told
        assert "its blocks last, without Nexus" in told
        assert "Nexus has not answered for" in gateway.bng("diagnose", str(lease.address), "--config", config)
        metrics = gateway.request("GET", "/metrics")[1]
        assert "wayleave_nexus_partitioned 1.0" in metrics
        assert "wayleave_nexus_hold_seconds" in metrics
    finally:
        nexus.mend(site)
    wait_until(lambda: not gateway.get("/nexus")["why"], "Nexus to answer again")
    told = f"/v1/addresses/home/{lease.address}"
    wait_until(lambda: nexus.ask("GET", told).status == 200, "what happened meanwhile to be told")
    assert nexus.ask("GET", told).body["node"] == site.instance
    assert nexus.ask("GET", told).body["state"] == "began"
    assert newcomer.ping(lab.server_address), "nobody was dropped"
    assert "wayleave_nexus_partitioned 0.0" in gateway.request("GET", "/metrics")[1]


def test_when_the_hold_is_over_the_data_plane_stops_by_itself_and_goes_on_when_nexus_is_back(shared: Shared) -> None:
    lab, nexus = shared
    site = lab.sites[1]
    gateway, customer = site.gateway, site.customers[0]
    customer.dhcp()
    assert reaches(customer, lab)
    nexus.cut_off(site)
    left = hold_s(site)
    gateway.kill9()
    assert reaches(customer, lab), "neither Nexus nor Python is needed"
    wait_until(lambda: not reaches(customer, lab), "the end of the hold", left + 5)
    nexus.mend(site)
    gateway.restart()
    wait_until(lambda: hold_s(site) > 0, "a hold")
    wait_until(lambda: site.gateway.blocks(), "blocks")
    lab.route_blocks()
    customer.dhcp()
    assert reaches(customer, lab)


def test_a_restart_without_nexus_drops_nobody(shared: Shared) -> None:
    lab, nexus = shared
    site = lab.sites[0]
    customer = site.customers[0]
    wait_until(lambda: hold_s(site) > HOLD_S // 2, "a hold that was renewed", HOLD_S)
    customer.dhcp()
    nexus.cut_off(site)
    try:
        with site.customers[0].pinging(lab.server_address) as pinging:
            site.gateway.kill9()
            site.gateway.restart()
            assert site.customers[2].dhcp().address in SPACE, "a newcomer"
            assert not pinging.stop().lost
    finally:
        nexus.mend(site)


def test_a_subscriber_takes_its_address_along_to_another_gateway(shared: Shared) -> None:
    lab, nexus = shared
    here, there = lab.sites
    own = IPv4Network(KEPT)
    wait_until(lambda: own in here.gateway.blocks(), "her address, at the gateway where she is")
    lab.route_blocks()
    before = here.customers[2]
    assert before.dhcp().address == KEPT
    assert before.ping(lab.server_address)
    answer = nexus.ask("GET", "/v1/subscribers/alice")
    seen = {"If-Match": answer.headers["etag"]}
    assert nexus.ask("PUT", "/v1/subscribers/alice", {**ALICE, "line": "line-1-3"}, seen).status == 200
    wait_until(lambda: own in there.gateway.blocks(), "her address, at the other gateway")
    assert own not in here.gateway.blocks()
    assert not reaches(before, lab), "she is not served where she was"
    wait_until(lambda: str(KEPT) not in here.gateway.run("ip", "route"), "no route to her there", 12)
    lab.route_blocks()
    after = there.customers[2]
    assert after.dhcp().address == KEPT
    assert after.ping(lab.server_address)

"""Two gateways and three machines with Nexus over etcd, of which one fails: newcomers get on, and nobody notices."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.nexus_cluster import Machine, NexusCluster, nexus_cluster_in
from wayleave.lab.packet import ECHO, dhcp_options
from wayleave.lab.topology import Lab, Site
from wayleave.lab.waiting import wait_until

SPACE = IPv4Network("100.64.0.0/22")
HOME = {"name": "home", "kind": "ipv4", "space": str(SPACE), "block": 4, "tenant": "default"}
"""Of blocks so small that two newcomers are enough to have another claimed."""
PROBE = {"name": "probe", "kind": "ipv4", "space": "10.0.0.0/12", "block": 4, "tenant": "probe"}
LINES = [Line(100, number) for number in range(1, 8)]
PATIENCE_S = 15.0
"""As long as gateways of those that come may have to wait for blocks; within that they have what they have in hand."""
ACK = bytes([5])

Clustered = tuple[Lab, NexusCluster]


@pytest.fixture(scope="module")
def clustered() -> Iterator[Clustered]:
    with Lab(LINES, others=[LINES], pools=[SPACE]) as lab, nexus_cluster_in(lab) as cluster:
        cluster.make("/v1/pools/home", HOME)
        cluster.make("/v1/pools/probe", PROBE)
        for site in lab.sites:
            site.gateway.start(site.config(pool={"nexus": "home"}, more=cluster.section(site)))
        for site in lab.sites:
            wait_until(site.gateway.blocks, f"blocks of {site.instance}")
            site.customers[0].dhcp()
        lab.route_blocks()
        yield lab, cluster


@pytest.fixture
def unnoticed(clustered: Clustered) -> Iterator[None]:
    """Whoever is online stays so, without losing a packet."""
    lab, _ = clustered
    with ExitStack() as stack:
        pings = [stack.enter_context(site.customers[0].pinging(lab.server_address)) for site in lab.sites]
        for pinging in pings:
            pinging.wait_for(5)
        yield
        for pinging in pings:
            result = pinging.stop()
            assert result.received > 50
            assert not result.missing


class Claims:
    """Blocks claimed one after the other, as a gateway does: what one machine does not give the next is asked for."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = itertools.cycle(machines)
        self._at = next(self._machines)
        self._ended = threading.Event()
        self.longest_s = 0.0
        self.count = 0
        self._epoch = self._asked("renew", {"epoch": 0})["epoch"]
        self._thread = threading.Thread(target=self._run)

    def _asked(self, what: str, body: dict[str, object]) -> dict[str, int]:
        while True:
            with suppress(OSError):
                answer = self._at.nexus.ask("POST", f"/v1/hold/{what}", body, role="node", name="probe")
                if answer.status == 200:
                    return dict(answer.body)
            self._at = next(self._machines)

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            began = time.monotonic()
            self._asked("claim", {"epoch": self._epoch, "pool": "probe"})
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.count += 1

    def __enter__(self) -> Claims:
        self._thread.start()
        wait_until(lambda: self.count, "a first claim")
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def claimed_meanwhile(lab: Lab) -> Iterator[None]:
    """Both gateways are to have more blocks at the end of this than at its beginning."""
    before = [site.gateway.blocks() for site in lab.sites]
    yield
    for site, had in zip(lab.sites, before, strict=True):
        wait_until(lambda site=site, had=had: site.gateway.blocks() > had, f"more of {site.instance}", PATIENCE_S)  # type: ignore[misc]


def come_online(lab: Lab, site: Site, customer: Customer) -> IPv4Address:
    """Have a newcomer get an address and reach the server, seen on the trunk and at the core."""
    with site.access_node.trunk.capture() as trunk, lab.router.capture(site.uplink) as core:
        address = customer.dhcp().address
        lab.route_blocks()
        assert customer.ping(lab.server_address)
        core.wait_for(lambda f: f.icmp == (ECHO, 0) and f.ip and f.ip.source == address, count=3)
        acks = trunk.wait_for(lambda f: f.is_dhcp and dict(dhcp_options(f.udp_payload))[53] == ACK)
    assert {IPv4Address(frame.udp_payload[16:20]) for frame in acks} == {address}
    assert {frame.tags for frame in acks} == {customer.line.tags}
    return address


def newcomers(lab: Lab, numbers: Sequence[int]) -> None:
    """Have these customers of both gateways come online, no two with one address."""
    own = [site.customers[0].address for site in lab.sites]
    given = [come_online(lab, site, site.customers[number]) for number in numbers for site in lab.sites]
    assert len({*own, *given}) == len(own) + len(given)
    assert all(address in SPACE for address in given)


def serving(cluster: NexusCluster, site: Site) -> Machine:
    """The machine that a gateway asks."""
    server = site.gateway.get("/nexus")["server"]
    return next(machine for machine in cluster.machines if server.startswith(machine.nexus.url))


@pytest.mark.usefixtures("unnoticed")
def test_etcd_loses_its_leader_while_newcomers_come(clustered: Clustered) -> None:
    lab, cluster = clustered
    with Claims(cluster.machines) as claims, claimed_meanwhile(lab):
        leader = cluster.leader()
        before = claims.count
        leader.member.kill9()
        newcomers(lab, [1, 2])
        assert cluster.leader() is not leader
        wait_until(lambda: claims.count > before + 5, "claims that go on", PATIENCE_S)
    print(f"etcd's leader killed: the longest of {claims.count} claims took {claims.longest_s:.2f} s")
    assert claims.longest_s < PATIENCE_S
    cluster.start()


@pytest.mark.usefixtures("unnoticed")
def test_the_nexus_that_gateways_ask_is_killed_and_they_ask_the_next(clustered: Clustered) -> None:
    lab, cluster = clustered
    asked = [serving(cluster, site) for site in lab.sites]
    with Claims(cluster.machines) as claims, claimed_meanwhile(lab):
        for machine in asked:
            machine.nexus.kill9()
        newcomers(lab, [3, 4])
    for site, dead in zip(lab.sites, asked, strict=True):
        wait_until(lambda site=site: not site.gateway.get("/nexus")["why"], "Nexus that answers")  # type: ignore[misc]
        assert serving(cluster, site) is not dead
    print(f"Nexus killed: the longest of {claims.count} claims took {claims.longest_s:.2f} s")
    cluster.start()


@pytest.mark.usefixtures("unnoticed")
def test_a_machine_that_does_not_reach_the_others_says_so_and_gateways_ask_the_next(clustered: Clustered) -> None:
    lab, cluster = clustered
    alone = serving(cluster, lab.sites[0])
    cluster.isolate(alone)
    try:
        with Claims([machine for machine in cluster.machines if machine is not alone]) as claims:
            with claimed_meanwhile(lab):
                newcomers(lab, [5, 6])
            assert all(serving(cluster, site) is not alone for site in lab.sites)
            assert not alone.nexus.ready()
            answer = alone.nexus.ask("GET", "/v1/pools")
            assert (answer.status, answer.body["type"]) == (503, "urn:wayleave:nexus:unavailable")
    finally:
        cluster.rejoin(alone)
    print(f"a machine cut off: the longest of {claims.count} claims at the others took {claims.longest_s:.2f} s")
    wait_until(alone.nexus.ready, "the machine to be one of the cluster again", PATIENCE_S)

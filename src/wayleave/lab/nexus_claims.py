"""What gateways claim that share pools, proved with two of them and three machines of Nexus: `scene` says how."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Self

from wayleave.lab.access_node import Line
from wayleave.lab.capture import Collected
from wayleave.lab.customer import Customer
from wayleave.lab.nexus_cluster import NexusCluster, nexus_cluster_in
from wayleave.lab.other_way import TENANT, UPLINK, lay
from wayleave.lab.packet import ECHO, Frame, dhcp_options
from wayleave.lab.scene import Mutant, Scene, claims_on, expect
from wayleave.lab.site import Site, section
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

LINES = tuple(Line(100, number) for number in range(1, 8))
ELSEWHERE = LINES[:4]
"""Of the second gateway: the same tags as at the first."""
ONLINE, BESIDE, NEW, NEWER, CUT_OFF, LATER, SMITH = range(7)
"""Customers: who is on all the time, his neighbour; newcomers of two claims; and whose provider changes."""
SPACE, OTHERS = IPv4Network("100.64.0.0/22"), IPv4Network("100.70.0.0/24")
DOOR = {"port": 1, "svid": 100, "cvid": LINES[SMITH].cvid, "ont": "ONT-4711"}
SOON_S, PATIENCE_S = 8.0, 15.0
"""Within which gateways do something about what happens; and notice that there is no Nexus, or again."""
_ACK = bytes([5])


class SharedStory(Scene):
    """Two gateways that share pools through Nexus; a second provider has a way out of the first."""

    drawing = """
  customers ──► access node ──► GATEWAY ──► router ──► server
  customers ──► access node ──► GATEWAY ──►   │
                                              ├── Nexus, etcd ╮
                                              ├── Nexus, etcd ├ pools, lines,
                                              ╰── Nexus, etcd ╯ subscribers
"""
    prefix = "shared-"

    def __init__(self, lab: Lab, nexus: NexusCluster, mutant: Mutant | None = None) -> None:
        super().__init__(lab, mutant)
        self.nexus = nexus
        for name, space, block, tenant, pool, provider in (
            ("home", SPACE, 4, "default", "residential", "isp"),
            ("beta", OTHERS, 16, "other", "beta", "other"),
        ):
            terms = {"kind": "ipv4", "space": str(space), "block": block, "tenant": tenant}
            nexus.make(f"/v1/pools/{name}", {"name": name, **terms})
            nexus.make(f"/v1/providers/{provider}", {"name": provider, "tenant": tenant, "pool": pool})
        nexus.make("/v1/lines/door", {"name": "door", "node": lab.instance, **DOOR})
        nexus.make("/v1/subscribers/smith", {"name": "smith", "provider": "isp", "line": "door"})

    @classmethod
    @contextmanager
    def staged(cls, mutant: Mutant | None = None) -> Iterator[Self]:
        """See Scene."""
        terms = {"hold": "1h", "grace": "10m", **(mutant.config.get("nexus", {}) if mutant else {})}
        with Lab(LINES, others=[ELSEWHERE], pools=[SPACE]) as lab:
            lay(lab, OTHERS)
            with nexus_cluster_in(lab, section("", terms)) as nexus:
                yield cls(lab, nexus, mutant)

    def running(self) -> None:
        """See Scene."""
        self.nexus.start()
        dead = [site for site in self.lab.sites if site.gateway.process is None or not site.gateway.process.alive]
        for site in dead:
            site.gateway.start(self._config(site), ready=False)
        for site in dead:
            site.gateway.wait_ready()

    def _config(self, site: Site) -> str:
        changes = dict(self.mutant.config) if self.mutant else {}
        changes.pop("nexus", None)
        known = () if changes.pop("servers", {"all": True})["all"] else (self.nexus.leader(),)
        changes["pool"] = {"nexus": "home", **changes.get("pool", {})}
        beta = {"name": "beta", "tenant": "other", "network": OTHERS, "gateway": OTHERS[1], "nexus": "beta"}
        more = f"{TENANT}\n{section('[[pools]]', beta)}" if site is self.lab else ""
        return site.config(**changes, more=f"{self.nexus.section(site, *known)}\n{more}")

    def newcomer(self, site: Site, number: int) -> tuple[Customer, IPv4Address]:
        """A customer that just got its lease, and that the core knows a way to."""
        customer = site.customers[number]
        customer.forget()
        address = customer.dhcp("udhcpc", "-t", "3", timeout=PATIENCE_S).address
        self.lab.route_blocks()
        return customer, address

    def online(self, site: Site) -> Customer:
        """Whoever is on all the time."""
        customer = site.customers[ONLINE]
        return customer if customer.lease is not None else self.newcomer(site, ONLINE)[0]

    def surfs(self, customer: Customer, address: IPv4Address, core: Collected) -> None:
        """Raise unless the server answers him, and his echo request was on the core."""
        expect(customer.ping(self.lab.server_address), f"the server does not answer {address}")
        core.wait_for(lambda f: _asking(address, f), what=f"echo request of {address}")

    def reaches(self, customer: Customer) -> bool:
        """Whether the server answers him."""
        return bool(customer.ping(self.lab.server_address, count=1, timeout=0.5))


claim = claims_on(SharedStory)


def _acknowledged(trunk: Collected) -> dict[Mac, IPv4Address]:
    """Who was given which address, as the packets on a trunk say."""
    acks = trunk.matching(lambda f: f.is_dhcp and dict(dhcp_options(f.udp_payload))[53] == _ACK)
    return {Mac(f.udp_payload[28:34]): IPv4Address(f.udp_payload[16:20]) for f in acks}


def _asking(address: IPv4Address, frame: Frame) -> bool:
    return frame.icmp == (ECHO, 0) and frame.ip is not None and frame.ip.source == address


@claim(
    "Two gateways and one pool: no address is given twice, and customers of both reach each other",
    Mutant("own-pools", "the pool is each gateway's own: it names none of Nexus", {"pool": {"nexus": None}}),
)
def shared_pool(story: SharedStory) -> str:
    sites = story.lab.sites
    with ExitStack() as stack:
        trunks = [stack.enter_context(site.access_node.trunk.capture()) for site in sites]
        people = [story.newcomer(site, number) for number in (ONLINE, BESIDE) for site in sites]
        for trunk in trunks:
            trunk.settle()
    given = [address for trunk in trunks for address in _acknowledged(trunk).values()]
    told = ", ".join(map(str, given))
    expect(len(given) == len(set(given)) == len(people), f"in the ACKs on the trunks: {told}")
    expect(all(address in SPACE for address in given), f"not all of {SPACE}: {told}")
    (here, mine), (there, other) = people[:2]
    with there.capture() as inside, story.lab.router.capture(sites[1].uplink) as core:
        expect(here.ping(other), f"{other} at the second gateway does not answer {mine} at the first")
        asked = inside.wait_for(lambda f: _asking(mine, f), count=3)
        between = core.wait_for(lambda f: _asking(mine, f), count=3)
    expect(there.ping(mine), f"{mine} at the first gateway does not answer {other} at the second")
    ttls = {frame.ip.ttl for frame in asked if frame.ip}
    expect(ttls == {61}, f"TTL was 64 and arrived as {ttls}: not by two gateways and the router")
    expect(not any(frame.tags for frame in between), f"on the core: {between[0]}")
    return f"{told} in the ACKs on both trunks; {mine} and {other} by both gateways and the router: TTL 61"


@claim(
    "Three machines have Nexus and etcd, and the leader's dies: newcomers get on at both gateways, blocks are claimed",
    Mutant("one-server", "the gateways are told of the leader's machine alone", {"servers": {"all": False}}),
)
def leader_dies(story: SharedStory) -> str:
    sites = story.lab.sites
    people = [story.online(site) for site in sites]
    had = [site.gateway.blocks() for site in sites]
    with ExitStack() as stack:
        cores = [stack.enter_context(story.lab.router.capture(site.uplink)) for site in sites]
        pings = [stack.enter_context(person.pinging(story.lab.server_address)) for person in people]
        for pinging in pings:
            pinging.wait_for(5)
        victim = story.nexus.leader()
        victim.kill9()
        died = time.monotonic()
        given = []
        for site, core in zip(sites, cores, strict=True):
            for number in (NEW, NEWER):
                customer, address = story.newcomer(site, number)
                story.surfs(customer, address, core)
                given.append(address)

        def claimed() -> bool:
            return all(site.gateway.blocks() > blocks for site, blocks in zip(sites, had, strict=True))

        wait_until(claimed, "blocks that were claimed since", SOON_S)
        took = time.monotonic() - died
        expect(story.nexus.leader() is not victim, "the dead one leads")
        results = [pinging.stop() for pinging in pings]
    lost = [number for result in results for number in result.missing]
    expect(not lost, f"echoes {lost} of those who were on were lost")
    echoes = sum(result.received for result in results)
    return (
        f"{', '.join(map(str, given))} got on, their echoes on the core; new blocks at both gateways {took:.1f} s "
        f"after SIGKILL; {echoes} echoes of two who were on, none lost"
    )


@claim(
    "Cut off from Nexus, a gateway admits newcomers on the blocks that it has, and says how long these last",
    Mutant("short-hold", 'hold = "2s" of Nexus: a gateway is to ask all the time', {"nexus": {"hold": "2s"}}),
)
def partition(story: SharedStory) -> str:
    site = story.lab
    gateway, server = site.gateway, story.lab.server_address
    everywhere = {machine.nexus.interface.ip for machine in story.nexus.machines}
    with story.online(site).pinging(server) as pinging:
        pinging.wait_for(5)
        story.nexus.cut_off(site)
        try:
            with story.lab.router.capture(site.uplink) as core:
                people = [story.newcomer(site, CUT_OFF)]
                wait_until(lambda: gateway.get("/nexus")["why"], "a gateway that notices", PATIENCE_S)
                people.append(story.newcomer(site, LATER))
                for customer, address in people:
                    story.surfs(customer, address, core)
                shown = gateway.bng("show", "nexus", "--config", str(gateway.config_file))
        finally:
            story.nexus.mend(site)
        asked = core.matching(lambda f: f.ip and f.ip.destination in everywhere)
        heard = core.matching(lambda f: f.ip and f.ip.source in everywhere)
        expect(asked and not heard, f"to Nexus {len(asked)} packets, from it {len(heard)}")
        lasts = re.search(r"its blocks last, without Nexus +(\S.*?) *$", shown, re.MULTILINE)
        expect(lasts is not None and "does not answer" in shown, f"`bng show nexus` says:\n{shown}")
        assert lasts is not None
        wait_until(lambda: not gateway.get("/nexus")["why"], "Nexus that answers again", PATIENCE_S)
        result = pinging.stop()
    expect(not result.missing, f"echoes {result.missing} were lost")
    (_, one), (_, other) = people
    return (
        f"{len(asked)} packets to Nexus, none from it; {one} and {other} got on; `bng show nexus`: its blocks last "
        f"{lasts[1]}; {result.received} echoes of one who was on, none lost"
    )


@claim(
    "Another provider takes over a line while its customer is online, and the line stays as it is",
    Mutant(
        "change-unheard",
        "the gateway is cut off from Nexus before the change",
        at="before-change",
        action=lambda story: story.nexus.cut_off(story.lab),
    ),
)
def provider_change(story: SharedStory) -> str:
    site, server = story.lab, story.lab.server_address
    line = story.nexus.ask("GET", "/v1/lines/door").body
    with (
        story.online(site).pinging(server) as pinging,
        story.lab.router.capture(site.uplink) as ours,
        story.lab.router.capture(UPLINK) as theirs,
    ):
        customer, before = story.newcomer(site, SMITH)
        expect(before in SPACE, f"he was given {before}")
        story.surfs(customer, before, ours)
        story.reached("before-change")
        known = story.nexus.ask("GET", "/v1/subscribers/smith")
        changed = {**known.body, "provider": "other"}
        said = story.nexus.ask("PUT", "/v1/subscribers/smith", changed, {"If-Match": known.headers["etag"]})
        expect(said.status == 200, f"Nexus answers {said.status} {said.body}")
        wait_until(lambda: not story.reaches(customer), "end of the old provider's service", SOON_S)
        after = customer.renew().address
        expect(after in OTHERS, f"he was given {after} then")
        story.surfs(customer, after, theirs)
        expect(not theirs.matching(lambda f: _asking(before, f)), f"{before} went by the new provider's way")
        expect(not ours.matching(lambda f: _asking(after, f)), f"{after} went by the old provider's way")
        result = pinging.stop()
    expect(not result.missing, f"echoes {result.missing} of another customer were lost")
    now = story.nexus.ask("GET", "/v1/lines/door").body
    expect(now == line, f"the line was {line} and is {now}")
    return (
        f"smith at {customer.line}, ONT {line['ont']}: {before} by {site.uplink}, then {after} by {UPLINK}; the line's "
        f"record unchanged; {result.received} echoes of a neighbour, none lost"
    )

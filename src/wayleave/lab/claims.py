"""What one gateway claims, how each claim is proved on the lab, and what must turn it red (`scene`)."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any, Self

from wayleave.dataplane import objects
from wayleave.lab.access_node import Line
from wayleave.lab.customer import Client, Customer, Lease
from wayleave.lab.packet import (
    ECHO,
    ECHO_REPLY,
    IPV4,
    TIME_EXCEEDED,
    UDP,
    Tag,
    dhcp_options,
    ethernet,
    ipv4,
    udp,
)
from wayleave.lab.radius import RadiusServer, radius_sections
from wayleave.lab.scene import Mutant, Scene, claims_on, expect
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, PINS, Lab, Section, section
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

LINES = (Line(100, 1), Line(100, 2), Line(200, None, (0x8100, 0x8100)), Line(100, 1))
SPARE_LINE = Line(300, 9)
SPARE_MAC = Mac.parse("02:c0:00:00:00:99")

USER, PASSWORD = "alice", "sesame"
"""Who may dial, whoever decides about it."""

DISCARD_PORT = 9
FULL_SIZE = 1472
"""ICMP payload that makes an IP packet of 1,500 octets."""

DHCP_NAMES = {1: "DISCOVER", 2: "OFFER", 3: "REQUEST", 5: "ACK", 6: "NAK", 7: "RELEASE"}


class Story(Scene):
    """One gateway, its customers, and whoever decides about them."""

    drawing = """
  customers            access node        GATEWAY           router       server
  udhcpc, dhclient ──► pushes S and C ──► acc0   core0 ──►  static  ──►  ping
  a PPPoE client       tags as an OLT     XDP               route
  untagged                                                  FreeRADIUS
"""

    def __init__(self, lab: Lab, mutant: Mutant | None = None) -> None:
        super().__init__(lab, mutant)
        self.radius: RadiusServer | None = None
        """Who decides about newcomers, once it does."""
        self.configure()

    @classmethod
    @contextmanager
    def staged(cls, mutant: Mutant | None = None) -> Iterator[Self]:
        """See Scene."""
        with Lab(LINES) as lab:
            yield cls(lab, mutant)

    def configure(self, tenant: Section | None = None) -> None:
        """Write the configuration, with what the mutant changes; `tenant`: keys of the tenant's section."""
        changes = dict(self.mutant.config) if self.mutant else {}
        group, controllers = changes.pop("radius", {}), changes.pop("controllers", {"known": True})
        changes["tenant"] = {**(tenant or {}), **changes.get("tenant", {})}
        changes["subscriber"] = {"protocols": ["ipoe", "pppoe"], **changes.get("subscriber", {})}
        pppoe = {"authentication": ["chap"], "echo_interval": "1s", **changes.pop("pppoe", {})}
        served = changes["subscriber"]["protocols"]
        assert isinstance(served, list)
        asked = "pppoe" in served and pppoe["authentication"]
        changes["authorization"] = {**(self._users() if asked else {}), **changes.get("authorization", {})}
        more = radius_sections(self.lab.folder, self.lab.router_address, group, bool(controllers["known"]))
        self.config = self.lab.config(**changes, more=f"{more}\n{section('[pppoe]', pppoe)}")

    def _users(self) -> Section:
        """Write the file of who may dial, and that of the passwords; returns the keys that name them."""
        people, secrets = self.lab.folder / "subscribers.toml", self.lab.folder / "subscribers.secrets"
        people.write_text(section("[[subscribers]]", {"name": USER, "user": USER, "pool": "residential"}))
        secrets.touch(0o600)
        secrets.write_text(f'{USER} = "{PASSWORD}"\n')
        return {"subscribers": people, "secrets": secrets}

    def running(self) -> None:
        """See Scene."""
        process = self.lab.gateway.process
        if process is None:
            self.lab.gateway.start(self.config)
        elif not process.alive:
            self.lab.gateway.restart()

    def fresh(self, number: int, client: Client = "udhcpc") -> tuple[Customer, Lease]:
        """A customer that just got its lease, whether or not it had one before."""
        customer = self.lab.customers[number]
        if customer.lease is not None:
            customer.forget()
        return customer, customer.dhcp(client, *(("-t", "3") if client == "udhcpc" else ()), timeout=8)

    def customer(self, number: int) -> tuple[Customer, IPv4Address]:
        """A customer and the address it holds; it asks for one if it has none."""
        customer = self.lab.customers[number]
        if customer.lease is None:
            self.fresh(number)
        assert customer.lease is not None
        return customer, customer.lease.address

    def drops(self, reason: str) -> int:
        """The gateway's counter of a drop reason."""
        return int(self.lab.gateway.get("/drops")[reason])

    def sessions(self, **query: object) -> list[dict[str, Any]]:
        """The gateway's sessions that match."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        return list(self.lab.gateway.get(f"/sessions?{words}")["sessions"])

    def held(self) -> int:
        """Addresses of the pool that are held."""
        return int(self.lab.gateway.get("/pools")[0]["held"])

    def datagram(self, customer: Customer, source: IPv4Address, text: bytes) -> bytes:
        """A frame from a customer to the server's discard port with any source address."""
        server = self.lab.server_address
        packet = ipv4(source, server, UDP, udp(source, server, 40000, DISCARD_PORT, text))
        return ethernet(GATEWAY_ACCESS_MAC, customer.mac, IPV4, packet)


claim = claims_on(Story)


def tags(line: Sequence[Tag]) -> str:
    """Tags as evidence."""
    return " ".join(map(str, line)) or "no tag"


def _dhcp_story(story: Story, number: int, client: Client) -> str:
    """Get a lease and read it off the trunk."""
    line = LINES[number]
    with story.lab.access_node.trunk.capture() as trunk, story.lab.customers[number].capture() as inside:
        customer, lease = story.fresh(number, client)
        trunk.settle()
    mine = trunk.matching(lambda f: f.is_dhcp and customer.mac in (f.source, f.udp_payload[28:34]))
    kinds = [DHCP_NAMES[dict(dhcp_options(frame.udp_payload))[53][0]] for frame in mine]
    expect(kinds[-1:] == ["ACK"] and "REQUEST" in kinds, f"on the trunk: {', '.join(kinds)}")
    others = [frame for frame in mine if frame.tags != line.tags]
    expect(not others, f"tags that are not the line's: {others[:1]}")
    tagged = inside.matching(lambda frame: frame.tags)
    expect(not tagged, f"the customer saw tags: {tagged[:1]}")
    expect(customer.address == lease.address, f"told {lease.address}, configured {customer.address}")
    return f"{lease.interface} by {client}; {' '.join(kinds)} on the trunk, each in {tags(line.tags)}"


@claim(
    "A customer behind two VLAN tags gets an address by DHCP",
    Mutant("unauthorized", "authorization.default is taken out", {"authorization": {"default": None}}),
)
def lease(story: Story) -> str:
    return _dhcp_story(story, 0, "udhcpc")


@claim(
    "It reaches the internet: tagged on the access side, plain IP on the core side",
    Mutant(
        "forwarding-off",
        "net.ipv4.ip_forward is set to 0 under the gateway",
        at="before-ping",
        action=lambda story: story.lab.gateway.namespace.sysctl({"ipv4/ip_forward": 0}),
    ),
)
def internet(story: Story) -> str:
    customer, address = story.customer(0)
    server = story.lab.server_address
    story.reached("before-ping")
    with story.lab.access_node.trunk.capture() as trunk, story.lab.router.capture() as core:
        result = customer.ping(server, count=5)
        trunk.settle()
        expect(result, f"{result.received} of {result.sent} echo replies from {server}")
        asked = core.wait_for(lambda f: f.icmp == (ECHO, 0) and not f.outgoing, count=5)
    expect(all(f.ip and f.ip.source == address and not f.tags for f in asked), f"on the core: {asked[0]}")
    up = trunk.matching(lambda f: f.icmp == (ECHO, 0) and f.tags == customer.line.tags)
    down = trunk.matching(lambda f: f.icmp == (ECHO_REPLY, 0) and f.tags == customer.line.tags)
    expect(len(up) == len(down) == 5, f"on the trunk {len(up)} requests and {len(down)} replies with both tags")
    return f"5 of 5 echoes; core: untagged from {address}; trunk: {tags(customer.line.tags)} both ways"


@claim(
    "A spoofed source is dropped and counted, the honest packet behind it passes",
    Mutant("antispoof-off", "authorization.antispoof = false", {"authorization": {"antispoof": False}}),
)
def antispoof(story: Story) -> str:
    customer, address = story.customer(0)
    _, neighbour = story.customer(1)
    stolen = (neighbour, IPv4Address("203.0.113.66"), story.lab.pool_gateway, address + 512)
    before = story.drops("spoofed-ipv4")
    with story.lab.router.capture() as core:
        for source in stolen:
            customer.send_raw(story.datagram(customer, source, b"stolen"))
        customer.send_raw(story.datagram(customer, address, b"honest"))
        core.wait_for(lambda f: f.udp_payload.startswith(b"honest"), what="honest packet")
    passed = core.matching(lambda f: f.udp_payload.startswith(b"stolen"))
    expect(not passed, f"{len(passed)} of {len(stolen)} spoofed packets passed, the first: {passed[:1]}")
    counted = story.drops("spoofed-ipv4") - before
    expect(counted == len(stolen), f"drop counter spoofed-ipv4 +{counted}, {len(stolen)} were sent")
    return f"{len(stolen)} sent, none on the core, drop counter spoofed-ipv4 +{counted}; honest packet arrived"


@claim(
    "A second client, dhclient, is served on another line",
    Mutant(
        "pool-of-one",
        "the pool is cut down to one address",
        {"pool": {"exclude": ["100.64.0.3-100.64.3.254"]}},
    ),
)
def second_line(story: Story) -> str:
    _, first = story.customer(0)
    evidence = _dhcp_story(story, 1, "dhclient")
    _, second = story.customer(1)
    expect(first != second, f"both have {first}")
    return evidence


@claim(
    "Customers of one subnet reach each other through the gateway",
    Mutant(
        "neighbour-cleared",
        "the neighbour's session is ended by the operator",
        at="before-neighbour",
        action=lambda story: _clear(story, 1),
    ),
)
def neighbours(story: Story) -> str:
    (first, here), (second, there) = story.customer(0), story.customer(1)
    story.reached("before-neighbour")
    with second.capture() as inside, story.lab.router.capture() as core:
        result = first.ping(there, count=5)
        expect(result, f"{result.received} of {result.sent} echo replies from {there}")
        asked = inside.wait_for(lambda f: f.icmp == (ECHO, 0) and not f.outgoing, count=5)
    sources = {Mac(frame.source) for frame in asked}
    expect(sources == {GATEWAY_ACCESS_MAC}, f"came from {', '.join(map(str, sources))}, not from the gateway")
    ttls = {frame.ip.ttl for frame in asked if frame.ip}
    expect(ttls == {63}, f"TTL was 64 and arrived as {ttls}: not routed once")
    expect(not core.matching(lambda f: f.icmp), "the packets went by the core")
    return f"{here} and {there}: 5 of 5 echoes, TTL one less, from the gateway's MAC, none by the core"


@claim(
    "IP packets of 1,500 octets pass whole, both ways",
    Mutant(
        "small-mtu",
        "the access link's MTU is set to 1,500 under the gateway",
        at="before-full-size",
        action=lambda story: story.lab.gateway.namespace.ip("link set acc0 mtu 1500"),
    ),
)
def full_size(story: Story) -> str:
    customer, _ = story.customer(0)
    story.reached("before-full-size")
    with story.lab.access_node.trunk.capture() as trunk:
        result = customer.ping(story.lab.server_address, count=3, size=FULL_SIZE, df=True)
        expect(result, f"{result.received} of {result.sent} echo replies")
        trunk.settle()
    frames = trunk.matching(lambda f: f.icmp in ((ECHO, 0), (ECHO_REPLY, 0)))
    sizes = {len(frame.data) for frame in frames}
    expect(sizes == {1522}, f"frames of {sizes} octets on the trunk")
    expect(all(f.ip and f.ip.dont_fragment for f in frames if f.outgoing), "DF was lost")
    return f"3 of 3 echoes with DF; {len(frames)} frames of 1,522 octets on the trunk, none fragmented"


@claim(
    "A packet whose TTL ends here is answered by the gateway",
    Mutant(
        "host-link-down",
        "the link from the data plane to the kernel is down",
        at="before-ttl",
        action=lambda story: story.lab.gateway.namespace.ip("link set wl-default down"),
    ),
)
def time_exceeded(story: Story) -> str:
    customer, address = story.customer(0)
    story.reached("before-ttl")
    with customer.capture() as inside:
        hops = customer.hops(story.lab.server_address, most=4)
        expected = [story.lab.pool_gateway, story.lab.router_address, story.lab.server_address]
        expect(hops == list(map(str, expected)), f"hops: {', '.join(hops)}")
        told = inside.matching(lambda f: f.icmp == (TIME_EXCEEDED, 0))
    expect(all(f.ip and f.ip.destination == address for f in told), f"told: {told[:1]}")
    return f"hops {' > '.join(hops)}; {len(told)} ICMP time exceeded"


@claim(
    "An address that is leased is not leased again",
    Mutant(
        "owner-cleared",
        "the owner's session is ended by the operator before the other asks",
        at="before-second-owner",
        action=lambda story: _clear(story, 0),
    ),
)
def one_owner(story: Story) -> str:
    _, owned = story.customer(0)
    story.reached("before-second-owner")
    thief = story.lab.customers[2]
    thief.forget()
    given = thief.dhcp("udhcpc", "-t", "3", request=owned, timeout=8)
    expect(given.address != owned, f"{owned} was given to a second customer")
    expect(story.customer(0)[0].ping(story.lab.server_address, count=1), f"the owner of {owned} is cut off")
    return f"{thief.line} asked for {owned} and was given {given.address}; the owner still has {owned}"


@claim(
    "kill -9 of the gateway's process loses no packet",
    Mutant(
        "pins-removed",
        "the pinned data plane is removed as the process dies",
        at="killed",
        action=lambda story: objects.unpin(PINS / story.lab.instance),
    ),
)
def survives_kill(story: Story) -> str:
    customer, _ = story.customer(0)
    with customer.pinging(story.lab.server_address) as pinging:
        pinging.wait_for(20)
        story.lab.gateway.kill9()
        story.reached("killed")
        pinging.wait_for(50, timeout=4)
        expect(not story.lab.gateway.process or not story.lab.gateway.process.alive, "the process lives")
        result = pinging.stop()
    expect(not result.missing, f"echoes {result.missing} were lost")
    return f"{result.received} echoes, 50 of them after SIGKILL, none lost"


@claim(
    "With its process killed, a customer that comes back has its address at once, from the data plane",
    Mutant("kernel-dhcp-off", "gateway.kernel_dhcp = false", {"gateway": {"kernel_dhcp": False}}),
)
def kernel_dhcp(story: Story) -> str:
    customer, address = story.customer(0)
    story.lab.gateway.kill9()
    customer.forget()
    with story.lab.access_node.trunk.capture() as trunk:
        began = time.monotonic()
        lease = customer.dhcp("udhcpc", "-t", "3", timeout=8)
        took = time.monotonic() - began
        trunk.settle()
    expect(lease.address == address, f"it had {address} and was given {lease.address}")
    mine = trunk.matching(lambda f: f.is_dhcp and customer.mac in (f.source, f.udp_payload[28:34]))
    kinds = [DHCP_NAMES[dict(dhcp_options(frame.udp_payload))[53][0]] for frame in mine]
    expect(kinds[-1:] == ["ACK"], f"on the trunk: {', '.join(kinds)}")
    expect(customer.ping(story.lab.server_address), "the server does not answer its pings")
    return f"no bng process; {' '.join(kinds)} within {took:.1f}s; {address} again, and pings"


@claim(
    "Started again, it knows its sessions and renews them, and traffic never stops",
    Mutant(
        "store-lost",
        "the lease store is deleted before the restart",
        at="before-restart",
        action=lambda story: shutil.rmtree(story.lab.folder / "state"),
    ),
)
def survives_restart(story: Story) -> str:
    customer, address = story.customer(0)
    if customer.lease and not story.sessions(address=address):
        story.fresh(0)
    with customer.pinging(story.lab.server_address, interval=0.005) as pinging:
        pinging.wait_for(5)
        story.lab.gateway.kill9()
        story.reached("before-restart")
        story.lab.gateway.restart()
        found = story.sessions(address=address)
        expect(found, f"{address} is not among the sessions")
        pinging.wait_for(50, timeout=4)
        result = pinging.stop()
    expect(not result.missing, f"echoes {result.missing} were lost")
    repaired = story.lab.gateway.get("/repaired")
    expect(not repaired, f"tables and store disagreed: {repaired[:3]}")
    renewed = customer.renew()
    expect(renewed.address == address, f"renewed {renewed.address}, not {address}")
    session = found[0]
    return f"session {session['id']} of {address} {session['phase']}, nothing to repair; renewed; no echo lost"


@claim(
    "A released address is free again, and dead to its last owner",
    Mutant(
        "release-lost",
        "the cable is out while the client releases",
        at="before-release",
        action=lambda story: story.lab.access_node.namespace.ip("link set trunk down"),
    ),
)
def release(story: Story) -> str:
    customer, lease = story.fresh(2)
    address, before, dropped = lease.address, story.held(), story.drops("no-session")
    story.reached("before-release")
    customer.release()
    wait_until(lambda: story.held() == before - 1, lambda: f"free address: {before} are held", timeout=4)
    with story.lab.router.capture() as core:
        customer.send_raw(story.datagram(customer, address, b"late"))
        wait_until(lambda: story.drops("no-session") > dropped, "drop of the last owner's packet", timeout=4)
    expect(not core.matching(lambda f: f.udp_payload.startswith(b"late")), "a packet of the last owner passed")
    customer.change_mac(SPARE_MAC)
    customer.move(SPARE_LINE)
    again = customer.dhcp("udhcpc", "-t", "3", request=address, timeout=8)
    expect(again.address == address, f"another client asked for {address} and was given {again.address}")
    return f"{address}: held {before} → {before - 1}; {SPARE_MAC} on {SPARE_LINE} was given it next"


def _clear(story: Story, number: int) -> None:
    """End a customer's session as an operator does."""
    _, address = story.customer(number)
    for session in story.sessions(address=address):
        story.lab.gateway.request("DELETE", f"/sessions/{session['id']}")
    wait_until(lambda: not story.sessions(address=address), "end of the session")

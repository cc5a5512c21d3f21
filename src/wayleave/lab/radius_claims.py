"""What the gateway claims of RADIUS, proved with FreeRADIUS at the router's place: `claims` says how."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any

from wayleave.dataplane import objects
from wayleave.lab.claims import DHCP_NAMES, DISCARD_PORT, PASSWORD, USER, Story, claim
from wayleave.lab.customer import Customer, Lease, NoLease
from wayleave.lab.packet import Frame, dhcp_options
from wayleave.lab.pppoe_claims import dialled
from wayleave.lab.radius import RadiusServer
from wayleave.lab.scene import Mutant, expect
from wayleave.lab.topology import PINS, customer_mac
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.proto.pppoe.packet import Code

ACCEPTED, REJECTED = 0, 1
NAME_SERVER = IPv4Address("192.0.2.53")
USERS = f"""
{customer_mac(ACCEPTED)} Cleartext-Password := "{customer_mac(ACCEPTED)}"
\tFilter-Id = "gold", MS-Primary-DNS-Server = {NAME_SERVER}

{USER} Cleartext-Password := "{PASSWORD}"

DEFAULT Auth-Type := Reject
\tReply-Message = "not a customer of ours"
"""
_CODES = {
    1: "Access-Request",
    2: "Access-Accept",
    3: "Access-Reject",
    40: "Disconnect-Request",
    41: "Disconnect-ACK",
    43: "CoA-Request",
    44: "CoA-ACK",
}
_ACCESS, _DYNAUTH = 1812, 3799


def forwarded(frames: Iterable[Frame], mac: Mac) -> tuple[tuple[int, int], tuple[int, int]]:
    """Packets and octets of IPv4 that a customer sent, and got: all but DHCP, which the gateway speaks itself."""
    counts = {True: (0, 0), False: (0, 0)}
    for frame in frames:
        if frame.ip is not None and not frame.is_dhcp:
            sent = frame.source == bytes(mac)
            packets, total = counts[sent]
            counts[sent] = packets + 1, total + frame.ip.length
    return counts[True], counts[False]


def _spoken(frames: Iterable[Frame], port: int) -> list[str]:
    """The RADIUS packets among what was captured, by their codes."""
    return [_CODES.get(frame.udp_payload[0], "?") for frame in frames if frame.udp_ports and port in frame.udp_ports]


def _by_radius(story: Story) -> RadiusServer:
    """Have the tenant's newcomers decided about by a server, from a restart on; whoever is served stays."""
    if story.radius is None:
        story.radius = RadiusServer(story.lab.router, USERS)
        story.configure(tenant={"radius": "isp"})
        story.lab.gateway.stop()
        story.lab.gateway.start(story.config)
    return story.radius


def _newcomer(story: Story, number: int) -> Customer:
    """A customer that has nothing, and of whom the gateway has nothing."""
    customer = story.lab.customers[number]
    customer.forget()
    for session in story.sessions(mac=customer.mac):
        story.lab.gateway.request("DELETE", f"/sessions/{session['id']}")
    wait_until(lambda: not story.sessions(mac=customer.mac), "the end of what was there")
    return customer


def _served(story: Story) -> tuple[Customer, Lease, dict[str, Any]]:
    """The accepted customer, fresh, with its lease and session."""
    customer = _newcomer(story, ACCEPTED)
    lease = customer.dhcp("udhcpc", "-t", "3", timeout=8)
    (session,) = story.sessions(mac=customer.mac)
    return customer, lease, session


@claim(
    "A RADIUS server decides before an address is offered; what it sells reaches the client",
    Mutant(
        "attributes-ignored",
        'ignore = ["Filter-Id", "MS-Primary-DNS-Server"] in the servers\' group',
        {"radius": {"ignore": ["Filter-Id", "MS-Primary-DNS-Server"]}},
    ),
)
def radius_accepts(story: Story) -> str:
    _by_radius(story)
    with story.lab.router.capture() as core, story.lab.customers[ACCEPTED].capture() as inside:
        customer, lease, session = _served(story)
    asked = core.matching(lambda f: f.udp_ports and _ACCESS in f.udp_ports)
    spoken = _spoken(asked, _ACCESS)
    expect(spoken == ["Access-Request", "Access-Accept"], f"on the core: {', '.join(spoken) or 'no RADIUS'}")
    told = {DHCP_NAMES[options[53][0]]: (frame.at, options) for frame, options in _dhcp(inside.frames, customer)}
    expect(asked[-1].at < told["OFFER"][0], "the address was offered before the server had accepted")
    expect(told["ACK"][1][6] == NAME_SERVER.packed, f"its name server is {IPv4Address(told['ACK'][1][6][:4])}")
    expect(session["service"] == "gold", f"its service is {session['service']}")
    expect(customer.ping(story.lab.server_address), "the server does not answer its pings")
    return f"{' '.join(spoken)}, then OFFER; {lease.address}, service gold, name server {NAME_SERVER} in the ACK"


def _dhcp(frames: Iterable[Frame], customer: Customer) -> list[tuple[Frame, dict[int, bytes]]]:
    mine = [f for f in frames if f.is_dhcp and f.udp_payload[28:34] == bytes(customer.mac)]
    return [(frame, dict(dhcp_options(frame.udp_payload))) for frame in mine]


@claim(
    "Whom the server rejects is offered nothing, and the operator reads why",
    Mutant("radius-off", "the tenant names no group of RADIUS servers", {"tenant": {"radius": None}}),
)
def radius_rejects(story: Story) -> str:
    _by_radius(story)
    customer = _newcomer(story, REJECTED)
    with story.lab.router.capture() as core, story.lab.access_node.trunk.capture() as trunk:
        try:
            given = customer.dhcp("udhcpc", "-t", "1", timeout=4).address
        except NoLease:
            given = None
        trunk.settle()
    kinds = [DHCP_NAMES[options[53][0]] for _, options in _dhcp(trunk.frames, customer)]
    expect(given is None and "OFFER" not in kinds, f"it was given {given}: {' '.join(kinds)}")
    spoken = _spoken(core.frames, _ACCESS)
    expect(spoken == ["Access-Request", "Access-Reject"], f"on the core: {', '.join(spoken) or 'no RADIUS'}")
    _, told = story.lab.gateway.request("GET", f"/diagnose?mac={customer.mac}")
    expect(told["verdict"] == "radius-rejected", f"its diagnosis is {told['verdict']}: {told['says']}")
    return f"{' '.join(kinds)} and no OFFER on the trunk; {' '.join(spoken)}; diagnosis: {told['says']}"


@claim(
    "A CoA changes a live session's rate, and no echo is lost",
    Mutant("no-controllers", "no controller is configured", {"controllers": {"known": False}}),
)
def coa(story: Story) -> str:
    server = _by_radius(story)
    customer, lease, session = _served(story)
    before = _burst(story, customer, lease.address)
    expect(before == BURST, f"{before} of a burst of {BURST} packets passed before the rate was changed")
    with story.lab.router.capture() as core, customer.pinging(story.lab.server_address) as pinging:
        pinging.wait_for(10)
        wanted = f"Acct-Session-Id = {session['accounting']}\nWayleave-Rate-Up = 100"
        server.radclient(story.lab.core.ip, "coa", wanted)
        pinging.wait_for(10)
        result = pinging.stop()
    spoken = _spoken(core.frames, _DYNAUTH)
    expect("CoA-ACK" in spoken, f"on the core: {', '.join(spoken) or 'no CoA'}")
    expect(not result.missing, f"echoes {result.missing} were lost")
    after = _burst(story, customer, lease.address)
    expect(0 < after < BURST, f"{after} of a burst of {BURST} packets passed after the rate was changed")
    (changed,) = story.sessions(mac=customer.mac)
    expect(changed["accounting"] == session["accounting"], "it is another session")
    return f"{' '.join(spoken)}; {result.received} echoes, none lost; of {BURST} packets at once {after} pass now"


BURST = 100
"""Packets of 1,000 octets at once: gold lets them pass, 100 kbit/s does not, however slowly they are sent."""


def _burst(story: Story, customer: Customer, address: IPv4Address) -> int:
    """How many of a burst arrive; an honest ping behind them says that all are through."""
    with story.lab.router.capture() as core:
        for _ in range(BURST):
            customer.send_raw(story.datagram(customer, address, bytes(972)))
        wait_until(lambda: customer.ping(story.lab.server_address, count=1, timeout=0.3), "an echo behind the burst")
    return len(core.matching(lambda f: f.udp_ports and f.udp_ports[1] == DISCARD_PORT and not f.outgoing))


@claim(
    "The server is accounted just the octets that were on the wire, and why the session ended",
    Mutant(
        "counters-lost",
        "the data plane is removed, and its counters with it, before the session ends",
        at="before-stop",
        action=lambda story: _lose_counters(story),
    ),
)
def accounted(story: Story) -> str:
    server = _by_radius(story)
    customer = story.lab.customers[ACCEPTED]
    with customer.capture() as inside:
        _, _, session = _served(story)
        result = customer.ping(story.lab.server_address, count=10, size=1000)
        expect(result, f"{result.received} of {result.sent} echo replies")
        story.reached("before-stop")
        customer.release()
    name = session["accounting"]

    def records() -> list[dict[str, list[str]]]:
        return [record for record in server.accounted() if record.get("Acct-Session-Id") == [name]]

    wait_until(lambda: len(records()) == 2, lambda: f"Start and Stop of {name}: {records()}", timeout=6)
    begun, ended = records()
    kinds = [record["Acct-Status-Type"][0] for record in (begun, ended)]
    expect(kinds == ["Start", "Stop"], f"it was told of {' '.join(kinds)}")
    said = [(int(ended[f"Acct-{way}-Packets"][0]), int(ended[f"Acct-{way}-Octets"][0])) for way in ("Input", "Output")]
    seen = [*forwarded(inside.frames, customer.mac)]
    expect(said == seen, f"packets and octets up and down: {seen} on the wire, {said} accounted")
    expect(ended["Acct-Terminate-Cause"] == ["User-Request"], f"it ended by {ended['Acct-Terminate-Cause']}")
    (up, up_octets), (down, down_octets) = seen
    return (
        f"Start, Stop (User-Request): {up} packets, {up_octets} octets up, {down} and {down_octets} down, as captured"
    )


def _lose_counters(story: Story) -> None:
    story.lab.gateway.kill9()
    objects.unpin(PINS / story.lab.instance)
    story.lab.gateway.restart()


@claim(
    "A Disconnect by User-Name cuts who dialled off with a PADT; its next dial is served",
    Mutant("nobody-may-disconnect", "no controller is configured", {"controllers": {"known": False}}),
)
def disconnect(story: Story) -> str:
    server = _by_radius(story)
    customer, before = dialled(story)
    (session,) = story.sessions(mac=customer.mac)
    with story.lab.router.capture() as core, story.lab.access_node.trunk.capture() as trunk:
        server.radclient(story.lab.core.ip, "disconnect", f"User-Name = {USER}")
        spoken = _spoken(core.frames, _DYNAUTH)
        expect("Disconnect-ACK" in spoken, f"on the core: {', '.join(spoken) or 'no Disconnect'}")
        trunk.wait_for(lambda f: f.discovery and f.discovery.code == Code.PADT, what="PADT")
        wait_until(lambda: not story.sessions(mac=customer.mac), "the end of its session")
    _, again = dialled(story)
    (anew,) = story.sessions(mac=customer.mac)
    expect(anew["accounting"] != session["accounting"], "it is the same session")
    expect(customer.ping(story.lab.server_address), "the server does not answer its pings after the second dial")
    return f"{' '.join(spoken)}, PADT; PPPoE session {before.session_id}, then {again.session_id} with {again.address}"

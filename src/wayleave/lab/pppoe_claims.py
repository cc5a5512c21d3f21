"""What the gateway claims of PPPoE, proved with a client on the VLAN of one that has DHCP: `claims` says how."""

from __future__ import annotations

import shutil

from wayleave.lab.claims import PASSWORD, USER, Story, claim, tags
from wayleave.lab.customer import Customer
from wayleave.lab.packet import ECHO, Frame
from wayleave.lab.pppoe import Connection, NoConnection
from wayleave.lab.scene import Mutant, expect
from wayleave.proto.ppp.packet import Code as Ppp
from wayleave.proto.ppp.packet import Protocol
from wayleave.proto.pppoe.packet import Code

BESIDE, DIALS = 0, 3
"""Customers on one VLAN."""


def dialled(story: Story, *options: str) -> tuple[Customer, Connection]:
    """The customer that dials, fresh, with what it was told. Its box asks the gateway every second whether it lives."""
    customer = story.lab.customers[DIALS]
    customer.forget()
    return customer, customer.pppoe(USER, PASSWORD, "--keepalive", "1", *options, timeout=8)


def _spoken(frame: Frame) -> str:
    """What a control packet says, as `PADI` or `CHAP 1`; empty: it is none."""
    if frame.discovery is not None:
        return Code(frame.discovery.code).name
    if frame.control is not None:
        protocol, code = frame.control
        return f"{Protocol(protocol).name} {code}"
    return ""


def _answer(frame: Frame) -> bool:
    return frame.control == (Protocol.LCP, Ppp.ECHO_REPLY) and not frame.outgoing


@claim(
    "A customer dials with PPPoE and proves its name by CHAP, on the VLAN where another has DHCP; both surf",
    Mutant("pppoe-not-served", 'protocols = ["ipoe"] on the port', {"subscriber": {"protocols": ["ipoe"]}}),
)
def pppoe(story: Story) -> str:
    server = story.lab.server_address
    beside, address = story.customer(BESIDE)
    with story.lab.access_node.trunk.capture() as trunk, story.lab.router.capture() as core:
        customer, told = dialled(story)
        expect(customer.ping(server), f"{server} does not answer who dialled")
        expect(beside.ping(server), f"{server} does not answer who has DHCP")
        trunk.settle()
    spoken = [words for frame in trunk.frames if (words := _spoken(frame))]
    expect(spoken[:4] == ["PADI", "PADO", "PADR", "PADS"], f"on the trunk: {', '.join(spoken[:4])}")
    expect(any(words.startswith("CHAP") for words in spoken), "nobody was asked for a password")
    here = {frame.tags for frame in trunk.frames}
    expect(here == {customer.line.tags}, f"tags on the trunk: {here}")
    sources = {frame.ip.source for frame in core.frames if frame.ip and frame.icmp == (ECHO, 0)}
    expect(sources == {told.address, address}, f"echo requests on the core come from {sources}")
    return (
        f"{' '.join(spoken[:4])}, CHAP: {told.address} in session {told.session_id}, and {address} by DHCP, both in "
        f"{tags(customer.line.tags)}; plain IP on the core"
    )


@claim(
    "Who says a wrong password is told so and gets no address, and the operator reads why",
    Mutant("nobody-asked", "authentication = [] of PPPoE", {"pppoe": {"authentication": []}}),
)
def wrong_password(story: Story) -> str:
    customer = story.lab.customers[DIALS]
    customer.forget()
    with story.lab.access_node.trunk.capture() as trunk:
        try:
            given = customer.pppoe(USER, "guessed", timeout=8).address
        except NoConnection as error:
            given, words = None, " ".join(filter(None, (error.reason, error.message)))
        trunk.settle()
    expect(given is None, f"it was given {given}")
    agreed = [frame for frame in trunk.frames if frame.control and frame.control[0] == Protocol.IPCP]
    expect(not agreed, "addresses were negotiated")
    _, told = story.lab.gateway.request("GET", f"/diagnose?mac={customer.mac}")
    expect(told["verdict"] == "wrong-password", f"its diagnosis is {told['verdict']}: {told['says']}")
    return f"{words}; no IPCP on the trunk; diagnosis: {told['says']}"


@claim(
    "kill -9 and a restart: a PPPoE session goes on without a lost echo, and the kernel answers its keepalives",
    Mutant(
        "calls-lost",
        "the lease store is deleted before the restart",
        at="before-redial",
        action=lambda story: shutil.rmtree(story.lab.folder / "state"),
    ),
)
def pppoe_survives(story: Story) -> str:
    customer, told = dialled(story)
    (session,) = story.sessions(mac=customer.mac)
    with (
        story.lab.access_node.trunk.capture() as trunk,
        customer.pinging(story.lab.server_address, interval=0.005) as pinging,
    ):
        pinging.wait_for(5)
        story.lab.gateway.kill9()
        before = len(trunk.frames)
        answered = len(trunk.matching(_answer))
        trunk.wait_for(_answer, count=answered + 2, what="echo reply of the kernel")
        story.reached("before-redial")
        story.lab.gateway.restart()
        found = story.sessions(mac=customer.mac)
        expect([item["id"] for item in found] == [session["id"]], f"{told.address} is not among the sessions")
        pinging.wait_for(50, timeout=4)
        result = pinging.stop()
        trunk.settle()
    expect(not result.missing, f"echoes {result.missing} were lost")
    echoes = {f"LCP {Ppp.ECHO_REQUEST}", f"LCP {Ppp.ECHO_REPLY}"}
    others = [words for frame in trunk.frames[before:] if (words := _spoken(frame)) and words not in echoes]
    expect(not others, f"it was negotiated anew: {', '.join(others)}")
    return (
        f"session {told.session_id} of {told.address} went on: {result.received} echoes, none lost; keepalives answered"
    )

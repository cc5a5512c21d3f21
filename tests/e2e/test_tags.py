"""Whatever tags a line has, its customer gets a lease and traffic, and what comes back carries the line's tags."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import ECHO, ECHO_REPLY, QINQ, VLAN, Tag
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab

from .dhcp import ACK, OFFER, messages
from .watch import sessions

# A priority tag (VID 0) stands for no tag: IP comes back without. The access node then delivers by MAC among the lines
# of the VLAN, hence the neighbour without one behind each.
LINES = {
    "priority-tagged": Line(0, None, (VLAN, VLAN), (5, 0)),
    "untagged": Line(),
    "one 0x8100": Line(10, None, (VLAN, VLAN)),
    "one 0x88a8": Line(11, None, (QINQ, VLAN)),
    "0x8100 in 0x8100": Line(20, 5, (VLAN, VLAN)),
    "0x8100 in 0x88a8": Line(21, 5, (QINQ, VLAN)),
    "0x88a8 in 0x8100": Line(22, 5, (VLAN, QINQ)),
    "0x88a8 in 0x88a8": Line(23, 5, (QINQ, QINQ)),
    "S equal to C": Line(30, 30),
    "S equal to C, 0x8100 twice": Line(31, 31, (VLAN, VLAN)),
    "S and C the other way round": Line(5, 20, (VLAN, VLAN)),
    "the highest VIDs": Line(4094, 4094),
    "priorities in both": Line(40, 6, (QINQ, VLAN), (3, 7)),
    "priority tag inside": Line(50, 0, (QINQ, VLAN), (0, 5)),
    "its neighbour without": Line(50),
    "priority tag outside": Line(0, 60, (QINQ, VLAN), (5, 0)),
    "its neighbour with one tag": Line(60, None, (VLAN, VLAN)),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(list(LINES.values())) as lab:
        lab.gateway.start(lab.config())
        yield lab


@pytest.mark.parametrize("name", LINES)
def test_a_line_gets_lease_and_traffic_in_its_own_tags(lab: Lab, name: str) -> None:
    line = LINES[name]
    customer = lab.customers[list(LINES).index(name)]
    with lab.access_node.trunk.capture() as trunk:
        lease = customer.dhcp("udhcpc")
        if any(not tag.vid for tag in line.tags):  # the access node drops ARP's answer, which keeps the VID 0
            customer.namespace.ip(f"neigh replace {lease.router} lladdr {GATEWAY_ACCESS_MAC} dev {customer.device}")
        assert customer.ping(lab.server_address)
        trunk.settle()
    mine = trunk.matching(lambda f: customer.mac in (f.destination, f.source))
    assert {frame.tags for frame in mine if frame.outgoing} == {line.tags}
    assert {frame.tags for frame in mine if not frame.outgoing and frame.ip} == {_returned(line)}
    assert {frame.tags for frame in mine if not frame.outgoing and frame.arp} <= {line.tags}
    assert len(messages(mine, OFFER, ACK)) == 2
    echoes = [frame.icmp for frame in mine if frame.icmp]
    assert echoes.count((ECHO, 0)) == echoes.count((ECHO_REPLY, 0)) == 3
    (session,) = sessions(lab.gateway, address=lease.address)
    assert session["line"] == _spoken(line)


def _returned(line: Line) -> tuple[Tag, ...]:
    """A line's tags without priorities, and without those that are nothing but one."""
    return tuple(Tag(tag.tpid, tag.vid) for tag in line.tags if tag.vid)


def _spoken(line: Line) -> str:
    vids = ".".join(str(tag.vid) for tag in _returned(line))
    return f"1:{vids}" if vids else "1"

"""A MAC is a client's name on its line only: the same one elsewhere is somebody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.packet import ECHO
from wayleave.lab.topology import Lab
from wayleave.net.mac import Mac

from .watch import sessions

LINES = (Line(100, 1), Line(100, 2), Line(1, 100), Line(100))
MAC = Mac.parse("02:c0:de:00:00:01")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LINES) as lab:
        for customer in lab.customers:
            customer.change_mac(MAC)
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


def test_one_mac_on_four_lines_is_four_sessions(lab: Lab) -> None:
    found = sessions(lab.gateway, mac=MAC)
    assert sorted(item["line"] for item in found) == ["1:1.100", "1:100", "1:100.1", "1:100.2"]
    assert len({item["address"] for item in found}) == len(LINES)
    assert {item["address"] for item in found} == {str(customer.address) for customer in lab.customers}


def test_each_has_its_own_traffic(lab: Lab) -> None:
    for customer in lab.customers:
        others = [other for other in lab.customers if other is not customer]
        captures = [other.capture() for other in others]
        assert customer.ping(lab.server_address)
        for capture in captures:
            capture.close()
            assert not capture.matching(lambda f: f.icmp), f"{customer.line}'s packets came out at {capture.where}"


def test_they_reach_each_other(lab: Lab) -> None:
    first, second = lab.customers[:2]
    assert second.address is not None
    with second.capture() as inside:
        assert first.ping(second.address)
    asked = inside.matching(lambda f: f.icmp == (ECHO, 0) and not f.outgoing)
    assert {frame.ip.source for frame in asked if frame.ip} == {first.address}


def test_ones_release_leaves_the_others_alone(lab: Lab) -> None:
    leaving, staying = lab.customers[0], lab.customers[1]
    leaving.release()
    assert sorted(item["line"] for item in sessions(lab.gateway, phase="active")) == ["1:1.100", "1:100", "1:100.2"]
    assert staying.ping(lab.server_address)
    leaving.dhcp("udhcpc")

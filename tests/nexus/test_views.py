"""What gateways are told is what they read from a subscribers file."""

from __future__ import annotations

import json
from ipaddress import IPv4Address

import pytest

from wayleave.aaa import local
from wayleave.net.mac import Mac
from wayleave.nexus import model
from wayleave.nexus.model import Line, Provider, Subscriber
from wayleave.nexus.views import View, project
from wayleave.session.model import Line as Place

ACME = Provider("acme", "acme-tenant", "acme-home", "fast")
LINE = Line("line-1", "edge-1", 1, 100, 200, "olt-7 1/2/3")


def test_what_is_empty_is_left_out() -> None:
    view = project(Subscriber("alice", "acme", "line-1"), LINE, ACME)
    assert json.loads(model.encode(view)) == {
        "name": "alice",
        "line": "1:100.200/olt-7 1/2/3",
        "tenant": "acme-tenant",
        "pool": "acme-home",
        "service": "fast",
    }


def test_what_a_subscriber_has_of_its_own_is_instead_of_the_providers() -> None:
    own = Subscriber("alice", "acme", "line-1", pool="acme-business", service="faster")
    assert project(own, LINE, ACME) == View(
        "alice", line=LINE.place, pool="acme-business", tenant="acme-tenant", service="faster"
    )


def test_a_gateway_reads_it_as_an_entry_of_its_subscribers_file() -> None:
    subscriber = Subscriber(
        "alice", "acme", "line-1", "02:00:00:00:00:01", "alice", "", "acme.example", "192.0.2.7", "", 3, blocked=True
    )
    told = json.loads(model.encode(project(subscriber, LINE, ACME)))
    read = local.Subscriber.model_validate(told)
    assert read.model_dump() == {
        "name": "alice",
        "user": "alice@acme.example",
        "mac": Mac.parse("02:00:00:00:00:01"),
        "line": Place(1, 100, 200, b"olt-7 1/2/3"),
        "circuit": None,
        "pool": "acme-home",
        "address": IPv4Address("192.0.2.7"),
        "tenant": "acme-tenant",
        "service": "fast",
        "limit": 3,
        "antispoof": True,
        "blocked": True,
    }


@pytest.mark.parametrize(
    "line",
    [Line("l", "n", 1), Line("l", "n", 255, 7), Line("l", "n", 1, 7, 9), Line("l", "n", 1, circuit="a:b/c.d")],
)
def test_a_place_is_what_a_gateway_reads(line: Line) -> None:
    assert Place.parse(line.place) == Place(line.port, line.svid, line.cvid, line.circuit.encode())

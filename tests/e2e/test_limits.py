"""How many clients a line may have, and who makes room."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import NoLease
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

from .watch import Meter, refused, sessions

LINE = Line(100)
IMPATIENT = """
from wayleave.net.units import SECOND
from wayleave.session import table
table.SILENT = 3 * SECOND
from wayleave.cli.bng import main
main()
"""
"""`bng`, but a client may be replaced after three seconds of silence instead of a minute."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Four customers on one line, which may have three."""
    with Lab([LINE] * 4) as lab:
        yield lab


def test_a_full_line_refuses(lab: Lab) -> None:
    lab.gateway.start(lab.config(subscriber={"clients": 3, "at_limit": "refuse"}))
    *first, last = lab.customers
    for customer in first:
        customer.dhcp("udhcpc")
    full = refused(lab.gateway, "line-full")
    with pytest.raises(NoLease):
        last.dhcp("udhcpc", "-t", "1")
    assert full.grown == 1
    assert len(sessions(lab.gateway)) == 3
    assert all(customer.ping(lab.server_address) for customer in first)
    first[0].release()
    wait_until(lambda: len(sessions(lab.gateway)) == 2, "room")
    assert last.dhcp("udhcpc")
    assert last.ping(lab.server_address)


def test_a_full_line_replaces_who_is_silent_longest(lab: Lab) -> None:
    gateway = lab.gateway
    gateway.config_file.write_text(lab.config(subscriber={"clients": 3, "at_limit": "replace"}))
    gateway.process = gateway.spawn(sys.executable, "-c", IMPATIENT, "run", "--config", str(gateway.config_file))
    gateway.wait_ready()
    silent, *talking, new = lab.customers
    for customer in (silent, *talking):
        customer.dhcp("udhcpc")
        assert customer.ping(lab.server_address)
    full = refused(gateway, "line-full")
    displaced = Meter(gateway, "sessions", "closed", "displaced")
    streams = [customer.pinging(lab.server_address, interval=0.1) for customer in talking]
    with silent.pinging(lab.server_address, interval=0.1) as not_yet:
        not_yet.wait_for(1)
        with pytest.raises(NoLease):
            new.dhcp("udhcpc", "-t", "1")
    assert (full.grown, displaced.grown) == (1, 0), "nobody has been silent for long enough"
    wait_until(lambda: sessions(gateway, mac=silent.mac)[0]["seen_s"] >= 4, "silence")
    assert new.dhcp("udhcpc")
    assert new.ping(lab.server_address)
    assert displaced.grown == 1
    results = [stream.stop() for stream in streams]
    assert all(result.received >= result.sent - 1 for result in results)
    served = {item["mac"] for item in sessions(gateway, phase="active")}
    assert served == {str(customer.mac) for customer in (*talking, new)}
    assert not silent.ping(lab.server_address, count=1, timeout=0.2)

"""No lease outlives its promise, whoever is dead: past it the data plane drops by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address

import pytest

from wayleave.dataplane.abi import DropReason
from wayleave.lab.access_node import Line
from wayleave.lab.packet import ECHO
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.units import SECOND, BootNs

from .pins import Pins
from .watch import dropped, pool, sessions

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


@pytest.fixture
def late(lab: Lab) -> Iterator[IPv4Address]:
    """The first customer's address; its promise ran out a second ago, and no gateway runs to notice."""
    lab.gateway.kill9()
    address, pins = lab.customers[0].address, Pins(lab)
    assert address is not None
    stands = pins.row(address).promise_until
    pins.change_row(address, promise_until=BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - SECOND))
    yield address
    assert lab.gateway.process is not None
    if not lab.gateway.process.alive:
        pins.change_row(address, promise_until=stands)


def _promise_past(lab: Lab) -> int:
    return Pins(lab).dropped(DropReason.PROMISE_PAST)


def test_the_promise_stands_in_the_row(lab: Lab) -> None:
    address = lab.customers[0].address
    assert address is not None
    ahead = (Pins(lab).row(address).promise_until - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / SECOND
    assert DAY_S - 60 < ahead <= DAY_S


def test_what_the_client_sends_is_dropped(lab: Lab, late: IPv4Address) -> None:
    before = _promise_past(lab)
    with lab.router.capture() as core:
        assert not lab.customers[0].ping(lab.server_address, count=3, timeout=0.2)
        assert lab.customers[1].ping(lab.server_address), "its neighbour's promise stands"
    assert not core.matching(lambda f: f.ip and f.ip.source == late)
    assert _promise_past(lab) - before >= 1, "its ARP, if not its pings"


def test_what_it_sends_to_a_known_mac_is_dropped_too(lab: Lab, late: IPv4Address) -> None:
    """With the gateway's MAC nailed down no ARP comes first: each of the pings is one drop."""
    customer = lab.customers[0]
    gateway = next(iter(lab.customers[1].arping(lab.pool_gateway)))
    customer.namespace.ip(f"neigh replace {lab.pool_gateway} lladdr {gateway} dev eth0 nud permanent")
    before = _promise_past(lab)
    with lab.router.capture() as core:
        assert not customer.ping(lab.server_address, count=5, timeout=0.2)
    customer.namespace.ip(f"neigh del {lab.pool_gateway} dev eth0")
    assert _promise_past(lab) - before == 5
    assert not core.matching(lambda f: f.ip and f.ip.source == late)


def test_what_is_sent_to_it_is_dropped(lab: Lab, late: IPv4Address) -> None:
    before = _promise_past(lab)
    with lab.access_node.trunk.capture() as trunk:
        assert not lab.server.ping(late, count=3, timeout=0.2)
        assert not lab.customers[1].ping(late, count=3, timeout=0.2)
        trunk.settle()
    assert not trunk.matching(lambda f: not f.outgoing and f.icmp == (ECHO, 0))
    assert _promise_past(lab) - before == 6


def test_a_restart_puts_the_promise_of_the_store_back(lab: Lab, late: IPv4Address) -> None:
    id_ = Pins(lab).row(late).id
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == [f"session {id_}: its row differed"]
    assert lab.customers[0].ping(lab.server_address)
    (session,) = sessions(lab.gateway, address=late)
    assert DAY_S - 120 < session["promise_s"] <= DAY_S


def _rewrite_disk(lab: Lab, address: IPv4Address, assignments: str, *values: object) -> None:
    """Change the record of a lease while no gateway has it open."""
    with closing(sqlite3.connect(lab.folder / "state" / "leases.sqlite")) as store, store:
        done = store.execute(f"UPDATE lease SET {assignments} WHERE address = ?", (*values, int(address)))
        assert done.rowcount == 1


def test_a_promise_that_ran_out_on_disk_frees_the_address(lab: Lab, late: IPv4Address) -> None:
    held = len(lab.customers)
    _rewrite_disk(lab, late, "promise_boot = ?", time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 60 * SECOND)
    lab.gateway.restart()
    wait_until(lambda: not sessions(lab.gateway, address=late), "end of the session")
    assert pool(lab.gateway)["held"] == held - 1
    unknown = dropped(lab.gateway, "no-session")
    assert not lab.customers[0].ping(lab.server_address, count=1, timeout=0.2)
    assert unknown.grown
    lab.customers[0].forget()
    assert lab.customers[0].dhcp("udhcpc").address == late, "its last holder is asked first"


@pytest.mark.parametrize(("ahead_s", "stands"), [(3600, True), (-60, False)], ids=["it stands", "it has passed"])
def test_after_a_reboot_the_wall_clock_counts(lab: Lab, ahead_s: int, stands: bool) -> None:
    """A record of another boot says nothing in boot time; the pinned maps are gone with the machine."""
    address = lab.customers[0].dhcp("udhcpc").address
    lab.gateway.kill9()
    _rewrite_disk(
        lab, address, "boot_id = 'another', promise_boot = 1, promise_utc = ?", time.time_ns() + ahead_s * SECOND
    )
    lab.gateway.bng("detach", "--config", str(lab.gateway.config_file))
    assert not lab.customers[0].ping(lab.server_address, count=1, timeout=0.2)
    lab.gateway.restart()
    if stands:
        (session,) = sessions(lab.gateway, address=address)
        assert ahead_s - 60 < session["promise_s"] <= ahead_s
        wait_until(lambda: lab.customers[0].ping(lab.server_address, count=1, timeout=0.2), "traffic", 5)
    else:
        wait_until(lambda: not sessions(lab.gateway, address=address), "end of the session")
        assert not lab.customers[0].ping(lab.server_address, count=3, timeout=0.2)
    assert lab.customers[1].ping(lab.server_address)


def test_the_running_gateway_counts_it(lab: Lab) -> None:
    """The same with a gateway that runs: row and counter are the data plane's alone."""
    address = lab.customers[0].dhcp("udhcpc").address
    past = dropped(lab.gateway, "promise-past")
    pins = Pins(lab)
    stands = pins.row(address).promise_until
    pins.change_row(address, promise_until=BootNs(1))
    assert not lab.customers[0].ping(lab.server_address, count=1, timeout=0.2)
    pins.change_row(address, promise_until=stands)
    assert past.grown
    wait_until(lambda: lab.customers[0].ping(lab.server_address, count=1, timeout=0.2), "traffic")

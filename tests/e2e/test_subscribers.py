"""The subscribers file: who gets which address, and who gets none; with no authorization.default nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import NoLease
from wayleave.lab.topology import Lab, customer_mac
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .dhcp import NAK, REQUEST, framed, message, messages
from .watch import refused, sessions

STATIC = IPv4Address("100.64.1.77")
BUSINESS = IPv4Network("100.65.0.0/24")
FIXED, MOBILE, BLOCKED, UNKNOWN, PARTICULAR = range(5)
SUBSCRIBERS = f"""
[[subscribers]]
name = "fixed"
line = "1:100.1"
address = "{STATIC}"
pool = "residential"

[[subscribers]]
name = "mobile"
mac = "{customer_mac(MOBILE)}"
pool = "business"

[[subscribers]]
name = "blocked"
line = "1:100.3"
pool = "residential"
blocked = true

[[subscribers]]
name = "the line"
line = "1:100.5"
pool = "residential"

[[subscribers]]
name = "one client there"
line = "1:100.5"
mac = "{customer_mac(PARTICULAR)}"
pool = "business"
address = "100.65.0.9"
antispoof = false
"""
MORE = f"""
[[pools]]
name = "business"
network = "{BUSINESS}"
gateway = "{BUSINESS[1]}"
lease = "2h"
promise = "24h"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    pools = (IPv4Network("100.64.0.0/22"), BUSINESS)
    with Lab([Line(100, 1 + number) for number in range(5)], pools=pools) as lab:
        (lab.folder / "subscribers.toml").write_text(SUBSCRIBERS)
        authorization = {"default": None, "subscribers": "subscribers.toml"}
        lab.gateway.start(lab.config(authorization=authorization, more=MORE))
        yield lab


def test_a_line_has_its_static_address(lab: Lab) -> None:
    lease = lab.customers[FIXED].dhcp("udhcpc")
    assert lease.address == STATIC
    assert lab.customers[FIXED].ping(lab.server_address)
    (session,) = sessions(lab.gateway, subscriber="fixed")
    assert session["address"] == str(STATIC)


def test_no_other_address_will_do_there(lab: Lab) -> None:
    customer = lab.customers[FIXED]
    customer.dhcp("udhcpc")
    customer.release()
    wait_until(lambda: not sessions(lab.gateway, subscriber="fixed"), "end of the session")
    asked = message(REQUEST, customer.mac, (50, IPv4Address("100.64.0.50").packed))
    with lab.access_node.trunk.capture() as trunk:
        customer.send_raw(framed(asked, customer.mac))
        trunk.wait_for(lambda f: messages([f], NAK, mac=customer.mac))
    assert customer.dhcp("udhcpc", request="100.64.0.50").address == STATIC


def test_a_mac_has_its_pool(lab: Lab) -> None:
    lease = lab.customers[MOBILE].dhcp("udhcpc")
    assert lease.address in BUSINESS
    assert lease.interface.network == BUSINESS
    assert lease.router == BUSINESS[1]
    assert lease.seconds == 2 * 3600
    assert lab.customers[MOBILE].ping(lab.server_address)


def test_the_mac_takes_its_pool_to_another_line(lab: Lab) -> None:
    customer = lab.customers[MOBILE]
    home = customer.line
    customer.forget()
    customer.move(Line(300, 1))
    assert customer.dhcp("udhcpc").address in BUSINESS
    assert customer.ping(lab.server_address)
    customer.forget()
    customer.move(home)


def test_the_most_particular_entry_counts(lab: Lab) -> None:
    customer = lab.customers[PARTICULAR]
    assert customer.dhcp("udhcpc").address == IPv4Address("100.65.0.9")
    customer.change_mac(Mac.parse("02:c0:de:00:00:05"))
    assert customer.dhcp("udhcpc").address in lab.pools[0]
    found = {item["subscriber"]: item["address"] for item in sessions(lab.gateway, line="1:100.5")}
    assert set(found) == {"the line", "one client there"}


@pytest.mark.parametrize(("who", "reason"), [(BLOCKED, "blocked"), (UNKNOWN, "unknown-client")])
def test_is_refused(lab: Lab, who: int, reason: str) -> None:
    customer = lab.customers[who]
    no = refused(lab.gateway, reason)
    with lab.access_node.trunk.capture() as trunk:
        with pytest.raises(NoLease):
            customer.dhcp("udhcpc", "-t", "1")
        customer.send_raw(framed(message(REQUEST, customer.mac, (50, IPv4Address("100.64.0.60").packed)), customer.mac))
        (nak,) = messages(trunk.wait_for(lambda f: messages([f], NAK, mac=customer.mac)))
    told = messages(trunk.matching(lambda f: not f.outgoing), mac=customer.mac)
    assert [item.kind for item in told] == [NAK], "a DISCOVER is met with silence"
    assert nak.yiaddr == IPv4Address(0)
    assert no.grown == 2
    assert not sessions(lab.gateway, mac=customer.mac)

"""Subscribers by RADIUS: a real server decides, before any address is offered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.radius import SECRET, RadiusServer
from wayleave.lab.topology import Lab
from wayleave.lab.waiting import wait_until

FIRST, SECOND = "02:c0:00:00:00:00", "02:c0:00:00:00:01"
USERS = f"""
{FIRST} Cleartext-Password := "{FIRST}"
\tFramed-Pool = "residential", Filter-Id = "gold", Class = 0xff00ff, Session-Timeout = 7200,
\tMS-Primary-DNS-Server = 192.0.2.53

DEFAULT Auth-Type := Reject
\tReply-Message = "not a customer of ours"
"""


def section(folder: Path, group: str = "", server: str = "", more: str = "") -> str:
    """The gateway's configuration of one server at the router, with its secret."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    return f"""
[[services]]
name = "gold"
up = "20M"
down = "100M"

[[radius.servers]]
name = "r1"
address = "192.0.2.2"
secret = "{secret}"
{server}

[[radius.groups]]
name = "isp"
servers = ["r1"]
{group}
{more}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        yield lab


def start(lab: Lab, **how: str) -> None:
    lab.gateway.start(lab.config(tenant={"radius": "isp"}, more=section(lab.folder, **how)))


def test_accepted_with_a_service_and_rejected(lab: Lab) -> None:
    server = RadiusServer(lab.router, USERS)
    start(lab)
    first, second = lab.customers
    lease = first.dhcp("udhcpc")
    assert lease.address in lab.pools[0]
    assert first.ping(lab.server_address)
    (session,) = lab.gateway.get("/sessions")["sessions"]
    assert (session["subscriber"], session["service"]) == (FIRST, "gold")
    asked = server.asked()[0]
    assert asked["User-Name"] == [FIRST]
    assert asked["NAS-Port-Id"] == ["1:100.1"]
    assert asked["Calling-Station-Id"] == [FIRST.upper().replace(":", "-")]
    assert asked["NAS-Identifier"] == [lab.instance]
    with pytest.raises(TimeoutError):
        second.dhcp("udhcpc", timeout=4)
    wait_until(lambda: len(server.asked()) >= 2, "the question about the second client")
    told = lab.gateway.bng("diagnose", SECOND, "--config", str(lab.gateway.config_file), check=False)
    assert "not a customer of ours" in told


def test_accounted_for_what_was_sent(lab: Lab) -> None:
    """Ten packets of 1,028 octets each way, and the server is told of just these, and why it ended."""
    server = RadiusServer(lab.router, USERS)
    start(lab)
    customer = lab.customers[0]
    customer.dhcp("udhcpc")
    assert customer.ping(lab.server_address, count=10, size=1000)
    customer.release()
    wait_until(lambda: len(server.accounted()) == 3, lambda: f"three records: {server.accounted()}")
    on, begun, ended = server.accounted()
    assert on["Acct-Status-Type"] == ["Accounting-On"]
    assert begun["Acct-Status-Type"] == ["Start"]
    assert ended["Acct-Status-Type"] == ["Stop"]
    assert begun["Acct-Session-Id"] == ended["Acct-Session-Id"]
    assert begun["Class"] == ended["Class"] == ["0xff00ff"]
    assert ended["Acct-Input-Octets"] == ended["Acct-Output-Octets"] == [str(10 * 1028)]
    assert ended["Acct-Input-Packets"] == ended["Acct-Output-Packets"] == ["10"]
    assert ended["Acct-Terminate-Cause"] == ["User-Request"]
    assert begun["User-Name"] == [FIRST]

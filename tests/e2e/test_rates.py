"""What a service sells is what goes over the wire: real traffic, counted where it arrives, both ways."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.host import Host
from wayleave.lab.radius import RadiusServer
from wayleave.lab.topology import Lab, customer_mac
from wayleave.lab.waiting import wait_until

from .test_radius import section
from .watch import sessions

RATE = 20_000_000
SERVICES = """
[[services]]
name = "gold"
up = "20M"
down = "20M"
burst_up = 15000
burst_down = 15000

[[services]]
name = "silver"
up = "5M"
down = "10M"
burst_down = 15000

[[services]]
name = "bursty"
up = "20M"
down = "20M"

[[services]]
name = "free"
"""
GOLD, UNKNOWN, FREE, BURSTY = range(4)
SUBSCRIBERS = f"""
[[subscribers]]
name = "alice"
mac = "{customer_mac(GOLD)}"
service = "gold"

[[subscribers]]
name = "carol"
line = "1:100.3"
service = "free"

[[subscribers]]
name = "dave"
line = "1:100.4"
service = "bursty"
"""
WAYS = ["up", "down"]
REVERSE = {"up": (), "down": ("-R",)}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Alice has 20 Mbit/s both ways, dave with the usual burst, carol no limit, everybody else the default."""
    with Lab([Line(100, vid) for vid in (1, 2, 3, 4)]) as lab:
        lab.folder.joinpath("people.toml").write_text(SUBSCRIBERS)
        authorization = {"service": "silver", "subscribers": "people.toml"}
        lab.gateway.start(lab.config(authorization=authorization, more=SERVICES))
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        lab.server.iperf3_server()
        yield lab


def arrived(host: Host) -> int:
    """Octets of IP that came in by a host's device: its frames without the 14 of Ethernet; none is padded."""
    (link,) = json.loads(host.run("ip", "-json", "-stats", "link", "show", "dev", host.device))
    stands = link["stats64"]["rx"]
    return int(stands["bytes"] - 14 * stands["packets"])


def used(lab: Lab, session: dict[str, Any]) -> dict[str, int]:
    """What the gateway says of a session's use."""
    return dict(lab.gateway.get(f"/sessions/{session['id']}")["usage"])


def end(lab: Lab, who: int, way: str) -> Host:
    """Where what goes one way arrives."""
    return lab.server if way == "up" else lab.customers[who]


@contextmanager
def flood(lab: Lab, who: int, way: str, speed: str = "60M") -> Iterator[None]:
    """Have more UDP than was sold on its way."""
    words = ("iperf3", "-c", str(lab.server_address), "-u", "-b", speed, "-l", "1400", "-t", "60", *REVERSE[way])
    process = lab.customers[who].spawn(*words, log="iperf3")
    try:
        yield
    finally:
        process.stop()


def measured(host: Host, octets: int) -> float:
    """Bits a second of IP while so many octets arrive."""
    first, began = arrived(host), time.monotonic()
    wait_until(lambda: arrived(host) - first >= octets, f"{octets} octets at {host}", 20)
    took = time.monotonic() - began
    return (arrived(host) - first) * 8 / took


def gets(host: Host, rate: int) -> None:
    """Assert that all of the rate arrives, once this machine has the time for it, and never more.

    The burst has to be small: it would be there again after every pause of the sender.
    """

    def reached() -> bool:
        speed = measured(host, rate // 8)
        assert speed <= 1.05 * rate
        return speed >= 0.95 * rate

    wait_until(reached, f"{rate} bit/s at {host}", 20)


@pytest.mark.parametrize("way", WAYS)
def test_udp_gets_the_rate_and_no_more(lab: Lab, way: str) -> None:
    with flood(lab, GOLD, way):
        for _ in range(3):
            gets(end(lab, GOLD, way), RATE)
    (session,) = sessions(lab.gateway, subscriber="alice")
    assert session["service"] == "gold"
    assert used(lab, session)[f"{way}_dropped"] > 1000


@pytest.mark.parametrize("way", WAYS)
def test_tcp_makes_good_use_of_the_rate(lab: Lab, way: str) -> None:
    """Counted at both layers: of IP no more than was sold, burst included, of which TCP gets its data through."""
    before, began = arrived(end(lab, BURSTY, way)), time.monotonic()
    told = lab.customers[BURSTY].iperf3(lab.server_address, "-C", "cubic", *REVERSE[way], seconds=6)
    took = time.monotonic() - began
    assert (arrived(end(lab, BURSTY, way)) - before) * 8 <= 1.05 * RATE * took
    assert told.bits_per_second >= 0.8 * RATE


def test_who_is_not_in_the_file_has_the_default_and_who_has_no_rate_has_none(lab: Lab) -> None:
    with flood(lab, UNKNOWN, "down"):
        gets(lab.customers[UNKNOWN], 10_000_000)
    (session,) = sessions(lab.gateway, line="1:100.2")
    assert (session["service"], session["up_bps"], session["down_bps"]) == ("silver", 5_000_000, 10_000_000)
    assert lab.customers[FREE].iperf3(lab.server_address, "-R", seconds=1).bits_per_second > 2 * RATE
    (session,) = sessions(lab.gateway, subscriber="carol")
    assert (session["service"], session["up_bps"], session["down_bps"]) == ("free", None, None)


def test_who_uses_it_all_is_told_so_and_it_is_no_trouble(lab: Lab) -> None:
    """`bng diagnose` exits with 0, or this raises; the journal has the packets, the counters have all."""
    config = ("--config", str(lab.gateway.config_file))
    with flood(lab, GOLD, "up"):
        wait_until(lambda: "over-rate" in lab.gateway.bng("diagnose", "alice", *config), "the verdict")
        told = lab.gateway.bng("diagnose", "alice", *config)
    assert "it sends more than the 20 Mbit/s of its service gold" in told
    assert "metered-up" in lab.gateway.bng("show", "session", "alice", "--journal", *config)
    assert lab.gateway.get("/counters")["drops"]["metered-up"] > 0


def test_a_reload_changes_what_is_sold(lab: Lab) -> None:
    text = lab.gateway.config_file.read_text()
    with flood(lab, UNKNOWN, "down"):
        lab.gateway.config_file.write_text(text.replace('down = "10M"', 'down = "30M"'))
        lab.gateway.bng("reload", "--config", str(lab.gateway.config_file))
        gets(lab.customers[UNKNOWN], 30_000_000)


USERS = f"""
{customer_mac(0)} Cleartext-Password := "{customer_mac(0)}"
\tFramed-Pool = "residential", Wayleave-Rate-Up = 5000, Wayleave-Rate-Down = 10000,
\tWayleave-Burst-Up = 15000, Wayleave-Burst-Down = 15000
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_coa_doubles_it_while_traffic_goes_on(way: str, tmp_path: Path) -> None:
    """Nothing is counted anew, and what was said before a kill holds while nobody is there, and after."""
    sold = {"up": 5_000_000, "down": 10_000_000}[way]
    name = way.capitalize()
    doubled = f"Wayleave-Rate-{name} = {2 * sold // 1000}\nWayleave-Burst-{name} = 15000"
    with Lab([Line(100, 1)]) as lab:
        server = RadiusServer(lab.router, USERS)
        lab.gateway.start(lab.config(tenant={"radius": "isp"}, more=section(tmp_path)))
        lab.customers[0].dhcp("udhcpc")
        lab.server.iperf3_server()
        there = end(lab, 0, way)
        with flood(lab, 0, way, "40M"):
            gets(there, sold)
            (before,) = sessions(lab.gateway)
            octets = used(lab, before)[f"{way}_octets"]
            told = server.radclient(lab.core.ip, "coa", f"Acct-Session-Id = {before['accounting']}\n{doubled}")
            assert "CoA-ACK" in told, told
            gets(there, 2 * sold)
            (after,) = sessions(lab.gateway)
            assert after[f"{way}_bps"] == 2 * sold
            assert used(lab, after)[f"{way}_octets"] > octets > 0
            lab.gateway.kill9()
            gets(there, 2 * sold)
            lab.gateway.restart()
            gets(there, 2 * sold)

"""What outlives the process: traffic, sessions, and the truth about them. What was changed meanwhile is mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, PINS, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .pins import Pins
from .replug import replug_access, replug_core
from .watch import Meter, dropped, sessions

LINES = (Line(100, 1), Line(100, 2), Line(100, 3), Line(100, 4), Line(200, None, (0x8100, 0x8100)))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LINES) as lab:
        lab.gateway.start(lab.config())
        for customer in lab.customers:
            customer.dhcp("udhcpc")
        yield lab


@pytest.fixture(autouse=True)
def running(lab: Lab) -> None:
    """Each story begins with a gateway that runs."""
    assert lab.gateway.process is not None
    if not lab.gateway.process.alive:
        lab.gateway.restart()


def address(lab: Lab, number: int) -> IPv4Address:
    """What a customer was leased when the lab came up."""
    found = lab.customers[number].address
    assert found is not None
    return found


def test_kill_and_restart_lose_no_packet_and_no_session(lab: Lab) -> None:
    before = {(item["id"], item["client"], item["address"]) for item in sessions(lab.gateway)}
    with ExitStack() as stack:
        traffic = [stack.enter_context(lab.customers[n].pinging(lab.server_address, interval=0.005)) for n in (0, 4)]
        for stream in traffic:
            stream.wait_for(20)
        lab.gateway.kill9()
        for stream in traffic:
            stream.wait_for(50)
        lab.gateway.restart()
        for stream in traffic:
            stream.wait_for(50)
        results = [stream.stop() for stream in traffic]
    for result in results:
        assert not result.missing, result.text[-500:]
        assert not result.duplicates
    assert {(item["id"], item["client"], item["address"]) for item in sessions(lab.gateway)} == before
    shown = lab.gateway.bng("show", "sessions", "--json", "--config", str(lab.gateway.config_file))
    assert all(f'"{address(lab, number)}"' in shown for number in range(len(LINES)))
    assert lab.gateway.get("/repaired") == []
    assert "tables-verified" in lab.gateway.log
    (one,) = sessions(lab.gateway, address=address(lab, 0))
    used = lab.gateway.get(f"/sessions/{one['id']}")["usage"]["up_packets"]
    assert 50 <= used < results[0].sent, "usage counts from the restart"


def test_what_was_changed_behind_its_back_is_mended(lab: Lab) -> None:
    keyless, hostless, altered, led_astray, whole = (address(lab, number) for number in range(5))
    stray = IPv4Address("100.64.3.77")
    ids = {item["address"]: item["id"] for item in sessions(lab.gateway)}
    lab.gateway.kill9()
    pins = Pins(lab)
    good = {here: pins.row(here) for here in (keyless, altered)}
    pins.delete_client(keyless)
    pins.delete_host(hostless)
    pins.change_row(altered, address=IPv4Address("203.0.113.9"), encapsulation=pins.row(whole).encapsulation)
    pins.point_host(led_astray, whole)
    pins.point_host(stray, whole)
    for number in range(4):
        assert not lab.customers[number].ping(lab.server_address, count=1, timeout=0.2), "the damage does nothing"

    lab.gateway.restart()

    told = set(lab.gateway.get("/repaired"))
    assert told == {
        f"session {ids[str(keyless)]}: a key was missing",
        f"session {ids[str(hostless)]}: a key was missing",
        f"session {ids[str(altered)]}: its row differed",
        f"session {ids[str(led_astray)]}: its keys disagreed",
        f"host key {bytes(4).hex()}{stray.packed.hex()}: nobody's",
    }
    assert " warning tables-repaired differences=5" in lab.gateway.log
    for here, row in good.items():
        assert pins.row(here).address == here
        assert pins.row(here).encapsulation == row.encapsulation
    for customer in lab.customers:
        customer.namespace.ip(f"neigh flush dev {customer.device}")  # it asked in vain while its row was damaged
        assert customer.ping(lab.server_address), f"{customer.line} is cut off"
    lab.gateway.kill9()
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == [], "mended for good"


def test_another_client_software_on_a_line_is_the_same_after_a_restart(lab: Lab) -> None:
    """It asks in another form: its row says so, and so does the disk."""
    customer = lab.customers[1]
    customer.stop_client()
    customer.forget()
    assert customer.dhcp("dhclient").address == address(lab, 1)
    customer.stop_client()
    assert lab.gateway.stop() == 0
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == []
    assert customer.dhcp("udhcpc").address == address(lab, 1)


def test_another_configuration_at_a_restart_is_no_warning(lab: Lab) -> None:
    before = lab.gateway.config_file.read_text()
    assert lab.gateway.stop() == 0
    lab.gateway.start(lab.config(pool={"dns": ["192.0.2.53"]}))
    assert len(lab.gateway.get("/repaired")) == len(LINES)
    assert f" info tables-repaired differences={len(LINES)} " in lab.gateway.log
    assert lab.gateway.stop() == 0
    lab.gateway.start(before)
    assert lab.customers[0].ping(lab.server_address)


def test_an_address_that_the_gateway_gets_while_it_runs_is_its_own_at_once(lab: Lab) -> None:
    customer, mine = lab.customers[0], "192.0.2.129"
    with lab.router.capture() as core:
        lab.gateway.namespace.ip(f"addr add {mine}/32 dev core0")
        wait_until(lambda: "own-addresses" in lab.gateway.log, "a gateway that knows", 5)
        assert customer.ping(mine)
    assert not core.matching(lambda f: f.ip and str(f.ip.destination) == mine)
    lab.gateway.kill9()
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == []
    lab.gateway.namespace.ip(f"addr del {mine}/32 dev core0")
    wait_until(lambda: "own-addresses" in lab.gateway.log, "a gateway that knows", 5)
    assert not customer.ping(mine, count=1, timeout=0.1)
    lab.gateway.kill9()
    lab.gateway.restart()
    assert lab.gateway.get("/repaired") == []


@pytest.mark.parametrize("alive", [True, False], ids=["while it runs", "while it is dead"])
@pytest.mark.parametrize("replug", [replug_core, replug_access], ids=["core0", "acc0"])
def test_a_device_that_was_made_anew_is_taken_up_again(lab: Lab, replug: object, alive: bool) -> None:
    assert callable(replug)
    if not alive:
        lab.gateway.kill9()
    replug(lab)
    if not alive:
        lab.gateway.restart()
    customer = lab.customers[0]
    wait_until(lambda: customer.ping(lab.server_address, count=1, timeout=0.1), "traffic", 5)
    out, back = Meter(lab.gateway, "outcomes", "forward", "to-network"), Meter(lab.gateway, "received", "network")
    wait_until(
        lambda: customer.ping(lab.server_address, count=1) and out.grown and back.grown, "the program on both ports", 5
    )
    assert customer.ping(lab.server_address, count=5)
    assert customer.renew().address == address(lab, 0)
    said = Meter(lab.gateway, "frames", "sent")
    customer.run(
        "busybox", "udhcpc", "-i", customer.device, "-n", "-q", "-t", "1", "-T", "1", "-V", "new", "-s", "/bin/true"
    )
    assert said.wait(), "Python's own frames leave by it"
    with lab.router.capture() as core:
        spoofed = dropped(lab.gateway, "spoofed-ipv4")
        customer.namespace.ip("addr add 203.0.113.5/32 dev eth0")
        customer.run("ping", "-c", "1", "-W", "0.1", "-I", "203.0.113.5", str(lab.server_address), check=False)
        customer.namespace.ip("addr del 203.0.113.5/32 dev eth0")
        spoofed.wait()
    assert not core.matching(lambda f: f.ip and f.ip.source == IPv4Address("203.0.113.5")), "the program is not on it"


def test_a_missing_device_does_not_stop_the_others(lab: Lab) -> None:
    """acc0 is out for a while: the gateway goes on, says so, and serves again when it is back."""
    customer = lab.customers[1]
    lab.gateway.namespace.ip("link set acc0 down")
    assert not customer.ping(lab.server_address, count=1, timeout=0.1)
    assert lab.gateway.request("GET", "/healthz")[0] == 200
    lab.gateway.namespace.ip("link set acc0 up")
    wait_until(lambda: customer.ping(lab.server_address, count=1, timeout=0.1), "traffic", 5)


def test_a_clean_stop_forwards_on(lab: Lab) -> None:
    with lab.customers[2].pinging(lab.server_address, interval=0.005) as traffic:
        traffic.wait_for(20)
        assert lab.gateway.stop() == 0
        traffic.wait_for(50)
        lab.gateway.restart()
        traffic.wait_for(50)
        result = traffic.stop()
    assert not result.missing


@pytest.mark.parametrize("tables", [4096, 8192], ids=["the same tables", "other tables"])
def test_a_refused_start_leaves_traffic_alone(lab: Lab, tables: int) -> None:
    """A configuration that names a device that is not there, while an earlier gateway's data plane forwards."""
    lab.gateway.kill9()
    pinned = sorted(path.name for path in (PINS / lab.instance).iterdir())
    with lab.customers[2].pinging(lab.server_address, interval=0.005) as traffic:
        traffic.wait_for(20)
        process = lab.gateway.start(lab.config(gateway={"sessions": tables}, network={"device": "core9"}), ready=False)
        assert process.wait() == 1, process.output()
        traffic.wait_for(50)
        assert sorted(path.name for path in (PINS / lab.instance).iterdir()) == pinned, "nothing of it stays"
        lab.gateway.start(lab.config())
        traffic.wait_for(50)
        result = traffic.stop()
    assert not result.missing
    assert lab.gateway.get("/repaired") == []


def test_a_lost_store_takes_the_sessions_with_it(lab: Lab) -> None:
    """Keys that no lease stands behind are nobody's: their traffic ends, and asking again helps."""
    lab.gateway.kill9()
    for path in (lab.folder / "state").iterdir():
        path.unlink()
    lab.gateway.restart()
    assert sessions(lab.gateway) == []
    assert len(lab.gateway.get("/repaired")) == 2 * len(LINES)
    stranger = dropped(lab.gateway, "no-session")
    assert not lab.customers[3].ping(lab.server_address, count=1, timeout=0.1)
    assert stranger.grown
    for customer in lab.customers:
        customer.forget()
        customer.dhcp("udhcpc")
        assert customer.ping(lab.server_address)


def test_macs_of_the_lab_are_what_the_gateway_says(lab: Lab) -> None:
    """The gateway's MAC on the access side is acc0's own, also after the device was made anew."""
    found = lab.customers[0].arping(lab.pool_gateway)
    assert found == [Mac.parse(str(GATEWAY_ACCESS_MAC))]

"""The drill: faults put in by hand, one after the other, and each must be called by its name; mended, all is well."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.dhcp import DECLINE, DISCOVER, OFFER, REQUEST, framed, message, messages
from tests.e2e.obstruct import obstructed
from tests.e2e.pins import Pins
from tests.e2e.test_disk import fill
from wayleave.api.verdicts import RULES
from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer, NoLease
from wayleave.lab.namespace import run
from wayleave.lab.packet import IPV4, UDP, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab, customer_mac
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs

ALICE, BOB, CAROL, STRANGER, TINY, TINY_TOO, FULL, STATIC, SCRATCH, FLOOD = range(10)
LINES = (
    Line(100, 1), Line(100, 2), Line(100, 33), Line(100, 4), Line(100, 5), Line(100, 6), Line(100, 7), Line(100, 8),
    Line(100, 9), Line(100, 10),
)  # fmt: skip
SUBSCRIBERS = f"""
subscribers = [
  {{ name = "alice", line = "1:100.1", pool = "residential" }},
  {{ name = "bob", line = "1:100.2", blocked = true, pool = "residential" }},
  {{ name = "carol", line = "1:100.3", mac = "{customer_mac(CAROL)}", pool = "residential" }},
  {{ name = "dave", line = "1:100.77", pool = "residential" }},
  {{ name = "tiny", line = "1:100.5", pool = "tiny" }},
  {{ name = "tiny-too", line = "1:100.6", pool = "tiny" }},
  {{ name = "full", line = "1:100.7", limit = 1, pool = "residential" }},
  {{ name = "static", line = "1:100.8", pool = "residential" }},
  {{ name = "scratch", line = "1:100.9", pool = "residential" }},
  {{ name = "flood", line = "1:100.10", pool = "residential" }},
]
"""
TINY_POOL = """
[[pools]]
name = "tiny"
network = "100.66.0.0/30"
gateway = "100.66.0.1"
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Its lease store is on a disk of its own. Everybody who is known gets 'residential' unless his entry says else."""
    with Lab(LINES) as lab:
        state, known = lab.folder / "state", lab.folder / "subscribers.toml"
        state.mkdir()
        known.write_text(SUBSCRIBERS)
        run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)])
        try:
            lab.gateway.start(
                lab.config(
                    authorization={"default": None, "subscribers": str(known)},
                    subscriber={"at_limit": "refuse"},
                    more=TINY_POOL,
                )
            )
            lab.customers[ALICE].dhcp("udhcpc")
            assert lab.customers[ALICE].ping(lab.server_address)
            yield lab
        finally:
            lab.gateway.close()
            run(["umount", "-l", str(state)])


def diagnose(lab: Lab, who: str) -> dict[str, Any]:
    """One verdict, by the CLI's own way."""
    words = ("diagnose", who, "--to", str(lab.server_address), "--json", "--config", str(lab.gateway.config_file))
    return dict(json.loads(lab.gateway.bng(*words, check=False)))


def says(lab: Lab, who: str | Customer, verdict: str) -> str:
    """Wait for a verdict; returns what was seen."""
    name = who if isinstance(who, str) else str(who.mac)
    last: dict[str, Any] = {}

    def told() -> bool:
        last.update(diagnose(lab, name))
        return last["verdict"] == verdict

    wait_until(told, lambda: f"{name} to be {verdict}, and not {last}", 12)
    return str(last["says"])


def mended(lab: Lab) -> None:
    """Wait until Alice's packets get through again, and that is seen: when is kept to the second."""
    wait_until(
        lambda: (
            lab.customers[ALICE].ping(lab.server_address, count=1, timeout=0.2)
            and diagnose(lab, "alice")["verdict"] == "well"
        ),
        lambda: f"Alice to be well, and not {diagnose(lab, 'alice')}",
        10,
    )


def asks(customer: Customer) -> None:
    """Have it ask in vain."""
    with pytest.raises((NoLease, TimeoutError)):
        customer.dhcp("udhcpc", "-t", "1", timeout=3)
    customer.stop_client()


def raw(customer: Customer, kind: int, *options: tuple[int, bytes], **more: Any) -> None:
    customer.send_raw(framed(message(kind, customer.mac, *options, **more), customer.mac))


def offered(customer: Customer) -> tuple[IPv4Address, bytes]:
    """Discover by hand; returns the address that is offered, and the server's identifier."""
    with customer.capture() as heard:
        raw(customer, DISCOVER)
        (offer,) = wait_until(lambda: messages(heard.frames, OFFER, mac=customer.mac), "an offer", 5)[:1]
    return offer.yiaddr, offer.options[54]


def test_who_is_served_is_well(lab: Lab) -> None:
    assert "to-network" in says(lab, "alice", "well")
    assert lab.gateway.bng(
        "diagnose", "alice", "--to", str(lab.server_address), "--config", str(lab.gateway.config_file)
    )


# ---- what everybody depends on -----------------------------------------------------------------


def shut(device: str) -> tuple[Callable[[Lab], None], Callable[[Lab], None]]:
    def down(lab: Lab) -> None:
        lab.gateway.namespace.ip(f"link set {device} down")

    def up(lab: Lab) -> None:
        lab.gateway.namespace.ip(f"link set {device} up")

    return down, up


def _unplug(lab: Lab) -> None:
    lab.access_node.namespace.ip("link set trunk down")


def _plug(lab: Lab) -> None:
    lab.access_node.namespace.ip("link set trunk up")


def _no_default(lab: Lab) -> None:
    lab.gateway.namespace.ip("route del default")


def _default(lab: Lab) -> None:
    lab.gateway.namespace.ip(f"route replace default via {lab.router_address}")


def _black(lab: Lab) -> None:
    lab.gateway.namespace.ip(f"route add blackhole {lab.server_address}/32")


def _not_black(lab: Lab) -> None:
    lab.gateway.namespace.ip(f"route del blackhole {lab.server_address}/32")


def _deaf_router(lab: Lab) -> None:
    lab.router.namespace.ip("link set gw0 arp off")
    lab.gateway.namespace.ip("neigh flush dev core0")
    lab.customers[ALICE].ping(lab.server_address, count=2, timeout=0.2)


def _hearing_router(lab: Lab) -> None:
    lab.router.namespace.ip("link set gw0 arp on")
    lab.gateway.namespace.ip("neigh flush dev core0")


def _narrow(lab: Lab) -> None:
    lab.gateway.namespace.ip("link set core0 mtu 1400")


def _wide(lab: Lab) -> None:
    lab.gateway.namespace.ip("link set core0 mtu 1500")


def _forward(value: int) -> Callable[[Lab], None]:
    return lambda lab: lab.gateway.namespace.sysctl({"ipv4/ip_forward": value})


ACCESS_DOWN, ACCESS_UP = shut("acc0")
CORE_DOWN, CORE_UP = shut("core0")
OBSTRUCTION = ExitStack()


def _core_up(lab: Lab) -> None:
    CORE_UP(lab)
    _default(lab)


def _obstruct(lab: Lab) -> None:
    OBSTRUCTION.enter_context(obstructed(lab))


def _clear(_lab: Lab) -> None:
    OBSTRUCTION.close()


DEPENDS: dict[str, tuple[Callable[[Lab], None], Callable[[Lab], None]]] = {
    "port-disabled": (ACCESS_DOWN, ACCESS_UP),
    "port-down": (_unplug, _plug),
    "uplink-down": (CORE_DOWN, _core_up),
    "forwarding-off": (_forward(0), _forward(1)),
    "host-link-gone": (_obstruct, _clear),
    "no-route": (_no_default, _default),
    "blackhole": (_black, _not_black),
    "neighbour-unresolved": (_deaf_router, _hearing_router),
    "mtu": (_narrow, _wide),
}


@pytest.mark.parametrize("fault", DEPENDS)
def test_what_everybody_depends_on(lab: Lab, fault: str) -> None:
    wrong, right = DEPENDS[fault]
    wrong(lab)
    try:
        assert says(lab, "alice", fault)
    finally:
        right(lab)
    mended(lab)


@pytest.mark.parametrize("fault", ["port-disabled", "forwarding-off"])
def test_what_it_says_is_what_helps(lab: Lab, fault: str) -> None:
    """The cure's command, as it stands there."""
    wrong, right = DEPENDS[fault]
    wrong(lab)
    try:
        says(lab, "alice", fault)
        (command,) = re.findall(r"`([^`]*)`", diagnose(lab, "alice")["cure"])
        lab.gateway.namespace.run(*command.split())
        mended(lab)
    finally:
        right(lab)


# ---- getting on --------------------------------------------------------------------------------


def test_a_line_on_which_nothing_is_heard(lab: Lab) -> None:
    assert "subscriber dave" in says(lab, "dave", "silent")
    says(lab, "02:00:00:00:00:99", "silent")


def test_who_is_blocked_and_who_is_not_known(lab: Lab) -> None:
    asks(lab.customers[BOB])
    asks(lab.customers[STRANGER])
    assert "bob is blocked" in says(lab, "bob", "blocked")
    assert "bob is blocked" in says(lab, lab.customers[BOB], "blocked")
    assert "not in the subscribers file" in says(lab, lab.customers[STRANGER], "not-authorized")


def test_the_wrong_vlan(lab: Lab) -> None:
    asks(lab.customers[CAROL])
    for who in ("carol", lab.customers[CAROL]):
        seen = says(lab, who, "wrong-line")
        assert "1:100.33" in seen
        assert "1:100.3;" in seen or seen.endswith("1:100.3")


def test_the_wrong_vlan_of_who_was_served(lab: Lab) -> None:
    """Its session still stands on the line that it has left."""
    alice = lab.customers[ALICE]
    mended(lab)
    alice.move(Line(100, 88))
    try:
        raw(alice, DISCOVER)
        for who in ("alice", alice):
            seen = says(lab, who, "wrong-line")
            assert re.match(r"it was heard on line 1:100.88 \d s ago \(not-authorized DISCOVER: ", seen)
            assert seen.endswith("and since then not on 1:100.1, where its session is")
    finally:
        alice.move(Line(100, 1))
    mended(lab)
    (note,) = diagnose(lab, "alice")["notes"]
    assert note.endswith("as well as on 1:100.1, where its session is")


def test_an_empty_pool(lab: Lab) -> None:
    lab.customers[TINY].dhcp("udhcpc")
    asks(lab.customers[TINY_TOO])
    assert "pool tiny: 1 of 1" in says(lab, "tiny-too", "pool-empty")


def test_a_full_line(lab: Lab) -> None:
    customer = lab.customers[FULL]
    customer.dhcp("udhcpc")
    customer.stop_client()
    customer.change_mac(Mac.parse("02:c0:00:00:07:07"))
    asks(customer)
    assert "line 1:100.7 is full" in says(lab, customer, "line-full")


def test_an_address_that_is_not_its_own(lab: Lab) -> None:
    customer = lab.customers[SCRATCH]
    raw(customer, REQUEST, (50, IPv4Address("10.9.9.9").packed))
    assert "10.9.9.9" in says(lab, customer, "address-refused")


def test_dhcp_that_makes_no_sense(lab: Lab) -> None:
    customer = lab.customers[SCRATCH]
    payload = message(DISCOVER, customer.mac)
    customer.send_raw(framed(payload[:236] + b"xxxx" + payload[240:], customer.mac))
    says(lab, customer, "bad-dhcp")


def test_another_server_and_an_address_conflict(lab: Lab) -> None:
    customer = lab.customers[SCRATCH]
    address, _ = offered(customer)
    raw(customer, REQUEST, (50, address.packed), (54, IPv4Address("10.9.9.9").packed))
    says(lab, customer, "other-server")
    address, server = offered(customer)
    raw(customer, REQUEST, (50, address.packed), (54, server))
    raw(customer, DECLINE, (50, address.packed), (54, server))
    says(lab, customer, "address-conflict")


def test_offers_that_are_not_heard(lab: Lab) -> None:
    customer = lab.customers[SCRATCH]
    for _ in range(3):
        offered(customer)
    assert "offers, and no request" in says(lab, customer, "offer-unheard")


def test_too_much_to_be_taken_up(lab: Lab) -> None:
    customer = lab.customers[FLOOD]
    frame = framed(message(DISCOVER, customer.mac), customer.mac)

    def flooded() -> bool:
        for _ in range(50):
            customer.send_raw(frame)
        return bool(diagnose(lab, str(customer.mac))["verdict"] == "policed")

    wait_until(flooded, "a client that is policed", 10)


def test_a_static_address(lab: Lab) -> None:
    customer = lab.customers[STATIC]
    sent(customer, lab.pools[0][9], lab.server_address)
    assert "no-session" in says(lab, "static", "no-dhcp")


def test_a_frame_to_another_router(lab: Lab) -> None:
    customer = lab.customers[STATIC]
    customer.dhcp("udhcpc")
    assert customer.address is not None
    sent(customer, customer.address, lab.server_address, Mac.parse("02:00:5e:00:00:01"))
    says(lab, "static", "wrong-mac")


def rewrite(lab: Lab, old: str, new: str) -> None:
    """Change the subscribers file, and have it count."""
    known = lab.folder / "subscribers.toml"
    text = known.read_text()
    assert old in text
    known.write_text(text.replace(old, new))
    lab.gateway.bng("reload", "--config", str(lab.gateway.config_file))


def test_who_is_blocked_while_it_is_served(lab: Lab) -> None:
    """It does not know yet, and sends on."""
    customer, plain, blocked = lab.customers[STATIC], 'name = "static",', 'name = "static", blocked = true,'
    customer.dhcp("udhcpc")
    assert customer.ping(lab.server_address)
    rewrite(lab, plain, blocked)
    for who in ("static", customer):
        assert "blocked by configuration: reconfigured: subscriber static is blocked" in says(lab, who, "blocked")
    assert not customer.ping(lab.server_address, count=2, timeout=0.2)
    says(lab, customer, "blocked")
    rewrite(lab, blocked, plain)
    customer.reboot()
    customer.dhcp("udhcpc")
    says(lab, customer, "well")


def test_what_was_dropped_before_it_had_an_address_is_over(lab: Lab) -> None:
    customer = lab.customers[SCRATCH]
    lab.gateway.bng("clear", "session", "scratch", "--config", str(lab.gateway.config_file), check=False)
    sent(customer, lab.pools[0][9], lab.server_address)
    says(lab, customer, "ended")
    address, server = offered(customer)
    raw(customer, REQUEST, (50, address.packed), (54, server))
    says(lab, customer, "well")


def test_a_session_that_an_operator_ended(lab: Lab) -> None:
    customer = lab.customers[STATIC]
    customer.stop_client()
    lab.gateway.bng("clear", "session", "static", "--config", str(lab.gateway.config_file))
    assert "admin-reset" in says(lab, customer, "ended")


def test_a_full_disk(lab: Lab) -> None:
    fill(lab.folder / "state")
    asks(lab.customers[STATIC])
    says(lab, "static", "store-failed")
    says(lab, "alice", "well")
    (lab.folder / "state" / "ballast").unlink()
    lab.customers[STATIC].dhcp("udhcpc")
    assert lab.customers[STATIC].ping(lab.server_address)
    says(lab, "static", "well")


# ---- being served ------------------------------------------------------------------------------


def sent(customer: Customer, source: IPv4Address, to: IPv4Address, mac: Mac = GATEWAY_ACCESS_MAC) -> None:
    packet = ipv4(source, to, UDP, udp(source, to, 1, 2, b""))
    customer.send_raw(ethernet(mac, customer.mac, IPV4, packet))


def test_spoofing(lab: Lab) -> None:
    alice = lab.customers[ALICE]
    sent(alice, lab.pools[0][77], lab.server_address)
    assert f"{lab.pools[0][77]}" in says(lab, "alice", "spoofing")
    mended(lab)


def test_a_promise_that_has_run_out(lab: Lab) -> None:
    alice, pins = lab.customers[ALICE], Pins(lab)
    assert alice.address is not None
    stands = pins.row(alice.address).promise_until
    pins.change_row(alice.address, promise_until=BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - SECOND))
    sent(alice, alice.address, lab.server_address)
    says(lab, str(alice.address), "promise-past")
    pins.change_row(alice.address, promise_until=stands)
    mended(lab)


def test_nothing_comes_back(lab: Lab) -> None:
    """Of a session that is new: what came back before is no longer counted."""
    alice = lab.customers[ALICE]
    lab.gateway.bng("clear", "session", "alice", "--config", str(lab.gateway.config_file))
    alice.reboot()
    alice.dhcp("udhcpc")
    lab.router.namespace.ip(f"route del {lab.pools[0]}")
    assert not alice.ping(lab.server_address, count=4, timeout=0.3)
    assert "none ever came down" in says(lab, "alice", "no-return")
    lab.router.namespace.ip(f"route add {lab.pools[0]} via {lab.core.ip}")
    mended(lab)


def test_nothing_comes_back_any_more(lab: Lab) -> None:
    """Of one that was answered before, and asks on; once it has stopped, that is still known."""
    alice = lab.customers[ALICE]
    mended(lab)
    with alice.pinging(lab.server_address, interval=0.2) as pinging:
        pinging.wait_for(3)
        says(lab, "alice", "well")
        lab.router.namespace.ip(f"route del {lab.pools[0]}")
        assert "nothing came down" in says(lab, "alice", "no-return")
    assert "log messages" in diagnose(lab, "alice")["cure"]
    lab.router.namespace.ip(f"route add {lab.pools[0]} via {lab.core.ip}")
    mended(lab)


def test_who_is_let_on_though_it_is_known_on_another_line() -> None:
    """A note beside the verdict: it gets what strangers get."""
    with Lab([Line(100, 1)]) as lab:
        (customer,) = lab.customers
        known = lab.folder / "subscribers.toml"
        known.write_text(f'subscribers = [{{ name = "carol", line = "1:100.3", mac = "{customer.mac}" }}]')
        lab.gateway.start(lab.config(authorization={"default": "residential", "subscribers": str(known)}))
        customer.dhcp("udhcpc")
        for who in (str(customer.mac), "carol"):
            told = diagnose(lab, who)
            assert told["verdict"] == "well"
            assert told["notes"] == ["it is heard on line 1:100.1; the subscribers file has carol on 1:100.3"]


# ---- a gateway of another kind -----------------------------------------------------------------


def test_circuits_that_are_not_told_and_a_mac_on_two_of_them() -> None:
    with Lab([Line(100, circuit=b"door-1"), Line(100, circuit=b"door-2"), Line(100)]) as lab:
        lab.gateway.start(lab.config())
        first, second, untold = lab.customers
        first.dhcp("udhcpc")
        asks(untold)
        says(lab, untold, "no-circuit-id")
        second.change_mac(first.mac)
        asks(second)
        says(lab, first, "other-circuit")


def test_a_table_that_is_full() -> None:
    with Lab([Line(100, 1), Line(100, 2), Line(100, 3)]) as lab:
        lab.gateway.start(lab.config(gateway={"sessions": 16}, subscriber={"clients": 16}))
        (last,) = lab.customers[2:]
        for number in range(16):
            lab.customers[0].send_raw(framed(message(DISCOVER, mac := Mac(b"\2\0\0\0\1" + bytes((number,)))), mac))
        wait_until(lambda: lab.gateway.get("/healthz")["sessions"] == 16, "a full table", 5)
        asks(last)
        says(lab, last, "table-full")


def test_a_device_that_is_gone(lab: Lab) -> None:
    """The last one: nobody puts it back."""
    with suppress(RuntimeError):
        lab.gateway.namespace.ip("link del acc0")
    assert "acc0" in says(lab, "alice", "port-gone")


PROVEN_ELSEWHERE = {
    *("clock-unset", "dropped", "getting-on", "destination-refused", "idle", "subscriber-full", "over-rate"),
    *("radius-rejected", "radius-unusable", "radius-unsigned", "radius-doubted", "radius-never-answered"),
    *("radius-unreachable", "radius-busy", "radius-decides", "no-username"),
    *("credentials-unusable", "entry-unusable", "shared-pool-empty", "no-block"),
}
"""By tests/api/test_verdicts.py; `over-rate` by test_rates.py, and RADIUS by test_radius_seen.py, too."""


def test_the_drill_leaves_no_rule_out() -> None:
    """Here, or of who dials in test_diagnose_pppoe.py."""
    here = Path(__file__)
    text = here.read_text().split("PROVEN_ELSEWHERE")[0] + here.with_stem("test_diagnose_pppoe").read_text()
    assert [rule.name for rule in RULES if f'"{rule.name}"' not in text] == sorted(
        PROVEN_ELSEWHERE, key=[rule.name for rule in RULES].index
    )

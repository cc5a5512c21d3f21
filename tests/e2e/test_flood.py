"""One line at full rate, and frames that make no sense: the other lines do not notice, and the process lives."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from wayleave.lab.access_node import Line
from wayleave.lab.customer import Customer
from wayleave.lab.packet import BROADCAST, IPV4, UDP, ethernet, ipv4, udp
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.lab.waiting import wait_until
from wayleave.net.mac import Mac

from .dhcp import DISCOVER, EVERYONE, REQUEST, ZERO, framed, message
from .watch import Meter, refused, sessions

FLOODER = 0
OTHERS = range(1, 4)
LINES = [Line(100, 1 + number) for number in range(4)]
RATES = "[punt]\nline = { pps = 20, burst = 40 }\nclient = { pps = 1, burst = 6 }\n"
"""A client's is low: MACs share 65,536 buckets, and a flood of them must not use up the buckets of others."""
NO_RATES = "[punt]\nline = { pps = 0, burst = 1 }\nclient = { pps = 0, burst = 1 }\nnew = { pps = 0, burst = 1 }\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(LINES) as lab:
        lab.gateway.start(lab.config(more=RATES))
        yield lab


@pytest.fixture(scope="module")
def open_lab() -> Iterator[Lab]:
    """A gateway without policers: whatever is sent to it comes up to Python."""
    with Lab([Line(100, 1), Line(100, 2)]) as lab:
        lab.gateway.start(lab.config(more=NO_RATES))
        yield lab


def resident_kib(lab: Lab) -> int:
    """Memory of the gateway's process."""
    assert lab.gateway.process is not None
    status = Path(f"/proc/{lab.gateway.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def lease_seconds(customer: Customer) -> float:
    """How long a client takes from nothing to its lease."""
    customer.forget()
    begin = time.monotonic()
    customer.dhcp("udhcpc")
    return time.monotonic() - begin


@contextmanager
def flood(lab: Lab, macs: int) -> Iterator[Callable[[], int]]:
    """Flood from the first customer's line; yields what tells how many packets the gateway has refused so far."""
    customer = lab.customers[FLOODER]
    discover = framed(message(DISCOVER, customer.mac), customer.mac)
    before = sum(lab.gateway.get("/counters")["punts"]["dhcp4-new"].values())
    process = customer.spawn(
        sys.executable, str(Path(__file__).with_name("flood.py")), "eth0", str(macs), discover.hex()
    )
    try:
        wait_until(lambda: "flooding" in process.output(), "flood")
        yield lambda: sum(lab.gateway.get("/counters")["punts"]["dhcp4-new"].values()) - before
    finally:
        process.kill()


@pytest.mark.parametrize(("macs", "by"), [(1 << 16, "refused-line"), (0, "refused-client")], ids=["ever new", "one"])
def test_a_line_that_floods_is_alone_with_it(lab: Lab, macs: int, by: str) -> None:
    others = [lab.customers[number] for number in OTHERS]
    usual = median(lease_seconds(customer) for customer in others)
    memory = resident_kib(lab)
    refusals = Meter(lab.gateway, "punts", "dhcp4-new", by)
    up = Meter(lab.gateway, "punts", "dhcp4-new", "sent")
    begin = time.monotonic()
    with flood(lab, macs) as offered:
        wait_until(lambda: offered() > 600_000, lambda: f"600,000 packets; {offered()} came", 20)
        flooded = [lease_seconds(customer) for customer in others]
        assert all(customer.ping(lab.server_address) for customer in others)
        total = offered()
        seconds = time.monotonic() - begin
    assert max(flooded) < 2
    assert median(flooded) < max(3 * usual, 0.5)
    assert refusals.grown > 0.9 * total, "what was too much is not charged to the one who sent it"
    assert up.grown <= 40 + 20 * (seconds + 1) + 10 * len(others), "more came up than the line may send"
    assert resident_kib(lab) - memory < 8 << 10
    counters = lab.gateway.get("/counters")
    assert counters["sessions"]["unexpected"] == {}
    assert counters["loop_lag_us"]["p99"] < 50_000
    assert len(sessions(lab.gateway, line="1:100.1")) <= 4, "the limit of the port"


def test_a_full_line_is_what_random_macs_come_up_against(lab: Lab) -> None:
    full = refused(lab.gateway, "line-full")
    with flood(lab, 1 << 16):
        full.wait(10)
    assert lab.customers[1].dhcp("udhcpc")


# ---- garbage ------------------------------------------------------------------------------


def _noise(rng: random.Random, mac: Mac) -> bytes:
    return ethernet(BROADCAST, mac, rng.choice((0x0800, 0x0806, 0x86DD, rng.randrange(1 << 16))), rng.randbytes(300))


def _noise_in_udp(rng: random.Random, mac: Mac) -> bytes:
    return framed(rng.randbytes(rng.randrange(1200)), mac)


def _cut_short(rng: random.Random, mac: Mac) -> bytes:
    whole = message(REQUEST, mac, (50, bytes(4)), (55, bytes(range(40))), (82, b"\x01\x03abc"), (12, b"host"))
    return framed(whole[: rng.randrange(len(whole.rstrip(b"\0")))], mac)


def _mutated(rng: random.Random, mac: Mac) -> bytes:
    options = [(rng.randrange(256), rng.randbytes(rng.randrange(12))) for _ in range(rng.randrange(8))]
    whole = bytearray(message(rng.randrange(1, 9), mac, *options))
    for _ in range(rng.randrange(1, 8)):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    return framed(bytes(whole), mac)


def _mutated_headers(rng: random.Random, mac: Mac) -> bytes:
    whole = message(DISCOVER, mac)
    frame = bytearray(ethernet(BROADCAST, mac, IPV4, ipv4(ZERO, EVERYONE, UDP, udp(ZERO, EVERYONE, 68, 67, whole))))
    for _ in range(rng.randrange(1, 4)):
        frame[rng.randrange(12, 42)] = rng.randrange(256)
    return bytes(frame)


def _lying_options(rng: random.Random, mac: Mac) -> bytes:
    """Lengths that pass the end, overload, options that repeat without end."""
    whole = bytearray(
        message(DISCOVER, mac, (52, bytes((rng.randrange(8),))), *[(55, b"\x01" * 20)] * rng.randrange(9))
    )
    whole[240 + rng.randrange(12)] = 255
    whole[44 : 44 + 192] = rng.randbytes(192)
    return framed(bytes(whole), mac)


GARBAGE = (_noise, _noise_in_udp, _cut_short, _mutated, _mutated_headers, _lying_options)


@pytest.mark.parametrize("make", GARBAGE, ids=lambda make: make.__name__.strip("_").replace("_", " "))
def test_garbage_neither_ends_nor_stalls_it(open_lab: Lab, make: Callable[[random.Random, Mac], bytes]) -> None:
    gateway, (sender, client) = open_lab.gateway, open_lab.customers
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    print(f"seed {seed}")
    came = Meter(gateway, "received", "subscriber")
    count = 600
    for _ in range(count):
        mac = sender.mac if rng.random() < 0.5 else Mac(b"\x02" + rng.randbytes(5))
        sender.send_raw(make(rng, mac))
    came.wait(count)
    begin = time.monotonic()
    assert gateway.request("GET", "/healthz")[0] == 200
    assert time.monotonic() - begin < 1
    client.forget()
    assert client.dhcp("udhcpc")
    assert client.ping(open_lab.server_address)
    assert "Traceback" not in gateway.log
    _balance(open_lab)


def _balance(lab: Lab) -> None:
    """Every frame that came up was heard or ignored, once; every one that came in, came out."""

    def even() -> bool:
        found = lab.gateway.get("/counters")
        up = sum(row["sent"] for row in found["punts"].values())
        taken = sum(found["dhcp4"]["heard"].values()) + sum(found["dhcp4"]["ignored"].values())
        ended = sum(sum(row.values()) for row in found["outcomes"].values())
        return bool(up == taken and ended == sum(found["received"].values()))

    wait_until(even, lambda: f"balance: {lab.gateway.get('/counters')}")


def test_a_burst_is_taken_up_once_each(open_lab: Lab) -> None:
    """More at once than the gateway takes from its ring in one go. Their port's limit lets them all be heard."""
    heard = Meter(open_lab.gateway, "dhcp4", "heard", "discover")
    macs = [Mac(b"\x02\xbb\x00\x00" + number.to_bytes(2, "big")) for number in range(2000)]
    frames = [framed(message(DISCOVER, mac), mac) for mac in macs]
    for frame in frames:
        open_lab.customers[0].send_raw(frame)
    heard.wait(len(frames))
    _balance(open_lab)
    assert heard.grown == len(frames)


def test_a_mac_that_is_not_the_senders_is_ignored(open_lab: Lab) -> None:
    """A chaddr of somebody else: the victim's session is not touched."""
    attacker, victim = open_lab.customers
    address = victim.dhcp("udhcpc").address
    mismatch = Meter(open_lab.gateway, "dhcp4", "ignored", "chaddr-is-not-the-sender")
    attacker.send_raw(framed(message(7, victim.mac, ciaddr=address), attacker.mac, to_mac=GATEWAY_ACCESS_MAC))
    mismatch.wait()
    assert victim.ping(open_lab.server_address)

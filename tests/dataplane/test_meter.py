"""What a session may send and be sent: octets in a time, one way and the other, and nothing of it twice."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wayleave.dataplane import abi, syscall
from wayleave.dataplane.abi import METER_COST_BITS, METER_TIME_BITS, DropReason, Outcome, Policer, PortKind, Stage
from wayleave.dataplane.explain import Explainer
from wayleave.dataplane.rows import NOT_METERED, meter, project
from wayleave.net.mac import BROADCAST
from wayleave.net.units import BootNs, Ns
from wayleave.session.model import (
    LEAST_RATE,
    MOST_BURST,
    MOST_RATE,
    Client,
    Lease,
    Line,
    Phase,
    Rate,
    Service,
    Session,
    Subnet,
    Tenant,
)

from .frames import INTERNET, Packet, discover, down, from_kernel, into, out, packet, request, to_kernel, up
from .rig import ALICE, BOB, GATEWAY, LINK, NET, SUB, Bench, Case, Subscriber, Use, dropped

SIZE = len(packet())
SLOW = (8 * 10**9 << METER_COST_BITS) // 8_000
"""8 kbit/s: an octet a millisecond, so what a test itself takes is no packet."""
LESS, ENOUGH = (SLOW, SIZE - 1), (SLOW, SIZE)


def to(who: Subscriber, size: int = 0, **fields: Any) -> Packet:
    return packet(INTERNET, who.address, size=size, **fields)


def sold(who: Subscriber, up: tuple[int, int] = (0, 0), down: tuple[int, int] = (0, 0)) -> Subscriber:
    return replace(who, up=up, down=down)


SENDS_LESS, IS_SENT_LESS = sold(ALICE, up=LESS), sold(ALICE, down=LESS)
SENDS, IS_SENT = sold(ALICE, up=ENOUGH), sold(ALICE, down=ENOUGH)
BOB_LESS, BOB_ENOUGH = sold(BOB, down=LESS), sold(BOB, down=ENOUGH)
TO_BOB = packet(destination=BOB.address)
NOTHING = (SLOW, 0)
NEITHER = sold(ALICE, NOTHING, NOTHING)

CASES = [
    Case(
        "as much as may go at once, up",
        up(packet()),
        (Stage.FORWARD, Outcome.TO_NETWORK),
        out=out(packet(ttl=63)),
        to=NET,
        sessions=[SENDS],
        used={SENDS: Use(up=(1, SIZE))},
    ),
    dropped(
        "an octet more, up", up(packet()), Stage.METER, DropReason.METERED_UP, SENDS_LESS, sessions=[SENDS_LESS], to=NET
    ),
    dropped(
        "an octet more, to another client",
        up(TO_BOB),
        Stage.METER,
        DropReason.METERED_UP,
        SENDS_LESS,
        sessions=[SENDS_LESS, BOB],
        to=SUB,
    ),
    dropped(
        "more than is let up, to nowhere",
        up(packet(destination="239.1.1.1")),
        Stage.METER,
        DropReason.METERED_UP,
        SENDS_LESS,
        sessions=[SENDS_LESS],
    ),
    Case(
        "as much as may go at once, down",
        into(to(IS_SENT)),
        (Stage.DELIVER, Outcome.TO_SUBSCRIBER),
        out=down(to(IS_SENT, ttl=63), IS_SENT),
        on="net",
        to=SUB,
        sessions=[IS_SENT],
        used={IS_SENT: Use(down=(1, SIZE))},
    ),
    dropped(
        "an octet more, down",
        into(to(IS_SENT_LESS)),
        Stage.DELIVER,
        DropReason.METERED_DOWN,
        on="net",
        to=SUB,
        sessions=[IS_SENT_LESS],
        used={IS_SENT_LESS: Use(down_dropped=1)},
    ),
    dropped(
        "an octet more, from the kernel",
        from_kernel(to(IS_SENT_LESS)),
        Stage.DELIVER,
        DropReason.METERED_DOWN,
        on="link",
        to=SUB,
        sessions=[IS_SENT_LESS],
        used={IS_SENT_LESS: Use(down_dropped=1)},
    ),
    Case(
        "as much as one client may send and the other be sent",
        up(TO_BOB),
        (Stage.FORWARD, Outcome.TO_SUBSCRIBER),
        out=down(packet(destination=BOB.address, ttl=63), BOB),
        to=SUB,
        sessions=[SENDS, BOB_ENOUGH],
        used={SENDS: Use(up=(1, SIZE)), BOB_ENOUGH: Use(down=(1, SIZE))},
    ),
    dropped(
        "more than the other client may be sent",
        up(TO_BOB),
        Stage.FORWARD,
        DropReason.METERED_DOWN,
        ALICE,
        to=SUB,
        sessions=[ALICE, BOB_LESS],
    ),
    Case(
        "an error for the kernel to answer is none of the receiver's octets",
        into(to(IS_SENT_LESS, ttl=1)),
        (Stage.DELIVER, Outcome.TO_HOST),
        on="net",
        out=to_kernel(to(IS_SENT_LESS, ttl=1)),
        to=LINK,
        sessions=[IS_SENT_LESS],
    ),
    Case(
        "DHCP goes up, whatever may be sent",
        up(discover(), destination=BROADCAST),
        (Stage.PUNT, Outcome.PUNTED),
        sessions=[NEITHER, GATEWAY],
        punted=(abi.PuntClass.DHCP4_KNOWN, abi.PuntResult.SENT),
    ),
]
"""A burst of less than the packet refuses one packet by itself."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(bench: Bench, case: Case) -> None:
    bench.check(case)


def test_arp_is_answered_whatever_may_be_sent(bench: Bench) -> None:
    bench.place([NEITHER])
    before = bench.counters()
    bench.run(up(request(GATEWAY.address), NEITHER, BROADCAST))
    assert bench.counters().since(before).ends == {(Stage.ARP, Outcome.ANSWERED): 1}
    assert (bench.metered_until(NEITHER, "up"), bench.metered_until(NEITHER, "down")) == (0, 0)


# ---- How much in how long ------------------------------------------------------------------


def send(bench: Bench, who: Subscriber, way: str, count: int, size: int = SIZE) -> int:
    """Send `count` packets of `size` octets one way; returns how many were let through."""
    before = bench.use(who)
    sent = up(packet(who.address, size=size), who) if way == "up" else into(to(who, size))
    for _ in range(count):
        bench.run(sent, "sub" if way == "up" else "net")
    now_on = bench.use(who)
    assert now_on.up_dropped + now_on.down_dropped >= before.up_dropped + before.down_dropped
    packets = (now_on.up if way == "up" else now_on.down)[0] - (before.up if way == "up" else before.down)[0]
    refused = now_on.up_dropped + now_on.down_dropped - before.up_dropped - before.down_dropped
    assert packets + refused == count
    return packets


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("size", [500, 1000, 1500])
def test_a_burst_then_the_rate_to_the_octet(bench: Bench, way: str, size: int) -> None:
    """A quiet minute fills the bucket once, not for a minute; from then on octets come by the second.

    What the test itself takes comes on top, an octet a millisecond: less than half a packet, if nothing holds it up.
    """
    burst = 10 * size + size // 2
    who = sold(ALICE, **{way: (SLOW, burst)})
    bench.place([who])
    bench.open_only(NET, SUB)
    for _ in range(3):
        began = time.monotonic()
        assert 10 <= send(bench, who, way, 30, size) <= (burst + held_up(began)) // size
        bench.pass_time(who, 60 * 10**9)
    began = time.monotonic()
    passed = send(bench, who, way, 30, size)
    for _ in range(20):
        bench.pass_time(who, size * 10**6)
        passed += send(bench, who, way, 3, size)
    assert 30 <= passed <= (burst + 20 * size + held_up(began)) // size


def held_up(began: float) -> int:
    """Octets that 8 kbit/s come to since then."""
    return int(1000 * (time.monotonic() - began)) + 1


@pytest.mark.parametrize("way", ["up", "down"])
def test_other_sizes_and_the_other_way_are_told_apart(bench: Bench, way: str) -> None:
    """Small packets go where a large one does not fit any more; nothing of it is the other way's."""
    other = "down" if way == "up" else "up"
    who = sold(ALICE, **{way: (SLOW, 3700)})
    bench.place([who])
    bench.open_only(NET, SUB)
    assert [send(bench, who, way, 5, size) for size in (1400, 600, 290)] == [2, 1, 1]
    assert send(bench, who, other, 50, 1500) == 50
    assert bench.metered_until(who, other) == 0


def test_what_no_rate_was_sold_of_is_as_fast_as_it_goes(bench: Bench) -> None:
    bench.place([ALICE])
    bench.open_only(NET, SUB)
    assert (send(bench, ALICE, "up", 200, 1500), send(bench, ALICE, "down", 200, 1500)) == (200, 200)
    assert (bench.metered_until(ALICE, "up"), bench.metered_until(ALICE, "down")) == (0, 0)


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("bits_s", [8_000, 1_000_000, 20_000_000, 1_000_000_000, 33_333_333_333, MOST_RATE])
def test_every_packet_is_judged_as_on_paper(bench: Bench, way: str, bits_s: int) -> None:
    """At any rate, by the clock as it goes: let through if it must fit, refused if it cannot, charged to the bit."""
    chance = random.Random(bits_s)
    rate = meter(Rate(bits_s, 1600))
    who = sold(ALICE, **{way: (rate.cost, rate.burst)})
    bench.place([who])
    bench.open_only(NET, SUB)
    shift = METER_COST_BITS - METER_TIME_BITS
    depth = rate.burst * rate.cost >> shift
    verdicts = set()
    for _ in range(300):
        size = chance.randrange(40, 1500)
        cost = size * rate.cost >> shift
        before, earliest = bench.metered_until(who, way), clock()
        passed = send(bench, who, way, 1, size)
        after, latest = bench.metered_until(who, way), clock()
        if passed:
            assert max(before, earliest) + cost <= after <= max(before, latest) + cost
            assert after <= latest + depth
        else:
            assert after == before
            assert before + cost > earliest + depth
        verdicts.add(passed)
    assert verdicts == {0, 1} or bits_s > 1_000_000, "at once more than the rate, or a test's packets are slower"


def clock() -> int:
    """Boot time as meters have it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) << METER_TIME_BITS


# ---- Changes, races, explanations ------------------------------------------------------------


def change(bench: Bench, who: Subscriber, **unlike: Any) -> Subscriber:
    """Have the keys lead to a fresh row, as `Tables` does it."""
    fresh = replace(who, row_generation=2, key_generation=2, **unlike)
    bench.put("sessions", 9, fresh.row(time.clock_gettime_ns(time.CLOCK_BOOTTIME)).pack())
    slot = abi.Slot(9, 2, who.id).pack()
    bench.put("hosts4", abi.Host4Key(who.tenant, IPv4Address(who.address)).pack(), slot)
    bench.put("clients", who.key.pack(), slot)
    return fresh


@pytest.mark.parametrize("way", ["up", "down"])
def test_another_rate_counts_at_once_and_counters_go_on(bench: Bench, way: str) -> None:
    """A bucket that was drained at 8 kbit/s owes ten seconds; at 8 Mbit/s that is ten milliseconds, and no more."""
    slow = sold(ALICE, **{way: (SLOW, 10_000)})
    bench.place([slow])
    bench.open_only(NET, SUB)
    assert send(bench, slow, way, 20, 1000) == 10
    fast = change(bench, slow, **{way: (SLOW // 1000, 10_000)})
    assert send(bench, fast, way, 1, 1500) == 0, "it begins empty"
    bench.pass_time(fast, 10 * 10**6)
    assert send(bench, fast, way, 5, 1000) == 5
    use = bench.use(fast)
    assert (use.up if way == "up" else use.down) == (15, 15_000)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_slower_rate_counts_at_once(bench: Bench, way: str) -> None:
    fast = sold(ALICE, **{way: (SLOW // 1000, 10_000)})
    bench.place([fast])
    bench.open_only(NET, SUB)
    send(bench, fast, way, 20, 1000)
    slow = change(bench, fast, **{way: (SLOW, 2000)})
    assert send(bench, slow, way, 20, 1000) <= 2
    bench.pass_time(slow, 10**9)
    assert 1 <= send(bench, slow, way, 20, 1000) <= 2


@pytest.mark.parametrize("way", ["up", "down"])
def test_no_rate_any_more(bench: Bench, way: str) -> None:
    none = sold(ALICE, **{way: NOTHING})
    bench.place([none])
    bench.open_only(NET, SUB)
    assert send(bench, none, way, 5) == 0
    assert send(bench, change(bench, none, **{way: (0, 0)}), way, 5) == 5


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_word_from_another_world_keeps_nobody_out(bench: Bench, way: str) -> None:
    """Whatever stands there, after a burst's time packets go."""
    who = sold(ALICE, **{way: (SLOW, 1600)})
    bench.place([who])
    bench.open_only(NET, SUB)
    bench._usage.view[bench._meter(who, way) : bench._meter(who, way) + 8] = b"\xff" * 8
    assert send(bench, who, way, 1, 1500) == 0
    bench.pass_time(who, 1600 * 10**6)
    assert send(bench, who, way, 3, 1500) == 1


def from_two_cpus(bench: Bench, who: Subscriber, repeat: int) -> tuple[int, int]:
    """Have both deliver `repeat` packets of 1,000 octets, without a pause; returns the meter's time before and after.

    A frame for an untagged client leaves the program as it may come in again.
    """
    bench.place([who])
    bench.open_only(SUB)
    bench.police(Policer.SAMPLE_CLIENT, 10**12, 0)
    sent, start = from_kernel(to(who, size=1000)), threading.Barrier(2)

    def flood(cpu: int) -> int:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        start.wait()
        began = clock()
        syscall.run(bench.programs["bng_core"], sent, bench.devices["link"], repeat)
        return began

    cpus = sorted(os.sched_getaffinity(0)) * 2
    with ThreadPoolExecutor(2) as pool:
        began = min(done.result() for done in [pool.submit(flood, cpu) for cpu in cpus[:2]])
    use = bench.use(who)
    assert use.down[0] + use.down_dropped == 2 * repeat
    return began, bench.metered_until(who, "down")


def test_no_charge_is_lost_between_two_cpus(bench: Bench) -> None:
    who = sold(BOB, down=(SLOW, MOST_BURST))
    began, until = from_two_cpus(bench, who, 200_000)
    use = bench.use(who)
    charged = use.down[1] * (SLOW >> METER_COST_BITS - METER_TIME_BITS)
    assert began + charged <= until <= clock() + charged
    assert use.down_dropped < 400, "who loses to the other CPU again and again is refused"


@pytest.mark.parametrize("bits_s", [1_000_000_000, 8_000_000_000])
def test_two_cpus_together_get_the_rate(bench: Bench, bits_s: int) -> None:
    """Also where one of them read the clock before the other did, and charges after it."""
    who = sold(BOB, down=(meter(Rate(bits_s, 10_000)).cost, 10_000))
    began, until = from_two_cpus(bench, who, 500_000)
    took_s = (until - began) / (1 << METER_TIME_BITS) / 1e9
    octets = bench.use(who).down[1]
    assert 1600 <= octets <= 1.001 * bits_s * took_s / 8


def test_an_explanation_tells_and_charges_nothing(bench: Bench) -> None:
    who = sold(ALICE, (SLOW, 1600), (SLOW, 1600))
    bench.place([who])
    bench.open_only(NET, SUB)
    explainer = Explainer(bench.programs, bench.maps)
    ways = {
        "up": (up(packet(size=1000)), "sub", PortKind.SUBSCRIBER, Outcome.TO_NETWORK, DropReason.METERED_UP),
        "down": (into(to(who, 1000)), "net", PortKind.NETWORK, Outcome.TO_SUBSCRIBER, DropReason.METERED_DOWN),
    }
    for way, (frame, device, kind, outcome, reason) in ways.items():
        for _ in range(3):
            assert explainer.explain(frame, bench.devices[device], kind).outcome is outcome
        assert bench.metered_until(who, way) == 0
        assert send(bench, who, way, 3, 1000) == 1
        stands = bench.metered_until(who, way)
        told = explainer.explain(frame, bench.devices[device], kind)
        assert (told.outcome, told.reason) == (Outcome.DROPPED, reason)
        assert bench.metered_until(who, way) == stands


# ---- Rates as rows --------------------------------------------------------------------------


def given_bits_s(row: abi.Meter) -> float:
    return (8 * 10**9 << METER_COST_BITS) / row.cost


@given(st.integers(LEAST_RATE, MOST_RATE) | st.floats(3.91, 11.6).map(lambda power: int(10**power)))
def test_nobody_gets_less_than_was_sold_nor_much_more(bits_s: int) -> None:
    row = meter(Rate.of(bits_s))
    assert bits_s <= given_bits_s(row) * (1 + 1e-12)
    assert given_bits_s(row) <= bits_s * (1 + 1 / row.cost)
    abi.Meter.unpack(row.pack())


@pytest.mark.parametrize(
    ("bits_s", "most"),
    [(8_000, 1e-8), (10**9, 3.1e-5), (10**10, 3.1e-4), (10**11, 3.1e-3), (MOST_RATE, 1.24e-2)],
)
def test_what_abi_h_says_of_the_error(bits_s: int, most: float) -> None:
    """Of this rate, and of what lies just below it."""
    for near in (bits_s, bits_s - bits_s // 1000 if bits_s > LEAST_RATE else bits_s):
        assert given_bits_s(meter(Rate.of(near))) / near - 1 <= most


def test_a_session_s_row_has_what_its_service_says_each_way() -> None:
    up_, down_ = Rate(10_000_000, 20_000), Rate(50_000_000, 30_000)
    client = Client(Line(1, 100, 7), ALICE.mac)
    service = Service(tenant="default", pool="p", up=up_, down=down_)
    subnet = Subnet(IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.1"))
    lease = Lease(IPv4Address("10.0.0.9"), "p", subnet, Ns(1), Ns(1), BootNs(1))
    session = Session(
        id=1, client=client, phase=Phase.ACTIVE, since=BootNs(1), service=service, lease=lease, encapsulation=bytes(14)
    )
    row = abi.Session.unpack(project(session, Tenant("default", 0, 254)).session)
    assert (
        (row.up, row.down) == (meter(up_), meter(down_)) == (abi.Meter(3_276_800, 20_000), abi.Meter(655_360, 30_000))
    )


def test_without_a_burst_it_is_a_quarter_of_a_second_and_ten_packets_at_least() -> None:
    bursts = {8_000: 15_000, 480_000: 15_000, 20_000_000: 625_000, MOST_RATE: MOST_BURST}
    assert {rate: Rate.of(rate).burst for rate in bursts} == bursts


def test_the_slowest_fits_the_row_and_the_largest_burst_is_held_to_it() -> None:
    assert meter(Rate(LEAST_RATE, 15_000)) == abi.Meter(SLOW, 15_000)
    assert meter(Rate.of(MOST_RATE)) == abi.Meter(81, MOST_BURST)
    assert meter(Rate(1_000_000, 1600)).burst == 1600
    assert meter(None) == NOT_METERED

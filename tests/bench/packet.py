"""ns a packet: the product's programs in test runs, each packet written anew for another subscriber.

A wrapper writes the packet and calls the program; the wrapper with an empty program in its place is subtracted. No
device is involved: this is the program alone, its cache misses and the route look-up among it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from wayleave.dataplane.plane import ACCESS, CORE
from wayleave.session.model import MOST_RATE, Rate

from .crossing import Crossing, Plane, on_one_cpu
from .report import Aim, Result, Table, Wrong, shown
from .traffic import Traffic

SUBSCRIBERS = (1, 1_000, 64_000)
INSTALLED = 64_000
GOAL_FLATNESS = 2.3
METERED = ", metered"
FAST = Rate.of(MOST_RATE)
"""No packet of the generator is refused."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One way through the gateway: wrapper and program, and where its packets are counted to end."""

    name: str
    wrapper: str
    program: str
    stage: str
    outcome: str

    @property
    def down(self) -> bool:
        return self.program == CORE


UP = Direction("up: QinQ client to network", "up_repeat", ACCESS, "forward", "to-network")
DOWN = Direction("down: network to QinQ client", "down_repeat", CORE, "deliver", "to-subscriber")


def expect(plane: Plane, direction: Direction, subscribers: int, before: list[int], packets: int, ended: int) -> None:
    """Raise Wrong unless all `packets` were let through and charged to those subscribers.

    `before` and `ended` are what `usage` and the end's counter said before the run.
    """
    now = plane.counters.outcomes()[direction.stage].get(direction.outcome, 0)
    used = [new - old for new, old in zip(plane.used(subscribers, direction.down), before, strict=True)]
    if now - ended != packets or sum(used) != packets:
        drops = {name: count for name, count in plane.counters.drops().items() if count}
        raise Wrong(
            f"{direction.name}: of {packets} packets {now - ended} ended as {direction.outcome} and {sum(used)} were "
            f"charged; drops so far: {drops}"
        )
    if packets >= 30 * subscribers and not all(used):
        raise Wrong(f"{direction.name}: {used.count(0)} of {subscribers} subscribers sent nothing")


def measure(
    traffic: Traffic, plane: Plane, crossing: Crossing, direction: Direction, count: int, repeats: int
) -> float:
    """Return net ns a packet of one run of `repeats` packets over `count` subscribers.

    Raises: Wrong.
    """
    ifindex = crossing.core0 if direction.down else crossing.acc0

    def run(program: int) -> int:
        traffic.subscribers(count)
        traffic.put_under_test(program)
        return on_one_cpu(crossing.gateway, lambda: traffic.repeat(direction.wrapper, ifindex, repeats))

    empty_before = run(traffic.programs["nothing"])
    used = plane.used(count, direction.down)
    ended = plane.counters.outcomes()[direction.stage].get(direction.outcome, 0)
    whole = run(plane.programs[direction.program])
    expect(plane, direction, count, used, repeats, ended)
    empty_after = run(traffic.programs["nothing"])
    return whole - (empty_before + empty_after) / 2


def bench(quick: bool) -> Result:
    """Both directions, without a rate and with one, at each number of subscribers, interleaved round by round."""
    rounds, repeats = (3, 300_000) if quick else (9, 2_000_000)
    samples: dict[str, list[float]] = {}
    traffic = Traffic()
    with Crossing() as crossing:
        planes = {"": Plane(crossing, INSTALLED), METERED: Plane(crossing, INSTALLED, FAST)}
        cases = [(direction, sold, count) for direction in (UP, DOWN) for sold in planes for count in SUBSCRIBERS]
        for number in range(rounds):
            for direction, sold, count in cases if number % 2 == 0 else reversed(cases):
                net = measure(traffic, planes[sold], crossing, direction, count, repeats)
                samples.setdefault(_name(direction, sold, count), []).append(net)
    traffic.close()
    rows = []
    found = []
    for direction, sold in ((direction, sold) for direction in (UP, DOWN) for sold in ("", METERED)):
        series = [samples[_name(direction, sold, count)] for count in SUBSCRIBERS]
        flat = [many / some for many, some in zip(series[2], series[1], strict=True)]
        name = direction.name + sold
        rows.append((name, *(shown(values) for values in series), shown(flat, 2)))
        found.append(Aim(f"flatness {name}, program alone", statistics.median(flat), GOAL_FLATNESS, most=True))
    table = Table(
        f"packet: net ns a packet, median [min…max] of {rounds} rounds; {INSTALLED:,} sessions installed",
        ("subscribers taking part", *(f"{count:,}" for count in SUBSCRIBERS), "64k / 1k"),
        rows,
        ("Every packet was charged to its subscriber and left where it should; else there would be no table.",),
    )
    return Result([table], found, samples)


def _name(direction: Direction, sold: str, count: int) -> str:
    return f"{direction.wrapper.removesuffix('_repeat')}{sold} {count} ns"

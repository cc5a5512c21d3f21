"""ns a packet: the product's programs in test runs, each packet written anew for another subscriber.

A wrapper writes the packet and calls the program; the wrapper with an empty program in its place is subtracted. No
device is involved: this is the program alone, its cache misses and the route look-up among it.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from wayleave.dataplane.plane import ACCESS, CORE
from wayleave.session.model import MOST_RATE, Rate

from .crossing import Crossing, Plane, on_one_cpu
from .report import Aim, Result, Table, Wrong, shown
from .traffic import Traffic

SUBSCRIBERS = (1, 1_000, 64_000)
INSTALLED = 64_000
GOAL_FLATNESS, GOAL_PPPOE = 2.3, 1.15
METERED, PPPOE = ", metered", ", in PPPoE"
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
UP_PPPOE = replace(UP, wrapper="up_pppoe_repeat")
DOWN = Direction("down: network to QinQ client", "down_repeat", CORE, "deliver", "to-subscriber")


ROWS = ((UP, ""), (UP_PPPOE, PPPOE), (UP, METERED), (DOWN, ""), (DOWN, PPPOE), (DOWN, METERED))
"""What is measured, those to be compared beside each other."""


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
        planes = {
            "": Plane(crossing, INSTALLED),
            METERED: Plane(crossing, INSTALLED, FAST),
            PPPOE: Plane(crossing, INSTALLED, dialed=True),
        }
        cases = [(direction, kind, count) for count in SUBSCRIBERS for direction, kind in ROWS]
        for number in range(rounds):
            for direction, kind, count in cases if number % 2 == 0 else reversed(cases):
                net = measure(traffic, planes[kind], crossing, direction, count, repeats)
                samples.setdefault(_name(direction, kind, count), []).append(net)
    traffic.close()
    table = Table(
        f"packet: net ns a packet, median [min…max] of {rounds} rounds; {INSTALLED:,} sessions installed",
        ("subscribers taking part", *(f"{count:,}" for count in SUBSCRIBERS), "64k / 1k"),
        [_row(samples, direction, kind) for direction, kind in ROWS],
        ("Every packet was charged to its subscriber and left where it should; else there would be no table.",),
    )
    beside = Table(
        "packet: PPPoE beside IPoE, times as long, pair by pair",
        ("subscribers taking part", *(f"{count:,}" for count in SUBSCRIBERS)),
        [(plain.name, *(shown(_beside(samples, plain, count), 2) for count in SUBSCRIBERS)) for plain in (UP, DOWN)],
    )
    return Result([table, beside], _aims(samples), samples)


def _row(samples: dict[str, list[float]], direction: Direction, kind: str) -> tuple[str, ...]:
    series = [samples[_name(direction, kind, count)] for count in SUBSCRIBERS]
    return (direction.name + kind, *(shown(values) for values in series), shown(_flatness(samples, direction, kind), 2))


def _flatness(samples: dict[str, list[float]], direction: Direction, kind: str) -> list[float]:
    some, many = (samples[_name(direction, kind, count)] for count in SUBSCRIBERS[1:])
    return [more / less for more, less in zip(many, some, strict=True)]


def _beside(samples: dict[str, list[float]], direction: Direction, count: int) -> list[float]:
    """PPPoE's ns over IPoE's, round by round."""
    dialed = UP_PPPOE if direction is UP else direction
    pair = (samples[_name(dialed, PPPOE, count)], samples[_name(direction, "", count)])
    return [more / less for more, less in zip(*pair, strict=True)]


def _aims(samples: dict[str, list[float]]) -> list[Aim]:
    flat = [
        Aim(
            f"flatness {direction.name}{kind}, program alone",
            statistics.median(_flatness(samples, direction, kind)),
            GOAL_FLATNESS,
            most=True,
        )
        for direction, kind in ROWS
    ]
    beside = [
        Aim(
            f"PPPoE beside IPoE, {direction.wrapper.removesuffix('_repeat')}, {count:,}",
            statistics.median(_beside(samples, direction, count)),
            GOAL_PPPOE,
            most=True,
        )
        for direction in (UP, DOWN)
        for count in SUBSCRIBERS
    ]
    return [*flat, *beside]


def _name(direction: Direction, kind: str, count: int) -> str:
    return f"{direction.wrapper.removesuffix('_repeat')}{kind} {count} ns"

"""Delivered packets a second on one core, through veth pairs: the product, Linux's own forwarding, a bare redirect.

Live frames go out of one veth, through the gateway, and into a counter at the other end. veth hands packets over in
softirqs of the CPU that sent them, so one core does everything: it writes the packets (about a tenth of Linux's time),
carries them over two veths, and forwards. `swallowed` is what is left without a gateway: frames dropped by the
gateway's port. Linux gets packets without tags and, upstream, needs no state a subscriber; downstream it has a
permanent neighbour for each. Its ports run a program that passes everything, which is faster than GRO in its place.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from wayleave.lab.waiting import wait_until

from . import packet
from .crossing import Crossing, Linux, Plane, on_one_cpu
from .report import Aim, Result, Table, Wrong, palindrome, shown
from .traffic import Traffic

FLOWS = (1_000, 64_000)
INSTALLED = 64_000
WAYLEAVE, LINUX, REDIRECT, SWALLOWED = "wayleave", "linux", "redirect", "swallowed"
GOALS = {1_000: 2.0, 64_000: 1.5}
GOAL_FLATNESS = 2.3
GOAL_NS = 0.6


@dataclass(frozen=True, slots=True)
class Case:
    """A direction and how many flows, one a subscriber."""

    direction: packet.Direction
    flows: int

    def __str__(self) -> str:
        return f"{'down' if self.direction.down else 'up'} {self.flows:,}"


class Bench:
    """All gateways side by side, each with namespaces of its own."""

    def __init__(self, traffic: Traffic, cleanup: contextlib.ExitStack) -> None:
        self.traffic = traffic
        self.crossings = {name: cleanup.enter_context(Crossing()) for name in (WAYLEAVE, LINUX, REDIRECT, SWALLOWED)}
        for crossing in self.crossings.values():
            for device in ("trunk", "gw0"):
                crossing.attach(traffic.programs["sink"], crossing.outside, device)
        self.plane = Plane(self.crossings[WAYLEAVE], INSTALLED)
        self.plane.attach(self.crossings[WAYLEAVE])
        Linux(self.crossings[LINUX], traffic, INSTALLED)
        for name, program in ((REDIRECT, "bare_redirect"), (SWALLOWED, "sink")):
            for device in ("acc0", "core0"):
                self.crossings[name].attach(traffic.programs[program], self.crossings[name].gateway, device)

    def run(self, name: str, case: Case, frames: int) -> float:
        """Send `frames`; returns delivered Mpps by the wall clock.

        Raises: Wrong if the product let fewer through than were sent: it must not be faster for what it drops.
        """
        crossing, down = self.crossings[name], case.direction.down
        generator = "down_live" if down else "up_plain_live" if name == LINUX else "up_live"
        if name == REDIRECT:
            target = crossing.acc0 if down else crossing.core0
            crossing.gateway.call(lambda: self.traffic.redirect_to(target))
        self.traffic.subscribers(case.flows)
        arrived = self.traffic.arrived()
        used = self.plane.used(case.flows, down)
        outcomes = self.plane.counters.outcomes()[case.direction.stage].get(case.direction.outcome, 0)
        device = crossing.gw0 if down else crossing.trunk
        live = on_one_cpu(crossing.outside, lambda: self.traffic.live(generator, device, frames))
        delivered = self._settled() - arrived
        if name == WAYLEAVE:
            packet.expect(self.plane, case.direction, case.flows, used, frames, outcomes)
        if delivered < 0.99 * frames:
            raise Wrong(f"{name}, {case}: of {frames} frames only {delivered} arrived")
        return delivered / live.seconds / 1e6

    def _settled(self) -> int:
        """Arrivals, once no more come: what was sent last may still be in a softirq thread's hands."""
        last = -1

        def still() -> bool:
            nonlocal last
            before, last = last, self.traffic.arrived()
            return before == last

        wait_until(still, "end of arrivals")
        return last


def bench(quick: bool) -> Result:
    """Every gateway at every case, there and back in each round."""
    rounds, seconds = (3, 0.1) if quick else (7, 0.5)
    samples: dict[str, list[float]] = {}
    traffic = Traffic()
    cases = [Case(direction, flows) for direction in (packet.UP, packet.DOWN) for flows in FLOWS]
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(traffic.close)
        bench_ = Bench(traffic, cleanup)
        for case in cases:
            frames = {name: _frames(bench_, name, case, seconds) for name in bench_.crossings}
            for _ in range(rounds):
                found: dict[str, list[float]] = {}
                for name in palindrome(list(frames)):
                    found.setdefault(name, []).append(bench_.run(name, case, frames[name]))
                for name, rates in found.items():
                    samples.setdefault(f"{name} {case} Mpps", []).append(statistics.mean(rates))
    return _result(samples, cases, rounds)


def _frames(bench_: Bench, name: str, case: Case, seconds: float) -> int:
    """How many frames take about `seconds`; also warms caches up."""
    return max(100_000, int(bench_.run(name, case, 200_000) * 1e6 * seconds))


def _result(samples: dict[str, list[float]], cases: list[Case], rounds: int) -> Result:
    def series(name: str, case: Case) -> list[float]:
        return samples[f"{name} {case} Mpps"]

    def ratios(name: str, beside: str, case: Case) -> list[float]:
        return [a / b for a, b in zip(series(name, case), series(beside, case), strict=True)]

    rates = Table(
        f"forward: delivered Mpps on one core, median [min…max] of {rounds} rounds; {INSTALLED:,} sessions installed",
        ("flows", WAYLEAVE, LINUX, REDIRECT, SWALLOWED, "wayleave / linux", "wayleave / redirect"),
        [
            (
                str(case),
                *(shown(series(name, case), 2) for name in (WAYLEAVE, LINUX, REDIRECT, SWALLOWED)),
                shown(ratios(WAYLEAVE, LINUX, case), 2),
                shown(ratios(WAYLEAVE, REDIRECT, case), 2),
            )
            for case in cases
        ],
        (
            "One core writes the packets, carries them over two veths and forwards them.",
            "Linux: no tags; upstream one route, downstream a permanent neighbour a subscriber.",
        ),
    )
    ns = Table(
        "forward: ns a packet; net is what the gateway adds to the redirect, which does all but decide",
        ("flows", WAYLEAVE, LINUX, "wayleave / linux", "wayleave net", "linux net"),
        [_ns_row(case, series) for case in cases],
    )
    return Result([rates, ns], _aims(cases, series, ratios), samples)


def _ns_row(case: Case, series: Callable[[str, Case], list[float]]) -> tuple[str, ...]:
    ours, linux, bare = ([1000 / rate for rate in series(name, case)] for name in (WAYLEAVE, LINUX, REDIRECT))
    return (
        str(case),
        shown(ours),
        shown(linux),
        shown([a / b for a, b in zip(ours, linux, strict=True)], 2),
        shown([a - b for a, b in zip(ours, bare, strict=True)]),
        shown([a - b for a, b in zip(linux, bare, strict=True)]),
    )


def _aims(
    cases: list[Case],
    series: Callable[[str, Case], list[float]],
    ratios: Callable[[str, str, Case], list[float]],
) -> list[Aim]:
    found = []
    for case in cases:
        ratio = statistics.median(ratios(WAYLEAVE, LINUX, case))
        found.append(Aim(f"{case}: delivered packets, times Linux forwarding", ratio, GOALS[case.flows]))
        if not case.direction.down:
            found.append(Aim(f"{case}: ns a packet, times Linux forwarding", 1 / ratio, GOAL_NS, most=True))
    for some, many in zip(cases[::2], cases[1::2], strict=True):
        flat = [a / b for a, b in zip(series(WAYLEAVE, some), series(WAYLEAVE, many), strict=True)]
        found.append(
            Aim(f"{some} against {many}: flatness, delivered", statistics.median(flat), GOAL_FLATNESS, most=True)
        )
    return found

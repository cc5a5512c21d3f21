"""PPPoE set-ups a second, from PADI to IPCP open, by a gateway that has one CPU.

So many clients are always under way, each of which takes nine frames to the gateway and as many back; the crowd is on
another CPU, and says what it says by template. Policers are off: one trunk stands for a town. Nothing may be lost: a
frame that is not answered in three seconds is a failure. Leases are on the disk before anybody is told (FULL).

Then the gateway runs under cProfile, which takes its share: what it shows is where the time goes, not how much.
"""

from __future__ import annotations

import pstats
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from wayleave.lab.dialers import Dialers
from wayleave.lab.radius import RadiusServer, radius_sections
from wayleave.lab.topology import Lab
from wayleave.net.units import SECOND

from . import population
from .control import cpu_s
from .report import Aim, Result, Table, Wrong, shown
from .street import NO_POLICERS, Decider, Street, apart, config, crowd, passwords

UNDER_WAY = 256
AIM = 1_500
WARM = 0.1
"""The share of the set-ups that comes before what is measured."""
PROFILED = 10
"""Functions of the profile that are shown."""


@dataclass(frozen=True, slots=True)
class Way:
    """How clients say who they are, and who looks whether that is so."""

    name: str
    authentication: str
    decides: Decider = "nobody"


WAYS = (
    Way("nobody asks", "[]"),
    Way("PAP, own passwords", '["pap"]', "gateway"),
    Way("CHAP, own passwords", '["chap"]', "gateway"),
    Way("PAP, RADIUS", '["pap"]', "radius"),
    Way("CHAP, RADIUS", '["chap"]', "radius"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `worst`: the fewest in a whole second; waits in ms."""

    a_second: float
    worst: float
    seconds: float
    cpu_us: float
    waits_ms: dict[str, float]
    lag_ms: float


@contextmanager
def gateway(way: Way, count: int, profile: Path | None = None) -> Iterator[Street]:
    """A lab whose gateway has room for `count`."""
    with apart(), Lab([], pools=[population.NETWORK]) as lab:
        more = NO_POLICERS
        if way.decides == "gateway":
            passwords(lab.folder, count)
        if way.decides == "radius":
            RadiusServer(lab.router, "DEFAULT Auth-Type := Accept\n", watched=False)
            more += radius_sections(lab.folder, IPv4Address("192.0.2.2"), {"pool": "residential"})
        text = config(lab, count + 1000, f"authentication = {way.authentication}", more, way.decides)
        yield Street(lab, text, profile)


def measure(street: Street, count: int) -> Run:
    """Have `count` clients dial. Raises: Wrong if anything was lost, or somebody is not online."""
    dialers = crowd(count)
    before = cpu_s(street.pid)
    lost = street.bring_up(dialers, 30 + count / 100, UNDER_WAY)
    spent = cpu_s(street.pid) - before
    active, refused = street.active(), street.refused()
    if dialers.waiting or dialers.repeated or lost or refused or active != count:
        raise Wrong(
            f"{dialers.waiting} of {count} are not online, the gateway has {active}; said again: "
            f"{dict(dialers.repeated)}; lost by the crowd: {lost}, refused by the gateway: {refused}"
        )
    lag = street.lab.gateway.get("/counters")["loop_lag_us"]["max"] / 1000
    return _told(dialers, spent, lag)


def _told(dialers: Dialers, cpu: float, lag_ms: float) -> Run:
    online = sorted(dialer.online for dialer in dialers.all)
    steady = online[int(WARM * len(online)) :]
    seconds = (steady[-1] - steady[0]) / SECOND
    whole = range(max(1, int(seconds)))
    each = [sum(1 for moment in steady if (moment - steady[0]) // SECOND == number) for number in whole]
    waits = sorted(waited * 1000 for dialer in dialers.all if (waited := dialer.waited_s) is not None)
    quantiles = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return Run(
        len(steady) / seconds,
        min(each),
        seconds,
        cpu * 1e6 / len(online),
        {name: waits[min(len(waits) - 1, int(share * len(waits)))] for name, share in quantiles.items()},
        lag_ms,
    )


def profiled(way: Way, count: int) -> list[tuple[str, ...]]:
    """Rows of where the time of the gateway's loop goes: share of its own time, calls a set-up, the function."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        with gateway(way, count, path) as street:
            measure(street, count)
            street.lab.gateway.stop(timeout=60)
        found = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    rows = [(own, calls, _name(*where)) for where, (_, calls, own, _, _) in found.items()]
    busy = sum(own for own, _, _ in rows)
    top = sorted(rows, reverse=True)[:PROFILED]
    return [
        (name, f"{100 * own / busy:.1f}", f"{own * 1e6 / count:.1f}", f"{calls / count:.1f}")
        for own, calls, name in top
    ]


def _name(file: str, line: int, function: str) -> str:
    """Where a function is, from the package on."""
    return function if file == "~" else f"{file.rpartition('/wayleave/')[2]}:{line} {function}"


def bench(quick: bool) -> Result:
    """Every way in turn, on a gateway just started each time; then the profile of the last."""
    count, rounds = (300, 1) if quick else (10_000, 3)
    runs: dict[str, list[Run]] = {way.name: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            with gateway(way, count) as street:
                runs[way.name].append(measure(street, count))
    table = Table(
        f"dial: {count:,} PPPoE set-ups, {UNDER_WAY} under way, PADI to IPCP open; median [min…max] of {rounds} rounds",
        (
            "",
            "set-ups/s",
            "least in a second",
            "over s",
            "bng µs of CPU each",
            "wait p50/p99/max ms",
            "loop lag max ms",
        ),
        [_row(name, found) for name, found in runs.items()],
        ("Nothing was lost or said twice; else there would be no table. bng has one CPU, durability full.",),
    )
    tables = [table]
    for way in WAYS[:: len(WAYS) - 1]:
        tables.append(
            Table(
                f"dial: where Python's time goes, {way.name}: the top {PROFILED} of cProfile, by their own time",
                ("", "%", "µs a set-up", "calls a set-up"),
                profiled(way, count // 3),
            )
        )
    aims = [
        Aim(f"set-ups a second on one core, {name}", statistics.median(run.a_second for run in found), AIM)
        for name, found in runs.items()
    ]
    samples = {f"{name} set-ups/s": [run.a_second for run in found] for name, found in runs.items()}
    samples |= {f"{name} cpu us": [run.cpu_us for run in found] for name, found in runs.items()}
    return Result(tables, aims, samples)


def _row(name: str, runs: list[Run]) -> tuple[str, ...]:
    waits = " / ".join(f"{statistics.median(run.waits_ms[share] for run in runs):.0f}" for share in runs[0].waits_ms)
    return (
        name,
        shown([run.a_second for run in runs]),
        shown([run.worst for run in runs]),
        f"{min(run.seconds for run in runs):.1f}",
        shown([run.cpu_us for run in runs]),
        waits,
        shown([run.lag_ms for run in runs]),
    )

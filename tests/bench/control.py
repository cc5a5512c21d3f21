"""The control path under load: perfdhcp against a gateway with many sessions resident, and against Kea in its place.

perfdhcp speaks as a relay agent, so the port has it among its `relays`; policers are off: one sender stands for all.
It shares the machine's CPUs with what it tests. An exchange is DISCOVER, OFFER, REQUEST, ACK of a client not seen
before. Replies that found perfdhcp's socket full are lost to perfdhcp, not by the gateway: sockets made during a run
get room for a second of them, and what overran all the same is told.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from wayleave.io.clock import Clock
from wayleave.io.store import Store
from wayleave.lab.access_node import Line as LabLine
from wayleave.lab.process import Process
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.units import after

from . import kea, population
from .report import Aim, Result, Table, Wrong, palindrome, shown

RELAY = IPv4Address("172.31.0.2")
POOL = {"network": str(population.NETWORK), "gateway": str(population.NETWORK[1])}
"""The one pool, of the resident sessions and of the new: a session whose pool it would not get today is ended."""
NO_POLICERS = """
[punt]
known = { pps = 0, burst = 1 }
new = { pps = 0, burst = 1 }
line = { pps = 0, burst = 1 }
client = { pps = 0, burst = 1 }
"""
KINDS = ("DISCOVER-OFFER", "REQUEST-ACK")
SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
RECEIVE_ROOM = Path("/proc/sys/net/core/rmem_default")
ROOM_OCTETS = 4 << 20
"""Receive buffer of a socket made while a benchmark runs: 3,000 replies and more, as the kernel counts them."""
CLEAN = 0.001
"""The share of exchanges that may be lost at a rate that still counts."""


def resident(folder: Path, count: int) -> None:
    """Fill a lease store with `count` sessions, one a line."""
    clock = Clock()
    store = Store(folder, clock, "off", lambda _group, _error: None)
    store.start()
    until = after(clock.boot(), population.LEASE)
    for number in range(count):
        store.save(population.session(number, until), until)
    store.close()


@contextlib.contextmanager
def roomy_sockets() -> Iterator[None]:
    """Give sockets made from now on a large receive buffer: perfdhcp asks for none. The setting is the machine's."""
    before = RECEIVE_ROOM.read_text()
    RECEIVE_ROOM.write_text(str(ROOM_OCTETS))
    try:
        yield
    finally:
        RECEIVE_ROOM.write_text(before)


@dataclass(frozen=True, slots=True)
class Run:
    """What one perfdhcp run saw. Delays in ms by exchange kind and quantile; `cpu_s` is the server's process.

    `overrun` are the replies that found perfdhcp's socket full.
    """

    rate: int
    seconds: int
    sent: dict[str, int]
    received: dict[str, int]
    delays_ms: dict[str, float]
    lag_us: dict[str, int]
    cpu_s: float
    overrun: int

    @property
    def lost(self) -> float:
        """Share of the exchanges begun that were not completed."""
        return 1 - self.received["REQUEST-ACK"] / max(1, self.sent["DISCOVER-OFFER"])

    @property
    def completed(self) -> float:
        """Exchanges a second."""
        return self.received["REQUEST-ACK"] / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU time of the server an exchange, in µs."""
        return self.cpu_s * 1e6 / max(1, self.received["REQUEST-ACK"])

    @property
    def clean(self) -> bool:
        """Nearly nothing was lost, and perfdhcp itself kept the rate."""
        return self.lost < CLEAN and self.sent["DISCOVER-OFFER"] >= 0.98 * self.rate * self.seconds


Lag = Callable[[], dict[str, int]]
"""How late a server's loop ran its timers, in µs by quantile; empty where nobody can tell."""


def gateway(lab: Lab, sessions: int, room: int, durability: str) -> tuple[Process, Lag]:
    """Start bng with so many sessions, and room for more. Raises: Wrong if they did not stay."""
    config = lab.config(
        gateway={"sessions": sessions + room, "durability": durability},
        subscriber={"clients": 1_000_000, "relays": [str(RELAY)]},
        pool=POOL,
        more=NO_POLICERS,
    )
    resident(lab.folder / "state", sessions)
    process = lab.gateway.start(config, timeout=120)
    if (active := lab.gateway.get("/counters")["sessions"].get("active", 0)) != sessions:
        raise Wrong(f"{active:,} sessions are resident, not {sessions:,}")

    def lag() -> dict[str, int]:
        found: dict[str, int] = lab.gateway.get("/counters")["loop_lag_us"]
        return found

    return process, lag


def beside(lab: Lab, sessions: int, _room: int) -> tuple[Process, Lag]:
    """Start Kea in the same place."""
    return kea.start(lab, sessions, population.NETWORK, RELAY), dict


SERVERS: dict[str, Callable[[Lab, int, int], tuple[Process, Lag]]] = {
    "full": partial(gateway, durability="full"),
    "normal": partial(gateway, durability="normal"),
    "kea": beside,
}


class Load:
    """perfdhcp on a customer's port of a lab, against a server in the gateway's place. Every run brings new clients."""

    def __init__(self, lab: Lab, server: Process, lag: Lag) -> None:
        self._customer, self._server, self._lag = lab.customers[0], server, lag
        self._serial = itertools.count(1)
        self._customer.namespace.ip(f"addr add {RELAY}/24 dev eth0", "route add default dev eth0")
        self._customer.namespace.ip(f"neigh add {POOL['gateway']} lladdr {GATEWAY_ACCESS_MAC} dev eth0")

    def run(self, rate: int, seconds: int) -> Run:
        """Begin `rate` exchanges a second."""
        base = f"mac=02:de:{next(self._serial):02x}:00:00:00"
        before, full = cpu_s(self._server.pid), self._overrun()
        text = self._customer.run(
            "perfdhcp", "-4", "-b", base, "-r", str(rate), "-R", str(rate * seconds), "-p", str(seconds),
            "-W", "1000000", "-l", "eth0", "-x", "t", POOL["gateway"], timeout=seconds * 3 + 60, check=False,
        )  # fmt: skip
        spent = cpu_s(self._server.pid) - before
        sent, received = counted(text, "sent packets"), counted(text, "received packets")
        return Run(rate, seconds, sent, received, delays(text), self._lag(), spent, self._overrun() - full)

    def _overrun(self) -> int:
        """Datagrams that found a socket full in perfdhcp's namespace so far."""
        text = self._customer.namespace.call(lambda: Path("/proc/thread-self/net/snmp").read_text())
        names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
        return int(values[names.index("RcvbufErrors")])


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(text: str, what: str) -> dict[str, int]:
    """Read one of perfdhcp's counters for each kind of exchange."""
    found = {}
    for kind in KINDS:
        part = text.partition(f"***Statistics for: {kind}***")[2]
        number = re.search(rf"^{what}: (\d+)", part, re.MULTILINE)
        found[kind] = int(number[1]) if number else 0
    return found


def delays(text: str) -> dict[str, float]:
    """Return quantiles of each exchange's delay in ms, from perfdhcp's time stamps."""
    found: dict[str, float] = {}
    for kind in KINDS:
        part = text.partition(f"***Timestamps for packets: {kind}***")[2].partition("***")[0]
        pairs = re.findall(r"sent / received: (\d+\.\d+) / (\d+\.\d+)", part)
        spent = sorted((float(back) - float(out)) * 1000 for out, back in pairs) or [0.0]
        for name, share in SHARES.items():
            found[f"{kind} {name}"] = round(spent[min(len(spent) - 1, int(share * len(spent)))], 2)
    return found


def highest(load: Load, rates: Iterable[int], seconds: int) -> tuple[int, list[Run]]:
    """Raise the rate until exchanges are lost twice running; returns the last clean rate (0: none) and all runs."""
    runs: list[Run] = []
    clean = 0
    for rate in rates:
        for _ in range(2):
            runs.append(load.run(rate, seconds))
            if runs[-1].clean:
                clean = rate
                break
        else:
            break
    return clean, runs


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it: the fixed rate and how long, then the ladder of rates, in each of so many rounds."""

    sessions: int
    rate: int
    seconds: int
    ladder: range
    step_s: int
    rounds: int

    @property
    def room(self) -> int:
        """Sessions that one server is asked for, at most."""
        return self.rate * self.seconds + 2 * sum(self.ladder) * self.step_s + 1000


FULL_PLAN = Plan(100_000, 6_000, 10, range(4_000, 14_001, 1_000), 4, 3)
QUICK_PLAN = Plan(10_000, 2_000, 3, range(2_000, 4_001, 2_000), 2, 1)


def bench(quick: bool) -> Result:
    """Servers just started, in turn: the fixed rate, then ever higher ones."""
    plan = QUICK_PLAN if quick else FULL_PLAN
    runs: dict[str, list[Run]] = {name: [] for name in SERVERS}
    tops: dict[str, list[float]] = {name: [] for name in SERVERS}
    climbs: dict[str, list[Run]] = {}
    order = palindrome(list(SERVERS)) * plan.rounds
    for name in order[: plan.rounds * len(SERVERS)]:
        with roomy_sockets(), Lab([LabLine()]) as lab:
            load = Load(lab, *SERVERS[name](lab, plan.sessions, plan.room))
            runs[name].append(load.run(plan.rate, plan.seconds))
            clean, climbs[name] = highest(load, plan.ladder, plan.step_s)
            tops[name].append(clean)
    samples = {f"{name} highest clean exchanges/s": found for name, found in tops.items()}
    for name, found in runs.items():
        samples |= {f"{name} {what}": values for what, values in _samples(found).items()}
    return Result(_tables(plan, runs, tops, climbs), _aims(plan, runs, tops), samples)


def _tables(
    plan: Plan, runs: dict[str, list[Run]], tops: dict[str, list[float]], climbs: dict[str, list[Run]]
) -> list[Table]:
    title = (
        f"control: {plan.rate:,} exchanges/s begun for {plan.seconds} s, {plan.sessions:,} sessions resident; "
        f"{plan.rounds} rounds"
    )
    delay = Table(
        f"{title}: delay in ms",
        ("", "sent", "received", "lost", *SHARES),
        [row for name, found in runs.items() for row in _delay_rows(name, found)],
    )
    cost = Table(
        f"{title}: cost",
        ("", "completed/s", "CPU µs an exchange", "perfdhcp overran", *(f"loop lag {name} µs" for name in SHARES)),
        [_cost_row(name, found) for name, found in runs.items()],
        ("The loop's lag is that of its timers over the minute past, so over the start as well.",),
    )
    top = Table(
        f"control: the highest rate with less than {CLEAN:.1%} lost, {plan.step_s} s a step, two attempts",
        ("", "exchanges/s", "in the last round: rate: lost, CPU µs an exchange"),
        [(name, shown(found), _told(climbs[name])) for name, found in tops.items()],
    )
    return [delay, cost, top]


def _aims(plan: Plan, runs: dict[str, list[Run]], tops: dict[str, list[float]]) -> list[Aim]:
    middle = {name: statistics.median(found) for name, found in tops.items()}
    lost = {name: 100 * statistics.median(run.lost for run in found) for name, found in runs.items()}
    return [
        *(
            Aim(f"% lost at {plan.rate:,}/s, {name}, median round", lost[name], 100 * CLEAN, most=True)
            for name in ("full", "normal")
        ),
        Aim("NORMAL beside Kea", middle["normal"] / max(1, middle["kea"]), 1.0),
    ]


def _samples(runs: list[Run]) -> dict[str, list[float]]:
    found = {f"{name} ms": [run.delays_ms[name] for run in runs] for name in runs[0].delays_ms}
    if runs[0].lag_us:
        found |= {f"loop lag {name} us": [run.lag_us[name] for run in runs] for name in SHARES}
    found["completed exchanges/s"] = [run.completed for run in runs]
    found["lost share"] = [run.lost for run in runs]
    found["cpu us an exchange"] = [run.cpu_us for run in runs]
    return found


def _delay_rows(durability: str, runs: list[Run]) -> Iterator[tuple[str, ...]]:
    for kind in KINDS:
        sent, received = (sum(getattr(run, name)[kind] for run in runs) for name in ("sent", "received"))
        quantiles = (shown([run.delays_ms[f"{kind} {name}"] for run in runs], 1) for name in SHARES)
        yield (f"{durability} {kind}", f"{sent:,}", f"{received:,}", f"{sent - received:,}", *quantiles)


def _cost_row(durability: str, runs: list[Run]) -> tuple[str, ...]:
    return (
        durability,
        shown([run.completed for run in runs]),
        shown([run.cpu_us for run in runs]),
        f"{sum(run.overrun for run in runs):,}",
        *(shown([run.lag_us[name] for run in runs]) if runs[0].lag_us else "" for name in SHARES),
    )


def _told(runs: list[Run]) -> str:
    return "; ".join(f"{run.rate}: {run.lost:.2%}, {run.cpu_us:.0f}" for run in runs)

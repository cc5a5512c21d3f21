"""The control path under load: perfdhcp against a gateway with many sessions resident.

perfdhcp speaks as a relay agent, so the port has it among its `relays`; policers are off: one sender stands for all.
It shares the machine's CPUs with what it tests. An exchange is DISCOVER, OFFER, REQUEST, ACK of a client not seen
before.
"""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from wayleave.io.clock import Clock
from wayleave.io.store import Store
from wayleave.lab.access_node import Line as LabLine
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.units import after

from . import population
from .report import Result, Table

RELAY = IPv4Address("172.31.0.2")
POOL = {"network": "10.0.0.0/12", "gateway": "10.0.0.1"}
RESIDENT_POOL = f"""
[[pools]]
name = "resident"
network = "{population.NETWORK}"
gateway = "{population.NETWORK[1]}"
lease = "1h"
"""
NO_POLICERS = """
[punt]
known = { pps = 0, burst = 1 }
new = { pps = 0, burst = 1 }
line = { pps = 0, burst = 1 }
client = { pps = 0, burst = 1 }
"""
KINDS = ("DISCOVER-OFFER", "REQUEST-ACK")
SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}
CLEAN = 0.001
"""The share of exchanges that may be lost at a rate that still counts."""


def resident(folder: Path, count: int) -> None:
    """Fill a lease store with `count` sessions, one a line."""
    clock = Clock()
    store = Store(folder, clock, "off", lambda _group, _error: None)
    until = after(clock.boot(), population.LEASE)
    for number in range(count):
        store.save(population.session(number, until, "resident"), until)
    store.close()


@dataclass(frozen=True, slots=True)
class Run:
    """What one perfdhcp run saw. Delays in ms by exchange kind and quantile; CPU in seconds of the gateway's process."""

    rate: int
    seconds: int
    sent: dict[str, int]
    received: dict[str, int]
    delays_ms: dict[str, float]
    lag_us: dict[str, int]
    cpu_s: float

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
        """CPU time of the gateway an exchange, in µs."""
        return self.cpu_s * 1e6 / max(1, self.received["REQUEST-ACK"])

    @property
    def clean(self) -> bool:
        """Nearly nothing was lost, and perfdhcp itself kept the rate."""
        return self.lost < CLEAN and self.sent["DISCOVER-OFFER"] >= 0.98 * self.rate * self.seconds


class Load:
    """A lab with a gateway that has sessions already; every run brings clients of its own."""

    def __init__(self, lab: Lab, sessions: int, room: int, durability: str) -> None:
        self.lab = lab
        self._customer = lab.customers[0]
        self._serial = itertools.count(1)
        config = lab.config(
            gateway={"sessions": sessions + room, "durability": durability},
            subscriber={"clients": 1_000_000, "relays": [str(RELAY)]},
            pool=POOL,
            more=NO_POLICERS + RESIDENT_POOL,
        )
        resident(lab.folder / "state", sessions)
        lab.gateway.start(config, timeout=120)
        self._customer.namespace.ip(f"addr add {RELAY}/24 dev eth0", "route add default dev eth0")
        self._customer.namespace.ip(f"neigh add {POOL['gateway']} lladdr {GATEWAY_ACCESS_MAC} dev eth0")

    def run(self, rate: int, seconds: int) -> Run:
        """Begin `rate` exchanges a second."""
        base = f"mac=02:de:{next(self._serial):02x}:00:00:00"
        before = self._cpu_s()
        text = self._customer.run(
            "perfdhcp", "-4", "-b", base, "-r", str(rate), "-R", str(rate * seconds), "-p", str(seconds),
            "-W", "1000000", "-l", "eth0", "-x", "t", POOL["gateway"], timeout=seconds * 3 + 60, check=False,
        )  # fmt: skip
        spent = self._cpu_s() - before
        lag = self.lab.gateway.get("/counters")["loop_lag_us"]
        return Run(
            rate, seconds, counted(text, "sent packets"), counted(text, "received packets"), delays(text), lag, spent
        )

    def _cpu_s(self) -> float:
        """CPU time of bng so far, user and system, all threads."""
        process = self.lab.gateway.process
        assert process is not None
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
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


def highest(load: Load, first: int, step: int, last: int, seconds: int) -> tuple[int, list[Run]]:
    """Raise the rate until exchanges are lost; returns the last clean rate (0: none) and all runs."""
    runs: list[Run] = []
    clean = 0
    for rate in range(first, last + 1, step):
        runs.append(load.run(rate, seconds))
        if not runs[-1].clean:
            break
        clean = rate
    return clean, runs


def bench(quick: bool) -> Result:
    """The fixed rate first, on a fresh gateway; then ever higher ones. Durability full, then normal."""
    sessions, rate, seconds = (10_000, 2_000, 3) if quick else (100_000, 6_000, 10)
    steps = range(2_000, 4_001, 2_000) if quick else range(4_000, 14_001, 1_000)
    step_seconds = 2 if quick else 4
    samples: dict[str, list[float]] = {}
    rows, ladder = [], []
    for durability in ("full", "normal"):
        with Lab([LabLine(100, 1)]) as lab:
            load = Load(lab, sessions, rate * seconds + sum(steps) * step_seconds + 1000, durability)
            run = load.run(rate, seconds)
            clean, runs = highest(load, steps.start, steps.step, steps.stop - 1, step_seconds)
        rows += _rows(durability, run)
        for name, value in {**run.delays_ms, **run.lag_us, "exchanges/s": run.completed, "cpu us": run.cpu_us}.items():
            samples[f"{durability} {name}"] = [value]
        samples[f"{durability} clean/s"] = [clean]
        ladder.append((durability, f"{clean:,}" if clean else "none", _told(runs)))
    return Result(
        [
            Table(
                f"control: {rate:,} exchanges/s begun for {seconds} s, {sessions:,} sessions resident",
                ("durability", "exchange", "sent", "received", "lost", "p50 ms", "p99 ms", "max ms", "lag p50/p99/max µs",
                 "completed/s", "CPU µs an exchange"),
                rows,
                ("The lag is that of the event loop's timers over the whole minute past.",),
            ),
            Table(
                f"control: the highest rate with less than {CLEAN:.1%} lost, {step_seconds} s a step",
                ("durability", "exchanges/s", "rate: lost, CPU µs an exchange"),
                ladder,
            ),
        ],
        samples=samples,
    )  # fmt: skip


def _rows(durability: str, run: Run) -> list[tuple[str, ...]]:
    rows = []
    for kind in KINDS:
        sent, received = run.sent[kind], run.received[kind]
        row = [durability, kind, str(sent), str(received), str(sent - received)]
        row += [f"{run.delays_ms[f'{kind} {name}']:.1f}" for name in SHARES]
        whole = kind == KINDS[-1]
        row.append("/".join(str(value) for value in run.lag_us.values()) if whole else "")
        row += [f"{run.completed:.0f}", f"{run.cpu_us:.0f}"] if whole else ["", ""]
        rows.append(tuple(row))
    return rows


def _told(runs: list[Run]) -> str:
    return "; ".join(f"{run.rate}: {run.lost:.2%}, {run.cpu_us:.0f}" for run in runs)

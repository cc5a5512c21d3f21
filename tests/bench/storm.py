"""The power comes back: every line at once, clients the gateway knows and new ones, with the product's own policers.

First everybody known gets a lease, at a rate that the gateway bears. Then comes the storm; meanwhile lines that never
lost power renew. Then `bng` is killed, and the known ones lose power once more: what they get now, the kernel gives.
A smaller storm is on VLANs that many lines share (N:1), which have a policer of their own in the place of a line's.
The crowd shares the machine's CPUs with what it tests; how long it took to say its first words is among the figures.
"""

from __future__ import annotations

import math
import random
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wayleave.lab.access_node import Line
from wayleave.lab.crowd import Client, Crowd, State, run
from wayleave.lab.dhcp_client import PROFILES, Member, Server
from wayleave.lab.topology import GATEWAY_ACCESS_MAC, Lab
from wayleave.net.units import SECOND

from . import population
from .report import Aim, Result, Table, Wrong, shown

LEASES_A_SECOND = 2_000
"""While the known ones get their first lease."""

RENEWING_S = 2.0
"""Renewals are spread over the first seconds of the storm."""

SHARED_LEASES_A_SECOND = 200
"""The same for each shared VLAN: its policer lets 1,000 messages a second up."""

LEASING_S, STORM_S, DEAD_S = 60.0, 70.0, 20.0
"""The most that each part may take: a renewal that is lost is repeated after 60 s, anything else three times in 20."""


RING = 1 << 16
"""Frames that the crowd's ring holds: half of it for the answers to all first words, 128 MB."""

ANSWERS = ("offered", "acked")
"""The names of what XDP answered itself; the others are why it handed a message up."""

BEARABLE_S = 10.0
"""Two messages lost on the way to an address, 4 s each; longer, and somebody has been kept waiting."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many lines of which kind."""

    known: int
    new: int
    renewing: int

    @property
    def total(self) -> int:
        return self.known + self.new + self.renewing


@dataclass(frozen=True, slots=True)
class Group:
    """What became of one kind of client. `waits` in seconds, of those that were served."""

    clients: int
    waits: list[float]
    most_tries: int

    @property
    def unserved(self) -> int:
        return self.clients - len(self.waits)

    def quantile(self, share: float) -> float:
        """Of the waits; infinite if that one was not served."""
        index = min(self.clients - 1, int(share * self.clients))
        return self.waits[index] if index < len(self.waits) else math.inf


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm: groups by name, and what happened beside.

    `kernel`: what XDP made of what it heard; `punts`: what became of what it handed up.
    """

    groups: dict[str, Group]
    last_s: float
    first_words_s: float
    sent: int
    answers: int
    kernel: dict[str, int]
    punts: dict[str, dict[str, int]]
    lost: int

    @property
    def kernel_share(self) -> float:
        """Of the answers, those that XDP gave."""
        return sum(self.kernel.get(name, 0) for name in ANSWERS) / max(1, self.answers)


class Town:
    """A lab whose trunk is a town's: leases everybody known, then takes the power away as often as it is told.

    With `vlans`, all lines share that many VLANs, and are told apart by their circuit-ids.
    """

    def __init__(self, lab: Lab, size: Size, seed: int, vlans: int = 0) -> None:
        self.lab, self.size = lab, size
        self._rng = random.Random(seed)
        self._server = Server(GATEWAY_ACCESS_MAC, lab.pool_gateway)
        self._leases_a_second = vlans * SHARED_LEASES_A_SECOND or LEASES_A_SECOND
        self._members = [member(number, vlans) for number in range(size.total)]
        shared = {"trusted": True, "line": "circuit"} if vlans else {}
        lab.gateway.start(lab.config(gateway={"sessions": size.total + 1000}, subscriber=shared))

    def lease_all(self) -> None:
        """Give everybody but the new ones a lease, and have them know it."""
        before = self._members[self.size.new :]
        paced = [replace(item, after_s=number / self._leases_a_second) for number, item in enumerate(before)]
        crowd, _ = self._let_talk(paced, LEASING_S)
        if crowd.waiting:
            raise Wrong(f"{crowd.waiting} of {len(paced)} got no lease at {self._leases_a_second} a second")
        self._members[self.size.new :] = crowd.rebooted()

    def storm(self) -> Storm:
        """All at once, in any order; those that renew spread a little."""
        renewing = [replace(item, renews=True, after_s=self._rng.uniform(0, RENEWING_S)) for item in self._known()[1]]
        members = [*self._members[: self.size.new], *self._known()[0], *renewing]
        self._rng.shuffle(members)
        before = self.lab.gateway.get("/counters")
        crowd, lost = self._let_talk(members, STORM_S)
        after = self.lab.gateway.get("/counters")
        punts = {name: grown(found, before["punts"][name]) for name, found in after["punts"].items()}
        return told(crowd, lost, grown(in_kernel(after), in_kernel(before)), punts)

    def storm_without_bng(self) -> Storm:
        """The known ones alone, and no process above the kernel; one is started afterwards, to read the counters."""
        before = in_kernel(self.lab.gateway.get("/counters"))
        self.lab.gateway.kill9()
        crowd, lost = self._let_talk(self._known()[0], DEAD_S)
        self.lab.gateway.restart()
        return told(crowd, lost, grown(in_kernel(self.lab.gateway.get("/counters")), before), {})

    def _known(self) -> tuple[list[Member], list[Member]]:
        """Those that lose power, and those that don't."""
        first = self.size.new + self.size.known
        return self._members[self.size.new : first], self._members[first:]

    def _let_talk(self, members: Sequence[Member], seconds: float) -> tuple[Crowd, int]:
        crowd = Crowd(members, self._server, self._rng, time.monotonic_ns())
        with self.lab.access_node.trunk.wire(RING) as wire:
            run(crowd, wire, seconds)
            lost = wire.lost + wire.refused
        if crowd.faults:
            raise Wrong(f"wrong answers: {dict(crowd.faults)}, such as\n" + "\n".join(crowd.examples))
        return crowd, lost


def member(number: int, vlans: int = 0) -> Member:
    """The client on a line of the population, or on one of few shared VLANs; all makes are there."""
    line = Line(1 + number % vlans, circuit=b"olt1/%d" % number) if vlans else Line(*population.vids(number))
    return Member(population.mac(number), line, PROFILES[number % len(PROFILES)])


def kind(client: Client) -> str:
    """The group that a client belongs to."""
    match client.starts_in:
        case State.RENEWING:
            return "renewing"
        case State.REBOOTING:
            return "known, begins with REQUEST"
        case _:
            return "known, begins with DISCOVER" if client.member.address else "new"


def told(crowd: Crowd, lost: int, kernel: dict[str, int], punts: dict[str, dict[str, int]]) -> Storm:
    """Make figures of a storm that is over."""
    groups: dict[str, list[Client]] = {}
    for client in crowd.clients:
        groups.setdefault(kind(client), []).append(client)
    cut_off = [client for client in crowd.clients if client.starts_in is not State.RENEWING]
    began = [client.began for client in cut_off]
    served = all(client.state is State.BOUND for client in cut_off)
    return Storm(
        groups={name: group(clients) for name, clients in sorted(groups.items())},
        last_s=(max(client.bound for client in cut_off) - min(began)) / SECOND if served else math.inf,
        first_words_s=(max(began) - min(began)) / SECOND,
        sent=crowd.sent.total(),
        answers=crowd.answers,
        kernel=kernel,
        punts=punts,
        lost=lost,
    )


def group(clients: Sequence[Client]) -> Group:
    """Make figures of one kind of client."""
    waits = sorted(client.waited_s for client in clients if client.waited_s is not None)
    return Group(len(clients), waits, max(client.most_tries for client in clients))


def in_kernel(counters: Mapping[str, Any]) -> dict[str, int]:
    """What XDP made of DHCP so far, by name."""
    return dict(counters["dhcp4"]["kernel"])


def kernel_answers(counters: Mapping[str, Any]) -> int:
    """How many DHCP answers came from XDP so far."""
    found = in_kernel(counters)
    return sum(found[name] for name in ANSWERS)


def grown(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """By how much each counter has."""
    return {name: count - before[name] for name, count in after.items()}


def peak(pid: int) -> int:
    """The most memory that a process has had, in octets; mapped BPF arrays are in it."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def bench(quick: bool) -> Result:
    """A gateway just started each round: leases, the storm, the storm without `bng`."""
    size, rounds = (Size(2_000, 200, 100), 1) if quick else (Size(20_000, 2_000, 1_000), 3)
    vlans, a_vlan = (4, 64) if quick else (8, 128)
    storms: list[Storm] = []
    dead: list[Storm] = []
    memory: list[float] = []
    for seed in range(rounds):
        with Lab([], pools=[population.NETWORK]) as lab:
            town = Town(lab, size, seed)
            town.lease_all()
            storms.append(town.storm())
            assert lab.gateway.process is not None
            memory.append(peak(lab.gateway.process.pid) / 1e6)
            dead.append(town.storm_without_bng())
    shared = shared_storm(vlans, a_vlan)
    title = f"storm: {size.known:,} known and {size.new:,} new at once, {size.renewing:,} renew; {rounds} rounds"
    without = f"storm without bng: the {size.known:,} known alone, for {DEAD_S:g} s at most"
    together = f"storm on shared VLANs: {vlans} VLANs of {a_vlan} lines, half of them known, for {STORM_S:g} s at most"
    tables = [
        *_tables(title, storms, memory),
        _punt_table(title, storms),
        _kernel_table(title, storms),
        *_tables(without, dead),
        *_tables(together, [shared]),
        _punt_table(together, [shared]),
    ]
    return Result(tables, _aims(storms, dead, shared), _samples(storms, dead, shared) | {"peak memory MB": memory})


def shared_storm(vlans: int, a_vlan: int) -> Storm:
    """The power comes back to VLANs of so many lines each. The kernel does not help those that are new."""
    half = vlans * a_vlan // 2
    with Lab([], pools=[population.NETWORK]) as lab:
        town = Town(lab, Size(half, half, 0), 0, vlans)
        town.lease_all()
        return town.storm()


_WAITS = ("", "clients", "unserved", "p50", "p99", "longest", "messages for one step")


_BACKLOG = "A client that begins with DISCOVER speaks twice; the crowd's own backlog in between is part of its wait."


def _seconds(samples: Sequence[float]) -> str:
    return shown(samples, 2).replace("inf", "never")


def _wait_rows(storms: Sequence[Storm]) -> Iterator[tuple[str, ...]]:
    for name in storms[0].groups:
        found = [storm.groups[name] for storm in storms]
        yield (
            name,
            f"{sum(item.clients for item in found):,}",
            f"{sum(item.unserved for item in found):,}",
            *(_seconds([item.quantile(share) for item in found]) for share in (0.5, 0.99, 1.0)),
            f"≤ {max(item.most_tries for item in found)}",
        )


def _tables(title: str, storms: Sequence[Storm], memory: Sequence[float] = ()) -> list[Table]:
    return [
        Table(
            f"{title}: seconds from a client's first word to its address", _WAITS, list(_wait_rows(storms)), (_BACKLOG,)
        ),
        Table(title, ("", "median [min…max]"), list(_fact_rows(storms, memory))),
    ]


def _fact_rows(storms: Sequence[Storm], memory: Sequence[float]) -> Iterator[tuple[str, str]]:
    yield "the last has its address after, s", _seconds([storm.last_s for storm in storms])
    yield "the crowd's first words took, s", _seconds([storm.first_words_s for storm in storms])
    yield "messages sent", shown([storm.sent for storm in storms])
    yield "answers, none of them wrong or twice", shown([storm.answers for storm in storms])
    yield "answered by the kernel, %", shown([100 * storm.kernel_share for storm in storms], 1)
    yield "frames lost in the crowd's own sockets", shown([storm.lost for storm in storms])
    if memory:
        yield "most memory of bng (VmHWM), MB", shown(memory, 1)


def _punt_table(title: str, storms: Sequence[Storm]) -> Table:
    classes = storms[0].punts
    results = list(next(iter(classes.values())))
    rows = [
        (name, *(f"{statistics.mean(storm.punts[name][result] for storm in storms):,.0f}" for result in results))
        for name in classes
    ]
    return Table(f"{title}: messages handed up or refused, by class; mean", ("", *results), rows)


def _kernel_table(title: str, storms: Sequence[Storm]) -> Table:
    names = [name for name in storms[0].kernel if any(storm.kernel[name] for storm in storms)]
    rows = [(name, f"{statistics.mean(storm.kernel[name] for storm in storms):,.0f}") for name in names]
    return Table(f"{title}: what XDP made of what it heard; mean", ("", "messages"), rows)


def _served(storms: Iterable[Storm]) -> float:
    groups = [item for storm in storms for item in storm.groups.values()]
    return 1 - sum(item.unserved for item in groups) / sum(item.clients for item in groups)


def _aims(storms: Sequence[Storm], dead: Sequence[Storm], shared: Storm) -> list[Aim]:
    return [
        Aim("served, share of all", _served(storms), 1.0),
        Aim("served without bng, share of the known", _served(dead), 1.0),
        Aim("answered by the kernel without bng, share", min(storm.kernel_share for storm in dead), 1.0),
        Aim("served on shared VLANs, share of all", _served([shared]), 1.0),
        Aim("longest wait on shared VLANs, s", min(shared.last_s, STORM_S), BEARABLE_S, most=True),
    ]


def _samples(storms: Sequence[Storm], dead: Sequence[Storm], shared: Storm) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for prefix, rounds in (("", storms), ("without bng ", dead), ("shared VLANs ", [shared])):
        samples[f"{prefix}last s"] = [storm.last_s for storm in rounds]
        samples[f"{prefix}kernel share"] = [storm.kernel_share for storm in rounds]
        for name in rounds[0].groups:
            for label, share in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
                samples[f"{prefix}{name} {label} s"] = [storm.groups[name].quantile(share) for storm in rounds]
    return {name: [value for value in values if math.isfinite(value)] for name, values in samples.items()}

"""What Nexus tells to 500 gateways: connecting them all, a change that one hears of, and one that concerns them all.

A real `nexus serve` on SQLite; the gateways are the product's connections, each with a certificate and a TLS connection
of its own, in this one process, so that what they cost weighs on the figures. Each has one subscriber, all of one
provider, and follows its view.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import uvloop

from tests.nexus.service import HERE, Nexus
from wayleave.io.nexus import Connection
from wayleave.io.settings import Server
from wayleave.net.units import BootNs
from wayleave.nexus.holding import Holding
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Line, Provider, Subscriber
from wayleave.nexus.providers import Providers
from wayleave.nexus.store.port import Store
from wayleave.nexus.subscribers import Subscribers

from .nexus import NO_LIMIT, Asking, timed
from .report import Result, Table, shown
from .start import rss

PROVIDER = Provider("isp", "isp", "residential", "fast")
WITHIN_S = 60.0
Work = Callable[[], Awaitable[None]]


def name(number: int) -> str:
    return f"gateway-{number:03}"


async def load(store: Store, count: int) -> None:
    """Make a provider, and a line and a subscriber for each gateway."""
    await Providers(store).put(PROVIDER, 0)
    lines = [Line(f"line-{number:03}", name(number), 1, 100, 7) for number in range(count)]
    await asyncio.gather(*(Lines(store).put(line, 0) for line in lines))
    subscribers = Subscribers(store, Holding(store).own)
    for number in range(count):
        await subscribers.put(Subscriber(f"subscriber-{number:03}", PROVIDER.name, f"line-{number:03}"), 0)


class Crowd:
    """All the gateways."""

    def __init__(self, nexus: Nexus, count: int) -> None:
        self._heard: list[float | None] = [None] * count
        self._all = asyncio.Event()
        self._missing = count
        contexts = [nexus.client("node", name(number)).context for number in range(count)]
        where, clock = [Server(HERE, nexus.port)], lambda: BootNs(time.monotonic_ns())
        self._connections = [Connection(where, context, clock, WITHIN_S) for context in contexts]
        self._following: list[asyncio.Task[None]] = []

    async def connect(self) -> list[float]:
        """Have all of them follow, at once; returns when each was told that it does, in seconds."""
        return await self.hear(range(len(self._connections)), self._begin)

    async def _begin(self) -> None:
        self._following = [asyncio.create_task(self._follow(number)) for number in range(len(self._connections))]

    async def _follow(self, number: int) -> None:
        async with aclosing(self._connections[number].changes(0)) as told:
            begun = False
            async for _, changes in told:
                if changes or not begun:
                    self._note(number)
                begun = True

    def _note(self, number: int) -> None:
        if self._heard[number] is None:
            self._heard[number] = time.perf_counter()
            self._missing -= 1
            if not self._missing:
                self._all.set()

    async def hear(self, whom: Sequence[int], work: Work) -> list[float]:
        """Have something done, of which some hear; returns how many seconds it took each, in order."""
        self._all.clear()
        self._missing = len(whom)
        for number in whom:
            self._heard[number] = None
        began = time.perf_counter()
        await work()
        await asyncio.wait_for(self._all.wait(), WITHIN_S)
        return sorted((self._heard[number] or 0.0) - began for number in whom)

    async def close(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)


class Operator:
    """Changes records, on a thread of its own."""

    def __init__(self, nexus: Nexus) -> None:
        self._asking = Asking(nexus, "operator", "ops")

    async def change(self, path: str, **other: object) -> Work:
        """Read a record; returns what writes it with something else in it."""
        _, known = await asyncio.to_thread(self._asking.ask, "GET", path)
        tag = known.pop("etag")

        async def write() -> None:
            await asyncio.to_thread(self._asking.ask, "PUT", path, {**known, **other}, {"If-Match": tag})

        return write


async def measured(nexus: Nexus, count: int, changes: int, rounds: int) -> dict[str, list[float]]:
    crowd, operator = Crowd(nexus, count), Operator(nexus)
    samples: dict[str, list[float]] = {"MB": [rss(nexus.process.pid) / 1e6]}
    connected = await crowd.connect()
    samples["connected, s"] = connected
    samples["MB"].append(rss(nexus.process.pid) / 1e6)
    one: list[float] = []
    for turn in range(changes):
        number = turn * 7919 % count
        change = await operator.change(f"/v1/subscribers/subscriber-{number:03}", limit=turn + 1)
        one += await crowd.hear([number], change)
    samples["one, ms"] = [1000 * took for took in one]
    everybody = range(count)
    for turn in range(rounds):
        change = await operator.change(f"/v1/providers/{PROVIDER.name}", service=f"fast{turn}")
        took = await crowd.hear(everybody, change)
        for what, at in (("first", took[0]), ("median", statistics.median(took)), ("last", took[-1])):
            samples.setdefault(f"all, {what}, ms", []).append(1000 * at)
    samples["MB"].append(rss(nexus.process.pid) / 1e6)
    await crowd.close()
    return samples


def bench(quick: bool) -> Result:
    """One service. Raises: Wrong, if something is refused."""
    count, changes, rounds = (50, 10, 2) if quick else (500, 200, 10)
    with tempfile.TemporaryDirectory(prefix="wayleave-bench-") as folder:
        nexus = Nexus(Path(folder), NO_LIMIT)
        timed(Path(folder) / "state.sqlite", lambda store: load(store, count))
        nexus.start()
        try:
            samples = uvloop.run(measured(nexus, count, changes, rounds))
        finally:
            nexus.process.stop()
    connected, memory = samples["connected, s"], samples["MB"]
    ms = [
        ("a subscriber's change, from PUT to the one gateway that it concerns", shown(samples["one, ms"], 1)),
        *(
            (f"a provider's change, from PUT to the {which} of {count}", shown(samples[f"all, {which}, ms"], 0))
            for which in ("first", "median", "last")
        ),
    ]
    rest = [
        (f"{count} gateways connected, the last, s", f"{connected[-1]:.1f}"),
        ("anonymous memory of nexus when it has started, MB", f"{memory[0]:.0f}"),
        ("the same with all connected", f"{memory[1]:.0f}"),
        ("the same at the end", f"{memory[2]:.0f}"),
    ]
    tables = [
        Table("fanout: milliseconds, median [min…max]", ("", "ms"), ms),
        Table("fanout: the rest", ("", ""), rest),
    ]
    return Result(tables, [], samples)

"""Nexus with a million subscribers: loading them, starting over them, what a page and a change take, and memory.

Each subscriber has a line of its own and an entry of its gateway's view, and is made by the code that the API calls,
many at once, on SQLite. Then the service itself runs over that file, and is asked on one connection over mutual TLS.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from tests.nexus.service import HERE, Nexus
from wayleave.nexus.holding import Holding
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Line, Provider, Subscriber
from wayleave.nexus.providers import Providers
from wayleave.nexus.store.port import Store
from wayleave.nexus.store.sqlite import SqliteStore
from wayleave.nexus.subscribers import Subscribers

from .report import Aim, Result, Table, Wrong, shown
from .start import rss

PROVIDERS, A_GATEWAY, AT_ONCE = 100, 1000, 4000
PAGES = {100: 40, 1000: 20}
"""How long pages are, and how many of them are asked for."""
CHANGES = 100
NO_LIMIT = 'store = "sqlite:state.sqlite"\n[nexus.limits]\nrate = 100000\nburst = 100000'
START_AIM_S, PAGE_AIM_MS, MEMORY_AIM_MB = 2.0, 20.0, 150.0


def line(number: int) -> Line:
    return Line(f"line-{number:07}", f"edge-{number // A_GATEWAY:04}", 1, 1 + number % A_GATEWAY, 7)


def subscriber(number: int) -> Subscriber:
    return Subscriber(f"subscriber-{number:07}", provider(number).name, line(number).name)


def provider(number: int) -> Provider:
    return Provider(f"provider-{number % PROVIDERS:03}", "isp", "residential", "fast")


async def load(store: Store, count: int) -> None:
    """Make all of it, `AT_ONCE` at once."""
    providers, lines, subscribers = Providers(store), Lines(store), Subscribers(store, Holding(store).own)
    for number in range(PROVIDERS):
        await providers.put(provider(number), 0)
    for begin in range(0, count, AT_ONCE):
        part = range(begin, min(begin + AT_ONCE, count))
        await asyncio.gather(*(lines.put(line(number), 0) for number in part))
        await asyncio.gather(*(subscribers.put(subscriber(number), 0) for number in part))


async def follow(store: Store) -> None:
    """Have gateways hear of a provider that has changed."""
    providers = Providers(store)
    found = await providers.get(provider(0).name)
    await providers.put(Provider("provider-000", "isp", "residential", "faster"), found.revision)
    await providers.settle()


def timed(path: Path, work: Callable[[Store], Coroutine[Any, Any, None]]) -> float:
    """Return the seconds that it takes on a store."""

    async def on_store() -> float:
        store = SqliteStore(path)
        began = time.perf_counter()
        await work(store)
        took = time.perf_counter() - began
        await store.close()
        return took

    return uvloop.run(on_store())


class Asking:
    """An operator on one connection."""

    def __init__(self, nexus: Nexus, role: str, name: str) -> None:
        context = nexus.client(role, name).context
        self._connection = http.client.HTTPSConnection(HERE, nexus.port, timeout=60, context=context)

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[float, Any]:
        """Return the milliseconds that it took, and what was said. Raises: Wrong."""
        text = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
        answer = self._connection.getresponse()
        said = answer.read()
        took = 1000 * (time.perf_counter() - began)
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Wrong(f"{method} {path}: {said!r}")
        return took, {**json.loads(said), "etag": answer.headers["ETag"]}


def asked(nexus: Nexus, count: int) -> dict[str, list[float]]:
    """Ask a service that runs; returns what each kind of question took, in milliseconds."""
    operator, samples = Asking(nexus, "operator", "ops"), {}
    for length, pages in PAGES.items():
        took: list[float] = []
        for number in range(pages):
            after = subscriber(number * ((count - length - 1) // pages)).name
            each, page = operator.ask("GET", f"/v1/subscribers?limit={length}&after={after}")
            if len(page["items"]) != length:
                raise Wrong(f"a page of {length} has {len(page['items'])}")
            took.append(each)
        samples[f"page of {length}"] = took
    gateway = Asking(nexus, "node", line(count // 2).node)
    samples["a gateway's whole view"] = [gateway.ask("GET", "/v1/view?limit=1000")[0] for _ in range(20)]
    samples["change"] = []
    for number in range(0, count, count // CHANGES):
        path = f"/v1/subscribers/{subscriber(number).name}"
        _, known = operator.ask("GET", path)
        tag = known.pop("etag")
        samples["change"].append(operator.ask("PUT", path, {**known, "blocked": True}, {"If-Match": tag})[0])
    return samples


def bench(quick: bool) -> Result:
    """One load, one service. Raises: Wrong, if something is refused."""
    count = 10_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory(prefix="wayleave-bench-") as folder:
        nexus = Nexus(Path(folder), NO_LIMIT)
        path = Path(folder) / "state.sqlite"
        loaded = timed(path, lambda store: load(store, count))
        octets = sum(file.stat().st_size for file in Path(folder).glob("state.sqlite*")) / count
        began = time.perf_counter()
        nexus.start()
        started = time.perf_counter() - began
        try:
            idle = rss(nexus.process.pid) / 1e6
            samples = asked(nexus, count)
            busy = rss(nexus.process.pid) / 1e6
        finally:
            nexus.process.stop()
        followed = timed(path, follow)
    ms = Table(
        f"nexus: {count:,} subscribers of {PROVIDERS} providers on SQLite, milliseconds, median [min…max]",
        ("", "ms"),
        [(name, shown(took, 1)) for name, took in samples.items()],
    )
    rest = Table(
        "nexus: the rest",
        ("", ""),
        [
            ("lines and subscribers loaded/s, of each", f"{count / loaded:,.0f}"),
            ("octets on the disk a subscriber, with line and view", f"{octets:,.0f}"),
            ("nexus serve, spawn to readyz, s", f"{started:.2f}"),
            ("anonymous memory of nexus when it has started, MB", f"{idle:.0f}"),
            ("the same when it was asked", f"{busy:.0f}"),
            ("subscribers/s that follow a provider that has changed", f"{count / PROVIDERS / followed:,.0f}"),
        ],
    )
    aims = [
        Aim("s from spawn to ready", started, START_AIM_S, most=True),
        Aim("ms, a page of 100, median", sorted(samples["page of 100"])[PAGES[100] // 2], PAGE_AIM_MS, most=True),
        Aim("MB of memory", busy, MEMORY_AIM_MB, most=True),
    ]
    once = {
        "loaded/s": [count / loaded],
        "octets": [octets],
        "start s": [started],
        "MB": [idle, busy],
        "follow/s": [count / PROVIDERS / followed],
    }
    return Result([ms, rest], aims, samples | once)

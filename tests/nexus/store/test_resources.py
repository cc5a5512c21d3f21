"""Resources on the real stores, with many at once: what is whole on a dictionary is so on these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.nexus.store.stores import WITHIN_S, Open, fresh, opened
from wayleave.nexus import model
from wayleave.nexus.allocations import Allocations, Asked
from wayleave.nexus.holding import Holding
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Kind, Line, Mode, Pool, Provider, Subscriber
from wayleave.nexus.pools import Pools
from wayleave.nexus.providers import Providers
from wayleave.nexus.refusal import Busy, Exhausted, Exists, InUse
from wayleave.nexus.store.port import Store
from wayleave.nexus.subscribers import Subscribers
from wayleave.nexus.views import View
from wayleave.proto.nexus.messages import Claim, Renew

AT_ONCE = 20


def name(what: str) -> str:
    return f"{what}-{fresh().rstrip('/')}"


def test_of_many_that_ask_at_once_no_two_get_the_same(open_: Open) -> None:
    """For blocks and for units of one pool, of two processes' worth of operations."""

    async def story(store: Store) -> None:
        pool, node = name("pool"), name("edge")
        await Pools(store).put(Pool(pool, Kind.IPV4, "100.64.0.0/26", 4, tenant=name("tenant")), 0)
        holdings = [Holding(store), Holding(store)]
        held = await holdings[0].renew(node, Renew(0))
        allocations = [Allocations(store, holding) for holding in holdings]

        async def guest(number: int) -> str:
            for _ in range(AT_ONCE):
                try:
                    asked = Asked(pool, f"guest-{number}", Mode.SESSION)
                    return (await allocations[number % 2].allocate(asked)).unit
                except (Busy, Exhausted):
                    continue
            return ""

        async def gateway(number: int) -> list[tuple[str, str]]:
            claimed = await holdings[number % 2].claim(node, Claim(held.epoch, pool, 1))
            return [(block.first, block.last) for block in claimed.blocks]

        works = asyncio.gather(*map(guest, range(AT_ONCE))), asyncio.gather(*map(gateway, range(4)))
        units, blocks = await works[0], await works[1]
        assert "" not in units
        assert len(set(units)) == AT_ONCE
        ends = [block for got in blocks for block in got]
        assert len(set(ends)) == len(ends)
        lived = {int(unit.rpartition(".")[2]) // 4 for unit in units}
        assert not lived & {int(first.rpartition(".")[2]) // 4 for first, _ in ends}

    _tell(open_, story)


def test_of_many_pools_that_overlap_and_are_made_at_once_there_is_one(open_: Open) -> None:
    async def story(store: Store) -> None:
        tenant, names = name("tenant"), [name("pool") for _ in range(AT_ONCE)]
        made = [Pools(store).put(Pool(each, Kind.IPV4, "10.0.0.0/24", 4, tenant=tenant), 0) for each in names]
        outcomes = await asyncio.gather(*made, return_exceptions=True)
        refused = [type(outcome) for outcome in outcomes if not isinstance(outcome, int)]
        assert refused == [Exists] * (AT_ONCE - 1)

    _tell(open_, story)


def test_a_subscriber_is_told_to_its_gateway_and_moves_with_its_line(open_: Open) -> None:
    async def story(store: Store) -> None:
        provider, line, who, here, there = map(name, ("provider", "line", "subscriber", "edge", "edge"))
        providers, lines = Providers(store), Lines(store)
        subscribers = Subscribers(store, Holding(store).own)
        await providers.put(Provider(provider, "t", "p"), 0)
        at = await lines.put(Line(line, here, 1, 100), 0)
        await subscribers.put(Subscriber(who, provider, line), 0)
        entry = await store.get(model.view_key(here, who))
        assert entry is not None
        assert msgspec.json.decode(entry.value, type=View) == View(who, line="1:100", pool="p", tenant="t")
        moved = await lines.put(Line(line, there, 1, 100), at)
        entry = await store.get(model.view_key(there, who))
        assert entry is not None
        assert entry.revision == moved
        assert await store.get(model.view_key(here, who)) is None
        await providers.put(Provider(provider, "t", "other"), (await providers.get(provider)).revision)
        await providers.settle()
        entry = await store.get(model.view_key(there, who))
        assert entry is not None
        assert msgspec.json.decode(entry.value, type=View).pool == "other"
        listed = await subscribers.list(provider)
        assert [found.record.name for found in listed.items] == [who]
        for deleted in (lines.delete(line), providers.delete(provider)):
            with pytest.raises(InUse):
                await deleted

    _tell(open_, story)


def _tell(open_: Open, story: Callable[[Store], Awaitable[None]]) -> None:
    async def told() -> None:
        async with opened(open_) as store, asyncio.timeout(3 * WITHIN_S):
            await story(store)

    asyncio.run(told())

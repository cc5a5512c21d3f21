"""Opening either store for a test, and what tests do with a watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

from wayleave.nexus.store.port import Change, Store

WITHIN_S = 20.0
Open = Callable[[], Store]
"""Opens the store that a test is about; to be called in the loop that uses it."""
_names = count()


def fresh() -> str:
    """Return a prefix that no other test uses: etcd is one for many of them."""
    return f"{next(_names)}/"


@asynccontextmanager
async def opened(open_: Open) -> AsyncIterator[Store]:
    store = open_()
    try:
        yield store
    finally:
        await store.close()


async def told(store: Store, prefix: str, after: int, until: int) -> list[list[Change]]:
    """Return what a watch tells up to a revision, which has to be one of a change that it tells."""
    lists: list[list[Change]] = []
    watch = store.watch(prefix, after)
    async with asyncio.timeout(WITHIN_S):
        async for changes in watch:
            lists.append(changes)
            if changes[-1].revision >= until:
                await watch.aclose()  # type: ignore[attr-defined]
                break
    return lists

"""A store whose coroutines are driven by hand: the same tests are asked of the dictionary and of SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from wayleave.nexus.store.port import PAGE, Delete, Entry, Is, Page, Put, Store
from wayleave.nexus.store.sqlite import SqliteStore

from .memory import MemoryStore, Op, finished

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], between: Callable[[], None] = lambda: None) -> T:
    """Drive a coroutine to its end; `between` is called ahead of each operation of the store."""
    return finished(work, between)


class OnDisk:
    """SQLite's store, each operation of which is done in a loop of its own by whoever drives the coroutine."""

    def __init__(self, store: SqliteStore, runner: asyncio.Runner) -> None:
        self._store, self._runner = store, runner

    async def _done(self, work: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await work()

        result: T = await Op(lambda: self._runner.run(awaited()))
        return result

    async def get(self, key: str) -> Entry | None:
        return await self._done(lambda: self._store.get(key))

    async def read(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        return await self._done(lambda: self._store.read(keys))

    async def page(self, prefix: str, after: str = "", limit: int = PAGE, at: int = 0) -> Page:
        return await self._done(lambda: self._store.page(prefix, after, limit, at))

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        return await self._done(lambda: self._store.commit(expects, changes))


@contextmanager
def on_disk(path: Path) -> Iterator[Store]:
    async def made() -> SqliteStore:
        return SqliteStore(path)

    with asyncio.Runner() as runner:
        store = runner.run(made())
        try:
            yield OnDisk(store, runner)  # type: ignore[misc]
        finally:
            runner.run(store.close())


def in_memory() -> Store:
    return MemoryStore()  # type: ignore[return-value]

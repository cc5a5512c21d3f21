"""The store's port over a dictionary, for coroutines that are driven by hand, an operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar

from wayleave.nexus import model
from wayleave.nexus.model import Pool
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Page, Put

Result = TypeVar("Result")


class Op:
    """A store's operation: done by whoever drives the coroutine that awaits it."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self.do = do

    def __await__(self) -> Generator[Op, Any, Any]:
        return (yield self)


class MemoryStore:
    """The store's port over a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._revision = 0

    async def get(self, key: str) -> Entry | None:
        found: Entry | None = await Op(lambda: self.entries.get(key))
        return found

    async def read(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        found: dict[str, Entry | None] = await Op(lambda: {key: self.entries.get(key) for key in keys})
        return found

    async def page(self, prefix: str, after: str = "", limit: int = 1000, at: int = 0) -> Page:  # noqa: ARG002
        def found() -> Page:
            keys = sorted(key for key in self.entries if key.startswith(prefix) and key > after)
            return Page([self.entries[key] for key in keys[:limit]], self._revision, len(keys) > limit)

        page: Page = await Op(found)
        return page

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        def done() -> int:
            differ = [item.key for item in expects if self._written(item.key) != item.revision]
            if differ:
                raise Conflict(differ)
            self._revision += 1
            for change in changes:
                if isinstance(change, Put):
                    self.entries[change.key] = Entry(change.key, change.value, self._revision)
                else:
                    self.entries.pop(change.key, None)
            return self._revision

        revision: int = await Op(done)
        return revision

    def _written(self, key: str) -> int:
        entry = self.entries.get(key)
        return entry.revision if entry else 0

    def add_pool(self, pool: Pool) -> None:
        """Have a pool from the beginning."""
        key = model.pool_key(pool.name)
        self._revision += 1
        self.entries[key] = Entry(key, model.encode(pool), self._revision)


def finished(work: Coroutine[Any, Any, Result], between: Callable[[], None] = lambda: None) -> Result:
    """Drive a coroutine to its end; `between` is called ahead of each operation. Raises: what it raises."""
    resume: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        try:
            op = resume(value)
        except StopIteration as done:
            result: Result = done.value
            return result
        between()
        try:
            resume, value = work.send, op.do()
        except Conflict as conflict:
            resume, value = work.throw, conflict

"""Records as resources: how one is named, read, listed and changed by people who have seen it.

Who changes a record says at which revision it has seen it (`at`); 0: there is to be none yet; None: whatever it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct, structs

from wayleave.nexus import model
from wayleave.nexus.model import Ownership, Pool, Provider, Unit
from wayleave.nexus.refusal import Absent, Busy, Changed, Exists, InUse, Invalid, Refused
from wayleave.nexus.store.port import PAGE, Conflict, Delete, Entry, Is, Put, Store

ATTEMPTS = 16
"""How often something is tried while others get in between: each time somebody got on."""
_SHOWN = 3
NAME = "[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}"
"""What a record can be called, as a pattern."""

Record = TypeVar("Record", bound=Struct)
T = TypeVar("T")


class Found(Struct, Generic[Record], frozen=True):
    """A record, and the revision at which it was written."""

    record: Record
    revision: int


class Listed(Struct, Generic[Record], frozen=True):
    """A page of a list as of `revision`. `after`: what to ask for the next page with; None: it is the last."""

    items: tuple[Found[Record], ...]
    revision: int
    after: str | None


def checked(what: str, name: str) -> str:
    """Return a name that can be in a key and in a path. Raises: Invalid."""
    if not re.fullmatch(NAME, name):
        how = "letters, digits, `.`, `_`, `@` and `-`, 64 at most, the first a letter or a digit"
        raise Invalid(f"{what}: {name!r} is no name: write {how}")
    return name


async def find(store: Store, kind: type[Record], key: str, what: str) -> Found[Record]:
    """Read a record; `what` says what it is. Raises: Absent."""
    entry = await store.get(key)
    if entry is None:
        raise Absent(f"there is no {what}")
    return found(kind, entry)


def found(kind: type[Record], entry: Entry) -> Found[Record]:
    """Return what an entry has."""
    return Found(model.decode(kind, entry.value), entry.revision)


async def listed(
    store: Store, kind: type[Record], prefix: str, after: str = "", limit: int = PAGE, at: int = 0
) -> Listed[Record]:
    """List records behind the one named `after`. Raises: Compacted, of a revision `at` that is too old."""
    page = await store.page(prefix, f"{prefix}{after}" if after else "", limit, at)
    items = tuple(found(kind, entry) for entry in page.entries)
    more = page.entries[-1].key.removeprefix(prefix) if page.more else None
    return Listed(items, page.revision, more)


def seen(entry: Entry | None, at: int | None, what: str) -> None:
    """Refuse to change what is not as it was seen. Raises: Exists, Absent, Changed."""
    if at == 0 and entry is not None:
        raise Exists(f"there is a {what} already; to change it, say which revision of it you have seen")
    if at != 0 and entry is None:
        raise Absent(f"there is no {what}")
    if at and entry is not None and entry.revision != at:
        raise Changed(f"{what} was changed meanwhile: read it again, and change what is there now")


def expects(key: str, entry: Entry | None) -> Is:
    """Return the expectation that a key is as it was read."""
    return Is(key, entry.revision if entry is not None else 0)


def shown(names: Iterable[str]) -> str:
    """Return the first few names, for a refusal."""
    first = sorted(names)
    return ", ".join(first[:_SHOWN]) + (", …" if len(first) > _SHOWN else "")


@contextlib.asynccontextmanager
async def vacant(
    store: Store, entry: Entry, record: Pool | Provider | Ownership, why: Callable[[], Awaitable[str]], what: str
) -> AsyncIterator[int]:
    """While the block lasts nobody refers to a record, so that it can go; yields the revision at which it is so.

    It is closed, which whoever is about to refer to it expects it not to be; so what `why` finds after that is all
    there is. If it finds something, or the block is refused, the record is as it was. Who is killed in between leaves
    it closed.

    Raises: InUse, which says why; Changed.
    """
    closed = entry.revision
    if not record.closed:
        try:
            shut = Put(entry.key, model.encode(structs.replace(record, closed=True)))
            closed = await store.commit([Is(entry.key, entry.revision)], [shut])
        except Conflict:
            raise Changed(f"{what} was changed meanwhile: read it again") from None
    try:
        if reason := await why():
            raise InUse(f"{what}: {reason}")
        yield closed
    except Refused:
        if closed != entry.revision:
            with contextlib.suppress(Conflict):
                await store.commit([Is(entry.key, closed)], [Put(entry.key, entry.value)])
        raise


async def span(store: Store, key: Callable[[int], str], first: int, last: int) -> AsyncIterator[tuple[int, Entry]]:
    """Yield what is there of numbered keys from `first` to `last`, with its number; `key` makes one of a number."""
    prefix = key(first).rpartition("/")[0] + "/"
    after, more = key(first - 1) if first else "", True
    while more:
        page = await store.page(prefix, after)
        more = page.more
        for entry in page.entries:
            after, number = entry.key, int(entry.key.rpartition("/")[2], 16)
            if number > last:
                return
            yield number, entry


async def units(store: Store, pool: str, first: int, last: int) -> AsyncIterator[tuple[int, Unit]]:
    """Yield the units of a part of a pool that anybody ever had, with their numbers."""
    async for number, entry in span(store, lambda number: model.unit_key(pool, number), first, last):
        yield number, model.decode(Unit, entry.value)


class Draft:
    """A commit in the making. It expects all that was read for it to be as it was read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, Entry | None] = {}
        self._changes: dict[str, Put | Delete] = {}

    async def get(self, key: str) -> Entry | None:
        """Read a key."""
        if key not in self._read:
            self._read[key] = await self._store.get(key)
        return self._read[key]

    async def find(self, kind: type[Record], key: str) -> Record | None:
        """Read a record."""
        entry = await self.get(key)
        return model.decode(kind, entry.value) if entry is not None else None

    def put(self, key: str, record: Struct | str) -> None:
        """Write a record, or the name of one."""
        value = record.encode() if isinstance(record, str) else model.encode(record)
        self._changes[key] = Put(key, value)

    def delete(self, key: str) -> None:
        """Remove a key, unless it is written after this."""
        self._changes[key] = Delete(key)

    async def commit(self) -> int:
        """Returns the revision of what was written. Raises: Conflict."""
        read = [expects(key, entry) for key, entry in self._read.items()]
        return await self._store.commit(read, list(self._changes.values()))


async def written(store: Store, work: Callable[[Draft], Awaitable[None]], what: str) -> int:
    """Commit what `work` drafts, anew for as long as others come in between. Returns its revision. Raises: Busy."""

    async def once() -> int:
        draft = Draft(store)
        await work(draft)
        return await draft.commit()

    return await again(once, what)


async def again(work: Callable[[], Awaitable[T]], what: str) -> T:
    """Do it, as often as it takes for nobody to come in between. Raises: Busy."""
    for _ in range(ATTEMPTS):
        try:
            return await work()
        except Conflict:
            continue
    raise Busy(f"{what}: others came in between {ATTEMPTS} times; ask again")

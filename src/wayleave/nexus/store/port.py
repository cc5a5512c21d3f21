"""What Nexus asks of a store: ordered keys with values, a revision that counts commits, and a commit that compares.

All uniqueness in Nexus rests on `Store.commit`: it writes all or nothing, and only while every key that it expects
something of was last written at the revision that its caller has seen. There is no other way to write, no lock and
no lease.

Revisions are the store's. A commit that changes something gets the next one. They are compared and handed back, never
counted with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

PAGE = 1000
"""Entries of a page, unless fewer are asked for."""


class Entry(Struct, frozen=True, gc=False):
    """A key, its value, and the revision of the store at which it was last written."""

    key: str
    value: bytes
    revision: int


class Is(Struct, frozen=True, gc=False):
    """An expectation: the key was last written at `revision`. 0: there is no such key."""

    key: str
    revision: int


class Put(Struct, frozen=True, gc=False):
    """Write a value, whether the key is there or not: what has to be so is expected, with `Is`."""

    key: str
    value: bytes


class Delete(Struct, frozen=True, gc=False):
    """Remove a key. It is no error that there is none."""

    key: str


class Page(Struct, frozen=True):
    """A part of a list. `more`: there are others behind the last of these."""

    entries: list[Entry]
    more: bool


class Conflict(Exception):
    """An expectation does not hold, and nothing was written. `keys`: those that differ."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"written by somebody else meanwhile: {', '.join(self.keys)}")


class Unavailable(Exception):
    """The store does not answer; the text says why and what to do.

    Of a commit it means that nobody knows: it may have happened, or may happen yet. Whoever repeats it expects what
    it expected before, and so cannot do it twice; a `Conflict` may then be with itself.
    """


class Store(Protocol):
    """A store. All that is read is linearizable: it has every commit that was acknowledged before it was asked.

    Every method raises Unavailable.
    """

    async def get(self, key: str) -> Entry | None:
        """Return what is there now, None if nothing is."""
        ...

    async def page(self, prefix: str, after: str = "", limit: int = PAGE) -> Page:
        """Return up to `limit` entries whose keys begin with `prefix`, in the order of their UTF-8, behind `after`."""
        ...

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """Make all the changes, atomically, if all the expectations hold. Returns the store's revision after it.

        It is durable then. A commit that changes nothing (no changes, or deletes of what is not there) does not
        count; it still compares.

        Raises: Conflict.
        """
        ...


async def entries(store: Store, prefix: str) -> AsyncIterator[Entry]:
    """Yield all that begins with a prefix, a page at a time: each entry as it was when its page was read."""
    after, more = "", True
    while more:
        page = await store.page(prefix, after)
        for entry in page.entries:
            yield entry
            after = entry.key
        more = page.more

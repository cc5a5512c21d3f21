"""Who changed what, and when: a chain of records, each written by the very commit that it tells of.

    audit/NUMBER    Record    from 1 on, without a gap; its hash covers its own text and the hash of the one before
    audited         Head      the last one's number and hash

`Chain.by` is a store whose commits go on record: they write the record and the head besides, and expect the head as it
was. So there is no change without its record, no record without its change, and the order of the records is that of
the commits. Whoever alters a record that stands there, or takes one away, breaks the chain, and `Verifier` tells where;
whoever can write the whole store anew can also write a whole chain: keep a number and its hash elsewhere, and compare.

The head makes such commits wait for each other. What gateways do with their holds and blocks is therefore not on
record here (ADR 19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from msgspec import Struct
from msgspec.structs import replace

from wayleave.nexus import model
from wayleave.nexus.records import ATTEMPTS
from wayleave.nexus.refusal import Busy
from wayleave.nexus.store.port import Conflict, Delete, Is, Put, Store

AUDIT, HEAD = "audit/", "audited"


class Changed(Struct, frozen=True):
    """A key and its new value, as text; None: it was deleted."""

    key: str
    value: str | None


class Record(Struct, frozen=True):
    """A commit. `at` is UTC, as in RFC 3339; `before` is the hash of the record before, of the first it is empty."""

    number: int
    at: str
    role: str
    name: str
    changes: tuple[Changed, ...]
    before: str
    hash: str = ""


class Head(Struct, frozen=True):
    """The end of the chain."""

    number: int
    hash: str


class Broken(Exception):
    """The chain is not whole; the text says where."""


def record_key(number: int) -> str:
    """Return where a record is."""
    return f"{AUDIT}{number:016x}"


def hash_of(record: Record) -> str:
    """Return what a record's hash has to be: SHA-256 of its JSON, `before` included, with an empty `hash`."""
    return hashlib.sha256(model.encode(replace(record, hash=""))).hexdigest()


class Chain:
    """The end of the chain, and the turn of whoever adds to it: one at a time in a process."""

    def __init__(self, store: Store, now: Callable[[], str], turn: AbstractAsyncContextManager[None]) -> None:
        """`now`: what time it is, in UTC, as in RFC 3339."""
        self._store, self._now, self._turn = store, now, turn
        self._head: tuple[Head, int] | None = None
        """As this process left it, with its revision; another may have got on meanwhile."""

    def by(self, role: str, name: str) -> Store:
        """Return the store, whose commits go on record as somebody's."""
        return _Audited(self._store, self, role, name)

    async def commit(self, role: str, name: str, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """Commit on record. Raises: Busy, and what the store raises."""
        async with self._turn:
            for _ in range(ATTEMPTS):
                head, revision = await self._end()
                record = self._record(head, role, name, changes)
                now = Head(record.number, record.hash)
                own = [Put(HEAD, model.encode(now)), Put(record_key(now.number), model.encode(record))]
                self._head = None  # if nobody knows what becomes of the commit, nobody knows the head
                try:
                    written = await self._store.commit([*expects, Is(HEAD, revision)], [*changes, *own])
                except Conflict as conflict:
                    if others := [key for key in conflict.keys if key != HEAD]:
                        raise Conflict(others) from None
                else:
                    self._head = now, written
                    return written
        raise Busy(f"the audit's end: others came in between {ATTEMPTS} times; ask again")

    async def _end(self) -> tuple[Head, int]:
        if self._head is not None:
            return self._head
        found = await self._store.get(HEAD)
        return (model.decode(Head, found.value), found.revision) if found else (Head(0, ""), 0)

    def _record(self, head: Head, role: str, name: str, changes: Sequence[Put | Delete]) -> Record:
        told = tuple(
            Changed(change.key, change.value.decode() if isinstance(change, Put) else None) for change in changes
        )
        record = Record(head.number + 1, self._now(), role, name, told, head.hash)
        return replace(record, hash=hash_of(record))


class _Audited:
    """Implements port.Store: another one, but for its commits."""

    def __init__(self, store: Store, chain: Chain, role: str, name: str) -> None:
        self.get, self.read, self.page, self.watch = store.get, store.read, store.page, store.watch
        self.revision, self.compact, self.close = store.revision, store.compact, store.close
        self._chain, self._role, self._name = chain, role, name

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """See port.Store. Raises Busy, too."""
        return await self._chain.commit(self._role, self._name, expects, changes)


class Verifier:
    """Walks the chain: give it every record in its order, then the head. Raises: Broken."""

    def __init__(self) -> None:
        self.number, self.hash = 0, ""

    def take(self, record: Record) -> None:
        """Look at the next record."""
        number = self.number + 1
        if record.number != number:
            raise Broken(f"record {number} is missing: record {record.number} follows on {self.number}")
        if record.before != self.hash:
            raise Broken(f"record {number} does not follow on record {self.number}: one of them is another's")
        if record.hash != hash_of(record):
            raise Broken(f"record {number} was altered: its hash is not that of its text")
        self.number, self.hash = number, record.hash

    def end(self, head: Head) -> None:
        """Look at the head, as it was read before the records or later."""
        if head.number > self.number:
            raise Broken(f"records {self.number + 1} to {head.number} are missing")

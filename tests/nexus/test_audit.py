"""Who changed what: no change without its record, no record without its change, and nothing altered unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from wayleave.nexus import audit, model
from wayleave.nexus.audit import Broken, Chain, Changed, Head, Record, Verifier
from wayleave.nexus.store.port import Conflict, Delete, Is, Put, Store, Unavailable, entries
from wayleave.nexus.store.sqlite import SqliteStore

NOW = "2026-11-28T13:00:00Z"


def chain(store: Store) -> Chain:
    """As another process has it."""
    return Chain(store, lambda: NOW, asyncio.Lock())


def story(tmp_path: Path, tell: Callable[[SqliteStore], Awaitable[None]]) -> None:
    async def told() -> None:
        store = SqliteStore(tmp_path / "store")
        try:
            await tell(store)
        finally:
            await store.close()

    asyncio.run(told())


async def records(store: Store) -> AsyncIterator[Record]:
    async for entry in entries(store, audit.AUDIT):
        yield model.decode(Record, entry.value)


async def verified(store: Store) -> int:
    """Walk the chain as it is in a store; returns how many records it has. Raises: Broken."""
    verifier = Verifier()
    async for record in records(store):
        verifier.take(record)
    end = await store.get(audit.HEAD)
    verifier.end(model.decode(Head, end.value) if end else Head(0, ""))
    return verifier.number


def test_a_change_is_on_record_with_who_made_it(tmp_path: Path) -> None:
    async def tell(store: SqliteStore) -> None:
        by = chain(store).by("operator", "ops")
        first = await by.commit([Is("pool/a", 0)], [Put("pool/a", b'{"name":"a"}')])
        second = await by.commit([Is("pool/a", first)], [Delete("pool/a"), Put("pool/b", "é".encode())])
        one, other = [record async for record in records(store)]
        assert (one.number, one.at, one.role, one.name) == (1, NOW, "operator", "ops")
        assert one.changes == (Changed("pool/a", '{"name":"a"}'),)
        assert (one.before, other.before) == ("", one.hash)
        assert other.changes == (Changed("pool/a", None), Changed("pool/b", "é"))
        found = [entry.revision async for entry in entries(store, audit.AUDIT)]
        assert found == [first, second]  # of the very commits
        assert await verified(store) == 2

    story(tmp_path, tell)


def test_what_was_not_changed_is_not_on_record(tmp_path: Path) -> None:
    async def tell(store: SqliteStore) -> None:
        by = chain(store).by("operator", "ops")
        await by.commit([], [Put("pool/a", b"1")])
        with pytest.raises(Conflict) as info:
            await by.commit([Is("pool/a", 0)], [Put("pool/a", b"2")])
        assert info.value.keys == ("pool/a",)
        assert await verified(store) == 1

    story(tmp_path, tell)


def test_processes_that_write_at_once_make_one_chain(tmp_path: Path) -> None:
    async def tell(store: SqliteStore) -> None:
        processes = [chain(store).by("operator", f"ops{number}") for number in range(3)]
        work = [each.commit([], [Put(f"pool/{n}", b"")]) for n in range(8) for each in processes]
        assert len(set(await asyncio.gather(*work))) == 24
        assert await verified(store) == 24

    story(tmp_path, tell)


def test_a_commit_that_nobody_knows_of_leaves_no_gap(tmp_path: Path) -> None:
    class Lost(SqliteStore):
        """It writes, and its answer is lost."""

        loses = False

        async def commit(self, *asked: object) -> int:
            revision = await super().commit(*asked)  # type: ignore[arg-type]
            if self.loses:
                raise Unavailable("lost")
            return revision

    async def told() -> None:
        store = Lost(tmp_path / "store")
        by = chain(store).by("operator", "ops")
        await by.commit([], [Put("pool/a", b"1")])
        store.loses = True
        with pytest.raises(Unavailable):
            await by.commit([], [Put("pool/a", b"2")])
        store.loses = False
        await by.commit([], [Put("pool/a", b"3")])
        assert await verified(store) == 3
        await store.close()

    asyncio.run(told())


async def _of_five(store: SqliteStore) -> list[Record]:
    by = chain(store).by("operator", "ops")
    for number in range(5):
        await by.commit([], [Put("pool/a", b"%d" % number)])
    assert await verified(store) == 5
    return [record async for record in records(store)]


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_record_that_is_missing_is_found(tmp_path: Path, number: int) -> None:
    async def tell(store: SqliteStore) -> None:
        await _of_five(store)
        await store.commit([], [Delete(audit.record_key(number))])
        with pytest.raises(Broken, match=str(number)):
            await verified(store)

    story(tmp_path, tell)


@pytest.mark.parametrize("number", [1, 3, 5])
@pytest.mark.parametrize("field", ["name", "role", "at", "changes", "before", "hash", "number"])
def test_a_record_that_was_altered_is_found(tmp_path: Path, number: int, field: str) -> None:
    async def tell(store: SqliteStore) -> None:
        record = (await _of_five(store))[number - 1]
        other: dict[str, object] = {"changes": (Changed("pool/a", "7"),), "number": 7}
        forged = replace(record, **{field: other.get(field, "else")})
        await store.commit([], [Put(audit.record_key(number), model.encode(forged))])
        with pytest.raises(Broken):
            await verified(store)

    story(tmp_path, tell)


def test_a_record_whose_hash_is_made_anew_breaks_what_follows(tmp_path: Path) -> None:
    async def tell(store: SqliteStore) -> None:
        record = replace((await _of_five(store))[2], name="somebody")
        await store.commit([], [Put(audit.record_key(3), model.encode(replace(record, hash=audit.hash_of(record))))])
        with pytest.raises(Broken, match="record 4 does not follow"):
            await verified(store)

    story(tmp_path, tell)


def test_what_ends_in_between_ends_nobody_elses_turn(tmp_path: Path) -> None:
    async def tell(store: SqliteStore) -> None:
        by = chain(store).by("operator", "ops")
        impatient = asyncio.ensure_future(by.commit([], [Put("pool/a", b"1")]))
        await asyncio.wait({impatient}, timeout=0)
        impatient.cancel()
        with suppress(asyncio.CancelledError):
            await impatient
        await by.commit([], [Put("pool/a", b"2")])
        assert await verified(store) in (1, 2)  # nobody knows what became of the other

    story(tmp_path, tell)

"""What changes, told to many: in order, without a gap, from where each was; and who is told to list anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from wayleave.nexus import feed as feeding
from wayleave.nexus.feed import Feed, Stream
from wayleave.nexus.store.port import Change, Compacted, Delete, Put, Store, Unavailable
from wayleave.nexus.store.sqlite import SqliteStore

WITHIN_S = 10.0


@asynccontextmanager
async def watched(store: Store) -> AsyncIterator[Feed]:
    """Yield the feed of a store, which has seen what is there."""
    feed = Feed(store)
    task = asyncio.create_task(feed.run())
    try:
        await seen(feed, await store.revision())
        yield feed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def seen(feed: Feed, revision: int) -> None:
    """Wait until it has seen a revision."""
    async with asyncio.timeout(WITHIN_S):
        while feed.position < revision:
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.001, done.set_result, None)
            await done


def story(tmp_path: Path, tell: Callable[[Store], Awaitable[None]]) -> None:
    async def told() -> None:
        store = SqliteStore(tmp_path / "store")
        try:
            await tell(store)
        finally:
            await store.close()

    asyncio.run(told())


def never() -> None:
    raise AssertionError("cut off")


async def heard(stream: Stream, count: int) -> list[Change]:
    """Return the next changes that it is told of, so many."""
    got: list[Change] = []
    async with asyncio.timeout(WITHIN_S):
        while len(got) < count:
            got += (await stream.told(WITHIN_S))[0]
    return got


def test_each_is_told_of_its_own_and_of_nothing_else(tmp_path: Path) -> None:
    async def tell(store: Store) -> None:
        async with watched(store) as feed:
            start = await feed.since(0)
            with (
                feed.listen("view/a/", start, never) as one,
                feed.listen("view/b/", start, never) as other,
                feed.listen("view/", start, never) as all_of_it,
            ):
                first = await store.commit([], [Put("view/a/x", b"1"), Put("view/ab/x", b"2"), Put("node/a", b"3")])
                second = await store.commit([], [Delete("view/a/x"), Put("view/b/y", b"4")])
                assert await heard(one, 2) == [Change(first, "view/a/x", b"1"), Change(second, "view/a/x", None)]
                assert await heard(other, 1) == [Change(second, "view/b/y", b"4")]
                assert len(await heard(all_of_it, 4)) == 4
                assert feed.streams == 3
            assert feed.streams == 0

    story(tmp_path, tell)


def test_who_comes_back_goes_on_from_where_it_was(tmp_path: Path) -> None:
    async def tell(store: Store) -> None:
        revisions = [await store.commit([], [Put("view/a/x", b"%d" % count)]) for count in range(5)]
        async with watched(store) as feed:
            with feed.listen("view/a/", await feed.since(revisions[1]), never) as stream:
                assert [change.value for change in await heard(stream, 3)] == [b"2", b"3", b"4"]
                assert await stream.told(0.01) == ([], revisions[-1])
            with feed.listen("view/a/", revisions[-1], never) as stream:
                last = await store.commit([], [Put("view/a/x", b"5")])
                assert [change.revision for change in await heard(stream, 1)] == [last]

    story(tmp_path, tell)


def test_who_is_ahead_of_the_feed_hears_nothing_twice(tmp_path: Path) -> None:
    async def tell(store: Store) -> None:
        async with watched(store) as feed:
            revision = await store.commit([], [Put("view/a/x", b"1")])
            with feed.listen("view/a/", revision, never) as stream:
                assert await stream.told(0) == ([], revision)
                await seen(feed, revision)
                assert await stream.told(0) == ([], revision)

    story(tmp_path, tell)


def test_who_was_away_for_too_long_lists_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "KEPT", 10)

    async def tell(store: Store) -> None:
        async with watched(store) as feed:
            old = await store.commit([], [Put("view/a/x", b"0")])
            for count in range(30):
                last = await store.commit([], [Put("view/a/x", b"%d" % count), Put("view/b/x", b"")])
                await seen(feed, last)
            with pytest.raises(Compacted) as info:
                await feed.since(old)
            oldest = info.value.oldest
            with feed.listen("view/a/", await feed.since(oldest), never) as stream:
                told = await heard(stream, last - oldest)
                assert [change.revision for change in told] == [*range(oldest + 1, last + 1)]

    story(tmp_path, tell)


def test_a_feed_that_starts_knows_what_was_just_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "KEPT", 10)

    async def tell(store: Store) -> None:
        revisions = [await store.commit([], [Put("view/a/x", b"%d" % count)]) for count in range(20)]
        async with watched(store) as feed:
            assert await feed.since(revisions[-4]) == revisions[-4]
            with pytest.raises(Compacted):
                await feed.since(revisions[0])

    story(tmp_path, tell)


def test_a_revision_of_another_history_is_not_waited_for(tmp_path: Path) -> None:
    async def tell(store: Store) -> None:
        async with watched(store) as feed:
            with pytest.raises(Compacted):
                await feed.since(10_000)

    story(tmp_path, tell)


def test_before_the_store_was_seen_nobody_listens(tmp_path: Path) -> None:
    async def tell(store: Store) -> None:
        feed = Feed(store)
        with pytest.raises(Unavailable):
            await feed.since(0)

    story(tmp_path, tell)


def test_who_does_not_keep_up_is_cut_off_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "MOST_WAITING", 5)
    cut: list[str] = []

    async def tell(store: Store) -> None:
        async with watched(store) as feed:
            start = await feed.since(0)
            with (
                feed.listen("view/a/", start, lambda: cut.append("a")) as slow,
                feed.listen("view/a/", start, never) as quick,
            ):
                for count in range(6):
                    await store.commit([], [Put("view/a/x", b"%d" % count)])
                    await heard(quick, 1)
                assert cut == ["a"]
                assert (slow.ended, quick.ended, feed.cut) == (True, False, 1)

    story(tmp_path, tell)


def test_what_the_watch_missed_every_stream_has_missed(tmp_path: Path) -> None:
    class Forgetful(SqliteStore):
        """Whoever watches it first is told too late."""

        forgets = True

        async def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
            if self.forgets:
                self.forgets = False
                yield [Change(await self.revision(), "view/a/x", b"")]
                await self._grown.wait()
                raise Compacted(await self.revision())
            async for changes in super().watch(prefix, after):
                yield changes

    async def told() -> None:
        store = Forgetful(tmp_path / "store")
        first = await store.commit([], [Put("view/a/x", b"")])
        async with watched(store) as feed:
            with feed.listen("view/a/", first, never) as stream:
                lost = await store.commit([], [Put("view/a/x", b"")])
                async with asyncio.timeout(WITHIN_S):
                    while not stream.ended:
                        await stream.told(WITHIN_S)
            await seen(feed, lost)
            with pytest.raises(Compacted):
                await feed.since(first)
            assert await feed.since(0) == lost
        await store.close()

    asyncio.run(told())

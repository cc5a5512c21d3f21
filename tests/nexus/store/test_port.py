"""What every store does, asked of both: SQLite, and etcd of three members."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.nexus.store.stores import WITHIN_S, Open, fresh, opened, told
from wayleave.nexus.store.port import (
    FIRST,
    MAX_KEY,
    MAX_OPERATIONS,
    MAX_VALUES,
    Change,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Is,
    Page,
    Put,
    Store,
    Unavailable,
    check,
    interval,
)

T = TypeVar("T")


def with_store(open_: Open, story: Callable[[Store], Awaitable[T]]) -> T:
    async def told_to() -> T:
        async with opened(open_) as store, asyncio.timeout(3 * WITHIN_S):
            return await story(store)

    return asyncio.run(told_to())


def test_a_key_is_what_was_written_last(open_: Open) -> None:
    async def story(store: Store) -> None:
        key = fresh() + "kéy"
        assert await store.get(key) is None
        first = await store.commit([Is(key, 0)], [Put(key, b"\0\xff")])
        assert await store.get(key) == Entry(key, b"\0\xff", first)
        assert await store.commit([Is(key, first)], [Put(key, b"")]) == first + 1
        assert await store.get(key) == Entry(key, b"", first + 1)
        assert await store.commit([], [Delete(key)]) == first + 2 == await store.revision()
        assert await store.get(key) is None

    with_store(open_, story)


def test_several_keys_are_read_as_of_one_revision(open_: Open) -> None:
    async def story(store: Store) -> None:
        a, b, c = (fresh() + name for name in "abc")
        at = await store.commit([], [Put(a, b"0"), Put(b, b"0")])
        assert await store.read([b, c, a]) == {b: Entry(b, b"0", at), c: None, a: Entry(a, b"0", at)}
        assert await store.read([]) == {}

        async def write() -> None:
            for turn in range(1, 50):
                await store.commit([], [Put(a, b"%d" % turn), Put(b, b"%d" % turn)])

        writing = asyncio.create_task(write())
        while not writing.done():
            found = [entry.value for entry in (await store.read([a, b])).values() if entry is not None]
            assert found[0] == found[1]
        await writing
        with pytest.raises(ValueError, match="at most 100"):
            await store.read([a] * (MAX_OPERATIONS + 1))

    with_store(open_, story)


def test_an_expectation_that_does_not_hold_writes_nothing(open_: Open) -> None:
    async def story(store: Store) -> None:
        a, b, c = (fresh() + name for name in "abc")
        at = await store.commit([], [Put(a, b"1"), Put(b, b"1")])
        for expects, differ in (
            ([Is(a, at), Is(b, 0), Is(c, 0)], (b,)),
            ([Is(c, at), Is(a, at - 1), Is(b, at)], (c, a)),
        ):
            with pytest.raises(Conflict) as raised:
                await store.commit(expects, [Put(a, b"2"), Delete(b), Put(c, b"2")])
            assert raised.value.keys == differ
        assert await store.revision() == at
        assert [await store.get(key) for key in (a, b, c)] == [Entry(a, b"1", at), Entry(b, b"1", at), None]

    with_store(open_, story)


def test_what_changes_nothing_does_not_count(open_: Open) -> None:
    async def story(store: Store) -> None:
        key = fresh()
        at = await store.commit([], [Put(key, b"")])
        assert await store.commit([Is(key, at)], []) == at
        assert await store.commit([], [Delete(key + "x")]) == at == await store.revision()
        with pytest.raises(Conflict):
            await store.commit([Is(key, 0)], [])

    with_store(open_, story)


def test_pages_of_one_list_are_as_of_one_revision(open_: Open) -> None:
    async def story(store: Store) -> None:
        prefix = fresh()
        keys = [prefix + name for name in ("", "a", "aé", "b", "\x7f", "\u20ac", "\U0001f600")]
        at = await store.commit([], [Put(key, key.encode()) for key in reversed(keys)])
        first = await store.page(prefix, limit=3)
        assert (first.revision, first.more, [entry.key for entry in first.entries]) == (at, True, keys[:3])
        await store.commit([], [Delete(keys[4]), Put(keys[5], b"new"), Put(prefix + "c", b"")])
        rest = await store.page(prefix, after=keys[2], limit=4, at=at)
        assert rest == Page([Entry(key, key.encode(), at) for key in keys[3:]], at, False)
        now = await store.page(prefix, after=keys[2])
        assert [entry.key for entry in now.entries] == [keys[3], prefix + "c", *keys[5:]]
        assert (await store.page(prefix, after=prefix + "\U0010ffff")).entries == []
        with pytest.raises(ValueError, match="still to come"):
            await store.page(prefix, at=at + 1000)

    with_store(open_, story)


def test_of_those_who_claim_the_same_keys_one_wins(open_: Open) -> None:
    async def story(store: Store) -> None:
        keys = [fresh() for _ in range(30)]
        won: list[tuple[str, int]] = []

        async def claim(who: int) -> None:
            for key in keys:
                try:
                    await store.commit([Is(key, 0)], [Put(key, str(who).encode())])
                    won.append((key, who))
                except Conflict:
                    pass

        await asyncio.gather(*map(claim, range(8)))
        assert sorted(key for key, _ in won) == sorted(keys)
        for key, who in won:
            entry = await store.get(key)
            assert entry is not None
            assert entry.value == str(who).encode()

    with_store(open_, story)


def test_counting_together_loses_no_step(open_: Open) -> None:
    async def story(store: Store) -> None:
        key = fresh()

        async def add() -> None:
            for _ in range(10):
                while True:
                    entry = await store.get(key)
                    at, value = (entry.revision, int(entry.value)) if entry else (0, 0)
                    try:
                        await store.commit([Is(key, at)], [Put(key, str(value + 1).encode())])
                        break
                    except Conflict:
                        pass

        await asyncio.gather(*(add() for _ in range(4)))
        entry = await store.get(key)
        assert entry is not None
        assert entry.value == b"40"

    with_store(open_, story)


def test_a_watch_tells_each_commit_whole_and_once_from_wherever_it_begins(open_: Open) -> None:
    async def story(store: Store) -> None:
        prefix, other = fresh(), fresh()
        begin = await store.revision()

        async def write(who: int) -> list[list[Change]]:
            wrote = []
            for turn in range(25):
                keys = [f"{prefix}{who}/{i}" for i in range(4)]
                changes: list[Put | Delete] = [Put(key, str(turn).encode()) for key in keys]
                if turn % 5 == 4:
                    changes[1:] = [Delete(key) for key in keys[1:]]
                at = await store.commit([], [*changes, Put(other, b"")])
                wrote.append([Change(at, item.key, item.value if isinstance(item, Put) else None) for item in changes])
            return wrote

        live = asyncio.create_task(told(store, prefix, begin, begin + 100))
        wrote = sorted(chain(*await asyncio.gather(*map(write, range(4)))), key=lambda commit: commit[0].revision)
        for after in (begin, begin + 1, begin + 50, begin + 99):
            lists = await live if after == begin else await told(store, prefix, after, begin + 100)
            assert all(items == whole(items, wrote) for items in lists)
            assert in_order(chain(*lists)) == in_order(chain(*wrote[after - begin :]))

    with_store(open_, story)


def whole(items: Sequence[Change], wrote: Sequence[Sequence[Change]]) -> list[Change]:
    """The changes of all the commits that a list has any of; in the order of the list within a commit."""
    revisions = {item.revision for item in items}
    expected = set(chain(*(commit for commit in wrote if commit[0].revision in revisions)))
    assert set(items) == expected
    return sorted(items, key=lambda item: item.revision)


def in_order(changes: Any) -> list[Change]:
    return sorted(changes, key=lambda change: (change.revision, change.key))


def test_a_watch_reads_many_commits_in_whole_ones(open_: Open) -> None:
    """More than is read at once, in commits whose size does not divide that."""

    async def story(store: Store) -> None:
        prefix = fresh()
        begin = await store.revision()
        for turn in range(15):
            last = await store.commit([], [Put(f"{prefix}{turn}/{i}", b"x") for i in range(99)])
        lists = await told(store, prefix, begin, last)
        changes = list(chain(*lists))
        assert len(changes) == len(set(changes)) == 15 * 99
        assert [change.revision for change in changes] == sorted(change.revision for change in changes)
        assert len({change.revision for items in lists for change in items}) == 15
        for items in lists:
            assert len(items) % 99 == 0

    with_store(open_, story)


def test_a_watch_waits_for_what_comes(open_: Open) -> None:
    async def story(store: Store) -> None:
        prefix = fresh()
        before = await store.commit([], [Put(prefix, b"before")])
        watch = store.watch(prefix, before)
        coming = asyncio.ensure_future(anext(watch))
        await store.commit([], [Put("elsewhere", b"")])
        at = await store.commit([], [Put(prefix, b"after")])
        assert await coming == [Change(at, prefix, b"after")]

    with_store(open_, story)


def test_what_is_compacted_is_said_to_be_gone_and_the_rest_is_there(open_: Open) -> None:
    async def story(store: Store) -> None:
        prefix = fresh()
        a, b = prefix + "a", prefix + "b"
        kept = await store.commit([], [Put(a, b"kept"), Put(b, b"1")])
        await store.commit([], [Put(b, b"2")])
        gone = await store.commit([], [Delete(b)])
        last = await store.commit([], [Put(b, b"3")])
        await store.compact(gone)
        await store.compact(kept)  # is already
        for after in (0, FIRST, kept, gone - 1):
            with pytest.raises(Compacted) as raised:
                await anext(store.watch(prefix, after))
            assert raised.value.oldest == gone
        with pytest.raises(Compacted) as raised:
            await store.page(prefix, at=gone - 1)
        assert raised.value.oldest == gone
        assert (await store.page(prefix, at=gone)).entries == [Entry(a, b"kept", kept)]
        assert await told(store, prefix, gone, last) == [[Change(last, b, b"3")]]
        with pytest.raises(ValueError, match="still to come"):
            await store.compact(last + 1000)

    with_store(open_, story)


def test_what_no_store_takes_is_refused_before_it_is_asked(open_: Open) -> None:
    async def story(store: Store) -> None:
        at = await store.revision()
        full = [Put(f"{fresh()}{'k' * 400}", b"v" * (MAX_VALUES // MAX_OPERATIONS)) for _ in range(MAX_OPERATIONS)]
        assert await store.commit([Is(put.key, 0) for put in full], full) == at + 1
        assert await store.commit([], [Put("k" * MAX_KEY, bytes(MAX_VALUES))]) == at + 2
        for changes in ([Put("", b"")], [Delete("a"), Put("a", b"")], [Put("a", bytes(MAX_VALUES + 1))]):
            with pytest.raises(ValueError, match=r".: |; "):
                await store.commit([], changes)
        for wrong in ({"limit": 0}, {"at": -1}):
            with pytest.raises(ValueError, match="a page has"):
                await store.page("", **wrong)
        assert await store.revision() == at + 2

    with_store(open_, story)


def test_a_closed_store_says_so(open_: Open) -> None:
    async def story() -> None:
        store = open_()
        watch = asyncio.ensure_future(anext(store.watch(fresh(), await store.revision())))
        await store.revision()
        await store.close()
        await store.close()
        with pytest.raises(Unavailable, match="closed"):
            await store.get("a")
        with pytest.raises(Unavailable):
            await asyncio.wait_for(watch, WITHIN_S)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("expects", "changes", "why"),
    [
        ([], [Put(str(i), b"") for i in range(MAX_OPERATIONS + 1)], "several commits"),
        ([Is(str(i), 0) for i in range(MAX_OPERATIONS + 1)], [], "several commits"),
        ([Is("k" * (MAX_KEY + 1), 0)], [], "hash what is longer"),
        ([], [Delete("é" * (MAX_KEY // 2) + "k")], "513 octets"),
        ([], [Put("a\0b", b"")], "no NUL"),
        ([], [Put("\ud800", b"")], "no Unicode text"),
        ([], [Put("a", b"1"), Put("a", b"1")], "twice"),
        ([], [Put("a", bytes(MAX_VALUES)), Put("b", b"1")], "in parts"),
    ],
)
def test_a_refusal_says_what_to_do(expects: list[Is], changes: list[Put | Delete], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check(expects, changes)


@pytest.mark.parametrize(
    ("prefix", "after", "expected"),
    [
        ("", "", (b"\0", b"\xff")),
        ("a/", "", (b"a/", b"a0")),
        ("a/", "a/b", (b"a/b\0", b"a0")),
        ("é", "", (b"\xc3\xa9", b"\xc3\xaa")),
        ("\x7f", "", (b"\x7f", b"\x80")),
    ],
)
def test_keys_with_a_prefix_are_an_interval(prefix: str, after: str, expected: tuple[bytes, bytes]) -> None:
    assert interval(prefix, after) == expected


NAMES = st.sampled_from(["a", "b", "ba", "c\x7f", "é"])
VALUES = st.binary(max_size=3)


class Model(RuleBasedStateMachine):
    """A store beside a list of dictionaries: what there was at each revision since the example began."""

    def __init__(self, store: Store, runner: asyncio.Runner) -> None:
        super().__init__()
        self.store, self.runner = store, runner
        self.prefix = fresh()
        self.begin = self.run(store.revision())
        self.oldest = self.begin
        self.states: list[dict[str, Entry]] = [{}]
        self.changes: list[list[Change]] = [[]]

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def drawn(self, data: st.DataObject, oldest: int) -> int:
        """A revision; what is drawn is how long ago, as an example's begin is another each time."""
        return self.now - data.draw(st.integers(0, self.now - oldest))

    @property
    def now(self) -> int:
        return self.begin + len(self.states) - 1

    @rule(
        expects=st.dictionaries(NAMES, st.integers(-1, 1), max_size=3),
        changes=st.dictionaries(NAMES, st.none() | VALUES, max_size=4),
    )
    def commit(self, expects: dict[str, int], changes: dict[str, bytes | None]) -> None:
        """Expected is what is so, off by -1, 0 or 1."""
        there = self.states[-1]
        is_ = {self.prefix + name: there[self.prefix + name].revision if self.prefix + name in there else 0
               for name in expects}  # fmt: skip
        wants = [Is(self.prefix + name, max(0, is_[self.prefix + name] + off)) for name, off in expects.items()]
        does = [Delete(self.prefix + name) if value is None else Put(self.prefix + name, value)
                for name, value in changes.items()]  # fmt: skip
        differ = tuple(want.key for want in wants if want.revision != is_[want.key])
        if differ:
            with pytest.raises(Conflict) as raised:
                self.run(self.store.commit(wants, does))
            assert raised.value.keys == differ
            return
        after, at = dict(there), self.now + 1
        for item in does:
            if isinstance(item, Put):
                after[item.key] = Entry(item.key, item.value, at)
            else:
                after.pop(item.key, None)
        if after != there:
            self.states.append(after)
            self.changes.append(
                [
                    Change(at, item.key, item.value if isinstance(item, Put) else None)
                    for item in does
                    if isinstance(item, Put) or item.key in there
                ]
            )
        assert self.run(self.store.commit(wants, does)) == self.now

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        assert self.run(self.store.get(self.prefix + name)) == self.states[-1].get(self.prefix + name)

    @rule(data=st.data(), begins=st.sampled_from(["", "b", "x"]), after=st.just("") | NAMES, limit=st.integers(1, 4))
    def page(self, data: st.DataObject, begins: str, after: str, limit: int) -> None:
        at = self.drawn(data, self.oldest - 1) if data.draw(st.booleans()) else 0
        asked = self.store.page(self.prefix + begins, self.prefix + after if after else "", limit, at)
        if at and at < self.oldest:
            if at < self.begin and self.oldest == self.begin:  # nobody compacted in this example: before it began
                asked.close()
                return
            with pytest.raises(Compacted) as raised:
                self.run(asked)
            assert raised.value.oldest == self.oldest
            return
        there = self.states[(at or self.now) - self.begin]
        found = [there[key] for key in sorted(there, key=str.encode)
                 if key.startswith(self.prefix + begins) and (not after or key > self.prefix + after)]  # fmt: skip
        assert self.run(asked) == Page(found[:limit], at or self.now, len(found) > limit)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        before = self.drawn(data, self.begin)
        self.run(self.store.compact(before))
        self.oldest = max(self.oldest, before)

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data())
    def watch(self, data: st.DataObject) -> None:
        after = self.drawn(data, self.oldest)
        if after < self.now:
            lists = self.run(told(self.store, self.prefix, after, self.now))
            assert in_order(chain(*lists)) == in_order(chain(*self.changes[after - self.begin + 1 :]))

    @rule()
    def revision(self) -> None:
        assert self.run(self.store.revision()) == self.now


def test_any_story_is_what_the_model_says(open_: Open) -> None:
    with asyncio.Runner() as runner:

        async def open_it() -> Store:
            return open_()

        store = runner.run(open_it())
        try:
            run_state_machine_as_test(
                lambda: Model(store, runner),
                settings=settings(max_examples=max(20, settings.default.max_examples // 5), stateful_step_count=25),
            )
        finally:
            runner.run(store.close())

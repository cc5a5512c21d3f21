"""What only the store of one machine has: a process that is killed, a disk that is full, a second process."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nexus.store.stores import opened
from wayleave.nexus.store.port import Conflict, Is, Put, Unavailable
from wayleave.nexus.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from wayleave.nexus.store.port import Put
from wayleave.nexus.store.sqlite import SqliteStore

async def write(store, who):
    turn = 0
    while True:
        at = await store.commit([], [Put(f"{who}/{turn}/{half}", b"x" * 100) for half in "ab"])
        print(who, turn, at, flush=True)
        turn += 1

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await asyncio.gather(*(write(store, f"{sys.argv[2]}-{i}") for i in range(16)))

asyncio.run(main())
"""


def test_what_was_acknowledged_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "nexus.sqlite"
    acknowledged: dict[str, int] = {}
    for turn, lines in enumerate((1, 40, 333)):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(turn)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            said = [writer.stdout.readline() for _ in range(lines)]
            writer.kill()
            said += writer.stdout.read().splitlines(keepends=True)
        for who, number, at in (line.split() for line in said if line.endswith(b"\n")):
            acknowledged |= {f"{who.decode()}/{number.decode()}/{half}": int(at) for half in "ab"}

    async def found() -> dict[str, int]:
        there: dict[str, int] = {}
        async with opened(lambda: SqliteStore(path)) as store:
            page = await store.page("")
            while True:
                there |= {entry.key: entry.revision for entry in page.entries}
                if not page.more:
                    return there
                page = await store.page("", after=page.entries[-1].key, at=page.revision)

    there = asyncio.run(found())
    assert len(acknowledged) >= 2 * (1 + 40 + 333)
    assert acknowledged.items() <= there.items()
    halves = [{key[:-1] for key in there if key.endswith(half)} for half in "ab"]
    assert halves[0] == halves[1]


def test_commits_that_wait_share_a_flush_and_are_decided_in_order(tmp_path: Path) -> None:
    async def story() -> tuple[list[object], int]:
        async with opened(lambda: SqliteStore(tmp_path / "db")) as store:
            claims = (store.commit([Is("k", 0)], [Put("k", bytes([who]))]) for who in range(100))
            outcomes = await asyncio.gather(*claims, return_exceptions=True)
            assert isinstance(store, SqliteStore)
            return outcomes, store.groups

    outcomes, groups = asyncio.run(story())
    assert outcomes[0] == 2
    assert all(isinstance(outcome, Conflict) for outcome in outcomes[1:])
    assert groups == 1


def test_a_full_disk_refuses_in_words_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(lambda: SqliteStore(tmp_path / "db")) as store:
            assert isinstance(store, SqliteStore)
            at = await store.commit([], [Put("kept", b"1")])
            store._db.execute("PRAGMA max_page_count = 20")
            for change in ([Put("big", bytes(500_000))], [Put("kept", b"2"), Put("big", bytes(500_000))]):
                with pytest.raises(Unavailable, match=r"full.*room on the disk"):
                    await store.commit([], change)
            assert await store.revision() == at
            store._db.execute("PRAGMA max_page_count = 100000")
            assert await store.commit([Is("kept", at), Is("big", 0)], [Put("big", bytes(500_000))]) == at + 1

    asyncio.run(story())


def test_every_commit_is_flushed(tmp_path: Path) -> None:
    async def story() -> tuple[object, object]:
        async with opened(lambda: SqliteStore(tmp_path / "db")) as store:
            assert isinstance(store, SqliteStore)
            ask = store._db.execute
            return ask("PRAGMA synchronous").fetchone()[0], ask("PRAGMA journal_mode").fetchone()[0]

    assert asyncio.run(story()) == (2, "wal")


def test_a_second_process_is_told_that_there_is_a_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(lambda: SqliteStore(tmp_path / "db")):
            with pytest.raises(Unavailable, match="in use by another process"):
                SqliteStore(tmp_path / "db")
        await SqliteStore(tmp_path / "db").close()

    asyncio.run(story())


def test_another_layout_and_no_database_are_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "later") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    (tmp_path / "text").write_text("no database" * 100)

    async def story() -> None:
        with pytest.raises(Unavailable, match="has layout 9, this program writes 1"):
            SqliteStore(tmp_path / "later")
        with pytest.raises(Unavailable, match="not a database"):
            SqliteStore(tmp_path / "text")

    asyncio.run(story())

"""The store of one machine: a file, which one thread reads and writes.

Whoever asks gets a future. The thread takes all that waits: it answers the questions, then decides the commits in
their order and makes what they write one transaction, which costs one flush to the disk. What is asked while a commit
is under way may be answered as of before it.

There is one table. A row is what a commit did to a key, and the newest row of a key is what the key is; a value that
is NULL says that it was deleted. Pages as of a revision and watches read the same rows, until `compact` removes those
that only an older revision needs.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from wayleave.nexus.store.port import (
    FIRST,
    PAGE,
    Change,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Is,
    Page,
    Put,
    Unavailable,
    check,
    check_key,
    check_keys,
    check_page,
    interval,
)

SCHEMA = 1
CHANGES = 1000
"""What a watch reads at once, at least one commit."""
STEP = 1000
"""Revisions that are forgotten in one transaction: commits wait for no more than that."""
GROUP = 1000
"""Commits that are decided in one transaction."""
_ROWS = 5000  # of three columns: SQLite takes 32,766 parameters

_TABLES = f"""
CREATE TABLE history (key BLOB NOT NULL, revision INTEGER NOT NULL, value BLOB, PRIMARY KEY (key, revision));
CREATE INDEX history_revision ON history (revision);
CREATE TABLE compacted (revision INTEGER NOT NULL);
INSERT INTO compacted VALUES ({FIRST});
PRAGMA user_version = {SCHEMA};
"""
_GET = "SELECT value, revision FROM history WHERE key = ? ORDER BY revision DESC LIMIT 1"
_PAGE = """
SELECT key, value, revision FROM history AS row
WHERE key >= :begin AND key < :end AND revision <= :at AND value IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM history WHERE key = row.key AND revision > row.revision AND revision <= :at
) ORDER BY key LIMIT :limit
"""
# A plus keeps SQLite from reading all the history of the keys: few changes are new.
_CHANGES = """
SELECT revision, key, value FROM history WHERE revision > :after AND +key >= :begin AND +key < :end
ORDER BY revision LIMIT :limit
"""
_LAST = """
WITH asked (key) AS (VALUES {places})
SELECT key, (SELECT iif(value IS NULL, 0, revision) FROM history WHERE key = asked.key ORDER BY revision DESC LIMIT 1)
FROM asked
"""
# What was forgotten up to `since` is gone: only what was written behind it makes others superfluous.
_FORGET = (
    """
DELETE FROM history WHERE rowid IN (
    SELECT older.rowid FROM history AS newer JOIN history AS older
    ON older.key = newer.key AND older.revision < newer.revision
    WHERE newer.revision > :since AND newer.revision <= :before
)""",
    "DELETE FROM history WHERE revision >= :since AND revision < :before AND value IS NULL",
    "UPDATE compacted SET revision = :before",
)

T = TypeVar("T")
_Row = tuple[bytes, int, bytes | None]


class _Commit(Struct, frozen=True):
    """A commit that waits for the thread."""

    expects: Sequence[Is]
    changes: Sequence[Put | Delete]
    done: asyncio.Future[int]


class _Question(Struct, frozen=True):
    """What the thread calls with the database, and whoever waits for what that returns."""

    ask: Callable[[sqlite3.Connection], object]
    done: asyncio.Future[object]


_Outcome = tuple[asyncio.Future[int] | asyncio.Future[object], object]


class SqliteStore:
    """Implements port.Store. It belongs to the event loop that it was made in."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises: Unavailable."""
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._jobs: queue.SimpleQueue[_Commit | _Question | None] = queue.SimpleQueue()
        self._grown = asyncio.Event()
        self._closed = False
        self.groups = 0
        """Transactions that commits were written in."""
        try:
            with ExitStack() as held:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # the files beside it are made like it
                held.callback(os.close, _only_one(path))
                self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
                held.callback(self._db.close)
                self._prepare()
                self._held = held.pop_all()
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable(error) from error
        self._thread = threading.Thread(target=self._run, name="nexus-store", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (schema,) = self._db.execute("PRAGMA user_version").fetchone()
        if schema == 0:
            self._db.executescript(f"BEGIN; {_TABLES} COMMIT")
        elif schema != SCHEMA:
            raise Unavailable(f"{self._path} has layout {schema}, this program writes {SCHEMA}: use a matching version")
        (self._revision,) = self._db.execute(f"SELECT coalesce(max(revision), {FIRST}) FROM history").fetchone()
        self._compacted: int = self._db.execute("SELECT revision FROM compacted").fetchone()[0]

    # ---- The port -----------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """See port.Store."""
        check_key(key)
        return await self._ask(lambda db: _entry(db, key))

    async def read(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        """See port.Store. Whoever writes is the thread that reads."""
        check_keys(keys)
        return await self._ask(lambda db: {key: _entry(db, key) for key in keys})

    async def page(self, prefix: str, after: str = "", limit: int = PAGE, at: int = 0) -> Page:
        """See port.Store."""
        check_page(limit, at)
        begin, end = interval(prefix, after)

        def ask(db: sqlite3.Connection) -> Page:
            revision = at or self._revision
            self._had(revision)
            which = {"begin": begin, "end": end, "at": revision, "limit": limit + 1}
            found = [Entry(key.decode(), value, written) for key, value, written in db.execute(_PAGE, which).fetchall()]
            return Page(found[:limit], revision, len(found) > limit)

        return await self._ask(ask)

    async def commit(self, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        """See port.Store."""
        check(expects, changes)
        done: asyncio.Future[int] = self._loop.create_future()
        self._submit(_Commit(expects, changes, done))
        return await done

    async def watch(self, prefix: str, after: int) -> AsyncIterator[list[Change]]:
        """See port.Store."""
        begin, end = interval(prefix)
        seen = max(after, FIRST)

        def ask(db: sqlite3.Connection) -> tuple[list[Change], int]:
            if seen < self._compacted:
                raise Compacted(self._compacted)
            which = {"after": seen, "begin": begin, "end": end, "limit": CHANGES + 1}
            rows = db.execute(_CHANGES, which).fetchall()
            told = max(seen, self._revision)
            if len(rows) > CHANGES:  # of the last commit there may be more
                told = rows[-1][0] - 1
            return [Change(at, key.decode(), value) for at, key, value in rows if at <= told], told

        while True:
            grown = self._grown
            changes, seen = await self._ask(ask)
            if changes:
                yield changes
            else:
                await grown.wait()

    async def revision(self) -> int:
        """See port.Store."""
        return await self._ask(lambda _: self._revision)

    async def compact(self, before: int) -> None:
        """See port.Store."""

        def ask(db: sqlite3.Connection) -> bool:
            if before > self._revision:
                raise ValueError(f"revision {before} is still to come: the last is {self._revision}")
            since, until = self._compacted, min(before, self._compacted + STEP)
            if until > since:
                with _transaction(db):
                    for statement in _FORGET:
                        db.execute(statement, {"since": since, "before": until})
                self._compacted = until
            return max(since, until) >= before

        while not await self._ask(ask):
            pass

    async def close(self) -> None:
        """See port.Store. What was handed over before is written."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._grown.set()
            self._held.close()

    # ---- Toward the thread --------------------------------------------------------------

    async def _ask(self, ask: Callable[[sqlite3.Connection], T]) -> T:
        done: asyncio.Future[T] = self._loop.create_future()
        self._submit(_Question(ask, done))  # type: ignore[arg-type]
        return await done

    def _submit(self, job: _Commit | _Question) -> None:
        if self._closed:
            raise Unavailable(f"{self._path} was closed")
        self._jobs.put(job)

    def _deliver(self, outcomes: Iterable[_Outcome], grown: bool) -> None:
        for done, outcome in outcomes:
            if done.done():  # nobody waits any longer
                continue
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)  # type: ignore[arg-type]
        if grown:
            self._grown.set()
            self._grown = asyncio.Event()

    # ---- On the thread ------------------------------------------------------------------

    def _run(self) -> None:
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            while len(jobs) < GROUP and not self._jobs.empty():
                jobs.append(self._jobs.get())
            ended = None in jobs
            before = self._revision
            outcomes: list[_Outcome] = [self._answer(job) for job in jobs if isinstance(job, _Question)]
            outcomes += self._write([job for job in jobs if isinstance(job, _Commit)])
            with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
                self._loop.call_soon_threadsafe(self._deliver, outcomes, self._revision > before)

    def _answer(self, question: _Question) -> _Outcome:
        try:
            return question.done, question.ask(self._db)
        except Exception as error:
            return question.done, self._told(error)

    def _write(self, commits: Sequence[_Commit]) -> list[_Outcome]:
        if not commits:
            return []
        try:
            with _transaction(self._db):
                rows, outcomes, revision = _decide(commits, _last(self._db, commits), self._revision)
                for part in _parts(rows, _ROWS):
                    places = ",".join(["(?,?,?)"] * len(part))
                    self._db.execute(f"INSERT INTO history VALUES {places}", [column for row in part for column in row])
        except Exception as error:
            return [(commit.done, self._told(error)) for commit in commits]
        self._revision = revision
        self.groups += bool(rows)
        return list(zip((commit.done for commit in commits), outcomes, strict=True))

    def _had(self, at: int) -> None:
        if at > self._revision:
            raise ValueError(f"revision {at} is still to come: the last is {self._revision}")
        if at < self._compacted:
            raise Compacted(self._compacted)

    def _told(self, error: Exception) -> Exception:
        return self._unavailable(error) if isinstance(error, sqlite3.Error) else error

    def _unavailable(self, error: Exception) -> Unavailable:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return Unavailable(f"{self._path}: {why}: can it be written, is there room on the disk, and is that well?")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it is on the disk when the block ends; nothing of it, if the block or its commit raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _entry(db: sqlite3.Connection, key: str) -> Entry | None:
    value, revision = db.execute(_GET, (key.encode(),)).fetchone() or (None, 0)
    return None if value is None else Entry(key, value, revision)


def _last(db: sqlite3.Connection, commits: Iterable[_Commit]) -> dict[bytes, int]:
    """Return at which revision the keys of some commits were last written, 0 for those that are not there."""
    keys = list({item.key.encode() for commit in commits for item in (*commit.expects, *commit.changes)})
    last: dict[bytes, int] = {}
    for part in _parts(keys, _ROWS):
        found = db.execute(_LAST.format(places=",".join(["(?)"] * len(part))), part)
        last.update((key, revision or 0) for key, revision in found.fetchall())
    return last


def _decide(
    commits: Iterable[_Commit], before: Mapping[bytes, int], revision: int
) -> tuple[list[_Row], list[int | Conflict], int]:
    """Return what commits write, one behind the other, what becomes of each, and the revision after them."""
    last = dict(before)
    rows: list[_Row] = []
    outcomes: list[int | Conflict] = []
    for commit in commits:
        differ = [expected.key for expected in commit.expects if last[expected.key.encode()] != expected.revision]
        if differ:
            outcomes.append(Conflict(differ))
            continue
        written: list[_Row] = []
        for change in commit.changes:
            key = change.key.encode()
            if isinstance(change, Put):
                written.append((key, revision + 1, change.value))
            elif last[key]:
                written.append((key, revision + 1, None))
        if written:
            revision += 1
            last.update((key, 0 if value is None else revision) for key, _, value in written)
            rows += written
        outcomes.append(revision)
    return rows, outcomes, revision


def _parts(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))


def _only_one(path: Path) -> int:
    """Lock a store for this process; the lock ends with it, however it ends. Raises: Unavailable, OSError."""
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise Unavailable(f"{path} is in use by another process: does `nexus` run already?") from None
    return lock

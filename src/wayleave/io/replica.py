"""What Nexus has told this gateway of its subscribers, on the disk: it is known before Nexus answers, and without it.

A revision and what was told up to it are written in one transaction, so a kill leaves a view as it was at some moment,
whole. Values are kept as they came. One that makes no sense here (`aaa.local.Subscriber`) stays on the disk and counts
as nothing, also in place of an earlier one that did make sense: what that said is not so any more.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from wayleave.aaa.local import Subscriber
from wayleave.net.printable import printable
from wayleave.proto.nexus.answers import Change
from wayleave.session.settings import contradictions
from wayleave.session.wording import what

LAYOUT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS entry (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (revision INTEGER NOT NULL);
"""
_SAID_MOST = 200
T = TypeVar("T")


class ReplicaError(Exception):
    """The view on the disk cannot be read or written; the text says why, and what to do."""


class Read(Struct, frozen=True):
    """Entries as this gateway understands them: who they are, and why not."""

    known: dict[str, Subscriber]
    refused: dict[str, str]

    @classmethod
    def of(cls, values: Mapping[str, bytes]) -> Read:
        """Understand what can be understood."""
        read = cls({}, {})
        for name, value in values.items():
            try:
                read.known[name] = understood(name, value)
            except ValueError as error:
                read.refused[name] = str(error)
        return read


class Replica:
    """The view in a file. It is written on a thread of its own; all else is the loop's."""

    def __init__(self, folder: Path) -> None:
        """Read what there is. Raises: ReplicaError."""
        self._path = folder / "view.sqlite"
        self._thread = ThreadPoolExecutor(1, "view")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            (layout,) = self._db.execute("PRAGMA user_version").fetchone()
            if layout not in (0, LAYOUT):
                raise ReplicaError(f"{self._path} has layout {layout}, this program writes {LAYOUT}: {_CURE}")
            self._db.executescript(f"{_TABLES} PRAGMA user_version = {LAYOUT};")
            row = self._db.execute("SELECT revision FROM told").fetchone()
            read = Read.of(self._values())
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        self.revision: int | None = None if row is None else row[0]
        """Up to which all is known; None: nothing is."""
        self.known = read.known
        """The subscribers, by name."""
        self.refused = read.refused
        """Names whose values make no sense here, and why."""

    async def replace(self, revision: int, entries: Mapping[str, bytes]) -> dict[str, Subscriber | None]:
        """Have a whole view instead, and return what is different. Raises: ReplicaError, and all is as it was."""
        return await self._write(revision, lambda: self._differences(entries))

    async def apply(self, revision: int, changes: Sequence[Change]) -> dict[str, Subscriber | None]:
        """Have changes written, and return whom they are about, as of now; None: nobody any more.

        They are durable then. Raises: ReplicaError, and all is as it was.
        """
        return await self._write(revision, lambda: dict(changes))

    def close(self) -> None:
        """Write what is under way, and let go."""
        self._thread.shutdown()
        self._db.close()

    async def _write(
        self, revision: int, changes: Callable[[], Mapping[str, bytes | None]]
    ) -> dict[str, Subscriber | None]:
        """`changes` is called within the transaction."""

        def write() -> tuple[Mapping[str, bytes | None], Read]:
            try:
                with self._db:  # which commits, or takes back
                    self._db.execute("BEGIN IMMEDIATE")
                    changed = changes()
                    self._put(revision, changed)
            except sqlite3.Error as error:
                raise self._failed(error) from error
            return changed, Read.of({name: value for name, value in changed.items() if value is not None})

        changed, read = await asyncio.get_running_loop().run_in_executor(self._thread, write)
        self.revision = revision
        for name in changed:
            self.known.pop(name, None)
            self.refused.pop(name, None)
        self.known |= read.known
        self.refused |= read.refused
        return {name: read.known.get(name) for name in changed}

    def _put(self, revision: int, changes: Mapping[str, bytes | None]) -> None:
        gone = [(name,) for name, value in changes.items() if value is None]
        new = [(name, value) for name, value in changes.items() if value is not None]
        self._db.executemany("DELETE FROM entry WHERE name = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", new)
        self._db.execute("DELETE FROM told")
        self._db.execute("INSERT INTO told VALUES (?)", (revision,))

    def _differences(self, entries: Mapping[str, bytes]) -> dict[str, bytes | None]:
        before = self._values()
        gone: dict[str, bytes | None] = dict.fromkeys(before.keys() - entries.keys())
        return gone | {name: value for name, value in entries.items() if before.get(name) != value}

    def _values(self) -> dict[str, bytes]:
        return dict(self._db.execute("SELECT name, value FROM entry").fetchall())

    def _failed(self, error: Exception) -> ReplicaError:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            return ReplicaError(f"{self._path}: {error}: {_CURE}")
        return ReplicaError(f"{self._path}: {error}: is the folder writable, and is there room on the disk?")


_CURE = "delete it, Nexus tells it all again"


def understood(name: str, value: bytes) -> Subscriber:
    """Read a value of Nexus's. Raises: ValueError with why it cannot be."""
    try:
        entry = Subscriber.model_validate(msgspec.json.decode(value))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the value"
        raise ValueError(printable(f"{where}: {what(Subscriber, first)}")[:_SAID_MOST]) from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ValueError(printable(str(error))[:_SAID_MOST]) from None
    if entry.name != name:
        raise ValueError(f"name: says {printable(entry.name)[:_SAID_MOST]}")
    for where, why in contradictions("", entry):
        raise ValueError(f"{where}: {why}".lstrip(".: "))
    return entry

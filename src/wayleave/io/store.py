"""What must not be lost: leases with their promises, in SQLite, written by one thread in groups.

The engine submits writes and goes on; the thread takes everything that waits, makes it one transaction, and gives back
one completion for the group. What can be written is `writes`' to know, what a row means after a reboot `lease`'s.
"""

from __future__ import annotations

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from wayleave.aaa.outbox import Account
from wayleave.io.clock import Clock
from wayleave.io.lease import Restored, Row, grant_of, restored
from wayleave.io.writes import (
    CLOCK_STEP,
    TABLES,
    Acknowledged,
    Assigned,
    Booted,
    Collected,
    Learn,
    Reclock,
    Recount,
    Rename,
    Report,
    Told,
    Write,
    client_of,
    last_written,
    put,
    read_accounts,
    read_standing,
    read_untold,
)
from wayleave.net.units import UtcNs
from wayleave.proto.nexus.holder import Standing
from wayleave.session.model import NOTHING_USED, Client, Service, Session, Used

SCHEMA = 1


class StoreError(Exception):
    """The store cannot be opened or read; the text says why and what to do."""


Completion = Callable[[Sequence[Write], str | None], None]
"""Called on the store's thread with a group and None, or why it could not be written."""


class Store(Collected):
    """Implements session.ports.Records. It writes from `start` on; `close` writes what waits, if it was started."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        durability: str,
        completed: Completion,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`entropy(n)`: n octets that nobody can foresee. Raises: StoreError."""
        super().__init__()
        self._entropy = entropy
        self._clock = clock
        self._completed = completed
        self._waiting: queue.SimpleQueue[Sequence[Write] | None] = queue.SimpleQueue()
        self._offset: int | None = None
        self.groups = 0
        self.first_of_boot = False
        """What follows from the machine's start is not on the disk: see `booted`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = only_one(folder)
            self._path = folder / "leases.sqlite"
            self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={durability}")
            self._db.executescript(TABLES)
            self._check_schema()
            self.epoch = self._next_epoch()
            self.last_written = last_written(self._db)
            """When an earlier process wrote last; None: there was none."""
            self._seq: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM accounting").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise StoreError(f"{folder}: {why}: is the folder writable, and is there room on the disk?") from error
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Write from now on: what was handed over before, too."""
        self._thread.start()

    def _check_schema(self) -> None:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if row is None:
            self._db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        elif row[0] != str(SCHEMA):
            raise StoreError(
                f"the lease store has layout {row[0]}, this program writes {SCHEMA}: use a matching version"
            )

    def _next_epoch(self) -> int:
        """Count the processes that opened this store: each has a number of its own, of 32 bits.

        The first has any: whoever lost the folder does not begin with the numbers of before again.
        """
        row = self._db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        epoch = int(row[0]) + 1 if row is not None else int.from_bytes(self._entropy(4)) >> 1
        before = self._db.execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()
        self.first_of_boot = before is None or before[0] != self._clock.boot_id
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('epoch', ?)", (str(epoch),))
        return epoch

    def load(self) -> Iterable[Restored]:
        """Return every lease, with its promise on this boot's clock.

        To be called before the first `flush`.
        """
        (latest,) = self._db.execute("SELECT max(written_utc) FROM lease").fetchone()
        if latest is not None:
            self._clock.not_before(UtcNs(latest))
        used = {id_: Used(*msgspec.json.decode(body)) for id_, body in self._db.execute("SELECT id, body FROM used")}
        rows = self._db.execute(f"SELECT {', '.join(Row._fields)} FROM lease")
        for columns in rows.fetchall():
            row = Row(*columns)
            found = restored(row, self._clock, self.last_written)
            yield msgspec.structs.replace(found, used=used.get(row.id, NOTHING_USED))

    def standing(self) -> Standing | None:
        """Return what the gateway holds of Nexus' blocks, by this boot's clock; None: it never held any.

        To be called before the first `flush`.
        """
        return read_standing(self._db, self._clock.boot_id)

    def report(self, account: Account, id_: int | None = None, used: Used = NOTHING_USED) -> None:
        """Have a record of accounting written with the next `flush`, and what the session with this id had used."""
        self._collected.append(Report(account, id_, used))

    def rename(self, session: Session, account: Account | None) -> None:
        """Have a session known by another name with the next `flush`; its lease stays as it is recorded."""
        self._collected.append(Rename(session.id, session.accounting, session.opened_at, account))

    def untold(self, limit: int) -> list[Assigned]:
        """Read up to `limit` addresses of which Nexus does not know yet. May be called on any thread.

        Raises: StoreError.
        """
        try:
            with closing(self._reader()) as db:
                return read_untold(db, limit)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}: is the disk well?") from error

    def told(self, assigned: Sequence[Assigned]) -> None:
        """Have it written with the next `flush` that Nexus knows of these."""
        self._collected.append(Told(assigned))

    def booted(self) -> None:
        """With the next `flush`, all that follows from the machine's start is written."""
        self._collected.append(Booted())

    def recount(self, session: Session) -> None:
        """Have what is taken off a session's counters written with the next `flush`; its lease stays as it is."""
        self._collected.append(Recount(session.id, session.counted_before))

    def learn(self, known: Mapping[Client, Service | None]) -> None:
        """Have what authorization last granted to clients written with the next `flush`."""
        self._collected.append(Learn(known))

    def known(self) -> list[tuple[Client, UtcNs | None, Service]]:
        """Return what was last granted to clients, and when, the eldest first."""
        rows = self._db.execute("SELECT client, at_utc, body FROM known ORDER BY at_utc").fetchall()
        return [(client_of(client), None if at is None else UtcNs(at), grant_of(body)) for client, at, body in rows]

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """Have records of accounting forgotten with the next `flush`."""
        self._collected.append(Acknowledged(tuple(seqs)))

    def again(self, writes: Iterable[Write]) -> None:
        """Have writes that failed tried again with the next `flush`."""
        self._collected += writes

    def next_seq(self) -> int:
        """Number another record of accounting."""
        self._seq += 1
        return self._seq

    @property
    def last_seq(self) -> int:
        """The number of the last record of accounting that was made."""
        return self._seq

    def accounts(self, authority: str, after: int, limit: int) -> list[Account]:
        """Read records of accounting with numbers over `after`, in order. May be called on any thread.

        Raises: StoreError.
        """
        try:
            with closing(self._reader()) as db:
                return read_accounts(db, authority, after, limit, self._clock.boot_id)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}: is the disk well?") from error

    def waiting(self) -> dict[str, int]:
        """How many records of accounting each authority has on the disk. To be called before the first `flush`."""
        return dict(self._db.execute("SELECT authority, count(*) FROM accounting GROUP BY authority").fetchall())

    def _reader(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)

    def follow_clock(self) -> None:
        """Have every promise of this boot translated anew if the wall clock was set; to be called every second.

        A promise that was recorded while the clock was behind would else end too early after a reboot, and its address
        go to somebody else while the client still holds it.
        """
        offset = self._clock.utc() - self._clock.boot()
        if not self._clock.plausible or (self._offset is not None and abs(offset - self._offset) < CLOCK_STEP):
            return
        self._offset = offset
        self._collected.append(Reclock(offset))
        self.flush()

    def flush(self) -> None:
        """Hand over what was collected; the completion tells when it is on disk."""
        if self._collected:
            self._waiting.put(self._collected)
            self._collected = []

    def close(self) -> None:
        """Write what waits, then close. A store that was not started stays as it was."""
        if self._thread.is_alive():
            self.flush()
            self._waiting.put(None)
            self._thread.join()
        self._db.close()
        os.close(self._lock)

    def _run(self) -> None:
        ended = False
        while not ended:
            group: list[Write] = []
            item = self._waiting.get()
            while True:
                if item is None:
                    ended = True
                    break
                group.extend(item)
                if self._waiting.empty():
                    break
                item = self._waiting.get()
            if group:
                self._completed(group, self._write(group))

    def _write(self, group: Sequence[Write]) -> str | None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            put(self._db, group, self._clock.moment())
            self._db.execute("COMMIT")
        except Exception as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return str(error)
        self.groups += 1
        return None


def only_one(folder: Path) -> int:
    """Lock the folder for this process; the lock ends with it, however it ends. Raises: StoreError."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreError(f"{folder} is in use by another gateway: is `bng run` running already?") from None
    return lock

"""What must not be lost: leases with their promises, in SQLite, written by one thread in groups.

The engine submits writes and goes on; the thread takes everything that waits, makes it one transaction, and gives back
one completion for the group. What a row says of a lease, and what it means after a reboot, is `lease`'s to know.
"""

from __future__ import annotations

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from wayleave.aaa.outbox import Account
from wayleave.io.clock import Clock
from wayleave.io.lease import Restored, grant_of, grant_text, restored, row, session_of
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.session.model import NOTHING_USED, Service, Session, Used
from wayleave.session.table import Key

SCHEMA = 1
CLOCK_STEP = SECOND
"""What the wall clock must differ by to have been set, rather than to drift."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    address INTEGER NOT NULL,
    promise_utc INTEGER,
    boot_id TEXT NOT NULL,
    promise_boot INTEGER NOT NULL,
    written_utc INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (tenant, address)
);
CREATE TABLE IF NOT EXISTS accounting (
    seq INTEGER PRIMARY KEY,
    authority TEXT NOT NULL,
    session TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    at_boot INTEGER NOT NULL,
    at_utc INTEGER,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS known (
    client TEXT PRIMARY KEY,
    at_utc INTEGER,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS used (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""


# One statement a group: sqlite3 lets go of the interpreter's lock at every step, and a busy loop takes 5 ms to give it
# back. A body travels as a text of its own: as a part of the whole it would be parsed twice and written once more, and
# a lease cost twice as much. What is the same for all is not repeated.
_SAVE = """
INSERT INTO lease
SELECT value ->> 0, value ->> 1, value ->> 2, (value ->> 3) + :offset, :boot_id, value ->> 3, :utc, value ->> 4
FROM json_each(:rows) WHERE true
ON CONFLICT (id) DO UPDATE SET
    tenant = excluded.tenant, address = excluded.address, promise_utc = excluded.promise_utc,
    boot_id = excluded.boot_id, promise_boot = excluded.promise_boot, written_utc = excluded.written_utc,
    body = excluded.body
"""
_RECLOCK = """
UPDATE lease SET promise_utc = promise_boot + ?, written_utc = ?
WHERE boot_id = ? AND (promise_utc IS NULL OR abs(promise_utc - promise_boot - ?) > ?)
"""
_ERASE = "DELETE FROM lease WHERE id IN (SELECT value FROM json_each(?))"


_ERASE_USED = "DELETE FROM used WHERE id IN (SELECT value FROM json_each(?))"
_REPORT = """
INSERT INTO accounting
SELECT value ->> 0, value ->> 1, value ->> 2, ?, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)
"""
_RENAME = """
UPDATE lease SET body = json_set(body, '$.accounting', ?, '$.opened', ?, '$.counted', json('[0,0,0,0]')) WHERE id = ?
"""
_USE = "INSERT OR REPLACE INTO used SELECT value ->> 0, value ->> 1 FROM json_each(?)"
_ACKNOWLEDGED = "DELETE FROM accounting WHERE seq IN (SELECT value FROM json_each(?))"
_DATE = "UPDATE accounting SET at_utc = at_boot + ? WHERE boot_id = ? AND at_utc IS NULL"
_ACCOUNTS = """
SELECT seq, authority, session, boot_id, at_boot, at_utc, body FROM accounting
WHERE authority = ? AND seq > ? ORDER BY seq LIMIT ?
"""


class StoreError(Exception):
    """The store cannot be opened; the text says why and what to do."""


class Save(msgspec.Struct, frozen=True, gc=False):
    """Write this session's lease with this promise. `awaited`: somebody wants to hear that it is done."""

    session: Session
    promise_until: BootNs
    awaited: bool = True
    account: Account | None = None


class Erase(msgspec.Struct, frozen=True):
    """The session with this id has ended."""

    id: int
    account: Account | None = None


class Report(msgspec.Struct, frozen=True):
    """A record of accounting; `id` and `used`: of the session that it is about, if it still is there."""

    account: Account
    id: int | None = None
    used: Used = NOTHING_USED


class Rename(msgspec.Struct, frozen=True):
    """The session with this id is another one to accounting, since `opened_at`."""

    id: int
    name: str
    opened_at: BootNs
    account: Account | None = None


class Learn(msgspec.Struct, frozen=True):
    """What authorization last granted to clients; None: nothing is believed of one any more."""

    known: Mapping[Key, Service | None]


class Acknowledged(msgspec.Struct, frozen=True):
    """These records of accounting are a server's by now."""

    seqs: tuple[int, ...]


class Reclock(msgspec.Struct, frozen=True):
    """The wall clock was set: UTC is now `offset` ns ahead of the boot clock. What this boot promised says so too."""

    offset: int


Write = Save | Erase | Reclock | Report | Rename | Learn | Acknowledged
Completion = Callable[[Sequence[Write], str | None], None]
"""Called on the store's thread with a group and None, or why it could not be written."""


class Store:
    """Implements session.ports.Records. It writes from `start` on; `close` writes what waits, if it was started."""

    def __init__(self, folder: Path, clock: Clock, durability: str, completed: Completion) -> None:
        self._clock = clock
        self._completed = completed
        self._waiting: queue.SimpleQueue[Sequence[Write] | None] = queue.SimpleQueue()
        self._collected: list[Write] = []
        self._offset: int | None = None
        self.groups = 0
        self.first_of_boot = False
        """No process on this store has run since the machine started."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = only_one(folder)
            self._path = folder / "leases.sqlite"
            self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={durability}")
            self._db.executescript(_TABLES)
            self._check_schema()
            self.epoch = self._next_epoch()
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
        """Count the processes that opened this store: each has a number of its own."""
        row = self._db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        epoch = int(row[0]) + 1 if row is not None else 1
        before = self._db.execute("SELECT value FROM meta WHERE key = 'boot'").fetchone()
        self.first_of_boot = before is None or before[0] != self._clock.boot_id
        self._db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("epoch", str(epoch)), ("boot", self._clock.boot_id)]
        )
        return epoch

    def load(self) -> Iterable[Restored]:
        """Return every lease, with its promise on this boot's clock.

        To be called before the first `flush`.
        """
        (latest,) = self._db.execute("SELECT max(written_utc) FROM lease").fetchone()
        if latest is not None:
            self._clock.not_before(UtcNs(latest))
        used = {id_: Used(*msgspec.json.decode(body)) for id_, body in self._db.execute("SELECT id, body FROM used")}
        rows = self._db.execute("SELECT id, tenant, address, promise_utc, boot_id, promise_boot, body FROM lease")
        for id_, tenant, address, promise_utc, boot_id, promise_boot, body in rows.fetchall():
            session = session_of(id_, tenant, address, body, self._clock.boot())
            found = restored(session, self._clock, boot_id, BootNs(promise_boot), promise_utc)
            yield msgspec.structs.replace(found, used=used.get(id_, NOTHING_USED))

    def save(self, session: Session, promise_until: BootNs, account: object = None) -> None:
        """Have a lease written with the next `flush`, and with it what is accounted of that."""
        assert account is None or isinstance(account, Account)
        self._collected.append(Save(session, promise_until, account=account))

    def keep(self, session: Session) -> None:
        """Have what a recorded session is like by now written with the next `flush`; its promise stays."""
        assert session.lease is not None
        until = BootNs(max(session.lease.promise_until, session.promising))
        self._collected.append(Save(session, until, awaited=False))

    def erase(self, id_: int, account: object = None) -> None:
        """Have a session's lease removed with the next `flush`, and with it what is accounted of that."""
        assert account is None or isinstance(account, Account)
        self._collected.append(Erase(id_, account))

    def report(self, account: Account, id_: int | None = None, used: Used = NOTHING_USED) -> None:
        """Have a record of accounting written with the next `flush`, and what the session with this id had used."""
        self._collected.append(Report(account, id_, used))

    def rename(self, session: Session, account: Account | None) -> None:
        """Have a session known by another name with the next `flush`; its lease stays as it is recorded."""
        self._collected.append(Rename(session.id, session.accounting, session.opened_at, account))

    def learn(self, known: Mapping[Key, Service | None]) -> None:
        """Have what authorization last granted to clients written with the next `flush`."""
        self._collected.append(Learn(known))

    def known(self) -> list[tuple[Key, UtcNs | None, Service]]:
        """Return what was last granted to clients, and when, the eldest first."""
        rows = self._db.execute("SELECT client, at_utc, body FROM known ORDER BY at_utc").fetchall()
        return [(_key(client), None if at is None else UtcNs(at), grant_of(body)) for client, at, body in rows]

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
        """Read records of accounting with numbers over `after`, in order. May be called on any thread."""
        with closing(self._reader()) as db:
            rows = db.execute(_ACCOUNTS, (authority, after, limit)).fetchall()
        return [_account(row, self._clock.boot_id) for row in rows]

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
        utc = self._clock.utc() if self._clock.plausible else None
        boot, boot_id = self._clock.boot(), self._clock.boot_id
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for kind, writes in groupby(group, key=type):
                self._write_some(kind, list(writes), boot, utc)
            accounts = [account for write in group if (account := getattr(write, "account", None)) is not None]
            if accounts:
                self._db.execute(_REPORT, (boot_id, _json([_account_row(account) for account in accounts])))
            self._db.execute("COMMIT")
        except Exception as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return str(error)
        self.groups += 1
        return None

    def _write_some(self, kind: type[Write], writes: Sequence[Any], boot: BootNs, utc: UtcNs | None) -> None:
        """Write what is of one kind."""
        boot_id = self._clock.boot_id
        if kind is Save:
            rows = _json([row(write.session, write.promise_until, boot) for write in writes])
            offset = None if utc is None else utc - boot
            self._db.execute(_SAVE, {"rows": rows, "offset": offset, "boot_id": boot_id, "utc": utc or 0})
        elif kind is Erase:
            gone = _json([write.id for write in writes])
            self._db.execute(_ERASE, (gone,))
            self._db.execute(_ERASE_USED, (gone,))
        elif kind is Report:
            used = [(write.id, msgspec.structs.astuple(write.used)) for write in writes if write.id is not None]
            self._db.execute(_USE, (_json(used),))
        elif kind is Rename:
            self._db.executemany(_RENAME, [(write.name, write.opened_at, write.id) for write in writes])
        elif kind is Learn:
            learned = [item for write in writes for item in write.known.items()]
            granted = [(_client(key), utc, grant_text(service)) for key, service in learned if service is not None]
            self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", granted)
            doubted = [(_client(key),) for key, service in learned if service is None]
            self._db.executemany("DELETE FROM known WHERE client = ?", doubted)
        elif kind is Acknowledged:
            self._db.execute(_ACKNOWLEDGED, (_json([seq for write in writes for seq in write.seqs]),))
        else:
            for write in writes:
                at = (write.offset, boot + write.offset, boot_id, write.offset, CLOCK_STEP)
                self._db.execute(_RECLOCK, at)
                self._db.execute(_DATE, (write.offset, boot_id))


def only_one(folder: Path) -> int:
    """Lock the folder for this process; the lock ends with it, however it ends. Raises: StoreError."""
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreError(f"{folder} is in use by another gateway: is `bng run` running already?") from None
    return lock


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()


def _client(key: Key) -> str:
    """A client as a column has it."""
    port, svid, cvid, mac, pppoe = key
    return f"{port}/{svid}/{cvid}/{mac}/{pppoe}"


def _key(client: str) -> Key:
    port, svid, cvid, mac, pppoe = client.split("/")
    return int(port), int(svid), int(cvid), Mac.parse(mac), int(pppoe)


def _account_row(account: Account) -> tuple[int, str, str, int, int | None, str]:
    """What of a record's row is its own: number, authority, session, moment on the boot clock, UTC, attributes."""
    body = _json([(kind, octets.hex()) for kind, octets in account.body])
    return account.seq, account.group, account.session, account.at, account.utc, body


def _account(row: tuple[int, str, str, str, int, int | None, str], boot_id: str) -> Account:
    seq, group, session, of_boot, at, utc, body = row
    avps = tuple((kind, bytes.fromhex(octets)) for kind, octets in msgspec.json.decode(body))
    moment = BootNs(at if of_boot == boot_id else 0)
    return Account(seq, group, session, avps, moment, None if utc is None else UtcNs(utc))

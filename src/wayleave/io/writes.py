"""What can be written to the store: each kind is a row of its table, the statement, and what the engine hands over.

A kind of write is added here, and nowhere else: `put` writes many of one kind, inside the transaction of their group.
What of a write is accounted goes to the disk in that transaction, too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import groupby
from typing import Any

import msgspec

from wayleave.aaa.outbox import Account
from wayleave.io.clock import Moment
from wayleave.io.lease import grant_text, row
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, UtcNs
from wayleave.proto.nexus.holder import Standing
from wayleave.session.model import NOTHING_USED, Client, Line, Service, Session, Used

CLOCK_STEP = SECOND
"""What the wall clock must differ by to have been set, rather than to drift."""

TABLES = """
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
CREATE TABLE IF NOT EXISTS assignment (
    pool TEXT NOT NULL,
    address INTEGER NOT NULL,
    session INTEGER NOT NULL,
    subscriber TEXT NOT NULL,
    state TEXT NOT NULL,
    at_utc INTEGER,
    told INTEGER NOT NULL,
    PRIMARY KEY (pool, address)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS assignment_of ON assignment (session);
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


class Save(msgspec.Struct, frozen=True, gc=False):
    """Write this session's lease with this promise. `awaited`: somebody wants to hear that it is done."""

    session: Session
    promise_until: BootNs
    awaited: bool = True
    account: Account | None = None

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Save], at: Moment) -> None:
        rows = to_json([row(write.session, write.promise_until, at.boot) for write in writes])
        offset = None if at.utc is None else at.utc - at.boot
        db.execute(_SAVE, {"rows": rows, "offset": offset, "boot_id": at.boot_id, "utc": at.utc or 0})


_END = """
UPDATE assignment SET state = 'ended', at_utc = ?, told = 0
WHERE session IN (SELECT value FROM json_each(?)) AND state = 'began'
"""


class Erase(msgspec.Struct, frozen=True):
    """The session with this id has ended."""

    id: int
    account: Account | None = None

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Erase], at: Moment) -> None:
        gone = (to_json([write.id for write in writes]),)
        db.execute(_END, (at.utc, *gone))
        db.execute("DELETE FROM lease WHERE id IN (SELECT value FROM json_each(?))", gone)
        db.execute("DELETE FROM used WHERE id IN (SELECT value FROM json_each(?))", gone)


class Report(msgspec.Struct, frozen=True):
    """A record of accounting; `id` and `used`: of the session that it is about, if it still is there."""

    account: Account
    id: int | None = None
    used: Used = NOTHING_USED

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Report], _: Moment) -> None:
        used = [(write.id, msgspec.structs.astuple(write.used)) for write in writes if write.id is not None]
        statement = "INSERT OR REPLACE INTO used SELECT value ->> 0, value ->> 1 FROM json_each(?)"
        db.execute(statement, (to_json(used),))


_RENAME = """
UPDATE lease
SET body = json_set(body, '$.accounting', ?, '$.opened', ?, '$.opened_on', ?, '$.counted', json('[0,0,0,0]'))
WHERE id = ?
"""


class Rename(msgspec.Struct, frozen=True):
    """The session with this id is another one to accounting, since `opened_at`, and has used nothing."""

    id: int
    name: str
    opened_at: BootNs
    account: Account | None = None

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Rename], at: Moment) -> None:
        db.executemany(_RENAME, [(write.name, write.opened_at, at.boot_id, write.id) for write in writes])
        db.executemany("DELETE FROM used WHERE id = ?", [(write.id,) for write in writes])


class Recount(msgspec.Struct, frozen=True):
    """The data plane counts anew under this session's id: `before` is what it is taken to have counted until now."""

    id: int
    before: Used

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Recount], _: Moment) -> None:
        statement = "UPDATE lease SET body = json_set(body, '$.counted', json(?)) WHERE id = ?"
        db.executemany(statement, [(to_json(msgspec.structs.astuple(write.before)), write.id) for write in writes])


class Booted(msgspec.Struct, frozen=True):
    """What a reboot means is written with this: no later process on this boot does it again."""

    @staticmethod
    def put(db: sqlite3.Connection, _: Sequence[Booted], at: Moment) -> None:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?)", (at.boot_id,))


class Learn(msgspec.Struct, frozen=True):
    """What authorization last granted to clients; None: nothing is believed of one any more."""

    known: Mapping[Client, Service | None]

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Learn], at: Moment) -> None:
        learned = [item for write in writes for item in write.known.items()]
        granted = [
            (client_text(client), at.utc, grant_text(service)) for client, service in learned if service is not None
        ]
        db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", granted)
        doubted = [(client_text(client),) for client, service in learned if service is None]
        db.executemany("DELETE FROM known WHERE client = ?", doubted)


class Acknowledged(msgspec.Struct, frozen=True):
    """These records of accounting are a server's by now."""

    seqs: tuple[int, ...]

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Acknowledged], _: Moment) -> None:
        seqs = to_json([seq for write in writes for seq in write.seqs])
        db.execute("DELETE FROM accounting WHERE seq IN (SELECT value FROM json_each(?))", (seqs,))


_ASSIGN = """
INSERT INTO assignment
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'began', ?, 0 FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET
    session = excluded.session, subscriber = excluded.subscriber, state = excluded.state, at_utc = excluded.at_utc,
    told = 0
WHERE subscriber <> excluded.subscriber OR state <> 'began' OR session <> excluded.session
"""


class Assign(msgspec.Struct, frozen=True):
    """A subscriber has an address of a shared pool, by Nexus' name of that: Nexus is to know."""

    pool: str
    session: Session

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Assign], at: Moment) -> None:
        rows = to_json([(write.pool, *_assigned(write.session)) for write in writes])
        db.execute(_ASSIGN, (at.utc, rows))


def _assigned(session: Session) -> tuple[int, int, str]:
    assert session.lease is not None
    assert session.service is not None
    subscriber = session.service.subscriber or str(session.client)
    return int(session.lease.address), session.id, subscriber[:NAME_MOST]


NAME_MOST = 256
"""Characters of a subscriber that Nexus takes: a circuit-id may make more."""


class Assigned(msgspec.Struct, frozen=True):
    """Whose an address is since `at` (`began`), or was until then (`ended`). None: the clock did not say."""

    pool: str
    address: IPv4Address
    subscriber: str
    state: str
    at: UtcNs | None


class Told(msgspec.Struct, frozen=True):
    """Nexus knows of these. What has changed meanwhile it does not."""

    assigned: Sequence[Assigned]

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Told], _: Moment) -> None:
        known = [
            (item.pool, int(item.address), item.state, item.at, item.subscriber)
            for write in writes
            for item in write.assigned
        ]
        same = "WHERE pool = ? AND address = ? AND state = ? AND at_utc IS ? AND subscriber = ?"
        db.executemany(f"UPDATE assignment SET told = 1 {same}", known)
        db.execute("DELETE FROM assignment WHERE told = 1 AND state = 'ended'")


_UNTOLD = "SELECT pool, address, subscriber, state, at_utc FROM assignment WHERE told = 0 LIMIT ?"


def read_untold(db: sqlite3.Connection, limit: int) -> list[Assigned]:
    """Read what Nexus does not know yet."""
    rows = db.execute(_UNTOLD, (limit,)).fetchall()
    return [Assigned(pool, IPv4Address(number), name, state, at) for pool, number, name, state, at in rows]


class Stand(msgspec.Struct, frozen=True):
    """What the gateway holds of Nexus' blocks; `until` is of this boot's clock."""

    standing: Standing

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Stand], at: Moment) -> None:
        text = to_json(Stood(writes[-1].standing, at.boot_id))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('hold', ?)", (text,))


class Stood(msgspec.Struct, frozen=True):
    """A hold as it is written down: the boot on whose clock it counts."""

    standing: Standing
    boot_id: str


def read_standing(db: sqlite3.Connection, boot_id: str) -> Standing | None:
    """Read the hold. After a reboot nobody knows until when it stands. None: there was never one."""
    row = db.execute("SELECT value FROM meta WHERE key = 'hold'").fetchone()
    if row is None:
        return None
    stood = msgspec.json.decode(row[0], type=Stood)
    if stood.boot_id == boot_id:
        return stood.standing
    return msgspec.structs.replace(stood.standing, until=BootNs(0))


_RECLOCK = """
UPDATE lease SET promise_utc = promise_boot + ?, written_utc = ?
WHERE boot_id = ? AND (promise_utc IS NULL OR abs(promise_utc - promise_boot - ?) > ?)
"""
_DATE = "UPDATE accounting SET at_utc = at_boot + ? WHERE boot_id = ? AND at_boot > 0 AND at_utc IS NULL"


class Reclock(msgspec.Struct, frozen=True):
    """The wall clock was set: UTC is now `offset` ns ahead of the boot clock. What this boot promised says so too."""

    offset: int

    @staticmethod
    def put(db: sqlite3.Connection, writes: Sequence[Reclock], at: Moment) -> None:
        for write in writes:
            offset = write.offset
            db.execute(_RECLOCK, (offset, at.boot + offset, at.boot_id, offset, CLOCK_STEP))
            db.execute(_DATE, (offset, at.boot_id))


Write = Save | Erase | Reclock | Report | Rename | Recount | Booted | Learn | Acknowledged | Stand | Assign | Told


def put(db: sqlite3.Connection, group: Sequence[Write], at: Moment) -> None:
    """Write a group in order, those of a kind that stand together at once; what of them is accounted; and when."""
    for kind, writes in groupby(group, key=type):
        of_kind: Any = kind
        of_kind.put(db, list(writes), at)
    accounts = accounts_of(group)
    if accounts:
        db.execute(_REPORT, (at.boot_id, to_json([_account_row(account) for account in accounts])))
    if accounts or not all(isinstance(write, Erase | Acknowledged) for write in group):
        # a full disk takes what only takes away, as long as nothing is added to it
        db.execute("INSERT OR REPLACE INTO meta VALUES ('written', ?)", (to_json(at),))


def last_written(db: sqlite3.Connection) -> Moment | None:
    """When anything was last added, by whatever process on whatever boot. None: never."""
    row = db.execute("SELECT value FROM meta WHERE key = 'written'").fetchone()
    return None if row is None else msgspec.json.decode(row[0], type=Moment)


# ---- Records of accounting --------------------------------------------------------------

_REPORT = """
INSERT INTO accounting
SELECT value ->> 0, value ->> 1, value ->> 2, ?, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)
"""
_ACCOUNTS = """
SELECT seq, authority, session, boot_id, at_boot, at_utc, body FROM accounting
WHERE authority = ? AND seq > ? ORDER BY seq LIMIT ?
"""


def accounts_of(group: Iterable[Write]) -> list[Account]:
    """The records that travel with a group of writes, in order."""
    return [account for write in group if (account := account_of(write)) is not None]


def account_of(write: Write) -> Account | None:
    """The record that travels with a write."""
    account: Account | None = getattr(write, "account", None)
    return account


def read_accounts(db: sqlite3.Connection, authority: str, after: int, limit: int, boot_id: str) -> list[Account]:
    """Read an authority's records with numbers over `after`, in order."""
    return [_account(row, boot_id) for row in db.execute(_ACCOUNTS, (authority, after, limit)).fetchall()]


def _account_row(account: Account) -> tuple[int, str, str, int, int | None, str]:
    """What of a record's row is its own: number, authority, session, moment on the boot clock, UTC, attributes."""
    body = to_json([(kind, octets.hex()) for kind, octets in account.body])
    return account.seq, account.group, account.session, account.at, account.utc, body


def _account(row: tuple[int, str, str, str, int, int | None, str], boot_id: str) -> Account:
    seq, group, session, of_boot, at, utc, body = row
    avps = tuple((kind, bytes.fromhex(octets)) for kind, octets in msgspec.json.decode(body))
    moment = BootNs(at if of_boot == boot_id else 0)
    return Account(seq, group, session, avps, moment, None if utc is None else UtcNs(utc))


# ---- Texts ------------------------------------------------------------------------------


def to_json(rows: Any) -> str:
    return msgspec.json.encode(rows).decode()


def client_text(client: Client) -> str:
    """A client as a column has it."""
    line = client.line
    circuit = f"/{line.circuit.hex()}" if line.circuit else ""
    return f"{line.port}/{line.svid}/{line.cvid}/{client.mac}/{client.pppoe}{circuit}"


def client_of(text: str) -> Client:
    """Read what `client_text` wrote."""
    port, svid, cvid, mac, pppoe, *circuit = text.split("/")
    line = Line(int(port), int(svid), int(cvid), bytes.fromhex("".join(circuit)))
    return Client(line, Mac.parse(mac), int(pppoe))


class Collected:
    """What the engine wants written, until the next flush: a part of session.ports.Records."""

    def __init__(self) -> None:
        self._collected: list[Write] = []
        self.shared: Mapping[str, str] = {}
        """Pools whose addresses Nexus is to know of, and what it calls them."""

    def save(self, session: Session, promise_until: BootNs, account: object = None) -> None:
        """Have a lease written with the next `flush`, and with it what is accounted of that."""
        assert account is None or isinstance(account, Account)
        self._collected.append(Save(session, promise_until, account=account))
        if not session.recorded:
            self._assign(session)

    def _assign(self, session: Session) -> None:
        if self.shared and session.lease is not None and session.lease.pool in self.shared:
            self._collected.append(Assign(self.shared[session.lease.pool], session))

    def keep(self, session: Session) -> None:
        """Have what a recorded session is like by now written with the next `flush`; its promise stays."""
        assert session.lease is not None
        until = BootNs(max(session.lease.promise_until, session.promising))
        self._collected.append(Save(session, until, awaited=False))
        self._assign(session)

    def stand(self, standing: Standing) -> None:
        """Have what the gateway holds of Nexus' blocks written with the next `flush`."""
        self._collected.append(Stand(standing))

    def erase(self, id_: int, account: object = None) -> None:
        """Have a session's lease removed with the next `flush`, and with it what is accounted of that."""
        assert account is None or isinstance(account, Account)
        self._collected.append(Erase(id_, account))


def saved(group: Iterable[Write]) -> list[int]:
    """The sessions of which somebody wants to hear that they are recorded."""
    return [write.session.id for write in group if isinstance(write, Save) and write.awaited]


def erased(group: Iterable[Write]) -> list[int]:
    """The sessions whose end is recorded."""
    return [write.id for write in group if isinstance(write, Erase)]

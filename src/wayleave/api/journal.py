"""A client's journal behind the API: what happened to it, and what was dropped of it, in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel, Field

from wayleave.dataplane.counters import spoken
from wayleave.dataplane.samples import Drop, Drops
from wayleave.net.duration import spoken_age
from wayleave.net.mac import Mac
from wayleave.net.probe import describe
from wayleave.net.units import MILLISECOND, BootNs
from wayleave.session.journal import RENEWED, Entry, Journal
from wayleave.session.model import Client, Line, Session
from wayleave.session.table import Key, Table

SHOWN = 32
"""Clients of one MAC whose journals one answer has: it may have been heard behind thousands of VLANs."""


class EntryView(BaseModel):
    """One thing that happened."""

    ago_s: float = Field(description="seconds before this answer")
    what: str
    says: str
    count: int | None = Field(default=None, description="of drops: how many were sampled; there were at least as many")
    sample: str | None = Field(
        default=None,
        description="of drops: the first octets of the last frame, as it stood when it was dropped, in hex",
    )


class JournalView(BaseModel):
    """What is kept of one client; the oldest first."""

    client: str
    mac: str
    line: str
    session: int | None
    entries: list[EntryView]


class JournalsView(BaseModel):
    """Those heard of last; the last one at the end."""

    journals: list[JournalView]
    left_out: int = Field(description="how many more there are")


def of_session(session: Session, journal: Journal, drops: Drops, renewed: BootNs, now: BootNs) -> JournalView:
    """Return a session's journal. `renewed`: when the data plane last renewed its lease by itself."""
    entries = entries_of(session, journal, renewed)
    waiting = getattr(session.ask, "called", b"").decode()
    if waiting:
        entries.append(Entry(now, "waiting", f"{waiting}: {session.phase.value}"))
    return _view(session.client, session.id, entries, drops.of(session.client.station.key), now)


def entries_of(session: Session, journal: Journal, renewed: BootNs) -> list[Entry]:
    """Return what is kept of a session, and the data plane's last renewal, of which Python may not have heard yet."""
    entries = journal.of_session(session.id)
    mine = session.link is None and renewed > session.since  # of a client of PPP it is an echo that was answered
    if mine and not any((entry.at, entry.what) == (renewed, RENEWED.name) for entry in entries):
        entries.append(Entry(renewed, RENEWED.name, "by the data plane"))
    return sorted(entries, key=lambda entry: entry.at)


def of_strangers(mac: Mac, journal: Journal, drops: Drops, table: Table, now: BootNs) -> JournalsView:
    """Return the journals of clients with this MAC that have no session: of `SHOWN`, and how many more there are."""
    clients, left_out = heard_last(
        journal, drops, lambda key: key[3] == mac and table.find(client_of(key)) is None, SHOWN
    )
    told = [(client, journal.of_stranger(client.station.key), drops.of(client.station.key)) for client in clients]
    views = [_view(client, None, entries, dropped, now) for client, entries, dropped in told]
    return JournalsView(journals=views, left_out=left_out)


def heard_last(journal: Journal, drops: Drops, wanted: Callable[[Key], bool], most: int) -> tuple[list[Client], int]:
    """Return of the remembered clients that are wanted those heard of last, the last one at the end; and how many more.

    Both memories are in the order of time, so who is not among the last `most` of either is not among those of both:
    only a few journals are unpacked, however many VLANs one MAC was heard behind.
    """
    noted = [key for key in journal.strangers() if wanted(key)]
    dropped = [key for key in drops.clients() if wanted(key)]

    def heard(key: Key) -> int:
        return max([0, *(entry.at for entry in journal.of_stranger(key)), *(drop.last for drop in drops.of(key))])

    latest = sorted({*noted[:most], *dropped[:most]}, key=heard)[-most:]
    return [client_of(key) for key in latest], len({*noted, *dropped}) - len(latest)


def client_of(key: Key) -> Client:
    """The client that a frame tells of."""
    port, svid, cvid, mac, pppoe = key
    return Client(Line(port, svid, cvid), mac, pppoe)


def _view(client: Client, id_: int | None, entries: list[Entry], drops: list[Drop], now: BootNs) -> JournalView:
    shown = entry_views(entries, drops, now)
    return JournalView(client=str(client), mac=str(client.mac), line=str(client.line), session=id_, entries=shown)


def entry_views(entries: Iterable[Entry], drops: Iterable[Drop], now: BootNs) -> list[EntryView]:
    """Return what happened and what was dropped, the oldest first."""
    return sorted([*_happened(entries, now), *_dropped(drops, now)], key=lambda entry: -entry.ago_s)


def _happened(entries: Iterable[Entry], now: BootNs) -> Iterator[EntryView]:
    for entry in entries:
        yield EntryView(ago_s=_ago(entry.at, now), what=entry.what, says=entry.says)


def _dropped(drops: Iterable[Drop], now: BootNs) -> Iterator[EntryView]:
    for drop in drops:
        way = "from" if drop.upstream else "to"
        since = f", since {spoken_age(now - drop.first)}" if drop.count > 1 else ""
        where = f"{spoken(drop.reason.name)} in {spoken(drop.stage.name)}, {way} the client{since}"
        yield EntryView(
            ago_s=_ago(drop.last, now),
            what="dropped",
            says=f"{where}: {describe(drop.octets, drop.length)}",
            count=drop.count,
            sample=drop.octets.hex(),
        )


def _ago(at: BootNs, now: BootNs) -> float:
    return (now - at) // MILLISECOND / 1000

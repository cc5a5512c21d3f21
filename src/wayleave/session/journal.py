"""The last things that happened to each client, always on: what support looks at first.

An entry is a moment, a kind, a number, a reason and a few words: some twenty octets, kept packed behind one another. A
session's journal is found by its id. When a session ends, or a client is refused, its journal goes to a table of those
most recently seen, by what a frame tells of them; a client that comes back goes on with it. `KINDS` is the one place
where a kind of entry is added; those that follow from an event or an answer say there which.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from ipaddress import IPv4Address
from typing import Any

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs
from wayleave.session import lifecycle
from wayleave.session.lifecycle import Answer, Event, Reply
from wayleave.session.model import NEVER, Client, Session
from wayleave.session.recent import CLIENTS, Recent
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.table import Key

ROOM = 400
"""Octets of entries that are kept of a client: twenty or so, the oldest go first."""

Note = tuple[int, bytes]
_HEAD = struct.Struct("<QIBBB")  # at, number, kind, reason, octets of words
_MOST_WORDS = 120


class Number(Enum):
    """What an entry's number is."""

    NOTHING = auto()
    ADDRESS = auto()
    """0: none."""
    SECONDS = auto()


class Kind(Struct, frozen=True):
    """A kind of entry. `of` is the event or the answer it follows from; `note` takes number and words out of that.

    `note` is given the session too.
    """

    code: int
    name: str
    number: Number = Number.NOTHING
    of: type | Answer | None = None
    note: Callable[[Any, Session | None], Note] = lambda _about, _session: (0, b"")


class Entry(Struct, frozen=True):
    """One thing that happened. `says` is for people, perhaps empty."""

    at: BootNs
    what: str
    says: str
    reason: Reason = Reason.NONE


def _words(text: str) -> bytes:
    return text.encode(errors="backslashreplace")[:_MOST_WORDS]


def _called(ask: object) -> bytes:
    """What a message is called is its protocol's to say: `ask.called`."""
    return getattr(ask, "called", b"")


def _of_ask(ask: object, text: str) -> bytes:
    called = _called(ask)
    return called + b": " + _words(text) if called else _words(text)


def _dialed(event: lifecycle.Dialed, _: Session | None) -> Note:
    return 0, _of_ask(event.ask, event.link.name)


def _hung_up(event: lifecycle.HungUp, _: Session | None) -> Note:
    return 0, _words(event.says)


def _asked(event: lifecycle.Discovered | lifecycle.Requested | lifecycle.Queried, _: Session | None) -> Note:
    wanted = event.address if isinstance(event, lifecycle.Requested) else getattr(event, "wanted", None)
    return 0 if wanted is None else int(wanted), _called(event.ask)


def _given_up(event: lifecycle.Released | lifecycle.Declined, _: Session | None) -> Note:
    return int(event.address), b""


def _failed(event: Any, session: Session | None) -> Note:
    return 0, _of_ask(None if session is None else session.ask, event.refusal.why)


def _offered(reply: Reply, session: Session | None) -> Note:
    """With what authorization decided."""
    service = None if session is None else session.service
    if service is None or reply.lease is None:
        return 0, _called(reply.ask)
    granted = f"{service.pool}, subscriber {service.subscriber}:" if service.subscriber else service.pool
    return int(reply.lease.address), _of_ask(reply.ask, granted)


def _confirmed(reply: Reply, _: Session | None) -> Note:
    return reply.remaining // SECOND, _called(reply.ask)


def _refused(reply: Reply, _: Session | None) -> Note:
    return 0, _of_ask(reply.ask, reply.why)


def _told(reply: Reply, _: Session | None) -> Note:
    return 0, _called(reply.ask)


def _changed(event: lifecycle.Changed, _: Session | None) -> Note:
    """With what is new; the data plane has it by then."""
    service = event.service
    said = (service.name, f"up {service.up}" if service.up else "", f"down {service.down}" if service.down else "")
    return 0, _words(", ".join(filter(None, said)))


RENEWED = Kind(16, "renewed")
"""By the data plane; Python found out later."""
ENDING = Kind(17, "ending")
RESTORED = Kind(18, "restored", Number.ADDRESS)
"""From the disk, after a restart."""
GRANTED = Kind(21, "granted")
"""By a server, or as it last did."""
IGNORED = Kind(19, "ignored")
"""A message that led to nothing; the words say why."""

KINDS = (
    Kind(1, "asked", Number.ADDRESS, lifecycle.Discovered, _asked),
    Kind(2, "asked", Number.ADDRESS, lifecycle.Requested, _asked),
    Kind(3, "asked", of=lifecycle.Queried, note=_asked),
    Kind(4, "released", Number.ADDRESS, lifecycle.Released, _given_up),
    Kind(5, "declined", Number.ADDRESS, lifecycle.Declined, _given_up),
    Kind(6, "took-another-offer", of=lifecycle.Withdrawn),
    Kind(8, "not-authorized", of=lifecycle.Denied, note=_failed),
    Kind(9, "no-address", of=lifecycle.Exhausted, note=_failed),
    Kind(10, "not-recorded", of=lifecycle.RecordFailed, note=_failed),
    Kind(11, "not-installed", of=lifecycle.InstallFailed, note=_failed),
    Kind(12, "offered", Number.ADDRESS, Answer.OFFER, _offered),
    Kind(13, "confirmed", Number.SECONDS, Answer.CONFIRM, _confirmed),
    Kind(14, "refused", of=Answer.REFUSE, note=_refused),
    Kind(15, "told", of=Answer.TELL, note=_told),
    Kind(20, "changed", of=lifecycle.Changed, note=_changed),
    Kind(22, "dialed", of=lifecycle.Dialed, note=_dialed),
    Kind(24, "admitted", Number.ADDRESS, Answer.ADMIT, _offered),
    Kind(23, "hung-up", of=lifecycle.HungUp, note=_hung_up),
    GRANTED,
    RENEWED,
    ENDING,
    RESTORED,
    IGNORED,
)
_BY_CODE = {kind.code: kind for kind in KINDS}
_EVENTS = {kind.of: (kind.code, kind.note) for kind in KINDS if isinstance(kind.of, type)}
_ANSWERS = {kind.of: (kind.code, kind.note) for kind in KINDS if isinstance(kind.of, Answer)}

_ANSWERED = frozenset((lifecycle.Discovered, lifecycle.Requested, lifecycle.Dialed, lifecycle.Queried))
NOTED = (frozenset(_EVENTS) - _ANSWERED) | {lifecycle.Due}
"""Events that are noted whatever they lead to. What a client asks is noted where that leads to nothing: elsewhere the
answer is, and says what was asked."""


class Journal:
    """Everybody's. One writer: the engine's task. It is in the way of every message: what is called there is short."""

    def __init__(self) -> None:
        self._of: dict[int, bytes] = {}
        self._recent: Recent[bytes] = Recent()
        self._called: OrderedDict[str, Key] = OrderedDict()

    # ---- in -----------------------------------------------------------------------------

    def event(self, session: Session, event: Event, at: BootNs) -> None:
        """Note what happened to a session, if it is of a kind that is noted."""
        row = _EVENTS.get(type(event))
        if row is not None:
            self._add(session.id, at, row[0], *row[1](event, session), _reason(event))
        elif type(event) is lifecycle.Due and event.renewed != NEVER:
            self.note(session.id, RENEWED, event.renewed)

    def answer(self, session: Session, reply: Reply, at: BootNs) -> None:
        """Note what a client is told."""
        code, note = _ANSWERS[reply.answer]
        number, words = note(reply, session)
        self._add(session.id, at, code, number, words, _reason(reply))

    def note(
        self, id_: int, kind: Kind, at: BootNs, text: str = "", number: int = 0, reason: Reason = Reason.NONE
    ) -> None:
        """Note something else about a session."""
        self._add(id_, at, kind.code, number, _words(text), reason)

    def _add(self, id_: int, at: BootNs, code: int, number: int, words: bytes, reason: Reason) -> None:
        kept = self._of.get(id_, b"") + _packed(at, code, number, words, reason)
        self._of[id_] = kept if len(kept) <= ROOM else _fitting(kept)

    def stranger(self, client: Client, at: BootNs, about: Event | str, reason: Reason = Reason.NONE) -> None:
        """Note about a client without a session what it said, or why what it said led to nothing."""
        key = client.station.key
        if isinstance(about, str):
            code, number, words = IGNORED.code, 0, _words(about)
        else:
            code, note = _EVENTS[type(about)]
            number, words = note(about, None)
        kept = (self._recent.get(key) or b"") + _packed(at, code, number, words, reason)
        self._recent.put(key, _fitting(kept))

    def begin(self, id_: int, client: Client) -> None:
        """A session begins: it goes on with what is remembered of its client."""
        self._of[id_] = (self._recent.pop(client.station.key) or b"") if self._recent else b""

    def end(self, session: Session) -> None:
        """A session is gone: its journal stays, among those most recently seen."""
        key = session.client.station.key
        self._recent.put(key, self._of.pop(session.id, b""))
        if session.link is not None and session.named:
            self._called[session.link.name] = key
            self._called.move_to_end(session.link.name)
            if len(self._called) > CLIENTS:
                self._called.popitem(last=False)

    # ---- out ----------------------------------------------------------------------------

    def of_session(self, id_: int) -> list[Entry]:
        """What is kept of a session, the oldest first."""
        return _entries(self._of.get(id_, b""))

    def of_stranger(self, key: Key) -> list[Entry]:
        """What is kept of a client without a session, the oldest first."""
        return _entries(self._recent.get(key) or b"")

    def strangers(self) -> Iterator[Key]:
        """Clients without a session that are remembered, those seen last first."""
        return reversed(self._recent)

    def called(self, name: str) -> Key | None:
        """The client that said last that it is called so, of those without a session that are remembered."""
        key = self._called.get(name)
        return key if key is not None and self._recent.get(key) is not None else None

    @property
    def octets(self) -> int:
        """Octets of entries that are kept of sessions."""
        return sum(map(len, self._of.values()))


def _reason(about: object) -> Reason:
    """Why an event or an answer says no, if it does."""
    refusal: Refusal | None = getattr(about, "refusal", None)
    return Reason.NONE if refusal is None else refusal.reason


def _packed(at: BootNs, code: int, number: int, words: bytes, reason: Reason) -> bytes:
    return _HEAD.pack(at, number, code, reason, len(words)) + words


def _fitting(kept: bytes) -> bytes:
    """Leave out the oldest entries until the rest fits."""
    start = 0
    while len(kept) - start > ROOM:
        start += _HEAD.size + kept[start + _HEAD.size - 1]
    return kept[start:]


def _entries(kept: bytes) -> list[Entry]:
    found: list[Entry] = []
    start = 0
    while start < len(kept):
        at, number, code, reason, length = _HEAD.unpack_from(kept, start)
        start += _HEAD.size
        kind = _BY_CODE[code]
        words = kept[start : start + length].decode(errors="replace")
        says = " ".join(filter(None, (words, _number(kind, number))))
        found.append(Entry(BootNs(at), kind.name, says, Reason(reason)))
        start += length
    return found


def _number(kind: Kind, number: int) -> str:
    if kind.number is Number.ADDRESS:
        return str(IPv4Address(number)) if number else ""
    return f"for {number}s" if kind.number is Number.SECONDS else ""

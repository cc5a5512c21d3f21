"""Whoever decides about clients besides the gateway, and is accounted to: all of RADIUS in one place, tied to the turn.

Questions and accounting go out through `radius`, controllers' requests come in through `dynauth`; who was let on
without a server is asked about again once one answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import structlog
from msgspec.structs import replace

from wayleave.aaa.outbox import Outbox
from wayleave.aaa.radius import Authorizer, Deciders, Decision, Last
from wayleave.aaa.settings import RadiusSettings
from wayleave.daemon.accounting import Accounting
from wayleave.daemon.dynauth import Dynauth
from wayleave.daemon.engine import Engine
from wayleave.daemon.radius import Radius
from wayleave.io.clock import Clock
from wayleave.io.lease import Restored
from wayleave.io.store import Store
from wayleave.io.writes import Save, Write, erased
from wayleave.net.units import BootNs, Ns, UtcNs
from wayleave.proto.radius.dictionary import STANDARD, Dictionary, load
from wayleave.proto.radius.exchange import Exchange
from wayleave.session import lifecycle
from wayleave.session.model import Client, Phase, Service, Session
from wayleave.session.refusal import PASSING, Refusal

log = structlog.get_logger()

INTERIM_REST_S = 0.005
"""Between slices of interims."""


class Authority:
    """Made before the engine, which is told of it with `serve`."""

    def __init__(
        self, settings: RadiusSettings, folder: Path, deciders: Deciders, store: Store, clock: Clock, remembers: int
    ) -> None:
        """`folder`: what paths of secrets are relative to. Raises: SecretError, DictionaryError."""
        self._settings, self._folder, self._store, self._clock = settings, folder, store, clock
        self.radius = Radius(settings, folder, clock)
        self._dictionary = read_dictionary(settings, folder)
        self.authorizer = Authorizer(self._with_names(deciders), self.radius.access, self.radius.passwords, remembers)
        self.accounting = Accounting(self.radius.accounting, lambda: self.authorizer.deciders, store, clock)
        self._known: dict[Client, tuple[UtcNs, Service]] = {}
        """What earlier processes learned of clients, and this one has not learned better, until the clock is set."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def reconfigure(self, deciders: Deciders) -> None:
        """Go by another configuration from now on."""
        self.authorizer.deciders = self._with_names(deciders)

    def _with_names(self, deciders: Deciders) -> Deciders:
        return replace(deciders, dictionary=self._dictionary)

    def serve(self, engine: Engine) -> None:
        """Have the engine's sessions changed by controllers. Raises: SecretError."""
        self._engine = engine
        self.dynauth = Dynauth(self._settings, self._folder, engine, lambda: self.authorizer.deciders, self._clock)

    def open(self) -> None:
        """Make the sockets. Raises: RadiusError."""
        self.radius.open()
        self.dynauth.open()

    def take_up(self, leases: Iterable[Restored], counting_on: bool) -> list[Restored]:
        """Return the sessions that the disk has as they go on; see `Accounting.take_up`."""
        taken = self.accounting.take_up(leases, counting_on, self._engine.new_name)
        self._known = {client: (at, service) for client, at, service in self._store.known() if at is not None}
        self._recall()
        return taken

    def _recall(self) -> None:
        """Take up what was last granted to clients, once the wall clock says how long ago that is."""
        if not self._known or not self._clock.plausible:
            return
        offset = self._clock.utc() - self._clock.boot()
        for client, (at, service) in self._known.items():
            self.authorizer.recall(client, Last(at - offset, service))
        self._known.clear()

    def start(self, loop: asyncio.AbstractEventLoop, turn: Callable[[], None]) -> None:
        """Serve from now on; `turn` is called when something came in, or a wait is over: it is to end with `pump`."""
        self._loop = loop
        self.radius.start(loop, turn)
        self.dynauth.start(loop, turn)
        self.accounting.resume()
        for session in self._engine.table:
            self._begun(session)

    def stop(self) -> None:
        self.dynauth.stop()
        self.radius.stop()

    # ---- for the API ----------------------------------------------------------------------

    @property
    def access(self) -> Mapping[str, Exchange]:
        return self.radius.access

    @property
    def accounted(self) -> Mapping[str, Exchange]:
        return self.radius.accounting

    @property
    def outboxes(self) -> Mapping[str, Outbox]:
        return self.accounting.outboxes

    @property
    def backlog(self) -> Mapping[str, int]:
        return self.accounting.waiting

    @property
    def changes(self) -> Mapping[str, int]:
        return self.dynauth.listener.counts

    @property
    def provisional(self) -> int:
        return self.authorizer.doubted

    def held(self, now: BootNs) -> int:
        return self.authorizer.held(now)

    # ---- the turn -----------------------------------------------------------------------

    def transition(self, session: Session, before: Session | None) -> None:
        """Take note of what becomes of a session."""
        if lifecycle.opens(session, before):
            self._begun(session)
        elif before is not None and session.phase is Phase.ACTIVE and _interim(session) != _interim(before):
            self.accounting.watch(session, self._clock.boot())

    def _begun(self, session: Session) -> None:
        """A session is served from now on, or again after a restart."""
        self.accounting.watch(session, self._clock.boot())
        if session.service is not None and session.service.provisional:
            self.authorizer.reauthorize(session)

    def pump(self) -> None:
        """End a turn: send what is to be sent, take what came of it."""
        self.accounting.pump(self._clock.boot())
        self.radius.pump(self.authorizer, self._decided)
        learned = self.authorizer.learned()
        if learned:
            for client in learned:
                self._known.pop(client, None)
            self._store.learn({key: None if last is None else last.service for key, last in learned.items()})
            self._store.flush()

    def _decided(self, decision: Decision) -> None:
        ticket, now = decision.ticket, self._clock.boot()
        try:
            if self._known and isinstance(decision.outcome, Refusal) and decision.outcome.reason not in PASSING:
                self._doubt(ticket.id)
            if ticket.again:
                self._engine.reconsider(ticket.id, ticket.since, decision.outcome, now)
            else:
                self._engine.decided(ticket.id, ticket.since, decision.outcome, now, decision.says, decision.proof)
        except Exception:  # a fault of ours about one client is not to cost the others of this batch their answers
            log.exception("decision-lost", session=ticket.id)

    def _doubt(self, id_: int) -> None:
        """What is not taken up yet of a client that a server refuses by now is not believed any more."""
        session = self._engine.table.get(id_)
        if session is None or session.named:
            return
        client = session.client.station
        if self._known.pop(client, None) is not None:
            self._store.learn({client: None})

    def recorded(self, group: Sequence[Write], error: str | None) -> None:
        """Take a completed group of the store, or why it was refused."""
        if error is None:
            self.accounting.durable(group)
        else:
            self.accounting.failed(group)
        self.dynauth.kept([write.session for write in group if isinstance(write, Save) and not write.awaited], error)
        self.dynauth.ended(erased(group), error)

    def every_second(self) -> None:
        """Do what waits for its time."""
        self._recall()
        self.accounting.try_again()
        self.authorizer.ask_again(self._engine.table, self._clock.boot())
        self._interims()

    def _interims(self) -> None:
        """Make what is due, a few at a time: the loop goes on between."""
        more = self.accounting.interims(self._engine.table, self._engine.used, self._clock.boot())
        self.pump()
        if more and self._loop is not None:
            self._loop.call_later(INTERIM_REST_S, self._interims)


def _interim(session: Session) -> Ns:
    return session.service.interim if session.service is not None else Ns(0)


class DictionaryError(Exception):
    """A dictionary cannot be used; the text says which, where, and what to do."""

    def __init__(self, setting: str, says: str) -> None:
        super().__init__(f"{setting}: {says}")
        self.setting, self.says = setting, says


def read_dictionary(settings: RadiusSettings, folder: Path) -> Dictionary:
    """Read the operator's dictionaries. Raises: DictionaryError."""
    if settings.dictionary is None:
        return STANDARD
    place = folder / settings.dictionary
    try:
        dictionary = load({str(path): path.read_text() for path in sorted(place.iterdir()) if path.is_file()})
    except (OSError, ValueError) as error:
        why = f"{place}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise DictionaryError("radius.dictionary", why) from None
    for group in settings.groups:
        setting = f"radius.groups[{group.name}].aliases"
        for name, meant in group.aliases.items():
            if name not in dictionary:
                raise DictionaryError(setting, f"{place} names no attribute {name}")
            if dictionary[name].type is not dictionary[meant].type:
                kinds = f"{dictionary[name].type.name}, and {meant} is {dictionary[meant].type.name}"
                raise DictionaryError(setting, f"{name} is {kinds}")
    return dictionary

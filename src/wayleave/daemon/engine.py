"""The turn: events in, `lifecycle.advance`, effects out, until nothing is left to do.

One task owns the session table: no locks. A turn is a function of (state, event, now); effects go through the ports
that the engine was given, and their outcomes come back as events at the queue's tail. Rows are installed and leases
recorded in one batch a turn. Nothing here waits.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count, islice

from msgspec.structs import astuple, replace

from wayleave.daemon.review import Outcome, PoolTerms, as_told, no_pool, review
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.session import lifecycle
from wayleave.session.journal import ENDING, GRANTED, IGNORED, NOTED, RESTORED, Journal
from wayleave.session.lifecycle import Event
from wayleave.session.model import LONG_PAST, NEVER, Client, CloseCause, Lease, Line, Phase, Service, Session, Used
from wayleave.session.pool import Exhaustion
from wayleave.session.ports import Accounts, Authorization, Plane, PlaneFull, Records
from wayleave.session.refusal import PASSING, Reason, Refusal
from wayleave.session.table import Full, Table

Told = tuple[Client, Event]
"""What access makes of a frame: about whom, and what."""

BATCH = 512
"""Deadlines taken a turn."""

REVIEWS = 200
"""Sessions looked at anew a turn, after the configuration changed: a few milliseconds."""

DECLINES, DECLINE_WINDOW, DECLINE_LINES = 4, Ns(600 * SECOND), 1024
"""Addresses that one line can put into quarantine in ten minutes; and how many such lines are remembered."""


@dataclass(frozen=True, slots=True)
class Admission:
    """How a port treats a full line: clients at once, and whether a silent one makes room."""

    clients: int
    replace: bool


@dataclass(slots=True)
class Counts:
    """What happened, by name. `refused` by reason; `closed` by cause; `unexpected` should stay empty."""

    opened: int = 0
    offered: int = 0
    confirmed: int = 0
    told: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)


class Engine:
    """Owns the table and the pools. Feed it with `take`, `due` and `recorded`; each runs turns to the end."""

    def __init__(
        self,
        table: Table,
        pools: dict[str, PoolTerms],
        authorization: Authorization,
        records: Records,
        plane: Plane,
        reply: Callable[[Session, lifecycle.Reply], None],
        admission: dict[int, Admission],
        transition: Callable[[Session, Session | None], None] = lambda _after, _before: None,
        epoch: int = 0,
        accounts: Accounts | None = None,
    ) -> None:
        """`transition` is told of a session in another phase, or with another service, and of what it was before.

        `epoch`: no other process on this store has or had it; what accounting calls sessions begins with it.
        """
        self.table, self.pools = table, pools
        self.counts, self.journal = Counts(), Journal()
        self._authorization, self._records, self._plane = authorization, records, plane
        self._reply, self._admission, self._transition = reply, admission, transition
        self._queue: deque[tuple[int, Event]] = deque()
        self._installing: list[int] = []
        self._refreshing: list[int] = []
        self._stale: dict[int, None] = {}  # a set in order: sessions not looked at since the configuration changed
        self.reviewed: Counter[Outcome] = Counter()
        self.rewritten = 0
        """What reviews came to, and how many rows they changed."""
        self._declined: dict[Line, list[BootNs]] = {}
        self._accounts = accounts
        self._now = NEVER
        self._names = (f"{epoch:08x}{serial:08x}" for serial in count())

    # ---- in -----------------------------------------------------------------------------

    def take(self, told: Iterable[Told], now: BootNs) -> None:
        """Take a batch of what clients said."""
        self._now = now
        for client, event in told:
            session = self.table.find(client)
            if session is None:
                if isinstance(event, lifecycle.First):
                    self._begin(event)
                else:
                    self.journal.stranger(client, now, event)
                continue
            if session.client.line != client.line:
                self._turn_away(session, Reason.MAC_ON_ANOTHER_CIRCUIT)
                continue
            if isinstance(event, lifecycle.Released | lifecycle.Declined) and self._overtaken(session, event.at):
                self._turn_away(session, Reason.ASKED_AGAIN_MEANWHILE)
                continue
            if isinstance(event, lifecycle.Declined) and not self._may_decline(session):
                self._turn_away(session, Reason.DECLINES_TOO_OFTEN)
                event = lifecycle.Released(event.address, event.at)
            self._queue.append((session.id, event))
        self._run()

    def _turn_away(self, session: Session, reason: Reason) -> None:
        self.counts.refused[reason.spoken] += 1
        self.journal.note(session.id, IGNORED, self._now, reason.spoken, reason=reason)

    def unheard(self, client: Client, why: str, now: BootNs, reason: Reason = Reason.NONE) -> None:
        """Take note of a client whose message led to nothing."""
        session = self.table.find(client)
        if session is None:
            self.journal.stranger(client, now, why, reason)
        else:
            self.journal.note(session.id, IGNORED, now, why, reason=reason)

    def _overtaken(self, session: Session, at: BootNs) -> bool:
        """Did the data plane give the address again since the client gave it up, while that lay in the ring?"""
        return at != NEVER and self._plane.renewed(session.id) > at

    def _may_decline(self, session: Session) -> bool:
        """A line that declines all it is given would put a whole pool into quarantine: its later ones only end."""
        recent = [when for when in self._declined.pop(session.client.line, ()) if self._now - when < DECLINE_WINDOW]
        allowed = len(recent) < DECLINES
        self._declined[session.client.line] = [*recent, self._now] if allowed else recent
        if len(self._declined) > DECLINE_LINES:
            del self._declined[next(iter(self._declined))]
        return allowed

    def clear(self, id_: int, cause: CloseCause, now: BootNs, refusal: Refusal | None = None) -> bool:
        """End a session; False if there is none with this id. `refusal`: why its client would be granted nothing."""
        self._now = now
        if self.table.get(id_) is None:
            return False
        self._queue.append((id_, lifecycle.Cleared(cause, refusal)))
        self._run()
        return True

    def due(self, now: BootNs) -> None:
        """Take the deadlines that have come."""
        self._now = now
        for session in self.table.due(now, BATCH):
            leased = session.phase in (Phase.ACTIVE, Phase.REMOVING)
            renewed = self._plane.renewed(session.id) if leased and session.link is None else NEVER
            limited = session.service is not None and session.service.idle_timeout
            seen = self._plane.seen(session.id) if limited and leased else NEVER
            since = session.since
            due = lifecycle.Due(renewed if renewed > since else NEVER, seen if seen > since else NEVER)
            self._queue.append((session.id, due))
        self._run()

    def decided(
        self, id_: int, since: BootNs, outcome: Service | Refusal, now: BootNs, says: str = "", proof: bytes = b""
    ) -> None:
        """Take what authorization says about a client that it was asked about.

        `since` is when that session began; `says`, who granted what, for its journal; `proof`, for the client itself.
        """
        self._now = now
        session = self.table.get(id_)
        if session is not None and session.since == since and session.phase is Phase.AUTHORIZING:
            if says:
                self.journal.note(id_, GRANTED, now, says)
            self._queue.append((id_, self._admit(session, outcome, proof)))
            self._run()

    def reconsider(self, id_: int, since: BootNs, outcome: Service | Refusal, now: BootNs) -> None:
        """Take what authorization says by now about a session that is served already."""
        session = self.table.get(id_)
        if session is None or session.since != since or session.phase is not Phase.ACTIVE or session.service is None:
            return
        if session.waits:
            return  # what the disk says of its promise is not to be written over
        if isinstance(outcome, Refusal):
            if outcome.reason not in PASSING:
                self.clear(id_, CloseCause.REFUSED, now, outcome)
            return
        if outcome.provisional:
            return
        lease, home = session.lease, self.pools.get(outcome.pool)
        assert lease is not None
        kept = outcome.address in (None, lease.address) and home is not None and lease.address in home.pool.network
        if kept and outcome.tenant == session.service.tenant:
            self.change(id_, outcome, now, anew=True)
        else:
            self.clear(id_, CloseCause.RECONFIGURED, now)

    def change(self, id_: int, service: Service, now: BootNs, anew: bool = False) -> bool:
        """Have a session that is served go on with another service. False: it has no row now, or there is no room.

        `anew`: its time counts from now.
        """
        self._now = now
        session = self.table.get(id_)
        if session is None or session.phase is not Phase.ACTIVE or session.waits:
            return False
        event = lifecycle.Changed(service, anew)
        changed, effects = lifecycle.advance(session, event, now)
        try:
            if changed.installed:
                self._plane.refresh([changed], now)
        except PlaneFull:
            return False
        self.journal.event(session, event, now)
        self._settle(changed, session, effects)
        self._run()
        return True

    def take_back(self, changed: Session, before: Session, now: BootNs) -> None:
        """Undo a change that the disk refused: `before` is as the session was; not if it was changed again since."""
        self._now = now
        session = self.table.get(changed.id)
        if session is None or session.phase is not Phase.ACTIVE or session.service is not changed.service:
            return
        back = lifecycle.taken_back(session, before)
        try:
            if back.installed:
                self._plane.refresh([back], now)
        except PlaneFull:
            return
        self._settle(back, session, ())
        self._run()

    def recorded(self, ids: Iterable[int], erased: Iterable[int], error: str | None, now: BootNs) -> None:
        """Take a completed group of the store: sessions saved, ids erased, and why not if it failed."""
        self._now = now
        saved: Event = lifecycle.Recorded()
        if error is not None:
            saved = lifecycle.RecordFailed(Refusal(Reason.STORE_FAILED, error))
        self._queue.extend((id_, saved) for id_ in ids)
        self._queue.extend((id_, lifecycle.Forgotten(durable=error is None)) for id_ in erased)
        self._run()

    def restore(self, session: Session, now: BootNs) -> Refusal | None:
        """Take up a session that the disk has, under the terms of today.

        Returns why its client would be granted nothing, or its address can no longer be served. It is then in the table
        all the same, for its end to be recorded: `clear` it.

        Raises: pool.Exhaustion if somebody else holds its address.
        """
        lease = session.lease
        assert lease is not None
        self.journal.note(session.id, RESTORED, now, number=int(lease.address))
        terms = self._home(lease)
        if terms is not None:
            terms.pool.hold(lease.address, session.client, session.known_as)
        reviewed = review(session, self.pools, self._authorization)
        self.table.put(reviewed.session, now)
        return reviewed.refusal if reviewed.outcome is Outcome.ENDED else None

    def _home(self, lease: Lease) -> PoolTerms | None:
        """The pool that a lease's address is of: by its name, as nearly always, or whatever it is called by now."""
        named = self.pools.get(lease.pool)
        return named if named is not None and lease.address in named.pool.network else self._around(lease.address)

    def _around(self, address: IPv4Address) -> PoolTerms | None:
        """The pool that has an address: pools do not overlap."""
        return next((terms for terms in self.pools.values() if address in terms.pool.network), None)

    # ---- another configuration ----------------------------------------------------------

    def reconfigure(
        self, pools: dict[str, PoolTerms], authorization: Authorization, admission: dict[int, Admission]
    ) -> None:
        """Go by another configuration from now on; what the pools of before remember is taken over.

        No session acts before it was looked at anew; `review` looks at those that do not act.
        """
        for terms in pools.values():
            for before in self.pools.values():
                if terms.pool.network.overlaps(before.pool.network):
                    terms.pool.take_over(before.pool)
        self.pools, self._authorization, self._admission = pools, authorization, admission
        self._stale = dict.fromkeys(session.id for session in self.table)
        self.reviewed.clear()
        self.rewritten = 0

    def doubt(self, ids: Iterable[int]) -> None:
        """Authorization may say something else of these sessions by now: have them looked at anew."""
        self._stale |= dict.fromkeys(ids)

    def review(self, now: BootNs, limit: int = REVIEWS, only: Iterable[int] | None = None) -> int:
        """Look anew at some sessions, or at certain ones; returns how many are left."""
        self._now = now
        for id_ in list(islice(self._stale, limit)) if only is None else only:
            self._review(id_)
        self._run()
        return len(self._stale)

    def _review(self, id_: int) -> None:
        if id_ not in self._stale:
            return
        del self._stale[id_]
        session = self.table.get(id_)
        if session is None:
            return
        reviewed = review(session, self.pools, self._authorization)
        if reviewed.outcome is Outcome.LATER:
            self._stale[id_] = None
            return
        self.reviewed[reviewed.outcome] += 1
        if reviewed.outcome is Outcome.ENDED:
            self._step(id_, lifecycle.Cleared(CloseCause.RECONFIGURED, reviewed.refusal))
            return
        changed = as_told(session, reviewed.session, self._now)
        if changed != session:
            self.table.put(changed, self._now)
        if changed.installed and changed.phase is Phase.ACTIVE:
            self._refreshing.append(id_)

    def _refresh(self) -> None:
        """Have the rows of the sessions that were looked at say what counts now; where there is no room, later."""
        ids, self._refreshing = self._refreshing, []
        found = [session for id_ in ids if (session := self.table.get(id_)) is not None]
        standing = [session for session in found if session.installed and session.phase is Phase.ACTIVE]
        try:
            self.rewritten += self._plane.refresh(standing, self._now)
        except PlaneFull:
            for session in standing:
                self.reviewed[Outcome.MOVED if session.moving else Outcome.KEPT] -= 1
                self._stale[session.id] = None

    def holder(self, address: IPv4Address) -> Session | None:
        """The session that has an address of a pool."""
        terms = self._around(address)
        client = terms.pool.holder(address) if terms is not None else None
        return self.table.find(client) if isinstance(client, Client) else None

    # ---- the turn -----------------------------------------------------------------------

    def _begin(self, event: lifecycle.First) -> None:
        try:
            id_ = self.table.new_id(self._now)
        except Full:
            full = Reason.TABLE_FULL
            self.counts.refused[full.spoken] += 1
            self.journal.stranger(event.client, self._now, event)
            self.journal.stranger(event.client, self._now, full.spoken, full)
            return
        self.journal.begin(id_, event.client)
        session, effects = lifecycle.begin(id_, event, self._now, next(self._names), self._plane.counted(id_))
        self._settle(session, None, effects)

    def _run(self) -> None:
        while self._queue or self._installing:
            while self._queue:
                self._step(*self._queue.popleft())
            self._install()
        if self._refreshing:
            self._refresh()
        self._records.flush()

    def _step(self, id_: int, event: Event) -> None:
        if id_ in self._stale:
            self._review(id_)
        session = self.table.get(id_)
        if session is not None:
            session = self._tenured(session)
            changed, effects = lifecycle.advance(session, event, self._now)
            if type(event) in NOTED or not effects:
                self.journal.event(session, event, self._now)
            self._settle(changed, session, effects, event)
        elif isinstance(event, lifecycle.Allocated):
            self._free(event.lease, quarantine=False)  # its client hung up in the turn that found it an address

    def tenure(self, session: Session) -> BootNs:
        """Until when a session's address is the gateway's to promise; NEVER: without end."""
        lease = session.lease
        if lease is not None:
            terms = self._home(lease)
        else:
            terms = self.pools.get(session.service.pool) if session.service is not None else None
        if terms is None or terms.tenure is None:
            return NEVER
        return BootNs(max(terms.tenure(), 1)) if lease is None or terms.pool.has(lease.address) else LONG_PAST

    def tenures(self, now: BootNs) -> frozenset[str]:
        """The shared pools of which something is the gateway's now."""
        shared = ((name, terms.tenure) for name, terms in self.pools.items() if terms.tenure is not None)
        return frozenset(name for name, tenure in shared if tenure() > now)

    def _tenured(self, session: Session) -> Session:
        """A session that knows its tenure."""
        until = self.tenure(session)
        return session if session.tenure == until else replace(session, tenure=until)

    def _settle(
        self,
        session: Session,
        before: Session | None,
        effects: Iterable[lifecycle.Effect],
        event: Event | None = None,
    ) -> None:
        """Store the new state first, then carry out its effects: an outcome may come at once."""
        if session is not before:
            self.table.put(session, self._now)
            if before is not None:
                self._note_end(session, before, event)
            if before is None or session.phase is not before.phase or session.service is not before.service:
                self._count(session, before)
                self._transition(session, before)
        for effect in effects:
            self._perform(session, effect)
        if session.phase is Phase.CLOSED:
            self.journal.end(session)
            if before is not None and before.phase is Phase.AUTHORIZING:
                self._authorization.forget(session)

    def _note_end(self, session: Session, before: Session, event: Event | None) -> None:
        """That it ends, and why; once more if the operator ends what was going by itself."""
        if session.cause is None or session.cause is before.cause or session.lease is None:
            return
        refusal = event.refusal if isinstance(event, lifecycle.Cleared) else None
        if refusal is None:
            self.journal.note(session.id, ENDING, self._now, session.cause.value)
        else:
            words = f"{session.cause.value}: {refusal.why}"
            self.journal.note(session.id, ENDING, self._now, words, reason=refusal.reason)

    def _count(self, session: Session, before: Session | None) -> None:
        if session.phase is Phase.CLOSED and session.cause is not None:
            self.counts.closed[session.cause.value] += 1
        if lifecycle.opens(session, before):
            self.counts.opened += 1

    def _perform(self, session: Session, effect: lifecycle.Effect) -> None:
        outcome: Event
        match effect:
            case lifecycle.Reply():
                self._answer(session, effect)
                return
            case lifecycle.Authorize():
                decided = self._authorization.decide(session, self._now)
                if decided is None:
                    return
                outcome = self._admit(session, decided)
            case lifecycle.Reauthorize():
                self._authorization.reauthorize(session)
                return
            case lifecycle.Allocate():
                outcome = self._allocate(session, effect)
            case lifecycle.Record(promise_until=until):
                self._records.save(session, until, self._started(session))
                return
            case lifecycle.Keep():
                self._records.keep(session)
                return
            case lifecycle.Install():
                self._installing.append(session.id)
                return
            case lifecycle.Uninstall():
                self._plane.remove([session.id], self._now)
                return
            case lifecycle.Forget():
                self._records.erase(session.id, self._stopped(session))
                return
            case lifecycle.Free(lease=lease, quarantine=quarantine):
                self._free(lease, quarantine)
                return
            case lifecycle.Unexpected(phase=phase, event=event):
                self.counts.unexpected[f"{event} while {phase.value}"] += 1
                return
        self._queue.append((session.id, outcome))

    def _answer(self, session: Session, reply: lifecycle.Reply) -> None:
        self.journal.answer(session, reply, self._now)
        match reply.answer:
            case lifecycle.Answer.OFFER:
                self.counts.offered += 1
            case lifecycle.Answer.CONFIRM | lifecycle.Answer.ADMIT:
                self.counts.confirmed += 1
            case lifecycle.Answer.REFUSE:
                self.counts.refused["told-no"] += 1
            case lifecycle.Answer.TELL:
                self.counts.told += 1
        self._reply(session, reply)

    def _started(self, session: Session) -> object | None:
        """What is accounted as a session is recorded for the first time."""
        if self._accounts is None or session.recorded:
            return None
        return self._accounts.started(session, self._now)

    def _stopped(self, session: Session) -> object | None:
        return None if self._accounts is None else self._accounts.stopped(session, self.used(session), self._now)

    def used(self, session: Session) -> Used:
        """What a session has used since it began. Never less than nothing, which no record could say."""
        used = self._plane.counted(session.id) - session.counted_before
        if min(astuple(used)) >= 0:
            return used
        self.counts.unexpected["counters went back"] += 1
        return Used(*(max(0, count) for count in astuple(used)))

    def new_name(self) -> str:
        """What accounting will call another session."""
        return next(self._names)

    def _admit(self, session: Session, service: Service | Refusal, proof: bytes = b"") -> Event:
        """What authorization grants is granted if there is room for it."""
        if isinstance(service, Refusal):
            return lifecycle.Denied(self._counted(service))
        if service.sessions is not None:
            others = [other for other in self.table.of_subscriber(service.subscriber) if _beside(other, service)]
            if len(others) >= service.sessions:
                why = f"{service.subscriber} has {len(others)} sessions, and may have {service.sessions}"
                return lifecycle.Denied(self._counted(Refusal(Reason.SUBSCRIBER_FULL, why)))
        number = session.client.line.port
        port = self._admission.get(number)
        if port is None:  # it went while a server was asked
            return lifecycle.Denied(
                self._counted(Refusal(Reason.PORT_NOT_CONFIGURED, f"port {number} is not configured"))
            )
        room = self.table.room_for(session, service.limit or port.clients, self._now, self._seen)
        if room is True:
            return lifecycle.Granted(service, proof)
        if room is False or not port.replace:
            full = Refusal(Reason.LINE_FULL, f"line {session.client.line} is full")
            return lifecycle.Denied(self._counted(full))
        self._step(room.id, lifecycle.Cleared(CloseCause.DISPLACED))  # now: it makes room for one, not for a batch
        return lifecycle.Granted(service, proof)

    def _counted(self, refusal: Refusal) -> Refusal:
        self.counts.refused[refusal.reason.spoken] += 1
        return refusal

    def _seen(self, session: Session) -> BootNs:
        return max(session.since, self._plane.seen(session.id), self._plane.renewed(session.id))

    def _allocate(self, session: Session, effect: lifecycle.Allocate) -> Event:
        service = session.service
        assert service is not None
        terms = self.pools.get(service.pool)
        if terms is None:
            return lifecycle.Exhausted(self._counted(no_pool(service)))
        if terms.tenure is not None and terms.tenure() <= self._now:
            why = f"nothing of pool {service.pool} is this gateway's now: `bng show nexus` says since when, and why"
            return lifecycle.Exhausted(self._counted(Refusal(Reason.NO_BLOCK, why)))
        reserved = terms.reservation(session.client) if service.address is None else service.address
        try:
            if reserved is not None and effect.exact and session.wanted != reserved:
                raise Exhaustion(Reason.ADDRESS_NOT_ITS_OWN, f"{session.wanted} is not this client's address")
            address = terms.pool.allocate(
                session.client,
                reserved or effect.wanted,
                self._now,
                exact=effect.exact,
                static=reserved is not None,
                known_as=session.known_as,
            )
        except Exhaustion as error:
            return lifecycle.Exhausted(self._counted(error.refusal))
        return lifecycle.Allocated(Lease(address, service.pool, terms.pool.subnet, terms.duration, terms.horizon))

    def _free(self, lease: Lease, quarantine: bool) -> None:
        terms = self._home(lease)
        if terms is not None:
            terms.pool.free(lease.address, after(self._now, terms.quarantine) if quarantine else None)

    def _install(self) -> None:
        """Project and write everything that became installable in this turn, in one batch."""
        ids, self._installing = self._installing, []
        sessions = [session for id_ in ids if (session := self.table.get(id_)) is not None]
        wanted = [session for session in sessions if session.phase is Phase.INSTALLING]
        if not wanted:
            return
        try:
            self._plane.install(wanted, self._now)
        except PlaneFull:
            self._install_singly(wanted)
        else:
            self._queue.extend((session.id, lifecycle.Installed()) for session in wanted)

    def _install_singly(self, wanted: Iterable[Session]) -> None:
        """The batch did not fit: those that do get in, the others are told."""
        for session in wanted:
            try:
                self._plane.install([session], self._now)
            except PlaneFull as error:
                self._queue.append((session.id, lifecycle.InstallFailed(Refusal(Reason.TABLE_FULL, str(error)))))
            else:
                self._queue.append((session.id, lifecycle.Installed()))


def _beside(other: Session, service: Service) -> bool:
    """Whether a session counts as one of the same subscriber's: two providers may call theirs the same."""
    return other.live and other.service is not None and other.service.authority == service.authority

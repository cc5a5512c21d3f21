"""The life of a session, as one readable match: (session, event, now) -> (session, effects).

Seen → Authorize → Granted → Allocate → Allocated → (Offered) → Record → Install → Reply … → Closed(cause).
Authorization decides the address; protocols deliver it. An offer only holds an address in memory. A confirmation
leaves after the lease is durable and the row is installed. Closing: remove the keys, wait for packets in flight (one of
them may have renewed the lease: then the session comes back), make the end durable, free the address. A pair of phase
and event that makes no sense comes out as `Unexpected`, counted.
"""

from __future__ import annotations

from enum import Enum, auto
from ipaddress import IPv4Address

from msgspec import Struct
from msgspec.structs import replace

from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.session.model import (
    IN_FLIGHT,
    LEASE_GRACE,
    NEVER,
    NOTHING_USED,
    OFFER_HOLD,
    STORE_RETRY,
    Client,
    CloseCause,
    Lease,
    Link,
    Phase,
    Service,
    Session,
    Used,
)
from wayleave.session.refusal import PASSING, Reason, Refusal

# ---- Events -----------------------------------------------------------------------------


class Discovered(Struct, frozen=True, kw_only=True, gc=False):
    """A client looks for service; it would like `wanted`."""

    client: Client
    ask: object
    encapsulation: bytes
    wanted: IPv4Address | None = None
    relayed: bool = False
    hostname: str = ""
    agent: bytes = b""


class Requested(Struct, frozen=True, kw_only=True, gc=False):
    """A client asks to have, or to keep, exactly `address`. `agent` is empty where its access node said nothing."""

    client: Client
    ask: object
    encapsulation: bytes
    address: IPv4Address
    relayed: bool = False
    hostname: str = ""
    form: bytes | None = None
    agent: bytes = b""


class Dialed(Struct, frozen=True, kw_only=True, gc=False):
    """A client has a link of PPP, and says who it is: it wants an address, whichever."""

    client: Client
    ask: object
    encapsulation: bytes
    link: Link
    credentials: object = None
    agent: bytes = b""


class Negotiated(Struct, frozen=True, gc=False):
    """More was agreed on about a client's link."""

    link: Link


class HungUp(Struct, frozen=True):
    """The client's link is gone; `says`: in the words of its protocol."""

    cause: CloseCause
    says: str = ""


class Queried(Struct, frozen=True):
    """A client that has its address asks for the parameters that go with it."""

    ask: object


class Released(Struct, frozen=True):
    """The client gives `address` back. `at`: when it said so; NEVER: just now."""

    address: IPv4Address
    at: BootNs = NEVER


class Declined(Struct, frozen=True):
    """The client found somebody else on `address`. `at` as for Released."""

    address: IPv4Address
    at: BootNs = NEVER


class Withdrawn(Struct, frozen=True):
    """The client took another server's offer."""


class Cleared(Struct, frozen=True):
    """Someone with authority ends the session; `refusal`: as its client would be granted nothing now."""

    cause: CloseCause
    refusal: Refusal | None = None


class Due(Struct, frozen=True):
    """The deadline has come. `renewed` is when the data plane last renewed the lease by itself, NEVER: not.

    `seen`: when it last let a packet of the client through; NEVER: nobody looked.
    """

    renewed: BootNs = NEVER
    seen: BootNs = NEVER


class Changed(Struct, frozen=True, gc=False):
    """Authorization grants another service, to the session as it is: same tenant, pool and address.

    `anew`: its time counts from now, whatever it was.
    """

    service: Service
    anew: bool = False


class Granted(Struct, frozen=True, gc=False):
    """`proof`: what whoever verified the client wants it to hear."""

    service: Service
    proof: bytes = b""


class Denied(Struct, frozen=True):
    refusal: Refusal


class Allocated(Struct, frozen=True, gc=False):
    """The pool holds `lease.address` for this session; its promise is not recorded yet."""

    lease: Lease


class Exhausted(Struct, frozen=True):
    refusal: Refusal


class Recorded(Struct, frozen=True):
    """The lease is on disk, with the promise that was asked for."""


class RecordFailed(Struct, frozen=True):
    refusal: Refusal


class Installed(Struct, frozen=True):
    """The rows are in the maps."""


class InstallFailed(Struct, frozen=True):
    refusal: Refusal


class Forgotten(Struct, frozen=True):
    """The end of the session is on disk, or could not be put there: then the address stays taken."""

    durable: bool = True


Event = (
    Discovered | Requested | Dialed | Negotiated | HungUp | Queried | Released | Declined | Withdrawn | Cleared | Due
    | Changed | Granted | Denied | Allocated | Exhausted | Recorded | RecordFailed | Installed | InstallFailed
    | Forgotten
)  # fmt: skip

# ---- Effects ----------------------------------------------------------------------------


class Authorize(Struct, frozen=True):
    """Ask who this is; comes back as Granted or Denied."""


class Reauthorize(Struct, frozen=True):
    """Ask again whether it may go on; comes back as Changed or Cleared, or not at all while nobody can be asked."""


class Allocate(Struct, frozen=True, gc=False):
    """Hold an address; comes back as Allocated or Exhausted."""

    wanted: IPv4Address | None
    exact: bool


class Record(Struct, frozen=True):
    """Make the lease durable with this promise; comes back as Recorded or RecordFailed."""

    promise_until: BootNs


class Keep(Struct, frozen=True):
    """Have the disk say what the session is like by now; nothing waits for it."""


class Install(Struct, frozen=True):
    """Project the session into the maps; comes back as Installed or InstallFailed."""


class Uninstall(Struct, frozen=True):
    """Take the keys away. Done when it returns."""


class Forget(Struct, frozen=True):
    """Make the end durable; comes back as Forgotten."""


class Free(Struct, frozen=True):
    """Give the address back to its pool; a quarantined one rests first."""

    lease: Lease
    quarantine: bool = False


class Answer(Enum):
    """What a protocol is to tell the client; it knows the words for it."""

    OFFER = auto()
    CONFIRM = auto()
    REFUSE = auto()
    TELL = auto()
    ADMIT = auto()
    """PPP: it is who it says, and has its address."""

    __hash__ = object.__hash__  # members are one of a kind; Enum's own hash is ten times slower


class Reply(Struct, frozen=True, gc=False):
    """Answer `ask`. `remaining` is how long the client may use the address, `refusal` why it may not.

    `proof`: what whoever verified the client wants it to hear.
    """

    ask: object
    answer: Answer
    lease: Lease | None = None
    remaining: Ns = Ns(0)
    refusal: Refusal | None = None
    proof: bytes = b""

    @property
    def why(self) -> str:
        """For the client to read; empty unless it is refused."""
        return self.refusal.why if self.refusal is not None else ""


class Unexpected(Struct, frozen=True):
    """Phase and event do not go together; nothing was changed."""

    phase: Phase
    event: str


Effect = Authorize | Reauthorize | Allocate | Record | Keep | Install | Uninstall | Forget | Free | Reply | Unexpected
Step = tuple[Session, tuple[Effect, ...]]

# ---- The machine ------------------------------------------------------------------------


First = Discovered | Requested | Dialed
"""What a client without a session begins one with."""


def begin(id_: int, event: First, now: BootNs, accounting: str = "", counted: Used = NOTHING_USED) -> Step:
    """First sight of a client: authorization comes before any address.

    `accounting`: what accounting will call it; `counted`: what was counted under its id before.
    """
    session = Session(
        id=id_,
        client=event.client,
        phase=Phase.AUTHORIZING,
        since=now,
        accounting=accounting,
        counted_before=counted,
        encapsulation=event.encapsulation,
        agent=event.agent,
        ask=event.ask,
    )
    return _first(session, event), (Authorize(),)


def _first(session: Session, event: First) -> Session:
    """Take over what this protocol's clients begin with."""
    if isinstance(event, Dialed):
        return replace(session, link=event.link, credentials=event.credentials)
    session = replace(session, relayed=event.relayed, hostname=event.hostname)
    if isinstance(event, Requested):
        return replace(_heard(session, event), wanted=event.address, exact=True)
    return replace(session, wanted=event.wanted)


def advance(session: Session, event: Event, now: BootNs) -> Step:
    """Take one event.

    Pure: the same three arguments give the same answer. The caller carries out the effects in order and feeds their
    outcomes back as events.
    """
    match session.phase, event:
        # -- the way up -------------------------------------------------------------------
        case Phase.AUTHORIZING, Granted():
            allocate = Allocate(event.service.address or session.wanted, session.exact)
            known = replace(session, credentials=None, proof=event.proof)
            return replace(known, phase=Phase.ALLOCATING, service=event.service), (allocate,)
        case Phase.AUTHORIZING, Denied():
            return _refuse(session, CloseCause.REFUSED, event.refusal)
        case Phase.ALLOCATING, Allocated():
            return _addressed(replace(session, lease=event.lease), now)
        case Phase.ALLOCATING, Exhausted():
            return _refuse(session, CloseCause.NO_ADDRESS, event.refusal)
        case Phase.RECORDING, Recorded():
            return _recorded(session)
        case Phase.RECORDING, RecordFailed():
            return _not_recorded(session, now)
        case Phase.INSTALLING, Installed():
            return _confirm(replace(session, installed=True), session.ask, now)
        case Phase.INSTALLING, InstallFailed():
            return _not_installed(session, now)
        # -- requests ---------------------------------------------------------------------
        case ((Phase.AUTHORIZING | Phase.ALLOCATING), Discovered()):
            return replace(session, ask=event.ask, wanted=event.wanted, exact=False), ()
        case ((Phase.AUTHORIZING | Phase.ALLOCATING), Requested()):
            return replace(_heard(session, event), wanted=event.address, exact=True), ()
        case Phase.OFFERED, Discovered():
            return _offer(replace(session, ask=event.ask, encapsulation=event.encapsulation), now)
        case Phase.OFFERED, Requested():
            return _claim(session, event, now)
        case ((Phase.RECORDING | Phase.INSTALLING), Requested(address=address)) if address == _address(session):
            return replace(session, ask=event.ask), ()
        case ((Phase.RECORDING | Phase.INSTALLING), (Discovered() | Requested())):
            return session, ()
        case Phase.ACTIVE, (Discovered() | Requested()) if session.moving:
            return _move_on(session, event, now)
        case Phase.ACTIVE, Discovered():
            return session, (_proposal(session, event.ask),)
        case Phase.ACTIVE, Requested():
            return _renew(session, event, now)
        case ((Phase.REMOVING | Phase.FORGETTING | Phase.CLOSED), (Discovered() | Requested())):
            return session, ()  # it asks again, and is then somebody new
        case Phase.ACTIVE, Queried():
            return session, (Reply(event.ask, Answer.TELL, session.lease),)
        case _, Queried():
            return session, ()
        case _, Dialed():
            return session, ()  # whoever has its link waits until what was there is gone
        case ((Phase.RECORDING | Phase.INSTALLING | Phase.ACTIVE), Negotiated()):
            return replace(session, link=event.link), (Keep(),)
        case _, Negotiated():
            return session, ()
        # -- authorization thinks anew ----------------------------------------------------
        case Phase.ACTIVE, Changed():
            return _change(session, event, now)
        case _, Changed():
            return session, ()
        # -- the way down -----------------------------------------------------------------
        case ((Phase.OFFERED | Phase.ACTIVE), Released(address=address)) if address == _address(session):
            return _close(replace(session, left_at=event.at or now), CloseCause.USER_REQUEST, now)
        case ((Phase.OFFERED | Phase.ACTIVE), Declined(address=address)) if address == _address(session):
            return _close(replace(session, left_at=event.at or now), CloseCause.DECLINED, now)
        case Phase.OFFERED, Withdrawn():
            return _close(session, CloseCause.OFFER_LAPSED, now)
        case _, (Released() | Declined() | Withdrawn()):
            return session, ()  # not what this session holds
        case ((Phase.REMOVING | Phase.FORGETTING | Phase.CLOSED), HungUp()):
            return session, ()
        case _, HungUp():
            return _close(session, event.cause, now)
        case Phase.REMOVING, Cleared() if session.cause is not CloseCause.DECLINED:
            return replace(session, cause=event.cause), ()  # nothing brings it back any more
        case ((Phase.REMOVING | Phase.FORGETTING | Phase.CLOSED), Cleared()):
            return session, ()
        case _, Cleared():
            return _close(session, event.cause, now)
        case _, Due() if session.deadline == NEVER or now < session.deadline:
            return session, ()  # an earlier deadline, since moved
        case Phase.OFFERED, Due():
            return _close(session, CloseCause.OFFER_LAPSED, now)
        case Phase.ACTIVE, Due():
            return _expire(session, event, now)
        case Phase.REMOVING, Due() if _renewed_meanwhile(session, event.renewed, now):
            return _bring_back(session, event.renewed)
        case Phase.REMOVING, Due():
            return replace(session, phase=Phase.FORGETTING, deadline=NEVER), (Forget(),)
        case Phase.FORGETTING, Due():
            return replace(session, deadline=NEVER), (Forget(),)
        case Phase.FORGETTING, Forgotten():
            return _forgotten(session, event.durable, now)
        case ((Phase.REMOVING | Phase.FORGETTING | Phase.CLOSED), _):
            return session, ()  # the outcome of an effect from before it closed
        case _, _:
            return session, (Unexpected(session.phase, type(event).__name__),)


def opens(session: Session, before: Session | None) -> bool:
    """Whether a client that had no lease has one with this step."""
    return session.phase is Phase.ACTIVE and before is not None and before.leased_until == NEVER


def _address(session: Session) -> IPv4Address | None:
    return session.lease.address if session.lease else None


def _term(session: Session, now: BootNs) -> Ns:
    """How long a renewal now may promise: a whole lease if it fits under the promise, else what is left of that.

    Never more than what is left of the session's own time.
    """
    lease = session.lease
    assert lease is not None
    whole = min(lease.duration, session.ends_at - now) if session.ends_at else lease.duration
    return Ns(max(0, min(whole, lease.promise_until - now)))


def wake_at(session: Session) -> BootNs:
    """Return when a session that is served has to be looked at: its lease, its time, or its patience may be over."""
    lease = after(session.leased_until, LEASE_GRACE) if session.link is None else _extends_at(session)
    return min([lease, *_other_ends(session)])


def _other_ends(session: Session) -> list[BootNs]:
    """When its time or its patience may be over."""
    idle = session.service.idle_timeout if session.service is not None else 0
    ends = [moment for moment in (session.ends_at, session.asks_at) if moment]
    return [*ends, after(session.active_at, Ns(idle))] if idle and session.active_at else ends


def _extends_at(session: Session) -> BootNs:
    """A client of PPP has its address for as long as its link: it is promised anew when less than a lease is left."""
    lease = session.lease
    assert lease is not None
    return BootNs(max(1, lease.promise_until - min(lease.duration, lease.horizon // 2)))


def _offer(session: Session, now: BootNs) -> Step:
    held = replace(session, phase=Phase.OFFERED, deadline=after(now, OFFER_HOLD), ask=None)
    return held, (_proposal(session, session.ask),)


def _proposal(session: Session, ask: object) -> Reply:
    """Offer a whole lease: if it does not fit under the promise, a new one is recorded before it is confirmed."""
    assert session.lease is not None
    return Reply(ask, Answer.OFFER, session.lease, session.lease.duration)


def _addressed(session: Session, now: BootNs) -> Step:
    """An address is held: offer it, or record it at once if the client already asked for just this one.

    It may have asked for another one meanwhile, after it only looked around: then that is refused.
    """
    if session.link is not None:
        return _record(session, now)
    if not session.exact:
        return _offer(session, now)
    if session.wanted != _address(session):
        return _turn_down(session, session.ask, session.wanted, now)
    return _record(session, now)


def _claim(session: Session, event: Requested, now: BootNs) -> Step:
    """The client takes an offer, or asks for something that it was not offered."""
    if event.address != _address(session):
        return _turn_down(session, event.ask, event.address, now)
    return _record(_heard(session, event), now)


def _heard(session: Session, event: Requested) -> Session:
    """Take over how a request came and what it asks for."""
    return replace(
        session,
        ask=event.ask,
        encapsulation=event.encapsulation,
        relayed=event.relayed,
        form=event.form,
        agent=event.agent or session.agent,
    )


def _looks_the_same(session: Session, before: Session) -> bool:
    """Whether the rows of `before` also serve `session`."""
    return (session.encapsulation, session.form, session.agent) == (before.encapsulation, before.form, before.agent)


def _turn_down(session: Session, ask: object, address: IPv4Address | None, now: BootNs) -> Step:
    refusal = _no(ask, f"{address} was not offered to this client")
    closing, effects = _close(session, CloseCause.OFFER_LAPSED, now)
    return closing, (refusal, *effects)


def _no(ask: object, why: str) -> Reply:
    """What it asks for is not its to have."""
    return Reply(ask, Answer.REFUSE, refusal=Refusal(Reason.ADDRESS_NOT_ITS_OWN, why))


def _move_on(session: Session, event: Discovered | Requested, now: BootNs) -> Step:
    """Another address is this client's by now. Who asks to keep this one is told no; who looks around asks again."""
    closing, effects = _close(session, CloseCause.RECONFIGURED, now)
    if isinstance(event, Discovered):
        return closing, effects
    return closing, (_no(event.ask, "this client is to have another address"), *effects)


def _record(session: Session, now: BootNs) -> Step:
    """Promise the address from now on for the pool's horizon, on disk first; never for less than was promised before.

    A client that does not hear the answer goes by what it was told last, under the terms of that time.
    """
    until = _promise(session, now)
    if until - now < SECOND:
        return _close(session, CloseCause.BLOCK_LOST, now)
    return replace(_begun(session, now), phase=Phase.RECORDING, promising=until, deadline=NEVER), (Record(until),)


def _promise(session: Session, now: BootNs) -> BootNs:
    """Until when the address can be promised: never for less than before, unless it is the gateway's for less."""
    assert session.lease is not None
    until = BootNs(max(after(now, session.lease.horizon), session.lease.promise_until, session.leased_until))
    return BootNs(min(until, session.tenure)) if session.tenure else until


def _recorded(session: Session) -> Step:
    assert session.lease is not None
    duration = max(session.lease.duration, session.lease.longer)
    lease = replace(session.lease, promise_until=session.promising, duration=duration, longer=Ns(0))
    return replace(session, phase=Phase.INSTALLING, lease=lease, promising=NEVER), (Install(),)


def _renew(session: Session, event: Requested, now: BootNs) -> Step:
    lease = session.lease
    assert lease is not None
    if event.address != lease.address:
        return session, (_no(event.ask, f"this client's address is {lease.address}"),)
    until = _promise(session, now)
    if until - now < SECOND:
        return session, ()  # its block is not the gateway's now, and may be again: who asks then is answered
    moved = _heard(session, event)
    if not session.installed or not _looks_the_same(moved, session):
        return _record(moved, now)  # also how it looks: a restart goes by what is on the disk
    if lease.longer or (lease.promise_until - now < lease.duration and lease.promise_until < until):
        return _record(moved, now)
    return _confirm(moved, event.ask, now)


def _confirm(session: Session, ask: object, now: BootNs) -> Step:
    """Say yes for as long as the promise allows. Where that is no time at all, the client hears nothing.

    Where nobody asks, nobody is told of more than before. A client of PPP goes by its link, and is told of no time.
    """
    remaining = _term(session, now) if ask is not None else Ns(0)
    assert session.lease is not None
    until = now + remaining if session.link is None else session.lease.promise_until
    until = BootNs(max(session.leased_until, until))
    active = replace(session, phase=Phase.ACTIVE, ask=None, leased_until=until, active_at=session.active_at or now)
    active = replace(active, deadline=wake_at(active), proof=b"")
    if ask is None or remaining < SECOND:
        return active, ()
    answer = Answer.CONFIRM if session.link is None else Answer.ADMIT
    return active, (Reply(ask, answer, session.lease, remaining, proof=session.proof),)


def _begun(session: Session, now: BootNs) -> Session:
    """Its time begins with its first lease."""
    if session.opened_at:
        return session
    return replace(_timed(session, now), opened_at=now)


def _timed(session: Session, now: BootNs) -> Session:
    """What its service says of its time counts from now: it ends after that, or is asked about again.

    Who proved who it is cannot be asked about again without a proof: it ends, and dials anew (RFC 2865 5.29: may).
    """
    service = session.service
    limit = service.session_timeout if service is not None else 0
    over = after(now, Ns(limit)) if limit else NEVER
    if service is not None and service.reauthorize and not session.named:
        return replace(session, ends_at=NEVER, asks_at=over)
    return replace(session, ends_at=over, asks_at=NEVER)


def _change(session: Session, event: Changed, now: BootNs) -> Step:
    """Another service, in place. A time that is granted anew counts from now (RFC 5176 leaves it open)."""
    before, service = session.service, event.service
    changed = replace(session, service=service, active_at=session.active_at or now)
    if before is None or event.anew or _time(service) != _time(before):
        changed = _timed(changed, now)
    return replace(changed, deadline=wake_at(changed)), (Keep(),)


def _time(service: Service) -> tuple[Ns, bool]:
    return service.session_timeout, service.reauthorize


def _not_recorded(session: Session, now: BootNs) -> Step:
    """The disk refused. A newcomer is turned away; who is served already keeps what the last promise covers.

    Its row is written all the same: it may look different by now. A client of PPP did not ask: that is tried again.

    Who comes back after a reboot may still use what was promised before it: the address stays with that client, which
    hears nothing for now.
    """
    if session.installed and session.link is not None:
        return replace(session, phase=Phase.ACTIVE, promising=NEVER, deadline=after(now, STORE_RETRY)), ()
    if session.installed:
        return replace(session, phase=Phase.INSTALLING, promising=NEVER), (Install(),)
    if not session.recorded:
        return _close(session, CloseCause.STORE_FAILED, now)
    deadline = NEVER if session.leased_until == NEVER else wake_at(session)
    return replace(session, phase=Phase.ACTIVE, promising=NEVER, ask=None, deadline=deadline), ()


def _not_installed(session: Session, now: BootNs) -> Step:
    """There is no room for a fresh row. Who has one keeps it, and asks again; its next request tries anew."""
    if not session.installed and session.leased_until <= now:
        return _close(session, CloseCause.TABLE_FULL, now)
    return replace(session, phase=Phase.ACTIVE, ask=None, encapsulation=b"", deadline=wake_at(session)), ()


def taken_back(session: Session, before: Session) -> Session:
    """Return a session under the service and the times that it had before, as it is otherwise."""
    back = replace(session, service=before.service, ends_at=before.ends_at, asks_at=before.asks_at)
    return replace(back, deadline=wake_at(back))


def _expire(session: Session, due: Due, now: BootNs) -> Step:
    """See what is over. The data plane may have renewed the lease, never past the session's own time."""
    lease, service = session.lease, session.service
    assert lease is not None
    until = BootNs(max(session.leased_until, due.renewed + lease.duration if due.renewed else NEVER))
    active = BootNs(max(session.active_at, due.seen))  # a client that renews and sends nothing is idle
    known = replace(session, leased_until=until, active_at=active)
    if session.ends_at and now >= session.ends_at:
        return _close(known, CloseCause.SESSION_TIMEOUT, now)
    if service is not None and service.idle_timeout and now >= after(active, service.idle_timeout):
        return _close(known, CloseCause.IDLE_TIMEOUT, now)
    if (lease.promise_until if session.link is not None else after(until, LEASE_GRACE)) <= now:
        return _close(known, CloseCause.LEASE_EXPIRED, now)
    if service is not None and session.asks_at and now >= session.asks_at:
        known = replace(known, asks_at=NEVER, service=replace(service, provisional=True))
        return replace(known, deadline=wake_at(known)), (Keep(), Reauthorize())
    if session.link is not None and now >= _extends_at(session):
        return _extend(known, now)
    return replace(known, deadline=wake_at(known)), ()


def _extend(session: Session, now: BootNs) -> Step:
    """Promise a client of PPP its address for longer. Where that is not the gateway's to promise, it tries again."""
    lease = session.lease
    assert lease is not None
    if _promise(session, now) > lease.promise_until:
        return _record(session, now)
    again = after(now, Ns(max(SECOND, (lease.promise_until - now) // 2)))
    return replace(session, deadline=min(again, lease.promise_until, *_other_ends(session))), ()


_OWN_ENDS = (CloseCause.LEASE_EXPIRED, CloseCause.USER_REQUEST, CloseCause.DECLINED)
"""Ends that a client brings about, and can take back by asking again."""


def _renewed_meanwhile(session: Session, renewed: BootNs, now: BootNs) -> bool:
    """Did the data plane renew the lease after it was found expired or given up, and before its keys were gone?"""
    if session.link is not None or session.cause not in _OWN_ENDS or renewed <= session.left_at:
        return False
    if session.tenure and session.tenure <= now:
        return False
    assert session.lease is not None
    return after(renewed, session.lease.duration) > now


def _bring_back(session: Session, renewed: BootNs) -> Step:
    """The client was told that it has a lease: its end is not made durable, and its keys are put back."""
    assert session.lease is not None
    until = after(renewed, session.lease.duration)
    back = replace(
        session,
        phase=Phase.INSTALLING,
        installed=False,
        cause=None,
        left_at=NEVER,
        leased_until=until,
        deadline=NEVER,
    )
    return back, (Install(),)


def _refuse(session: Session, cause: CloseCause, refusal: Refusal) -> Step:
    """Nothing is held yet: say no where the protocol can, and be gone."""
    tell = session.link is not None or (session.exact and refusal.reason not in PASSING)
    said = (Reply(session.ask, Answer.REFUSE, refusal=refusal),) if tell else ()
    return replace(session, phase=Phase.CLOSED, cause=cause, ask=None, credentials=None, deadline=NEVER), said


def _close(session: Session, cause: CloseCause, now: BootNs) -> Step:
    """Undo what was done, in the order that never lets two clients have one address."""
    closing = replace(session, cause=cause, ask=None, deadline=NEVER)
    if session.installed or session.phase is Phase.INSTALLING:
        return replace(closing, phase=Phase.REMOVING, deadline=after(now, IN_FLIGHT)), (Uninstall(),)
    if session.recorded or session.phase is Phase.RECORDING:
        return replace(closing, phase=Phase.FORGETTING), (Forget(),)
    free = (Free(session.lease, quarantine=cause is CloseCause.DECLINED),) if session.lease else ()
    return replace(closing, phase=Phase.CLOSED), free


def _forgotten(session: Session, durable: bool, now: BootNs) -> Step:
    if not durable:
        return replace(session, deadline=after(now, STORE_RETRY)), ()
    assert session.lease is not None
    closed = replace(session, phase=Phase.CLOSED)
    return closed, (Free(session.lease, quarantine=session.cause is CloseCause.DECLINED),)

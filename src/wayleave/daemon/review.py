"""What becomes of a session under another configuration: at start, at a reload, and for `bng plan` the same.

The question is what authorization and pools would grant the client today. The address that it has: it goes on, under
the terms of today. Another one: it goes on as it is until it asks next, and is then told to start anew. Nothing, or a
place with another tenant, or its address can no longer be served: it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from msgspec import Struct
from msgspec.structs import replace

from wayleave.net.units import BootNs, Ns
from wayleave.session.lifecycle import wake_at
from wayleave.session.model import IN_FLIGHT, Client, CloseCause, Lease, Phase, Service, Session
from wayleave.session.pool import Pool
from wayleave.session.ports import Reviewer
from wayleave.session.refusal import Reason, Refusal


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """A pool with what its leases promise, and what it keeps for whom."""

    pool: Pool
    duration: Ns
    horizon: Ns
    quarantine: Ns
    reservation: Callable[[Client], IPv4Address | None]
    tenure: Callable[[], BootNs] | None = None
    """Until when what it has is the gateway's; None: without end, it is shared with nobody."""


class Outcome(Enum):
    """What becomes of a session. LATER: it is on its way to the disk, or back from its end; to be asked again."""

    KEPT = "kept"
    MOVED = "moved"
    ENDED = "ended"
    LATER = "later"


class Reviewed(Struct, frozen=True):
    """The session as it should be now; `refusal`: why it cannot go on as it is."""

    outcome: Outcome
    session: Session
    refusal: Refusal | None = None


_ON_ITS_WAY = (Phase.RECORDING, Phase.INSTALLING, Phase.REMOVING)
_GONE = (Phase.FORGETTING, Phase.CLOSED)


def review(session: Session, pools: Mapping[str, PoolTerms], reviewer: Reviewer) -> Reviewed:
    """Ask again who a client is and what it gets."""
    lease, service = session.lease, session.service
    if lease is None or service is None or session.phase in _GONE:
        return Reviewed(Outcome.KEPT, session)
    if session.phase is Phase.REMOVING and session.cause is CloseCause.DECLINED:
        return Reviewed(Outcome.LATER, session)  # it keeps that cause to its end, for the address to rest
    granted = reviewer.review(session)
    if isinstance(granted, Refusal):
        return Reviewed(Outcome.ENDED, session, granted)
    if granted.tenant != service.tenant:
        theirs = Refusal(Reason.OTHER_TENANT, f"it is tenant {granted.tenant}'s now")
        return Reviewed(Outcome.ENDED, session, theirs)
    home = pools.get(granted.pool)
    refusal = no_pool(granted) if home is None else _why_not(session.client, lease, granted, home)
    if home is not None and refusal is None:
        if session.phase in _ON_ITS_WAY:
            return Reviewed(Outcome.LATER, session)
        kept = replace(session, service=granted, lease=_under(lease, granted.pool, home), moving=False)
        return Reviewed(Outcome.KEPT, kept)
    stay = pools.get(lease.pool)
    if stay is None or not _serves(stay, lease.address) or session.phase is Phase.OFFERED:
        return Reviewed(Outcome.ENDED, session, refusal)
    if session.phase in _ON_ITS_WAY:
        return Reviewed(Outcome.LATER, session)
    return Reviewed(Outcome.MOVED, replace(session, lease=_under(lease, lease.pool, stay), moving=True), refusal)


def no_pool(granted: Service) -> Refusal:
    return Refusal(Reason.NO_POOL, f"there is no pool {granted.pool}")


def _serves(terms: PoolTerms, address: IPv4Address) -> bool:
    subnet = terms.pool.subnet
    return address in subnet.network and address != subnet.gateway and terms.pool.has(address)


def _why_not(client: Client, lease: Lease, granted: Service, home: PoolTerms) -> Refusal | None:
    """Why a client would not get today what it has; None: it would."""
    static = granted.address or home.reservation(client)
    if static is not None and static != lease.address:
        return Refusal(Reason.ADDRESS_NOT_ITS_OWN, f"its address is {static} now")
    if not _serves(home, lease.address):
        where = "no block of this gateway's in" if lease.address in home.pool.network else "not one of"
        return Refusal(Reason.ADDRESS_NOT_FREE, f"{lease.address} is {where} pool {granted.pool}")
    if static is None and not home.pool.gives(lease.address):
        return Refusal(Reason.ADDRESS_NOT_FREE, f"{lease.address} is excluded or reserved now")
    return None


def _under(lease: Lease, pool: str, terms: PoolTerms) -> Lease:
    """A lease under the terms of today: a shorter one counts at once, a longer one once it is on disk."""
    recorded = lease.promise_until != 0
    longer = recorded and terms.duration > lease.duration
    return replace(
        lease,
        pool=pool,
        subnet=terms.pool.subnet,
        duration=Ns(min(lease.duration, terms.duration)) if recorded else terms.duration,
        horizon=terms.horizon,
        longer=terms.duration if longer else Ns(0),
    )


def as_told(before: Session, now_on: Session, now: BootNs) -> Session:
    """Count with what the client may have been told until now, also by the data plane, under longer terms."""
    was, lease = before.lease, now_on.lease
    if was is None or lease is None or lease.duration >= was.duration or not before.installed:
        return now_on
    told = min(lease.promise_until, now + was.duration + IN_FLIGHT)
    leased = BootNs(max(now_on.leased_until, told))
    later = replace(now_on, leased_until=leased)
    return replace(later, deadline=wake_at(later))

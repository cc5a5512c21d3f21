"""Taking up what the disk has: after a restart, after a reboot, and while the wall clock cannot be believed.

Within one boot the boot clock says what is left of each promise. After a reboot the wall clock does, once it is
plausible; until then every address stays with its last holder, without rows and without an end. What is left of a
promise is what may be forwarded; a client that does not renew is gone a lease from now, as nobody was told of more.
What is in a block of a shared pool waits in the same way until the gateway's hold of it stands (again).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from wayleave.daemon.engine import Engine
from wayleave.io.clock import Clock
from wayleave.io.lease import Restored, on_this_boot, promised
from wayleave.net.units import BootNs, Ns, UtcNs, after
from wayleave.session.lifecycle import wake_at
from wayleave.session.model import LONG_PAST, NEVER, CloseCause, Phase, Session
from wayleave.session.pool import Exhaustion
from wayleave.session.refusal import Refusal

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A promise of which nobody knows yet whether it stands, and the longest lease that was told under it.

    `promise_utc`: where it waits for the wall clock; None: `promise` is of this boot's clock.
    """

    duration: Ns
    promise_utc: UtcNs | None
    promise: BootNs


class Recovery:
    """Brings the engine's table to what the store says. `unknown` are the sessions that wait for clock or hold.

    `resume` takes up the link of each client of PPP whose session goes on: it notices nothing.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        resume: Callable[[Session, BootNs], None] = lambda _session, _now: None,
    ) -> None:
        """`engine.pools` know until when their blocks are this gateway's."""
        self._engine, self._clock, self._resume = engine, clock, resume
        self.unknown: dict[int, Unknown] = {}
        self._restored_at = BootNs(0)
        self._known: tuple[bool, frozenset[str]] | None = None
        """What was known when the unknown were looked at last; None: they are to be looked at in any case."""

    def restore(self, leases: Iterable[Restored]) -> None:
        """Take up every lease; end those whose client would not be granted that address today."""
        now = self._restored_at = self._clock.boot()
        homeless: list[tuple[Session, Refusal]] = []
        for restored in leases:
            session, lease = restored.session, restored.session.lease
            assert lease is not None
            waits = restored.unknown_until is not None or not self._stands(session, now)
            if waits:
                session = _without_end(session, now)
            session = replace(session, installed=not waits and lease.promise_until > now)
            try:
                refusal = self._engine.restore(session, now)
            except Exhaustion as error:
                log.error("lease-not-restored", session=session.id, client=str(session.client), why=str(error))
                continue
            if refusal is not None:
                homeless.append((session, refusal))
            elif waits:
                self.unknown[session.id] = Unknown(lease.duration, restored.unknown_until, lease.promise_until)
        self._engine.table.close_gaps(now)
        if len(self._engine.table):
            log.info("leases-restored", sessions=len(self._engine.table), waiting=len(self.unknown))
        for session, refusal in homeless:
            log.warning("lease-no-longer-granted", session=session.id, client=str(session.client), why=refusal.why)
            self._engine.clear(session.id, CloseCause.RECONFIGURED, now, refusal)

    def took_over(self) -> None:
        """Count every lease from now: until now the data plane of before renewed them, under the terms of before."""
        now = self._clock.boot()
        late = Ns(now - self._restored_at)
        for session in [session for session in self._engine.table if session.installed and session.live]:
            assert session.lease is not None
            leased = BootNs(min(session.lease.promise_until, after(session.leased_until, late)))
            later = replace(session, leased_until=leased)
            self._go_on(replace(later, deadline=wake_at(later)), now)

    def settle(self) -> list[Session]:
        """Find out which promises of before still stand, once the clock is plausible and their blocks are confirmed.

        Returns the sessions whose rows the caller is to install now. Those whose promise has run out end at once.
        """
        now = self._clock.boot()
        facts = (self._clock.plausible, self._engine.tenures(now))
        if not self.unknown or facts == self._known:
            return []  # nothing is known that was not when they were looked at last
        standing: list[Session] = []
        again = False
        before, self.unknown = self.unknown, {}
        for id_, promise in before.items():
            session = self._engine.table.get(id_)
            if session is None or not session.live or session.installed:
                continue  # it came back meanwhile, and was promised anew; or it went
            if session.phase is not Phase.ACTIVE:
                self.unknown[id_], again = promise, True  # it comes back: if the disk refuses, the old promise counts
                continue
            if self._awaits_clock(promise) or not self._stands(session, now):
                self.unknown[id_] = promise
                continue
            until = promise.promise
            if promise.promise_utc is not None:
                until = BootNs(max(on_this_boot(self._clock, promise.promise_utc), 1))
            tenure = self._engine.tenure(session)
            known = promised(session, BootNs(min(until, tenure or until)), promise.duration, now)
            if until > now:
                known = replace(known, installed=True)
                standing.append(known)
            self._go_on(known, now)
        self._known = None if again else facts
        if len(before) > len(self.unknown):
            log.info("leases-known", sessions=len(before) - len(self.unknown), waiting=len(self.unknown))
        return standing

    @property
    def awaiting_clock(self) -> int:
        """How many sessions wait for the wall clock."""
        return sum(map(self._awaits_clock, self.unknown.values()))

    def awaits_clock(self, id_: int) -> bool:
        """Whether this session does."""
        return id_ in self.unknown and self._awaits_clock(self.unknown[id_])

    def _awaits_clock(self, promise: Unknown) -> bool:
        return promise.promise_utc is not None and not self._clock.plausible

    def _stands(self, session: Session, now: BootNs) -> bool:
        """Whether a session's address is the gateway's to serve now."""
        tenure = self._engine.tenure(session)
        return not tenure or tenure > now

    def _go_on(self, session: Session, now: BootNs) -> None:
        """Store a session as it is known now, and take up its link if it is served."""
        self._engine.table.put(session, now)
        if session.installed and session.link is not None:
            self._resume(session, now)


def _without_end(session: Session, now: BootNs) -> Session:
    """A session of which nobody knows whether its promise stands: held, without rows."""
    assert session.lease is not None
    lease = replace(session.lease, promise_until=LONG_PAST)
    return replace(session, lease=lease, leased_until=after(now, lease.duration), deadline=NEVER)

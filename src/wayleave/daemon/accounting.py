"""Accounting at work: records are made, made durable, sent, and forgotten once they are acknowledged.

A Start is durable with the lease that it is about, a Stop with the lease's end: there is exactly one of each for every
session, whatever becomes of the gateway. Interims come one by one, spread over their interval.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import structlog
from msgspec.structs import replace

from wayleave.aaa import request
from wayleave.aaa.outbox import Account, Outbox
from wayleave.aaa.radius import Deciders
from wayleave.aaa.request import Status
from wayleave.io.clock import Clock
from wayleave.io.lease import Restored
from wayleave.io.store import Store, StoreError
from wayleave.io.writes import Acknowledged, Booted, Erase, Recount, Rename, Report, Save, Write, account_of
from wayleave.net.units import SECOND, BootNs, Ns, UtcNs, after
from wayleave.proto.radius.exchange import Exchange
from wayleave.proto.radius.packet import Avp
from wayleave.session.model import NEVER, NOTHING_USED, STORE_RETRY, CloseCause, Phase, Session, Used
from wayleave.session.table import Table

log = structlog.get_logger()

REFILL = 200
"""Records read from the disk a turn: a few milliseconds."""
INTERIMS = 100
"""Interims made at once, at most: as long."""
A_MOMENT = SECOND
"""After which an interim that could not be made when it was due is tried again."""


class Accounting:
    """Implements session.ports.Accounts. `deciders` tells how a group wants things to be called; it may change.

    `exchanges` are those for accounting, by the group's name: a group without one is not accounted to.
    """

    def __init__(
        self, exchanges: Mapping[str, Exchange], deciders: Callable[[], Deciders], store: Store, clock: Clock
    ) -> None:
        self.outboxes = {name: Outbox(exchange, self._wall) for name, exchange in exchanges.items()}
        self._deciders, self._store, self._clock = deciders, store, clock
        self._durable = store.last_seq
        self._made = Counter(store.waiting())
        self._interims: list[tuple[int, str, int]] = []
        self._armed: dict[str, int] = {}
        self._unwritten: list[Write] = []
        self._unbegun: set[int] = set()
        """Sessions that the disk refused to begin: nobody is to hear of their end."""
        self._readable = True
        """False: the disk would not be read, and is asked again in a second."""

    def _wall(self, moment: BootNs) -> UtcNs | None:
        """UTC at a moment of this boot's clock; None: nobody knows."""
        if not self._clock.plausible:
            return None
        return UtcNs(self._clock.utc() - self._clock.boot() + moment)

    # ---- making records -----------------------------------------------------------------

    def started(self, session: Session, now: BootNs) -> Account | None:
        return self._about(session, Status.START, NOTHING_USED, Ns(0), now)

    def stopped(self, session: Session, used: Used, now: BootNs) -> Account | None:
        self._armed.pop(session.accounting, None)
        if session.id in self._unbegun:
            return None
        if self._renaming(session.id):
            self.try_again()
        return self._about(session, Status.STOP, used, _lasted(session, now), now)

    def take_up(self, leases: Iterable[Restored], counting_on: bool, names: Callable[[], str]) -> list[Restored]:
        """Return the sessions that the disk has as accounting goes on with them.

        If the machine has started since, all of before is over to accounting, the gateway begins anew, and its clients
        with it, under `names`. `counting_on`: the data plane's counters were not lost; else what was last reported of a
        session is what it had used.
        """
        found, now = [*leases], self._clock.boot()
        if self._store.first_of_boot:
            for item in found:
                self._ended_by_reboot(item)
            self._about_all(Status.ON, now)
            begun = [replace(item, session=self._begin_again(item.session, names(), now)) for item in found]
            self._store.booted()
            return begun
        if counting_on:
            return found
        return [replace(item, session=self._count_anew(item.session, item.used)) for item in found]

    def _ended_by_reboot(self, item: Restored) -> None:
        """A session is over since anything was last written: as far as anybody knows, that was its end."""
        rebooted = replace(item.session, cause=CloseCause.REBOOTED)
        stop = self._about(rebooted, Status.STOP, item.used, item.lasted, NEVER)
        if stop is not None:
            self._store.report(stop)

    def ends(self, now: BootNs) -> None:
        """The gateway has ended all sessions, and stops: Accounting-Off, to every group."""
        self._about_all(Status.OFF, now)

    def _about_all(self, status: Status, now: BootNs) -> None:
        for name in self.outboxes:
            terms = self._deciders().terms(name)
            if terms is not None:
                self._store.report(self._account(name, "", request.on_off(status, terms.caller), now))

    def _begin_again(self, session: Session, name: str, now: BootNs) -> Session:
        begun = replace(session, accounting=name, counted_before=NOTHING_USED, opened_at=now)
        self._store.rename(begun, self.started(begun, now))
        return begun

    def _count_anew(self, session: Session, used: Used) -> Session:
        counted = replace(session, counted_before=NOTHING_USED - used)
        self._store.recount(counted)
        return counted

    def _about(self, session: Session, status: Status, used: Used, lasted: Ns, at: BootNs) -> Account | None:
        service, deciders = session.service, self._deciders()
        terms = deciders.terms(service.authority) if service is not None else None
        if service is None or terms is None or service.authority not in self.outboxes:
            return None
        body = request.accounting(session, deciders.subject(session, terms), terms.caller, status, used, lasted)
        return self._account(service.authority, session.accounting, body, at)

    def _account(self, group: str, session: str, body: Iterable[Avp], at: BootNs) -> Account:
        """`at` NEVER: an earlier boot's last."""
        self._made[group] += 1
        before = self._store.last_written
        utc = self._wall(at) if at else before and before.utc
        return Account(self._store.next_seq(), group, session, tuple(body), at, utc)

    # ---- interims -----------------------------------------------------------------------

    def watch(self, session: Session, now: BootNs) -> None:
        """Have interims made of a session, if it wants any: the first at a moment of its own within one interval."""
        service = session.service
        if service is None or not service.interim or service.authority not in self.outboxes:
            self._armed.pop(session.accounting, None)
            return
        interval = service.interim
        first = session.opened_at + (zlib.crc32(session.accounting.encode()) * interval >> 32)
        due = first if first > now else first + ((now - first) // interval + 1) * interval
        self._arm(session.accounting, session.id, BootNs(due))

    def _arm(self, name: str, id_: int, due: BootNs) -> None:
        self._armed[name] = due
        heapq.heappush(self._interims, (due, name, id_))

    def interims(self, table: Table, used: Callable[[Session], Used], now: BootNs) -> bool:
        """Make records that are due. True: there are more, for the next turn."""
        for _ in range(INTERIMS):
            if not self._interims or self._interims[0][0] > now:
                break
            due, name, id_ = heapq.heappop(self._interims)
            session = table.get(id_)
            if self._armed.get(name) != due or session is None or session.accounting != name:
                continue
            if session.phase is not Phase.ACTIVE:  # it will be again, or it ends
                self._arm(name, id_, after(now, A_MOMENT))
                continue
            so_far = used(session)
            account = self._about(session, Status.INTERIM, so_far, _lasted(session, now), now)
            if account is not None:
                self._store.report(account, id_, so_far)
            self.watch(session, now)
        self._store.flush()
        return bool(self._interims) and self._interims[0][0] <= now

    # ---- sending them -------------------------------------------------------------------

    def resume(self) -> None:
        """At the start: what an earlier process left on the disk goes first."""
        for outbox in self.outboxes.values():
            outbox.resume(self._durable)
        for name in self._made.keys() - self.outboxes.keys():
            log.warning("accounting-to-nobody", group=name, why="no radius group of that name accounts: records stay")

    @property
    def waiting(self) -> dict[str, int]:
        """Records that no server has acknowledged yet, on the disk or on their way there, by group.

        Of a group that is not accounted to any more as well: those stay.
        """
        return {
            name: made - (self.outboxes[name].acked if name in self.outboxes else 0)
            for name, made in self._made.items()
        }

    @property
    def backlog(self) -> int:
        """How many of them a server can acknowledge."""
        return sum(count for name, count in self.waiting.items() if name in self.outboxes)

    def durable(self, group: Iterable[Write]) -> None:
        """Records that are on disk by now may go."""
        for write in group:
            account = account_of(write)
            unbegun = isinstance(write, Erase) and self._never_began(write.id)
            if account is None:
                continue
            self._durable = max(self._durable, account.seq)
            if unbegun:  # its end was on its way before its beginning was refused
                self._made[account.group] -= 1
                self._store.acknowledged([account.seq])
            elif account.group in self.outboxes:
                self.outboxes[account.group].add(account)

    def _never_began(self, id_: int) -> bool:
        """A session's end is on the disk: whether the disk had refused its beginning, which nobody misses any more."""
        late = self._renaming(id_)
        self._made.subtract(account.group for write in late if (account := account_of(write)) is not None)
        self._unwritten = [
            write for write in self._unwritten if not (isinstance(write, Rename | Recount) and write.id == id_)
        ]  # what has the id by then is another session
        refused = id_ in self._unbegun
        self._unbegun.discard(id_)
        return refused or bool(late)

    def _renaming(self, id_: int) -> list[Write]:
        """What waits to be tried again of a session's beginning after a reboot."""
        return [write for write in self._unwritten if isinstance(write, Rename) and write.id == id_]

    def failed(self, group: Iterable[Write]) -> None:
        """The disk refused a group: what nobody else would make again is tried again later.

        The other records were made in vain: whoever tries again to begin or end a session makes a new one, and what was
        used by now is asked anew.
        """
        for write in group:
            account = account_of(write)
            if _only_ours(write):
                self._unwritten.append(write)
                continue
            if account is not None:
                self._made[account.group] -= 1
            if isinstance(write, Save) and account is not None:
                self._unbegun.add(write.session.id)
            if isinstance(write, Report) and write.id is not None and write.account.session in self._armed:
                self._arm(write.account.session, write.id, after(self._clock.boot(), STORE_RETRY))

    def try_again(self) -> None:
        """To be called every second. Records go under new numbers: others may have gone out since."""
        self._readable = True
        unwritten, self._unwritten = self._unwritten, []
        self._store.again(map(self._renumbered, unwritten))

    def _renumbered(self, write: Write) -> Write:
        if not isinstance(write, Report | Rename) or write.account is None:
            return write
        return replace(write, account=replace(write.account, seq=self._store.next_seq()))

    def pump(self, now: BootNs) -> None:
        """Take what was acknowledged, and have sent what may be."""
        for name, outbox in self.outboxes.items():
            done = outbox.acknowledged(now)
            if done:
                self._store.acknowledged(done)
            if outbox.wants and self._readable:
                self._refill(name, outbox)
            outbox.pump(now)
        self._store.flush()

    def _refill(self, name: str, outbox: Outbox) -> None:
        try:
            found = self._store.accounts(name, outbox.wants, REFILL)
        except StoreError as error:
            self._readable = False
            log.error("accounting-not-read", group=name, why=str(error))
        else:
            outbox.refill(found, found[-1].seq if len(found) == REFILL else self._durable)


def _only_ours(write: Write) -> bool:
    """Whether nobody else would make a write again that the disk refused."""
    if isinstance(write, Report):
        return write.id is None
    return isinstance(write, Rename | Recount | Booted | Acknowledged)


def _lasted(session: Session, now: BootNs) -> Ns:
    return Ns(max(0, now - session.opened_at)) if session.opened_at else Ns(0)

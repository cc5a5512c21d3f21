"""Accounting records on their way: at least once, in order per session, until a server has acknowledged them.

Every record is on disk before it comes here, and is taken off the disk once it is acknowledged. What does not fit into
memory stays on disk: from then on the disk is read on, in order, as room is made; nothing overtakes what waits there.
Accounting-On and -Off are about all sessions (RFC 2866 5.1): what was made before them arrives before, the rest after,
unless the servers do not answer them time and again: there are some that ignore them.

Without I/O: records come in by `add` and `refill`, are asked about through the group's exchange in `pump`, and come out
as `acknowledged`. Source: RFC 2866 2 (repeat until acknowledged), RFC 5080 2.2.1 (how often).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from wayleave.net.units import SECOND, BootNs, Ns, UtcNs, after
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.exchange import Answered, Exchange, Hide
from wayleave.proto.radius.packet import LEAST, LONGEST, MOST, Avp

MEMORY = 50_000
"""Records in memory, at most; the rest waits on disk."""
WINDOW = 1024
"""Records under way to one group's servers."""
TRIES = 5
"""How often all the others wait for what is about all sessions; then they go beside it, and it is asked on."""
PATIENCE = Ns(20 * SECOND)
"""After which a record that no server answered is sent again, while others of its group are answered."""

_DELAY, _EVENT = STANDARD["Acct-Delay-Time"], STANDARD["Event-Timestamp"]
ROOM = MOST - LEAST - 12
"""Octets that a record's body may have: a packet's, without its head and those two."""


class Account(Struct, frozen=True, gc=False):
    """A record. `body`: its attributes as they go out, without those that say when. `utc` None: nobody knew the time.

    `seq` numbers records in the order in which they were made. `at` is on the boot clock of the process that made it;
    NEVER (0): an earlier boot's, so only `utc` counts.
    """

    seq: int
    group: str
    session: str
    body: tuple[Avp, ...]
    at: BootNs
    utc: UtcNs | None

    @property
    def about_all(self) -> bool:
        """Accounting-On or -Off."""
        return not self.session

    @property
    def line(self) -> str:
        """Whose order it keeps: its session's. What is about all sessions goes between them, by itself."""
        return self.session or f"#{self.seq}"


def fitting(body: tuple[Avp, ...]) -> tuple[Avp, ...]:
    """Return a body that a packet can carry: what is too long goes, the longest attributes first, from the end on.

    Those are what a server had the gateway repeat, such as Class: a record without them says still who used how much.
    """
    kept = [avp for avp in body if len(avp[1]) <= LONGEST]
    while sum(2 + len(value) for _, value in kept) > ROOM:
        del kept[max(range(len(kept)), key=lambda at: (len(kept[at][1]), at))]
    return tuple(kept)


class _Line:
    """The records of one session that wait, the first of them perhaps under way."""

    __slots__ = ("flying", "tries", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, Account]] = deque()
        """With the era of each: they are counted by what is about all sessions, which is an era by itself."""
        self.tries = 0
        self.flying = False


class Outbox:
    """The records of one group of servers. `wall(boot)` is UTC at a moment of the boot clock; None: it is not known."""

    def __init__(
        self, exchange: Exchange, wall: Callable[[BootNs], UtcNs | None], memory: int = MEMORY, window: int = WINDOW
    ) -> None:
        self.exchange = exchange
        self._wall, self._memory, self._window = wall, memory, window
        self._lines: dict[str, _Line] = {}
        self._ready: deque[str] = deque()
        self._resting: list[tuple[int, str]] = []
        self._flying: dict[int, Account] = {}
        self._held: dict[int, Account] = {}
        """By number, in order."""
        self._eras: deque[int] = deque([0])
        """How many are held of each era, from the present one on."""
        self._era = 0
        self._later: list[str] = []
        """Sessions whose next record is of a later era."""
        self._last = 0
        """The highest number that was ever in memory."""
        self._left_to = 0
        """The highest number that was left on the disk."""
        self.acked = self.shortened = 0
        """Records that servers acknowledged; and records that were too long for a packet and went without a part."""

    def __len__(self) -> int:
        """Records in memory."""
        return len(self._held)

    def oldest(self, now: BootNs) -> Ns | None:
        """How long the one that was made first has waited; None: none waits, or nobody knows."""
        account = next(iter(self._held.values()), None)
        if account is None:
            return None
        if account.at:
            return Ns(now - account.at)
        wall = self._wall(now)
        return None if wall is None or account.utc is None else Ns(max(0, wall - account.utc))

    @property
    def behind(self) -> bool:
        """Some wait on disk alone."""
        return self._left_to > self._last

    @property
    def wants(self) -> int:
        """After which number the disk should be read on; 0: it need not be."""
        return self._last or -1 if self.behind and len(self) <= self._memory // 2 else 0

    # ---- in -----------------------------------------------------------------------------

    def resume(self, last: int) -> None:
        """At the start: all up to this number are on the disk, perhaps."""
        self._left_to = max(self._left_to, last)

    def add(self, account: Account) -> None:
        """Take a record that is on disk by now; where others wait there, it does, too."""
        if account.seq <= self._last:
            return  # the disk told of it first
        if self.behind or len(self) >= self._memory:
            self._left_to = max(self._left_to, account.seq)
        else:
            self._hold(account)

    def refill(self, accounts: Iterable[Account], to: int) -> None:
        """Take what the disk has behind `wants`, in order; `to` is the highest number that was looked at."""
        for account in accounts:
            if account.seq > self._last:
                self._hold(account)
        self._last = max(self._last, to)

    def _hold(self, account: Account) -> None:
        body = fitting(account.body)
        if len(body) < len(account.body):
            self.shortened += 1
            account = replace(account, body=body)
        line = self._lines.setdefault(account.line, _Line())
        if account.about_all:
            self._eras.append(0)
        line.waiting.append((self._era + len(self._eras) - 1, account))
        self._eras[-1] += 1
        if account.about_all:
            self._eras.append(0)
        self._held[account.seq] = account
        self._last = max(self._last, account.seq)
        if not line.flying and len(line.waiting) == 1:
            self._ready.append(account.line)

    # ---- out ----------------------------------------------------------------------------

    def pump(self, now: BootNs) -> None:
        """Ask the servers about as many as may be under way. While none lives, all wait."""
        first: list[str] = []
        while self._resting and self._resting[0][0] <= now:
            name = heapq.heappop(self._resting)[1]
            (first if self._lines[name].waiting[0][1].about_all else self._ready).append(name)
        self._ready.extendleft(reversed(first))  # others go beside what is about all, perhaps, and not ahead of it
        self._next_era()
        while self._ready and len(self._flying) < self._window and self.exchange.alive:
            line = self._lines[self._ready[0]]
            era, account = line.waiting[0]
            if era > self._era:
                self._later.append(self._ready.popleft())
                continue
            if not self.exchange.ask(account.seq, self._attributes(account), now):
                return
            self._ready.popleft()
            line.flying = True
            self._flying[account.seq] = account

    def _attributes(self, account: Account) -> Callable[[BootNs, Hide], list[Avp]]:
        def attributes(now: BootNs, _hide: Hide) -> list[Avp]:
            return [*account.body, *self._when(account, now)]

        return attributes

    def _when(self, account: Account, now: BootNs) -> list[Avp]:
        """When it was, and how long ago that is (RFC 2866 5.2, RFC 2869 5.3)."""
        utc = account.utc if account.utc is not None or not account.at else self._wall(account.at)
        wall = self._wall(now)
        if account.at:
            delay = now - account.at
        else:
            delay = wall - utc if wall is not None and utc is not None else 0
        found = [_DELAY.encode(max(0, delay) // SECOND)]
        return found if utc is None else [*found, _EVENT.encode(utc // SECOND & 0xFFFFFFFF)]

    def acknowledged(self, now: BootNs) -> list[int]:
        """Take what came of questions; return the numbers of records that are acknowledged, for the disk to forget."""
        done: list[int] = []
        for outcome in self.exchange.outcomes():
            assert isinstance(outcome.key, int)
            account = self._flying.pop(outcome.key)
            line = self._lines[account.line]
            line.flying = False
            if isinstance(outcome, Answered):
                done.append(account.seq)
                self._leave(account.line, line)
            else:
                line.tries += 1
                heapq.heappush(self._resting, (after(now, PATIENCE if self.exchange.alive else Ns(0)), account.line))
                if account.about_all and line.tries == TRIES:
                    self._left(line.waiting[0][0])
            self._next_era()
        self.acked += len(done)
        return done

    def _leave(self, name: str, line: _Line) -> None:
        era, account = line.waiting.popleft()
        del self._held[account.seq]
        if not account.about_all or line.tries < TRIES:
            self._left(era)
        if line.waiting:
            self._ready.append(name)
        else:
            del self._lines[name]

    def _left(self, era: int) -> None:
        """Nobody waits for one of an era any more."""
        self._eras[era - self._era] -= 1

    def _next_era(self) -> None:
        while len(self._eras) > 1 and not self._eras[0]:
            self._eras.popleft()
            self._era += 1
            self._ready.extend(self._later)
            self._later.clear()

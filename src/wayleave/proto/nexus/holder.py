"""A gateway's side of its hold: when to ask, what to believe, and until when. A machine: time comes in.

    request = holder.request(now)      what to send, if anything; one at a time
    news = holder.receive(answer, now) what has come to be its own, and what has ceased to be
    holder.fail(now)                   no answer, or none that helps: it will ask again

It believes in its hold for as long as it was told, counted from when it sent the question, less what its clock may lose
meanwhile (`RATE_ERROR`). What it owns is what the last answer said, no more and no less. The caller has it on the disk
before anybody lives there, and what is given back is off the disk before `request` says so to Nexus: `give_back` is
called first.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew

RATE_ERROR = 1000
"""A clock gains or loses one part in so many at most. Crystals are ten times better, NTP slews by half of it."""
RENEWALS = 3
"""So many times at least is a hold renewed before it would end."""
PATIENCE = Ns(5 * SECOND)
"""How long an answer is waited for."""
_FIRST_PAUSE, _LONGEST_PAUSE = Ns(SECOND), Ns(60 * SECOND)
"""Between questions that come to nothing; never so long that a hold is over meanwhile."""

Unit = tuple[str, str]
"""A single unit, behind its pool."""
UNITS_MOST = 16
"""Of a claim."""
UNIT_PAUSE = Ns(SECOND)
"""When a single unit is asked for again that another gateway still had, at first: then less and less often."""

Request = Renew | Claim | GiveBack


class Standing(Struct, frozen=True):
    """What is to survive the process: the hold as it was last told. `until`: on the boot clock; 0: unknown here."""

    epoch: int
    beat: int
    until: BootNs
    blocks: tuple[Block, ...]


class News(Struct, frozen=True):
    """What an answer changed. Whoever lives on what is lost is to be gone at once."""

    gained: tuple[Block, ...] = ()
    lost: tuple[Block, ...] = ()


class Holder:
    """One gateway's."""

    def __init__(self, standing: Standing | None = None, rate_error: int = RATE_ERROR, run: str = "") -> None:
        """`run`: what no other process of this gateway, or of who takes itself for it, is called."""
        self._rate_error, self._run = rate_error, run
        known = standing or Standing(0, 0, BootNs(0), ())
        self.epoch, self.beat, self.until = known.epoch, known.beat, known.until
        self.blocks = {block.key: block for block in known.blocks}
        self._renew_at = BootNs(0)
        self._pause = _FIRST_PAUSE
        self._longest_pause = _LONGEST_PAUSE
        self._not_before = BootNs(0)
        self.asked: Request | None = None
        """The question that waits for an answer; what comes for an earlier one is nobody's."""
        self._asked_at = BootNs(0)
        self._wanted: dict[str, int] = {}
        self._units: set[Unit] = set()
        self._lacking: dict[Unit, BootNs] = {}  # of these, and when each is to be asked for
        self._pauses: dict[Unit, Ns] = {}
        self._giving: list[Block] = []

    @property
    def standing(self) -> Standing:
        """What is to be on the disk."""
        return Standing(self.epoch, self.beat, self.until, tuple(self.blocks.values()))

    def stands(self, now: BootNs) -> bool:
        """Whether its blocks are its own at this moment."""
        return now < self.until

    def want(self, pool: str, count: int) -> None:
        """Have `count` blocks more of a pool claimed, 0: none; an earlier wish for it is forgotten."""
        self._wanted[pool] = count

    def want_units(self, wanted: Iterable[Unit]) -> None:
        """Have these single units claimed where they are not its own yet, and no others."""
        self._units = set(wanted)
        self._look()

    def _look(self) -> None:
        """See which units are lacking."""
        own = {(block.pool, block.first) for block in self.blocks.values() if block.single}
        self._lacking = {unit: self._lacking.get(unit, BootNs(0)) for unit in sorted(self._units - own)}
        self._pauses = {unit: pause for unit, pause in self._pauses.items() if unit in self._lacking}

    def _put_off(self, asked: Claim, now: BootNs) -> None:
        """Ask for these units again, but not at once."""
        for unit in ((asked.pool, text) for text in asked.units):
            if unit in self._lacking:
                pause = self._pauses.get(unit, UNIT_PAUSE)
                self._lacking[unit] = after(now, pause)
                self._pauses[unit] = min(Ns(2 * pause), _LONGEST_PAUSE)

    def give_back(self, blocks: Iterable[Block]) -> None:
        """Have blocks given back: they are not its own from now on. Nobody lives there."""
        for block in blocks:
            if self.blocks.pop(block.key, None) is not None:
                self._giving.append(block)

    @property
    def deadline(self) -> BootNs:
        """When `request` will have something to say."""
        if self.asked is not None:
            return after(self._asked_at, PATIENCE)
        ready = BootNs(0) if self._giving or any(self._wanted.values()) else self._renew_at
        return max(min([ready, *self._lacking.values()]), self._not_before)

    def request(self, now: BootNs) -> Request | None:
        """Return what is to be sent now; an answer is waited for from then on, up to `PATIENCE`."""
        if self.asked is not None:
            if now < after(self._asked_at, PATIENCE):
                return None
            self.fail(now)
        if now < self.deadline:
            return None
        self.asked, self._asked_at = self._next(now), now
        return self.asked

    def _next(self, now: BootNs) -> Request:
        """Renewing comes first: without a hold that stands there is nothing to claim or to give back."""
        if now >= self._renew_at or not self.stands(now):
            return Renew(self.epoch, self._run)
        if self._giving:
            block = self._giving[0]
            return GiveBack(self.epoch, self.beat, *block.key, block.fence)
        pool = next((pool for pool, count in self._wanted.items() if count), None)
        if pool is not None:
            return Claim(self.epoch, pool, self._wanted[pool])
        due = [unit for unit, at in self._lacking.items() if at <= now]
        units = tuple(unit for of, unit in due if of == due[0][0])[:UNITS_MOST]
        return Claim(self.epoch, due[0][0], len(units), units)

    def receive(self, answer: Held | Claimed | None, now: BootNs) -> News:
        """Take in the answer to what was asked last, and to nothing else; None: it was done (`GiveBack`)."""
        asked, self.asked = self.asked, None
        self._pause = _FIRST_PAUSE
        match asked, answer:
            case Renew(), Held():
                return self._held(answer)
            case Claim(), Claimed():
                if asked.units:
                    self._put_off(asked, now)
                else:
                    self._wanted.pop(asked.pool, None)
                gained = tuple(block for block in answer.blocks if block.key not in self.blocks)
                self.blocks |= {block.key: block for block in gained}
                self._look()
                return News(gained)
            case GiveBack(), None:
                del self._giving[0]
                return News()
        self.fail(now)
        return News()

    def _held(self, answer: Held) -> News:
        told = {block.key: block for block in answer.blocks}
        lost = tuple(block for key, block in self.blocks.items() if told.get(key) != block)
        gained = tuple(block for key, block in told.items() if self.blocks.get(key) != block)
        self.epoch, self.beat, self.blocks = answer.epoch, answer.beat, told
        self._giving.clear()  # whatever was on its way counts no more: what is told is its own again
        self._look()
        self.until = after(self._asked_at, Ns(answer.duration - answer.duration // self._rate_error))
        self._renew_at = after(self._asked_at, Ns(answer.duration // (RENEWALS + 1)))
        self._longest_pause = min(_LONGEST_PAUSE, Ns(answer.duration // (4 * (RENEWALS + 1))))
        return News(gained, lost)

    def fence(self, now: BootNs) -> News:
        """Take in that the epoch is over: nothing is its own, and it begins another."""
        lost = tuple(self.blocks.values())
        self.epoch, self.beat, self.until = 0, 0, BootNs(0)
        self.blocks.clear()
        self._giving.clear()
        self._look()
        self.asked, self._renew_at, self._not_before = None, BootNs(0), now
        return News(lost=lost)

    def fail(self, now: BootNs) -> None:
        """Take in that there is no answer, or none that helps: ask again, less and less often, renewing first."""
        if isinstance(self.asked, Claim):
            self._put_off(self.asked, now)
        self.asked = None
        self._not_before = after(now, self._pause)
        self._pause = min(Ns(self._pause * 2), max(self._longest_pause, _FIRST_PAUSE))
        if self._giving:
            self._renew_at = BootNs(0)  # nobody knows what became of it: only a renewal tells

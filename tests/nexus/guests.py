"""Guests: they ask Nexus for one unit, renew it if its time is limited, and release it, whatever becomes of messages.

A guest believes that a unit is its own from when it hears so until it wants to be rid of it, or, where time is limited,
until that is over on its own clock, counted from before it asked. What it wants to be rid of it believes in no more,
and says so until it hears that it was done, or has no patience any more.
"""

from __future__ import annotations

from typing import Any

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus.allocations import SHORTEST_S, Allocation, Asked
from wayleave.nexus.model import Mode
from wayleave.nexus.refusal import Absent, Refused
from wayleave.nexus.store.port import Unavailable

from .simulation import POOL, RATE_ERROR, STEP_EVERY, Clock, Extend, Question, Release, World

PATIENCE = Ns(2 * SECOND)


class Guest:
    """One that has a unit by `mode`."""

    def __init__(self, world: World, name: str, clock: Clock, mode: Mode, restless: float = 0.05) -> None:
        self._world, self.name, self._clock, self._mode, self._restless = world, name, clock, mode, restless
        self.cut_until = 0
        self._requests = 0
        self.replace()

    def replace(self) -> None:
        """Forget all of it. Others who asked are others; who is here now has the same name, and asks anew."""
        self._has: Allocation | None = None
        self._until = BootNs(0)
        self._rid: list[str] = []
        self._asked: Question | None = None
        self._asked_at = BootNs(0)
        self._again: Asked | None = None
        self._world.changed = True

    @property
    def believed(self) -> str:
        """The unit that it takes for its own; empty: none."""
        if self._has is None or (self._mode is Mode.TTL and self._clock() >= self._until):
            return ""
        return f"{POOL}/{int(self._has.id.split('.')[1], 16)}"

    def step(self) -> None:
        """Do something."""
        choose, now = self._world.random, self._clock()
        self._world.changed = True
        if self._asked is not None and now - self._asked_at > PATIENCE:
            self._asked = None
            if choose.random() < 0.3:  # or it says the same once more
                self._again, self._rid = None, self._rid[1:]
        if self._has is not None and not self.believed:
            self._has = None
        if self._has is not None and choose.random() < self._restless:
            self._rid.append(self._has.id)
            self._has = None
        if self._asked is None:
            question = self._question()
            if question is not None:
                self._ask(question, now)
        self._world.after(self._world.about(STEP_EVERY), self.step)

    def _question(self) -> Question | None:
        choose = self._world.random
        if self._rid and choose.random() < 0.7:
            return Release(self._rid[0])
        if self._has is not None:
            return Extend(self._has.id) if self._mode is Mode.TTL and choose.random() < 0.1 else None
        if choose.random() < 0.7:
            if self._again is None:
                self._requests += 1
                ttl = SHORTEST_S if self._mode is Mode.TTL else 0
                self._again = Asked(POOL, self.name, self._mode, "", ttl, f"{self._requests}")
            return self._again
        return None

    def _ask(self, question: Question, now: BootNs) -> None:
        self._asked, self._asked_at = question, now
        server = self._world.random.choice(self._world.servers)
        life = self._requests, now
        self._world.send(self, server, question, lambda answer: self._hear(life, question, answer))

    def _hear(self, life: tuple[int, BootNs], question: Question, answer: Any) -> None:
        """Take an answer in, if it is to the question of now."""
        if self._asked is not question or life != (self._requests, self._asked_at):
            return
        self._asked = None
        self._world.changed = True
        match question, answer:
            case Release(), (None | Absent()):
                self._rid = [each for each in self._rid if each != question.id]
            case _, (Refused() | Unavailable()):
                if isinstance(question, Extend) and isinstance(answer, Absent):
                    self._has = None
            case _, Allocation():
                if isinstance(question, Asked):
                    self._again = None
                    self._has = answer
                if self._has is not None and self._has.id == answer.id:
                    lasts = answer.ttl * SECOND
                    self._until = BootNs(self._asked_at + lasts - lasts // RATE_ERROR)


def mixed(world: World, name: str, clock: Clock) -> Guest:
    """One of any kind, by its name."""
    modes = (Mode.SESSION, Mode.TTL, Mode.STICKY, Mode.TTL)
    return Guest(world, name, clock, modes[int(name.rpartition("-")[2]) % len(modes)])


def limited(world: World, name: str, clock: Clock) -> Guest:
    """One whose time is limited."""
    return Guest(world, name, clock, Mode.TTL)


def brief(world: World, name: str, clock: Clock) -> Guest:
    """One that comes and goes."""
    return Guest(world, name, clock, Mode.SESSION, 0.5)

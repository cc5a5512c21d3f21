"""Holds that nobody renews, on an observer's clock."""

from __future__ import annotations

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.holding import Holding, Terms
from wayleave.nexus.model import NEXUS, OWN_EPOCH, Kind, Pool
from wayleave.nexus.reclaim import Observer, watched
from wayleave.proto.nexus.holder import RATE_ERROR
from wayleave.proto.nexus.messages import Claim, Renew

from .memory import MemoryStore, finished

HOLD, GRACE = Ns(1_000 * SECOND), Ns(60 * SECOND)
ENOUGH = watched(HOLD, RATE_ERROR, GRACE)
NOON = 5_000 * SECOND


class Watched:
    """A gateway with two blocks, and an observer whose clock is told."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.add_pool(Pool("residential", Kind.IPV4, "100.64.0.0/26", 4))
        self.holding = Holding(self.store, Terms(HOLD))
        self.observer = Observer(self.store, GRACE)
        self.renew(0)
        finished(self.holding.claim("edge-1", Claim(1, "residential", 2)))

    def renew(self, epoch: int = 1) -> None:
        finished(self.holding.renew("edge-1", Renew(epoch)))

    def look(self, now: int) -> list[str]:
        return finished(self.observer.look(lambda: BootNs(now)))


def test_a_hold_ends_when_it_was_watched_for_longer_than_its_gateway_believes() -> None:
    world = Watched()
    assert world.look(NOON) == []
    assert world.look(NOON + ENOUGH) == []
    assert world.look(NOON + ENOUGH + 1) == [model.hold_key("edge-1", 1)]
    assert [key for key in world.store.entries if key.startswith((model.HOLDS, model.HELD))] == []


def test_what_is_watched_is_longer_than_clocks_can_be_apart() -> None:
    gateway = (HOLD - HOLD // RATE_ERROR) / (1 - 1 / RATE_ERROR)  # true time, on a clock that runs slow
    observer = watched(HOLD, RATE_ERROR, Ns(0)) / (1 + 1 / RATE_ERROR)  # on one that runs fast
    assert observer >= gateway * (1 - 1e-12)


def test_a_renewal_begins_it_anew() -> None:
    world = Watched()
    world.look(NOON)
    world.renew()
    assert world.look(NOON + ENOUGH + 1) == []
    assert world.look(NOON + 2 * ENOUGH + 1) == []
    assert world.look(NOON + 2 * ENOUGH + 2) != []


def test_a_renewal_in_the_last_moment_keeps_it() -> None:
    world = Watched()
    world.look(NOON)
    steps = iter(range(10))

    def between() -> None:
        if next(steps) == 1:  # it has read the hold, and is about to end it
            world.renew()

    assert finished(world.observer.look(lambda: BootNs(NOON + ENOUGH + 1)), between) == []
    world.renew()


def test_an_observer_that_begins_anew_begins_to_watch_anew() -> None:
    world = Watched()
    world.look(NOON)
    world.observer = Observer(world.store, GRACE)
    assert world.look(NOON + 2 * ENOUGH) == []
    assert world.look(NOON + 3 * ENOUGH + 1) != []


def test_the_clock_is_read_behind_the_store() -> None:
    """Else what was written meanwhile would be believed to have been there before."""
    world = Watched()
    order: list[str] = []

    def clock() -> BootNs:
        order.append("clock")
        return BootNs(NOON)

    finished(world.observer.look(clock), lambda: order.append("store"))
    assert order == ["store", "clock"]


def test_the_hold_of_nexus_itself_never_ends() -> None:
    world = Watched()
    finished(world.holding.own("residential", 3))
    world.look(NOON)
    assert len(world.observer) == 1
    assert world.look(NOON + 2 * ENOUGH) == [model.hold_key("edge-1", 1)]
    assert model.hold_key(NEXUS, OWN_EPOCH) in world.store.entries

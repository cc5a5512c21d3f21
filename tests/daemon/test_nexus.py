"""All of Nexus at a gateway, with a connection that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import FakeClock
from tests.fakes.records import Disk, Records
from wayleave.daemon.derived import terms_of
from wayleave.daemon.nexus import Nexus
from wayleave.io.nexus import Fenced, NexusError, Refused, State
from wayleave.net.units import SECOND, Ns
from wayleave.proto.nexus.holder import Request
from wayleave.proto.nexus.messages import Block, Claim, Claimed, Held, Renew
from wayleave.session.settings import PoolSettings

HOLD = Ns(600 * SECOND)
POOLS = [
    PoolSettings.model_validate(
        {"name": name, "network": network, "gateway": network.replace("0/24", "1"), "nexus": name}
    )
    for name, network in (("typo", "10.1.0.0/24"), ("home", "10.0.0.0/24"))
]


class Connection:
    """Implements what of io.nexus.Connection is asked for."""

    def __init__(self, answers: Callable[[Request], Held | Claimed | None]) -> None:
        self.answers, self.asked = answers, list[Request]()
        self.state = State("https://nexus", "", FakeClock().boot())

    async def ask(self, request: Request) -> Held | Claimed | None:
        self.asked.append(request)
        return self.answers(request)

    def close(self) -> None:
        pass


class World:
    """A gateway's side of Nexus; `second` lets one pass."""

    def __init__(self, answers: Callable[[Request], Held | Claimed | None]) -> None:
        self.clock, self.disk = FakeClock(), Disk()
        self.records = Records(self.disk, self.clock)
        self.nexus = Nexus(None, Path(), Path(), self.records, self.clock, lambda: None, lambda _: None)
        self.nexus.blocks.equip(POOLS, {pool.name: terms_of(pool, ()) for pool in POOLS})
        self.connection = Connection(answers)
        self.nexus.connection = self.connection  # type: ignore[assignment]
        self.groups = 0

    def written(self) -> None:
        while self.records.pending:
            group, error = self.records.commit()
            self.groups += 1
            self.nexus.recorded(group, error)

    async def second(self) -> None:
        self.clock.wait(SECOND)
        self.nexus.pump()
        for _ in range(8):  # whatever follows from it at once
            await asyncio.sleep(0)  # noqa: TID251 -- the loop does the rest
            self.written()

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def started() -> None:
            self.nexus.start(lambda: None)
            await work()

        with capture_logs() as self.logs:
            asyncio.run(started())


def well(request: Request) -> Held | Claimed | None:
    """Nexus, to whom everything is right but the pool that it does not know."""
    match request:
        case Renew():
            return Held(1, 0, HOLD, ())
        case Claim(pool="typo"):
            raise Refused("there is no pool typo")
        case Claim():
            return Claimed((Block("home", 2, "10.0.0.16", "10.0.0.23", 1),))
    return None


def test_a_pool_that_nexus_does_not_know_keeps_no_other_waiting_and_is_told_of() -> None:
    world = World(well)

    async def story() -> None:
        for _ in range(5):
            await world.second()

    world.run(story)
    assert [block.index for block in world.nexus.blocks.of("home")] == [2]
    assert "Nexus leases nothing more of typo: there is no pool typo" in world.nexus.faults()
    assert [entry["event"] for entry in world.logs].count("nexus-refuses") == 1, "it is asked again in half a minute"


@pytest.mark.parametrize("error", [NexusError("nobody is there"), UnicodeError("label too long"), AssertionError()])
def test_whatever_goes_wrong_with_a_question_another_one_is_asked(error: Exception) -> None:
    def fails_first(request: Request) -> Held | Claimed | None:
        if len(world.connection.asked) < 3:
            raise error
        return well(request)

    world = World(fails_first)

    async def story() -> None:
        for _ in range(10):
            await world.second()

    world.run(story)
    assert world.nexus.blocks.of("home")


def test_a_fence_ends_all_and_begins_anew() -> None:
    epochs = iter((1, 2))

    def fences_once(request: Request) -> Held | Claimed | None:
        if isinstance(request, Renew):
            if request.epoch == 1:
                raise Fenced("epoch 1 is over")
            return Held(next(epochs), 0, HOLD, ())
        return well(request)

    world = World(fences_once)

    class NoSessions:
        table: tuple[()] = ()
        pools: dict[str, object] = {}  # noqa: RUF012

    async def story() -> None:
        world.nexus.serve(NoSessions())  # type: ignore[arg-type]
        for _ in range(2 * HOLD // SECOND // 4):
            await world.second()

    world.run(story)
    assert world.nexus.blocks.holder.epoch == 2
    assert world.nexus.blocks.of("home")


def test_a_disk_that_refuses_is_tried_once_a_second() -> None:
    world = World(well)
    world.disk.failing = True

    async def story() -> None:
        for _ in range(10):
            await world.second()

    world.run(story)
    assert 5 <= world.groups <= 11
    assert world.nexus.faults()[0].startswith("nothing of the shared pools")

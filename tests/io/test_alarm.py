"""A wake-up that may move to an earlier moment, and rings once."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from wayleave.io.alarm import Alarm
from wayleave.io.clock import Clock
from wayleave.net.units import SECOND, BootNs

CLOCK = Clock()
MILLISECOND = SECOND // 1000


def rings(*late: int) -> tuple[list[BootNs], BootNs]:
    """Set it for deadlines so much later than now; returns when it rang, until it had, and what now was."""
    rang: list[BootNs] = []

    async def wait() -> BootNs:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def ring() -> None:
            rang.append(CLOCK.boot())
            done.set()

        alarm, now = Alarm(CLOCK.boot, ring), CLOCK.boot()
        for length in late:
            alarm.set(loop, BootNs(now + length))
        await asyncio.wait_for(done.wait(), 10)
        return now

    now = uvloop.run(wait())
    return rang, now


@pytest.mark.parametrize(
    "late", [(30 * MILLISECOND,), (3600 * SECOND, 30 * MILLISECOND), (30 * MILLISECOND, 40 * MILLISECOND)]
)
def test_it_rings_once_at_the_earliest_and_not_before(late: tuple[int, ...]) -> None:
    (rang,), now = rings(*late)
    assert rang >= now + 30 * MILLISECOND
    assert rang < now + 3600 * SECOND


def test_what_is_past_rings_at_once_and_what_is_never_does_not() -> None:
    (rang,), now = rings(-5 * SECOND)
    assert rang >= now
    with pytest.raises(TimeoutError):
        uvloop.run(_silent())


async def _silent() -> None:
    done = asyncio.Event()
    alarm, loop = Alarm(CLOCK.boot, done.set), asyncio.get_running_loop()
    alarm.set(loop, BootNs(0))
    alarm.set(loop, BootNs(CLOCK.boot() + 20 * MILLISECOND))
    alarm.cancel()
    await asyncio.wait_for(done.wait(), 0.1)

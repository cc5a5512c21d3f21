"""Accounting when something goes wrong: what servers were told in the end, in the world of `radius_world`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.daemon.radius_world import INTERIM, START, STOP, Process, World, client
from wayleave.io.store import Store, StoreError
from wayleave.session.model import Used


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With one client that is served."""
    world = World(0, tmp_path / "state")
    world.process.discover(client(1))
    world.run(3)
    assert [*world.process.table]
    return world


def stay(world: World, seconds: int) -> None:
    """Let time pass while clients renew."""
    for second in range(seconds):
        world.run(1)
        for session in [*world.process.table] if second % 20 == 0 else ():
            if session.lease is not None:
                world.process.request(session.client, session.lease.address)


def test_a_disk_that_cannot_be_read_is_asked_again_and_stops_no_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.servers[0].up = False
    world.process.clear()
    world.run(1)
    world.kill()
    with monkeypatch.context() as patch:

        def unreadable(*_: object) -> None:
            raise StoreError("input/output error")

        patch.setattr(Store, "accounts", unreadable)
        world.kill()
        world.servers[0].up = True
        world.run(30)
        assert world.process.accounting.backlog
    world.run(60)
    assert not world.process.accounting.backlog


def test_counters_that_went_back_are_told_as_nothing_used_and_let_the_session_end(world: World) -> None:
    (session,) = world.process.table
    world.process.table.put(replace(session, counted_before=Used(up_octets=5)), world.clock.boot())
    world.process.clear()
    world.run(5)
    assert not [*world.process.table]
    assert world.accounted[session.accounting.encode()].octets[STOP] == 0
    assert world.process.engine.counts.unexpected == {"counters went back": 1}


def test_what_lost_counters_had_counted_is_written_though_the_disk_refuses_it_at_first(world: World) -> None:
    world.use()
    stay(world, 65)
    (session,) = world.process.table
    world.lose_maps()
    world.full = True
    stay(world, 1)
    world.full = False
    stay(world, 3)
    world.kill()
    (after,) = world.process.table
    assert world.process.engine.used(after).up_octets == world.used[session.accounting] > 0


def test_what_was_used_before_a_reboot_is_billed_once_however_many_follow(world: World) -> None:
    world.use()
    stay(world, 65)
    (session,) = world.process.table
    world.reboot()
    world.run(2)
    (again,) = world.process.table
    world.reboot()
    world.run(2)
    first, second = (world.accounted[one.accounting.encode()] for one in (session, again))
    assert first.octets[STOP] == first.octets[INTERIM] > 0
    assert second.octets[STOP] == 0


def test_a_first_start_after_a_reboot_that_comes_to_nothing_leaves_its_words_to_the_next(world: World) -> None:
    (session,) = world.process.table
    on = world.on
    world.reboot()
    world.process.die(written=0)
    world.process = Process(world)
    world.run(5)
    assert world.on == on + 1
    assert world.accounted[session.accounting.encode()].octets.keys() >= {START, STOP}
    world.kill()
    world.run(5)
    assert world.on == on + 1

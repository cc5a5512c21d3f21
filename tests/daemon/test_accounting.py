"""Accounting when something goes wrong: what servers were told in the end, in the world of `radius_world`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from tests.daemon.radius_world import INTERIM, START, STOP, Process, World, client, number
from wayleave.io.store import Store, StoreError
from wayleave.io.writes import Erase, Recount, Save, Write
from wayleave.net.units import SECOND
from wayleave.proto.radius.packet import Code, Packet
from wayleave.session.model import Phase, Session, Used


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


def last(world: World, session: Session, kind: int) -> Packet:
    """The record of a kind that a server was sent last of a session."""
    asked = [packet for server in world.servers for packet in server.asked(Code.ACCOUNTING_REQUEST)]
    return [one for one in asked if one.first(44) == session.accounting.encode() and number(one, 40) == kind][-1]


def test_a_disk_that_cannot_be_read_is_asked_again_and_stops_no_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for server in world.servers:
        server.up = False
    world.process.clear()
    while [*world.process.table]:
        world.run(0.1)
    with monkeypatch.context() as patch:

        def unreadable(*_: object) -> None:
            raise StoreError("input/output error")

        patch.setattr(Store, "accounts", unreadable)
        world.kill()
        for server in world.servers:
            server.up = True
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


def test_what_a_reboot_ended_had_lasted_until_anything_was_last_written(world: World) -> None:
    (session,) = world.process.table
    for after_a_restart in (False, True):
        opened = world.clock.wall - world.clock.now + session.opened_at
        if after_a_restart:
            world.kill()
        stay(world, 100)
        ended = world.clock.wall
        world.reboot()
        world.run(30)
        stop = last(world, session, STOP)
        assert 0 <= ended // SECOND - number(stop, 55) <= 60, "it had an interim every minute"
        assert abs(number(stop, 55) - number(stop, 46) - opened // SECOND) <= 1
        assert number(stop, 41) >= 10, "and says how long ago that is"
        (session,) = world.process.table


def on_disk(world: World) -> int:
    (count,) = world.process.store._db.execute("SELECT count(*) FROM accounting").fetchone()
    return int(count)


def full(world: World, seconds: float = 1) -> None:
    world.full = True
    world.run(seconds)
    world.full = False


def test_an_interim_that_the_disk_refused_is_made_anew_and_never_comes_after_the_end(world: World) -> None:
    (session,) = world.process.table
    name = session.accounting.encode()
    due, _, _ = world.process.accounting._interims[0]
    stay(world, (due - world.clock.now) // SECOND)
    full(world, 3)
    assert INTERIM not in world.accounted[name].octets
    stay(world, 15)
    assert INTERIM in world.accounted[name].octets
    due, _, _ = world.process.accounting._interims[0]
    stay(world, (due - world.clock.now) // SECOND)
    full(world, 3)  # the next one
    world.process.clear()
    world.run(60)
    assert world.accounted[name].kinds[-1][0] == STOP
    assert not world.process.accounting.backlog


def test_of_a_session_that_the_disk_refused_nobody_hears_a_word(tmp_path: Path) -> None:
    world = World(0, tmp_path)
    world.run(2)
    before = world.process.store.last_seq
    world.process.discover(client(1))
    full(world, 2)
    world.run(30)
    assert not [*world.process.table]
    assert not world.accounted
    assert not world.process.accounting.backlog
    assert world.process.store.last_seq == before + 1, "its Start was made, and no Stop"


def test_nor_where_its_end_was_on_its_way_already(tmp_path: Path) -> None:
    world = World(0, tmp_path)
    world.run(5)
    world.process.discover(client(1))
    while not world.process.table.phases[Phase.RECORDING]:
        world.run(0.001)
    beginning: list[Write] = []
    while not world.process.store._waiting.empty():
        beginning += world.process.store._waiting.get() or ()
    assert any(isinstance(write, Save) for write in beginning)
    world.process.clear()
    world.process.accounting.failed(beginning)
    world.run(30)
    assert not [*world.process.table]
    assert not world.accounted
    assert not world.process.accounting.backlog


def test_an_acknowledgement_that_the_disk_refused_is_not_forgotten(world: World) -> None:
    world.run(5)
    world.process.clear()
    while not on_disk(world):
        world.run(0.001)
    full(world, 5)
    assert on_disk(world)
    assert not world.process.accounting.backlog
    world.run(3)
    assert not on_disk(world)


def test_what_the_disk_refused_and_is_tried_again_waits_to_be_acknowledged(world: World) -> None:
    world.run(5)
    assert not world.process.accounting.backlog
    world.process.accounting.ends(world.clock.boot())
    world.process.store.flush()
    world.process.turn()
    full(world, 0.5)
    assert world.process.accounting.backlog == 1, "who stops the gateway does not hear that all is well"
    full(world, 5)
    assert world.process.accounting.backlog == 1
    world.run(60)
    assert world.process.accounting.backlog == 0


def test_what_the_disk_refused_of_a_session_that_ended_is_not_written_to_the_next_one_of_its_id(world: World) -> None:
    (session,) = world.process.table
    accounting, store = world.process.accounting, world.process.store
    accounting.failed([Recount(session.id, Used(up_octets=-7)), Recount(session.id + 1, Used(up_octets=-8))])
    accounting.durable([Erase(session.id)])
    accounting.try_again()
    assert [write.id for write in store._collected if isinstance(write, Recount)] == [session.id + 1]


def test_an_interim_that_is_due_while_a_lease_is_on_its_way_to_the_disk_comes_later(world: World) -> None:
    (session,) = world.process.table
    busy = replace(session, phase=Phase.RECORDING)
    world.process.table.put(busy, world.clock.boot())
    world.run(60)
    assert INTERIM not in world.accounted[session.accounting.encode()].octets
    world.process.table.put(session, world.clock.boot())
    world.run(2)
    assert INTERIM in world.accounted[session.accounting.encode()].octets


def test_interims_are_spread_over_their_interval(world: World) -> None:
    (session,) = world.process.table
    accounting, now = world.process.accounting, world.clock.boot()
    for number_ in range(600):
        accounting.watch(replace(session, id=number_, accounting=f"{number_:016x}", opened_at=now), now)
    seconds = Counter((due - now) // SECOND for due in accounting._armed.values())
    assert max(seconds.values()) <= 30, "ten would be even"
    assert len(seconds) >= 55

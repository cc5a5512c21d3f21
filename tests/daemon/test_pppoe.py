"""PPPoE with the engine: what becomes of sessions over time, restarts, a bad wire and a bad disk."""

from __future__ import annotations

import pytest

from tests.conftest import PROFILE
from tests.daemon.pppoe_world import World
from wayleave.net.units import SECOND
from wayleave.session.model import CloseCause, Phase

MINUTE = 60 * SECOND
SEEDS = {"test": 30, "soak": 10_000}[PROFILE]


def online(seed: int = 1, customers: int = 4) -> World:
    world = World(seed, customers)
    for caller in world.callers:
        caller.dial(world.clock.boot())
    world.run(SECOND)
    assert all(caller.addresses is not None for caller in world.callers)
    return world


def sessions(world: World) -> list[tuple[str, str]]:
    assert world.gateway is not None
    return [(str(item.client), item.phase.value) for item in world.gateway.table]


def test_a_session_lives_as_long_as_its_link_and_is_promised_its_address_anew() -> None:
    world = online()
    assert world.gateway is not None
    told = {caller.mac: caller.addresses for caller in world.callers}
    for _ in range(60):
        world.run(MINUTE)
        world.check_at_rest()
    assert {caller.mac: caller.addresses for caller in world.callers} == told
    assert world.gateway.engine.counts.opened == 4
    assert all(item.lease and item.lease.promise_until > world.clock.now + 100 * SECOND for item in world.gateway.table)


def test_where_the_disk_refuses_promises_a_session_ends_with_the_last_and_not_before() -> None:
    world = online(customers=1)
    world.disk.failing = True
    world.run(6 * MINUTE)
    assert world.callers[0].addresses is not None
    world.run(2 * MINUTE)
    assert world.callers[0].addresses is None
    assert world.gateway is not None
    (session,) = world.gateway.table
    assert (session.phase, session.cause) == (Phase.FORGETTING, CloseCause.LEASE_EXPIRED)


def test_a_disk_that_comes_back_in_time_costs_nobody_a_session() -> None:
    world = online(customers=1)
    world.disk.failing = True
    world.run(5 * MINUTE)
    world.disk.failing = False
    world.run(10 * MINUTE)
    world.check_at_rest()
    assert world.callers[0].addresses is not None


def test_a_process_that_is_killed_costs_nobody_a_session() -> None:
    world = online()
    before = sessions(world)
    world.kill()
    world.run(5 * SECOND)
    world.start()
    world.run(10 * MINUTE)
    assert sessions(world) == before
    world.check_at_rest()


def test_sessions_that_wait_for_the_clock_after_a_reboot_are_looked_after_once_it_is_set() -> None:
    """Or whoever is gone by then would be served, and have its address, for ever."""
    world = online(customers=2)
    world.callers[1].switch_off()
    world.reboot(off=30 * SECOND)
    assert world.gateway is not None
    assert len(world.gateway.recovery.unknown) == 2
    world.set_clock()
    world.check_at_rest()
    world.run(150 * SECOND)
    (session,) = world.gateway.table
    assert session.client == world.callers[0].client
    world.check_at_rest()
    assert world.callers[0].addresses is not None


def test_with_no_process_for_longer_than_the_promise_nobody_is_forwarded_and_all_dial_again() -> None:
    world = online(customers=2)
    caller = world.callers[0]
    assert caller.addresses is not None
    address, key = caller.addresses.own, caller.client.key
    world.kill()
    world.run(8 * MINUTE)
    assert not world.plane.forwards(key, address, world.clock.boot())
    world.start()
    world.run(MINUTE)
    for item in world.callers:
        item.dial(world.clock.boot())
    world.run(MINUTE)
    world.check_at_rest()
    assert all(item.addresses is not None for item in world.callers)


def test_a_client_without_power_is_gone_in_two_minutes_and_its_address_free() -> None:
    world = online(customers=2)
    world.callers[0].switch_off()
    world.run(150 * SECOND)
    assert world.gateway is not None
    assert len(world.gateway.table) == 1
    assert world.gateway.engine.counts.closed["lost-carrier"] == 1
    assert world.gateway.engine.pools["home"].pool.held == 1


def test_a_client_that_is_heard_by_the_data_plane_is_not_asked() -> None:
    world = online(customers=1)
    assert world.gateway is not None
    world.callers[0].deaf = True
    for _ in range(30):
        world.packets()
        world.run(20 * SECOND)
    assert world.callers[0].addresses is not None


@pytest.mark.parametrize("cause", [CloseCause.ADMIN_RESET, CloseCause.DISCONNECTED, CloseCause.STOPPED])
def test_whoever_ends_a_session_its_client_hears_of_it_at_once(cause: CloseCause) -> None:
    world = online(customers=1)
    assert world.gateway is not None
    (session,) = world.gateway.table
    world.gateway.clear(session, cause)
    world.run(SECOND // 10)
    assert world.callers[0].over
    assert world.callers[0].addresses is None
    assert len(world.gateway.pppoe.calls) == 0


def test_a_client_that_dials_again_at_once_gets_its_address_again() -> None:
    world = online(customers=4)
    caller = world.callers[2]
    assert caller.addresses is not None
    before = caller.addresses.own
    caller.hang_up()
    world.run(SECOND)
    caller.dial(world.clock.boot())
    world.run(SECOND)
    assert caller.addresses is not None
    assert caller.addresses.own == before


def test_a_client_that_negotiates_anew_is_a_new_session_with_the_same_number() -> None:
    world = online(customers=1)
    caller = world.callers[0]
    number = caller.client.pppoe
    caller.renegotiate(world.clock.boot())
    world.run(10 * SECOND)
    assert world.gateway is not None
    assert (caller.client.pppoe, world.gateway.engine.counts.opened) == (number, 2)
    world.check_at_rest()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_all_are_online_again_once_the_wire_is_well(seed: int) -> None:
    world = World(seed)
    world.lossy = True
    for _ in range(40):
        world.mischief()
        world.run(world.chance.choice((0, SECOND // 20, SECOND, 20 * SECOND, MINUTE)))
    world.lossy = False
    for caller in world.callers:
        caller.switch_off()
        caller.dial(world.clock.boot())
    world.run(MINUTE)
    world.check_at_rest()
    assert all(caller.addresses is not None for caller in world.callers), world.seed
    assert world.gateway is not None
    world.run(5 * MINUTE)
    assert len([item for item in world.gateway.table if item.phase is Phase.ACTIVE]) == len(world.callers)
    assert len(world.gateway.pppoe.calls) == len(world.callers)

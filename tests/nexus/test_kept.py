"""Addresses that subscribers keep: at the gateway where they are, at no other, and nobody else's."""

from __future__ import annotations

import pytest
from msgspec import structs

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.allocations import Allocations, Asked
from wayleave.nexus.holding import Holding, Terms
from wayleave.nexus.model import Kind, Mode, Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.refusal import Exists, InUse, Refused
from wayleave.nexus.store.port import Store
from wayleave.proto.nexus.messages import SINGLE, Block, Claim, GiveBack, Held, Renew

from .driven import run
from .network import ALICE, BOB, Network

HOME = Pool("home", Kind.IPV4, "100.64.0.0/28", 4, tenant="acme")
KEEPS = structs.replace(ALICE, address="100.64.0.9")
HERE, THERE = "edge-2", "edge-1"
"""Where lines 1 and 2 end."""
UNIT = Block("home", SINGLE + 9, "100.64.0.9", "100.64.0.9", 1)
HOLD = Ns(100 * SECOND)


class World(Network):
    """A network whose gateways have holds."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.holding = Holding(store, Terms(HOLD))
        self.allocations = Allocations(store, self.holding)
        run(Pools(store).put(HOME, 0))
        self.holds: dict[str, Held] = {node: run(self.holding.renew(node, Renew(0))) for node in (HERE, THERE)}

    def claim(self, node: str, *units: str) -> tuple[Block, ...]:
        asked = Claim(self.holds[node].epoch, "home", max(1, len(units)), units)
        return run(self.holding.claim(node, asked)).blocks

    def renew(self, node: str) -> tuple[Block, ...]:
        self.holds[node] = run(self.holding.renew(node, Renew(self.holds[node].epoch)))
        return self.holds[node].blocks

    def give_back(self, node: str, block: Block) -> None:
        hold = self.holds[node]
        run(self.holding.give_back(node, GiveBack(hold.epoch, hold.beat, *block.key, block.fence)))


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_a_gateway_gets_the_addresses_of_its_own_subscribers(world: World) -> None:
    run(world.subscribers.put(KEEPS, 0))
    assert world.claim(THERE, "100.64.0.9") == ()
    assert world.claim(HERE, "100.64.0.9") == (UNIT,)
    assert world.claim(HERE, "100.64.0.9") == (UNIT,), "asked once more, as the answer may have been lost"
    assert world.renew(HERE) == (UNIT,)
    assert world.claim(HERE, "100.64.0.8") == (), "that one is nobody's"


def test_the_block_around_it_is_no_gateways(world: World) -> None:
    run(world.subscribers.put(KEEPS, 0))
    got = [block for _ in range(4) for block in world.claim(THERE)]
    assert [block.index for block in sorted(got, key=lambda block: block.index)] == [0, 1, 3]
    other = structs.replace(KEEPS, name="other", line="line-3", address="100.64.0.2")
    with pytest.raises(Exists, match="in a block that a gateway has"):
        run(world.subscribers.put(other, 0))


def test_the_address_follows_who_moves_once_the_gateway_before_has_given_it_back(world: World) -> None:
    at = run(world.subscribers.put(KEEPS, 0))
    (unit,) = world.claim(HERE, "100.64.0.9")
    run(world.subscribers.put(structs.replace(KEEPS, line="line-2"), at))
    assert world.claim(THERE, "100.64.0.9") == (), "somebody may live there still"
    world.give_back(HERE, unit)
    assert world.claim(HERE, "100.64.0.9") == (), "its line is not there any more"
    (moved,) = world.claim(THERE, "100.64.0.9")
    assert moved == structs.replace(UNIT, fence=2)


def test_a_gateway_that_is_gone_keeps_it_until_its_hold_is_over(world: World) -> None:
    at = run(world.subscribers.put(KEEPS, 0))
    world.claim(HERE, "100.64.0.9")
    run(world.subscribers.put(structs.replace(KEEPS, line="line-2"), at))
    observer = Observer(world.store, Ns(0))
    now = 1_000 * SECOND
    run(observer.look(lambda: BootNs(now)))
    world.renew(THERE)
    assert run(observer.look(lambda: BootNs(now + HOLD))) == []
    assert world.claim(THERE, "100.64.0.9") == ()
    assert run(observer.look(lambda: BootNs(now + HOLD + HOLD // 1000 + 1))) == [model.hold_key(HERE, 1)]
    assert world.claim(THERE, "100.64.0.9") != ()


def test_an_address_is_kept_for_one_subscriber_and_allocated_to_nobody(world: World) -> None:
    run(world.subscribers.put(KEEPS, 0))
    twin = structs.replace(KEEPS, name="twin", line="line-3")
    with pytest.raises(Exists, match="is subscriber alice's"):
        run(world.subscribers.put(twin, 0))
    with pytest.raises(Exists):
        run(world.allocations.allocate(Asked("home", "somebody", Mode.SESSION, "100.64.0.9")))
    given = [run(world.allocations.allocate(Asked("home", f"h{n}", Mode.SESSION))).unit for n in range(3)]
    assert "100.64.0.9" not in given
    taken = structs.replace(KEEPS, name="late", line="line-4", address=given[0])
    with pytest.raises(Exists, match="is allocated to h0"):
        run(world.subscribers.put(taken, 0))


def test_who_has_another_address_leaves_the_old_one_to_others_once_it_is_given_back(world: World) -> None:
    at = run(world.subscribers.put(KEEPS, 0))
    (unit,) = world.claim(HERE, "100.64.0.9")
    run(world.subscribers.put(structs.replace(KEEPS, address="100.64.0.10"), at))
    with pytest.raises(Exists):
        run(world.allocations.allocate(Asked("home", "somebody", Mode.SESSION, "100.64.0.9")))
    assert world.claim(HERE, "100.64.0.10") != ()
    world.give_back(HERE, unit)
    assert run(world.allocations.allocate(Asked("home", "somebody", Mode.SESSION, "100.64.0.9"))).holder == "somebody"


def test_of_a_subscriber_that_is_deleted_nothing_is_kept(world: World) -> None:
    before = world.stored()
    at = run(world.subscribers.put(KEEPS, 0))
    run(world.subscribers.delete("alice", at))
    left = world.stored() - before
    assert not {key for key in left if key.startswith(("kept/", "keeps/"))}


def test_an_address_of_no_shared_pool_is_the_gateways_matter(world: World) -> None:
    run(world.subscribers.put(structs.replace(KEEPS, address="192.0.2.1"), 0))
    run(world.subscribers.put(structs.replace(BOB, address="100.64.0.9"), 0))  # another tenant's: not in HOME
    assert not {key for key in world.stored() if key.startswith("kept/")}


def test_a_pool_with_kept_addresses_is_not_deleted(world: World) -> None:
    at = run(world.subscribers.put(KEEPS, 0))
    with pytest.raises(InUse, match="kept for subscriber alice"):
        run(Pools(world.store).delete("home"))
    run(world.subscribers.put(structs.replace(KEEPS, address=""), at))
    run(Pools(world.store).delete("home"))


def test_what_is_no_unit_of_the_pool_keeps_no_other_waiting(world: World) -> None:
    run(world.subscribers.put(KEEPS, 0))
    assert world.claim(HERE, "10.0.0.1", "100.64.0.9") == (UNIT,)


def test_who_keeps_an_address_of_a_pool_that_is_closed_since_can_still_be_changed(world: World) -> None:
    at = run(world.subscribers.put(KEEPS, 0))
    pool = run(Pools(world.store).get("home"))
    run(Pools(world.store).put(structs.replace(HOME, closed=True), pool.revision))
    run(world.subscribers.put(structs.replace(KEEPS, blocked=True), at))
    with pytest.raises(Refused, match="is closed"):
        run(world.subscribers.put(structs.replace(KEEPS, name="late", line="line-3", address="100.64.0.10"), 0))


@pytest.mark.parametrize("after", range(1, 12))
def test_who_moves_while_it_is_claimed_is_claimed_or_not(world: World, after: int) -> None:
    """Between any two operations of the claim the line moves: the unit is the new gateway's to have, or not yet."""
    at = run(world.subscribers.put(KEEPS, 0))
    moves = iter([None] * after)

    def between() -> None:
        nonlocal at
        if next(moves, 0) == 0 and at:
            seen, at = at, 0
            run(world.subscribers.put(structs.replace(KEEPS, line="line-2"), seen))

    asked = Claim(world.holds[HERE].epoch, "home", 1, ("100.64.0.9",))
    got = run(world.holding.claim(HERE, asked), between).blocks
    if got:
        assert world.claim(THERE, "100.64.0.9") == (), "it is given back first"
        world.give_back(HERE, got[0])
    if not at:
        assert world.claim(THERE, "100.64.0.9") != ()

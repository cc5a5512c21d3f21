"""Empty blocks of Nexus's own go back, and no unit is given in one that does."""

from __future__ import annotations

import contextlib
from itertools import count

import pytest
from msgspec import structs

from wayleave.nexus import model
from wayleave.nexus.allocations import Allocations, Asked
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import NEXUS, Kind, Mode, Ownership, Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.refusal import Exhausted, Refused
from wayleave.nexus.store.port import Store
from wayleave.nexus.vacating import vacate
from wayleave.proto.nexus.messages import Block, Claim, GiveBack, Renew

from .driven import in_memory, run
from .network import ALICE, LINES, Network

ONE_BLOCK = Pool("wifi", Kind.IPV4, "100.64.0.0/30", 4, tenant="acme")


class Nexus:
    """A pool of one block."""

    def __init__(self, store: Store) -> None:
        self.store, self.holding = store, Holding(store)
        self.allocations = Allocations(store, self.holding)
        run(Pools(store).put(ONE_BLOCK, 0))

    def ask(self, holder: str) -> str:
        return run(self.allocations.allocate(Asked("wifi", holder, Mode.SESSION))).id

    def owner(self) -> Ownership:
        entry = run(self.store.get(model.block_key("wifi", 0)))
        assert entry is not None
        return model.decode(Ownership, entry.value)


@pytest.fixture
def nexus(store: Store) -> Nexus:
    return Nexus(store)


def test_a_block_goes_back_when_its_last_unit_was_released(nexus: Nexus) -> None:
    first, second = nexus.ask("alice"), nexus.ask("bob")
    run(nexus.allocations.release(first))
    assert run(vacate(nexus.store)) == []
    assert nexus.owner() == Ownership(NEXUS, model.OWN_EPOCH, 1)
    run(nexus.allocations.release(second))
    assert run(vacate(nexus.store)) == [model.block_key("wifi", 0)]
    run(nexus.holding.renew("edge-1", Renew(0)))
    (block,) = run(nexus.holding.claim("edge-1", Claim(1, "wifi"))).blocks
    assert block.fence == 2
    with pytest.raises(Exhausted):
        nexus.ask("alice")


def test_whoever_was_killed_leaves_a_block_that_goes_back_the_next_time(nexus: Nexus) -> None:
    run(nexus.allocations.release(nexus.ask("alice")))
    steps = count()

    class Killed(Exception):
        pass

    def between() -> None:
        if nexus.owner().closed and next(steps) == 0:
            raise Killed

    with pytest.raises(Killed):
        run(vacate(nexus.store), between)
    with pytest.raises(Exhausted):
        nexus.ask("bob")
    assert len(run(vacate(nexus.store))) == 1
    nexus.ask("bob")


@pytest.mark.parametrize("step", range(12))
@pytest.mark.parametrize("first", ["allocate", "vacate"])
def test_what_is_allocated_is_in_a_block_of_nexus_whatever_happens_at_once(first: str, step: int) -> None:
    nexus = Nexus(in_memory())
    run(nexus.allocations.release(nexus.ask("guest")))
    steps = count()
    works = {
        "allocate": lambda: nexus.allocations.allocate(Asked("wifi", "alice", Mode.SESSION)),
        "vacate": lambda: vacate(nexus.store),
    }
    (other,) = works.keys() - {first}

    def between() -> None:
        if next(steps) == step:
            with contextlib.suppress(Exhausted):
                run(works[other]())

    with contextlib.suppress(Exhausted):
        run(works[first](), between)
    held = run(nexus.allocations.list("wifi")).items
    assert not held or nexus.owner() == Ownership(NEXUS, model.OWN_EPOCH, nexus.owner().fence)


@pytest.mark.parametrize("step", range(8))
def test_what_another_process_gave_back_and_a_gateway_has_since_stays_that_ones(step: int) -> None:
    nexus = Nexus(in_memory())
    run(nexus.allocations.release(nexus.ask("guest")))
    run(nexus.holding.renew("edge-1", Renew(0)))
    steps = count()

    def between() -> None:
        if next(steps) == step:
            run(vacate(nexus.store))
            run(nexus.holding.claim("edge-1", Claim(1, "wifi")))

    run(vacate(nexus.store), between)
    run(nexus.holding.claim("edge-1", Claim(1, "wifi")))
    assert len(run(nexus.holding.renew("edge-1", Renew(1))).blocks) == 1
    assert nexus.owner() == Ownership("edge-1", 1, 2)


# ---- what subscribers keep ------------------------------------------------------------------------


class Keeping(Network):
    """A pool of one block, of which Alice keeps an address; her line ends at HERE."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.holding = Holding(store)
        run(Pools(store).put(ONE_BLOCK, 0))
        self.held = run(self.holding.renew(HERE, Renew(0)))

    def keep(self) -> int:
        return run(self.subscribers.put(KEEPS, 0))

    def claim(self) -> tuple[Block, ...]:
        asked = Claim(self.held.epoch, "wifi", 1, (KEEPS.address,))
        return run(self.holding.claim(HERE, asked)).blocks

    def owner(self) -> str:
        entry = run(self.store.get(model.block_key("wifi", 0)))
        return model.decode(Ownership, entry.value).node if entry is not None else ""


HERE = LINES[0].node
KEEPS = structs.replace(ALICE, address="100.64.0.2")


def test_a_block_of_which_an_address_is_kept_or_still_at_a_gateway_stays(store: Store) -> None:
    network = Keeping(store)
    at = network.keep()
    assert run(vacate(store)) == []
    (unit,) = network.claim()
    at = run(network.subscribers.put(ALICE, at))
    assert run(vacate(store)) == [], "somebody may live there still"
    run(network.holding.give_back(HERE, GiveBack(network.held.epoch, network.held.beat, *unit.key, unit.fence)))
    assert run(vacate(store)) == [model.block_key("wifi", 0)]
    run(network.subscribers.put(KEEPS, at))
    assert network.owner() == NEXUS


@pytest.mark.parametrize("step", range(14))
@pytest.mark.parametrize("first", ["keep", "vacate"])
def test_what_is_kept_is_in_a_block_of_nexus_whatever_happens_at_once(first: str, step: int) -> None:
    network = Keeping(in_memory())
    run(network.holding.own("wifi", 0))
    steps = count()
    works = {"keep": lambda: network.subscribers.put(KEEPS, 0), "vacate": lambda: vacate(network.store)}
    (other,) = works.keys() - {first}

    def between() -> None:
        if next(steps) == step:
            with contextlib.suppress(Refused):
                run(works[other]())

    with contextlib.suppress(Refused):
        run(works[first](), between)
    assert run(network.store.get(model.kept_key("wifi", 2))) is None or network.owner() == NEXUS


@pytest.mark.parametrize("kept_at", range(8))
def test_a_gateway_that_gets_an_address_and_is_to_give_it_back_is_not_overlooked(kept_at: int) -> None:
    """All of that happens ahead of some of the operations that look whether the block is empty."""
    for let_go_at in range(kept_at, 14):
        network = Keeping(in_memory())
        run(network.holding.own("wifi", 0))
        steps = count()
        seen: list[int] = []
        got: list[Block] = []

        def between(network: Keeping = network, let_go_at: int = let_go_at, steps: count[int] = steps) -> None:
            step = next(steps)
            with contextlib.suppress(Refused):
                if step == kept_at:
                    seen.append(network.keep())  # noqa: B023
                if step == let_go_at and seen:  # noqa: B023
                    got.extend(network.claim())  # noqa: B023
                    run(network.subscribers.put(ALICE, seen[0]))  # noqa: B023

        run(vacate(network.store), between)
        assert not got or network.owner() == NEXUS

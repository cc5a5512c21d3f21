"""Empty blocks of Nexus's own go back, and no unit is given in one that does."""

from __future__ import annotations

import contextlib
from itertools import count

import pytest

from wayleave.nexus import model
from wayleave.nexus.allocations import Allocations, Asked
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import NEXUS, Kind, Mode, Ownership, Pool
from wayleave.nexus.pools import Pools
from wayleave.nexus.refusal import Exhausted
from wayleave.nexus.store.port import Store
from wayleave.nexus.vacating import vacate
from wayleave.proto.nexus.messages import Claim, Renew

from .driven import in_memory, run

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

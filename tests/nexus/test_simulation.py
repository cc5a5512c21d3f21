"""The promise of Nexus under everything that goes wrong, and mutants that break it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pytest
from msgspec import structs

from tests.conftest import PROFILE
from wayleave.nexus import allocations, model, reclaim
from wayleave.nexus.allocations import Allocations, Asked
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import Hold, Lease, Ownership, Unit
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.records import Draft
from wayleave.nexus.refusal import Absent, Fenced
from wayleave.nexus.store.port import Delete, Entry, Is, Put
from wayleave.proto.nexus.messages import Block, Claim, GiveBack

from .guests import brief, limited, mixed
from .memory import MemoryStore
from .simulation import Violation, World

SEEDS, STEPS = {"test": (6, 10_000), "soak": (50, 1_000_000)}[PROFILE]


def crowded(seed: int) -> World:
    """A pool of four blocks, for three gateways and more guests than would have room in a block."""
    return World(seed, 3, (mixed,) * 8, "100.64.0.0/28")


def fleeting(seed: int) -> World:
    """A pool of two blocks, which more guests than have room wait for, each for a limited time."""
    return World(seed, 1, (limited,) * 10, "100.64.0.0/29")


def changing(seed: int) -> World:
    """A pool of two blocks, one of which is Nexus's now and then, as two guests come and go."""
    return World(seed, 2, (brief,) * 2, "100.64.0.0/29")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_unit_ever_has_two_holders(seed: int) -> None:
    World(seed).run_for(STEPS)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nor_if_nexus_hands_out_units_of_the_same_pool_itself(seed: int) -> None:
    crowded(seed).run_for(STEPS)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nor_if_blocks_come_and_go(seed: int) -> None:
    changing(seed).run_for(STEPS)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nor_if_all_units_are_let_go_by_their_time_alone(seed: int) -> None:
    fleeting(seed).run_for(STEPS)


# ---- mutants: each takes one thing away that the promise rests on ---------------------------------


def _hash_as_reservation(patch: pytest.MonkeyPatch) -> None:
    """The block that a gateway prefers is its own, whoever has it."""

    async def taken(self: Holding, node: str, asked: Claim, index: int, _: object) -> Block:
        await self._present(node, asked.epoch)
        changes = [
            Put(model.block_key(asked.pool, index), model.encode(Ownership(node, asked.epoch, 1))),
            Put(model.held_key(node, asked.epoch, asked.pool, index), b"1"),
        ]
        await self._store.commit([], changes)
        return Block(asked.pool, index, "", "", 1)

    patch.setattr(Holding, "_taken", taken)


def _careless(patch: pytest.MonkeyPatch, prefix: str) -> None:
    commit = MemoryStore.commit

    async def careless(self: MemoryStore, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        return await commit(self, [item for item in expects if not item.key.startswith(prefix)], changes)

    patch.setattr(MemoryStore, "commit", careless)


def _owner_not_expected(patch: pytest.MonkeyPatch) -> None:
    """A block that was free when it was read is taken without a look at whether it still is."""
    _careless(patch, model.BLOCKS)


def _no_fencing(patch: pytest.MonkeyPatch) -> None:
    """A hold that is over is begun again by who had it, with the blocks that it had."""
    present, commit = Holding._present, MemoryStore.commit

    async def forgetful(self: MemoryStore, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        kept = [item for item in changes if isinstance(item, Put) or not item.key.startswith(model.HELD)]
        return await commit(self, expects, kept)

    async def revived(self: Holding, node: str, epoch: int) -> tuple[Entry, Entry]:
        with contextlib.suppress(Fenced):
            return await present(self, node, epoch)
        hold = Put(model.hold_key(node, epoch), model.encode(Hold(self.terms.hold, 0)))
        await self._store.commit([Is(hold.key, 0)], [hold])
        return await present(self, node, epoch)

    async def unswept(_: Observer, node: str, epoch: int) -> None:
        """Leave the index as it is."""

    patch.setattr(Holding, "_present", revived)
    patch.setattr(MemoryStore, "commit", forgetful)
    patch.setattr(Observer, "sweep", unswept)


def _reclaim_without_grace(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reclaim, "watched", lambda duration, *_: duration)


def _late_give_back(patch: pytest.MonkeyPatch) -> None:
    """What a gateway gave back is taken whenever it is heard."""
    give_back = Holding.give_back

    async def whenever(self: Holding, node: str, asked: GiveBack) -> None:
        _, hold = await self._present(node, asked.epoch)
        await give_back(self, node, structs.replace(asked, beat=model.decode(Hold, hold.value).beat))

    patch.setattr(Holding, "give_back", whenever)


# ---- the same of single units ---------------------------------------------------------------------


def _unit_not_expected(patch: pytest.MonkeyPatch) -> None:
    """A unit that was free when it was read is given without a look at whether it still is."""
    _careless(patch, model.UNITS)


def _whosever_block(patch: pytest.MonkeyPatch) -> None:
    """Nexus takes a block for its own, whose ever it is."""

    async def own(self: Holding, pool: str, index: int | None = None) -> Block | None:
        assert index is None
        found = await self._store.get(model.block_key(pool, 3))
        if found is not None and model.decode(Ownership, found.value).node == model.NEXUS:
            return None
        mine = model.encode(Ownership(model.NEXUS, model.OWN_EPOCH, 1))
        changes = [Put(model.block_key(pool, 3), mine), Put(f"{model.own_blocks_prefix(pool)}00000003", b"1")]
        await self._store.commit([], changes)
        return Block(pool, 3, "", "", 1)

    patch.setattr(Holding, "own", own)


def _late_release(patch: pytest.MonkeyPatch) -> None:
    """What was given anew meanwhile is released all the same."""

    async def standing(draft: Draft, identity: str) -> Unit:
        pool, number, _ = allocations._parsed(identity)
        unit = await draft.find(Unit, model.unit_key(pool, number))
        if unit is None or not unit.holder:
            raise Absent(identity)
        return unit

    patch.setattr(allocations, "_standing", standing)


def _repeated_question_renews_nothing(patch: pytest.MonkeyPatch) -> None:
    """Who asks again for what it has is told its whole time, of which some is over."""
    leased = Allocations._leased

    async def as_it_was(self: Allocations, draft: Draft, asked: Asked, number: int) -> Lease:
        return await draft.find(Lease, model.lease_key(asked.pool, number)) or await leased(self, draft, asked, number)

    patch.setattr(Allocations, "_leased", as_it_was)


GATEWAYS = (
    _hash_as_reservation,
    _owner_not_expected,
    _no_fencing,
    _reclaim_without_grace,
    _late_give_back,
)
UNITS = (_unit_not_expected, _whosever_block, _late_release)
LIMITED = (_repeated_question_renews_nothing, _reclaim_without_grace)
Mutant = Callable[[pytest.MonkeyPatch], None]


def _name(mutant: object) -> str:
    return getattr(mutant, "__name__", "").strip("_")


@pytest.mark.parametrize("mutant", GATEWAYS, ids=_name)
def test_a_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    _caught(World)


@pytest.mark.parametrize("mutant", UNITS, ids=_name)
def test_a_mutant_of_single_units_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    _caught(crowded)


@pytest.mark.parametrize("mutant", LIMITED, ids=_name)
def test_a_mutant_of_units_whose_time_is_limited_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    _caught(fleeting)


def _caught(world: Callable[[int], World]) -> None:
    for seed in range(20):
        try:
            world(seed).run_for(20_000)
        except Violation:
            return
    pytest.fail("nothing was seen of it in 400,000 steps")

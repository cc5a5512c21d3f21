"""The promise of Nexus under everything that goes wrong, and mutants that break it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pytest
from msgspec import structs

from tests.conftest import PROFILE
from wayleave.nexus import model, reclaim
from wayleave.nexus.holding import Holding
from wayleave.nexus.model import Hold, Ownership
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.refusal import Fenced
from wayleave.nexus.store.port import Delete, Entry, Is, Put
from wayleave.proto.nexus.messages import Block, Claim, GiveBack

from .memory import MemoryStore
from .simulation import Violation, World

SEEDS, STEPS = {"test": (6, 10_000), "soak": (50, 1_000_000)}[PROFILE]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_unit_ever_has_two_holders(seed: int) -> None:
    World(seed).run_for(STEPS)


# ---- mutants: each takes one thing away that the promise rests on ---------------------------------


def _hash_as_reservation(patch: pytest.MonkeyPatch) -> None:
    """The block that a gateway prefers is its own, whoever has it."""

    async def taken(self: Holding, node: str, asked: Claim, index: int) -> Block:
        await self._present(node, asked.epoch)
        changes = [
            Put(model.block_key(asked.pool, index), model.encode(Ownership(node, asked.epoch, 1))),
            Put(model.held_key(node, asked.epoch, asked.pool, index), b"1"),
        ]
        await self._store.commit([], changes)
        return Block(asked.pool, index, "", "", 1)

    patch.setattr(Holding, "_taken", taken)


def _owner_not_expected(patch: pytest.MonkeyPatch) -> None:
    """A block that was free when it was read is taken without a look at whether it still is."""
    commit = MemoryStore.commit

    async def careless(self: MemoryStore, expects: Sequence[Is], changes: Sequence[Put | Delete]) -> int:
        return await commit(self, [item for item in expects if not item.key.startswith(model.BLOCKS)], changes)

    patch.setattr(MemoryStore, "commit", careless)


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


MUTANTS = (
    _hash_as_reservation,
    _owner_not_expected,
    _no_fencing,
    _reclaim_without_grace,
    _late_give_back,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.strip("_"))
def test_a_mutant_is_caught(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    for seed in range(20):
        world = World(seed)
        try:
            world.run_for(20_000)
        except Violation:
            return
    pytest.fail("nothing was seen of it in 400,000 steps")

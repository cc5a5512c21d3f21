"""Blocks of Nexus's own in which nothing is allocated any more go back, for gateways to claim.

A block is closed first, as what is deleted is (`records.vacant`): who is about to allocate in it expects it as it was
before, and fails; what is found in it after that is all there is. Then it is given back, or opened again. Who is killed
in between leaves a closed block, in which nobody gets more until this comes by once more.
"""

from __future__ import annotations

import contextlib

from wayleave.nexus import model
from wayleave.nexus.model import NEXUS, OWN_EPOCH, Ownership, Pool
from wayleave.nexus.records import units, vacant
from wayleave.nexus.refusal import Changed, InUse
from wayleave.nexus.spaces import space
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Put, Store, entries


async def vacate(store: Store) -> list[str]:
    """Give back what is empty; returns the keys of the blocks. Raises: Unavailable."""
    given: list[str] = []
    async for held in entries(store, model.held_prefix(NEXUS, OWN_EPOCH)):
        block = await store.get(model.block_key(*model.of_held_key(held.key)))
        if block is not None and not await _lived_in(store, held):
            with contextlib.suppress(InUse, Changed, Conflict):
                await _given_back(store, held, block)
                given.append(block.key)
    return given


async def _given_back(store: Store, held: Entry, block: Entry) -> None:
    """Raises: InUse, Changed, Conflict: it stays."""
    ownership = model.decode(Ownership, block.value)
    closed = await vacant(store, block, ownership, lambda: _lived_in(store, held), f"block {block.key}")
    nobodys = Put(block.key, model.encode(Ownership("", 0, ownership.fence)))
    await store.commit([Is(block.key, closed)], [nobodys, Delete(held.key)])


async def _lived_in(store: Store, held: Entry) -> str:
    """Say of a block who has a unit of it; empty: nobody."""
    pool, index = model.of_held_key(held.key)
    of = await store.get(model.pool_key(pool))
    if of is None:
        return "its pool is gone"
    async for number, unit in units(store, pool, *space(model.decode(Pool, of.value)).units(index)):
        if unit.holder:
            return f"unit {number} is {unit.holder}'s"
    return ""

"""Blocks of Nexus's own in which nothing is allocated or kept any more go back, for gateways to claim.

A block is closed first, as what is deleted is (`records.vacant`): who is about to have something of it expects it as it
was before, and fails; what is found in it after that is all there is. Then it is given back, or opened again. Who is
killed in between leaves a closed block, in which nobody gets more until this comes by once more.
"""

from __future__ import annotations

import contextlib

from wayleave.nexus import model
from wayleave.nexus.model import NEXUS, OWN_EPOCH, Ownership, Pool
from wayleave.nexus.records import span, units, vacant
from wayleave.nexus.refusal import Changed, InUse
from wayleave.nexus.spaces import space
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Put, Store, entries
from wayleave.proto.nexus.messages import SINGLE


async def vacate(store: Store) -> list[str]:
    """Give back what is empty; returns the keys of the blocks. Raises: Unavailable."""
    given: list[str] = []
    async for held in entries(store, model.held_prefix(NEXUS, OWN_EPOCH)):
        block = await store.get(model.block_key(*model.of_held_key(held.key)))
        ownership = model.decode(Ownership, block.value) if block is not None else None
        if block is None or ownership is None or ownership.node != NEXUS:  # another process has given it back
            continue
        if not await _lived_in(store, held):
            with contextlib.suppress(InUse, Changed, Conflict):
                await _given_back(store, held, block, ownership)
                given.append(block.key)
    return given


async def _given_back(store: Store, held: Entry, block: Entry, ownership: Ownership) -> None:
    """Raises: InUse, Changed, Conflict: it stays."""
    nobodys = Put(block.key, model.encode(Ownership("", 0, ownership.fence)))
    async with vacant(store, block, ownership, lambda: _lived_in(store, held), f"block {block.key}") as closed:
        await store.commit([Is(block.key, closed)], [nobodys, Delete(held.key)])


async def _lived_in(store: Store, held: Entry) -> str:
    """Say who has something of a block; empty: nobody.

    Who keeps an address is looked for before who owns a single one, as what is not kept is not claimed any more.
    """
    pool, index = model.of_held_key(held.key)
    of = await store.get(model.pool_key(pool))
    if of is None:
        return "its pool is gone"
    ends = space(model.decode(Pool, of.value)).units(index)
    async for number, unit in units(store, pool, *ends):
        if unit.holder:
            return f"unit {number} is allocated to {unit.holder}"
    async for number, entry in span(store, lambda number: model.kept_key(pool, number), *ends):
        return f"unit {number} is kept for subscriber {entry.value.decode()}"
    singles = SINGLE + ends[0], SINGLE + ends[1]
    async for at, entry in span(store, lambda at: model.block_key(pool, at), *singles):
        single = model.decode(Ownership, entry.value)
        if single.node and await store.get(model.hold_key(single.node, single.epoch)) is not None:
            return f"unit {at - SINGLE} is {single.node}'s still"
    return ""

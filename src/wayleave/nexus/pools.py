"""Pools, as operators make, change and delete them.

No two pools of addresses of a tenant overlap: `plan/TENANT` has the networks of all of them, and every commit that
makes, grows or deletes one expects it as it was read, and rewrites it. So of two who add at once one is second, and
looks again.

A pool may grow at its end, and be closed and opened. What its blocks are never changes, whether somebody owns one or
not: to have it otherwise, delete it and make another.

A pool is deleted when no gateway owns a block of it and Nexus itself has handed out nothing of it. It is closed first:
whoever is about to take of it expects it as it was before, and fails. What is looked for after that cannot appear. If
there is something, it is opened again. Who is killed in between leaves a closed pool; it can be deleted once more, or
opened. The records of its blocks and units stay, as their fences must not fall: there may be another pool of that name.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec import structs

from wayleave.nexus import model
from wayleave.nexus.holding import owned
from wayleave.nexus.model import NEXUS, Ownership, Plan, Pool, Unit
from wayleave.nexus.records import Draft, Found, Listed, checked, find, listed, seen, shown, vacant, written
from wayleave.nexus.refusal import Changed, Exists, Invalid, Refused
from wayleave.nexus.spaces import Senseless, Space, networks, space
from wayleave.nexus.store.port import PAGE, Conflict, Delete, Is, Put, Store, entries

MOST_POOLS = 4096
"""Of a tenant: their networks are one value."""
_AT_ONCE = 40


class Pools:
    """The pools of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, name: str) -> Found[Pool]:
        """Raises: Absent."""
        return await find(self._store, Pool, model.pool_key(name), f"pool {name}")

    async def list(self, after: str = "", limit: int = PAGE, at: int = 0) -> Listed[Pool]:
        """Raises: Compacted."""
        return await listed(self._store, Pool, model.POOLS, after, limit, at)

    async def put(self, pool: Pool, at: int | None) -> int:
        """Make or change a pool that was seen `at` a revision; returns its new one.

        Raises: Invalid, Exists (also of what it overlaps), Absent, Changed, Refused (it would not be the same), Busy.
        """
        checked("name", pool.name)
        checked("tenant", pool.tenant)
        try:
            ground = space(pool)
        except Senseless as error:
            raise Invalid(str(error)) from None
        return await written(self._store, lambda draft: self._put(draft, pool, ground, at), f"pool {pool.name}")

    async def _put(self, draft: Draft, pool: Pool, ground: Space, at: int | None) -> None:
        key = model.pool_key(pool.name)
        entry = await draft.get(key)
        seen(entry, at, f"pool {pool.name}")
        if entry is not None:
            _the_same(model.decode(Pool, entry.value), pool, ground)
        others = await self._others(draft, pool)
        if len(others) >= MOST_POOLS:
            raise Refused(f"tenant: {pool.tenant} has {len(others):,} pools of addresses, and that is the most")
        for network in networks(pool):
            _apart(network, pool, others)
            others[pool.name] = str(network)
        draft.put(key, pool)
        draft.put(model.plan_key(pool.tenant), Plan(others))

    async def _others(self, draft: Draft, pool: Pool) -> dict[str, str]:
        """Return the networks of the tenant's other pools."""
        plan = await draft.find(Plan, model.plan_key(pool.tenant)) or Plan({})
        return {name: network for name, network in plan.networks.items() if name != pool.name}

    async def delete(self, name: str, at: int | None = None) -> None:
        """Delete a pool that was seen `at` a revision. Raises: Absent, Changed, InUse, Busy."""
        key, what = model.pool_key(name), f"pool {name}"
        entry = await self._store.get(key)
        seen(entry, at, what)
        assert entry is not None
        pool = model.decode(Pool, entry.value)
        async with vacant(self._store, entry, pool, lambda: self._in_use(pool), what) as closed:
            await self._disown(pool, closed)
            await written(self._store, lambda draft: self._removed(draft, pool, closed), what)

    async def _in_use(self, pool: Pool) -> str:
        owners = {ownership.node for ownership in (await owned(self._store, pool.name)).values()} - {NEXUS}
        if owners:
            return f"blocks of it are owned by {shown(owners)}: close it, and wait until they are given back"
        async for entry in entries(self._store, model.kept_prefix(pool.name)):
            return f"an address of it is kept for subscriber {entry.value.decode()}: give that one another, or none"
        async for entry in entries(self._store, model.units_prefix(pool.name)):
            unit = model.decode(Unit, entry.value)
            if unit.holder:
                text = space(pool).unit(model.of_unit_key(entry.key)[1])
                return f"{text} is allocated to {unit.holder}: close it, and wait until all allocations are over"
        return ""

    async def _disown(self, pool: Pool, closed: int) -> None:
        """Give up the blocks that Nexus itself owns: nothing of them is handed out."""
        prefix, more = model.own_blocks_prefix(pool.name), True
        while more:
            page = await self._store.page(prefix, "", _AT_ONCE)
            changes: list[Put | Delete] = [Delete(entry.key) for entry in page.entries]
            for entry in page.entries:
                index = model.of_held_key(entry.key)[1]
                nobodys = Ownership("", 0, int(entry.value))
                changes.append(Put(model.block_key(pool.name, index), model.encode(nobodys)))
            try:
                await self._store.commit([Is(model.pool_key(pool.name), closed)], changes)
            except Conflict:
                raise _opened(pool) from None
            more = page.more

    async def _removed(self, draft: Draft, pool: Pool, closed: int) -> None:
        key = model.pool_key(pool.name)
        entry = await draft.get(key)
        if entry is None or entry.revision != closed:
            raise _opened(pool)
        draft.delete(key)
        draft.put(model.plan_key(pool.tenant), Plan(await self._others(draft, pool)))


def _opened(pool: Pool) -> Changed:
    return Changed(f"pool {pool.name} was changed while it was deleted: read it again")


def _the_same(before: Pool, after: Pool, ground: Space) -> None:
    """Refuse what would make other blocks of those that there are. Raises: Refused."""
    was = space(before)
    same = structs.replace(after, space=before.space, closed=before.closed) == before
    ends = (0, was.blocks - 1)
    if not same or ground.blocks < was.blocks or any(ground.bounds(index) != was.bounds(index) for index in ends):
        how = f"only the end of its space, {before.space}, may change, and only by whole blocks more"
        raise Refused(f"pool {before.name}: {how}: what its blocks are stays. Or delete it, and make another")


def _apart(network: IPv4Network | IPv6Network, pool: Pool, others: dict[str, str]) -> None:
    """Refuse what overlaps another pool of the tenant. Raises: Exists."""
    for name, text in others.items():
        if network.overlaps(ip_network(text)):
            raise Exists(f"space: {network} overlaps {text}, which is pool {name} of tenant {pool.tenant}")

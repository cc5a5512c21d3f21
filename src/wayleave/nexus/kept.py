"""Addresses that subscribers keep, on whatever line of whatever gateway they are.

They lie in blocks that Nexus itself owns, as allocations do, and nothing else is made of one (`kept/POOL/NUMBER`). The
gateway that the subscriber's line ends at has its address as a single unit (`holding`), which nobody else gets before
that one has given it back, or its hold is over. So the address follows a subscriber that moves, and is never at two
gateways.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

from wayleave.nexus import model
from wayleave.nexus.model import NEXUS, Kind, Ownership, Plan, Pool, Subscriber, Unit
from wayleave.nexus.records import Draft
from wayleave.nexus.refusal import Busy, Exists, Refused
from wayleave.nexus.spaces import space
from wayleave.nexus.store.port import Entry, Is, Store
from wayleave.proto.nexus.messages import SINGLE


class Unowned(Exception):
    """The block that an address lies in has to be Nexus's own first (`Holding.own`)."""

    def __init__(self, pool: str, index: int) -> None:
        super().__init__(f"block {index} of {pool} is not Nexus's own")
        self.pool, self.index = pool, index


async def keep(draft: Draft, tenant: str, subscriber: Subscriber) -> None:
    """Draft that a subscriber keeps its address, if it is in a pool that gateways share.

    Raises: Exists, of one that somebody else has or keeps; Refused, of a closed pool; Busy; Unowned.
    """
    name = await _pool_around(draft, tenant, subscriber.address)
    pool = await draft.find(Pool, model.pool_key(name)) if name is not None else None
    if name is None or pool is None:
        return
    ground = space(pool)
    number = ground.number(subscriber.address)
    key = model.kept_key(name, number)
    before = await draft.get(key)
    own = before is not None and before.value.decode() == subscriber.name
    if pool.closed and not own:
        raise Refused(f"address: pool {name} is closed: nobody gets more of it")
    block = await draft.find(Ownership, model.block_key(name, number // ground.size))
    if block is None or block.node != NEXUS:
        raise Unowned(name, number // ground.size)
    if block.closed:
        raise Busy(f"address: the block around {subscriber.address} is about to go back (`vacating`): ask again")
    if before is not None and before.value.decode() != subscriber.name:
        raise Exists(f"address: {subscriber.address} is subscriber {before.value.decode()}'s")
    unit = await draft.find(Unit, model.unit_key(name, number))
    if unit is not None and unit.holder:
        raise Exists(f"address: {subscriber.address} is allocated to {unit.holder}: release it first")
    draft.put(key, subscriber.name)
    draft.put(model.keeps_key(subscriber.name), f"{name}/{number:08x}")


async def _pool_around(draft: Draft, tenant: str, address: str) -> str | None:
    """The pool of a tenant that an address is in; None: gateways share none such."""
    plan = await draft.find(Plan, model.plan_key(tenant))
    inside = IPv4Address(address)
    for name, network in plan.networks.items() if plan is not None else ():
        if inside in ip_network(network):
            pool = await draft.find(Pool, model.pool_key(name))
            return name if pool is not None and pool.kind is Kind.IPV4 else None
    return None


async def let_go(draft: Draft, subscriber: str) -> None:
    """Draft that a subscriber keeps nothing."""
    key = model.keeps_key(subscriber)
    kept = await draft.get(key)
    if kept is not None:
        name, _, number = kept.value.decode().partition("/")
        draft.delete(key)
        draft.delete(model.kept_key(name, int(number, 16)))


async def taken(draft: Draft, pool: str, number: int) -> bool:
    """Whether a unit of Nexus's own blocks is a subscriber's to keep, or still at a gateway that it was kept at."""
    if await draft.get(model.kept_key(pool, number)) is not None:
        return True
    single = await draft.find(Ownership, model.block_key(pool, SINGLE + number))
    if single is None or not single.node:
        return False
    return await draft.get(model.hold_key(single.node, single.epoch)) is not None


async def entitled(store: Store, node: str, pool: str, number: int) -> list[Is] | None:
    """What a commit has to expect that gives a unit to a gateway; None: it is not kept for a subscriber there."""
    kept = await store.get(model.kept_key(pool, number))
    if kept is None:
        return None
    view: Entry | None = await store.get(model.view_key(node, kept.value.decode()))
    return None if view is None else [Is(kept.key, kept.revision), Is(view.key, view.revision)]

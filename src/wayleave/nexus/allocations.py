"""Single units that Nexus hands out itself, to who has no gateway with blocks: also VLANs of lines, reserved addresses.

    free ── allocate ──▶ HOLDER's, fence N ── release, or its time is over ──▶ free

They lie in blocks that Nexus itself owns (`holding.own`), so a unit is in a gateway's block or in Nexus's own, and the
same compare-and-set decides which. A block in which nothing is allocated any more goes back (`vacating`).

No unit has two holders, whatever is lost, repeated, late, or runs at once, since

* a unit changes hands by a commit that expects it as it was read, and its block and its pool;
* every time that it is given to somebody, also to who has it already, its fence grows, and an allocation is known by
  it. So what is released late is not what was given meanwhile;
* a question that is repeated, by its `request`, is not given it again, but counts as a renewal;
* one whose time is limited ends as a hold does (`reclaim`): when it has been watched for longer, since its last
  renewal, than its holder believes, who counts from before it asked. Nobody trusts a wall clock (ADR 17).

A holder has one unit of a pool at a time, found by `last/POOL/HOLDER`; of one that is sticky that stays, so that it
gets the same again while that is free.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator

from msgspec import Struct

from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.holding import Holding
from wayleave.nexus.kept import taken
from wayleave.nexus.model import NEXUS, Lease, Mode, Ownership, Pool, Unit
from wayleave.nexus.placement import order
from wayleave.nexus.reclaim import GRACE, Watched
from wayleave.nexus.records import ATTEMPTS, Draft, Found, Listed, checked, find, units, written
from wayleave.nexus.refusal import Absent, Busy, Exhausted, Exists, Invalid, Refused
from wayleave.nexus.spaces import Senseless, Space, space
from wayleave.nexus.store.port import PAGE, Conflict, Entry, Store, entries
from wayleave.proto.nexus.holder import RATE_ERROR

SHORTEST_S, LONGEST_S = 10, 366 * 24 * 3600
LONGEST_REQUEST = 128
_IDENTITY = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.@-]{0,63})\.([0-9a-f]{1,16})\.([0-9]{1,19})")


class Asked(Struct, frozen=True):
    """Somebody wants a unit of a pool: `unit`, or any. `ttl`: seconds, of mode `ttl` alone.

    `request` tells a question that is repeated from another one.
    """

    pool: str
    holder: str
    mode: Mode
    unit: str = ""
    ttl: int = 0
    request: str = ""


class Allocation(Struct, frozen=True):
    """A unit, and whose it is. `ttl`: for so many seconds from when its holder asked last; 0: until it is released."""

    id: str
    pool: str
    unit: str
    holder: str
    mode: Mode
    ttl: int = 0


class Allocations:
    """The allocations of a store."""

    def __init__(self, store: Store, holding: Holding) -> None:
        self._store, self._holding = store, holding
        self._full: dict[str, set[int]] = {}
        """Blocks of its own that had no free unit when this looked last: where to try last, and no more."""

    def by(self, store: Store) -> Allocations:
        """Return the same, whose commits are another store's."""
        same = Allocations(store, self._holding)
        same._full = self._full
        return same

    async def get(self, identity: str) -> Found[Allocation]:
        """Raises: Absent."""
        pool, number, fence = _parsed(identity)
        entry = await self._store.get(model.unit_key(pool, number))
        unit = model.decode(Unit, entry.value) if entry is not None else None
        if entry is None or unit is None or not unit.holder or unit.fence != fence:
            raise _absent(identity)
        return Found(await self._told(await self._space(pool), pool, number, unit), entry.revision)

    async def list(self, pool: str, after: str = "", limit: int = PAGE) -> Listed[Allocation]:
        """List a pool's, behind the one called `after`. A page may have less than `limit`: some units are free again.

        Raises: Absent.
        """
        ground = await self._space(checked("pool", pool))
        key = model.unit_key(pool, _parsed(after)[1]) if after else ""
        page = await self._store.page(model.units_prefix(pool), key, limit)
        items: list[Found[Allocation]] = []
        number = 0
        for entry in page.entries:
            unit, number = model.decode(Unit, entry.value), model.of_unit_key(entry.key)[1]
            if unit.holder:
                items.append(Found(await self._told(ground, pool, number, unit), entry.revision))
        return Listed(tuple(items), page.revision, f"{pool}.{number:x}.0" if page.more else None)

    async def _told(self, ground: Space, pool: str, number: int, unit: Unit) -> Allocation:
        entry = await self._store.get(model.lease_key(pool, number)) if unit.mode is Mode.TTL else None
        lease = model.decode(Lease, entry.value) if entry is not None else None
        return _allocation(ground, pool, number, unit, lease)

    async def _space(self, pool: str) -> Space:
        return space((await find(self._store, Pool, model.pool_key(pool), f"pool {pool}")).record)

    # ---- Given ------------------------------------------------------------------------------

    async def allocate(self, asked: Asked) -> Allocation:
        """Give somebody a unit. Raises: Absent, Invalid, Exists, Exhausted, Refused, Busy, Unavailable.

        After Unavailable it may have it; the same `request` once more tells.
        """
        _sensible(asked)
        ground = await self._space(asked.pool)
        wanted = self._candidates(asked, ground) if not asked.unit else self._named(asked, ground)
        async for number in wanted:
            allocation = await self._given(asked, number)
            if allocation is not None:
                return allocation
        if asked.unit:
            raise Exists(f"unit: {asked.unit} of {asked.pool} is somebody else's")
        raise Exhausted(f"pool {asked.pool} has no unit more: make it larger, or have gateways give blocks back")

    async def _named(self, asked: Asked, ground: Space) -> AsyncIterator[int]:
        """Yield the unit that is asked for, once its block is Nexus's own."""
        try:
            number = ground.number(asked.unit)
        except Senseless as error:
            raise Invalid(f"unit: {error}") from None
        index = number // ground.size
        block = await self._owner(asked.pool, index)
        if block != NEXUS and await self._holding.own(asked.pool, index) is None:
            block = await self._owner(asked.pool, index)
            if block != NEXUS:
                whose = f"in a block of {block}" if block else "in a block that cannot be had now"
                raise Exists(f"unit: {asked.unit} of {asked.pool} is {whose}")
        yield number

    async def _owner(self, pool: str, index: int) -> str:
        """Return whose a block is, or was last."""
        entry = await self._store.get(model.block_key(pool, index))
        return model.decode(Ownership, entry.value).node if entry is not None else ""

    async def _candidates(self, asked: Asked, ground: Space) -> AsyncIterator[int]:
        """Yield units that may be free: the holder's own first, then of blocks with room, of all, and of new ones."""
        last = await self._store.get(model.last_key(asked.pool, asked.holder))
        if last is not None:
            yield int(last.value)
        prefix = model.own_blocks_prefix(asked.pool)
        own = {int(entry.key.removeprefix(prefix), 16) async for entry in entries(self._store, prefix)}
        full = self._full.setdefault(asked.pool, set())
        for among in (own - full, own & full):
            for index in order(asked.holder, asked.pool, ground.blocks, among):
                full.discard(index)
                async for number in self._free(asked, ground, index):
                    yield number
                full.add(index)
        while block := await self._holding.own(asked.pool):
            async for number in self._free(asked, ground, block.index):
                yield number

    async def _free(self, asked: Asked, ground: Space, index: int) -> AsyncIterator[int]:
        """Yield the units of a block that nobody has, those that nobody ever had first, as the holder prefers them."""
        first, last = ground.units(index)
        ever = {number - first: not unit.holder async for number, unit in units(self._store, asked.pool, first, last)}
        never = set(range(last - first + 1)) - ever.keys()
        for among in (never, {number for number, free in ever.items() if free}):
            for number in order(asked.holder, f"{asked.pool}/{index}", last - first + 1, among):
                yield first + number

    async def _given(self, asked: Asked, number: int) -> Allocation | None:
        """Give a unit; None if it is not to be had."""
        for _ in range(ATTEMPTS):
            draft = Draft(self._store)
            allocation = await self._drafted(draft, asked, number)
            if allocation is None:
                return None
            with contextlib.suppress(Conflict):
                await draft.commit()
                return allocation
        raise Busy(f"unit of {asked.pool}: others came in between {ATTEMPTS} times; ask again")

    async def _drafted(self, draft: Draft, asked: Asked, number: int) -> Allocation | None:
        pool = await draft.find(Pool, model.pool_key(asked.pool))
        if pool is None or pool.closed:
            raise Refused(f"pool {asked.pool} is closed: nobody gets more of it")
        ground = space(pool)
        if number > ground.last - ground.first:  # it was another pool's of the same name
            return None
        unit = await self._has(draft, asked, number)
        block = await draft.find(Ownership, model.block_key(asked.pool, number // ground.size))
        if block is None or block.node != NEXUS or block.closed or unit.holder not in ("", asked.holder):
            return None
        if await taken(draft, asked.pool, number):
            return None
        if unit.holder and unit.mode is not asked.mode:
            raise Exists(f"{asked.holder} has {ground.unit(number)} as {unit.mode}: release it first")
        again = bool(unit.holder and asked.request and unit.request == asked.request)
        given = Unit(asked.holder, unit.fence + (not again), asked.mode, asked.request)
        draft.put(model.unit_key(asked.pool, number), given)
        draft.put(model.last_key(asked.pool, asked.holder), str(number))
        lease = await self._leased(draft, asked, number) if asked.mode is Mode.TTL else None
        return _allocation(ground, asked.pool, number, given, lease)

    async def _has(self, draft: Draft, asked: Asked, number: int) -> Unit:
        """Return a unit as it is. Raises: Exists, Busy: the holder has another one of the pool."""
        last = await draft.get(model.last_key(asked.pool, asked.holder))
        if last is not None and int(last.value) != number:
            other = await draft.find(Unit, model.unit_key(asked.pool, int(last.value)))
            if other is not None and other.holder == asked.holder:
                if asked.unit:
                    raise Exists(f"{asked.holder} has another unit of {asked.pool}: release it first")
                raise Busy(f"{asked.holder} got a unit of {asked.pool} meanwhile: ask again, and it is told")
        return await draft.find(Unit, model.unit_key(asked.pool, number)) or Unit("", 0)

    async def _leased(self, draft: Draft, asked: Asked, number: int) -> Lease:
        """Have its time begin anew; never less of it than the holder was told before."""
        key = model.lease_key(asked.pool, number)
        before = await draft.find(Lease, key) or Lease(Ns(0), 0)
        lease = Lease(max(before.duration, Ns(asked.ttl * SECOND)), before.beat + 1)
        draft.put(key, lease)
        return lease

    # ---- And no more ------------------------------------------------------------------------

    async def renew(self, identity: str) -> Allocation:
        """Have the time of an allocation begin anew. Raises: Absent: it is not its holder's any more; Refused, Busy."""
        pool, number, _ = _parsed(identity)
        told: list[Allocation] = []

        async def renewed(draft: Draft) -> None:
            unit = await _standing(draft, identity)
            key = model.lease_key(pool, number)
            lease = await draft.find(Lease, key)
            if lease is None:
                raise Refused(f"allocation {identity}: its time is not limited, there is nothing to renew")
            lasting = Lease(lease.duration, lease.beat + 1)
            draft.put(key, lasting)
            told[:] = [_allocation(await self._space(pool), pool, number, unit, lasting)]

        await written(self._store, renewed, f"allocation {identity}")
        return told[0]

    async def release(self, identity: str) -> None:
        """Take a unit back. Raises: Absent, also of one that is over; Busy."""
        pool, number, _ = _parsed(identity)

        async def released(draft: Draft) -> None:
            unit = await _standing(draft, identity)
            _freed(draft, pool, number, unit)

        await written(self._store, released, f"allocation {identity}")
        ground = await self._space(pool)
        self._full.get(pool, set()).discard(number // ground.size)


class Expiry:
    """Ends allocations whose time is over, as `reclaim.Observer` ends holds."""

    def __init__(self, store: Store, grace: Ns = GRACE, rate_error: int = RATE_ERROR) -> None:
        self._store = store
        self._watched = Watched(store, model.LEASES, _duration, grace, rate_error)

    async def look(self, clock: Callable[[], BootNs]) -> list[str]:
        """Look at all of them; returns the keys of the units that are free since. Raises: Unavailable."""
        return [key for lease in await self._watched.over(clock) if (key := await self._ended(lease))]

    async def _ended(self, lease: Entry) -> str:
        """End one that is still as it was seen; empty: it is not."""
        pool, number = model.of_unit_key(lease.key)
        draft = Draft(self._store)
        unit = await draft.find(Unit, model.unit_key(pool, number))
        now = await draft.get(lease.key)
        if unit is None or now is None or now.revision != lease.revision:
            return ""
        _freed(draft, pool, number, unit)
        try:
            await draft.commit()
        except Conflict:
            return ""
        return model.unit_key(pool, number)


async def _standing(draft: Draft, identity: str) -> Unit:
    """Return the unit of an allocation that stands. Raises: Absent."""
    pool, number, fence = _parsed(identity)
    unit = await draft.find(Unit, model.unit_key(pool, number))
    if unit is None or not unit.holder or unit.fence != fence:
        raise _absent(identity)
    return unit


def _freed(draft: Draft, pool: str, number: int, unit: Unit) -> None:
    draft.put(model.unit_key(pool, number), Unit("", unit.fence))
    draft.delete(model.lease_key(pool, number))
    if unit.mode is not Mode.STICKY:
        draft.delete(model.last_key(pool, unit.holder))


def _duration(lease: Entry) -> Ns:
    return model.decode(Lease, lease.value).duration


def _allocation(ground: Space, pool: str, number: int, unit: Unit, lease: Lease | None) -> Allocation:
    seconds = lease.duration // SECOND if lease is not None else 0
    return Allocation(f"{pool}.{number:x}.{unit.fence}", pool, ground.unit(number), unit.holder, unit.mode, seconds)


def _parsed(identity: str) -> tuple[str, int, int]:
    """Return the pool, the number and the fence that an allocation is known by. Raises: Absent: there is none such."""
    found = _IDENTITY.fullmatch(identity)
    if found is None:
        raise _absent(identity)
    return found[1], int(found[2], 16), int(found[3])


def _absent(identity: str) -> Absent:
    return Absent(f"there is no allocation {identity!r}, or none any more")


def _sensible(asked: Asked) -> None:
    """Raises: Invalid."""
    for problem in _problems(asked):
        raise Invalid(problem)


def _problems(asked: Asked) -> Iterator[str]:
    checked("pool", asked.pool)
    checked("holder", asked.holder)
    if asked.mode is Mode.TTL and not SHORTEST_S <= asked.ttl <= LONGEST_S:
        yield f"ttl: from {SHORTEST_S} to {LONGEST_S:,} seconds"
    if asked.mode is not Mode.TTL and asked.ttl:
        yield f"ttl: is of mode ttl, not of {asked.mode}; leave it out"
    if len(asked.request) > LONGEST_REQUEST:
        yield f"request: {LONGEST_REQUEST} characters at most"

"""Holds and blocks: how a gateway comes to own a block, keeps it, and loses it. Every step is one commit.

    none ── begin ──▶ hold of epoch N ── renew ──▶ … ── lapse ──▶ no hold of epoch N, for ever
                        │ claim, give back
                        ▼
                      blocks of (node, N): taken by others as soon as there is no hold of N

No address has two owners, whatever is lost, repeated, late, or runs at once, since

* a block changes hands by a commit that expects it as it was read, and expects of its owner's hold that there is none;
* only who has the present epoch renews or claims, and a commit that claims expects the hold as it was read;
* a hold lapses by a commit that expects that nobody renewed it since an observer (`reclaim`) first saw it so, and that
  has watched it for longer than its gateway, which counts from before it asked, believes in it;
* a block that its gateway gave back is taken only as long as nobody has renewed the hold since, so not late;
* a claim expects its pool as it was read, so that a pool which is closed, to be deleted (`pools`), gives no more;
* an epoch is never given again. Who lost its disk begins another, and what the last one owns stays its own until
  that lapses: there may be subscribers who live there.

A single unit that Nexus keeps for a subscriber (`kept`) is owned like a block, by the gateway that its line ends at.
Nexus itself has a hold too, which nobody ends: what it hands out unit by unit (`allocations`) lies in its own blocks.

Coroutines that await the store and nothing else: whoever drives them has the clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from itertools import islice

from msgspec import Struct

from wayleave.net.units import SECOND, Ns
from wayleave.nexus import model
from wayleave.nexus.kept import entitled
from wayleave.nexus.model import NEXUS, OWN_EPOCH, Hold, Node, Ownership, Pool
from wayleave.nexus.placement import order, preferred
from wayleave.nexus.records import ATTEMPTS, again
from wayleave.nexus.refusal import Absent, Fenced, Refused
from wayleave.nexus.spaces import Senseless, Space, space
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Put, Store, entries
from wayleave.proto.nexus.messages import SINGLE, Block, Claim, Claimed, GiveBack, Held, Renew

MOST_A_CLAIM = 16
PROBES = 8
"""Blocks that are looked at once, and tried before the whole pool is looked at."""

Seen = dict[str, Entry | None]
"""Keys, and what was there when somebody looked. A commit expects it to be so still."""


class Terms(Struct, frozen=True):
    """What a new or renewed hold lasts."""

    hold: Ns = Ns(24 * 3600 * SECOND)


class _Closed(Exception):
    """Nobody gets more of the pool."""


class Holding:
    """The operations that gateways ask for, on one store."""

    def __init__(self, store: Store, terms: Terms = Terms()) -> None:
        self._store, self.terms = store, terms
        self._free: dict[str, set[int]] = {}
        """Blocks of rather full pools that nobody owned when this looked last: where to try first, and no more."""
        self._sizes: dict[str, int] = {}
        """How many blocks pools had when this looked last: of how many a gateway prefers some, and no more."""

    async def renew(self, node: str, asked: Renew) -> Held:
        """Let the hold of `node` last on, or begin one where it has none. Raises: Fenced, Busy, Unavailable.

        It never lasts less than the gateway was told before: it may have promised addresses up to then.
        """
        _no_gateway_is_nexus(node)

        async def renewed() -> tuple[int, Hold]:
            return await (self._renewed(node, asked.epoch) if asked.epoch else self._begun(node))

        epoch, hold = await again(renewed, f"hold of {node}")
        blocks = [block async for block in self._blocks(node, epoch)]
        return Held(epoch, hold.beat, hold.duration, tuple(blocks))

    async def _renewed(self, node: str, epoch: int) -> tuple[int, Hold]:
        record, hold = await self._present(node, epoch)
        before = model.decode(Hold, hold.value)
        renewed = Hold(max(self.terms.hold, before.duration), before.beat + 1)
        changed = Put(hold.key, model.encode(renewed))
        await self._store.commit([Is(record.key, record.revision), Is(hold.key, hold.revision)], [changed])
        return epoch, renewed

    async def _begun(self, node: str) -> tuple[int, Hold]:
        key = model.node_key(node)
        found = await self._store.get(key)
        epoch = model.decode(Node, found.value).epoch + 1 if found else 1
        begun = Hold(self.terms.hold, 0)
        hold = Put(model.hold_key(node, epoch), model.encode(begun))
        expects = [Is(key, found.revision if found else 0), Is(hold.key, 0)]
        await self._store.commit(expects, [Put(key, model.encode(Node(epoch))), hold])
        return epoch, begun

    async def _present(self, node: str, epoch: int) -> tuple[Entry, Entry]:
        """Return a gateway's record and its hold. Raises: Fenced unless `epoch` is the present one, and stands."""
        return _standing(node, epoch, await self._store.read([model.node_key(node), model.hold_key(node, epoch)]))

    async def _blocks(self, node: str, epoch: int) -> AsyncIterator[Block]:
        spaces: dict[str, Space] = {}
        async for entry in entries(self._store, model.held_prefix(node, epoch)):
            name, index = model.of_held_key(entry.key)
            if name not in spaces:
                spaces[name] = await self._space(name)
            yield Block(name, index, *spaces[name].bounds(index), int(entry.value))

    async def _space(self, pool: str) -> Space:
        return space(model.decode(Pool, (await self._pool(pool)).value))

    async def _pool(self, name: str) -> Entry:
        return _there(name, await self._store.get(model.pool_key(name)))

    async def claim(self, node: str, asked: Claim) -> Claimed:
        """Give `node` blocks of a pool: those that it prefers, of those that nobody owns.

        Raises: Fenced, Absent, Busy, Unavailable: it may own them then, and hears of them when it renews.
        """
        _no_gateway_is_nexus(node)
        if not 1 <= asked.count <= MOST_A_CLAIM:
            raise Refused(f"count: from 1 to {MOST_A_CLAIM} blocks can be claimed at once")
        if asked.units:
            return Claimed(tuple(await self._units(node, asked)))
        return Claimed(tuple(await self._claimed(node, asked)))

    async def _units(self, node: str, asked: Claim) -> list[Block]:
        """Give a gateway the single units that are kept for its subscribers, as far as nobody else has them still."""
        ground = await self._space(asked.pool)
        numbers = []
        for unit in asked.units[:MOST_A_CLAIM]:
            with contextlib.suppress(
                Senseless
            ):  # its subscriber's gateway has a larger network; the others are not to wait
                numbers.append(ground.number(unit))
        return await self._first(node, asked, (SINGLE + number for number in numbers), len(numbers))

    async def _claimed(self, node: str, asked: Claim) -> list[Block]:
        blocks = self._sizes.get(asked.pool) or await self._size(asked.pool)
        got = await self._first(node, asked, preferred(node, asked.pool, blocks, PROBES), asked.count)
        looked = False
        while len(got) < asked.count and not looked:  # the pool is rather full: see what of it is not
            free = self._free.get(asked.pool)
            if not free:
                blocks = await self._size(asked.pool)
                free = set(range(blocks)) - (await owned(self._store, asked.pool)).keys()
                self._free[asked.pool], looked = free, True
            rest = order(node, asked.pool, blocks, free)
            got += await self._first(node, asked, rest, asked.count - len(got))
        return got

    async def _size(self, pool: str) -> int:
        self._sizes[pool] = (await self._space(pool)).blocks
        return self._sizes[pool]

    async def _first(self, node: str, asked: Claim, wanted: Iterable[int], count: int) -> list[Block]:
        """Take the first `count` blocks of `wanted` that can be had, or as many as there are."""
        got: list[Block] = []
        left = iter(wanted)
        while some := list(islice(left, PROBES)):
            seen = await self._look(node, asked, some)
            for index in some:
                try:
                    block = await self._tried(node, asked, index, seen)
                except _Closed:
                    return got
                self._free.get(asked.pool, set()).discard(index)
                if block is not None:
                    got.append(block)
                    if len(got) == count:
                        return got
        return got

    async def _look(self, node: str, asked: Claim, indices: Iterable[int]) -> Seen:
        """Look at some blocks, then at their owners' holds, and at what a claim expects of the gateway and the pool."""
        blocks = [model.block_key(asked.pool, index) for index in indices]
        own = [model.node_key(node), model.hold_key(node, asked.epoch), model.pool_key(asked.pool)]
        seen = await self._store.read([*own, *blocks])
        owners = [model.decode(Ownership, found.value) for key in blocks if (found := seen[key]) is not None]
        holds = {model.hold_key(owner.node, owner.epoch) for owner in owners if owner.node} - seen.keys()
        return seen | (await self._store.read(sorted(holds)) if holds else {})

    async def _tried(self, node: str, asked: Claim, index: int, seen: Seen) -> Block | None:
        """Take a block, as it was seen or is by now; None if it is somebody's. Raises: Fenced, Absent, _Closed."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Conflict):
                return await self._taken(node, asked, index, seen)
            seen = await self._look(node, asked, [index])
        return None

    async def _taken(self, node: str, asked: Claim, index: int, seen: Seen) -> Block | None:
        """The same, once. Raises: Conflict, Fenced, Absent, _Closed."""
        record, hold = _standing(node, asked.epoch, seen)
        of = _there(asked.pool, seen[model.pool_key(asked.pool)])
        pool = model.decode(Pool, of.value)
        ground = space(pool)
        key = model.block_key(asked.pool, index)
        found = seen[key]
        last = model.decode(Ownership, found.value) if found else Ownership("", 0, 0)
        if pool.closed:
            raise _Closed
        if not ground.has(index):
            return None
        expects = [
            Is(record.key, record.revision),
            Is(hold.key, hold.revision),
            Is(of.key, of.revision),
            Is(key, found.revision if found else 0),
        ]
        if index >= SINGLE:
            kept = await entitled(self._store, node, asked.pool, index - SINGLE)
            if kept is None:
                return None
            expects += kept
        changes: list[Put | Delete] = []
        if last.node == node and last.epoch == asked.epoch and index >= SINGLE:  # an answer was lost
            return Block(asked.pool, index, *ground.bounds(index), last.fence)
        if last.node:
            owner = model.hold_key(last.node, last.epoch)
            if seen[owner] is not None:
                return None
            expects.append(Is(owner, 0))
            changes.append(Delete(model.held_key(last.node, last.epoch, asked.pool, index)))
        fence = last.fence + 1
        changes.append(Put(key, model.encode(Ownership(node, asked.epoch, fence))))
        changes.append(Put(model.held_key(node, asked.epoch, asked.pool, index), b"%d" % fence))
        await self._store.commit(expects, changes)
        return Block(asked.pool, index, *ground.bounds(index), fence)

    async def own(self, pool: str, index: int | None = None) -> Block | None:
        """Have Nexus itself own a block, whichever it can get or that one; None if there is none to be had.

        Raises: Absent, Unavailable.
        """
        key, own = model.node_key(NEXUS), model.hold_key(NEXUS, OWN_EPOCH)
        if await self._store.get(own) is None:
            begun = [Put(key, model.encode(Node(OWN_EPOCH))), Put(own, model.encode(Hold(self.terms.hold, 0)))]
            with contextlib.suppress(Conflict):  # another process has begun it
                await self._store.commit([Is(key, 0), Is(own, 0)], begun)
        asked = Claim(OWN_EPOCH, pool)
        if index is not None:
            with contextlib.suppress(_Closed):
                return await self._tried(NEXUS, asked, index, await self._look(NEXUS, asked, [index]))
            return None
        return next(iter(await self._claimed(NEXUS, asked)), None)

    async def give_back(self, node: str, asked: GiveBack) -> None:
        """Take back a block. One that is not its own (any more) is as it should be.

        Raises: Fenced; Refused if the hold was renewed since; Unavailable.
        """
        _no_gateway_is_nexus(node)
        key = model.block_key(asked.pool, asked.index)
        seen = await self._store.read([model.node_key(node), model.hold_key(node, asked.epoch), key])
        _, hold = _standing(node, asked.epoch, seen)
        late = Refused(f"hold of {node}: renewed since {asked.beat}; renew, and give back what is still too much")
        if model.decode(Hold, hold.value).beat != asked.beat:
            raise late
        found = seen[key]
        mine = Ownership(node, asked.epoch, asked.fence)
        if found is None or model.decode(Ownership, found.value) != mine:
            return
        changes: list[Put | Delete] = [
            Put(key, model.encode(Ownership("", 0, asked.fence))),
            Delete(model.held_key(node, asked.epoch, asked.pool, asked.index)),
        ]
        try:
            await self._store.commit([Is(hold.key, hold.revision), Is(key, found.revision)], changes)
        except Conflict:
            raise late from None


async def owned(store: Store, pool: str) -> dict[int, Ownership]:
    """The blocks of a pool that were owned while this looked, and whose; what changes meanwhile is found by trying."""
    holds = {entry.key async for entry in entries(store, model.HOLDS)}
    found: dict[int, Ownership] = {}
    async for entry in entries(store, f"{model.BLOCKS}{pool}/"):
        ownership = model.decode(Ownership, entry.value)
        if ownership.node and model.hold_key(ownership.node, ownership.epoch) in holds:
            found[int(entry.key.rpartition("/")[2], 16)] = ownership
    return found


def _standing(node: str, epoch: int, seen: Seen) -> tuple[Entry, Entry]:
    """Return a gateway's record and its hold. Raises: Fenced unless `epoch` is the present one, and stands."""
    record, hold = seen[model.node_key(node)], seen[model.hold_key(node, epoch)]
    if record is None or hold is None or model.decode(Node, record.value).epoch != epoch:
        raise Fenced(f"epoch {epoch} of {node} is over: end what lives on its blocks, and begin with epoch 0")
    return record, hold


def _there(pool: str, found: Entry | None) -> Entry:
    if found is None:
        raise Absent(f"there is no pool {pool}")
    return found


def _no_gateway_is_nexus(node: str) -> None:
    if node == NEXUS:
        raise Refused(f"{NEXUS}: is Nexus's own name, and no gateway's; give the gateway another certificate")

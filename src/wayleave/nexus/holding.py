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
* an epoch is never given again. Who lost its disk begins another, and what the last one owns stays its own until
  that lapses: there may be subscribers who live there.

Coroutines that await the store and nothing else: whoever drives them has the clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from itertools import islice

from msgspec import Struct

from wayleave.net.units import SECOND, Ns
from wayleave.nexus import model
from wayleave.nexus.model import Hold, Node, Ownership, Pool
from wayleave.nexus.placement import order
from wayleave.nexus.spaces import Space, space
from wayleave.nexus.store.port import Conflict, Delete, Entry, Is, Put, Store
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held, Renew

ATTEMPTS = 16
"""How often something is tried while others get in between: each time somebody got on."""
MOST_A_CLAIM = 16
PROBES = 8
"""Blocks that are tried before the whole pool is looked at."""
_PAGE = 1000


class Refused(Exception):
    """Nothing was done; the text says why, and what to do. `status` is HTTP's."""

    status = 400


class Fenced(Refused):
    """The epoch is not the gateway's any more: nothing that it owned is its own."""

    status = 409


class Absent(Refused):
    """There is nothing of that name."""

    status = 404


class Busy(Refused):
    """Others got in between every time."""

    status = 503


class Terms(Struct, frozen=True):
    """What a new or renewed hold lasts."""

    hold: Ns = Ns(24 * 3600 * SECOND)


class Holding:
    """The operations that gateways ask for, on one store."""

    def __init__(self, store: Store, terms: Terms = Terms()) -> None:
        self._store, self.terms = store, terms

    async def renew(self, node: str, asked: Renew) -> Held:
        """Let the hold of `node` last on, or begin one where it has none. Raises: Fenced, Busy, Unavailable."""
        for _ in range(ATTEMPTS):
            try:
                epoch, beat = await (self._renewed(node, asked.epoch) if asked.epoch else self._begun(node))
            except Conflict:
                continue
            blocks = [block async for block in self._blocks(node, epoch)]
            return Held(epoch, beat, self.terms.hold, tuple(blocks))
        raise Busy(f"hold of {node}: others came in between {ATTEMPTS} times; ask again")

    async def _renewed(self, node: str, epoch: int) -> tuple[int, int]:
        record, hold = await self._present(node, epoch)
        beat = model.decode(Hold, hold.value).beat + 1
        changed = Put(hold.key, model.encode(Hold(self.terms.hold, beat)))
        await self._store.commit([Is(record.key, record.revision), Is(hold.key, hold.revision)], [changed])
        return epoch, beat

    async def _begun(self, node: str) -> tuple[int, int]:
        key = model.node_key(node)
        found = await self._store.get(key)
        epoch = model.decode(Node, found.value).epoch + 1 if found else 1
        hold = Put(model.hold_key(node, epoch), model.encode(Hold(self.terms.hold, 0)))
        expects = [Is(key, found.revision if found else 0), Is(hold.key, 0)]
        await self._store.commit(expects, [Put(key, model.encode(Node(epoch))), hold])
        return epoch, 0

    async def _present(self, node: str, epoch: int) -> tuple[Entry, Entry]:
        """Return a gateway's record and its hold. Raises: Fenced unless `epoch` is the present one, and stands."""
        record = await self._store.get(model.node_key(node))
        hold = await self._store.get(model.hold_key(node, epoch))
        if record is None or hold is None or model.decode(Node, record.value).epoch != epoch:
            raise Fenced(f"epoch {epoch} of {node} is over: end what lives on its blocks, and begin with epoch 0")
        return record, hold

    async def _blocks(self, node: str, epoch: int) -> AsyncIterator[Block]:
        spaces: dict[str, Space] = {}
        async for entry in self._entries(model.held_prefix(node, epoch)):
            name, index = model.of_held_key(entry.key)
            if name not in spaces:
                _, spaces[name] = await self._pool(name)
            yield Block(name, index, *spaces[name].bounds(index), int(entry.value))

    async def _entries(self, prefix: str) -> AsyncIterator[Entry]:
        after, more = "", True
        while more:
            page = await self._store.page(prefix, after, _PAGE)
            for entry in page.entries:
                yield entry
                after = entry.key
            more = page.more

    async def _pool(self, name: str) -> tuple[Pool, Space]:
        found = await self._store.get(model.pool_key(name))
        if found is None:
            raise Absent(f"there is no pool {name}")
        pool = model.decode(Pool, found.value)
        return pool, space(pool)

    async def claim(self, node: str, asked: Claim) -> Claimed:
        """Give `node` blocks of a pool: those that it prefers, of those that nobody owns.

        Raises: Fenced, Absent, Busy, Unavailable: it may own them then, and hears of them when it renews.
        """
        if not 1 <= asked.count <= MOST_A_CLAIM:
            raise Refused(f"count: from 1 to {MOST_A_CLAIM} blocks can be claimed at once")
        _, ground = await self._pool(asked.pool)
        wanted = order(node, asked.pool, ground.blocks)
        got = await self._first(node, asked, ground, islice(wanted, PROBES), asked.count)
        if len(got) < asked.count:  # the pool is rather full: see what of it is not
            owned = await self._owned(asked.pool)
            rest = (index for index in wanted if index not in owned)
            got += await self._first(node, asked, ground, rest, asked.count - len(got))
        return Claimed(tuple(got))

    async def _first(self, node: str, asked: Claim, ground: Space, wanted: Iterator[int], count: int) -> list[Block]:
        """Take the first `count` blocks of `wanted` that can be had, or as many as there are."""
        got: list[Block] = []
        for index in wanted:
            fence = await self._tried(node, asked, index)
            if fence is not None:
                got.append(Block(asked.pool, index, *ground.bounds(index), fence))
                if len(got) == count:
                    break
        return got

    async def _owned(self, pool: str) -> set[int]:
        """The blocks of a pool that somebody owned while this looked; what changes meanwhile is found by trying."""
        holds = {entry.key async for entry in self._entries(model.HOLDS)}
        found: set[int] = set()
        async for entry in self._entries(f"{model.BLOCKS}{pool}/"):
            ownership = model.decode(Ownership, entry.value)
            if ownership.node and model.hold_key(ownership.node, ownership.epoch) in holds:
                found.add(int(entry.key.rpartition("/")[2], 16))
        return found

    async def _tried(self, node: str, asked: Claim, index: int) -> int | None:
        """Take a block; returns its fence, or None if it is somebody's."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Conflict):
                return await self._taken(node, asked, index)
        return None

    async def _taken(self, node: str, asked: Claim, index: int) -> int | None:
        """The same, once. Raises: Conflict, Fenced."""
        record, hold = await self._present(node, asked.epoch)
        key = model.block_key(asked.pool, index)
        found = await self._store.get(key)
        last = model.decode(Ownership, found.value) if found else Ownership("", 0, 0)
        expects = [
            Is(record.key, record.revision),
            Is(hold.key, hold.revision),
            Is(key, found.revision if found else 0),
        ]
        changes: list[Put | Delete] = []
        if last.node:
            owner = model.hold_key(last.node, last.epoch)
            if await self._store.get(owner) is not None:
                return None
            expects.append(Is(owner, 0))
            changes.append(Delete(model.held_key(last.node, last.epoch, asked.pool, index)))
        fence = last.fence + 1
        changes.append(Put(key, model.encode(Ownership(node, asked.epoch, fence))))
        changes.append(Put(model.held_key(node, asked.epoch, asked.pool, index), b"%d" % fence))
        await self._store.commit(expects, changes)
        return fence

    async def give_back(self, node: str, asked: GiveBack) -> None:
        """Take back a block. One that is not its own (any more) is as it should be.

        Raises: Fenced; Refused if the hold was renewed since; Unavailable.
        """
        _, hold = await self._present(node, asked.epoch)
        late = Refused(f"hold of {node}: renewed since {asked.beat}; renew, and give back what is still too much")
        if model.decode(Hold, hold.value).beat != asked.beat:
            raise late
        key = model.block_key(asked.pool, asked.index)
        found = await self._store.get(key)
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

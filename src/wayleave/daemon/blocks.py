"""The blocks that Nexus leases to this gateway: asked for, on the disk, in the pools, and out of them again.

`holder` says what to ask and what to believe (`proto.nexus`). What it believes counts once it is on the disk: only then
do pools have its blocks, and promises go as far as its hold. What it does not believe any more counts at once: who
lives there is ended. A block that is given back is out of its pool, and off the disk, before Nexus hears of it.

Nothing here waits. `request` gives what to send; `receive`, `fence` and `fail` take what came of it; `recorded` what
the disk says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, summarize_address_range
from typing import Protocol

from wayleave.daemon.review import PoolTerms
from wayleave.io.writes import Stand, Write
from wayleave.net.units import SECOND, BootNs, Ns, after
from wayleave.proto.nexus.holder import Holder, News, Request, Standing, Unit
from wayleave.proto.nexus.messages import Block, Claim, Claimed, Held
from wayleave.session.growth import Growth
from wayleave.session.model import NEVER
from wayleave.session.pool import Pool
from wayleave.session.settings import PoolSettings

IDLE = Ns(600 * SECOND)
"""How long nobody is to have lived in a block before it is given back."""
AGAIN = Ns(30 * SECOND)
"""When blocks are asked for again of a pool that had none left, or that Nexus refused."""
EVERY = Ns(SECOND)
"""How often it is looked how much there is to be of a pool."""


class Disk(Protocol):
    """Where the hold is written; what becomes of it is told by `recorded`."""

    def stand(self, standing: Standing) -> None: ...

    def flush(self) -> None: ...


@dataclass(slots=True)
class Share:
    """What the gateway has of one shared pool."""

    pool: Pool
    growth: Growth
    not_before: BootNs = NEVER
    strange: str = ""
    """A block that was leased and is of no use here; empty: there is none."""
    refused: str = ""
    """Why Nexus leases nothing of it; empty: it does."""


class Blocks:
    """`end` ends the sessions whose address is in one of these blocks, and returns how many are there yet.

    `changed`: blocks have come or gone; `run`: what no other process is called.
    """

    def __init__(
        self,
        standing: Standing | None,
        disk: Disk,
        end: Callable[[Sequence[Block]], int],
        changed: Callable[[], None],
        run: str = "",
    ) -> None:
        self.holder = Holder(standing, run=run)
        self.until = self.holder.until
        """Until when what stands on the disk is the gateway's."""
        self._disk, self._end, self._changed = disk, end, changed
        self.shares: dict[str, Share] = {}
        """What the gateway has of shared pools, by Nexus' names of them."""
        self._recorded = self.holder.standing
        self._writing: Standing | None = None
        self._refused = False
        self._vacant: dict[tuple[str, int], BootNs] = {}
        self._expected: set[Unit] | None = None
        """Single units that are wanted; None: nobody knows yet."""
        self._gained: set[Block] = set()
        """Blocks that pools have."""
        self._surplus: list[Block] | None = None
        """Blocks that are of no use; None: it is to be looked which."""
        self._networks: dict[str, list[IPv4Network]] = {}
        self._sized_at = NEVER

    @property
    def writing(self) -> bool:
        """Whether the disk is yet to say that it has the hold as it is believed."""
        return self._writing is not None

    # ---- pools --------------------------------------------------------------------------

    def equip(self, settings: Iterable[PoolSettings], pools: Mapping[str, PoolTerms]) -> dict[str, PoolTerms]:
        """Return pools of which those that are shared have their blocks, and know until when."""
        shares: dict[str, Share] = {}
        equipped = dict(pools)
        for item in settings:
            if item.nexus is not None:
                terms = pools[item.name]
                before = self.shares.get(item.nexus)
                shares[item.nexus] = Share(terms.pool, before.growth if before is not None else Growth())
                equipped[item.name] = replace(terms, tenure=self.tenure)
        for name in self.shares.keys() - shares.keys():
            self.holder.want(name, 0)
        self.shares = shares
        self._gained.clear()
        self._surplus = None
        self._networks.clear()
        for block in self._recorded.blocks:
            if block.key in self.holder.blocks:
                self._gain(block)
        return equipped

    def tenure(self) -> BootNs:
        """Until when the blocks are this gateway's: on the disk, and still believed."""
        return self.until

    def expect(self, units: Iterable[Unit]) -> None:
        """Have these single addresses, each with Nexus' name of its pool, and no others."""
        self._expected, self._surplus = set(units), None
        self.holder.want_units(self._expected)

    def lives_in(self, block: Block) -> bool:
        """Whether somebody here could have an address of a block."""
        share = self.shares.get(block.pool)
        return share is not None and _within(block, share.pool.network)

    def of(self, name: str) -> list[Block]:
        """The blocks of a shared pool, in order."""
        return sorted((block for block in self._recorded.blocks if block.pool == name), key=lambda block: block.index)

    def networks(self, name: str) -> list[IPv4Network]:
        """The blocks of a shared pool, as what routes lead to."""
        if name not in self._networks:
            mine = filter(self.lives_in, self.of(name))
            self._networks[name] = [one for block in mine for one in summarize_address_range(*bounds(block))]
        return self._networks[name]

    def _gain(self, block: Block) -> None:
        if block not in self._gained and self.lives_in(block):
            share, (first, last) = self.shares[block.pool], bounds(block)
            self._gained.add(block)
            share.pool.gain(first, last)
            if not block.single:
                share.growth.block = int(last) - int(first) + 1

    # ---- what is asked, and what comes of it --------------------------------------------

    def request(self, now: BootNs) -> Request | None:
        """Return what to send to Nexus now. Nothing while the disk is at work: it is to have what is believed first."""
        if self._refused:
            self._write()
        elif not self.writing and self.holder.asked is None and self.holder.stands(now):
            self._size(now)
        return None if self.writing else self.holder.request(now)

    def receive(self, answer: Held | Claimed | None, now: BootNs) -> None:
        """Take in what Nexus answered; None: it was done."""
        asked = self.holder.asked
        self._find_strange(answer.blocks if answer is not None else ())
        news = self.holder.receive(answer, now)
        if isinstance(asked, Claim) and not asked.units and asked.pool in self.shares:
            share = self.shares[asked.pool]
            share.refused = "" if news.gained else "it has no block left"
            share.not_before = share.not_before if news.gained else after(now, AGAIN)
        self._take(news)

    def fence(self, now: BootNs) -> None:
        """Take in that the gateway's epoch is over: nothing that it had is its own."""
        self._take(self.holder.fence(now))

    def fail(self, now: BootNs) -> None:
        """Take in that there was no answer, or none that helps."""
        self.holder.fail(now)

    def refuse(self, why: str, now: BootNs) -> None:
        """Take in that Nexus answers, and says no: if it is about a pool, the others are not to wait for that one."""
        asked = self.holder.asked
        if isinstance(asked, Claim) and not asked.units and asked.pool in self.shares:
            share = self.shares[asked.pool]
            share.not_before, share.refused = after(now, AGAIN), why
            self.holder.want(asked.pool, 0)
        self.holder.fail(now)

    def _find_strange(self, blocks: Iterable[Block]) -> None:
        """Note what is leased and cannot be lived in: it is held, and nothing comes of it."""
        for block in blocks:
            share = self.shares.get(block.pool)
            if share is not None and not self.lives_in(block):
                share.strange = f"{block.first}-{block.last} of {block.pool} is not in {share.pool.network}"

    def _take(self, news: News) -> None:
        self.until = BootNs(min(self.until, self.holder.until))  # for less at once; for more once it is on the disk
        for block in news.lost:
            self._lose(block)
        if news.lost:
            self._end(news.lost)
        if self.holder.standing != self._recorded:
            self._write()

    def _lose(self, block: Block) -> None:
        if block in self._gained:
            self._gained.discard(block)
            self.shares[block.pool].pool.lose(*bounds(block))
        self._vacant.pop(block.key, None)
        self._networks.pop(block.pool, None)
        self._surplus = None

    # ---- how much of it -----------------------------------------------------------------

    def _size(self, now: BootNs) -> None:
        """Ask for more blocks, or give some back, as newcomers come; once in a while."""
        if now - self._sized_at < EVERY:
            return
        self._sized_at = now
        if self._surplus is None:
            self._surplus = [block for block in self.holder.blocks.values() if self._unwanted(block)]
        excess = self._vacated(self._surplus)
        for name, share in self.shares.items():
            held, spare = share.pool.taken, share.pool.spare
            share.growth.note(held, now)
            wanted = share.growth.lacking(held, spare) if now >= share.not_before and not share.strange else 0
            self.holder.want(name, wanted)
            if not wanted and (count := share.growth.excess(held, spare)):
                excess += self._idle(name, share.pool, now)[:count]
        self._return(excess)

    def _unwanted(self, block: Block) -> bool:
        """Whether it is of no use: it is not of a pool that is shared here, or its subscriber is somewhere else."""
        if not self.lives_in(block):
            return True
        return block.single and self._expected is not None and (block.pool, block.first) not in self._expected

    def _vacated(self, surplus: Sequence[Block]) -> list[Block]:
        """Those of no use where nobody is any more; whoever is there is ended."""
        here = [block for block in surplus if self.lives_in(block)]
        gone = [block for block in surplus if not self.lives_in(block)]
        lived_in = [block for block in here if not self.shares[block.pool].pool.vacant(*bounds(block))]
        if lived_in:
            self._end(lived_in)
        empty = set(here).difference(lived_in)
        return [*empty, *(gone if gone and not self._end(gone) else ())]

    def _idle(self, name: str, pool: Pool, now: BootNs) -> list[Block]:
        """The blocks of a pool where nobody has been for a while, the last first."""
        found = []
        for block in reversed(self.of(name)):
            if block.single or not self.lives_in(block):
                continue
            if not pool.vacant(*bounds(block)):
                self._vacant.pop(block.key, None)
            elif now - self._vacant.setdefault(block.key, now) >= IDLE:
                found.append(block)
        return found

    def _return(self, blocks: Sequence[Block]) -> None:
        """Give back blocks where nobody is."""
        if blocks:
            for block in blocks:
                self._lose(block)
            self.holder.give_back(blocks)
            self._write()

    # ---- the disk -----------------------------------------------------------------------

    def _write(self) -> None:
        self._writing, self._refused = self.holder.standing, False
        self._disk.stand(self._writing)
        self._disk.flush()

    def recorded(self, group: Iterable[Write], error: str | None) -> None:
        """Take a completed group of the store: what of it is the hold counts from now on."""
        for write in group:
            if isinstance(write, Stand) and write.standing is self._writing:
                self._writing, self._refused = None, error is not None
                if error is None:
                    self._publish(write.standing)

    def _publish(self, standing: Standing) -> None:
        before, self._recorded = self._recorded, standing
        self.until = standing.until
        if standing.blocks != before.blocks:
            self._surplus = None
            self._networks.clear()
            for block in standing.blocks:
                self._gain(block)
            self._changed()


def _within(block: Block, network: IPv4Network) -> bool:
    """Whether a block is addresses of a network: Nexus may mean another pool by the name."""
    ends = numbers(block)
    if ends is None:
        return False
    return int(network.network_address) <= ends[0] <= ends[1] <= int(network.broadcast_address)


def numbers(block: Block) -> tuple[int, int] | None:
    """The numbers of a block's first and last address; None: it is no block of addresses."""
    try:
        first, last = bounds(block)
    except ValueError:
        return None
    return int(first), int(last)


def bounds(block: Block) -> tuple[IPv4Address, IPv4Address]:
    """The first and the last address of a block. Raises: ValueError."""
    return _ends(block.first, block.last)


@lru_cache(maxsize=1 << 16)
def _ends(first: str, last: str) -> tuple[IPv4Address, IPv4Address]:
    return IPv4Address(first), IPv4Address(last)

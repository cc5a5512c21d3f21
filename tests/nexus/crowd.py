"""Gateways in one process that live on blocks of a pool as fast as they can, and look for what must never be.

`crowd.py FILE` runs until SIGTERM; FILE is JSON: what `Settings` has. Each gateway has the product's connection, holder
and pool. It claims, renews, gives back, and gives addresses inside what it believes is its own; now and then one does
nothing for longer than its hold lasts, as a machine that hangs. All have one boot clock, so what two believe at one
moment can be compared. Of the store it asks no Nexus, but etcd itself:

* whenever an address is given, that no other gateway that believes in its hold has it; of blocks the same;
* twice a second, that each block in which a gateway believed before and after that reading is its own in the store;
* at the end, that the store has what each believes, and no more, and that all that any was ever told was so: from
  etcd's history, in which no block changes hands while the hold of its owner stands, and no fence is given twice.

It prints a JSON object of what it did; what must not be ends it with a traceback, and status 1.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter, deque
from contextlib import aclosing, suppress
from ipaddress import IPv4Address, IPv4Network
from itertools import groupby
from pathlib import Path
from time import CLOCK_BOOTTIME, clock_gettime_ns

import msgspec
import uvloop

from wayleave.io.nexus import Connection, Fenced, NexusError
from wayleave.io.settings import Server
from wayleave.io.tls import client_context
from wayleave.net.units import MILLISECOND, BootNs, Ns
from wayleave.nexus import model
from wayleave.nexus.model import Ownership
from wayleave.nexus.store.etcd import EtcdStore, Tls
from wayleave.nexus.store.port import FIRST, Change, Unavailable, entries
from wayleave.proto.nexus.holder import Holder, News, Request
from wayleave.proto.nexus.messages import Block, Claim, Claimed, GiveBack, Held
from wayleave.session.model import Subnet
from wayleave.session.pool import Exhaustion, Pool

POOL = "home"
WANTED = 12
"""Blocks that a gateway has at most: all together want more than there are."""
LIVE_S, AT_ONCE = 0.02, 8
"""How often addresses are given and taken back, and how many."""
LOOK_S = 0.5
STALL = Ns(300 * MILLISECOND)
"""Waits for an answer that are longer are reported one by one."""


class Settings(msgspec.Struct):
    """`hang_s`: how long a gateway does nothing; of all together, one in about `hangs_s` does. 0: none ever."""

    network: str
    servers: list[tuple[str, int]]
    gateways: dict[str, str]
    """Names, and the paths of their certificates."""
    ca: str
    endpoints: list[str]
    etcd: dict[str, str]
    seed: int
    hang_s: float
    hangs_s: float


class Violation(AssertionError):
    """What must never be."""


def boot() -> BootNs:
    return BootNs(clock_gettime_ns(CLOCK_BOOTTIME))


async def pause(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


class Gateway:
    """One of them."""

    def __init__(self, crowd: Crowd, name: str, connection: Connection, seed: int) -> None:
        self.name, self.holder = name, Holder()
        self._crowd, self._connection, self._random = crowd, connection, random.Random(seed)
        self.pool = Pool(POOL, crowd.subnet, shared=True)
        self.lives: deque[IPv4Address] = deque()
        self._customers = 0
        self.hangs_until = 0.0
        self.told: set[tuple[str, int, int, int]] = set()
        """All that it was ever told is its own: the pool, the index, the epoch and the fence."""
        self.calm = asyncio.Event()
        """Set once it was told what it has and claims no more."""

    def stands(self) -> bool:
        return self.holder.stands(boot())

    async def _awake(self) -> None:
        while (left := self.hangs_until - asyncio.get_running_loop().time()) > 0 and not self._crowd.calming:
            await pause(min(left, LIVE_S))

    # ---- the talk with Nexus --------------------------------------------------------------

    async def talk(self) -> None:
        answered = boot()
        while not self.calm.is_set():
            await self._awake()
            self._wish()
            request = self.holder.request(boot())
            if request is None:
                await pause(0.005)
                continue
            calming = self._crowd.calming
            if await self._ask(request):
                now = boot()
                self._crowd.waited(self, answered, now)
                answered = now
                if calming and not isinstance(request, Claim | GiveBack):
                    self.calm.set()
            if self.hangs_until > asyncio.get_running_loop().time():
                await self._awake()
                answered = boot()  # nobody waited

    def _wish(self) -> None:
        if self._crowd.calming:
            self.holder.want(POOL, 0)
            self.holder._renew_at = BootNs(0)  # nothing at the port asks for it: a gateway has no reason to
            return
        blocks = list(self.holder.blocks.values())
        if blocks and (len(blocks) >= WANTED or self._random.random() < 0.3):
            self._leave(gone := self._random.choice(blocks))
            self.holder.give_back([gone])
        elif len(blocks) < WANTED:
            self.holder.want(POOL, self._random.randint(1, 2))

    async def _ask(self, request: Request) -> bool:
        counts = self._crowd.counts
        try:
            answer = await self._connection.ask(request)
        except Fenced:
            counts["fenced"] += 1
            self._take(self.holder.fence(boot()))
        except NexusError:
            counts["unanswered"] += 1
            self.holder.fail(boot())
            return False
        else:
            counts[type(request).__name__] += 1
            blocks = answer.blocks if isinstance(answer, Held | Claimed) else ()
            epoch = answer.epoch if isinstance(answer, Held) else self.holder.epoch
            self.told |= {(block.pool, block.index, epoch, block.fence) for block in blocks}
            self._take(self.holder.receive(answer, boot()))
        return True

    def _take(self, news: News) -> None:
        for block in news.lost:
            self._leave(block)
        for block in news.gained:
            self._crowd.gained(self, block)
            self.pool.gain(IPv4Address(block.first), IPv4Address(block.last))

    def _leave(self, block: Block) -> None:
        first, last = IPv4Address(block.first), IPv4Address(block.last)
        for address in [address for address in self.lives if first <= address <= last]:
            self._end(address)
        self.pool.lose(first, last)

    # ---- those who live there ---------------------------------------------------------------

    async def live(self) -> None:
        while True:
            await self._awake()
            if self.stands():
                for _ in range(AT_ONCE):
                    self._give()
                while len(self.lives) > self.pool.size // 2:
                    self._end(self.lives[0])
            else:
                while self.lives:
                    self._end(self.lives[0])
            await pause(LIVE_S)

    def _give(self) -> None:
        self._customers += 1
        try:
            address = self.pool.allocate(self._customers, None, boot())
        except Exhaustion:
            return
        self.lives.append(address)
        self._crowd.given(self, address)

    def _end(self, address: IPv4Address) -> None:
        self.lives.remove(address)
        self.pool.free(address)
        self._crowd.ended(self, address)


class Crowd:
    """All of them, and what they compare."""

    def __init__(self, settings: Settings) -> None:
        network = IPv4Network(settings.network)
        self.subnet = Subnet(network, network[1])
        self._settings, self._random = settings, random.Random(settings.seed)
        self.counts: Counter[str] = Counter()
        self.stalls: list[tuple[int, int, str]] = []
        self.longest = 0
        self.calming = False
        self._owners: dict[IPv4Address, set[Gateway]] = {}
        servers = [Server(*server) for server in settings.servers]
        self.gateways: list[Gateway] = []
        for number, (name, certificate) in enumerate(settings.gateways.items()):
            context = client_context(Path(certificate), Path(certificate).with_suffix(".key"), Path(settings.ca), name)
            at = number % len(servers)
            connection = Connection([*servers[at:], *servers[:at]], context, boot)
            self.gateways.append(Gateway(self, name, connection, settings.seed + number))
        pem = {name: Path(path).read_bytes() for name, path in settings.etcd.items()}
        self.store = EtcdStore(settings.endpoints, Tls(pem["ca"], pem["certificate"], pem["key"]))

    async def run(self) -> None:
        """Until SIGTERM, and then until all is compared. Raises: Violation."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        print("begun", flush=True)
        async with asyncio.TaskGroup() as working:
            living = [working.create_task(gateway.live()) for gateway in self.gateways]
            talking = [working.create_task(gateway.talk()) for gateway in self.gateways]
            beside = [working.create_task(self._look()), working.create_task(self._hang())]
            await stop.wait()
            beside[1].cancel()
            self.calming = True
            await asyncio.gather(*talking)
            for task in (*living, *beside):
                task.cancel()
        await self._compare_all()
        await self._replay()
        await self.store.close()

    # ---- what no two believe ---------------------------------------------------------------

    def given(self, gateway: Gateway, address: IPv4Address) -> None:
        owners = self._owners.setdefault(address, set())
        for other in owners:
            if other.stands():
                raise Violation(f"{address} is given by {gateway.name}, and {other.name} has it")
        owners.add(gateway)
        self.counts["given"] += 1

    def ended(self, gateway: Gateway, address: IPv4Address) -> None:
        self._owners[address].discard(gateway)

    def gained(self, gateway: Gateway, block: Block) -> None:
        for other in self.gateways:
            if other is not gateway and other.stands() and block.key in other.holder.blocks:
                raise Violation(f"{block} is told to {gateway.name}, and {other.name} believes in it")
        self.counts["blocks"] += 1

    def waited(self, gateway: Gateway, since: BootNs, now: BootNs) -> None:
        self.longest = max(self.longest, now - since)
        if now - since > STALL:
            self.stalls.append((since, now, gateway.name))

    async def _hang(self) -> None:
        while self._settings.hangs_s:
            await pause(self._random.expovariate(1 / self._settings.hangs_s))
            gateway = self._random.choice(self.gateways)
            gateway.hangs_until = asyncio.get_running_loop().time() + self._settings.hang_s
            self.counts["hung"] += 1

    # ---- what the store says -----------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            before = {gateway: (gateway.holder.epoch, dict(gateway.holder.blocks)) for gateway in self.gateways}
            try:
                stored = await self._stored()
            except Unavailable:
                self.counts["not looked"] += 1
            else:
                for gateway, (epoch, blocks) in before.items():
                    still = gateway.holder.blocks.items() & blocks.items()
                    if gateway.stands() and gateway.holder.epoch == epoch:
                        _compare(gateway, dict(still), stored)
                self.counts["looked"] += 1
            await pause(LOOK_S)

    async def _stored(self) -> dict[tuple[str, int], Ownership]:
        return {
            _of(entry.key): model.decode(Ownership, entry.value) async for entry in entries(self.store, model.BLOCKS)
        }

    async def _compare_all(self) -> None:
        stored = await self._stored()
        for gateway in self.gateways:
            _compare(gateway, gateway.holder.blocks, stored)
            own = {
                key for key, said in stored.items() if (said.node, said.epoch) == (gateway.name, gateway.holder.epoch)
            }
            if own != gateway.holder.blocks.keys():
                raise Violation(f"{gateway.name} has {own - gateway.holder.blocks.keys()} and was not told")
            self.counts["held at the end"] += len(own)

    async def _replay(self) -> None:
        """Go through all that ever changed."""
        history = History()
        now = await self.store.revision()
        async with aclosing(self.store.watch("", FIRST)) as told:
            async for changes in told:
                for _, commit in groupby(changes, key=lambda change: change.revision):
                    history.take(list(commit))
                    self.counts["commits"] += 1
                if changes[-1].revision >= now:
                    break
        for gateway in self.gateways:
            for pool, index, epoch, fence in gateway.told:
                if history.owners.get((pool, index, fence)) != (gateway.name, epoch):
                    raise Violation(f"{pool}/{index} with fence {fence} was told to {gateway.name}, and never was its")


class History:
    """Who had what, as etcd's commits say."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[str, int], Ownership] = {}
        self._holds: set[str] = set()
        self.owners: dict[tuple[str, int, int], tuple[str, int]] = {}
        """By pool, index and fence."""

    def take(self, commit: list[Change]) -> None:
        """A commit. Raises: Violation."""
        for change in commit:
            if change.key.startswith(model.BLOCKS):
                assert change.value is not None
                self._changed(_of(change.key), model.decode(Ownership, change.value))
        for change in commit:
            if change.key.startswith(model.HOLDS):
                (self._holds.discard if change.value is None else self._holds.add)(change.key)

    def _changed(self, key: tuple[str, int], said: Ownership) -> None:
        before = self._blocks.get(key, Ownership("", 0, 0))
        if said.node:
            if before.node and model.hold_key(before.node, before.epoch) in self._holds:
                raise Violation(f"{key} goes from {before} to {said} while that hold stands")
            if said.fence != before.fence + 1:
                raise Violation(f"{key} goes from {before} to {said}")
            self.owners[(*key, said.fence)] = said.node, said.epoch
        self._blocks[key] = said


def _compare(gateway: Gateway, blocks: dict[tuple[str, int], Block], stored: dict[tuple[str, int], Ownership]) -> None:
    for key, block in blocks.items():
        if stored.get(key) != Ownership(gateway.name, gateway.holder.epoch, block.fence):
            raise Violation(f"{gateway.name} believes in {block}, and the store has {stored.get(key)}")


def _of(key: str) -> tuple[str, int]:
    _, pool, index = key.split("/")
    return pool, int(index, 16)


async def main(path: Path) -> None:
    crowd = Crowd(msgspec.json.decode(path.read_bytes(), type=Settings))
    await crowd.run()
    print(json.dumps({**crowd.counts, "longest": crowd.longest, "stalls": crowd.stalls}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))

"""Many gateways and a few Nexus processes on one store, in virtual time, with everything going wrong that can.

Each machine has a clock of its own, which begins anywhere and runs as wrong as is allowed; there is no other. Messages
are lost, late and repeated, all connections of a gateway fail for a while; processes are killed and started again,
machines boot, gateways are replaced by empty ones; the store refuses, or does and does not say so. Subscribers come and
go, and live on until their promise ends on the clock of their gateway, whether or not a process is there. Guests ask
Nexus for single units of the same pool (`guests`).

All the time: no unit of a pool is lived on at two gateways, or is a guest's and somebody else's, and no block is
believed in by two.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from wayleave.net.units import MILLISECOND, SECOND, BootNs, Ns
from wayleave.nexus import vacating
from wayleave.nexus.allocations import Allocations, Asked, Expiry
from wayleave.nexus.holding import Holding, Terms
from wayleave.nexus.model import Kind, Pool
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.refusal import Fenced, Refused
from wayleave.nexus.store.port import Conflict, Unavailable
from wayleave.proto.nexus.holder import Holder, News, Request, Standing
from wayleave.proto.nexus.messages import Block, Claim, GiveBack, Renew

from .memory import MemoryStore, Op

HOLD = Ns(20 * SECOND)
RATE_ERROR = 10
"""Clocks are far worse than real ones, and no grace helps: what counts on more than arithmetic is found out."""
LOOK_EVERY, STEP_EVERY = Ns(SECOND // 2), Ns(SECOND // 2)
POOL, SIZE = "residential", 4
SERVERS = 3


class Violation(AssertionError):
    """What must never be."""


class Clock:
    """A machine's boot clock: so much true time makes so much of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rate = 1 + world.random.choice((-1, 1, world.random.uniform(-1, 1))) * 0.999 / RATE_ERROR
        self.boots = 0
        self.boot()

    def boot(self) -> None:
        """Begin anew."""
        self._since = self._world.now - self._world.random.randrange(100 * SECOND)
        self.boots += 1

    def __call__(self) -> BootNs:
        return BootNs(int((self._world.now - self._since) * self.rate) + 1)


class Extend(NamedTuple):
    """A guest wants the time of its allocation to begin anew."""

    id: str


class Release(NamedTuple):
    """A guest has no more use for its allocation."""

    id: str


Question = Request | Asked | Extend | Release


class Peer(Protocol):
    """Who asks."""

    name: str
    cut_until: int


@dataclass
class Server:
    """A Nexus process."""

    world: World
    store: MemoryStore
    clock: Clock
    alive: int = 1
    """Which life of it this is; 0: none."""
    lives: int = 1

    def __post_init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.holding = Holding(self.store, Terms(HOLD))
        self.observer = Observer(self.store, Ns(0), RATE_ERROR)
        self.allocations = Allocations(self.store, self.holding)
        self.expiry = Expiry(self.store, Ns(0), RATE_ERROR)

    def kill(self) -> None:
        self.alive = 0

    def start(self) -> None:
        self.lives += 1
        self.alive = self.lives
        self._begin()

    def look(self) -> None:
        """Look for holds and allocations that are over, now and then."""
        if self.alive:
            self.world.run(self, self.observer.look(self.clock), lambda _: None)
            self.world.run(self, self.expiry.look(self.clock), lambda _: None)
            if self.world.guests and self.world.random.random() < 0.5:
                self.world.run(self, vacating.vacate(self.store), lambda _: None)
        self.world.after(self.world.about(LOOK_EVERY), self.look)

    def answer(self, node: str, request: Question, reply: Callable[[Any], None]) -> None:
        """Do what a gateway or a guest asks."""
        match request:
            case Renew():
                self.world.run(self, self.holding.renew(node, request), reply)
            case Claim():
                self.world.run(self, self.holding.claim(node, request), reply)
            case GiveBack():
                self.world.run(self, self.holding.give_back(node, request), reply)
            case Asked():
                self.world.run(self, self.allocations.allocate(request), reply)
            case Extend():
                self.world.run(self, self.allocations.renew(request.id), reply)
            case Release():
                self.world.run(self, self.allocations.release(request.id), reply)


@dataclass
class Resident:
    """A subscriber on a unit of a block, who lives there until `until` on the gateway's clock of this boot."""

    unit: str
    block: Block
    until: BootNs


@dataclass
class Gateway:
    """A gateway: a process with a holder, its disk, and a data plane that outlives it, but not a boot."""

    world: World
    name: str
    clock: Clock
    holder: Holder | None = None
    disk: Standing | None = None
    disk_boot: int = 0
    residents: dict[str, Resident] = field(default_factory=dict)
    cut_until: int = 0
    lives: int = 0

    def start(self) -> None:
        """Start the process; what the disk says of time counts in the boot in which it was written."""
        self.lives += 1
        self.world.changed = True
        known = self.disk
        if known is not None and self.disk_boot != self.clock.boots:
            known = Standing(known.epoch, known.beat, BootNs(0), known.blocks)
        self.holder = Holder(known, RATE_ERROR)
        owned = set(self.holder.blocks.values())
        self.residents = {unit: who for unit, who in self.residents.items() if who.block in owned}

    def kill(self) -> None:
        self.holder = None

    def boot(self) -> None:
        """Lose what is not on the disk."""
        self.holder = None
        self.residents.clear()
        self.clock.boot()

    def replace(self) -> None:
        """Have an empty machine in its place. What lived here has moved to nowhere."""
        self.boot()
        self.disk = None

    def record(self) -> None:
        assert self.holder is not None
        self.disk, self.disk_boot = self.holder.standing, self.clock.boots

    @property
    def living(self) -> list[Resident]:
        """Who is forwarded for now."""
        now = self.clock()
        return [who for who in self.residents.values() if now < who.until]

    @property
    def believed(self) -> list[Block]:
        """The blocks it would have a newcomer live on."""
        if self.holder is None or self.disk is None or not self.holder.stands(self.clock()):
            return []
        return list(self.holder.blocks.values())

    # ---- what its process does --------------------------------------------------------------

    def step(self) -> None:
        """Do something: let subscribers come and go, ask Nexus."""
        self.world.changed = True
        if self.holder is not None:
            self._subscribers(self.holder)
            self._blocks(self.holder)
            self._ask(self.holder)
        self.world.after(self.world.about(STEP_EVERY), self.step)

    def _subscribers(self, holder: Holder) -> None:
        choose, now = self.world.random, self.clock()
        self.residents = {unit: who for unit, who in self.residents.items() if now < who.until}
        if not holder.stands(now):
            return
        for who in self.residents.values():
            if choose.random() < 0.3:
                who.until = holder.until
        if holder.blocks and choose.random() < 0.7:
            block = choose.choice(list(holder.blocks.values()))
            unit = choose.choice(self.world.units(block))
            if unit not in self.residents:
                self.residents[unit] = Resident(unit, block, holder.until)
        if self.residents and choose.random() < 0.4:
            del self.residents[choose.choice(list(self.residents))]

    def _blocks(self, holder: Holder) -> None:
        choose = self.world.random
        lived_on = {who.block for who in self.residents.values()}
        idle = [block for block in holder.blocks.values() if block not in lived_on]
        if idle and choose.random() < self.world.giving:
            holder.give_back([choose.choice(idle)])
            self.record()
        holder.want(POOL, choose.randrange(3))  # together more than there are

    def _ask(self, holder: Holder) -> None:
        request = holder.request(self.clock())
        if request is not None:
            life = self.lives
            server = self.world.random.choice(self.world.servers)
            self.world.send(self, server, request, lambda answer: self._hear(life, holder, request, answer))

    def _hear(self, life: int, holder: Holder, request: Request, answer: Any) -> None:
        """Take an answer in, if it is to the question of now."""
        if self.holder is not holder or self.lives != life or holder.asked is not request:
            return
        self.world.changed = True
        now = self.clock()
        match answer:
            case Fenced():
                self._lose(holder.fence(now))
            case Refused() | Unavailable():
                holder.fail(now)
            case _:
                self._lose(holder.receive(answer, now))
        self.record()

    def _lose(self, news: News) -> None:
        self.residents = {unit: who for unit, who in self.residents.items() if who.block not in news.lost}


class Guest(Peer, Protocol):
    """Who asks for single units (`guests`)."""

    @property
    def believed(self) -> str:
        """The unit that it takes for its own, POOL/NUMBER; empty: none."""
        ...

    def step(self) -> None:
        """Do something."""
        ...

    def replace(self) -> None:
        """Forget all of it."""
        ...


NewGuest = Callable[["World", str, Clock], Guest]


class World:
    """All of it. `run_for` goes on; `seed` decides about everything, also how much of each trouble there is."""

    def __init__(
        self, seed: int, gateways: int = 6, guests: Sequence[NewGuest] = (), space: str = "100.64.0.0/26"
    ) -> None:
        self.random = random.Random(seed)
        self.now = 0
        self.steps = 0
        self.changed = False
        """Whether a gateway's beliefs or residents may be others: else there is nothing to check."""
        self._slow = self.random.choice((0.0, 0.0, 0.02))
        self._trouble_every = Ns(self.random.choice((3, 5, 8)) * SECOND)
        self.giving = self.random.choice((0.05, 0.1, 0.3))
        """How often a gateway gives back a block on which nobody lives."""
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self.store = MemoryStore()
        self.store.add_pool(Pool(POOL, Kind.IPV4, space, SIZE))
        self.servers = [Server(self, self.store, Clock(self)) for _ in range(SERVERS)]
        self.gateways = [Gateway(self, f"edge-{number}", Clock(self)) for number in range(gateways)]
        for server in self.servers:
            self.after(self.about(LOOK_EVERY), server.look)
        for gateway in self.gateways:
            gateway.start()
            self.after(self.about(STEP_EVERY), gateway.step)
        self.guests = [guest(self, f"guest-{number}", Clock(self)) for number, guest in enumerate(guests)]
        for each in self.guests:
            self.after(self.about(STEP_EVERY), each.step)
        self.after(self.about(self._trouble_every), self._trouble)

    # ---- time -------------------------------------------------------------------------------

    def after(self, wait: int, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._queue, (self.now + wait, self._serial, action))

    def about(self, wait: Ns) -> int:
        """A wait of about this length."""
        return int(wait * self.random.uniform(0.5, 1.5))

    def run_for(self, steps: int) -> None:
        """Take so many steps. Raises: Violation."""
        for _ in range(steps):
            self.now, _, action = heapq.heappop(self._queue)
            action()
            self.steps += 1
            if self.changed:
                self.changed = False
                self.check()

    # ---- the store and the network ----------------------------------------------------------

    def run(self, server: Server, work: Coroutine[Any, Any, Any], reply: Callable[[Any], None]) -> None:
        """Run a server's coroutine, an operation of the store at a time, as long as the server lives."""
        life = server.alive

        def resume(send: Callable[[], Any]) -> None:
            if server.alive != life or not life:
                work.close()
                return
            try:
                op = send()
            except StopIteration as done:
                reply(done.value)
            except (Refused, Unavailable) as refusal:
                reply(refusal)
            else:
                self.after(self._latency(), lambda: perform(op))

        def perform(op: Op) -> None:
            fault = self.random.random()
            try:
                if fault < 0.01:
                    raise Unavailable("it did not")
                result = op.do()
                if fault < 0.02:
                    raise Unavailable("it did")
            except (Conflict, Unavailable) as error:
                failed = error
                self.after(self._latency(), lambda: resume(lambda: work.throw(failed)))
            else:
                self.after(self._latency(), lambda: resume(lambda: work.send(result)))

        resume(lambda: work.send(None))

    def _latency(self) -> int:
        """Mostly nothing, as the shorter, the less of it helps what is wrong; now and then seconds."""
        if self.random.random() < self._slow:
            return self.random.randrange(1, 4 * SECOND)
        return self.random.randrange(1, self.random.choice((MILLISECOND // 10, 20 * MILLISECOND)))

    def send(self, peer: Peer, server: Server, request: Question, hear: Callable[[Any], None]) -> None:
        """Carry a question there and its answer back, or not, or twice, or much later."""

        def answered(answer: Any) -> None:
            for wait in self._ways(peer):
                self.after(wait, lambda: hear(answer))

        def asked() -> None:
            if server.alive:
                server.answer(peer.name, request, answered)

        for wait in self._ways(peer):
            self.after(wait, asked)

    def _ways(self, peer: Peer) -> list[int]:
        chance = self.random.random()
        if self.now < peer.cut_until or chance < 0.03:
            return []
        if chance < 0.05:
            return [self._latency(), self.random.randrange(2 * HOLD)]
        if chance < 0.07:
            return [self.random.randrange(2 * HOLD)]
        return [self._latency()]

    # ---- trouble ----------------------------------------------------------------------------

    def _trouble(self) -> None:
        choose = self.random
        gateway, server = choose.choice(self.gateways), choose.choice(self.servers)
        if self.guests and choose.random() < 0.5:
            guest = choose.choice(self.guests)
            guest.cut_until = self.now + choose.randrange(4 * HOLD)
            if choose.random() < 0.5:
                guest.replace()
        happens = choose.choice(("cut", "cut", "kill", "boot", "replace", "server", "server", "all-servers"))
        if happens == "cut":
            gateway.cut_until = self.now + choose.randrange(4 * HOLD)
        elif happens == "server":
            self._restart([server])
        elif happens == "all-servers":
            self._restart(self.servers)
        else:
            {"kill": gateway.kill, "boot": gateway.boot, "replace": gateway.replace}[happens]()
            self.after(choose.randrange(choose.choice((SECOND, 3 * HOLD))), self._up(gateway))
        self.after(self.about(self._trouble_every), self._trouble)

    def _up(self, gateway: Gateway) -> Callable[[], None]:
        def start() -> None:
            if gateway.holder is None:
                gateway.start()

        return start

    def _restart(self, servers: Sequence[Server]) -> None:
        for server in servers:
            server.kill()
            self.after(self.random.randrange(5 * SECOND), server.start)

    # ---- what must never be -----------------------------------------------------------------

    def units(self, block: Block) -> list[str]:
        return [f"{block.pool}/{block.index * SIZE + number}" for number in range(SIZE)]

    def check(self) -> None:
        """Raises: Violation."""
        lived: dict[str, str] = {}
        believed: dict[tuple[str, int], str] = {}
        for gateway in self.gateways:
            for who in gateway.living:
                if (other := lived.setdefault(who.unit, gateway.name)) != gateway.name:
                    raise Violation(f"{who.unit} is lived on at {other} and {gateway.name} after {self.steps} steps")
            for block in gateway.believed:
                if (other := believed.setdefault(block.key, gateway.name)) != gateway.name:
                    raise Violation(f"{block} is {other}'s and {gateway.name}'s after {self.steps} steps")
        for guest in self.guests:
            unit = guest.believed
            if unit and (other := lived.setdefault(unit, guest.name)) != guest.name:
                raise Violation(f"{unit} is {other}'s and {guest.name}'s after {self.steps} steps")
            block_of = (POOL, int(unit.rpartition("/")[2]) // SIZE) if unit else None
            if block_of in believed:
                raise Violation(f"{unit} is {guest.name}'s in a block of {believed[block_of]}")

"""The gateway's RADIUS in virtual time: the real engine, authorizer, accounting and store, on a network that lies.

Clients come, stay, use and go; servers die and come back; the process is killed, the machine restarts. What the servers
were told is what counts at the end.
"""

from __future__ import annotations

import heapq
import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from tests.aaa.clients import CALLER, NETWORK, deciders, terms
from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from tests.proto.radius.world import MILLISECOND, FakeServer
from wayleave.aaa.outbox import Outbox
from wayleave.aaa.radius import Authorizer, Last
from wayleave.daemon.accounting import Accounting
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine
from wayleave.daemon.recovery import Recovery
from wayleave.io.store import Store
from wayleave.io.writes import Write, erased, saved
from wayleave.net.mac import Mac
from wayleave.net.secret import Secret
from wayleave.net.units import SECOND, Ns
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.exchange import Channel, Exchange, Server
from wayleave.proto.radius.packet import Avp, Code, Packet, decode, encode, response
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer
from wayleave.session.model import Client, CloseCause, Line, Phase, Session, Used
from wayleave.session.settings import PoolSettings
from wayleave.session.table import Table

LIMIT = 2
"""Sessions that the server allows each subscriber."""
START, STOP, INTERIM = 1, 2, 3
TRUE, FORGED = b"true", b"forged"
TICK = SECOND

POOL = PoolSettings.model_validate(
    {
        "name": "residential",
        "tenant": "isp",
        "network": str(NETWORK),
        "gateway": "10.0.0.1",
        "lease": "60s",
        "promise": "120s",
    }
)


def avp(name: str, value: Any) -> Avp:
    return STANDARD[name].encode(value)


def number(packet: Packet, attribute: int) -> int:
    return int.from_bytes(packet.first(attribute) or b"", "big")


def octets_in(packet: Packet) -> int:
    """What a record says that the client sent (RFC 2866 5.3, RFC 2869 5.1)."""
    return number(packet, 52) << 32 | number(packet, 42)


@dataclass
class Told:
    """What servers acknowledged of one session: kind → when it was by its own account, in the order of arrival."""

    kinds: list[tuple[int, int]] = field(default_factory=list)
    octets: dict[int, int] = field(default_factory=dict)

    def take(self, packet: Packet) -> None:
        kind, stamp = number(packet, 40), number(packet, 55)
        if (kind, stamp) not in self.kinds:
            self.kinds.append((kind, stamp))
            self.octets[kind] = octets_in(packet)


class World:
    """Everything that outlives a process."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random, self.folder = Random(seed), folder
        self.clock, self.plane = FakeClock(), Plane(64)
        self.servers = [FakeServer(b"secret %d" % number, answer=self._answer) for number in range(1 + seed % 2)]
        self.accounted: dict[bytes, Told] = defaultdict(Told)
        self.on = 0
        self.used: dict[str, int] = defaultdict(int)
        """Octets that were really sent, by what accounting calls the session."""
        self.lose = self.repeat = self.forge = 0.0
        self.counting_on = False
        """The data plane's counters are those of the process before."""
        self.full = False
        """The disk refuses everything."""
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self.process = Process(self)
        self.at(TICK, self._tick)

    # ---- time ---------------------------------------------------------------------------

    def at(self, late: int, do: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._events, (self.clock.now + late, self._serial, do))

    def run(self, seconds: float) -> None:
        end = self.clock.now + int(seconds * SECOND)
        while self._events and self._events[0][0] <= end:
            when, _, do = heapq.heappop(self._events)
            self.clock.wait(max(0, when - self.clock.now))
            do()
        self.clock.wait(end - self.clock.now)

    def _tick(self) -> None:
        self.process.every_second()
        self.at(TICK, self._tick)

    # ---- servers ------------------------------------------------------------------------

    def _answer(self, asked: Packet) -> tuple[int, list[Avp]] | None:
        if asked.code == Code.ACCESS_REQUEST:
            name = asked.first(1) or b""
            if name.endswith(b":09"):
                return Code.ACCESS_REJECT, []
            said = [avp("User-Name", f"house {name[-1] % 3}"), avp("Class", TRUE), avp("Acct-Interim-Interval", 60)]
            return Code.ACCESS_ACCEPT, [*said, avp("Wayleave-Session-Limit", LIMIT)]
        name = asked.first(44)
        if name is None:
            self.on += 1
        else:
            self.accounted[name].take(asked)
        return Code.ACCOUNTING_RESPONSE, []

    def fly(self, exchange: Exchange, process: Process, channel: Channel, data: bytes) -> None:
        """A request on its way to a server, and what comes of it."""
        server = self.servers[channel.server]
        if self.random.random() < self.forge:
            asked = decode(data)
            lie = [avp("Class", FORGED), avp("User-Name", "nobody")]
            blank = encode(Code.ACCESS_ACCEPT, asked.identifier, self.random.randbytes(16), lie)
            forged = self.random.choice([blank, blank[:-3], response(asked, Code.ACCESS_ACCEPT, lie, b"guess")])
            self.at(self._late(), lambda: process.receive(exchange, channel, forged))
        for _ in range(self._copies()):
            self.at(self._late(), lambda: self._arrive(exchange, process, server, channel, data))

    def _arrive(self, exchange: Exchange, process: Process, server: FakeServer, channel: Channel, data: bytes) -> None:
        answer = server.receive(data, self.clock.now)
        if answer is None:
            return
        for _ in range(self._copies()):
            self.at(self._late(), lambda: process.receive(exchange, channel, answer))

    def _copies(self) -> int:
        return (self.random.random() >= self.lose) + (self.random.random() < self.repeat)

    def _late(self) -> int:
        return 5 * MILLISECOND + self.random.randrange(SECOND // 2)

    # ---- disasters ----------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL: what the disk has not written is gone, the data plane goes on."""
        before = [*self.process.table]
        self.process.die(self.random.randrange(3))
        self.process = Process(self)
        for was in before:
            session = self.process.table.get(was.id)
            if session is not None and session.client == was.client and session.accounting != was.accounting:
                # the disk never heard of the name that it had since a reboot: what it used is on its next one's bill
                self.used[session.accounting] += self.used.pop(was.accounting, 0)

    def lose_maps(self) -> None:
        """A process with another layout of maps: what was counted since it was last reported is lost."""
        self.process.die(self.random.randrange(3))
        self.plane, self.counting_on = Plane(64), False
        self._use_is_lost()
        self.process = Process(self)

    def _use_is_lost(self) -> None:
        """What a session on the disk has used is what was last reported of it, acknowledged or not."""
        with closing(sqlite3.connect(self.folder / "leases.sqlite")) as db:
            names = [name for (name,) in db.execute("SELECT body ->> 'accounting' FROM lease")]
            waiting = db.execute("SELECT session, body FROM accounting ORDER BY seq").fetchall()
        for name in names:
            told = self.accounted.get(name.encode())
            self.used[name] = told.octets.get(INTERIM, 0) if told is not None else 0
        for name, body in waiting:
            record = Packet(4, 0, b"", tuple((kind, bytes.fromhex(octets)) for kind, octets in json.loads(body)))
            if name in names and number(record, 40) == INTERIM:
                self.used[name] = octets_in(record)

    def reboot(self) -> None:
        """Power goes and comes back; tables and counters are gone."""
        self.process.die(self.random.randrange(3))
        events = [(when - self.clock.now, do) for when, _, do in sorted(self._events)]
        self.clock, self.plane, self.counting_on = self.clock.reboot(), Plane(64), False
        self._events = []
        self._use_is_lost()
        for late, do in events:
            self.at(late, do)
        self.process = Process(self)

    def use(self) -> None:
        """Every client that is served sends something, and the data plane counts it."""
        for session in self.process.table:
            if session.installed and session.phase is Phase.ACTIVE:
                octets = self.random.randrange(1, 1 << 34)
                before = self.plane.used.get(session.id, Used())
                self.plane.used[session.id] = replace(before, up_octets=before.up_octets + octets)
                self.used[session.accounting] += octets


class Process:
    """One life of the gateway."""

    def __init__(self, world: World) -> None:
        self.world, self.alive = world, True
        clock = world.clock
        self._written: list[tuple[list[Write], str | None]] = []
        self.store = Store(world.folder, clock, "off", lambda *_: None, world.random.randbytes)
        servers = [Server(name=f"r{n}", secret=Secret(one.secret)) for n, one in enumerate(world.servers)]
        self.access, self.acct = (
            Exchange(code, servers, world.random.randbytes, queue=50)
            for code in (Code.ACCESS_REQUEST, Code.ACCOUNTING_REQUEST)
        )
        self.deciders = deciders(terms(caller=CALLER, last_known=Ns(3600 * SECOND), hold_rejects=Ns(5 * SECOND)))
        self.authorizer = Authorizer(self.deciders, {"group": self.access}, {})
        self.accounting = Accounting({"group": self.acct}, lambda: self.deciders, self.store, clock)
        self.accounting.outboxes["group"] = Outbox(self.acct, self.accounting._wall, memory=30, window=8)
        self.table = Table(64)
        self.engine = Engine(
            self.table,
            {"residential": terms_of(POOL, ())},
            self.authorizer,
            self.store,
            world.plane,
            self._reply,
            {1: Admission(8, True)},
            self._transition,
            self.store.epoch,
            self.accounting,
        )
        offset = clock.utc() - clock.boot()
        for key, at, service in self.store.known():
            assert at is not None
            self.authorizer.recall(key, Last(at - offset, service))
        recovery = Recovery(self.engine, clock)
        recovery.restore(self.accounting.take_up(self.store.load(), world.counting_on, self.engine.new_name))
        world.counting_on = True
        for session in self.table:
            # a client's use goes on under the name that accounting has for it now
            world.used.setdefault(session.accounting, 0)
        world.plane.repair([one for one in self.table if one.installed and one.live], clock.boot())
        recovery.took_over()
        self.accounting.resume()
        for session in self.table:
            self.accounting.watch(session, clock.boot())
        self.turn()

    def _transition(self, session: Session, before: Session | None) -> None:
        if life.opens(session, before):
            self.accounting.watch(session, self.world.clock.boot())
        served = [one for one in self.table if one.live and _name(one) == _name(session)]
        assert len(served) <= LIMIT or not _name(session), f"{len(served)} sessions of {_name(session)}"
        assert session.service is None or session.service.classes in ((), (TRUE,)), "a forged reply was believed"

    def _reply(self, session: Session, reply: life.Reply) -> None:
        if reply.answer is Answer.OFFER and reply.lease is not None:
            client, address = session.client, reply.lease.address
            self.world.at(10 * MILLISECOND, lambda: self.world.process.request(client, address))

    # ---- what happens to it -------------------------------------------------------------

    def discover(self, client: Client) -> None:
        said = life.Discovered(client=client, ask="discover", encapsulation=b"e")
        self.engine.take([(client, said)], self.world.clock.boot())
        self.turn()

    def request(self, client: Client, address: IPv4Address) -> None:
        said = life.Requested(client=client, ask="request", encapsulation=b"e", address=address)
        self.engine.take([(client, said)], self.world.clock.boot())
        self.turn()

    def release(self, session: Session) -> None:
        assert session.lease is not None
        self.engine.take([(session.client, life.Released(session.lease.address))], self.world.clock.boot())
        self.turn()

    def clear(self) -> None:
        for session in [*self.table]:
            self.engine.clear(session.id, CloseCause.ADMIN_RESET, self.world.clock.boot())
        self.turn()

    def every_second(self) -> None:
        now = self.world.clock.boot()
        self.engine.due(now)
        for exchange in (self.access, self.acct):
            exchange.expire(now)
        self.accounting.try_again()
        self.accounting.interims(self.table, self.engine.used, now)
        self.turn()

    def receive(self, exchange: Exchange, channel: Channel, data: bytes) -> None:
        if self.alive:
            exchange.receive(channel, data, self.world.clock.boot())
            self.turn()

    def turn(self) -> None:
        now = self.world.clock.boot()
        self.accounting.pump(now)
        while decisions := self.authorizer.decisions(now):
            for decision in decisions:
                self.engine.decided(decision.ticket.id, decision.ticket.since, decision.outcome, now)
        learned = self.authorizer.learned()
        if learned:
            self.store.learn({key: None if last is None else last.service for key, last in learned.items()})
            self.store.flush()
        for exchange in (self.access, self.acct):
            for channel, data in exchange.take():
                self.world.fly(exchange, self, channel, data)
        if not self.store._waiting.empty():
            self.world.at(self.world.random.randrange(20 * MILLISECOND), self.commit)

    def commit(self) -> None:
        """The store's thread writes what waits, as one group."""
        if not self.alive:
            return
        group: list[Write] = []
        while not self.store._waiting.empty():
            group += self.store._waiting.get() or ()
        if not group:
            return
        error = "full" if self.world.full else self.store._write(group)
        assert error in (None, "full"), error
        if error is None:
            self.accounting.durable(group)
        else:
            self.accounting.failed(group)
        self.engine.recorded(saved(group), erased(group), error, self.world.clock.boot())
        self.turn()

    def die(self, written: int) -> None:
        """Of the groups that wait, the first `written` get to the disk."""
        self.alive = False
        for _ in range(written):
            if not self.store._waiting.empty():
                self.store._write(self.store._waiting.get() or ())
        self.store._db.close()
        os.close(self.store._lock)


def _name(session: Session) -> str:
    return session.service.subscriber if session.service is not None else ""


def client(number: int) -> Client:
    return Client(Line(1, 100, number), Mac(b"\2\0\0\0\0" + bytes((number,))))

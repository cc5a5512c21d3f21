"""Gateways that share a pool, and the Nexus that they lease its blocks from: real rules, simulated ends, one time.

Real: engine, table, pools, recovery, `daemon.blocks`, the holder, and of Nexus `holding` and `reclaim` on a store in
memory. Simulated: data planes, disks, clients, the way between gateways and Nexus.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from tests.fakes.records import Disk, Records
from tests.nexus.memory import MemoryStore, finished
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine
from wayleave.daemon.nexus import Nexus as NexusSide
from wayleave.daemon.recovery import Recovery
from wayleave.io.writes import erased, saved
from wayleave.net.mac import Mac
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.nexus.holding import Holding, Terms
from wayleave.nexus.lines import Lines
from wayleave.nexus.model import Kind, Pool, Provider, view_prefix
from wayleave.nexus.model import Line as LineRecord
from wayleave.nexus.model import Subscriber as SubscriberRecord
from wayleave.nexus.pools import Pools
from wayleave.nexus.providers import Providers
from wayleave.nexus.reclaim import Observer
from wayleave.nexus.refusal import Exists, Fenced, Refused
from wayleave.nexus.subscribers import Subscribers
from wayleave.proto.nexus.messages import Claim, Claimed, GiveBack, Held, Renew
from wayleave.session import lifecycle as life
from wayleave.session.lifecycle import Answer
from wayleave.session.model import NEVER, Client, Line, Session
from wayleave.session.settings import PoolSettings
from wayleave.session.table import Table

HOLD, GRACE, LEASE = Ns(600 * SECOND), Ns(10 * SECOND), Ns(120 * SECOND)
NETWORK, BLOCK = "10.0.0.0/26", 8
POOL = PoolSettings.model_validate(
    {"name": "home", "network": NETWORK, "gateway": "10.0.0.1", "nexus": "shared", "lease": "120s", "promise": "24h"}
)


class Nexus:
    """One process of it. Its observer starts anew when it is killed; its store does not."""

    def __init__(self) -> None:
        self.now = BootNs(400 * SECOND)
        self.store = MemoryStore()
        self.holding = Holding(self.store, Terms(HOLD))
        finished(Pools(self.store).put(Pool("shared", Kind.IPV4, NETWORK, BLOCK, tenant="default"), 0))
        finished(Providers(self.store).put(Provider("isp", "default", "home"), 0))
        self._people = Subscribers(self.store, self.holding.own)
        self._made: set[str] = set()
        self.restart()

    def keeps(self, name: str, address: str, node: str, number: int) -> None:
        """A subscriber lives on line `number` of a gateway now, and has this address wherever it is."""
        line = f"{name}-{node}"
        with suppress(Exists):
            finished(Lines(self.store).put(LineRecord(line, node, 1, 100, number), 0))
        record = SubscriberRecord(name, "isp", line, address=address)
        finished(self._people.put(record, None if name in self._made else 0))
        self._made.add(name)

    def view(self, node: str) -> dict[str, Subscriber]:
        """What a gateway is told of subscribers."""
        entries = finished(self.store.page(view_prefix(node))).entries
        told = (Subscriber.model_validate(msgspec.json.decode(entry.value)) for entry in entries)
        return {entry.name: entry for entry in told}

    def restart(self) -> None:
        self.observer = Observer(self.store, GRACE)

    def second(self, look: bool = True) -> None:
        """A second passes; with `look` it looks at holds whose time may be over."""
        self.now = BootNs(self.now + SECOND)
        if look:
            finished(self.observer.look(lambda: self.now))

    def answer(self, node: str, request: Renew | Claim | GiveBack) -> Held | Claimed | None:
        """Raises: Refused."""
        match request:
            case Renew():
                return finished(self.holding.renew(node, request))
            case Claim():
                return finished(self.holding.claim(node, request))
            case GiveBack():
                finished(self.holding.give_back(node, request))
                return None


@dataclass
class Told:
    """What a client believes: its address, and until when."""

    address: IPv4Address
    until: BootNs


class Site:
    """A gateway. `time` is everybody's; its boot clock began somewhere else."""

    def __init__(self, name: str, nexus: Nexus, clock: FakeClock, disk: Disk, plane: Plane) -> None:
        self.name, self.nexus = name, nexus
        self.clock, self.disk, self.plane = clock, disk, plane
        self.cut = False
        self.known: dict[str, Subscriber] = {}
        self.replies: list[tuple[Client, life.Reply]] = []
        self.told: dict[Client, Told] = {}
        self._open()

    def _open(self) -> None:
        self.records = Records(self.disk, self.clock)
        self.table = Table(64)
        self.side = NexusSide(None, Path(), Path(), self.records, self.clock, lambda: None, lambda _entries: None)
        self.blocks = self.side.blocks
        self.engine = Engine(
            self.table,
            self.blocks.equip([POOL], {"home": terms_of(POOL, list(self.known.values()))}),
            self._authorization(),
            self.records,
            self.plane,
            self._hear,
            {1: Admission(64, True)},
        )
        self.side.serve(self.engine)
        self._expect()
        self.recovery = Recovery(self.engine, self.clock)
        self.recovery.restore(self.disk.load(self.clock))
        self.plane.repair([session for session in self.table if session.installed and session.live], self.clock.boot())
        self.recovery.took_over()
        self.written()

    def _authorization(self) -> LocalAuthorization:
        settings, people = AuthorizationSettings(default="home"), self.known.values()
        return LocalAuthorization(settings, people, {1: "default"}, {"home": "default"}, {})

    def _expect(self) -> None:
        self.side.expect([POOL], self.known.values())

    def hear(self) -> None:
        """Take in what Nexus tells of subscribers."""
        told = self.nexus.view(self.name)
        if self.cut or told == self.known:
            return
        self.known = told
        self._expect()
        pools = self.blocks.equip([POOL], {"home": terms_of(POOL, list(told.values()))})
        self.engine.reconfigure(pools, self._authorization(), {1: Admission(64, True)})
        while self.engine.review(self.clock.boot()):
            self.written()
        self.written()

    def _hear(self, session: Session, reply: life.Reply) -> None:
        self.replies.append((session.client, reply))
        if reply.answer is Answer.CONFIRM:
            assert reply.lease is not None
            self.told[session.client] = Told(reply.lease.address, BootNs(self.clock.now + reply.remaining))
        elif reply.answer is Answer.REFUSE:
            self.told.pop(session.client, None)

    # ---- what happens -------------------------------------------------------------------

    def written(self) -> None:
        while self.records.pending:
            group, error = self.records.commit()
            self.blocks.recorded(group, error)
            self.engine.recorded(saved(group), erased(group), error, self.clock.boot())

    def talk(self, lost: bool = False) -> None:
        """Ask Nexus what there is to ask, until there is nothing; with `lost` the first answer does not arrive."""
        for _ in range(8):
            now = self.clock.boot()
            request = self.blocks.request(now)
            self.written()
            if request is None:
                return
            if self.cut:
                self.blocks.fail(now)
                return
            try:
                answer = self.nexus.answer(self.name, request)
            except Fenced:
                self.blocks.fence(now)
            except Refused:
                self.blocks.fail(now)
            else:
                self.blocks.fail(now) if lost else self.blocks.receive(answer, now)
            self.written()
            if lost:
                return

    def second(self) -> None:
        """A second passes."""
        self.clock.wait(SECOND)
        self.engine.due(self.clock.boot())
        self.written()
        known = self.recovery.settle()
        if known:
            self.plane.install(known, self.clock.boot())

    def arrive(self, number: int) -> IPv4Address | None:
        """A client comes, or comes again, and asks for what is offered; returns its address."""
        client = self.client(number)
        self.replies.clear()
        discover = life.Discovered(client=client, ask="discover", encapsulation=b"l2")
        self.engine.take([(client, discover)], self.clock.boot())
        self.written()
        offers = [reply.lease for _, reply in self.replies if reply.answer is Answer.OFFER]
        return self.request(number, offers[0].address) if offers and offers[0] is not None else None

    def request(self, number: int, address: IPv4Address) -> IPv4Address | None:
        """A client asks for this address; returns it if it was confirmed."""
        client = self.client(number)
        self.replies.clear()
        event = life.Requested(client=client, ask="request", encapsulation=b"l2", address=address)
        self.engine.take([(client, event)], self.clock.boot())
        self.written()
        return address if any(reply.answer is Answer.CONFIRM for _, reply in self.replies) else None

    def renew(self, number: int) -> bool:
        """A client renews what it believes to have: the data plane answers, or else the process."""
        client = self.client(number)
        known = self.told.get(client)
        if known is None or known.until <= self.clock.now:
            return False
        session = self.plane.renews(client.key, known.address, self.clock.boot())
        if session is None:
            return self.request(number, known.address) is not None
        assert session.lease is not None
        known.until = BootNs(self.clock.now + session.lease.duration)
        return True

    def release(self, number: int) -> None:
        """A client gives up what it believes to have."""
        client = self.client(number)
        known = self.told.pop(client, None)
        if known is not None:
            self.engine.take([(client, life.Released(known.address))], self.clock.boot())
            self.written()

    def kill(self) -> None:
        """The process is killed, and starts again."""
        self._open()

    def reboot(self, off: int = 10 * SECOND, in_1970: bool = False, empty: bool = False) -> None:
        """The machine goes down for a while, perhaps for another disk: then clients are strangers to it."""
        before = self.clock
        self.clock = before.reboot(off, in_1970)
        self.plane = Plane(64)
        if empty:
            self.disk = Disk()
        shift = self.clock.now - before.now - off
        self.told = {
            client: Told(known.address, BootNs(known.until + shift))
            for client, known in self.told.items()
            if known.until + shift > 0
        }
        self._open()

    # ---- what can be seen ---------------------------------------------------------------

    @staticmethod
    def client(number: int) -> Client:
        return Client(Line(1, 100, number), Mac(b"\2\0\0\0\0" + bytes([number])))

    def served(self) -> set[IPv4Address]:
        """Addresses that the data plane forwards for."""
        now = self.clock.boot()
        return {row.host[1] for row in self.plane.rows.values() if row.promise_until > now}

    def believed(self) -> set[IPv4Address]:
        """Addresses that clients believe to have."""
        return {known.address for known in self.told.values() if known.until > self.clock.now}

    def uses(self, number: int, address: IPv4Address) -> bool:
        return self.plane.forwards(self.client(number).key, address, self.clock.boot())

    def find(self, number: int) -> Session | None:
        return self.table.find(self.client(number))


def site(name: str, nexus: Nexus, start: int = 100) -> Site:
    """Return a new gateway, `start` seconds after its boot."""
    clock = FakeClock()
    clock.now = BootNs(start * SECOND)
    made = Site(name, nexus, clock, Disk(), Plane(64))
    made.talk()
    made.talk()
    return made


__all__ = ["GRACE", "HOLD", "LEASE", "NEVER", "Nexus", "Site", "site"]

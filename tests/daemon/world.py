"""A whole gateway in virtual time: the real codecs, engine, table, pools and recovery, between simulated ends.

Real: access.ipoe, daemon.engine, daemon.recovery, session.*, aaa.local, the rows of io.store. Simulated: the wire, the
data plane, the disk, the clocks, the customers' routers, and what goes wrong. Everything follows from one seed. `now`
is true time, which nobody in the world can see: the gateway has a boot clock and a wall clock, a router counts from
when it was told. After every event `check` asks whether anything is true that must never be.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from ipaddress import IPv4Address
from random import Random
from typing import Any

from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from tests.fakes.records import Disk, Records
from tests.fakes.router import Router, State
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization, Subscriber
from wayleave.access.ipoe import Delivery, Ipoe
from wayleave.access.settings import PortSettings
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine
from wayleave.daemon.recovery import Recovery
from wayleave.daemon.review import PoolTerms
from wayleave.io.writes import Write, erased, saved
from wayleave.net import frame
from wayleave.net.mac import BROADCAST, Mac
from wayleave.net.units import MILLISECOND, SECOND, BootNs, UtcNs
from wayleave.proto.dhcp4 import message
from wayleave.proto.dhcp4.message import Message, MessageType
from wayleave.session import lifecycle
from wayleave.session.lifecycle import Answer
from wayleave.session.model import NEVER, Client, CloseCause, Line, Phase, Session
from wayleave.session.settings import PoolSettings, Reservation
from wayleave.session.table import Table

GATEWAY_MAC = Mac(b"\x02\xff\0\0\0\1")
LEASE_S, PROMISE_S, QUARANTINE_S = 120, 400, 60
TERMS_S = ((30, 60), (LEASE_S, PROMISE_S), (600, 1200))
"""Leases and promises that the configuration may have at a start: longer and much shorter than before."""
SLOWEST = 1500 * MILLISECOND
"""No frame stays on the wire for longer: less than session.model.LEASE_GRACE."""
SESSIONS = 40
TAKEN_AWAY = (CloseCause.ADMIN_RESET, CloseCause.DISPLACED, CloseCause.RECONFIGURED)
LEAVING = (Phase.REMOVING, Phase.FORGETTING, Phase.CLOSED)

PORTS = {
    port.number: port
    for port in (
        PortSettings(number=1, device="olt0", role="subscriber", clients=2),
        PortSettings(number=2, device="olt1", role="subscriber", trusted=True, line="circuit", clients=1),
        PortSettings(number=3, device="olt2", role="subscriber", clients=1, at_limit="refuse"),
    )
}


def _mac(number: int) -> Mac:
    return Mac(b"\2\0\0\0\0" + bytes([number]))


# Those that stay to the end have one address each; the others come on top, on the same lines.
STAYING = (
    *((Line(1, 100, number), _mac(number)) for number in range(1, 5)),
    *((Line(1, 100, 1), _mac(number)) for number in (5,)),
    *((Line(2, 200, 0, b"door-%d" % number), _mac(number)) for number in range(6, 10)),
    *((Line(3, number, 0), _mac(number)) for number in range(10, 13)),
    (Line(3, 0, 0), _mac(13)),
)
SURPLUS = (
    (Line(1, 100, 1), _mac(21)), (Line(1, 100, 2), _mac(22)), (Line(2, 200, 0, b"door-6"), _mac(23)),
    (Line(2, 200, 0, b"door-7"), _mac(24)), (Line(3, 10, 0), _mac(25)), (Line(1, 101, 2), _mac(26)),
    (Line(2, 200, 0, b"door-6"), _mac(27)),
)  # fmt: skip
POOL = PoolSettings.model_validate(
    {
        "name": "home",
        "network": "10.0.0.0/28",
        "gateway": "10.0.0.1",
        "exclude": ["10.0.0.14"],
        "lease": f"{LEASE_S}s",
        "promise": f"{PROMISE_S}s",
        "quarantine": f"{QUARANTINE_S}s",
        "dns": ["10.0.0.1"],
        "reservations": [Reservation(address=IPv4Address("10.0.0.5"), mac=_mac(2))],
    }
)
SUBSCRIBERS = (Subscriber(name="static", mac=_mac(3), address=IPv4Address("10.0.0.14")),)

OTHER_SUBSCRIBERS = (
    SUBSCRIBERS,
    (Subscriber(name="static", mac=_mac(4), address=IPv4Address("10.0.0.14")),),
    (*SUBSCRIBERS, Subscriber(name="blocked", mac=_mac(21), blocked=True)),
)

# What goes wrong how often.
MISCHIEF: dict[str, float] = {
    "a router restarts": 8, "a router releases": 5, "packets flow": 12, "the operator clears": 2,
    "the process is killed": 4, "the power fails": 1.5, "the disk fails": 1, "the wire is bad": 4,
    "the street has power again": 1, "the configuration changes": 3,
}  # fmt: skip


def _ipoe(known: Callable[[Client], Session | None]) -> Ipoe:
    delivery = Delivery(POOL.network, POOL.gateway, POOL.dns)
    return Ipoe(PORTS, dict.fromkeys(PORTS, GATEWAY_MAC), {POOL.name: delivery}, known)


class Violation(AssertionError):
    """Something is true that must never be."""


class Gateway:
    """One process, put together as daemon.app does it, without its asyncio loop."""

    def __init__(self, world: World) -> None:
        self.world, self.clock, self.plane = world, world.clock, world.plane
        self.table = Table(SESSIONS)
        self.ipoe = _ipoe(self.table.find)
        self.records = Records(world.disk, self.clock, self._submitted)
        pools, authorization, admission = self._terms()
        self.engine = Engine(
            self.table, pools, authorization, self.records, self.plane, self._reply, admission, world.on_transition
        )
        self.recovery = Recovery(self.engine, self.clock)
        self._wake = 0
        self._woken = False
        self.recovery.restore(world.disk.load(self.clock))

    def open(self) -> None:
        """Take the data plane over: until now it went on as the process before had left it."""
        wanted = [session for session in self.table if session.installed and session.live]
        self.plane.repair(wanted, self.clock.boot())
        self.recovery.took_over()
        if self.records.pending:
            self._submitted()
        self._end_turn()
        self._every_second()
        if self.plane.ring:
            self.wake()

    def _terms(self) -> tuple[dict[str, PoolTerms], LocalAuthorization, dict[int, Admission]]:
        """What the configuration of the day says."""
        lease_s, promise_s = self.world.terms_s
        pool = POOL.model_copy(update={"lease": lease_s * SECOND, "promise": promise_s * SECOND})
        people = self.world.subscribers
        return (
            {POOL.name: terms_of(pool, people)},
            LocalAuthorization(
                AuthorizationSettings(default=POOL.name), people, dict.fromkeys(PORTS, "default"), {}, {}
            ),
            {port.number: Admission(port.clients, port.at_limit == "replace") for port in PORTS.values()},
        )

    @property
    def pools(self) -> dict[str, PoolTerms]:
        return self.engine.pools

    def reload(self) -> None:
        self.engine.reconfigure(*self._terms())
        self._review()

    def _review(self) -> None:
        """Sessions are looked at a few at a time; between that, everything goes on."""
        if self.engine.review(self.clock.boot(), limit=3):
            self.world.at(100 * MILLISECOND, self._if_alive, self._review)
        self._end_turn()

    def wake(self) -> None:
        """Something lies in the ring; what comes close together is read together."""
        if not self._woken:
            self._woken = True
            wait = self.world.chance.choice((0, MILLISECOND, 100 * MILLISECOND))
            self.world.at(wait, self._if_alive, self._on_ring)

    def _if_alive(self, what: Callable[..., None], *arguments: Any) -> None:
        if self.world.gateway is self:
            what(*arguments)

    def _on_ring(self) -> None:
        ring, self._woken = self.plane.ring, False
        told = [item for at, port, data in ring if (item := self.ipoe.receive(port, data, at)) is not None]
        ring.clear()
        self.engine.take(told, self.clock.boot())
        self._end_turn()

    def _reply(self, session: Session, reply: lifecycle.Reply) -> None:
        answer = self.ipoe.reply(session, reply)
        if answer is not None:
            self.world.check_said(session, reply, answer[1])
            self.world.send_down(*answer)

    def _submitted(self) -> None:
        if len(self.records.pending) == 1:
            slow = self.world.trouble and self.world.chance.random() < 0.1
            self.world.at((3 * SECOND if slow else 4 * MILLISECOND), self._if_alive, self._commit)

    def _commit(self) -> None:
        """The store's thread has written; the loop hears of it a little later."""
        group, error = self.records.commit()
        self.world.stirred = True
        self.world.at(MILLISECOND, self._if_alive, self._on_recorded, group, error)

    def _on_recorded(self, group: list[Write], error: str | None) -> None:
        self.engine.recorded(saved(group), erased(group), error, self.clock.boot())
        self._end_turn()

    def _on_timer(self) -> None:
        self._wake = 0
        self.engine.due(self.clock.boot())
        self._end_turn()

    def _end_turn(self) -> None:
        self.world.stirred = True
        deadline = self.table.next_deadline
        if deadline != NEVER and (not self._wake or deadline < self._wake):
            self._wake = deadline
            self.world.at(max(0, deadline - self.clock.boot()), self._if_alive, self._on_timer)

    def _every_second(self) -> None:
        if self.recovery.unknown and self.clock.plausible:
            self.plane.install(self.recovery.settle(), self.clock.boot())
            self._end_turn()
        self.world.at(SECOND if self.recovery.unknown else 30 * SECOND, self._if_alive, self._every_second)


class World:
    """Everything at once, from one seed."""

    def __init__(self, seed: int, inside: bool = True) -> None:
        """`inside`: look into the gateway too, and not only at what its customers could complain of."""
        self.seed, self.inside = seed, inside
        self.chance = Random(seed)
        self.now = 0
        self.events = 0
        self.trouble = True
        self.stirred = True  # something inside may have changed since the last look
        self.departed: set[Client] = set()  # and not admitted anew since
        self.story: deque[str] = deque(maxlen=60)
        self.happened: Counter[str] = Counter()
        self._due: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self.clock = FakeClock()
        self.plane = Plane(SESSIONS)
        self.disk = Disk()
        self.gateway: Gateway | None = None
        self.starting: Gateway | None = None
        self._lossy = False
        self.terms_s = (LEASE_S, PROMISE_S)
        self.subscribers = SUBSCRIBERS
        self.kernel_renews = self.chance.choice((0.0, 0.5, 1.0))
        self.routers = [Router(line, mac, self.chance, declines=0.02) for line, mac in STAYING + SURPLUS]
        self.staying = self.routers[: len(STAYING)]
        self._by_key = {router.key: router for router in self.routers}
        self._by_vlan: dict[tuple[int, int, int], list[Router]] = {}
        for router in self.routers:
            self._by_vlan.setdefault((router.line.port, router.line.svid, router.line.cvid), []).append(router)
        self.gateway = Gateway(self)
        self.gateway.open()
        for router in self.routers:
            self.at(self._some(30), self._switch_on, router)
        self.at(self._some(20), self._mischief)

    # ---- time ---------------------------------------------------------------------------

    def at(self, wait: int, what: Callable[..., None], *arguments: Any) -> None:
        """Have something happen after `wait` nanoseconds."""
        self._order += 1
        heapq.heappush(self._due, (self.now + wait, self._order, what, arguments))

    def run(self, events: int = 1 << 62, until: int = 1 << 62) -> None:
        """Let things happen: so many events, or until a moment. Raises: Violation, with the seed and the story."""
        last = self.events + events
        while self.events < last and self._due[0][0] <= until:
            when, _, what, arguments = heapq.heappop(self._due)
            self.clock.wait(when - self.now)
            self.now = when
            self.events += 1
            try:
                what(*arguments)
                self.check()
            except AssertionError as error:
                raise Violation(self._told(error)) from error

    def _told(self, error: BaseException) -> str:
        story = "\n  ".join(self.story)
        return f"seed {self.seed}, event {self.events}, {self.now / SECOND:.3f}s: {error}\n  {story}"

    def _some(self, seconds: float) -> int:
        return round(self.chance.random() * seconds * SECOND)

    def tell(self, what: str) -> None:
        self.story.append(f"{self.now / SECOND:10.3f}s {what}")

    @property
    def boot_zero(self) -> int:
        """True time of the boot clock's zero."""
        return self.now - self.clock.now

    def true(self, boot: BootNs) -> int:
        return boot + self.boot_zero

    def true_of_utc(self, utc: UtcNs) -> int:
        """True time of a moment on a wall clock that was right."""
        return utc - _EPOCH

    # ---- the wire -----------------------------------------------------------------------

    def _delays(self) -> list[int]:
        """How long each copy of a frame is on its way; no copy: it is lost."""
        if not self._lossy:
            return [MILLISECOND]
        copies = self.chance.choices((0, 1, 2), (12, 80, 8))[0]
        return [MILLISECOND if self.chance.random() < 0.7 else self.chance.randint(0, SLOWEST) for _ in range(copies)]

    def _send_up(self, router: Router) -> None:
        for data in router.take():
            for delay in self._delays():
                self.at(delay, self._arrive, router.line.port, data, router)
        if router.deadline:
            self.at(max(0, router.deadline - self.now), self._wake, router, router.deadline)

    def _arrive(self, port: int, data: bytes, router: Router) -> None:
        """A frame reaches the program: the kernel answers by itself, or it waits in the ring for a process."""
        if self.chance.random() < self.kernel_renews and self._kernel_answers(port, data, router):
            return
        self.plane.ring.append((self.clock.boot(), port, data))
        if self.gateway is not None:
            self.gateway.wake()

    def _kernel_answers(self, port: int, data: bytes, router: Router) -> bool:
        """Offer and renew inside the promise, and leave it to the process to find out."""
        now = self.clock.boot()
        session = self.plane.client(router.key, now)
        if session is None or session.lease is None or session.moving:
            return False
        ipoe = _ipoe(lambda _client: session)
        told = ipoe.receive(port, data)
        if told is None or told[0] != session.client:
            return False
        match told[1]:
            case lifecycle.Discovered(ask=ask):
                answer, what = Answer.OFFER, "offered"
            case lifecycle.Requested(ask=ask, address=address) if self.plane.renews(router.key, address, now):
                answer, what = Answer.CONFIRM, "renewed"
            case _:
                return False
        reply = lifecycle.Reply(ask, answer, session.lease, session.lease.duration)
        said = ipoe.reply(session, reply)
        assert said is not None
        self.happened[f"kernel {what}"] += 1
        self.tell(f"the kernel has {what} {session.lease.address} to {session.client}")
        self.check_said(session, reply, said[1])
        self.send_down(*said)
        return True

    def send_down(self, port: int, data: bytes) -> None:
        for delay in self._delays():
            self.at(delay, self._deliver, port, data, self.now)

    def _deliver(self, port: int, data: bytes, sent: int) -> None:
        """A frame reaches the line, or, if it is for everybody, all the lines behind its tags."""
        outer = frame.decode(data)
        said = message.decode(frame.decode_udp4(outer.payload).payload)
        for router in self._by_vlan.get((port, *frame.vids(outer)), ()):
            if outer.destination not in (BROADCAST, router.mac) or router.state is State.OFF:
                continue
            before = router.state
            router.receive(said, outer.source, self.now, sent)
            if router.state is not before:
                self.tell(f"{router} after {said.message_type!r}")
            self._send_up(router)

    # ---- the routers --------------------------------------------------------------------

    def _switch_on(self, router: Router) -> None:
        if router.state is State.OFF and (self.trouble or router in self.staying):
            router.start(self.now)
            self._send_up(router)

    def _wake(self, router: Router, deadline: int) -> None:
        if router.deadline == deadline:
            router.expire(self.now)
            self._send_up(router)

    def _uses(self, router: Router) -> None:
        """A router sends a packet from the address it believes in, and is seen if it gets through."""
        if router.state in (State.BOUND, State.RENEWING, State.REBINDING) and router.address is not None:
            self.plane.forwards(router.key, router.address, self.clock.boot())

    def on_transition(self, session: Session, before: Session | None) -> None:
        """The engine changed a session: what an operator or a full line takes away, the router does not know."""
        if before is None:
            self.departed.discard(session.client)
        elif session.phase in LEAVING:
            self.departed.add(session.client)
        if session.phase in LEAVING and (before is None or before.phase not in LEAVING):
            router = self._by_key[session.client.key]
            self.tell(f"{session.client} closes: {session.cause and session.cause.value}")
            if session.cause in TAKEN_AWAY:
                router.revoked_at = self.now

    # ---- what goes wrong ----------------------------------------------------------------

    def _mischief(self) -> None:
        if not self.trouble:
            return
        what = self.chance.choices(list(MISCHIEF), list(MISCHIEF.values()))[0]
        self.happened[what] += 1
        router = self.chance.choice(self.routers)
        match what:
            case "a router restarts":
                self.tell(f"{what}: {router}")
                router.stop(remember=self.chance.random() < 0.6)
                self.at(self._some(self.chance.choice((5, 100, 600))), self._switch_on, router)
            case "the street has power again":
                self.tell(what)
                wait = self._some(100)
                for dark in self.routers:
                    dark.stop(remember=self.chance.random() < 0.6)
                    self.at(wait + self.chance.choice((0, self._some(1))), self._switch_on, dark)
            case "a router releases":
                self.tell(f"{what}: {router}")
                router.release(self.now)
                self._send_up(router)
            case "packets flow":
                for sender in self.routers:
                    if self.chance.random() < 0.8:
                        self._uses(sender)
            case "the configuration changes":
                self._configure()
            case "the operator clears":
                self._clear()
            case "the process is killed":
                self._kill()
                self.at(self._some(self.chance.choice((1, 30, 2 * PROMISE_S))), self._start)
            case "the power fails":
                self._fail()
            case "the disk fails":
                self._disk_fails(True)
                self.at(self._some(self.chance.choice((10, 200))), self._disk_fails, False)
            case "the wire is bad":
                self._lossy = True
                self.at(self._some(120), self._heal_wire)
        self.at(self._some(20), self._mischief)

    def _configure(self) -> None:
        """Other terms, and somebody has another address of his own; a process that runs reloads it."""
        self.terms_s = self.chance.choice(TERMS_S)
        self.subscribers = self.chance.choice(OTHER_SUBSCRIBERS)
        self.tell("leases are of {}s now, promised for {}s".format(*self.terms_s))
        if self.gateway is not None:
            self.gateway.reload()

    def _heal_wire(self) -> None:
        self._lossy = False

    def _disk_fails(self, failing: bool) -> None:
        self.tell("the disk fails" if failing else "the disk works")
        self.disk.failing = failing

    def _clear(self) -> None:
        if self.gateway is not None:
            id_ = self.chance.randrange(SESSIONS)
            self.gateway.engine.clear(id_, CloseCause.ADMIN_RESET, self.clock.boot())
            self.gateway._end_turn()

    def _kill(self) -> None:
        process = self.gateway or self.starting
        if process is not None:
            written = self.chance.randint(0, len(process.records.pending))
            self.tell(f"the process is killed, {written} of {len(process.records.pending)} groups were written")
            process.records.lose(written)
            self.stirred = True
            self.gateway = self.starting = None

    def _start(self) -> None:
        if self.gateway is None and self.starting is None:
            if self.trouble and self.chance.random() < 0.5:
                self.terms_s = self.chance.choice([terms for terms in TERMS_S if terms != self.terms_s])
            self.tell("the process starts with leases of {}s, promised for {}s".format(*self.terms_s))
            self.starting = Gateway(self)
            self.at(self._some(self.chance.choice((0.01, 5))), self._open, self.starting)

    def _open(self, process: Gateway) -> None:
        if self.starting is process:
            self.tell("the process takes over")
            self.gateway, self.starting = process, None
            process.open()

    def _fail(self) -> None:
        """The power goes; routers have batteries. The gateway comes back with empty tables, and perhaps to 1970."""
        self._kill()
        off, in_1970 = self._some(self.chance.choice((20, 300))), self.chance.random() < 0.5
        self.plane = Plane(SESSIONS)
        self.clock = self.clock.reboot(off=0, in_1970=in_1970)
        if not in_1970:
            self.clock.wall = self._right_wall()
        else:
            self.at(off + self._some(self.chance.choice((5, 60, 2 * PROMISE_S))), self._set_clock, self.clock)
        self.tell(f"the power fails for {off / SECOND:.1f}s{', the clock says 1970' if in_1970 else ''}")
        self.at(off, self._start)
        if self.chance.random() < 0.2:  # a disk that was not unmounted comes back read-only
            self._disk_fails(True)
            self.at(off + self._some(200), self._disk_fails, False)

    def _right_wall(self) -> UtcNs:
        return UtcNs(self.now + _EPOCH)

    def _set_clock(self, clock: FakeClock) -> None:
        if clock is self.clock:
            self.tell("the clock is set")
            clock.wall = self._right_wall()

    def calm(self) -> None:
        """Faults stop; the routers that came on top go, without a word; the others are switched on."""
        self.tell("faults stop")
        self.trouble = self._lossy = False
        self.disk.failing = False
        self.clock.wall = self._right_wall()
        self._start()
        if self.starting is not None:
            self._open(self.starting)
        self.subscribers = SUBSCRIBERS
        if self.gateway is not None:
            self.gateway.reload()
        for router in self.routers:
            router.declines = 0
        for router in self.routers[len(STAYING) :]:
            router.stop(remember=False)
        for router in self.staying:
            self._switch_on(router)
        try:
            self.check()
        except AssertionError as error:
            raise Violation(self._told(error)) from error

    def check_all_served(self) -> None:
        """Everybody who stayed has an address that works, and the pool is used to the last one."""
        assert self.gateway is not None
        now = self.clock.boot()
        for router in self.staying:
            served = router.state in (State.BOUND, State.RENEWING) and router.live(self.now) is not None
            if not served or not self.plane.forwards(router.key, router.address or message.ZERO, now):
                raise Violation(self._told(AssertionError(f"{router} waits for service")))
        held, size = self.gateway.pools[POOL.name].pool.held, self.gateway.pools[POOL.name].pool.size
        if not held == len(STAYING) == size + len(POOL.exclude):
            raise Violation(self._told(AssertionError(f"{held} of {size} addresses are held")))

    # ---- what must never be -------------------------------------------------------------

    def check(self) -> None:
        """Look at everything. Raises: AssertionError."""
        owners = self._check_routers()
        self._check_forwarding(owners)
        if self.inside and self.stirred:
            self.stirred = False
            self._check_promises()
            if self.gateway is not None:
                self._check_process(self.gateway)

    def _check_routers(self) -> dict[int, Router]:
        """No two clients live on one address. Returns who lives on which; addresses as numbers, which hash fast."""
        owners: dict[int, Router] = {}
        for router in self.routers:
            address = router.live(self.now)
            if address is not None:
                other = owners.setdefault(int(address), router)
                assert other is router, f"two clients live on {address}: {other}, {router}"
        return owners

    def _check_forwarding(self, owners: dict[int, Router]) -> None:
        """No address stands for two, and none for anybody but who lives on it."""
        boot = self.clock.boot()
        seen: set[int] = set()
        for row in self.plane.rows.values():
            if row.promise_until <= boot:
                continue
            address = row.host[1]
            number = int(address)
            assert number not in seen, f"two rows stand for {address}"
            seen.add(number)
            owner = owners.get(number)
            assert owner is None or owner.key == row.key, (
                f"{address} is forwarded for {row.session.client}, not {owner}"
            )

    def _check_promises(self) -> None:
        """What a row promises is on disk."""
        for id_, row in self.plane.rows.items():
            client, address = row.session.client, row.host[1]
            assert self.durable_until(id_, client, address) >= self.true(row.promise_until), (
                f"the row of {client} promises {address} beyond what is on disk"
            )

    def durable_until(self, id_: int, client: Client, address: IPv4Address) -> int:
        """True time until which the disk promises an address to a client; -1 if it does not."""
        record = self.disk.records.get(id_)
        if record is None or (record.client, record.address) != (client, address):
            return -1
        if record.boot_id == self.clock.boot_id:
            return self.true(record.promise_boot)
        if record.promise_utc is None:
            return 1 << 62  # whoever reads it holds the address for the whole horizon again
        return self.true_of_utc(record.promise_utc)

    def _check_process(self, gateway: Gateway) -> None:
        table, engine = gateway.table, gateway.engine
        pool = gateway.pools[POOL.name].pool
        assert not engine.counts.unexpected, f"unexpected: {dict(engine.counts.unexpected)}"
        for id_, row in self.plane.rows.items():
            session = table.get(id_)
            assert session is not None, f"a row without a session: {row}"
            assert session.live, f"a row of a session that is {session.phase.value}: {row}"
            assert session.lease is not None
            assert session.lease.address == row.host[1]
        addressed = 0
        # Who had left, but whose end the disk never learned, is back after a restart, even above the line's limit.
        crowd = Counter(
            session.client.line for session in table if session.live and session.client not in self.departed
        )
        for line, clients in crowd.items():
            assert clients <= PORTS[line.port].clients, f"{clients} clients on line {line}"
        for session in table:
            if session.lease is not None:
                addressed += 1
                holder = pool.holder(session.lease.address)
                assert holder == session.client, f"{session.lease.address} of {session.client} is held for {holder}"
        assert pool.held == addressed, f"{pool.held} addresses are held for {addressed} sessions"
        for record in self.disk.records.values():
            assert pool.holder(record.address) == record.client, f"{record.address} is on disk and free"
        self._check_sizes(gateway)

    def _check_sizes(self, gateway: Gateway) -> None:
        """Nothing grows."""
        table, pool = gateway.table, gateway.pools[POOL.name].pool
        assert len(table) <= SESSIONS
        assert len(table._by_key) == len(table) == sum(table.phases.values()) == sum(table.on_port.values())
        assert len(table._armed) <= SESSIONS
        assert len(table._deadlines) <= 16 * SESSIONS
        assert len(table._resting) <= SESSIONS
        assert not gateway.engine._queue
        assert not gateway.engine._installing
        addresses = POOL.network.num_addresses
        for kept in (pool._free, pool._former, pool._had, pool._quarantine, pool._resting):
            assert len(kept) <= addresses, f"the pool keeps {len(kept)} for {addresses} addresses"

    def check_said(self, session: Session, reply: lifecycle.Reply, data: bytes) -> None:
        """Before a frame leaves: what it says must be held, and what it confirms must be durable and installed."""
        said = _payload(data)
        kind = said.message_type
        self.happened[f"said {kind.name if kind else ''}"] += 1
        if kind is MessageType.NAK or said.yiaddr == message.ZERO or not self.inside:
            return
        if self.gateway is not None and reply.lease is not None:
            holder = self.gateway.pools[POOL.name].pool.holder(said.yiaddr)
            assert holder == session.client, f"{said.yiaddr} is given to {session.client} but held for {holder}"
        if kind is MessageType.ACK:
            self._check_confirmed(session, said)

    def _check_confirmed(self, session: Session, said: Message) -> None:
        until = self.now + int.from_bytes(said.options[51], "big") * SECOND
        durable = self.durable_until(session.id, session.client, said.yiaddr)
        assert durable >= until, f"{said.yiaddr} is confirmed to {session.client} beyond what is on disk"
        row = self.plane.rows.get(session.id)
        assert row is not None, f"{said.yiaddr} is confirmed to {session.client} and not installed"
        assert row.host[1] == said.yiaddr
        assert row.session.client == session.client
        assert self.true(row.promise_until) >= until, f"{said.yiaddr} is confirmed beyond the row's promise"


def _payload(data: bytes) -> Message:
    return message.decode(frame.decode_udp4(frame.decode(data).payload).payload)


_EPOCH = FakeClock().wall
"""The wall clock when true time is 0."""

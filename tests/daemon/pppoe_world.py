"""A gateway that serves PPPoE in virtual time: the real machines, engine, table, pools and recovery.

Simulated: the wire, the data plane, the disk, the clock, the customers' routers, and what goes wrong. Everything
follows from one seed. What customers send between two turns is lost, repeated and overtaken as the seed says.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fakes.caller import Caller
from tests.fakes.clock import FakeClock
from tests.fakes.plane import Plane
from tests.fakes.records import Disk, Records
from wayleave.aaa.local import AuthorizationSettings, LocalAuthorization
from wayleave.access.ipoe import Delivery
from wayleave.access.pppoe import Pppoe
from wayleave.access.settings import PortSettings, PppoeSettings
from wayleave.daemon.derived import terms_of
from wayleave.daemon.engine import Admission, Engine
from wayleave.daemon.recovery import Recovery
from wayleave.io.writes import Write, erased, saved
from wayleave.net import frame
from wayleave.net.frame import ETHERTYPE_PPPOE_DISCOVERY
from wayleave.net.mac import Mac
from wayleave.net.units import MILLISECOND, SECOND, UtcNs
from wayleave.session.model import NEVER, Client, CloseCause, Line, Phase, Session
from wayleave.session.settings import PoolSettings
from wayleave.session.table import Table

GATEWAY_MAC = Mac(b"\x02\xff\0\0\0\1")
PORTS = {1: PortSettings(number=1, device="olt0", role="subscriber", protocols=("pppoe",), clients=3)}
POOL = PoolSettings.model_validate(
    {"name": "home", "network": "10.0.0.0/28", "gateway": "10.0.0.1", "lease": "120s", "promise": "400s"}
)
SETTINGS = PppoeSettings(authentication=())
SESSIONS = 40


class Gateway:
    """One process, put together as daemon.app does it, without its loop."""

    def __init__(self, world: World) -> None:
        self.world, self.clock, self.plane = world, world.clock, world.plane
        self.table = Table(SESSIONS)
        self.records = Records(world.disk, self.clock, self._submitted)
        self.pppoe = Pppoe(
            SETTINGS,
            "bng1",
            PORTS,
            dict.fromkeys(PORTS, GATEWAY_MAC),
            {POOL.name: Delivery(POOL.network, POOL.gateway)},
            self.table.find,
            self.plane.seen,
            world.chance.randbytes,
            lambda _client, data: world.send_down(data),
        )
        self.engine = Engine(
            self.table,
            {POOL.name: terms_of(POOL, ())},
            LocalAuthorization(AuthorizationSettings(default=POOL.name), (), {1: "default"}, {}, {}),
            self.records,
            self.plane,
            lambda session, reply: self.pppoe.reply(session, reply, self.clock.boot()),
            {1: Admission(3, True)},
            lambda session, before: self.pppoe.follow(session, before, self.clock.boot()),
        )
        self.recovery = Recovery(self.engine, self.clock, self.pppoe.resume)
        self.recovery.restore(world.disk.load(self.clock))
        self.plane.repair([item for item in self.table if item.installed and item.live], self.clock.boot())
        self.recovery.took_over()
        self.end_turn()

    def receive(self, data: bytes) -> None:
        """Take a frame; what came up at one moment is one turn."""
        outer, now = frame.decode(data), self.clock.boot()
        if len(outer.payload) < 4:
            return  # nothing that the data plane would send up
        if outer.ethertype == ETHERTYPE_PPPOE_DISCOVERY:
            self.pppoe.discover(1, data, now)
        else:
            key = (1, *frame.vids(outer), outer.source, int.from_bytes(outer.payload[2:4]))
            self.pppoe.receive(key, outer.offset, data, now)

    def clear(self, session: Session, cause: CloseCause) -> None:
        self.engine.clear(session.id, cause, self.clock.boot())
        self.end_turn()

    def _submitted(self) -> None:
        if len(self.records.pending) == 1:
            self.world.at(4 * MILLISECOND, self.if_alive, self._commit)

    def _commit(self) -> None:
        group, error = self.records.commit()
        self.world.at(MILLISECOND, self.if_alive, self._on_recorded, group, error)

    def _on_recorded(self, group: list[Write], error: str | None) -> None:
        self.engine.recorded(saved(group), erased(group), error, self.clock.boot())
        self.end_turn()

    def if_alive(self, what: Callable[..., None], *arguments: Any) -> None:
        if self.world.gateway is self:
            what(*arguments)

    def due(self) -> None:
        self.pppoe.due(self.clock.boot(), 100)
        self.engine.due(self.clock.boot())
        self.end_turn()

    def end_turn(self) -> None:
        while told := self.pppoe.told():
            self.engine.take(told, self.clock.boot())

    @property
    def deadline(self) -> int:
        moments = (self.table.next_deadline, self.pppoe.next_deadline)
        return min((moment for moment in moments if moment != NEVER), default=NEVER)


class World:
    """A street whose customers dial, hang up, lose power and dial again."""

    def __init__(self, seed: int, customers: int = 8) -> None:
        self.seed, self.chance = seed, Random(seed)
        self.clock, self.plane, self.disk = FakeClock(), Plane(SESSIONS), Disk()
        self.lossy = False
        self.happened: Counter[str] = Counter()
        self._due: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self.callers = [
            Caller(Line(1, 100, number // 2 + 1), Mac(b"\2\0\0\0\0" + bytes((number,))), self.chance)
            for number in range(1, customers + 1)
        ]
        self.gateway: Gateway | None = None
        self.gateway = Gateway(self)

    def at(self, wait: int, what: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._due, (self.clock.now + wait, self._order, what, arguments))

    # ---- the wire -----------------------------------------------------------------------

    def _delays(self) -> list[int]:
        if not self.lossy:
            return [MILLISECOND]
        copies = self.chance.choices((0, 1, 2), (12, 80, 8))[0]
        return [MILLISECOND if self.chance.random() < 0.7 else self.chance.randint(0, SECOND) for _ in range(copies)]

    def send_down(self, data: bytes) -> None:
        for delay in self._delays():
            self.at(delay, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        for caller in self.callers:
            caller.receive(data, self.clock.boot())

    def _send_up(self) -> None:
        for caller in self.callers:
            for data in caller.take():
                for delay in self._delays():
                    self.at(delay, self._arrive, self._damaged(data))

    def _damaged(self, data: bytes) -> bytes:
        """Some frames of a bad wire come otherwise than they left, behind their addresses and tags."""
        if not self.lossy or self.chance.random() < 0.95:
            return data
        at = self.chance.randrange(22, len(data))
        return self.chance.choice((data[:at], data[:at] + self.chance.randbytes(1) + data[at + 1 :]))

    def _arrive(self, data: bytes) -> None:
        if self.gateway is not None:
            self.gateway.receive(data)

    # ---- time ---------------------------------------------------------------------------

    def run(self, length: int) -> None:
        """Let time pass: `length` nanoseconds."""
        end = self.clock.now + length
        while True:
            self._send_up()
            moments = [self._due[0][0]] if self._due else []
            moments += [caller.deadline for caller in self.callers if caller.deadline]
            if self.gateway is not None and self.gateway.deadline:
                moments.append(self.gateway.deadline)
            moment = min(moments, default=end + 1)
            if moment > end:
                self.clock.wait(end - self.clock.now)
                return
            self.clock.wait(max(0, moment - self.clock.now))
            while self._due and self._due[0][0] <= self.clock.now:
                _, _, what, arguments = heapq.heappop(self._due)
                what(*arguments)
            if self.gateway is not None:
                self.gateway.end_turn()
            if self.gateway is not None and self.gateway.deadline and self.gateway.deadline <= self.clock.now:
                self.gateway.due()
            for caller in self.callers:
                if caller.deadline and caller.deadline <= self.clock.now:
                    caller.expire(self.clock.boot())
            self.check()

    # ---- what goes wrong ----------------------------------------------------------------

    def reboot(self, off: int) -> None:
        """The machine is without power for a while: it comes back with empty tables, and in 1970."""
        self.kill()
        self._due.clear()
        self.plane, self._right = Plane(SESSIONS), UtcNs(self.clock.utc() + off)
        self.clock = self.clock.reboot(in_1970=True)
        self.start()

    def set_clock(self) -> None:
        """The wall clock is right again, and the gateway sees that."""
        assert self.gateway is not None
        self.clock.wall = self._right
        self.plane.install(self.gateway.recovery.settle(), self.clock.boot())
        self.gateway.end_turn()

    def kill(self) -> None:
        """The process dies; what it had handed to the disk gets there or not."""
        assert self.gateway is not None
        self.gateway.records.lose(self.chance.randint(0, 2))
        self.gateway = None

    def start(self) -> None:
        self.gateway = Gateway(self)

    def mischief(self) -> None:
        """Something happens."""
        caller = self.chance.choice(self.callers)
        what = self.chance.choice(
            (
                "dials",
                "dials",
                "hangs up",
                "loses power",
                "leaves",
                "renegotiates",
                "is cleared",
                "the process is killed",
                "the power fails",
            )
        )
        self.happened[what] += 1
        now = self.clock.boot()
        match what:
            case "dials":
                caller.dial(now)
            case "hangs up" if caller.client.pppoe:
                caller.hang_up()
            case "loses power":
                caller.switch_off()
            case "leaves" if caller.ppp is not None:
                caller.close(now)
            case "renegotiates" if caller.ppp is not None:
                caller.renegotiate(now)
            case "is cleared" if self.gateway is not None and len(self.gateway.table):
                self.gateway.clear(self.chance.choice(list(self.gateway.table)), CloseCause.ADMIN_RESET)
            case "the process is killed":
                self.kill()
                self.run(self.chance.randint(0, 5) * SECOND)
                self.start()
            case "the power fails":
                self.reboot(self.chance.choice((0, 20, 600)) * SECOND)
                self.run(self.chance.choice((0, 10, 200)) * SECOND)
                self.set_clock()

    # ---- what must be true --------------------------------------------------------------

    def check(self) -> None:
        """Nobody has an address that another has, and no call is without a session."""
        gateway = self.gateway
        if gateway is None:
            return
        held: dict[object, Client] = {}
        for session in gateway.table:
            if session.lease is not None and session.phase is not Phase.CLOSED:
                other = held.setdefault(session.lease.address, session.client)
                assert other == session.client, f"seed {self.seed}: {session.lease.address}: {other}, {session.client}"
        assert gateway.engine.pools[POOL.name].pool.held == len(held), self.seed
        assert not gateway.engine.counts.unexpected, (self.seed, gateway.engine.counts.unexpected)

    def check_at_rest(self) -> None:
        """Every session that is served has its call, and every call that is up its session."""
        gateway = self.gateway
        assert gateway is not None
        served = {session.client for session in gateway.table if session.phase is Phase.ACTIVE}
        assert served == {call.client for call in gateway.pppoe.calls if call.served is not None}, self.seed
        for caller in self.callers:
            if caller.addresses is not None:
                assert caller.client in served, (self.seed, caller.client)
                mine = gateway.table.find(caller.client)
                assert mine is not None
                assert mine.lease is not None
                assert mine.lease.address == caller.addresses.own, self.seed
                assert self.plane.forwards(caller.client.key, caller.addresses.own, self.clock.boot()), self.seed

    def packets(self) -> None:
        """Those that are up send packets."""
        for caller in self.callers:
            if caller.addresses is not None:
                self.plane.forwards(caller.client.key, caller.addresses.own, self.clock.boot())

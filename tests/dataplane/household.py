"""One gateway twice: sessions as rows in the program's tables, and as the server in Python has them.

`Household` holds a few clients with a live lease, puts them into the loaded object's tables through the product's own
projection, and gives any frame to both. What the program answers must be what Python would.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from wayleave.access.ipoe import Delivery, Ipoe
from wayleave.access.settings import PortSettings
from wayleave.dataplane import abi
from wayleave.dataplane.abi import Dhcp4Result, Outcome, Stage
from wayleave.dataplane.maps import PerCpu
from wayleave.dataplane.rows import project, project_local
from wayleave.dataplane.tables import Tables
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session import lifecycle
from wayleave.session.lifecycle import Answer, Requested
from wayleave.session.model import Client, Lease, Phase, Service, Session, Subnet, Tenant

from .rig import GATEWAY_MAC, NET, SUB, SUB_OFF, Bench, Verdict

TENANT = Tenant("default", 0, 254)
NETWORK = IPv4Network("100.64.0.0/22")
GATEWAY = NETWORK[1]
OTHER_GATEWAY = IPv4Address("100.65.0.1")
HOUR = Ns(3600 * SECOND)
PORTS = (
    PortSettings(number=SUB, device="sub", role="subscriber"),
    PortSettings(number=SUB_OFF, device="suboff", role="subscriber", trusted=True),
)
DEVICES = {SUB: "sub", SUB_OFF: "suboff"}
POOLS = {
    "home": Delivery(NETWORK, GATEWAY, (IPv4Address("9.9.9.9"), IPv4Address("1.1.1.1")), domain="example.net"),
    "other": Delivery(IPv4Network("100.65.0.0/24"), OTHER_GATEWAY, extra={43: b"\1\2\3", 120: b"\1\12\0\0\1"}),
}


@dataclass(frozen=True)
class Kernel:
    """What the program did with a frame. `answer` is None where it did not answer."""

    answer: bytes | None
    frame: bytes
    """As it was afterwards."""
    punted: bytes | None
    """As it lay in the ring."""


@dataclass(frozen=True)
class Python:
    """What the server would do: the frame it would send at once, and whether that is all."""

    answer: bytes | None
    only: bool


class LongWay(Ipoe):
    """The server that puts every reply together option by option: nothing of it goes through a standing reply."""

    def _ready(self, lease: Lease, dns: tuple[IPv4Address, ...], form: bytes | None) -> None:
        """Python's own short cut is what the program uses, and would prove nothing of it."""


class Household:
    """Clients of one gateway, the program's and Python's."""

    def __init__(self, bench: Bench, ports: tuple[PortSettings, ...] = PORTS) -> None:
        self.bench = bench
        self.sessions: dict[int, Session] = {}
        self._tables = Tables(bench.maps, self.now(), rest=0)
        self._results = PerCpu(bench.maps["dhcp4"])
        by_number = {port.number: port for port in ports}
        macs = dict.fromkeys(by_number, GATEWAY_MAC)
        self.ipoe = Ipoe(by_number, macs, POOLS, self._known)
        self.server = LongWay(by_number, macs, POOLS, self._known)
        self._own: list[int] = []
        for address in (GATEWAY, OTHER_GATEWAY):
            self.own(TENANT, address)
        bench.open_only(SUB, SUB_OFF, NET)

    def now(self) -> BootNs:
        """The clock that the program reads."""
        return BootNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def _known(self, client: Client) -> Session | None:
        return next((session for session in self.sessions.values() if session.client.key == client.key), None)

    def move_in(
        self,
        id_: int,
        request: bytes,
        port: int = SUB,
        pool: str = "home",
        promise: int = 24 * HOUR,
        duration: Ns = HOUR,
    ) -> Session:
        """Give a client the lease that a DHCPREQUEST asks for, in both worlds."""
        told = self.ipoe.receive(port, request)
        assert told is not None, dict(self.ipoe.ignored)
        _, event = told
        assert isinstance(event, Requested)
        delivery = POOLS[pool]
        subnet = Subnet(delivery.network, delivery.gateway)
        lease = Lease(event.address, pool, subnet, duration, Ns(24 * HOUR), BootNs(self.now() + promise))
        session, _ = lifecycle.begin(id_, event, self.now())
        session = replace(
            session,
            phase=Phase.ACTIVE,
            ask=None,
            service=Service(tenant="default", pool=pool),
            lease=lease,
            installed=True,
            leased_until=BootNs(self.now() + duration),
            deadline=BootNs(self.now() + duration),
        )
        self.install(session)
        return session

    def install(self, session: Session) -> None:
        """Put a session into both worlds, in the place of the one with its id."""
        self.sessions[session.id] = session
        self._tables.install([project(session, TENANT, self.ipoe.standing(session))], self.now())

    def own(self, tenant: Tenant, address: IPv4Address) -> None:
        """Make an address one of the gateway's own."""
        rows = project_local(len(self._own), address, tenant)
        self._tables.install([rows], self.now())
        self._own.append(rows.id)

    def close(self) -> None:
        """Take everybody out of the program's tables."""
        self._tables.remove([*self.sessions, *self._own], self.now())

    def renewed(self, id_: int) -> int:
        """usage.up.renewed of a session."""
        usage = self.bench._usage
        at = id_ * usage.stride + abi.UsageDirection.OFFSET["renewed"]
        return int.from_bytes(usage.view[at : at + 8], "little")

    def kernel(self, frame: bytes, port: int = SUB) -> Kernel:
        """Have the program look at a frame."""
        ran = self.bench.run(frame, DEVICES[port])
        records = [data for _, data in self.bench.ring.read(10)]
        return Kernel(ran.packet if ran.verdict == Verdict.TX else None, ran.packet, records[0] if records else None)

    @contextmanager
    def counting(self) -> Iterator[Counter[Dhcp4Result]]:
        """Count the results of what happens inside; filled at its end."""
        found: Counter[Dhcp4Result] = Counter()
        before, results = self.bench.counters(), self._results.totals()
        yield found
        counted = self.bench.counters().since(before)
        counted.assert_balanced()
        found.update({result: self._results.totals()[result] - results[result] for result in Dhcp4Result})
        answered = found[Dhcp4Result.OFFERED] + found[Dhcp4Result.ACKED]
        assert counted.ends.get((Stage.DHCP4, Outcome.ANSWERED), 0) == answered

    def python(self, frame: bytes, port: int = SUB) -> Python:
        """Have the server look at it; nothing changes."""
        told = self.server.receive(port, frame)
        if told is None:
            return Python(None, True)
        client, event = told
        session = self._known(client)
        if session is None or session.client.line != client.line:
            return Python(None, False)
        _, effects = lifecycle.advance(session, event, self.now())
        replies = [effect for effect in effects if isinstance(effect, lifecycle.Reply)]
        if len(effects) != 1 or not replies or replies[0].answer is Answer.TELL:
            return Python(None, False)
        told_back = self.server.reply(session, replies[0])
        return Python(told_back[1] if told_back else None, True)

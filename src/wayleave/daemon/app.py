"""The running gateway: everything is constructed here, and tied to one event loop.

Start: read the store, load the object or take up the pinned one, set up devices and host links, project every session,
mend what differs, and only then attach. Stop: write what waits and let go; what is pinned goes on forwarding.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from wayleave.access.demux import sender
from wayleave.access.ipoe import Ipoe
from wayleave.access.pppoe import Pppoe
from wayleave.access.settings import PortSettings, least_mtu
from wayleave.api.capture import Captures
from wayleave.api.nexus import NexusView
from wayleave.api.schema import PoolView
from wayleave.config.load import Loaded
from wayleave.daemon import logs
from wayleave.daemon.authority import Authority
from wayleave.daemon.carriers import Carriers
from wayleave.daemon.derived import Derived, derive, tenants
from wayleave.daemon.ending import end_sessions
from wayleave.daemon.engine import BATCH, Engine
from wayleave.daemon.hostlinks import HostLinks, own_addresses
from wayleave.daemon.nexus import Nexus
from wayleave.daemon.recount import Recount
from wayleave.daemon.recovery import Recovery
from wayleave.dataplane import abi, objects
from wayleave.dataplane.maps import TableFull
from wayleave.dataplane.plane import DataPlane, settings_of_kernel, sizes
from wayleave.dataplane.rows import FIRST_LOCAL_ID, Rows, project_local
from wayleave.dataplane.samples import Drops
from wayleave.dataplane.tables import OUTDATED
from wayleave.io import devices, hostlink, machine
from wayleave.io.alarm import Alarm
from wayleave.io.clock import Clock
from wayleave.io.frames import Transmitter
from wayleave.io.occupant import Occupant, occupant
from wayleave.io.store import Store
from wayleave.io.supervisor import Supervisor
from wayleave.io.writes import Write, erased, saved
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs
from wayleave.session import lifecycle
from wayleave.session.model import Client, CloseCause, Phase, Session, Tenant
from wayleave.session.table import Table

log = structlog.get_logger()

RING_BATCH = 256
"""Frames taken from the ring before the loop looks at anything else."""

SAMPLES = 512
"""Samples of dropped packets taken at once."""

COLLECT_EVERY = 20_000
"""Objects made and kept between passes of Python's collector: nothing that stands for a session is in a cycle."""


class Gateway:
    """One instance. `open` prepares and attaches, `run` serves until it is told to stop, `close` lets go."""

    def __init__(self, loaded: Loaded, folder: Path) -> None:
        """`folder`: what paths in the configuration are relative to.

        Raises: SecretError, StoreError, ReplicaError, StillLeased.
        """
        settings = self.settings = loaded.settings
        self.clock = Clock()
        self.started = self.clock.boot()
        self.store = Store(Path(settings.gateway.state), self.clock, settings.gateway.durability, self._on_store_thread)
        self.recount = Recount(self)
        self.nexus = Nexus(
            settings.nexus,
            folder,
            Path(settings.gateway.state),
            self.store,
            self.clock,
            lambda: self.links.follow(),
            self.recount.tell,
        )
        self.nexus.check(settings.pools)
        derived = derive(*loaded, self.nexus.subscribers)
        self.know(derived)
        self.ports = derived.ports
        self.macs: dict[int, Mac] = {}
        self.frames = Transmitter()
        self.lag = Lag()
        self.table = Table(settings.gateway.sessions)
        self.ipoe = Ipoe(self.ports, self.macs, derived.deliveries, self.table.find, self._unheard)
        self.pppoe = Pppoe(
            settings.pppoe,
            settings.gateway.name,
            self.ports,
            self.macs,
            derived.deliveries,
            self.table.find,
            lambda id_: max(self.plane.seen(id_), self.plane.renewed(id_)),
            os.urandom,
            self._send,
            self._unheard,
            lambda client, no: self.engine.unheard(client, no.why, self.clock.boot(), no.reason),
            settings.gateway.sessions,
            lambda: self.plane.ring.waiting > 0,
        )
        self.tenants = {tenant.name: tenant for tenant in tenants(settings)}
        self.authority = Authority(
            settings.radius, folder, derived.deciders, self.store, self.clock, 2 * settings.gateway.sessions
        )
        self.plane = DataPlane(
            settings.gateway.name,
            sizes(settings.gateway.sessions, settings.gateway.ring),
            settings_of_kernel(),
            self.clock.boot,
            self.ipoe.standing if settings.gateway.kernel_dhcp else no_standing_reply,
        )
        self.engine = Engine(
            self.table,
            self.nexus.blocks.equip(settings.pools, derived.pools),
            self.authority.authorizer,
            self.store,
            self.plane,
            self._reply,
            derived.admission,
            self._transition,
            self.store.epoch,
            self.authority.accounting,
        )
        self.nexus.serve(self.engine)
        self._services = derived.services
        self.journal, self._drops = self.engine.journal, Drops()
        self.captures = Captures(self.plane, self.clock)
        try:
            self.authority.serve(self.engine)
        except BaseException:
            self.plane.abandon()
            raise
        self.recovery = Recovery(self.engine, self.clock, self.pppoe.resume)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm = Alarm(self.clock.boot, self._on_deadline)
        self._watch = devices.LinkWatch()
        self.carriers = Carriers()
        self._stopping = asyncio.Event()
        self.store_failed: str | None = None
        self._supervisor = Supervisor()
        self.links = HostLinks(
            self.tenants.values(), self.plane, lambda: self.settings, self._own_changed, self.nexus.blocks.networks
        )
        self._local: dict[tuple[Tenant, IPv4Address], int] = {}
        self.repaired: list[str] = []

    # ---- start --------------------------------------------------------------------------

    def open(self) -> None:
        """Bring the data plane to what store and configuration say, then put it on the ports. Blocks.

        Raises: DeviceError, LoadError, RadiusError with what to do.
        """
        if not settings_of_kernel().fib_by_table and any(item.table != 254 for item in self.settings.tenants):
            raise devices.DeviceError("tenants other than on route table 254 (main) need a kernel of 6.5 or later")
        self.authority.open()
        devices.enable_forwarding()
        self.plane.set_policers(self.settings.punt.rows())
        self.plane.set_services(self._services)
        found = {port.number: self._prepared(port) for port in self.settings.ports}
        for number, device in found.items():  # before anything of another gateway is touched
            if (who := self._occupant(self.ports[number], device)) is not None:
                raise devices.DeviceError(f"port {number} ({device.name}): {who}")
        self.links.open()
        self.recovery.restore(self.authority.take_up(self.store.load(), self.plane.resumed))
        self._repair()
        self.links.attach()
        for number, device in found.items():
            self.attach(self.ports[number], device)
        self.recovery.took_over()
        self.plane.forget_others()
        logs.LINES.flush()

    def attach(self, port: PortSettings, device: devices.Device) -> None:
        """Put the program on a port. Raises: DeviceError, TableFull."""
        kind = abi.PortKind.SUBSCRIBER if port.role == "subscriber" else abi.PortKind.NETWORK
        tenant = self.tenants[port.tenant].number
        try:
            reused = self.plane.attach(
                port.number,
                kind,
                device.name,
                device.ifindex,
                device.mac,
                device.mtu,
                tenant,
                port.xdp,
                shared=port.line == "circuit",
                pppoe=port.serves("pppoe"),
            )
        except objects.LoadError as error:
            who = self._occupant(port, device) if isinstance(error, objects.Occupied) else None
            raise devices.DeviceError(f"port {port.number} ({port.device}): {who or error}") from error
        self.macs[port.number] = device.mac
        if port.role == "subscriber":
            self.frames.open(port.number, device.name)
        log.info("port-attached", port=port.number, device=device.name, xdp=port.xdp, program_exchanged=reused)

    def _prepared(self, port: PortSettings) -> devices.Device:
        return devices.prepare(port.device, port.role, least_mtu(port, self.settings.pppoe))

    def _occupant(self, port: PortSettings, device: devices.Device) -> Occupant | None:
        return occupant(device, self.plane.instance, port.number)

    def detach(self, number: int) -> None:
        """Take the program off a port that is no longer configured."""
        self.plane.detach(number)
        self.frames.close(number)
        self.macs.pop(number, None)

    def set_own(self, addresses: Iterable[IPv4Address], now: BootNs) -> None:
        """Have the data plane know the gateway's own addresses and its tenants' pools as they are now."""
        before, known = set(self._local.values()), list(addresses)
        rows = self._local_rows(known)
        gone = before - set(self._local.values())
        self.plane.tables.remove([FIRST_LOCAL_ID + number for number in gone], now)
        try:
            self.plane.tables.install([item for item in rows if not self.plane.tables.stands(item)], now)
        except TableFull as error:
            log.error("own-addresses-not-installed", why=str(error))
        self.links.tell(known)

    def _own_changed(self, addresses: Iterable[IPv4Address]) -> None:
        """The machine has other addresses now; one that a client has stays the client's until a restart."""
        known = list(addresses)
        log.info("own-addresses", addresses=sorted(map(str, known)))
        self.set_own([address for address in known if self.engine.holder(address) is None], self.clock.boot())

    def _local_rows(self, addresses: Iterable[IPv4Address]) -> list[Rows]:
        """The rows of the gateway's own addresses, for every tenant. An address keeps its number while it is there."""
        own = own_addresses(self.settings.pools, addresses)
        wanted = [(tenant, address) for tenant in self.tenants.values() for address in own]
        known = {key: self._local.get(key, self.plane.local_number(*key)) for key in wanted}
        kept = {key: number for key, number in known.items() if number is not None}
        free = (number for number in count() if number not in kept.values())
        self._local = kept | {key: next(free) for key in wanted if key not in kept}
        return [project_local(number, address, tenant) for (tenant, address), number in self._local.items()]

    def _wanted(self) -> list[Rows]:
        """Everything the tables should hold: the gateway's own addresses and every installed session."""
        local = self._local_rows(hostlink.addresses())
        return local + [self.plane.rows(session) for session in self.table if session.installed and session.live]

    def _repair(self) -> None:
        resumed = self.plane.resumed
        report = self.plane.tables.repair(self._wanted(), self.clock.boot)
        self.plane.begin(session for session in self.table if session.installed)
        self.repaired = report if resumed else []
        if resumed and report:
            say = log.info if all(told.endswith(OUTDATED) for told in report) else log.warning
            say("tables-repaired", differences=len(report), first=report[:20])
        elif resumed:
            log.info("tables-verified", rows=len(self.plane.tables))

    # ---- the loop -----------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = self._loop = asyncio.get_running_loop()
        self.store.start()
        self.authority.start(loop, self.end_turn)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY)
        loop.add_reader(self.plane.ring.fileno(), self._on_ring)
        loop.add_reader(self._watch.fileno(), self._on_links)
        self.nexus.start(self.end_turn)
        self.carriers.look(self.ports.values())
        self._on_deadline()
        self._every_second()
        keeping = loop.create_task(self.links.keep())
        self.lag.start(loop)
        self._supervisor.ready(len(self.table))
        log.info("serving", sessions=len(self.table), ports=len(self.ports), api=self.settings.gateway.api)
        logs.LINES.flush()
        await self._stopping.wait()
        self._supervisor.stopping()
        keeping.cancel()
        self.nexus.close()
        self.captures.stop()
        loop.remove_reader(self.plane.ring.fileno())
        loop.remove_reader(self._watch.fileno())

    async def end_sessions(self) -> dict[str, int]:
        """End every session, as an operator does who stops the gateway; see `ending`."""
        return await end_sessions(self)

    def stop(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        """Write what waits and let go. Traffic goes on."""
        self.authority.stop()
        self.store.close()
        self.plane.close()
        self._watch.close()

    def abandon(self) -> None:
        """Undo a start that was refused. A data plane that stood before goes on as it was."""
        self.authority.stop()
        self.store.close()
        self._watch.close()
        self.plane.abandon()

    def _on_ring(self) -> None:
        told, now = [], self.clock.boot()
        for punt, frame in self.plane.ring.read(RING_BATCH):
            if punt.port not in self.ports:
                continue
            if punt.class_ in _PPP:
                key = (punt.port, punt.svid, punt.cvid, Mac(frame[6:12]), punt.pppoe)
                self.pppoe.receive(key, punt.l3, frame, now)
            elif punt.class_ == abi.PuntClass.PPPOE_DISCOVERY:
                self.pppoe.discover(punt.port, punt.l3, frame, now)
            elif (item := self.ipoe.receive(punt.port, frame, punt.at)) is not None:
                told.append(item)
        self.engine.take(told, self.clock.boot())
        self.end_turn()

    def _transition(self, session: Session, before: Session | None) -> None:
        self.authority.transition(session, before)
        if session.link is not None:
            self.pppoe.follow(session, before, self.clock.boot())
        _log_transition(session, before)

    def end_turn(self) -> None:
        """Let out what the turn made: frames, log lines; and see when to wake up next.

        Whatever fails toward servers, clients get their answers.
        """
        try:
            self.pppoe.admit(self.clock.boot())
            while told := self.pppoe.told():
                self.engine.take(told, self.clock.boot())
            self.authority.pump()
        finally:
            self.frames.flush()
            logs.LINES.flush()
            if self._loop is not None:
                self._alarm.set(self._loop, self.table.next_deadline)
                self._alarm.set(self._loop, self.pppoe.next_deadline)

    def _send(self, client: Client, frame: bytes) -> None:
        """Send what PPPoE says."""
        self.frames.send(client.line.port, frame)
        self.captures.sent(client, client.line.port, frame)

    def _reply(self, session: Session, reply: lifecycle.Reply) -> None:
        if session.link is not None:
            self.pppoe.reply(session, reply, self.clock.boot())
            return
        answer = self.ipoe.reply(session, reply)
        if answer is not None:
            self.frames.send(*answer)
            self.captures.sent(session.client, *answer)

    def _unheard(self, port: int, data: bytes, why: str) -> None:
        """A frame that came up led to nothing: its sender has a journal all the same."""
        client = sender(port, data)
        if client is not None:
            self.engine.unheard(client, why, self.clock.boot())

    def _on_store_thread(self, group: Sequence[Write], error: str | None) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_recorded, group, error)

    def _on_recorded(self, group: Sequence[Write], error: str | None) -> None:
        sessions = saved(group)
        if sessions:  # a full disk often takes an end, and no beginning
            self.store_failed = error
        if error is not None:
            log.error("store-failed", why=error, writes=len(group))
        self.authority.recorded(group, error)  # first: it is to know what the engine tries again
        self.nexus.recorded(group, error)
        self.engine.recorded(sessions, erased(group), error, self.clock.boot())
        self.end_turn()

    def _on_deadline(self) -> None:
        self.pppoe.due(self.clock.boot(), BATCH)
        self.engine.due(self.clock.boot())
        self.end_turn()

    def _every_second(self) -> None:
        assert self._loop is not None
        self._loop.call_later(1.0, self._every_second)
        self._supervisor.alive()
        self.dropped()
        self._reattach()
        self.engine.review(self.clock.boot())
        self.store.follow_clock()
        self.authority.every_second()
        self.nexus.pump()
        if self.recovery.unknown:
            self._settle()
        logs.LINES.flush()

    def _settle(self) -> None:
        known = self.recovery.settle()
        if known:
            self.plane.install(known, self.clock.boot())
        self.end_turn()

    def know(self, derived: Derived) -> None:
        """Go by these subscribers from now on, as far as looking goes."""
        self.nexus.expect(derived.settings.pools, derived.subscribers)
        self.own_subscribers, self.subscribers = derived.own, derived.subscribers
        self.passwords, self.strangers = derived.passwords, derived.strangers

    # ---- devices that come and go -------------------------------------------------------

    def _on_links(self) -> None:
        self._watch.drain()
        self.carriers.look(self.ports.values())
        logs.LINES.flush()
        self._reattach()
        self.links.hint()

    def _reattach(self) -> None:
        """Put the program back on devices that were made anew."""
        for number in self.plane.detached(devices.ifindex):
            port = self.ports.get(number)
            if port is None or devices.find(port.device) is None:
                continue
            try:
                self.attach(port, self._prepared(port))
            except (devices.DeviceError, TableFull, OSError) as error:
                log.error("port-not-attached", port=number, device=port.device, why=str(error))

    # ---- for the API --------------------------------------------------------------------

    def clear(self, id_: int) -> bool:
        """End a session as an operator would."""
        ended = self.engine.clear(id_, CloseCause.ADMIN_RESET, self.clock.boot())
        self.end_turn()
        return ended

    def dropped(self) -> Drops:
        """Return what was dropped, up to now."""
        for sample, octets in self.plane.samples.take(SAMPLES):
            self._drops.take(sample, octets, self.ports, self.table)
        return self._drops

    def lost_ports(self) -> list[int]:
        """Ports whose device is gone or has lost its program."""
        return [number for number in self.plane.detached(devices.ifindex) if number in self.ports]

    def awaits_clock(self, id_: int) -> bool:
        """Whether a session's lease is of before a reboot, and nobody knows yet whether it stands."""
        return self.recovery.awaits_clock(id_)

    def unready(self) -> list[str]:
        """Why customers cannot all be served now; nothing: they can."""
        gone = [self.ports[number] for number in self.lost_ports()]
        why = [f"port {port.number} ({port.device}) is gone or has lost its program" for port in gone]
        why += self.carriers.faults([port for port in self.ports.values() if port not in gone])
        if not machine.forwards():
            why.append("the kernel does not forward: sysctl -w net.ipv4.ip_forward=1")
        why += self.links.faults()
        if self.store_failed is not None:
            why.append(f"the lease store failed: {self.store_failed}: newcomers are refused")
        if waiting := self.recovery.awaiting_clock:
            why.append(f"{waiting} leases wait for the wall clock to be set")
        why += self.nexus.faults()
        return why

    def nexus_view(self) -> NexusView | None:
        """How the gateway does toward Nexus; None: it has none."""
        return self.nexus.view(len(self.recovery.unknown) - self.recovery.awaiting_clock)

    def pool_views(self) -> list[PoolView]:
        """Return how full each pool is."""
        return [
            PoolView(
                name=item.name,
                tenant=item.tenant,
                network=str(item.network),
                gateway=str(item.gateway),
                size=self.engine.pools[item.name].pool.size,
                held=self.engine.pools[item.name].pool.held,
                quarantined=self.engine.pools[item.name].pool.quarantined,
                nexus=item.nexus,
            )
            for item in self.settings.pools
        ]

    def happenings(self) -> dict[str, Any]:
        """Return what Python counted: what clients said, what they were told, what came of sessions."""
        counts = self.engine.counts
        return {
            "dhcp4": {
                "heard": dict(self.ipoe.heard),
                "said": dict(self.ipoe.said),
                "ignored": dict(self.ipoe.ignored),
                "kernel": self.plane.counters.dhcp4(),
            },
            "pppoe": {
                "heard": dict(self.pppoe.heard),
                "said": dict(self.pppoe.said),
                "ignored": dict(self.pppoe.ignored),
                "ended": dict(self.pppoe.ended),
            },
            "sessions": {phase.value: count for phase, count in self.table.phases.items() if count}
            | {
                "opened": counts.opened,
                "closed": dict(counts.closed),
                "refused": dict(counts.refused),
                "unexpected": dict(counts.unexpected),
            },
            "frames": {"sent": self.frames.sent, "failed": self.frames.failed},
            "loop_lag_us": {name: self.lag.quantile(share) // 1000 for name, share in _QUANTILES.items()},
            "store_groups": self.store.groups,
        }


_PPP = (abi.PuntClass.PPP_KNOWN, abi.PuntClass.PPP_NEW)

_QUANTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


class Lag:
    """How late the loop runs its timers: the longest it held everything else up."""

    def __init__(self) -> None:
        self.samples: deque[int] = deque(maxlen=6000)

    def start(self, loop: asyncio.AbstractEventLoop, every: float = 0.01) -> None:
        due = time.monotonic() + every

        def tick() -> None:
            self.samples.append(round((time.monotonic() - due) * 1e9))
            self.start(loop, every)

        loop.call_later(every, tick)

    def quantile(self, share: float) -> int:
        """Nanoseconds that this share of the last minute's samples did not pass."""
        ordered = sorted(self.samples)
        return max(0, ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else 0


def no_standing_reply(_session: Session) -> None:
    """With `gateway.kernel_dhcp = false` the data plane answers nobody by itself."""


_LOGGED = frozenset((Phase.ACTIVE, Phase.CLOSED))


def _log_transition(session: Session, before: Session | None) -> None:
    """One event per session transition that an operator cares for."""
    if session.phase not in _LOGGED:
        return
    if lifecycle.opens(session, before):
        lease = session.lease
        log.info("session-open", session=session.id, client=str(session.client), address=str(lease and lease.address))
    elif session.phase is Phase.CLOSED:
        cause = session.cause.value if session.cause else ""
        address = str(session.lease.address) if session.lease else None
        log.info("session-closed", session=session.id, client=str(session.client), address=address, cause=cause)

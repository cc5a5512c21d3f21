"""Another configuration while the gateway runs: what it would change (`bng plan`), and changing it (`bng reload`).

The same path as at start: read, project, diff, apply. Whatever can fail comes first and can be undone: reading, what
needs a restart, host links, programs on new ports. Then everything goes by the new configuration at once, in one piece
of the loop. Sessions are looked at anew after that, a few at a time, and none acts before it was (`daemon.review`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import structlog

from wayleave.access.ipoe import Ipoe
from wayleave.access.settings import least_mtu
from wayleave.api.schema import PlanView
from wayleave.config.changes import Change, changes, password_changes, subscriber_changes
from wayleave.config.load import ConfigurationError, Files, read, understand
from wayleave.config.schema import Configuration
from wayleave.daemon import logs
from wayleave.daemon.app import Gateway, no_standing_reply
from wayleave.daemon.derived import Derived, derive
from wayleave.daemon.engine import REVIEWS
from wayleave.daemon.hostlinks import own_addresses
from wayleave.daemon.review import Outcome, review
from wayleave.dataplane.maps import TableFull
from wayleave.io import devices, hostlink
from wayleave.io.devices import DeviceError
from wayleave.io.hostlink import HostLink, Routed
from wayleave.proto.dhcp4.standing import StandingReply
from wayleave.session.model import Phase, Session, Tenant

log = structlog.get_logger()

NAMED = 20
"""Sessions that are told one by one, at most."""

AGAIN_S = 0.02
"""When sessions that could not be looked at yet are tried again: on their way to the disk, or no row was free."""

PATIENCE_S = 60.0
"""How long a reload waits while nothing goes on, before it leaves them to the loop's every second."""


class Reloader:
    """`plan` and `reload` of one gateway, whose configuration is at `file`."""

    def __init__(self, gateway: Gateway, file: Path) -> None:
        self._gateway, self._file = gateway, file
        self._busy = False

    async def plan(self, files: Files | None = None) -> PlanView:
        """Say what a reload would change, and change nothing: by the gateway's own file, or by these as its own."""
        derived, told = await self._candidate(files)
        if derived is None or told.refused:
            return told
        await self._foresee(derived, told)
        return told

    async def reload(self, file: str | None = None) -> PlanView:
        """Go by the configuration as it is on disk now, or refuse it whole; also if it is not in `file`."""
        if file is not None and not _same(self._file, Path(file)):
            why = f"this gateway reads {self._file}, not {file}: put it there; `bng plan --config {file}` foretells it"
            return self._view(None, [why])
        if self._busy:
            return self._view(None, ["another reload is under way: wait for it"])
        self._busy = True
        try:
            async with self._gateway.recount.changing:  # what Nexus tells meanwhile counts after that
                derived, told = await self._candidate()
                if derived is not None and not told.refused and told.changes:
                    async with self._gateway.links.changing:
                        await self._apply(derived, told)
        finally:
            self._busy = False
        self._log(told)
        return told

    def _log(self, told: PlanView) -> None:
        if told.refused:
            log.error("reload-refused", problems=len(told.refused), first=told.refused[0])
            return
        log.info("reloaded", changes=len(told.changes), rows=told.rows, **told.sessions)

    def _view(self, files: Files | None, refused: Sequence[str], found: Iterable[Change] = ()) -> PlanView:
        own = str(self._file)
        file = own if files is None else files.gateway.path
        return PlanView(file=file, own=own, refused=[*refused], changes=[*map(str, found)])

    async def _candidate(self, files: Files | None = None) -> tuple[Derived | None, PlanView]:
        """Understand what was given, or what is on disk, and compare. It may take seconds, on another thread."""
        loop = asyncio.get_running_loop()
        try:
            told = self._gateway.nexus.subscribers
            derived = await loop.run_in_executor(None, lambda: derive(*understand(files or read(self._file)), told))
        except ConfigurationError as error:
            return None, self._view(files, error.problems)
        gateway = self._gateway
        found = changes(gateway.settings, derived.settings)
        found += subscriber_changes(gateway.own_subscribers, derived.own)
        found += password_changes(gateway.passwords, derived.passwords)
        refused = [*_restarts(found), *self._bad_ports(derived)]
        refused += await loop.run_in_executor(None, self._in_the_way, derived.settings)
        return derived, self._view(files, refused, found)

    def _bad_ports(self, derived: Derived) -> Iterable[str]:
        """Why ports that are new, or are to carry more, cannot be worked on, as far as looking tells."""
        standing = {port.number: least_mtu(port, self._gateway.settings.pppoe) for port in self._gateway.ports.values()}
        for number, port in derived.ports.items():
            least = least_mtu(port, derived.settings.pppoe)
            if least <= standing.get(number, 0):
                continue
            try:
                devices.usable(port.device, least)
            except DeviceError as error:
                yield f"ports[{number}]: {error}"

    def _in_the_way(self, settings: Configuration) -> list[str]:
        """What of the machine's own stands where pools are to be. Blocks."""
        tenants, routed = self._gateway.tenants.values(), self._gateway.links.routed
        try:
            return [
                standing
                for tenant in tenants
                for standing in hostlink.in_the_way(tenant.name, tenant.table, routed(settings, tenant))
            ]
        except DeviceError as error:
            return [str(error)]

    # ---- what it would change -----------------------------------------------------------

    async def _foresee(self, derived: Derived, told: PlanView) -> None:
        """Ask of every session what would become of it, a few at a time: the loop goes on between."""
        gateway, counts = self._gateway, dict.fromkeys(_TOLD, 0)
        standing = _standing(derived, Ipoe(derived.ports, gateway.macs, derived.deliveries, gateway.table.find))
        for first in range(0, gateway.table.end, REVIEWS):
            kept = []
            for session in gateway.table.from_id(first, REVIEWS):
                reviewed = review(session, derived.pools, derived.deciders)
                outcome = Outcome.KEPT if reviewed.outcome is Outcome.LATER else reviewed.outcome
                counts[outcome] += 1
                if reviewed.outcome in (Outcome.MOVED, Outcome.ENDED) and len(told.examples) < NAMED:
                    why = reviewed.refusal.why if reviewed.refusal is not None else ""
                    told.examples.append(f"session {session.id} ({session.client}) {_TOLD[outcome]}: {why}")
                if reviewed.outcome in (Outcome.KEPT, Outcome.MOVED) and session.installed:
                    kept += [reviewed.session] if session.phase is Phase.ACTIVE else []
            told.rows += len(gateway.plane.changed(kept, standing))
            await asyncio.sleep(0)  # noqa: TID251 -- the loop does everything else
        told.sessions = {outcome.value: count for outcome, count in counts.items()}

    # ---- changing it --------------------------------------------------------------------

    async def _apply(self, derived: Derived, told: PlanView) -> None:
        gateway, loop = self._gateway, asyncio.get_running_loop()
        before = gateway.settings
        added = derived.ports.keys() - gateway.ports.keys()
        removed = gateway.ports.keys() - derived.ports.keys()
        tenants = [tenant for tenant in gateway.tenants.values() if self._links_differ(tenant, derived.settings)]
        try:
            links = await loop.run_in_executor(None, self._links, tenants, before, derived.settings)
            addresses = await loop.run_in_executor(None, hostlink.addresses)
            self._attach(derived, added)
        except (DeviceError, TableFull, OSError) as error:
            told.refused.append(error.strerror if isinstance(error, OSError) and error.strerror else str(error))
            await self._relink(tenants, before)
            return
        gone = {pool.gateway for pool in before.pools}
        self._commit(derived, links, [address for address in addresses if address not in gone])
        await self._review(told)
        gateway.end_turn()  # what clients on removed ports are told leaves while those are there
        for number in removed:
            gateway.detach(number)
        await self._relink(tenants, derived.settings)
        gateway.end_turn()

    def _links_differ(self, tenant: Tenant, settings: Configuration) -> bool:
        routed = self._gateway.links.routed
        return set(routed(self._gateway.settings, tenant)) != set(routed(settings, tenant))

    def _links(self, tenants: Sequence[Tenant], *by: Configuration) -> dict[Tenant, HostLink]:
        """Have host links carry the pools of these configurations and no others. Blocks. Raises: DeviceError."""
        routed = self._gateway.links.routed
        return {
            tenant: hostlink.ensure(
                tenant.name, tenant.table, _distinct(pool for settings in by for pool in routed(settings, tenant))
            )
            for tenant in tenants
        }

    async def _relink(self, tenants: Sequence[Tenant], settings: Configuration) -> None:
        """Take away from host links what this configuration does not need. What is left over does no harm."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._links, tenants, settings)
        except DeviceError as error:
            log.error("host-link-not-cleared", why=str(error))

    def _attach(self, derived: Derived, added: Iterable[int]) -> None:
        """Put the program on new ports, on all or on none. Raises: DeviceError, TableFull, OSError."""
        done: list[int] = []
        try:
            for number in added:
                port = derived.ports[number]
                self._gateway.attach(
                    port, devices.prepare(port.device, port.role, least_mtu(port, derived.settings.pppoe))
                )
                done.append(number)
        except BaseException:
            for number in done:
                self._gateway.detach(number)
            raise

    def _commit(self, derived: Derived, links: dict[Tenant, HostLink], addresses: Sequence[IPv4Address]) -> None:
        """Everything goes by the new configuration from here on. Nothing in here waits, or is expected to fail."""
        gateway, now = self._gateway, self._gateway.clock.boot()
        gateway.settings, gateway.ports = derived.settings, derived.ports
        gateway.know(derived)
        logs.set_level(derived.settings.log.level)
        gateway.plane.set_policers(derived.settings.punt.rows())
        gateway.plane.set_services(derived.services)
        gateway.ipoe.reconfigure(derived.ports, derived.deliveries)
        gateway.pppoe.reconfigure(
            derived.settings.pppoe, derived.settings.gateway.name, derived.ports, derived.deliveries
        )
        gateway.plane.standing = _standing(derived, gateway.ipoe)
        gateway.authority.reconfigure(derived.deciders)
        pools = gateway.nexus.blocks.equip(derived.settings.pools, derived.pools)
        gateway.engine.reconfigure(pools, gateway.authority.authorizer, derived.admission)
        holders = filter(None, map(gateway.engine.holder, own_addresses(gateway.settings.pools, addresses)))
        gateway.engine.review(now, only=[session.id for session in holders])  # their rows make room for the gateway's
        gateway.links.ends |= links
        gateway.set_own(addresses, now)

    async def _review(self, told: PlanView) -> None:
        """Have every session looked at anew, a few at a time."""
        gateway = self._gateway
        loop = asyncio.get_running_loop()
        last = loop.time() + PATIENCE_S
        left = gateway.engine.review(gateway.clock.boot())
        while left and loop.time() < last:
            before = left
            gateway.end_turn()
            left = gateway.engine.review(gateway.clock.boot())
            last = loop.time() + PATIENCE_S if left < before else last
            await asyncio.sleep(0 if left < before else AGAIN_S)  # noqa: TID251 -- likewise
        counts = gateway.engine.reviewed
        told.sessions = {outcome.value: counts[outcome] for outcome in _TOLD}
        told.rows, told.applied = gateway.engine.rewritten, True


_TOLD = {
    Outcome.KEPT: "goes on",
    Outcome.MOVED: "goes on until its client asks next, which is then given another address",
    Outcome.ENDED: "ends",
}


def _restarts(found: Iterable[Change]) -> Iterable[str]:
    return [f"{change}: {change.restart}" for change in found if change.restart]


def _standing(derived: Derived, ipoe: Ipoe) -> Callable[[Session], StandingReply | None]:
    return ipoe.standing if derived.settings.gateway.kernel_dhcp else no_standing_reply


def _same(own: Path, file: Path) -> bool:
    """Whether both name one file; where one cannot be looked at, whether they are written alike."""
    try:
        return own == file or own.samefile(file)
    except OSError:
        return False


def _distinct(pools: Iterable[Routed]) -> list[Routed]:
    """Each once; of two for one network, the later: it is the new one."""
    return list({pool.network: pool for pool in pools}.values())

"""The host links of all tenants: made at start, and kept while the gateway runs.

What somebody takes away of them (a link set down or deleted, an address, a route, a rule) is put back on the path of
the start, for which CAP_NET_ADMIN is enough. Of devices, addresses and rules the kernel tells, and they are looked at
at once; of routes and neighbours a router hears too much, so that these are found at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import NamedTuple

import structlog

from wayleave.access.settings import LAST_PORT
from wayleave.config.schema import Configuration
from wayleave.daemon import logs
from wayleave.dataplane import abi
from wayleave.dataplane.maps import TableFull
from wayleave.dataplane.objects import LoadError, Occupied
from wayleave.dataplane.plane import DataPlane
from wayleave.dataplane.rows import pack_prefixes
from wayleave.io import devices, hostlink
from wayleave.io.hostlink import HostLink, Routed
from wayleave.io.occupant import Occupant, occupant
from wayleave.net.frame import ETHERNET_MTU
from wayleave.proto.pppoe.packet import PLAIN_MRU
from wayleave.session.model import Tenant
from wayleave.session.settings import PoolSettings

log = structlog.get_logger()

LOOK_EVERY_S = 10.0
REST_S = 1.0
"""Between two looks, whatever happens: who takes away what is put back shall not keep the gateway busy."""


NOWHERE = IPv4Address(0)


class HostLinks:
    """Each tenant's link. `settings`: the configuration as it is; `own` hears of the machine's addresses when they have
    become others; `blocks`: what the gateway has of a shared pool."""

    def __init__(
        self,
        tenants: Collection[Tenant],
        plane: DataPlane,
        settings: Callable[[], Configuration],
        own: Callable[[Collection[IPv4Address]], None],
        blocks: Callable[[str], Sequence[IPv4Network]],
    ) -> None:
        self.ends: dict[Tenant, HostLink] = {}
        self.changing = asyncio.Lock()
        """Held by who changes links: a reload has them carry the pools of two configurations for a while."""
        self._tenants, self._plane, self._settings, self._own = tenants, plane, settings, own
        self._blocks = blocks
        self._following = False
        self._addresses: set[IPv4Address] = set()
        self._faults: dict[Tenant, str] = {}
        self._hint = asyncio.Event()

    def open(self) -> None:
        """Make them, or complete what stands, unless it is another gateway's. Blocks. Raises: DeviceError."""
        for tenant in self._tenants:
            link = hostlink.find(tenant.name)
            if link is not None and (who := self._occupant(tenant, link)) is not None:
                raise devices.DeviceError(f"the host link {link.kernel.name}: {link.ours.name}: {who}")
            self.ends[tenant] = hostlink.ensure(tenant.name, tenant.table, self.routed(self._settings(), tenant))
        self._addresses = set(hostlink.addresses())
        self.tell(self._addresses)

    def tell(self, addresses: Iterable[IPv4Address]) -> None:
        """Tell the data plane of each link, and of what a tenant may know; `addresses` are the local kernel's."""
        settings = self._settings()
        own = [IPv4Network(address) for address in own_addresses(settings.pools, addresses)]
        for tenant, link in self.ends.items():
            mine = routed(settings, tenant)
            networks = [pool.network for pool in mine]
            row = abi.Tenant(
                tenant.table,
                link.kernel.ifindex,
                min((pool.gateway for pool in mine), default=NOWHERE),
                number_of(tenant),
                link.kernel.mac,
                link.ours.mac,
                *pack_prefixes(collapse_addresses(networks + own)),
            )
            self._plane.set_tenant(tenant, row)

    def routed(self, settings: Configuration, tenant: Tenant) -> list[Routed]:
        """A tenant's pools as its host link sees them, with the blocks that there are of shared ones."""
        return routed(settings, tenant, self._blocks)

    def attach(self) -> None:
        """Put the program on them all. Raises: DeviceError, TableFull."""
        for tenant in self._tenants:
            self._attach(tenant)

    def _attach(self, tenant: Tenant) -> None:
        link, number, kind = self.ends[tenant], number_of(tenant), abi.PortKind.HOST_LINK
        ours = link.ours
        try:
            self._plane.attach(number, kind, ours.name, ours.ifindex, ours.mac, ours.mtu, tenant.number, "native")
        except LoadError as error:
            who = self._occupant(tenant, link) if isinstance(error, Occupied) else None
            raise devices.DeviceError(f"the host link {link.kernel.name}: {ours.name}: {who or error}") from error

    def _occupant(self, tenant: Tenant, link: HostLink) -> Occupant | None:
        return occupant(link.ours, self._plane.instance, number_of(tenant))

    def fault(self, tenant: Tenant) -> str | None:
        """What is wrong with a tenant's link, which could not be put back yet; None: nothing."""
        if tenant in self._faults:
            return self._faults[tenant]
        kernel, ours = hostlink.names(tenant.name)
        if number_of(tenant) in self._plane.detached(devices.ifindex):
            return f"the host link {kernel}: {ours} is gone or has lost its program; it is about to be put back"
        down = [name for name in (kernel, ours) if not devices.is_up(name)]
        return f"the host link {kernel}: {down[0]} is down; it is about to be put back" if down else None

    def faults(self) -> list[str]:
        """Of all tenants."""
        return [fault for tenant in self._tenants if (fault := self.fault(tenant)) is not None]

    # ---- keeping them -------------------------------------------------------------------

    def follow(self) -> None:
        """Blocks have come or gone: have the routes follow."""
        self._following = True
        self.hint()

    def hint(self) -> None:
        """Something has changed that may concern them: look soon."""
        self._hint.set()

    async def keep(self) -> None:
        """Look after them until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), LOOK_EVERY_S)
            self._hint.clear()
            following, self._following = self._following, False
            async with self.changing:
                for tenant in self._tenants:
                    await self._look(tenant, following)
            await asyncio.sleep(REST_S)  # noqa: TID251 -- changes meanwhile are looked at together

    async def _look(self, tenant: Tenant, following: bool) -> None:
        """Put back what is missing of one link, as far as possible; `following`: routes may well be others."""
        loop, (kernel, _) = asyncio.get_running_loop(), hostlink.names(tenant.name)
        missing: list[str] = []
        try:
            look = await loop.run_in_executor(None, _put_back, tenant, self.routed(self._settings(), tenant))
            missing = look.missing + self._take_up(tenant, look)
            if self._addresses != (now := set(look.addresses)):
                self._addresses = now
                self._own(now)
            left = ", ".join(look.left)
            why = f"the host link {kernel} lost at once what was put back: {left}" if left else None
        except (devices.DeviceError, TableFull, OSError) as error:
            why = str(error)
        self._note(tenant, missing, why, following)

    def _take_up(self, tenant: Tenant, look: _Look) -> list[str]:
        """Have the data plane know the link as it is; returns what it did not know. Raises: DeviceError, TableFull."""
        taken = []
        if look.link != self.ends[tenant]:
            self.ends[tenant] = look.link
            self.tell(look.addresses)
            taken.append("its devices")
        if number_of(tenant) in self._plane.detached(devices.ifindex):
            self._attach(tenant)
            taken.append("its program")
        return taken

    def _note(self, tenant: Tenant, missing: list[str], why: str | None, following: bool) -> None:
        """Log what a look found, a fault that stays only once."""
        kernel, _ = hostlink.names(tenant.name)
        before = self._faults.pop(tenant, None)
        if why is not None:
            self._faults[tenant] = f"{why} (tried again every {LOOK_EVERY_S:.0f} s)"
            if before != self._faults[tenant]:
                log.error("host-link-broken", link=kernel, why=why)
        elif missing or before is not None:
            say = log.info if following else log.warning
            say("host-link-follows" if following else "host-link-put-back", link=kernel, missing=missing)
        logs.LINES.flush()


class _Look(NamedTuple):
    """A link as it is after a look: what was missing before, and what still is."""

    link: HostLink
    missing: list[str]
    left: list[str]
    addresses: list[IPv4Address]


def _put_back(tenant: Tenant, pools: Sequence[Routed]) -> _Look:
    """Look, and complete what is not whole. Blocks. Raises: DeviceError."""
    link, missing = hostlink.find(tenant.name), hostlink.missing(tenant.name, tenant.table, pools)
    if link is None or missing:
        link = hostlink.ensure(tenant.name, tenant.table, pools)
    left = hostlink.missing(tenant.name, tenant.table, pools) if missing else []
    return _Look(link, missing, left, hostlink.addresses())


def number_of(tenant: Tenant) -> int:
    """The port number of a tenant's link."""
    return LAST_PORT + 1 + tenant.number


def no_blocks(_name: str) -> Sequence[IPv4Network]:
    """What is known of shared pools where no gateway runs."""
    return ()


def routed(
    settings: Configuration, tenant: Tenant, blocks: Callable[[str], Sequence[IPv4Network]] = no_blocks
) -> list[Routed]:
    """A tenant's pools as its host link sees them. Where a port serves PPPoE, any may have clients of 1,492 octets."""
    mtu = PLAIN_MRU if any(port.serves("pppoe") for port in settings.ports) else ETHERNET_MTU
    return [
        Routed(pool.network, pool.gateway, mtu, None if pool.nexus is None else tuple(blocks(pool.nexus)))
        for pool in settings.pools
        if pool.tenant == tenant.name
    ]


def own_addresses(pools: Iterable[PoolSettings], addresses: Iterable[IPv4Address]) -> list[IPv4Address]:
    """What the local kernel answers to, of what it has and will have: none of them may be routed to."""
    gateways = {pool.gateway for pool in pools}
    return sorted(gateways | {address for address in addresses if not address.is_loopback})

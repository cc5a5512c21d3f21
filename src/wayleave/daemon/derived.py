"""What the parts of a gateway go by, derived from its configuration: the same at start, at a reload and for a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from wayleave.aaa.local import LocalAuthorization, Subscriber
from wayleave.aaa.policy import Known, Reading
from wayleave.aaa.radius import Deciders, Terms
from wayleave.aaa.request import Caller
from wayleave.aaa.settings import GroupSettings
from wayleave.access.ipoe import Delivery
from wayleave.access.settings import PortSettings
from wayleave.config.rules import out_of_place
from wayleave.config.schema import Configuration
from wayleave.daemon.engine import Admission
from wayleave.daemon.review import PoolTerms
from wayleave.dataplane import abi
from wayleave.net.secret import Secret
from wayleave.net.units import Ns
from wayleave.proto.dhcp4.options import by_code as options_by_code
from wayleave.session.model import Client, Subnet, Tenant
from wayleave.session.pool import Pool
from wayleave.session.settings import PoolSettings

_PROTOCOLS = {"tcp": 6, "udp": 17}


@dataclass(frozen=True, slots=True)
class Derived:
    """A configuration with its subscribers, taken apart for those who go by it. The pools remember nothing yet.

    `own` are the subscribers of its file; `subscribers` are all; `strangers`: why some that Nexus tells of are granted
    nothing.
    """

    settings: Configuration
    own: Sequence[Subscriber]
    subscribers: Sequence[Subscriber]
    strangers: Mapping[str, str]
    passwords: Mapping[str, Secret]
    ports: dict[int, PortSettings]
    pools: dict[str, PoolTerms]
    deliveries: dict[str, Delivery]
    deciders: Deciders
    admission: dict[int, Admission]
    services: list[abi.Service]


def derive(
    settings: Configuration,
    own: Sequence[Subscriber],
    passwords: Mapping[str, Secret] = {},
    told: Sequence[Subscriber] = (),
) -> Derived:
    """Take a configuration apart; `told` are the subscribers that Nexus tells of.

    Takes a while where pools exclude or subscribers are many.
    """
    strangers = out_of_place(told, own, settings) if told else {}
    subscribers = [*told, *own]
    usable = [entry for entry in subscribers if entry.name not in strangers]
    return Derived(
        settings=settings,
        own=own,
        subscribers=subscribers,
        strangers=strangers,
        passwords=passwords,
        ports={port.number: port for port in settings.ports},
        pools={pool.name: terms_of(pool, usable) for pool in settings.pools},
        deliveries={pool.name: _delivery(pool) for pool in settings.pools},
        deciders=_deciders(settings, subscribers, passwords, strangers),
        admission={port.number: Admission(port.clients, port.at_limit == "replace") for port in settings.ports},
        services=[_service(text) for tenant in settings.tenants for text in tenant.services],
    )


def tenants(settings: Configuration) -> list[Tenant]:
    """Return the tenants by number."""
    return [Tenant(item.name, number, item.table) for number, item in enumerate(settings.tenants)]


def _deciders(
    settings: Configuration,
    subscribers: Sequence[Subscriber],
    passwords: Mapping[str, Secret],
    unusable: Mapping[str, str],
) -> Deciders:
    tenants = {port.number: port.tenant for port in settings.ports}
    pools = {pool.name: (pool.network, pool.tenant) for pool in settings.pools}
    services = {item.name: item.service() for item in settings.services}
    groups = {group.name: _terms(group, settings) for group in settings.radius.groups}
    return Deciders(
        local=LocalAuthorization(
            settings.authorization,
            subscribers,
            tenants,
            {name: pool[1] for name, pool in pools.items()},
            services,
            passwords,
            unusable,
        ),
        tenants=tenants,
        protocols={port.number: port.protocols if port.role == "subscriber" else () for port in settings.ports},
        groups={item.name: groups[item.radius] for item in settings.tenants if item.radius is not None},
        realms={realm.lower(): groups[group.name] for group in settings.radius.groups for realm in group.realms},
        known=Known(services, pools, frozenset(item.name for item in settings.tenants)),
        trusted=frozenset(port.number for port in settings.ports if port.trusted),
    )


def _terms(group: GroupSettings, settings: Configuration) -> Terms:
    radius = settings.radius
    return Terms(
        name=group.name,
        caller=Caller(
            identifier=radius.identifier or settings.gateway.name,
            gateway=settings.gateway.name,
            address=radius.address,
            username=group.username,
            calling=group.calling,
            called=group.called,
            stripped=frozenset(realm.lower() for realm in group.realms if group.strip_realm),
        ),
        pool=group.pool or "",
        tenant=_owner(group, settings),
        interim=group.interim or Ns(0),
        reading=Reading(frozenset(group.ignore), group.aliases),
        last_known=group.last_known if group.when_down == "last-known" else Ns(0),
        hold_rejects=group.hold_rejects,
    )


def _owner(group: GroupSettings, settings: Configuration) -> str:
    """Whose clients are asked of a group by their realm: the tenant's that asks no other, else its pool's."""
    asking = [tenant.name for tenant in settings.tenants if tenant.radius == group.name]
    homes = [pool.tenant for pool in settings.pools if pool.name == group.pool]
    return asking[0] if len(asking) == 1 else next(iter(homes), "")


def _delivery(pool: PoolSettings) -> Delivery:
    return Delivery(pool.network, pool.gateway, pool.dns, pool.ntp, pool.domain, options_by_code(pool.options))


def _service(text: str) -> abi.Service:
    protocol, _, port = text.partition("/")
    return abi.Service(int(port), _PROTOCOLS[protocol])


def terms_of(pool: PoolSettings, subscribers: Sequence[Subscriber]) -> PoolTerms:
    """Return a pool with its terms, and what of it is kept for whom."""
    excluded = {IPv4Address(number) for low, high in pool.exclude for number in range(int(low), int(high) + 1)}
    static = {entry.address for entry in subscribers if entry.address is not None and entry.address in pool.network}
    reserved = frozenset(static | {item.address for item in pool.reservations})

    def reservation(client: Client) -> IPv4Address | None:
        for item in pool.reservations:
            if item.mac in (None, client.mac) and item.line in (None, client.line):
                return item.address
        return None

    return PoolTerms(
        Pool(pool.name, Subnet(pool.network, pool.gateway), frozenset(excluded), reserved, pool.nexus is not None),
        pool.lease,
        pool.promise,
        pool.quarantine,
        reservation,
    )

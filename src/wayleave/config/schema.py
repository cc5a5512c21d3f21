"""The whole configuration: one tree of the leaves that stand beside the code they configure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from wayleave.aaa.local import AuthorizationSettings, Subscriber
from wayleave.access.settings import PortSettings
from wayleave.dataplane.settings import PuntSettings
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER
from wayleave.session.settings import Leaf, PoolSettings, TenantSettings

Item = TypeVar("Item", bound=BaseModel)
Problem = tuple[str, str]
"""Where, as a path, and what is wrong there."""


class GatewaySettings(Leaf):
    """The gateway itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="instance; names the pins")
    state: str = Field(description="folder of the lease store")
    api: str = Field(description="path of the local API's socket")
    sessions: int = Field(default=65536, ge=16, le=1_000_000, description="clients at once, at most")
    ring: int = Field(default=8 << 20, ge=1 << 16, description="octets of the punt ring, a power of two")
    kernel_dhcp: bool = Field(
        default=True, description="the data plane answers DHCP of clients that it knows; false: Python answers all"
    )
    durability: str = Field(default="full", pattern="^(full|normal)$", description="SQLite synchronous")


class Configuration(Leaf):
    """What `bng run --config FILE` reads."""

    gateway: GatewaySettings
    tenants: tuple[TenantSettings, ...] = (TenantSettings(name="default"),)
    ports: tuple[PortSettings, ...]
    pools: tuple[PoolSettings, ...]
    authorization: AuthorizationSettings = AuthorizationSettings()
    punt: PuntSettings = PuntSettings()


class SubscribersFile(Leaf):
    """The file that authorization.subscribers names."""

    subscribers: tuple[Subscriber, ...] = ()


@dataclass(frozen=True)
class Items(Generic[Item]):
    """A list of the configuration: its items that make sense by themselves, by their places.

    `names` are those of all items, also of others; None where that cannot be known. `whole`: there are no others.
    """

    good: Mapping[int, Item]
    names: frozenset[str] | None
    whole: bool = True


@dataclass(frozen=True)
class Parts:
    """What of a configuration makes sense by itself; None: the section does not."""

    gateway: GatewaySettings | None
    tenants: Items[TenantSettings]
    ports: Items[PortSettings]
    pools: Items[PoolSettings]
    authorization: AuthorizationSettings | None


def parts(raw: Mapping[str, Any]) -> Parts:
    """Take a file apart into what makes sense by itself."""
    return Parts(
        _good(GatewaySettings, raw.get("gateway")),
        items(TenantSettings, raw.get("tenants", [{"name": "default"}])),
        items(PortSettings, raw.get("ports")),
        items(PoolSettings, raw.get("pools")),
        _good(AuthorizationSettings, raw.get("authorization", {})),
    )


def items(model: type[Item], raw: object) -> Items[Item]:
    """Take a list apart into its items that make sense by themselves."""
    if not isinstance(raw, list):
        return Items({}, None, whole=False)
    found = {index: good for index, item in enumerate(raw) if (good := _good(model, item)) is not None}
    names = frozenset(str(item["name"]) for item in raw if isinstance(item, dict) and "name" in item)
    return Items(found, names, whole=len(found) == len(raw))


def _good(model: type[Item], raw: object) -> Item | None:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def contradictions(tree: Parts) -> Iterator[Problem]:
    """Yield what one leaf alone cannot know to be wrong, among those that make sense by themselves."""
    if tree.gateway is not None and tree.gateway.ring & (tree.gateway.ring - 1):
        yield "gateway.ring", f"{tree.gateway.ring} is not a power of two"
    yield from _repeated("tenants", "name", {index: item.name for index, item in tree.tenants.good.items()})
    if sum(len(tenant.services) for tenant in tree.tenants.good.values()) > 8:
        yield "tenants", "more than 8 services in all"
    yield from _ports(tree)
    yield from _pools(tree)
    default = tree.authorization.default if tree.authorization is not None else None
    if default is not None:
        yield from _exists("authorization.default", "pool", default, tree.pools)


def _ports(tree: Parts) -> Iterator[Problem]:
    ports = tree.ports.good
    yield from _repeated("ports", "number", {index: port.number for index, port in ports.items()})
    yield from _repeated("ports", "device", {index: port.device for index, port in ports.items()})
    for role in ("subscriber", "network"):
        if tree.ports.whole and not any(port.role == role for port in ports.values()):
            yield "ports", f'there is none with role = "{role}"'
    pools = {pool.name: pool for pool in tree.pools.good.values()}
    default = pools.get(tree.authorization.default or "") if tree.authorization is not None else None
    for index, port in ports.items():
        path = f"ports[{index}].tenant"
        yield from _exists(path, "tenant", port.tenant, tree.tenants)
        if default is not None and port.role == "subscriber" and default.tenant != port.tenant:
            yield path, f"clients here would get pool {default.name}, which is tenant {default.tenant}'s"


def _pools(tree: Parts) -> Iterator[Problem]:
    pools = tree.pools.good
    yield from _repeated("pools", "name", {index: pool.name for index, pool in pools.items()})
    for index, pool in pools.items():
        path = f"pools[{index}]"
        yield from ((f"{path}.{key}", what) for key, what in pool.contradictions())
        yield from _exists(f"{path}.tenant", "tenant", pool.tenant, tree.tenants)
        for before, other in pools.items():
            if before < index and pool.network.overlaps(other.network):
                yield f"{path}.network", f"{pool.network} overlaps {other.network} of pool {other.name}"
        for name, value in pool.options.items():
            why = _why_not_option(name, value)
            if why is not None:
                yield f"{path}.options.{name}", why


def contradictions_of(subscribers: Mapping[int, Subscriber], tree: Parts) -> Iterator[Problem]:
    """Yield what is wrong with entries of the subscribers file beside each other and beside the configuration."""
    keys: dict[object, int] = {}
    addresses: dict[object, int] = {}
    pools = {pool.name: pool for pool in tree.pools.good.values()}
    default = tree.authorization.default if tree.authorization is not None else None
    for index, entry in subscribers.items():
        path = f"subscribers[{index}]"
        if keys.setdefault(entry.key, index) != index:
            yield path, f"is known by the same as subscribers[{keys[entry.key]}]"
        if entry.tenant is not None:
            yield from _exists(f"{path}.tenant", "tenant", entry.tenant, tree.tenants)
        if entry.pool is not None:
            yield from _exists(f"{path}.pool", "pool", entry.pool, tree.pools)
        name = entry.pool or default
        pool = pools.get(name or "")
        if pool is not None and entry.tenant not in (None, pool.tenant):
            yield f"{path}.tenant", f"is {entry.tenant}, but pool {name} is tenant {pool.tenant}'s"
        if pool is not None and entry.address is not None and entry.address not in pool.network:
            yield f"{path}.address", f"{entry.address} is not inside {pool.network} of pool {name}"
        if entry.address is not None and addresses.setdefault(entry.address, index) != index:
            yield f"{path}.address", f"{entry.address} is already subscribers[{addresses[entry.address]}]'s"


def _why_not_option(name: str, value: object) -> str | None:
    option = BY_NAME.get(name)
    if option is None:
        return "there is no DHCPv4 option of this name: docs/reference/dhcp4-options.md lists them"
    if option.code in BY_THE_SERVER:
        return "the server writes this option by itself"
    try:
        option.configured(value)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def _repeated(kind: str, key: str, values: Mapping[int, str | int]) -> Iterator[Problem]:
    first: dict[str | int, int] = {}
    for index, value in values.items():
        if first.setdefault(value, index) != index:
            yield f"{kind}[{index}].{key}", f"{value} is already {kind}[{first[value]}]'s"


def _exists(path: str, kind: str, name: str, among: Items[Any]) -> Iterator[Problem]:
    """Complain unless there is one of this name, be it one that makes no sense otherwise."""
    if among.names is not None and name not in among.names:
        yield path, f"there is no {kind} {name!r}; there is {', '.join(sorted(among.names)) or 'none'}"

"""The whole configuration: one tree of the leaves that stand beside the code they configure."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from wayleave.aaa.local import AuthorizationSettings, Subscriber
from wayleave.access.settings import PortSettings
from wayleave.dataplane.settings import PuntSettings
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER
from wayleave.session.settings import Leaf, PoolSettings, TenantSettings


class GatewaySettings(Leaf):
    """The gateway itself."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$", description="instance; names the pins")
    state: str = Field(description="folder of the lease store")
    api: str = Field(description="path of the local API's socket")
    sessions: int = Field(default=65536, ge=16, le=1_000_000, description="clients at once, at most")
    ring: int = Field(default=8 << 20, ge=1 << 16, description="octets of the punt ring, a power of two")
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


def contradictions(tree: Configuration, subscribers: tuple[Subscriber, ...]) -> Iterator[tuple[str, str]]:
    """Yield (path, message) for whatever one leaf alone cannot know to be wrong."""
    yield from _repeated("tenants", "name", [tenant.name for tenant in tree.tenants])
    yield from _repeated("ports", "number", [port.number for port in tree.ports])
    yield from _repeated("ports", "device", [port.device for port in tree.ports])
    yield from _repeated("pools", "name", [pool.name for pool in tree.pools])
    tenants = {tenant.name for tenant in tree.tenants}
    pools = {pool.name: pool for pool in tree.pools}
    for role in ("subscriber", "network"):
        if not any(port.role == role for port in tree.ports):
            yield "ports", f'there is none with role = "{role}"'
    named = [(f"ports[{index}].tenant", port.tenant) for index, port in enumerate(tree.ports)]
    named += [(f"pools[{index}].tenant", pool.tenant) for index, pool in enumerate(tree.pools)]
    for path, tenant in named:
        if tenant not in tenants:
            yield path, _no_such("tenant", tenant, tenants)
    for index, pool in enumerate(tree.pools):
        for other in tree.pools[:index]:
            if pool.network.overlaps(other.network):
                yield f"pools[{index}].network", f"{pool.network} overlaps {other.network} of pool {other.name}"
        for name, value in pool.options.items():
            why = _why_not_option(name, value)
            if why is not None:
                yield f"pools[{index}].options.{name}", why
    if tree.gateway.ring & (tree.gateway.ring - 1):
        yield "gateway.ring", f"{tree.gateway.ring} is not a power of two"
    default = tree.authorization.default
    if sum(len(tenant.services) for tenant in tree.tenants) > 8:
        yield "tenants", "more than 8 services in all"
    if default is not None and default not in pools:
        yield "authorization.default", _no_such("pool", default, set(pools))
    for index, port in enumerate(tree.ports):
        if default in pools and port.role == "subscriber" and pools[default].tenant != port.tenant:
            yield (
                f"ports[{index}].tenant",
                f"clients here would get pool {default}, which is tenant {pools[default].tenant}'s",
            )
    yield from _subscribers(tree, subscribers, tenants, pools)


def _subscribers(
    tree: Configuration, subscribers: tuple[Subscriber, ...], tenants: set[str], pools: dict[str, PoolSettings]
) -> Iterator[tuple[str, str]]:
    keys: dict[object, int] = {}
    addresses: dict[object, int] = {}
    for index, entry in enumerate(subscribers):
        path = f"subscribers[{index}]"
        if keys.setdefault(entry.key, index) != index:
            yield path, f"is known by the same as subscribers[{keys[entry.key]}]"
        if entry.tenant is not None and entry.tenant not in tenants:
            yield f"{path}.tenant", _no_such("tenant", entry.tenant, tenants)
        pool = entry.pool or tree.authorization.default
        if pool is not None and pool not in pools:
            yield f"{path}.pool", _no_such("pool", pool, set(pools))
        if entry.tenant is not None and pool in pools and pools[pool].tenant != entry.tenant:
            yield f"{path}.tenant", f"is {entry.tenant}, but pool {pool} is tenant {pools[pool].tenant}'s"
        if entry.address is not None and pool in pools and entry.address not in pools[pool].network:
            yield f"{path}.address", f"{entry.address} is not inside {pools[pool].network} of pool {pool}"
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


def _repeated(kind: str, key: str, values: list[str] | list[int]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield f"{kind}[{index}].{key}", f"{value} is already {kind}[{values.index(value)}]'s"  # type: ignore[arg-type]


def _no_such(kind: str, name: str, known: set[str]) -> str:
    return f"there is no {kind} {name!r}; there is {', '.join(sorted(known)) or 'none'}"

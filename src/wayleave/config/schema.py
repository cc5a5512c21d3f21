"""The whole configuration: one tree of the leaves that stand beside the code they configure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, WithJsonSchema

from wayleave.aaa.local import AuthorizationSettings, Subscriber
from wayleave.access.settings import PortSettings
from wayleave.dataplane.settings import PuntSettings
from wayleave.proto.dhcp4.options import BY_NAME
from wayleave.proto.dhcp4.server import BY_THE_SERVER
from wayleave.session.model import Line
from wayleave.session.settings import AT_START, Leaf, NameText, PoolSettings, TenantSettings

Item = TypeVar("Item", bound=BaseModel)
Problem = tuple[str, str]
"""Where, as a path, and what is wrong there."""


SOCKET_PATH_MAX = 107
"""Octets of a Unix socket's path (unix(7))."""


def _whole_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f'"{text}" depends on where `bng` is started: write the whole path, from /')
    return text


def _socket_path(text: str) -> str:
    if len(text.encode()) > SOCKET_PATH_MAX:
        raise ValueError(f"has {len(text.encode())} octets: the path of a socket has at most {SOCKET_PATH_MAX}")
    return _whole_path(text)


_PATH = WithJsonSchema({"type": "string", "pattern": "^/", "examples": ["/var/lib/wayleave/bng1"]})
_SOCKET = WithJsonSchema({"type": "string", "pattern": "^/.{1,106}$", "examples": ["/run/wayleave/bng1.sock"]})


_ANOTHER_INSTANCE: dict[str, Any] = {"restart": "is another gateway: `bng stop`, which ends its traffic, then start"}
_ANOTHER_STORE: dict[str, Any] = {
    "restart": "the leases are in the old folder: `bng stop --keep-traffic`, move it, then start; traffic survives"
}


class GatewaySettings(Leaf):
    """The gateway itself."""

    name: NameText = Field(max_length=63, description="instance; names the pins", json_schema_extra=_ANOTHER_INSTANCE)
    state: Annotated[str, AfterValidator(_whole_path), _PATH] = Field(
        description="folder of the lease store", json_schema_extra=_ANOTHER_STORE
    )
    api: Annotated[str, AfterValidator(_socket_path), _SOCKET] = Field(
        description="path of the local API's socket", json_schema_extra=AT_START
    )
    sessions: int = Field(
        default=65536, ge=16, le=1_000_000, description="clients at once, at most", json_schema_extra=AT_START
    )
    ring: int = Field(
        default=8 << 20,
        ge=1 << 16,
        le=1 << 30,
        description="octets of the punt ring, a power of two",
        json_schema_extra=AT_START,
    )
    kernel_dhcp: bool = Field(
        default=True, description="the data plane answers DHCP of clients that it knows; false: Python answers all"
    )
    durability: Literal["full", "normal"] = Field(
        default="full", description="SQLite synchronous", json_schema_extra=AT_START
    )


class Configuration(Leaf):
    """What `bng run --config FILE` reads."""

    gateway: GatewaySettings
    tenants: tuple[TenantSettings, ...] = Field(default=(TenantSettings(name="default"),), json_schema_extra=AT_START)
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
        for number, item in enumerate(pool.reservations):
            if item.line is not None:
                yield from _line(f"{path}.reservations[{number}].line", item.line, tree.ports)
        for name, value in pool.options.items():
            why = _why_not_option(name, value)
            if why is not None:
                yield f"{path}.options.{name}", why


def _line(path: str, line: Line, ports: Items[PortSettings]) -> Iterator[Problem]:
    """Complain of a line that no client can be on."""
    port = next((port for port in ports.good.values() if port.number == line.port), None)
    if port is None:
        if ports.whole:
            numbers = sorted(port.number for port in ports.good.values() if port.role == "subscriber")
            yield (
                path,
                f"there is no port {line.port}; of subscribers there is {', '.join(map(str, numbers)) or 'none'}",
            )
    elif port.role != "subscriber":
        yield path, f'port {line.port} is a network port: clients are on those with role = "subscriber"'
    elif line.circuit and port.line != "circuit":
        yield path, f'port {line.port} tells no circuits apart: leave out /CIRCUIT-ID, or set line = "circuit" there'
    elif port.line == "circuit" and not line.circuit:
        yield path, f"port {line.port} tells lines apart by circuit-id: write {line}/CIRCUIT-ID"


def contradictions_of(subscribers: Mapping[int, Subscriber], tree: Parts) -> Iterator[Problem]:
    """Yield what is wrong with entries of the subscribers file beside each other and beside the configuration."""
    keys: dict[object, int] = {}
    addresses: dict[object, str] = {
        item.address: f"reserved in pool {pool.name}" for pool in tree.pools.good.values() for item in pool.reservations
    }
    for index, entry in subscribers.items():
        path = f"subscribers[{index}]"
        if keys.setdefault(entry.key, index) != index:
            yield path, f"is known by the same as subscribers[{keys[entry.key]}]"
        if entry.line is not None:
            yield from _line(f"{path}.line", entry.line, tree.ports)
        if entry.circuit is not None and tree.ports.whole and not _told_apart(tree.ports):
            yield f"{path}.circuit", 'no port tells lines apart by circuit-id (line = "circuit")'
        if entry.tenant is not None:
            yield from _exists(f"{path}.tenant", "tenant", entry.tenant, tree.tenants)
        if entry.address is not None:
            here = f"subscribers[{index}]'s"
            if addresses.setdefault(entry.address, here) != here:
                yield f"{path}.address", f"{entry.address} is already {addresses[entry.address]}"
        yield from _pool_of(path, entry, tree)


def _told_apart(ports: Items[PortSettings]) -> bool:
    return any(port.line == "circuit" for port in ports.good.values())


def _pool_of(path: str, entry: Subscriber, tree: Parts) -> Iterator[Problem]:
    """Complain of an entry's pool, and of what does not go with it."""
    if entry.pool is not None:
        yield from _exists(f"{path}.pool", "pool", entry.pool, tree.pools)
    default = tree.authorization.default if tree.authorization is not None else None
    name = entry.pool or default
    if name is None:
        if tree.authorization is not None and not entry.blocked:
            yield f"{path}.pool", "is missing, and so is authorization.default: the subscriber would get nothing"
        return
    pool = next((pool for pool in tree.pools.good.values() if pool.name == name), None)
    if pool is None:
        return
    if entry.tenant not in (None, pool.tenant):
        yield f"{path}.tenant", f"is {entry.tenant}, but pool {name} is tenant {pool.tenant}'s"
    why = pool.why_not_static(entry.address, f" of pool {name}") if entry.address is not None else None
    if why is not None:
        yield f"{path}.address", why


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

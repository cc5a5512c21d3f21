"""The whole configuration: one tree of the leaves that stand beside the code they configure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from wayleave.aaa.local import AuthorizationSettings, Subscriber
from wayleave.aaa.settings import RadiusSettings, ServiceSettings
from wayleave.access.settings import PortSettings, PppoeSettings
from wayleave.dataplane.settings import PuntSettings
from wayleave.io.settings import NexusSettings
from wayleave.session.settings import AT_START, Leaf, NameText, PoolSettings, TenantSettings

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


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError(f"{number} is not a power of two: {1 << number.bit_length()} is the next")
    return number


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
    ring: Annotated[int, AfterValidator(_power_of_two)] = Field(
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


class LogSettings(Leaf):
    """What is logged, on standard error."""

    level: Literal["info", "warning", "error"] = Field(
        default="info", description='the least that is logged; every session\'s begin and end is "info"'
    )


class Configuration(Leaf):
    """What `bng run --config FILE` reads."""

    gateway: GatewaySettings
    tenants: tuple[TenantSettings, ...] = Field(default=(TenantSettings(name="default"),), json_schema_extra=AT_START)
    ports: tuple[PortSettings, ...]
    pools: tuple[PoolSettings, ...]
    authorization: AuthorizationSettings = AuthorizationSettings()
    pppoe: PppoeSettings = PppoeSettings()
    services: tuple[ServiceSettings, ...] = ()
    radius: RadiusSettings = RadiusSettings()
    nexus: NexusSettings | None = Field(default=None, json_schema_extra=AT_START)
    punt: PuntSettings = PuntSettings()
    log: LogSettings = LogSettings()


class SubscribersFile(Leaf):
    """The file that authorization.subscribers names."""

    subscribers: tuple[Subscriber, ...] = ()

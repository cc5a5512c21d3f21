"""Configuration of tenants and pools: the leaves of the tree that this room reads."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from wayleave.net.duration import Duration, parse_duration
from wayleave.net.mac import Mac
from wayleave.session.model import Line


class Leaf(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _parse_mac(text: Any) -> Mac:
    return Mac.parse(str(text))


def _parse_line(text: Any) -> Line:
    return Line.parse(str(text))


MacText = Annotated[
    Mac, BeforeValidator(_parse_mac), WithJsonSchema({"type": "string", "examples": ["02:00:00:00:00:01"]})
]
LineText = Annotated[Line, BeforeValidator(_parse_line), WithJsonSchema({"type": "string", "examples": ["1:100.200"]})]


def parse_range(text: object) -> tuple[IPv4Address, IPv4Address]:
    """Read `10.0.0.2` or `10.0.0.2-10.0.0.9`. Raises: ValueError with what was expected."""
    first, _, last = str(text).partition("-")
    try:
        low, high = IPv4Address(first.strip()), IPv4Address((last or first).strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is not an address or a range: write 10.0.0.2 or 10.0.0.2-10.0.0.9") from error
    if high < low:
        raise ValueError(f"{text!r} runs backwards")
    return low, high


Range = Annotated[
    tuple[IPv4Address, IPv4Address],
    BeforeValidator(parse_range),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.2-10.0.0.9"]}),
]


def parse_service(text: object) -> str:
    """Read `udp/53`. Raises: ValueError with what was expected."""
    protocol, _, port = str(text).partition("/")
    if protocol not in ("tcp", "udp") or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not a service: write tcp/PORT or udp/PORT, such as udp/53")
    return str(text)


ServiceText = Annotated[str, BeforeValidator(parse_service), WithJsonSchema({"type": "string", "examples": ["udp/53"]})]


class TenantSettings(Leaf):
    """A provider with its own kernel route table."""

    name: str = Field(min_length=1, max_length=11)
    table: int = Field(default=254, ge=1, le=0xFFFFFFFF, description="kernel route table; 254 is main")
    services: tuple[ServiceText, ...] = Field(
        default=(),
        max_length=8,
        description='what subscribers may reach on the gateway besides ICMP echo, such as "udp/53"',
    )


class Reservation(Leaf):
    """An address kept for one client, known by its MAC, its line, or both."""

    address: IPv4Address
    mac: MacText | None = None
    line: LineText | None = None

    @model_validator(mode="after")
    def _for_somebody(self) -> Reservation:
        if self.mac is None and self.line is None:
            raise ValueError("a reservation needs a mac, a line, or both")
        return self


class PoolSettings(Leaf):
    """Addresses of one subnet, and what clients in it are told."""

    name: str = Field(min_length=1)
    tenant: str = "default"
    network: IPv4Network
    gateway: IPv4Address
    exclude: tuple[Range, ...] = ()
    dns: tuple[IPv4Address, ...] = Field(default=(), max_length=8)
    ntp: tuple[IPv4Address, ...] = Field(default=(), max_length=8)
    domain: str | None = None
    lease: Duration = parse_duration("1h")
    promise: Duration = parse_duration("24h")
    quarantine: Duration = parse_duration("10m")
    options: dict[str, Any] = Field(
        default={}, description="more DHCPv4 options by name (dhcp4-options.md), for clients that ask for them"
    )
    reservations: tuple[Reservation, ...] = ()

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for whatever one value alone cannot know to be wrong."""
        network = self.network
        if not 8 <= network.prefixlen <= 30:
            yield "network", f"{network} must be between /8 and /30"
        if self.gateway not in network or self.gateway in (network.network_address, network.broadcast_address):
            yield "gateway", f"{self.gateway} is not a host of {network}"
        for index, (low, high) in enumerate(self.exclude):
            if low not in network or high not in network:
                yield f"exclude[{index}]", f"{low}-{high} is not inside {network}"
        for index, item in enumerate(self.reservations):
            if item.address not in network:
                yield f"reservations[{index}].address", f"{item.address} is not inside {network}"
        if self.lease < parse_duration("60s"):
            yield "lease", "is under 60s: clients would do nothing but renew"
        if self.promise < self.lease:
            yield "promise", "is shorter than lease: no lease could ever be granted in full"

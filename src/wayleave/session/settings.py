"""Configuration of tenants and pools: the leaves of the tree that this room reads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from wayleave.net.duration import parse_duration
from wayleave.net.ipv4 import Address4, Network4, parse_address
from wayleave.net.mac import Mac
from wayleave.net.units import Ns
from wayleave.session.model import Line

Problem = tuple[str, str]
"""Where, as a path, and what is wrong there."""
Rule = Callable[[], Iterator[Problem]]


class Senseless(AttributeError):
    """A rule asks for a setting whose value makes no sense."""


class Leaf(BaseModel):
    """A part of the configuration: unknown keys are errors, no value is bent into another type, none changes.

    One that was read from a file with faults has no attribute for a value that makes no sense (`session.partial`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    KNOWN_BY: ClassVar[tuple[str, ...]] = ("name",)
    """The settings that tell it from others of its kind."""

    RESTART: ClassVar[str] = ""
    """What it takes for any of its settings to count, where a reload is not enough (`AT_START`)."""

    @property
    def label(self) -> str:
        """What it is called among others of its kind; empty: nothing."""
        said = (getattr(self, key, None) for key in self.KNOWN_BY)
        return " on ".join(str(value) for value in said if value is not None)

    def rules(self) -> tuple[Rule, ...]:
        """What no value alone can know to be wrong; each yields paths in here, perhaps empty, and what is wrong."""
        return ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise Senseless(name)
            return super().__getattr__(name)

    @model_validator(mode="before")
    @classmethod
    def _lists_become_tuples(cls, raw: Any) -> Any:
        """TOML has lists, and a strict tuple takes nothing but a tuple."""
        if not isinstance(raw, dict):
            return raw
        return {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}


def sensible(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Yield what a rule finds, until it asks for a value that makes no sense."""
    try:
        yield from problems
    except Senseless:
        return


def contradictions(path: str, leaf: Leaf) -> Iterator[Problem]:
    """Yield what the rules of a section at `path` find."""
    for rule in leaf.rules():
        yield from ((f"{path}.{key}".rstrip("."), what) for key, what in sensible(rule()))


def labels(items: Sequence[Leaf]) -> list[str]:
    """Return what each is called; `#2` is the second of them, where it has no name or shares one."""
    names = [item.label for item in items]
    often = Counter(names)
    return [name if name and often[name] == 1 else f"#{number}" for number, name in enumerate(names, 1)]


NEEDS_RESTART = "needs a restart, which traffic survives"
AT_START: dict[str, Any] = {"restart": NEEDS_RESTART}
"""As a field's `json_schema_extra`: what it says counts from the next start on; all else from the next reload."""


def _parse_mac(text: Any) -> Mac:
    return text if isinstance(text, Mac) else Mac.parse(str(text))


def _parse_line(text: Any) -> Line:
    return text if isinstance(text, Line) else Line.parse(str(text))


MacText = Annotated[
    Mac,
    BeforeValidator(_parse_mac),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$",
            "examples": ["02:00:00:00:00:01"],
        }
    ),
]
LineText = Annotated[
    Line,
    BeforeValidator(_parse_line),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,3}(:[0-9]{1,4}(\.[0-9]{1,4})?)?(/.+)?$",
            "examples": ["1:100.200"],
        }
    ),
]


def parse_name(text: object) -> str:
    """Read a name that also becomes one of a device, a folder or a file. Raises: ValueError with what was expected."""
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name: write letters, digits, `.`, `_` and `-`, first a letter or a digit")
    return text


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
NameText = Annotated[
    str, BeforeValidator(parse_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})
]


Duration = Annotated[
    Ns,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["90s", "1h"]}),
]


def parse_range(text: object) -> tuple[IPv4Address, IPv4Address]:
    """Read `10.0.0.2` or `10.0.0.2-10.0.0.9`. Raises: ValueError with what was expected."""
    first, _, last = str(text).partition("-")
    try:
        low, high = parse_address(first.strip()), parse_address((last or first).strip())
    except ValueError:
        raise ValueError(f"{text!r} is not an address or a range: write 10.0.0.2 or 10.0.0.2-10.0.0.9") from None
    if high < low:
        raise ValueError(f"{text!r} runs backwards")
    return low, high


Range = Annotated[
    tuple[IPv4Address, IPv4Address],
    BeforeValidator(parse_range),
    WithJsonSchema({"type": "string", "pattern": "^[0-9. -]+$", "examples": ["10.0.0.2-10.0.0.9"]}),
]


def parse_service(text: object) -> str:
    """Read `udp/53`. Raises: ValueError with what was expected."""
    protocol, _, port = str(text).partition("/")
    if protocol not in ("tcp", "udp") or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not a service: write tcp/PORT or udp/PORT, such as udp/53")
    return str(text)


ServiceText = Annotated[
    str,
    BeforeValidator(parse_service),
    WithJsonSchema({"type": "string", "pattern": "^(tcp|udp)/[0-9]{1,5}$", "examples": ["udp/53"]}),
]


class TenantSettings(Leaf):
    """A provider with its own kernel route table."""

    name: NameText = Field(max_length=11, description="names its host link, `wl-NAME`", json_schema_extra=AT_START)
    table: int = Field(
        default=254, ge=1, le=0xFFFFFFFF, description="kernel route table; 254 is main", json_schema_extra=AT_START
    )
    radius: str | None = Field(
        default=None,
        description="group of RADIUS servers that decides about its clients; absent: [authorization]",
        json_schema_extra={
            "restart": "needs a restart; who was let on by [authorization] is asked about anew there",
            "restart_absent": "needs a restart; who was let on by RADIUS servers stays until its session ends",
        },
    )
    services: tuple[ServiceText, ...] = Field(
        default=(),
        max_length=8,
        description='what subscribers may reach on the gateway besides ICMP echo, such as "udp/53"',
    )


class Reservation(Leaf):
    """An address kept for one client, known by its MAC, its line, or both."""

    KNOWN_BY = ("mac", "line")

    address: Address4
    mac: MacText | None = None
    line: LineText | None = None

    def rules(self) -> tuple[Rule, ...]:
        return (self._for_somebody,)

    def _for_somebody(self) -> Iterator[Problem]:
        if self.mac is None and self.line is None:
            yield "", "a reservation needs a mac, a line, or both"


class PoolSettings(Leaf):
    """Addresses of one subnet, and what clients in it are told."""

    name: str = Field(min_length=1)
    tenant: str = Field(default="default", json_schema_extra=AT_START)
    network: Network4
    gateway: Address4
    nexus: str | None = Field(
        default=None,
        min_length=1,
        description="pool of Nexus that its addresses come from, in blocks; absent: all of it is this gateway's own",
        json_schema_extra=AT_START,
    )
    exclude: tuple[Range, ...] = Field(default=(), description="addresses that no client is given")
    dns: tuple[Address4, ...] = Field(default=(), max_length=8)
    ntp: tuple[Address4, ...] = Field(default=(), max_length=8)
    domain: str | None = None
    lease: Duration = parse_duration("1h")
    promise: Duration = parse_duration("24h")
    quarantine: Duration = parse_duration("10m")
    options: dict[str, Any] = Field(
        default={}, description="more DHCPv4 options by name (dhcp4-options.md), for clients that ask for them"
    )
    reservations: tuple[Reservation, ...] = ()

    def rules(self) -> tuple[Rule, ...]:
        return (
            self._usable, self._gateway_inside, self._excluded_inside, self._leaves_some, self._reserved, self._long,
            self._promised,
        )  # fmt: skip

    def _usable(self) -> Iterator[Problem]:
        network = self.network
        if not 8 <= network.prefixlen <= 30:
            yield "network", f"{network} must be between /8 and /30"
        for unusable, what in _UNUSABLE.items():
            if network.overlaps(unusable):
                yield "network", f"{network} overlaps {unusable}, {what}: no client can use an address of that"

    def _gateway_inside(self) -> Iterator[Problem]:
        network = self.network
        if self.gateway in network and self.gateway not in (network.network_address, network.broadcast_address):
            return
        such = f": write an address of it, such as {network[1]}" if network.num_addresses > 1 else ""
        yield "gateway", f"{self.gateway} is not a host of {network}{such}"

    def _excluded_inside(self) -> Iterator[Problem]:
        for low, high in self.exclude:
            if low not in self.network or high not in self.network:
                yield "exclude", f"{low}-{high} is not inside {self.network}"

    def _leaves_some(self) -> Iterator[Problem]:
        """Complain unless an address is left between what is excluded and the gateway."""
        if self.network.prefixlen > 30:
            return
        first, last = int(self.network.network_address) + 1, int(self.network.broadcast_address) - 1
        taken = [(int(low), int(high)) for low, high in self.exclude]
        for low, high in sorted([*taken, (int(self.gateway), int(self.gateway))]):
            if low > first:
                break
            first = max(first, high + 1)
        if first > last:
            yield "exclude", f"leaves no address of {self.network} to give out"

    def _reserved(self) -> Iterator[Problem]:
        addresses: dict[IPv4Address, str] = {}
        clients: dict[tuple[Mac | None, Line | None], str] = {}
        for label, item in zip(labels(self.reservations), self.reservations, strict=True):
            here = f"reservations[{label}]"
            yield from contradictions(here, item)
            yield from sensible(self._static(here, item, addresses))
            yield from sensible(_for_another(here, item, clients))

    def _static(self, here: str, item: Reservation, before: dict[IPv4Address, str]) -> Iterator[Problem]:
        address = item.address
        if before.setdefault(address, here) != here:
            yield f"{here}.address", f"{address} is already {before[address]}'s"
        why = self.why_not_static(address)
        if why is not None:
            yield f"{here}.address", why

    def _long(self) -> Iterator[Problem]:
        if self.lease < parse_duration("60s"):
            yield "lease", "is under 60s: clients would do nothing but renew"

    def _promised(self) -> Iterator[Problem]:
        if self.promise < self.lease:
            yield "promise", "is shorter than lease: no lease could ever be granted in full"

    def why_not_static(self, address: IPv4Address, of: str = "") -> str | None:
        """Return why no client can have `address` for its own; `of` names the pool. None: one can."""
        network = self.network
        if address not in network:
            return f"{address} is not inside {network}{of}"
        if address == self.gateway:
            return f"{address} is the gateway{of}"
        if address == network.network_address:
            return f"{address} is the network's own address{of}"
        if address == network.broadcast_address:
            return f"{address} is the broadcast address{of}"
        if any(low <= address <= high for low, high in self.exclude):
            return (
                f"{address} is excluded{of}: take it out of `exclude`, a static address is kept for its client anyway"
            )
        return None


def _for_another(here: str, item: Reservation, before: dict[tuple[Mac | None, Line | None], str]) -> Iterator[Problem]:
    """Complain if it is for the client of one before."""
    client = (item.mac, item.line)
    if client != (None, None) and before.setdefault(client, here) != here:
        yield here, f"is for the same client as {before[client]}"


_UNUSABLE = {
    IPv4Network("0.0.0.0/8"): '"this network" (RFC 1122 3.2.1.3)',
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved (RFC 1112 4)",
}

"""Configuration of ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from wayleave.net.duration import parse_duration
from wayleave.net.frame import ETHERNET_MTU
from wayleave.net.ipv4 import Address4
from wayleave.proto.ppp.auth import Authentication
from wayleave.proto.ppp.lcp import Keepalive
from wayleave.proto.pppoe.packet import PLAIN_MRU
from wayleave.session.settings import AT_START, Duration, Leaf, Problem, Rule

LAST_PORT = 511
"""Port numbers above are the host links'."""


_DEVICE = re.compile(r"[^\s/]{1,15}")


def parse_device(text: object) -> str:
    """Read the name of a network device. Raises: ValueError with what was expected."""
    if not isinstance(text, str) or not _DEVICE.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is no device's name: 1 to 15 characters, no space and no `/`, such as eth1")
    return text


DeviceText = Annotated[
    str,
    BeforeValidator(parse_device),
    WithJsonSchema({"type": "string", "pattern": f"^{_DEVICE.pattern}$", "examples": ["eth1"]}),
]


class PortSettings(Leaf):
    """A device the gateway works on."""

    KNOWN_BY = ("number",)

    number: int = Field(ge=1, le=LAST_PORT)
    device: DeviceText = Field(json_schema_extra=AT_START)
    role: Literal["subscriber", "network"] = Field(json_schema_extra=AT_START)
    tenant: str = Field(default="default", json_schema_extra=AT_START)
    xdp: Literal["native", "generic"] = Field(
        default="native", description="generic is slow; only when asked for", json_schema_extra=AT_START
    )
    trusted: bool = Field(default=False, description="an access node there writes option 82; elsewhere it is dropped")
    line: Literal["vlan", "circuit"] = Field(
        default="vlan",
        description="one line a VLAN (1:1), or many told apart by circuit-id (N:1)",
        json_schema_extra=AT_START,
    )
    clients: int = Field(default=8, ge=1, description="clients on one line at once")
    at_limit: Literal["replace", "refuse"] = Field(
        default="replace", description="a full line: replace the client silent longest (over 60s), or refuse"
    )
    protocols: tuple[Literal["ipoe", "pppoe"], ...] = Field(
        default=("ipoe",), description="what is served there; both: also on one VLAN", json_schema_extra=AT_START
    )
    pado_delay_ms: int = Field(
        default=0, ge=0, le=10_000, description="PPPoE: how long a PADI waits, for another gateway to be first"
    )
    pppoe_sessions: int | None = Field(default=None, ge=1, description="PPPoE: sessions at once; absent: no limit")
    relays: tuple[Address4, ...] = Field(default=(), description="giaddr of the relays that may ask here")

    def rules(self) -> tuple[Rule, ...]:
        return self._circuit_believed, self._serves

    def _serves(self) -> Iterator[Problem]:
        if self.role == "subscriber" and not self.protocols:
            yield "protocols", 'a subscriber port serves something: ["ipoe"], ["pppoe"] or both'

    def _circuit_believed(self) -> Iterator[Problem]:
        if self.line == "circuit" and not self.trusted:
            yield "line", '"circuit" needs trusted = true: the circuit-id tells the lines apart'


MOST_SERVICES = 1024
"""Octets of a PADO for services: a third of it is left to its other tags, and to what clients have echoed."""

_METHODS = {"chap": Authentication.CHAP_MD5, "ms-chap-2": Authentication.MS_CHAP_2, "pap": Authentication.PAP}


class PppoeSettings(Leaf):
    """PPPoE, the same on every port that serves it. Sessions that are up keep what they agreed on."""

    name: str | None = Field(default=None, min_length=1, max_length=63, description="AC-Name; absent: gateway.name")
    services: tuple[str, ...] = Field(
        default=("",), min_length=1, max_length=16, description='Service-Names on offer; "" among them: any other, too'
    )
    authentication: tuple[Literal["chap", "ms-chap-2", "pap"], ...] = Field(
        default=("chap", "pap"),
        description="how clients may say who they are, the best first; none: they are known by their lines",
    )
    mru: int = Field(
        default=PLAIN_MRU, ge=576, le=1500, description="octets of IP in a packet; over 1492 for who asks (RFC 4638)"
    )
    echo_interval: Duration = Field(
        default=parse_duration("30s"), description="silence after which a client is asked whether it lives; 0s: never"
    )
    echo_failures: int = Field(default=3, ge=1, le=100, description="such questions without an answer that end it")
    per_client: int = Field(
        default=1, ge=1, le=64, description="sessions of one MAC on a line; one more replaces the oldest"
    )

    def rules(self) -> tuple[Rule, ...]:
        return (self._services_fit,)

    def _services_fit(self) -> Iterator[Problem]:
        octets = sum(4 + len(name.encode()) for name in self.services)
        if octets > MOST_SERVICES:
            yield "services", f"the names take {octets} octets of a PADO, and there is room for {MOST_SERVICES}"

    def demands(self) -> tuple[Authentication, ...]:
        """How clients may say who they are."""
        return tuple(_METHODS[name] for name in self.authentication)

    def keepalive(self) -> Keepalive:
        """How long silence is borne."""
        return Keepalive(every=self.echo_interval, most=self.echo_failures)


_TAGS, _PPPOE = 8, 8
"""Octets of two VLAN tags; of PPPoE and PPP (RFC 2516 7)."""


def least_mtu(port: PortSettings, pppoe: PppoeSettings) -> int:
    """Octets behind Ethernet's header that a port's device has to carry: what IPoE and PPPoE put behind two tags."""
    if port.role == "network":
        return ETHERNET_MTU
    dialed = pppoe.mru + _PPPOE if "pppoe" in port.protocols else 0
    return _TAGS + max(ETHERNET_MTU, dialed)

"""Configuration of services and of RADIUS: the leaves that this room reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from wayleave.aaa import policy
from wayleave.aaa.radius import CHALLENGED
from wayleave.aaa.request import PLACEHOLDERS, check_template
from wayleave.net.duration import parse_duration
from wayleave.net.ipv4 import Address4
from wayleave.net.rate import BitRate
from wayleave.net.units import SECOND, BitsPerSecond, Ns
from wayleave.proto.radius.dictionary import STANDARD
from wayleave.proto.radius.packet import ACCT_PORT, AUTH_PORT, DYNAUTH_PORT, RADSEC_PORT
from wayleave.session.model import LEAST_BURST, LEAST_INTERIM, LEAST_RATE, MOST_BURST, MOST_RATE, Rate, Service
from wayleave.session.settings import AT_START, NEEDS_RESTART, Duration, Leaf, NameText, Problem, Rule


def _rate_bounds(bits_s: BitsPerSecond) -> BitsPerSecond:
    if not LEAST_RATE <= bits_s <= MOST_RATE:
        raise ValueError("must be between 8k and 400G")
    return bits_s


def _template(text: str) -> str:
    check_template(text)
    return text


def _realm(text: str) -> str:
    if not _REALM.fullmatch(text):
        raise ValueError(f"{text!r} is no realm: what stands behind the last @ of users' names, such as isp.example")
    return text


_REALM = re.compile(r"[^\s@]+")
RealmText = Annotated[
    str,
    AfterValidator(_realm),
    WithJsonSchema({"type": "string", "pattern": f"^{_REALM.pattern}$", "examples": ["isp.example"]}),
]
SpeedText = Annotated[BitRate, AfterValidator(_rate_bounds)]
TemplateText = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_template)]
_PLACES = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)


class ServiceSettings(Leaf):
    """What is sold under a name: a subscriber has it by the subscribers file, or by RADIUS (Filter-Id and others)."""

    name: str = Field(min_length=1, max_length=64)
    up: SpeedText | None = Field(default=None, description="what a client may send; absent: as fast as it goes")
    down: SpeedText | None = Field(default=None, description="what it is sent")
    burst_up: int | None = Field(
        default=None,
        ge=LEAST_BURST,
        le=MOST_BURST,
        description="octets at once above `up`; absent: 250 ms of it, and at least 15000",
    )
    burst_down: int | None = Field(default=None, ge=LEAST_BURST, le=MOST_BURST, description="the same for `down`")
    session_timeout: Duration | None = Field(default=None, description="sessions end after this")
    idle_timeout: Duration | None = Field(default=None, description="sessions end when their client sends nothing")

    def rules(self) -> tuple[Rule, ...]:
        return (self._bursts,)

    def _bursts(self) -> Iterator[Problem]:
        for burst, speed in (("burst_up", "up"), ("burst_down", "down")):
            if getattr(self, burst) is not None and getattr(self, speed) is None:
                yield burst, f"needs {speed} beside it"

    def service(self) -> Service:
        """Return what a service of this name says, without where it is."""
        return Service(
            tenant="",
            pool="",
            name=self.name,
            up=Rate.of(self.up, self.burst_up) if self.up else None,
            down=Rate.of(self.down, self.burst_down) if self.down else None,
            session_timeout=self.session_timeout or Ns(0),
            idle_timeout=self.idle_timeout or Ns(0),
        )


LEAST_TIMEOUT = parse_duration("1s")


class ServerSettings(Leaf):
    """A RADIUS server."""

    RESTART = NEEDS_RESTART

    name: NameText = Field(max_length=63)
    address: Address4
    transport: Literal["udp", "radsec"] = Field(default="udp", description="RadSec is RADIUS over TLS (RFC 6614)")
    secret: str | None = Field(
        default=None,
        description='path of the file with the shared secret, relative to this one; RadSec needs none: it is "radsec"',
    )
    auth_port: int | None = Field(
        default=None, ge=1, le=65535, description=f"absent: {AUTH_PORT}; RadSec: {RADSEC_PORT}"
    )
    acct_port: int | None = Field(
        default=None, ge=1, le=65535, description=f"absent: {ACCT_PORT}; RadSec: {RADSEC_PORT}"
    )
    certificate: str | None = Field(
        default=None,
        description="RadSec: path of the gateway's certificate, PEM, and of what stands between it and its CA",
    )
    key: str | None = Field(default=None, description="RadSec: path of the certificate's private key, PEM")
    ca: str | None = Field(
        default=None, description="RadSec: path of the CAs that the server's certificate may be of, PEM"
    )
    server_name: NameText | None = Field(
        default=None,
        max_length=253,
        description="RadSec: DNS name or address that the server's certificate must have; absent: `address`",
    )
    timeout: Duration | None = Field(
        default=None,
        description="before the first repetition; then twice that; absent: 1s. RadSec repeats nothing: before another "
        "server is asked; absent: 5s",
    )
    tries: int | None = Field(
        default=None, ge=1, le=10, description="transmissions before another server is asked; absent: 3; RadSec: 1"
    )
    dead_time: Duration = Field(
        default=parse_duration("30s"),
        description="for which a silent server is left out that never answered whether it lives",
    )
    status_server: bool = Field(default=True, description="a silent server is asked whether it lives (RFC 5997)")
    message_authenticator: bool = Field(
        default=True,
        description="its replies need a Message-Authenticator; false believes what can be forged (CVE-2024-3596)",
    )
    sources: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="UDP ports to ask from: 256 questions each at once; absent: 4. RadSec: connections; absent: 1",
    )

    @property
    def radsec(self) -> bool:
        return self.transport == "radsec"

    @property
    def ports(self) -> tuple[int, int]:
        """For access and for accounting."""
        usual = (RADSEC_PORT, RADSEC_PORT) if self.radsec else (AUTH_PORT, ACCT_PORT)
        return self.auth_port or usual[0], self.acct_port or usual[1]

    @property
    def channels(self) -> int:
        return self.sources or (1 if self.radsec else 4)

    def pem(self, folder: Path) -> tuple[Path, Path, Path]:
        """RadSec: certificate, key and CA; `folder` is what their paths are relative to."""
        certificate, key, ca = (folder / str(path) for path in (self.certificate, self.key, self.ca))
        return certificate, key, ca

    @property
    def patience(self) -> tuple[Ns, int]:
        """Until the first repetition, and transmissions in all."""
        usual = (parse_duration("5s"), 1) if self.radsec else (parse_duration("1s"), 3)
        return self.timeout or usual[0], self.tries or usual[1]

    def rules(self) -> tuple[Rule, ...]:
        return (self._needs, self._has_too_much, self._repeats, self._hurries)

    def _hurries(self) -> Iterator[Problem]:
        if self.timeout is not None and self.timeout < LEAST_TIMEOUT:
            yield "timeout", "is under 1s: no answer would be waited for"

    def _needs(self) -> Iterator[Problem]:
        if not self.radsec:
            if self.secret is None:
                yield "secret", "is missing: the path of the file with the secret that the server knows this gateway by"
            return
        for key, what in _OF_RADSEC.items():
            if what and getattr(self, key) is None:
                yield key, f"is missing: with RadSec, the path of {what}"

    def _has_too_much(self) -> Iterator[Problem]:
        if self.radsec:
            return
        for key in _OF_RADSEC:
            if getattr(self, key) is not None:
                yield key, 'counts for nothing over UDP: say transport = "radsec", or leave it out'

    def _repeats(self) -> Iterator[Problem]:
        if self.radsec and self.tries not in (None, 1):
            yield "tries", "RadSec repeats nothing, TCP does: leave it out"


_OF_RADSEC = {
    "certificate": "this gateway's certificate",
    "key": "the certificate's private key",
    "ca": "the CA that the server's certificate is of",
    "server_name": "",
}
"""Settings of RadSec alone, and what those that it needs are paths of."""


class GroupSettings(Leaf):
    """Servers that decide together about the clients of the tenants that name the group."""

    name: NameText = Field(max_length=63)
    servers: tuple[str, ...] = Field(
        min_length=1, max_length=8, description="names, the preferred one first", json_schema_extra=AT_START
    )
    mode: Literal["failover", "share"] = Field(
        default="failover", description="ask the first that lives, or all in turn", json_schema_extra=AT_START
    )
    accounting: tuple[str, ...] | None = Field(
        default=None,
        max_length=8,
        description="servers for accounting; absent: the same; []: none",
        json_schema_extra=AT_START,
    )
    realms: tuple[RealmText, ...] = Field(
        default=(),
        description="users of these (`alice@REALM`, of PPP) are asked of it, whatever their port's tenant; large and "
        "small letters are the same",
    )
    strip_realm: bool = Field(default=False, description="take its realms off the User-Name")
    username: TemplateText = Field(
        default="{mac}", description=f"User-Name of clients that nobody asked who they are, of {_PLACES}"
    )
    password: str | None = Field(
        default=None,
        description="path of the file with the User-Password; absent: the User-Name",
        json_schema_extra=AT_START,
    )
    calling: TemplateText = Field(default="{mac-dashed}", description="Calling-Station-Id")
    called: TemplateText = Field(default="{gateway}", description="Called-Station-Id")
    pool: str | None = Field(default=None, description="where the server names none")
    interim: Duration | None = Field(default=None, description="between interim updates, where the server says nothing")
    ignore: tuple[str, ...] = Field(default=(), description="attributes of replies that count for nothing")
    aliases: dict[str, str] = Field(
        default={}, description="attributes of `radius.dictionary` that mean what another one means, by its name"
    )
    when_down: Literal["refuse", "last-known"] = Field(
        default="refuse",
        description="no server lives: refuse newcomers, or believe its last answer for the same client; never of one "
        "that has to prove who it is",
    )
    last_known: Duration = Field(default=parse_duration("7d"), description="for how long an answer is believed then")
    hold_rejects: Duration = Field(
        default=parse_duration("30s"),
        description="a rejected client is not asked about again for this long, unless it says another password; by "
        f"CHAP, which does not tell, for {CHALLENGED // SECOND}s at most",
    )
    queue: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="clients that wait to be asked about, at most",
        json_schema_extra=AT_START,
    )

    def rules(self) -> tuple[Rule, ...]:
        return (self._attributes, self._meanings, self._patience, self._strips)

    def _strips(self) -> Iterator[Problem]:
        if self.strip_realm and not self.realms:
            yield "strip_realm", "takes off the group's realms: there are none"

    def _meanings(self) -> Iterator[Problem]:
        for name, meant in self.aliases.items():
            if not policy.knows(meant):
                yield (
                    f"aliases.{name}",
                    f"{meant} means nothing here: docs/reference/radius-attributes.md has what does",
                )

    def _attributes(self) -> Iterator[Problem]:
        for name in self.ignore:
            if name not in STANDARD:
                yield "ignore", f"there is no attribute {name} in the gateway's dictionary"

    def _patience(self) -> Iterator[Problem]:
        if self.interim is not None and self.interim < LEAST_INTERIM:
            yield "interim", "is less than 60s (RFC 2869 5.16): no server likes that"


class ControllerSettings(Leaf):
    """Who may change and end sessions (RFC 5176)."""

    KNOWN_BY = ("address",)
    RESTART = NEEDS_RESTART

    address: Address4
    secret: str = Field(description="path of the file with the shared secret, relative to this one")
    message_authenticator: bool = Field(default=True, description="its requests need one")
    timestamp: bool = Field(
        default=False, description="its requests need an Event-Timestamp: no replay after a restart"
    )
    groups: tuple[str, ...] | None = Field(
        default=None, description="it may change sessions of clients that these groups decided about; absent: all"
    )


class RadiusSettings(Leaf):
    """RADIUS: servers, groups of them, and who may change sessions."""

    identifier: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="NAS-Identifier; absent: gateway.name",
        json_schema_extra=AT_START,
    )
    address: Address4 | None = Field(
        default=None,
        description="NAS-IP-Address, and what is sent from; absent: the route decides",
        json_schema_extra=AT_START,
    )
    dictionary: str | None = Field(
        default=None,
        description="path of a folder with more dictionaries, relative to this file",
        json_schema_extra=AT_START,
    )
    listen: Address4 | None = Field(
        default=None,
        description="address for CoA and Disconnect; absent: every one of the gateway's",
        json_schema_extra=AT_START,
    )
    port: int = Field(default=DYNAUTH_PORT, ge=1, le=65535, description="UDP port for them", json_schema_extra=AT_START)
    servers: tuple[ServerSettings, ...] = Field(default=(), json_schema_extra=AT_START)
    groups: tuple[GroupSettings, ...] = Field(default=(), json_schema_extra=AT_START)
    controllers: tuple[ControllerSettings, ...] = Field(default=(), json_schema_extra=AT_START)

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Yield the files that have to be there: each setting that names one, and the path."""
        for server in self.servers:
            if server.secret is not None:
                yield f"radius.servers[{server.name}].secret", server.secret
        for group in self.groups:
            if group.password is not None:
                yield f"radius.groups[{group.name}].password", group.password
        for controller in self.controllers:
            yield f"radius.controllers[{controller.address}].secret", controller.secret

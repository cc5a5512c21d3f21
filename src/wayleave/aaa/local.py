"""Authorization without RADIUS: any line, or the users, lines and clients of a subscribers file.

A client of PPP that was asked who it is, is its user, and has to prove it by the password that a file of secrets has:
entries without a user are not for it, nor is the default. Everybody else is known by the line. Of the entries that fit,
the most particular one wins: MAC on a line, MAC, line (with its circuit-id), circuit-id, user alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from pydantic import Field

from wayleave.aaa.credentials import proves, user_of
from wayleave.aaa.policy import sold_as
from wayleave.net.ipv4 import Address4
from wayleave.net.mac import Mac
from wayleave.net.secret import Secret
from wayleave.net.units import BootNs
from wayleave.proto.ppp.auth import Credentials, MsChap2
from wayleave.session.model import Client, Line, Service, Session
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.settings import Leaf, LineText, MacText, Problem, Rule


class Subscriber(Leaf):
    """One entry of the subscribers file: how the client is known, and what it gets."""

    name: str = Field(min_length=1)
    user: str | None = Field(
        default=None,
        min_length=1,
        description="what a client of PPP says it is called; its password is in authorization.secrets",
    )
    mac: MacText | None = None
    line: LineText | None = None
    circuit: str | None = None
    pool: str | None = Field(default=None, description="absent: authorization.default")
    address: Address4 | None = None
    tenant: str | None = Field(default=None, description="absent: the pool's")
    service: str | None = Field(default=None, description="one of `services`; absent: authorization.service")
    limit: int | None = Field(default=None, ge=1, description="clients on the line at once; absent: the port's")
    antispoof: bool = True
    blocked: bool = Field(default=False, description="refused, whatever authorization.default says")

    def rules(self) -> tuple[Rule, ...]:
        return self._known_by_something, self._circuit_said_once

    def _known_by_something(self) -> Iterator[Problem]:
        if self.key == (None, None, None, None):
            yield "", "a subscriber is known by user, mac, line or circuit: give at least one"

    def _circuit_said_once(self) -> Iterator[Problem]:
        if self.line is not None and self.circuit is not None:
            yield "circuit", 'give the circuit-id with the line ("1:100/CIRCUIT") or by itself, not both'

    @property
    def key(self) -> tuple[str | None, Mac | None, Line | None, str | None]:
        return (self.user, self.mac, self.line, self.circuit)


class AuthorizationSettings(Leaf):
    """Who gets on without RADIUS."""

    default: str | None = Field(
        default=None,
        description="pool for clients not in the subscribers file, on ports of its tenant; others are refused",
    )
    service: str | None = Field(
        default=None, description="what is sold to who has no other: one of `services`; absent: as fast as it goes"
    )
    subscribers: str | None = Field(default=None, description="path of the subscribers file, relative to this one")
    secrets: str | None = Field(
        default=None,
        description='path of the file with passwords, relative to this one, of mode 600: USER = "PASSWORD" a line',
    )
    antispoof: bool = Field(default=True, description="check sources of clients not in the subscribers file")


class LocalAuthorization:
    """Implements session.ports.Authorization: answers at once from memory.

    `tenants` maps a port's number to its tenant's name, `pools` a pool's name. `services` are what can be sold, by
    name: the caller has seen to it that whatever is named elsewhere is among them. `passwords` are those of users.
    """

    def __init__(
        self,
        settings: AuthorizationSettings,
        subscribers: Iterable[Subscriber],
        tenants: Mapping[int, str],
        pools: Mapping[str, str],
        services: Mapping[str, Service],
        passwords: Mapping[str, Secret] = {},
        unusable: Mapping[str, str] = {},
    ) -> None:
        """`unusable`: why entries of these names grant nothing."""
        self._unusable = unusable
        self._settings = settings
        self._tenants, self._pools, self._services = tenants, pools, services
        self._passwords = passwords
        self._entries = {entry.key: entry for entry in subscribers}
        self._users = {entry.user for entry in self._entries.values() if entry.user is not None}

    def find(self, client: Client, user: str = "") -> Subscriber | None:
        """The most particular entry for `client`; `user`: what it is called, where it was asked."""
        if not self._entries:
            return None
        line, mac, named = client.line, client.mac, user or None
        circuit = line.circuit.decode("utf-8", "backslashreplace") if line.circuit else None
        places = (
            (mac, line, None),
            (mac, None, circuit),
            (mac, None, None),
            (None, line, None),
            (None, None, circuit),
            (None, None, None),
        )
        for place in places:
            entry = self._entries.get((named, *place))
            if entry is not None:
                return entry
        return None

    def decide(self, session: Session, now: BootNs) -> Service | Refusal | None:  # noqa: ARG002
        credentials = cast("Credentials | None", session.credentials)
        if credentials is None:
            return self.grant(session.client)
        user = user_of(credentials)
        return user if isinstance(user, Refusal) else self._proven(session.client, user, credentials)

    def _proven(self, client: Client, user: str, credentials: Credentials) -> Service | Refusal:
        """What a user gets that proves who it is. What stands against it whatever it proves is said first."""
        if isinstance(credentials, MsChap2):
            why = f"user {user} proves itself by MS-CHAPv2, which takes a RADIUS server to check"
            return Refusal(Reason.CREDENTIALS_UNUSABLE, why)
        granted, password = self.grant(client, user), self._passwords.get(user)
        if password is not None and proves(credentials, password):
            return granted
        if isinstance(granted, Refusal) and granted.reason in (Reason.UNKNOWN_CLIENT, Reason.BLOCKED):
            return granted
        return Refusal(Reason.WRONG_PASSWORD, f"user {user} does not know its password")

    def review(self, session: Session) -> Service | Refusal:
        """What a client that is served gets by now: who it is was proven as it came."""
        return self.grant(session.client, session.link.name if session.link is not None else "")

    def reauthorize(self, session: Session) -> None:
        """What is said here is said anew whenever the configuration changes."""

    def forget(self, session: Session) -> None:
        """Nothing is ever under way."""

    def grant(self, client: Client, user: str = "") -> Service | Refusal:
        """Return what the client gets, or why it gets nothing; `user`: whom it has proven to be, where it was asked."""
        entry = self.find(client, user)
        tenant = self._tenants.get(client.line.port)
        if tenant is None:
            return Refusal(Reason.PORT_NOT_CONFIGURED, f"port {client.line.port} is not configured")
        if entry is None and user:
            there = (
                "is not in the subscribers file"
                if user not in self._users
                else "is not to be on this line, or not with this MAC"
            )
            return Refusal(Reason.UNKNOWN_CLIENT, f"user {user} {there}")
        if entry is None:
            default = self._default_of(tenant)
            if default is None:
                return Refusal(Reason.UNKNOWN_CLIENT, f"not in the subscribers file, and {self._why_none(tenant)}")
            return self._sold(Service(tenant=tenant, pool=default, antispoof=self._settings.antispoof), None)
        if entry.blocked:
            return Refusal(Reason.BLOCKED, f"subscriber {entry.name} is blocked")
        if entry.name in self._unusable:
            return Refusal(Reason.ENTRY_UNUSABLE, f"subscriber {entry.name}: {self._unusable[entry.name]}")
        theirs = entry.tenant or tenant
        pool = entry.pool or self._default_of(theirs)
        if pool is None:
            return Refusal(Reason.NO_POOL, f"subscriber {entry.name} has no pool, and {self._why_none(theirs)}")
        service = Service(
            tenant=entry.tenant or self._pools.get(pool, tenant),
            pool=pool,
            subscriber=entry.name,
            address=entry.address,
            limit=entry.limit,
            antispoof=entry.antispoof,
        )
        return self._sold(service, entry.service)

    def _default_of(self, tenant: str) -> str | None:
        """The default pool, for who is of its tenant: nobody gets into another provider's by not being known."""
        default = self._settings.default
        return default if default is not None and self._pools.get(default, tenant) == tenant else None

    def _why_none(self, tenant: str) -> str:
        absent = self._settings.default is None
        return "authorization.default is absent" if absent else f"authorization.default is not tenant {tenant}'s"

    def _sold(self, service: Service, name: str | None) -> Service:
        name = name or self._settings.service
        return sold_as(service, self._services[name]) if name is not None else service

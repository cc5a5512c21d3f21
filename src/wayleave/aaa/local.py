"""Authorization without RADIUS: any line, or the lines and clients of a subscribers file.

The most particular entry wins: MAC on a line, MAC, line (with its circuit-id), circuit-id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pydantic import Field

from wayleave.aaa.policy import sold_as
from wayleave.net.ipv4 import Address4
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs
from wayleave.session.model import Client, Line, Service, Session
from wayleave.session.refusal import Reason, Refusal
from wayleave.session.settings import Leaf, LineText, MacText, Problem, Rule


class Subscriber(Leaf):
    """One entry of the subscribers file: how the client is known, and what it gets."""

    name: str = Field(min_length=1)
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
        if self.mac is None and self.line is None and self.circuit is None:
            yield "", "a subscriber is known by mac, line or circuit: give at least one"

    def _circuit_said_once(self) -> Iterator[Problem]:
        if self.line is not None and self.circuit is not None:
            yield "circuit", 'give the circuit-id with the line ("1:100/CIRCUIT") or by itself, not both'

    @property
    def key(self) -> tuple[Mac | None, Line | None, str | None]:
        return (self.mac, self.line, self.circuit)


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
    antispoof: bool = Field(default=True, description="check sources of clients not in the subscribers file")


class LocalAuthorization:
    """Implements session.ports.Authorization: answers at once from memory.

    `tenants` maps a port's number to its tenant's name, `pools` a pool's name. `services` are what can be sold, by
    name: the caller has seen to it that whatever is named elsewhere is among them.
    """

    def __init__(
        self,
        settings: AuthorizationSettings,
        subscribers: Iterable[Subscriber],
        tenants: Mapping[int, str],
        pools: Mapping[str, str],
        services: Mapping[str, Service],
    ) -> None:
        self._settings = settings
        self._tenants, self._pools, self._services = tenants, pools, services
        self._entries = {entry.key: entry for entry in subscribers}

    def find(self, client: Client) -> Subscriber | None:
        """The most particular entry for `client`."""
        if not self._entries:
            return None
        line, mac = client.line, client.mac
        circuit = line.circuit.decode("utf-8", "backslashreplace") if line.circuit else None
        keys = ((mac, line, None), (mac, None, circuit), (mac, None, None), (None, line, None), (None, None, circuit))
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None:
                return entry
        return None

    def decide(self, session: Session, now: BootNs) -> Service | Refusal | None:  # noqa: ARG002
        return self.grant(session.client)

    def review(self, session: Session) -> Service | Refusal:
        return self.grant(session.client)

    def reauthorize(self, session: Session) -> None:
        """What is said here is said anew whenever the configuration changes."""

    def forget(self, session: Session) -> None:
        """Nothing is ever under way."""

    def grant(self, client: Client) -> Service | Refusal:
        """Return what the client gets, or why it gets nothing."""
        entry = self.find(client)
        tenant = self._tenants.get(client.line.port)
        if tenant is None:
            return Refusal(Reason.PORT_NOT_CONFIGURED, f"port {client.line.port} is not configured")
        if entry is None:
            default = self._default_of(tenant)
            if default is None:
                return Refusal(Reason.UNKNOWN_CLIENT, f"not in the subscribers file, and {self._why_none(tenant)}")
            return self._sold(Service(tenant=tenant, pool=default, antispoof=self._settings.antispoof), None)
        if entry.blocked:
            return Refusal(Reason.BLOCKED, f"subscriber {entry.name} is blocked")
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

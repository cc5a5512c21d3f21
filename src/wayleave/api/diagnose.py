"""`bng diagnose` behind the API: all facts about one client, put together for `verdicts`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pydantic import BaseModel, Field

from wayleave.api.explain import from_client
from wayleave.api.facts import Facts, Heard, PortFacts
from wayleave.api.journal import EntryView, client_of, entries_of, entry_views, heard_last
from wayleave.api.nexus import NexusView
from wayleave.api.radius import ServerView, servers, view_server
from wayleave.api.rules.rule import seen_dropped
from wayleave.api.search import Filter, first
from wayleave.api.verdicts import diagnose
from wayleave.dataplane.counters import Asking
from wayleave.dataplane.explain import Explanation
from wayleave.io import hostlink, machine
from wayleave.io.routes import NextHop, next_hop
from wayleave.net.mac import Mac
from wayleave.net.probe import probe
from wayleave.session.journal import Entry
from wayleave.session.model import NEVER, Client, Line, Session
from wayleave.session.table import Key

if TYPE_CHECKING:
    from wayleave.aaa.local import Subscriber
    from wayleave.access.settings import PortSettings
    from wayleave.api.radius import Deciding
    from wayleave.api.schema import PoolView
    from wayleave.config.schema import Configuration
    from wayleave.dataplane.plane import DataPlane
    from wayleave.dataplane.samples import Drops
    from wayleave.net.units import BootNs
    from wayleave.session.journal import Journal
    from wayleave.session.model import Tenant
    from wayleave.session.ports import Clock
    from wayleave.session.settings import Reservation
    from wayleave.session.table import Table

SOMEWHERE = IPv4Address("1.1.1.1")
"""Where a client wants to go, unless somebody says where."""

_NOBODY = Mac(bytes(6))

MAIN_TABLE = 254


class Links(Protocol):
    """The tenants' host links."""

    def fault(self, tenant: Tenant) -> str | None: ...


class Diagnosing(Protocol):
    """What it needs of a gateway."""

    table: Table
    plane: DataPlane
    subscribers: Sequence[Subscriber]
    ports: dict[int, PortSettings]
    settings: Configuration
    tenants: dict[str, Tenant]
    store_failed: str | None
    started: BootNs

    @property
    def links(self) -> Links: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def clock(self) -> Clock: ...

    def awaits_clock(self, id_: int) -> bool: ...

    def lost_ports(self) -> list[int]: ...

    @property
    def authority(self) -> Deciding: ...

    def dropped(self) -> Drops: ...

    def pool_views(self) -> list[PoolView]: ...

    def nexus_view(self) -> NexusView | None: ...


class DiagnosisView(BaseModel):
    """One verdict, and what it rests on."""

    about: str
    verdict: str = Field(description="a name of docs/reference/diagnoses.md")
    says: str
    means: str
    cure: str
    notes: list[str] = Field(description="what is odd about it as well, and need not be why")
    client: str | None
    session: int | None
    address: str | None
    journal: list[EntryView] = Field(description="the last entries, the oldest first")


class Unknown(ValueError):
    """Nobody can be meant by what was asked; the text says why."""


class Whom(NamedTuple):
    """Who is asked about: one of a session, a MAC without one, an entry of the subscribers file without one."""

    session: int | None = None
    mac: Mac | None = None
    subscriber: str | None = None


class _Machine(NamedTuple):
    """What the machine says; read in a thread, as it blocks."""

    carriers: dict[str, bool]
    """Devices that are administratively up, and whether they have a carrier."""
    forwarding: bool
    hop: NextHop | None


SHOWN = 8
"""Entries of the journal that go with a verdict."""


async def answer(gateway: Diagnosing, whom: Whom, to: IPv4Address) -> DiagnosisView:
    """Find what is wrong. Raises: Unknown."""
    about, client, session, entry = await _find(gateway, whom)
    tenant = gateway.tenants.get(_tenant(gateway, client, session)) if client is not None else None
    link = hostlink.names(tenant.name)[0] if tenant is not None else None
    address = session.lease.address if session is not None and session.lease is not None else None
    names = [port.device for port in gateway.ports.values()]
    seen = await asyncio.to_thread(_look, names, link, address, to)
    now, drops = gateway.clock.boot(), gateway.dropped()
    lost = set(gateway.lost_ports())
    small, large = _explained(gateway, session, to, lost)
    facts = {port.number: _facts_of(port, lost, seen.carriers) for port in gateway.ports.values()}
    entries = _entries(gateway, client, session)
    pool = session.service.pool if session is not None and session.service is not None else None
    if pool is None and entry is not None:
        pool = entry.pool
    counters = gateway.plane.counters
    found = diagnose(
        Facts(
            now=now,
            started=gateway.started,
            about=about,
            who=_who(about, client, session),
            client=client,
            session=session,
            entries=entries,
            drops=drops.of(client.station.key) if client is not None else [],
            elsewhere=_elsewhere(gateway, session),
            subscriber=entry,
            reservation=_reservation(gateway, client),
            port=facts.get(client.line.port) if client is not None else None,
            uplinks=[facts[number] for number in _uplinks(gateway, tenant)],
            link_fault=gateway.links.fault(tenant) if tenant is not None else None,
            forwarding=seen.forwarding,
            store_failed=gateway.store_failed,
            clock_awaited=session is not None and gateway.awaits_clock(session.id),
            pool=_pool(gateway.pool_views(), pool),
            nexus=gateway.nexus_view(),
            seen=counters.seen(session.id) if session is not None else NEVER,
            usage=counters.usage(session.id, session.since) if session is not None else None,
            asking=counters.asking(session.id, session.since) if session is not None else Asking(),
            destination=to,
            small=small,
            large=large,
            hop=seen.hop,
            table=tenant.table if tenant is not None else MAIN_TABLE,
            servers=_servers(gateway, client, session, now),
        )
    )
    journal = entry_views(entries, drops.of(client.station.key), now) if client is not None else []
    return DiagnosisView(
        about=about,
        verdict=found.name,
        says=found.says,
        means=found.means,
        cure=found.cure,
        notes=found.notes,
        client=str(client) if client is not None else None,
        session=session.id if session is not None else None,
        address=str(address) if address is not None else None,
        journal=journal[-SHOWN:],
    )


async def _find(gateway: Diagnosing, whom: Whom) -> tuple[str, Client | None, Session | None, Subscriber | None]:
    """Whom it is about: in words, the client, its session, its entry of the subscribers file."""
    if whom.session is not None:
        session = gateway.table.get(whom.session)
        if session is None:
            raise Unknown(f"there is no session {whom.session}")
        return f"session {whom.session}", session.client, session, _entry_of(gateway, session.client, session)
    if whom.mac is not None:
        mac = whom.mac
        client = _latest(gateway, lambda key: key[3] == mac)
        session = _session(gateway, client)
        return str(mac), client, session, _entry_of(gateway, client or Client(Line(0), mac), session)
    entry = next((item for item in gateway.subscribers if whom.subscriber in (item.name, item.user)), None)
    if entry is None:
        raise Unknown(f"there is no subscriber {whom.subscriber} in the subscribers file, and no session of one")
    of, line = entry.mac, entry.line
    served = await first(gateway.table, Filter(mac=str(of))) if of is not None else None
    if served is not None:  # on another line, or it would be found by the subscriber's name
        return f"subscriber {entry.name}", served.client, served, entry
    named = gateway.journal.called(entry.user) if entry.user is not None else None
    client = client_of(named) if named is not None else None
    if client is None:
        client = _latest(gateway, lambda key: key[3] == of if of is not None else _is_on(key, line))
    if client is None and line is not None:
        client = Client(line, _NOBODY if of is None else of)
    return f"subscriber {entry.name}", client, _session(gateway, client), entry


def _is_on(key: Key, line: Line | None) -> bool:
    return line is not None and key[:3] == (line.port, line.svid, line.cvid)


def _latest(gateway: Diagnosing, wanted: Callable[[Key], bool]) -> Client | None:
    """Of the clients without a session that are remembered, the one heard of last."""
    clients, _ = heard_last(gateway.journal, gateway.dropped(), wanted, 1)
    return clients[0] if clients else None


def _elsewhere(gateway: Diagnosing, session: Session | None) -> Heard | None:
    """Where the MAC of a session was heard last without one, and what came of it there."""
    if session is None:
        return None
    mine, drops = session.client.station.key, gateway.dropped()

    def wanted(key: Key) -> bool:
        return key[3] == mine[3] and key != mine and gateway.table.find(client_of(key)) is None

    clients, _ = heard_last(gateway.journal, drops, wanted, 1)
    if not clients:
        return None
    (there,) = clients
    entries, lost = gateway.journal.of_stranger(there.station.key), drops.of(there.station.key)
    at = max([*(entry.at for entry in entries), *(drop.last for drop in lost)])
    said = [entry for entry in entries if entry.at == entries[-1].at]  # of one moment, the first is why
    return Heard(there, at, f"{said[0].what} {said[0].says}".strip() if said else seen_dropped(lost[-1]))


def _session(gateway: Diagnosing, client: Client | None) -> Session | None:
    return gateway.table.find(client) if client is not None else None


def _entry_of(gateway: Diagnosing, client: Client, session: Session | None) -> Subscriber | None:
    """The entry that means this client: by its MAC wherever it is heard, else by its line, else by its user."""
    user = session.link.name or None if session is not None and session.link is not None else None
    meant = [item for item in gateway.subscribers if item.user == user]
    mine = [item for item in meant if item.mac == client.mac]
    here = [item for item in meant if item.line == client.line]
    anywhere = [item for item in meant if user is not None and item.line is None]
    return next((item for item in mine if item in here), None) or next(
        (item for item in [*mine, *here, *anywhere] if item.mac in (None, client.mac)), None
    )


def _reservation(gateway: Diagnosing, client: Client | None) -> Reservation | None:
    """What is kept for its MAC: on its line, else on another."""
    if client is None:
        return None
    kept = [item for pool in gateway.settings.pools for item in pool.reservations if item.mac == client.mac]
    return next((item for item in kept if item.line in (None, client.line)), next(iter(kept), None))


def _who(about: str, client: Client | None, session: Session | None) -> str:
    """What other commands know it by: its MAC, which a line has none of, else its name."""
    if session is not None or (client is not None and client.mac != _NOBODY):
        assert client is not None
        return str(client.mac)
    return about.removeprefix("subscriber ")


def _tenant(gateway: Diagnosing, client: Client, session: Session | None) -> str:
    if session is not None and session.service is not None:
        return session.service.tenant
    port = gateway.ports.get(client.line.port)
    return port.tenant if port is not None else ""


def _uplinks(gateway: Diagnosing, tenant: Tenant | None) -> list[int]:
    """The network ports by which its tenant's clients reach the internet; all where it is nobody's or has none."""
    ports = [port for port in gateway.ports.values() if port.role == "network"]
    own = [port.number for port in ports if tenant is not None and port.tenant == tenant.name]
    return own or [port.number for port in ports]


def _servers(gateway: Diagnosing, client: Client | None, session: Session | None, now: BootNs) -> list[ServerView]:
    """The RADIUS servers that are asked about it."""
    name = _tenant(gateway, client, session) if client is not None else ""
    group = next((item.radius for item in gateway.settings.tenants if item.name == name), None)
    if session is not None and session.service is not None and session.service.authority:
        group = session.service.authority
    asked = servers(gateway.authority)
    return [view_server(item, now) for item in asked if (item.group, item.purpose) == (group, "access")]


def _entries(gateway: Diagnosing, client: Client | None, session: Session | None) -> list[Entry]:
    if session is not None:
        return entries_of(session, gateway.journal, gateway.plane.counters.renewed(session.id))
    entries = gateway.journal.of_stranger(client.station.key) if client is not None else []
    return sorted(entries, key=lambda entry: entry.at)  # a renewal by the data plane may be found out after the end


def _pool(pools: Iterable[PoolView], name: str | None) -> PoolView | None:
    """The pool of this name; where none is known and there is one only, that."""
    found = list(pools)
    return next((pool for pool in found if pool.name == name), found[0] if name is None and len(found) == 1 else None)


def _facts_of(port: PortSettings, lost: set[int], carriers: dict[str, bool]) -> PortFacts:
    carrier = carriers.get(port.device)
    return PortFacts(port.number, port.device, port.number not in lost, carrier is not None, bool(carrier))


def _explained(
    gateway: Diagnosing, session: Session | None, to: IPv4Address, lost: set[int]
) -> tuple[Explanation | None, Explanation | None]:
    """What would become of a small packet, and of one as large as the client may send."""
    if session is None or session.lease is None or not session.installed or not session.encapsulation:
        return None, None
    number = session.client.line.port
    if number in lost or number not in gateway.plane.attached:
        return None, None
    packets = (probe("icmp", session.lease.address, to, size=size) for size in (0, session.mtu))
    small, large = (gateway.plane.explain(*from_client(session, packet)) for packet in packets)
    return small, large


def _look(names: list[str], link: str | None, source: IPv4Address | None, to: IPv4Address) -> _Machine:
    carriers = machine.carriers(names)
    hop = next_hop(source, to, link) if link is not None and source is not None else None
    return _Machine(carriers, machine.forwards(), hop)

"""A lease as it is written down: what its row says, and what that means on the clock of another boot.

A promise is recorded as UTC and as boot-id plus boot time: within one boot the boot clock counts, after a reboot the
wall clock, once it is plausible. A record made while the wall clock was not plausible has no UTC: after a reboot its
address is held for the whole of its horizon again.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NamedTuple

import msgspec

from wayleave.io.clock import Clock, Moment
from wayleave.net.mac import Mac
from wayleave.net.units import BootNs, Ns, UtcNs, after
from wayleave.session.lifecycle import wake_at
from wayleave.session.model import (
    LONG_PAST,
    NEVER,
    NOTHING_USED,
    Client,
    Lease,
    Line,
    Link,
    Phase,
    Rate,
    Service,
    Session,
    Subnet,
    Used,
)


class Sold(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a service says besides an address, where it says anything."""

    name: str = ""
    up: tuple[int, int] | None = None
    down: tuple[int, int] | None = None
    dns: tuple[str, ...] = ()
    session_timeout: int = 0
    idle_timeout: int = 0
    interim: int = 0
    sessions: int | None = None
    classes: tuple[bytes, ...] = ()
    authority: str = ""
    provisional: bool = False
    reauthorize: bool = False
    state: bytes = b""


def _sold(service: Service) -> Sold:
    """What a service says besides an address, to be written down."""
    return Sold(
        service.name,
        (service.up.bits_s, service.up.burst) if service.up else None,
        (service.down.bits_s, service.down.burst) if service.down else None,
        tuple(map(str, service.dns)),
        service.session_timeout,
        service.idle_timeout,
        service.interim,
        service.sessions,
        service.classes,
        service.authority,
        service.provisional,
        service.reauthorize,
        service.state,
    )


def _bought(sold: Sold) -> dict[str, Any]:
    """The fields of a service that `_sold` wrote down."""
    return {
        "name": sold.name,
        "up": Rate(*sold.up) if sold.up else None,
        "down": Rate(*sold.down) if sold.down else None,
        "dns": tuple(map(IPv4Address, sold.dns)),
        "session_timeout": Ns(sold.session_timeout),
        "idle_timeout": Ns(sold.idle_timeout),
        "interim": Ns(sold.interim),
        "sessions": sold.sessions,
        "classes": sold.classes,
        "authority": sold.authority,
        "provisional": sold.provisional,
        "reauthorize": sold.reauthorize,
        "state": sold.state,
    }


_NOTHING = Sold()


class Grant(msgspec.Struct, frozen=True, gc=False):
    """A service by itself."""

    tenant: str
    pool: str
    subscriber: str
    static: str
    limit: int | None
    antispoof: bool
    mtu: int
    sold: Sold


def grant_text(service: Service) -> str:
    """Write a service down."""
    address = str(service.address or "")
    grant = Grant(
        service.tenant,
        service.pool,
        service.subscriber,
        address,
        service.limit,
        service.antispoof,
        service.mtu,
        _sold(service),
    )
    return msgspec.json.encode(grant).decode()


def grant_of(text: str) -> Service:
    """Read a service that `grant_text` wrote."""
    kept = msgspec.json.decode(text, type=Grant)
    return _service(kept.tenant, kept)


class Body(msgspec.Struct, frozen=True, gc=False):
    """What of a session is only read back whole."""

    port: int
    svid: int
    cvid: int
    circuit: bytes
    mac: bytes
    pppoe: int
    encapsulation: bytes
    relayed: bool
    hostname: str
    pool: str
    network: str
    gateway: str
    duration: int
    horizon: int
    subscriber: str
    static: str
    limit: int | None
    antispoof: bool
    mtu: int
    form: bytes | None = None
    agent: bytes = b""
    accounting: str = ""
    opened: int = 0
    opened_on: str = ""
    """The boot on whose clock it opened, where the row is an earlier one's."""
    ends: int = 0
    sold: Sold | None = None
    counted: tuple[int, int, int, int] = (0, 0, 0, 0)
    asks: int = 0
    link: Link | None = None


def _service(tenant: str, kept: Grant | Body) -> Service:
    return Service(
        tenant=tenant,
        pool=kept.pool,
        subscriber=kept.subscriber,
        address=IPv4Address(kept.static) if kept.static else None,
        limit=kept.limit,
        antispoof=kept.antispoof,
        mtu=kept.mtu,
        **_bought(kept.sold) if kept.sold is not None else {},
    )


class Restored(msgspec.Struct, frozen=True):
    """A session as the disk has it.

    `unknown_until` is the promise in UTC where the wall clock is not plausible yet, so that nobody knows whether it
    still stands: the session is then held, without a deadline and without rows, until the clock is set.
    """

    session: Session
    unknown_until: UtcNs | None = None
    used: Used = NOTHING_USED
    """What it had used when that was last reported."""
    lasted: Ns = Ns(0)
    """How long it had been there when an earlier boot wrote last, if it is of that."""


_text = lru_cache(maxsize=1024)(str)
"""Networks and gateways are few, and writing one costs as much as all else of a row."""


@lru_cache(maxsize=4096)
def _shared(form: bytes) -> bytes:
    """Forms are few: a hundred thousand sessions refer to the same octets."""
    return form


def row(session: Session, promise_until: BootNs, boot: BootNs) -> tuple[int, str, int, BootNs, str]:
    """What of a lease's row is its own: id, tenant, address, promise on the boot clock, body.

    The duration in the body is the longest that the client may go by from now on, told under whatever terms.
    """
    lease, service, client = session.lease, session.service, session.client
    assert lease is not None
    assert service is not None
    body = Body(
        client.line.port,
        client.line.svid,
        client.line.cvid,
        client.line.circuit,
        bytes(client.mac),
        client.pppoe,
        session.encapsulation,
        session.relayed,
        session.hostname,
        lease.pool,
        _text(lease.subnet.network),
        _text(lease.subnet.gateway),
        max(lease.duration, lease.longer, session.leased_until - boot),
        lease.horizon,
        service.subscriber,
        str(service.address or ""),
        service.limit,
        service.antispoof,
        service.mtu,
        session.form,
        session.agent,
        session.accounting,
        session.opened_at,
        "",
        session.ends_at,
        sold if (sold := _sold(service)) != _NOTHING else None,
        msgspec.structs.astuple(session.counted_before),
        session.asks_at,
        session.link,
    )
    return session.id, service.tenant, int(lease.address), promise_until, msgspec.json.encode(body).decode()


def promised(session: Session, until: BootNs, duration: Ns, now: BootNs) -> Session:
    """Return a session read from disk with its promise on this boot's clock.

    It ends a lease from now unless the client renews: whatever the client was told, by the process or by the kernel,
    it was told before, never of more than the recorded `duration`, and never past the promise.
    """
    assert session.lease is not None
    lease = msgspec.structs.replace(session.lease, promise_until=until)
    leased = BootNs(min(until, after(now, duration)))
    known = msgspec.structs.replace(session, lease=lease, leased_until=leased)
    return msgspec.structs.replace(known, deadline=wake_at(known))


def on_this_boot(clock: Clock, promise_utc: UtcNs) -> BootNs:
    """Translate a promise that an earlier boot recorded. Only once the wall clock is plausible."""
    return BootNs(clock.boot() + promise_utc - clock.utc())


class Row(NamedTuple):
    """What the disk has of a lease."""

    id: int
    tenant: str
    address: int
    promise_utc: UtcNs | None
    boot_id: str
    promise_boot: BootNs
    body: str


def restored(row: Row, clock: Clock, last: Moment | None) -> Restored:
    """Return a session with what its row means on this boot's clock; `last`: when anything was written before."""
    kept = msgspec.json.decode(row.body, type=Body)
    session = _session(row, kept, clock.boot())
    found = _held(session, row, clock)
    opened_on = kept.opened_on or row.boot_id
    if opened_on == clock.boot_id:
        return found
    lasted = Ns(last.boot - kept.opened) if last is not None and last.boot_id == opened_on and kept.opened else Ns(0)
    begun = msgspec.structs.replace(found.session, opened_at=clock.boot())
    return msgspec.structs.replace(found, session=begun, lasted=lasted)


def _held(session: Session, row: Row, clock: Clock) -> Restored:
    """A session with its promise."""
    lease, now, promise_utc = session.lease, clock.boot(), row.promise_utc
    assert lease is not None
    if row.boot_id == clock.boot_id:
        return Restored(promised(session, row.promise_boot, lease.duration, now))
    session = _on_another_boot(session, clock, row.promise_boot, promise_utc)
    if promise_utc is None:
        whole = after(now, max(lease.horizon, lease.duration))  # told under longer terms, perhaps
        return Restored(promised(session, whole, lease.duration, now))
    if clock.plausible:
        return Restored(promised(session, on_this_boot(clock, promise_utc), lease.duration, now))
    return Restored(msgspec.structs.replace(session, leased_until=after(now, lease.duration)), promise_utc)


def _on_another_boot(session: Session, clock: Clock, promise_boot: BootNs, promise_utc: UtcNs | None) -> Session:
    """A session's own time goes on over a reboot, where there is a clock to say so; else it begins anew."""
    now = clock.boot()
    limit = session.service.session_timeout if session.service is not None else Ns(0)

    def on_this(moment: BootNs) -> BootNs:
        if moment == NEVER:
            return NEVER
        if promise_utc is None or not clock.plausible:
            return after(now, limit)
        return BootNs(max(1, on_this_boot(clock, UtcNs(promise_utc + moment - promise_boot))))

    ends, asks = on_this(session.ends_at), on_this(session.asks_at)
    return msgspec.structs.replace(session, ends_at=ends, asks_at=asks)


def _session(row: Row, kept: Body, now: BootNs) -> Session:
    lease = Lease(
        address=IPv4Address(row.address),
        pool=kept.pool,
        subnet=Subnet(IPv4Network(kept.network), IPv4Address(kept.gateway)),
        duration=Ns(kept.duration),
        horizon=Ns(kept.horizon),
        promise_until=LONG_PAST,
    )
    return Session(
        id=row.id,
        client=Client(Line(kept.port, kept.svid, kept.cvid, kept.circuit), Mac(kept.mac), kept.pppoe),
        phase=Phase.ACTIVE,
        since=now,
        accounting=kept.accounting,
        counted_before=Used(*kept.counted),
        opened_at=BootNs(kept.opened),
        ends_at=BootNs(kept.ends),
        asks_at=BootNs(kept.asks),
        active_at=now,
        encapsulation=kept.encapsulation,
        relayed=kept.relayed,
        hostname=kept.hostname,
        form=_shared(kept.form) if kept.form is not None else None,
        agent=kept.agent,
        link=kept.link,
        service=_service(row.tenant, kept),
        lease=lease,
    )

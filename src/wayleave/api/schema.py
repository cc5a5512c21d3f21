"""What the API says, as types: one place for names and units."""

from __future__ import annotations

from pydantic import BaseModel, Field

from wayleave.dataplane.counters import Usage
from wayleave.net.units import SECOND, BootNs
from wayleave.session.model import NEVER, Session


class SessionView(BaseModel):
    """One session. Times are seconds from now; None: not set."""

    id: int
    client: str
    mac: str
    line: str
    phase: str
    tenant: str | None
    pool: str | None
    subscriber: str | None
    address: str | None
    hostname: str
    age_s: int = Field(description="since the session began, or was taken up again by a gateway that restarted")
    lease_s: int | None = Field(description="until the client, as far as it was told, stops using the address")
    promise_s: int | None = Field(description="until the recorded promise runs out")
    seen_s: int | None = Field(
        default=None, description="since the last packet that was let through, for as long as age_s"
    )
    usage: dict[str, int] | None = Field(default=None, description="packets and octets of IP, for as long as age_s")


class PoolView(BaseModel):
    """One pool's use."""

    name: str
    tenant: str
    network: str
    gateway: str
    size: int
    held: int
    quarantined: int


class Page(BaseModel):
    """Some sessions, in order of id; perhaps none, as only a part of the table is looked at for an answer.

    `after` goes on from there; None: that was all.
    """

    sessions: list[SessionView]
    after: int | None


def view(session: Session, now: BootNs, usage: Usage | None = None, seen: BootNs = NEVER) -> SessionView:
    """Return a session as the API tells it."""
    lease, service, client = session.lease, session.service, session.client
    return SessionView(
        id=session.id,
        client=str(client),
        mac=str(client.mac),
        line=str(client.line),
        phase=session.phase.value,
        tenant=service.tenant if service else None,
        pool=service.pool if service else None,
        subscriber=(service.subscriber or None) if service else None,
        address=str(lease.address) if lease else None,
        hostname=session.hostname,
        age_s=(now - session.since) // SECOND,
        lease_s=(session.leased_until - now) // SECOND if session.leased_until != NEVER else None,
        promise_s=(lease.promise_until - now) // SECOND if lease and lease.promise_until != NEVER else None,
        seen_s=(now - seen) // SECOND if seen >= session.since else None,
        usage=None
        if usage is None
        else {
            "up_packets": usage.up_packets,
            "up_octets": usage.up_octets,
            "up_dropped": usage.up_dropped,
            "down_packets": usage.down_packets,
            "down_octets": usage.down_octets,
            "down_dropped": usage.down_dropped,
        },
    )

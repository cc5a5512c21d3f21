"""What the API says, as types: one place for names and units."""

from __future__ import annotations

from pydantic import BaseModel, Field

from wayleave.dataplane.counters import Usage
from wayleave.net.units import SECOND, BootNs, Ns
from wayleave.session.model import NEVER, Session


class SessionView(BaseModel):
    """One session. Times are seconds from now; None: not set."""

    id: int
    client: str
    mac: str
    line: str
    pppoe: int | None = Field(description="session-id of PPPoE; None: it is a client of IPoE")
    user: str | None = Field(description="what it said it is called, by PPP")
    mtu: int = Field(description="octets of IP that it is sent, at most")
    phase: str
    tenant: str | None
    pool: str | None
    subscriber: str | None
    address: str | None
    service: str | None = Field(description="what it was sold, by name")
    up_bps: int | None = Field(description="what it may send; None: as fast as it goes")
    down_bps: int | None = Field(description="what it may be sent")
    authority: str | None = Field(description="the group of RADIUS servers that decided; None: the gateway itself")
    provisional: bool = Field(description="no server could be asked: it is what was granted last")
    accounting: str = Field(description="Acct-Session-Id")
    ends_s: int | None = Field(description="until its Session-Timeout")
    hostname: str
    age_s: int = Field(description="since the session began, or was taken up again by a gateway that restarted")
    lease_s: int | None = Field(description="until the client, as far as it was told, stops using the address")
    promise_s: int | None = Field(description="until the recorded promise runs out")
    seen_s: int | None = Field(
        default=None, description="since the last packet that was let through, for as long as age_s"
    )
    renewed_s: int | None = Field(
        default=None, description="since the data plane last renewed the lease by itself, for as long as age_s"
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
    nexus: str | None = Field(
        default=None, description="Nexus' name of it, where gateways share it: `size` is what this one has"
    )


class PortView(BaseModel):
    """One port as it stands."""

    number: int
    device: str
    role: str
    tenant: str
    state: str = Field(description="of its device: up, no carrier, down (as it was set) or gone")
    program: str | None = Field(description="how the program is attached: native or generic; None: it is not")
    sessions: int


class PlanView(BaseModel):
    """What a reload would change, or has changed; or why it is refused, and then nothing is."""

    file: str = Field(description="what was compared with how the gateway runs")
    own: str = Field(description="what a reload reads")
    refused: list[str] = Field(default_factory=list, description="why the configuration cannot count now")
    changes: list[str] = Field(default_factory=list, description="settings and subscribers that differ")
    sessions: dict[str, int] = Field(default_factory=dict, description="how many are kept, moved and ended")
    examples: list[str] = Field(default_factory=list, description="some that are not kept, and why")
    rows: int = Field(default=0, description="sessions whose rows in the data plane differ")
    applied: bool = False


class Page(BaseModel):
    """Some sessions, in order of id; perhaps none, as only a part of the table is looked at for an answer.

    `after` goes on from there; None: that was all.
    """

    sessions: list[SessionView]
    after: int | None


class PuntView(BaseModel):
    """What came up to Python, or was kept from it; and what waits, in octets."""

    classes: dict[str, dict[str, int]] = Field(description="class, what became of a message, how many")
    ring_waiting: int
    ring_size: int


class DhcpView(BaseModel):
    """Who answered DHCP: the data plane by itself, or Python; and why what went up did."""

    kernel: dict[str, int] = Field(description="answers by kind")
    up: dict[str, int] = Field(description="messages that the data plane left to Python, by reason")
    python: dict[str, int] = Field(description="answers by kind")
    ignored: dict[str, int] = Field(description="messages that Python did not answer, by reason")
    replies: int = Field(description="different standing replies in use")
    python_s: int = Field(description="for how long Python has counted; the data plane, since its maps were made")


class PppoeView(BaseModel):
    """What was said in PPPoE, by Python. Echo requests of those that are up the data plane answers by itself."""

    sessions: int = Field(description="session-ids that are given out")
    dialing: int = Field(description="those of them that have no address yet")
    heard: dict[str, int] = Field(description="packets of discovery, and network protocols that came up or went down")
    said: dict[str, int] = Field(description="packets by kind")
    ignored: dict[str, int] = Field(description="what was not answered, by reason")
    ended: dict[str, int] = Field(description="sessions that ended, by reason, also without ever having an address")
    python_s: int = Field(description="for how long this was counted")


def dhcp_view(
    results: dict[str, int], said: dict[str, int], ignored: dict[str, int], replies: int, python: Ns
) -> DhcpView:
    """Sort the program's results into answers and reasons."""
    return DhcpView(
        kernel={name: count for name, count in results.items() if not name.startswith("up-")},
        up={name.removeprefix("up-"): count for name, count in results.items() if name.startswith("up-")},
        python=said,
        ignored=ignored,
        replies=replies,
        python_s=python // SECOND,
    )


def view(
    session: Session, now: BootNs, usage: Usage | None = None, seen: BootNs = NEVER, renewed: BootNs = NEVER
) -> SessionView:
    """Return a session as the API tells it. A renewal by the data plane counts once it is later than the session."""
    lease, service, client = session.lease, session.service, session.client
    if renewed <= session.since or session.link is not None:
        renewed = NEVER
    until = session.leased_until
    if lease is not None and renewed != NEVER and until != NEVER:
        until = BootNs(max(until, renewed + lease.duration))
    return SessionView(
        id=session.id,
        client=str(client),
        mac=str(client.mac),
        line=str(client.line),
        pppoe=client.pppoe or None,
        user=session.link.name or None if session.link else None,
        mtu=session.mtu,
        phase=session.phase.value,
        tenant=service.tenant if service else None,
        pool=service.pool if service else None,
        subscriber=(service.subscriber or None) if service else None,
        address=str(lease.address) if lease else None,
        service=service.name or None if service else None,
        up_bps=service.up.bits_s if service and service.up else None,
        down_bps=service.down.bits_s if service and service.down else None,
        authority=service.authority or None if service else None,
        provisional=service.provisional if service else False,
        accounting=session.accounting,
        ends_s=(session.ends_at - now) // SECOND if session.ends_at else None,
        hostname=session.hostname,
        age_s=(now - session.since) // SECOND,
        lease_s=(until - now) // SECOND if until != NEVER and session.link is None else None,
        promise_s=(lease.promise_until - now) // SECOND if lease and lease.promise_until != NEVER else None,
        seen_s=(now - seen) // SECOND if seen >= session.since else None,
        renewed_s=(now - renewed) // SECOND if renewed != NEVER else None,
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
